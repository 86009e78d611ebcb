"""Who receives a token's cost: stacks by option, and the waterfall between two of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import altair as alt

from tapeout.report import formats as f
from tapeout.report.charts import theme
from tapeout.report.content import Chart, Legend
from tapeout.report.labels import holder_label, inside
from tapeout.report.reading import OWN, option_titles
from tapeout.report.tables.options import (
    printed_stack,
    printed_waterfall,
    stack_places,
    used_holders,
)

if TYPE_CHECKING:
    from tapeout.study import Results


def stacks(results: Results) -> Chart | None:
    """Levelised cost by holder, one bar per option."""
    printed = printed_stack(results)
    if not printed:
        return None
    titles, places, holders = option_titles(results), stack_places(results), used_holders(printed)
    main = [
        {
            "row": key,
            "option": titles.get(key, key),
            "holder": holder_label(holder),
            "order": order,
            "usd_per_mtok": one[holder],
            "colour": theme.HOLDER_COLOURS.get(holder, theme.NEUTRAL),
        }
        for key, one in printed.items()
        for order, holder in enumerate(holders)
        if holder in one
    ]
    names = [
        {
            "row": key,
            "name": theme.name(titles.get(key, key)),
            "total": sum(v for v in one.values() if v > 0),
            "label": f.usd_fixed(sum(one.values()), 1.0, places),
        }
        for key, one in printed.items()
    ]
    bands = theme.bands(names)
    top = theme.reach(0.0, [(float(one["total"]), str(one["label"])) for one in names])
    base, named = alt.Chart(theme.data()), alt.Chart(theme.data("names"))
    chart = alt.layer(
        bands.bar(base, size=15).encode(
            x=alt.X(
                "usd_per_mtok:Q",
                stack="zero",
                scale=alt.Scale(domainMax=top, nice=False),
                axis=theme.axis("USD per million output tokens", format="$.3~f"),
            ),
            y=bands.axis(),
            color=alt.Color("colour:N", scale=None, legend=None),
            order="order:O",
            tooltip=[
                alt.Tooltip("option:N", title="Option"),
                alt.Tooltip("holder:N", title="Holder"),
                alt.Tooltip("usd_per_mtok:Q", title="USD/Mtok", format=f".{places}f"),
            ],
        ),
        bands.value(named).encode(x="total:Q", y=bands.axis(), text="label:N"),
        bands.names(named),
    )
    key, biggest = _largest(printed)
    described = "; ".join(f"{one['name']} {one['label']}" for one in names)
    return Chart(
        key="chart-stack",
        title=(
            f"Of the {f.usd_fixed(sum(printed[key].values()), 1.0, places)} that a million tokens"
            f" cost on {titles.get(key, key)}, the largest part,"
            f" {f.usd_fixed(printed[key][biggest], 1.0, places)}, goes to"
            f" {inside(holder_label(biggest))}"
        ),
        alt=f"Cost of a million output tokens by who receives it, mean: {described}.",
        spec=theme.finish(chart, bands.height_px, described, main=main, names=theme.level(names)),
        legend=tuple(
            Legend(label=holder_label(h), colour=theme.HOLDER_COLOURS.get(h, theme.NEUTRAL))
            for h in holders
        ),
        height=bands.height_px,
    )


def _largest(printed: dict[str, dict[str, float]]) -> tuple[str, str]:
    key = next(iter(printed))
    one = printed[key]
    return key, max(one, key=lambda holder: one[holder])


def waterfall(results: Results) -> Chart | None:
    """From the alternative's token to the own one, step by holder."""
    steps = printed_waterfall(results)
    if not steps:
        return None
    titles, places = option_titles(results), stack_places(results)
    main = _steps(steps, titles, places)
    bands = theme.bands(main)
    low = min(0.0, *(one["from"] for one in main))
    top = theme.reach(low, [(float(one["end"]), str(one["label"])) for one in main])
    base = alt.Chart(theme.data())
    chart = alt.layer(
        bands.bar(base, size=13).encode(
            x=alt.X(
                "from:Q",
                scale=alt.Scale(domainMin=low, domainMax=top, nice=False),
                axis=theme.axis("USD per million output tokens", format="$.3~f"),
            ),
            x2="to:Q",
            y=bands.axis(),
            color=alt.Color("colour:N", scale=None, legend=None),
            tooltip=[
                alt.Tooltip("name:N", title="Holder"),
                alt.Tooltip("usd_per_mtok:Q", title="USD/Mtok", format=f"+.{places}f"),
            ],
        ),
        bands.value(base).encode(x="end:Q", y=bands.axis(), text="label:N"),
        bands.names(base),
    )
    described = "; ".join(f"{one['name']} {one['label']}" for one in main)
    return Chart(
        key="chart-waterfall",
        title=_title(steps, titles, places),
        alt=f"Waterfall from the alternative to the own chip: {described}.",
        spec=theme.finish(chart, bands.height_px, described, main=theme.level(main)),
        legend=(
            Legend(label="holder receives less", colour=theme.GOOD),
            Legend(label="holder receives more", colour=theme.BAD),
        ),
        height=bands.height_px,
    )


def _steps(
    steps: list[tuple[str, float]], titles: dict[str, str], places: int
) -> list[dict[str, Any]]:
    at, out = 0.0, []
    for index, (key, value) in enumerate(steps):
        total = index in (0, len(steps) - 1)
        start, end = (0.0, value) if total else (at, at + value)
        at = end
        colour = theme.GOOD if value < 0 else theme.BAD
        if total:
            colour = theme.OWN if key == OWN else theme.OTHER
        sign = "+" if value > 0 and not total else ""
        out.append(
            {
                "row": f"{index}-{key}",
                "name": theme.name(titles.get(key, key)) if total else holder_label(key),
                "from": start,
                "to": end,
                "end": max(start, end),
                "usd_per_mtok": value,
                "label": f"{sign}{f.usd_fixed(value, 1.0, places)}",
                "colour": colour,
            }
        )
    return out


def _title(steps: list[tuple[str, float]], titles: dict[str, str], places: int) -> str:
    (other, start), *between, (own, end) = steps
    loser = min(between, key=lambda step: step[1])
    gainer = max(between, key=lambda step: step[1])
    text = (
        f"A million tokens cost {f.usd_fixed(start, 1.0, places)} on {titles.get(other, other)} and"
        f" {f.usd_fixed(end, 1.0, places)} on {titles.get(own, own)}"
    )
    if loser[1] < 0 < gainer[1]:
        text += (
            f": {f.usd_fixed(-loser[1], 1.0, places)} less to {inside(holder_label(loser[0]))},"
            f" {f.usd_fixed(gainer[1], 1.0, places)} more to {inside(holder_label(gainer[0]))}"
        )
    return text
