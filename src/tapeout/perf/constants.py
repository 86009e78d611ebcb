"""The fitted constants of the timing law, read from the shipped file."""

from __future__ import annotations

import json
import math
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
    product_factor, expert_factor : float
        Time of matrix products, and of those of experts, over that of the operator law (whose
        constants come from timed kernels alone); 0: no law, the roofline of the rates below.
    memory_efficiency, cache_efficiency : float
        Sustained over nominal memory bandwidth, for weights and activations, and for the cache.
    compute_efficiency, attention_efficiency : float
        Sustained over peak arithmetic rate, of other operators and of attention.
    kernel_s : float
        Gap of one kernel inside a captured graph, beside the launch that the law of products
        contains. [s]
    expert_kernels, latent_kernels : float
        Kernels of a layer with experts, and with latent attention, beside the operators listed.
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
    overlap_fraction : float
        Share of a collective that runs beside other work of the step; not fitted, because the
        fitted latency and link efficiency already contain what engines hide.
    """

    product_factor: float
    expert_factor: float
    memory_efficiency: float
    cache_efficiency: float
    compute_efficiency: float
    attention_efficiency: float
    kernel_s: float
    expert_kernels: float
    latent_kernels: float
    eager_s: float
    sequence_s: float
    step_s: float
    hop_s: float
    link_efficiency: float
    ramp_bytes: float
    ramp_exponent: float
    overlap_fraction: float

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
    product_factor=0.0,
    expert_factor=0.0,
    memory_efficiency=1.0,
    cache_efficiency=1.0,
    compute_efficiency=1.0,
    attention_efficiency=1.0,
    kernel_s=0.0,
    expert_kernels=0.0,
    latent_kernels=0.0,
    eager_s=0.0,
    sequence_s=0.0,
    step_s=0.0,
    hop_s=0.0,
    link_efficiency=1.0,
    ramp_bytes=0.0,
    ramp_exponent=0.4,
    overlap_fraction=0.0,
)


LEVELS = (
    # key of a level, and the spread its effects are shrunk with (log units), chosen by folds
    ("vendor", 0.10),
    ("vendor|engine", 0.10),
    ("engine|chip", 0.10),
    ("engine|model", 0.25),
    ("engine|chip|model", 0.25),
    ("engine|chip|model|precision", 0.15),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Software:
    """What the effects of a placement's software depend on; the vendor is a chip's first word."""

    engine: str
    chip: str
    model: str
    precision: str = ""

    def effect_keys(self) -> tuple[str, ...]:
        """Keys of the effects that apply, in the order of LEVELS.

        Examples
        --------
        >>> served = Software(engine="vllm", chip="AMD MI355X", model="gpt-oss-120b")
        >>> served.effect_keys()[:3]
        ('vendor AMD', 'vendor|engine AMD|vllm', 'engine|chip vllm|AMD MI355X')
        """
        value = {
            "vendor": self.chip.partition(" ")[0],
            "engine": self.engine,
            "chip": self.chip,
            "model": self.model,
            "precision": self.precision,
        }
        return tuple(
            f"{level} {'|'.join(value[part] for part in level.split('|'))}" for level, _ in LEVELS
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """Timing error left (log units) by what is known of a placement's software.

    Each is the 80 % quantile of errors on folds that were not fitted, over the normal one.

    Attributes
    ----------
    stack : float
        Engine, chip and model were measured together.
    model : float
        The engine was measured on the chip, not with this model.
    software : float
        The chip was measured, the engine is unknown ("generic").
    chip : float
        Nobody measured the chip.
    common : float
        The part of any of them that all chips share.
    """

    stack: float
    model: float
    software: float
    chip: float
    common: float


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
        Software differs: see LEVELS and `Software.effect_keys`. Effects of one fit are estimated
        together, each shrunk towards zero. That of the vendor applies to every chip of the vendor
        (its libraries are the same), the others to a placement whose stack is that engine.
    spread : Spread
        Error that remains.
    """

    fitted: str
    generic: StackConstants
    effects: Mapping[str, float]
    spread: Spread

    def log_factor(self, software: Software) -> float:
        """Log factor on time of the software; 0 where nothing is known."""
        return sum(self.effects.get(key, 0.0) for key in software.effect_keys())

    def own_log_sd(self, software: Software, *, measured: bool) -> float:
        """Error of one placement that other chips do not share, by how much of it was measured."""
        known = dict(zip((level for level, _ in LEVELS), software.effect_keys(), strict=True))
        if known["engine|chip|model"] in self.effects:
            whole = self.spread.stack
        elif known["engine|chip"] in self.effects:
            whole = self.spread.model
        else:
            whole = self.spread.software if measured else self.spread.chip
        return math.sqrt(max(0.0, whole**2 - self.spread.common**2))


@cache
def load_fit() -> Fit:
    """Read the shipped constants, data/constants.json; tools/fit_perf.py writes it."""
    text = resources.files("tapeout.perf").joinpath("data/constants.json").read_text("utf-8")
    raw = json.loads(text)
    return Fit(
        fitted=raw["fitted"],
        generic=StackConstants(**{name: one["value"] for name, one in raw["constants"].items()}),
        effects=raw["effects"],
        spread=Spread(**raw["spread"]),
    )
