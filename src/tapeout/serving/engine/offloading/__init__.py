"""Compiled tier of cache blocks in host memory."""
