"""Verdict, key figures and the plain sentences around them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tapeout.constants import PERCENT
from tapeout.report import formats as f
from tapeout.report.content import Card, Tone
from tapeout.report.labels import input_label
from tapeout.report.reading import (
    COUNTERFACTUALS,
    builds,
    input_units,
    mapping,
    option_titles,
    own_title,
    records,
    tornado,
)
from tapeout.report.tables.boundary import threshold_phrase
from tapeout.report.tables.inputs import counts_sentence, strongest_assumptions

if TYPE_CHECKING:
    from tapeout.study import Results

_MOVERS = 5
_ORDER = ("answer", "objectives", "today", "hinge")


def verdict_sentences(results: Results) -> tuple[str, tuple[str, ...]]:
    """Headline, then what qualifies it; the headline of a study without a chip is its answer."""
    found = mapping(results, "sentences")
    headline = str(found.get("headline") or found.get("answer") or "")
    keys = [*_ORDER, *sorted(set(found) - {*_ORDER, "headline"})]
    rest = [str(found[key]) for key in keys if found.get(key)]
    return headline, tuple(text for text in rest if text != headline)


def cards(results: Results) -> tuple[Card, ...]:
    """Key figures; those of the own chip where there is one."""
    made = [
        _delivered(results),
        _required(results),
        _probability(results),
        _service(results),
        *([] if builds(results) else [_cheapest(results), _earns(results), _sure(results)]),
    ]
    return tuple(card for card in made if card is not None)


def _delivered(results: Results) -> Card | None:
    have = mapping(results, "g_ship").get("list")
    if not have:
        return None
    return Card(
        label="Delivered advantage, g_ship",
        value=f.times(have["p50"]),
        detail=f"{own_title(results)}, {f.times(have['p05'])} to {f.times(have['p95'])}",
        rows=(
            ("$/MW, alternative over own", f.times(have["usd_per_mw_ratio"])),
            ("times tokens/MW, own over alternative", f.times(have["tokens_per_mw_ratio"])),
        ),
    )


def _required(results: Results) -> Card | None:
    star = mapping(results, "g_star")
    if "list" not in star:
        return None
    need, have = star["list"]["value"], mapping(results, "g_ship").get("list", {}).get("p50")
    tone: Tone = "good" if need is not None and have is not None and have >= need else "bad"
    return Card(
        label="Required advantage, g*_ship",
        value=f.times(need) if need is not None else "no value",
        detail="against the list price",
        rows=tuple(
            (f"against {COUNTERFACTUALS[name]}", _needed(star[name]["value"]))
            for name in ("negotiated", "rented")
            if name in star
        ),
        tone=tone,
    )


def _needed(value: float | None) -> str:
    return "none pays" if value is None else f.times(value)


def _probability(results: Results) -> Card | None:
    found = records(results, "priors")
    if not found:
        return None
    low, high = min(p["p_pays"] for p in found), max(p["p_pays"] for p in found)
    ends = (f.probability(low), f.probability(high))
    return Card(
        label="P(pays), by belief",
        value=ends[0] if ends[0] == ends[1] else f"{ends[0]} to {ends[1]}",
        rows=tuple((p["title"], f.probability(p["p_pays"])) for p in found),
    )


def _service(results: Results) -> Card | None:
    after = mapping(results, "first_service_years")
    if not after:
        return None
    start = str(results.verdict["start"])
    life = results.verdict.get("life_years")
    return Card(
        label="First service",
        value=f.quarter_after(start, after["p50"]),
        detail=(
            f"{f.quarter_after(start, after['p05'])} to {f.quarter_after(start, after['p95'])}"
        ),
        rows=(
            ("decision", f.day(start)),
            ("service life", f.years(life)),
            ("horizon", f.years(float(results.verdict["horizon_years"]))),
        ),
    )


def _cheapest(results: Results) -> Card | None:
    found = records(results, "ranking")
    if not found:
        return None
    return Card(
        label="Costs least",
        value=f.usd(found[0]["mean_usd"]),
        detail=str(found[0]["title"]),
        rows=tuple((one["title"], f.usd(one["mean_usd"])) for one in found[1:4]),
    )


def _earns(results: Results) -> Card | None:
    found = records(results, "contribution_ranking")
    if not found:
        return None
    return Card(
        label="Earns most",
        value=f.usd(found[0]["mean_usd"]),
        detail=str(found[0]["title"]),
        rows=tuple((one["title"], f.usd(one["mean_usd"])) for one in found[1:4]),
    )


def _sure(results: Results) -> Card | None:
    found = records(results, "ranking")
    if not found:
        return None
    return Card(
        label="P(cheapest)",
        value=f.probability(found[0]["p_cheapest"]),
        detail=str(found[0]["title"]),
        rows=tuple((one["title"], f.probability(one["p_cheapest"])) for one in found[1:4]),
    )


def reading_guide(results: Results) -> tuple[str, ...]:
    """How to read the page, in plain words."""
    draws = mapping(results, "sampling").get("draws")
    texts = [
        "The result holds if the listed inputs hold. It is no forecast of a company.",
        (
            "Ranges run from the 5 % to the 95 % point of"
            f" {f.integer(draws)} joint futures unless they say otherwise; money is nominal USD,"
            f" discounted to {f.day(str(results.verdict['start']))}."
        ),
    ]
    if builds(results):
        texts += [
            (
                "The answer is a boundary. Read how far your own belief about the delivered"
                " advantage lies from it; the probability of paying is mostly that belief, so it"
                " is given to one digit under each named one."
            ),
            (
                "The rival does not stand still: the chip is compared with what is on sale when it"
                " first serves, at list, negotiated and rented prices, always apart."
            ),
            "A maker's claim counts as a claim: it enters as a named belief, also deflated.",
            (
                "Two facts would overturn the picture for everybody else: a chip from outside the"
                " largest clouds that wins independent benchmarks and displaces GPUs in"
                " production, and workloads that leave transformers within two years."
            ),
        ]
    texts.append(
        f"Inputs: {counts_sentence(results)}. Every one is listed with its source or reason;"
        " `tapeout show SCENARIO verdict` gives each figure's formula and the inputs that move it."
    )
    return tuple(texts)


def changes(results: Results) -> tuple[str, ...]:
    """What would change the answer, strongest first."""
    units, titles = input_units(results), option_titles(results)
    out = []
    for one in records(results, "must_be_true"):
        if one["never_pays"] or one["pays_throughout"] or one.get("threshold") is None:
            continue
        unit = units.get(one["path"], "")
        out.append(
            f"{input_label(one['path'], titles)}: {threshold_phrase(one, unit)}, against"
            f" {f.quantity(one['central'], unit)} in the central case."
        )
    named = {one["path"] for one in records(results, "must_be_true") if not one["never_pays"]}
    for one in tornado(results, _MOVERS):
        if one["path"] in named:
            continue
        out.append(
            f"{input_label(one['path'], titles)}, {f.span(one['low'], one['high'], one['unit'])}:"
            f" moves the headline's saving by {f.usd(one['swing_usd'])}, not enough alone."
            if one["at_low_usd"] * one["at_high_usd"] > 0
            else f"{input_label(one['path'], titles)},"
            f" {f.span(one['low'], one['high'], one['unit'])}: changes the sign within its range."
        )
    assumed = strongest_assumptions(results)
    if assumed:
        out.append(f"The assumptions with the largest effect: {'; '.join(assumed)}.")
    return tuple(out)


def error_phrases(results: Results) -> tuple[str, ...]:
    """Sampling errors of the figures that lead."""
    out = []
    for name, one in mapping(results, "g_star").items():
        if one.get("se") is not None and not f.missing(one["se"]):
            against = COUNTERFACTUALS.get(name, name)
            out.append(f"g*_ship against {against} ± {f.number(one['se'], 2)}")
    have = mapping(results, "g_ship").get("list", {})
    if have.get("se") is not None:
        out.append(f"mean g_ship ± {f.number(have['se'], 2)}")
    sampled = mapping(results, "sampling")
    if sampled.get("p_pays_se") is not None:
        out.append(f"P(pays) at it ± {f.number(sampled['p_pays_se'], 2)}")
    saving = mapping(results, "saving")
    if saving.get("se") is not None:
        share = sampled.get("npv_se_fraction")
        of = "" if share is None else f" ({f.number(share / PERCENT, 2)} % of the baseline's cost)"
        out.append(f"mean saving of the headline ± {f.usd(saving['se'])}{of}")
    return tuple(out)
