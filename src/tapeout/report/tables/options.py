"""Tables of the options: levelised cost, who receives it, and the step between two of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tapeout.economics.types import Holder
from tapeout.report import formats as f
from tapeout.report.content import Row, Table, cell, left, right, row
from tapeout.report.labels import holder_label
from tapeout.report.reading import OWN, alternative_key, option_titles, rows
from tapeout.report.rounding import parts

if TYPE_CHECKING:
    from tapeout.study import Results


def lcot_rows(results: Results) -> list[dict[str, Any]]:
    """Options by median levelised cost, cheapest first."""
    return sorted(rows(results, "savings", kind="lcot"), key=lambda one: float(one["p50"]))


def lcot(results: Results) -> Table | None:
    """Levelised cost of a million output tokens, by option."""
    found = lcot_rows(results)
    if not found:
        return None
    return Table(
        key="lcot",
        caption="Levelised cost of a million output tokens, by option",
        columns=(
            left("option", "Option"),
            right("p50", "Median"),
            right("range", "5 to 95 %"),
            right("mean", "Mean"),
        ),
        rows=tuple(
            row(
                cell(one["title"], "best" if one["option"] == OWN else ""),
                f.usd(one["p50"]),
                f.usd_span(one["p05"], one["p95"]),
                f.usd(one["mean"]),
            )
            for one in found
        ),
        notes=(
            "Discounted cost over discounted output tokens of the scenario's basket, each option"
            " taken at the own chip's first service if there is one, else at the start;"
            " engineering and masks stay outside.",
        ),
    )


def stack_places(results: Results) -> int:
    """Decimals that print every option's total to three digits."""
    means = [float(one["mean"]) for one in rows(results, "savings", kind="lcot")]
    return max((f.decimals(mean) for mean in means if mean), default=2)


def printed_stack(results: Results) -> dict[str, dict[str, float]]:
    """Option to holder to cost as printed; holders add up to the printed mean of the option."""
    places = stack_places(results)
    out: dict[str, dict[str, float]] = {}
    for one in lcot_rows(results):
        cells = rows(results, "savings", kind="stack", option=one["option"])
        values = [float(entry["usd_per_mtok"]) for entry in cells]
        rounded = parts(values, places, total=float(one["mean"]))
        out[one["option"]] = dict(zip((str(c["holder"]) for c in cells), rounded, strict=True))
    return {key: holders for key, holders in out.items() if holders}


def used_holders(stack: dict[str, dict[str, float]]) -> list[str]:
    """Holders that receive anything, in the order of the supply chain."""
    return [str(holder) for holder in Holder if any(str(holder) in one for one in stack.values())]


def stack(results: Results) -> Table | None:
    """Who receives what of a million output tokens, option by option."""
    printed = printed_stack(results)
    if not printed:
        return None
    titles, places = option_titles(results), stack_places(results)
    lines = [
        row(
            holder_label(holder),
            *(
                f.usd_fixed(one[holder], 1.0, places) if holder in one else f.NONE
                for one in printed.values()
            ),
        )
        for holder in used_holders(printed)
    ]
    lines.append(
        row(
            "Total",
            *(
                f.usd_fixed(round(sum(one.values()), places), 1.0, places)
                for one in printed.values()
            ),
            style="total",
        )
    )
    return Table(
        key="stack",
        caption="Who receives the cost of a million output tokens, mean over futures",
        columns=(
            left("holder", "Holder"),
            *(right(key, titles.get(key, key)) for key in printed),
        ),
        rows=tuple(lines),
        notes=("Rounded so that every column adds up as printed.",),
    )


def printed_waterfall(results: Results) -> list[tuple[str, float]]:
    """Start, steps by holder and end as printed; they add up, and agree with the stack.

    A step is what the holder gains or loses as the alternative's token gives way to the own one.
    Empty without a chip of one's own.
    """
    other = alternative_key(results)
    printed, places = printed_stack(results), stack_places(results)
    if OWN not in printed or other not in printed:
        return []
    start, end = printed[other], printed[OWN]
    out = [(other, round(sum(start.values()), places))]
    out += [
        (holder, round(end.get(holder, 0.0) - start.get(holder, 0.0), places))
        for holder in used_holders({OWN: end, other: start})
    ]
    return [*out, (OWN, round(sum(end.values()), places))]


def waterfall(results: Results) -> Table | None:
    """From the alternative's token to the own one, holder by holder."""
    steps = printed_waterfall(results)
    if not steps:
        return None
    titles, places = option_titles(results), stack_places(results)
    lines: list[Row] = []
    for index, (key, value) in enumerate(steps):
        ends = index in (0, len(steps) - 1)
        sign = "+" if value > 0 and not ends else ""
        lines.append(
            row(
                titles.get(key, key) if ends else holder_label(key),
                f"{sign}{f.usd_fixed(value, 1.0, places)}",
                style="total" if ends else "body",
            )
        )
    return Table(
        key="waterfall",
        caption="From the alternative to the own chip, per million output tokens",
        columns=(left("holder", "Holder"), right("step", "Change")),
        rows=tuple(lines),
        notes=("Minus: the holder receives less of a token served by the own chip.",),
        stacks=False,
    )


def lines(results: Results, strategy: str) -> Table | None:
    """Declared cost lines of a strategy with their present values."""
    found = [
        one
        for one in rows(results, "savings", kind="line", option=strategy)
        if one["cash"] and abs(one["npv_usd"] or 0.0) >= 1.0
    ]
    if not found:
        return None
    total = sum(one["npv_usd"] for one in found)
    factor, suffix = f.money_scale(total)
    places = f.decimals(total / factor)
    rounded = parts([one["npv_usd"] / factor for one in found], places)
    pairs = sorted(zip(rounded, found, strict=True), key=lambda pair: (-pair[0], pair[1]["line"]))
    made = [
        row(
            cell(one["line"], note=one["formula"] or ""),
            holder_label(one["holder"]),
            f"{f.usd_fixed(value, 1.0, places)}{suffix}",
        )
        for value, one in pairs
    ]
    printed = round(sum(rounded), places)
    made.append(row("Total", "", f"{f.usd_fixed(printed, 1.0, places)}{suffix}", style="total"))
    return Table(
        key=f"lines-{strategy}",
        caption="Cost lines of the headline strategy, present value in the central case",
        columns=(left("line", "Line"), left("holder", "Holder"), right("npv", "Present value")),
        rows=tuple(made),
        notes=("Rounded so that the lines add up as printed.",),
    )
