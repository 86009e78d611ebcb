"""How `tapeout perf` shows its points: tables, JSON, CSV. Formats only, computes nothing."""

from __future__ import annotations

import csv
import io
import math
from typing import TYPE_CHECKING, Any

from tapeout import constants as c

if TYPE_CHECKING:
    from rich.console import Console

    from tapeout.perf import MemoryMap
    from tapeout.perf.points import OperatorShare
    from tapeout.serving.sweep import PerfPoint, SweepRow

NARROW = (0, 0, 0, 2)
SWEEP_LEGEND = (
    "step, TTFT in ms; user: output tokens/s of one sequence; out (in): tokens/s of a chip; J, W:"
    " the package under load (sustained), hosts apart; free: GB of a chip; TTFT of a steady"
    " state: a benchmark that sends all requests at once sees more (docs/closed-loop.md)"
)
MOST_OPERATORS = 12  # rows of the table; the rest is summed
BOUND_WORDS = {
    "compute": "compute",
    "memory": "memory",
    "fabric": "fabric",
    "overhead": "launch and host",
}


def content(rows: tuple[SweepRow, ...], model: str) -> dict[str, Any]:
    """Everything that is shown, in SI units: one point flat, a sweep under "points"."""
    if len(rows) == 1 and rows[0].point is not None:
        return _point(rows[0].point, model)
    return {"timing_model": model, "points": [_sweep_row(row, model) for row in rows]}


def _sweep_row(row: SweepRow, model: str) -> dict[str, Any]:
    state = {"outcome": row.outcome.name.lower(), "reason": row.reason}
    if row.point is not None:
        return state | _point(row.point, model)
    return state | _identity(row)


def _identity(row: SweepRow | PerfPoint) -> dict[str, Any]:
    from tapeout.perf import in_words  # noqa: PLC0415

    place = row.placement
    return {
        "chip": place.system.chip.name,
        "model": place.architecture.name,
        "placement": in_words(place),
        "chips": place.chips,
        "batch_sequences": row.sequences,
    }


def _point(point: PerfPoint, model: str) -> dict[str, Any]:
    lengths, found = point.load.lengths, point.breakdown
    shown: dict[str, Any] = _finite(
        _identity(point)
        | {
            "timing_model": model,
            "step": point.load.kind,
            "input_tokens": lengths.input,
            "cached_input_tokens": lengths.cached,
            "output_tokens": lengths.output,
            "context_tokens": point.load.context_tokens,
            "step_s": point.step_s,
            "tpot_s": point.tpot_s,
            "ttft_s": point.ttft_s,
            "band_80_factor": point.band_factor,
            "tokens_per_s_per_user": point.tokens_per_s_per_user,
            "output_tokens_per_s_per_chip": point.output_tokens_per_s_per_chip,
            "input_tokens_per_s_per_chip": point.input_tokens_per_s_per_chip,
            "joule_per_output_token"
            if point.load.kind != "prefill"
            else "joule_per_input_token": point.joule_per_token,
            "mfu_fraction": found.mfu_fraction,
            "mfu_basis": found.mfu_basis,
            "mbu_fraction": found.mbu_fraction,
            "bound": found.bound,
            "bound_shares_s": dict(found.shares_s),
        }
        | _power(point)
        | _steady(point)
        | {
            "operators": [_operator(one) for one in found.operators],
            "operators_exact": found.exact,
            "memory_bytes": _memory(point.memory),
            "assumptions": list(point.placement.system.chip.assumptions),
        }
    )
    return shown


def _power(point: PerfPoint) -> dict[str, Any]:
    """Watts of a chip and joules of a token by denominator, and joules of a token by part."""
    from tapeout.perf import PowerScope  # noqa: PLC0415

    known = [scope for scope in PowerScope if not math.isnan(point.power.of(scope))]
    return {
        "power_w_per_chip": point.power.sustained_w,
        "host_w_per_chip": point.placement.system.host_w,
        "power_w_per_chip_by_scope": {one.value: point.power.of(one) for one in known},
        "joule_per_token_by_scope": {one.value: point.joule_per_token_of(one) for one in known},
        "joule_per_token_by_part": _joule_by_part(point),
        "clock_fraction": point.breakdown.clock_fraction,
    }


def _joule_by_part(point: PerfPoint) -> dict[str, float]:
    """Energy of a token by where it goes, chips alone."""
    found = point.breakdown
    return {
        name: part / found.energy_j * point.joule_per_token
        for name, part in found.energy_by_part_j.items()
    }


def _steady(point: PerfPoint) -> dict[str, Any]:
    if point.steady is None:
        return {}
    steady = point.steady
    return {
        "decode_step_s": steady.decode_step_s,
        "carrying_step_s": steady.carrying_step_s,
        "carrying_fraction": steady.carrying_fraction,
        "decode_step_bound": steady.bound,
        "decode_step_by_kind_s": dict(steady.by_kind_s),
    }


def _operator(one: OperatorShare) -> dict[str, Any]:
    return {
        "name": one.name,
        "kind": one.kind,
        "dtype": one.dtype,
        "time_s": one.time_s,
        "energy_j_per_chip": one.energy_j,
        "flop_per_chip": one.flop,
        "moved_bytes_per_chip": one.moved_bytes,
        "launches": one.launches,
        "bound": one.bound,
    }


def _memory(memory: MemoryMap) -> dict[str, float]:
    return {
        "weights": memory.weight_bytes,
        "cache": float(memory.kv_bytes),
        "states": float(memory.state_bytes),
        "activations": memory.activation_bytes,
        "buffers": memory.buffer_bytes,
        "free": memory.available_bytes - float(memory.required_bytes),
        "available": memory.available_bytes,
    }


def _finite(value: Any) -> Any:
    """What does not apply or is unbounded is null: JSON has no nan."""
    if isinstance(value, dict):
        return {key: _finite(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_finite(one) for one in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


CSV_COLUMNS = (
    "chip",
    "model",
    "placement",
    "chips",
    "step",
    "batch_sequences",
    "input_tokens",
    "cached_input_tokens",
    "output_tokens",
    "context_tokens",
    "outcome",
    "step_s",
    "tpot_s",
    "ttft_s",
    "band_80_factor",
    "tokens_per_s_per_user",
    "output_tokens_per_s_per_chip",
    "input_tokens_per_s_per_chip",
    "mfu_fraction",
    "mfu_basis",
    "mbu_fraction",
    "bound",
)


def csv_text(rows: tuple[SweepRow, ...]) -> str:
    """One row a point in SI units; figures of a point that cannot be served are blank."""
    text = io.StringIO(newline="")
    parts = ("weights", "cache", "states", "activations", "buffers", "free")
    names = ("rated", "sustained", "all-in", "rack")
    columns = (
        *CSV_COLUMNS,
        *(f"share_{bound}" for bound in BOUND_WORDS),
        *(f"{name}_bytes" for name in parts),
        *(f"power_{name.replace('-', '_')}_w_per_chip" for name in names),
        *(f"joule_per_token_{name.replace('-', '_')}" for name in names),
        "reason",
    )
    writer = csv.DictWriter(text, columns, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    for row in rows:
        flat = _sweep_row(row, "")
        if row.point is not None:
            flat |= _flat(flat, row.point.step_s, parts, names)
        writer.writerow({key: _cell(one) for key, one in flat.items()})
    return text.getvalue()


def _flat(
    flat: dict[str, Any], step_s: float, parts: tuple[str, ...], names: tuple[str, ...]
) -> dict[str, Any]:
    """Nested figures under names of their own."""
    watts, joules = flat["power_w_per_chip_by_scope"], flat["joule_per_token_by_scope"]
    return (
        {f"share_{bound}": part / step_s for bound, part in flat["bound_shares_s"].items()}
        | {f"{name}_bytes": flat["memory_bytes"][name] for name in parts}
        | {f"power_{name.replace('-', '_')}_w_per_chip": watts.get(name) for name in names}
        | {f"joule_per_token_{name.replace('-', '_')}": joules.get(name) for name in names}
    )


def _cell(value: Any) -> Any:
    if value is None:
        return ""
    return f"{value:.6g}" if isinstance(value, float) else value


def show_point(point: PerfPoint, model: str) -> None:
    """Print one point: headline, operators, power by denominator, memory."""
    from rich.console import Console  # noqa: PLC0415

    from tapeout.perf import in_words  # noqa: PLC0415

    console = Console(highlight=False)
    place, lengths = point.placement, point.load.lengths
    console.print(
        f"[bold]{place.architecture.name} on {place.system.chip.name}[/bold]: "
        f"{in_words(place)}, {place.chips} chip{'s' if place.chips > 1 else ''}, "
        f"{_load_words(point)}, {lengths.input:,.0f} in ({lengths.cached:,.0f} cached), "
        f"{lengths.output:,.0f} out"
    )
    factor = point.band_factor
    console.print(f"[dim]{model}; 80 % band: every time x {1 / factor:.2f} to {factor:.2f}[/dim]")
    _pairs(console, "", _headline(point))
    _operators(console, point)
    _pairs(console, "Power and energy of a chip, by denominator", _power_rows(point))
    _pairs(console, f"Energy of an {_token(point)}", _part_rows(point))
    _pairs(console, "Memory of a chip", _memory_rows(point.memory))
    for line in place.system.chip.assumptions:
        console.print(f"[dim]assumed: {line}[/dim]")


def _load_words(point: PerfPoint) -> str:
    if point.load.kind == "prefill":
        return _counted(point.sequences, "prompt")
    if point.load.kind == "decode":
        decoding = _counted(point.sequences, "sequence")
        return f"{decoding} decoding at {point.load.context_tokens:,.0f} tokens"
    return _counted(point.sequences, "sequence")


def _counted(number: float, word: str) -> str:
    return f"{number:g} {word}{'' if number == 1 else 's'}"


def _headline(point: PerfPoint) -> list[tuple[str, str]]:
    found = point.breakdown
    rows = [
        ("TPOT", f"{point.tpot_s / c.MILLI:,.2f} ms", point.tpot_s),
        ("TTFT", f"{point.ttft_s / c.MILLI:,.0f} ms", point.ttft_s),
        ("user", f"{point.tokens_per_s_per_user:,.1f} tokens/s", point.tpot_s),
        (
            "output",
            f"{point.output_tokens_per_s_per_chip:,.0f} tokens/s per chip",
            point.output_tokens_per_s_per_chip,
        ),
        (
            "input",
            f"{point.input_tokens_per_s_per_chip:,.0f} tokens/s per chip",
            point.input_tokens_per_s_per_chip,
        ),
        (
            "energy",
            f"{point.joule_per_token:,.4g} J per {_token(point)}, chips alone (sustained)",
            point.joule_per_token,
        ),
        ("MFU", f"{found.mfu_fraction:.1%} of the {found.mfu_basis}", found.mfu_fraction),
        ("MBU", f"{found.mbu_fraction:.1%} of the memory bandwidth", found.mbu_fraction),
    ]
    shown = [(name, text) for name, text, value in rows if not math.isnan(value)]
    if found.clock_fraction < 1.0:
        shown.append(("clock", f"{found.clock_fraction:.0%} of the one without the power cap"))
    if point.steady is not None:
        steady = point.steady
        shown.append(
            (
                "steps",
                f"{steady.carrying_fraction:.1%} carry a prefill chunk "
                f"({steady.carrying_step_s / c.MILLI:,.1f} ms), the rest decode alone "
                f"({steady.decode_step_s / c.MILLI:,.2f} ms)",
            )
        )
    return shown


def _token(point: PerfPoint) -> str:
    return "input token" if point.load.kind == "prefill" else "output token"


def _operators(console: Console, point: PerfPoint) -> None:
    """Print the operators of the mean step, the small ones summed."""
    from rich.table import Table  # noqa: PLC0415

    found = point.breakdown
    kind = {"steady": "Mean step", "decode": "Decode step", "prefill": "Prefill step"}
    title = (
        f"{kind[point.load.kind]}, {found.time_s / c.MILLI:,.2f} ms, bound by"
        f" {BOUND_WORDS[found.bound]}"
    )
    table = Table(title=title, title_justify="left", box=None, padding=NARROW)
    table.add_column("operator", no_wrap=True)
    for name in ("ms", "step", "J", "TFLOP/s", "GB/s"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("bound", no_wrap=True)
    work = [one for one in found.operators if one.kind not in BOUND_WORDS]
    rest = [one for one in found.operators if one.kind in BOUND_WORDS]
    for one in work[:MOST_OPERATORS]:
        table.add_row(*_operator_row(one, found.time_s))
    small = work[MOST_OPERATORS:]
    if small:
        time_s, energy_j = (sum(getattr(one, key) for one in small) for key in _SUMS)
        table.add_row(
            f"  {len(small)} smaller", *_shares(time_s, found.time_s, energy_j), "", "", ""
        )
    for one in rest:
        table.add_row(*_operator_row(one, found.time_s))
    console.print(table)
    shares = ", ".join(
        f"{BOUND_WORDS[name]} {part / found.time_s:.0%}" for name, part in found.shares_s.items()
    )
    console.print(f"  [dim]time bound by: {shares}; rates per chip[/dim]")
    if not found.exact:
        console.print(
            "  [dim]time of a kind is the model's; within a kind it is divided by the nominal"
            " roofline[/dim]"
        )


_SUMS = ("time_s", "energy_j")


def _shares(time_s: float, whole_s: float, energy_j: float) -> tuple[str, str, str]:
    return f"{time_s / c.MILLI:,.3f}", f"{time_s / whole_s:.1%}", f"{energy_j:.3g}"


def _operator_row(one: OperatorShare, whole_s: float) -> tuple[str, ...]:
    name = f"  {one.name.replace('_', ' ')}{' ' + one.dtype if one.dtype else ''}"
    if one.kind in BOUND_WORDS or not one.time_s > 0.0:
        return (name, *_shares(one.time_s, whole_s, one.energy_j), "", "", "")
    return (
        name,
        *_shares(one.time_s, whole_s, one.energy_j),
        _three_digits(one.flop / one.time_s / c.TERA),
        f"{one.moved_bytes / one.time_s / c.GIGA:,.0f}",
        one.bound,
    )


def _three_digits(value: float) -> str:
    """At least three digits and never an exponent."""
    return f"{value:,.0f}" if value >= 100.0 else f"{value:.3g}"


MEANINGS = {
    "rated": "nameplate of the package",
    "sustained": "mean draw of the package, modelled",
    "all-in": "sustained with its share of host, NIC and fans",
    "rack": "rated with the same share: what a rack must feed",
}


def _power_rows(point: PerfPoint) -> list[tuple[str, str]]:
    from tapeout.perf import PowerScope  # noqa: PLC0415

    rows = []
    rated = point.placement.system.chip.tdp_w > 0.0
    for scope in PowerScope:
        watts, meaning = point.power.of(scope), MEANINGS[scope.value]
        if math.isnan(watts):
            rows.append((scope.value, f"unknown: no rated power  ({meaning})"))
            continue
        partial = "" if rated else ", its dynamic part only"
        figure = f"{watts:,.0f} W, {point.joule_per_token_of(scope):.3g} J per {_token(point)}"
        rows.append((scope.value, f"{figure}  ({meaning}{partial})"))
    return rows


def _part_rows(point: PerfPoint) -> list[tuple[str, str]]:
    parts = sorted(_joule_by_part(point).items(), key=lambda item: -item[1])
    return [
        (name, f"{joule:,.4g} J  {joule / point.joule_per_token:.1%}")
        for name, joule in parts
        if joule > 0.0
    ]


def _memory_rows(memory: MemoryMap) -> list[tuple[str, str]]:
    parts = _memory(memory)
    whole = parts.pop("available")
    return [
        (name, f"{size / c.GIGA:,.2f} GB  {size / whole:.0%}")
        for name, size in parts.items()
        if size > 0.0
    ]


def _pairs(console: Console, title: str, rows: list[tuple[str, str]]) -> None:
    """Print names and values in two columns."""
    from rich.table import Table  # noqa: PLC0415

    table = Table(title=title or None, show_header=False, title_justify="left", box=None)
    for name, text in rows:
        table.add_row(f"  {name}", text)
    console.print(table)


def show_sweep(rows: tuple[SweepRow, ...], model: str) -> None:
    """Print a sweep: one table a placement."""
    from rich.console import Console  # noqa: PLC0415

    from tapeout.perf import in_words  # noqa: PLC0415

    console = Console(highlight=False)
    first = rows[0]
    console.print(f"[bold]{first.placement.architecture.name}[/bold]  [dim]{model}[/dim]")
    groups: dict[str, list[SweepRow]] = {}
    for row in rows:
        place = row.placement
        noun = "chip" if place.chips == 1 else "chips"
        name = f"{place.system.chip.name}, {in_words(place)}, {place.chips} {noun} a replica"
        groups.setdefault(name, []).append(row)
    for name, some in groups.items():
        console.print(_sweep_table(name, some))
    for text in dict.fromkeys(row.reason for row in rows if row.reason):
        console.print(f"[dim]{text}[/dim]")
    console.print(SWEEP_LEGEND, style="dim")


def _sweep_table(name: str, rows: list[SweepRow]) -> object:
    from rich.table import Table  # noqa: PLC0415

    table = Table(title=name, title_justify="left", box=None, padding=NARROW)
    prefill = any(row.point is not None and row.point.load.kind == "prefill" for row in rows)
    unit = "in" if prefill else "out"
    for title in ("batch", "step", "TTFT", "user", unit, f"J/{unit}", "W", "MFU", "MBU", "free"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("bound", no_wrap=True)
    for row in rows:
        if row.point is None:
            table.add_row(f"{row.sequences:g}", *[""] * 9, row.outcome.name.lower())
        else:
            table.add_row(*_sweep_cells(row.point))
    return table


def _sweep_cells(point: PerfPoint) -> tuple[str, ...]:
    found = point.breakdown
    free = point.memory.available_bytes - float(point.memory.required_bytes)
    return (
        f"{point.sequences:g}",
        f"{point.step_s / c.MILLI:,.2f}",
        _or_blank(point.ttft_s / c.MILLI, ",.0f"),
        _or_blank(point.tokens_per_s_per_user, ",.1f"),
        f"{point.tokens_per_s_per_chip:,.0f}",
        f"{point.joule_per_token:.3g}",
        f"{point.power.sustained_w:,.0f}",
        f"{found.mfu_fraction:.1%}",
        f"{found.mbu_fraction:.0%}",
        f"{free / c.GIGA:,.1f}",
        BOUND_WORDS[found.bound].partition(" ")[0],  # "launch": the table must fit 80 columns
    )


def _or_blank(value: float, spec: str) -> str:
    return format(value, spec) if math.isfinite(value) else ""
