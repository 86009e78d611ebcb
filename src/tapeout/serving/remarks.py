"""What a reader must know before the figures of a run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from tapeout.serving.window import Basis, Steadiness

if TYPE_CHECKING:
    from tapeout.serving.simulate import SimulationResult
    from tapeout.serving.summary import Summary

SPREAD = 0.1  # of the cache's size about its middle from which it is said


def warnings(result: SimulationResult) -> tuple[str, ...]:
    """Sentences, the gravest first."""
    return (*_queue(result), *_failures(result), *_requests(result), *_cache(result))


def _failures(result: SimulationResult) -> Iterator[str]:
    """Failures of which the run shows less than was asked for."""
    if result.cluster is None:
        return
    end_s = result.simulation.totals.end_s
    for one in result.cluster.failures:
        if one.at_s >= end_s:
            yield (
                f"The failure of {one.words} comes after the last token, at {end_s:.4g} s: no"
                " request meets it."
            )
        elif one.until_s > end_s:
            yield (
                f"The failure of {one.words} outlasts the run, which ends at {end_s:.4g} s: the"
                " recovery is not in it."
            )


def _queue(result: SimulationResult) -> Iterator[str]:
    summary = result.summary
    if result.setting.in_flight:
        return
    if summary.trend.steadiness is Steadiness.SATURATED:
        yield (
            f"Saturated: requests in the system grow by {summary.trend.slope_per_s:.3g} a second."
            " Latencies grow with the length of the run; read the throughput, not the latencies."
            f" {_rates(summary)}"
        )
    elif summary.window.burst:
        yield (
            "All requests arrive within a small part of the run: TTFT is mostly the wait in the"
            " pile, and there is no offered rate."
        )
    elif summary.trend.steadiness is not Steadiness.STEADY:
        yield f"The number of requests in the system is {summary.trend.steadiness.value}."


def _rates(summary: Summary) -> str:
    """What the rates of a saturated run are of."""
    of = summary.counted or summary.window
    between = f"{of.start_s:.4g} to {of.end_s:.4g} s"
    if summary.basis is Basis.FULL_LOAD:
        return f"Rates served are those under full load, {between}."
    return f"Rates served are of the whole run ({between}), filling and draining included."


def _requests(result: SimulationResult) -> Iterator[str]:
    summary = result.summary
    if summary.rejected:
        yield (
            f"{summary.rejected:,} requests are longer than the engine can hold and were rejected;"
            " they miss every limit and have no latency."
        )
    if result.setup.rules.prefix_cache and result.trace.prefixes is None:
        yield (
            "The traffic names no shared prefixes: the cache finds only what preempted requests"
            " left, where real prompts would share more."
        )


def _cache(result: SimulationResult) -> Iterator[str]:
    kv = result.setup.kv
    unsure = kv.high - kv.low > 2.0 * SPREAD * max(kv.blocks, 1)
    if unsure and result.summary.use.kv_peak_fraction > 1.0 - SPREAD:
        yield (
            f"The cache fills, and its size is an estimate ({kv.low:,} to {kv.high:,} blocks)."
            " Give --kv-blocks, what the engine prints less one, for a surer result."
        )
