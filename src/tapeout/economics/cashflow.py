"""The cash flow of a strategy: its fleet planned, its lines computed, its tokens counted."""

from __future__ import annotations

import numpy as np

from tapeout.economics.lines import (
    Case,
    Entry,
    api_lines,
    physical_lines,
    rent_lines,
    served_ratio,
    tokens_used,
)
from tapeout.economics.programme import programme_lines, revenue_lines, token_worth
from tapeout.economics.scarce_lines import scarce_lines
from tapeout.economics.schedule import discount_by_quarter
from tapeout.economics.successors import successor_lines
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
    planned: Fleet | None = None,
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
    planned : Fleet, optional
        The fleet, where it is planned already; prices do not move it.

    Returns
    -------
    CashFlow, Fleet
    """
    if planned is None:
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
        entries += successor_lines(case)
    entries += scarce_lines(case)
    shape = (inputs.draws, setting.quarters)
    used = np.broadcast_to(tokens_used(case), shape)
    worth = token_worth(case)
    sold = used * worth
    entries += revenue_lines(case, sold)
    flow = CashFlow(
        lines=tuple(line for line, _ in entries),
        amounts=tuple(amount for _, amount in entries),
        discount=np.broadcast_to(discount_by_quarter(inputs, setting.quarters), shape),
        used=used,
        sold=sold,
        tokens_each=served_ratio(inputs),
        token_worth=worth,
    )
    return flow, planned
