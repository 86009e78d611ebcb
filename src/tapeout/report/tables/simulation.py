"""Tables of a simulated run: latencies, load, use of the engine, classes, settings."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from tapeout.constants import GIGA
from tapeout.perf import in_words
from tapeout.report import formats as f
from tapeout.report.charts.simulation import NAMES
from tapeout.report.content import Cell, Row, Table, Tone, cell, left, right, row
from tapeout.report.itl import itl_words
from tapeout.serving.simulate import SEMANTICS
from tapeout.serving.summary import STATISTICS

ROUNDING = 1e-9  # of sums of times

if TYPE_CHECKING:
    from tapeout.serving.hosting import HostUse
    from tapeout.serving.intervals import Estimate
    from tapeout.serving.many import ClusterSummary
    from tapeout.serving.simulate import SimulationResult
    from tapeout.serving.summary import Distribution, LimitCheck, Summary, Use


def latencies(summary: Summary) -> Table:
    """Latencies by statistic; statistics that have a limit are marked."""
    tones: dict[tuple[str, str], Tone] = {
        (one.limit.metric, f"p{one.limit.percentile:g}"): _tone(one)
        for one in summary.checks
        if not one.limit.of
    }
    lines = [
        row(
            NAMES[name],
            *(_latency(found[one], tones.get((name, one), "")) for one in STATISTICS),
            f.seconds(found.largest_s),
        )
        for name, found in summary.latencies.items()
    ]
    if summary.itl is not None:
        values_s = summary.itl.values_s
        lines.append(
            row(
                "ITL",
                *(f.seconds(values_s[one]) for one in STATISTICS),
                f.seconds(summary.itl.largest_s),
            )
        )
    return Table(
        key="latencies",
        caption=f"Latency of {summary.finished:,} requests",
        columns=(
            left("metric", "Metric"),
            *(right(one, one) for one in STATISTICS),
            right("largest", "largest"),
        ),
        rows=tuple(lines),
        notes=(
            "Below a figure half its 95 % confidence interval, from batches of requests; none"
            " where there are too few requests to say.",
            f"{itl_words(summary)}. TPOT is the mean gap of each request.",
        ),
    )


def _tone(check: LimitCheck) -> Tone:
    return "good" if check.met else "bad"


def _latency(one: Estimate, tone: Tone = "") -> Cell:
    note = "" if f.missing(one.half_width) else f"± {f.seconds(one.half_width, 2)}"
    return cell(f.seconds(one.value), tone, note)


def limits(summary: Summary) -> Table | None:
    """Limits beside what was reached; None without limits."""
    if not summary.checks:
        return None
    lines = [
        row(
            check.limit.words,
            _latency(check.value) if check.value.value < float("inf") else "never: requests failed",
            cell("met" if check.met else "missed", _tone(check), _doubt(check)),
        )
        for check in summary.checks
    ]
    return Table(
        key="limits",
        caption="Service-level limits",
        columns=(left("limit", "Limit"), right("reached", "Reached"), right("verdict", "Verdict")),
        rows=tuple(lines),
        notes=(
            "Attainment is the share of requests that meet every limit of their class; rejected"
            " and unfinished requests miss.",
        ),
    )


def _doubt(check: LimitCheck) -> str:
    if f.missing(check.value.half_width):
        return ""
    return "" if check.sure else "within the sampling error"


def load(summary: Summary) -> Table:
    """Rates in the window."""
    lines = (
        ("Offered", f"{f.number(summary.offered_requests_per_s)} requests/s"),
        ("Served", f"{f.number(summary.served_requests_per_s)} requests/s"),
        *_judged(summary),
        ("Output", f"{f.number(summary.output_tokens_per_s)} tokens/s"),
        ("Output per chip", f"{f.number(summary.output_tokens_per_s_per_chip)} tokens/s"),
        ("Input", f"{f.number(summary.input_tokens_per_s)} tokens/s"),
        ("Rejected, unfinished", f"{summary.rejected:,}, {summary.unfinished:,}"),
    )
    window = summary.window
    return Table(
        key="load",
        caption=f"Load from {f.short(window.start_s)} s to {f.short(window.end_s)} s",
        columns=(left("name", "Figure"), right("value", "Value")),
        rows=tuple(row(*one) for one in lines),
        notes=(f"Requests in the system: {summary.trend.steadiness.value}.",),
    )


def _judged(summary: Summary) -> tuple[tuple[str, str], ...]:
    """Goodput and attainment, where there are limits to meet."""
    if not summary.checks:
        return ()
    return (
        ("Goodput", f"{f.number(summary.goodput_requests_per_s)} requests/s"),
        ("SLO attainment", _share(summary.attainment)),
    )


def _share(one: Estimate) -> str:
    wide = "" if f.missing(one.half_width) else f" ± {f.percent(one.half_width)}"
    return f"{f.share(one.value)}{wide}"


def use(found: Use, host: HostUse | None = None) -> Table:
    """What the whole run made of its chips, and of a cache in host memory."""
    lines = (
        ("Time in steps", f.percent(found.utilisation_fraction)),
        (
            "KV cache held, mean and peak",
            f"{f.percent(found.kv_mean_fraction)}, {f.percent(found.kv_peak_fraction)}",
        ),
        (
            "Running sequences, mean and peak",
            f"{f.number(found.running_mean)}, {found.running_peak:,}",
        ),
        (
            "Preemptions",
            f"{found.preemptions:,} ({f.percent(found.preempted_fraction)} of requests)",
        ),
        ("Prompt tokens found in the cache", f.percent(found.hit_fraction)),
        *_hosted(host),
        ("Energy of an output token", f"{f.number(found.joule_per_output_token)} J"),
        ("Energy of a request", f"{f.number(found.joule_per_request)} J"),
        ("Little's law residual", _residual(found.little_residual_fraction)),
    )
    return Table(
        key="use",
        caption=f"Use of {found.chips:,} chip{'s' if found.chips > 1 else ''} over the whole run",
        columns=(left("name", "Figure"), right("value", "Value")),
        rows=tuple(row(*one) for one in lines),
        notes=("Energy is that of the chips, idle time included; hosts are not.",),
    )


def _hosted(host: HostUse | None) -> tuple[tuple[str, str], ...]:
    """What came from host memory, where there is a tier."""
    if host is None:
        return ()
    to_device, to_host = (one / GIGA for one in (host.loaded_bytes, host.stored_bytes))
    return (
        ("Of all tokens found, in host memory", f.percent(host.hit_fraction)),
        ("Copied from and to host memory", f"{f.number(to_device)}, {f.number(to_host)} GB"),
        ("Mean wait for a copy", f.seconds(host.load_mean_s)),
        ("Steps waited for copies", f.seconds(host.stalled_s)),
    )


def _residual(fraction: float) -> str:
    return "0" if abs(fraction) < ROUNDING else f.percent(fraction)


def classes(summary: Summary) -> Table | None:
    """Classes of traffic; None where there is one."""
    if len(summary.classes) < 2:
        return None
    table = _all_of_classes(summary)
    if summary.checks:
        return table
    return table.only("class", "requests", "ttft", "tpot", "e2e")


def _all_of_classes(summary: Summary) -> Table:
    lines = [
        row(
            one.name,
            f.integer(one.requests),
            _share(one.attainment),
            f.number(one.goodput_requests_per_s),
            *(_pair(one.latencies[name]) for name in ("ttft", "tpot", "e2e")),
        )
        for one in summary.classes
    ]
    return Table(
        key="classes",
        caption="Classes of traffic",
        columns=(
            left("class", "Class"),
            right("requests", "Requests"),
            right("attainment", "Attainment"),
            right("goodput", "Goodput, requests/s"),
            *(right(name, f"{NAMES[name]}, p50 and p90") for name in ("ttft", "tpot", "e2e")),
        ),
        rows=tuple(lines),
    )


def _pair(found: Distribution) -> str:
    return f"{f.seconds(found['p50'].value)}, {f.seconds(found['p90'].value)}"


def cluster(found: ClusterSummary | None, attainment: Estimate) -> Table | None:
    """Replicas by kind, as on the terminal; None where there was no router."""
    if found is None:
        return None
    lines = [
        row(
            one.name, f.integer(one.replicas), f.integer(one.requests),
            f.percent(one.busy_fraction), f.number(one.paid_h),
            f.number(one.output_tokens_per_s), f.number(one.usd_per_mtok),
            f.integer(one.failures),
        )
        for one in found.kinds
    ]  # fmt: skip
    if len(lines) > 1:
        lines.append(_all_kinds(found))
    notes = [
        f"{found.tries:,} tries in all, {found.sent_again:,} requests more than once,"
        f" {found.dropped:,} dropped."
    ]
    if found.without_failures is not None and not f.missing(attainment.value):
        without = _share(found.without_failures)
        notes.append(f"Attainment {_share(attainment)}; without the failures {without}.")
    return Table(
        key="cluster",
        caption=f"Replicas behind the router {found.router}",
        columns=(
            left("kind", "Kind"), right("replicas", "Replicas"), right("requests", "Requests"),
            right("busy", "Busy"), right("paid", "Paid, h"), right("output", "Output tokens/s"),
            right("usd", "USD/Mtok"), right("failures", "Failures"),
        ),
        rows=tuple(lines),
        notes=tuple(notes),
    )  # fmt: skip


def _all_kinds(found: ClusterSummary) -> Row:
    whole = found.kinds
    total = row(
        "all", f.integer(sum(one.replicas for one in whole)),
        f.integer(sum(one.requests for one in whole)), "",
        f.number(sum(one.paid_h for one in whole)),
        f.number(sum(one.output_tokens_per_s for one in whole)), f.number(found.usd_per_mtok),
        f.integer(sum(one.failures for one in whole)),
    )  # fmt: skip
    return replace(total, style="total")


def settings(result: SimulationResult) -> Table:
    """What was simulated: placement, engine, cache, timing model, traffic."""
    place, rules, kv = result.deployment.placement, result.setup.rules, result.setup.kv
    policy = result.deployment.policy.name
    between = f" ({kv.low:,} to {kv.high:,})" if kv.low != kv.high else ""
    lines = (
        ("Model", place.architecture.name),
        ("Placement", f"{in_words(place)} on {place.system.chip.name}"),
        ("Replicas", f"{result.deployment.replicas}"),
        ("Policy", f"{policy} ({SEMANTICS.get(policy, 'own policy')})"),
        ("Token budget of a step", f"{rules.token_budget:,}"),
        ("Sequences at once", f"{rules.max_sequences:,}"),
        (
            "KV cache of a rank",
            f"{kv.blocks:,} blocks{between} of {rules.block_tokens} tokens: {kv.source}",
        ),
        ("Data-parallel ranks", f"{rules.ranks}"),
        ("Prefix cache", "on" if rules.prefix_cache else "off"),
        ("Timing model", result.timing.name),
        (
            "Timing error of the step model",
            f"x/÷ {f.number(result.timing.band_factor)} (80 % band)",
        ),
        ("Traffic", result.trace.source or "not named"),
    )
    return Table(
        key="settings",
        caption="What was simulated",
        columns=(left("name", "Setting"), left("value", "Value")),
        rows=tuple(row(*one) for one in lines),
    )
