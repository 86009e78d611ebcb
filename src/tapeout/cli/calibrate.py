"""`tapeout calibrate`: time the accelerator at hand and write a chip file."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tapeout import constants as c

if TYPE_CHECKING:
    from tapeout.perf.calibrate import Calibration, ChipFile
    from tapeout.perf.calibrate.chip_file import RatesTable
    from tapeout.perf.calibrate.measure import Tell

EXIT_INTERRUPTED = 130


def calibrate(
    device: Annotated[
        str, typer.Option(help="cpu, cuda or cuda:N; default: the first GPU, else the CPU")
    ] = "",
    backend: Annotated[
        str, typer.Option(help="torch (extra `calibrate`) or numpy; default: torch if installed")
    ] = "",
    seconds: Annotated[
        float, typer.Option(help="Wall time to spend on timing", min=1.0, max=86_400.0)
    ] = 60.0,
    quick: Annotated[bool, typer.Option("--quick", help="Fewer loads, one number format")] = False,
    out: Annotated[Path, typer.Option(help="Folder for the two files")] = Path("calibration"),
    chip: Annotated[
        str,
        typer.Option(help="Catalogue chip to take links and rated power from", show_default=False),
    ] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar")] = False,
) -> None:
    """Time GEMM, attention and copies here; write measurements and a chip file.

    The chip file holds the sustained rates with their errors; `tapeout perf --chip-file` uses it,
    `tapeout validate ops` reads the measurements. Ctrl-C keeps what was measured.

    Examples:

      tapeout calibrate --device cuda:0 --seconds 300

      tapeout calibrate --quick --seconds 20 --out out/laptop

      tapeout perf --chip-file calibration/chip.toml llama-3.1-8b --batch 1
    """
    from tapeout.perf.calibrate import calibrate as run  # noqa: PLC0415  keeps --help fast
    from tapeout.perf.calibrate import choose_backend  # noqa: PLC0415
    from tapeout.perf.calibrate.measure import INTERRUPTED  # noqa: PLC0415

    catalogue = _catalogue_name(chip)
    chosen = choose_backend(device, backend)
    with _bar(show=not quiet and not as_json) as tell:
        done = run(chosen, out, seconds=seconds, quick=quick, catalogue=catalogue, tell=tell)
    if as_json:
        typer.echo(json.dumps(_content(done), indent=2))
    else:
        _show(done)
    if done.run.stopped == INTERRUPTED:
        raise typer.Exit(EXIT_INTERRUPTED)


def _catalogue_name(chip: str) -> str:
    """Full name of a catalogue chip, checked before a minute is spent on timing."""
    if not chip:
        return ""
    from tapeout.catalog import load  # noqa: PLC0415

    return load().chip(chip).name


@contextmanager
def _bar(*, show: bool) -> Iterator[Tell | None]:
    """A progress bar on stderr, or nothing where nobody looks."""
    if not show or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console  # noqa: PLC0415
    from rich.progress import Progress  # noqa: PLC0415

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("timing", total=1.0)
        yield lambda case, gone: bar.update(
            task, completed=gone, description=f"{case.op} {case.dtype}"
        )


def _content(done: Calibration) -> dict[str, object]:
    return {
        "measurements": str(done.csv_path),
        "chip_file": str(done.chip_path) if done.chip_path else None,
        "timed": len(done.run.measured),
        "skipped": len(done.run.skipped),
        "notes": list(done.notes),
        "chip": done.chip.model_dump() if done.chip else None,
    }


def _show(done: Calibration) -> None:
    from rich.console import Console  # noqa: PLC0415

    console = Console(highlight=False)
    if done.chip is not None:
        device = done.chip.device
        known = f", catalogue: {device.catalogue}" if device.catalogue else ", not in the catalogue"
        console.print(f"[bold]{device.name}[/bold] ({device.stack}, {device.kernel}{known})")
        console.print(_table(done.chip))
        for one in done.chip.setups:
            console.print(
                f"  tile law, {one.op} {one.dtype}: median {one.median_error:.1%}, p90"
                f" {one.p90_error:.0%} on {one.report_rows} products it was not fitted to"
            )
    for note in done.notes:
        console.print(f"[dim]{note}[/dim]")
    console.print(f"Measurements: {done.csv_path}  ({len(done.run.measured)} operators)")
    if done.chip_path is not None:
        console.print(f"Chip file: {done.chip_path}")
        console.print(f"Use it: tapeout perf --chip-file {done.chip_path} MODEL")


def _table(chip: ChipFile) -> object:
    from rich.table import Table  # noqa: PLC0415

    title = "Sustained rates ±2 s.e.; errors of the law on timings not fitted to"
    table = Table(title=title, title_justify="left", box=None)
    table.add_column("operator", no_wrap=True)
    for column in ("TFLOP/s", "GB/s", "launch us", "median", "p90", "rows"):
        table.add_column(column, justify="right", no_wrap=True)
    for one in chip.rates:
        scored = one.median_error is not None and one.p90_error is not None
        table.add_row(
            f"{one.op.replace('attention_', '')} {one.dtype}",
            _rate(one, "flop_per_s", c.TERA),
            _rate(one, "bytes_per_s", c.GIGA),
            _rate(one, "launch_s", c.MICRO),
            f"{one.median_error:.0%}" if scored else "-",
            f"{one.p90_error:.0%}" if scored else "-",
            f"{one.fit_rows}+{one.report_rows}",
        )
    return table


def _rate(one: RatesTable, name: str, unit: float) -> str:
    """A constant with twice its standard error; a question mark where it is not identified."""
    from tapeout.perf.calibrate.spec import KNOWN_LOG_SD  # noqa: PLC0415

    value = getattr(one.constants, name)
    if value is None:
        return "-"
    error = one.log_sd.get(name, 0.0)
    if error > KNOWN_LOG_SD:
        return "?"
    return f"{value / unit:.3g} ±{2.0 * error:.0%}"
