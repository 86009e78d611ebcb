"""Sections of a scenario about service levels."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from tapeout.serving.types import Slo


class SloSection(BaseModel):
    """Latency limits that nine in ten requests meet."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    ttft_p90_s: float = Field(gt=0, le=3600)
    tpot_p90_s: float = Field(gt=0, le=5, description="seconds, not milliseconds")

    def slo(self) -> Slo:
        """The same as the room's type."""
        return Slo(ttft_s=self.ttft_p90_s, tpot_s=self.tpot_p90_s, percentile=90.0)
