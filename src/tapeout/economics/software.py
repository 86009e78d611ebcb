"""Software of the own chip: what new models cost to port, and what traffic that leaves out."""

from __future__ import annotations

import numpy as np

from tapeout.constants import QUARTERS_PER_YEAR
from tapeout.economics.schedule import OWN, SCHEDULE_INPUTS, Schedule, mid_quarter_years
from tapeout.economics.types import Amount, Holder, Inputs, Line
from tapeout.numerics import Floats

RELEASES = f"{OWN}.releases_usd_per_year"  # derived where the scenario states what it is made of


def coverage_fraction(day0_fraction: Floats, lag: Floats, mean_age: Floats) -> Floats:
    """Share of traffic whose model has its kernels by now.

    Parameters
    ----------
    day0_fraction : array, shape (...)
        Share of a model's traffic served on the day of its release.
    lag : array, shape (...)
        From there the share rises linearly to one over this time. [any unit]
    mean_age : array, shape (...)
        Mean age of the model behind a token, in the unit of the lag. Ages are taken to be
        exponential: much traffic on the newest model, a long tail on old ones.

    Returns
    -------
    array, shape (...)
        day0 + (1 - day0) E[min(age / lag, 1)]; one where there is no lag.

    Examples
    --------
    >>> float(coverage_fraction(np.array(0.0), np.array(3.0), np.array(6.0)).round(3))
    0.787
    """
    ratio = np.asarray(mean_age, float) / np.maximum(lag, 1e-9)
    reached = -ratio * np.expm1(-1.0 / np.maximum(ratio, 1e-9))
    covered: Floats = day0_fraction + (1.0 - np.asarray(day0_fraction)) * reached
    return covered


def release_lines(
    inputs: Inputs, quarters: int, dates: Schedule, end_inputs: tuple[str, ...] = ()
) -> list[tuple[Line, Amount]]:
    """Ports of new models and upkeep of model families, from first service to the last chip.

    `end_inputs` are those behind the end of sales, for a programme of several chips too.
    """
    if RELEASES not in inputs:
        return []
    time = mid_quarter_years(quarters)[None, :]
    end = dates.end_of_sales + inputs.flat(f"{OWN}.life_years")
    serving = np.greater_equal(time, dates.first_service[:, None], order="F")
    serving = serving & np.less(time, end[:, None], order="F") & (dates.alive[:, None] > 0)
    line = Line(
        key="own.releases",
        holder=Holder.OWNER,
        formula="(model releases a year x port + families x upkeep of each) while chips serve",
        inputs=(
            RELEASES,
            f"{OWN}.cancelled",
            f"{OWN}.life_years",
            *SCHEDULE_INPUTS,
            *end_inputs,
        ),
        scales="fixed",
    )
    return [(line, ((serving.astype(np.float64), inputs(RELEASES) / QUARTERS_PER_YEAR),))]
