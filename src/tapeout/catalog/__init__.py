"""Room catalog."""
