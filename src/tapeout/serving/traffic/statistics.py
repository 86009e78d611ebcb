"""Figures of a trace: rates, lengths, burstiness, and what an unlimited prefix cache would hit."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tapeout.constants import MINUTE_S
from tapeout.numerics import Floats, Ints
from tapeout.serving.traffic.prefixes import first_of_each
from tapeout.serving.traffic.trace import Prefixes, Trace

NAN = float("nan")


@dataclass(frozen=True, slots=True, kw_only=True)
class LengthStatistics:
    """Token counts of requests; percentiles interpolate linearly between ranks."""

    mean: float
    p50: float
    p90: float
    p99: float
    max: float
    total: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PrefixStatistics:
    """Leading blocks that an unlimited cache holds when a request arrives.

    Attributes
    ----------
    blocks, unique_blocks : int
        Partial last blocks count where the trace has their identity.
    hit_block_fraction : float
        Of all blocks.
    hit_token_fraction : float
        Of all prompt tokens; a partial block counts with its tokens.
    capped_token_fraction : float
        The same where an engine reuses full blocks only and computes at least one token.
    """

    block_tokens: int
    blocks: int
    unique_blocks: int
    hit_block_fraction: float
    hit_token_fraction: float
    capped_token_fraction: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceStatistics:
    """Figures of a trace.

    Attributes
    ----------
    span_s : float
        First to last arrival. [s]
    rate_rps : float
        Requests over span. [1/s]
    interarrival_cv : float
        Standard deviation of the gaps over their mean.
    dispersion : float
        Variance over mean of the requests in seconds counted from the first arrival.
    busiest_minute_ratio : float
        Requests of the busiest minute over the mean of all minutes, counted from the first
        arrival; the last one may be cut short.
    clients, later_turns : int
    """

    requests: int
    span_s: float
    rate_rps: float
    input_tokens: LengthStatistics
    output_tokens: LengthStatistics
    interarrival_cv: float
    dispersion: float
    busiest_minute_ratio: float
    clients: int
    later_turns: int
    prefixes: PrefixStatistics | None


def length_statistics(tokens: Ints) -> LengthStatistics:
    """Mean, percentiles and maximum of token counts, shape (request,)."""
    if not tokens.size:
        return LengthStatistics(mean=NAN, p50=NAN, p90=NAN, p99=NAN, max=NAN, total=0)
    p50, p90, p99 = (float(one) for one in np.percentile(tokens, (50, 90, 99)))
    total = int(tokens.sum())
    return LengthStatistics(
        mean=total / tokens.size, p50=p50, p90=p90, p99=p99, max=float(tokens.max()), total=total
    )


def counts_in_windows(arrival_s: Floats, window_s: float) -> Ints:
    """Requests in windows counted from the first arrival, the last one perhaps cut short."""
    windows, counts = _filled_windows(arrival_s, window_s)
    found = np.zeros(int(windows[-1]) + 1, np.int64)
    found[windows] = counts
    return found


def _filled_windows(arrival_s: Floats, window_s: float) -> tuple[Ints, Ints]:
    """Numbers of the windows with requests, ascending, and how many: a year has few of them."""
    windows = np.floor((arrival_s - arrival_s[0]) / window_s).astype(np.int64)
    numbers, counts = np.unique(windows, return_counts=True)
    return numbers, counts.astype(np.int64)


def interarrival_cv(arrival_s: Floats) -> float:
    """Standard deviation of the gaps over their mean; nan without two requests apart."""
    gaps = np.diff(arrival_s)
    mean = float(gaps.mean()) if gaps.size else 0.0
    return float(gaps.std()) / mean if mean > 0.0 else NAN


def dispersion(arrival_s: Floats, window_s: float = 1.0) -> float:
    """Variance over mean of the counts in windows; 1 for a Poisson process."""
    if arrival_s.size < 2:
        return NAN
    windows, counts = _filled_windows(arrival_s, window_s)
    every = float(windows[-1]) + 1.0  # empty ones too
    mean = float(counts.sum()) / every
    square = float((counts.astype(float) ** 2).sum()) / every
    return (square - mean**2) / mean


def busiest_ratio(arrival_s: Floats, window_s: float = MINUTE_S) -> float:
    """Requests of the busiest window over the mean window; nan where the span is shorter."""
    span_s = float(arrival_s[-1] - arrival_s[0]) if arrival_s.size else 0.0
    if span_s < window_s:
        return NAN
    windows, counts = _filled_windows(arrival_s, window_s)
    return float(counts.max()) * (float(windows[-1]) + 1.0) / float(counts.sum())


def hit_blocks(prefixes: Prefixes) -> Ints:
    """Leading blocks that an earlier request had, shape (request,); order is that of the trace.

    Identities are chained, so a block was seen before only if all blocks ahead of it were.
    """
    news = np.concatenate([[0], np.cumsum(first_of_each(prefixes.ids, prefixes.count))])
    sizes = np.diff(prefixes.offsets)
    hits: Ints = sizes - (news[prefixes.offsets[1:]] - news[prefixes.offsets[:-1]])
    return hits


def prefix_statistics(prefixes: Prefixes, input_tokens: Ints) -> PrefixStatistics:
    """Reuse with an unlimited cache that holds a prompt from its arrival on.

    Parameters
    ----------
    prefixes : Prefixes
        With partial last blocks or without; blocks that answers fill are found, but not counted.
    input_tokens : array of int, shape (request,)
    """
    size = prefixes.block_tokens
    of_prompt = np.minimum(np.diff(prefixes.offsets), -(-input_tokens // size))
    hits = np.minimum(hit_blocks(prefixes), of_prompt)
    blocks, prompt = int(of_prompt.sum()), float(input_tokens.sum())
    hit_tokens = np.minimum(hits * size, input_tokens)
    capped = np.minimum(hits, (input_tokens - 1) // size) * size
    return PrefixStatistics(
        block_tokens=size,
        blocks=blocks,
        unique_blocks=prefixes.count,
        hit_block_fraction=float(hits.sum()) / blocks if blocks else 0.0,
        hit_token_fraction=float(hit_tokens.sum()) / prompt if prompt else 0.0,
        capped_token_fraction=float(capped.sum()) / prompt if prompt else 0.0,
    )


def trace_statistics(trace: Trace) -> TraceStatistics:
    """All figures of a trace; those that need more requests than there are become nan."""
    times = trace.arrival_s
    span_s = float(times[-1] - times[0]) if times.size else 0.0
    return TraceStatistics(
        requests=trace.requests,
        span_s=span_s,
        rate_rps=trace.requests / span_s if span_s > 0.0 else NAN,
        input_tokens=length_statistics(trace.input_tokens),
        output_tokens=length_statistics(trace.output_tokens),
        interarrival_cv=interarrival_cv(times),
        dispersion=dispersion(times),
        busiest_minute_ratio=busiest_ratio(times),
        clients=0 if trace.client is None else int(np.unique(trace.client).size),
        later_turns=0 if trace.parent is None else int((trace.parent >= 0).sum()),
        prefixes=None
        if trace.prefixes is None
        else prefix_statistics(trace.prefixes, trace.input_tokens),
    )
