"""`tapeout search`: the cheapest deployment of a model within limits."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tapeout.cli import simulate_options as o
from tapeout.cli.figures import number
from tapeout.cli.simulate_traffic import Asked, stream_of
from tapeout.constants import MILLI, PERCENT
from tapeout.errors import InfeasibleError, Problem, ProblemsError, printable

if TYPE_CHECKING:
    from tapeout.fabric import System
    from tapeout.serving.search import Candidate, Price, Space, Stream

SHOWN = 20
WIDE = 0.1  # share of a rate: an interval as wide orders nothing
TRIED = 2_000  # requests whose mean lengths are printed

UsdPerChipHour = Annotated[
    list[str] | None,
    typer.Option(
        "--usd-per-chip-hour",
        help="CHIP=USD, repeatable; default: the catalogue's on-demand rent",
        show_default=False,
    ),
]
Model = Annotated[str, typer.Option("--model", help="Model, e.g. llama-3.1-70b")]
Chips = Annotated[
    str, typer.Option("--chips", help="Catalogue chips between commas, e.g. h100,b200")
]
Precisions = Annotated[
    str, typer.Option("--precision", help="Between commas; default: the narrowest served")
]
Caps = Annotated[
    str, typer.Option("--max-num-seqs", help="Caps between commas; default: the engine's")
]
Budgets = Annotated[
    str,
    typer.Option(
        "--max-num-batched-tokens", metavar="N,N", help="Budgets between commas; default likewise"
    ),
]
Policies = Annotated[str, typer.Option("--policy", help="Policies between commas")]
Utilisation = Annotated[
    float | None,
    typer.Option(
        "--gpu-memory-utilization",
        metavar="X",
        help="Share of a chip's memory that the engine takes; default: 0.9",
        min=0.01,
        max=1.0,
        show_default=False,
    ),
]
MostChips = Annotated[int, typer.Option(metavar="N", help="Chips of a replica, at most", min=1)]
Simulated = Annotated[
    int,
    typer.Option(
        metavar="N",
        help="How many of the best are simulated, at least one of every chip",
        min=1,
        max=200,
    ),
]
Requests = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        help="Of the longest run; default: 12,000",
        min=1000,
        show_default=False,
    ),
]
Overlay = Annotated[
    Path | None, typer.Option(help="TOML of newer catalogue figures", show_default=False)
]
Out = Annotated[Path | None, typer.Option(help="Write every candidate (.csv)", show_default=False)]
Plot = Annotated[
    Path | None, typer.Option(help="Write the trade as a page (.html)", show_default=False)
]


def search(
    trace: o.TraceFile = None,
    model: Model = "",
    chips: Chips = "",
    slo: o.Slo = "",
    attainment: o.Attainment = 0.0,
    input_tokens: o.Input = None,
    output_tokens: o.Output = None,
    length_cv: o.LengthCv = None,
    cv: o.Cv = None,
    precisions: Precisions = "",
    max_num_seqs: Caps = "",
    max_num_batched_tokens: Budgets = "",
    policies: Policies = "vllm-v1",
    gpu_memory_utilization: Utilisation = None,
    most_chips: MostChips = 64,
    simulated: Simulated = 8,
    usd_per_chip_hour: UsdPerChipHour = None,
    requests: Requests = None,
    seed: o.Seed = 0,
    overlay: Overlay = None,
    out: Out = None,
    plot: Plot = None,
    as_json: o.Json = False,
    quiet: o.Quiet = False,
) -> None:
    """Find the cheapest deployment within limits: all screened, the best simulated.

    Examples:

      tapeout search --model llama-3.1-70b --chips h100,b200 --slo ttft_p90=2,tpot_p90=0.05

      tapeout search --model llama-3.1-8b --chips h100 --max-num-seqs 128,256,512 --input 2000
      --output 300 --slo tpot_p90=0.03 --usd-per-chip-hour h100=2.5 --out all.csv --plot trade.html

      tapeout search trace.csv --model gpt-oss-120b --chips h100,mi300x --slo ttft_p99=4
    """
    from tapeout.serving.objectives import parse_objective  # noqa: PLC0415
    from tapeout.serving.search import (  # noqa: PLC0415
        HowSearched,
        SearchOptions,
        search_deployments,
    )
    from tapeout.workload import load_model  # noqa: PLC0415

    _check(model, chips, slo, out, plot)
    systems, prices = _silicon(chips, usd_per_chip_hour or [], overlay)
    space = _space(
        systems,
        (precisions, max_num_seqs, max_num_batched_tokens, policies),
        most_chips,
        gpu_memory_utilization,
    )
    asked = Asked(
        path=trace, input_tokens=input_tokens, output_tokens=output_tokens, length_cv=length_cv,
        cv=cv, seed=seed,
    )  # fmt: skip
    stream, notes = stream_of(asked)
    options = SearchOptions(attainment=attainment, seed=seed)
    if requests is not None:
        options = replace(options, most_requests=requests)
    with _progress(show=not quiet and not as_json) as tell:
        how = HowSearched(search=options, simulated=simulated, prices=prices, tell=tell)
        found = search_deployments(load_model(model), space, stream, parse_objective(slo), how)
    if as_json:
        _print_json(found, slo, seed, notes)
    else:
        typer.echo(_asked_words(asked, stream, slo, seed))
        _show(found, prices, list(systems), (*notes, *_cautions(found)))
    _write(found, out, plot, quiet=as_json)


def _check(model: str, chips: str, slo: str, out: Path | None, plot: Path | None) -> None:
    """Everything that is missing or wrong, before anything is computed."""
    problems = [
        Problem(path=path, value="", message="is missing", remedy=f"add {path} {example}")
        for path, value, example in (
            ("--model", model, "llama-3.1-70b"),
            ("--chips", chips, "h100,b200"),
            ("--slo", slo, "ttft_p90=2,tpot_p90=0.05"),
        )
        if not value
    ]
    problems += [
        Problem(path=path, value=str(name), message="cannot be written in this form",
                remedy=f"end the name in {ending}")
        for path, name, ending in (("--out", out, ".csv"), ("--plot", plot, ".html"))
        if name is not None and name.suffix.lower() != ending
    ]  # fmt: skip
    if problems:
        raise ProblemsError("tapeout search", problems)


def _silicon(
    chips: str, given: Sequence[str], overlay: Path | None
) -> tuple[dict[str, System], dict[str, Price]]:
    """Systems and prices by the catalogue's name of the chip."""
    from tapeout.catalog import load  # noqa: PLC0415
    from tapeout.chip import spec_from_record  # noqa: PLC0415
    from tapeout.fabric import usual_system  # noqa: PLC0415
    from tapeout.serving.search import catalogue_price, parse_price  # noqa: PLC0415

    catalog = load(overlay)
    stated = {catalog.chip(name).name: price for name, price in map(parse_price, given)}
    systems: dict[str, System] = {}
    prices: dict[str, Price] = {}
    for name in _parts(chips):
        record = catalog.chip(name)
        systems[record.name] = usual_system(spec_from_record(record))
        price = stated.get(record.name) or catalogue_price(catalog, name)
        if price is not None:
            prices[record.name] = price
    unused = sorted(set(stated) - set(systems))
    if unused:
        raise InfeasibleError(
            f"--usd-per-chip-hour names {', '.join(unused)}, not among --chips; add it there"
        )
    return systems, prices


def _parts(text: str) -> list[str]:
    return [one.strip() for one in text.split(",") if one.strip()]


def _space(
    systems: dict[str, System],
    lists: tuple[str, str, str, str],
    most_chips: int,
    memory_fraction: float | None,
) -> Space:
    from tapeout.serving.search import Space  # noqa: PLC0415

    precisions, sequences, budgets, policies = lists
    return Space(
        systems=systems,
        precisions=tuple(_parts(precisions)) or (None,),
        max_sequences=_counts("--max-num-seqs", sequences) or (None,),
        token_budgets=_counts("--max-num-batched-tokens", budgets) or (None,),
        policies=tuple(_parts(policies)),
        most_chips=most_chips,
        memory_fraction=memory_fraction,
    )


def _counts(path: str, text: str) -> tuple[int, ...]:
    parts = _parts(text)
    wrong = [one for one in parts if not one.isdecimal() or int(one) < 1]
    if wrong:
        raise ProblemsError(
            path,
            [
                Problem(path=path, value=one, message="is no whole number above 0",
                        remedy="write 256,512")
                for one in wrong
            ],
        )  # fmt: skip
    return tuple(int(one) for one in parts)


STAGES = {"screen": "screening", "simulate": "simulating the best"}


@contextmanager
def _progress(*, show: bool) -> Iterator[Callable[[str, float], None]]:
    """Bars on stderr, or nothing where nobody looks."""
    if not show or not sys.stderr.isatty():
        yield lambda _stage, _done: None
        return
    from rich.console import Console  # noqa: PLC0415
    from rich.progress import Progress  # noqa: PLC0415

    with Progress(console=Console(stderr=True), transient=True) as bar:
        tasks = {stage: bar.add_task(title, total=1.0) for stage, title in STAGES.items()}
        yield lambda stage, done: bar.update(tasks[stage], completed=done)


def _show(
    found: Sequence[Candidate], prices: dict[str, Price], chips: list[str], notes: tuple[str, ...]
) -> None:
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    from tapeout.cli.figures import safe  # noqa: PLC0415

    console = Console(highlight=False)
    best = [one for one in found if one.simulated is not None]
    table = Table(
        title=f"{len(best)} of {len(found):,} deployments simulated, cheapest first",
        title_justify="left", box=None, padding=(0, 0, 0, 1),
    )  # fmt: skip
    for name in ("chip", "deployment"):
        table.add_column(name, no_wrap=True)
    for name in ("chips", "req/s", "± %", "tok/s/chip", "gap %", "TPOT ms", "USD/Mtok"):
        table.add_column(name, justify="right", no_wrap=True)
    for one in best[:SHOWN]:
        table.add_row(safe(one.chip), safe(one.words), str(one.chips), *_cells(one))
    console.print(table)
    console.print(
        "  [dim]gap: simulated over steady state, tokens/s a chip; USD/Mtok: of output[/dim]"
    )
    for name in chips:
        price = prices.get(name)
        told = price.words if price else "no price: rank is by tokens a second and chip"
        console.print(f"  [dim]{safe(name)}: {safe(told)}[/dim]")
    for text in notes:
        console.print(f"  [dim]{safe(text)}[/dim]")


def _asked_words(asked: Asked, stream: Stream, slo: str, seed: int) -> str:
    """What was searched for, in a line."""
    from tapeout.serving.search.streams import mean_lengths  # noqa: PLC0415

    means = mean_lengths(stream.take(min(TRIED, stream.most)))
    what = printable(str(asked.path)) if asked.path else "drawn requests"
    shared = f" (at most {means.cached / means.input:.0%} shared)" if means.cached else ""
    return (
        f"{what}: {means.input:,.0f} input{shared} and {means.output:,.0f} output tokens"
        f" on average; limits {printable(slo)}; seed {seed}"
    )


def _cautions(found: Sequence[Candidate]) -> Iterator[str]:
    """What the order of the table does not show."""
    best = [one for one in found if one.simulated is not None and one.simulated.rate_rps]
    weights = {one.deployment.placement.formats.weight for one in best}
    if len(weights) > 1:
        yield f"number formats differ ({', '.join(sorted(weights))}): --precision compares alike"
    wide = [one for one in best if one.simulated and one.simulated.half_width_rps
            > WIDE * one.simulated.rate_rps]  # fmt: skip
    if wide:
        many = "intervals are" if len(wide) > 1 else "interval is"
        yield f"{len(wide)} {many} wider than ±10 %: raise --requests before ranking them"
    bands = sorted({round(one.band_factor, 2) for one in best if one.band_factor > 1.0})
    if bands:
        most = f" to {bands[-1]:.2f}" if len(bands) > 1 else ""
        yield (
            f"timing error of the step model: factor {bands[0]:.2f}{most} (80 % band), partly"
            " shared by all chips; ± is sampling error alone"
        )


def _print_json(found: Sequence[Candidate], slo: str, seed: int, notes: tuple[str, ...]) -> None:
    from tapeout.serving.search.rows import columns  # noqa: PLC0415

    table = columns(found)
    rows = [
        {name: None if isinstance(x, float) and not math.isfinite(x) else x
         for name, x in zip(table, row, strict=True)}
        for row in zip(*table.values(), strict=True)
    ]  # fmt: skip
    cautions = [*notes, *_cautions(found)]
    whole = {"slo": slo, "seed": seed, "candidates": rows, "notes": cautions}
    typer.echo(json.dumps(whole, indent=1, ensure_ascii=False))


def _cells(one: Candidate) -> Iterator[str]:
    made = one.simulated
    assert made is not None
    yield number(made.rate_rps) if made.rate_rps else made.outcome.name.lower()
    yield _tenths(made.half_width_rps / made.rate_rps if made.rate_rps else math.nan)
    yield _or_none(one.per_chip)
    yield _tenths(_gap(one))
    yield _or_none(one.mean_tpot_s / MILLI)
    yield _or_none(one.usd_per_mtok)


def _gap(one: Candidate) -> float:
    """Simulated over steady rate of a chip, less one."""
    if one.simulated is None or not one.steady_per_chip or not one.per_chip:
        return math.nan
    return one.per_chip / one.steady_per_chip - 1.0


def _tenths(fraction: float) -> str:
    """Per cent with one decimal."""
    return f"{fraction / PERCENT:.1f}" if math.isfinite(fraction) else "–"


def _or_none(value: float) -> str:
    return number(value) if math.isfinite(value) else "–"


def _write(found: Sequence[Candidate], out: Path | None, plot: Path | None, *, quiet: bool) -> None:
    if out is not None:
        from tapeout.serving.records import write_columns  # noqa: PLC0415
        from tapeout.serving.search.rows import columns  # noqa: PLC0415

        write_columns(out, columns(found))
        typer.echo(f"Wrote {out}", err=quiet)
    if plot is not None:
        from tapeout.report.search import write_search  # noqa: PLC0415

        write_search(found, plot)
        typer.echo(f"Wrote {plot}", err=quiet)
