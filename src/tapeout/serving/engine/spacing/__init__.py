"""Compiled count of the gaps between tokens."""
