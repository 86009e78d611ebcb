"""Compiled cluster: routing, admission, autoscaling, failures; the engine is that of one replica.

docs/simulate.md has the rules. Names of places are in `state.py` here and of the engine.
"""

from __future__ import annotations

import numpy as np

from tapeout.constants import NANO
from tapeout.serving.cluster import state as f
from tapeout.serving.cluster.state import Fleet
from tapeout.serving.compiling._kernels import free_kernel, kernel
from tapeout.serving.engine import state as s
from tapeout.serving.engine._kernels import (
    advance,
    arrive,
    next_time,
    pop,
    push,
    sample,
    tell,
)
from tapeout.serving.engine.costing._kernels import decode_attention, row_cost, shared_cost
from tapeout.serving.engine.pool._kernels import clear, hits
from tapeout.serving.engine.scheduling._kernels import splitmix
from tapeout.serving.engine.state import Blocks, Core, Costs, Record

ROUND_ROBIN, RANDOM, LEAST, TWO, AFFINITY, PREFIX, SLO, COST = range(8)
REFUSED = -2  # rank of a request that was dropped


@kernel
def draw(seed: int, one: int, two: int) -> np.uint64:
    """64 even bits from three whole numbers."""
    x = np.uint64(seed) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(one)
    return splitmix(splitmix(x) ^ (np.uint64(two) * np.uint64(0xBF58476D1CE4E5B9)))


@kernel
def look(c: Core, a: Fleet, time: int) -> None:
    """Let the router see the loads, if it is time to."""
    settings, rep = a.settings, a.replica
    age = settings[f.AGE]
    if age > 0:
        if time // age <= settings[f.SEEN_BEAT]:
            return
        settings[f.SEEN_BEAT] = time // age
    for one in range(rep.shape[1]):
        rep[f.KNOWN, one], rep[f.SINCE_SENT, one] = c.g[s.OUTSTANDING, one], 0


@kernel
def open_to(a: Fleet, one: int) -> bool:
    """True if the router sends requests to a replica; it does not know of a failure at once."""
    status = a.replica[f.STATUS, one]
    return bool(status in (f.ON, f.LOST))


@kernel
def load_of(c: Core, a: Fleet, one: int) -> float:
    """Requests at a replica as the router knows, over the weight of its kind."""
    rep = a.replica
    known = float(rep[f.KNOWN, one] + rep[f.SINCE_SENT, one])
    return float(known / a.kind[f.WEIGHT, c.g[s.KIND, one]])


@kernel
def predicted(
    c: Core, t: Costs, a: Fleet, one: int, request: int, time: int
) -> tuple[float, float]:
    """Time to first token and per output token that a request would see at a replica [ps].

    The prompt waits for the step that runs and for the prompt tokens before it, computed at the
    rate of full steps; then it decodes beside all that run and wait there.
    """
    g, k = c.g, c.k
    kind, first = g[s.KIND, one], g[s.FIRST_RANK, one]
    ranks = c.rules[kind, s.RANKS]
    running, keys = 0, 0
    for rank in range(first, first + ranks):
        running += k[s.LENGTH, rank] + k[s.WAITING, rank]
        keys += k[s.S_KEYS, rank]
    beside = min(running // ranks + 1, c.rules[kind, s.CAP])
    mean = max(keys // ranks, beside * c.r[s.PROMPT, request])
    step, _ = row_cost(t, kind, beside, beside)
    attention, _ = decode_attention(t, kind, beside, mean)
    shared, _ = shared_cost(t, kind, beside * ranks)
    tpot = float(step + attention + shared)
    busy = 0.0
    if g[s.QUEUED, one] > 0:
        busy = max(float(g[s.ENDS + g[s.OLDEST, one], one] - time), 0.0)
    owed = float(g[s.OWED, one]) / ranks + c.r[s.PROMPT, request]
    full = running // ranks >= c.rules[kind, s.CAP]
    waiting = float(g[s.OUTSTANDING, one]) * tpot if full else 0.0
    return busy + waiting + owed * a.kind[f.PREFILL_PS, kind] + tpot, tpot


@kernel
def by_prediction(c: Core, t: Costs, a: Fleet, request: int, time: int, cost: int) -> int:
    """Least loaded (or cheapest) replica that is predicted to meet the limits."""
    best, least, soonest, early = -1, np.inf, -1, np.inf
    for one in range(a.replica.shape[1]):
        if not open_to(a, one):
            continue
        ttft, tpot = predicted(c, t, a, one, request, time)
        if ttft < early:
            soonest, early = one, ttft
        if ttft > a.real[f.TTFT_PS] or tpot > a.real[f.TPOT_PS]:
            continue
        load = load_of(c, a, one)
        if cost > 0:  # loads break ties between replicas of one price
            load = a.kind[f.USD_PER_TOKEN, c.g[s.KIND, one]] + NANO * load
        if load < least:
            best, least = one, load
    return best if best >= 0 else soonest


@kernel
def by_load(c: Core, b: Blocks, a: Fleet, request: int, prefix: int) -> int:
    """Least loaded replica, or the one whose cache is worth most after the price of its load."""
    best, least = -1, np.inf
    for one in range(a.replica.shape[1]):
        if not open_to(a, one):
            continue
        score = load_of(c, a, one)
        if prefix > 0:
            kind = c.g[s.KIND, one]
            size = c.rules[kind, s.BLOCK]
            rank = c.g[s.FIRST_RANK, one]
            found = 0
            if c.rules[kind, s.CACHE] > 0:
                found, _ = hits(c, b, rank, request, (c.r[s.PROMPT, request] - 1) // size)
            score = a.real[f.LOAD_TOKENS] * score - float(found * size)
        if score < least:
            best, least = one, score
    return best


@kernel
def by_chance(c: Core, a: Fleet, request: int, two: int) -> int:
    """A random replica, or the less loaded of two."""
    rep, seed = a.replica, a.settings[f.RANDOM_SEED]
    count = 0
    for one in range(rep.shape[1]):
        count += 1 if open_to(a, one) else 0
    if count == 0:
        return -1
    pick = np.int64(draw(seed, request, 0) % np.uint64(count))
    other = np.int64(-1)
    if two > 0 and count > 1:
        other = np.int64(draw(seed, request, 1) % np.uint64(count - 1))
        other += 1 if other >= pick else 0
    best, least, place = -1, np.inf, 0
    for one in range(rep.shape[1]):
        if not open_to(a, one):
            continue
        if place in (pick, other) and load_of(c, a, one) < least:
            best, least = one, load_of(c, a, one)
        place += 1
    return best


@kernel
def by_client(c: Core, a: Fleet, request: int) -> int:
    """Replica with the highest random weight for the client: few move when one goes."""
    best, most = -1, np.uint64(0)
    for one in range(a.replica.shape[1]):
        if not open_to(a, one):
            continue
        weight = draw(a.settings[f.RANDOM_SEED], c.r[s.CLIENT, request], one)
        if best < 0 or weight > most:
            best, most = one, weight
    return best


@kernel
def in_turn(a: Fleet) -> int:
    """Next replica in the round."""
    settings, count = a.settings, a.replica.shape[1]
    for step in range(count):
        one = (settings[f.NEXT_ROUND] + step) % count
        if open_to(a, one):
            settings[f.NEXT_ROUND] = one + 1
            return int(one)
    return -1


@kernel
def choose(c: Core, b: Blocks, t: Costs, a: Fleet, request: int, time: int) -> int:
    """Replica for a request; -1 where none is up."""
    router = a.settings[f.ROUTER]
    if router == ROUND_ROBIN:
        return in_turn(a)
    look(c, a, time)
    if router in (RANDOM, TWO):
        return by_chance(c, a, request, 1 if router == TWO else 0)
    if router == AFFINITY:
        return by_client(c, a, request)
    if router in (SLO, COST):
        return by_prediction(c, t, a, request, time, 1 if router == COST else 0)
    return by_load(c, b, a, request, 1 if router == PREFIX else 0)


@kernel
def route(c: Core, b: Blocks, t: Costs, w: Record, a: Fleet, request: int, time: int) -> None:
    """Send a request to a replica, or have it come again, or drop it."""
    r, settings, rep = c.r, a.settings, a.replica
    if r[s.TRIES, request] == 0:
        r[s.ARRIVAL, request] = time
    r[s.TRIES, request] += 1
    one = choose(c, b, t, a, request, time)
    most = settings[f.MOST]
    if one < 0 or (most > 0 and c.g[s.OUTSTANDING, one] >= most):
        refused = r[s.TRIES, request]
        if one < 0 and most == 0:  # nothing is up: wait for the next that is
            push(w, max(next_up(a), time + 1), request)
            r[s.TRIES, request] -= 1 if r[s.TRIES, request] > 1 else 0
        elif refused <= settings[f.RETRIES]:
            push(w, time + settings[f.BACKOFF] * (1 << (refused - 1)), request)
        else:
            r[s.RANK, request] = REFUSED
            tell(c, w, request, time)
        return
    rep[f.SINCE_SENT, one] += 1
    if rep[f.STATUS, one] == f.LOST:  # nobody knows yet; it is sent again when they do
        push(w, rep[f.LOST_AT, one] + settings[f.DETECTION], request)
        return
    advance(c, b, t, w, one, time)
    arrive(c, one, request, time)


@kernel
def next_up(a: Fleet) -> int:
    """When the next replica serves that does not now."""
    soonest = s.NEVER
    for one in range(a.replica.shape[1]):
        if a.replica[f.STATUS, one] in (f.STARTING, f.DOWN):
            soonest = min(soonest, a.replica[f.UP_AT, one])
        elif a.replica[f.STATUS, one] == f.LOST:
            soonest = min(soonest, a.replica[f.LOST_AT, one] + a.settings[f.DETECTION])
    return int(soonest)


@kernel
def restart(c: Core, w: Record, one: int, request: int, again: int) -> None:
    """A request loses all that was computed and is sent again at a time."""
    r, g = c.r, c.g
    g[s.DISCARDED, one] += r[s.COMPUTED, request]
    for place in (s.COMPUTED, s.MADE, s.HELD):
        r[place, request] = 0
    r[s.SINCE, request] = g[s.NOW, one]
    push(w, again, request)


@kernel
def fail(c: Core, b: Blocks, w: Record, a: Fleet, one: int, time: int, until: int) -> None:
    """A replica stops at once; what it had is sent again when the failure is noticed."""
    r, k, g, rep = c.r, c.k, c.g, a.replica
    if rep[f.STATUS, one] not in (f.ON, f.DRAINING):
        return
    again = time + a.settings[f.DETECTION]
    kind, first = g[s.KIND, one], g[s.FIRST_RANK, one]
    for rank in range(first, first + c.rules[kind, s.RANKS]):
        for place in range(k[s.LENGTH, rank]):
            restart(c, w, one, c.running[rank, place], again)
        request = k[s.HEAD, rank]
        while request >= 0:
            restart(c, w, one, request, again)
            request = r[s.AFTER, request]
        k[s.LENGTH, rank], k[s.WAITING, rank] = 0, 0
        k[s.HEAD, rank], k[s.TAIL, rank] = -1, -1
        clear(c, b, rank, c.rules[kind, s.KV_BLOCKS], c.rules[kind, s.CACHE])
    request = g[s.COMING, one]
    while request >= 0:
        restart(c, w, one, request, again)
        request = r[s.AFTER, request]
    while g[s.QUEUED, one] > 0:  # steps under way are lost, and were paid for until now
        newest = (g[s.OLDEST, one] + g[s.QUEUED, one] - 1) % 2
        begun = time
        if g[s.QUEUED, one] == 2:
            begun = max(time, g[s.ENDS + g[s.OLDEST, one], one])
        g[s.BUSY, one] -= g[s.ENDS + newest, one] - begun
        g[s.QUEUED, one] -= 1
    g[s.COMING, one], g[s.COMING_TAIL, one] = -1, -1
    g[s.OUTSTANDING, one], g[s.OWED, one] = 0, 0
    rep[f.STATUS, one], rep[f.LOST_AT, one] = f.LOST, time
    rep[f.UP_AT, one] = max(until, again)
    rep[f.FAILURES, one] += 1


@kernel
def settle(c: Core, b: Blocks, a: Fleet, time: int) -> None:
    """Replicas that are due come up, are known to be down, or have served what they had to."""
    g, rep, settings = c.g, a.replica, a.settings
    for one in range(rep.shape[1]):
        status = rep[f.STATUS, one]
        if status == f.LOST and rep[f.LOST_AT, one] + settings[f.DETECTION] <= time:
            rep[f.STATUS, one] = status = f.DOWN
        if status in (f.STARTING, f.DOWN) and rep[f.UP_AT, one] <= time:
            rep[f.STATUS, one] = f.ON
            g[s.NOW, one] = max(g[s.NOW, one], rep[f.UP_AT, one])
        elif status == f.DRAINING and g[s.OUTSTANDING, one] == 0:
            rep[f.STATUS, one] = f.OFF
            rep[f.PAID, one] += time - rep[f.PAID_FROM, one]
            kind, first = g[s.KIND, one], g[s.FIRST_RANK, one]
            for rank in range(first, first + c.rules[kind, s.RANKS]):
                clear(c, b, rank, c.rules[kind, s.KV_BLOCKS], c.rules[kind, s.CACHE])


@kernel
def scale(c: Core, a: Fleet, time: int) -> None:
    """Order or stop replicas by the requests that are outstanding."""
    g, rep, settings = c.g, a.replica, a.settings
    serving, total = 0, 0
    for one in range(rep.shape[1]):
        serving += 1 if rep[f.STATUS, one] in (f.ON, f.STARTING, f.LOST) else 0
        total += g[s.OUTSTANDING, one]
    wanted = int(np.ceil(total / a.real[f.TARGET]))
    wanted = min(max(wanted, settings[f.LEAST]), rep.shape[1])
    if wanted >= serving:
        settings[f.LOW_SINCE] = time
    for one in range(rep.shape[1]):
        if serving >= wanted:
            break
        if rep[f.STATUS, one] == f.DRAINING:
            rep[f.STATUS, one] = f.ON
        elif rep[f.STATUS, one] == f.OFF:
            rep[f.STATUS, one], rep[f.UP_AT, one] = f.STARTING, time + settings[f.STARTUP]
            rep[f.PAID_FROM, one] = time
            rep[f.STARTS, one] += 1
        else:
            continue
        serving += 1
    if time - settings[f.LOW_SINCE] < settings[f.STABLE]:
        return
    for one in range(rep.shape[1] - 1, -1, -1):
        if serving <= wanted:
            break
        if rep[f.STATUS, one] == f.ON:
            rep[f.STATUS, one] = f.DRAINING
            serving -= 1
    settings[f.LOW_SINCE] = time


@kernel
def until_event(c: Core, b: Blocks, t: Costs, w: Record, a: Fleet, time: int) -> int:
    """Bring the replicas to a time, or to the first arrival that an end before it has caused."""
    count = c.g.shape[1]
    if a.settings[f.CAUSING] == 0:
        for one in range(count):
            advance(c, b, t, w, one, time)
        return time
    while True:
        first, second, who = time, time, -1
        for one in range(count):
            soon = next_time(c, one)
            if soon < first:
                first, second, who = soon, first, one
            elif soon < second:
                second = soon
        if w.counts[s.HEAP] > 0 and w.heap[0, 0] <= first and w.heap[0, 0] < time:
            return int(w.heap[0, 0])
        if who < 0:
            return time
        if w.counts[s.HEAP] > 0:
            second = min(second, w.heap[0, 0])
        advance(c, b, t, w, who, max(second, first + 1))


@kernel
def control(
    c: Core, b: Blocks, w: Record, a: Fleet, time: int, event: int, tick: int
) -> tuple[int, int]:
    """Failures and autoscaling due at a time; returns the next failure and the next tick."""
    settle(c, b, a, time)
    while event < a.failures.shape[1] and a.failures[0, event] <= time:
        fail(c, b, w, a, a.failures[1, event], time, a.failures[2, event])
        event += 1
    if tick <= time:
        scale(c, a, time)
        tick += a.settings[f.INTERVAL]
    return event, tick


@kernel
def unfinished(c: Core, w: Record) -> bool:
    """True while a request is on its way."""
    return bool(w.counts[s.HEAP] > 0 or c.g[s.OUTSTANDING].max() > 0)


@free_kernel
def run_cluster(c: Core, b: Blocks, t: Costs, w: Record, a: Fleet) -> None:
    """All requests through all replicas, in the order of time."""
    counts, heap, order = w.counts, w.heap, w.order
    begun = order.size if counts[s.NEXT] < 0 else counts[s.NEXT]
    place, event = 0, 0
    tick = a.settings[f.INTERVAL] if a.settings[f.SCALED] > 0 else s.NEVER
    stateless = a.settings[f.ROUTER] in (ROUND_ROBIN, RANDOM, AFFINITY)
    lazy = stateless and a.settings[f.CAUSING] == 0 and a.settings[f.MOST] == 0
    lazy = lazy and tick == s.NEVER and a.failures.shape[1] == 0
    while True:
        arrival = c.r[s.ARRIVAL, order[place]] if place < begun else s.NEVER
        time = arrival
        if counts[s.HEAP] > 0:
            time = min(time, heap[0, 0])
        controlled = s.NEVER
        if event < a.failures.shape[1]:
            controlled = a.failures[0, event]
        if tick < s.NEVER and (place < begun or unfinished(c, w)):
            controlled = min(controlled, tick)
        time = min(time, controlled, next_up(a))
        if not lazy:
            time = until_event(c, b, t, w, a, time)
        if time == s.NEVER:
            break
        if not lazy:
            event, tick = control(c, b, w, a, time, event, tick)
        if counts[s.HEAP] > 0 and heap[0, 0] <= time:
            route(c, b, t, w, a, pop(w), time)
        elif arrival <= time:
            request = order[place]
            place += 1
            route(c, b, t, w, a, request, time)
    for one in range(c.g.shape[1]):
        advance(c, b, t, w, one, s.NEVER)
    finish_samples(c, w)


@kernel
def finish_samples(c: Core, w: Record) -> None:
    """Samples up to the last token anywhere."""
    if w.samples.shape[0] <= 1:
        return
    every = w.counts[s.EVERY]
    last = -(-c.g[s.END].max() // every) * every
    for one in range(c.g.shape[1]):
        sample(c, w, one, last + 1, 0, 0, 0)
