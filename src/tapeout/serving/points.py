"""Operating points at a service-level objective: the largest batch that fits and meets it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from tapeout.errors import Outcome
from tapeout.fabric import System
from tapeout.numerics import Floats
from tapeout.perf import (
    MemoryMap,
    PhysicalModel,
    Placement,
    StepCost,
    TimingModel,
    in_words,
    max_sequences,
    memory_map,
    placements,
    require_fit,
    serving_formats,
)
from tapeout.serving.disaggregated import Pool, decode_pool, prefill_pool
from tapeout.serving.percentiles import tpot_at_percentile_s, ttft_at_percentile_s
from tapeout.serving.steady import TOKEN_BUDGET, Lengths, lengths_of, steady_state
from tapeout.serving.types import Slo
from tapeout.workload import ModelArchitecture, Traffic

GRID = 24  # batches tried first, geometric
REFINED = 24  # batches tried between the last that meets the objective and the first that does not
SEQUENCES_PER_GROUP = 4096  # an operator raises max_num_seqs (default 1,024) until memory is full


@dataclass(frozen=True, slots=True, kw_only=True)
class CapacityOptions:
    """How a capacity table is filled.

    Attributes
    ----------
    model : TimingModel
    most_chips : int
        Of one replica.
    token_budget, sequences_per_group : int
        Of one attention group of the engine.
    precision : mapping of silicon name to precision
        Where it shall not be the narrowest that stacks serve.
    stack : str
        Software stack whose effects are used.
    disaggregated : bool
        Also try prefill and decode on pools of their own.
    """

    model: TimingModel = field(default_factory=PhysicalModel)
    most_chips: int = 64
    token_budget: int = TOKEN_BUDGET
    sequences_per_group: int = SEQUENCES_PER_GROUP
    precision: Mapping[str, str] = field(default_factory=dict)
    stack: str = "generic"
    disaggregated: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class CapacityPoint:
    """One placement at the largest batch that meets the objective.

    Times are at the objective's percentile except `mean_*`; rates are per chip of all pools; input
    counts all input tokens, cached ones included. `bound`, `by_kind_s`, batch and memory are those
    of the decode step. `prefill_placement` is that of a prefill pool of its own, if there is one;
    `chips` is the smallest unit that can serve.
    """

    placement: Placement
    prefill_placement: Placement | None
    chips: int
    outcome: Outcome
    batch_sequences: float
    mean_tpot_s: float
    mean_ttft_s: float
    tpot_s: float
    ttft_s: float
    output_tokens_per_s_per_chip: float
    input_tokens_per_s_per_chip: float
    joule_per_output_token: float
    power_w_per_chip: float
    bound: str
    by_kind_s: Mapping[str, float]
    memory: MemoryMap
    common_log_sd: float
    own_log_sd: float


def capacity_point(
    placement: Placement, traffic: Traffic, slo: Slo, options: CapacityOptions | None = None
) -> CapacityPoint:
    """Largest batch of one placement that fits memory and meets both limits.

    The result's `outcome` says whether there is one; when a limit is missed with a single
    sequence, the point describes that sequence and its rates are zero.

    Raises
    ------
    DoesNotFitError
        Not even one sequence fits.
    MissingFieldError
        The chip has no peak rate.
    """
    lengths = lengths_of(traffic)
    require_fit(placement, 1.0, lengths.context)
    return _point(placement, lengths, slo, options or CapacityOptions())


def _point(
    placement: Placement, lengths: Lengths, slo: Slo, options: CapacityOptions
) -> CapacityPoint:
    grid = _grid(placement, lengths, options)
    trial = _Trial(placement, lengths, slo, options, grid)
    if trial.best is not None and trial.best + 1 < grid.size:
        between = np.linspace(grid[trial.best], grid[trial.best + 1], REFINED)
        trial = _Trial(placement, lengths, slo, options, _distinct(np.floor(between)))
    return trial.point()


class _Trial:
    """A grid of batches timed against an objective."""

    def __init__(
        self,
        placement: Placement,
        lengths: Lengths,
        slo: Slo,
        options: CapacityOptions,
        batch: Floats,
    ) -> None:
        self.placement, self.lengths = placement, lengths
        self.state = steady_state(options.model, placement, lengths, batch, options.token_budget)
        self.tpot_s = tpot_at_percentile_s(self.state, slo.percentile)
        self.ttft_s = ttft_at_percentile_s(self.state, slo.percentile)
        self.slow = self.tpot_s > slo.tpot_s
        # With the token budget used up prompts arrive faster than they are computed.
        self.late = (self.ttft_s > slo.ttft_s) | (self.state.load >= 1.0)
        met = np.flatnonzero(~self.slow & ~self.late)
        self.best = int(met[-1]) if met.size else None

    def point(self) -> CapacityPoint:
        """Describe the largest batch that meets the objective, else the smallest tried."""
        at = 0 if self.best is None else self.best
        state, cost = self.state, self.state.cost
        outcome = Outcome.OK
        if self.best is None:
            outcome = Outcome.MISSES_TPOT if self.slow[0] else Outcome.MISSES_TTFT
        rate = 0.0 if self.best is None else float(state.output_tokens_per_s[at])
        chips = self.placement.chips
        joule = float(state.joule_per_output_token[at])
        return CapacityPoint(
            placement=self.placement,
            prefill_placement=None,
            chips=chips,
            outcome=outcome,
            batch_sequences=float(state.sequences[at]),
            mean_tpot_s=float(state.tpot_s[at]),
            mean_ttft_s=float(state.ttft_s[at]),
            tpot_s=float(self.tpot_s[at]),
            ttft_s=float(self.ttft_s[at]),
            output_tokens_per_s_per_chip=rate / chips,
            input_tokens_per_s_per_chip=rate / chips * self.lengths.input / self.lengths.output,
            joule_per_output_token=joule,
            power_w_per_chip=joule * float(state.output_tokens_per_s[at]) / chips,
            bound=cost.bound[at],
            by_kind_s={kind: float(part[at]) for kind, part in cost.by_kind_s.items()},
            memory=memory_map(self.placement, state.sequences[at], self.lengths.context),
            common_log_sd=cost.common_log_sd,
            own_log_sd=_own_log_sd(cost),
        )


def best_point(
    architecture: ModelArchitecture,
    system: System,
    traffic: Traffic,
    slo: Slo,
    options: CapacityOptions | None = None,
) -> CapacityPoint | None:
    """Best way to serve a model on a system: most output tokens per second and chip.

    Of placements that miss the objective the one that gets furthest is returned (its outcome
    says so); None when the model fits no placement.

    Raises
    ------
    MissingFieldError
        The chip has no peak rate.
    """
    chosen = options or CapacityOptions()
    lengths = lengths_of(traffic)
    candidates = [
        placement
        for placement in _candidates(architecture, system, chosen)
        if max_sequences(placement, lengths.context) > 0
    ]
    points = [_point(placement, lengths, slo, chosen) for placement in candidates]
    if chosen.disaggregated:
        split = _split_point(candidates, lengths, slo, chosen)
        points.extend([split] if split is not None else [])
    return max(points, key=_rank, default=None)


def _split_point(
    candidates: list[Placement], lengths: Lengths, slo: Slo, options: CapacityOptions
) -> CapacityPoint | None:
    """Cheapest prefill pool beside the cheapest decode pool; None when a limit is missed."""
    prefill = [
        pool
        for placement in candidates
        if (pool := prefill_pool(options.model, placement, lengths, slo, options.token_budget))
    ]
    decode = [
        pool for placement in candidates if (pool := _decode(placement, lengths, slo, options))
    ]
    if not prefill or not decode:
        return None
    return _joined(
        min(prefill, key=lambda pool: pool.chip_s_per_request),
        min(decode, key=lambda pool: pool.chip_s_per_request),
        lengths,
    )


def _decode(
    placement: Placement, lengths: Lengths, slo: Slo, options: CapacityOptions
) -> Pool | None:
    """Decode pool at the largest batch that meets the limit."""
    grid = _grid(placement, lengths, options)
    rough = decode_pool(options.model, placement, lengths, slo, grid)
    if rough is None or rough.at + 1 >= grid.size:
        return rough
    between = np.linspace(grid[rough.at], grid[rough.at + 1], REFINED)
    return decode_pool(options.model, placement, lengths, slo, _distinct(np.floor(between)))


def _grid(placement: Placement, lengths: Lengths, options: CapacityOptions) -> Floats:
    """Batches to try, geometric, up to what memory and the engine hold."""
    most = min(
        max_sequences(placement, lengths.context),
        options.sequences_per_group * placement.data_parallel,
    )
    return _distinct(np.rint(np.geomspace(1.0, max(most, 1), GRID)))


def _distinct(batch: Floats) -> Floats:
    """Drop repetitions from an ascending array."""
    distinct: Floats = batch[np.concatenate([[True], batch[1:] > batch[:-1]])]
    return distinct


def _joined(prefill: Pool, decode: Pool, lengths: Lengths) -> CapacityPoint:
    """One operating point of two pools whose request rates match."""
    rate = lengths.output / (prefill.chip_s_per_request + decode.chip_s_per_request)
    joule = (prefill.joule_per_request + decode.joule_per_request) / lengths.output
    replicas = max(1, int(np.ceil(decode.requests_per_s / prefill.requests_per_s)))
    cost, at = decode.cost, decode.at
    return CapacityPoint(
        placement=decode.placement,
        prefill_placement=prefill.placement,
        chips=decode.placement.chips + replicas * prefill.placement.chips,
        outcome=Outcome.OK,
        batch_sequences=decode.sequences,
        mean_tpot_s=decode.mean_s,
        mean_ttft_s=prefill.mean_s,
        tpot_s=decode.latency_s,
        ttft_s=prefill.latency_s,
        output_tokens_per_s_per_chip=rate,
        input_tokens_per_s_per_chip=rate * lengths.input / lengths.output,
        joule_per_output_token=joule,
        power_w_per_chip=joule * rate,
        bound=cost.bound[at],
        by_kind_s={kind: float(part[at]) for kind, part in cost.by_kind_s.items()},
        memory=memory_map(decode.placement, decode.sequences, lengths.context),
        common_log_sd=cost.common_log_sd,
        own_log_sd=_own_log_sd(cost),
    )


def _own_log_sd(cost: StepCost) -> float:
    """Timing error of the chip alone."""
    return float(np.sqrt(max(cost.log_sd**2 - cost.common_log_sd**2, 0.0)))


def least_tpot_point(
    architecture: ModelArchitecture,
    system: System,
    traffic: Traffic,
    options: CapacityOptions | None = None,
) -> CapacityPoint | None:
    """One request alone on the placement that decodes it fastest; None when none fits.

    Raises
    ------
    MissingFieldError
        The chip has no peak rate.
    """
    chosen = options or CapacityOptions()
    slo = Slo(ttft_s=float("inf"), tpot_s=float("inf"), percentile=50.0)
    lengths = lengths_of(traffic)
    points = [
        _Trial(placement, lengths, slo, chosen, np.ones(1)).point()
        for placement in _candidates(architecture, system, chosen)
        if max_sequences(placement, lengths.context) > 0
    ]
    return min(points, key=lambda point: point.mean_tpot_s, default=None)


def _candidates(
    architecture: ModelArchitecture, system: System, options: CapacityOptions
) -> list[Placement]:
    precision = options.precision.get(system.chip.name)
    formats = serving_formats(system.chip, architecture, precision, stack=options.stack)
    return placements(
        architecture, system, formats, most_chips=options.most_chips, stack=options.stack
    )


def _rank(point: CapacityPoint) -> tuple[float, float, float]:
    """Order of preference: rate, then the smaller excess over the limits, then fewer chips."""
    return (
        point.output_tokens_per_s_per_chip,
        -point.tpot_s if point.outcome == Outcome.MISSES_TPOT else -point.ttft_s,
        -float(point.chips),
    )


def words(point: CapacityPoint) -> str:
    """Placement in words: "tp8 fp4", or "prefill tp4 fp4, decode dp32 ep32 fp4"."""
    decode = in_words(point.placement)
    if point.prefill_placement is None:
        return decode
    return f"prefill {in_words(point.prefill_placement)}, decode {decode}"
