"""Operators of a step as points under the rooflines of their chip."""

from __future__ import annotations

from dataclasses import dataclass

from tapeout.chip.types import ChipSpec
from tapeout.perf.peaks import peak_flop_per_s, peak_format
from tapeout.perf.points import Breakdown, OperatorShare


@dataclass(frozen=True, slots=True, kw_only=True)
class RooflinePoint:
    """An operator: FLOP per byte it moves, and the FLOP per second it reaches on one chip.

    `roof_flop_per_s` is what the chip allows at that intensity, `time_fraction` the share of the
    step.
    """

    name: str
    kind: str
    dtype: str
    intensity_flop_per_byte: float
    reached_flop_per_s: float
    roof_flop_per_s: float
    time_fraction: float

    @property
    def roof_fraction(self) -> float:
        """Reached rate over the roof above it."""
        return self.reached_flop_per_s / self.roof_flop_per_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Roof:
    """The roofline of one format: min(peak, intensity x bandwidth)."""

    dtype: str
    peak_flop_per_s: float
    bytes_per_s: float

    @property
    def ridge_flop_per_byte(self) -> float:
        """Intensity from which arithmetic limits."""
        return self.peak_flop_per_s / self.bytes_per_s

    def at(self, intensity_flop_per_byte: float) -> float:
        """Roof at an intensity. [FLOP/s]."""
        return min(self.peak_flop_per_s, intensity_flop_per_byte * self.bytes_per_s)


def roof(chip: ChipSpec, dtype: str) -> Roof:
    """Roofline of a chip in a format.

    Raises
    ------
    MissingFieldError
        The chip has no peak at all.

    Examples
    --------
    >>> one = ChipSpec(name="c", peak_flop_per_s={"fp8": 2e15}, memory_bytes=1e11,
    ...                memory_bytes_per_s=4e12)
    >>> roof(one, "fp8").ridge_flop_per_byte, roof(one, "fp8").at(100.0)
    (500.0, 400000000000000.0)
    """
    return Roof(
        dtype=dtype,
        peak_flop_per_s=peak_flop_per_s(chip, dtype),
        bytes_per_s=chip.memory_bytes_per_s,
    )


def roofline_points(found: Breakdown) -> tuple[RooflinePoint, ...]:
    """Operators that do arithmetic, slowest first."""
    return tuple(
        _point(found, one)
        for one in found.operators
        if one.flop > 0.0 and one.moved_bytes > 0.0 and one.time_s > 0.0
    )


def _point(found: Breakdown, one: OperatorShare) -> RooflinePoint:
    intensity = one.flop / one.moved_bytes
    return RooflinePoint(
        name=one.name,
        kind=one.kind,
        dtype=one.dtype,
        intensity_flop_per_byte=intensity,
        reached_flop_per_s=one.flop / one.time_s,
        roof_flop_per_s=roof(found.placement.system.chip, one.dtype).at(intensity),
        time_fraction=one.time_s / found.time_s,
    )


def roofs(found: Breakdown) -> tuple[Roof, ...]:
    """Rooflines of the formats that the points use, highest peak first."""
    chip = found.placement.system.chip
    used = {}
    for one in roofline_points(found):
        name = peak_format(chip, one.dtype)
        used[name] = roof(chip, name)
    return tuple(sorted(used.values(), key=lambda each: -each.peak_flop_per_s))
