"""Which peak rate an operator runs at."""

from __future__ import annotations

from tapeout.chip.types import ChipSpec
from tapeout.errors import MissingFieldError

WIDER: dict[str, tuple[str, ...]] = {
    "fp4": ("fp4", "fp8", "bf16", "fp16", "fp32"),
    "int4": ("int4", "int8", "bf16", "fp16", "fp32"),
    "fp8": ("fp8", "bf16", "fp16", "fp32"),
    "int8": ("int8", "fp16", "bf16", "fp32"),
    "bf16": ("bf16", "fp16", "fp32"),
    "fp16": ("fp16", "bf16", "fp32"),
    "fp32": ("fp32", "bf16", "fp16"),
}
"""Formats to look for, in order; fp32 work on a chip without an fp32 rate runs as bf16."""


def peak_format(chip: ChipSpec, dtype: str) -> str:
    """Format whose peak a format's work runs at: itself, the next wider one, else the slowest.

    Raises
    ------
    MissingFieldError
        The chip has no peak at all.

    Examples
    --------
    >>> one = ChipSpec(name="c", peak_flop_per_s={"fp32": 1e12}, memory_bytes=1e10,
    ...                memory_bytes_per_s=1e11)
    >>> peak_format(one, "bf16")
    'fp32'
    """
    peaks = chip.peak_flop_per_s
    for name in WIDER.get(dtype, (dtype,)):
        if name in peaks:
            return name
    if peaks:
        return min(peaks, key=lambda name: peaks[name])
    raise MissingFieldError(
        f"{chip.name} has no peak rate for any number format; add peak_bf16, peak_fp8 or peak_fp4 "
        "to the catalogue or an overlay"
    )


def peak_flop_per_s(chip: ChipSpec, dtype: str) -> float:
    """Dense peak of the format, or of the next wider one the chip has. [FLOP/s].

    A chip that has only narrower or integer formats runs at the slowest of them (as an int8 chip
    runs an int8 model; the accuracy of that model is not our question).

    Raises
    ------
    MissingFieldError
        The chip has no peak at all.
    """
    return chip.peak_flop_per_s[peak_format(chip, dtype)]
