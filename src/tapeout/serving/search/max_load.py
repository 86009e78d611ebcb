"""The largest load that a deployment serves within its limits.

Short runs find a bracket around the rate, longer ones narrow it; every run sees the same requests,
closer together or farther apart (common random numbers). docs/search.md has the method.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from statistics import NormalDist

import numpy as np

from tapeout.errors import DoesNotFitError, InfeasibleError, MissingFieldError, Outcome
from tapeout.perf import PhysicalModel, TimingModel
from tapeout.serving.engine.job import Front, Job
from tapeout.serving.engine.types import Rules, Simulation, StepTable
from tapeout.serving.intervals import CONFIDENCE
from tapeout.serving.metrics import tpot_s
from tapeout.serving.objectives import Objective
from tapeout.serving.replicas import Runner, Task, run_split, silent
from tapeout.serving.search.bracket import Level, Root, root_of
from tapeout.serving.search.probes import FILL, LONGEST_CUT, Judge, Probe
from tapeout.serving.search.screen import screened_rate
from tapeout.serving.search.streams import Stream, at_rate, mean_lengths
from tapeout.serving.steady import Lengths
from tapeout.serving.traffic.scaling import take
from tapeout.serving.traffic.trace import Trace
from tapeout.serving.types import Deployment

NAN = float("nan")
_Z95 = NormalDist().inv_cdf(0.5 + 0.5 * CONFIDENCE)
FIRST_STEP = 0.25  # by which the steady state's rate is first changed
NARROW = 0.05  # width of the bracket of the first level, in logs
WIDE = 0.03  # first step of a later level, at most
LEAST_BRACKET = 0.01  # log of the rate; closer probes add nothing to interpolation
INTERPOLATED = 3.0  # precisions between the ends of a bracket in which the burden is interpolated
SECOND_SHARE = 5  # of what the last level may take: the time of the second, at most
PROBES = 2.5  # of a later level, on average
SAFETY = 2.0  # requests over what the square root law says, as the error itself is estimated
STEP_CPU_S, RANK_CPU_S = 2.5e-6, 0.6e-6  # of an engine step, and of each of its ranks; measured
REQUEST_CPU_S = 1e-6
ALONE_REQUESTS = 300
ALONE_SHARE = 1.0 / 16.0  # of the first guess: below it one request alone is tried
LOWEST_SHARE = 1e-4  # of the first guess: what is not met here is not met
SECOND_REQUESTS = 12_000  # of the level that says how long the last one has to be
LEAST_GROWTH = 1.3  # below this a last level is not worth its time
ROOM = 1.5  # times the requests with which the warm-up takes all that it may
TRIAL_REQUESTS = 2000  # of the stream, whose means the steady state takes


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchOptions:
    """How the largest load is looked for.

    Attributes
    ----------
    model : TimingModel
    attainment : float
        Share of requests that must meet every limit at once; 0: each limit at its percentile.
    precision : float
        Half the 95 % interval over the rate that is aimed at: the length of the last runs follows
        from the error of shorter ones, as far as `most_requests` and `cpu_s` allow. It is not
        made longer on sight of its own error, which would favour errors that are too small.
    first_requests, most_requests : int
        Of a run: of the first level, and of the longest one.
    cpu_s : float
        What the last level may take, estimated from the steps of shorter runs and so the same on
        every machine; a run is never shorter than the first level wants it. [s]
    loaded_tokens : int
        So many at the beginning of every prompt are not computed: their keys are there and take
        memory in every request. What a cached prompt saves, at a fraction of the time of a run
        with a prefix cache, which knows that requests share the memory.
    warm_up_s : float
        Least time left out of a run. [s]
    seed : int
        Of the drafts that are accepted; requests are the stream's.
    adjust : callable, optional
        Changes the step table and the time before the scheduler, as a calibration does.
    tell : callable
        Gets a stage and the share of it that is done.
    """

    model: TimingModel = PhysicalModel()  # noqa: RUF009 - frozen
    attainment: float = 0.0
    precision: float = 0.01
    first_requests: int = 2_000
    most_requests: int = 400_000
    cpu_s: float = 1.2
    loaded_tokens: int = 0
    warm_up_s: float = 0.0
    seed: int = 0
    adjust: Callable[[StepTable, Front], tuple[StepTable, Front]] | None = None
    tell: Callable[[str, float], None] = silent


@dataclass(frozen=True, slots=True, kw_only=True)
class MaxLoad:
    """The largest load, or why there is none.

    Attributes
    ----------
    outcome : Outcome
        OK, or a code: then the rates are zero.
    rate_rps, half_width_rps : float
        Offered to the whole deployment, and half of its 95 % interval, which is nan where it is
        unknown. The interval is sampling error alone. [1/s]
    binds : str
        The limit that is reached first, in words, or "stability".
    output_tokens_per_s_per_chip, input_tokens_per_s_per_chip : float
    joule_per_output_token : float
        At the highest rate that was run and met. [J]
    mean_tpot_s, tpot_s, ttft_s : float
        At that rate: mean TPOT, and TPOT and TTFT at their percentiles. [s]
    running : float
        Sequences that run on average, of all replicas.
    chips : int
    steady_rps : float
        What the steady state said; nan where it was not asked, or knows less than was simulated
        (drafts, a calibration). [1/s]
    simulated_requests, longest_run : int
    anomalies : int
        Rates that met the objective above one that did not.
    precise : bool
        The interval is as narrow as was asked for.
    """

    outcome: Outcome
    rate_rps: float = 0.0
    half_width_rps: float = NAN
    binds: str = ""
    output_tokens_per_s_per_chip: float = 0.0
    input_tokens_per_s_per_chip: float = 0.0
    joule_per_output_token: float = NAN
    mean_tpot_s: float = NAN
    tpot_s: float = NAN
    ttft_s: float = NAN
    running: float = NAN
    chips: int = 0
    steady_rps: float = NAN
    simulated_requests: int = 0
    longest_run: int = 0
    anomalies: int = 0
    precise: bool = False
    notes: tuple[str, ...] = ()

    @property
    def gap(self) -> float:
        """Simulated over steady rate, less one; nan where either is unknown."""
        return self.rate_rps / self.steady_rps - 1.0 if self.steady_rps > 0.0 else NAN


def max_load(
    deployment: Deployment,
    stream: Stream,
    objective: Objective,
    options: SearchOptions | None = None,
) -> MaxLoad:
    """Find the largest rate at which a deployment meets an objective.

    Parameters
    ----------
    deployment : Deployment
    stream : Stream
        Requests at one a second; see `DrawnStream` and `TraceStream`.
    objective : Objective
    options : SearchOptions, optional

    Returns
    -------
    MaxLoad
        What does not fit, or misses a limit even with a request alone, is an outcome.

    Raises
    ------
    InfeasibleError
        An objective without limits, or a stream with too few requests.
    """
    from tapeout.serving.engine.defaults import longest_of, setup  # noqa: PLC0415  builds tables
    from tapeout.serving.engine.run import run_engine  # noqa: PLC0415  loads compiled code

    chosen = options or SearchOptions()
    trial = stream.take(min(TRIAL_REQUESTS, stream.most))
    chips = deployment.placement.chips * deployment.replicas
    try:
        found = setup(deployment, chosen.model, longest_context=longest_of(deployment))
    except DoesNotFitError:
        return MaxLoad(outcome=Outcome.DOES_NOT_FIT, chips=chips)
    except MissingFieldError:
        return MaxLoad(outcome=Outcome.NO_PEAK, chips=chips)
    table, front = found.table, deployment.front
    if chosen.adjust is not None:
        table, front = chosen.adjust(table, front)
    task = Task(
        rules=replace(found.rules, seed=found.rules.seed + chosen.seed),
        table=table,
        runner=_loaded(run_engine, chosen.loaded_tokens),
        front=front,
        replicas=deployment.replicas,
    )
    lengths = mean_lengths(trial, cached=found.rules.prefix_cache)
    if chosen.loaded_tokens:
        prompt = lengths.new + lengths.cached
        loaded = min(float(chosen.loaded_tokens), prompt - 1.0)
        lengths = Lengths(new=prompt - loaded, cached=loaded, output=lengths.output)
    steady = screened_rate(deployment, found.rules, lengths, objective, chosen.model)
    answer = search_rate(task, stream, objective, chips, steady, chosen)
    # The steady state knows neither drafts nor a calibration: it is a guess then, no comparison.
    alike = found.rules.drafts == 0 and chosen.adjust is None
    return replace(
        answer,
        steady_rps=answer.steady_rps if alike else NAN,
        notes=(*found.notes, *answer.notes),
    )


def _loaded(runner: Runner, tokens: int) -> Runner:
    """Runner of requests that begin with so many tokens whose keys are there."""
    if not tokens:
        return runner

    def run(
        job: Job,
        rules: Rules,
        table: StepTable,
        *,
        samples_s: float = 0.0,
        log: bool = False,
        gaps_from_s: float | None = None,
    ) -> Simulation:
        there = np.minimum(tokens, job.prompt - 1)
        job = replace(job, loaded=np.maximum(job.loaded, there))
        return runner(job, rules, table, samples_s=samples_s, log=log, gaps_from_s=gaps_from_s)

    return run


def search_rate(
    task: Task,
    stream: Stream,
    objective: Objective,
    chips: int,
    guess_rps: float,
    options: SearchOptions | None = None,
) -> MaxLoad:
    """Find the largest rate of engines that are built already.

    Parameters
    ----------
    task : Task
        Rules, table and runner of every replica.
    stream : Stream
    objective : Objective
    chips : int
        Of all replicas.
    guess_rps : float
        From the steady state; zero or nan: one request a second. [1/s]
    options : SearchOptions, optional

    Raises
    ------
    InfeasibleError
        An objective without limits, or a stream with too few requests.
    """
    chosen = options or SearchOptions()
    if not objective.limits:
        raise InfeasibleError("the largest load needs limits; give --slo ttft_p90=2,tpot_p90=0.05")
    return _Search(task, stream, objective, chips, chosen).answer(guess_rps)


class _Search:
    """Levels of longer and longer runs."""

    def __init__(
        self, task: Task, stream: Stream, objective: Objective, chips: int, options: SearchOptions
    ) -> None:
        self.task, self.stream, self.chips, self.options = task, stream, chips, options
        self.judge = Judge(
            objective=objective, attainment=options.attainment, warm_up_s=options.warm_up_s
        )
        self.objective = objective
        self.drawn: Trace | None = None
        self.simulated = 0
        self.anomalies = 0
        self.level: Level | None = None  # the latest after the first

    def answer(self, guess_rps: float) -> MaxLoad:
        """Search from a first guess."""
        steady = guess_rps
        guess = guess_rps if 0.0 < guess_rps < math.inf else 1.0
        most = min(self.options.most_requests, self.stream.most)
        requests = min(self.options.first_requests, most)
        level = self._first(guess, requests, most)
        if isinstance(level, Outcome):
            return MaxLoad(
                outcome=level,
                chips=self.chips,
                steady_rps=steady,
                simulated_requests=self.simulated,
            )
        for requests in self._lengths(level, most):
            self.options.tell("search", requests / most)
            level = self._narrower(self._root(level), requests)
        return self._described(self._root(level), level, steady)

    def _lengths(self, first: Level, most: int) -> Iterator[int]:
        """Requests of the second and of the last level; `first` is the level before them."""
        before = first.probes[-1].requests
        second = min(
            max(min(SECOND_REQUESTS, self._affordable(first) // SECOND_SHARE), before), most
        )
        if second > LEAST_GROWTH * before or second == most:
            yield second
        level, root = self.level or first, self._root(self.level or first)
        error, done = root.log_half_width, level.probes[-1].requests
        wanted = math.inf
        if math.isfinite(error):
            wanted = SAFETY * done * (error / self.options.precision) ** 2
        # At least half of what there is time for: a small error may be small by chance.
        affordable = self._affordable(level)
        last = int(min(max(wanted, affordable / 2.0), affordable, most))
        if last > LEAST_GROWTH * done:
            yield last

    def _affordable(self, level: Level) -> int:
        """Requests of every run of a level within the CPU time that one may take."""
        low = level.low
        assert low is not None
        steps = STEP_CPU_S + RANK_CPU_S * self.task.rules.ranks
        spent_s = low.simulation.totals.steps * steps + low.requests * REQUEST_CPU_S
        return int(min(low.requests * self.options.cpu_s / (PROBES * spent_s), self.stream.most))

    def _first(self, guess: float, requests: int, most: int) -> Level | Outcome:
        """Bracket from the guess, with more requests where they stay longer than the run."""
        while True:
            level = self._level(requests)
            first = level.at(guess)
            # An engine that fills up is lighter than a full one: what misses all the same, misses.
            if first.short and first.met and requests < most:
                requests = min(max(self._enough(first), 2 * requests), most)
                continue
            if not level.bracket(guess, FIRST_STEP, guess * ALONE_SHARE):
                missed = self._alone(guess)
                if missed is not None:
                    return missed
                if not level.bracket(guess * ALONE_SHARE, 1.0, guess * LOWEST_SHARE):
                    return self._outcome(level.probes[-1])
            level.narrow(NARROW)
            low = level.low
            assert low is not None
            if not low.short or requests == most:
                return level
            requests, guess = min(max(self._enough(low), 2 * requests), most), low.rate_rps

    @staticmethod
    def _enough(probe: Probe) -> int:
        """Requests with which the warm-up takes less than it may of the run."""
        return int(ROOM * FILL * probe.stay_s * probe.rate_rps / LONGEST_CUT)

    def _alone(self, guess: float) -> Outcome | None:
        """Outcome if requests that never meet miss the objective."""
        trace = self._stream(min(ALONE_REQUESTS, self.stream.most))
        first = self._run(trace, guess * LOWEST_SHARE)
        return None if first.met else self._outcome(first)

    @staticmethod
    def _outcome(probe: Probe) -> Outcome:
        metric = probe.worst.metric
        if metric == "tpot":
            return Outcome.MISSES_TPOT
        return Outcome.MISSES_TTFT if metric == "ttft" else Outcome.MISSES_SLO

    def _narrower(self, root: Root, requests: int) -> Level:
        """Bracket around what fewer requests gave, as wide as their error."""
        level = self.level = self._level(requests)
        error = root.log_half_width
        finest = max(self.options.precision, LEAST_BRACKET)
        width = finest * (1.0 if root.unstable else INTERPOLATED)
        if not root.unstable:
            level.approach(root.rate_rps, root.slope, width)
        step = min(max(error if math.isfinite(error) else WIDE, self.options.precision), WIDE)
        level.bracket(root.rate_rps, step, root.rate_rps * LOWEST_SHARE)
        level.narrow(width)
        return level

    def _stream(self, requests: int) -> Trace:
        """First so many requests; the longest stream is drawn once."""
        if self.drawn is None or self.drawn.requests < requests:
            self.drawn = self.stream.take(requests)
        if self.drawn.requests == requests:
            return self.drawn
        return take(self.drawn, np.arange(requests))

    def _level(self, requests: int) -> Level:
        return Level(run=self._runner(self._stream(requests)))

    def _runner(self, trace: Trace) -> Callable[[float], Probe]:
        return lambda rate: self._run(trace, rate)

    def _run(self, trace: Trace, rate_rps: float) -> Probe:
        self.simulated += trace.requests
        timed = at_rate(trace, rate_rps)
        return self.judge.judge(run_split(timed, self.task), timed, rate_rps)

    def _root(self, level: Level) -> Root:
        self.anomalies += level.anomalies
        low = level.low
        assert low is not None
        requests = low.simulation.requests
        work = (requests.input_tokens + requests.output_tokens).astype(float)
        error = _Z95 * float(work.std()) / float(work.mean()) / math.sqrt(work.size)
        return root_of(level, error)

    def _described(self, root: Root, level: Level, steady: float) -> MaxLoad:
        probe = level.low
        assert probe is not None
        simulation = probe.simulation
        requests, totals = simulation.requests, simulation.totals
        inside = (requests.arrival_s >= probe.window.start_s) & (
            requests.arrival_s <= probe.window.end_s
        )
        gaps = tpot_s(requests)[inside]
        done = np.isfinite(requests.last_token_s)
        per_chip, sent = root.rate_rps / self.chips, requests.rejected.size
        output = int(requests.output_tokens[done].sum())
        half = root.rate_rps * math.expm1(root.log_half_width)
        return MaxLoad(
            outcome=Outcome.OK,
            rate_rps=root.rate_rps,
            half_width_rps=half,
            binds=root.binds,
            # of all that were sent: a rejected or unfinished request brings no tokens
            output_tokens_per_s_per_chip=per_chip
            * float(requests.output_tokens[done].sum())
            / sent,
            input_tokens_per_s_per_chip=per_chip * float(requests.input_tokens[done].sum()) / sent,
            joule_per_output_token=totals.energy_j / output if output else NAN,
            mean_tpot_s=float(np.nanmean(gaps)) if np.isfinite(gaps).any() else NAN,
            tpot_s=_percentile(gaps, self._percent("tpot")),
            ttft_s=_percentile(requests.ttft_s[inside], self._percent("ttft")),
            running=totals.running_s / totals.end_s if totals.end_s else NAN,
            chips=self.chips,
            steady_rps=steady,
            simulated_requests=self.simulated,
            longest_run=probe.requests,
            anomalies=self.anomalies,
            precise=root.log_half_width <= self.options.precision,
            notes=_notes(probe, root, self.options.precision),
        )

    def _percent(self, metric: str) -> float:
        """Percentile of the limits of a metric, the highest; 90 where there is none."""
        own = [one.percentile for one in self.objective.limits if one.metric == metric]
        return max(own, default=90.0)


def _percentile(values: np.ndarray, percent: float) -> float:
    known = values[np.isfinite(values)]
    return float(np.percentile(known, percent)) if known.size else NAN


def _notes(probe: Probe, root: Root, precision: float) -> tuple[str, ...]:
    found = []
    if probe.short:
        found.append(
            "requests stay so long that the run is mostly warm-up; give more requests"
            f" than {probe.requests:,}"
        )
    if not root.log_half_width <= precision:
        wide = "unknown" if math.isnan(root.log_half_width) else f"±{root.log_half_width:.1%}"
        found.append(f"the interval is {wide}, not the ±{precision:.1%} aimed at")
    if root.unstable:
        found.append("no limit is reached before the queue grows without end")
    return tuple(found)
