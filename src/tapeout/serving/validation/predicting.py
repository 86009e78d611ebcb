"""From a serving case to the five quantities of a row, with their bands."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from importlib import resources

from tapeout.constants import Z80
from tapeout.errors import InfeasibleError
from tapeout.perf import (
    TIGHT_MEMORY,
    Degrees,
    Placement,
    TimingModel,
    max_sequences,
    weights_per_chip_bytes,
)
from tapeout.perf.energy import static_w
from tapeout.serving.closed_loop import LoopEngine
from tapeout.serving.parallelism import Plan, Pool
from tapeout.serving.sanity import physical_bounds
from tapeout.serving.steady import Lengths
from tapeout.serving.validation.inputs import Kind, ServingCase
from tapeout.serving.validation.loads import (
    Pools,
    Replica,
    at_largest_batch,
    at_objective,
    in_open_loop,
    in_pools,
    in_static_batch,
)
from tapeout.serving.validation.loops import in_loop
from tapeout.serving.validation.speculative import in_steps, verify_model
from tapeout.serving.validation.terms import Terms, load_terms, term_keys

ROOMY = 0.6  # share of memory that weights may take in a placement derived from memory alone
MOST_TENSOR = 16
QUANTITIES = (
    "output_tok_s_per_chip",
    "total_tok_s_per_chip",
    "ttft_ms",
    "tpot_ms",
    "power_w_per_chip",
)
TIMES = ("ttft_ms", "tpot_ms")
UNKNOWN = ", unknown software"
OBJECTIVE_KINDS = (Kind.LARGEST, Kind.OBJECTIVE)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopMeans:
    """What one engine says of a closed loop; the rate per chip."""

    output_tokens_per_s_per_chip: float
    ttft_s: float
    tpot_s: float

    def stretched(self, factor: float) -> LoopMeans:
        """All times longer by a factor, the rate lower."""
        return LoopMeans(
            output_tokens_per_s_per_chip=self.output_tokens_per_s_per_chip / factor,
            ttft_s=self.ttft_s * factor,
            tpot_s=self.tpot_s * factor,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ServingPrediction:
    """Means of a run in SI units; rates and power per chip.

    Attributes
    ----------
    log_sd : mapping of quantity to float
        Of the logarithm of each of `QUANTITIES`.
    base_log_sd : float
        Of the timing model alone.
    requests : float
        In flight over all chips, for Little's law; of a static batch, the batch.
    placement : Placement
        Of the engines or of the decode pool.
    workers, chips : int
        Replicas of that placement, and chips of the whole run.
    tokens_per_step : float
        Tokens a sequence gains in a step; above one with speculation.
    chips_per_card : int
        What the table counts as one accelerator.
    mean_ttft_s : float
        For Little's law: the median differs from it where requests wait in turns.
    by_engine : mapping of engine to LoopMeans
        Of a closed loop that was simulated: what the three engines say.
    """

    output_tokens_per_s_per_chip: float
    total_tokens_per_s_per_chip: float
    ttft_s: float
    tpot_s: float
    power_w_per_chip: float
    log_sd: dict[str, float]
    base_log_sd: float
    requests: float
    placement: Placement
    workers: int
    chips: int
    tokens_per_step: float
    chips_per_card: int
    mean_ttft_s: float
    mode: str
    model: str
    assumed: tuple[str, ...]
    notes: tuple[str, ...]
    by_engine: Mapping[str, LoopMeans] = field(default_factory=dict)


def predict_serving(
    case: ServingCase,
    model: TimingModel,
    terms: Terms | None = None,
    engine: LoopEngine = LoopEngine.BURST,
) -> ServingPrediction:
    """Predict one row.

    Parameters
    ----------
    case : ServingCase
    model : TimingModel
    terms : Terms, optional
        Stack terms of the kinds of load; the shipped ones by default.
    engine : LoopEngine
        Of closed loops.

    Raises
    ------
    MissingFieldError
        The chip has no peak rate.
    InfeasibleError
        Parallelism degrees that do not fit one another, or no number comes out.
    """
    options = [_run(case, plan, model, note, engine) for plan, note in _plans(case)]
    best = max(options, key=lambda one: one.output_tokens_per_s_per_chip)
    known = load_terms() if terms is None else terms
    shift = known.log_factor(run_keys(case, best.mode))
    mode = best.mode
    own_load = case.load.kind in OBJECTIVE_KINDS and not case.benchmark
    if own_load or not known.knows(mode, case.stack, case.system.chip.name):
        mode += UNKNOWN
    best = replace(
        bounded(stretched(best, math.exp(shift)), case),
        log_sd={name: best.base_log_sd * band_factor(mode, name) for name in QUANTITIES},
    )
    values = (
        best.output_tokens_per_s_per_chip,
        best.total_tokens_per_s_per_chip,
        best.ttft_s,
        best.tpot_s,
        best.power_w_per_chip,
    )
    if not all(math.isfinite(value) and value >= 0.0 for value in values):
        raise InfeasibleError(f"no finite prediction: {values}")
    return best


def run_keys(case: ServingCase, mode: str) -> tuple[str, ...]:
    """Keys of the stack terms of a case.

    Those of loads that a benchmark defines hold for its set-ups, lengths included: a largest batch
    outside it has none.
    """
    if case.load.kind in OBJECTIVE_KINDS and not case.benchmark:
        return ()
    return term_keys(mode, case.stack, case.system.chip.name, case.architecture.name)


def stretched(prediction: ServingPrediction, factor: float) -> ServingPrediction:
    """All times longer by a factor and all rates lower, so that Little's law still holds.

    Power stays: with time only the static part of a token's joules changes, and rated power
    limits it; its band covers that.
    """
    return replace(
        prediction,
        output_tokens_per_s_per_chip=prediction.output_tokens_per_s_per_chip / factor,
        total_tokens_per_s_per_chip=prediction.total_tokens_per_s_per_chip / factor,
        ttft_s=prediction.ttft_s * factor,
        mean_ttft_s=prediction.mean_ttft_s * factor,
        tpot_s=prediction.tpot_s * factor,
        by_engine={name: one.stretched(factor) for name, one in prediction.by_engine.items()},
    )


def bounded(prediction: ServingPrediction, case: ServingCase) -> ServingPrediction:
    """Slow a prediction down to what reading the weights and the peak rate allow.

    A fitted term or an anchor is a mean over other runs and knows no physics.
    """
    least = max(
        (
            one.limit / one.figure if one.unit == "s" else one.figure / one.limit
            for one in physical_bounds(prediction, case)
            if one.figure > 0.0
        ),
        default=1.0,
    )
    return stretched(prediction, least) if least > 1.0 else prediction


def _plans(case: ServingCase) -> Iterator[tuple[Plan, str]]:
    """Return the plan of the row, or those that its chips and memory allow.

    A load that a benchmark lets its submitters choose takes the best of them, any other the fewest
    chips a replica that leave room for a cache.
    """
    if case.plan is not None:
        yield case.plan, ""
        return
    found = list(_derived(case))
    roomy = [plan for plan, share in found if share <= ROOMY]
    fits = roomy or [plan for plan, share in found if share < 1.0]
    chosen = fits or [found[-1][0]]
    if case.load.kind not in OBJECTIVE_KINDS:
        chosen = chosen[:1]
    for plan in chosen:
        degrees = plan.main.degrees
        yield plan, f"parallelism taken: {plan.main.workers} x {_words(degrees)}"


def _words(degrees: Degrees) -> str:
    named = {"tp": degrees.tensor, "pp": degrees.pipeline, "ep": degrees.expert, "dp": degrees.data}
    return "-".join(f"{name}{number}" for name, number in named.items() if number > 1) or "tp1"


def _derived(case: ServingCase) -> Iterator[tuple[Plan, float]]:
    """Placements that divide the chips, fewest a replica first, with the memory weights take."""
    total = case.chips
    domain = case.system.chips_per_domain
    degree = 1
    while degree <= min(total or MOST_TENSOR, MOST_TENSOR):
        if total is None or total % degree == 0:
            inside = min(degree, max(1, domain))
            pipeline = degree // inside if degree % inside == 0 else 1
            tensor = degree // pipeline
            pool = Pool(
                degrees=Degrees(tensor=tensor, pipeline=pipeline),
                workers=total // degree if total else 1,
            )
            share = _weights_share(case, pool.degrees)
            yield Plan(main=pool), share
            if total is None and share <= ROOMY:
                return
        degree *= 2


def _weights_share(case: ServingCase, degrees: Degrees) -> float:
    placement = _placement(case, degrees)
    if max_sequences(placement, case.lengths.context) < 1:
        return math.inf
    return weights_per_chip_bytes(placement) / case.system.chip.memory_bytes


def _placement(case: ServingCase, degrees: Degrees) -> Placement:
    """Place the model; where the defaults hold not one sequence, as tight engines do."""
    placement = Placement(
        architecture=case.architecture,
        system=case.system,
        tensor_parallel=degrees.tensor,
        pipeline_parallel=degrees.pipeline,
        expert_parallel=degrees.expert if case.architecture.experts else 1,
        data_parallel=degrees.data,
        formats=case.formats,
        stack=case.stack,
    )
    if max_sequences(placement, case.lengths.context) >= 1:
        return placement
    return replace(placement, memory=TIGHT_MEMORY)


def _run(
    case: ServingCase, plan: Plan, model: TimingModel, note: str, engine: LoopEngine
) -> ServingPrediction:
    """Predict a case on one plan."""
    draft = case.speculation
    lengths = in_steps(case.lengths, draft) if draft else case.lengths
    timing = verify_model(model, draft, case.lengths) if draft else model
    placement = _placement(case, plan.main.degrees)
    if plan.prefill is not None:
        pools = Pools(
            prefill=_placement(case, plan.prefill.degrees),
            prefill_workers=plan.prefill.workers,
            decode=placement,
            decode_workers=plan.main.workers,
        )
        requests = _requests_of_pools(case, plan)
        found = in_pools(model, timing, pools, lengths, requests)
        rate = found.steps_per_s / plan.chips
    else:
        found, requests, share = _replicas(case, plan, timing, lengths, placement, engine)
        idle_w = (1.0 - share) * static_w(case.system.chip)
        found = replace(found, power_w=share * found.power_w + idle_w)
        rate = share * found.steps_per_s / placement.chips
    return _Run(
        plan=plan,
        placement=placement,
        replica=found,
        steps_per_s_per_chip=rate,
        requests=requests,
        model=timing.name,
        note=note,
    ).prediction(case)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Run:
    """A plan with its means, still counted in steps."""

    plan: Plan
    placement: Placement
    replica: Replica
    steps_per_s_per_chip: float
    requests: float
    model: str
    note: str

    def prediction(self, case: ServingCase) -> ServingPrediction:
        """Turn steps into tokens, add the host where power is read at the wall, and the bands."""
        gain = case.speculation.tokens_per_step if case.speculation else 1.0
        output = gain * self.steps_per_s_per_chip
        mode = _mode(case, self.plan)
        host_w = case.system.host_w if case.wall_power else 0.0
        missed = [self.replica.note] if "misses" in self.replica.note else []
        told = [self.replica.note] if self.replica.note and not missed else []
        memory = self._memory(case)
        (missed if "does not fit" in memory else told).append(memory)
        return ServingPrediction(
            output_tokens_per_s_per_chip=output,
            total_tokens_per_s_per_chip=output
            * (case.lengths.input + case.lengths.output)
            / case.lengths.output,
            ttft_s=self.replica.ttft_s,
            mean_ttft_s=self.replica.mean_ttft_s
            if math.isfinite(self.replica.mean_ttft_s)
            else self.replica.ttft_s,
            tpot_s=self.replica.step_s / gain,
            power_w_per_chip=self.replica.power_w + host_w,
            log_sd=dict.fromkeys(QUANTITIES, self.replica.log_sd),
            base_log_sd=self.replica.log_sd,
            chips_per_card=case.chips_per_card,
            requests=self.requests,
            placement=self.placement,
            workers=self.plan.main.workers,
            chips=self.plan.chips,
            tokens_per_step=gain,
            mode=mode,
            model=self.model,
            assumed=(*case.assumed, *missed),
            notes=(*(note for note in (self.note, *told) if note), *case.notes),
            by_engine={
                name: LoopMeans(
                    output_tokens_per_s_per_chip=output
                    * one.steps_per_s
                    / self.replica.steps_per_s,
                    ttft_s=one.ttft_s,
                    tpot_s=one.step_s / gain,
                )
                for name, one in self.replica.beside.items()
            },
        )

    def _memory(self, case: ServingCase) -> str:
        """What had to be done to the memory map for the row to fit."""
        if self.placement.memory != TIGHT_MEMORY:
            return ""
        if max_sequences(self.placement, case.lengths.context) < 1:
            return "memory: does not fit by our map even with tight settings; timed all the same"
        return "memory: fits with tight engine settings only"


def _mode(case: ServingCase, plan: Plan) -> str:
    kind = "disaggregated" if plan.prefill is not None else str(case.load.kind)
    return f"{kind}, speculative" if case.speculation else kind


def _requests_of_pools(case: ServingCase, plan: Plan) -> float:
    """Requests in flight over both pools; without a number, 64 a decode replica."""
    if math.isfinite(case.load.value) and case.load.kind is not Kind.OPEN:
        return case.load.value
    return 64.0 * plan.main.workers


def _replicas(
    case: ServingCase,
    plan: Plan,
    timing: TimingModel,
    lengths: Lengths,
    placement: Placement,
    engine: LoopEngine,
) -> tuple[Replica, float, float]:
    """One replica under its part of the load, requests in flight, and the share in use."""
    workers = plan.main.workers
    kind, value = case.load.kind, case.load.value
    if kind is Kind.LARGEST:
        found = at_largest_batch(timing, placement, lengths)
        return found, _in_flight(found, lengths) * workers, 1.0
    if kind is Kind.OBJECTIVE:
        found = at_objective(timing, placement, lengths, case.objective)
        return found, _in_flight(found, lengths) * workers, 1.0
    if kind is Kind.OPEN:
        found = in_open_loop(timing, placement, lengths, value / workers)
        return found, _in_flight(found, lengths) * workers, 1.0
    each = value / workers
    share = min(1.0, each)  # fewer requests than replicas leave some idle
    if kind is Kind.STATIC:
        found = in_static_batch(timing, placement, lengths, max(each, 1.0))
        return found, found.in_flight * workers * share, share
    found = in_loop(timing, placement, lengths, max(each, 1.0), case.length_spread, engine)
    return found, value, share


def _in_flight(found: Replica, lengths: Lengths) -> float:
    """Requests in a replica, by Little's law from its own rates."""
    return found.steps_per_s / lengths.output * (found.ttft_s + lengths.output * found.step_s)


@cache
def _bands() -> dict[tuple[str, str], float]:
    text = resources.files("tapeout.serving").joinpath("data/bands.csv").read_text("utf-8")
    rows = csv.DictReader(text.splitlines())
    return {(row["mode"], row["quantity"]): float(row["factor"]) for row in rows}


def fallbacks(mode: str) -> tuple[str, ...]:
    """Names that a mode is looked up by: without its drafts, and those of known software last.

    Examples
    --------
    >>> fallbacks("max batch, unknown software")
    ('max batch, unknown software', '*, unknown software')
    >>> fallbacks("closed loop, speculative")
    ('closed loop, speculative', 'closed loop')
    """
    plain = mode.removesuffix(UNKNOWN)
    end = mode[len(plain) :]
    bare = plain.removesuffix(", speculative")
    return tuple(dict.fromkeys((mode, bare + end, f"*{end}" if end else bare)))


def band_factor(mode: str, quantity: str) -> float:
    """Error of a quantity over the timing model's own `log_sd`, from data/bands.csv.

    Examples
    --------
    >>> band_factor("closed loop", "ttft_ms") > band_factor("closed loop", "tpot_ms")
    True
    """
    known = _bands()
    for key in (*fallbacks(mode), "*"):
        if (key, quantity) in known:
            return known[key, quantity]
    raise AssertionError(quantity)  # the table has a row for every quantity


def band(value: float, log_sd: float) -> tuple[float, float]:
    """80 % band around a median."""
    factor = math.exp(Z80 * log_sd)
    return value / factor, value * factor
