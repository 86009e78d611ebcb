"""Which inputs move the headline most."""

from __future__ import annotations

from typing import TYPE_CHECKING

import altair as alt

from tapeout.report import formats as f
from tapeout.report.charts import theme
from tapeout.report.content import Chart, Legend
from tapeout.report.labels import input_label
from tapeout.report.reading import option_titles, tornado

if TYPE_CHECKING:
    from tapeout.study import Results

MOST = 15


def tornado_chart(results: Results) -> Chart | None:
    """Saving of the headline over the baseline with one input at its low, then its high end."""
    found = tornado(results, MOST)
    if not found:
        return None
    titles = option_titles(results)
    largest = max(abs(one[end]) for one in found for end in ("at_low_usd", "at_high_usd"))
    factor, suffix = f.money_scale(largest)
    main = [
        {
            "row": one["path"],
            "name": theme.name(input_label(one["path"], titles)),
            "range": f.span(one["low"], one["high"], one["unit"]),
            "base": one["base_usd"] / factor,
            "low": one["at_low_usd"] / factor,
            "high": one["at_high_usd"] / factor,
            "status": one["status"],
        }
        for one in found
    ]
    bands = theme.bands(main)
    base = alt.Chart(theme.data())
    tooltip = [
        alt.Tooltip("name:N", title="Input"),
        alt.Tooltip("range:N", title="Range"),
        alt.Tooltip("low:Q", title="Saving at low end", format=",.3~r"),
        alt.Tooltip("high:Q", title="Saving at high end", format=",.3~r"),
        alt.Tooltip("status:N", title="Status"),
    ]
    axis = theme.axis(f"Saving of the headline over the baseline, USD{suffix}")
    y = bands.axis()
    chart = alt.layer(
        theme.vertical_rule("marks", strokeDash=[], strokeWidth=1, opacity=0.6),
        bands.bar(base, color=theme.BASE).encode(
            x=alt.X("base:Q", axis=axis, scale=alt.Scale(zero=False)),
            x2="low:Q",
            y=y,
            tooltip=tooltip,
        ),
        bands.bar(base, color=theme.OWN).encode(x="base:Q", x2="high:Q", y=y, tooltip=tooltip),
        bands.names(base),
    )
    marks = [{"x": main[0]["base"]}]
    crosses = [one for one in found if one["at_low_usd"] * one["at_high_usd"] < 0]
    first = input_label(found[0]["path"], titles)
    verdict = (
        f"; {len(crosses)} of the {len(found)} strongest inputs change the sign on their own"
        if crosses
        else "; no single input changes the sign within its range"
    )
    described = "; ".join(
        f"{one['name']}: {f.number(one['low'])} to {f.number(one['high'])}{suffix}" for one in main
    )
    return Chart(
        key="chart-tornado",
        title=f"{first} moves the answer most, by {f.usd(found[0]['swing_usd'])}{verdict}",
        alt=f"Saving of the headline with one input at either end of its range: {described}.",
        spec=theme.finish(chart, bands.height_px, described, main=theme.level(main), marks=marks),
        legend=(
            Legend(label="input at its low end", colour=theme.BASE),
            Legend(label="input at its high end", colour=theme.OWN),
            Legend(label="central case", colour="contour", line=True),
        ),
        height=bands.height_px,
    )
