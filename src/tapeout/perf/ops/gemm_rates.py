"""What a chip offers a product of given number formats: peaks, bytes per element, cores, cache."""

from __future__ import annotations

import math
from dataclasses import dataclass

from tapeout.chip.types import ChipSpec
from tapeout.perf.ops.cases import OpCase
from tapeout.perf.ops.gemm import GemmRates
from tapeout.perf.peaks import peak_flop_per_s

SCALE_BYTES = 4.0  # an fp32 scale; nvfp4 and mxfp4 store theirs in one byte


@dataclass(frozen=True, slots=True)
class Format:
    """Peak a number format multiplies at, and its bytes per weight and activation with scales."""

    peak: str
    weight_bytes: float
    activation_bytes: float


FORMATS = {
    "fp32": Format("fp32", 4.0, 4.0),
    "tf32": Format("fp32", 4.0, 4.0),
    "bf16": Format("bf16", 2.0, 2.0),
    "fp16": Format("fp16", 2.0, 2.0),
    "fp8": Format("fp8", 1.0, 1.0),
    "int8": Format("int8", 1.0, 1.0),
    # one scale for 128 x 128 weights, and for 128 activations of a token
    "fp8_block": Format("fp8", 1.0 + SCALE_BYTES / 128**2, 1.0 + SCALE_BYTES / 128),
    "nvfp4": Format("fp4", 0.5 + 1.0 / 16, 0.5 + 1.0 / 16),
    "mxfp4": Format("fp4", 0.5 + 1.0 / 32, 0.5 + 1.0 / 32),
    "mxfp8": Format("fp8", 1.0 + 1.0 / 32, 1.0 + 1.0 / 32),
    "fp6": Format("fp8", 0.75, 0.75),
    "int4": Format("int4", 0.5 + 2.0 / 128, 0.5 + 2.0 / 128),
}
DEFAULT = "bf16"
EXPERT_LAYER = "expert_ffn"
"""`kernel` of a grouped case that times gate, up and down of gated experts: n is their inner size,
k the width of the model. Any other kernel, or none, is a single product per expert."""
COPIES = {
    # layers that the collectors of these measurements time in turn (weights of several layers
    # pass between two uses of one); a served model, and any other stack: weights from memory
    "vllm-0.14.0": 6.0,
    "vllm-0.20.0": 6.0,
    "vllm-0.24.0": 6.0,
    "trtllm-1.3.0rc20": 5.0,
}
CORE_FLOP_PER_S = 7.5e12  # bf16 peak of a core of H100; for chips whose cores nobody states
LARGEST_CORE_FLOP_PER_S = 20e12  # a GB200 core has 16.9
CACHE_S = 1.7e-5  # last cache over memory bandwidth: 15 us on H100, 21 us on A100, 17 us on B200


def default_cores(chip: ChipSpec) -> float:
    """Cores that tiles are dealt to.

    The constants were fitted per GPU core, of 1 to 17 TFLOP/s bf16. A chip with no known core
    count, or with a few large ones (a TPU has one), counts as the H100 cores that have its rate.
    """
    peak = peak_flop_per_s(chip, "bf16")
    if chip.cores > 0 and peak / chip.cores <= LARGEST_CORE_FLOP_PER_S:
        return float(chip.cores)
    return max(1.0, round(peak / CORE_FLOP_PER_S))


def default_l2_bytes(chip: ChipSpec) -> float:
    """Last cache of a chip; where unknown its on-chip memory, or 17 us of memory bandwidth."""
    return chip.l2_bytes or chip.sram_bytes or CACHE_S * chip.memory_bytes_per_s


def formats_of(case: OpCase) -> tuple[str, str, list[str]]:
    """Formats of activations and weights, and the defaults taken for blanks."""
    assumed: list[str] = []
    act = case.act_dtype or case.dtype or case.weight_dtype
    weight = case.weight_dtype or case.dtype or case.act_dtype
    if not act:
        act = weight = DEFAULT
        assumed.append(f"dtype = {DEFAULT}")
    unknown = sorted({act, weight} - FORMATS.keys())
    assumed += [f"unknown format {name} taken as {DEFAULT}" for name in unknown]
    return act, weight, assumed


def copies_of(case: OpCase) -> float:
    """How many weights pass between two uses of the same one in the case's measurement."""
    if case.weights == "hot":
        return 1.0
    return COPIES.get(case.stack, math.inf)


def rates_for(chip: ChipSpec, act: str, weight: str, copies: float = math.inf) -> GemmRates:
    """Rates of a chip for activations and weights of these formats; bf16 results.

    Raises
    ------
    MissingFieldError
        The chip has no peak rate at all.
    """
    multiplied = FORMATS.get(act, FORMATS[DEFAULT])
    stored = FORMATS.get(weight, FORMATS[DEFAULT])
    return GemmRates(
        peak_flop_per_s=peak_flop_per_s(chip, multiplied.peak),
        bytes_per_s=chip.memory_bytes_per_s,
        cores=default_cores(chip),
        weight_bytes=stored.weight_bytes,
        activation_bytes=multiplied.activation_bytes,
        output_bytes=max(2.0, multiplied.activation_bytes if act in {"fp32", "tf32"} else 2.0),
        l2_bytes=default_l2_bytes(chip),
        copies=copies,
    )
