"""What a reader must know before the figures of a run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from tapeout.serving.window import Steadiness

if TYPE_CHECKING:
    from tapeout.serving.simulate import SimulationResult

SPREAD = 0.1  # of the cache's size about its middle from which it is said


def warnings(result: SimulationResult) -> tuple[str, ...]:
    """Sentences, the gravest first."""
    return (*_queue(result), *_requests(result), *_cache(result))


def _queue(result: SimulationResult) -> Iterator[str]:
    summary = result.summary
    if result.setting.in_flight:
        return
    if summary.trend.steadiness is Steadiness.SATURATED:
        yield (
            f"Saturated: the queue grows by {summary.trend.slope_per_s:.3g} requests a second."
            " Latencies grow with the length of the run; read the throughput, not the latencies."
        )
    elif summary.window.burst:
        yield (
            "All requests arrive within a small part of the run: TTFT is mostly the wait in the"
            " pile, and there is no offered rate."
        )
    elif summary.trend.steadiness is not Steadiness.STEADY:
        yield f"The queue is {summary.trend.steadiness.value}."


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
