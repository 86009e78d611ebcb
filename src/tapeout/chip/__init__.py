"""Room chip."""
