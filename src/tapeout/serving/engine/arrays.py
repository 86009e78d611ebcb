"""From a job, rules and step tables to the arrays of the kernels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tapeout.errors import InfeasibleError
from tapeout.numerics import Floats, Ints
from tapeout.serving.engine import state as at
from tapeout.serving.engine.job import Job
from tapeout.serving.engine.state import Blocks, Core, Costs, Record
from tapeout.serving.engine.types import PS_PER_S, Allocation, Order, Rules, StepTable

REFRESH_PS = PS_PER_S // 10  # vLLM publishes the load of data-parallel ranks every 100 ms
MOST_SAMPLES = 200_000


class Arrays(NamedTuple):
    """All that a kernel takes, in its order."""

    core: Core
    blocks: Blocks
    costs: Costs
    record: Record


class Watch(NamedTuple):
    """What is kept of a run beside the requests."""

    samples_s: float = 0.0
    log_events: int = 0
    jump: bool = True
    gaps_from_s: float | None = None  # gaps between tokens that end later; None: none [s]
    routed: bool = False  # a router sends the requests, and may send one again


def check(rules: Rules) -> None:
    """Refuse rules that no engine has.

    Raises
    ------
    InfeasibleError
    """
    if rules.order is Order.DECODE_FIRST and rules.prefix_cache:
        raise InfeasibleError("decode-first scheduling has no prefix cache; switch one of them off")
    if rules.order is Order.SGLANG and rules.drafts:
        raise InfeasibleError("drafts are not simulated with the rules of SGLang; switch one off")
    if rules.order is Order.SGLANG and rules.allocation is not Allocation.LAZY:
        raise InfeasibleError("SGLang takes blocks as tokens are scheduled; allocate lazily")
    if rules.order is Order.SGLANG and rules.chunked and rules.token_budget < rules.block_tokens:
        raise InfeasibleError("SGLang cuts prompts into whole blocks: a budget holds at least one")
    if len(rules.acceptance) != rules.drafts:
        raise InfeasibleError(
            f"{rules.drafts} drafts but {len(rules.acceptance)} chances of acceptance; give one "
            "for each draft"
        )
    if min(rules.token_budget, rules.max_sequences, rules.kv_blocks, rules.block_tokens) < 1:
        raise InfeasibleError("token budget, sequences, blocks and block size are at least 1")
    if rules.drafts + 1 > rules.token_budget:
        raise InfeasibleError("the token budget holds no verification step; raise it")
    _check_tier(rules)


def _check_tier(rules: Rules) -> None:
    if rules.host_blocks and not may_have_tier(rules):
        raise InfeasibleError(
            "a tier in host memory goes with vllm-v1 alone, its prefix cache on and room for whole"
            " prompts reserved; leave the tier out or change the policy"
        )


def may_have_tier(rules: Rules) -> bool:
    """Whether the rules are those of an engine that can have a tier in host memory."""
    listed = rules.order is Order.LIST and rules.allocation is Allocation.LAZY
    return listed and rules.prefix_cache and rules.reserve_prompt


def build(
    job: Job, rules: Sequence[Rules], tables: Sequence[StepTable], kind: Ints, watch: Watch
) -> Arrays:
    """Arrays of a run that has not begun.

    Parameters
    ----------
    job : Job
    rules, tables : sequences, one for each kind of replica
    kind : array of int, shape (replica,)
    watch : Watch

    Raises
    ------
    InfeasibleError
        A timeline of too many samples.
    """
    for one in rules:
        check(one)
    if any(one.host_blocks for one in rules) and (watch.routed or job.loaded.any()):
        raise InfeasibleError(
            "a tier in host memory is not simulated behind a router or with a prefill pool of its"
            " own; leave one of them out"
        )
    after = turns(job)
    counts = np.array([rules[one].ranks for one in kind], np.int64)
    cap = max(one.max_sequences for one in rules)
    blocks = np.repeat(np.array([rules[one].kv_blocks for one in kind], np.int64), counts)
    total = blocks.size
    cached = any(one.prefix_cache for one in rules)
    replica = np.zeros((at.REPLICA_FIELDS, kind.size), np.int64)
    replica[at.KIND], replica[at.FIRST_RANK] = kind, np.cumsum(counts) - counts
    replica[[at.COMING, at.COMING_TAIL]] = -1
    size = min(one.block_tokens for one in rules)
    host = max(one.host_blocks for one in rules)
    slots = 2 * cap if host else cap  # those that wait with the blocks of a copy have one too
    return Arrays(
        core=Core(
            rules=np.array([_row(one, job, jump=watch.jump) for one in rules], np.int64),
            r=_requests(job, after),
            k=_ranks(blocks, slots, cached=cached),
            running=_running(blocks, cap, host),
            e=np.zeros((at.ENTRY_FIELDS, total, 2, cap), np.int64),
            g=replica,
        ),
        blocks=_pool(job, slots, blocks, size, hosted=host > 0) if cached else _no_pool(job),
        costs=_costs(tables),
        record=_record(job, after, rules, kind.size, watch),
    )


class Turns(NamedTuple):
    """What a request waits for, once turns that are rejected have been passed over."""

    arrival: Ints
    parent: Ints
    think: Ints


def turns(job: Job) -> Turns:
    """Let the turns after a rejected one wait for the one before it.

    A rejected turn ends as it is sent, so what follows it is sent at the latest of its own
    arrival, that of the rejected one and its think time, and the end before both and both times.
    """
    arrival, parent, think = job.arrival_ps.copy(), job.parent.copy(), job.think_ps.copy()
    if not job.rejected.any():
        return Turns(arrival, parent, think)
    for child in np.flatnonzero(parent >= 0):  # a parent comes before its children
        before = parent[child]
        if job.rejected[before]:
            arrival[child] = max(arrival[child], arrival[before] + think[child])
            think[child] += think[before]
            parent[child] = parent[before]
    return Turns(arrival, parent, think)


def _requests(job: Job, after: Turns) -> Ints:
    rows = np.zeros((at.REQUEST_FIELDS, job.prompt.size), np.int64)
    rows[at.CHILD], rows[at.SIBLING] = _families(job, after.parent)
    given = {
        at.ARRIVAL: after.arrival,
        at.HOST: job.host_ps,
        at.PROMPT: job.prompt,
        at.OUTPUT: job.output,
        at.LOADED: job.loaded,
        at.THINK: after.think,
        at.OWN: job.own,
    }
    for place, values in given.items():
        rows[place] = values
    rows[[at.AFTER, at.SCHEDULED, at.FIRST, at.LAST, at.RANK, at.NEWEST]] = -1
    return rows


def _families(job: Job, parent: Ints) -> tuple[Ints, Ints]:
    """First turn that waits for a request, and the next that waits for the same one."""
    child = np.full(parent.size, -1, np.int64)
    sibling = np.full(parent.size, -1, np.int64)
    for one in np.flatnonzero((parent >= 0) & (job.rejected == 0))[::-1]:
        sibling[one] = child[parent[one]]
        child[parent[one]] = one
    return child, sibling


def _ranks(blocks: Ints, slots: int, *, cached: bool) -> Ints:
    rows = np.zeros((at.RANK_FIELDS, blocks.size), np.int64)
    rows[[at.HEAD, at.TAIL, at.H_OLDEST, at.H_NEWEST, at.H_SPARE]] = -1
    rows[at.FREE], rows[at.BACK], rows[at.SLOTS_FREE] = blocks, blocks - 1, slots
    rows[at.FRONT] = 0 if cached else -1
    return rows


def _running(blocks: Ints, cap: int, host: int) -> Ints:
    """Rows of running requests; behind them those of a tier in host memory, where there is one."""
    total = blocks.size
    if not host:
        return np.zeros((total, cap), np.int64)
    most = max(cap, host, int(blocks.max()))
    return np.zeros((total * (1 + at.HOST_FIELDS), most), np.int64)


def _no_pool(job: Job) -> Blocks:
    flat, deep = np.zeros((1, 1), np.int32), np.zeros((1, 1, 1), np.int32)
    return Blocks(job.offsets, job.ids, deep, flat, deep, flat)


def _pool(job: Job, slots: int, blocks: Ints, size: int, *, hosted: bool) -> Blocks:
    """Pools of every rank, all blocks free and in order."""
    total, most = blocks.size, int(blocks.max())
    longest = int((-(-(job.prompt + job.output) // size)).max(initial=1))
    line = np.arange(most, dtype=np.int32)
    rows = np.full((at.BLOCK_FIELDS, total, most), -1, np.int32)
    rows[at.USERS] = 0
    rows[at.BEFORE], rows[at.BEHIND] = line - 1, line + 1
    rows[at.BEHIND, np.arange(total), blocks - 1] = -1
    return Blocks(
        offsets=job.offsets,
        ids=job.ids,
        blocks=rows,
        found=np.full((2 * total if hosted else total, job.identities), -1, np.int32),
        table=np.zeros((total, slots, min(longest, most)), np.int32),
        slots=np.tile(np.arange(slots, dtype=np.int32), (total, 1)),
    )


def _costs(tables: Sequence[StepTable]) -> Costs:
    """Lay the tables out one behind the other."""
    where = np.zeros((len(tables), at.COST_FIELDS), np.int64)
    whole: list[Ints] = []
    real: list[Floats] = []

    def put(rows: list[Any], values: NDArray[Any]) -> int:
        begin = sum(int(row.size) for row in rows)
        rows.append(np.ascontiguousarray(values).ravel())
        return begin

    for row, one in zip(where, tables, strict=True):
        for place, values in (
            (at.W_TOKENS, one.tokens_ps), (at.W_SAMPLED, one.sampled_ps),
            (at.W_CONTEXTS, one.contexts), (at.W_DECODE, one.decode_ps),
            (at.W_SLOPE, one.slope_ps), (at.W_SHARED, one.shared_ps),
        ):  # fmt: skip
            row[place] = put(whole, values)
        for place, reals in (
            (at.R_PREFILL, one.prefill), (at.R_KEYS, one.keys), (at.R_SEQUENCES, one.sequences),
            (at.R_MIXED, one.mixed_ps), (at.R_TOKENS_J, one.tokens_j),
            (at.R_SAMPLED_J, one.sampled_j), (at.R_DECODE_J, one.decode_j),
            (at.R_MIXED_J, one.mixed_j), (at.R_SHARED_J, one.shared_j),
        ):  # fmt: skip
            row[place] = put(real, reals)
        row[[at.N_TOKENS, at.N_SAMPLED, at.N_CONTEXTS, at.N_SHARED]] = [
            one.tokens_ps.size, one.sampled_ps.size, one.contexts.size, one.shared_ps.size
        ]  # fmt: skip
        row[[at.N_PREFILL, at.N_KEYS, at.N_SEQUENCES]] = one.mixed_ps.shape[:3]
    return Costs(
        where=where,
        whole=np.concatenate(whole).astype(np.int64),
        real=np.concatenate(real).astype(float),
    )


def _record(job: Job, after: Turns, rules: Sequence[Rules], replicas: int, watch: Watch) -> Record:
    arrival, parent = after.arrival, after.parent
    chance = np.zeros((len(rules), max(1, *(one.drafts for one in rules))))
    for place, one in enumerate(rules):
        chance[place, : one.drafts] = one.acceptance
    begun = np.flatnonzero((parent < 0) & (job.rejected == 0))
    order = begun[np.argsort(arrival[begun], kind="stable")]
    counts = np.zeros(at.COUNT_FIELDS, np.int64)
    counts[at.NEXT] = min(job.in_flight, order.size) if job.in_flight else -1
    counts[at.EVERY] = round(watch.samples_s * PS_PER_S)
    counts[at.ROUTED] = int(watch.routed)
    counts[at.GAPS_FROM] = round((watch.gaps_from_s or 0.0) * PS_PER_S)
    again = watch.routed or job.in_flight or (parent >= 0).any()
    caused = arrival.size if again else 1
    return Record(
        counts=counts,
        heap=np.zeros((2, caused), np.int64),
        log=np.zeros((4, watch.log_events), np.int64),
        samples=_samples(arrival, watch.samples_s),
        joules=np.zeros(arrival.size),
        real=np.zeros((replicas, at.REAL_FIELDS)),
        chance=chance,
        gaps=np.zeros(0 if watch.gaps_from_s is None else at.GAP_BINS, np.int64),
        order=order.astype(np.int64),
    )


def _row(rules: Rules, job: Job, *, jump: bool) -> list[int]:
    """Rules in the order of `state.py`."""
    generated = bool((np.diff(job.offsets) * rules.block_tokens > job.prompt).any())
    return [
        rules.token_budget, rules.max_sequences, rules.kv_blocks, rules.block_tokens,
        int(rules.order), int(rules.allocation), int(rules.chunked), int(rules.prefix_cache),
        int(rules.reserve_prompt), rules.watermark_blocks, rules.longest_chunk, rules.async_depth,
        rules.ranks, rules.drafts, rules.seed, int(jump and not rules.host_blocks),
        REFRESH_PS, int(generated), rules.reserved, rules.host_blocks, rules.copy_latency_ps,
        rules.load_ps, rules.store_ps,
    ]  # fmt: skip


def _samples(arrival: Ints, samples_s: float) -> Floats:
    """Room for the timeline: at first for four times the arrivals, and an hour."""
    if samples_s <= 0.0:
        return np.zeros((1, 5))
    lasts = 4.0 * float(arrival.max(initial=0)) / PS_PER_S + 3600.0
    size = min(int(lasts / samples_s) + 2, MOST_SAMPLES)
    return np.zeros((size, 5))
