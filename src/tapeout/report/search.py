"""The trade of a search as a page: interactivity against output for what is spent."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import altair as alt

from tapeout.constants import MEGA
from tapeout.report import formats as f
from tapeout.report.charts import theme
from tapeout.report.content import Chart, Legend
from tapeout.report.plots import write_plot
from tapeout.serving.search.deployments import VALUES, Candidate, pareto

if TYPE_CHECKING:
    from collections.abc import Mapping

HEIGHT = 300
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#b07d00", "#5f6b7a", "#8d6cab", "#2f4b7c")
AXES: Mapping[str, str] = {
    "per_chip": "Output tokens a second and chip",
    "per_usd": "Output tokens for a dollar of rent",
    "per_joule": "Output tokens for a joule of the chips",
}


def search_chart(candidates: Sequence[Candidate]) -> Chart:
    """Candidates that meet the objective, with the front of each kind of spending as a line.

    Full points are simulated, pale ones only screened.
    """
    chips = tuple(dict.fromkeys(one.chip for one in candidates))
    colour = dict(zip(chips, COLOURS * len(chips), strict=False))
    rows, fronts, curves = [], [], []
    drawn = [
        name
        for name, worth in VALUES.items()
        if any(worth(one) > 0.0 and one.per_chip > 0.0 for one in candidates)
    ]
    for name in drawn:
        front = pareto(candidates, name)
        fronts += [_row(one, name, colour) for one in front]
        rows += [
            _row(one, name, colour)
            for one in candidates
            if one.per_chip > 0.0 and VALUES[name](one) > 0.0 and one.mean_tpot_s > 0.0
        ]
        curves += [row for one in candidates for row in _curve(one, name, colour)]
    panels = [_panel(name) for name in drawn]
    told = "; ".join(
        f"{one.chip} {one.words}: {f.number(one.per_chip)} tokens/s a chip"
        for one in pareto(candidates, "per_chip")
    )
    chart = alt.vconcat(*panels) if len(panels) != 1 else panels[0]
    return Chart(
        key="chart-search",
        title=_title(candidates),
        alt=f"Output for what is spent against interactivity. On the front: {told}.",
        spec=_finish(chart, told, {"main": rows, "fronts": fronts, "curves": curves}),
        legend=tuple(Legend(label=name, colour=colour[name]) for name in chips),
        note="Full points are simulated at the largest load within the limits, pale ones are the"
        " steady state's. Thin lines are the steady state of simulated deployments from one"
        " sequence to the most they hold. A dashed line joins points that no other beats in both"
        " directions.",
        height=(HEIGHT + 60) * max(len(panels), 1),
    )


def _title(candidates: Sequence[Candidate]) -> str:
    best = next((one for one in candidates if one.simulated and one.per_chip > 0.0), None)
    if best is None:
        return "No simulated deployment meets the limits"
    money = best.usd_per_mtok
    cost = "" if f.missing(money) else f", {f.number(money)} USD for a million output tokens"
    return f"Cheapest: {best.chip}, {best.words}, {f.number(best.per_chip)} tokens/s a chip{cost}"


def _row(one: Candidate, name: str, colour: Mapping[str, str]) -> dict[str, Any]:
    return {
        "panel": name,
        "chip": one.chip,
        "deployment": one.words,
        "interactivity": 1.0 / one.mean_tpot_s,
        "value": VALUES[name](one),
        "colour": colour[one.chip],
        "opacity": 1.0 if one.simulated else 0.35,
        "how": "simulated" if one.simulated else "steady state",
    }


def _curve(one: Candidate, name: str, colour: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    """Steady state of a simulated deployment over its load."""
    if one.simulated is None:
        return
    for tpot_s, rate, joule in one.screened.trade:
        per_chip = rate / one.chips
        value = {
            "per_chip": per_chip,
            "per_usd": MEGA / one.usd_at(per_chip),
            "per_joule": 1.0 / joule,
        }[name]
        yield {
            "panel": name,
            "line": f"{one.chip} {one.words}",
            "interactivity": 1.0 / tpot_s,
            "value": value,
            "colour": colour[one.chip],
        }


def _panel(name: str) -> Any:
    x = alt.X(
        "interactivity:Q",
        title="Output tokens a second of one request (1 / mean TPOT)",
        scale=alt.Scale(zero=False),
    )
    y = alt.Y("value:Q", title=AXES[name], scale=alt.Scale(zero=False))
    tooltip = ["chip:N", "deployment:N", "how:N", "interactivity:Q", "value:Q"]
    base = alt.Chart(theme.data())
    points = (
        base.transform_filter(f"datum.panel === '{name}'")
        .mark_circle(size=70)
        .encode(x=x, y=y, tooltip=tooltip, color=alt.Color("colour:N", scale=None),
                opacity=alt.Opacity("opacity:Q", scale=None))
    )  # fmt: skip
    line = (
        alt.Chart(theme.data("fronts"))
        .transform_filter(f"datum.panel === '{name}'")
        .mark_line(color=theme.NEUTRAL, strokeDash=[4, 3])
        .encode(x=x, y=y, order=alt.Order("interactivity:Q"))
    )
    curve = (
        alt.Chart(theme.data("curves"))
        .transform_filter(f"datum.panel === '{name}'")
        .mark_line(strokeWidth=1, opacity=0.6)
        .encode(x=x, y=y, detail="line:N", color=alt.Color("colour:N", scale=None),
                tooltip=["line:N", "interactivity:Q", "value:Q"])
    )  # fmt: skip
    return (curve + line + points).properties(height=HEIGHT, width=640)


def _finish(chart: Any, told: str, data: Mapping[str, list[dict[str, Any]]]) -> dict[str, Any]:
    spec: dict[str, Any] = chart.properties(description=told).to_dict(validate=False)
    spec["datasets"] = {name: theme.rounded(rows) for name, rows in data.items()}
    spec.pop("config", None)
    return spec


def write_search(candidates: Sequence[Candidate], path: Path) -> None:
    """Write the page, all or nothing.

    Raises
    ------
    InfeasibleError
        The name ends in neither .html nor .svg.
    OSError
        The file cannot be written.
    """
    write_plot(search_chart(candidates), path)
