"""Tables of the boundary: advantage and threshold, priors, what must be true, references."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tapeout.report import formats as f
from tapeout.report.content import Cell, Row, Table, Tone, cell, left, right, row
from tapeout.report.labels import input_label
from tapeout.report.reading import (
    COUNTERFACTUALS,
    input_units,
    mapping,
    option_titles,
    own_title,
    records,
)

if TYPE_CHECKING:
    from tapeout.study import Results


def advantage(results: Results) -> Table | None:
    """Delivered and required advantage against each counterfactual."""
    ship, star = mapping(results, "g_ship"), mapping(results, "g_star")
    if not ship or not star:
        return None
    lines = []
    against = mapping(results, "counterfactuals")
    for name, label in COUNTERFACTUALS.items():
        if name not in ship or name not in star:
            continue
        have, need = ship[name], star[name]
        clears = need["value"] is not None and have["p50"] >= need["value"]
        tone: Tone = "good" if clears else "bad"
        lines.append(
            row(
                str(against.get(name) or f"{results.verdict['alternative_chip']}, {label}"),
                cell(f.times(have["p50"]), note=_range(have)),
                f.times(have["usd_per_mw_ratio"]),
                f.times(have["tokens_per_mw_ratio"]),
                cell(f.times(need["value"]), note=_error(need)),
                cell("clears" if clears else "does not clear", tone),
                f.probability(have["p_pays"]),
            )
        )
    return Table(
        key="advantage",
        caption="Delivered advantage at first service, and the advantage that pays",
        columns=(
            left("against", "Against"),
            right("g_ship", "Delivers, g_ship"),
            right("usd_mw", "of which $/MW"),
            right("tokens_mw", "times tokens/MW"),
            right("g_star", "Must deliver, g*_ship"),
            left("clears", "At the median"),
            right("p", "P(pays)"),
        ),
        rows=tuple(lines),
        notes=(
            "g_ship is the own chip's tokens per dollar over the alternative's, both all in and"
            " both priced and timed at the own chip's first service; engineering and masks stay"
            " outside. Medians, so the two factors multiply to it only approximately. g*_ship is"
            " the advantage at which the expected saving over all futures is nought.",
        ),
    )


def _range(summary: dict[str, Any]) -> str:
    return f"{f.times(summary['p05'])} to {f.times(summary['p95'])}"


def _error(need: dict[str, Any]) -> str:
    if need.get("se") is None or f.missing(need["se"]):
        return "" if need.get("outcome") == "OK" else str(need.get("sentence", ""))
    return f"± {f.number(need['se'], 2)}x sampling"


def priors(results: Results) -> Table | None:
    """P(pays) under each named belief about the delivered advantage."""
    found = records(results, "priors")
    if not found:
        return None
    return Table(
        key="priors",
        caption="Probability that building pays, under each named belief",
        columns=(
            left("belief", "Belief about g_ship"),
            right("g", "Median, 5 to 95 %"),
            right("p_list", "P(pays), list price"),
            right("p_negotiated", "P(pays), negotiated"),
        ),
        rows=tuple(
            row(
                cell(prior["title"], note=prior.get("why") or ""),
                cell(f.times(prior["g"]["p50"]), note=_range(prior["g"])),
                f.probability(prior["p_pays"]),
                f.probability(prior["p_pays_negotiated"]),
            )
            for prior in found
        ),
        notes=("Probabilities to one digit: they are mostly the belief that goes in.",),
    )


def threshold_phrase(entry: dict[str, Any], unit: str) -> str:
    """For which values of one input building pays, in words."""
    if entry["never_pays"] or (entry.get("threshold") is None and not entry["pays_throughout"]):
        return "never within range"
    if entry["pays_throughout"]:
        return "pays throughout range"
    if unit == "yes/no":
        return f"pays only if {f.yes_no(entry['pays'] == 'above')}"
    return f"pays {entry['pays']} {f.quantity(entry['threshold'], unit)}"


def must_be_true(results: Results) -> Table | None:
    """Threshold of each strong input, the rest at their centres."""
    found = records(results, "must_be_true")
    if not found:
        return None
    units, titles = input_units(results), option_titles(results)

    def line(entry: dict[str, Any]) -> Row:
        unit = units.get(entry["path"], "")
        phrase = threshold_phrase(entry, unit)
        tone: Tone = "muted" if phrase.startswith("never") else "best"
        return row(
            input_label(entry["path"], titles),
            f.quantity(entry["central"], unit),
            cell(phrase, tone),
            f.span(entry["searched_low"], entry["searched_high"], unit),
        )

    ordered = sorted(found, key=lambda entry: bool(entry["never_pays"]))
    return Table(
        key="must_be_true",
        caption="What must be true: one input at a time, the others at their centres",
        columns=(
            left("input", "Input"),
            right("central", "Central"),
            left("threshold", "Building pays"),
            right("searched", "Range searched"),
        ),
        rows=tuple(line(entry) for entry in ordered),
    )


_COMPARE_UNITS = (
    ("usd_per_chip_hour", "USD/chip-hour"),
    ("lcot_usd_per_mtok", "USD/Mtok"),
    ("chip_price_usd", "USD/chip"),
    ("usd_bn_per_gw", "USD bn/GW"),
    ("tokens_per_day", "tokens/day"),
    ("allin_w", "W"),
)


def _compare_unit(name: str) -> str:
    if name.startswith("g_ship"):
        return "ratio"
    return next((unit for tail, unit in _COMPARE_UNITS if name.endswith(tail)), "")


def _compared(value: float | None, unit: str) -> str:
    if unit == "USD bn/GW":
        return f.NONE if value is None or f.missing(value) else f"${f.number(value)} bn a GW"
    if unit == "tokens/day":
        return f"{f.tokens(value)} tokens a day"
    return f.quantity(value, unit)


def _compared_span(low: float, high: float, unit: str) -> str:
    if unit == "USD bn/GW":
        return f"${f.short(low)} to {f.short(high)} bn a GW"
    if unit == "tokens/day":
        return f"{f.tokens(low)} to {f.tokens(high)} a day"
    return f.span(low, high, unit)


def _theirs(reference: dict[str, Any], unit: str) -> Cell:
    low, high = reference.get("theirs_low"), reference.get("theirs_high")
    note = "" if low is None or high is None else _compared_span(low, high, unit)
    return cell(_compared(reference["theirs"], unit), note=note)


def references(results: Results) -> Table | None:
    """Prices and powers of others beside ours."""
    found = [one for one in records(results, "references") if not _of_demand(one)]
    return _beside("references", "Figures of others beside ours, central case", found)


def demand(results: Results) -> Table | None:
    """Demand that others report beside what the fleet of the scenario would serve."""
    found = [one for one in records(results, "references") if _of_demand(one)]
    return _beside("demand", "Demand reported, beside what the fleet studied here serves", found)


def _of_demand(reference: dict[str, Any]) -> bool:
    return str(reference["compare"]).startswith("scale.")


def _beside(key: str, caption: str, found: list[dict[str, Any]]) -> Table | None:
    if not found:
        return None
    lines = []
    for one in found:
        unit = _compare_unit(str(one["compare"]))
        lines.append(
            row(
                cell(one["title"], note=one.get("why") or ""),
                _compared(one["ours"], unit),
                _theirs(one, unit),
                f.times(one["ratio"]),
                Cell(text=one.get("source") or f.NONE, href=one.get("source_url") or ""),
            )
        )
    return Table(
        key=key,
        caption=caption,
        columns=(
            left("what", "Figure"),
            right("ours", "Ours"),
            right("theirs", "Theirs"),
            right("ratio", "Ours over theirs"),
            left("source", "Source"),
        ),
        rows=tuple(lines),
    )


def today(results: Results) -> Table | None:
    """The own chip against each bought chip as it is sold at present."""
    found = records(results, "advantage_over_bought")
    if not found:
        return None
    return Table(
        key="advantage_over_bought",
        caption=f"{own_title(results)} at its first service against chips as sold at present",
        columns=(
            left("chip", "Against"),
            right("ratio", "Tokens per dollar"),
            right("usd_mw", "of which $/MW"),
            right("tokens_mw", "times tokens/MW"),
        ),
        rows=tuple(
            row(
                one["title"],
                f.times(one["ratio"]),
                f.times(one["usd_per_mw_ratio"]),
                f.times(one["tokens_per_mw_ratio"]),
            )
            for one in found
        ),
        notes=(
            "Central case. Not g_ship: here the rival stands still while the own chip is finished.",
        ),
    )


def steps(results: Results, key: str, caption: str) -> Table | None:
    """A chain of named factors, where the study gives one (`triangulation`, `reconciliation`).

    Each entry has `title` and any of `value`, `unit`, `low`, `high`, `factor`, `why`, `source`,
    `source_url`.
    """
    found = records(results, key)
    if not found:
        return None
    lines = []
    for one in found:
        unit = str(one.get("unit") or "")
        low, high = one.get("low"), one.get("high")
        note = "" if low is None or high is None else _compared_span(low, high, unit)
        lines.append(
            row(
                cell(str(one.get("title", "")), note=one.get("why") or ""),
                cell(_compared(one.get("value"), unit), note=note),
                f.times(one.get("factor")),
                Cell(text=one.get("source") or f.NONE, href=one.get("source_url") or ""),
            )
        )
    return Table(
        key=key,
        caption=caption,
        columns=(
            left("what", "Step"),
            right("value", "Value"),
            right("factor", "Factor"),
            left("source", "Source"),
        ),
        rows=tuple(lines),
    )
