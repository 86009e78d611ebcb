"""The break-even map: probability of paying over delivered advantage and volume."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import altair as alt

from tapeout.report import formats as f
from tapeout.report.charts import theme
from tapeout.report.content import Chart, Legend
from tapeout.report.reading import COUNTERFACTUALS, mapping, own_title, records, rows

if TYPE_CHECKING:
    from tapeout.study import Results

_HEIGHT = 380
_EMPTY = 0.05  # a map that pays nowhere is said in words
_PALE, _DARK = "#eef3f8", "#1f4e79"
_INK = "#1b1f24"
_G_TICKS = [0.4, 0.6, 1, 1.5, 2, 3, 4]
_V_TICKS = [0.02, 0.05, 0.1, 0.2, 0.5, 1, 2]


def _edges(values: list[float]) -> dict[float, tuple[float, float]]:
    """Cell borders of a logarithmic grid, halfway in ratio; the outermost end at the points."""
    middle = [math.sqrt(a * b) for a, b in pairwise(values)]
    return dict(
        zip(values, zip([values[0], *middle], [*middle, values[-1]], strict=True), strict=True)
    )


def _cells(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    g_edges = _edges(sorted({one["g"] for one in found}))
    v_edges = _edges(sorted({one["volume"] for one in found}))
    return [
        {
            "g": one["g"],
            "volume": one["volume"],
            "p": one["p"],
            "g_low": g_edges[one["g"]][0],
            "g_high": g_edges[one["g"]][1],
            "v_low": v_edges[one["volume"]][0],
            "v_high": v_edges[one["volume"]][1],
        }
        for one in found
    ]


def _contours(
    results: Results, name: str, top: float
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Lines inside the map, and one label for each where it leaves the map at the top."""
    inside = [
        one | {"label": f.percent(one["level"])}
        for one in rows(results, "boundary", kind="contour", counterfactual=name)
        if one["g"] <= top
    ]
    lines = [{key: one[key] for key in ("level", "volume", "g", "label")} for one in inside]
    marks = {one["level"]: one for one in sorted(lines, key=lambda one: float(one["volume"]))}
    return lines, list(marks.values())


def _points(results: Results) -> list[dict[str, Any]]:
    """Medians of the beliefs, numbered in their order; neighbours take turns above and below."""
    found = records(results, "priors")
    turn = {one["key"]: i for i, one in enumerate(sorted(found, key=lambda o: o["g"]["p50"]))}
    return [
        {
            "g": one["g"]["p50"],
            "volume": 1.0,
            "title": one["title"],
            "above": "" if turn[one["key"]] % 2 else f.integer(number),
            "below": f.integer(number) if turn[one["key"]] % 2 else "",
        }
        for number, one in enumerate(found, start=1)
    ]


def break_even(results: Results, name: str = "list") -> Chart | None:
    """P(pays) over advantage and volume against one counterfactual, with contours and beliefs."""
    found = rows(results, "boundary", kind="map", counterfactual=name)
    if not found or max(one["p"] for one in found) < _EMPTY:
        return None
    cells = _cells(found)
    low_g, high_g = min(c["g"] for c in cells), max(c["g"] for c in cells)
    low_v, high_v = min(c["volume"] for c in cells), max(c["volume"] for c in cells)
    lines, marks = _contours(results, name, high_g)
    datasets: dict[str, theme.Rows] = {
        "main": cells,
        "lines": lines,
        "marks": marks,
        "beliefs": [p for p in _points(results) if low_g <= p["g"] <= high_g],
        "needed": [
            {"x": need, "label": f"needs {f.times(need)}"}
            for need in [mapping(results, "g_star").get(name, {}).get("value")]
            if need is not None and low_g <= need <= high_g
        ],
    }
    x = alt.X(
        "g_low:Q",
        scale=alt.Scale(type="log", domain=[low_g, high_g], nice=False),
        axis=theme.axis("Delivered advantage g_ship, x (log)", values=_G_TICKS, format="~g"),
    )
    y = alt.Y(
        "v_low:Q",
        scale=alt.Scale(type="log", domain=[low_v, high_v], nice=False),
        axis=theme.axis("Volume, x of plan (log)", values=_V_TICKS, format="~g"),
    )
    description = _alt(results, name)
    chart = alt.layer(*_layers(x, y))
    return Chart(
        key=f"chart-break-even-{name}",
        title=_title(results, name),
        alt=description,
        spec=theme.finish(chart, _HEIGHT, description, **datasets),
        legend=(
            Legend(label="never pays", colour=_PALE),
            Legend(label="always pays", colour=_DARK),
            Legend(label="pays in 50, 80 and 95 % of futures", colour="contour", line=True),
            Legend(label="pays on average, g*_ship", colour=theme.GOOD, line=True),
            *(
                Legend(label=_belief(i, one, low_g, high_g), colour=theme.OWN)
                for i, one in enumerate(records(results, "priors"), start=1)
            ),
        ),
        height=_HEIGHT,
    )


def _belief(number: int, prior: dict[str, Any], low: float, high: float) -> str:
    """Legend of a belief; one outside the map is said to be."""
    median = prior["g"]["p50"]
    outside = "" if low <= median <= high else ", beyond the map"
    return f"{number} {prior['title']}, {f.times(median)}{outside}"


def nowhere(results: Results) -> str:
    """In words, that the map against the list price pays nowhere; empty if it does somewhere."""
    found = rows(results, "boundary", kind="map", counterfactual="list")
    if not found or max(one["p"] for one in found) >= _EMPTY:
        return ""
    g, volume = max(one["g"] for one in found), max(one["volume"] for one in found)
    return (
        f"Up to {f.times(g)} the alternative's tokens per dollar and {f.times(volume)} the planned"
        " volume, there is no point at which building pays in a noticeable share of futures, so"
        " no map is drawn."
    )


def _layers(x: Any, y: Any) -> list[Any]:
    heat = (
        alt.Chart(theme.data())
        .mark_rect()
        .encode(
            x=x,
            x2="g_high:Q",
            y=y,
            y2="v_high:Q",
            color=alt.Color(
                "p:Q", scale=alt.Scale(domain=[0, 1], range=[_PALE, _DARK]), legend=None
            ),
            tooltip=[
                alt.Tooltip("g:Q", title="g_ship", format=".2f"),
                alt.Tooltip("volume:Q", title="Volume, x of plan", format=".2f"),
                alt.Tooltip("p:Q", title="P(pays)", format=".1f"),
            ],
        )
    )
    contour = (
        alt.Chart(theme.data("lines"))
        .mark_line(strokeWidth=2, color="#ffffff", clip=True)
        .encode(x="g:Q", y="volume:Q", detail="level:N", order="volume:Q")
    )
    inner = contour.mark_line(strokeWidth=1, color=_INK, clip=True)
    label = (
        alt.Chart(theme.data("marks"))
        .mark_text(
            dy=11,
            dx=-4,
            align="right",
            fontSize=11,
            fontWeight=700,
            color=_INK,
            stroke="#ffffff",
            strokeWidth=3,
            strokeOpacity=0.85,
            strokeJoin="round",
        )
        .encode(x="g:Q", y="volume:Q", text="label:N")
    )
    front = label.mark_text(dy=11, dx=-4, align="right", fontSize=11, fontWeight=700, color=_INK)
    needed = theme.vertical_rule("needed", color=theme.GOOD, strokeWidth=2)
    belief = (
        alt.Chart(theme.data("beliefs"))
        .mark_point(
            filled=True, size=110, opacity=1, color=theme.OWN, stroke="#ffffff", strokeWidth=1.5
        )
        .encode(
            x="g:Q",
            y="volume:Q",
            tooltip=[
                alt.Tooltip("title:N", title="Belief"),
                alt.Tooltip("g:Q", title="Median g_ship", format=".2f"),
            ],
        )
    )
    number = alt.Chart(theme.data("beliefs")).encode(x="g:Q", y="volume:Q")
    bold: dict[str, Any] = {"fontSize": 12, "fontWeight": 700, "color": _INK}
    above = number.mark_text(dy=-14, **bold).encode(text="above:N")
    below = number.mark_text(dy=15, **bold).encode(text="below:N")
    return [heat, contour, inner, needed, belief, above, below, label, front]


def _title(results: Results, name: str) -> str:
    star = mapping(results, "g_star").get(name, {}).get("value")
    ship = mapping(results, "g_ship").get(name, {}).get("p50")
    against = COUNTERFACTUALS.get(name, name)
    if star is None:
        return f"Against {against}, no delivered advantage pays on average"
    return (
        f"Against {against}, building pays on average from {f.times(star)} on;"
        f" {own_title(results)}, simulated, delivers {f.times(ship)}"
    )


def _alt(results: Results, name: str) -> str:
    against = COUNTERFACTUALS.get(name, name)
    best = max(r["p"] for r in rows(results, "boundary", kind="map", counterfactual=name))
    return (
        f"Map of the probability that building pays against {against}, by delivered advantage and"
        f" by volume over plan; it rises to the right and upwards, to {f.probability(best)}."
    )
