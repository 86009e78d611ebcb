"""Sections of a scenario about what is asked of the silicon."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class TrafficSection(BaseModel):
    """A class of requests, by means."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]*$", max_length=40)]
    model: str = Field(
        description="name of a shipped architecture, or a config.json; 'stated' where every "
        "option states its rate"
    )
    input_tokens: float = Field(gt=0, le=10_000_000)
    output_tokens: float = Field(gt=0, le=1_000_000)
    cached_input_fraction: float = Field(default=0.0, ge=0, lt=1)
    share: float | None = Field(
        default=None, gt=0, le=1, description="share of output tokens, when megawatts size"
    )
    output_tokens_per_day: float | None = Field(
        default=None, gt=0, le=1e18, description="mean day at full demand, when demand sizes"
    )
    slo: str = Field(default="", description="name of the service level; default: the class's own")


class ShiftSection(TrafficSection):
    """A workload the frozen chip was not designed for; equally likely among those listed."""
