"""The capacity table: every silicon with every class of traffic at its objective."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from tapeout.chip.types import ChipSpec
from tapeout.errors import DoesNotFitError, InfeasibleError, MissingFieldError, Outcome
from tapeout.fabric import System, usual_system
from tapeout.numerics import Floats
from tapeout.serving.points import CapacityOptions, CapacityPoint, best_point, words
from tapeout.serving.types import CapacityTable, Slo
from tapeout.workload import ModelArchitecture, Traffic, load_model


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
    chosen = options or CapacityOptions()
    models = models_of(traffic, slo)
    grid = [
        [
            _cell(entry, model, one, limit, chosen)
            for model, one, limit in zip(models, traffic, slo, strict=True)
        ]
        for entry in silicon.values()
    ]
    return _table(tuple(silicon), tuple(one.name for one in traffic), grid)


def models_of(traffic: Sequence[Traffic], slo: Sequence[Slo]) -> list[ModelArchitecture]:
    """Model of every class of traffic.

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
    return [load_model(one.model) for one in traffic]


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

    chips = [[cell.chips if isinstance(cell, CapacityPoint) else 0 for cell in row] for row in grid]
    named = tuple(
        tuple(words(cell) if isinstance(cell, CapacityPoint) else "" for cell in row)
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
        placement=named,
    )


def _served(cell: CapacityPoint | Outcome) -> bool:
    return isinstance(cell, CapacityPoint) and cell.outcome == Outcome.OK
