"""The arrays that the kernels work on, and the names of their places.

A few wide arrays instead of many narrow ones: a compiled call costs time for every array that it
passes on. `request` is a place in the trace, `rank` counts the data-parallel ranks of all
replicas, `kind` is one pair of rules and step table.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

I64 = NDArray[np.int64]
I32 = NDArray[np.int32]
F64 = NDArray[np.float64]

NEVER = int(np.iinfo(np.int64).max)

# Places of the rules of a kind
(
    BUDGET, CAP, KV_BLOCKS, BLOCK, ORDER, ALLOCATE, CHUNKED, CACHE, RESERVE, WATERMARK, LONGEST,
    DEPTH, RANKS, DRAFTS, SEED, JUMP, REFRESH, GENERATED, RESERVED, TIER, LATENCY, LOAD_PS,
    STORE_PS,
) = range(23)  # fmt: skip

# Places of a request; those from COMPUTED on change
(
    ARRIVAL, HOST, PROMPT, OUTPUT, LOADED, THINK, OWN, CHILD, SIBLING, CLIENT,
    COMPUTED, MADE, HELD, AFTER, READY, SCHEDULED, FIRST, LAST, HIT, PREEMPTS, WAITED, SINCE, SLOT,
    RANK, TRIES, REFUSALS, NEWEST, GIVEN, GIVEN_MOST, STORED, STORING, HELD_BACK, START,
) = range(33)  # fmt: skip
REQUEST_FIELDS = 33

# Places of a rank; those with S_ are sums over the batch decided last
(
    LENGTH, WAITING, HEAD, TAIL, FREE, FRONT, BACK, SEEN, SENT_HERE,
    SLOTS_FREE, COUNT, COUNT_1, PLAIN, PLAIN_1,
    S_PROMPT, S_PAIRS, S_SEQUENCES, S_KEYS, S_SAMPLED, S_TOKENS, S_LEAST_LEFT, S_PLAIN,
    FULL_AT, SHARE, STALL, LOADS_END, STORES_END, LOADED_ONES, KEPT_BACK, LOST_ONE,
    H_COUNT, H_OLDEST, H_NEWEST, H_SPARE, H_STAMP,
) = range(35)  # fmt: skip
RANK_FIELDS = 35

# Places of an entry of a batch
E_REQUEST, E_TOKENS, E_BEFORE, E_EMITTED, E_FLAGS = range(5)
ENTRY_FIELDS = 5
FIRST_TOKEN, LAST_TOKEN, DECODING = 1, 2, 4  # flags of an entry

# Places of a replica: state, then totals from STEPS on
(
    KIND, FIRST_RANK, NOW, QUEUED, OLDEST, REFRESHED, TURN, SAMPLE, OUTSTANDING, OWED,
    COMING, COMING_TAIL, ENDS, ENDS_1, OUT, OUT_1,
    STEPS, BUSY, END, DONE_TOKENS, HITS, DISCARDED, PREEMPTED, ADMITTED, PEAK_BLOCKS, PEAK_RUNNING,
    FINISHED, DECISIONS, LOADS, BLOCKS_IN, BLOCKS_OUT, LOADING, STALLED,
) = range(33)  # fmt: skip
REPLICA_FIELDS = 33

# Places of the real totals of a replica
JOULES, RUNNING_PS, BLOCKS_PS = range(3)
REAL_FIELDS = 3

# Places of the counts of a run
HEAP, LOGGED, NEXT, LOST, SENT, EVERY, GIVE_UP, ROUTED, GAPS_FROM = range(9)
COUNT_FIELDS = 9

# Places of a sample of the timeline
T_RUNNING, T_WAITING, T_BLOCKS, T_PROMPT, T_OUTPUT = range(5)
SAMPLE_FIELDS = 5

# Bins of gaps between tokens
GAP_DIGITS = 8  # bits below the leading one that tell bins apart: a bin is at most 0.4 % wide
GAP_BINS = (64 - GAP_DIGITS) << GAP_DIGITS  # of gaps below 2**63 ps

# Places of a block
IDENTITY, USERS, BEFORE, BEHIND, SAME = range(5)
BLOCK_FIELDS = 5

# Places of a block in host memory; H_LEAVING is of a block of the device
H_IDENTITY, H_READY, H_LOADING, H_OLDER, H_NEWER, H_KEPT, H_LEAVING = range(7)
HOST_FIELDS = 7

# Where a table of a kind begins in the whole (W_) or real (R_) numbers, and how long it is (N_)
(
    W_TOKENS, N_TOKENS, W_SAMPLED, N_SAMPLED, W_CONTEXTS, N_CONTEXTS, W_DECODE, W_SLOPE,
    W_SHARED, N_SHARED, R_PREFILL, N_PREFILL, R_KEYS, N_KEYS, R_SEQUENCES, N_SEQUENCES,
    R_MIXED, R_TOKENS_J, R_SAMPLED_J, R_DECODE_J, R_MIXED_J, R_SHARED_J,
) = range(22)  # fmt: skip
COST_FIELDS = 22


class Core(NamedTuple):
    """What every decision needs."""

    rules: I64  # (kind, place)
    r: I64  # (place, request)
    k: I64  # (place, rank)
    # (rank, place): requests in order of admission; with a tier in host memory its blocks are in
    # HOST_FIELDS more rows a rank, since another array would slow runs without a tier down
    running: I64
    e: I64  # (place, rank, one of two batches, entry)
    g: I64  # (place, replica)


class Blocks(NamedTuple):
    """Cache blocks with identities; arrays are one place long where nothing is cached."""

    offsets: I64  # (request + 1,)
    ids: I64
    blocks: I32
    found: I32  # (rank, identity): first block, -1; with a tier its blocks behind, rank by rank
    table: I32  # (rank, slot, place)
    slots: I32  # (rank, place): stack of free slots


class Costs(NamedTuple):
    """Step tables of all kinds, one behind the other."""

    where: I64
    whole: I64
    real: F64


class Record(NamedTuple):
    """What a run keeps beside its state."""

    counts: I64
    heap: I64  # (2, place): time and request of arrivals that ends have caused
    log: I64  # (4, event); one place long: no log
    samples: F64  # one place long: no timeline
    joules: F64  # (request,)
    real: F64
    chance: F64  # (kind, draft): of acceptance
    gaps: I64  # (bin,): gaps between tokens; no places: they are not counted
    order: I64  # requests that nothing in the run causes, as they arrive
