"""Traces at another rate, of a part of the time, or in the tokens of another tokeniser."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from tapeout.errors import InfeasibleError
from tapeout.numerics import Floats, Ints
from tapeout.serving.traffic.lengths import MOST_TOKENS
from tapeout.serving.traffic.prefixes import dense, select
from tapeout.serving.traffic.streams import stream
from tapeout.serving.traffic.trace import Prefixes, Trace


def mean_rate_rps(trace: Trace) -> float:
    """Requests over the time from the first to the last. [1/s].

    Raises
    ------
    InfeasibleError
        All requests come at one time.
    """
    span_s = float(trace.arrival_s[-1] - trace.arrival_s[0]) if trace.requests else 0.0
    if span_s <= 0.0:
        raise InfeasibleError("a trace without two requests apart has no rate")
    return trace.requests / span_s


def scale_time(trace: Trace, rate_rps: float) -> Trace:
    """Bring a trace to a mean rate by stretching its time.

    Bursts keep their shape and become shorter or longer; think times stay as they are.

    Parameters
    ----------
    trace : Trace
    rate_rps : float
        [1/s]

    Raises
    ------
    InfeasibleError
        The rate is not positive, or the trace has none.
    """
    own = mean_rate_rps(trace)
    _check_positive("rate", rate_rps)
    return replace(
        trace,
        arrival_s=trace.arrival_s * (own / rate_rps),
        source=f"{trace.source}; time scaled from {own:.4g} to {rate_rps:.4g} requests/s",
    )


def thin(trace: Trace, rate_rps: float, seed: int) -> Trace:
    """Bring a trace to a lower mean rate by a random choice of its sessions.

    Bursts keep their length and clients become thinner. A session is kept or left out as a
    whole. With one seed a lower rate keeps a part of what a higher one keeps.

    Parameters
    ----------
    trace : Trace
    rate_rps : float
        At most that of the trace. [1/s]
    seed : int

    Raises
    ------
    InfeasibleError
        The rate is higher than that of the trace, or nothing is left.
    """
    own = mean_rate_rps(trace)
    _check_positive("rate", rate_rps)
    if rate_rps > own:
        raise InfeasibleError(
            f"a choice of requests cannot bring {own:.4g} requests/s to {rate_rps:.4g};"
            " scale the time"
        )
    level = stream(seed, "thinning").random(trace.requests)
    kept = np.flatnonzero(level[roots(trace)] < rate_rps / own)
    if not kept.size:
        raise InfeasibleError(f"no request is left at {rate_rps:.4g} requests/s")
    words = f"thinned from {own:.4g} to {rate_rps:.4g} requests/s with seed {seed}"
    return replace(take(trace, kept), source=f"{trace.source}; {words}")


def roots(trace: Trace) -> Ints:
    """First turn of every request's session, shape (request,)."""
    found = np.arange(trace.requests)
    if trace.parent is None:
        return found
    has_parent = trace.parent >= 0
    found[has_parent] = trace.parent[has_parent]
    while True:  # doubles the turns it jumps over each time
        further = found[found]
        if bool((further == found).all()):
            return found
        found = further


def time_window(trace: Trace, begin_s: float, end_s: float) -> Trace:
    """Requests of a time, which then begins at 0; turns whose parent is outside start alone.

    Raises
    ------
    InfeasibleError
        No request is in it.
    """
    low, high = np.searchsorted(trace.arrival_s, (begin_s, end_s))
    if low >= high:
        raise InfeasibleError(f"no request arrives between {begin_s:g} and {end_s:g} s")
    part = take(trace, np.arange(low, high))
    return replace(
        part,
        arrival_s=part.arrival_s - begin_s,
        source=f"{trace.source}; {begin_s:g} to {end_s:g} s",
    )


def take(trace: Trace, requests: Ints) -> Trace:
    """Some requests of a trace; a turn whose parent is left out starts on its own.

    Parameters
    ----------
    trace : Trace
    requests : array of int, shape (kept,)
        Places, ascending.
    """

    def part(column: Ints | None) -> Ints | None:
        return None if column is None else column[requests]

    parent = part(trace.parent)
    if parent is not None:
        place = np.full(trace.requests + 1, -1, dtype=np.int64)
        place[requests] = np.arange(requests.size)
        parent = place[parent]  # -1 stays -1: the last entry
    return Trace(
        arrival_s=trace.arrival_s[requests],
        input_tokens=trace.input_tokens[requests],
        output_tokens=trace.output_tokens[requests],
        prefixes=None if trace.prefixes is None else select(trace.prefixes, requests),
        client=part(trace.client),
        parent=parent,
        think_s=None if trace.think_s is None else trace.think_s[requests],
        slo_class=part(trace.slo_class),
        classes=trace.classes,
        source=trace.source,
    )


def fits(trace: Trace, max_model_len: int) -> tuple[Trace, int]:
    """Leave out requests that are longer than a model takes, and say how many.

    Raises
    ------
    InfeasibleError
        None is left.
    """
    is_short = trace.input_tokens + trace.output_tokens <= max_model_len
    left = int((~is_short).sum())
    if left == trace.requests:
        raise InfeasibleError(f"every request is longer than {max_model_len:,} tokens")
    return (take(trace, np.flatnonzero(is_short)), left) if left else (trace, 0)


def convert_tokens(trace: Trace, factor: float) -> Trace:
    """Lengths in the tokens of another tokeniser, of at least 1.

    Parameters
    ----------
    trace : Trace
    factor : float
        Tokens of the new one for a token of the old one.

    Raises
    ------
    InfeasibleError
        The factor is not positive, or makes lengths beyond bounds.
    """
    _check_positive("token factor", factor)
    lengths = []
    for tokens in (trace.input_tokens, trace.output_tokens):
        new = np.maximum(np.rint(tokens * factor), 1.0)
        if bool((new > MOST_TOKENS).any()):
            raise InfeasibleError(f"a token factor of {factor:g} makes more than {MOST_TOKENS:,}")
        lengths.append(new.astype(np.int64))
    filled = lengths[0]
    if trace.prefixes is not None and goes_on(trace.prefixes, trace.input_tokens):
        filled = lengths[0] + lengths[1] - 1
    return replace(
        trace,
        input_tokens=lengths[0],
        output_tokens=lengths[1],
        prefixes=None if trace.prefixes is None else _converted(trace.prefixes, filled, factor),
        source=f"{trace.source}; tokens times {factor:g}",
    )


def goes_on(prefixes: Prefixes, input_tokens: Ints) -> bool:
    """True where identities go on into answers."""
    most = -(-input_tokens // prefixes.block_tokens)
    return bool((np.diff(prefixes.offsets) > most).any())


def _converted(prefixes: Prefixes, tokens: Ints, factor: float) -> Prefixes:
    """Blocks of new tokens: equal where the old blocks that they end in are equal."""
    sizes = tokens // prefixes.block_tokens
    offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    request = np.repeat(np.arange(tokens.size), sizes)
    block = np.arange(int(offsets[-1])) - offsets[:-1][request]
    # a little less than the end, so that a block that ends with an old one does not need the next
    ends_in = np.ceil((block + 1) / factor - 1e-9).astype(np.int64) - 1
    place = prefixes.offsets[:-1][request] + ends_in
    is_known = place < prefixes.offsets[1:][request]
    stride = int(sizes.max(initial=0)) + 1
    ids = prefixes.count * stride + np.arange(block.size)  # like no other
    ids[is_known] = prefixes.ids[place[is_known]] * stride + block[is_known]
    return dense(prefixes.block_tokens, offsets, ids)


def merge(traces: list[Trace], source: str) -> Trace:
    """Put traces together in one order of arrival; equal times in the order given.

    Clients keep their numbers and prefixes are not shared between traces.

    Raises
    ------
    InfeasibleError
        Blocks have different sizes.
    """
    starts = np.concatenate([[0], np.cumsum([one.requests for one in traces])]).astype(np.int64)
    arrival_s = np.concatenate([one.arrival_s for one in traces])
    order = np.argsort(arrival_s, kind="stable")
    place = np.empty(order.size, dtype=np.int64)
    place[order] = np.arange(order.size)
    classes = tuple(dict.fromkeys(name for one in traces for name in _classes(one, traces)))
    parent = _joined([one.parent for one in traces], starts, -1)
    if parent is not None:
        shift = np.repeat(starts[:-1], np.diff(starts))
        parent = np.where(parent >= 0, place[np.where(parent >= 0, parent + shift, 0)], -1)[order]
    think_s = _joined([one.think_s for one in traces], starts, 0.0)
    client = _joined([one.client for one in traces], starts, 0)
    slo_class = _joined([_renamed(one, classes) for one in traces], starts, 0)
    return Trace(
        arrival_s=arrival_s[order],
        input_tokens=np.concatenate([one.input_tokens for one in traces])[order],
        output_tokens=np.concatenate([one.output_tokens for one in traces])[order],
        prefixes=_joined_prefixes(traces, order),
        client=None if client is None else client.astype(np.int64)[order],
        parent=None if parent is None else parent.astype(np.int64),
        think_s=None if think_s is None else think_s.astype(np.float64)[order],
        slo_class=None if slo_class is None else slo_class.astype(np.int64)[order],
        classes=classes,
        source=source,
    )


def _classes(trace: Trace, traces: list[Trace]) -> tuple[str, ...]:
    """Classes of a trace; beside traces that have some, the one without is "" there."""
    if trace.slo_class is not None or all(one.slo_class is None for one in traces):
        return trace.classes
    return ("",)


def _renamed(trace: Trace, classes: tuple[str, ...]) -> Ints | None:
    if trace.slo_class is None:
        return np.full(trace.requests, classes.index("")) if classes else None
    places = np.array([classes.index(name) for name in trace.classes], dtype=np.int64)
    found: Ints = places[trace.slo_class]
    return found


def _joined(
    columns: list[Floats | None] | list[Ints | None], starts: Ints, default: float
) -> Floats | None:
    if all(column is None for column in columns):
        return None
    filled = [
        np.full(int(size), default) if column is None else column
        for column, size in zip(columns, np.diff(starts), strict=True)
    ]
    found: Floats = np.concatenate(filled)
    return found


def _joined_prefixes(traces: list[Trace], order: Ints) -> Prefixes | None:
    """Prefixes of all, those without any sharing nothing."""
    sizes = {one.prefixes.block_tokens for one in traces if one.prefixes is not None}
    if not sizes:
        return None
    if len(sizes) > 1:
        raise InfeasibleError(f"prefix blocks of {sorted(sizes)} tokens cannot be put together")
    (block_tokens,) = sizes
    ids, counts, count = [], [], 0
    for one in traces:
        found = one.prefixes or _unshared(one.input_tokens, block_tokens)
        ids.append(found.ids + count)
        counts.append(np.diff(found.offsets))
        count += found.count
    offsets = np.concatenate([[0], np.cumsum(np.concatenate(counts))]).astype(np.int64)
    joined = Prefixes(
        block_tokens=block_tokens, offsets=offsets, ids=np.concatenate(ids), count=count
    )
    return select(joined, order)


def _unshared(tokens: Ints, block_tokens: int) -> Prefixes:
    offsets = np.concatenate([[0], np.cumsum(tokens // block_tokens)]).astype(np.int64)
    total = int(offsets[-1])
    return Prefixes(block_tokens=block_tokens, offsets=offsets, ids=np.arange(total), count=total)


def _check_positive(what: str, value: float) -> None:
    if not 0.0 < value < math.inf:
        raise InfeasibleError(f"a {what} of {value:g} is not positive")
