"""The part of a run that counts, and whether the run was steady in it.

Warm-up and drain bias a short run: the first requests find an empty engine, and after the last
arrival there is no load. Latencies are of requests that arrive in the window, rates are counted in
it. In an open loop it ends with the last arrival; in a closed loop, and where everything arrives at
once, with the last token.

A run whose queue grows has no steady state: its latencies grow with its length and say nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import numpy as np

from tapeout.errors import InfeasibleError
from tapeout.numerics import Floats
from tapeout.serving.engine.types import RequestTable

SHORTEST_SHARE = 0.05  # arrivals within less than this share of the run are a burst
POINTS = 400  # at which the queue is counted
SECTIONS = 20  # whose means the line is put through
FEWEST = 100  # requests below which nothing is said
SIGNIFICANT = 3.0  # slopes over their standard error; one run in several hundred errs
GROWTH_SHARE = 0.02  # of the arrivals: what must queue up to be called growth
GROWTH_REQUESTS = 5.0


class Steadiness(Enum):
    """What the queue of a run is, in words."""

    STEADY = "steady"
    SATURATED = "saturated, it grows: latencies depend on the length of the run"
    DRAINING = "not steady, it falls over the window"
    SHORT = "not known to be steady, there are too few requests to tell"


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """What is observed.

    Attributes
    ----------
    start_s, end_s : float
        [s]
    burst : bool
        Everything arrives in a small part of the run, or the loop is closed: the window goes on to
        the last token.
    """

    start_s: float
    end_s: float
    burst: bool = False

    @property
    def length_s(self) -> float:
        """[s]."""
        return self.end_s - self.start_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Trend:
    """A straight line through the number of waiting requests.

    Attributes
    ----------
    steadiness : Steadiness
    growth : float
        Requests that the line rises by over the window.
    slope_per_s : float
        [requests/s]
    slope_error_per_s : float
        Its standard error, correlation of neighbours allowed for. [requests/s]
    """

    steadiness: Steadiness
    growth: float
    slope_per_s: float
    slope_error_per_s: float


def window_of(
    requests: RequestTable, end_s: float, *, warm_up_s: float = 0.0, closed: bool = False
) -> Window:
    """Window of a run.

    Parameters
    ----------
    requests : RequestTable
    end_s : float
        Of the run. [s]
    warm_up_s : float
        Left out at the beginning. [s]
    closed : bool
        Closed loop.

    Raises
    ------
    InfeasibleError
        The warm-up leaves nothing.
    """
    arrived = requests.arrival_s[np.isfinite(requests.arrival_s)]
    last = float(arrived.max()) if arrived.size else 0.0
    burst = closed or last < SHORTEST_SHARE * end_s
    end = max(end_s if burst else last, 0.0)
    if warm_up_s > 0.0 and warm_up_s >= end:
        raise InfeasibleError(
            f"a warm-up of {warm_up_s:g} s leaves nothing: the window ends at {end:.4g} s"
        )
    return Window(start_s=max(warm_up_s, 0.0), end_s=end, burst=burst)


def trend_of(requests: RequestTable, window: Window) -> Trend:
    """Test whether the number of waiting requests rises over the window.

    A line through the means of sections; the error of its slope is widened by the correlation of
    neighbouring residuals. Growth must be both significant and a share of the arrivals that
    matters. Waiting after a preemption is not counted.
    """
    arrived = _times(requests.arrival_s[requests.rejected == 0])
    started = _times(requests.scheduled_s)
    inside = _between(arrived, window)
    if inside < FEWEST or not window.length_s > 0.0:
        nan = float("nan")
        return Trend(
            steadiness=Steadiness.SHORT, growth=nan, slope_per_s=nan, slope_error_per_s=nan
        )
    at = np.linspace(window.start_s, window.end_s, POINTS)
    waiting = np.searchsorted(arrived, at, "right") - np.searchsorted(started, at, "right")
    level = waiting.reshape(SECTIONS, -1).mean(axis=1)
    slope, error = _line(level)
    per_s = SECTIONS / window.length_s
    return Trend(
        steadiness=_steadiness(slope, error, inside),
        growth=slope * SECTIONS,
        slope_per_s=slope * per_s,
        slope_error_per_s=error * per_s,
    )


def _steadiness(slope: float, error: float, arrivals: int) -> Steadiness:
    growth = slope * SECTIONS
    if abs(growth) <= max(GROWTH_REQUESTS, GROWTH_SHARE * arrivals):
        return Steadiness.STEADY
    if abs(slope) <= SIGNIFICANT * error:
        return Steadiness.STEADY
    return Steadiness.SATURATED if growth > 0.0 else Steadiness.DRAINING


def _line(level: Floats) -> tuple[float, float]:
    """Slope for each section, and its standard error with first-order correlation."""
    place = np.arange(level.size) - (level.size - 1) / 2.0
    square = float(np.square(place).sum())
    slope = float(place @ level) / square
    rest = level - level.mean() - slope * place
    spread = float(np.square(rest).sum())
    if spread == 0.0:
        return slope, 0.0
    alike = max(0.0, float(rest[1:] @ rest[:-1]) / spread)
    widened = (1.0 + alike) / (1.0 - min(alike, 0.9))
    return slope, float(np.sqrt(spread / (level.size - 2) / square * widened))


def _times(values: Floats) -> Floats:
    return np.sort(values[np.isfinite(values)])


def _between(times: Floats, window: Window) -> int:
    low, high = np.searchsorted(times, [window.start_s, window.end_s], "left")
    return int(high - low + np.count_nonzero(times == window.end_s))
