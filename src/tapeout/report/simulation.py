"""A simulated run as one page that loads nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from markupsafe import Markup

from tapeout import __version__
from tapeout.files import write_whole
from tapeout.perf import in_words
from tapeout.report import formats as f
from tapeout.report.charts import simulation as charts
from tapeout.report.charts.simulation import NAMES, Mark
from tapeout.report.content import Block, Bullets, Card, Pair, Section, Tone
from tapeout.report.page import asset, charts_of, environment, safe_json
from tapeout.report.runtime import vega_bundle
from tapeout.report.tables import simulation as tables
from tapeout.serving.metrics import latencies_s
from tapeout.serving.phases import order_of, phases
from tapeout.serving.remarks import warnings

if TYPE_CHECKING:
    from tapeout.serving.simulate import SimulationResult
    from tapeout.serving.summary import Summary

SHOWN = 60  # requests whose phases are drawn
DRAWN = ("ttft", "tpot", "e2e", "queue")


def simulation_html(result: SimulationResult) -> str:
    """The run as HTML; the same result gives the same bytes.

    Parameters
    ----------
    result : SimulationResult
        With a timeline there are charts over time, with a log preemptions have their place.
    """
    parts = tuple(_sections(result))
    return (
        environment()
        .get_template("simulation.html.j2")
        .render(
            title=_title(result),
            verdict=_verdict(result.summary),
            warnings=warnings(result),
            cards=tuple(_cards(result.summary)),
            sections=parts,
            specs={chart.key: safe_json(chart.spec) for chart in charts_of(parts)},
            footer=_footer(result),
            style=Markup(asset("style.css")),  # noqa: S704  our own file
            script=Markup(asset("page.js")),  # noqa: S704  our own file
            runtime=Markup(vega_bundle()),  # noqa: S704  the chart runtime, made safe in runtime.py
        )
    )


def write_simulation(result: SimulationResult, path: Path) -> None:
    """Write the page, all or nothing.

    Raises
    ------
    OSError
        The file cannot be written.
    """
    write_whole(path, simulation_html(result))


def _title(result: SimulationResult) -> str:
    place, count = result.deployment.placement, result.deployment.replicas
    replicas = f", {count} replicas" if count > 1 else ""
    if result.cluster is not None:
        beside = (f", beside {one.replicas} of {one.name}" for one in result.cluster.kinds[1:])
        replicas += "".join(beside)
    return f"{place.architecture.name} on {place.system.chip.name}, {in_words(place)}{replicas}"


def _verdict(summary: Summary) -> str:
    """The result in a sentence or two."""
    rate = summary.offered_requests_per_s
    load = (
        f"At {f.number(rate)} requests a second"
        if not f.missing(rate)
        else f"With {summary.requests:,} requests at once"
    )
    ttft, tpot = summary.latencies["ttft"]["p90"].value, summary.latencies["tpot"]["p90"].value
    reached = (
        f"{load} nine in ten requests have their first token within {f.seconds(ttft)}"
        f" and the next ones every {f.seconds(tpot)} or faster"
    )
    if f.missing(tpot):
        reached = f"{load} nine in ten requests have their first token within {f.seconds(ttft)}"
    if not summary.checks:
        return f"{reached}."
    limits = ", ".join(check.limit.words for check in summary.checks)
    share = f"{f.share(summary.attainment.value)} of requests meet all limits ({limits})"
    return f"{reached}; {share}."


def _cards(summary: Summary) -> Iterator[Card]:
    tones: dict[tuple[str, float], Tone] = {
        (one.limit.metric, one.limit.percentile): "good" if one.met else "bad"
        for one in summary.checks
        if not one.limit.of
    }
    for name in ("ttft", "tpot"):
        found = summary.latencies[name]
        yield Card(
            label=f"{NAMES[name]}, 90th percentile",
            value=f.seconds(found["p90"].value),
            detail=f"median {f.seconds(found['p50'].value)}, p99 {f.seconds(found['p99'].value)}",
            tone=tones.get((name, 90.0), ""),
        )
    if summary.checks:
        yield Card(
            label="Requests that meet every limit",
            value=f.share(summary.attainment.value),
            detail=f"goodput {f.number(summary.goodput_requests_per_s)} requests/s",
            tone="good" if summary.met else "bad",
        )
    yield Card(
        label="Output a chip",
        value=f"{f.number(summary.output_tokens_per_s_per_chip)} tokens/s",
        detail=f"{f.number(summary.use.joule_per_output_token)} J per output token",
    )
    if not summary.checks:
        yield Card(
            label="KV cache held, mean",
            value=f.percent(summary.use.kv_mean_fraction),
            detail=f"peak {f.percent(summary.use.kv_peak_fraction)},"
            f" {summary.use.preemptions:,} preemptions",
        )


def _sections(result: SimulationResult) -> Iterator[Section]:
    summary = result.summary
    found: list[Block | None] = [
        tables.latencies(summary),
        tables.limits(summary),
        Pair(blocks=(tables.load(summary), tables.use(summary.use, result.host))),
        tables.classes(summary),
        tables.cluster(result.cluster, summary.attainment),
    ]
    yield Section(
        key="result", title="Result", blocks=tuple(one for one in found if one is not None)
    )
    if result.simulation.timeline is not None:
        yield _over_time(result)
    yield _distributions(result)
    yield from _requests(result)
    notes = (Bullets(items=result.setup.notes, heading="How it was set up"),)
    yield Section(
        key="settings",
        title="Deployment and engine",
        blocks=(tables.settings(result), *(notes if result.setup.notes else ())),
    )
    yield Section(
        key="reading",
        title="How to read it, and what it leaves out",
        blocks=(
            Bullets(items=_READING, heading="How to read it"),
            Bullets(items=_LEFT_OUT, heading="What it leaves out"),
        ),
    )


def _over_time(result: SimulationResult) -> Section:
    line, summary = result.simulation.timeline, result.summary
    assert line is not None
    running = f"{f.number(summary.use.running_mean)} sequences run on average"
    peak = float(line.waiting.max(initial=0.0))
    return Section(
        key="time",
        title="Over time",
        lead="Sums over all replicas; each point is the state at a moment, not a mean.",
        blocks=(
            charts.sequences_chart(
                line, f"{running}, up to {f.integer(peak)} wait", _failures(result)
            ),
            charts.cache_chart(
                line,
                result.blocks,
                f"Running sequences hold {f.percent(summary.use.kv_mean_fraction)} of the cache on"
                " average",
            ),
            charts.tokens_chart(
                line,
                f"{f.number(summary.output_tokens_per_s)} output tokens a second in the window",
            ),
        ),
    )


def _failures(result: SimulationResult) -> tuple[Mark, ...]:
    """Failures as asked for that begin within the run."""
    if result.cluster is None:
        return ()
    end_s = result.simulation.totals.end_s
    return tuple(
        Mark(start_s=one.at_s, end_s=one.until_s, words=one.words)
        for one in result.cluster.failures
        if one.at_s < end_s
    )


def _distributions(result: SimulationResult) -> Section:
    requests, window = result.simulation.requests, result.summary.window
    inside = (requests.arrival_s >= window.start_s) & (requests.arrival_s <= window.end_s)
    done = inside & np.isfinite(requests.last_token_s)
    made = [
        charts.distribution_chart(
            name,
            values[done],
            [one for one in result.summary.checks if one.limit.metric == name],
        )
        for name, values in latencies_s(requests).items()
        if name in DRAWN
    ]
    return Section(
        key="latencies",
        title="How latencies are spread",
        lead="Share of requests at or below a latency. A dashed line is a limit; the point is what"
        " was reached at its percentile, left of the line where it holds.",
        blocks=(Pair(blocks=tuple(one for one in made if one is not None)),),
    )


def _requests(result: SimulationResult) -> Iterator[Section]:
    requests = result.simulation.requests
    chosen = order_of(requests, SHOWN)
    chart = charts.requests_chart(
        phases(result.simulation, chosen),
        f"What the first {len(chosen)} requests were doing",
    )
    if chart is None:
        return
    lead = (
        "" if result.simulation.log is not None else "Preemptions are not drawn: no log was kept."
    )
    yield Section(key="requests", title="The first requests", lead=lead, blocks=(chart,))


def _footer(result: SimulationResult) -> tuple[tuple[str, str], ...]:
    return (
        ("tapeout", __version__),
        ("timing model", result.timing.name),
        ("policy", result.deployment.policy.name),
        ("seed", str(result.seed)),
        ("traffic", result.trace.source or "not named"),
    )


_READING = (
    "TTFT is the time from arrival to the first token, queueing included. TPOT is the mean gap"
    " between the tokens of one request; a request with one token has none. End to end is arrival"
    " to last token. Queue is arrival to the first step that the request is part of.",
    "Percentiles are over requests that arrived in the window and finished. Attainment is over all"
    " that arrived in it.",
    "Compare TTFT only under the same kind of load: a closed loop that starts with all requests at"
    " once has the pile of its start in it.",
    "The confidence interval is the sampling error of this run alone. The error of the timing model"
    " is common to all requests and comes on top; near saturation queueing multiplies it.",
    "The KV cache shows blocks that running sequences hold; cached prefixes nobody uses are free.",
)
_LEFT_OUT = (
    "The network between client and router, and the client itself.",
    "Slow steps of a real engine (allocator, garbage collection, clock changes), which lengthen"
    " tails.",
    "How lengths, content and behaviour of users change with the service they get.",
    "Hosts, networking and cooling in the energy.",
)
