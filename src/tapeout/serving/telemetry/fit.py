"""Fit a deployment's constants to its request log by simulating the log's own arrivals.

The residuals are logarithms of simulated over measured figures of the requests that arrived in the
first part of the log (means, medians and 90th percentiles of TTFT, TPOT and end-to-end time, and
means by prompt length and by load). They are minimised by a trust-region method within bounds; a
weak pull towards the uncalibrated deployment decides where the log does not. What is reported are
the errors on later requests, of which the fit sees arrivals and lengths, not the answers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import combinations
from typing import Any, Protocol

import numpy as np

from tapeout.errors import InfeasibleError
from tapeout.numerics import Floats, Ints
from tapeout.serving.engine.job import Front, Job, prepare
from tapeout.serving.engine.types import Rules, Simulation, StepTable
from tapeout.serving.telemetry.calibration import NAMES, Constants, apply_calibration
from tapeout.serving.telemetry.log import RequestLog
from tapeout.serving.telemetry.statistics import (
    METRICS,
    STATISTICS,
    Figures,
    Latencies,
    figures_of,
    measured,
    simulated,
    statistic,
)

FEWEST_REQUESTS = 30
STEPS = (0.2, 0.05)  # of difference quotients in scaled constants; a simulated figure is rough
MOST_ROUNDS = 6  # of each step
POLISH = 0.1  # first size of the simplex that ends the search
POLISHING_RUNS = 60
PULL = 0.01  # log error that one unit of a scaled constant is worth
RESAMPLES = 200
BLOCKS = 20  # of time, drawn together: requests that ran together erred together
LOW, HIGH = 5.0, 95.0  # percentiles of the 90 % interval
LARGEST_FACTOR = 20.0
LEAST = np.array([-np.log(LARGEST_FACTOR), 0.0, 0.0, 0.0])  # of the scaled constants
# Assumption: no figure of a simulated run is right beyond this, however well the log fits.
FLOOR = 0.02
WIDE = 0.1  # half width of an interval, in scaled units, beyond which a constant is not determined
SMALL = 1e-6
CONFOUNDED = 0.9  # correlation beyond which two such constants are named together


class Runner(Protocol):
    """A simulator of one replica, such as `run_engine` and `run_reference`."""

    def __call__(self, job: Job, rules: Rules, table: StepTable) -> Simulation:
        """Simulate."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """The deployment as it is before it is calibrated, and what simulates it."""

    rules: Rules
    table: StepTable
    front: Front = Front()  # noqa: RUF009 - frozen
    runner: Runner


@dataclass(frozen=True, slots=True, kw_only=True)
class Error:
    """One figure of the held-back part; `before` and `after` are simulated / measured - 1."""

    metric: str
    statistic: str
    measured_s: float
    before: float
    after: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """What came out.

    Attributes
    ----------
    constants : Constants
    low, high : Constants
        Ends of the 90 % interval of each constant.
    identified : mapping of name to bool
    errors : tuple of Error
        On the held-back part; empty where nothing was held back.
    fitted, held : int
        Requests of the two parts.
    runs : int
        Simulations that were made.
    warnings : tuple of str
    """

    constants: Constants
    low: Constants
    high: Constants
    identified: dict[str, bool]
    errors: tuple[Error, ...]
    fitted: int
    held: int
    runs: int
    warnings: tuple[str, ...] = field(default=())


def fit_log(
    log: RequestLog,
    engine: Engine,
    *,
    fraction: float = 0.6,
    seed: int = 0,
    tell: Callable[[int], None] | None = None,
) -> Fit:
    """Fit operator factor, step, request and token times to a log.

    Parameters
    ----------
    log : RequestLog
    engine : Engine
    fraction : float
        Of the log's duration that is fitted to; the rest scores the fit.
    seed : int
        Of the resampling that gives the intervals.
    tell : callable, optional
        Called with the number of simulations so far.

    Raises
    ------
    InfeasibleError
        Too few requests, or some that the deployment cannot hold.

    Notes
    -----
    The interval
    comes from drawing blocks of time anew, with the fit linear around its end; it holds the noise
    of the log, not errors of the simulator.
    """
    split_s = _split(log, fraction)
    objective = _Objective.of(log, engine, split_s, tell)
    scaled, others = _minimise(objective)
    spread = _spread(objective, scaled, seed)
    ends = _ends(scaled, spread, others)
    constants, low, high = map(objective.scales.constants, (scaled, *ends))
    identified, warnings = _identified(ends, spread)
    held = np.flatnonzero(log.arrival_s >= split_s)
    return Fit(
        constants=constants,
        low=low,
        high=high,
        identified=identified,
        errors=tuple(_errors(log, engine, constants, held)),
        fitted=int(objective.places.size),
        held=int(held.size),
        runs=objective.runs,
        warnings=tuple(warnings),
    )


def _split(log: RequestLog, fraction: float) -> float:
    """Time at which the held-back part begins. [s]."""
    if not 0.0 < fraction <= 1.0:
        raise InfeasibleError(f"--fraction {fraction:g}: the fitted share lies between 0 and 1")
    split_s = fraction * float(log.arrival_s[-1]) if fraction < 1.0 else float("inf")
    early = int(np.count_nonzero(log.arrival_s < split_s))
    if early < FEWEST_REQUESTS:
        raise InfeasibleError(
            f"{early} requests arrived in the first {fraction:.0%} of the log; at least "
            f"{FEWEST_REQUESTS} are needed to fit to"
        )
    return split_s


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scales:
    """Constants as numbers near one: log of the factor, times over what the log has."""

    step_s: float
    request_s: float
    token_s: float

    def constants(self, scaled: Floats) -> Constants:
        """Times below zero, which only intervals have, become zero."""
        factor, step, request, token = scaled
        return Constants(
            operator_factor=float(np.exp(factor)),
            step_s=max(0.0, float(step)) * self.step_s,
            request_s=max(0.0, float(request)) * self.request_s,
            token_s=max(0.0, float(token)) * self.token_s,
        )

    def start(self, front: Front) -> Floats:
        """Return the uncalibrated deployment."""
        return np.array([0.0, 0.0, front.request_s / self.request_s, front.token_s / self.token_s])


@dataclass(slots=True, kw_only=True)
class _Objective:
    """Residuals of the fitted part as a function of the scaled constants."""

    engine: Engine
    log: RequestLog
    places: Ints  # of the requests that are compared
    figures: Figures
    target: Floats
    scales: _Scales
    tell: Callable[[int], None] | None
    runs: int = 0

    @classmethod
    def of(
        cls,
        log: RequestLog,
        engine: Engine,
        split_s: float,
        tell: Callable[[int], None] | None,
    ) -> _Objective:
        """Compare the requests that arrived before `split_s`."""
        places = np.flatnonzero(log.arrival_s < split_s)
        figures = figures_of(log, places)
        seen = measured(log)
        early = seen.at(places)
        ttft_s = _positive(statistic(early.ttft_s, "p50"), early.e2e_s)
        scales = _Scales(
            step_s=_positive(statistic(early.tpot_s, "p50"), early.e2e_s),
            request_s=ttft_s,
            token_s=ttft_s / float(np.median(log.input_tokens[places])),
        )
        return cls(
            engine=engine,
            log=log,
            places=places,
            figures=figures,
            target=figures.of(seen, places),
            scales=scales,
            tell=tell,
        )

    def latencies(self, scaled: Floats) -> Latencies:
        """Simulate the log."""
        self.runs += 1
        if self.tell is not None:
            self.tell(self.runs)
        return _simulate(self.log, self.engine, self.scales.constants(scaled))

    def residuals(self, scaled: Floats) -> Floats:
        """Log errors of the figures, then the pull, shape (figure + 4,)."""
        found = self.figures.of(self.latencies(scaled), self.places) - self.target
        pull = PULL * (scaled - self.scales.start(self.engine.front))
        return np.concatenate([np.where(np.isfinite(found), found, 0.0), pull])

    def cost(self, scaled: Floats) -> float:
        """Sum of squared residuals."""
        return float(np.sum(self.residuals(scaled) ** 2))

    def tpot_ratio(self, scaled: Floats) -> float:
        """Measured over simulated median TPOT; 1 where there is none."""
        there, seen = self.latencies(scaled), measured(self.log)
        ratio = statistic(seen.tpot_s[self.places], "p50") / statistic(
            there.tpot_s[self.places], "p50"
        )
        return ratio if np.isfinite(ratio) and ratio > 0.0 else 1.0

    def slopes(self, scaled: Floats, step: float) -> Floats:
        """Difference quotients of the residuals, shape (figure + 4, constant)."""
        columns = []
        for direction in np.eye(scaled.size):
            high = scaled + step * direction
            low = np.maximum(scaled - step * direction, LEAST)
            apart = float(np.sum(high - low))
            columns.append((self.residuals(high) - self.residuals(low)) / apart)
        return np.stack(columns, axis=1)


def _positive(value: float, otherwise: Floats) -> float:
    """A scale: the value, or the mean of something else where it is nothing."""
    return value if np.isfinite(value) and value > 0.0 else float(np.mean(otherwise))


def _simulate(log: RequestLog, engine: Engine, constants: Constants) -> Latencies:
    table, front = apply_calibration(engine.table, engine.front, constants)
    job = prepare(log.trace(), engine.rules, front=front)
    if job.rejected.any():
        raise InfeasibleError(
            f"{int(job.rejected.sum())} of {log.requests} requests of the log are longer than the "
            "deployment can hold: it is not the one that the log is of"
        )
    return simulated(engine.runner(job, engine.rules, table).requests)


def _minimise(objective: _Objective) -> tuple[Floats, list[Floats]]:
    """Return the best end, and others that are as good within what a simulation is right.

    One start is the uncalibrated deployment, one blames all of the measured TPOT on the operators:
    the ends of the valley along which step and operator time stand for one another.
    """
    from scipy.optimize import minimize  # noqa: PLC0415 - slow to load

    start = objective.scales.start(objective.engine.front)
    blamed = start.copy()
    ratio = objective.tpot_ratio(start)
    blamed[0] = np.log(np.clip(ratio, 1.0 / LARGEST_FACTOR, LARGEST_FACTOR))
    ends = sorted((_descend(objective, one) for one in (start, blamed)), key=objective.cost)
    found = minimize(
        lambda scaled: objective.cost(np.maximum(scaled, LEAST)),
        ends[0],
        method="Nelder-Mead",
        options={
            "maxfev": POLISHING_RUNS,
            "initial_simplex": np.vstack([ends[0], ends[0] + POLISH * np.eye(start.size)]),
        },
    )
    best = np.maximum(np.asarray(found.x, float), LEAST)
    within = objective.cost(best) + objective.target.size * FLOOR**2
    return best, [end for end in ends if objective.cost(end) <= within]


def _descend(objective: _Objective, start: Floats) -> Floats:
    """Follow slopes, coarse ones first."""
    from scipy.optimize import least_squares  # noqa: PLC0415 - slow to load

    most = np.array([-LEAST[0], np.inf, np.inf, np.inf])
    here = np.maximum(start, LEAST + STEPS[-1])  # a start at a bound would stick to it
    for step in STEPS:
        slopes: Any = partial(objective.slopes, step=step)  # scipy's signature has texts only
        found = least_squares(
            objective.residuals,
            np.clip(here, LEAST + SMALL, most - SMALL),
            jac=slopes,
            bounds=(LEAST, most),
            max_nfev=MOST_ROUNDS,
            xtol=1e-4,
            ftol=1e-6,
        )
        here = np.asarray(found.x, float)
    return here


def _spread(objective: _Objective, scaled: Floats, seed: int) -> Floats:
    """Deviations of the scaled constants in logs with blocks drawn anew, shape (resample, 4)."""
    inverse = np.linalg.pinv(objective.slopes(scaled, STEPS[-1]))
    there = objective.latencies(scaled)
    seen = measured(objective.log)
    rng = np.random.default_rng(seed)
    blocks = np.array_split(objective.places, min(BLOCKS, objective.places.size))

    def error(places: Ints) -> Floats:
        return _finite(objective.figures.of(there, places) - objective.figures.of(seen, places))

    middle = error(objective.places)
    found = np.empty((RESAMPLES, scaled.size))
    for row in range(RESAMPLES):
        drawn = rng.integers(len(blocks), size=len(blocks))
        moved = error(np.concatenate([blocks[one] for one in drawn])) - middle
        moved += FLOOR * rng.standard_normal(moved.size)
        found[row] = -inverse @ np.concatenate([moved, np.zeros(scaled.size)])
    return found


def _ends(scaled: Floats, spread: Floats, others: list[Floats]) -> Floats:
    """Lower and upper ends of the intervals of the scaled constants, shape (2, 4)."""
    low, high = scaled + np.percentile(spread, [LOW, HIGH], axis=0)
    every = np.stack([scaled, *others])
    return np.stack([np.minimum(low, every.min(axis=0)), np.maximum(high, every.max(axis=0))])


def _finite(values: Floats) -> Floats:
    return np.where(np.isfinite(values), values, 0.0)


def _identified(ends: Floats, spread: Floats) -> tuple[dict[str, bool], list[str]]:
    """Which constants the log determines, and sentences about the others."""
    known = dict(zip(NAMES, map(bool, (ends[1] - ends[0]) / 2.0 <= WIDE), strict=True))
    correlation: Floats = np.asarray(np.corrcoef(spread, rowvar=False))
    warnings: list[str] = []
    named = set()
    for (one, first), (two, second) in combinations(enumerate(NAMES), 2):
        if known[first] or known[second] or abs(correlation[one, two]) < CONFOUNDED:
            continue
        named |= {first, second}
        warnings.append(
            f"{first} and {second} cannot be told apart by this log (correlation "
            f"{correlation[one, two]:.2f}): their joint effect is fitted, not each; loads or "
            "lengths that vary more would separate them"
        )
    warnings += [
        f"{name} is not determined by this log: its 90 % interval is wide"
        for name in NAMES
        if not known[name] and name not in named
    ]
    return known, warnings


def _errors(log: RequestLog, engine: Engine, constants: Constants, held: Ints) -> Iterator[Error]:
    """Errors on requests that arrived in the held-back part, the whole log being simulated."""
    if not held.size:
        return
    front = engine.front
    plain = Constants(request_s=front.request_s, token_s=front.token_s)
    before, after = (_simulate(log, engine, one) for one in (plain, constants))
    seen = measured(log)
    for metric in METRICS:
        for name in STATISTICS:
            there = statistic(seen.of(metric)[held], name)
            if not there > 0.0:
                continue
            yield Error(
                metric=metric,
                statistic=name,
                measured_s=there,
                before=statistic(before.of(metric)[held], name) / there - 1.0,
                after=statistic(after.of(metric)[held], name) / there - 1.0,
            )
