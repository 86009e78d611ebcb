"""Evaluate every strategy in every draw: worlds, objectives, boundary, cash over time.

One batch of draws in, one table of arrays with the draw axis first out. Tornado rows, named
futures and decision dates are batches like any other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from tapeout.economics.cashflow import strategy_cash_flow
from tapeout.economics.levelised import Advantage, UnitCost, delivered_advantage, unit_cost
from tapeout.economics.programme import idle_programme_usd
from tapeout.economics.schedule import OWN, Schedule, schedule
from tapeout.economics.supply import Fleet, Setting, in_watts
from tapeout.economics.types import CashFlow, Inputs, Line, Scaling, Strategy
from tapeout.numerics import Floats

COUNTERFACTUALS = ("list", "negotiated", "rented")
# lines of the programme that a lab pays to keep its threat credible, without any volume
CREDIBLE = ("own.nre", "own.masks", "own.respins", "own.bring_up", "own.software")


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """A scenario ready to be evaluated.

    Attributes
    ----------
    setting : Setting
    strategies : tuple of Strategy
    baseline, headline : str
        Strategy that means "keep doing what you do", and the one the verdict is about.
    alternative : str
        Option whose chip the own chip is compared with.
    rents : tuple of str
        Strategies that only rent; the first is the rented counterfactual.
    """

    setting: Setting
    strategies: tuple[Strategy, ...]
    baseline: str
    headline: str
    alternative: str
    rents: tuple[str, ...]

    @property
    def builds(self) -> bool:
        """Whether the headline strategy has a chip of its own."""
        return self.builds_own(self.headline)

    def builds_own(self, key: str) -> bool:
        """Whether a strategy has a chip of its own."""
        return any(self.setting.options[s.option].kind == "build" for s in self.strategy(key).steps)

    def strategy(self, key: str) -> Strategy:
        """Look a strategy up."""
        return next(strategy for strategy in self.strategies if strategy.key == key)


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow:
    """A strategy's cash flow reduced over lines; arrays are (draw,) unless said.

    `by_quarter_usd` is (draw, quarter), without quarters where nobody asked for it: of contribution
    and of negotiated prices. `by_line_usd` maps line keys to present
    values. `served_fraction` is the share of the capacity wanted that is there.
    """

    npv_usd: Floats
    by_line_usd: Mapping[str, Floats]
    by_scaling_usd: Mapping[Scaling, Floats]
    by_quarter_usd: Floats
    discounted_tokens: Floats
    discounted_worth: Floats
    served_fraction: Floats
    lines: tuple[Line, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Boundary:
    """NPV(volume v, advantage g) = -F + v (A - B / g), against one counterfactual; (draw,) [USD].

    `g_ship` is the draw's own advantage; at it the NPV is that of the simulation.
    """

    fixed_usd: Floats
    a_usd: Floats
    b_usd: Floats
    g_ship: Floats
    usd_per_mw_ratio: Floats
    tokens_per_mw_ratio: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcomes:
    """Everything one batch yields; arrays have the draw axis first.

    `cost` and `contribution` hold strategies as they are decided today: bought at list unless the
    strategy builds, in which case what it still buys is negotiated. `worlds` holds A, B and C.
    """

    cost: Mapping[str, Flow]
    contribution: Mapping[str, Flow]
    worlds: Mapping[str, Floats]
    boundaries: Mapping[str, Boundary]
    unit: Mapping[str, UnitCost]
    dates: Schedule | None


def reduce(flow: CashFlow, fleet: Fleet, *, by_quarter: bool = True) -> Flow:
    """Reduce a cash flow over its lines, and its fleet to the share of the need it fills."""
    short = fleet.plan.unmet.sum(axis=1)
    filled = sum((used.sum(axis=1) for used in fleet.plan.used.values()), np.zeros(short.shape))
    by_line = flow.npv_by_line_usd()
    return Flow(
        npv_usd=flow.npv_usd(),
        by_line_usd={line.key: by_line[:, i] for i, line in enumerate(flow.lines)},
        by_scaling_usd=dict(flow.npv_by_scaling_usd()),
        by_quarter_usd=flow.by_quarter_usd() if by_quarter else np.zeros((1, 0)),
        discounted_tokens=flow.discounted_tokens(),
        discounted_worth=flow.discounted_worth(),
        served_fraction=filled / np.maximum(filled + short, np.finfo(float).tiny),
        lines=flow.lines,
    )


def run(
    problem: Problem,
    key: str,
    inputs: Inputs,
    *,
    objective: str = "cost",
    negotiated: bool | None = None,
    planned: Fleet | None = None,
) -> tuple[Flow, Fleet]:
    """Evaluate one strategy; by default only one that builds carries the negotiated price.

    A fleet that is planned already is used again: prices do not move it. Payments by quarter are
    added up only for a cost whose fleet is planned here.
    """
    by_quarter = planned is None and objective == "cost"
    if negotiated is None:
        negotiated = problem.builds_own(key)
    flow, fleet = strategy_cash_flow(
        problem.setting,
        problem.strategy(key),
        inputs,
        objective="cost" if objective == "cost" else "contribution",
        negotiated=negotiated,
        planned=planned,
    )
    return reduce(flow, fleet, by_quarter=by_quarter), fleet


def evaluate(problem: Problem, inputs: Inputs, *, full: bool = True) -> Outcomes:
    """Evaluate all strategies of a problem.

    Parameters
    ----------
    problem, inputs
    full : bool
        False leaves the contribution objective out (tornado rows, decision dates).
    """
    keys = [strategy.key for strategy in problem.strategies]
    cost: dict[str, Flow] = {}
    contribution: dict[str, Flow] = {}
    bargained: Flow | None = None
    for key in keys:
        cost[key], fleet = run(problem, key, inputs)
        if problem.builds and key == problem.baseline:
            bargained, _ = run(problem, key, inputs, negotiated=True, planned=fleet)
        if full:
            same = None if in_watts(problem.setting, "contribution") else fleet
            contribution[key], _ = run(problem, key, inputs, objective="contribution", planned=same)
    dates = schedule(inputs) if "own" in problem.setting.options else None
    unit = unit_costs(problem, inputs, dates)
    if bargained is None:
        return Outcomes(
            cost=cost, contribution=contribution, worlds={}, boundaries={}, unit=unit, dates=dates
        )
    programme = credible_programme_usd(problem, inputs)
    counterfactual = {"list": cost[problem.baseline].npv_usd, "negotiated": bargained.npv_usd}
    if problem.rents:
        counterfactual["rented"] = cost[problem.rents[0]].npv_usd
    headline = cost[problem.headline]
    worlds = {
        "A": cost[problem.baseline].npv_usd,
        "B": bargained.npv_usd + programme,
        "C": headline.npv_usd,
        "programme": programme,
    }
    boundaries = {
        name: boundary(headline, usd, advantage(problem, inputs, name, unit, dates))
        for name, usd in counterfactual.items()
    }
    return Outcomes(
        cost=cost,
        contribution=contribution,
        worlds=worlds,
        boundaries=boundaries,
        unit=unit,
        dates=dates,
    )


def with_cheapest_rent(problem: Problem, inputs: Inputs) -> Problem:
    """Keep, of the strategies that only rent, the one that is cheapest on these inputs.

    Decided once, on the central case, so that every draw is held against the same counterfactual.
    """
    if len(problem.rents) < 2:
        return problem
    cost = {key: float(run(problem, key, inputs)[0].npv_usd.mean()) for key in problem.rents}
    return replace(problem, rents=(min(cost, key=lambda key: cost[key]),))


def credible_programme_usd(problem: Problem, inputs: Inputs) -> Floats:
    """Present cost of a programme kept credible and never brought to volume, (draw,)."""
    idle = inputs.replace({f"{OWN}.cancelled": 1.0, f"{OWN}.committed_fraction": 0.0})
    return idle_programme_usd(idle, problem.setting.quarters, CREDIBLE)


def boundary(headline: Flow, counterfactual_usd: Floats, gained: Advantage) -> Boundary:
    """Coefficients of the boundary from the scaling of the headline's lines."""
    shape = headline.npv_usd.shape
    return Boundary(
        fixed_usd=headline.by_scaling_usd["fixed"],
        a_usd=counterfactual_usd - headline.by_scaling_usd["rest"],
        b_usd=headline.by_scaling_usd["own"] * gained.g_ship,
        g_ship=np.broadcast_to(gained.g_ship, shape),
        usd_per_mw_ratio=np.broadcast_to(gained.usd_per_mw_ratio, shape),
        tokens_per_mw_ratio=np.broadcast_to(gained.tokens_per_mw_ratio, shape),
    )


def unit_costs(problem: Problem, inputs: Inputs, dates: Schedule | None) -> dict[str, UnitCost]:
    """Levelised unit cost of each option, at the own chip's first service (else at the start).

    Key "<alternative>@negotiated" carries the negotiated price of the alternative.
    """
    when = dates.first_service if dates is not None else np.zeros(1)
    out: dict[str, UnitCost] = {}
    for key, option in problem.setting.options.items():
        at_years = np.maximum(when, option.available_years)
        out[key] = unit_cost(option, inputs, at_years=at_years)
    option = problem.setting.options[problem.alternative]
    at_years = np.maximum(when, option.available_years)
    if option.kind == "buy" and problem.builds:
        out[f"{option.key}@negotiated"] = unit_cost(
            option, inputs, at_years=at_years, negotiated=True
        )
    return out


def advantage(
    problem: Problem,
    inputs: Inputs,
    name: str,
    unit: Mapping[str, UnitCost],
    dates: Schedule | None,
) -> Advantage:
    """Delivered advantage against the list, negotiated or rented counterfactual."""
    assert dates is not None, inputs.draws
    if name == "rented":
        rented = problem.strategy(problem.rents[0]).steps[0].option
        return delivered_advantage(unit["own"], unit[rented])
    negotiated = f"{problem.alternative}@negotiated"
    # an alternative that is not bought has no price to negotiate
    key = negotiated if name == "negotiated" and negotiated in unit else problem.alternative
    return delivered_advantage(unit["own"], unit[key])
