"""Compiled engine: arrivals, steps and their ends, and many equal decode steps at once.

Written from docs/simulate.md; `reference.py` is the same rule book in plain Python. Names of
places in the arrays are in `state.py`.
"""

from __future__ import annotations

import numpy as np

from tapeout.serving.compiling._kernels import free_kernel, inlined, kernel
from tapeout.serving.engine import state as s
from tapeout.serving.engine.costing._kernels import (
    decode_attention,
    rank_cost,
    row_cost,
    shared_cost,
)
from tapeout.serving.engine.heap._kernels import pop, push
from tapeout.serving.engine.offloading import _kernels as tier
from tapeout.serving.engine.pool._kernels import register, release, take
from tapeout.serving.engine.scheduling._kernels import SGLANG, decide, note, sglang_decayed
from tapeout.serving.engine.spacing._kernels import bin_of, giving, space, space_jump
from tapeout.serving.engine.state import Blocks, Core, Costs, Record

FIRST, FINISH = 2, 3  # kinds of events


@inlined
def publish(c: Core, replica: int, time: int) -> None:
    """Make the load of the data-parallel ranks known, every 100 ms."""
    rules, k, g = c.rules, c.k, c.g
    kind, first = g[s.KIND, replica], g[s.FIRST_RANK, replica]
    beat = time // rules[kind, s.REFRESH]
    if beat <= g[s.REFRESHED, replica] or rules[kind, s.RANKS] == 1:
        return
    g[s.REFRESHED, replica] = beat
    for rank in range(first, first + rules[kind, s.RANKS]):
        k[s.SEEN, rank] = 4 * k[s.WAITING, rank] + k[s.LENGTH, rank]
        k[s.SENT_HERE, rank] = 0


@inlined
def choose_rank(c: Core, replica: int) -> int:
    """Data-parallel rank with the least load as last published, and what was sent since."""
    k, g = c.k, c.g
    first, ranks = g[s.FIRST_RANK, replica], c.rules[g[s.KIND, replica], s.RANKS]
    if ranks == 1:
        return int(first)
    best, least = first, s.NEVER
    for step in range(ranks):
        rank = first + (g[s.TURN, replica] + step) % ranks
        load = k[s.SEEN, rank] + 4 * k[s.SENT_HERE, rank]
        if load < least:
            least, best = load, rank
    g[s.TURN, replica] += 1
    k[s.SENT_HERE, best] += 1
    return int(best)


@kernel
def arrive(c: Core, replica: int, request: int, time: int) -> None:
    """A request reaches a replica; it is queued until it is ready."""
    r, g = c.r, c.g
    g[s.OUTSTANDING, replica] += 1
    g[s.OWED, replica] += r[s.PROMPT, request]
    ready = time + r[s.HOST, request]
    r[s.READY, request], r[s.AFTER, request] = ready, -1
    tail = g[s.COMING_TAIL, replica]
    if g[s.COMING, replica] < 0:
        g[s.COMING, replica] = request
        g[s.COMING_TAIL, replica] = request
    elif sooner(c, tail, ready, request):
        r[s.AFTER, tail] = request
        g[s.COMING_TAIL, replica] = request
    else:
        one, before = g[s.COMING, replica], -1
        while sooner(c, one, ready, request):
            before, one = one, r[s.AFTER, one]
        r[s.AFTER, request] = one
        if before < 0:
            g[s.COMING, replica] = request
        else:
            r[s.AFTER, before] = request


@inlined
def sooner(c: Core, one: int, ready: int, request: int) -> bool:
    """True if a request is ready before another, ties by their place in the trace."""
    r = c.r
    own = r[s.READY, one]
    return bool(own < ready or (own == ready and one < request))


@kernel
def join(c: Core, replica: int, until: int) -> None:
    """Requests that are ready before a time choose a rank and wait there."""
    r, k, g = c.r, c.k, c.g
    one = g[s.COMING, replica]
    while one >= 0 and r[s.READY, one] < until:
        following = r[s.AFTER, one]
        publish(c, replica, r[s.READY, one])
        rank = choose_rank(c, replica)
        r[s.RANK, one], r[s.AFTER, one] = rank, -1
        if k[s.HEAD, rank] < 0:
            k[s.HEAD, rank] = one
        else:
            r[s.AFTER, k[s.TAIL, rank]] = one
        k[s.TAIL, rank] = one
        k[s.WAITING, rank] += 1
        one = following
    g[s.COMING, replica] = one


@inlined
def fill(c: Core, b: Blocks, t: Costs, w: Record, replica: int) -> bool:
    """Decide for every rank and queue the step; False where there is nothing to do."""
    rules, k, g, totals = c.rules, c.k, c.g, w.real
    kind, first = g[s.KIND, replica], g[s.FIRST_RANK, replica]
    beyond = first + rules[kind, s.RANKS]
    which, hosted = (g[s.OLDEST, replica] + g[s.QUEUED, replica]) % 2, rules[kind, s.TIER] > 0
    tokens, slowest, joules, out, prompt, blocks, running = 0, 0, 0.0, 0, 0, 0, 0
    for rank in range(first, beyond):
        if hosted:
            tier.decide_hosted(c, b, w, replica, rank, which)
        else:
            decide(c, b, w, replica, rank, which)
        blocks += rules[kind, s.KV_BLOCKS] - k[s.FREE, rank]
        running += k[s.LENGTH, rank]
        if k[s.COUNT + which, rank] == 0:
            continue
        local, energy = rank_cost(t, kind, c.k, rank)
        slowest = max(slowest, local)
        joules += energy
        tokens += k[s.S_TOKENS, rank]
        prompt += k[s.S_PROMPT, rank]
    g[s.DECISIONS, replica] += 1
    g[s.PEAK_BLOCKS, replica] = max(g[s.PEAK_BLOCKS, replica], blocks)
    g[s.PEAK_RUNNING, replica] = max(g[s.PEAK_RUNNING, replica], running)
    if tokens == 0:
        return hosted and tier.again(c, replica)
    more, energy = shared_cost(t, kind, tokens)
    duration = max(slowest + more, 1)
    joules += energy
    for rank in range(first, beyond):
        out += share(c, w, rank, which, joules / tokens)
    start = g[s.NOW, replica]
    if g[s.QUEUED, replica] > 0:
        start = g[s.ENDS + 1 - which, replica]
    if hosted:
        start = tier.stalled(c, replica, start)
        tier.store_full(c, b, replica, which, start + duration)
    g[s.ENDS + which, replica], g[s.OUT + which, replica] = start + duration, out
    g[s.QUEUED, replica] += 1
    g[s.STEPS, replica] += 1
    g[s.BUSY, replica] += duration
    totals[replica, s.JOULES] += joules
    tally(c, w, replica, s.T_PROMPT, prompt)
    return True


@inlined
def share(c: Core, w: Record, rank: int, which: int, each_j: float) -> int:
    """Divide the energy of a step by tokens; returns the output tokens of a rank's batch."""
    shares, out = w.joules, 0
    requests, tokens = c.e[s.E_REQUEST, rank, which], c.e[s.E_TOKENS, rank, which]
    emitted = c.e[s.E_EMITTED, rank, which]
    for at in range(c.k[s.COUNT + which, rank]):
        shares[requests[at]] += each_j * tokens[at]
        out += emitted[at]
    return out


@inlined
def tally(c: Core, w: Record, replica: int, column: int, tokens: int) -> None:
    """Count tokens into the sample that ends next."""
    g, samples = c.g, w.samples
    at = g[s.SAMPLE, replica]
    if samples.shape[0] > 1 and at < samples.shape[0]:
        samples[at, column] += tokens


@kernel
def tell(c: Core, w: Record, request: int, time: int) -> None:
    """Send the turns that waited for a request, and the next one of a closed loop."""
    r, counts, order = c.r, w.counts, w.order
    child = r[s.CHILD, request]
    while child >= 0:
        r[s.ARRIVAL, child] = max(r[s.ARRIVAL, child], time + r[s.THINK, child])
        push(w, r[s.ARRIVAL, child], child)
        child = r[s.SIBLING, child]
    following = counts[s.NEXT]
    if 0 <= following < order.size:
        one = int(order[following])
        r[s.ARRIVAL, one] = time + r[s.THINK, one]
        push(w, r[s.ARRIVAL, one], one)
        counts[s.NEXT] = following + 1


@kernel
def retire(c: Core, b: Blocks, w: Record, replica: int) -> None:
    """End the oldest batch: first and last tokens exist now."""
    rules, r, k, e, g = c.rules, c.r, c.k, c.e, c.g
    kind, which, now = g[s.KIND, replica], g[s.OLDEST, replica], g[s.NOW, replica]
    first = g[s.FIRST_RANK, replica]
    tally(c, w, replica, s.T_OUTPUT, g[s.OUT + which, replica])
    for rank in range(first, first + rules[kind, s.RANKS]):
        if w.gaps.size > 0:
            space(c, w, rank, which, now)
        if k[s.PLAIN + which, rank] > 0:
            continue
        ended = 0
        requests, marks = e[s.E_REQUEST, rank, which], e[s.E_FLAGS, rank, which]
        for at in range(k[s.COUNT + which, rank]):
            flags, one = marks[at], requests[at]
            if flags & s.FIRST_TOKEN and r[s.FIRST, one] < 0:  # a restart makes it once more
                r[s.FIRST, one] = now
                note(w, FIRST, now, one, 0)
            if flags & s.LAST_TOKEN:
                r[s.LAST, one] = now
                note(w, FINISH, now, one, 0)
                release(c, b, rank, one, rules[kind, s.CACHE])
                g[s.FINISHED, replica] += 1
                g[s.OUTSTANDING, replica] -= 1
                g[s.END, replica] = now
                tell(c, w, one, now)
                ended += 1
        if ended > 0:
            compact(c, rank)
    g[s.OLDEST, replica] = 1 - which
    g[s.QUEUED, replica] -= 1


@kernel
def compact(c: Core, rank: int) -> None:
    """Drop what has ended from the running."""
    line, last = c.running[rank], c.r[s.LAST]
    kept = 0
    for place in range(c.k[s.LENGTH, rank]):
        one = line[place]
        if last[one] < 0:
            line[kept] = one
            kept += 1
    c.k[s.LENGTH, rank] = kept


@inlined
def pass_time(c: Core, w: Record, replica: int, time: int) -> None:
    """Move the clock of a replica; sums over time and samples see the state until then."""
    rules, k, g, samples, totals = c.rules, c.k, c.g, w.samples, w.real
    kind, first = g[s.KIND, replica], g[s.FIRST_RANK, replica]
    running, blocks, waiting = 0, 0, 0
    for rank in range(first, first + rules[kind, s.RANKS]):
        running += k[s.LENGTH, rank]
        blocks += rules[kind, s.KV_BLOCKS] - k[s.FREE, rank]
        waiting += k[s.WAITING, rank]
    gone = float(time - g[s.NOW, replica])
    totals[replica, s.RUNNING_PS] += gone * running
    totals[replica, s.BLOCKS_PS] += gone * blocks
    if samples.shape[0] > 1:
        sample(c, w, replica, time, running, waiting, blocks)
    g[s.NOW, replica] = time


@kernel
def sample(
    c: Core, w: Record, replica: int, time: int, running: int, waiting: int, blocks: int
) -> None:
    """Write down the state at every sample before a time.

    Requests that became ready since the last decision wait, though the engine has not looked.
    """
    r, g, counts, samples = c.r, c.g, w.counts, w.samples
    every = counts[s.EVERY]
    while (g[s.SAMPLE, replica] + 1) * every < time:
        at = g[s.SAMPLE, replica]
        if at >= samples.shape[0]:
            counts[s.LOST] += 1
            return
        one = g[s.COMING, replica]
        while one >= 0 and r[s.READY, one] <= (at + 1) * every:
            samples[at, s.T_WAITING] += 1
            one = r[s.AFTER, one]
        samples[at, s.T_RUNNING] += running
        samples[at, s.T_WAITING] += waiting
        samples[at, s.T_BLOCKS] += blocks
        g[s.SAMPLE, replica] = at + 1


@inlined
def may_jump(c: Core, replica: int) -> bool:
    """True while every decision will be the one before it until something happens."""
    rules, k, g = c.rules, c.k, c.g
    kind, rank = g[s.KIND, replica], g[s.FIRST_RANK, replica]
    depth = rules[kind, s.DEPTH]
    several = rules[kind, s.RANKS] > 1 or rules[kind, s.DRAFTS] > 0
    if several or rules[kind, s.JUMP] == 0 or g[s.QUEUED, replica] <= depth:
        return False
    oldest = g[s.OLDEST, replica]
    if k[s.PLAIN + oldest, rank] == 0 or (depth > 0 and k[s.PLAIN + 1 - oldest, rank] == 0):
        return False
    # What waits is blocked by sequences or blocks, which only an end gives back; but tokens made
    # by others could be what it shares.
    generated = rules[kind, s.GENERATED] > 0 and rules[kind, s.CACHE] > 0
    return not (generated and k[s.HEAD, rank] >= 0)


@kernel
def jump(c: Core, b: Blocks, t: Costs, w: Record, replica: int, until: int) -> None:
    """Take decode steps at once while nothing can change but the keys.

    All queued batches are plain, so until an end, an arrival or a shortage of blocks every
    decision is the one before it. The clock stays at the decision that was made last.
    """
    rules, r, k, g = c.rules, c.r, c.k, c.g
    counts, heap, totals = w.counts, w.heap, w.real
    kind, rank = g[s.KIND, replica], g[s.FIRST_RANK, replica]
    size, running = rules[kind, s.BLOCK], k[s.LENGTH, rank]
    bound = until
    if g[s.COMING, replica] >= 0:
        bound = min(bound, r[s.READY, g[s.COMING, replica]])
    if counts[s.HEAP] > 0:
        bound = min(bound, heap[0, 0])
    most = k[s.S_LEAST_LEFT, rank] - 1
    oldest = g[s.OLDEST, replica]
    if most < 1 or g[s.ENDS + oldest, replica] >= bound:
        return
    crossing = np.zeros(size, np.int64)  # requests by tokens that their blocks still take
    line, held, computed = c.running[rank], r[s.HELD], r[s.COMPUTED]
    for place in range(running):
        room = held[line[place]] * size - computed[line[place]]
        if room < size:
            crossing[room] += 1
        else:
            most = min(most, room)
    begin, given = g[s.ENDS + oldest, replica], 0
    if w.gaps.size > 0:
        given, most = giving(c, rank, most)
    steps, energy = walk(c, t, w, replica, bound, most, crossing, given)
    if steps == 0:
        return
    if w.gaps.size > 0:
        space_jump(c, w, rank, steps, begin, g[s.NOW, replica])
    k[s.S_LEAST_LEFT, rank] -= steps
    if rules[kind, s.ORDER] == SGLANG:
        k[s.SHARE, rank] = sglang_decayed(k[s.SHARE, rank], rules[kind, s.RESERVED], steps)
    g[s.STEPS, replica] += steps
    g[s.DECISIONS, replica] += steps
    g[s.DONE_TOKENS, replica] += steps * running
    totals[replica, s.JOULES] += energy
    if rules[kind, s.CACHE] > 0:
        cross(c, b, rank, running, size, steps)
    grow(c, w, rank, steps, size, energy / running)
    blocks = rules[kind, s.KV_BLOCKS] - k[s.FREE, rank]
    g[s.PEAK_BLOCKS, replica] = max(g[s.PEAK_BLOCKS, replica], blocks)


@inlined
def walk(
    c: Core, t: Costs, w: Record, replica: int, bound: int, most: int, crossing: s.I64, given: int
) -> tuple[int, float]:
    """Move time through equal decode steps; returns how many, and their joules.

    `given` requests get a new token each, one gap after the one before it.
    """
    rules, k, g, samples, totals = c.rules, c.k, c.g, w.samples, w.real
    kind, rank = g[s.KIND, replica], g[s.FIRST_RANK, replica]
    size, running = rules[kind, s.BLOCK], k[s.LENGTH, rank]
    oldest, two = g[s.OLDEST, replica], g[s.QUEUED, replica] == 2
    keys, free, now = k[s.S_KEYS, rank], k[s.FREE, rank], g[s.NOW, replica]
    held = rules[kind, s.KV_BLOCKS] - free
    flat, flat_j = row_cost(t, kind, running, running)
    shared, shared_j = shared_cost(t, kind, running)
    decision, newest = g[s.ENDS + oldest, replica], g[s.ENDS + 1 - oldest, replica]
    steps, energy, busy, blocks_ps, began = 0, 0.0, 0, 0.0, now
    sampled = samples.shape[0] > 1
    while steps < most and decision < bound:
        needed = crossing[steps % size]
        if needed > free:
            break
        blocks_ps += float(decision - now) * held
        if sampled:
            sample(c, w, replica, decision, running, k[s.WAITING, rank], held)
            tally(c, w, replica, s.T_OUTPUT, running)
        if given > 0 and steps > 0 and decision >= w.counts[s.GAPS_FROM]:
            w.gaps[bin_of(decision - now)] += given
        now = decision
        free -= needed
        held += needed
        steps += 1
        keys += running
        more, joules = decode_attention(t, kind, running, keys)
        duration = max(max(flat + more, 1) + shared, 1)
        energy += flat_j + joules + shared_j
        busy += duration
        if two:
            decision, newest = newest, newest + duration
        else:
            decision += duration
    if steps % 2 and two:
        oldest = 1 - oldest
    g[s.OLDEST, replica] = oldest
    g[s.ENDS + oldest, replica] = decision
    if two:
        g[s.ENDS + 1 - oldest, replica] = newest
    g[s.NOW, replica] = now
    g[s.BUSY, replica] += busy
    k[s.S_KEYS, rank] = keys
    totals[replica, s.RUNNING_PS] += float(now - began) * running
    totals[replica, s.BLOCKS_PS] += blocks_ps
    return steps, energy


@inlined
def grow(c: Core, w: Record, rank: int, steps: int, size: int, each_j: float) -> None:
    """Give every running request its tokens of a jump, and the blocks they fill."""
    r, k = c.r, c.k
    line, held = c.running[rank], r[s.HELD]
    computed, made, shares = r[s.COMPUTED], r[s.MADE], w.joules
    taken = 0
    for place in range(k[s.LENGTH, rank]):
        one = line[place]
        made[one] += steps
        computed[one] += steps
        shares[one] += each_j
        more = (computed[one] + size - 1) // size - held[one]
        if more > 0:
            taken += more
            held[one] += more
    k[s.FREE, rank] -= taken


@kernel
def cross(c: Core, b: Blocks, rank: int, running: int, size: int, steps: int) -> None:
    """Take and name blocks as single steps would: step by step, in list order."""
    r, queue = c.r, c.running
    full, fills = np.full(size, -1, np.int64), np.full(size, -1, np.int64)
    after_full, after_fills = np.full(running, -1, np.int64), np.full(running, -1, np.int64)
    for place in range(running - 1, -1, -1):
        one = queue[rank, place]
        room = r[s.HELD, one] * size - r[s.COMPUTED, one]
        if room < size:
            after_full[place] = full[room]
            full[room] = place
        rest = (size - r[s.COMPUTED, one] % size) % size
        after_fills[place] = fills[rest]
        fills[rest] = place
    for step in range(steps):
        place = full[step % size]
        while place >= 0:
            one = int(queue[rank, place])
            take(c, b, rank, one, int(r[s.COMPUTED, one] + step) // size + 1, 1)
            place = after_full[place]
        place = fills[(step + 1) % size]
        while place >= 0:  # this token fills the block
            one = int(queue[rank, place])
            end = int(r[s.COMPUTED, one] + step + 1) // size
            register(c, b, rank, one, end - 1, end)
            place = after_fills[place]


@inlined
def next_time(c: Core, replica: int) -> int:
    """When the replica decides next; NEVER where it has nothing to do."""
    rules, r, k, g = c.rules, c.r, c.k, c.g
    if g[s.QUEUED, replica] > 0:
        return int(g[s.ENDS + g[s.OLDEST, replica], replica])
    first, time = g[s.FIRST_RANK, replica], s.NEVER
    if rules[g[s.KIND, replica], s.TIER] > 0:
        time = tier.wake(c, replica)
    else:
        for rank in range(first, first + rules[g[s.KIND, replica], s.RANKS]):
            if k[s.HEAD, rank] >= 0:
                return int(g[s.NOW, replica])
    if g[s.COMING, replica] < 0:
        return time
    return min(time, int(max(r[s.READY, g[s.COMING, replica]], g[s.NOW, replica])))


@kernel
def send(c: Core, w: Record, request: int, time: int) -> None:
    """A request arrives."""
    r, counts = c.r, w.counts
    r[s.ARRIVAL, request] = time
    counts[s.SENT] += 1
    arrive(c, 0, request, time)


@kernel
def caused(c: Core, w: Record, time: int) -> None:
    """Send what ends have caused up to a time."""
    counts, heap = w.counts, w.heap
    while counts[s.HEAP] > 0 and heap[0, 0] <= time:
        at = heap[0, 0]
        send(c, w, pop(w), at)


@inlined
def turn(c: Core, b: Blocks, t: Costs, w: Record, replica: int, time: int) -> None:
    """One decision time of a replica: end the oldest batch, take in arrivals, fill the queue."""
    rules, g, counts = c.rules, c.g, w.counts
    kind = g[s.KIND, replica]
    pass_time(c, w, replica, time)
    join(c, replica, time)
    publish(c, replica, time)
    if g[s.QUEUED, replica] > 0:
        retire(c, b, w, replica)
    if counts[s.HEAP] > 0 and counts[s.ROUTED] == 0:  # a router sends what ends have caused
        caused(c, w, time)
    join(c, replica, time + 1)
    while g[s.QUEUED, replica] <= rules[kind, s.DEPTH]:
        if not fill(c, b, t, w, replica):
            break


@inlined
def end_batch(c: Core, b: Blocks, w: Record, replica: int, time: int) -> None:
    """First part of `turn`, which writes both parts out: calling them costs it a tenth."""
    pass_time(c, w, replica, time)
    join(c, replica, time)
    publish(c, replica, time)
    if c.g[s.QUEUED, replica] > 0:
        retire(c, b, w, replica)


@inlined
def refill(c: Core, b: Blocks, t: Costs, w: Record, replica: int, time: int) -> None:
    """Second part: take in arrivals and decide."""
    rules, g = c.rules, c.g
    kind = g[s.KIND, replica]
    join(c, replica, time + 1)
    while g[s.QUEUED, replica] <= rules[kind, s.DEPTH]:
        if not fill(c, b, t, w, replica):
            break


@kernel
def advance(c: Core, b: Blocks, t: Costs, w: Record, replica: int, until: int) -> None:
    """Run a replica through every decision before a time."""
    counts, heap = w.counts, w.heap
    alone = counts[s.ROUTED] == 0  # else a router sends what ends have caused
    while True:
        time = next_time(c, replica)
        if alone and counts[s.HEAP] > 0 and heap[0, 0] < min(time, until):
            caused(c, w, heap[0, 0])
            continue
        if time >= until:
            return
        turn(c, b, t, w, replica, time)
        if may_jump(c, replica):
            jump(c, b, t, w, replica, until)


@free_kernel
def run(c: Core, b: Blocks, t: Costs, w: Record) -> None:
    """One replica, all requests."""
    r, g, counts, samples, order = c.r, c.g, w.counts, w.samples, w.order
    begun = order.size if counts[s.NEXT] < 0 else counts[s.NEXT]
    for place in range(begun):
        one = order[place]
        time = r[s.ARRIVAL, one]
        advance(c, b, t, w, 0, time)
        send(c, w, one, time)
        if counts[s.GIVE_UP] > 0 and g[s.PREEMPTED, 0] > 0:
            return
    advance(c, b, t, w, 0, s.NEVER)
    if samples.shape[0] > 1:
        last = -(-g[s.END, 0] // counts[s.EVERY]) * counts[s.EVERY]
        sample(c, w, 0, last + 1, 0, 0, 0)
