"""A trace as whole numbers, as the reference and the kernel take it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tapeout.errors import InfeasibleError
from tapeout.numerics import Floats, Ints
from tapeout.serving.engine.types import PS_PER_S, Allocation, Order, Rules
from tapeout.serving.traffic.trace import Flags, Prefixes, Trace

LONGEST_S = 9.0e6  # of arrivals and waits; 2**63 picoseconds are 9.22e6 s, so 2.5 days are left


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """Requests of a run; arrays have shape (request,), times are picoseconds.

    Attributes
    ----------
    arrival_ps, host_ps : array of int
        A request can be scheduled from arrival + host on.
    prompt, output : array of int
    loaded : array of int
        Prompt tokens whose keys come with the request.
    parent : array of int
        Place of the turn before, -1 for none.
    think_ps : array of int
    rejected : array of int
        1: never arrives.
    offsets : array of int, shape (request + 1,)
    ids : array of int, shape (block,)
        Identities of the full blocks of each request, at the block size of the engine.
    own : array of int
        Block i of a request without a place in `ids` has identity `own + i`.
    identities : int
        All of them are below this.
    in_flight : int
        Closed loop: so many are sent at first, and one at every end; 0: an open loop.
    """

    arrival_ps: Ints
    host_ps: Ints
    prompt: Ints
    output: Ints
    loaded: Ints
    parent: Ints
    think_ps: Ints
    rejected: Ints
    offsets: Ints
    ids: Ints
    own: Ints
    identities: int
    in_flight: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Front:
    """Time between a client and the scheduler: a request's own, and for each prompt token. [s]."""

    request_s: float = 0.0
    token_s: float = 0.0


def prepare(
    trace: Trace,
    rules: Rules,
    *,
    front: Front | None = None,
    loaded: Ints | None = None,
    in_flight: int = 0,
) -> Job:
    """Turn a trace into whole numbers for an engine with these rules.

    Parameters
    ----------
    trace : Trace
    rules : Rules
    front : Front, optional
    loaded : array of int, shape (request,), optional
        Prompt tokens whose keys come with the request; at most the prompt less one.
    in_flight : int
        0, or the requests in flight of a closed loop; arrival times then count for nothing.

    Raises
    ------
    InfeasibleError
        A trace that lasts longer than picoseconds in 64 bits can count, think times along its
        turns included; or a turn that does not come after its parent.
    """
    count = trace.requests
    wait = front or Front()
    prompt = trace.input_tokens.astype(np.int64)
    output = trace.output_tokens.astype(np.int64)
    host_s = wait.request_s + wait.token_s * prompt.astype(float)
    _check_parents(trace)
    _check_clock(trace, host_s, in_flight)
    none = np.zeros(count, np.int64)
    arrival = none if in_flight else _ps(trace.arrival_s)
    offsets, ids, distinct = _blocks(trace.prefixes, prompt + output - 1, rules)
    kept = np.diff(offsets)
    more = -(-(prompt + output) // rules.block_tokens) - kept  # blocks only this request has
    own = distinct + np.cumsum(more) - more - kept
    return Job(
        arrival_ps=arrival,
        host_ps=_ps(host_s),
        prompt=prompt,
        output=output,
        loaded=none if loaded is None else np.minimum(loaded.astype(np.int64), prompt - 1),
        parent=none - 1 if trace.parent is None or in_flight else trace.parent.astype(np.int64),
        think_ps=none if trace.think_s is None else _ps(trace.think_s),
        rejected=never_fits(prompt, output, rules).astype(np.int64),
        offsets=offsets,
        ids=ids,
        own=own,
        identities=distinct + int(more.sum()),
        in_flight=in_flight,
    )


def _ps(time_s: Floats) -> Ints:
    return np.rint(time_s * PS_PER_S).astype(np.int64)


def _check_parents(trace: Trace) -> None:
    """Turns after their parents: no cycles, and one pass sees a parent before its children."""
    if trace.parent is None:
        return
    late = np.flatnonzero((trace.parent >= np.arange(trace.requests)) | (trace.parent < -1))
    if late.size:
        one = int(late[0])
        raise InfeasibleError(
            f"request {one} has parent {int(trace.parent[one])}: a parent comes earlier in the"
            f" trace, or is -1 for none ({late.size:,} such)"
        )


def _check_clock(trace: Trace, host_s: Floats, in_flight: int) -> None:
    """Arrivals, and arrivals with the waits of all turns before, within the clock."""
    count = trace.requests
    none = np.zeros(count)
    arrival_s = none if in_flight else trace.arrival_s
    think_s = none if trace.think_s is None else trace.think_s
    for what, times in (("arrival", arrival_s), ("think time", think_s), ("host time", host_s)):
        if count and not (float(times.min()) >= 0.0 and float(times.max()) <= LONGEST_S):
            raise InfeasibleError(
                f"the longest {what} is {float(times.max()):.3g} s and the least"
                f" {float(times.min()):.3g} s; the clock counts from 0 to {LONGEST_S:g} s"
            )
    most_s = float(arrival_s.max(initial=0.0)) + float(think_s.sum()) + float(host_s.sum())
    if most_s <= LONGEST_S:  # whatever waits for whatever
        return
    waits_s = _closed_s(think_s + host_s, in_flight) if in_flight else _chain_s(trace, host_s)
    if waits_s > LONGEST_S:
        raise InfeasibleError(
            f"with the waits between turns the trace lasts {waits_s:.3g} s; the clock counts to"
            f" {LONGEST_S:g} s"
        )


def _closed_s(wait_s: Floats, in_flight: int) -> float:
    """Longest time of waits that so many take up one after another (Graham's bound). [s]."""
    return float(wait_s.sum()) / in_flight + float(wait_s.max(initial=0.0))


def _chain_s(trace: Trace, host_s: Floats) -> float:
    """Latest time at which a request could be scheduled if engines took no time. [s]."""
    ready_s = trace.arrival_s + host_s
    if trace.parent is None:
        return float(ready_s.max(initial=0.0))
    think_s = np.zeros(trace.requests) if trace.think_s is None else trace.think_s
    for child in np.flatnonzero(trace.parent >= 0):
        sent_s = ready_s[trace.parent[child]] + think_s[child]
        ready_s[child] = max(ready_s[child], sent_s + host_s[child])
    return float(ready_s.max(initial=0.0))


def never_fits(prompt: Ints, output: Ints, rules: Rules) -> Flags:
    """Which requests can never run, shape (request,)."""
    needed = -(-(prompt + output - 1) // rules.block_tokens)
    never: Flags = needed > rules.kv_blocks
    if rules.order is Order.SGLANG:  # prompt and longest output together, and a token more
        never |= prompt + output >= rules.kv_blocks * rules.block_tokens
    if rules.longest:
        never |= prompt + output > rules.longest
    if not rules.chunked:
        whole = prompt if rules.allocation is Allocation.WHOLE else prompt + output - 1
        never |= whole > rules.token_budget  # a resumed one recomputes what it had made
    return never


def longest_tokens(rules: Rules) -> int:
    """Tokens of prompt and output together of the longest request that an engine holds."""
    held = rules.kv_blocks * rules.block_tokens
    if not rules.chunked and rules.allocation is not Allocation.WHOLE:
        held = min(held, rules.token_budget)
    if rules.order is Order.SGLANG:
        return held - 1
    return held + 1  # the last token has no keys


def _blocks(prefixes: Prefixes | None, filled: Ints, rules: Rules) -> tuple[Ints, Ints, int]:
    """Offsets and identities at the engine's block size, and how many distinct ones there are.

    A block of the trace that is a multiple of the engine's is split; one that is not is left out,
    since what is equal up to its end may differ before the end of the engine's.
    """
    count = filled.size
    if prefixes is None or not rules.prefix_cache:
        return np.zeros(count + 1, np.int64), np.zeros(0, np.int64), 0
    if prefixes.block_tokens % rules.block_tokens:
        raise InfeasibleError(
            f"the trace has blocks of {prefixes.block_tokens} tokens, no multiple of the engine's "
            f"{rules.block_tokens}; choose a block size that divides it"
        )
    split = prefixes.block_tokens // rules.block_tokens
    full = filled // rules.block_tokens  # blocks of the engine that prompt and output fill
    given = np.diff(prefixes.offsets) * split
    kept = np.minimum(full, given)
    offsets = np.concatenate([[0], np.cumsum(kept)]).astype(np.int64)
    place = np.arange(offsets[-1]) - np.repeat(offsets[:-1], kept)
    coarse = np.repeat(prefixes.offsets[:-1], kept) + place // split
    ids = prefixes.ids[coarse] * split + place % split
    return offsets, ids.astype(np.int64), prefixes.count * split
