"""Compiled loop of one engine in a closed loop; `serving.burst` documents and calls it."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]

# Rows of the integer state of slots (places in flight) and of ranks.
REQUEST, LEFT, TAKEN, READY_STEP, AFTER = range(5)
SENT_S, READY_S, FIRST_S = range(3)
HEAD, WAITING, HELD, DECODING = range(4)
# Places of the state of the engine.
STEP, LOOKED, BEAT, RUNNING, TOKENS, SENT, DONE, HELD_STEPS = range(8)
NOW_S, LOOKED_S = range(2)
# Places of a policy.
BUDGET, ALONE, CHUNKED, CAP, SKIPPED, POLLED, BALANCE, WAIT, FILL = range(9)
# Places of the totals of a run.
DURATION, BESIDE, CARRYING, STEPS, PROMPT, OUTPUT = range(6)


@njit(cache=True, error_model="numpy")
def cell(grid: F64, value: float) -> tuple[int, float]:
    """Lower corner of the cell of a grid that holds a value, and the place in it, 0 to 1."""
    if grid.size == 1:
        return 0, 0.0
    low, high = 0, grid.size - 1
    while high - low > 1:
        middle = (low + high) // 2
        if grid[middle] <= value:
            low = middle
        else:
            high = middle
    place = (value - grid[low]) / (grid[low + 1] - grid[low])
    return low, min(max(place, 0.0), 1.0)


@njit(cache=True, error_model="numpy")
def decode_s(
    running: float, context: float, sequences: F64, contexts: F64, table: F64
) -> tuple[float, float]:
    """Decode step at a mean context, and what one more token a sequence adds [s]."""
    i, x = cell(sequences, running)
    j, y = cell(contexts, context)
    up, right = min(i + 1, sequences.size - 1), min(j + 1, contexts.size - 1)
    near = (1.0 - x) * table[i, j] + x * table[up, j]
    far = (1.0 - x) * table[i, right] + x * table[up, right]
    if right == j or context >= contexts[-1] or context < contexts[0]:
        return (1.0 - y) * near + y * far, 0.0
    return (1.0 - y) * near + y * far, (far - near) / (contexts[right] - contexts[j])


@njit(cache=True, error_model="numpy")
def carry_s(
    tokens: float, running: float, context: float, chunks: F64, sequences: F64, contexts: F64,
    table: F64,
) -> float:  # fmt: skip
    """Step that carries prompt tokens beside its decodes [s]; trilinear in table (p, n, c)."""
    k, z = cell(chunks, tokens)
    i, x = cell(sequences, running)
    j, y = cell(contexts, context)
    over, up, right = (
        min(k + 1, chunks.size - 1), min(i + 1, sequences.size - 1), min(j + 1, contexts.size - 1)
    )  # fmt: skip
    total = 0.0
    for p, wp in ((k, 1.0 - z), (over, z)):
        for n, wn in ((i, 1.0 - x), (up, x)):
            total += wp * wn * ((1.0 - y) * table[p, n, j] + y * table[p, n, right])
    return total


@njit(cache=True, error_model="numpy")
def seen(one: int, slot: I64, clock: F64, state: I64, now: F64) -> bool:
    """True if the engine knows of the request in a slot and may schedule it."""
    return bool(clock[READY_S, one] <= now[LOOKED_S] and slot[READY_STEP, one] <= state[STEP])


@njit(cache=True, error_model="numpy")
def look(state: I64, now: F64, policy: I64, fresh: int) -> None:
    """Look at arrivals when it is time to: after so many decode steps, and after prompts."""
    if fresh > 0 or state[STEP] - state[LOOKED] >= policy[POLLED]:
        state[LOOKED], now[LOOKED_S] = state[STEP], now[NOW_S]


@njit(cache=True, error_model="numpy")
def choose(
    new: I64, slot: I64, clock: F64, rank: I64, queue: I64, state: I64, now: F64, policy: I64,
    chosen: I64,
) -> tuple[int, int]:  # fmt: skip
    """Fill the budget of every rank, first come first served.

    Returns the number of slots chosen, and the prompt tokens of the rank that has most.
    """
    picked, most = 0, 0
    ranks, per = queue.shape
    for at in range(ranks):
        room = policy[BUDGET] if policy[ALONE] else policy[BUDGET] - rank[DECODING, at]
        used = 0
        for place in range(rank[WAITING, at]):
            one = queue[at, (rank[HEAD, at] + place) % per]
            left = slot[LEFT, one]
            begun = left < new[slot[REQUEST, one]]
            if used >= room or not seen(one, slot, clock, state, now):
                break
            if not begun and rank[HELD, at] >= policy[CAP]:
                break
            if not policy[CHUNKED] and used > 0 and left > room - used:
                break
            if not begun:
                rank[HELD, at] += 1
            slot[TAKEN, one] = min(left, room - used)
            used += slot[TAKEN, one]
            chosen[picked] = one
            picked += 1
        most = max(most, used)
    return picked, most


@njit(cache=True, error_model="numpy")
def held_back(
    new: I64, slot: I64, clock: F64, rank: I64, queue: I64, state: I64, now: F64, policy: I64
) -> bool:
    """True while prompts wait, so many steps at most, for company.

    Either every data-parallel rank has one (BALANCE), or the step is filled to FILL tokens (WAIT).
    """
    ranks, per = queue.shape
    longest = policy[BALANCE] if ranks > 1 else policy[WAIT]
    if longest == 0 or state[RUNNING] == 0:
        return False
    having, tokens = 0, 0
    for at in range(ranks):
        for place in range(rank[WAITING, at]):
            one = queue[at, (rank[HEAD, at] + place) % per]
            if slot[LEFT, one] < new[slot[REQUEST, one]]:
                return False
            full = rank[HELD, at] + place >= policy[CAP]
            if full or not seen(one, slot, clock, state, now):
                break
            having += 1 if place == 0 else 0
            tokens += slot[LEFT, one]
            if ranks > 1 or tokens >= policy[FILL]:
                break
    ready = having == ranks if ranks > 1 else tokens + state[RUNNING] >= policy[FILL]
    if having == 0 or ready or state[HELD_STEPS] >= longest:
        state[HELD_STEPS] = 0
        return False
    state[HELD_STEPS] += 1
    return True


@njit(cache=True, error_model="numpy")
def jump_steps(
    new: I64, slot: I64, clock: F64, rank: I64, queue: I64, ends: I64, state: I64, now: F64,
    policy: I64, context: float, contexts: F64, each_s: float, slope_s: float,
) -> int:  # fmt: skip
    """Decode steps until something can change: an end, an arrival, the edge of a table cell."""
    ring = ends.size
    moved = ring
    for ahead in range(1, ring):
        if ends[(state[BEAT] + ahead) % ring] >= 0:
            moved = ahead
            break
    if context < contexts[-1]:
        corner, _ = cell(contexts, context)
        edge = contexts[corner + 1] if context >= contexts[0] else contexts[0]
        moved = min(moved, max(1, int(np.floor(edge - context)) + 1))
    if policy[POLLED] > 1:
        moved = min(moved, max(1, state[LOOKED] + policy[POLLED] - state[STEP]))
    for at in range(queue.shape[0]):
        if rank[WAITING, at] == 0:
            continue
        one = queue[at, rank[HEAD, at]]
        if rank[HELD, at] >= policy[CAP] and slot[LEFT, one] == new[slot[REQUEST, one]]:
            continue  # only an end makes room
        if slot[READY_STEP, one] > state[STEP]:
            moved = min(moved, slot[READY_STEP, one] - state[STEP])
        elif clock[READY_S, one] > now[NOW_S]:
            slowest = each_s + max(slope_s, 0.0) * moved
            moved = min(moved, max(1, int((clock[READY_S, one] - now[NOW_S]) / slowest)))
        elif seen(one, slot, clock, state, now):
            moved = 1  # nothing of the budget is left
    return moved


@njit(cache=True, error_model="numpy")
def finish(
    new: I64, out: I64, slot: I64, clock: F64, rank: I64, queue: I64, ends: I64, state: I64,
    now: F64, policy: I64, host_s: F64, tpot: F64, end: F64,
) -> None:  # fmt: skip
    """End the sequences whose last token this step made, and send a request for each."""
    ranks, per = queue.shape
    bucket = state[BEAT] % ends.size
    one = ends[bucket]
    ends[bucket] = -1
    while one >= 0:
        at, which = one % ranks, slot[REQUEST, one]
        tpot[which] = (now[NOW_S] - clock[FIRST_S, one]) / (out[which] - 1)
        end[which] = now[NOW_S]
        state[DONE] += 1
        state[RUNNING] -= 1
        state[TOKENS] -= new[which] + out[which]
        rank[DECODING, at] -= 1
        rank[HELD, at] -= 1
        following = slot[AFTER, one]
        if state[SENT] < new.size:
            which = state[SENT]
            state[SENT] += 1
            slot[REQUEST, one], slot[LEFT, one] = which, new[which]
            slot[READY_STEP, one] = state[STEP] + policy[SKIPPED]
            clock[SENT_S, one] = now[NOW_S]
            clock[READY_S, one] = now[NOW_S] + host_s[0] + host_s[1] * new[which]
            queue[at, (rank[HEAD, at] + rank[WAITING, at]) % per] = one
            rank[WAITING, at] += 1
        one = following


@njit(cache=True, error_model="numpy")
def begin(
    new: I64, out: I64, slot: I64, clock: F64, rank: I64, ends: I64, queue: I64, state: I64,
    now: F64, chosen: I64, ttft: F64, sent_s: F64, totals: F64,
) -> None:  # fmt: skip
    """Give prompts that are through their first token; they decode from the next step on."""
    ranks, per = queue.shape
    for one in chosen:
        at, which = one % ranks, slot[REQUEST, one]
        slot[LEFT, one] -= slot[TAKEN, one]
        totals[PROMPT] += slot[TAKEN, one]
        if slot[LEFT, one] > 0:
            continue
        rank[HEAD, at] = (rank[HEAD, at] + 1) % per
        rank[WAITING, at] -= 1
        rank[DECODING, at] += 1
        clock[FIRST_S, one] = now[NOW_S]
        ttft[which] = now[NOW_S] - clock[SENT_S, one]
        sent_s[which] = clock[SENT_S, one]
        totals[OUTPUT] += 1.0
        state[RUNNING] += 1
        state[TOKENS] += new[which] + 1
        bucket = (state[BEAT] + out[which] - 1) % ends.size
        slot[AFTER, one] = ends[bucket]
        ends[bucket] = one


@njit(cache=True, error_model="numpy")
def idle(slot: I64, clock: F64, rank: I64, queue: I64, state: I64, now: F64) -> None:
    """Nothing runs and nothing is ready: pass to the next arrival."""
    soon, first = np.inf, 0
    for at in range(queue.shape[0]):
        if rank[WAITING, at] > 0:
            one = queue[at, rank[HEAD, at]]
            if clock[READY_S, one] < soon:
                soon, first = clock[READY_S, one], one
    now[NOW_S] = max(now[NOW_S], soon)
    state[STEP] = max(state[STEP], slot[READY_STEP, first])


@njit(cache=True, error_model="numpy")
def burst(new: I64, slots: int, ranks: int, host_s: F64, state: I64) -> tuple[I64, F64, I64, I64]:
    """Send the first requests, all at once; the host takes them in one by one."""
    slot = np.zeros((5, slots), np.int64)
    clock = np.zeros((3, slots))
    rank = np.zeros((4, ranks), np.int64)
    queue = np.zeros((ranks, (slots + ranks - 1) // ranks), np.int64)
    ready = 0.0
    for one in range(slots):
        at = one % ranks
        ready += host_s[1] * new[one]
        slot[REQUEST, one], slot[LEFT, one], slot[AFTER, one] = one, new[one], -1
        clock[READY_S, one] = host_s[0] + ready
        queue[at, rank[WAITING, at]] = one
        rank[WAITING, at] += 1
    state[SENT] = slots
    return slot, clock, rank, queue


@njit(cache=True, error_model="numpy")
def closed_loop_run(
    new: I64, out: I64, slots: int, ranks: int, policy: I64, host_s: F64, sequences: F64,
    contexts: F64, decode_table: F64, chunks: F64, beside: F64, carry_table: F64, jump: int,
) -> tuple[F64, F64, F64, F64, F64]:  # fmt: skip
    """Run every request through an engine with so many in flight, all of those sent at time 0.

    Returns when each request was sent, its ttft, tpot and end [s], and the totals of the run.
    """
    sent_s = np.zeros(new.size)
    ttft, tpot, end = np.zeros(new.size), np.zeros(new.size), np.zeros(new.size)
    totals, state, now = np.zeros(6), np.zeros(8, np.int64), np.zeros(2)
    slot, clock, rank, queue = burst(new, slots, ranks, host_s, state)
    ends = np.full(int(out.max()) + 1, -1, np.int64)  # by last decode step: heads of linked lists
    chosen = np.zeros(slots, np.int64)
    fresh = 1
    while state[DONE] < new.size:
        look(state, now, policy, fresh)
        picked, most = 0, 0
        if not held_back(new, slot, clock, rank, queue, state, now, policy):
            picked, most = choose(new, slot, clock, rank, queue, state, now, policy, chosen)
        running = state[RUNNING]
        if most == 0 and running == 0:
            idle(slot, clock, rank, queue, state, now)
            fresh = 1
            continue
        context = state[TOKENS] / running if running > 0 else contexts[0]
        moved, alone = 1, bool(policy[ALONE]) and most > 0
        if most > 0:
            tokens, others = float(most * ranks), 0.0 if alone else float(running)
            took = carry_s(tokens, others, context, chunks, beside, contexts, carry_table)
            totals[CARRYING] += 1.0
        else:
            each, slope = decode_s(float(running), context, sequences, contexts, decode_table)
            if jump > 0 and state[HELD_STEPS] == 0:
                moved = jump_steps(
                    new, slot, clock, rank, queue, ends, state, now, policy, context, contexts,
                    each, slope,
                )  # fmt: skip
            took = moved * each + slope * (moved * (moved - 1) / 2.0)
        now[NOW_S] += took
        state[STEP] += moved
        totals[STEPS] += moved
        fresh = 1 if most > 0 else 0
        if not alone:
            totals[BESIDE] += float(moved) * running * running
            totals[OUTPUT] += moved * running
            state[BEAT] += moved
            state[TOKENS] += moved * running
            finish(new, out, slot, clock, rank, queue, ends, state, now, policy, host_s, tpot, end)
        begin(
            new,
            out,
            slot,
            clock,
            rank,
            ends,
            queue,
            state,
            now,
            chosen[:picked],
            ttft,
            sent_s,
            totals,
        )
    totals[DURATION] = now[NOW_S]
    return sent_s, ttft, tpot, end, totals
