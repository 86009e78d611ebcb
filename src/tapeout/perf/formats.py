"""Number formats a stack serves a checkpoint in on a chip, from data/formats.csv."""

from __future__ import annotations

import csv
from functools import cache
from importlib import resources

from tapeout.chip.types import ChipSpec
from tapeout.errors import UnknownNameError
from tapeout.workload import ModelArchitecture, TensorFormats

ANY = "*"
GENERIC = "generic"
FOUR_BIT = ("fp4", "mxfp4", "nvfp4", "int4")


@cache
def _rules() -> tuple[dict[str, str], ...]:
    text = resources.files("tapeout.perf").joinpath("data/formats.csv").read_text("utf-8")
    return tuple(csv.DictReader(text.splitlines()))


def usual_precision(chip: ChipSpec, architecture: ModelArchitecture) -> str:
    """Narrowest precision served on a chip: fp4 where it has fp4 units, else fp8, else bf16.

    A checkpoint published in 4 bit stays so on chips without fp4 units (unpacked as it is read).

    Examples
    --------
    >>> from tapeout.workload import load_model
    >>> hopper = ChipSpec(name="h", peak_flop_per_s={"bf16": 1e15, "fp8": 2e15},
    ...                   memory_bytes=8e10, memory_bytes_per_s=3e12)
    >>> usual_precision(hopper, load_model("llama-3.1-70b"))
    'fp8'
    """
    has = chip.peak_flop_per_s
    if "fp4" in has:
        return "fp4"
    if architecture.native.expert in FOUR_BIT:
        return "int4" if architecture.native.expert == "int4" else "fp4"
    if "fp8" in has:
        return "fp8"
    return "int8" if set(has) == {"int8"} else "bf16"


def serving_formats(
    chip: ChipSpec,
    architecture: ModelArchitecture,
    precision: str | None = None,
    *,
    stack: str = GENERIC,
) -> TensorFormats:
    """Formats of weights, experts, activations and cache; the first rule that fits speaks.

    Parameters
    ----------
    chip : ChipSpec
    architecture : ModelArchitecture
    precision : str, optional
        Of the weights, as benchmarks state it: fp4, fp8, int4, int8 or bf16; default: the
        narrowest that stacks serve on the chip.
    stack : str
        Engine, as in `Placement.stack`; "dynamo-trt" and the like are the engine they start.

    Raises
    ------
    UnknownNameError
        No rule for the precision.
    """
    wanted = precision or usual_precision(chip, architecture)
    units = wanted if wanted in chip.peak_flop_per_s else "other"
    engine = stack.lower().rpartition("dynamo-")[2]
    experts = architecture.native.expert if _has_experts(architecture) else "dense"
    for rule in _rules():
        fits = (
            rule["precision"] == wanted
            and rule["stack"] in (engine, ANY)
            and rule["chip"] in (units, ANY)
            and rule["experts"] in (experts, ANY)
        )
        if fits:
            return _formats(rule, architecture)
    raise UnknownNameError("precision", wanted, sorted({rule["precision"] for rule in _rules()}))


def _formats(rule: dict[str, str], architecture: ModelArchitecture) -> TensorFormats:
    native = architecture.native
    weight = native.weight if rule["weight"] == "native" else rule["weight"]
    expert = native.expert if rule["expert"] == "native" else rule["expert"]
    return TensorFormats(
        weight=weight,
        activation=rule["activation"],
        kv=rule["kv"],
        expert=None if expert == weight or not _has_experts(architecture) else expert,
    )


def _has_experts(architecture: ModelArchitecture) -> bool:
    return architecture.experts > 0
