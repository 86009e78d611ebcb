"""When requests come: renewal processes of rate 1, and rates over time.

A process runs in operational time, in which one request comes per unit. The clock time follows
from the rates: with a constant one by a division, with windows by the inverse of the integral of
the rate. So two rates with one seed see the same requests, closer together or farther apart.

Processes are stationary: the first gap is what is left of a gap that began before the start. An
ordinary renewal process, which begins with a whole gap, would bring (CV^2 - 1) / 2 requests more
than the rate says (D. R. Cox, "Renewal Theory", 1962, section 4.2).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from tapeout.errors import InfeasibleError
from tapeout.numerics import Floats

MOST_CV = 100.0
MOST_WINDOWS = 10_000_000
LEAST_CV = 0.01
_MOST_GAPS = 1_000_000  # drawn at once


class Renewal(Protocol):
    """Gaps between requests, independent and of mean 1."""

    def gaps(self, rng: np.random.Generator, count: int) -> Floats:
        """Draw gaps, shape (count,)."""
        ...

    def first(self, rng: np.random.Generator) -> float:
        """Draw the time from the start to the first request."""
        ...

    @property
    def cv(self) -> float:
        """Standard deviation of a gap over its mean."""
        ...

    @property
    def words(self) -> str:
        """The process by name."""
        ...


@dataclass(frozen=True, slots=True)
class Poisson:
    """Requests that know nothing of each other."""

    def gaps(self, rng: np.random.Generator, count: int) -> Floats:
        """Draw exponential gaps."""
        return rng.standard_exponential(count)

    def first(self, rng: np.random.Generator) -> float:
        """Draw an exponential gap: the process has no memory."""
        return float(rng.standard_exponential())

    @property
    def cv(self) -> float:
        """One."""
        return 1.0

    @property
    def words(self) -> str:
        """The process by name."""
        return "Poisson"


@dataclass(frozen=True, slots=True)
class Gamma:
    """Gamma gaps; CV = 1 / sqrt(shape)."""

    shape: float

    def gaps(self, rng: np.random.Generator, count: int) -> Floats:
        """Draw Gamma gaps of mean 1."""
        return rng.standard_gamma(self.shape, count) / self.shape

    def first(self, rng: np.random.Generator) -> float:
        """Draw a uniform share of a gap weighted by its length, which is Gamma of shape + 1."""
        return float(rng.random() * rng.standard_gamma(self.shape + 1.0) / self.shape)

    @property
    def cv(self) -> float:
        """Standard deviation of a gap over its mean."""
        return 1.0 / math.sqrt(self.shape)

    @property
    def words(self) -> str:
        """The process by name."""
        return f"Gamma renewal of CV {self.cv:.3g}"


@dataclass(frozen=True, slots=True)
class Weibull:
    """Weibull gaps."""

    shape: float

    @property
    def _scale(self) -> float:
        return 1.0 / math.gamma(1.0 + 1.0 / self.shape)

    def gaps(self, rng: np.random.Generator, count: int) -> Floats:
        """Draw Weibull gaps of mean 1."""
        return rng.weibull(self.shape, count) * self._scale

    def first(self, rng: np.random.Generator) -> float:
        """Draw a uniform share of a gap weighted by its length.

        With y = (x / scale)^shape the weighted gap is Gamma(1 + 1 / shape) in y.
        """
        weighted = rng.standard_gamma(1.0 + 1.0 / self.shape) ** (1.0 / self.shape)
        return float(rng.random() * weighted * self._scale)

    @property
    def cv(self) -> float:
        """Standard deviation of a gap over its mean."""
        return _weibull_cv(self.shape)

    @property
    def words(self) -> str:
        """The process by name."""
        return f"Weibull renewal of CV {self.cv:.3g}"


def _weibull_cv(shape: float) -> float:
    log_ratio = math.lgamma(1.0 + 2.0 / shape) - 2.0 * math.lgamma(1.0 + 1.0 / shape)
    return math.sqrt(math.expm1(log_ratio))


def renewal(family: str, cv: float) -> Renewal:
    """Make a process from its family and its coefficient of variation.

    Parameters
    ----------
    family : "poisson", "gamma" or "weibull"
    cv : float
        0.01 to 100; a Poisson process has 1.

    Raises
    ------
    InfeasibleError
        The coefficient is out of range, or not that of the family.

    Examples
    --------
    >>> round(renewal("weibull", 1.0).cv, 9)
    1.0
    """
    if not LEAST_CV <= cv <= MOST_CV:
        raise InfeasibleError(f"a CV of {cv:g} is not between {LEAST_CV:g} and {MOST_CV:g}")
    if family == "poisson":
        if cv != 1.0:
            raise InfeasibleError(f"Poisson gaps have CV 1, not {cv:g}; choose gamma or weibull")
        return Poisson()
    if family == "gamma":
        return Gamma(cv**-2)
    if family != "weibull":
        raise InfeasibleError(f"unknown family {family!r}; choose poisson, gamma or weibull")
    low, high = 0.05, 200.0  # CV 3e5 and 0.006
    for _ in range(80):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if _weibull_cv(middle) > cv else (low, middle)
    return Weibull(math.sqrt(low * high))


def operational_times(process: Renewal, end: float, rng: np.random.Generator) -> Floats:
    """Requests of a process of rate 1 before `end`.

    Parameters
    ----------
    process : Renewal
    end : float
        In requests; their mean number.
    rng : Generator
        Nothing else is drawn from it.

    Returns
    -------
    array, shape (request,)
        Ascending. A later end only adds requests.
    """
    at = process.first(rng)
    if at >= end:
        return np.empty(0)
    parts, last = [np.array([at])], at
    while last < end:
        left = end - last
        count = min(int(left + 3.0 * process.cv * math.sqrt(left)) + 16, _MOST_GAPS)
        # summed in one go with the last one, so that rounding does not depend on the count
        times = np.cumsum(np.concatenate([[last], process.gaps(rng, count)]))[1:]
        parts.append(times)
        last = float(times[-1])
    times = np.concatenate(parts)
    return times[: int(np.searchsorted(times, end))]


def first_times(process: Renewal, count: int, rng: np.random.Generator) -> Floats:
    """First `count` requests of a process of rate 1, shape (count,)."""
    if count < 1:
        return np.empty(0)
    first = process.first(rng)  # before the gaps, as in `operational_times`
    return np.cumsum(np.concatenate([[first], process.gaps(rng, count - 1)]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """Requests per second over time, constant in every window.

    Attributes
    ----------
    edges_s : array, shape (window + 1,)
        Where windows begin, and the end. [s]
    rates_rps : array, shape (window,)
        [1/s]
    """

    edges_s: Floats
    rates_rps: Floats

    @property
    def expected(self) -> float:
        """Mean number of requests."""
        return float(self.rates_rps @ np.diff(self.edges_s))

    def clock(self, times: Floats) -> Floats:
        """Turn operational times below `expected` into times of the clock [s]."""
        passed = np.concatenate([[0.0], np.cumsum(self.rates_rps * np.diff(self.edges_s))])
        window = np.searchsorted(passed, times, side="right") - 1
        window = np.minimum(window, self.rates_rps.size - 1)
        clock: Floats = self.edges_s[window] + (times - passed[window]) / self.rates_rps[window]
        return clock

    def scaled(self, factor: float) -> Rates:
        """Return the same shape at another rate."""
        return Rates(edges_s=self.edges_s, rates_rps=self.rates_rps * factor)


def repeated(rates: Rates, end_s: float) -> Rates:
    """Rates from 0 to an end, again from the first where it lies behind the last window.

    Raises
    ------
    InfeasibleError
        That makes too many windows.
    """
    period_s, windows = float(rates.edges_s[-1]), rates.rates_rps.size
    if end_s / period_s * windows > MOST_WINDOWS:
        raise InfeasibleError(f"{end_s:g} s are more than {MOST_WINDOWS:,} windows; widen them")
    rounds = math.ceil(end_s / period_s)
    edges = np.concatenate([rates.edges_s[:-1] + n * period_s for n in range(rounds)])
    every = np.tile(rates.rates_rps, rounds)
    is_before = edges < end_s
    return Rates(edges_s=np.append(edges[is_before], end_s), rates_rps=every[is_before])


def constant(rate_rps: float, duration_s: float) -> Rates:
    """One rate all the time."""
    return Rates(edges_s=np.array([0.0, duration_s]), rates_rps=np.array([rate_rps]))
