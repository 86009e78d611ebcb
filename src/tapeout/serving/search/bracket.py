"""Bracket and bisect the rate at which a burden reaches one.

The burden rises with the rate under common random numbers, but not strictly: batching has
anomalies, and a queue of finite length jumps. So every probe is kept, and of several crossings the
lowest is taken: between the lowest rate that misses and the highest below it that meets.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

from tapeout.serving.search.probes import Probe, Verdict

WIDEST = 4.0  # factor by which a bracket may grow in one go
MOST_PROBES = 40  # of one level
LEAST_SLOPE = 1.0  # of the burden for a unit of log rate; flatter is noise
UNSTABLE_BURDEN = 2.0  # at least, of a run whose queue grows


@dataclass(slots=True)
class Level:
    """Probes with one number of requests.

    Attributes
    ----------
    run : callable
        Rate to probe.
    probes : list of Probe
        In the order in which they were made.
    """

    run: Callable[[float], Probe]
    probes: list[Probe] = field(default_factory=list)

    def at(self, rate_rps: float) -> Probe:
        """Probe a rate; one that was probed is not run again."""
        for one in self.probes:
            if one.rate_rps == rate_rps:
                return one
        found = self.run(rate_rps)
        self.probes.append(found)
        return found

    @property
    def high(self) -> Probe | None:
        """Lowest rate that misses."""
        return min(
            (one for one in self.probes if not one.met), key=lambda p: p.rate_rps, default=None
        )

    @property
    def low(self) -> Probe | None:
        """Highest rate that meets, below the lowest that misses."""
        top = math.inf if self.high is None else self.high.rate_rps
        below = [one for one in self.probes if one.met and one.rate_rps < top]
        return max(below, key=lambda p: p.rate_rps, default=None)

    @property
    def anomalies(self) -> int:
        """Rates that meet above one that misses."""
        top = math.inf if self.high is None else self.high.rate_rps
        return sum(one.met and one.rate_rps > top for one in self.probes)

    def bracket(self, guess: float, step: float, floor: float) -> bool:
        """Probe until a rate meets and a higher one misses; False: none above the floor meets."""
        self.at(guess)
        factor = 1.0 + step
        for _ in range(MOST_PROBES):
            low, high = self.low, self.high
            if low is not None and high is not None:
                return True
            if low is not None:
                self.at(low.rate_rps * factor)
            elif high is not None and high.rate_rps <= floor:
                return False
            elif high is not None:
                self.at(max(high.rate_rps / factor, floor))
            factor = min(factor * factor, WIDEST)
        return False

    def bisect(self, log_width: float) -> None:
        """Halve the bracket on the logarithm of the rate until it is this narrow."""
        for _ in range(MOST_PROBES):
            low, high = self.low, self.high
            assert low is not None
            assert high is not None
            if math.log(high.rate_rps / low.rate_rps) <= log_width:
                return
            self.at(math.sqrt(low.rate_rps * high.rate_rps))


@dataclass(frozen=True, slots=True, kw_only=True)
class Root:
    """Where the burden is one.

    `log_half_width` is half the 95 % interval of the log of the rate: sampling error of the burden
    over its slope; nan where there were too few requests to know. By a growing queue instead of a
    limit (`unstable`) it is half the bracket and the sampling error of the work of the requests.
    """

    rate_rps: float
    log_half_width: float
    binds: str
    metric: str
    unstable: bool
    slope: float


def root_of(level: Level, work_log_error: float) -> Root:
    """Interpolate the burden between the ends of a bracket.

    Parameters
    ----------
    level : Level
        Bracketed.
    work_log_error : float
        Half the 95 % interval of the mean work of a request, over the mean.
    """
    low, high = level.low, level.high
    assert low is not None
    assert high is not None
    width = math.log(high.rate_rps / low.rate_rps)
    if high.verdict is Verdict.UNSTABLE and high.worst.value <= 1.0:
        return Root(
            rate_rps=math.sqrt(low.rate_rps * high.rate_rps),
            log_half_width=math.hypot(width / 2.0, work_log_error),
            binds="stability",
            metric="",
            unstable=True,
            slope=math.inf,
        )
    worst = high.worst
    below = next(one.value for one in low.burdens if one.name == worst.name)
    slope = max((worst.value - below) / width, LEAST_SLOPE)
    share = min(max((1.0 - below) / max(worst.value - below, 1e-9), 0.0), 1.0)
    nearest = min((low, high), key=lambda one: abs(one.worst.value - 1.0))
    error = next(one.half_width for one in nearest.burdens if one.name == worst.name)
    return Root(
        rate_rps=low.rate_rps * math.exp(share * width),
        log_half_width=error / _slope_around(level, worst.name, slope),
        binds=worst.name,
        metric=worst.metric,
        unstable=False,
        slope=slope,
    )


def _slope_around(level: Level, name: str, otherwise: float) -> float:
    """Slope of a burden over the probes next to the bracket, less noisy than within it.

    The burden is convex, so the chord to the lower side is flatter than the tangent and the error
    rather too wide than too narrow.
    """
    low, high = level.low, level.high
    assert low is not None
    assert high is not None
    least = low.rate_rps * math.exp(-0.03)
    below = [one for one in level.probes if one.met and one.rate_rps <= least]
    start = max(below, key=lambda p: p.rate_rps, default=low)
    values = [
        next(one.value for one in probe.burdens if one.name == name) for probe in (start, high)
    ]
    slope = (values[1] - values[0]) / math.log(high.rate_rps / start.rate_rps)
    return max(slope, LEAST_SLOPE) if math.isfinite(slope) else otherwise
