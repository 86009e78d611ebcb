"""The capacity table by simulation: screened by the steady state, then the largest load searched.

Prefill and decode on pools of their own cannot be simulated yet, so every cell is one engine that
does both; the steady table may hold split pools, and the two are not to be mixed unawares.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np

from tapeout.chip.types import ChipSpec
from tapeout.errors import DoesNotFitError, MissingFieldError, Outcome
from tapeout.fabric import System, usual_system
from tapeout.perf import Placement, in_words, placements, serving_formats
from tapeout.serving.capacity import models_of
from tapeout.serving.engine.defaults import engine_defaults
from tapeout.serving.objectives import objective_of
from tapeout.serving.points import CapacityOptions
from tapeout.serving.replicas import silent
from tapeout.serving.search import cache
from tapeout.serving.search.max_load import MaxLoad, SearchOptions, max_load
from tapeout.serving.search.screen import Screened, cap_of, screen
from tapeout.serving.search.streams import UnsharedStream, stream_of_means
from tapeout.serving.steady import lengths_of, steady_state
from tapeout.serving.types import CapacityTable, Deployment, Slo
from tapeout.workload import ModelArchitecture, Traffic

METHOD = "simulated"
COARSE = SearchOptions(precision=0.03, first_requests=1000, cpu_s=0.5)
"""A table has dozens of cells, and the error of the step times is several times this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedOptions:
    """How a capacity table is simulated.

    Attributes
    ----------
    base : CapacityOptions
        Timing model, precision and limits; split pools are not tried.
    search : SearchOptions
        Its timing model is that of `base`.
    close : float
        Placements whose steady rate per chip is within this share of the best are simulated too.
    most : int
        Placements simulated for a cell.
    most_ranks : int
        Attention groups of a simulated placement, unless it fits on no fewer: a prompt on any of
        them holds up all, which the steady state does not see, and a run's time grows with them.
    cached : bool
        Read and keep answers by their content.
    tell : callable
        Gets "capacity" and the share of cells that is done.
    """

    base: CapacityOptions = field(default_factory=CapacityOptions)
    search: SearchOptions = COARSE
    close: float = 0.03
    most: int = 1
    most_ranks: int = 8
    cached: bool = True
    tell: Callable[[str, float], None] = silent


@dataclass(frozen=True, slots=True, kw_only=True)
class _Cell:
    """One silicon with one class of traffic; rates are zero unless the outcome is OK."""

    outcome: int
    output_tokens_per_s_per_chip: float = 0.0
    input_tokens_per_s_per_chip: float = 0.0
    joule_per_output_token: float = 0.0
    chips: int = 0
    ttft_s: float = 0.0
    tpot_s: float = 0.0
    batch_sequences: float = 0.0
    common_log_sd: float = 0.0
    own_log_sd: float = 0.0
    placement: str = ""


def simulated_capacity(
    silicon: Mapping[str, System | ChipSpec | None],
    traffic: Sequence[Traffic],
    slo: Sequence[Slo],
    options: SimulatedOptions | None = None,
) -> CapacityTable:
    """Fill the capacity table by simulation.

    Parameters
    ----------
    silicon : mapping of name to System, ChipSpec or None
    traffic : sequence of Traffic
        Arrivals are Poisson and lengths lognormal, an assumption (docs/traffic.md).
    slo : sequence of Slo
        One for each class.
    options : SimulatedOptions, optional

    Returns
    -------
    CapacityTable
        As that of `steady_capacity`, with method "simulated". Cached and computed ones are equal.

    Raises
    ------
    UnknownNameError
        A model that is in no list.
    InfeasibleError
        Traffic and objectives of different number.
    """
    chosen = options or SimulatedOptions()
    models = models_of(traffic, slo)
    grid: list[list[_Cell]] = []
    total = max(len(silicon) * len(traffic), 1)
    for entry in silicon.values():
        row = []
        for model, one, limit in zip(models, traffic, slo, strict=True):
            row.append(_cell(entry, model, one, limit, chosen))
            chosen.tell("capacity", (len(grid) * len(traffic) + len(row)) / total)
        grid.append(row)
    return _table(tuple(silicon), tuple(one.name for one in traffic), grid)


def _cell(
    entry: System | ChipSpec | None,
    model: ModelArchitecture,
    traffic: Traffic,
    slo: Slo,
    options: SimulatedOptions,
) -> _Cell:
    """Cell from the cache, else computed and kept."""
    if entry is None:
        return _Cell(outcome=int(Outcome.NO_PEAK))
    system = usual_system(entry) if isinstance(entry, ChipSpec) else entry
    if not options.cached or options.search.adjust is not None:  # a function has no content
        return _computed(system, model, traffic, slo, options)
    key = cache.key_of([METHOD, system, model, traffic, slo, *_asked(options)])
    known = cache.read(key)
    if isinstance(known, dict) and set(known) == {one.name for one in fields(_Cell)}:
        return _Cell(**known)
    found = _computed(system, model, traffic, slo, options)
    cache.keep(key, {one.name: getattr(found, one.name) for one in fields(_Cell)})
    return found


def _asked(options: SimulatedOptions) -> list[Any]:
    """Everything of the options that changes an answer."""
    search = options.search
    told = [getattr(search, one.name) for one in fields(SearchOptions) if one.name not in _UNSEEN]
    return [options.base, options.close, options.most, options.most_ranks, told]


_UNSEEN = ("tell", "adjust", "model")


def _computed(
    system: System, model: ModelArchitecture, traffic: Traffic, slo: Slo, options: SimulatedOptions
) -> _Cell:
    try:
        screened = _screened(system, model, traffic, slo, options)
    except MissingFieldError:
        return _Cell(outcome=int(Outcome.NO_PEAK))
    except DoesNotFitError:
        return _Cell(outcome=int(Outcome.DOES_NOT_FIT))
    if not screened:
        return _Cell(outcome=int(Outcome.DOES_NOT_FIT))
    least = _per_chip(*screened[0]) * (1.0 - options.close)
    answers: list[tuple[Placement, MaxLoad]] = []
    for placement, one in screened:
        wide = placement.data_parallel > options.most_ranks
        far = wide or _per_chip(placement, one) < least
        if answers and (far or len(answers) >= options.most):
            break
        found = _simulated(placement, traffic, slo, options)
        # An engine's buffers take more than the screen knows: then the next placement is tried.
        if found.outcome is not Outcome.DOES_NOT_FIT:
            answers.append((placement, found))
    if not answers:
        return _Cell(outcome=int(Outcome.DOES_NOT_FIT))
    placement, best = max(answers, key=lambda pair: pair[1].output_tokens_per_s_per_chip)
    return _described(placement, best, traffic, options)


def _screened(
    system: System, model: ModelArchitecture, traffic: Traffic, slo: Slo, options: SimulatedOptions
) -> list[tuple[Placement, Screened]]:
    """Placements in the order of the steady state, those of many attention groups last.

    Where none meets the objective the fastest is simulated all the same, so that a screen that is
    too severe excludes nothing unseen.
    """
    base, lengths, objective = options.base, lengths_of(traffic), objective_of(slo)
    formats = serving_formats(
        system.chip, model, base.precision.get(system.chip.name), stack=base.stack
    )
    found = []
    for placement in placements(
        model, system, formats, most_chips=base.most_chips, stack=base.stack
    ):
        cap = cap_of(placement, lengths, base.sequences_per_group)
        if cap >= 1.0:
            (one,) = screen(base.model, placement, lengths, objective, base.token_budget, [cap])
            found.append((placement, one))
    found.sort(
        key=lambda pair: (
            pair[0].data_parallel > options.most_ranks,
            -_per_chip(*pair),
            pair[1].tpot_s,
            pair[0].chips,
        )
    )
    return found


def _per_chip(placement: Placement, screened: Screened) -> float:
    """Output tokens a second and chip in the steady state."""
    return screened.output_tokens_per_s / placement.chips


def _simulated(
    placement: Placement, traffic: Traffic, slo: Slo, options: SimulatedOptions
) -> MaxLoad:
    base = options.base
    limit = engine_defaults(placement.system.chip).max_sequences
    deployment = Deployment(
        placement=placement,
        token_budget=base.token_budget,
        max_sequences=max(base.sequences_per_group, limit),
    )
    search = replace(
        options.search, model=base.model, loaded_tokens=round(lengths_of(traffic).cached)
    )
    stream = UnsharedStream(stream_of_means(traffic, search.seed))
    return max_load(deployment, stream, objective_of(slo), search)


def _described(
    placement: Placement, found: MaxLoad, traffic: Traffic, options: SimulatedOptions
) -> _Cell:
    if found.outcome is not Outcome.OK:
        return _Cell(
            outcome=int(found.outcome), chips=placement.chips, placement=in_words(placement)
        )
    lengths = lengths_of(traffic)
    state = steady_state(
        options.base.model, placement, lengths, np.array([max(found.running, 1.0)])
    )
    cost = state.cost
    return _Cell(
        outcome=int(Outcome.OK),
        output_tokens_per_s_per_chip=found.output_tokens_per_s_per_chip,
        input_tokens_per_s_per_chip=found.input_tokens_per_s_per_chip,
        joule_per_output_token=found.joule_per_output_token,
        chips=placement.chips,
        ttft_s=found.ttft_s,
        tpot_s=found.tpot_s,
        batch_sequences=found.running,
        common_log_sd=float(cost.common_log_sd),
        own_log_sd=float(np.sqrt(max(cost.log_sd**2 - cost.common_log_sd**2, 0.0))),
        placement=in_words(placement),
    )


def _table(
    silicon: tuple[str, ...], workload: tuple[str, ...], grid: list[list[_Cell]]
) -> CapacityTable:
    shape = (len(silicon), len(workload), 1)

    def column(name: str) -> Any:
        return np.array([[getattr(cell, name) for cell in row] for row in grid]).reshape(shape)

    floats = (
        "output_tokens_per_s_per_chip", "input_tokens_per_s_per_chip", "joule_per_output_token",
        "ttft_s", "tpot_s", "batch_sequences", "common_log_sd", "own_log_sd",
    )  # fmt: skip
    return CapacityTable(
        silicon=silicon,
        workload=workload,
        stack_year=(0,),
        **{name: column(name).astype(float) for name in floats},
        chips_per_replica=column("chips").astype(np.int64),
        outcome=column("outcome").astype(np.int64),
        method=METHOD,
        placement=tuple(tuple(cell.placement for cell in row) for row in grid),
    )
