"""The cash flow of a strategy: its fleet planned, its lines computed, its tokens counted."""

from __future__ import annotations

import numpy as np

from tapeout.economics.lines import (
    Case,
    Entry,
    api_lines,
    physical_lines,
    rent_lines,
    tokens_served,
)
from tapeout.economics.programme import programme_lines, revenue_lines, token_value
from tapeout.economics.schedule import mid_quarter_years
from tapeout.economics.supply import Fleet, Setting, fleet
from tapeout.economics.types import CashFlow, Inputs, Objective, Strategy

_MAKERS = {
    "buy": physical_lines,
    "build": physical_lines,
    "rent": rent_lines,
    "api": api_lines,
}


def strategy_cash_flow(
    setting: Setting,
    strategy: Strategy,
    inputs: Inputs,
    *,
    objective: Objective = "cost",
    negotiated: bool = False,
) -> tuple[CashFlow, Fleet]:
    """Plan a strategy's fleet and account for it.

    Parameters
    ----------
    setting, strategy, inputs
        What is fixed, what is done, and the draws.
    objective : "cost" or "contribution"
        Serve a given demand, or earn within the limits of the site.
    negotiated : bool
        Whether bought chips carry the negotiated price (worlds B and C).

    Returns
    -------
    CashFlow, Fleet
    """
    planned = fleet(setting, strategy, inputs, objective)
    case = Case(
        setting=setting,
        strategy=strategy,
        inputs=inputs,
        objective=objective,
        negotiated=negotiated,
        fleet=planned,
    )
    entries: list[Entry] = []
    for key in planned.plan.options:
        option = setting.options[key]
        entries += _MAKERS[option.kind](case, option)
    if case.builds:
        entries += programme_lines(case)
    tokens = tokens_served(case)
    entries += revenue_lines(case, tokens)
    shape = (inputs.draws, setting.quarters)
    time = mid_quarter_years(setting.quarters)[None, :]
    discount = (1.0 + inputs("decision.discount_rate")) ** -time
    flow = CashFlow(
        lines=tuple(line for line, _ in entries),
        # line by line in memory, which is how lines are made and added up
        usd=np.moveaxis(np.stack([np.broadcast_to(usd, shape) for _, usd in entries]), 0, 2),
        discount=np.broadcast_to(discount, shape),
        tokens=tokens,
        token_worth=token_value(case, time)[0] / inputs("value.usd_per_mtok"),
    )
    return flow, planned
