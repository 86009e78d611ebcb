"""Many replicas, of unlike silicon, behind a router: autoscaling, failures, admission control."""
