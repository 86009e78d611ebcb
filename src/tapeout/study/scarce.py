"""Scarce inputs of a scenario, and what one more unit of each is worth: shadow prices.

A shadow price here is a finite difference of an objective in the central case, the fleets planned
again; nothing is optimised, so it is the worth of a unit under the strategy as it is given.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tapeout.constants import MEGA, QUARTERS_PER_YEAR
from tapeout.economics.cashflow import strategy_cash_flow
from tapeout.economics.scarcity import Scarce, expected_amount
from tapeout.economics.supply import Setting
from tapeout.economics.types import Holder, Inputs, Objective
from tapeout.errors import Problem as Wrong
from tapeout.numerics import Floats
from tapeout.sources import Ledger
from tapeout.study.evaluate import Problem
from tapeout.study.futures import WAFER_MM2, WAFER_USE

STEP = 1e-3  # of the largest amount: far above rounding, far below what changes the order of things
BINDS = 1.0 - 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kind:
    title: str
    unit: str
    holder: Holder
    kinds: tuple[str, ...]  # options that draw on it unless the scenario names them


KINDS: Mapping[str, _Kind] = {
    "hbm_gb": _Kind(title="Memory", unit="GB", holder=Holder.MEMORY, kinds=("build",)),
    "package_starts": _Kind(
        title="Package starts", unit="packages", holder=Holder.PACKAGING, kinds=("build",)
    ),
    "wafers": _Kind(title="Wafers", unit="wafers", holder=Holder.FOUNDRY, kinds=("build",)),
    "racks": _Kind(title="Racks", unit="racks", holder=Holder.VENDOR, kinds=("buy", "build")),
    "mw": _Kind(
        title="Power at the meter", unit="MW", holder=Holder.ENERGY_SITE, kinds=("buy", "build")
    ),
    "gpu_queue": _Kind(
        title="Place in the GPU queue", unit="chips", holder=Holder.VENDOR, kinds=("buy",)
    ),
}


def sections_of(scenario: Any) -> dict[str, Any]:
    """Inputs that the scenario limits, by name."""
    stated = {name: getattr(scenario.supply, name) for name in KINDS}
    return {name: one for name, one in stated.items() if one is not None}


def check_supply(scenario: Any) -> list[Wrong]:
    """Options that are not there or hold nothing, amounts below zero, hurry beyond the lead."""
    return [
        Wrong(path=f"supply.{name}.{field}", value="", message=message, remedy=remedy)
        for name, one in sections_of(scenario).items()
        for wrong, field, message, remedy in _faults(name, one, scenario)
        if wrong
    ]


def _faults(name: str, one: Any, scenario: Any) -> list[tuple[bool, str, str, str]]:
    """What may be wrong with one input: whether it is, field, message, remedy."""
    drawing = [scenario.options.get(key) for key in (*(one.options or ()), *one.per_chip)]
    hollow = any(option is None or option.kind in ("api", "rent") for option in drawing)
    return [
        (
            min(_amounts(one), default=-1.0) < 0,
            "amount_per_quarter",
            "none, or below zero",
            "one figure or more, from 0",
        ),
        (
            not _within(one, scenario.decision.horizon_years * QUARTERS_PER_YEAR),
            "amount_per_quarter",
            "nothing is to be had within the horizon",
            "an amount above 0, or a shorter lead time",
        ),
        (hollow, "options", "not a bought or built option", "name options that hold chips"),
        (
            any(each <= 0 for each in one.per_chip.values()),
            "per_chip",
            "a chip takes nothing",
            "more than 0",
        ),
        (
            name == "mw" and bool(one.per_chip),
            "per_chip",
            "power follows allin_w_per_chip",
            "state it in the option",
        ),
        (
            one.expedite_quarters > one.lead_time_quarters,
            "expedite_quarters",
            "more than the lead time",
            "at most the lead time",
        ),
    ]


def _within(one: Any, quarters: int) -> bool:
    """Whether anything is to be had before the horizon."""
    amount = expected_amount(
        _amounts(one) or (0.0,),
        quarters,
        allocation=one.allocation_fraction,
        first_quarter=one.lead_time_quarters - one.expedite_quarters,
    )
    return bool((amount > 0).any())


def _amounts(section: Any) -> tuple[float, ...]:
    stated = section.amount_per_quarter
    return stated if isinstance(stated, tuple) else (stated,)


def per_chip(name: str, key: str, ledger: Ledger, chips_per_rack: Mapping[str, int]) -> float:
    """What one chip takes of an input, central figures, scrap included."""
    if name in ("mw", "gpu_queue"):
        return 1.0
    if name == "racks":
        return 1.0 / chips_per_rack[key]
    good = ledger["parts.packaging_yield_fraction"].chosen.value
    if name == "package_starts":
        return 1.0 / good
    if name == "hbm_gb":
        return ledger[f"options.{key}.memory_gb"].chosen.value / good
    area = ledger[f"options.{key}.die_area_mm2"].chosen.value
    die_yield = ledger["parts.die_yield_fraction"].chosen.value
    return area / (WAFER_MM2 * WAFER_USE) / die_yield / good


def scarce_of(
    scenario: Any, ledger: Ledger, chips_per_rack: Mapping[str, int], quarters: int
) -> tuple[Scarce, ...]:
    """Inputs the scenario limits, as the money model sees them."""
    return tuple(
        _scarce(name, one, scenario, (ledger, chips_per_rack, quarters))
        for name, one in sections_of(scenario).items()
    )


def _scarce(
    name: str, one: Any, scenario: Any, known: tuple[Ledger, Mapping[str, int], int]
) -> Scarce:
    ledger, chips_per_rack, quarters = known
    kind, power = KINDS[name], name == "mw"
    default = [key for key, option in scenario.options.items() if option.kind in kind.kinds]
    keys = default if one.options is None else one.options
    first = one.lead_time_quarters - one.expedite_quarters
    amount = expected_amount(
        _amounts(one),
        quarters,
        allocation=one.allocation_fraction,
        first_quarter=first,
        cumulated=power,
    )
    size = MEGA if power else 1.0
    return Scarce(
        key=name,
        title=kind.title,
        unit=kind.unit,
        holder=kind.holder,
        amount=amount * size,
        each={
            key: one.per_chip.get(key, per_chip(name, key, ledger, chips_per_rack)) for key in keys
        },
        in_watts=power,
        lead_quarters=one.lead_time_quarters,
        hurried_quarters=one.expedite_quarters,
        reservation_usd=one.prepayment_usd / size,
        hurry_usd=one.expedite_usd / size,
    )


def _amount_used(problem: Problem, key: str, inputs: Inputs, one: Scarce) -> Floats:
    """In service (power) or taken by quarter, (quarter,), serving the given demand."""
    _, fleet = strategy_cash_flow(
        problem.setting,
        problem.strategy(key),
        inputs,
        negotiated=problem.builds_own(key),
    )
    used = np.zeros(problem.setting.quarters)
    for option, each in one.each.items():
        if option in fleet.plan.options:
            many = fleet.power_w[option] if one.in_watts else fleet.plan.new_chips[option] * each
            used += many[0]
    return used


def with_more(setting: Setting, name: str, more: float) -> Setting:
    """The setting with so much more of one input in every quarter in which any is to be had."""
    scarce = tuple(
        replace(one, amount=np.where(one.amount > 0, np.maximum(one.amount + more, 0.0), 0.0))
        if one.key == name
        else one
        for one in setting.scarce
    )
    return replace(setting, scarce=scarce)


def worth_usd(problem: Problem, key: str, inputs: Inputs, objective: Objective) -> float:
    """A strategy's objective in the central case, higher is better: cost counts negative."""
    flow, _ = strategy_cash_flow(
        problem.setting,
        problem.strategy(key),
        inputs,
        objective=objective,
        negotiated=problem.builds_own(key),
    )
    return -float(flow.npv_usd()[0])


def shadow_price(
    problem: Problem, key: str, inputs: Inputs, one: Scarce, objective: Objective
) -> tuple[float, float]:
    """Worth of one more, and of the last one there is, in every quarter; [USD a unit].

    Returns
    -------
    more, last : float
        Apart where a kink lies at the amount; of power a unit is a watt.
    """
    step = STEP * float(one.amount.max())
    if step <= 0:
        return float("nan"), float("nan")
    ends = [
        worth_usd(
            replace(problem, setting=with_more(problem.setting, one.key, more)),
            key,
            inputs,
            objective,
        )
        for more in (-step, 0.0, step)
    ]
    return (ends[2] - ends[1]) / step, (ends[1] - ends[0]) / step


def supply_rows(problem: Problem, inputs: Inputs) -> list[dict[str, Any]]:
    """Use and shadow price of every scarce input in every strategy that draws on it."""
    rows = []
    for one in problem.setting.scarce:
        size = MEGA if one.in_watts else 1.0
        for strategy in problem.strategies:
            if not any(step.option in one.each for step in strategy.steps):
                continue
            used = _amount_used(problem, strategy.key, inputs, one)
            binding = np.flatnonzero((used >= one.amount * BINDS) & (one.amount > 0))
            share = used.sum() / max(one.amount.sum(), np.finfo(float).tiny)
            cost = shadow_price(problem, strategy.key, inputs, one, "cost")
            earned = shadow_price(problem, strategy.key, inputs, one, "contribution")
            rows.append(
                {
                    "input": one.key,
                    "title": one.title,
                    "unit": one.unit,
                    "strategy": strategy.key,
                    "strategy_title": strategy.title,
                    "largest_amount": float(one.amount.max()) / size,
                    "largest_use": float(used.max()) / size,
                    "used_fraction": float(share),
                    "binding_quarters": int(binding.size),
                    "first_binding_quarter": int(binding[0]) if binding.size else None,
                    "cost_usd_per_unit": cost[0] * size,
                    "cost_last_usd_per_unit": cost[1] * size,
                    "contribution_usd_per_unit": earned[0] * size,
                    "contribution_last_usd_per_unit": earned[1] * size,
                }
            )
    return rows
