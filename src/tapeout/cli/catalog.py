"""`tapeout catalog`: what is known, from where, and where the sources disagree."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from tapeout import constants as c
from tapeout.errors import TapeoutError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from tapeout.catalog import Catalog
    from tapeout.sources import Fact, Figure, Resolved

app = typer.Typer(
    name="catalog",
    help="Figures of chips, prices and programmes: sources, conflicts, stale entries.",
    no_args_is_help=True,
)

Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
Overlay = Annotated[
    Path | None,
    typer.Option("--overlay", help="TOML file of your own figures; they win.", metavar="FILE"),
]
Kind = Annotated[
    Literal["chip", "market", "driver", "programme"],
    typer.Option("--kind", help="What to list."),
]

_SCALED = {"B", "B/s", "FLOP/s", "FLOP/s/W", "W", "Hz", "USD", "USD/year", "tokens/day", "count"}
_PREFIXES = (("P", c.PETA), ("T", c.TERA), ("G", c.GIGA), ("M", c.MEGA), ("k", c.KILO))
_SHORT = {
    "independent_estimate": "independent",
    "vendor_claim": "vendor",
    "assumption": "assumed",
}
_WORDED = {"USD", "USD/year", "tokens/day", "count"}
_BARE = {"fraction", "ratio", "count"}  # the field's name says it
_WORDS = {"T": " trillion", "G": " bn", "M": " M"}


@contextmanager
def _catalog(overlay: Path | None) -> Iterator[Catalog]:
    """Open the catalogue; a mistake of the user becomes a message and exit status 2."""
    try:
        from tapeout.catalog import load  # noqa: PLC0415  # keeps `--help` fast

        yield load(overlay)
    except TapeoutError as error:
        typer.secho(str(error), err=True, fg=typer.colors.RED)
        raise typer.Exit(2) from error


def _console() -> Console:
    from rich.console import Console  # noqa: PLC0415

    return Console(highlight=False)


def _table(*columns: str, title: str = "") -> Table:
    from rich.table import Table  # noqa: PLC0415

    table = Table(title=title or None, title_justify="left", box=None, pad_edge=False)
    for name in columns:
        is_number = name.startswith(">")
        table.add_column(
            name.removeprefix(">"),
            justify="right" if is_number else "left",
            overflow="fold",
            no_wrap=is_number or not table.columns,  # names are broken at their joints
        )
    return table


def _shown(value: float, unit: str) -> str:
    """Write a number for people: 3.35 TB/s, 500 M USD, 0.035."""
    prefix, factor = "", 1.0
    if unit in _SCALED:
        for name, size in _PREFIXES:
            if abs(value) >= size and not (unit in _WORDED and name not in _WORDS):
                prefix, factor = name, size
                break
    number = value / factor
    digits = f"{number:,.0f}" if abs(number) >= c.KILO else f"{number:.4g}"
    shown_unit = "" if unit in _BARE else unit
    if unit in _WORDED:
        return f"{digits}{_WORDS.get(prefix, '')} {shown_unit}".strip()
    return f"{digits} {prefix}{shown_unit}".strip()


def _broken(text: str, width: int = 27) -> str:
    """Break a long name after a joint, so that it reads in a narrow column."""
    lines = [""]
    for part in re.findall(r"[^._-]+[._-]?", text):
        if len(lines[-1]) + len(part) > width and lines[-1]:
            lines.append("  ")
        lines[-1] += part
    return "\n".join(lines)


def _range(figure: Figure) -> str:
    """Write the range, the unit only where the scale may differ from the value's."""
    ends = ["" if end is None else _shown(end, figure.unit) for end in (figure.low, figure.high)]
    if not any(ends):
        return ""
    if figure.unit not in _SCALED:
        ends = [end.removesuffix(f" {figure.unit}") for end in ends]
    low, high = ends
    if not low or not high:
        return f"from {low}" if low else f"up to {high}"
    number, _, rest = low.partition(" ")
    return f"{number if high.endswith(rest) else low} to {high}"


def _figure_json(figure: Figure | Fact) -> dict[str, Any]:
    return asdict(figure)


def _resolved_json(resolved: Resolved) -> dict[str, Any]:
    return {
        "path": resolved.path,
        "set_by": resolved.set_by,
        "why": resolved.why,
        **_figure_json(resolved.chosen),
        "rejected": [_figure_json(figure) for figure in resolved.rejected],
    }


def _print_json(content: object) -> None:
    typer.echo(json.dumps(content, indent=1, ensure_ascii=False))


def _listing(catalog: Catalog, kind: str) -> Iterator[dict[str, Any]]:
    for name in catalog.entities(kind):
        if kind == "chip":
            chip = catalog.chip(name)
            fact = chip.fact("release_date")
            date = None if fact is None else fact.text
            yield {"name": name, "aliases": list(chip.aliases), "released": date}
        elif kind == "driver":
            yield {"name": name, **_resolved_json(catalog.driver(name))}
        elif kind == "programme":
            events = catalog.events(name)
            dates = [event.date for event in events]
            yield {"name": name, "events": len(events), "from": min(dates), "to": max(dates)}
        else:
            yield {"name": name, "fields": list(catalog.fields(name))}


@app.command("list")
def list_names(kind: Kind = "chip", as_json: Json = False, overlay: Overlay = None) -> None:
    """List what is known by name.

    For example:

        tapeout catalog list

        tapeout catalog list --kind driver --json
    """
    with _catalog(overlay) as catalog:
        rows = list(_listing(catalog, kind))
        if as_json:
            _print_json(rows)
            return
        if kind == "driver":
            table = _table("driver", ">value", "range", "status")
            for name in catalog.entities("driver"):
                figure = catalog.driver(name).chosen
                table.add_row(
                    _broken(name),
                    _shown(figure.value, figure.unit),
                    _range(figure),
                    _short(figure.status),
                )
        else:
            columns = [name for name in rows[0] if name != "name"]
            table = _table(kind, *columns)
            for row in rows:
                table.add_row(row["name"], *(_cell(row[name]) for name in columns))
        _console().print(table)


def _cell(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(str(one) for one in value)
    return "" if value is None else str(value)


def _quantities(catalog: Catalog, name: str) -> tuple[list[Resolved], list[tuple[str, str, Fact]]]:
    """Return every chosen figure and text of an entity."""
    figures, facts = [], []
    for field in catalog.fields(name):
        for condition in catalog.conditions(name, field):
            resolved = catalog.find(name, field, condition)
            fact = catalog.fact(name, field, condition)
            if resolved is not None:
                figures.append(resolved)
            elif fact is not None:
                facts.append((field, condition, fact))
    return figures, facts


def _is_driver(catalog: Catalog, name: str) -> bool:
    return name.removeprefix("driver.") in catalog.entities("driver")


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="Chip, alias, market, driver or programme.")],
    rivals: Annotated[
        bool, typer.Option("--rivals", help="Show the figures that were not chosen, too.")
    ] = False,
    as_json: Json = False,
    overlay: Overlay = None,
) -> None:
    """Show every figure of a chip, market or driver, with source and rivals.

    For example:

        tapeout catalog show gb300 --rivals

        tapeout catalog show nre_usd

        tapeout catalog show process-3nm --json
    """
    figures: list[Resolved]
    facts: list[tuple[str, str, Fact]]
    with _catalog(overlay) as catalog:
        if _is_driver(catalog, name):
            full = name.removeprefix("driver.")
            figures, facts = [catalog.driver(full)], []
        else:
            full = catalog.find_entity(name)
            is_programme = full in catalog.entities("programme")
            figures, facts = [], []
            if not is_programme or full in catalog.entities("chip"):
                figures, facts = _quantities(catalog, full)
        events = catalog.events(full)
        if as_json:
            content = {
                "name": full,
                "figures": [_resolved_json(resolved) for resolved in figures],
                "facts": [{"field": field, **_figure_json(fact)} for field, _, fact in facts],
                "events": [asdict(event) for event in events],
            }
            _print_json(content)
            return
        console = _console()
        console.print(f"[bold]{full}[/bold]")
        _print_figures(console, figures, rivals=rivals)
        if len(figures) == 1:
            _print_reasons(console, figures[0])
        _print_facts(console, facts)
        if events:
            table = _table("date", "event", "note", title="\nProgramme")
            for event in sorted(events, key=lambda one: one.date):
                table.add_row(event.date, event.event.replace("_", " "), event.note)
            console.print(table)


def _label(resolved: Resolved) -> str:
    condition = resolved.chosen.condition
    parts = resolved.path.split(".")
    field = _broken(parts[1] if parts[0] == "driver" else parts[2], 24)
    lines = [f"[dim]  {line}[/dim]" for line in textwrap.wrap(condition, 22)]
    return "\n".join([field, *lines])


def _print_figures(console: Console, figures: list[Resolved], *, rivals: bool) -> None:
    """Print figures with numbered sources, the numbers explained below."""
    if not figures:
        return
    table = _table("field", ">value", ">status", ">date", ">src")
    numbers: dict[tuple[str, str], int] = {}

    def add(label: str, figure: Figure, mark: str = "", style: str = "") -> None:
        source = (figure.source_title, figure.source_url)
        number = str(numbers.setdefault(source, len(numbers) + 1)) if source[0] else ""
        ranged = _range(figure)
        table.add_row(
            label,
            _shown(figure.value, figure.unit) + (f"\n[dim]{ranged}[/dim]" if ranged else ""),
            _short(figure.status) + mark,
            figure.as_of,
            number,
            style=style,
        )

    for resolved in figures:
        count = len(resolved.rejected)
        add(_label(resolved), resolved.chosen, f" +{count}" if count else "")
        for rival in resolved.rejected if rivals else ():
            add("  beside", rival, style="dim")
    console.print(table)
    if not rivals and any(resolved.rejected for resolved in figures):
        console.print("[dim]+n: other statements beside the chosen one; see --rivals[/dim]")
    for (title, url), number in numbers.items():
        console.print(f"[dim]{number:>3}  {title}\n     {url}[/dim]", soft_wrap=True)


def _short(status: str) -> str:
    return _SHORT.get(status, status)


def _print_reasons(console: Console, resolved: Resolved) -> None:
    for label, text in (("why", resolved.why), ("note", resolved.chosen.note)):
        if text:
            console.print(f"[dim]{label}[/dim] {text}")


def _print_facts(console: Console, facts: list[tuple[str, str, Fact]]) -> None:
    if not facts:
        return
    table = _table("fact", "text", "date", title="\nIn words")
    for field, condition, fact in facts:
        label = f"{field} [dim]{condition}[/dim]" if condition else field
        table.add_row(label, fact.text, fact.as_of)
    console.print(table)


@app.command()
def sources(as_json: Json = False, overlay: Overlay = None) -> None:
    """List every page and file the figures were read from, most used first.

    For example:

        tapeout catalog sources
    """
    with _catalog(overlay) as catalog:
        found = catalog.sources()
        if as_json:
            _print_json([asdict(source) for source in found])
            return
        table = _table(">rows", "newest", "source")
        for source in found:
            table.add_row(
                str(source.rows), source.newest, f"{source.title}\n[dim]{source.url}[/dim]"
            )
        console = _console()
        console.print(table)
        console.print(f"{len(found)} sources, release {catalog.release}")


@app.command()
def conflicts(as_json: Json = False, overlay: Overlay = None) -> None:
    """List quantities whose sources disagree, widest first.

    The chosen value comes by status, then date; the range spans the others.

    For example:

        tapeout catalog conflicts
    """
    with _catalog(overlay) as catalog:
        found = catalog.conflicts()
        if as_json:
            _print_json(
                [
                    {
                        "path": one.path,
                        "spread": one.spread,
                        "chosen": _figure_json(one.chosen),
                        "rivals": [_figure_json(rival) for rival in one.rivals],
                    }
                    for one in found
                ]
            )
            return
        table = _table("quantity", ">chosen", "others", ">spread")
        for one in found:
            others = dict.fromkeys(
                _shown(rival.value, rival.unit).removesuffix(f" {rival.unit}")
                for rival in one.rivals
            )
            table.add_row(
                _broken(one.path.removeprefix("catalog.")),
                _shown(one.chosen.value, one.chosen.unit),
                ", ".join(others),
                f"{one.spread:.2f}x",
            )
        _console().print(table)


@app.command()
def stale(
    as_of: Annotated[
        str, typer.Option("--as-of", help="Day to judge from, YYYY-MM-DD; the release's date.")
    ] = "",
    days: Annotated[int, typer.Option("--days", min=0, help="Age from which it is stale.")] = 180,
    as_json: Json = False,
    overlay: Overlay = None,
) -> None:
    """List prices, margins and drivers that are old at a date.

    For example:

        tapeout catalog stale --days 365

        tapeout catalog stale --as-of 2027-06-30
    """
    with _catalog(overlay) as catalog:
        found = catalog.stale(as_of or catalog.release, days)
        if as_json:
            _print_json([_resolved_json(resolved) for resolved in found])
            return
        table = _table("date", "quantity", ">value")
        for resolved in sorted(found, key=lambda one: one.chosen.as_of):
            figure = resolved.chosen
            path = resolved.path.removeprefix("catalog.")
            table.add_row(figure.as_of, _broken(path, 44), _shown(figure.value, figure.unit))
        console = _console()
        console.print(table)
        console.print(f"{len(found)} older than {days} days at {as_of or catalog.release}")
