"""Room fabric."""
