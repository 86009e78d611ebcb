"""The part of a run that counts, and whether the run was steady in it.

Warm-up and drain bias a short run: the first requests find an empty engine, and after the last
arrival there is no load. Latencies are of requests that arrive in the window, rates are counted in
it. In an open loop it ends with the last arrival; in a closed loop, and where everything arrives at
once, with the last token.

A run in which requests pile up has no steady state: its latencies grow with its length and say
nothing. They may pile up waiting, running or preempted, so all in the system are counted.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum

import numpy as np

from tapeout.errors import InfeasibleError
from tapeout.numerics import Floats
from tapeout.serving.engine.types import RequestTable

SHORTEST_SHARE = 0.05  # arrivals within less than this share of the run are a burst
POINTS = 400  # at which the requests in the system are counted
SECTIONS = 20  # whose means the line is put through
FEWEST = 100  # requests below which nothing is said
SIGNIFICANT = 3.0  # slopes over their standard error; one run in several hundred errs
GROWTH_SHARE = 0.02  # of the arrivals: what must queue up to be called growth
GROWTH_REQUESTS = 5.0
LIFETIMES = 4.0  # mean times in the system that a window must last for a verdict
FILLING = 2.0  # of them, from the start of the run: left out, as the engine fills up
FULL = 0.95  # of the most that ever run: full load


class Steadiness(Enum):
    """What the number of requests in the system is, in words."""

    STEADY = "steady"
    SATURATED = "saturated, it grows: latencies depend on the length of the run"
    DRAINING = "not steady, it falls over the window"
    SHORT = "not known to be steady, there are too few requests to tell"
    TOO_SHORT = "not known to be steady, the window is too short to tell"


class Basis(Enum):
    """What rates are counted over, in words."""

    WINDOW = "window"
    FULL_LOAD = "full load"
    WHOLE_RUN = "whole run"


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
    """A straight line through the number of requests in the system.

    Waiting, running and preempted ones count; the first lifetimes of a run, in which the engine
    fills up, are left out where the window is long enough to be judged without them.

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


def trend_of(requests: RequestTable, window: Window, *, slots: int = 0) -> Trend:
    """Test whether requests pile up over the window.

    A line through the means of sections; the error of its slope is widened by the correlation of
    neighbouring residuals. Growth must be both significant and a share of the arrivals that
    matters. Requests that never ran are judged in any window; those in the system only where the
    window lasts `LIFETIMES` mean times in the system, since an engine that fills up looks alike.

    Parameters
    ----------
    requests : RequestTable
    window : Window
    slots : int
        Sequences that can be in flight; 0: not known. A run that takes in more than leave it, by
        more than this, is saturated whatever the line says.
    """
    arrived = _times(requests.arrival_s[requests.rejected == 0])
    inside = _between(arrived, window)
    if inside < FEWEST or not window.length_s > 0.0:
        nan = float("nan")
        return Trend(
            steadiness=Steadiness.SHORT, growth=nan, slope_per_s=nan, slope_error_per_s=nan
        )
    ended, life_s = _times(requests.last_token_s), _lifetime_s(requests, window)
    long_enough = window.length_s >= LIFETIMES * life_s
    judged = window
    if long_enough and not window.burst:
        judged = replace(window, start_s=max(window.start_s, FILLING * life_s))
    line = _trend((arrived, ended), judged, inside)
    queue = _trend((arrived, _times(requests.scheduled_s)), window, inside)
    ends = [window.start_s, window.end_s]
    left = np.diff(np.searchsorted(arrived, ends, "right") - np.searchsorted(ended, ends, "right"))
    if slots and left[0] > slots + _negligible(inside):
        return replace(line, steadiness=Steadiness.SATURATED)
    if queue.steadiness is not Steadiness.STEADY:
        return replace(line, steadiness=queue.steadiness)
    return line if long_enough else replace(line, steadiness=Steadiness.TOO_SHORT)


def rates_over(requests: RequestTable, window: Window, trend: Trend) -> tuple[Window, Basis]:
    """Part of a run that rates of service are counted over.

    The window, but of a saturated run the time of full load: from when `FULL` of the most that
    ever run do, to when the last request starts and the drain begins. Where this is shorter than
    a request takes, the whole run, in which filling and draining weigh.
    """
    if trend.steadiness is not Steadiness.SATURATED:
        return window, Basis.WINDOW
    started, ended = _times(requests.scheduled_s), _times(requests.last_token_s)
    if not ended.size:
        return window, Basis.WINDOW
    running = np.arange(1, started.size + 1) - np.searchsorted(ended, started, "right")
    full_s = float(started[np.argmax(running >= FULL * running.max())])
    full = Window(start_s=max(full_s, window.start_s), end_s=float(started[-1]))
    service_s = float(np.nanmean(requests.last_token_s - requests.scheduled_s))
    if full.length_s >= service_s:
        return full, Basis.FULL_LOAD
    return Window(start_s=window.start_s, end_s=float(ended[-1])), Basis.WHOLE_RUN


def _trend(times: tuple[Floats, Floats], window: Window, arrivals: int) -> Trend:
    """Trend of what came and has not gone."""
    at = np.linspace(window.start_s, window.end_s, POINTS)
    count = np.searchsorted(times[0], at, "right") - np.searchsorted(times[1], at, "right")
    slope, error = _line(count.reshape(SECTIONS, -1).mean(axis=1))
    per_s = SECTIONS / window.length_s
    return Trend(
        steadiness=_steadiness(slope, error, arrivals),
        growth=slope * SECTIONS,
        slope_per_s=slope * per_s,
        slope_error_per_s=error * per_s,
    )


def _lifetime_s(requests: RequestTable, window: Window) -> float:
    """Mean time in the system of the requests that arrive in the window; 0 if none ended. [s]."""
    at = requests.arrival_s
    life_s = requests.e2e_s[(at >= window.start_s) & (at <= window.end_s)]
    life_s = life_s[np.isfinite(life_s)]
    return float(life_s.mean()) if life_s.size else 0.0


def _negligible(arrivals: int) -> float:
    return max(GROWTH_REQUESTS, GROWTH_SHARE * arrivals)


def _steadiness(slope: float, error: float, arrivals: int) -> Steadiness:
    growth = slope * SECTIONS
    if abs(growth) <= _negligible(arrivals):
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
