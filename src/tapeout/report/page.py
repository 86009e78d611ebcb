"""One HTML file with everything inside: text, tables, charts, styles and the chart runtime."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from tapeout.files import write_whole
from tapeout.report import headline
from tapeout.report.content import Chart, Fold, Pair, Section
from tapeout.report.reading import builds, mapping, run_id, settled
from tapeout.report.runtime import vega_bundle
from tapeout.report.sections import sections
from tapeout.report.tables.inputs import counts_sentence, sources

if TYPE_CHECKING:
    from tapeout.study import Results

_VERSIONS = ("tapeout", "catalog", "numpy", "polars")


def html(results: Results) -> str:
    """The report as one page that loads nothing.

    Parameters
    ----------
    results : Results
        Read, never changed. A key that an older study lacks leaves its section out.

    Returns
    -------
    str
        HTML; the same results give the same bytes.
    """
    results = settled(results)
    parts = sections(results)
    charts = list(charts_of(parts))
    return (
        environment()
        .get_template("page.html.j2")
        .render(
            title=results.verdict["title"],
            question=results.verdict.get("question", ""),
            builds=builds(results),
            headline=headline.verdict_sentences(results)[0],
            qualifications=headline.verdict_sentences(results)[1],
            cards=headline.cards(results),
            counts=counts_sentence(results),
            sections=parts,
            specs={chart.key: safe_json(chart.spec) for chart in charts},
            footer=_footer(results),
            sources=sources(results),
            style=Markup(asset("style.css")),  # noqa: S704  our own file
            script=Markup(asset("page.js")),  # noqa: S704  our own file
            runtime=Markup(vega_bundle()),  # noqa: S704  the chart runtime, made safe in runtime.py
        )
    )


def write_html(results: Results, path: Path) -> None:
    """Write the page through a temporary name in the same folder.

    Raises
    ------
    OSError
        The folder cannot be made or written.
    """
    write_whole(path, html(results))


def charts_of(parts: tuple[Section, ...]) -> Iterator[Chart]:
    """Every chart of the page, folded ones too."""
    for part in parts:
        yield from _charts(part.blocks)


def _charts(blocks: tuple[Any, ...]) -> Iterator[Chart]:
    for block in blocks:
        if isinstance(block, Chart):
            yield block
        elif isinstance(block, Fold | Pair):
            yield from _charts(block.blocks)


def safe_json(value: Any) -> Markup:
    """JSON that cannot end the script element it stands in."""
    text = json.dumps(value, ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    for character, code in (("<", "\\u003c"), (">", "\\u003e"), ("&", "\\u0026")):
        text = text.replace(character, code)
    return Markup(text)  # noqa: S704  escaped above


def asset(name: str) -> str:
    """Text of one of our own files beside the templates."""
    templates = environment()
    assert templates.loader is not None
    return templates.loader.get_source(templates, name)[0]


def environment() -> Environment:
    """Templates; text is escaped, an unknown name is an error."""
    return Environment(
        loader=PackageLoader("tapeout.report", "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )


def _footer(results: Results) -> tuple[tuple[str, str], ...]:
    manifest = results.manifest
    sampling = mapping(results, "sampling")
    lines = [
        ("Run", run_id(results)),
        *((name, str(manifest[name])) for name in _VERSIONS if name in manifest),
        ("seed", str(manifest.get("seed", ""))),
        ("futures", f"{sampling.get('draws', '')} in {sampling.get('scrambles', '')} scrambles"),
        ("overlays", ", ".join(manifest.get("patches", [])) or "none"),
        ("sampling error", "; ".join(headline.error_phrases(results)) or "not estimated"),
    ]
    return tuple((name, text) for name, text in lines if text)
