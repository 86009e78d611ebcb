"""The verdict in words. Every number in a sentence comes from the results; none is typed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from tapeout.constants import GIGA, MEGA, TERA

_TENTH = 10
_SERVES_ALL = 0.995

FIXED_DEMAND = "What users do with cheaper tokens: demand does not react to the price."
LEFT_OUT = (
    "Taxes, depreciation for tax, and the financing structure: flows are before tax and unlevered;"
    " depreciation is a memo line.",
    "Supply ceilings of memory, packages, wafers and racks, except where a scenario states one.",
    "Queueing second by second: capacity is a steady state at the service levels, not a simulated"
    " day; routing, failover and autoscaling are not in it.",
    "Speculative decoding and cache offload: every chip serves without them.",
    "A blind test of serving times: their constants were fitted to one part of the measurements and"
    " their form chosen on it, but after a first form for which all had been in view, so the bands"
    " may be too narrow.",
    "Software gains of merchant stacks after the decision, beyond those in a rival generation.",
    "Real options: a programme is cancelled by lot, not by an optimal rule at each stage.",
    "The best portfolio: strategies are compared as given, no mix is optimised.",
    "One chip, not a roadmap: no second generation of the own chip; the alternative follows it.",
    "Early retirement: chips serve out their lives even where a newcomer would be cheaper to run.",
    "Lead times and ramps of bought and rented capacity, except where a scenario states them:"
    " successors are to be had in volume on the day they are first sold.",
    "Electricity by the operation: a site draws a fixed share of its provisioned power when busy;"
    " simulated joules are shown, not billed.",
    "Supplier loss, export rules and counterparty default, except the default of an offtaker.",
    "Correlations, between rents of different silicon for one, other than that of slip with"
    " delivered performance and what options share: a chip, a market drift, the price of parts.",
    FIXED_DEMAND,
    "The information set of an earlier decision date: today's prices and chips are used there.",
)


def one_digit(p: float) -> str:
    """A probability to one digit, never 0 or 1."""
    tenth = round(p * _TENTH)
    if tenth == 0:
        return "under 0.1"
    if tenth == _TENTH:
        return "over 0.9"
    return f"{tenth / _TENTH:.1f}"


def usd(value: float) -> str:
    """An amount with its sign, to three digits."""
    sign = "-" if value < 0 else ""
    return f"{sign}${in_words(abs(value), bn='bn', m='M')}"


def in_words(value: float, *, bn: str = "billion", m: str = "million") -> str:
    """A large number to three digits."""
    for size, word in ((TERA, "trillion"), (GIGA, bn), (MEGA, m)):
        if value >= size:
            return f"{_three_digits(value / size)} {word}"
    return _three_digits(value)


def _three_digits(value: float) -> str:
    decimals = max(0, 2 - math.floor(math.log10(value))) if value > 0 else 0
    return f"{value:,.{decimals}f}"


def sentences(facts: Mapping[str, Any]) -> dict[str, str]:
    """Headline, answer and qualifications from the facts of a study.

    Parameters
    ----------
    facts : mapping
        The verdict's own figures: titles, g_star, g_ship, priors, ranking, objectives.

    Returns
    -------
    dict
        `headline` (boundary, baseline, life and scope in one sentence), `answer` (what to do),
        `objectives` (whether both objectives agree), `hinge` (assumed prices the answer rests on);
        `funding` where the scenario limits it.
    """
    out = {"answer": _answer(facts), "objectives": _objectives(facts), "hinge": _hinge(facts)}
    if "funding_limit_usd" in facts["finance"]:
        out["funding"] = _funding(facts)
    boundary = _headline(facts) if facts["builds"] else out["answer"]
    out["headline"] = _disagreement(facts) + boundary
    if facts["builds"]:
        out["today"] = _today(facts)
    return out


def _funding(facts: Mapping[str, Any]) -> str:
    """Strategies that need more from their owners than there is, and the best that does not."""
    limit = usd(facts["finance"]["funding_limit_usd"])
    over = [row for row in facts["measures"] if not row["within_funding_limit"]]
    if not over:
        return f"Every strategy stays within the funding limit of {limit} in the central case."
    shut = {row["strategy"] for row in over}
    named = "; ".join(
        f"{row['title']} needs {usd(row['cash_need_usd'])} and runs out in"
        f" {_quarter_after(facts['start'], row['unfunded_quarter'])}"
        for row in over
    )
    left = [row["title"] for row in facts["ranking"] if row["strategy"] not in shut]
    best = f"the cheapest that stays within it is {left[0]}" if left else "none stays within it"
    return f"In the central case the funding limit of {limit} is passed: {named}; {best}."


def _quarter_after(start: str, quarter: int) -> str:
    """The quarter counted from the decision, by the month it begins in, as in 2028-06."""
    year, month = int(start[:4]), int(start[5:7]) - 1 + 3 * quarter
    return f"the quarter from {year + month // 12}-{month % 12 + 1:02d}"


def _disagreement(facts: Mapping[str, Any]) -> str:
    """Clause that opens the verdict where the two objectives point to different strategies."""
    cost, contribution = facts["ranking"][0], facts["contribution_ranking"][0]
    if cost["strategy"] == contribution["strategy"]:
        return ""
    return (
        f"The two objectives disagree ({cost['title']} costs least,"
        f" {contribution['title']} earns most). "
    )


def _today(facts: Mapping[str, Any]) -> str:
    """Own tokens per dollar against bought chips as they are sold now, simulated and claimed."""
    rows = facts["advantage_over_bought"]
    if not rows:
        return ""
    need = facts["g_star"]["list"]["value"]
    bar = "" if need is None or not math.isfinite(need) else f", where {need:.2f}x is needed"
    text = (
        "At first service, against chips as they are sold on the day of the decision, the own chip"
        f" gives {_against(rows, 1.0)} in tokens per dollar{bar}"
    )
    claims = [prior for prior in facts["priors"] if prior["kind"] == "claim"]
    if claims:
        lift = claims[0]["g"]["p50"] / facts["g_ship"]["list"]["p50"]
        text += f"; on {_lower_first(claims[0]['title'])} {_against(rows, lift)}"
    return f"{text}. What it must beat is the generation on sale by then."


def _against(rows: list[dict[str, Any]], lift: float) -> str:
    return " and ".join(f"{row['ratio'] * lift:.2f}x that of {row['title']}" for row in rows)


def _lower_first(text: str) -> str:
    return text[:1].lower() + text[1:]


def _answer(facts: Mapping[str, Any]) -> str:
    order = facts["ranking"]
    best = order[0]
    assumed = ", at a price nobody publishes and assumed here" if best["price_assumed"] else ""
    text = (
        f"Cheapest over {span_years(facts['horizon_years'])} in expectation: {best['title']},"
        f" {usd(best['mean_usd'])}{assumed}"
    )
    if len(order) > 1:
        text += f", against {usd(order[1]['mean_usd'])} for {order[1]['title']}"
    text += f"; it is the cheapest in {one_digit(best['p_cheapest'])} of the futures."
    text += _short_of(order)
    often = max(order, key=lambda row: float(row["p_cheapest"]))
    if often is not best:
        text += (
            f" {often['title']} is the cheapest most often"
            f" ({one_digit(often['p_cheapest'])}), but dearer on average."
        )
    return text


def _short_of(order: list[dict[str, Any]]) -> str:
    """Name strategies that leave demand unserved; what is not served is charged at its value."""
    short = [
        f"{row['title']} serves {row['served_fraction']:.0%}"
        for row in order
        if row["served_fraction"] < _SERVES_ALL
    ]
    return f" Not all serve the demand: {', '.join(short)} of it." if short else ""


def span_years(years: int) -> str:
    """A span, as in "one year" or "10 years"."""
    return "one year" if years == 1 else f"{years} years"


def _headline(facts: Mapping[str, Any]) -> str:
    need = facts["g_star"]["list"]["value"]
    terms = f"{facts['life_years']:.0f}-year life, {facts['scope']}"
    if need is None or not math.isfinite(need):
        return (
            f"In expectation building does not beat the baseline ({facts['baseline_title']}) at"
            " any delivered advantage: what it saves does not cover the programme and what must"
            f" be had beside it ({terms})."
        )
    have = facts["g_ship"]["list"]
    clears = "clears" if have["p50"] >= need else "does not clear"
    return (
        f"In expectation building beats the baseline ({facts['baseline_title']}) only if the"
        f" chip, all in, delivers at least {need:.2f}x the tokens per dollar of what is sold when"
        f" it ships, {facts['alternative_chip']} or, in {one_digit(facts['successor_share'])} of"
        f" the futures, its successor ({terms});"
        f" {_source_of_rate(facts)} delivers {have['p50']:.2f}x ({have['p05']:.2f} to"
        f" {have['p95']:.2f}) and {clears} it.{_claim(facts, need)}"
    )


def _source_of_rate(facts: Mapping[str, Any]) -> str:
    return (
        "the chip, at its stated rate,"
        if facts["own_rate_stated"]
        else ("the published chip, simulated,")
    )


def _claim(facts: Mapping[str, Any], need: float) -> str:
    """What the maker's claim amounts to, against the same bar."""
    claims = [prior for prior in facts["priors"] if prior["kind"] == "claim"]
    if not claims:
        return ""
    word = claims[0]
    verb = "clears" if word["g"]["p50"] >= need else "does not clear"
    return f" {word['title']} amounts to {word['g']['p50']:.2f}x and {verb} it."


def _objectives(facts: Mapping[str, Any]) -> str:
    within = " within the site" if facts["site_limited"] else " on it"
    cost, contribution = facts["ranking"][0], facts["contribution_ranking"][0]
    if cost["strategy"] == contribution["strategy"]:
        return (
            f"Both objectives agree: {cost['title']} serves the given demand at least cost and"
            f" earns most{within}."
        )
    return (
        f"The two objectives disagree: {cost['title']} serves the given demand at least cost, but"
        f" {contribution['title']} earns most{within}"
        f" ({usd(contribution['mean_usd'])} over the horizon)."
    )


def _hinge(facts: Mapping[str, Any]) -> str:
    if not facts["assumed_prices"]:
        return "The price of every option is published; other inputs are assumed where marked."
    names = ", ".join(facts["assumed_prices"])
    return (
        f"Prices that no source publishes and that are built or assumed here: {names}. Without"
        f" these options the order begins with {facts['best_without_assumed']}."
    )
