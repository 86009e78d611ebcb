"""One chip, every other generation, or full cadence: the same programme, side by side.

Worked out only where a scenario asks for it. Futures are those of the study; the baseline is not
evaluated again, since no roadmap moves it, nor is the headline on its own roadmap.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from tapeout.economics.cashflow import strategy_cash_flow
from tapeout.economics.roadmap import own_schedule, roadmap_of, successors
from tapeout.economics.types import Inputs, Roadmap, Strategy
from tapeout.numerics import BLOCK, Floats
from tapeout.study.boundary import share_that_pays, threshold
from tapeout.study.central import CentralCase
from tapeout.study.evaluate import Boundary, Problem
from tapeout.study.problem import roadmap_named
from tapeout.study.statistics import summary

if TYPE_CHECKING:
    from tapeout.study.decide import Study
    from tapeout.study.tally import Futures

TITLES = {"one-chip": "One chip", "every-other": "Every other generation", "full": "Full cadence"}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Costs:
    """Present cost of one roadmap in every draw, and its parts; arrays (draw,)."""

    npv_usd: Floats
    own_usd: Floats
    fixed_usd: Floats

    @property
    def rest_usd(self) -> Floats:
        """What does not belong to the own chip."""
        return self.npv_usd - self.own_usd - self.fixed_usd


def with_roadmap(strategy: Strategy, roadmap: Roadmap) -> Strategy:
    """The same strategy, its own chip on another roadmap."""
    steps = (
        replace(step, roadmap=roadmap) if step.option == "own" else step for step in strategy.steps
    )
    return replace(strategy, steps=tuple(steps))


def variants(study: Study) -> dict[str, Strategy]:
    """The programme that is asked about, by roadmap."""
    scenario, problem = study.scenario, study.problem
    base = problem.strategy(scenario.roadmap.of or problem.headline)
    cadence = study.ledger["options.own.generation_cadence_years"].chosen.value
    years = float(scenario.decision.horizon_years)
    return {
        name: with_roadmap(base, roadmap_named(1 if name == "one-chip" else name, years, cadence))
        for name in scenario.roadmap.compare
    }


def roadmap_rows(
    study: Study,
    drawn: Futures,
    case: CentralCase,
    how: tuple[int, int],
    progress: Callable[[str, float], None],
) -> list[dict[str, Any]]:
    """What each roadmap saves over the baseline, centrally and over all futures.

    Parameters
    ----------
    study, drawn, case
    how : tuple
        Logarithm of the number of draws, and the seed.
    progress : callable
    """
    plans = variants(study)
    known = study.problem.strategy(study.problem.headline)
    costs = _over_futures(
        study, {name: plan for name, plan in plans.items() if plan != known}, how, progress
    )
    baseline = drawn.cost[study.problem.baseline]
    central = _cost(study.problem, study.problem.strategy(study.problem.baseline), case.inputs)
    rows = []
    for name, plan in plans.items():
        listed = drawn.bounds["list"]
        bound = _bound(costs[name], baseline, listed) if name in costs else listed
        total = costs[name].npv_usd if name in costs else drawn.cost[plan.key]
        needed = threshold(bound, drawn.draws.scramble)
        alone = _cost(study.problem, plan, case.inputs)
        saving = summary(baseline - total, drawn.draws.scramble)
        rows.append(
            {
                "key": name,
                "title": TITLES[name],
                "strategy": plan.key,
                **_dates(case.inputs, plan, study.problem.setting.quarters),
                "central_saving_usd": float((central.npv_usd - alone.npv_usd)[0]),
                "programme_usd": float(bound.fixed_usd.mean()),
                "saving": saving,
                "g_star": needed.g_star,
                "g_star_se": needed.se,
                "p_pays": share_that_pays(bound, bound.g_ship),
            }
        )
    best = max(rows, key=lambda row: row["saving"]["mean"])
    return [row | {"best": row is best} for row in rows]


def _dates(inputs: Inputs, plan: Strategy, quarters: int) -> dict[str, Any]:
    """Chips begun in the central case, and when each first serves. [years]."""
    roadmap = roadmap_of(plan)
    first = float(own_schedule(inputs, roadmap, quarters).first_service[0])
    later = [
        float(one.first_service[0])
        for one in successors(inputs, roadmap, quarters)
        if one.begun[0] > 0
    ]
    return {"chips": 1 + len(later), "first_service_years": [first, *later]}


def _bound(cost: _Costs, baseline_usd: Floats, listed: Boundary) -> Boundary:
    """The boundary of a roadmap against list prices: its chips scaled all alike."""
    return replace(
        listed,
        fixed_usd=cost.fixed_usd,
        a_usd=baseline_usd - cost.rest_usd,
        b_usd=cost.own_usd * listed.g_ship,
    )


def _cost(problem: Problem, plan: Strategy, inputs: Inputs) -> _Costs:
    flow, _ = strategy_cash_flow(
        problem.setting, plan, inputs, negotiated=problem.builds_own(plan.key)
    )
    parts = flow.npv_by_scaling_usd()
    return _Costs(npv_usd=flow.npv_usd(), own_usd=parts["own"], fixed_usd=parts["fixed"])


def _over_futures(
    study: Study,
    plans: Mapping[str, Strategy],
    how: tuple[int, int],
    progress: Callable[[str, float], None],
) -> dict[str, _Costs]:
    """Cost of every roadmap in every draw, block by block."""
    draws_log2, seed = how
    size = 1 << draws_log2
    kept = {name: np.empty((3, size)) for name in plans}
    for start in range(0, size, BLOCK):
        part = (start, min(start + BLOCK, size))
        values = study.sampler.table(study.sampler.draw(draws_log2, seed, part))
        inputs = study.sampler.inputs(values)
        for name, plan in plans.items():
            cost = _cost(study.problem, plan, inputs)
            kept[name][:, part[0] : part[1]] = cost.npv_usd, cost.own_usd, cost.fixed_usd
        progress("roadmaps", part[1] / size)
    return {
        name: _Costs(npv_usd=rows[0], own_usd=rows[1], fixed_usd=rows[2])
        for name, rows in kept.items()
    }
