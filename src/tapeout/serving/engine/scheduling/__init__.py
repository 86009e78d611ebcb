"""Filling of batches, compiled."""
