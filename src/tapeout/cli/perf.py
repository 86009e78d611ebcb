"""`tapeout perf`: an operating point of a model on a chip, or a sweep of them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from tapeout.cli import perf_options as o
from tapeout.errors import InfeasibleError, Outcome, TapeoutError, UnknownNameError

if TYPE_CHECKING:
    from tapeout.chip import ChipSpec
    from tapeout.perf import Placement, TimingModel
    from tapeout.report.content import Chart
    from tapeout.serving.sweep import Load, SweepRow

CHIP_FILE = ".toml"


def perf(
    names: o.Names,
    chips: o.Chips = "",
    chip_file: o.ChipFile = None,
    step: o.Step = "steady",
    input_tokens: o.Input = 1024.0,
    output_tokens: o.Output = 1024.0,
    cached: o.Cached = 0.0,
    context: o.Context = None,
    batch: o.Batch = "16",
    parallelism: o.Parallelism = "",
    tp: o.Tensor = None,
    pp: o.Pipeline = 1,
    ep: o.Expert = 1,
    dp: o.Data = 1,
    precision: o.Precision = None,
    engine: o.Engine = "generic",
    roofline: o.Roofline = False,
    power_cap_w: o.PowerCap = 0.0,
    overlay: o.Overlay = None,
    plot: o.Plot = None,
    csv_path: o.Csv = None,
    as_json: o.Json = False,
) -> None:
    """Time operating points: latency, throughput, energy, bound, MFU, MBU, memory, by operator.

    Examples:

      tapeout perf gb300 gpt-oss-120b --input 8192 --output 1024 --batch 64 --tp 8

      tapeout perf b200 deepseek-r1 --parallelism tp8,dp8-ep8 --batch 8..512 --csv sweep.csv

      tapeout perf h100,b200 llama-3.1-70b --batch 1..256 --plot trade.html

      tapeout perf h200 llama-3.1-70b --step decode --context 32768 --batch 8 --plot roofline.svg

      tapeout perf --chip-file calibration/chip.toml llama-3.1-8b --batch 1
    """
    try:
        wanted = _Wanted(
            degrees=(tp, pp, ep, dp),
            parallelism=parallelism,
            precision=precision,
            engine=engine,
        )
        model, specs = _chips(names, chips, chip_file, overlay)
        load = _load(model, (input_tokens, output_tokens, cached), step, context)
        placed = _placements(model, specs, wanted)
        timing = _model(roofline=roofline, power_cap_w=power_cap_w)
        rows = _run(timing, placed, load, batch, plot=plot)
        _write(rows, csv_path, plot)
    except TapeoutError as error:
        typer.secho(str(error), err=True, fg=typer.colors.RED)
        raise typer.Exit(2) from error
    _print(rows, timing.name, as_json=as_json)
    for path in (csv_path, plot):
        if path is not None:
            typer.echo(f"Wrote {path}", err=as_json)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wanted:
    """How the model shall be placed."""

    degrees: tuple[int | None, int, int, int]
    parallelism: str
    precision: str | None
    engine: str


def _chips(
    names: list[str], chips: str, chip_file: Path | None, overlay: Path | None
) -> tuple[str, tuple[ChipSpec, ...]]:
    """Model, and the chips in the order named."""
    from tapeout.catalog import load  # noqa: PLC0415
    from tapeout.chip import spec_from_record  # noqa: PLC0415

    from tapeout.cli.lists import texts  # noqa: PLC0415  # isort: skip

    named = [*(texts("--chip", chips) if chips else ()), *((str(chip_file),) if chip_file else ())]
    if len(names) == 2:
        named = [*texts("CHIP", names[0]), *named]
    elif len(names) != 1 or not named:
        raise InfeasibleError(
            "name a chip and a model: tapeout perf gb300 gpt-oss-120b, or a model with --chip or"
            " --chip-file"
        )
    catalog = load(overlay)
    found = tuple(
        _from_file(name) if name.endswith(CHIP_FILE) else spec_from_record(catalog.chip(name))
        for name in named
    )
    return names[-1], found


def _from_file(name: str) -> ChipSpec:
    from tapeout.perf.calibrate import load_chip_file  # noqa: PLC0415

    return load_chip_file(Path(name))


def _load(
    model: str, lengths: tuple[float, float, float], step: str, context: float | None
) -> Load:
    """What is served."""
    from tapeout.serving import lengths_of  # noqa: PLC0415
    from tapeout.serving.sweep import DECODE, KINDS, Load  # noqa: PLC0415
    from tapeout.workload import Traffic  # noqa: PLC0415

    if step not in KINDS:
        raise InfeasibleError(f"--step {step!r} is none of {', '.join(KINDS)}")
    if context is not None and step != DECODE:
        raise InfeasibleError("--context goes with --step decode; else give --input and --output")
    new, output, cached = lengths
    traffic = Traffic(
        name="one",
        model=model,
        input_tokens=max(new, 1.0),
        output_tokens=output,
        cached_input_fraction=cached,
    )
    return Load(lengths=lengths_of(traffic), kind=step, context=context)


def _placements(model: str, specs: tuple[ChipSpec, ...], wanted: _Wanted) -> tuple[Placement, ...]:
    """Every chip with every parallelism."""
    from tapeout.cli.lists import texts  # noqa: PLC0415
    from tapeout.serving.cases import parse_parallelism  # noqa: PLC0415

    if not wanted.parallelism:
        return tuple(_placement(model, spec, wanted, wanted.degrees) for spec in specs)
    if wanted.degrees != (None, 1, 1, 1):
        raise InfeasibleError("--parallelism and --tp, --pp, --ep, --dp exclude one another")
    parsed = [parse_parallelism(one) for one in texts("--parallelism", wanted.parallelism)]
    return tuple(
        _placement(model, spec, wanted, (one.tensor, one.pipeline, one.expert, one.data))
        for spec in specs
        for one in parsed
    )


def _placement(
    model: str, spec: ChipSpec, wanted: _Wanted, degrees: tuple[int | None, int, int, int]
) -> Placement:
    """Place the model as asked, or on the fewest chips that hold it."""
    from tapeout.fabric import usual_system  # noqa: PLC0415
    from tapeout.perf import Placement, placements, serving_formats  # noqa: PLC0415
    from tapeout.perf.sharding import check_degrees  # noqa: PLC0415
    from tapeout.serving.tables import GENERIC, engines  # noqa: PLC0415
    from tapeout.workload import load_model  # noqa: PLC0415

    known = sorted({one.stack for one in engines()} | {GENERIC})
    if wanted.engine not in known:
        raise UnknownNameError("engine", wanted.engine, known)
    system, architecture = usual_system(spec), load_model(model)
    formats = serving_formats(system.chip, architecture, wanted.precision, stack=wanted.engine)
    tp, pp, ep, dp = degrees
    if tp is None and (pp, ep, dp) == (1, 1, 1):
        found = placements(architecture, system, formats, stack=wanted.engine)
        if not found:
            raise InfeasibleError(
                f"{architecture.name} fits no placement on {system.chip.name}; name the degrees "
                "with --tp, --pp, --dp to see by how much"
            )
        return found[0]
    placement = Placement(
        architecture=architecture,
        system=system,
        tensor_parallel=tp or 1,
        pipeline_parallel=pp,
        expert_parallel=ep,
        data_parallel=dp,
        formats=formats,
        stack=wanted.engine,
    )
    check_degrees(placement.degrees)
    for name, degree, most in (
        ("--pp", pp, len(architecture.layers)),
        ("--tp", tp or 1, architecture.hidden),
    ):
        if degree > most:
            raise InfeasibleError(
                f"{name} {degree}: {architecture.name} can be cut in {most} parts"
            )
    return placement


def _run(
    timing: TimingModel,
    placed: tuple[Placement, ...],
    load: Load,
    batch: str,
    *,
    plot: Path | None,
) -> tuple[SweepRow, ...]:
    """All points; a single one that cannot be served raises, in a sweep it is a row."""
    from tapeout.cli.lists import numbers  # noqa: PLC0415
    from tapeout.serving.sweep import SweepRow, perf_point, sweep  # noqa: PLC0415

    if plot is not None:
        from tapeout.report.plots import check_plot  # noqa: PLC0415

        check_plot(plot)
    batches = numbers("--batch", batch)
    if len(placed) * len(batches) > 1:
        return tuple(sweep(timing, placed, load, batches))
    point = perf_point(timing, placed[0], load, batches[0])
    return (
        SweepRow(
            placement=placed[0], sequences=batches[0], outcome=Outcome.OK, reason="", point=point
        ),
    )


def _model(*, roofline: bool, power_cap_w: float) -> TimingModel:
    from tapeout.perf import PhysicalModel, RooflineModel  # noqa: PLC0415

    return (RooflineModel if roofline else PhysicalModel)(power_cap_w=power_cap_w)


def _write(rows: tuple[SweepRow, ...], csv_path: Path | None, plot: Path | None) -> None:
    """Write what was asked for; a file that cannot be written is a clear message."""
    if csv_path is not None:
        from tapeout.cli.perf_show import csv_text  # noqa: PLC0415
        from tapeout.files import write_whole  # noqa: PLC0415

        write_whole(csv_path, csv_text(rows))
    if plot is not None:
        from tapeout.report.plots import write_plot  # noqa: PLC0415

        write_plot(_chart(rows), plot, tuple(_notes(rows)))


def _chart(rows: tuple[SweepRow, ...]) -> Chart:
    """Rooflines of a single point, the trade of a sweep."""
    from tapeout.report.charts.operating import roofline_chart, sweep_chart  # noqa: PLC0415

    points = [row.point for row in rows if row.point is not None]
    made = roofline_chart(points[0].breakdown) if len(rows) == 1 else sweep_chart(points)
    if made is None:
        raise InfeasibleError(
            "--plot: a sweep needs at least two points that fit and decode; nothing to draw"
        )
    return made


def _notes(rows: tuple[SweepRow, ...]) -> Iterator[str]:
    """What stands below the chart."""
    load = rows[0].point.load if rows[0].point else None
    model = rows[0].placement.architecture.name
    if load is not None:
        yield (
            f"{model}, load {load.kind}: {load.lengths.input:,.0f} tokens in"
            f" ({load.lengths.cached:,.0f} cached), {load.lengths.output:,.0f} out."
        )
    missing = [row for row in rows if row.point is None]
    if missing:
        yield f"{len(missing)} of {len(rows)} points cannot be served and are not drawn."
    for spec in {
        row.placement.system.chip.name: row.placement.system.chip for row in rows
    }.values():
        for line in spec.assumptions:
            yield f"{spec.name}, assumed: {line}."


def _print(rows: tuple[SweepRow, ...], name: str, *, as_json: bool) -> None:
    from tapeout.cli.perf_show import content, show_point, show_sweep  # noqa: PLC0415

    point = rows[0].point
    if as_json:
        typer.echo(json.dumps(content(rows, name), indent=2))
    elif len(rows) == 1 and point is not None:
        show_point(point, name)
    else:
        show_sweep(rows, name)
