"""How `tapeout simulate` shows a run on the terminal. Formats only, computes nothing."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from tapeout.cli.figures import safe
from tapeout.constants import GIGA
from tapeout.perf import in_words
from tapeout.report import formats as f
from tapeout.report.itl import itl_words
from tapeout.serving.remarks import warnings
from tapeout.serving.simulate import SEMANTICS
from tapeout.serving.summary import STATISTICS
from tapeout.serving.window import Basis

if TYPE_CHECKING:
    from tapeout.serving.intervals import Estimate
    from tapeout.serving.many import ClusterSummary
    from tapeout.serving.simulate import SimulationResult
    from tapeout.serving.summary import LimitCheck, Summary

NARROW = (0, 0, 0, 2)
NAMES = {"ttft": "TTFT", "tpot": "TPOT", "e2e": "end to end", "queue": "queue"}


def show(result: SimulationResult) -> None:
    """Print a run."""
    console = Console(highlight=False)
    summary = result.summary
    console.print(_headline(result))
    console.print(f"[dim]{safe(result.trace.source or 'traffic without a name')}[/dim]")
    for text in warnings(result):
        console.print(f"[yellow]! {safe(text)}[/yellow]")
    _latencies(console, summary)
    _limits(console, summary)
    _pairs(console, "Load", _load(result))
    _pairs(console, "Engine", _engine(result))
    if result.cluster is not None:
        show_cluster(console, result.cluster, result.summary.attainment)
    _pairs(console, "Settings", _settings(result))
    for text in result.setup.notes:
        console.print(f"  [dim]{safe(text)}[/dim]")


def _headline(result: SimulationResult) -> str:
    place, count = result.deployment.placement, result.deployment.replicas
    chips = result.setting.chips
    replicas = f"{count} replicas, " if count > 1 else ""
    beside = chips - place.chips * count
    if result.cluster is not None:
        replicas += "".join(f"beside {one.name}, " for one in result.cluster.kinds[1:])
    elif beside:
        replicas += f"decoding beside {beside} prefill chip{'s' if beside > 1 else ''}, "
    return (
        f"[bold]{safe(place.architecture.name)} on {safe(place.system.chip.name)}[/bold]:"
        f" {safe(in_words(place))}, {safe(replicas)}{chips} chip{'s' if chips > 1 else ''},"
        f" {result.summary.requests:,} requests"
    )


def seconds(value: float) -> str:
    """A time as on the page; "never" where requests failed.

    Examples
    --------
    >>> seconds(0.0321), seconds(12.345), seconds(float("nan")), seconds(float("inf"))
    ('32.1 ms', '12.3 s', '–', 'never')
    """
    return "never" if math.isinf(value) else f.seconds(value)


def _latencies(console: Console, summary: Summary) -> None:
    """Print latencies by statistic, with marks where there is a limit."""
    marks = {
        (one.limit.metric, one.limit.percentile): one for one in summary.checks if not one.limit.of
    }
    table = Table(
        title=f"Latency of {summary.finished:,} requests, ± half the 95 % interval",
        title_justify="left",
        box=None,
        padding=NARROW,
    )
    table.add_column("")
    for statistic in STATISTICS:
        table.add_column(statistic, justify="right")
    for name, found in summary.latencies.items():
        cells = [
            _marked(found[one], marks.get((name, float(one[1:]))) if one != "mean" else None)
            for one in STATISTICS
        ]
        table.add_row(f"  {NAMES[name]}", *cells)
        table.add_row("", *(_wide(found[one]) for one in STATISTICS), style="dim")
    if summary.itl is not None:
        table.add_row("  ITL", *(seconds(summary.itl.values_s[one]) for one in STATISTICS))
    console.print(table)
    console.print(f"  [dim]{itl_words(summary)}[/dim]")


def _marked(one: Estimate, check: LimitCheck | None) -> str:
    text = seconds(one.value)
    if check is None:
        return text
    return f"[green]{text} ✓[/green]" if check.met else f"[red]{text} ✗[/red]"


def _wide(one: Estimate) -> str:
    return "" if math.isnan(one.half_width) else f"±{f.seconds(one.half_width, 2)}"


def _limits(console: Console, summary: Summary) -> None:
    if not summary.checks:
        return
    rows = []
    for check in summary.checks:
        word = "[green]met[/green]" if check.met else "[red]missed[/red]"
        known = not math.isnan(check.value.half_width)
        doubt = ", within the sampling error" if known and not check.sure else ""
        rows.append((safe(check.limit.words), f"{word} with {seconds(check.value.value)}{doubt}"))
    rows.append(("all of them", f"{_share(summary.attainment)} of requests"))
    rows += [
        (f"  {safe(one.name)}", f"{_share(one.attainment)} of requests") for one in summary.classes
    ]
    _pairs(console, "Service-level limits", rows)


def _share(one: Estimate) -> str:
    if math.isnan(one.value):
        return f.NONE
    wide = "" if math.isnan(one.half_width) else f" ± {f.percent(one.half_width)}"
    return f"{f.share(one.value)}{wide}"


def _load(result: SimulationResult) -> Iterable[tuple[str, str]]:
    summary = result.summary
    window = summary.window
    loop = f", closed loop of {result.setting.in_flight}" if result.setting.in_flight else ""
    yield "window", f"{f.number(window.start_s)} to {f.number(window.end_s)} s{loop}"
    if summary.counted is not None and summary.basis is not Basis.WINDOW:
        of = f"{f.number(summary.counted.start_s)} to {f.number(summary.counted.end_s)} s"
        yield "rates served", f"of the {summary.basis.value}, {of}"
    yield (
        "requests/s",
        f"{f.number(summary.offered_requests_per_s)} offered,"
        f" {f.number(summary.served_requests_per_s)} served"
        + (
            f", {f.number(summary.goodput_requests_per_s)} within all limits (goodput)"
            if summary.checks
            else ""
        ),
    )
    yield "in the system", summary.trend.steadiness.value
    yield (
        "output",
        f"{f.number(summary.output_tokens_per_s)} tokens/s,"
        f" {f.number(summary.output_tokens_per_s_per_chip)} a chip",
    )
    yield (
        "input",
        f"{f.number(summary.input_tokens_per_s)} tokens/s,"
        f" {f.number(summary.input_tokens_per_s_per_chip)} a chip",
    )
    yield "not served", f"{summary.rejected:,} rejected, {summary.unfinished:,} unfinished"


def _engine(result: SimulationResult) -> Iterable[tuple[str, str]]:
    use = result.summary.use
    yield "busy", f"{f.percent(use.utilisation_fraction)} of the time"
    yield (
        "running",
        f"{f.number(use.running_mean)} sequences on average, {use.running_peak:,} at most",
    )
    yield (
        "KV cache held",
        f"{f.percent(use.kv_mean_fraction)} on average, {f.percent(use.kv_peak_fraction)} at most",
    )
    yield (
        "preemptions",
        f"{use.preemptions:,}, {f.percent(use.preempted_fraction)} of requests,"
        f" {use.discarded_tokens:,} tokens computed again",
    )
    yield "prefix hits", f"{f.percent(use.hit_fraction)} of prompt tokens"
    host = result.host
    if host is not None:
        yield (
            "host memory",
            f"{host.hit_tokens:,} tokens found there, {f.percent(host.hit_fraction)} of all found,"
            f" in {host.loads:,} copies",
        )
        yield (
            "copied",
            f"{f.number(host.loaded_bytes / GIGA)} GB from host memory,"
            f" {f.number(host.stored_bytes / GIGA)} GB to it",
        )
        yield (
            "waits for copies",
            f"{seconds(host.load_mean_s)} a copy from host memory on average; steps"
            f" {seconds(host.stalled_s)} in all for blocks still being copied out",
        )
    yield (
        "energy",
        f"{f.number(use.joule_per_output_token)} J per output token,"
        f" {f.number(use.joule_per_request)} J per request, chips alone",
    )


def _settings(result: SimulationResult) -> Iterable[tuple[str, str]]:
    rules, kv, policy = result.setup.rules, result.setup.kv, result.deployment.policy.name
    yield "engine", f"{safe(policy)} ({SEMANTICS.get(policy, 'own policy')})"
    ranks = f", {rules.ranks} data-parallel ranks" if rules.ranks > 1 else ""
    yield (
        "limits",
        f"{rules.token_budget:,} tokens and {rules.max_sequences:,} sequences a step{ranks}",
    )
    between = f" ({kv.low:,} to {kv.high:,})" if kv.low != kv.high else ""
    yield (
        "KV cache",
        f"{kv.blocks:,} blocks{between} of {rules.block_tokens} tokens a rank: {safe(kv.source)}",
    )
    yield (
        "memory",
        f"{f.percent(result.memory_fraction)} of it for the engine, keys in"
        f" {result.deployment.placement.formats.kv}, sequences up to {rules.longest:,} tokens",
    )
    cached = "on" if rules.prefix_cache else "off"
    yield "prefix cache", cached
    factor = result.timing.band_factor
    band = f"(80 % band: x {1.0 / factor:.2f} to {factor:.2f})"
    yield "step times", safe(result.timing.name)
    yield (
        "timing error",
        f"of the step model ±{f.percent(factor - 1.0)} {band};"
        " near saturation queueing multiplies it",
    )


def _pairs(console: Console, title: str, rows: Iterable[tuple[str, str]]) -> None:
    table = Table(title=title, title_justify="left", box=None, padding=NARROW, show_header=False)
    table.add_column("", no_wrap=True)
    table.add_column("")
    for name, text in rows:
        table.add_row(f"  {name}", text)
    console.print(table)


def show_cluster(console: Console, cluster: ClusterSummary, attainment: Estimate) -> None:
    """Print the kinds of replicas, failures and tries."""
    table = Table(
        title=f"Replicas behind the router {cluster.router}",
        title_justify="left",
        box=None,
        padding=NARROW,
    )
    table.add_column("")
    heads = ("replicas", "requests", "busy", "paid h", "output tokens/s", "USD/Mtok", "failures")
    for head in heads:
        table.add_column(head, justify="right")
    for one in cluster.kinds:
        table.add_row(
            f"  {safe(one.name)}",
            f"{one.replicas:,}",
            f"{one.requests:,}",
            f.percent(one.busy_fraction),
            f.number(one.paid_h),
            f.number(one.output_tokens_per_s),
            f.number(one.usd_per_mtok),
            f"{one.failures:,}",
        )
    if len(cluster.kinds) > 1:
        whole = cluster.kinds
        table.add_row(
            "  all",
            f"{sum(one.replicas for one in whole):,}",
            f"{sum(one.requests for one in whole):,}",
            "",
            f.number(sum(one.paid_h for one in whole)),
            f.number(sum(one.output_tokens_per_s for one in whole)),
            f.number(cluster.usd_per_mtok),
            f"{sum(one.failures for one in whole):,}",
        )
    console.print(table)
    again = f"{cluster.tries:,} in all, {cluster.sent_again:,} requests more than once"
    rows = [("tries", f"{again}, {cluster.dropped:,} dropped")]
    if cluster.without_failures is not None and not math.isnan(attainment.value):
        without = _share(cluster.without_failures)
        rows.append(("attainment", f"{_share(attainment)}; without the failures {without}"))
    _pairs(console, "", rows)
