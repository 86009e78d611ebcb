"""`tapeout show SCENARIO verdict.NAME`: what a figure is made of and which inputs move it."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from tapeout.cli.figures import number, spread

if TYPE_CHECKING:
    from tapeout.study.decide import Study
    from tapeout.study.trace import Traced


def show_figures(study: Study, pattern: str, *, as_json: bool) -> None:
    """Print the figures that match: a list of them, or the trace of a single one.

    Raises
    ------
    UnknownNameError
        No figure of this scenario matches.
    """
    from tapeout.errors import UnknownNameError  # noqa: PLC0415
    from tapeout.study.trace import PREFIX, traced_figures  # noqa: PLC0415

    every = {f"{PREFIX}{one.key}": one for one in traced_figures(study.problem)}
    wanted = f"{PREFIX}*" if pattern == PREFIX.rstrip(".") else pattern
    found = {name: one for name, one in every.items() if fnmatchcase(name, wanted)}
    if not found:
        raise UnknownNameError("figure", pattern, list(every))
    if len(found) == 1:
        _one(study, *next(iter(found.items())), as_json=as_json)
        return
    _list(study, found, as_json=as_json)


def _list(study: Study, found: dict[str, Traced], *, as_json: bool) -> None:
    from tapeout.study.trace import central_values  # noqa: PLC0415

    central = central_values(study.problem, study.sampler)
    rows = [
        {
            "figure": name,
            "central": central[one.key],
            "unit": one.unit,
            "formula": one.formula,
            "reported_as": list(one.reported_as),
        }
        for name, one in found.items()
    ]
    if as_json:
        _echo(rows)
        return
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    table = Table(box=None, pad_edge=False)
    table.add_column("figure", no_wrap=True)
    table.add_column("central case", justify="right", no_wrap=True)
    table.add_column("unit", no_wrap=True)
    for row in rows:
        table.add_row(
            str(row["figure"]), number(central[found[str(row["figure"])].key]), str(row["unit"])
        )
    console = Console()
    console.print(table)
    console.print("Name one of them to see its formula and every input that moves it.")


def _one(study: Study, name: str, figure: Traced, *, as_json: bool) -> None:
    from tapeout.study.trace import trace  # noqa: PLC0415

    value, moves = trace(study.problem, study.sampler, figure)
    ledger = study.ledger
    if as_json:
        inputs = [
            {
                "path": one.path,
                "value": ledger[one.path].chosen.value,
                "status": ledger[one.path].chosen.status,
                "source": ledger[one.path].chosen.source_title,
                "at_low": one.at_low,
                "at_high": one.at_high,
                "through": one.through,
            }
            for one in moves
        ]
        _echo(
            {
                "figure": name,
                "central": value,
                "unit": figure.unit,
                "formula": figure.formula,
                "reported_as": list(figure.reported_as),
                "moved_by": inputs,
            }
        )
        return
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    console = Console()
    console.print(f"[bold]{name}[/bold]  {number(value)} {figure.unit} in the central case")
    console.print(f"  formula: {figure.formula}", highlight=False, markup=False)
    console.print(f"  in verdict.json: {', '.join(figure.reported_as)}", highlight=False)
    console.print(
        "  The verdict reports means, quantiles or shares of it over the futures. Moved by:",
        highlight=False,
    )
    table = Table(box=None, pad_edge=False)
    table.add_column("input: value (5 to 95 %); status", overflow="fold")
    table.add_column("figure at low", justify="right", no_wrap=True)
    table.add_column("at high", justify="right", no_wrap=True)
    for one in moves:
        chosen = ledger[one.path].chosen
        words = f"{one.path}: {spread(chosen)}; [dim]{chosen.status}[/dim]"
        if one.through:
            words += f" (by way of {one.through})"
        table.add_row(words, number(one.at_low), number(one.at_high))
    console.print(table)
    console.print(f"{len(moves)} inputs move it. `tapeout show SCENARIO INPUT` has the source.")


def _echo(value: Any) -> None:
    import typer  # noqa: PLC0415

    from tapeout.study.results import to_json  # noqa: PLC0415

    typer.echo(to_json(value), nl=False)
