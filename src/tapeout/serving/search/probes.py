"""One run at one rate, held against an objective.

What is counted is the share of requests that miss a limit over the share that may: the burden. At 1
the objective is just met, whatever the percentile and the metric, so one number is bracketed. "The
90th percentile is below the limit" and "at most a tenth misses it" are the same; the share has the
simpler sampling error, a mean of zeros and ones by batches [1]_.

References
----------
.. [1] A. Law, "Simulation Modeling and Analysis", 5th ed., 2015, on batch means.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

import numpy as np

from tapeout.constants import PERCENT
from tapeout.numerics import Floats
from tapeout.serving.engine.types import RequestTable, Simulation
from tapeout.serving.intervals import LEAST_BATCHES, MOST_BATCHES, mean
from tapeout.serving.metrics import latencies_s
from tapeout.serving.objectives import Flags, Limit, Objective, meets
from tapeout.serving.traffic.trace import Trace
from tapeout.serving.window import SIGNIFICANT, Window, trend_of, window_of

WARM_UP = 0.1  # share of the arrivals left out at the beginning
FILL = 2.0  # times a request stays, left out at the beginning where that is longer
LONGEST_CUT = 0.5  # of the arrivals: more warm-up than this and the run is too short
GROWTH = 0.005  # of the arrivals that may queue up: half the precision of the answer
GROWTH_REQUESTS = 5.0
BATCH_STAYS = 8.0  # times in the engine that a batch lasts, to be nearly independent
LEAST_STAYS = 2.0  # of the fewest batches; shorter ones say nothing
STABILITY = "stability"
ATTAINMENT = "attainment"


class Verdict(Enum):
    """What a run at one rate shows."""

    MEETS = "meets every limit"
    MISSES_SLO = "misses a limit"
    UNSTABLE = "the queue grows without end"


@dataclass(frozen=True, slots=True, kw_only=True)
class Burden:
    """One limit in one run.

    Attributes
    ----------
    name : str
        The limit in words, or "attainment".
    metric : str
        ttft, tpot, e2e, queue or blank.
    value : float
        Share of requests that miss it over the share that may.
    half_width : float
        Of the 95 % interval; nan where it is unknown.
    allowed : float
        Share that may miss; 0: not known.
    """

    name: str
    metric: str
    value: float
    half_width: float
    allowed: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """A run at one rate.

    Attributes
    ----------
    rate_rps : float
        Offered. [1/s]
    requests, counted : int
        Simulated, and those of them in the window.
    verdict : Verdict
    burdens : tuple of Burden
    short : bool
        Requests stay so long that the warm-up takes more than half of the run.
    stay_s : float
        Median time in the engine, queue apart. [s]
    """

    rate_rps: float
    requests: int
    counted: int
    verdict: Verdict
    burdens: tuple[Burden, ...]
    short: bool
    stay_s: float
    simulation: Simulation
    window: Window

    @property
    def worst(self) -> Burden:
        """The limit with the largest burden."""
        return max(self.burdens, key=lambda one: one.value)

    @property
    def met(self) -> bool:
        """Every limit holds and the queue does not grow."""
        return self.verdict is Verdict.MEETS


@dataclass(frozen=True, slots=True, kw_only=True)
class Judge:
    """What a run is held against.

    Attributes
    ----------
    objective : Objective
    attainment : float
        Share of requests that must meet every limit at once; 0: each limit at its percentile.
    warm_up_s : float
        Least time left out at the beginning. [s]
    """

    objective: Objective
    attainment: float = 0.0
    warm_up_s: float = 0.0

    def judge(self, simulation: Simulation, trace: Trace, rate_rps: float) -> Probe:
        """Hold a run against the limits."""
        requests = simulation.requests
        window, stay_s, short = self._window(simulation)
        inside = _inside(requests, window)
        batches = _batches(window.length_s / stay_s) if stay_s > 0.0 else MOST_BATCHES
        burdens = tuple(self._burdens(requests, trace, inside, batches))
        if _grows(requests, window):
            verdict = Verdict.UNSTABLE
        else:
            met = all(one.value <= 1.0 for one in burdens)
            verdict = Verdict.MEETS if met else Verdict.MISSES_SLO
        return Probe(
            rate_rps=rate_rps,
            requests=trace.requests,
            counted=int(inside.sum()),
            verdict=verdict,
            burdens=burdens,
            short=short,
            stay_s=stay_s,
            simulation=simulation,
            window=window,
        )

    def _window(self, simulation: Simulation) -> tuple[Window, float, bool]:
        """Arrivals without those that find the engine filling up, or see it emptying."""
        requests = simulation.requests
        stay = requests.last_token_s - requests.scheduled_s
        known = stay[np.isfinite(stay)]
        stay_s = float(np.median(known)) if known.size else 0.0
        whole = window_of(requests, simulation.totals.end_s)
        span_s = whole.length_s
        cut_s = max(WARM_UP * span_s, FILL * stay_s, self.warm_up_s)
        short = cut_s > LONGEST_CUT * span_s
        cut_s = min(cut_s, LONGEST_CUT * span_s)
        tail_s = 0.0 if whole.burst else min(stay_s, 0.5 * cut_s)
        window = Window(
            start_s=whole.start_s + cut_s, end_s=whole.end_s - tail_s, burst=whole.burst
        )
        return (whole if whole.burst else window), stay_s, short

    def _burdens(
        self, requests: RequestTable, trace: Trace, inside: Flags, batches: int
    ) -> Iterator[Burden]:
        place = np.flatnonzero(inside)
        place = place[np.argsort(requests.arrival_s[place], kind="stable")]
        latency = {name: values[place] for name, values in latencies_s(requests).items()}
        done = np.isfinite(requests.last_token_s[place]) & (requests.rejected[place] == 0)
        label = np.zeros(place.size, np.int64)
        if trace.slo_class is not None:
            label = trace.slo_class[place].astype(np.int64)
        names = trace.classes if trace.slo_class is not None else ("",)
        if self.attainment > 0.0:
            met = np.zeros(place.size, np.bool_)
            for number, name in enumerate(names):
                own = label == number
                parts = {key: values[own] for key, values in latency.items()}
                met[own] = meets(self.objective.of(name), parts, done[own])
            yield _burden((ATTAINMENT, ""), ~met, 1.0 - self.attainment, batches)
            return
        for limit in self.objective.limits:
            own = np.zeros(place.size, np.bool_)
            for number, name in enumerate(names):
                own |= (label == number) & (limit in self.objective.of(name))
            missed = _missed(limit, latency[limit.metric][own], done[own])
            allowed = 1.0 - limit.percentile * PERCENT
            yield _burden((limit.words, limit.metric), missed, allowed, batches)


def _batches(stays: float) -> int:
    """Batches of a window that lasts so many times as a request stays; 0 where it is too short."""
    if stays < LEAST_STAYS * LEAST_BATCHES:
        return 0
    return int(min(max(stays / BATCH_STAYS, LEAST_BATCHES), MOST_BATCHES))


def _missed(limit: Limit, values: Floats, done: Flags) -> Flags:
    """Which requests miss a limit, of those for which the latency is defined or that failed."""
    known = np.isfinite(values) & done
    missed: Flags = (~done | (values > limit.limit_s))[known | ~done]
    return missed


def _burden(named: tuple[str, str], missed: Flags, allowed: float, batches: int) -> Burden:
    found = mean(missed.astype(float), batches)
    value = 0.0 if np.isnan(found.value) else found.value / allowed
    return Burden(
        name=named[0],
        metric=named[1],
        value=value,
        half_width=found.half_width / allowed,
        allowed=allowed,
    )


def _inside(requests: RequestTable, window: Window) -> Flags:
    at = requests.arrival_s
    return ~((at < window.start_s) | (at > window.end_s))


def _grows(requests: RequestTable, window: Window) -> bool:
    """Whether more requests pile up than half the precision of the answer can hide.

    The trend is of all that are in the engine. Below its capacity their number swings as widely as
    its mean, and slowly, so a rise by less than the mean is no growth: where a run is overloaded
    by a share of its arrivals, the rise is nearly twice the mean.
    """
    if window.burst:
        return True
    trend = trend_of(requests, window)
    arrivals = int(_inside(requests, window).sum())
    least = max(GROWTH_REQUESTS, GROWTH * arrivals, _held(requests, window))
    if np.isnan(trend.growth) or trend.growth <= least:
        return False
    return trend.slope_per_s > SIGNIFICANT * trend.slope_error_per_s


def _held(requests: RequestTable, window: Window) -> float:
    """Requests in the engine or before it, on average over the window."""
    start = np.clip(requests.arrival_s, window.start_s, window.end_s)
    left = np.where(np.isfinite(requests.last_token_s), requests.last_token_s, window.end_s)
    left = np.where(requests.rejected == 0, left, requests.arrival_s)
    stays = np.clip(left, window.start_s, window.end_s) - start
    return float(np.nansum(stays)) / window.length_s if window.length_s > 0.0 else 0.0
