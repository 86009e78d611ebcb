"""Room perf."""
