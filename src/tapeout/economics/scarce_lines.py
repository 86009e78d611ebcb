"""Cost lines of scarce inputs: deposits that reserve them, and what hurry costs."""

from __future__ import annotations

import numpy as np

from tapeout.economics.lines import Case, Entry
from tapeout.economics.scarcity import Scarce
from tapeout.economics.types import CERTAIN, Line
from tapeout.numerics import Floats


def taken(case: Case, one: Scarce) -> Floats:
    """Taken of a scarce input in each quarter, (draw, quarter), in its unit; power by growth."""
    if one.in_watts:
        watts = sum(
            (case.fleet.power_w[key] for key in one.each if key in case.fleet.power_w),
            np.zeros((1, case.quarters)),
        )
        highest = np.maximum.accumulate(watts, axis=1)  # what was energised once stays so
        return np.diff(highest, axis=1, prepend=0.0)
    new = case.fleet.plan.new_chips
    parts = (new[key] * each for key, each in one.each.items() if key in new)
    total: Floats = sum(parts, np.zeros((1, case.quarters)))
    return total


def scarce_lines(case: Case) -> list[Entry]:
    """Reservation and hurry of every scarce input that the strategy draws on and pays for."""
    entries: list[Entry] = []
    for one in case.setting.scarce:
        keys = [key for key in one.each if key in case.fleet.plan.options]
        if not keys:
            continue
        quantity = taken(case, one)
        power = tuple(path for key in keys for path in case.depends.meter_power(key))
        chips = tuple(path for key in keys for path in case.depends.chips(key))
        inputs = tuple(dict.fromkeys((*chips, *power) if one.in_watts else chips))
        if one.reservation_usd and one.lead_quarters:
            line = Line(
                key=f"{one.key}.reservation",
                holder=one.holder,
                formula="deposit a unit paid at the order, credited at delivery",
                inputs=inputs,
            )
            moved = _ahead(quantity, one.lead_quarters) - quantity
            entries.append((line, ((moved, one.reservation_usd * CERTAIN),)))
        if one.hurry_usd and one.hurried_quarters:
            line = Line(
                key=f"{one.key}.expedite",
                holder=one.holder,
                formula="units delivered before their lead time x what hurry costs",
                inputs=inputs,
            )
            early = np.arange(case.quarters) < one.lead_quarters
            entries.append((line, ((quantity * early, one.hurry_usd * CERTAIN),)))
    return entries


def _ahead(quantity: Floats, quarters: int) -> Floats:
    """The same quantity so many quarters earlier; what would lie before the decision is now."""
    out = np.zeros(quantity.shape)
    kept = min(quarters, quantity.shape[1] - 1)
    out[:, : quantity.shape[1] - kept] = quantity[:, kept:]
    out[:, 0] += quantity[:, :kept].sum(axis=1)
    return out
