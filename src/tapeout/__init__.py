"""Build, buy or rent inference silicon: when owning it pays, and who keeps the savings."""

__version__ = "0.1.0"
