"""Small traces, rules and step tables for tests of the engine."""

import numpy as np

from tapeout.serving.engine.job import Front, prepare
from tapeout.serving.engine.reference import run_reference
from tapeout.serving.engine.types import PS_PER_S, Allocation, Event, Order, Rules, StepTable
from tapeout.serving.traffic import Prefixes, Trace

MS_PS = PS_PER_S // 1000
RUNNERS = [run_reference]


def make_trace(arrival_s, prompt, output, **more):
    """Trace from lists; a single number holds for all requests."""
    arrival_s = np.asarray(arrival_s, float)
    return Trace(
        arrival_s=arrival_s,
        input_tokens=np.broadcast_to(np.asarray(prompt, np.int64), arrival_s.shape).copy(),
        output_tokens=np.broadcast_to(np.asarray(output, np.int64), arrival_s.shape).copy(),
        **more,
    )


def make_prefixes(blocks, block_tokens):
    """Prefixes from the list of identities of each request."""
    lengths = [len(ids) for ids in blocks]
    return Prefixes(
        block_tokens=block_tokens,
        offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        ids=np.array([identity for ids in blocks for identity in ids], np.int64),
        count=1 + max((identity for ids in blocks for identity in ids), default=-1),
    )


def make_rules(**changes):
    """Roomy synchronous rules without prefix cache; keyword arguments replace them."""
    return Rules(
        **{
            "token_budget": 64,
            "max_sequences": 8,
            "kv_blocks": 1000,
            "block_tokens": 4,
            "prefix_cache": False,
            "async_depth": 0,
        }
        | changes
    )


def make_job(arrival_s, prompt, output, rules, *, in_flight=0, front=None, loaded=None, **more):
    """Job from lists."""
    trace = make_trace(arrival_s, prompt, output, **more)
    return prepare(trace, rules, in_flight=in_flight, front=front, loaded=loaded)


def story(sim):
    """The log as a list of (milliseconds, event, request, value)."""
    log = sim.log
    return [
        (time_ps / MS_PS, Event(kind).name, request, value)
        for time_ps, kind, request, value in zip(
            log.time_ps.tolist(), log.kind.tolist(), log.request.tolist(), log.value.tolist(),
            strict=True,
        )
    ]  # fmt: skip


# step tables


def make_table(rules, **changes):
    """Table that costs nothing; keyword arguments replace arrays."""
    cap, budget = rules.max_sequences, rules.token_budget
    flat, grid = (cap + 1, 2), (1, 1, 1, 2)
    arrays = {
        "tokens_ps": np.zeros(budget + 1, np.int64),
        "sampled_ps": np.zeros(cap + 1, np.int64),
        "contexts": np.array([0, 1000], np.int64),
        "decode_ps": np.zeros(flat, np.int64),
        "slope_ps": np.zeros(flat, np.int64),
        "prefill": np.array([1.0]),
        "keys": np.array([1.0]),
        "sequences": np.array([0.0]),
        "mixed_ps": np.zeros(grid),
        "shared_ps": np.zeros(1, np.int64),
        "tokens_j": np.zeros(budget + 1),
        "sampled_j": np.zeros(cap + 1),
        "decode_j": np.zeros(flat),
        "mixed_j": np.zeros(grid),
        "shared_j": np.zeros(1),
    }
    return StepTable(**arrays | changes)


def constant_table(rules, step_ps=MS_PS, **changes):
    """Table by which every step takes the same time and one joule."""
    whole = {
        "tokens_ps": np.full(rules.token_budget + 1, step_ps, np.int64),
        "shared_j": np.ones(1),
    }
    return make_table(rules, **whole | changes)


def proportional_table(rules, token_ps=MS_PS, **changes):
    """Table by which a step takes a time for each token; so for each sequence that decodes."""
    tokens = np.arange(rules.token_budget + 1, dtype=np.int64)
    each = {"tokens_ps": tokens * token_ps, "tokens_j": tokens.astype(float)}
    return make_table(rules, **each | changes)


def random_table(rng, rules, scale=1):
    """Table of random costs with a few knots on every axis; times grow with the load.

    A step takes some nanoseconds, times `scale`.
    """
    cap, budget = rules.max_sequences, rules.token_budget
    contexts = np.unique(rng.integers(1, 120, size=5))
    while contexts.size < 2:
        contexts = np.unique(rng.integers(1, 120, size=5))
    grid = (3, 3, 3, contexts.size)
    decode = np.cumsum(rng.integers(0, 500, (cap + 1, contexts.size)), axis=1)
    spread = np.arange(cap + 1)[:, None] * np.diff(contexts)
    slope = np.diff(decode, axis=1) // np.maximum(spread, 1)
    shared = rng.integers(0, 300, rules.ranks * budget + 1) if rng.random() < 0.5 else np.zeros(1)
    return StepTable(
        tokens_ps=np.cumsum(rng.integers(0, 200, budget + 1)) * scale,
        sampled_ps=np.cumsum(rng.integers(0, 20, cap + 1)) * scale,
        contexts=contexts,
        decode_ps=decode * scale,
        slope_ps=np.concatenate([slope, slope[:, -1:]], axis=1) * scale,
        prefill=_knots(rng, 1.0, budget),
        keys=_knots(rng, 1.0, 100.0),
        sequences=np.array([0.0, 1.0 + cap / 3, 2.0 + cap]),
        mixed_ps=rng.uniform(0.0, 2000.0, grid) * scale,
        shared_ps=shared.astype(np.int64) * scale,
        tokens_j=rng.uniform(0.0, 1.0, budget + 1),
        sampled_j=rng.uniform(0.0, 1.0, cap + 1),
        decode_j=rng.uniform(0.0, 1.0, (cap + 1, contexts.size)),
        mixed_j=rng.uniform(0.0, 1.0, grid),
        shared_j=rng.uniform(0.0, 1.0, shared.size),
        idle_w=float(rng.uniform(0.0, 1.0)),
    )


def _knots(rng, low, high):
    return np.sort(rng.uniform(low, low + high, 3)) + np.array([0.0, 0.1, 0.2])


# random cases


def random_rules(rng, **changes):
    """Rules of any kind, tight enough that requests wait and are preempted."""
    drafts = int(rng.integers(1, 4)) if rng.random() < 0.3 else 0
    block = int(rng.choice([1, 2, 4]))
    figures = {
        "token_budget": int(rng.integers(4, 70)),
        "max_sequences": int(rng.integers(1, 9)),
        "kv_blocks": int(rng.integers(40, 160)) // block,
        "block_tokens": block,
        "order": Order(int(rng.integers(4))),
        "allocation": Allocation(int(rng.integers(3))),
        "chunked": bool(rng.random() < 0.7),
        "prefix_cache": bool(rng.random() < 0.6),
        "reserve_prompt": bool(rng.random() < 0.5),
        "watermark_blocks": int(rng.choice([0, 0, 2])),
        "longest_chunk": int(rng.choice([0, 0, 3, 7])),
        "async_depth": int(rng.integers(2)),
        "ranks": int(rng.choice([1, 1, 2, 3])),
        "drafts": drafts,
        "acceptance": tuple(float(a) for a in rng.uniform(0.2, 1.0, drafts)),
        "seed": int(rng.integers(1000)),
    }
    return Rules(**figures | changes)


def random_trace(rng, rules, requests=30, scale=1):
    """Trace with bursts, shared prefixes and, at times, turns; a few requests are too long.

    Gaps between arrivals are some nanoseconds, times `scale`, as are the steps of `random_table`.
    """
    gaps = rng.exponential(4000.0, requests) * rng.integers(0, 2, requests)
    prompt = rng.integers(1, 30, requests)
    turns = rng.random() < 0.3
    parent = np.where(rng.random(requests) < 0.5, np.arange(requests) - 1, -1)
    think = rng.integers(0, 3000, requests)
    return Trace(
        arrival_s=np.cumsum(np.floor(gaps)) * scale / PS_PER_S,
        input_tokens=prompt.astype(np.int64),
        output_tokens=rng.integers(1, 25, requests),
        prefixes=random_prefixes(rng, prompt, rules.block_tokens) if rng.random() < 0.7 else None,
        parent=parent if turns else None,
        think_s=think * scale / PS_PER_S if turns else None,
    )


def random_prefixes(rng, prompt, block_tokens):
    """Chained identities of prompts that follow a few stems for some blocks, then go their way."""
    known = {}
    blocks = []
    for tokens in prompt.tolist():
        stem = int(rng.integers(3))
        shared = int(rng.integers(0, 6))
        path = (stem,)
        ids = []
        for i in range(tokens // block_tokens):
            path = (*path, 0 if i < shared else int(rng.integers(1, 1000)))
            ids.append(known.setdefault(path, len(known)))
        blocks.append(ids)
    return make_prefixes(blocks, block_tokens)


def random_case(seed, **changes):
    """Job, rules and table of a random small run; some last long enough for refreshes of ranks."""
    rng = np.random.default_rng(seed)
    rules = random_rules(rng, **changes)
    scale = int(rng.choice([1, 1_000_000]))
    trace = random_trace(rng, rules, scale=scale)
    in_flight = int(rng.integers(1, 8)) if rng.random() < 0.2 else 0
    loaded = rng.integers(0, trace.input_tokens) if rng.random() < 0.15 else None
    front = Front(request_s=3e-9 * scale, token_s=1e-10 * scale) if rng.random() < 0.3 else None
    job = prepare(trace, rules, in_flight=in_flight, loaded=loaded, front=front)
    return job, rules, random_table(rng, rules, scale)


def hosted_case(seed):
    """As `random_case`, with a tier in host memory: tiny or roomy, its copies fast or slow."""
    rng = np.random.default_rng(seed)
    scale = int(rng.choice([1, 1, 1_000_000]))
    rules = random_rules(
        rng,
        order=Order.LIST,
        allocation=Allocation.LAZY,
        prefix_cache=True,
        reserve_prompt=True,
        max_sequences=int(rng.integers(1, 6)),
        host_blocks=int(rng.integers(1, 60)),
        copy_latency_ps=int(rng.choice([0, 200, 5000])) * scale,
        load_ps=int(rng.choice([0, 100, 2000])) * scale,
        store_ps=int(rng.choice([0, 100, 2000])) * scale,
    )
    trace = random_trace(rng, rules, scale=scale)
    in_flight = int(rng.integers(1, 8)) if rng.random() < 0.2 else 0
    job = prepare(trace, rules, in_flight=in_flight)
    return job, rules, random_table(rng, rules, scale)
