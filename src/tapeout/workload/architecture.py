"""A model's architecture, read from its Hugging Face configuration."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelArchitecture:
    """Placeholder replaced in step (c)."""

    name: str
