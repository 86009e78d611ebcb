"""Capacity at a service-level objective: the largest batch that fits and meets it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from tapeout.chip.types import ChipSpec
from tapeout.errors import DoesNotFitError, InfeasibleError, MissingFieldError, Outcome
from tapeout.fabric import System, usual_system
from tapeout.numerics import Floats
from tapeout.perf import (
    MemoryMap,
    PhysicalModel,
    Placement,
    TimingModel,
    in_words,
    max_sequences,
    memory_map,
    placements,
    require_fit,
    serving_formats,
)
from tapeout.serving.percentiles import tpot_at_percentile_s, ttft_at_percentile_s
from tapeout.serving.steady import TOKEN_BUDGET, Lengths, lengths_of, steady_state
from tapeout.serving.types import CapacityTable, Slo
from tapeout.workload import ModelArchitecture, Traffic, load_model

GRID = 24  # batches tried first, geometric
REFINED = 12  # batches tried between the last that meets the objective and the first that does not
SEQUENCES_PER_GROUP = 1024  # default max_num_seqs of vLLM on chips of 70 GiB and more


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
        Software stack whose constants are used.
    """

    model: TimingModel = field(default_factory=PhysicalModel)
    most_chips: int = 64
    token_budget: int = TOKEN_BUDGET
    sequences_per_group: int = SEQUENCES_PER_GROUP
    precision: Mapping[str, str] = field(default_factory=dict)
    stack: str = "generic"


@dataclass(frozen=True, slots=True, kw_only=True)
class CapacityPoint:
    """One placement at the largest batch that meets the objective.

    Times are at the objective's percentile except `mean_*`; rates are per chip; input counts all
    input tokens, cached ones included. `bound` is that of the decode step.
    """

    placement: Placement
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
    most = min(
        max_sequences(placement, lengths.context),
        options.sequences_per_group * placement.data_parallel,
    )
    grid = np.unique(np.rint(np.geomspace(1.0, max(most, 1), GRID)))
    trial = _Trial(placement, lengths, slo, options, grid)
    if trial.best is not None and trial.best + 1 < grid.size:
        between = np.linspace(grid[trial.best], grid[trial.best + 1], REFINED)
        trial = _Trial(placement, lengths, slo, options, np.unique(np.floor(between)))
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
        self.late = self.ttft_s > slo.ttft_s
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
            own_log_sd=float(np.sqrt(max(cost.log_sd**2 - cost.common_log_sd**2, 0.0))),
        )


def best_point(
    architecture: ModelArchitecture,
    system: System,
    traffic: Traffic,
    slo: Slo,
    options: CapacityOptions | None = None,
) -> CapacityPoint | None:
    """Best placement of a model on a system: most output tokens per second and chip.

    Of placements that miss the objective the one that gets furthest is returned (its outcome
    says so); None when the model fits no placement.

    Raises
    ------
    MissingFieldError
        The chip has no peak rate.
    """
    chosen = options or CapacityOptions()
    precision = chosen.precision.get(system.chip.name)
    formats = serving_formats(system.chip, architecture, precision)
    candidates = placements(
        architecture, system, formats, most_chips=chosen.most_chips, stack=chosen.stack
    )
    lengths = lengths_of(traffic)
    points = [
        _point(placement, lengths, slo, chosen)
        for placement in candidates
        if max_sequences(placement, lengths.context) > 0
    ]
    if not points:
        return None
    return max(points, key=_rank)


def _rank(point: CapacityPoint) -> tuple[float, float, float]:
    """Order of preference: rate, then the smaller excess over the limits, then fewer chips."""
    return (
        point.output_tokens_per_s_per_chip,
        -point.tpot_s if point.outcome == Outcome.MISSES_TPOT else -point.ttft_s,
        -float(point.placement.chips),
    )


def steady_capacity(
    silicon: Mapping[str, System | ChipSpec | None],
    traffic: Sequence[Traffic],
    slo: Sequence[Slo],
    options: CapacityOptions | None = None,
) -> CapacityTable:
    """Fill the capacity table for every silicon and class of traffic.

    Parameters
    ----------
    silicon : mapping of name to System, ChipSpec or None
        A ChipSpec gets the usual system around it; None is a chip that could not be specified.
    traffic : sequence of Traffic
    slo : sequence of Slo
        One for each class.
    options : CapacityOptions, optional

    Returns
    -------
    CapacityTable
        One stack year, 0: today's software; maturity is a curve applied later. What cannot be
        served has an outcome code and zero rates, never an exception.

    Raises
    ------
    UnknownNameError
        A model that is in no list.
    InfeasibleError
        Traffic and objectives of different number.
    """
    if len(traffic) != len(slo):
        raise InfeasibleError(
            f"{len(traffic)} classes of traffic but {len(slo)} objectives; give one for each class"
        )
    chosen = options or CapacityOptions()
    models = [load_model(one.model) for one in traffic]
    grid = [
        [
            _cell(entry, model, one, limit, chosen)
            for model, one, limit in zip(models, traffic, slo, strict=True)
        ]
        for entry in silicon.values()
    ]
    return _table(tuple(silicon), tuple(one.name for one in traffic), grid)


def _cell(
    entry: System | ChipSpec | None,
    model: ModelArchitecture,
    traffic: Traffic,
    slo: Slo,
    options: CapacityOptions,
) -> CapacityPoint | Outcome:
    """Best point, or the code of why there is none."""
    if entry is None:
        return Outcome.NO_PEAK
    system = usual_system(entry) if isinstance(entry, ChipSpec) else entry
    try:
        point = best_point(model, system, traffic, slo, options)
    except MissingFieldError:
        return Outcome.NO_PEAK
    except DoesNotFitError:
        return Outcome.DOES_NOT_FIT
    return Outcome.DOES_NOT_FIT if point is None else point


def _table(
    silicon: tuple[str, ...],
    workload: tuple[str, ...],
    grid: list[list[CapacityPoint | Outcome]],
) -> CapacityTable:
    def column(name: str) -> Floats:
        return np.array(
            [
                [[float(getattr(cell, name, 0.0)) if _served(cell) else 0.0] for cell in row]
                for row in grid
            ]
        ).reshape(len(silicon), len(workload), 1)

    def code(cell: CapacityPoint | Outcome) -> int:
        return int(cell.outcome if isinstance(cell, CapacityPoint) else cell)

    chips = [
        [cell.placement.chips if isinstance(cell, CapacityPoint) else 0 for cell in row]
        for row in grid
    ]
    words = tuple(
        tuple(in_words(cell.placement) if isinstance(cell, CapacityPoint) else "" for cell in row)
        for row in grid
    )
    return CapacityTable(
        silicon=silicon,
        workload=workload,
        stack_year=(0,),
        output_tokens_per_s_per_chip=column("output_tokens_per_s_per_chip"),
        input_tokens_per_s_per_chip=column("input_tokens_per_s_per_chip"),
        joule_per_output_token=column("joule_per_output_token"),
        chips_per_replica=np.array(chips, dtype=np.int64).reshape(len(silicon), len(workload), 1),
        ttft_s=column("ttft_s"),
        tpot_s=column("tpot_s"),
        batch_sequences=column("batch_sequences"),
        common_log_sd=column("common_log_sd"),
        own_log_sd=column("own_log_sd"),
        outcome=np.array([[[code(cell)] for cell in row] for row in grid], dtype=np.int64).reshape(
            len(silicon), len(workload), 1
        ),
        method="steady",
        placement=words,
    )


def _served(cell: CapacityPoint | Outcome) -> bool:
    return isinstance(cell, CapacityPoint) and cell.outcome == Outcome.OK
