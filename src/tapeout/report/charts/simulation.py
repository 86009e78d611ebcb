"""Charts of a simulated run: its load over time, its latencies, its first requests."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import altair as alt
import numpy as np

from tapeout.constants import PERCENT
from tapeout.report import formats as f
from tapeout.report.charts import theme
from tapeout.report.content import Chart, Legend
from tapeout.serving.phases import DECODE, PHASES, PREEMPTED, PREFILL, QUEUE, Phase

if TYPE_CHECKING:
    from tapeout.numerics import Floats
    from tapeout.serving.engine.types import Timeline
    from tapeout.serving.summary import LimitCheck

HEIGHT = 190
CURVE_HEIGHT = 230
ROW_PX = 11
POINTS = 300  # of a line over time
LEVELS = 200  # of a distribution
WIDE = 30.0  # 99th percentile over the first from which an axis is logarithmic
FAILED = "#b8472a"
RUNNING, WAITING, HELD, PROMPT, OUTPUT = "#0072b2", "#d55e00", "#009e73", "#8d6cab", "#0072b2"
PHASE_COLOURS: Mapping[str, str] = {
    QUEUE: "#a9b3be",
    PREFILL: "#e69f00",
    DECODE: "#0072b2",
    PREEMPTED: "#b8472a",
}
SMALLEST = 1e-6  # of the largest value: below it a logarithmic axis is cut off
NAMES = {"ttft": "TTFT", "tpot": "TPOT", "e2e": "End to end", "queue": "Queue"}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Line:
    """A line over time: its words, its colour, its values."""

    label: str
    colour: str
    values: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """A stretch of time that is drawn behind a line: a failure."""

    start_s: float
    end_s: float
    words: str


def sequences_chart(timeline: Timeline, title: str, marks: Sequence[Mark] = ()) -> Chart:
    """Running and waiting sequences, failures behind them."""
    lines = (
        _Line(label="running", colour=RUNNING, values=timeline.running),
        _Line(label="waiting", colour=WAITING, values=timeline.waiting),
    )
    chart = _over_time(("chart-sequences", title), timeline, lines, "Sequences", marks=marks)
    if not marks:
        return chart
    failed = Legend(label="failure", colour=FAILED)
    return replace(chart, legend=(*chart.legend, failed))


def cache_chart(timeline: Timeline, blocks: int, title: str) -> Chart:
    """Share of the cache blocks that running sequences hold."""
    held = _Line(label="held", colour=HELD, values=timeline.blocks / (blocks * PERCENT))
    return _over_time(("chart-cache", title), timeline, (held,), "KV blocks held, %", top=100.0)


def tokens_chart(timeline: Timeline, title: str) -> Chart:
    """Tokens a second, of prompts and of answers."""
    step_s = _step_s(timeline)
    lines = (
        _Line(label="output", colour=OUTPUT, values=timeline.output_tokens / step_s),
        _Line(label="prompt", colour=PROMPT, values=timeline.prompt_tokens / step_s),
    )
    return _over_time(("chart-tokens", title), timeline, lines, "Tokens a second")


def _step_s(timeline: Timeline) -> float:
    return float(timeline.time_s[0]) if timeline.time_s.size else 1.0


def binned(values: Floats, most: int = POINTS) -> Floats:
    """Means of equal numbers of neighbours, at most so many; the last may have fewer.

    Examples
    --------
    >>> binned(np.array([1.0, 3.0, 5.0]), 2).tolist()
    [2.0, 5.0]
    """
    stride = -(-values.size // most) if values.size else 1
    starts = np.arange(0, values.size, stride)
    counts = np.diff(np.append(starts, values.size))
    return np.add.reduceat(values, starts) / counts if values.size else values


def _over_time(
    named: tuple[str, str],
    timeline: Timeline,
    lines: tuple[_Line, ...],
    axis: str,
    *,
    top: float | None = None,
    marks: Sequence[Mark] = (),
) -> Chart:
    key, title = named
    at = binned(timeline.time_s)
    rows = [
        {"time": float(time_s), "series": line.label, "colour": line.colour, "value": float(value)}
        for line in lines
        for time_s, value in zip(at, binned(line.values), strict=True)
    ]
    described = "; ".join(
        f"{line.label}: mean {line.values.mean():.4g}, largest {line.values.max():.4g}"
        if line.values.size
        else f"{line.label}: nothing"
        for line in lines
    )
    described += "".join(f"; failure of {one.words}" for one in marks)
    scale = alt.Scale(domain=[0.0, top]) if top is not None else alt.Scale(zero=True)
    end = float(timeline.time_s[-1]) if timeline.time_s.size else 1.0
    chart = (
        alt.Chart(theme.data())
        .mark_line(strokeWidth=1.6, interpolate="step-after")
        .encode(
            x=alt.X(
                "time:Q",
                axis=theme.axis("Seconds"),
                scale=alt.Scale(domain=[0.0, end], nice=False),
            ),
            y=alt.Y("value:Q", axis=theme.axis(axis, format="~s"), scale=scale),
            color=alt.Color("colour:N", scale=None, legend=None),
            detail="series:N",
            tooltip=[
                alt.Tooltip("series:N", title="Line"),
                alt.Tooltip("time:Q", title="Seconds", format=",.2f"),
                alt.Tooltip("value:Q", title=axis, format=",.3~r"),
            ],
        )
    )
    return Chart(
        key=key,
        title=title,
        alt=f"{axis} over time. {described}.",
        spec=theme.finish(
            _marked(chart, marks), HEIGHT, described, main=rows, **_spans(marks, end)
        ),
        legend=tuple(Legend(label=one.label, colour=one.colour, line=True) for one in lines)
        if len(lines) > 1
        else (),
        height=HEIGHT,
    )


def _marked(chart: Any, marks: Sequence[Mark]) -> Any:
    """A chart with stretches of time behind it."""
    if not marks:
        return chart
    behind = (
        alt.Chart(theme.data("marks"))
        .mark_rect(color=FAILED, opacity=0.18)
        .encode(x="start:Q", x2="end:Q", tooltip=[alt.Tooltip("words:N", title="Failure")])
    )
    return alt.layer(behind, chart)


def _spans(marks: Sequence[Mark], end_s: float) -> dict[str, list[dict[str, Any]]]:
    """Data of the marks, cut at the end of the axis; nothing without marks."""
    rows = [
        {"start": one.start_s, "end": min(one.end_s, end_s), "words": one.words}
        for one in marks
        if one.start_s < end_s
    ]
    return {"marks": rows} if marks else {}


def distribution_chart(name: str, values: Floats, checks: Sequence[LimitCheck]) -> Chart | None:
    """Share of requests at or below a latency, with the limits on it; None without values.

    Parameters
    ----------
    name : str
        ttft, tpot, e2e or queue.
    values : array, shape (request,)
        [s]
    checks : sequence of LimitCheck
        Drawn as lines at their limits, with a point where the percentile lies.
    """
    known = np.sort(values[np.isfinite(values)])
    if not known.size:
        return None
    level = np.unique(np.concatenate([np.linspace(0.0, 1.0, LEVELS), np.linspace(0.98, 1.0, 21)]))
    found = np.quantile(known, level)
    rows = [
        {"value": float(value), "share": float(share) / PERCENT}
        for value, share in zip(found, level, strict=True)
    ]
    limits = [
        {
            "x": one.limit.limit_s,
            "label": f"p{one.limit.percentile:g} {one.limit.of or 'limit'}".strip(),
            "share": one.limit.percentile,
            "value": one.value.value,
            "colour": theme.GOOD if one.met else theme.BAD,
        }
        for one in checks
    ]
    low, high = (float(x) for x in np.quantile(known, [0.01, 0.99]))
    logarithmic = low > 0.0 and high > WIDE * low
    start = float(np.quantile(known, 0.005)) if logarithmic else 0.0  # a few tiny ones need no room
    ends = [start, float(known[-1]), *(one.limit.limit_s for one in checks)]
    described = (
        f"half of {known.size:,} requests within {f.seconds(float(np.quantile(known, 0.5)))},"
        f" nine in ten within {f.seconds(float(np.quantile(known, 0.9)))}, all within"
        f" {f.seconds(float(known[-1]))}"
    )
    return Chart(
        key=f"chart-{name}",
        title=f"{NAMES[name]}: {described}",
        alt=f"Distribution of {NAMES[name]}: {described}.",
        spec=theme.finish(
            _curve(NAMES[name], ends, logarithmic=logarithmic),
            CURVE_HEIGHT,
            described,
            main=rows,
            limits=limits,
        ),
        height=CURVE_HEIGHT,
    )


def _curve(name: str, ends: Sequence[float], *, logarithmic: bool) -> Any:
    low, high = min(ends), max(ends)
    scale = (
        alt.Scale(type="log", domain=[max(low, high * SMALLEST), high * 1.2], nice=False)
        if logarithmic
        else alt.Scale(domain=[0.0, 1.08 * high], nice=False)
    )
    ticks = {"values": _ticks(low, high)} if logarithmic else {}
    x = alt.X("value:Q", scale=scale, axis=theme.axis(f"{name}, seconds", format="~g", **ticks))
    y = alt.Y("share:Q", scale=alt.Scale(domain=[0, 100]), axis=theme.axis("Requests, %"))
    line = (
        alt.Chart(theme.data())
        .mark_line(strokeWidth=2, color=RUNNING, interpolate="monotone", clip=True)
        .encode(
            x=x,
            y=y,
            tooltip=[
                alt.Tooltip("value:Q", title="Seconds", format=".4~r"),
                alt.Tooltip("share:Q", title="Requests within, %", format=".1f"),
            ],
        )
    )
    colour = alt.Color("colour:N", scale=None, legend=None)
    limit = alt.Chart(theme.data("limits"))
    rule = limit.mark_rule(strokeWidth=1.5, strokeDash=[5, 4]).encode(x="x:Q", color=colour)
    label = limit.mark_text(
        align="right", baseline="bottom", dx=-4, dy=-4, fontSize=12, angle=270
    ).encode(x="x:Q", y=alt.value(4), text="label:N", color=colour)
    point = limit.mark_circle(size=70, opacity=1.0).encode(x="value:Q", y="share:Q", color=colour)
    return alt.layer(line, rule, label, point)


def _ticks(low: float, high: float) -> list[float]:
    """Powers of ten over a wide range, 1, 2 and 5 over a narrow one."""
    first, last = math.floor(math.log10(max(low, high * SMALLEST))), math.ceil(math.log10(high))
    steps = (1.0,) if last - first > 3 else (1.0, 2.0, 5.0)
    return [float(f"{one:g}e{power}") for power in range(first, last + 1) for one in steps]


def requests_chart(found: Sequence[Phase], title: str) -> Chart | None:
    """What each of some requests was doing when; None without any.

    Parameters
    ----------
    found : sequence of Phase
        In the order of the requests.
    title : str
    """
    order = list(dict.fromkeys(phase.request for phase in found))
    if not order:
        return None
    place = {request: number for number, request in enumerate(order)}
    rows = [
        {
            "row": place[phase.request],
            "end_row": place[phase.request] + 0.82,
            "request": phase.request,
            "phase": phase.name,
            "colour": PHASE_COLOURS[phase.name],
            "start": phase.start_s,
            "end": phase.end_s,
            "length": phase.end_s - phase.start_s,
        }
        for phase in found
    ]
    height = max(120, ROW_PX * len(order))
    low, high = min(one.start_s for one in found), max(one.end_s for one in found)
    chart = (
        alt.Chart(theme.data())
        .mark_rect(opacity=1.0)
        .encode(
            x=alt.X(
                "start:Q",
                axis=theme.axis("Seconds"),
                scale=alt.Scale(domain=[low, high], nice=False),
            ),
            x2="end:Q",
            y=alt.Y(
                "row:Q",
                axis=theme.axis(
                    "Requests in order of arrival", labels=False, ticks=False, grid=False
                ),
                scale=alt.Scale(domain=[len(order), 0], nice=False),
            ),
            y2="end_row:Q",
            color=alt.Color("colour:N", scale=None, legend=None),
            tooltip=[
                alt.Tooltip("request:Q", title="Request"),
                alt.Tooltip("phase:N", title="Phase"),
                alt.Tooltip("start:Q", title="From, s", format=",.3f"),
                alt.Tooltip("length:Q", title="Seconds", format=".4~r"),
            ],
        )
    )
    shown = [name for name in PHASES if any(phase.name == name for phase in found)]
    spent = {
        name: sum(phase.end_s - phase.start_s for phase in found if phase.name == name)
        for name in shown
    }
    described = ", ".join(f"{name} {f.seconds(spent[name] / len(order))}" for name in shown)
    return Chart(
        key="chart-requests",
        title=title,
        alt=f"Phases of {len(order)} requests; mean of each: {described}.",
        spec=theme.finish(chart, height, described, main=rows),
        legend=tuple(Legend(label=name, colour=PHASE_COLOURS[name]) for name in shown),
        height=height,
    )
