"""`tapeout fit`: calibrate a deployment to its own request log."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tapeout.cli import deploy as d

if TYPE_CHECKING:
    from tapeout.serving.telemetry import Calibration

ABOUT_RUNS = 250


def fit(
    log: Annotated[
        Path,
        typer.Argument(
            help="Request log, CSV or JSON lines: arrival, first and last token, input and output"
            " tokens",
            show_default=False,
        ),
    ],
    names: d.Names,
    out: Annotated[
        Path | None, typer.Option("--out", help="Write the calibration here (.toml)")
    ] = None,
    chip: d.Chip = "",
    parallelism: d.Parallelism = "",
    precision: d.Precision = None,
    policy: d.PolicyName = "vllm-v1",
    max_num_seqs: d.Sequences = None,
    max_num_batched_tokens: d.Budget = None,
    kv_blocks: d.Blocks = None,
    block_size: d.BlockTokens = 16,
    no_prefix_cache: d.NoPrefixCache = False,
    fraction: Annotated[
        float, typer.Option(help="Share of the log's time that is fitted to", min=0.05, max=1.0)
    ] = 0.6,
    column: Annotated[
        list[str] | None,
        typer.Option("--column", help="Name of a column, e.g. arrival=ts; repeatable"),
    ] = None,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Leave out rows that cannot be read, and count them")
    ] = False,
    seed: d.Seed = 0,
    overlay: d.Overlay = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar")] = False,
) -> None:
    """Fit four constants of a deployment to its request log; the later part scores the fit.

    They are a factor on operator times, a time added to every step, and the time before the
    scheduler sees a request and each of its tokens. The log is of ONE replica.

    Examples:

      tapeout fit log.csv h100 llama-3.1-8b --parallelism tp1 --out calibration.toml

      tapeout fit log.jsonl h100 llama-3.1-70b --parallelism tp4 --column arrival=received_at
    """
    from tapeout.serving.telemetry import read_log, write_calibration  # noqa: PLC0415

    columns = _columns(column or [])
    placement = d.placement_of(names, chip, parallelism, precision, overlay)
    limits = d.limits_of(
        max_num_seqs, max_num_batched_tokens, kv_blocks, block_size, no_prefix_cache=no_prefix_cache
    )
    limits = replace(limits, policy=policy)
    read = read_log(log, columns=columns, skip_bad=skip_bad)
    deployment = d.deployment_of(placement, limits)
    with _bar(show=not quiet and not as_json) as tell:
        from tapeout.perf import PhysicalModel  # noqa: PLC0415
        from tapeout.serving.telemetry.deployed import calibrate  # noqa: PLC0415

        found, notes = calibrate(
            read, deployment, PhysicalModel(), fraction=fraction, seed=seed, tell=tell
        )
    if out is not None:
        write_calibration(out, found)
    if as_json:
        typer.echo(json.dumps(found.model_dump(), indent=2))
    else:
        _show(found, notes)
    if out is not None:
        typer.echo(f"Calibration: {out}", err=as_json)
    if not as_json:
        _next_step(names, chip, parallelism, out)


def _next_step(names: list[str], chip: str, parallelism: str, out: Path | None) -> None:
    """How the calibration is used, or kept."""
    if out is None:
        typer.echo("Next: --out calibration.toml keeps it for `tapeout simulate --calibration`")
        return
    words = ["--calibration", str(out), "--chip", chip or names[0], "--model", names[-1]]
    words += ["--parallelism", parallelism] if parallelism else []
    typer.echo(f"Next: tapeout simulate {shlex.join(words)} --rate 10, with the same limits")


def _columns(given: list[str]) -> Mapping[str, str]:
    from tapeout.errors import InfeasibleError  # noqa: PLC0415

    pairs = [one.partition("=") for one in given]
    if not all(meaning and name for meaning, _, name in pairs):
        raise InfeasibleError(f"--column {' '.join(given)}: write meaning=name, e.g. arrival=ts")
    return {meaning: name for meaning, _, name in pairs}


@contextmanager
def _bar(*, show: bool) -> Iterator[Callable[[int], None] | None]:
    """A progress bar on stderr, or nothing where nobody looks."""
    if not show or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console  # noqa: PLC0415
    from rich.progress import Progress  # noqa: PLC0415

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("simulating", total=ABOUT_RUNS)
        yield lambda runs: bar.update(task, completed=runs)


UNITS = {"step_s": "s a step", "request_s": "s a request", "token_s": "s a prompt token"}


def _show(found: Calibration, notes: tuple[str, ...]) -> None:
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    from tapeout.cli.figures import safe  # noqa: PLC0415
    from tapeout.serving.telemetry.calibration import NAMES  # noqa: PLC0415

    console = Console(highlight=False)
    source = found.source
    console.print(
        f"[bold]{safe(source.deployment)}[/bold]: {source.requests} requests of"
        f" {safe(source.log)}, fitted to"
        f" {source.fitted}, scored on {source.held}"
    )
    table = Table(title="Constants, 90 % interval", title_justify="left", box=None)
    table.add_column("constant")
    for name in ("value", "from", "to"):
        table.add_column(name, justify="right")
    table.add_column("")
    for name in NAMES:
        one = getattr(found.constants, name)
        marks = [
            word
            for word, wrong in (
                ("may be 0", one.low <= 0.0 <= one.high),
                ("not determined", not one.identified),
            )
            if wrong
        ]
        figures = [f"{figure:.4g}" for figure in (one.value, one.low, one.high)]
        table.add_row(name, *figures, ", ".join([UNITS.get(name, "x operator time"), *marks]))
    console.print(table)
    if found.errors:
        _show_errors(console.print, found)
    for warning in found.warnings:
        console.print(f"[yellow]Warning:[/yellow] {safe(warning)}")
    for note in notes:
        console.print(f"[dim]{safe(note)}[/dim]")


def _show_errors(show: Callable[[object], None], found: Calibration) -> None:
    from rich.table import Table  # noqa: PLC0415

    title = "Errors, part held back"
    table = Table(title=title, title_justify="left", box=None)
    table.add_column("figure")
    for name in ("measured s", "before", "after"):
        table.add_column(name, justify="right")
    for one in found.errors:
        figures = (f"{one.measured_s:.4g}", f"{one.before:+.1%}", f"{one.after:+.1%}")
        table.add_row(f"{one.metric} {one.statistic}", *figures)
    show(table)
