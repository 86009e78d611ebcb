"""The fitted constants of the timing law, read from the shipped file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources

from tapeout.fabric import LinkQuality


@dataclass(frozen=True, slots=True, kw_only=True)
class StackConstants:
    """What serving software makes of silicon; one global set, "generic", is fitted.

    Attributes
    ----------
    memory_efficiency, cache_efficiency : float
        Sustained over nominal memory bandwidth, for weights and activations, and for the cache.
    compute_efficiency : float
        Sustained over peak arithmetic rate.
    kernel_s : float
        Gap of one kernel inside a captured graph. [s]
    eager_s : float
        Least time of one kernel in a step that runs without a captured graph. [s]
    sequence_s : float
        Host time for one sequence of a step. [s]
    step_s : float
        Fixed host time of a step. [s]
    hop_s : float
        One phase of a collective on a scale-up link. [s]
    link_efficiency : float
        Sustained over nominal link rate for very large messages.
    ramp_bytes, ramp_exponent : float
        Message size at which half of that is reached, and the steepness; not fitted here but the
        mean of fits to NCCL on A100, H100 and B200.
    """

    memory_efficiency: float
    cache_efficiency: float
    compute_efficiency: float
    kernel_s: float
    eager_s: float
    sequence_s: float
    step_s: float
    hop_s: float
    link_efficiency: float
    ramp_bytes: float
    ramp_exponent: float

    @property
    def link_quality(self) -> LinkQuality:
        """Latency and efficiency of links."""
        return LinkQuality(
            latency_s=self.hop_s,
            efficiency=self.link_efficiency,
            half_bytes=self.ramp_bytes,
            exponent=self.ramp_exponent,
        )


IDEAL = StackConstants(
    memory_efficiency=1.0,
    cache_efficiency=1.0,
    compute_efficiency=1.0,
    kernel_s=0.0,
    eager_s=0.0,
    sequence_s=0.0,
    step_s=0.0,
    hop_s=0.0,
    link_efficiency=1.0,
    ramp_bytes=0.0,
    ramp_exponent=0.4,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """Constants, where they come from, and how far they were off.

    Attributes
    ----------
    fitted : str
        ISO date.
    generic : StackConstants
        The global set, for every chip and stack.
    effects : mapping of key to log factor on time
        Stacks differ: keys are a chip's vendor, "vendor|engine|chip" and
        "vendor|engine|chip|model", each the rest that the one before leaves, shrunk towards zero.
        That of the vendor applies to every chip of the vendor (its libraries are the same), the
        others to a placement whose stack is that engine. A vendor nobody measured has none.
    common_log_sd, own_log_sd : float
        Timing error shared by all chips, and of one measured chip, log units.
    """

    fitted: str
    generic: StackConstants
    effects: Mapping[str, float]
    common_log_sd: float
    own_log_sd: float

    def log_factor(self, engine: str, chip: str, model: str) -> float:
        """Log factor on time of an engine on a chip with a model; 0 where nothing is known."""
        return sum(self.effects.get(key, 0.0) for key in effect_keys(engine, chip, model))


def effect_keys(engine: str, chip: str, model: str) -> tuple[str, str, str]:
    """Keys of the effects that apply, widest first; the vendor is a chip's first word.

    Examples
    --------
    >>> effect_keys("vllm", "AMD MI355X", "gpt-oss-120b")[:2]
    ('AMD', 'AMD|vllm|AMD MI355X')
    """
    vendor = chip.partition(" ")[0]
    pair = f"{vendor}|{engine}|{chip}"
    return vendor, pair, f"{pair}|{model}"


@cache
def load_fit() -> Fit:
    """Read the shipped constants, data/constants.json; tools/fit_perf.py writes it."""
    text = resources.files("tapeout.perf").joinpath("data/constants.json").read_text("utf-8")
    raw = json.loads(text)
    return Fit(
        fitted=raw["fitted"],
        generic=StackConstants(**{name: one["value"] for name, one in raw["constants"].items()}),
        effects=raw["effects"],
        common_log_sd=raw["band"]["common_log_sd"],
        own_log_sd=raw["band"]["own_log_sd"],
    )
