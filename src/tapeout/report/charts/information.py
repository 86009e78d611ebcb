"""What is worth finding out before deciding, by subject."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import altair as alt

from tapeout.report import formats as f
from tapeout.report.charts import theme
from tapeout.report.content import Chart, Legend
from tapeout.report.reading import mapping, subjects

if TYPE_CHECKING:
    from tapeout.study import Results

MOST = 10
_CHOICES = (("all", "evppi_usd", theme.OTHER, -7), ("pair", "evppi_pair_usd", theme.OWN, 7))


def information_chart(results: Results) -> Chart | None:
    """Worth of knowing a subject before choosing: among all strategies, and between two."""
    found = subjects(results, MOST)
    if not found:
        return None
    whole = mapping(results, "information")
    factor, suffix = f.money_scale(
        max(max(one["evppi_usd"], one["evppi_pair_usd"]) for one in found)
    )
    main = [
        {
            "row": one["key"],
            "name": theme.name(one["title"]),
            "all": one["evppi_usd"] / factor,
            "pair": one["evppi_pair_usd"] / factor,
            "zero": 0.0,
        }
        for one in found
    ]
    bands = theme.bands(main)
    base = alt.Chart(theme.data())
    tooltip = [
        alt.Tooltip("name:N", title="Subject"),
        alt.Tooltip("all:Q", title=f"Among all strategies, USD{suffix}", format=",.3~r"),
        alt.Tooltip("pair:Q", title=f"Headline or baseline, USD{suffix}", format=",.3~r"),
    ]
    axis = theme.axis(f"Worth of knowing it before deciding, USD{suffix}")
    bars = [
        base.mark_bar(size=6, yOffset=bands.drop_px + shift / 2, color=colour).encode(
            x=alt.X("zero:Q", axis=axis), x2=f"{key}:Q", y=bands.axis(), tooltip=tooltip
        )
        for key, _, colour, shift in _CHOICES
    ]
    described = "; ".join(
        f"{one['title']}: {f.usd(one['evppi_usd'])} and {f.usd(one['evppi_pair_usd'])}"
        for one in found
    )
    return Chart(
        key="chart-information",
        title=_title(found[0], whole),
        alt=(
            "Worth of knowing, among all strategies and between headline and baseline:"
            f" {described}."
        ),
        spec=theme.finish(
            alt.layer(*bars, bands.names(base)),
            bands.height_px,
            described,
            main=theme.level(main),
        ),
        legend=(
            Legend(label="choosing among all strategies", colour=theme.OTHER),
            Legend(label="headline or baseline", colour=theme.OWN),
        ),
        note="Values do not add up: knowing two things is not worth the sum of knowing each.",
        height=bands.height_px,
    )


def _title(first: dict[str, Any], whole: dict[str, Any]) -> str:
    if first["evppi_usd"] > 0:
        return (
            f"Find out first: {first['title'].lower()}, worth {f.usd(first['evppi_usd'])};"
            f" knowing everything would be worth {f.usd(whole['evpi_usd'])}"
        )
    return f"Between headline and baseline: {first['title'].lower()} is worth most to know"
