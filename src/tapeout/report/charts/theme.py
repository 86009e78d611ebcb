"""What all charts share: colours, fonts, named rows, and the finished specification.

Colours are those of Okabe and Ito [1]_, darkened where they would be pale on white. Text, grid and
background carry no colour here: the page sets them, so that they follow light and dark.

References
----------
.. [1] M. Okabe, K. Ito, "Color Universal Design", 2008.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt

from tapeout.economics.types import Holder
from tapeout.report.labels import wrapped

OWN = "#c8501e"
OTHER = "#3d6d9e"
BASE = "#7b8794"
GOOD = "#2c8a6b"
BAD = "#b8472a"
NEUTRAL = "#8a94a0"

HOLDER_COLOURS: Mapping[str, str] = {
    Holder.FOUNDRY: "#0072b2",
    Holder.MEMORY: "#56b4e9",
    Holder.PACKAGING: "#009e73",
    Holder.PARTNER: "#d55e00",
    Holder.VENDOR: "#e69f00",
    Holder.FABRIC: "#cc79a7",
    Holder.CLOUD: "#8d6cab",
    Holder.ENERGY_SITE: "#a39a2d",
    Holder.OWNER: "#5f6b7a",
    Holder.PLATFORM: "#2f4b7c",
    Holder.CUSTOMER: "#a3543f",
}

_ROW_PX = 46
_LINE_PX = 15
_NAME_RISE_PX = 13.0
_BAR_DROP_PX = 8.0
_NAME_CHARACTERS = 50  # what 354 px, a telephone's width less margins, hold in a wide font
_BLANK_LINE = "\u00a0\n"  # a line without any character would take no room
_TELEPHONE_PX = 350.0
_LABEL_CHARACTER_PX = 7.6
_LABEL_GAP_PX = 10.0
_SIX = 6

Rows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Bands:
    """Rows of a chart with names above their bars, high enough for names of `lines` lines."""

    order: tuple[str, ...]
    lines: int

    @property
    def row_px(self) -> int:
        """Height of one row."""
        return _ROW_PX + _LINE_PX * (self.lines - 1)

    @property
    def height_px(self) -> int:
        """Height of all rows."""
        return self.row_px * len(self.order)

    @property
    def rise_px(self) -> float:
        """First line of a name above the middle of its row."""
        return _NAME_RISE_PX + _LINE_PX / 2 * (self.lines - 1)

    @property
    def drop_px(self) -> float:
        """Bar below the middle of its row."""
        return _BAR_DROP_PX + _LINE_PX / 2 * (self.lines - 1)

    def axis(self) -> Any:
        """One band per row, no axis: the name stands above the bar, so that no label is cut."""
        scale = alt.Scale(paddingInner=0, paddingOuter=0)
        return alt.Y("row:N", sort=list(self.order), axis=None, scale=scale)

    def names(self, base: Any) -> Any:
        """Names above the bars, from the field `name`."""
        return base.mark_text(
            align="left",
            baseline="middle",
            yOffset=-self.rise_px,
            limit=alt.expr("width"),
            lineBreak="\n",
            lineHeight=_LINE_PX,
            fontSize=12,
        ).encode(x=alt.value(2), y=self.axis(), text="name:N")

    def bar(self, base: Any, size: int = 11, **options: Any) -> Any:
        """Bars that leave room for the name above them."""
        return base.mark_bar(size=size, yOffset=self.drop_px, **options)

    def tick(self, base: Any, size: int = 19) -> Any:
        """A mark across a bar."""
        return base.mark_tick(orient="vertical", size=size, thickness=3, yOffset=self.drop_px)

    def value(self, base: Any) -> Any:
        """A number at the end of a bar."""
        return base.mark_text(
            fontSize=12,
            fontWeight=600,
            align="left",
            dx=6,
            yOffset=self.drop_px,
            baseline="middle",
        )


def level(rows: Rows) -> list[dict[str, Any]]:
    """The rows with names of equal height, so that each stands right above its bar."""
    most = max((str(row["name"]).count("\n") for row in rows), default=0)
    return [
        {**row, "name": _BLANK_LINE * (most - str(row["name"]).count("\n")) + str(row["name"])}
        for row in rows
    ]


def bands(rows: Rows) -> Bands:
    """Layout of rows with `row` and `name`."""
    lines = max((str(row["name"]).count("\n") + 1 for row in rows), default=1)
    return Bands(tuple(str(row["row"]) for row in rows), lines)


def reach(low: float, ends: Sequence[tuple[float, str]]) -> float:
    """Upper end of a scale at which the labels behind the bars fit a telephone's width.

    Parameters
    ----------
    low : float
        Lower end of the scale.
    ends : pairs of float and str
        Where each bar ends, and the label that follows it.
    """
    room = [
        (end - low) / (1.0 - (_LABEL_CHARACTER_PX * len(text) + _LABEL_GAP_PX) / _TELEPHONE_PX)
        for end, text in ends
    ]
    return low + max(room)


def name(text: str) -> str:
    """A row's name in at most two lines that fit a telephone."""
    return wrapped(text, width=_NAME_CHARACTERS)


def rounded(rows: Rows) -> list[dict[str, Any]]:
    """Rows with numbers to six significant digits, which no chart can show more of."""
    return [{key: _rounded(value) for key, value in row.items()} for row in rows]


def _rounded(value: Any) -> Any:
    if not isinstance(value, float):
        return value
    return float(f"{value:.{_SIX}g}") if math.isfinite(value) else None


def finish(chart: Any, height: int, description: str, **datasets: Rows) -> dict[str, Any]:
    """Specification as wide as its container, with its named data inside.

    Parameters
    ----------
    chart : altair chart
        Reads `alt.NamedData` only.
    height : int
        Of the plot. [px]
    description : str
        For readers who do not see it.
    **datasets : rows
        By the names that the chart reads; the first is the one offered as CSV.
    """
    whole = chart.properties(width="container", height=height, description=description)
    spec: dict[str, Any] = whole.to_dict(validate=False)
    spec["datasets"] = {name: rounded(rows) for name, rows in datasets.items()}
    spec["autosize"] = {"type": "fit-x", "contains": "padding"}
    spec.pop("config", None)
    return spec


def data(name: str = "main") -> Any:
    """Data that `finish` puts in by name."""
    return alt.NamedData(name)


def axis(title: str, **options: Any) -> Any:
    """A quantitative axis with few labels that never collide."""
    made: dict[str, Any] = {"title": title, "tickCount": 5, "labelOverlap": "greedy"}
    return alt.Axis(**(made | options))


def vertical_rule(name: str, **options: Any) -> Any:
    """A vertical line at the field `x` of a dataset."""
    made: dict[str, Any] = {"strokeWidth": 1.5, "strokeDash": [5, 4]} | options
    return alt.Chart(data(name)).mark_rule(**made).encode(x="x:Q")
