"""The page's parts in order; one that does not apply is left out whole."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from tapeout.report import formats as f
from tapeout.report import headline
from tapeout.report.charts import breakeven, cash, margin, ranges
from tapeout.report.charts.information import information_chart
from tapeout.report.charts.tornado import tornado_chart
from tapeout.report.content import Block, Bullets, Fold, Pair, Prose, Section
from tapeout.report.reading import COUNTERFACTUALS, builds, mapping, records, subjects
from tapeout.report.tables import (
    boundary,
    capacity,
    demand,
    information,
    inputs,
    money,
    options,
    programme,
    rights,
    strategies,
    supply,
)

if TYPE_CHECKING:
    from tapeout.study import Results


def blocks(*made: Block | None) -> tuple[Block, ...]:
    """Those that exist."""
    return tuple(one for one in made if one is not None)


def section(key: str, title: str, made: Iterable[Block | None], lead: str = "") -> Section | None:
    """A section, unless it would be empty."""
    found = blocks(*made)
    return Section(key=key, title=title, lead=lead, blocks=found) if found else None


def fold(summary: str, *made: Block | None) -> Fold | None:
    """Blocks that open on demand, unless there are none."""
    found = blocks(*made)
    return Fold(summary=summary, blocks=found) if found else None


def pair(*made: Block | None) -> Block | None:
    """Blocks side by side; one alone stands alone."""
    found = blocks(*made)
    if len(found) > 1:
        return Pair(blocks=found)
    return next(iter(found), None)


def sections(results: Results) -> tuple[Section, ...]:
    """All parts that apply, in reading order."""
    made = [
        _prices(results),
        _conditions(results),
        _options(results),
        _boundary(results),
        _strategies(results),
        _demand(results),
        _supply(results),
        _cash(results),
        _rights(results),
        _savings(results),
        _sensitivity(results),
        _dates(results),
        _roadmap(results),
        _calendar(results),
        _units(results),
        _regret(results),
        _capacity(results),
        _inputs(results),
        _reading(results),
        _omitted(results),
        _changes(results),
    ]
    return tuple(one for one in made if one is not None)


def _prices(results: Results) -> Section | None:
    return section(
        "prices",
        "Prices triangulated, demand reconciled",
        (
            boundary.steps(results, "triangulation", "From the reported price to a price per chip"),
            boundary.references(results),
            boundary.demand(results),
            boundary.steps(
                results, "reconciliation", "Demand reported, and the demand assumed here"
            ),
        ),
        "Our central figures beside those that others have published, and why they differ.",
    )


def _conditions(results: Results) -> Section | None:
    found = records(results, "must_be_true")
    if not found:
        return None
    flips = [one for one in found if not one["never_pays"] and not one["pays_throughout"]]
    pays = "pays" if found[0]["pays_at_centre"] else "does not pay"
    lead = (
        f"In the central case building {pays}; {len(flips)} of the {len(found)} strongest inputs"
        " can, alone, change that within the range searched."
    )
    return section("conditions", "What must be true", (boundary.must_be_true(results),), lead)


def _options(results: Results) -> Section | None:
    return section(
        "options",
        "What a token costs",
        (ranges.lcot(results), fold("The same in figures", options.lcot(results))),
        "Levelised cost per million output tokens, everything included but engineering and masks.",
    )


def _boundary(results: Results) -> Section | None:
    if not builds(results):
        return None
    others = [breakeven.break_even(results, name) for name in COUNTERFACTUALS if name != "list"]
    nowhere = breakeven.nowhere(results)
    return section(
        "boundary",
        "The boundary, and where beliefs put the chip",
        (
            boundary.advantage(results),
            breakeven.break_even(results),
            Prose(paragraphs=(nowhere,)) if nowhere else None,
            fold("The same map against negotiated prices and rented capacity", *others),
            ranges.beliefs(results),
            boundary.priors(results),
            fold("Against chips as they are sold today", boundary.today(results)),
        ),
    )


def _strategies(results: Results) -> Section | None:
    return section(
        "strategies",
        "Strategies under both objectives",
        (
            pair(ranges.strategy_cost(results), ranges.strategy_contribution(results)),
            strategies.ranking(results),
        ),
        str(mapping(results, "sentences").get("objectives", "")),
    )


def _demand(results: Results) -> Section | None:
    return section(
        "demand",
        "What users do with cheaper tokens",
        (demand.response(results), fold("Gained and lost", demand.lines(results))),
        "A saving that reaches the price brings demand; price, demand and cost are those at which"
        " all three stand still.",
    )


def _supply(results: Results) -> Section | None:
    return section(
        "supply",
        "What is scarce, and what one more is worth",
        (supply.shadow_prices(results),),
        "Options draw on the same memory, wafers, power: who is served first draws first.",
    )


def _rights(results: Results) -> Section | None:
    return section(
        "rights",
        "What may still be decided, and who is large enough",
        (rights.ladder(results), rights.scale(results)),
        "A programme is a row of decisions. Its worth with the right to stop is not that of a"
        " promise to go to volume.",
    )


def _cash(results: Results) -> Section | None:
    headline_strategy = str(results.verdict.get("headline_strategy", ""))
    line_table = options.lines(results, headline_strategy)
    books = money.books(results, headline_strategy)
    return section(
        "cash",
        "Cash, payback and funding",
        (
            cash.cash_fan(results),
            strategies.payback(results),
            money.measures(results),
            fold("Cost lines of the headline strategy", line_table),
            fold("Profit, cash, balance and commitments of the headline strategy", books),
        ),
    )


def _savings(results: Results) -> Section | None:
    return section(
        "savings",
        "Who keeps the savings",
        (
            pair(margin.waterfall(results), options.waterfall(results)),
            margin.stacks(results),
            fold("Every option by holder, in figures", options.stack(results)),
        ),
        "Every dollar of a token's cost is somebody's income.",
    )


def _sensitivity(results: Results) -> Section | None:
    return section(
        "sensitivity",
        "What to find out first, and what moves the answer",
        (
            pair(information_chart(results), tornado_chart(results)),
            information.first(results),
            fold("The tornado in figures", inputs.strongest(results)),
            fold("Shares of the variance", information.shares(results)),
        ),
        "Left: what it is worth to know before deciding. Right: what the saving swings by."
        " An input may move the saving far and still not change which strategy is best."
        if subjects(results, 1)
        else "",
    )


def _dates(results: Results) -> Section | None:
    return section(
        "dates",
        "Decision dates and the three worlds",
        (programme.dates(results), programme.worlds(results)),
        "What is sunk at one date was avoidable at an earlier one." if builds(results) else "",
    )


def _roadmap(results: Results) -> Section | None:
    return section("roadmap", "One chip or a roadmap", (programme.roadmaps(results),))


def _calendar(results: Results) -> Section | None:
    return section(
        "calendar",
        "Calendar of commitments",
        (programme.calendar(results), programme.offtake(results), programme.installed(results)),
    )


def _units(results: Results) -> Section | None:
    return section("units", "Units needed", (strategies.units(results),))


def _regret(results: Results) -> Section | None:
    return section("regret", "Regret by named future", (strategies.regret(results),))


def _capacity(results: Results) -> Section | None:
    found = capacity.capacity(results)
    return section(
        "capacity",
        "What each chip serves",
        (*found[:1], fold("Other workloads", *found[1:])),
        "Steady state: the largest batch that fits memory and meets the service level.",
    )


def _inputs(results: Results) -> Section | None:
    old = inputs.stale(results)
    ledger = inputs.ledger(results)
    lead = (
        f"{f.integer(ledger.total)} inputs: {inputs.counts_sentence(results)}."
        f" {f.integer(old)} of the sourced figures are older than {inputs.OLD_DAYS} days at the"
        " release of the catalogue."
    )
    return section("inputs", "Every input, with source and status", (ledger,), lead)


def _reading(results: Results) -> Section | None:
    return section("reading", "How to read this", (Bullets(items=headline.reading_guide(results)),))


def _omitted(results: Results) -> Section | None:
    from_model = tuple(_text(one) for one in records(results, "left_out"))
    from_run = tuple(str(text) for text in records(results, "omitted"))
    return section(
        "omitted",
        "What is left out",
        (
            Bullets(items=from_model, heading="By the model") if from_model else None,
            Bullets(items=from_run, heading="For want of a figure") if from_run else None,
            None if from_model or from_run else Prose(paragraphs=("Nothing is named.",)),
        ),
    )


def _text(entry: object) -> str:
    """A text, or a mapping with `what` and `why`."""
    if isinstance(entry, dict):
        return ": ".join(str(entry[key]) for key in ("what", "why") if entry.get(key))
    return str(entry)


def _changes(results: Results) -> Section | None:
    found = headline.changes(results)
    return section(
        "changes", "What would change the answer", (Bullets(items=found) if found else None,)
    )
