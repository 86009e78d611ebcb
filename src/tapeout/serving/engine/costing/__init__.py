"""Cost of a step from its table, compiled."""
