"""Room risk."""
