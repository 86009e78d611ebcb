"""When the own chip comes: tape-out, slip, steppings, qualification, ramp, end of sales."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tapeout.constants import MONTHS_PER_YEAR, QUARTERS_PER_YEAR
from tapeout.economics.types import Inputs, Step
from tapeout.numerics import Floats, Ints

OWN = "options.own"  # a scenario has at most one chip of its own, under this key

SCHEDULE_INPUTS = tuple(
    f"{OWN}.{name}"
    for name in (
        "months_to_tapeout",
        "slip_months",
        "spins",
        "spin_months",
        "qualification_months",
    )
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """Dates of the own programme in years from the decision; arrays are (draw or 1,).

    `mature` is when the ramp and the software are both done. `planned_tapeout` and
    `planned_service` are the dates without slip or extra stepping. `alive` is zero where the
    programme is cancelled before volume, else one.
    """

    planned_tapeout: Floats
    planned_service: Floats
    tapeout: Floats
    first_service: Floats
    full_volume: Floats
    mature: Floats
    end_of_sales: Floats
    alive: Floats

    def anchor(self, name: str) -> Floats:
        """Look up an anchor of a strategy step, e.g. "own.first_service"."""
        return {
            "own.first_service": self.first_service,
            "own.full_volume": self.full_volume,
            "own.mature": self.mature,
            "own.end_of_sales": self.end_of_sales,
        }[name]


def schedule(inputs: Inputs) -> Schedule:
    """Date the own programme.

    First service = tape-out + slip + extra steppings x months each + qualification.
    """
    return inputs.once("schedule", lambda: _schedule(inputs))


def _schedule(inputs: Inputs) -> Schedule:
    month = 1.0 / MONTHS_PER_YEAR
    to_tapeout = inputs.flat(f"{OWN}.months_to_tapeout") * month
    qualification = inputs.flat(f"{OWN}.qualification_months") * month
    slip = inputs.flat(f"{OWN}.slip_months") * month
    steppings = inputs.flat(f"{OWN}.spins") * inputs.flat(f"{OWN}.spin_months") * month
    planned = to_tapeout + qualification
    first = planned + slip + steppings
    ramp = inputs.flat(f"{OWN}.ramp_years")
    return Schedule(
        planned_tapeout=to_tapeout,
        planned_service=planned,
        tapeout=to_tapeout + slip,
        first_service=first,
        full_volume=first + ramp,
        mature=first + np.maximum(ramp, inputs.flat(f"{OWN}.maturity_years")),
        end_of_sales=first + inputs.flat(f"{OWN}.sales_window_years"),
        alive=1.0 - inputs.flat(f"{OWN}.cancelled"),
    )


def mid_quarter_years(quarters: int) -> Floats:
    """Middle of each quarter in years from the decision, shape (quarter,)."""
    return (np.arange(quarters) + 0.5) / QUARTERS_PER_YEAR


def discount_by_quarter(inputs: Inputs, quarters: int) -> Floats:
    """Value today of a dollar at mid-quarter, shape (draw or 1, quarter)."""

    def make() -> Floats:
        time = mid_quarter_years(quarters)[None, :]
        factor: Floats = np.power(1.0 + inputs("decision.discount_rate"), -time, order="F")
        return factor

    return inputs.once(("discount", quarters), make)


def life_quarters(years: Floats) -> Ints:
    """Whole quarters of a life or term, at least one."""
    return np.maximum(np.rint(years * QUARTERS_PER_YEAR), 1).astype(np.int64)


def ramp_fraction(start_years: Floats, ramp_years: Floats, quarters: int) -> Floats:
    """Share of volume reached, rising linearly after the start, shape (draw or 1, quarter)."""
    time = mid_quarter_years(quarters)[None, :]
    since = np.subtract(time, start_years[:, None], order="F")
    return np.clip(since / np.maximum(ramp_years[:, None], 1e-9), 0.0, 1.0)


def within(step: Step, dates: Schedule | None, quarters: int) -> np.ndarray:
    """Quarters in which a step may take new capacity, bool of shape (draw or 1, quarter)."""
    time = mid_quarter_years(quarters)[None, :]

    def edge(value: float | str) -> Floats:
        if isinstance(value, str):
            assert dates is not None, value
            return dates.anchor(value)[:, None]
        return np.array([[value]])

    inside: np.ndarray = (time >= edge(step.start)) & (time < edge(step.end))
    return inside


def maturity_fraction(
    start_fraction: Floats, years_to_mature: Floats, since_years: Floats
) -> Floats:
    """Throughput of a young software stack over a mature one; rises linearly, then stays.

    All arguments broadcast; before the start the start value holds.
    """
    progress = np.clip(since_years / np.maximum(years_to_mature, 1e-9), 0.0, 1.0)
    return start_fraction + (1.0 - start_fraction) * progress
