"""Charts of operating points: operators under the rooflines, and the trade of a sweep."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import altair as alt

from tapeout.constants import TERA
from tapeout.perf import in_words
from tapeout.perf.roofline import roofline_points, roofs
from tapeout.report.charts import theme
from tapeout.report.content import Chart, Legend

if TYPE_CHECKING:
    from tapeout.perf.points import Breakdown
    from tapeout.perf.roofline import Roof, RooflinePoint
    from tapeout.serving.sweep import PerfPoint

HEIGHT = 460
NAMED = 7  # slowest operators that get a label
LEAST_LABEL = 0.005  # share of the step below which none does
ROOM = 4.0  # axis beyond the outermost point, as a factor
INNER = (
    0.25  # share of the axis right of its middle in which labels still stand right of their point
)
NEAR = 1.35  # labels closer than this factor in height, and side by side, are moved apart
COLOURS = (
    "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#b07d00", "#5f6b7a", "#8d6cab", "#2f4b7c",
)  # fmt: skip
BOUND_WORDS = {"overhead": "launch and host"}
KIND_WORDS = {
    "gemm": "matrix product",
    "grouped_gemm": "expert products",
    "attention_decode": "attention, decode",
    "attention_prefill": "attention, prefill",
}


def roofline_chart(found: Breakdown) -> Chart | None:
    """Operators of a step under the rooflines of the chip; None where none does arithmetic."""
    points, lines = roofline_points(found), roofs(found)
    if not points:
        return None
    kinds = tuple(dict.fromkeys(_kind(one) for one in points))
    colour = dict(zip(kinds, COLOURS * len(kinds), strict=False))
    ends = [one.intensity_flop_per_byte for one in points]
    low = min(ends) / ROOM
    high = ROOM * max([*ends, *(one.ridge_flop_per_byte for one in lines)])
    main = [_row(one, colour[_kind(one)]) for one in points]
    drawn = [row for one in lines for row in _line(one, low, high)]
    labels = _labels(main, (low * high) ** 0.5 * (high / low) ** INNER)
    chart = _roofline_layers((low, high))
    place = found.placement
    where = f"{place.architecture.name} on {place.system.chip.name}, {in_words(place)}"
    described = "; ".join(
        f"{one.name}: {one.intensity_flop_per_byte:.3g} FLOP/B,"
        f" {one.reached_flop_per_s / TERA:.3g} TFLOP/s, {one.roof_fraction:.0%} of its roof,"
        f" {one.time_fraction:.0%} of the step"
        for one in points
    )
    return Chart(
        key="chart-roofline",
        title=f"{where}: {_verdict(found)}",
        alt=f"Operators under the rooflines. {described}.",
        spec=theme.finish(chart, HEIGHT, described, main=main, roofs=drawn, labels=labels),
        legend=tuple(Legend(label=kind, colour=colour[kind]) for kind in kinds),
        height=HEIGHT,
    )


def _verdict(found: Breakdown) -> str:
    """The reading in a sentence."""
    largest = max(found.operators, key=lambda one: one.time_s)
    share = largest.time_s / found.time_s
    bound, name = BOUND_WORDS.get(found.bound, found.bound), largest.name.replace("_", " ")
    largest_words = (
        f", {name} {share:.0%} of a step"
        if name != "launch gaps and host"
        else f" ({share:.0%} of a step)"
    )
    return (
        f"bound by {bound}{largest_words};"
        f" MFU {found.mfu_fraction:.1%} of the {found.mfu_basis}, MBU {found.mbu_fraction:.0%}"
    )


def _kind(one: RooflinePoint) -> str:
    return f"{KIND_WORDS.get(one.kind, one.kind.replace('_', ' '))}, {one.dtype}"


def _row(one: RooflinePoint, colour: str) -> dict[str, Any]:
    return {
        "name": one.name.replace("_", " "),
        "kind": _kind(one),
        "intensity": one.intensity_flop_per_byte,
        "rate": one.reached_flop_per_s / TERA,
        "share": one.time_fraction,
        "roof": one.roof_fraction,
        "colour": colour,
    }


def _line(one: Roof, low: float, high: float) -> list[dict[str, Any]]:
    """Corners of a roofline between two intensities, its name at the right end."""
    corners = (low, min(max(one.ridge_flop_per_byte, low), high), high)
    return [
        {
            "intensity": corner,
            "rate": one.at(corner) / TERA,
            "dtype": one.dtype,
            "name": f"{one.dtype} peak {one.peak_flop_per_s / TERA:,.0f} TFLOP/s"
            if place == len(corners) - 1
            else "",
        }
        for place, corner in enumerate(corners)
    ]


def _labels(rows: Sequence[dict[str, Any]], turn: float) -> list[dict[str, Any]]:
    """Names of the slowest operators; of points that nearly coincide the slowest speaks for all.

    Beyond the intensity `turn` they stand below their point, so that none is cut.
    """
    chosen: list[dict[str, Any]] = []
    for row in rows:
        near = next((other for other in chosen if _close(row, other)), None)
        if near is not None:
            near["others"] += 1
        elif row["share"] >= LEAST_LABEL and len(chosen) < NAMED:
            chosen.append(dict(row, others=0))
    return [
        row
        | {
            "label": row["name"] + (f" +{row['others']}" if row["others"] else ""),
            "side": "center" if row["intensity"] > turn else "left",
        }
        for row in chosen
    ]


def _close(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """True where two labels would lie on one another."""
    up = float(one["rate"] / other["rate"])
    aside = float(one["intensity"] / other["intensity"])
    return 1.0 / NEAR < up < NEAR and 1.0 / NEAR**4 < aside < NEAR**4


def _roofline_layers(domain: tuple[float, float]) -> Any:
    x = alt.X(
        "intensity:Q",
        scale=alt.Scale(type="log", domain=list(domain), nice=False),
        axis=theme.axis("Arithmetic intensity, FLOP per byte of memory traffic", format=",~g"),
    )
    y = alt.Y(
        "rate:Q",
        scale=alt.Scale(type="log"),
        axis=theme.axis("TFLOP/s per chip", format=",~g"),
    )
    roof = (
        alt.Chart(theme.data("roofs"))
        .mark_line(strokeWidth=1.5, color=theme.BASE)
        .encode(x=x, y=y, detail="dtype:N")
    )
    ends = (
        alt.Chart(theme.data("roofs"))
        .mark_text(align="right", dy=-8, fontSize=12)
        .encode(x=x, y=y, text="name:N")
    )
    points = (
        alt.Chart(theme.data())
        .mark_circle(opacity=0.85)
        .encode(
            x=x,
            y=y,
            color=alt.Color("colour:N", scale=None, legend=None),
            size=alt.Size("share:Q", scale=alt.Scale(range=[25, 900]), legend=None),
            tooltip=[
                alt.Tooltip("name:N", title="Operator"),
                alt.Tooltip("kind:N", title="Kind"),
                alt.Tooltip("intensity:Q", title="FLOP per byte", format=".3~r"),
                alt.Tooltip("rate:Q", title="TFLOP/s reached", format=".3~r"),
                alt.Tooltip("roof:Q", title="of its roof", format=".0%"),
                alt.Tooltip("share:Q", title="of the step", format=".1%"),
            ],
        )
    )
    sides: tuple[tuple[Any, int, int], ...] = (("left", 12, 12), ("center", 0, 22))
    names = [
        alt.Chart(theme.data("labels"))
        .mark_text(align=side, dx=dx, dy=dy, fontSize=12)
        .encode(x=x, y=y, text="label:N")
        .transform_filter(alt.datum.side == side)
        for side, dx, dy in sides
    ]
    return alt.layer(roof, ends, points, *names)


def sweep_chart(points: Sequence[PerfPoint]) -> Chart | None:
    """Throughput of a chip against the speed of one user; None with fewer than two points.

    Points of prefill steps have no interactivity and are left out.
    """
    shown = [one for one in points if one.tpot_s > 0.0]  # nan is not
    if len(shown) < 2:
        return None
    series = tuple(dict.fromkeys(_series(one) for one in shown))
    colour = dict(zip(series, COLOURS * len(series), strict=False))
    main = [
        {
            "series": _series(one),
            "colour": colour[_series(one)],
            "batch": one.sequences,
            "user": one.tokens_per_s_per_user,
            "chip": one.output_tokens_per_s_per_chip,
            "joule": one.joule_per_token,
            "bound": one.breakdown.bound,
        }
        for one in shown
    ]
    best = max(shown, key=lambda one: one.output_tokens_per_s_per_chip)
    described = "; ".join(
        f"{row['series']} batch {row['batch']:g}: {row['user']:.3g} tokens/s per user,"
        f" {row['chip']:.4g} per chip"
        for row in main
    )
    return Chart(
        key="chart-sweep",
        title=(
            f"{best.placement.architecture.name}: most output per chip"
            f" ({best.output_tokens_per_s_per_chip:,.0f} tokens/s) on {_series(best)} at batch"
            f" {best.sequences:g}, where one user gets {best.tokens_per_s_per_user:,.0f} tokens/s"
        ),
        alt=f"Throughput per chip against interactivity. {described}.",
        spec=theme.finish(_sweep_layers(), HEIGHT, described, main=main),
        legend=tuple(Legend(label=one, colour=colour[one], line=True) for one in series),
        height=HEIGHT,
    )


def _series(one: PerfPoint) -> str:
    return f"{one.placement.system.chip.name} {in_words(one.placement)}"


def _sweep_layers() -> Any:
    x = alt.X(
        "user:Q",
        scale=alt.Scale(zero=True),
        axis=theme.axis("Interactivity: output tokens per second and user"),
    )
    y = alt.Y("chip:Q", axis=theme.axis("Output tokens per second and chip", format=",.0f"))
    base = alt.Chart(theme.data())
    colour = alt.Color("colour:N", scale=None, legend=None)
    lines = base.mark_line(strokeWidth=2).encode(
        x=x, y=y, color=colour, detail="series:N", order="batch:Q"
    )
    points = base.mark_circle(size=60, opacity=1.0).encode(
        x=x,
        y=y,
        color=colour,
        tooltip=[
            alt.Tooltip("series:N", title="Placement"),
            alt.Tooltip("batch:Q", title="Sequences"),
            alt.Tooltip("user:Q", title="tokens/s per user", format=",.1f"),
            alt.Tooltip("chip:Q", title="tokens/s per chip", format=",.0f"),
            alt.Tooltip("joule:Q", title="J per output token, sustained", format=".3~r"),
            alt.Tooltip("bound:N", title="bound by"),
        ],
    )
    names = base.mark_text(align="left", dx=6, dy=-8, fontSize=11).encode(
        x=x, y=y, text=alt.Text("batch:Q", format=",.0f")
    )
    return alt.layer(lines, points, names)
