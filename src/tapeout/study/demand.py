"""Price, demand and cost to a fixed point: what users do with cheaper tokens, per strategy.

Central case. A strategy that serves below the baseline's unit cost passes a stated share of the
saving on; the lower price brings demand, a larger fleet serves it, its unit cost is another, and
round it goes until the price stands still.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tapeout.catalog import Catalog
from tapeout.constants import MTOK, QUARTERS_PER_YEAR
from tapeout.economics.cashflow import strategy_cash_flow
from tapeout.economics.supply import Setting
from tapeout.economics.types import Inputs
from tapeout.market import Response, demand_ratio, passed_price, respond, stated_pass_through
from tapeout.numerics import Floats
from tapeout.study.evaluate import Problem

TOLERANCE = 1e-9  # relative step of the price at which it stands still
MOST_STEPS = 400
DRIVER = "demand_elasticity"


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """What a strategy serves, earns and pays in the central case at one course of demand.

    `tokens` (quarter,) is discounted and weighted by the trend of the price; `output_tokens` is
    the plain sum over the horizon. `cost_usd` is the present cost of serving, revenue apart.
    """

    tokens: Floats
    output_tokens: float
    cost_usd: float
    served_fraction: float

    @property
    def unit_cost(self) -> float:
        """Constant price before trend that just pays. [USD/token]."""
        return self.cost_usd / max(float(self.tokens.sum()), np.finfo(float).tiny)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """Where price and cost agree.

    `contraction` is the ratio of the last two steps that tell; below one the map contracts there,
    and no other fixed point is near. `found` is false where the price still moves after
    `MOST_STEPS`.
    """

    price: float
    steps: int
    contraction: float
    found: bool


def settle(follow: Callable[[float], float], start: float) -> Settled:
    """Iterate price -> price until it stands still, from the planned price on.

    Where unit cost falls with volume the iterates fall to the highest fixed point below the
    planned price; where it rises they close in from both sides.
    """
    price, step, ratio = start, np.inf, 0.0
    for count in range(1, MOST_STEPS + 1):
        following = follow(price)
        moved = abs(following - price)
        if moved > TOLERANCE * start and np.isfinite(step):
            ratio = moved / step
        price = following
        if moved <= TOLERANCE * start:
            return Settled(price=price, steps=count, contraction=ratio, found=True)
        step = moved
    return Settled(price=price, steps=MOST_STEPS, contraction=ratio, found=False)


def elasticities(section: Any, catalog: Catalog) -> dict[str, Any]:
    """Elasticity as stated, else the catalogue's: value, low, high and where it comes from."""
    if section.elasticity is not None:
        one = section.elasticity
        source = one.source or one.why or "stated by the scenario"
        return {"value": one.value, "low": one.low, "high": one.high, "source": source}
    figure = catalog.driver(DRIVER).chosen
    return {
        "value": figure.value,
        "low": figure.low,
        "high": figure.high,
        "source": figure.source_title or figure.note,
    }


def served(
    problem: Problem, key: str, inputs: Inputs, ratio: Floats, first_quarter: int = 0
) -> Served:
    """Serve the planned demand times a ratio from a quarter on, whatever the site's power."""
    setting = problem.setting
    course = np.where(np.arange(setting.quarters) >= first_quarter, ratio, 1.0)
    given: Setting = replace(setting, demand_profile=setting.demand_profile * course, site_w=None)
    flow, fleet = strategy_cash_flow(
        given,
        problem.strategy(key),
        inputs,
        objective="contribution",
        negotiated=problem.builds_own(key),
    )
    lines = dict(zip((one.key for one in flow.lines), flow.npv_by_line_usd()[0], strict=True))
    each = float(flow.tokens_each[0, 0])
    used, short = float(flow.used[0].sum()), float(fleet.plan.unmet[0].sum())
    return Served(
        tokens=(flow.sold * flow.discount)[0] * each,
        output_tokens=used * each,
        cost_usd=float(flow.npv_usd()[0] - lines["revenue"]),
        served_fraction=used / max(used + short, np.finfo(float).tiny),
    )


def first_quarter_of(problem: Problem, key: str, inputs: Inputs) -> int:
    """Quarter from which the price may fall: that of the own chip's first service, else now."""
    if not problem.builds_own(key):
        return 0
    given = replace(problem.setting, site_w=None)
    _, fleet = strategy_cash_flow(given, problem.strategy(key), inputs, negotiated=True)
    assert fleet.dates is not None
    return int(np.ceil(float(fleet.dates.first_service[0]) * QUARTERS_PER_YEAR))


def demand_response(
    problem: Problem, inputs: Inputs, section: Any, catalog: Catalog
) -> dict[str, Any]:
    """Price, demand and contribution of every strategy at its fixed point, central case.

    Returns
    -------
    dict
        elasticity, conduct, planned_usd_per_mtok, and rows: one a strategy and elasticity.
    """
    spread = elasticities(section, catalog)
    planned = float(inputs.flat("value.usd_per_mtok")[0]) / MTOK
    base = served(problem, problem.baseline, inputs, np.ones(1)).unit_cost
    named = {"central": spread["value"], "low": spread["low"], "high": spread["high"]}
    cases = {name: float(one) for name, one in named.items() if one is not None}
    rows = [
        _row(problem, strategy.key, inputs, section, (planned, base, name, elasticity))
        for strategy in problem.strategies
        for name, elasticity in cases.items()
    ]
    return {
        "elasticity": spread,
        "conduct": section.conduct,
        "planned_usd_per_mtok": planned * MTOK,
        "baseline_cost_usd_per_mtok": base * MTOK,
        "rows": rows,
    }


def _row(
    problem: Problem,
    key: str,
    inputs: Inputs,
    section: Any,
    case: tuple[float, float, str, float],
) -> dict[str, Any]:
    planned, base, name, elasticity = case
    passed = stated_pass_through(
        section.conduct,
        firms=section.firms,
        firms_with_saving=section.firms_with_saving,
        share=section.market_share,
        elasticity=elasticity,
    )
    start = first_quarter_of(problem, key, inputs)
    before = served(problem, key, inputs, np.ones(1))

    def at(price: float) -> Served:
        return served(problem, key, inputs, demand_ratio(price / planned, elasticity), start)

    def follow(price: float) -> float:
        return float(passed_price(planned, base, at(price).unit_cost, passed))

    settled = settle(follow, planned)
    after = at(settled.price)
    price = np.full(problem.setting.quarters, planned)
    price[start:] = settled.price
    response = respond(
        (np.full_like(price, planned), price),
        (before.tokens, after.tokens),
        (before.cost_usd, after.cost_usd),
        diverted=section.diverted_fraction,
        dearer_price_ratio=section.dearer_price_ratio,
    )
    earned = planned * float(before.tokens.sum()) - before.cost_usd
    return {
        "strategy": key,
        "title": problem.strategy(key).title,
        "case": name,
        "elasticity": elasticity,
        "pass_through": passed,
        "first_quarter": start,
        "price_usd_per_mtok": settled.price * MTOK,
        "price_ratio": settled.price / planned,
        "demand_ratio": float(demand_ratio(settled.price / planned, elasticity)),
        "unit_cost_usd_per_mtok": after.unit_cost * MTOK,
        "served_fraction": after.served_fraction,
        "contribution_before_usd": earned,
        **_lines(response, before, after),
        "contribution_usd": earned + response.change,
        "steps": settled.steps,
        "contraction": settled.contraction,
        "settled": settled.found,
    }


def _lines(response: Response, before: Served, after: Served) -> dict[str, float]:
    return {
        "extra_tokens": after.output_tokens - before.output_tokens,
        "given_away_usd": response.given_away,
        "rebound_revenue_usd": response.rebound_revenue,
        "rebound_cost_usd": response.rebound_cost,
        "cannibalised_usd": response.cannibalised,
    }
