"""`tapeout show`: every resolved number, what set it, what it beat, and which lines it moves."""

from __future__ import annotations

from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from tapeout.cli.figures import spread
from tapeout.constants import MEGA

if TYPE_CHECKING:
    from rich.table import Table

    from tapeout.sources import Resolved
    from tapeout.study.central import CentralCase
    from tapeout.study.decide import Study


def show(
    scenario: Annotated[Path, typer.Argument(help="Scenario folder", show_default=False)],
    path: Annotated[
        str,
        typer.Argument(
            help="Only paths that match, e.g. 'options.own.*'; `verdict` for the figures computed"
        ),
    ] = "*",
    lines: Annotated[
        bool, typer.Option("--lines", help="Cost lines with formula, inputs and present value")
    ] = False,
    overlay: Annotated[Path | None, typer.Option(help="TOML of newer figures")] = None,
    patch: Annotated[list[str] | None, typer.Option("--patch", help="Named patch")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON")] = False,
) -> None:
    """Every resolved number of a scenario and where it comes from.

    Examples:

      tapeout show examples/jalapeno

      tapeout show examples/jalapeno options.own.nre_usd

      tapeout show examples/jalapeno 'build-bridge.own.*' --lines

      tapeout show examples/jalapeno verdict

      tapeout show examples/jalapeno verdict.g_ship.list
    """
    from rich.console import Console  # noqa: PLC0415

    from tapeout.errors import UnknownNameError  # noqa: PLC0415
    from tapeout.study import prepare  # noqa: PLC0415

    study = prepare(scenario, overlay=overlay, patches=tuple(patch or ()))
    if lines:
        _lines(study, path, as_json=as_json)
        return
    if path.split(".")[0] == "verdict":
        from tapeout.cli.trace import show_figures  # noqa: PLC0415

        show_figures(study, path, as_json=as_json)
        return
    found = [entry for entry in study.ledger if fnmatchcase(entry.path, path)]
    if not found:
        raise UnknownNameError("input", path, list(study.ledger.entries))
    if as_json:
        from tapeout.study.results import to_json  # noqa: PLC0415

        typer.echo(to_json([_record(entry) for entry in found]), nl=False)
        return
    console = Console()
    if len(found) == 1:
        _one(console, study, found[0])
        return
    console.print(_table(sorted(found, key=lambda entry: entry.path)))
    counts = ", ".join(f"{count} {name}" for name, count in study.ledger.counts().items())
    console.print(f"{len(found)} inputs shown; in all {counts}.")
    for text in study.omitted:
        console.print(f"Left out: {text}.")


def _record(entry: Resolved) -> dict[str, Any]:
    from dataclasses import asdict  # noqa: PLC0415

    return asdict(entry)


def _table(found: list[Resolved]) -> Table:
    from rich.table import Table  # noqa: PLC0415

    table = Table(box=None, pad_edge=False)
    table.add_column("path", no_wrap=True)
    table.add_column("value (5 to 95 %), unit; status, set by", overflow="fold")
    for entry in found:
        origin = f"[dim]{entry.chosen.status}, {entry.set_by}[/dim]"
        table.add_row(entry.path, f"{spread(entry.chosen)}\n{origin}")
    return table


def _one(console: Any, study: Study, entry: Resolved) -> None:
    from tapeout.study.futures import model_paths  # noqa: PLC0415

    figure = entry.chosen
    console.print(f"[bold]{entry.path}[/bold]  {spread(figure)}")
    rows = {
        "status": figure.status,
        "set by": entry.set_by,
        "as of": figure.as_of,
        "condition": figure.condition,
        "source": figure.source_title,
        "url": figure.source_url,
        "why": entry.why,
        "note": figure.note,
    }
    for name, value in rows.items():
        if value:
            console.print(f"  {name}: {value}", highlight=False, markup=False)
    for beaten in entry.rejected:
        source = beaten.source_title or "no source"
        console.print(
            f"  chosen over: {spread(beaten)} [{beaten.status}, {beaten.as_of}] {source}",
            highlight=False,
            markup=False,
        )
    paths = model_paths(entry.path, study.sampler.kinds, study.ledger)
    lines = [line for flow in _central(study).flows.values() for line in flow.lines]
    names = sorted({line.key for line in lines if any(line.depends_on(p) for p in paths)})
    if names:
        console.print(f"  moves lines: {', '.join(names)}", highlight=False, markup=False)


def _central(study: Study) -> CentralCase:
    from tapeout.study.central import central_case  # noqa: PLC0415

    return central_case(study.problem, study.sampler)


def _lines(study: Study, pattern: str, *, as_json: bool) -> None:
    from tapeout.errors import UnknownNameError  # noqa: PLC0415
    from tapeout.study.central import line_rows  # noqa: PLC0415

    every = {f"{row['strategy']}.{row['line']}": row for row in line_rows(_central(study))}
    rows = [row for name, row in every.items() if fnmatchcase(name, pattern)]
    if not rows:
        raise UnknownNameError("cost line", pattern, list(every))
    if as_json:
        from tapeout.study.results import to_json  # noqa: PLC0415

        typer.echo(to_json(rows), nl=False)
        return
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    table = Table(box=None, pad_edge=False)
    for name in ("line", "to", "PV, $ M"):
        justify: Literal["left", "right"] = "right" if name.startswith("PV") else "left"
        table.add_column(name, justify=justify, no_wrap=True)
    table.add_column("formula", overflow="fold")
    strategy = ""
    for row in rows:
        if row["strategy"] != strategy:
            strategy = row["strategy"]
            table.add_row(f"[bold]{strategy}[/bold]")
        memo = "" if row["cash"] else " (memo)"
        amount = f"{row['npv_usd'] / MEGA:,.1f}"
        table.add_row(f"  {row['line']}{memo}", row["holder"], amount, row["formula"])
    Console().print(table)
