"""Room economics."""
