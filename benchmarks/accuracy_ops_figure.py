"""Figure of docs/accuracy.md: spread of the errors of operator times, chip measured or left out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import altair as alt
import numpy as np

from tapeout.perf.ops.cases import OPERATIONS
from tapeout.report.charts import theme
from tapeout.report.content import Chart, Legend
from tapeout.report.plots import write_plot

if TYPE_CHECKING:
    from accuracy_ops_scores import Scored

OUT = Path(__file__).parents[1] / "docs/img/accuracy-operators.svg"
MEASURED, LEFT_OUT = "#0072b2", "#d55e00"
NAMES = {
    "gemm": "matrix product",
    "grouped_gemm": "expert layer",
    "silu_mul": "SiLU gate",
}
FEWEST = 20  # rows below which no spread is drawn
BAR_PX, GAP_PX, ROW_PX = 8, 11, 34
LEAST, MOST = 0.25, 4.0


def draw(rows: Sequence[Scored], left: Sequence[Scored], out: Path = OUT) -> None:
    """Write the figure: 10 to 90 % and 25 to 75 % of predicted / measured by operator."""
    main = _spreads(rows, MEASURED, -GAP_PX / 2) + _spreads(left, LEFT_OUT, GAP_PX / 2)
    names = [one["name"] for one in main if one["colour"] == MEASURED]
    words = "; ".join(f"{one['name']}: {one['p50']:.2f}" for one in main)
    write_plot(
        Chart(
            key="chart-accuracy-operators",
            title="Predicted over measured time of operators on shapes no constant was fitted to",
            alt=f"Medians of predicted over measured: {words}.",
            spec=_spec(main, names, words),
            legend=(
                Legend(label="chip measured, shape not", colour=MEASURED),
                Legend(label="chip left out as well", colour=LEFT_OUT),
            ),
            height=ROW_PX * len(names),
        ),
        out,
    )


def _spreads(rows: Sequence[Scored], colour: str, shift: float) -> list[dict[str, Any]]:
    groups: dict[str, list[float]] = defaultdict(list)
    for row in rows:
        groups[row.case.op].append(row.error)
    found = []
    for op in OPERATIONS:
        if len(groups[op]) < FEWEST:
            continue
        ratio = np.clip(np.exp(np.quantile(groups[op], (0.1, 0.25, 0.5, 0.75, 0.9))), LEAST, MOST)
        named = dict(zip(("p10", "p25", "p50", "p75", "p90"), map(float, ratio), strict=True))
        name = NAMES.get(op, op.replace("_", " "))
        found.append({"name": name, "colour": colour, "shift": shift, **named})
    return found


def _spec(main: list[dict[str, Any]], names: list[str], words: str) -> dict[str, Any]:
    scale = alt.Scale(type="log", domain=[LEAST, MOST], nice=False)
    ticks = [0.25, 0.5, 0.8, 1, 1.25, 2, 4]
    axis = theme.axis(
        "predicted / measured, 10 to 90 % and 25 to 75 % of rows",
        values=ticks,
        labelOverlap=False,
        tickCount=40,
    )
    y_axis = alt.Y("name:N", sort=names, axis=alt.Axis(title=None, domain=False, ticks=False))
    colour = alt.Color("colour:N", scale=None, legend=None)
    layers = [theme.vertical_rule("even").encode(x=alt.X("x:Q", scale=scale, axis=axis))]
    for shade in (MEASURED, LEFT_OUT):
        shift = next((one["shift"] for one in main if one["colour"] == shade), 0.0)
        base = alt.Chart(theme.data()).transform_filter(f"datum.colour == '{shade}'")
        for low, high, opacity in (("p10", "p90", 0.35), ("p25", "p75", 0.9)):
            layers.append(
                base.mark_bar(size=BAR_PX, yOffset=shift, opacity=opacity).encode(
                    x=alt.X(f"{low}:Q", scale=scale, axis=axis), x2=f"{high}:Q", y=y_axis,
                    color=colour,
                )
            )  # fmt: skip
        layers.append(
            base.mark_tick(
                orient="vertical", size=BAR_PX + 4, thickness=2, yOffset=shift, color="#1b1f24"
            ).encode(x=alt.X("p50:Q", scale=scale, axis=axis), y=y_axis)
        )
    chart = alt.layer(*layers)
    return theme.finish(
        chart, ROW_PX * len(names), f"Medians: {words}.", main=main, even=[{"x": 1.0}]
    )
