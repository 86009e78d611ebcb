"""`tapeout traffic`: figures of request traces, and traces from a description."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from tapeout.cli.deploy import Seed

if TYPE_CHECKING:
    from tapeout.serving.traffic import ReadOptions, ReadReport, Trace, TraceStatistics

app = typer.Typer(
    name="traffic",
    help="Request traces: figures of a file, and files from a description.",
    no_args_is_help=True,
)

Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]
Family = Annotated[
    Literal["poisson", "gamma", "weibull"],
    typer.Option("--family", help="Arrivals of a file of lengths."),
]


@app.command()
def show(
    file: Annotated[Path, typer.Argument(help="Trace, ServeGen clients or traffic spec (.toml).")],
    fmt: Annotated[
        str | None, typer.Option("--format", help="Name of the format; default: recognised.")
    ] = None,
    sort: Annotated[bool, typer.Option("--sort", help="Sort rows that are out of order.")] = False,
    requests: Annotated[
        int | None, typer.Option("--requests", min=1, help="Read only so many requests.")
    ] = None,
    from_s: Annotated[
        float | None, typer.Option("--from-s", min=0, help="Only from this time on.")
    ] = None,
    to_s: Annotated[float | None, typer.Option("--to-s", min=0, help="Only before it.")] = None,
    max_model_len: Annotated[
        int | None,
        typer.Option("--max-model-len", min=2, help="Leave out longer requests, and count them."),
    ] = None,
    keep_failures: Annotated[
        bool, typer.Option("--keep-failures", help="Keep requests with zero tokens, with one.")
    ] = False,
    spread: Annotated[
        bool, typer.Option("--spread/--no-spread", help="Spread coarse stamps inside their slot.")
    ] = True,
    rate_rps: Annotated[
        float | None, typer.Option("--rate", help="Requests/s for a file of lengths.")
    ] = None,
    family: Family = "poisson",
    cv: Annotated[float, typer.Option("--cv", help="CV of those arrivals.")] = 1.0,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Print figures of a trace, and what was left out of it.

    Examples:

      tapeout traffic show AzureLLMInferenceTrace_code.csv

      tapeout traffic show BurstGPT_1.csv --requests 100000 --json

      tapeout traffic show lengths.csv --rate 4 --family gamma --cv 2
    """
    from tapeout.serving.traffic import ReadOptions, renewal  # noqa: PLC0415  # numpy, pydantic

    _check_rate(rate_rps)
    options = ReadOptions(
        format=fmt,
        sort=sort,
        requests=requests,
        window_s=_window(from_s, to_s),
        max_model_len=max_model_len,
        keep_failures=keep_failures,
        spread=spread,
        seed=seed,
        partial_blocks=True,
        rate_rps=rate_rps,
        process=renewal(family, cv),
    )
    is_toml = file.suffix == ".toml" and fmt is None
    if is_toml or _is_clients(file, fmt):
        _check_unused(options)
    if is_toml:
        _show_spec(file, seed, as_json=as_json)
    elif _is_clients(file, fmt):
        _show_clients(file, as_json=as_json)
    else:
        _show_file(file, options, as_json=as_json)


@app.command()
def generate(
    spec: Annotated[Path, typer.Argument(help="Traffic spec, TOML; docs/traffic.md.")],
    out: Annotated[
        Path, typer.Option("--out", help="Write here: .csv, .jsonl or .parquet.", metavar="FILE")
    ],
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Write the requests of a description to a file.

    Example:

      tapeout traffic generate chat.toml --out chat.csv --seed 7
    """
    from tapeout.serving.traffic import (  # noqa: PLC0415  # numpy, pydantic
        make_trace_with_notes,
        read_spec,
        trace_statistics,
        write_trace,
    )

    trace, notes = make_trace_with_notes(read_spec(spec), seed)
    write_trace(out, trace)
    _print(trace, trace_statistics(trace), None, notes, as_json=as_json)
    if not as_json:
        typer.echo(f"Wrote {out}.")


def _check_rate(rate_rps: float | None) -> None:
    from tapeout.errors import InfeasibleError  # noqa: PLC0415

    if rate_rps is not None and not 0.0 < rate_rps < math.inf:
        raise InfeasibleError(f"--rate {rate_rps:g} is not positive")


def _check_unused(options: ReadOptions) -> None:
    """Refuse options that would have no effect."""
    from tapeout.errors import InfeasibleError  # noqa: PLC0415

    named = {
        "--sort": options.sort,
        "--requests": options.requests,
        "--from-s or --to-s": options.window_s,
        "--max-model-len": options.max_model_len,
        "--keep-failures": options.keep_failures,
        "--no-spread": not options.spread,
        "--rate": options.rate_rps,
    }
    given = [name for name, value in named.items() if value]
    if given:
        raise InfeasibleError(
            f"{', '.join(given)}: only for a file of requests; write it into a traffic spec"
        )


def _window(from_s: float | None, to_s: float | None) -> tuple[float, float] | None:
    from tapeout.errors import InfeasibleError  # noqa: PLC0415

    if from_s is None and to_s is None:
        return None
    begin, end = from_s or 0.0, math.inf if to_s is None else to_s
    if not begin < end:
        raise InfeasibleError(f"--from-s {begin:g} is not before --to-s {end:g}")
    return begin, end


def _is_clients(file: Path, fmt: str | None) -> bool:
    from tapeout.serving.traffic.readers import SERVEGEN, recognise  # noqa: PLC0415

    if fmt is not None:
        return fmt == SERVEGEN
    return recognise(file) == SERVEGEN


def _show_file(file: Path, options: ReadOptions, *, as_json: bool) -> None:
    from tapeout.serving.traffic import read_trace, trace_statistics  # noqa: PLC0415

    trace, report = read_trace(file, options)
    _print(trace, trace_statistics(trace), report, report.notes, as_json=as_json)


def _show_spec(file: Path, seed: int, *, as_json: bool) -> None:
    from tapeout.serving.traffic import (  # noqa: PLC0415
        make_trace_with_notes,
        read_spec,
        trace_statistics,
    )

    trace, notes = make_trace_with_notes(read_spec(file), seed)
    _print(trace, trace_statistics(trace), None, notes, as_json=as_json)


def _show_clients(file: Path, *, as_json: bool) -> None:
    """Figures of client statistics, from the statistics and not from a draw."""
    from tapeout.serving.traffic import read_clients, summary  # noqa: PLC0415
    from tapeout.serving.traffic.readers.servegen import UNSUPPORTED  # noqa: PLC0415

    stats = read_clients(file)
    found = summary(stats)
    if as_json:
        _echo({"source": stats.source, "clients": asdict(found), "notes": [UNSUPPORTED]})
        return
    rows = [
        ("clients", f"{found.clients:,}"),
        ("expected requests", f"{found.expected_requests:,.0f}"),
        ("mean rate", f"{found.mean_rate_rps:.4g} requests/s"),
        ("peak window", f"{found.peak_rate_rps:.4g} requests/s"),
        ("CV of a client's gaps, by requests", f"{found.weighted_cv:.2f}"),
        ("share of the five largest clients", f"{found.top5_fraction:.0%}"),
        ("requests of clients without lengths", f"{found.unknown_fraction:.1%}"),
    ]
    _tables(stats.source, rows, asdict(found), (UNSUPPORTED,))


def _print(
    trace: Trace,
    found: TraceStatistics,
    report: ReadReport | None,
    notes: tuple[str, ...],
    *,
    as_json: bool,
) -> None:
    if as_json:
        _echo(
            {
                "source": trace.source,
                "statistics": asdict(found),
                "report": None if report is None else asdict(report),
                "notes": list(notes),
            }
        )
        return
    rows = [
        ("requests", f"{found.requests:,}"),
        ("first to last arrival", f"{found.span_s:,.0f} s"),
        ("mean rate", f"{found.rate_rps:.4g} requests/s"),
        ("CV of gaps", f"{found.interarrival_cv:.2f}"),
        ("variance / mean of 1 s counts", f"{found.dispersion:.2f}"),
        ("busiest minute / mean", f"{found.busiest_minute_ratio:.2f}"),
    ]
    if found.clients:
        rows.append(("clients", f"{found.clients:,}"))
    if found.later_turns:
        rows.append(("turns after the first", f"{found.later_turns:,}"))
    if found.prefixes is not None:
        one = found.prefixes
        rows += [
            (f"prefix blocks of {one.block_tokens}", f"{one.blocks:,} ({one.unique_blocks:,})"),
            ("blocks that an unlimited cache hits", f"{one.hit_block_fraction:.1%}"),
            ("tokens", f"{one.hit_token_fraction:.1%}"),
            ("tokens in full blocks, one computed", f"{one.capped_token_fraction:.1%}"),
        ]
    _tables(trace.source, rows, asdict(found), notes)
    if report is not None:
        _dropped(report)


def _tables(
    title: str, rows: list[tuple[str, str]], found: dict[str, Any], notes: tuple[str, ...]
) -> None:
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    from tapeout.cli.figures import safe  # noqa: PLC0415

    console = Console(highlight=False)
    console.print(safe(title))
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column("figure")
    table.add_column("value", justify="right", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    console.print(table)
    lengths = Table(box=None, pad_edge=False)
    for name in ("tokens", "mean", "p50", "p90", "p99", "max"):
        lengths.add_column(name, justify="left" if name == "tokens" else "right")
    for side in ("input", "output"):
        one = found[f"{side}_tokens"]
        lengths.add_row(
            side,
            f"{one['mean']:,.1f}",
            *(f"{one[key]:,.0f}" for key in ("p50", "p90", "p99", "max")),
        )
    console.print(lengths)
    for note in notes:
        console.print(f"Note: {safe(note)}")


def _dropped(report: ReadReport) -> None:
    typer.echo(
        f"{report.rows:,} rows read as {report.format}, {report.kept:,} kept,"
        f" {report.dropped_rows:,} left out."
    )
    for one in report.dropped:
        shown = ", ".join(str(line) for line in one.lines)
        more = " ..." if one.rows > len(one.lines) else ""
        typer.echo(f"  {one.rows:,}: {one.reason} (line {shown}{more})")


def _echo(content: dict[str, Any]) -> None:
    typer.echo(json.dumps(_plain(content), indent=1, ensure_ascii=False))


def _plain(value: Any) -> Any:
    """The same with null for what is no number, which JSON cannot say."""
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
