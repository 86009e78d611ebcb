"""From a checked scenario to a problem that can be evaluated: options, strategies, demand, site."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from tapeout.catalog import Catalog
from tapeout.constants import DAY_S, MEGA, MONTHS_PER_YEAR, QUARTERS_PER_YEAR
from tapeout.economics.schedule import OWN, mid_quarter_years
from tapeout.economics.sections import MOST_GENERATIONS
from tapeout.economics.supply import Setting
from tapeout.economics.types import ONE_CHIP, Roadmap, SiliconOption, Step, Strategy
from tapeout.errors import Problem as Wrong
from tapeout.errors import did_you_mean, nearest
from tapeout.numerics import Floats
from tapeout.sources import Ledger
from tapeout.study.evaluate import Problem
from tapeout.study.scenario import years_from

ANCHORS = ("own.first_service", "own.full_volume", "own.mature", "own.end_of_sales")
# assumptions, no source: the longer the term, the more supply is built for it, the less it moves
PRICE_IMPACT = {"on-demand": 0.5, "contract": 0.25, "take-or-pay": 0.1}
TERM_YEARS = {"on-demand": 0.25, "contract": 1.0, "take-or-pay": 3.0}


def check_meaning(scenario: Any) -> list[Wrong]:
    """Find references that lead nowhere and sizes that do not fit together."""
    return [
        *_check_options(scenario),
        *_check_strategies(scenario),
        *_check_roadmaps(scenario),
        *_check_scale(scenario),
        *_check_decision(scenario),
    ]


def _unknown(path: str, name: str, known: Iterable[str]) -> Wrong:
    names = sorted(known)
    hint = did_you_mean(nearest(name, names)) or f"one of {', '.join(names)}"
    return Wrong(
        path=path, value=repr(name), message="no such name", remedy=f"did you mean {hint}?"
    )


def _check_options(scenario: Any) -> list[Wrong]:
    built = [key for key, option in scenario.options.items() if option.kind == "build"]
    if built and built != ["own"]:
        return [
            Wrong(
                path=f"options.{key}",
                value="",
                message="a built option is called 'own'",
                remedy="rename it; one own chip a scenario",
            )
            for key in built
            if key != "own"
        ]
    wrong = []
    for key, option in scenario.options.items():
        if option.kind == "api" and option.usd_per_mtok is None:
            wrong.append(
                Wrong(
                    path=f"options.{key}.usd_per_mtok",
                    value="",
                    message="missing",
                    remedy="write the price of the basket per million output tokens",
                )
            )
    return wrong


def _check_strategies(scenario: Any) -> list[Wrong]:
    wrong: list[Wrong] = []
    keys = [strategy.key for strategy in scenario.strategy]
    wrong += [
        Wrong(path="strategy", value=key, message="key used twice", remedy="rename one")
        for key in sorted({key for key in keys if keys.count(key) > 1})
    ]
    has_own = "own" in scenario.options
    for strategy in scenario.strategy:
        for index, step in enumerate(strategy.steps):
            path = f"strategy.{strategy.key}.steps[{index}]"
            if step.option not in scenario.options:
                wrong.append(_unknown(f"{path}.option", step.option, scenario.options))
            for name, edge in (("from", step.start), ("until", step.until)):
                if isinstance(edge, str) and (edge not in ANCHORS or not has_own):
                    wrong.append(_unknown(f"{path}.{name}", edge, ANCHORS))
    return wrong


def _check_roadmaps(scenario: Any) -> list[Wrong]:
    """Generations belong to the own chip; a comparison of roadmaps needs a programme."""
    wrong = [
        Wrong(
            path=f"strategy.{strategy.key}.steps[{index}].generations",
            value=repr(step.generations),
            message="only the own chip has generations of its own",
            remedy='remove it, or move it to the step with option = "own"',
        )
        for strategy in scenario.strategy
        for index, step in enumerate(strategy.steps)
        if step.generations is not None and step.option != "own"
    ]
    if scenario.roadmap is None:
        return wrong
    key = scenario.roadmap.of or scenario.decision.headline
    plans = {strategy.key: strategy for strategy in scenario.strategy}
    if key not in plans:
        known = [*plans] if scenario.roadmap.of else []
        return [*wrong, *([_unknown("roadmap.of", key, known)] if known else [])]
    if not any(step.option == "own" for step in plans[key].steps) or "own" not in scenario.options:
        wrong.append(
            Wrong(
                path="roadmap.of",
                value=repr(key),
                message="no chip of its own in this strategy",
                remedy="name one that builds, or remove [roadmap]",
            )
        )
    return wrong


def _check_scale(scenario: Any) -> list[Wrong]:
    scale, wrong = scenario.scale, []
    by_mw = scale.sized_by == "mw"
    if by_mw and scale.mw is None:
        wrong.append(
            Wrong(path="scale.mw", value="", message="missing", remedy="write the megawatts")
        )
    if scale.of is not None and scale.of not in scenario.options:
        wrong.append(_unknown("scale.of", scale.of, scenario.options))
    field = "share" if by_mw else "output_tokens_per_day"
    wrong += [
        Wrong(
            path=f"traffic.{traffic.name}.{field}",
            value="",
            message="missing",
            remedy=f"needed because scale.sized_by = {scale.sized_by!r}",
        )
        for traffic in scenario.traffic
        if getattr(traffic, field) is None
    ]
    shares = [traffic.share or 0.0 for traffic in scenario.traffic]
    if by_mw and not wrong and abs(sum(shares) - 1.0) > 1e-6:
        wrong.append(
            Wrong(
                path="traffic",
                value=f"{sum(shares):g}",
                message=f"shares of output tokens add up to {sum(shares):g}, not 1",
                remedy="mend them",
            )
        )
    for traffic in (*scenario.traffic, *scenario.shifted):
        name = traffic.slo or traffic.name
        if name not in scenario.slo:
            wrong.append(_unknown(f"slo.{name}", name, scenario.slo))
    return wrong


def _check_decision(scenario: Any) -> list[Wrong]:
    decision = scenario.decision
    keys = [strategy.key for strategy in scenario.strategy]
    wrong = [
        _unknown(f"decision.{name}", getattr(decision, name), keys)
        for name in ("baseline", "headline")
        if getattr(decision, name) not in keys
    ]
    if decision.alternative not in scenario.options:
        wrong.append(_unknown("decision.alternative", decision.alternative, scenario.options))
    for prior in scenario.prior:
        if prior.kind == "claim" and prior.baseline not in scenario.options:
            wrong.append(
                _unknown(f"prior.{prior.key}.baseline", str(prior.baseline), scenario.options)
            )
        if prior.kind != "simulated" and prior.ratio is None:
            wrong.append(
                Wrong(
                    path=f"prior.{prior.key}.ratio",
                    value="",
                    message="missing",
                    remedy='write it, for example "1.5 to 1.9"',
                )
            )
    return wrong


def silicon_options(
    scenario: Any, catalog: Catalog, replica_chips: Mapping[str, int], start: dt.date
) -> dict[str, SiliconOption]:
    """Options as the money model sees them."""
    out: dict[str, SiliconOption] = {}
    for key, option in scenario.options.items():
        chip = getattr(option, "chip", "")
        record = catalog.chip(chip) if chip else None
        released = option.available_from or (record.release_date if record else None) or start
        depth = getattr(option, "depth", "")
        out[key] = SiliconOption(
            key=key,
            kind=option.kind,
            silicon=record.name if record else "tokens",
            title=option.title or key,
            available_years=0.0
            if option.kind == "build"
            else max(option.lead_time_months / MONTHS_PER_YEAR, years_from(start, released)),
            term_years=getattr(option, "term_years", None) or TERM_YEARS.get(depth, 0.0),
            smallest_chips=float(replica_chips.get(key, 0)),
            minimum=getattr(option, "minimum_usd_per_year", None) is not None,
            ceiling=getattr(option, "ceiling_chips_per_quarter", None) is not None,
            successors=getattr(option, "successors", True),
            market_chips=getattr(option, "market_chips_per_quarter", None) or 0.0,
            price_impact=_price_impact(option),
        )
    return out


def _price_impact(option: Any) -> float:
    """Price impact as stated, else by the depth of the contract; none but for rent."""
    stated = getattr(option, "price_impact", None)
    return PRICE_IMPACT.get(getattr(option, "depth", ""), 0.0) if stated is None else float(stated)


def roadmap_named(generations: int | str, horizon_years: float, cadence_years: float) -> Roadmap:
    """Roadmap of a number of own chips, or of as many as the horizon has steps of the cadence.

    Examples
    --------
    >>> roadmap_named("every-other", 10.0, 2.0)
    Roadmap(generations=3, stride=2)
    """
    if isinstance(generations, int):
        return Roadmap(generations=generations)
    stride = 2 if generations == "every-other" else 1
    steps = math.ceil(horizon_years / (stride * cadence_years))
    return Roadmap(generations=min(steps, MOST_GENERATIONS), stride=stride)


def _roadmap(scenario: Any, step: Any, cadence_years: float) -> Roadmap:
    if step.option != "own" or "own" not in scenario.options:
        return ONE_CHIP
    generations = step.generations or getattr(scenario.options["own"], "generations", 1)
    return roadmap_named(generations, float(scenario.decision.horizon_years), cadence_years)


def strategies(scenario: Any, start: dt.date, cadence_years: float = 1.0) -> tuple[Strategy, ...]:
    """Strategies with their dates as years from the decision.

    `cadence_years` is the own chip's, where a programme has successors.
    """

    def edge(value: dt.date | str | None, default: float) -> float | str:
        if value is None:
            return default
        return value if isinstance(value, str) else years_from(start, value)

    return tuple(
        Strategy(
            key=strategy.key,
            title=strategy.title or strategy.key,
            steps=tuple(
                Step(
                    option=step.option,
                    start=edge(step.start, 0.0),
                    end=edge(step.until, float("inf")),
                    share=step.share,
                    roadmap=_roadmap(scenario, step, cadence_years),
                )
                for step in strategy.steps
            ),
        )
        for strategy in scenario.strategy
    )


def ramp_profile(scenario: Any, start: dt.date, quarters: int) -> Floats:
    """Share of full demand planned for each quarter, shape (quarter,)."""
    first = scenario.scale.first_demand or start
    begin = years_from(start, first)
    ramp = max(scenario.scale.ramp_years, 1.0 / QUARTERS_PER_YEAR / 100)
    share: Floats = np.clip((mid_quarter_years(quarters) - begin) / ramp, 0.0, 1.0)
    return share


def full_demand_tokens_per_s(scenario: Any, ledger: Ledger, rates: Mapping[str, float]) -> float:
    """Mean output rate at full demand, from the megawatts or as stated. [tokens/s].

    From megawatts: chips that the site powers x their central rate x availability, less spares,
    over the peak-to-mean ratio; every strategy then serves that same demand.
    """
    if scenario.scale.sized_by == "demand":
        daily = sum(traffic.output_tokens_per_day for traffic in scenario.traffic)
        return float(daily) / DAY_S
    key = sizing_option(scenario)
    value = {entry.path: entry.chosen.value for entry in ledger}
    chips = scenario.scale.mw * MEGA / value[f"options.{key}.allin_w_per_chip"]
    rate = rates[key] * value[f"options.{key}.availability_fraction"]
    if key == "own":
        rate *= value[f"{OWN}.delivered_ratio"]
    held = value["demand.peak_to_mean_ratio"] * (1.0 + value["fleet.spares_fraction"])
    return float(chips * rate / held)


def sizing_option(scenario: Any) -> str:
    """The option whose chips fill the megawatts: the stated one, the own chip, or the first."""
    if scenario.scale.of:
        return str(scenario.scale.of)
    if "own" in scenario.options:
        return "own"
    with_chips = [key for key, one in scenario.options.items() if one.kind != "api"]
    return str((with_chips or list(scenario.options))[0])


def assemble(
    scenario: Any,
    catalog: Catalog,
    ledger: Ledger,
    rates: Mapping[str, float],
    replica_chips: Mapping[str, int],
    start: dt.date,
) -> Problem:
    """Put the problem of one decision date together."""
    quarters = scenario.decision.horizon_years * QUARTERS_PER_YEAR
    profile = ramp_profile(scenario, start, quarters)
    first = scenario.scale.first_demand or start
    by_mw = scenario.scale.sized_by == "mw"
    options = silicon_options(scenario, catalog, replica_chips, start)
    path = f"{OWN}.generation_cadence_years"
    cadence = ledger[path].chosen.value if path in ledger else 1.0
    plans = strategies(scenario, start, cadence)
    rents = tuple(
        plan.key
        for plan in plans
        if all(options[step.option].kind == "rent" for step in plan.steps)
    )
    return Problem(
        setting=Setting(
            quarters=quarters,
            options=options,
            demand_profile=profile * full_demand_tokens_per_s(scenario, ledger, rates),
            site_w=profile * scenario.scale.mw * MEGA if by_mw else None,
            demand_years=years_from(start, first) + scenario.scale.ramp_years,
            reference=scenario.decision.alternative,
        ),
        strategies=plans,
        baseline=scenario.decision.baseline,
        headline=scenario.decision.headline,
        alternative=scenario.decision.alternative,
        rents=rents,
    )
