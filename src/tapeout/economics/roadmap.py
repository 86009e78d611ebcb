"""A programme of several own chips: when each comes, what it gives, and what the shift leaves it.

Successors are handled as the rival's are: a later generation gives more tokens a dollar, taken as
throughput at an unchanged price a chip. Each is planned from the first plan, one step of the
cadence after the other; late work and extra steppings shrink with every chip the team has built.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from tapeout.constants import MONTHS_PER_YEAR, QUARTERS_PER_YEAR
from tapeout.economics.schedule import OWN, Schedule, mid_quarter_years, schedule
from tapeout.economics.types import ONE_CHIP, Inputs, Roadmap, Strategy
from tapeout.numerics import Floats

DATE_INPUTS = (f"{OWN}.generation_cadence_years", f"{OWN}.slip_learning_fraction")


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """A successor of the first own chip; arrays are (draw or 1,), dates in years.

    Attributes
    ----------
    number : int
        Chips built so far, this one included; the first chip is 1.
    slot : int
        Steps of the cadence after the first chip; the gain grows with it.
    begun : array
        One where it is designed at all, else zero.
    design_start, planned_tapeout, tapeout, first_service : array
    spins : array
        Extra steppings, as a mean over chips like it: no whole number.
    """

    number: int
    slot: int
    begun: Floats
    design_start: Floats
    planned_tapeout: Floats
    tapeout: Floats
    first_service: Floats
    spins: Floats


def roadmap_of(strategy: Strategy) -> Roadmap:
    """Roadmap of the own chip in a strategy: that of its longest step."""
    plans = [step.roadmap for step in strategy.steps]
    return max(plans, key=lambda one: one.generations, default=ONE_CHIP)


def successors(inputs: Inputs, roadmap: Roadmap, quarters: int) -> tuple[Generation, ...]:
    """Dates of the second and later own chips.

    Chip j is planned (j - 1) steps after the first; its slip and its extra steppings are those of
    the first x (1 - learning)^(j - 1). It never serves before its predecessor, and it is begun
    only where the plan leaves a whole step for its sales before the horizon.
    """
    make = _Maker(inputs, roadmap, quarters)
    return inputs.once(("roadmap", roadmap, quarters), make)


@dataclass(frozen=True, slots=True)
class _Maker:
    inputs: Inputs
    roadmap: Roadmap
    quarters: int

    def __call__(self) -> tuple[Generation, ...]:
        if self.roadmap.generations <= 1:
            return ()
        dates = schedule(self.inputs)
        before, out = dates.first_service, []
        for number in range(2, self.roadmap.generations + 1):
            one = self._generation(number, dates, before)
            before = one.first_service
            out.append(one)
        return tuple(out)

    def _generation(self, number: int, dates: Schedule, before: Floats) -> Generation:
        inputs, month = self.inputs, 1.0 / MONTHS_PER_YEAR
        slot = (number - 1) * self.roadmap.stride
        step = self.roadmap.stride * inputs.flat(f"{OWN}.generation_cadence_years")
        later = (number - 1) * step
        left = (1.0 - inputs.flat(f"{OWN}.slip_learning_fraction")) ** (number - 1)
        spins = inputs.flat(f"{OWN}.spins") * left
        planned = dates.planned_tapeout + later
        tapeout = planned + inputs.flat(f"{OWN}.slip_months") * month * left
        ready = tapeout + spins * inputs.flat(f"{OWN}.spin_months") * month
        ready = ready + inputs.flat(f"{OWN}.qualification_months") * month
        horizon = self.quarters / QUARTERS_PER_YEAR
        return Generation(
            number=number,
            slot=slot,
            begun=(dates.planned_service + later + step <= horizon).astype(np.float64),
            design_start=planned - inputs.flat(f"{OWN}.generation_design_months") * month,
            planned_tapeout=planned,
            tapeout=tapeout,
            first_service=np.maximum(ready, before),
            spins=spins,
        )


def own_schedule(inputs: Inputs, roadmap: Roadmap, quarters: int) -> Schedule:
    """Dates of the programme: those of the first chip, with sales until the last one's end.

    Chips are bought without a gap from the first service to a sales window after the last one.
    """
    dates = schedule(inputs)
    chips = successors(inputs, roadmap, quarters)
    if not chips:
        return dates
    window = inputs.flat(f"{OWN}.sales_window_years")
    end = dates.end_of_sales
    for one in chips:
        end = np.where(one.begun > 0, np.maximum(end, one.first_service + window), end)
    return replace(dates, end_of_sales=end)


def _shift_left(inputs: Inputs) -> Floats:
    """What a shift of the workload leaves a frozen chip of its throughput, at most one."""
    return np.minimum(inputs(f"{OWN}.shift_ratio"), 1.0)


def _on_sale(one: Generation, time_years: Floats) -> np.ndarray:
    there = np.greater_equal(time_years, one.first_service[:, None], order="F")
    sold: np.ndarray = there & (one.begun[:, None] > 0)
    return sold


def _knows_shift(inputs: Inputs, one: Generation) -> np.ndarray:
    """Whether the shift came before a chip's design began: it is then designed for it."""
    knows: np.ndarray = (inputs.flat(f"{OWN}.shift_years") <= one.design_start)[:, None]
    return knows


def own_gains(inputs: Inputs, roadmap: Roadmap, quarters: int) -> tuple[Floats, Floats]:
    """Throughput and power per chip of the own generation on sale, (draw or 1, quarter).

    Relative to the first chip, at its price. A chip designed after the shift does not carry the
    shift's loss, which the programme's rate carries for all chips: its gain makes up for it.
    """
    time = mid_quarter_years(quarters)[None, :]
    tokens_each = inputs(f"{OWN}.tokens_per_usd_gain_ratio")
    frugal_each = inputs(f"{OWN}.tokens_per_w_gain_ratio")
    tokens = power = np.ones((1, quarters))
    made_up = 1.0 / _shift_left(inputs)
    for one in successors(inputs, roadmap, quarters):
        sold = _on_sale(one, time)
        gain = tokens_each**one.slot
        adapted = np.where(_knows_shift(inputs, one), made_up, 1.0)
        tokens = np.where(sold, gain * adapted, tokens)
        power = np.where(sold, gain / frugal_each**one.slot, power)
    return np.asfortranarray(tokens), np.asfortranarray(power)


def sizing_ratio(inputs: Inputs, roadmap: Roadmap, quarters: int) -> Floats:
    """What the fleet is sized by over what its chips give once mature, (draw or 1, quarter).

    One until a chip designed for the shifted workload is on sale; from then the owner counts the
    frozen ones at what the shift has left of them.
    """
    time = mid_quarter_years(quarters)[None, :]
    ratio = np.ones((1, quarters))
    left = _shift_left(inputs)
    for one in successors(inputs, roadmap, quarters):
        knows = _on_sale(one, time) & _knows_shift(inputs, one)
        ratio = np.where(knows, left, ratio)
    return np.asfortranarray(ratio)
