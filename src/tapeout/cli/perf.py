"""`tapeout perf`: one operating point of a model on a chip."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tapeout import constants as c
from tapeout.errors import InfeasibleError, TapeoutError

if TYPE_CHECKING:
    from tapeout.perf import Placement
    from tapeout.serving import Lengths, OperatingPoint


def perf(
    chip: Annotated[str, typer.Argument(help="Catalogue chip, e.g. gb300", show_default=False)],
    model: Annotated[str, typer.Argument(help="Model, e.g. gpt-oss-120b", show_default=False)],
    input_tokens: Annotated[
        float, typer.Option("--input", help="Mean input tokens", min=0)
    ] = 1024.0,
    output_tokens: Annotated[
        float, typer.Option("--output", help="Mean output tokens", min=1)
    ] = 1024.0,
    cached: Annotated[
        float, typer.Option(help="Share of the input found in the prefix cache", min=0, max=1)
    ] = 0.0,
    batch: Annotated[
        float, typer.Option(help="Sequences decoding, over all chips of the replica", min=1)
    ] = 16.0,
    tp: Annotated[
        int | None,
        typer.Option(help="Tensor parallel chips; default: the fewest that hold the model", min=1),
    ] = None,
    pp: Annotated[int, typer.Option(help="Pipeline stages", min=1)] = 1,
    ep: Annotated[int, typer.Option(help="Expert parallel ranks", min=1)] = 1,
    dp: Annotated[int, typer.Option(help="Attention groups sharing the experts", min=1)] = 1,
    precision: Annotated[
        str | None,
        typer.Option(help="fp4, fp8, int4, int8 or bf16; default: the narrowest served"),
    ] = None,
    engine: Annotated[
        str, typer.Option(help="Use what is known of this engine on the chip, e.g. vllm")
    ] = "generic",
    roofline: Annotated[
        bool, typer.Option("--roofline", help="Peak rates and no overheads: optimistic")
    ] = False,
    power_cap_w: Annotated[
        float,
        typer.Option("--power-cap-w", help="Limit on the power of a chip, W; 0: its rating", min=0),
    ] = 0.0,
    overlay: Annotated[
        Path | None, typer.Option(help="TOML of newer catalogue figures", show_default=False)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables")] = False,
) -> None:
    """Time one operating point: latency, throughput, energy, what bounds it, memory.

    Examples:

      tapeout perf gb300 gpt-oss-120b --input 8192 --output 1024 --batch 64 --tp 8

      tapeout perf b200 deepseek-r1 --dp 8 --ep 8 --batch 512 --json
    """
    from tapeout.perf import PhysicalModel, RooflineModel  # noqa: PLC0415  # keeps --help fast
    from tapeout.serving import lengths_of, operating_point  # noqa: PLC0415
    from tapeout.workload import Traffic  # noqa: PLC0415

    traffic = Traffic(
        name="one",
        model=model,
        input_tokens=max(input_tokens, 1.0),
        output_tokens=output_tokens,
        cached_input_fraction=cached,
    )
    timing = (RooflineModel if roofline else PhysicalModel)(power_cap_w=power_cap_w)
    try:
        placement = _placement(chip, model, (tp, pp, ep, dp), precision, engine, overlay)
        lengths = lengths_of(traffic)
        point = operating_point(timing, placement, lengths, batch)
    except TapeoutError as error:
        typer.secho(str(error), err=True, fg=typer.colors.RED)
        raise typer.Exit(2) from error
    if as_json:
        typer.echo(json.dumps(_content(point, lengths, timing.name), indent=2))
    else:
        _show(point, lengths, timing.name)


def _placement(
    chip: str,
    model: str,
    degrees: tuple[int | None, int, int, int],
    precision: str | None,
    engine: str,
    overlay: Path | None,
) -> Placement:
    """Place the model as asked, or on the fewest chips that hold it."""
    from tapeout.catalog import load  # noqa: PLC0415
    from tapeout.chip import spec_from_record  # noqa: PLC0415
    from tapeout.fabric import usual_system  # noqa: PLC0415
    from tapeout.perf import Placement, placements, serving_formats  # noqa: PLC0415
    from tapeout.workload import load_model  # noqa: PLC0415

    system = usual_system(spec_from_record(load(overlay).chip(chip)))
    architecture = load_model(model)
    formats = serving_formats(system.chip, architecture, precision)
    tp, pp, ep, dp = degrees
    if tp is None and (pp, ep, dp) == (1, 1, 1):
        found = placements(architecture, system, formats, stack=engine)
        if not found:
            raise InfeasibleError(
                f"{architecture.name} fits no placement on {system.chip.name}; name the degrees "
                "with --tp, --pp, --dp to see by how much"
            )
        return found[0]
    return Placement(
        architecture=architecture,
        system=system,
        tensor_parallel=tp or 1,
        pipeline_parallel=pp,
        expert_parallel=ep,
        data_parallel=dp,
        formats=formats,
        stack=engine,
    )


def _content(point: OperatingPoint, lengths: Lengths, model: str) -> dict[str, Any]:
    """Everything that is shown, in SI units."""
    from tapeout.perf import PowerScope, in_words  # noqa: PLC0415

    memory = point.memory
    return {
        "chip": point.placement.system.chip.name,
        "model": point.placement.architecture.name,
        "placement": in_words(point.placement),
        "chips": point.placement.chips,
        "timing_model": model,
        "input_tokens": lengths.input,
        "cached_input_tokens": lengths.cached,
        "output_tokens": lengths.output,
        "batch_sequences": point.sequences,
        "tpot_s": point.tpot_s,
        "ttft_s": point.ttft_s,
        "band_80_factor": point.band_factor,
        "output_tokens_per_s_per_chip": point.output_tokens_per_s_per_chip,
        "input_tokens_per_s_per_chip": point.input_tokens_per_s_per_chip,
        "joule_per_output_token": point.joule_per_output_token,
        "power_w_per_chip": point.power_w_per_chip,
        "host_w_per_chip": point.host_w_per_chip,
        "power_w_per_chip_by_scope": {
            scope.value: point.power.of(scope)
            for scope in PowerScope
            if not math.isnan(point.power.of(scope))
        },
        "joule_per_output_token_by_part": dict(point.joule_by_part),
        "clock_fraction": point.clock_fraction,
        "decode_step_s": point.decode_step_s,
        "carrying_step_s": point.carrying_step_s,
        "carrying_fraction": point.carrying_fraction,
        "bound": point.bound,
        "decode_step_by_kind_s": dict(point.by_kind_s),
        "memory_bytes": {
            "weights": memory.weight_bytes,
            "cache": float(memory.kv_bytes),
            "states": float(memory.state_bytes),
            "activations": memory.activation_bytes,
            "buffers": memory.buffer_bytes,
            "available": memory.available_bytes,
        },
        "assumptions": list(point.placement.system.chip.assumptions),
    }


def _show(point: OperatingPoint, lengths: Lengths, model: str) -> None:
    """Print the point as three small tables."""
    from rich.console import Console  # noqa: PLC0415

    from tapeout.perf import in_words  # noqa: PLC0415

    console = Console(highlight=False)
    place = point.placement
    console.print(
        f"[bold]{place.architecture.name} on {place.system.chip.name}[/bold]: "
        f"{in_words(place)}, {place.chips} chip{'s' if place.chips > 1 else ''}, "
        f"{point.sequences:g} sequences, {lengths.input:,.0f} in ({lengths.cached:,.0f} cached), "
        f"{lengths.output:,.0f} out"
    )
    factor = point.band_factor
    console.print(f"[dim]{model}; 80 % band: every time x {1 / factor:.2f} to {factor:.2f}[/dim]")
    _table(console, "", _headline(point))
    _table(console, f"Decode step, bound by {point.bound}", _breakdown(point))
    _table(console, "Energy of an output token", _joules(point))
    _table(console, "Memory of a chip", _memory(point))
    for line in place.system.chip.assumptions:
        console.print(f"[dim]assumed: {line}[/dim]")


def _headline(point: OperatingPoint) -> list[tuple[str, str]]:
    return [
        ("TPOT", f"{point.tpot_s / c.MILLI:,.2f} ms"),
        ("TTFT", f"{point.ttft_s / c.MILLI:,.0f} ms"),
        ("output", f"{point.output_tokens_per_s_per_chip:,.0f} tokens/s per chip"),
        ("input", f"{point.input_tokens_per_s_per_chip:,.0f} tokens/s per chip"),
        ("energy", f"{point.joule_per_output_token:,.3f} J per output token, hosts apart"),
        ("power", _watts(point)),
        (
            "steps",
            f"{point.carrying_fraction:.1%} carry a prefill chunk "
            f"({point.carrying_step_s / c.MILLI:,.1f} ms), the rest decode alone "
            f"({point.decode_step_s / c.MILLI:,.2f} ms)",
        ),
    ]


def _watts(point: OperatingPoint) -> str:
    """Power of a chip, every figure with its denominator, and the clock a cap leaves."""
    from tapeout.perf import PowerScope  # noqa: PLC0415

    known = [(scope.value, point.power.of(scope)) for scope in PowerScope]
    text = ", ".join(f"{watts:,.0f} W {name}" for name, watts in known if not math.isnan(watts))
    clock = "" if point.clock_fraction == 1.0 else f"; clock at {point.clock_fraction:.0%}"
    return f"{text} per chip{clock}"


def _joules(point: OperatingPoint) -> list[tuple[str, str]]:
    whole = point.joule_per_output_token
    return [
        (name, f"{part:,.4f} J  {part / whole:.1%}")
        for name, part in sorted(point.joule_by_part.items(), key=lambda item: -item[1])
        if part > 0.0
    ]


def _breakdown(point: OperatingPoint) -> list[tuple[str, str]]:
    whole = point.decode_step_s
    shares = sorted(point.by_kind_s.items(), key=lambda item: -item[1])
    return [
        (kind.replace("_", " "), f"{part / c.MILLI:,.3f} ms  {part / whole:.1%}")
        for kind, part in shares
        if part > 0.0
    ]


def _memory(point: OperatingPoint) -> list[tuple[str, str]]:
    memory = point.memory
    parts = {
        "weights": memory.weight_bytes,
        "cache": float(memory.kv_bytes),
        "states": float(memory.state_bytes),
        "activations": memory.activation_bytes,
        "buffers": memory.buffer_bytes,
        "free": memory.available_bytes - float(memory.required_bytes),
    }
    return [(name, f"{size / c.GIGA:,.2f} GB") for name, size in parts.items() if size > 0.0]


def _table(console: Any, title: str, rows: list[tuple[str, str]]) -> None:
    """Print names and values in two columns."""
    from rich.table import Table  # noqa: PLC0415

    table = Table(title=title or None, show_header=False, title_justify="left", box=None)
    for name, text in rows:
        table.add_row(f"  {name}", text)
    console.print(table)
