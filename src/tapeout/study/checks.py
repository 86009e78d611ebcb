"""Everything wrong with the meaning of a scenario, found before anything is computed.

References that lead nowhere, fields that need each other, spans that are empty, paths that name no
input: each with its dotted path and remedy, together with every value that cannot be resolved.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from tapeout.catalog import Catalog
from tapeout.constants import QUARTERS_PER_YEAR
from tapeout.economics.schedule import OWN
from tapeout.economics.term import Term
from tapeout.economics.terms import GLOBAL_TERMS, PRICE_DRIFTS
from tapeout.errors import Problem, UnitError, UnknownNameError, did_you_mean, nearest
from tapeout.quantities import Quantity, in_unit
from tapeout.study.capacity import STATED
from tapeout.study.correlations import pair_problems
from tapeout.study.demand import elasticities
from tapeout.study.futures import UNIFORMS
from tapeout.study.problem import check_meaning, sizing_option, strategies
from tapeout.study.resolve import resolution_problems, stated_drifts
from tapeout.study.scarce import check_supply
from tapeout.study.scenario import option_terms, years_from
from tapeout.workload import load_model

# inputs of the model that a named future may set and no scenario states
TOSSED: Mapping[str, str] = {
    f"{OWN}.slip_months": "months",
    f"{OWN}.spins": "count",
    f"{OWN}.cancelled": "fraction",
    f"{OWN}.shift_years": "years",
    f"{OWN}.shift_ratio": "ratio",
}


def check_all(scenario: Any, catalog: Catalog) -> list[Problem]:
    """Find everything wrong with a scenario of the right shape."""
    return [
        *check_meaning(scenario),
        *_check_pairs(scenario),
        *_check_sizing(scenario),
        *_check_spans(scenario),
        *_check_repeats(scenario),
        *_check_paths(scenario),
        *_check_correlations(scenario),
        *_check_drifts(scenario),
        *_check_software(scenario),
        *_check_beliefs(scenario),
        *_check_response(scenario, catalog),
        *check_supply(scenario),
        *_check_models(scenario),
        *_check_available(scenario, catalog),
        *resolution_problems(scenario, catalog),
    ]


def _check_pairs(scenario: Any) -> list[Problem]:
    """A minimum needs its span and the other way round."""
    wrong = []
    for key, option in scenario.options.items():
        if option.kind != "rent":
            continue
        pair = {name: getattr(option, name) for name in ("minimum_usd_per_year", "minimum_years")}
        if len([one for one in pair.values() if one is None]) == 1:
            missing = next(name for name, one in pair.items() if one is None)
            wrong.append(_missing(f"options.{key}.{missing}", "a take-or-pay minimum needs both"))
    return wrong


def _missing(path: str, remedy: str) -> Problem:
    return Problem(path=path, value="", message="missing", remedy=remedy)


def _check_response(scenario: Any, catalog: Catalog) -> list[Problem]:
    """Demand that rises with the price, and conduct without an equilibrium."""
    section = scenario.demand_response
    if section is None:
        return []
    spread = elasticities(section, catalog)
    ends = [spread[name] for name in ("value", "low", "high") if spread[name] is not None]
    path = "demand_response"
    found = (
        (
            max(ends) >= 0,
            f"{path}.elasticity",
            "demand does not fall with the price",
            "write it negative, as in -1.5",
        ),
        (
            section.firms_with_saving > section.firms,
            f"{path}.firms_with_saving",
            "more firms have the saving than there are",
            f"at most {section.firms:g}",
        ),
        (
            section.conduct == "ces-cournot" and section.firms * -max(ends) <= 1.0,
            f"{path}.firms",
            "no equilibrium: firms x elasticity must exceed one over the whole range",
            "more firms, or another conduct",
        ),
        (
            section.conduct == "logit" and section.firms * section.market_share > 1.0,
            f"{path}.market_share",
            "the shares of all firms exceed the market",
            f"at most {1.0 / section.firms:.3g}",
        ),
    )
    return [
        Problem(path=path, value="", message=message, remedy=remedy)
        for wrong, path, message, remedy in found
        if wrong
    ]


def _check_sizing(scenario: Any) -> list[Problem]:
    wrong = []
    if scenario.scale.sized_by == "mw":
        key = sizing_option(scenario)
        if key in scenario.options and scenario.options[key].kind == "api":
            wrong.append(
                Problem(
                    path="scale.of",
                    value=repr(key),
                    message="tokens bought fill no megawatts",
                    remedy="name an option with a chip, or size by demand",
                )
            )
    if scenario.decision.alternative == "own":
        wrong.append(
            Problem(
                path="decision.alternative",
                value="'own'",
                message="the own chip cannot be its own alternative",
                remedy="name the option it competes with",
            )
        )
    return wrong


def _check_spans(scenario: Any) -> list[Problem]:
    """Steps that never open, anchors without an own chip, demand after the horizon."""
    wrong = []
    horizon = float(scenario.decision.horizon_years)
    start = scenario.decision.start
    first = scenario.scale.first_demand
    if first is not None and years_from(start, first) > horizon - 1.0 / QUARTERS_PER_YEAR:
        wrong.append(
            Problem(
                path="scale.first_demand",
                value=str(first),
                message=f"lies after the horizon of {horizon:g} years",
                remedy="bring it forward or lengthen decision.horizon_years",
            )
        )
    for plan in strategies(scenario, start):
        builds = any(step.option == "own" for step in plan.steps)
        for index, step in enumerate(plan.steps):
            path = f"strategy.{plan.key}.steps[{index}]"
            anchored = [edge for edge in (step.start, step.end) if isinstance(edge, str)]
            if anchored and not builds:
                wrong.append(
                    Problem(
                        path=path,
                        value=repr(anchored[0]),
                        message="a date of the own chip in a strategy without it",
                        remedy='add a step with option = "own", or write a date',
                    )
                )
            if not anchored and float(step.end) <= max(float(step.start), 0.0):
                wrong.append(
                    Problem(
                        path=path,
                        value="",
                        message="ends before it begins",
                        remedy="mend its dates",
                    )
                )
    return wrong


def _check_repeats(scenario: Any) -> list[Problem]:
    named = {
        "traffic": [one.name for one in scenario.traffic],
        "shifted": [one.name for one in scenario.shifted],
        "prior": [one.key for one in scenario.prior],
        "future": [one.key for one in scenario.future],
        "decision.dates": [one.name for one in scenario.decision.dates],
    }
    return [
        Problem(path=path, value=name, message="name used twice", remedy="rename one")
        for path, names in named.items()
        for name, count in Counter(names).items()
        if count > 1
    ]


def known_terms(scenario: Any) -> dict[str, Term]:
    """Every input a scenario can state, by dotted path."""
    out = {f"{name}.{one.name}": one for name, terms in GLOBAL_TERMS.items() for one in terms}
    for key, option in scenario.options.items():
        out |= {f"options.{key}.{one.name}": one for one in option_terms(scenario, option)}
    return out


def in_term_unit(path: str, quantity: Quantity, terms: Mapping[str, Term]) -> Quantity:
    """A quantity of a date or a future in the unit of the input it sets.

    Raises
    ------
    UnitError
        The written unit measures something else.
    """
    return in_unit(quantity, terms[path].unit if path in terms else TOSSED[path])


def _check_paths(scenario: Any) -> list[Problem]:
    """Dates and futures set inputs that exist, to values that are possible."""
    terms = known_terms(scenario)
    tossed = set(TOSSED) if "own" in scenario.options else set()
    wrong: list[Problem] = []
    for date in scenario.decision.dates:
        wrong += _check_set(f"decision.dates.{date.name}.set", date.set, terms, set())
    for future in scenario.future:
        wrong += _check_set(f"future.{future.key}.set", future.set, terms, tossed)
    return wrong


_NEEDS = (
    ("port_usd_per_release", "software.releases_per_year"),
    ("model_families", "usd_per_family_year"),
    ("usd_per_family_year", "model_families"),
    ("day0_coverage_fraction", "port_lag_months"),
    ("port_lag_months", "traffic_model_age_months"),
    ("traffic_model_age_months", "port_lag_months"),
)


def _check_software(scenario: Any) -> list[Problem]:
    """What a port costs or leaves out needs the figure that it is multiplied with."""
    wrong = []
    for key, option in scenario.options.items():
        for name, needed in _NEEDS:
            if getattr(option, name, None) is None:
                continue
            section, _, field = needed.rpartition(".")
            there = getattr(getattr(scenario, section) if section else option, field)
            if there is None:
                path = needed if section else f"options.{key}.{needed}"
                wrong.append(_missing(path, f"options.{key}.{name} needs it"))
    return wrong


def _check_drifts(scenario: Any) -> list[Problem]:
    """A drift of the price of tokens acts once; a shock needs the changes it was seen in."""
    value, wrong = scenario.value, []
    parts = stated_drifts(value)
    if parts and value.decline_per_year is not None:
        wrong.append(
            Problem(
                path="value.decline_per_year",
                value="",
                message=f"stands beside {', '.join(parts)}, which it lumps together",
                remedy="write either the whole or its parts",
            )
        )
    shocks = [f"{name}_innovation_sd" for name in PRICE_DRIFTS]
    shocks = [name for name in shocks if getattr(value, name) is not None]
    if shocks and value.observed_changes is None:
        wrong.append(_missing("value.observed_changes", f"{shocks[0]} needs it"))
    pair = ("rent_volatility_ratio", "rent_reversion_per_year")
    rents = (*pair, "rent_over_owner_cost_ratio")
    stated = [name for name in rents if getattr(scenario.market, name) is not None]
    if stated:
        absent = [name for name in pair if name not in stated]
        wrong += [_missing(f"market.{name}", f"{stated[0]} needs it") for name in absent]
    return wrong


def _check_correlations(scenario: Any) -> list[Problem]:
    """Pairs name inputs or tosses, and no pair contradicts the others."""
    tosses = UNIFORMS if "own" in scenario.options else ()
    return pair_problems(scenario.correlations, (*known_terms(scenario), *tosses))


def _check_set(
    where: str, values: Mapping[str, Quantity], terms: Mapping[str, Term], more: set[str]
) -> list[Problem]:
    wrong = []
    for path, quantity in values.items():
        if path not in terms and path not in more:
            hint = did_you_mean(nearest(path, [*terms, *more]))
            wrong.append(
                Problem(
                    path=f"{where}.{path}",
                    value="",
                    message="names no input",
                    remedy=f"did you mean {hint}?" if hint else "`tapeout show` lists all inputs",
                )
            )
            continue
        try:
            there = in_term_unit(path, quantity, terms)
        except UnitError as error:
            wrong.append(Problem(path=f"{where}.{path}", value="", message=str(error)))
            continue
        message = terms[path].wrong(_ends(there)) if path in terms else ""
        if message:
            wrong.append(Problem(path=f"{where}.{path}", value="", message=message))
    return wrong


def _ends(quantity: Quantity) -> list[float]:
    return [n for n in (quantity.low, quantity.value, quantity.high) if n is not None]


def _check_beliefs(scenario: Any) -> list[Problem]:
    """Ratios are positive, shares are shares, a claim is against a chip."""
    wrong = []
    for prior in scenario.prior:
        path = f"prior.{prior.key}"
        base = scenario.options.get(prior.baseline)
        if prior.kind == "claim" and base is not None and base.kind == "api":
            wrong.append(
                Problem(
                    path=f"{path}.baseline",
                    value=repr(prior.baseline),
                    message="tokens bought have no rated power to claim against",
                    remedy="name an option with a chip",
                )
            )
        wrong += _check_sizes(path, prior, ("ratio", "delivered"), above=0.0)
    if scenario.offtake is not None:
        shares = ("fraction", "default_fraction")
        wrong += _check_sizes("offtake", scenario.offtake, shares, most=1.0)
        wrong += _check_sizes("offtake", scenario.offtake, ("price_over_cost_ratio",))
    return wrong


def _check_sizes(
    path: str,
    section: Any,
    names: Iterable[str],
    *,
    above: float | None = None,
    most: float = float("inf"),
) -> list[Problem]:
    wrong = []
    for name in names:
        quantity = getattr(section, name)
        if quantity is None:
            continue
        ends = _ends(quantity)
        message = ""
        if above is not None and min(ends) <= above:
            message = f"must be more than {above:g}"
        elif min(ends) < 0 or max(ends) > most:
            message = "must lie between 0 and 1" if most == 1.0 else "must not be negative"
        if message:
            shown = f"{min(ends):g} to {max(ends):g}" if len(ends) > 1 else f"{ends[0]:g}"
            wrong.append(Problem(path=f"{path}.{name}", value=shown, message=message))
    return wrong


def _check_models(scenario: Any) -> list[Problem]:
    """Every class names a model that is known."""
    wrong = []
    for kind, classes in (("traffic", scenario.traffic), ("shifted", scenario.shifted)):
        for one in classes:
            if one.model == STATED:
                continue
            try:
                load_model(one.model)
            except UnknownNameError as error:
                hint = did_you_mean(error.suggestions)
                wrong.append(
                    Problem(
                        path=f"{kind}.{one.name}.model",
                        value=repr(one.model),
                        message="no such model",
                        remedy=f"did you mean {hint}?" if hint else "or the path of a config.json",
                    )
                )
    return wrong


def _check_available(scenario: Any, catalog: Catalog) -> list[Problem]:
    """Every chip that a strategy takes is sold before the horizon ends."""
    start, horizon = scenario.decision.start, scenario.decision.horizon_years
    wrong = []
    for key, option in scenario.options.items():
        if option.kind not in ("buy", "rent"):
            continue
        try:
            record = catalog.chip(option.chip)
        except UnknownNameError:
            continue  # said elsewhere
        released = option.available_from or record.release_date
        if released is not None and years_from(start, released) >= horizon:
            wrong.append(
                Problem(
                    path=f"options.{key}",
                    value=str(released),
                    message=f"{record.name} is sold only after the horizon of {horizon} years",
                    remedy="choose a chip of the time, or write available_from",
                )
            )
    return wrong
