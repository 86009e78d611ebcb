"""Rows of the verdict that need no further evaluation: rankings, hinges, figures of others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from tapeout.constants import MTOK
from tapeout.economics.levelised import delivered_advantage, unit_cost
from tapeout.numerics import Floats, standard_error
from tapeout.quantities import Quantity
from tapeout.risk import SCRAMBLES
from tapeout.study.boundary import npv_usd, threshold
from tapeout.study.central import CentralCase
from tapeout.study.evaluate import Outcomes
from tapeout.study.problem import sizing_option
from tapeout.study.statistics import share_cheapest, summary
from tapeout.study.tally import FAN_DRAWS
from tapeout.study.verdict import in_words, span_years

if TYPE_CHECKING:
    from tapeout.study.decide import Study
    from tapeout.study.tally import Futures


def scope_of(scenario: Any) -> str:
    """Scope in words."""
    years = f"over {span_years(scenario.decision.horizon_years)}"
    if scenario.scale.sized_by == "mw":
        of = scenario.options[sizing_option(scenario)]
        return f"the demand {scenario.scale.mw:,.4g} MW of {of.title or of.chip} serve, {years}"
    tokens = sum(one.output_tokens_per_day for one in scenario.traffic)
    return f"{in_words(tokens)} output tokens a day {years}"


def ranking(
    cost: Mapping[str, Floats],
    titles: Mapping[str, str],
    cheapest: Mapping[str, float],
    drawn: Futures,
) -> list[dict[str, Any]]:
    """Strategies by expected cost, cheapest first."""
    rows = [
        {
            "strategy": key,
            "title": titles[key],
            "p_cheapest": cheapest[key],
            "served_fraction": drawn.served[key],
            "lcot_usd_per_mtok": float(np.mean(drawn.strategy_lcot[key])) * MTOK,
            "value_weighted_lcot_usd_per_mtok": float(np.mean(drawn.strategy_lcot_by_value[key]))
            * MTOK,
        }
        | {f"{name}_usd": value for name, value in summary(usd, drawn.draws.scramble).items()}
        for key, usd in cost.items()
    ]
    return sorted(rows, key=lambda row: float(row["mean_usd"]))


def contribution_ranking(drawn: Futures, titles: Mapping[str, str]) -> list[dict[str, Any]]:
    """Strategies by expected contribution, highest first."""
    best = share_cheapest({key: -usd for key, usd in drawn.contribution.items()})
    rows = [
        {"strategy": key, "title": titles[key], "p_best": best[key]}
        | {f"{name}_usd": value for name, value in summary(usd, drawn.draws.scramble).items()}
        for key, usd in drawn.contribution.items()
    ]
    return sorted(rows, key=lambda row: -float(row["mean_usd"]))


def sampling(drawn: Futures) -> dict[str, Any]:
    """How many draws there are, and how far their results may be off for want of more.

    Standard errors of the required advantage, of the share of futures in which building pays and
    of the saving over the baseline as a share of the baseline's mean cost, each from the spread of
    the independent scrambles; what a scenario does not have is left out.
    """
    scramble = drawn.draws.scramble
    base = float((drawn.cost[drawn.baseline]).mean())
    out: dict[str, Any] = {
        "draws": len(drawn.draws),
        "fan_draws": min(len(drawn.draws), FAN_DRAWS),
        "scrambles": SCRAMBLES,
        "npv_se_fraction": standard_error(drawn.saving, scramble) / abs(base),
    }
    if "list" in drawn.bounds:
        bound = drawn.bounds["list"]
        pays = (npv_usd(bound, bound.g_ship) > 0).astype(np.float64)
        out["g_star_se"] = threshold(bound, scramble).se
        out["p_pays_se"] = standard_error(pays, scramble)
    return out


def hinges(study: Study, order: list[dict[str, Any]]) -> dict[str, Any]:
    """Options whose price no source publishes, and what leads without them."""
    problem, ledger = study.problem, study.ledger
    assumed = []
    for key, option in problem.setting.options.items():
        path = {
            "rent": f"options.{key}.rent_usd_per_chip_hour",
            "buy": f"options.{key}.price_usd",
        }.get(option.kind)
        if path and (path not in ledger or not ledger[path].is_sourced):
            assumed.append(key)
    for row in order:
        steps = problem.strategy(row["strategy"]).steps
        row["price_assumed"] = any(step.option in assumed for step in steps)
    left = [row["title"] for row in order if not row["price_assumed"]]
    return {
        "assumed_prices": [problem.setting.options[key].title for key in assumed],
        "best_without_assumed": left[0] if left else "none",
    }


def counterfactuals(study: Study, assumed: list[str]) -> dict[str, str]:
    """What stands behind each counterfactual, by name, and whether its price is assumed."""
    problem = study.problem
    alternative = problem.setting.options[problem.alternative].title
    out = {
        "list": f"{alternative}, list price",
        "negotiated": f"{alternative}, negotiated price",
    }
    if problem.rents:
        rented = problem.setting.options[problem.strategy(problem.rents[0]).steps[0].option].title
        note = " (price assumed)" if rented in assumed else ""
        out["rented"] = f"{rented}{note}"
    return out


def memory_gb(study: Study) -> dict[str, float]:
    """Gigabytes of memory on each option's package."""
    return {
        key: study.ledger[f"options.{key}.memory_gb"].chosen.value
        for key, option in study.problem.setting.options.items()
        if f"options.{key}.memory_gb" in study.ledger and option.kind in ("buy", "build")
    }


def references(scenario: Any, ours: Mapping[str, float]) -> list[dict[str, Any]]:
    """Figures from outside beside ours."""
    rows = []
    for one in scenario.reference:
        value: Quantity = one.value
        mine = ours.get(one.compare)
        rows.append(
            {
                "key": one.key,
                "title": one.title or one.key,
                "compare": one.compare,
                "ours": mine,
                "theirs": value.value,
                "theirs_low": value.low,
                "theirs_high": value.high,
                "source": value.source,
                "source_url": value.source_url,
                "why": value.why,
                "ratio": None if mine is None or not value.value else mine / value.value,
            }
        )
    return rows


def bought_advantages(study: Study, case: CentralCase, outcomes: Outcomes) -> list[dict[str, Any]]:
    """Own tokens per dollar over each bought chip as it is sold today, central case.

    Not g_ship: the own chip is taken at its first service, the other at its present generation.
    """
    rows = []
    for key, option in study.problem.setting.options.items():
        if option.kind != "buy":
            continue
        released = case.inputs.flat(f"options.{key}.generation_years")
        other = unit_cost(option, case.inputs, at_years=released)
        gained = delivered_advantage(outcomes.unit["own"], other)
        rows.append(
            {
                "option": key,
                "title": option.title,
                "ratio": float(gained.g_ship[0]),
                "usd_per_mw_ratio": float(gained.usd_per_mw_ratio[0]),
                "tokens_per_mw_ratio": float(gained.tokens_per_mw_ratio[0]),
            }
        )
    return rows


def break_even_volume_share(outcomes: Outcomes) -> float:
    """Share of planned volume at which building pays in the central case."""
    bound = outcomes.boundaries["list"]
    gain = float((bound.a_usd - bound.b_usd / bound.g_ship)[0])
    return float(bound.fixed_usd[0]) / gain if gain > 0 else float("inf")
