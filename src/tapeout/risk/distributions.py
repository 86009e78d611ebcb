"""Distributions of driver figures, each through its quantile function.

A value is the median, low and high are the 5 and 95 % points: two half distributions joined at
the median, lognormal for positive figures, logit-normal for fractions, normal for signed ones.
Everything is drawn by inverting the distribution, so Sobol points keep their evenness.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import ArrayLike

from tapeout.constants import Z90
from tapeout.errors import InfeasibleError
from tapeout.numerics import Floats
from tapeout.sources import Figure

Kind = Literal["positive", "fraction", "signed"]
INSIDE = 1e-4  # a bound of 0 or 1 on a fraction is moved this far in: no logit reaches it


class Distribution(Protocol):
    """What a driver figure may be."""

    def ppf(self, u: Floats) -> Floats:
        """Quantile at probability u in (0, 1), same shape."""
        ...


@dataclass(frozen=True, slots=True)
class Constant:
    """A figure without uncertainty; for exact figures, or to switch an effect off."""

    value: float

    def ppf(self, u: Floats) -> Floats:
        """Return the value for every u."""
        return np.full_like(u, self.value)


@dataclass(frozen=True, slots=True)
class Uniform:
    """Evenly spread from low to high; the default hands u itself on."""

    low: float = 0.0
    high: float = 1.0

    def ppf(self, u: Floats) -> Floats:
        """Quantile at probability u."""
        return self.low + (self.high - self.low) * u


@dataclass(frozen=True, slots=True, kw_only=True)
class TwoPieceNormal:
    """Normal halves about the median, cut off at `floor`."""

    median: float
    low: float
    high: float
    floor: float = -math.inf

    def ppf(self, u: Floats) -> Floats:
        """Quantile at probability u."""
        return np.maximum(_two_piece(u, self.low, self.median, self.high), self.floor)


@dataclass(frozen=True, slots=True, kw_only=True)
class TwoPieceLognormal:
    """Normal halves of the logarithm about the median; all three are positive."""

    median: float
    low: float
    high: float

    def ppf(self, u: Floats) -> Floats:
        """Quantile at probability u."""
        logs = (math.log(x) for x in (self.low, self.median, self.high))
        value: Floats = np.exp(_two_piece(u, *logs))
        return value


@dataclass(frozen=True, slots=True, kw_only=True)
class TwoPieceLogitNormal:
    """Normal halves of the log odds about the median; all three lie inside (0, 1)."""

    median: float
    low: float
    high: float

    def ppf(self, u: Floats) -> Floats:
        """Quantile at probability u."""
        logits = (_logit(x) for x in (self.low, self.median, self.high))
        value: Floats = 1.0 / (1.0 + np.exp(-_two_piece(u, *logits)))
        return value


@dataclass(frozen=True, slots=True)
class Bernoulli:
    """One with probability p, else zero. High u is the event."""

    probability: float

    def ppf(self, u: Floats) -> Floats:
        """Quantile at probability u."""
        return np.where(u > 1.0 - self.probability, 1.0, 0.0)


@dataclass(frozen=True, slots=True)
class Discrete:
    """Values with weights, in the order given; weights need not add up to one."""

    values: Sequence[float]
    weights: Sequence[float]

    def ppf(self, u: Floats) -> Floats:
        """Quantile at probability u; zero weight is never drawn."""
        edges = np.cumsum(np.asarray(self.weights, float))
        index = np.searchsorted(edges / edges[-1], u, side="left")
        return np.asarray(self.values, float)[np.minimum(index, len(edges) - 1)]


@dataclass(frozen=True, slots=True)
class Beta:
    """A probability with a beta prior, e.g. Beta(14, 86) for first-silicon success."""

    successes: float
    failures: float

    def ppf(self, u: Floats) -> Floats:
        """Quantile at probability u."""
        from scipy.special import betaincinv  # noqa: PLC0415 - heavy to import

        value: Floats = betaincinv(self.successes, self.failures, u)
        return value


@dataclass(frozen=True, slots=True)
class Gamma:
    """A rate with a gamma posterior: shape, and rate in the inverse unit of the figure."""

    shape: float
    rate: float

    def ppf(self, u: Floats) -> Floats:
        """Quantile at probability u."""
        from scipy.special import gammaincinv  # noqa: PLC0415 - heavy to import

        value: Floats = gammaincinv(self.shape, u) / self.rate
        return value


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtraSpins:
    """Silicon steppings after the first, see `extra_spins`."""

    first_success: float
    later_success: float
    cap: int = 6

    def ppf(self, u: Floats) -> Floats:
        """Quantile at probability u."""
        return extra_spins(u, self.first_success, self.later_success, cap=self.cap)


def extra_spins(
    u: Floats, first_success: ArrayLike, later_success: ArrayLike, *, cap: int = 6
) -> Floats:
    """Steppings needed after the first silicon, by inverting a geometric distribution.

    Parameters
    ----------
    u : array, shape (...)
        Uniform draws.
    first_success, later_success : array, shape (...)
        p1, chance that the first silicon is good, and p2 of each later one, independent.
    cap : int
        Most steppings; a small p2 would otherwise never end.

    Returns
    -------
    array, shape (...)
        0, 1, 2 ... with mean (1 - p1)/p2 before the cap.
    """
    first, later = np.asarray(first_success, float), np.asarray(later_success, float)
    left = np.minimum((1.0 - u) / np.maximum(1.0 - first, np.finfo(float).tiny), 1.0)
    with np.errstate(divide="ignore"):  # p2 = 1 is one stepping: log 0
        steps = np.ceil(np.log(left) / np.log1p(-later))
    spins: Floats = np.where(u <= first, 0.0, np.clip(steps, 1.0, cap))
    return spins


def from_range(value: float, low: float | None, high: float | None, kind: Kind) -> Distribution:
    """Distribution of a figure from its median and its 5 and 95 % points.

    Parameters
    ----------
    value, low, high : float
        Both None, or both equal to the value: a constant. One None: mirrored from the other side,
        in logs, log odds or plainly by kind.
    kind : "positive", "fraction" or "signed"

    Returns
    -------
    Distribution
        Two-piece lognormal, logit-normal or normal. A positive figure whose low is zero has no
        logarithm there and gets a two-piece normal that stops at zero.

    Raises
    ------
    InfeasibleError
        low > value or value > high, or a bound outside what the kind allows.

    Examples
    --------
    >>> float(from_range(4.0, 2.0, 12.0, "positive").ppf(np.array(0.95)).round(6))
    12.0
    """
    if low is None and high is None:
        return Constant(value)
    if kind == "fraction":
        _check(value, low, high, least=0.0, most=1.0)
        return _fraction(value, low, high)
    _check(value, low, high, least=-math.inf if kind == "signed" else 0.0, most=math.inf)
    if kind == "positive" and value > 0.0 and low != 0.0:
        bottom, top = _both(value, low, high, math.log, math.exp)
        if bottom == top:
            return Constant(value)
        return TwoPieceLognormal(median=value, low=bottom, high=top)
    bottom, top = _both(value, low, high, float, float)
    if bottom == top:
        return Constant(value)
    floor = 0.0 if kind == "positive" else -math.inf
    return TwoPieceNormal(median=value, low=max(bottom, floor), high=top, floor=floor)


def from_figure(figure: Figure, kind: Kind) -> Distribution:
    """Distribution of a catalogue figure; an exact one is a constant.

    A figure without a range is a constant too: giving it the documented default range of its
    class is the catalogue's task.
    """
    if figure.range_kind == "exact":
        return Constant(figure.value)
    return from_range(figure.value, figure.low, figure.high, kind)


def lognormal_range(low: float, high: float) -> Distribution:
    """Reading of "a to b" for a positive figure: lognormal with 5 and 95 % points a and b.

    Examples
    --------
    >>> float(lognormal_range(300.0, 500.0).ppf(np.array(0.5)).round(1))
    387.3
    """
    return from_range(math.sqrt(low * high), low, high, "positive")


def _check(
    value: float, low: float | None, high: float | None, *, least: float, most: float
) -> None:
    bottom, top = value if low is None else low, value if high is None else high
    if not least <= bottom <= value <= top <= most:
        allowed = f" within {least:g} and {most:g}" if math.isfinite(least) else ""
        raise InfeasibleError(
            f"range {low} .. {value} .. {high}: write low <= value <= high{allowed}"
        )


def _fraction(value: float, low: float | None, high: float | None) -> Distribution:
    if all(bound in (None, value) for bound in (low, high)):
        return Constant(value)

    def inside(x: float) -> float:
        return min(max(x, INSIDE), 1.0 - INSIDE)

    median = inside(value)
    bottom, top = _both(
        median,
        None if low is None else inside(low),
        None if high is None else inside(high),
        _logit,
        lambda x: 1.0 / (1.0 + math.exp(-x)),
    )
    return TwoPieceLogitNormal(median=median, low=bottom, high=top)


def _both(
    value: float,
    low: float | None,
    high: float | None,
    forward: Callable[[float], float],
    back: Callable[[float], float],
) -> tuple[float, float]:
    """Low and high, a missing one mirrored about the value on the scale of `forward`."""
    if low is None:
        assert high is not None
        return back(2.0 * forward(value) - forward(high)), high
    return low, back(2.0 * forward(value) - forward(low)) if high is None else high


def _logit(fraction: float) -> float:
    return math.log(fraction / (1.0 - fraction))


def _two_piece(u: Floats, low: float, median: float, high: float) -> Floats:
    from scipy.special import ndtri  # noqa: PLC0415 - heavy to import

    z: Floats = ndtri(u)
    # of the two products one is zero; a choice by mask would take longer
    spread = np.minimum(z, 0.0) * (median - low) + np.maximum(z, 0.0) * (high - median)
    value: Floats = median + spread / Z90
    return value
