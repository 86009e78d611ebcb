"""Seconds and joules of one engine step on a placement, calibrated against measurements."""

from tapeout.perf.constants import IDEAL, Fit, Software, Spread, StackConstants, load_fit
from tapeout.perf.formats import serving_formats, usual_precision
from tapeout.perf.memory import (
    MemoryMap,
    kv_per_chip_bytes,
    max_sequences,
    memory_map,
    require_fit,
    step_mix,
    weights_per_chip_bytes,
)
from tapeout.perf.physical import PhysicalModel, RooflineModel, prepare
from tapeout.perf.placing import heads_divide, in_words, placements
from tapeout.perf.power import CappedStep, ChipPower, PowerScope, capped, chip_power, stretched
from tapeout.perf.types import (
    TIGHT_MEMORY,
    Degrees,
    MemorySettings,
    Placement,
    StepCost,
    TimingModel,
)

__all__ = [
    "IDEAL",
    "TIGHT_MEMORY",
    "CappedStep",
    "ChipPower",
    "Degrees",
    "Fit",
    "MemoryMap",
    "MemorySettings",
    "PhysicalModel",
    "Placement",
    "PowerScope",
    "RooflineModel",
    "Software",
    "Spread",
    "StackConstants",
    "StepCost",
    "TimingModel",
    "capped",
    "chip_power",
    "heads_divide",
    "in_words",
    "kv_per_chip_bytes",
    "load_fit",
    "max_sequences",
    "memory_map",
    "placements",
    "prepare",
    "require_fit",
    "serving_formats",
    "step_mix",
    "stretched",
    "usual_precision",
    "weights_per_chip_bytes",
]
