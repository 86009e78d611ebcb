"""One chart as a file of its own: a page that loads nothing, or an SVG."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from tapeout.errors import InfeasibleError
from tapeout.files import write_whole
from tapeout.report.content import Chart
from tapeout.report.page import asset, environment, safe_json
from tapeout.report.runtime import vega_bundle

HTML = (".html", ".htm")
WIDTH = 860
INK, SOFT, GRID = "#1b1f24", "#57606a", "#e6eaee"
FONT = "DejaVu Sans, Liberation Sans, Arial, sans-serif"
_LINE = 92  # characters of a title line


def check_plot(path: Path) -> None:
    """Refuse a name whose ending is none of those written, before anything is computed.

    Raises
    ------
    InfeasibleError
        The ending is neither .html nor .svg.
    """
    if path.suffix.lower() not in (*HTML, ".svg"):
        raise InfeasibleError(f"--plot {path}: end the name in .html or .svg")


def write_plot(chart: Chart, path: Path, notes: Sequence[str] = ()) -> None:
    """Write a chart as HTML or SVG, all or nothing.

    Parameters
    ----------
    chart : Chart
    path : Path
        Ends in .html or .svg.
    notes : sequence of str
        Lines below the chart of a page.

    Raises
    ------
    InfeasibleError
        Another ending.
    OSError
        The file cannot be written.
    """
    check_plot(path)
    text = svg(chart) if path.suffix.lower() == ".svg" else page(chart, notes)
    write_whole(path, text)


def page(chart: Chart, notes: Sequence[str] = ()) -> str:
    """The chart as a page with everything inside."""
    return (
        environment()
        .get_template("plot.html.j2")
        .render(
            chart=chart,
            notes=tuple(notes),
            spec=safe_json(chart.spec),
            style=Markup(asset("style.css")),  # noqa: S704  our own file
            script=Markup(asset("page.js")),  # noqa: S704  our own file
            runtime=Markup(vega_bundle()),  # noqa: S704  the chart runtime, made safe in runtime.py
        )
    )


def svg(chart: Chart) -> str:
    """The chart as SVG on white, its title and legend drawn in."""
    import vl_convert  # noqa: PLC0415  loads an engine

    text: str = vl_convert.vegalite_to_svg(_standalone(chart))
    return text


def _standalone(chart: Chart) -> dict[str, Any]:
    """Specification with a size, colours, title and legend of its own."""
    spec = dict(chart.spec)
    spec["width"] = WIDTH
    spec["autosize"] = {"type": "pad", "contains": "padding"}
    spec["background"] = "#ffffff"
    spec["padding"] = 16
    spec["title"] = {
        "text": _folded(chart.title),
        "subtitle": "   ".join(f"● {one.label}" for one in chart.legend),
        "anchor": "start",
        "fontSize": 14,
        "subtitleColor": SOFT,
        "offset": 12,
    }
    if len(chart.legend) > 1:
        spec["title"]["subtitle"] = ""
        spec = _with_legend(spec, chart)
    spec["config"] = {
        "font": FONT,
        "view": {"stroke": None},
        "axis": {"labelColor": SOFT, "titleColor": SOFT, "gridColor": GRID, "domainColor": GRID},
        "text": {"fill": INK},
        "title": {"color": INK},
    }
    return spec


def _with_legend(spec: dict[str, Any], chart: Chart) -> dict[str, Any]:
    """Turn the colours of the rows into a drawn legend with the labels."""
    scale = {
        "domain": [one.colour for one in chart.legend],
        "range": [one.colour for one in chart.legend],
    }
    names = " : ".join(
        f"datum.value == '{one.colour}' ? {_quoted(one.label)}" for one in chart.legend
    )
    legend = {
        "title": None,
        "orient": "top",
        "direction": "horizontal",
        "columns": 3,
        "labelLimit": 300,
        "labelExpr": f"{names} : datum.label",
        "symbolType": "circle",
    }
    layers = []
    for layer in spec["layer"]:
        coded = dict(layer.get("encoding", {}))
        if coded.get("color", {}).get("field") == "colour":
            coded["color"] = {"field": "colour", "type": "nominal", "scale": scale} | (
                {"legend": legend}
            )
        layers.append(dict(layer, encoding=coded))
    return dict(spec, layer=layers)


def _quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _folded(text: str) -> list[str]:
    from textwrap import wrap  # noqa: PLC0415

    return wrap(text, _LINE)
