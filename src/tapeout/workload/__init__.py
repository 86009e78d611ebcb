"""Room workload."""
