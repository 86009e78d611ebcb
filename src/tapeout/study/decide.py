"""Build, buy or rent: the stages of the main question, in order. No formula lives here."""

from __future__ import annotations

import datetime as dt
import hashlib
import platform
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from tapeout import __version__
from tapeout.catalog import Catalog, load
from tapeout.economics.levelised import unit_cost
from tapeout.economics.schedule import OWN
from tapeout.errors import ProblemsError
from tapeout.numerics import BLOCK, Draws, Floats
from tapeout.sources import Ledger
from tapeout.study import tables
from tapeout.study.boundary import claim_ratio, priors, share_that_pays, threshold
from tapeout.study.capacity import SIMULATED, Capacity, Method, enter_capacity, time_silicon
from tapeout.study.central import (
    CentralCase,
    calendar_rows,
    central_case,
    chips_per_rack,
    must_be_true,
    offtake_rows,
    our_figures,
    payback,
    regret_rows,
    tornado_rows,
    unit_rows,
)
from tapeout.study.chains import reconciliation, triangulation
from tapeout.study.checks import check_all
from tapeout.study.correlations import joint, unranged_problems
from tapeout.study.demand import demand_response
from tapeout.study.evaluate import Boundary, Outcomes, Problem, evaluate, with_cheapest_rent
from tapeout.study.facts import (
    bought_advantages,
    break_even_volume_share,
    contribution_ranking,
    counterfactuals,
    hinges,
    memory_gb,
    ranking,
    references,
    sampling,
    scope_of,
)
from tapeout.study.futures import UNIFORMS, Sampler, sampler
from tapeout.study.ladder import ladder
from tapeout.study.money import measures, statements_table
from tapeout.study.problem import assemble
from tapeout.study.resolve import resolve
from tapeout.study.results import SCHEMA, Results, to_json
from tapeout.study.roadmap import roadmap_rows
from tapeout.study.scale import scale_rows, site_size
from tapeout.study.scarce import scarce_of, supply_rows
from tapeout.study.scenario import load_scenario
from tapeout.study.sensitivity import information
from tapeout.study.statistics import share_cheapest, summary
from tapeout.study.tally import Futures, Tally
from tapeout.study.verdict import FIXED_DEMAND, LEFT_OUT, sentences

Progress = Callable[[str, float], None]

DRAWS_LOG2 = 15
SEED = 20261124
MUST_BE_TRUE_INPUTS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """A scenario resolved, timed and assembled, before any draw."""

    scenario: Any
    catalog: Catalog
    ledger: Ledger
    omitted: tuple[str, ...]
    capacity: Capacity
    problem: Problem
    sampler: Sampler
    digest: str


def quiet(_stage: str, _done: float) -> None:
    """Progress that nobody watches."""


def prepare(
    folder: Path,
    *,
    overlay: Path | None = None,
    patches: tuple[str, ...] = (),
    method: Method | None = None,
) -> Study:
    """Load, check, resolve, time and assemble a scenario.

    Raises
    ------
    ProblemsError
        Everything wrong with the scenario or the overlay, at once.
    """
    what = f"scenario {folder}"
    scenario = load_scenario(folder, patches)
    own_overlay = (folder if folder.is_dir() else folder.parent) / "catalog.toml"
    catalog = load(overlay or (own_overlay if own_overlay.is_file() else None))
    wrong = check_all(scenario, catalog)
    if wrong:
        raise ProblemsError(what, wrong)
    study, _ = build(scenario, catalog, what, method=method)
    return study


def build(
    scenario: Any,
    catalog: Catalog,
    what: str,
    capacity: Capacity | None = None,
    *,
    method: Method | None = None,
) -> tuple[Study, Capacity]:
    """Assemble a checked scenario; a capacity table that is already there is used again."""
    resolution = resolve(scenario, catalog, what)
    timed = capacity or time_silicon(scenario, catalog, what, method)
    start = scenario.decision.start
    enter_capacity(resolution.ledger, timed, start)
    kinds = {key: option.kind for key, option in scenario.options.items()}
    chips = {
        key: catalog.chip(option.chip).name
        for key, option in scenario.options.items()
        if option.kind != "api"
    }
    problem = assemble(
        scenario, catalog, resolution.ledger, timed.basket_rate, timed.replica_chips, start
    )
    racks = {
        key: chips_per_rack(timed, key) for key, kind in kinds.items() if kind in ("buy", "build")
    }
    setting = problem.setting
    scarce = scarce_of(scenario, resolution.ledger, racks, setting.quarters)
    problem = replace(problem, setting=replace(setting, scarce=scarce))
    drawer = sampler(resolution.ledger, kinds, chips, timed.shift_ratios)
    drawer = _correlated(drawer, scenario, what)
    option = problem.setting.options[problem.alternative]
    today = unit_cost(
        option,
        drawer.inputs(drawer.medians()),
        at_years=np.array([option.available_years]),
    )
    reference = float(today.lcot_usd_per_mtok()[0])
    study = Study(
        scenario=scenario,
        catalog=catalog,
        ledger=resolution.ledger,
        omitted=resolution.omitted,
        capacity=timed,
        problem=with_cheapest_rent(problem, drawer.inputs(drawer.medians())),
        sampler=replace(drawer, reference_lcot_usd_per_mtok=reference),
        digest=hashlib.sha256(to_json(scenario.model_dump(mode="json")).encode()).hexdigest(),
    )
    return study, timed


def _correlated(drawer: Sampler, scenario: Any, what: str) -> Sampler:
    """Join the drivers that the scenario or the reviewed table correlates."""
    drivers = dict(drawer.columns)
    if drawer.has_own:
        drivers |= {name: name for name in UNIFORMS}
    wrong = unranged_problems(scenario.correlations, drivers)
    if wrong:
        raise ProblemsError(what, wrong)
    return replace(drawer, copula=joint(scenario.correlations, drivers))


def futures(
    study: Study,
    draws_log2: int,
    seed: int,
    progress: Progress = quiet,
    *,
    full: bool = True,
) -> Futures:
    """Draw joint futures and evaluate every strategy in each, block by block.

    `full` false leaves the contribution objective out. What the draws yield by quarter is dropped
    after each block but for the fan, so memory grows by half a kilobyte a draw.
    """
    size = 1 << draws_log2
    tally = Tally(study.problem, size)
    for start in range(0, size, BLOCK):
        part = (start, min(start + BLOCK, size))
        values = study.sampler.table(study.sampler.draw(draws_log2, seed, part))
        inputs = study.sampler.inputs(values)
        outcomes = evaluate(study.problem, inputs, full=full)
        tally.add(part, inputs, outcomes, _rates(study, values))
        progress("futures", part[1] / size)
    return tally.futures(study.sampler.lazy(draws_log2, seed))


def _rates(study: Study, values: Mapping[str, Floats]) -> dict[str, Floats]:
    """Throughput per chip of options a claim speaks of, without maturity or availability."""
    claimed = {prior.baseline for prior in study.scenario.prior if prior.kind == "claim"}
    out = {}
    for key in study.capacity.basket_rate:
        if key not in claimed | {"own"}:
            continue
        rate = values[f"options.{key}.tokens_per_s_per_chip"]
        rate = rate * values[f"options.{key}.timing_ratio"]
        if key == "own":
            rate = rate * values["options.own.delivered_ratio"]
        out[key] = rate
    return out


def decide(  # noqa: PLR0913  all but the first have names and defaults
    folder: Path,
    *,
    overlay: Path | None = None,
    patches: tuple[str, ...] = (),
    draws_log2: int = DRAWS_LOG2,
    seed: int = SEED,
    progress: Progress = quiet,
    method: Method | None = None,
) -> Results:
    """Answer a scenario: verdict, boundary, who keeps the savings.

    Parameters
    ----------
    folder : Path
        Scenario folder, or its scenario.toml.
    overlay : Path, optional
        Newer catalogue figures; default: the scenario's catalog.toml if there is one.
    patches : tuple of str
        Names from the scenario's overlays.toml.
    draws_log2, seed : int
        2^draws_log2 futures in sixteen independent scrambles.
    progress : callable
        Called with the name of a stage and the share done.
    method : Method, optional
        How the capacity table is filled; default: by the steady state.

    Returns
    -------
    Results

    Raises
    ------
    ProblemsError
        Everything wrong with the inputs.
    """
    began = time.perf_counter()
    progress("prepare", 0.0)
    study = prepare(folder, overlay=overlay, patches=patches, method=method)
    progress("prepare", 1.0)
    drawn = futures(study, draws_log2, seed, progress)
    progress("central", 0.0)
    case = central_case(study.problem, study.sampler)
    moved = tornado_rows(study.problem, study.sampler)
    moved, informed = information(study.problem, study.sampler, drawn.draws, drawn.cost, moved)
    progress("central", 1.0)
    facts = verdict_facts(study, drawn, case, moved, seed)
    facts["information"] = informed
    if study.scenario.demand_response is not None:
        facts["demand_response"] = demand_response(
            study.problem, case.inputs, study.scenario.demand_response, study.catalog
        )
        facts["left_out"].remove(FIXED_DEMAND)
    if study.problem.setting.scarce:
        facts["supply"] = supply_rows(study.problem, case.inputs)
    progress("dates", 0.0)
    facts["dates"] = decision_dates(study, drawn, draws_log2, seed)
    progress("dates", 1.0)
    if study.scenario.roadmap is not None and study.problem.builds:
        facts["roadmap"] = roadmap_rows(study, drawn, case, (draws_log2, seed), progress)
    facts["sentences"] = sentences(facts)
    return Results(
        manifest=manifest(study, draws_log2, seed, patches),
        verdict=facts,
        tables=result_tables(study, drawn, case, moved),
        run={
            "duration_s": time.perf_counter() - began,
            "host": platform.node(),
            "finished": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        },
    )


def manifest(study: Study, draws_log2: int, seed: int, patches: tuple[str, ...]) -> dict[str, Any]:
    """What identifies a run: equal manifests mean equal results."""
    return {
        "schema": SCHEMA,
        "tapeout": __version__,
        "catalog": study.catalog.release,
        "catalog_digest": study.catalog.digest,
        "scenario_digest": study.digest,
        "title": study.scenario.title,
        "question": study.scenario.question,
        "patches": list(patches),
        "seed": seed,
        "draws": 2**draws_log2,
        "numpy": np.__version__,
        "polars": pl.__version__,
    } | ({"capacity": SIMULATED} if study.capacity.table.method == SIMULATED else {})


def result_tables(
    study: Study, drawn: Futures, case: CentralCase, moved: list[dict[str, Any]]
) -> dict[str, pl.DataFrame]:
    """The tables of a results folder."""
    return {
        "inputs": tables.inputs_table(study.ledger),
        "totals": tables.totals_table(
            study.problem,
            drawn.cost,
            drawn.contribution,
            {"lcot": drawn.strategy_lcot, "lcot_by_value": drawn.strategy_lcot_by_value},
            drawn.draws.scramble,
        ),
        "cashflow": tables.cashflow_table(case, drawn.cumulative, study.scenario.decision.start),
        "boundary": tables.boundary_table(drawn.bounds),
        "capacity": tables.capacity_table(study.capacity.table, len(study.scenario.traffic)),
        "sensitivity": tables.sensitivity_table(moved, study.ledger),
        "savings": tables.savings_table(
            study.problem, drawn.lcot, drawn.lcot_by_holder, case, drawn.line_npv
        ),
        "statements": statements_table(study.problem, case, study.scenario),
    }


def verdict_facts(
    study: Study, drawn: Futures, case: CentralCase, moved: list[dict[str, Any]], seed: int
) -> dict[str, Any]:
    """Every figure and small table the verdict speaks of."""
    problem, scenario = study.problem, study.scenario
    outcomes = evaluate(problem, case.inputs)
    titles = {strategy.key: strategy.title for strategy in problem.strategies}
    cheapest = share_cheapest(drawn.cost)
    facts: dict[str, Any] = {
        "title": scenario.title,
        "question": scenario.question,
        "builds": problem.builds,
        "start": scenario.decision.start.isoformat(),
        "horizon_years": scenario.decision.horizon_years,
        "headline_strategy": problem.headline,
        "headline_title": titles[problem.headline],
        "baseline_strategy": problem.baseline,
        "baseline_title": titles[problem.baseline],
        "alternative_title": problem.setting.options[problem.alternative].title,
        "alternative_chip": problem.setting.options[problem.alternative].silicon,
        "scope": scope_of(scenario),
        "ranking": ranking(drawn.cost, titles, cheapest, drawn),
        "contribution_ranking": contribution_ranking(drawn, titles),
        "sampling": sampling(drawn),
        "counts": study.ledger.counts(),
        "omitted": list(study.omitted),
        "left_out": list(LEFT_OUT),
        "units": unit_rows(problem, case, study.capacity, memory_gb(study)),
        "measures": measures(problem, case, scenario),
        "finance": scenario.finance.model_dump(exclude_none=True),
        "regret": regret_rows(problem, study.sampler, scenario),
        "references": references(scenario, our_figures(problem, case, outcomes, scenario)),
        "reconciliation": reconciliation(problem, case, scenario),
        "offtake": [],
        "calendar": [],
        "installed": [
            {
                "title": one.title,
                "usd_per_year": one.usd_per_year.value,
                "until": one.until.isoformat(),
            }
            for one in scenario.installed
        ],
        "saving": summary(drawn.saving, drawn.draws.scramble)
        | {"p_positive": float(np.mean(drawn.saving > 0))},
        "lcot": {key: summary(values) for key, values in drawn.lcot.items()},
    }
    facts |= hinges(study, facts["ranking"])
    facts["site_limited"] = problem.setting.site_w is not None
    facts["counterfactuals"] = counterfactuals(study, facts["assumed_prices"])
    if problem.builds:
        facts |= build_facts(study, drawn, case, outcomes, moved, seed)
    return facts


def build_facts(
    study: Study,
    drawn: Futures,
    case: CentralCase,
    outcomes: Outcomes,
    moved: list[dict[str, Any]],
    seed: int,
) -> dict[str, Any]:
    """Figures that exist only where there is a chip of one's own."""
    problem, scenario, scramble = study.problem, study.scenario, drawn.draws.scramble
    needed = {name: threshold(bound, scramble) for name, bound in drawn.bounds.items()}
    watts = {
        key: study.capacity.specs[study.capacity.silicon[key]] for key in study.capacity.basket_rate
    }
    tdp = {key: spec.tdp_w for key, spec in watts.items() if spec is not None}
    ship = {"g_ship": drawn.bounds["list"].g_ship}
    baselines = {prior.baseline for prior in scenario.prior if prior.kind == "claim"}
    ratios = {key: claim_ratio(tdp, drawn.rates, ship, key) for key in sorted(baselines)}
    # whether the programme lives is a toss, not something an owner can make true
    paths = [row["path"] for row in moved if row["path"] != f"{OWN}.cancelled"]
    paths = paths[:MUST_BE_TRUE_INPUTS]
    paid_back = payback(problem, case, outcomes)
    stated = scenario.options["own"].tokens_per_s_per_chip is not None
    return {
        "own_rate_stated": stated,
        "ladder": ladder(problem, study.sampler, drawn, scenario.offtake),
        "scale": scale_rows(problem, study.sampler, seed, site_size(problem, case)),
        "successor_share": drawn.successor_share,
        "payback": paid_back,
        "life_years": study.ledger["options.own.life_years"].chosen.value,
        "g_star": {
            name: {
                "value": one.g_star,
                "se": one.se,
                "outcome": one.outcome.name,
                "sentence": one.outcome.sentence,
            }
            for name, one in needed.items()
        },
        "g_ship": {
            name: summary(bound.g_ship, scramble)
            | {
                "usd_per_mw_ratio": float(np.median(bound.usd_per_mw_ratio)),
                "tokens_per_mw_ratio": float(np.median(bound.tokens_per_mw_ratio)),
                "p_pays": share_that_pays(bound, bound.g_ship),
            }
            for name, bound in drawn.bounds.items()
        },
        "priors": [
            {
                "key": one.key,
                "title": one.title,
                "kind": one.kind,
                "g": dict(one.g),
                "p_pays": one.p_pays,
                "p_pays_negotiated": one.p_pays_negotiated,
                "why": one.why,
            }
            for one in priors(scenario, drawn.bounds, ratios, scramble, seed)
        ],
        "worlds": {name: summary(usd, scramble) for name, usd in drawn.worlds.items()}
        | {
            "leverage": summary(drawn.worlds["A"] - drawn.worlds["B"], scramble),
            "volume": summary(drawn.worlds["B"] - drawn.worlds["C"], scramble),
            "whole": summary(drawn.worlds["A"] - drawn.worlds["C"], scramble),
        },
        "must_be_true": must_be_true(problem, study.sampler, paths),
        "offtake": offtake_rows(
            scenario,
            drawn.bounds["list"],
            paid_back["peak_cash_need_usd"],
        )
        if scenario.offtake
        else [],
        "calendar": calendar_rows(problem, case, scenario.decision.start),
        "first_service_years": summary(drawn.first_service),
        "break_even_volume": break_even_volume_share(outcomes),
        "advantage_over_bought": bought_advantages(study, case, outcomes),
        "triangulation": triangulation(problem, case, scenario),
    }


def decision_dates(
    study: Study, drawn: Futures, draws_log2: int, seed: int
) -> list[dict[str, Any]]:
    """The same question at every decision date: what was avoidable then, and what it was worth.

    Each date discounts to itself and treats what was spent before as sunk. The date of the
    headline shows the headline's own draws.
    """
    first = {"date": study.scenario.decision.start.isoformat(), "title": "Headline date"}
    rows = [first | _judged(study, drawn.cost, drawn.bounds, drawn.worlds, drawn.draws)]
    for date in study.scenario.decision.dates:
        scenario = scenario_at(study.scenario, date)
        built, _ = build(scenario, study.catalog, f"decision date {date.name}", study.capacity)
        then = futures(built, draws_log2, seed, full=False)
        row = {"date": date.date.isoformat(), "title": date.title or date.name}
        rows.append(row | _judged(built, then.cost, then.bounds, then.worlds, then.draws))
    return sorted(rows, key=lambda row: str(row["date"]))


def _judged(
    study: Study,
    cost: Mapping[str, Floats],
    bounds: Mapping[str, Boundary],
    worlds: Mapping[str, Floats],
    draws: Draws,
) -> dict[str, Any]:
    """What one decision date yields."""
    best = min(cost, key=lambda key: float(cost[key].mean()))
    row: dict[str, Any] = {"cheapest": study.problem.strategy(best).title}
    if not study.problem.builds:
        return row
    bound = bounds["list"]
    return row | {
        "g_star": threshold(bound, draws.scramble).g_star,
        "g_ship": summary(bound.g_ship),
        "p_pays": share_that_pays(bound, bound.g_ship),
        "fixed_usd": float(bound.fixed_usd.mean()),
        "leverage_usd": float((worlds["A"] - worlds["B"]).mean()),
        "volume_usd": float((worlds["B"] - worlds["C"]).mean()),
        "whole_usd": float((worlds["A"] - worlds["C"]).mean()),
    }


def scenario_at(scenario: Any, date: Any) -> Any:
    """The scenario as it stood at another decision date."""
    options = dict(scenario.options)
    sections: dict[str, Any] = {}
    for dotted, quantity in date.set.items():
        head, *rest = dotted.split(".")
        if head == "options":
            key, field = rest
            options[key] = options[key].model_copy(update={field: quantity})
        else:
            section = sections.get(head, getattr(scenario, head))
            sections[head] = section.model_copy(update={rest[0]: quantity})
    decision = scenario.decision.model_copy(update={"start": date.date})
    return scenario.model_copy(update={"options": options, "decision": decision, **sections})
