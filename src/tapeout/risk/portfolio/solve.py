"""The best portfolio: every set of optional options is a search of its own, bounded by the best."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from tapeout.errors import Problem as Wrong
from tapeout.errors import ProblemsError
from tapeout.numerics import Floats, Ints
from tapeout.risk.portfolio.cuts import GAP, Held, Point, Search, standing_usd
from tapeout.risk.portfolio.dispatch import Dispatch, Recourse, risk_cost, tail_weight
from tapeout.risk.portfolio.problem import (
    MEAN,
    PortfolioProblem,
    RiskPreference,
    check,
    mean_problem,
)
from tapeout.risk.portfolio.scale import Scale, scaled

MOST_OPTIONAL = 12  # 4,096 sets
MEAN_GAP = 1e-6  # of the mean problem, which only gives a start


@dataclass(frozen=True, slots=True, kw_only=True)
class Portfolio:
    """What to take, what it costs, and what limits are worth.

    Attributes
    ----------
    taken : array, shape (option, vintage)
        Units taken by period.
    used : array of bool, shape (option,)
        Options that may be taken from; entries of these are paid, their kinds counted.
    cost_usd : float
        (1 - omega) x mean + omega x CVaR.
    bound_usd : float
        Lower bound of that; the optimum is between the two.
    by_scenario_usd : array, shape (scenario,)
    mean_usd, cvar_usd : float
        Both parts, CVaR at the alpha of the preference.
    shadow_usd : mapping of limit to array, shape (period,)
        What one more unit of a limit would save, with these options in use. [USD/unit]
    dispatch : Dispatch
        In the units of the problem.
    """

    risk: RiskPreference
    taken: Floats
    used: np.ndarray
    cost_usd: float
    bound_usd: float
    by_scenario_usd: Floats
    mean_usd: float
    cvar_usd: float
    shadow_usd: Mapping[str, Floats]
    dispatch: Dispatch


def _sets(switches: Sequence[Ints], kept: np.ndarray) -> Iterator[np.ndarray]:
    """Sets of options to try, all of them first: good points come early, bounds cut the rest."""
    free = [options for options in switches if not kept[options].all()]
    for size in range(len(free), -1, -1):
        for left_out in combinations(free, len(free) - size):
            used = np.ones(kept.size, bool)
            for options in left_out:
                used[options] = kept[options]
            yield used


def optimise(
    problem: PortfolioProblem,
    risk: RiskPreference = MEAN,
    *,
    held: Held | None = None,
    like: Portfolio | None = None,
    gap: float = GAP,
) -> Portfolio:
    """Find the cheapest portfolio under a risk preference.

    Parameters
    ----------
    problem : PortfolioProblem
    risk : RiskPreference
    held : Held, optional
        What was decided before; the rest is decided now.
    like : Portfolio, optional
        Near the optimum, of a problem with the same options and limits: where to begin.
    gap : float
        Relative distance from the optimum at which the search ends.

    Raises
    ------
    ProblemsError, InfeasibleError
        The problem is malformed, or its limits leave nothing.

    Notes
    -----
    Entries and the pooling loss depend on which options are in use; each set is solved by cutting
    planes with the cuts of the others, and given up once its bound passes the best cost.
    """
    check(problem)
    switches = problem.switches
    if len(switches) > MOST_OPTIONAL:
        raise ProblemsError(
            "portfolio",
            [
                Wrong(
                    path="options.entry_usd",
                    value=str(len(switches)),
                    message="too many options or kinds to be used or not",
                    remedy=f"keep {MOST_OPTIONAL}, or take the pooling loss out",
                )
            ],
        )
    inside, scale = scaled(problem)
    if held is not None:
        held = Held(taken=held.taken / scale.units[:, None], until=held.until, entered=held.entered)
    begin = None
    if like is not None:
        begin = (like.used, like.taken / scale.units[:, None])
    best = _best(inside, risk, held, begin, gap)
    return _portfolio(problem, risk, best, scale)


def _best(
    inside: PortfolioProblem,
    risk: RiskPreference,
    held: Held | None,
    begin: tuple[np.ndarray, Floats] | None,
    gap: float,
) -> Point:
    options = inside.options
    kept = np.zeros(len(options.keys), bool) if held is None else held.entered
    search = Search(inside, risk, held)
    if begin is None and inside.weight.size > 1:
        central = _best(mean_problem(inside), MEAN, held, None, MEAN_GAP)
        begin = (central.used, central.taken)
    if begin is None:
        nothing = np.zeros(options.open.shape) if held is None else held.taken
        begin = (np.ones_like(kept), nothing)
    first, start = begin
    best: Point | None = None
    # a good set first: its cost ends the search in others early
    for used in sorted(_sets(inside.switches, kept), key=lambda one: (one != first).any()):
        limit = np.inf if best is None else best.cost
        found = search.run(used, start, limit, gap)
        if found is not None and found.cost < limit:
            best, start = found, found.taken
    assert best is not None, "no set of options was solved"
    # sets given up may hold something better by at most the gap
    return replace(best, bound=min(best.bound, best.cost - gap * abs(best.cost)))


def _portfolio(
    problem: PortfolioProblem, risk: RiskPreference, best: Point, scale: Scale
) -> Portfolio:
    taken = best.taken * scale.units[:, None]
    dispatch, by_scenario = _costs(problem, taken, best.used)
    return Portfolio(
        risk=risk,
        taken=taken,
        used=best.used,
        cost_usd=best.cost * scale.usd,
        bound_usd=best.bound * scale.usd,
        by_scenario_usd=by_scenario,
        mean_usd=float(problem.weight @ by_scenario),
        cvar_usd=cvar_usd(by_scenario, problem.weight, risk.alpha),
        shadow_usd={
            limit.key: dual * scale.usd / size
            for limit, dual, size in zip(problem.limits, best.limit_dual, scale.limits, strict=True)
        },
        dispatch=dispatch,
    )


def _costs(problem: PortfolioProblem, taken: Floats, used: np.ndarray) -> tuple[Dispatch, Floats]:
    found = Recourse(problem).run(taken, problem.pooling_ratio(used))
    return found, found.cost_usd + standing_usd(problem, used, taken)


def cost_by_scenario(problem: PortfolioProblem, portfolio: Portfolio) -> Floats:
    """Cost of a portfolio in the scenarios of a problem, its own or fresh ones; (scenario,)."""
    return _costs(problem, portfolio.taken, portfolio.used)[1]


def risk_adjusted_usd(
    problem: PortfolioProblem, portfolio: Portfolio, risk: RiskPreference
) -> float:
    """Risk-adjusted cost of a portfolio in the scenarios of a problem. [USD]."""
    return risk_cost(cost_by_scenario(problem, portfolio), problem.weight, risk)


def cvar_usd(cost: Floats, weight: Floats, alpha: float) -> float:
    """Mean of the worst (1 - alpha) of weighted costs. [USD]."""
    return float(tail_weight(cost, weight, alpha) @ cost)


def hybrid_fleet_ratio(problem: PortfolioProblem, portfolio: Portfolio) -> Floats:
    """Share of fixed-function capacity in the expected capacity in service, shape (period,).

    Zero in a period without any capacity.
    """
    held = np.tensordot(problem.weight, portfolio.dispatch.capacity, axes=(0, 0))
    total = held.sum(axis=0)
    fixed = held[problem.options.fixed_function].sum(axis=0)
    share: Floats = np.divide(fixed, total, out=np.zeros_like(total), where=total > 0)
    return share
