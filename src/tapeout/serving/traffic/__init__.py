"""Requests over time: traces read from files, and generated ones."""

from tapeout.serving.traffic.trace import Prefixes, Trace

__all__ = ["Prefixes", "Trace"]
