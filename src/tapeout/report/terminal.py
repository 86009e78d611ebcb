"""The verdict for a terminal: the page's own tables, with fewer columns."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rich import box
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table as RichTable
from rich.text import Text

from tapeout.report import headline
from tapeout.report.content import Row, Table
from tapeout.report.reading import run_id, settled
from tapeout.report.tables import (
    boundary,
    demand,
    information,
    options,
    programme,
    strategies,
    supply,
)
from tapeout.report.tables.inputs import counts_sentence

if TYPE_CHECKING:
    from tapeout.study import Results

_STYLES = {"good": "green", "bad": "red", "best": "bold", "muted": "dim"}

_SHOWN = (
    (boundary.advantage, ("against", "g_ship", "g_star", "clears", "p")),
    (boundary.priors, ("belief", "g", "p_list", "p_negotiated")),
    (strategies.ranking, ("strategy", "cost", "p_cheapest", "contribution", "p_best")),
    (demand.response, ("strategy", "price", "demand", "contribution")),
    (supply.shadow_prices, ("input", "strategy", "binds", "cost", "contribution")),
    (options.lcot, ("option", "p50", "range")),
    (programme.dates, ("date", "g_star", "p", "leverage", "volume", "whole")),
    (programme.roadmaps, ("roadmap", "chips", "central", "saving", "g_star", "p")),
    (boundary.must_be_true, ("input", "central", "threshold")),
    (information.first, ("what", "all", "pair")),
)


def render(results: Results, report_path: Path | None = None) -> RenderableType:
    """Headline, tables and where the report is, as one rich renderable."""
    results = settled(results)
    first, rest = headline.verdict_sentences(results)
    parts: list[RenderableType] = [
        Panel(
            Group(Text(first, style="bold"), *(Text(f"\n{text}") for text in rest)),
            title=Text(str(results.verdict["title"])),
            title_align="left",
            box=box.ROUNDED,
            padding=(1, 2),
        )
    ]
    for build, keys in _SHOWN:
        made = build(results)
        if made is not None:
            present = {column.key for column in made.columns}
            shown = tuple(key for key in keys if key in present)
            parts += [Text(), rich_table(made.only(*shown) if len(shown) > 1 else made)]
    errors = headline.error_phrases(results)
    if errors:
        parts.append(Text(f"\nSampling error: {'; '.join(errors)}."))
    parts.append(Text(f"\nInputs: {counts_sentence(results)}. Run {run_id(results)}."))
    if report_path is not None:
        parts.append(Text(f"Report: {report_path}", overflow="fold"))
    return Group(*parts)


def rich_table(table: Table) -> RichTable:
    """A table of the page for the terminal; long words wrap, numbers do not."""
    made = RichTable(
        title=Text(table.caption, style="bold"),
        title_justify="left",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        expand=False,
    )
    for index, column in enumerate(table.columns):
        made.add_column(
            Text(column.label),
            justify=column.align,
            overflow="fold",
            min_width=12 if index == 0 else None,
        )
    for row in table.rows:
        made.add_row(*_cells(row), end_section=row.style == "total")
    return made


def _cells(row: Row) -> list[Text]:
    return [
        Text(one.text, style="bold" if row.style == "total" else _STYLES.get(one.tone, ""))
        for one in row.cells
    ]
