"""The command line. Heavy imports happen inside the commands, so that help is instant."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from tapeout import __version__
from tapeout.cli import catalog as catalog_cli
from tapeout.cli import check as check_cli
from tapeout.cli import export as export_cli
from tapeout.cli import traffic as traffic_cli
from tapeout.cli import validate as validate_cli
from tapeout.cli.calibrate import calibrate
from tapeout.cli.fit import fit
from tapeout.cli.perf import perf
from tapeout.cli.portfolio import portfolio
from tapeout.cli.search import search
from tapeout.cli.show import show
from tapeout.cli.simulate import simulate
from tapeout.errors import Problem, ProblemsError, TapeoutError, printable

app = typer.Typer(
    name="tapeout",
    help="When does owning the silicon that serves your language models pay, and who keeps the"
    " savings?",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Scenario = Annotated[
    Path, typer.Argument(help="Scenario folder, e.g. examples/jalapeno", show_default=False)
]
Overlay = Annotated[
    Path | None, typer.Option(help="TOML of newer catalogue figures", show_default=False)
]
Patch = Annotated[
    list[str] | None,
    typer.Option("--patch", help="Named patch of the scenario's overlays.toml; repeatable"),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables")]


def _version(value: bool) -> None:
    if value:
        typer.echo(f"tapeout {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version")
    ] = False,
) -> None:
    """Build, buy or rent inference silicon."""
    del version


@app.command()
def decide(
    scenario: Scenario,
    report: Annotated[
        list[Path] | None,
        typer.Option(
            help="Write the page (.html) or the workbook (.xlsx) here; repeatable",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Write the results folder here", show_default=False)
    ] = None,
    draws: Annotated[int, typer.Option(help="Draw 2^N futures", min=5, max=20, metavar="N")] = 15,
    seed: Annotated[int, typer.Option(help="Seed of the scrambles", min=0)] = 20261124,
    overlay: Overlay = None,
    patch: Patch = None,
    capacity: Annotated[
        str,
        typer.Option(
            help="How the silicon is timed: steady, or simulated request by request (minutes the"
            " first time; docs/search.md)"
        ),
    ] = "steady",
    no_cache: Annotated[
        bool, typer.Option("--no-cache", help="With --capacity simulated: keep and read nothing")
    ] = False,
    as_json: AsJson = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar")] = False,
) -> None:
    """Build, buy or rent: verdict, boundary, and who keeps the savings.

    Examples:

      tapeout decide examples/jalapeno

      tapeout decide examples/jalapeno --report out/report.html --out out/results

      tapeout decide examples/jalapeno --report cash.xlsx

      tapeout decide my-scenario --patch cautious --json

      tapeout decide examples/jalapeno --capacity simulated
    """
    _check_report(report)
    from tapeout.study import Method  # noqa: PLC0415
    from tapeout.study import decide as run_decide  # noqa: PLC0415

    with _progress(show=not quiet and not as_json) as tell:
        results = run_decide(
            scenario,
            overlay=overlay,
            patches=tuple(patch or ()),
            draws_log2=draws,
            seed=seed,
            progress=tell,
            method=Method(name=capacity, cached=not no_cache),
        )
        if out is not None:
            results.write(out)
        if report:
            from tapeout.report import write_report  # noqa: PLC0415

            tell("report", 0.0)
            for path in report:
                write_report(results, path)
            tell("report", 1.0)
    if as_json:
        from tapeout.study.results import to_json  # noqa: PLC0415

        typer.echo(to_json({"manifest": results.manifest, "verdict": results.verdict}), nl=False)
        return
    from rich.console import Console  # noqa: PLC0415

    from tapeout.report import terminal  # noqa: PLC0415

    Console().print(terminal(results))
    _say_where(report, out)


def _check_report(report: list[Path] | None) -> None:
    problems = [
        Problem(
            path="--report",
            value=str(path),
            message="neither a page nor a workbook",
            remedy="end the name in .html or .xlsx; the page prints to PDF from a browser",
        )
        for path in report or ()
        if path.suffix.lower() not in (".html", ".htm", ".xlsx")
    ]
    if problems:
        raise ProblemsError("--report", problems)


def _say_where(report: list[Path] | None, out: Path | None) -> None:
    for path in report or ():
        typer.echo(f"Report: {path}")
    if out is not None:
        typer.echo(f"Results: {out}")
    if not report:
        typer.echo("Add --report report.html for the full page.")


STAGES = {
    "prepare": "timing the silicon",
    "futures": "drawing futures",
    "central": "what moves it",
    "dates": "other decision dates",
    "report": "writing the page",
}


@contextmanager
def _progress(*, show: bool) -> Iterator[Callable[[str, float], None]]:
    """A progress bar on stderr, or nothing where nobody looks."""
    if not show or not sys.stderr.isatty():
        yield lambda _stage, _done: None
        return
    from rich.console import Console  # noqa: PLC0415
    from rich.progress import Progress  # noqa: PLC0415

    with Progress(console=Console(stderr=True), transient=True) as bar:
        tasks = {stage: bar.add_task(title, total=1.0) for stage, title in STAGES.items()}
        yield lambda stage, done: bar.update(tasks[stage], completed=done)


@app.command()
def new(
    name: Annotated[Path, typer.Argument(help="Folder to create", show_default=False)],
) -> None:
    """Write a commented scenario to edit.

    Example:

      tapeout new my-chip && tapeout decide my-chip
    """
    from tapeout.study.starter import write_starter  # noqa: PLC0415

    path = write_starter(name)
    typer.echo(f"Wrote {path}. Edit it, then: tapeout decide {name}")


@app.command()
def schema() -> None:
    """Print the JSON schema of scenario.toml, for editors.

    Example:

      tapeout schema > scenario.schema.json
    """
    from tapeout.study import json_schema  # noqa: PLC0415
    from tapeout.study.results import to_json  # noqa: PLC0415

    typer.echo(to_json(json_schema()), nl=False)


app.command()(show)
app.command()(perf)
app.command()(portfolio)
app.command()(simulate)
app.command()(search)
app.command()(calibrate)
app.command()(fit)
app.add_typer(catalog_cli.app, name="catalog")
app.add_typer(validate_cli.app, name="validate")
app.add_typer(check_cli.app, name="check")
app.add_typer(traffic_cli.app, name="traffic")
app.add_typer(export_cli.app, name="export")


def run() -> None:
    """Entry point: every expected error is one clear message and exit code 2."""
    try:
        # without its standalone mode click hands the code of an Exit back instead of leaving
        code = app(standalone_mode=False)
    except typer.Exit as exit_:
        sys.exit(exit_.exit_code)
    except (typer.Abort, KeyboardInterrupt):
        typer.echo("Interrupted; nothing half-written was left behind.", err=True)
        sys.exit(130)
    except TapeoutError as error:
        typer.echo(f"Error: {printable(str(error))}", err=True)
        sys.exit(2)
    except Exception as error:
        _usage_error(error)
        raise
    sys.exit(code if isinstance(code, int) else 0)


def _usage_error(error: Exception) -> None:
    """Typer's own complaints about arguments: shown as such, exit code 2."""
    show_error, code = getattr(error, "show", None), getattr(error, "exit_code", None)
    if show_error is not None and code is not None:
        show_error()
        sys.exit(int(code) or 2)
    if isinstance(error, OSError):
        typer.echo(f"Error: {error.strerror or error}: {error.filename or ''}", err=True)
        sys.exit(2)
