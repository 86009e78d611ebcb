"""What the second and later own chips cost before they are sold: a line a kind and generation."""

from __future__ import annotations

import numpy as np

from tapeout.constants import MONTHS_PER_YEAR
from tapeout.economics.lines import Case, Entry
from tapeout.economics.programme import at, spread
from tapeout.economics.roadmap import Generation, roadmap_of, successors
from tapeout.economics.schedule import OWN, SCHEDULE_INPUTS, mid_quarter_years, schedule
from tapeout.economics.types import Holder, Inputs, Line
from tapeout.numerics import Floats

_DATED = (*SCHEDULE_INPUTS, f"{OWN}.generation_cadence_years", f"{OWN}.cancelled")


def successor_lines(case: Case) -> list[Entry]:
    """Engineering, masks, extra steppings and bring-up of every own chip after the first.

    A programme that is cancelled stops paying for successors when the first chip would have come.
    """
    chips = successors(case.inputs, roadmap_of(case.strategy), case.quarters)
    return [entry for one in chips for entry in _lines(case.inputs, case.quarters, one)]


def _lines(inputs: Inputs, quarters: int, one: Generation) -> list[Entry]:
    paid = one.begun[:, None] * _goes_on(inputs, quarters)
    masks = inputs(f"{OWN}.mask_set_usd")
    engineering = inputs(f"{OWN}.nre_usd") * (1.0 - inputs(f"{OWN}.reused_nre_fraction"))
    respun = one.tapeout + one.spins * inputs.flat(f"{OWN}.spin_months") / MONTHS_PER_YEAR
    designed = spread(one.design_start, one.planned_tapeout, quarters)
    respins = spread(one.tapeout, respun, quarters)
    bring_up = spread(one.tapeout, one.first_service, quarters)
    each_respin = one.spins[:, None] * (masks + inputs(f"{OWN}.respin_usd"))
    return [
        (
            _line(
                one,
                "nre",
                Holder.PARTNER,
                "NRE x (1 - share reused), evenly over the design, until the planned tape-out",
                ("nre_usd", "reused_nre_fraction", "generation_design_months"),
            ),
            ((designed * paid, engineering),),
        ),
        (
            _line(
                one,
                "masks",
                Holder.FOUNDRY,
                "first mask set of this chip, at its tape-out",
                ("mask_set_usd", "slip_learning_fraction"),
            ),
            ((at(one.tapeout, quarters) * paid, masks),),
        ),
        (
            _line(
                one,
                "respins",
                Holder.FOUNDRY,
                "extra steppings of the first chip x (1 - learning)^chips x (masks + engineering)",
                ("mask_set_usd", "respin_usd", "slip_learning_fraction"),
            ),
            ((respins * paid, each_respin),),
        ),
        (
            _line(
                one,
                "bring_up",
                Holder.PARTNER,
                "bring-up and test programme, tape-out to first service",
                ("bring_up_usd", "slip_learning_fraction"),
            ),
            ((bring_up * paid, inputs(f"{OWN}.bring_up_usd")),),
        ),
    ]


def _goes_on(inputs: Inputs, quarters: int) -> Floats:
    """One while the programme goes on, zero once it is cancelled, (draw or 1, quarter)."""
    dates = schedule(inputs)
    time = mid_quarter_years(quarters)[None, :]
    before = np.less(time, dates.first_service[:, None], order="F")
    goes_on: Floats = np.maximum(before, dates.alive[:, None])
    return goes_on


def _line(one: Generation, key: str, holder: Holder, formula: str, names: tuple[str, ...]) -> Line:
    return Line(
        key=f"own.{key}.{one.number}",
        holder=holder,
        formula=formula,
        inputs=(*(f"{OWN}.{name}" for name in names), *_DATED),
        scales="fixed",
    )


__all__ = ["successor_lines"]
