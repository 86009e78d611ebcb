"""Tables of the programme: decision dates, worlds, calendar of commitments, offtake."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tapeout.report import formats as f
from tapeout.report.content import Cell, Table, Tone, cell, left, right, row
from tapeout.report.reading import mapping, records
from tapeout.report.rounding import parts

if TYPE_CHECKING:
    from tapeout.study import Results


def _signed(value: float, factor: float, places: int, suffix: str) -> Cell:
    tone: Tone = "good" if value > 0 else "bad" if value < 0 else ""
    return cell(f"{f.usd_fixed(value * factor, factor, places)}{suffix}", tone)


def dates(results: Results) -> Table | None:
    """The same question at each decision date."""
    found = records(results, "dates")
    if not found:
        return None
    if "whole_usd" not in found[0]:
        if len(found) == 1:
            return None
        return Table(
            key="dates",
            caption="Cheapest strategy in expectation, by decision date",
            columns=(left("date", "Date"), left("cheapest", "Cheapest")),
            rows=tuple(
                row(cell(f.day(one["date"]), note=one["title"]), one["cheapest"]) for one in found
            ),
            stacks=False,
        )
    factor, suffix = f.money_scale(max(abs(one["whole_usd"]) for one in found))
    places = f.decimals(max(abs(one["whole_usd"]) for one in found) / factor)
    lines = []
    for one in found:
        leverage, volume = parts(
            [one["leverage_usd"] / factor, one["volume_usd"] / factor],
            places,
            total=round(one["whole_usd"] / factor, places),
        )
        lines.append(
            row(
                cell(one["title"], note=f.day(one["date"])),
                f.usd(one["fixed_usd"]),
                cell(
                    f.times(one["g_ship"]["p50"]),
                    note=f"{f.times(one['g_ship']['p05'])} to {f.times(one['g_ship']['p95'])}",
                ),
                f.times(one["g_star"]),
                f.probability(one["p_pays"]),
                _signed(leverage, factor, places, suffix),
                _signed(volume, factor, places, suffix),
                _signed(round(leverage + volume, places), factor, places, suffix),
                one["cheapest"],
            )
        )
    return Table(
        key="dates",
        caption="The same question at each decision date",
        columns=(
            left("date", "Decision"),
            right("fixed", "Still avoidable, fixed"),
            right("g_ship", "g_ship"),
            right("g_star", "g*_ship"),
            right("p", "P(pays)"),
            right("leverage", "Leverage"),
            right("volume", "Volume"),
            right("whole", "Whole programme"),
            left("cheapest", "Cheapest strategy"),
        ),
        rows=tuple(lines),
        notes=(
            "What was spent before a date is sunk there, and each date discounts to itself."
            " Leverage and volume add up to the whole as printed.",
        ),
    )


def roadmaps(results: Results) -> Table | None:
    """One chip, every other generation and full cadence side by side."""
    found = records(results, "roadmap")
    if not found:
        return None
    ship = mapping(results, "g_ship")["list"]["p50"]
    lines = [
        row(
            cell(one["title"], note=_served(one["first_service_years"])),
            f.integer(one["chips"]),
            f.usd(one["programme_usd"]),
            f.usd(one["central_saving_usd"]),
            cell(f.usd(one["saving"]["mean"]), "best" if one["best"] else ""),
            f.usd_span(one["saving"]["p05"], one["saving"]["p95"]),
            f.times(one["g_star"]),
            f.probability(one["p_pays"]),
        )
        for one in found
    ]
    return Table(
        key="roadmaps",
        caption="One chip or a roadmap: what each saves over the baseline",
        columns=(
            left("roadmap", "Roadmap"),
            right("chips", "Own chips"),
            right("programme", "Programme cost"),
            right("central", "Saving, central case"),
            right("saving", "Expected saving"),
            right("range", "5 to 95 %"),
            right("g_star", "g*_ship"),
            right("p", "P(pays)"),
        ),
        rows=tuple(lines),
        notes=(
            f"The first chip gives {f.times(ship)} whatever follows it; g*_ship is what it must"
            " give for the whole programme to break even, all its chips scaled alike."
            " The rival's generations move beside every row.",
        ),
    )


def _served(years: list[float]) -> str:
    """Years after the decision in which the chips of the central case first serve."""
    return "first service after " + ", ".join(f"{one:.1f}" for one in years) + " years"


_WORLDS = (
    ("A", "A: no programme", "prices without a threat"),
    ("B", "B: programme kept until it is credible", "negotiated prices, no volume"),
    ("C", "C: programme to volume", "own chips, the rest bought at negotiated prices"),
)
_STEPS = (
    ("leverage", "A less B: value of the leverage", "A", "B"),
    ("volume", "B less C: value of going to volume", "B", "C"),
    ("whole", "A less C: the whole programme", "A", "C"),
)


def worlds(results: Results) -> Table | None:
    """Cost of the three worlds and what lies between them."""
    found = mapping(results, "worlds")
    if not {"A", "B", "C"} <= set(found):
        return None
    largest = max(abs(found[key]["mean"]) for key, _, _ in _WORLDS)
    factor, suffix = f.money_scale(largest)
    places = f.decimals(largest / factor)
    printed = {key: round(found[key]["mean"] / factor, places) for key, _, _ in _WORLDS}
    lines = [
        row(
            cell(title, note=what),
            f"{f.usd_fixed(printed[key], 1.0, places)}{suffix}",
            f.usd_span(found[key]["p05"], found[key]["p95"]),
        )
        for key, title, what in _WORLDS
    ]
    for key, title, more, less in _STEPS:
        difference = round(printed[more] - printed[less], places)
        lines.append(
            row(
                title,
                _signed(difference, factor, places, suffix),
                f.usd_span(found[key]["p05"], found[key]["p95"]) if key in found else f.NONE,
                style="total" if key == "leverage" else "body",
            )
        )
    return Table(
        key="worlds",
        caption="Three worlds: present cost, and what the programme is worth",
        columns=(left("world", "World"), right("mean", "Mean"), right("range", "5 to 95 %")),
        rows=tuple(lines),
        notes=("Differences are those of the printed means. Minus: the step costs money.",),
    )


def calendar(results: Results) -> Table | None:
    """Commitments by date, and what a cancellation after each of them loses."""
    found = records(results, "calendar")
    if not found:
        return None
    return Table(
        key="calendar",
        caption="Calendar of commitments: last date to cancel, and what is lost after it",
        columns=(
            left("date", "Last date to cancel"),
            left("event", "Commitment"),
            right("programme", "Programme spent"),
            right("deposits", "Deposits paid"),
            right("lost", "Lost if cancelled"),
        ),
        rows=tuple(
            row(
                f.day(one["date"]),
                cell(one["event"], note=one["note"]),
                f.usd(one["programme_spent_usd"]),
                f.usd(one["deposits_usd"]),
                cell(f.usd(one["lost_if_cancelled_usd"]), "best"),
            )
            for one in sorted(found, key=lambda one: str(one["date"]))
        ),
        notes=("Central case. Spending before the decision is sunk and not counted.",),
    )


def offtake(results: Results) -> Table | None:
    """What a share taken by somebody else does, by type of contract."""
    found = records(results, "offtake")
    if not found:
        return None
    return Table(
        key="offtake",
        caption="Offtake by type of contract",
        columns=(
            left("type", "Contract"),
            right("npv", "Saving over the baseline"),
            right("sd", "Standard deviation"),
            right("p", "P(pays)"),
            right("peak", "Peak cash need"),
        ),
        rows=tuple(
            row(
                one["title"],
                cell(f.usd(one["npv_mean_usd"]), "good" if one["npv_mean_usd"] > 0 else "bad"),
                f.usd(one["npv_sd_usd"]),
                f.probability(one["p_pays"]),
                f.usd(one["peak_cash_need_usd"]),
            )
            for one in found
        ),
        notes=("Mean over futures; a minus is an extra cost of building.",),
    )


def installed(results: Results) -> Table | None:
    """Commitments that are the same in every strategy."""
    found = records(results, "installed")
    if not found:
        return None
    return Table(
        key="installed",
        caption="Commitments already made, the same in every strategy",
        columns=(left("what", "Commitment"), right("usd", "A year"), right("until", "Until")),
        rows=tuple(
            row(one["title"], f.usd(one["usd_per_year"]), f.day(one["until"])) for one in found
        ),
    )
