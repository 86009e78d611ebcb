"""Bracket and narrow the rate at which a burden reaches one.

The burden rises with the rate under common random numbers, but not strictly: batching has
anomalies, and a queue of finite length jumps. So every probe is kept, and of several crossings the
lowest is taken: between the lowest rate that misses and the highest below it that meets.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

from tapeout.serving.search.probes import Burden, Probe, Verdict

WIDEST = 4.0  # factor by which a bracket may grow in one go
MOST_PROBES = 40  # of one level
LEAST_SLOPE = 1.0  # of the log of the burden for a unit of log rate; flatter is noise
AIMED = 4  # probes by interpolation before the bracket is halved
LEAST_BURDEN = 0.02  # a share of misses below this is noise, and nought has no logarithm
MOST_MISSED = 0.995  # of a limit; above it nothing can be told apart
NEAR = 0.4  # of the wanted width: how far from the expected rate the next probe is
FARTHEST = 0.1  # log of the rate that a known slope is trusted over
SLOPE_WIDTH = 0.02  # log of the rate between the probes that a slope is taken from, at least


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

    def approach(self, guess: float, slope: float, log_width: float) -> None:
        """Probe near a guess, then by a known slope across the root.

        Where the slope is right this leaves a bracket narrower than `log_width`.
        """
        first = self.at(guess)
        if first.verdict is Verdict.UNSTABLE or not slope > LEAST_SLOPE:
            return
        far = min(max(_height(first.worst) / slope, -FARTHEST), FARTHEST)
        side = 1.0 if first.met else -1.0
        self.at(guess * math.exp(-far + side * NEAR * log_width))

    def narrow(self, log_width: float) -> None:
        """Narrow the bracket to this width of the log of the rate.

        The next rate lies a little to the far side of where the burden is expected to be one, so
        that two probes usually close the bracket. After `AIMED` of them it is halved.
        """
        for number in range(MOST_PROBES):
            low, high = self.low, self.high
            assert low is not None
            assert high is not None
            width = math.log(high.rate_rps / low.rate_rps)
            if width <= log_width:
                return
            share = 0.5 if number >= AIMED else _aim(low, high, log_width / width)
            self.at(low.rate_rps * math.exp(share * width))


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
    name = high.worst.name
    share = _share(_height_of(low, name), _height_of(high, name))
    error = (1.0 - share) * _half_width(low, name) + share * _half_width(high, name)
    slope = _slope_around(level, name)
    return Root(
        rate_rps=low.rate_rps * math.exp(share * width),
        log_half_width=error / (slope * (1.0 - high.worst.allowed)),
        binds=name,
        metric=high.worst.metric,
        unstable=False,
        slope=slope,
    )


def _height(burden: Burden) -> float:
    """Log odds of a miss over those allowed: nought where the burden is one.

    The share of misses grows nearly exponentially with the rate and then bends to one, so its log
    odds are nearly straight. Around nought they rise as the burden does over 1 - allowed.
    """
    value = max(burden.value, LEAST_BURDEN)
    if not 0.0 < burden.allowed < 1.0:
        return math.log(value)
    missed = min(value * burden.allowed, MOST_MISSED)
    return math.log(missed / (1.0 - missed) * (1.0 - burden.allowed) / burden.allowed)


def _height_of(probe: Probe, name: str) -> float:
    return _height(next(one for one in probe.burdens if one.name == name))


def _half_width(probe: Probe, name: str) -> float:
    return next(one.half_width for one in probe.burdens if one.name == name)


def _share(below: float, above: float) -> float:
    """Part of the way between two heights at which there is none."""
    rise = max(above, 0.0) - below
    return min(max(-below / rise, 0.0), 1.0) if rise > 0.0 else 1.0


def _aim(low: Probe, high: Probe, wanted: float) -> float:
    """Where between two rates to probe next; `wanted` is the width sought, of theirs."""
    if high.verdict is Verdict.UNSTABLE and high.worst.value <= 1.0:
        return 0.5
    name = high.worst.name
    share = _share(_height_of(low, name), _height_of(high, name))
    aimed = share + NEAR * wanted if share < 0.5 else share - NEAR * wanted
    edge = 0.5 * min(wanted, 0.5)
    return min(max(aimed, edge), 1.0 - edge)


def _slope_around(level: Level, name: str) -> float:
    """Rise of the height of a burden for a unit of log rate, of probes at some distance.

    Neighbours give a noisy one.
    """
    low, high = level.low, level.high
    assert low is not None
    assert high is not None
    around = sorted(level.probes, key=lambda one: one.rate_rps)
    above = [one for one in around if one.verdict is not Verdict.UNSTABLE] or around
    pairs = [
        (math.log(top.rate_rps / foot.rate_rps), foot, top)
        for foot in around
        for top in above
        if foot.rate_rps <= low.rate_rps and top.rate_rps >= high.rate_rps
    ] or [(math.log(high.rate_rps / low.rate_rps), low, high)]
    wide = [one for one in pairs if one[0] >= SLOPE_WIDTH]
    width, foot, top = (
        min(wide, key=lambda one: one[0]) if wide else max(pairs, key=lambda one: one[0])
    )
    return max((_height_of(top, name) - _height_of(foot, name)) / width, LEAST_SLOPE)
