"""The fitted constants of the timing law, read from the shipped file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources


@dataclass(frozen=True, slots=True, kw_only=True)
class StackConstants:
    """What a serving stack makes of silicon; one set for each stack, "generic" for all.

    Attributes
    ----------
    memory_efficiency, compute_efficiency, link_efficiency : float
        Sustained over nominal rate.
    kernel_s : float
        Gap of one kernel launch inside a captured graph. [s]
    sequence_s : float
        Host time for one sequence of a step. [s]
    hop_s : float
        One synchronised phase of a collective on a scale-up link. [s]
    step_s : float
        Fixed host time of a step. [s]
    """

    memory_efficiency: float
    compute_efficiency: float
    kernel_s: float
    sequence_s: float
    hop_s: float
    link_efficiency: float
    step_s: float


IDEAL = StackConstants(
    memory_efficiency=1.0,
    compute_efficiency=1.0,
    kernel_s=0.0,
    sequence_s=0.0,
    hop_s=0.0,
    link_efficiency=1.0,
    step_s=0.0,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """Constants by stack, where they come from, and how far they were off.

    Attributes
    ----------
    fitted : str
        ISO date.
    stacks : mapping of stack to constants
    common_log_sd, own_log_sd : float
        Timing error shared by all chips, and of one measured chip, log units.
    """

    fitted: str
    stacks: Mapping[str, StackConstants]
    common_log_sd: float
    own_log_sd: float

    @property
    def known_stacks(self) -> tuple[str, ...]:
        """Stacks with constants of their own."""
        return tuple(self.stacks)

    def constants(self, stack: str) -> StackConstants:
        """Constants of a stack; those of "generic" where the stack was not fitted."""
        return self.stacks.get(stack, self.stacks["generic"])


@cache
def load_fit() -> Fit:
    """Read the shipped constants, data/constants.json; tools/fit_perf.py writes it."""
    text = resources.files("tapeout.perf").joinpath("data/constants.json").read_text("utf-8")
    raw = json.loads(text)
    return Fit(
        fitted=raw["fitted"],
        stacks={name: StackConstants(**values) for name, values in raw["stacks"].items()},
        common_log_sd=raw["band"]["common_log_sd"],
        own_log_sd=raw["band"]["own_log_sd"],
    )
