"""Compiled cluster: routing, admission, autoscaling, failures; the engine is that of one replica.

docs/simulate.md has the rules. Names of places are in `state.py` here and of the engine.
"""

from __future__ import annotations

import numpy as np

from tapeout.serving.cluster import state as f
from tapeout.serving.cluster.state import Fleet
from tapeout.serving.compiling._kernels import free_kernel, kernel
from tapeout.serving.engine import state as s
from tapeout.serving.engine._kernels import (
    advance,
    arrive,
    end_batch,
    jump,
    may_jump,
    next_time,
    pass_time,
    refill,
    sample,
    tell,
)
from tapeout.serving.engine.costing._kernels import decode_attention, row_cost, shared_cost
from tapeout.serving.engine.heap._kernels import pop, push
from tapeout.serving.engine.pool._kernels import clear, hits
from tapeout.serving.engine.scheduling._kernels import PREEMPT, note, splitmix
from tapeout.serving.engine.state import Blocks, Core, Costs, Record

ROUND_ROBIN, RANDOM, LEAST, TWO, AFFINITY, PREFIX, SLO, COST = range(8)
REFUSED = -2  # rank of a request that was dropped


@kernel
def draw(seed: int, one: int, two: int) -> np.uint64:
    """64 even bits from three whole numbers."""
    x = np.uint64(seed) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(one)
    return splitmix(splitmix(x) ^ (np.uint64(two) * np.uint64(0xBF58476D1CE4E5B9)))


@kernel
def see(c: Core, a: Fleet, one: int) -> None:
    """Let the router see a replica as it is now."""
    g, k, rep = c.g, c.k, a.replica
    rep[f.KNOWN, one], rep[f.SINCE_SENT, one] = g[s.OUTSTANDING, one], 0
    if a.settings[f.ROUTER] not in (SLO, COST):
        return
    keys, first = 0, g[s.FIRST_RANK, one]
    for rank in range(first, first + c.rules[g[s.KIND, one], s.RANKS]):
        keys += k[s.S_KEYS, rank]
    rep[f.SEEN_KEYS, one], rep[f.SEEN_OWED, one] = keys, g[s.OWED, one]
    rep[f.SEEN_END, one] = 0
    if g[s.QUEUED, one] > 0:
        newest = (g[s.OLDEST, one] + g[s.QUEUED, one] - 1) % 2
        rep[f.SEEN_END, one] = g[s.ENDS + newest, one]


@kernel
def look(c: Core, a: Fleet, time: int) -> None:
    """Let the router see the replicas, if it is time to; of a lost one it hears nothing."""
    settings, rep = a.settings, a.replica
    age = settings[f.AGE]
    if age > 0:
        if time // age <= settings[f.SEEN_BEAT]:
            return
        settings[f.SEEN_BEAT] = time // age
    for one in range(rep.shape[1]):
        if rep[f.STATUS, one] != f.LOST:
            see(c, a, one)


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

    The prompt waits for the steps that are queued and for the prompt tokens before it, computed at
    the rate of full steps; then it decodes beside all that were sent there.
    """
    rep, kind = a.replica, c.g[s.KIND, one]
    ranks, cap = c.rules[kind, s.RANKS], c.rules[kind, s.CAP]
    known = rep[f.KNOWN, one] + rep[f.SINCE_SENT, one]
    beside = min(known // ranks + 1, cap)
    keys = max(rep[f.SEEN_KEYS, one] // ranks, beside * c.r[s.PROMPT, request])
    step, _ = row_cost(t, kind, beside, beside)
    attention, _ = decode_attention(t, kind, beside, keys)
    shared, _ = shared_cost(t, kind, beside * ranks)
    tpot = float(step + attention + shared)
    queued = max(float(rep[f.SEEN_END, one] - time), 0.0)
    owed = float(rep[f.SEEN_OWED, one]) / ranks + c.r[s.PROMPT, request]
    waiting = float(known) * tpot if known // ranks >= cap else 0.0
    return queued + waiting + owed * a.kind[f.PREFILL_PS, kind] + tpot, tpot


@kernel
def by_prediction(c: Core, t: Costs, a: Fleet, request: int, time: int, cost: int) -> int:
    """Least loaded (or cheapest) replica that is predicted to meet the limits."""
    best, price, least, soonest, early = -1, np.inf, np.inf, -1, np.inf
    for one in range(a.replica.shape[1]):
        if not open_to(a, one):
            continue
        ttft, tpot = predicted(c, t, a, one, request, time)
        if ttft < early:
            soonest, early = one, ttft
        if ttft > a.real[f.TTFT_PS] or tpot > a.real[f.TPOT_PS]:
            continue
        load = load_of(c, a, one)
        usd = a.kind[f.USD_PER_TOKEN, c.g[s.KIND, one]] if cost > 0 else 0.0
        if usd < price or (usd == price and load < least):
            best, price, least = one, usd, load
    return best if best >= 0 else soonest


@kernel
def cached_blocks(c: Core, b: Blocks, one: int, request: int, most: int) -> int:
    """Leading blocks in the cache of a replica: the mean of its ranks, which are chosen by load."""
    first, ranks = c.g[s.FIRST_RANK, one], c.rules[c.g[s.KIND, one], s.RANKS]
    found = 0
    for rank in range(first, first + ranks):
        own, _ = hits(c, b, rank, request, most)
        found += own
    return int(found // ranks)


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
            found = 0
            if c.rules[kind, s.CACHE] > 0:
                found = cached_blocks(c, b, one, request, (c.r[s.PROMPT, request] - 1) // size)
            score = a.real[f.LOAD_TOKENS] * score - float(found * size)
        if score < least:
            best, least = one, score
    return best


@kernel
def by_chance(c: Core, a: Fleet, request: int, two: int) -> int:
    """A random replica, or the less loaded of two, the one drawn first of equal ones."""
    rep, seed = a.replica, a.settings[f.RANDOM_SEED]
    count = 0
    for one in range(rep.shape[1]):
        count += 1 if open_to(a, one) else 0
    if count == 0:
        return -1
    turn = 2 * c.r[s.TRIES, request]  # another draw for each try
    pick = np.int64(draw(seed, request, turn) % np.uint64(count))  # signed: it is compared
    first = nth_open(a, int(pick))
    if two == 0 or count == 1:
        return first
    other = np.int64(draw(seed, request, turn + 1) % np.uint64(count - 1))
    second = nth_open(a, int(other) + (1 if other >= pick else 0))
    return second if load_of(c, a, second) < load_of(c, a, first) else first


@kernel
def nth_open(a: Fleet, place: int) -> int:
    """Replica at a place among those that requests are sent to."""
    for one in range(a.replica.shape[1]):
        if open_to(a, one):
            if place == 0:
                return one
            place -= 1
    return -1


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
    one = choose(c, b, t, a, request, time)
    most = settings[f.MOST]
    if one < 0 and most == 0:
        keep(c, a, request)
        return
    r[s.TRIES, request] += 1
    if one < 0 or (most > 0 and c.g[s.OUTSTANDING, one] >= most):
        refuse(c, w, a, request, time)
        return
    r[s.REFUSALS, request] = 0
    rep[f.SINCE_SENT, one] += 1
    rep[f.SEEN_OWED, one] += r[s.PROMPT, request]
    if rep[f.STATUS, one] == f.LOST:  # nobody knows yet; it is sent again when they do
        push(w, rep[f.LOST_AT, one] + settings[f.DETECTION], request)
        return
    advance(c, b, t, w, one, time)
    arrive(c, one, request, time)


@kernel
def refuse(c: Core, w: Record, a: Fleet, request: int, time: int) -> None:
    """Have a request come again after twice the wait before, or drop it."""
    r, settings = c.r, a.settings
    r[s.REFUSALS, request] += 1
    refused = r[s.REFUSALS, request]
    if refused <= settings[f.RETRIES]:
        push(w, time + settings[f.BACKOFF] * (1 << (refused - 1)), request)
        return
    for place in (s.SCHEDULED, s.FIRST):  # what a failure had left of it
        r[place, request] = -1
    r[s.RANK, request] = REFUSED
    tell(c, w, request, time)


@kernel
def keep(c: Core, a: Fleet, request: int) -> None:
    """Nothing is up: the router keeps a request until something is, first come first served."""
    r, settings = c.r, a.settings
    r[s.AFTER, request] = -1
    if settings[f.KEPT] < 0:
        settings[f.KEPT] = request
    else:
        r[s.AFTER, settings[f.KEPT_LAST]] = request
    settings[f.KEPT_LAST] = request


@kernel
def send_kept(c: Core, w: Record, a: Fleet, time: int) -> None:
    """A replica is up: what was kept is sent."""
    settings = a.settings
    while settings[f.KEPT] >= 0:
        request = settings[f.KEPT]
        settings[f.KEPT] = c.r[s.AFTER, request]
        push(w, time, request)


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
    r[s.GIVEN_MOST, request] = max(r[s.GIVEN_MOST, request], r[s.GIVEN, request])
    for place in (s.COMPUTED, s.MADE, s.HELD, s.GIVEN):
        r[place, request] = 0
    push(w, again, request)


@kernel
def fail(c: Core, b: Blocks, w: Record, a: Fleet, one: int, time: int, until: int) -> None:
    """A replica stops at once; what it had is sent again when the failure is noticed."""
    g, rep = c.g, a.replica
    status, again = rep[f.STATUS, one], time + a.settings[f.DETECTION]
    rep[f.BARRED, one] = max(rep[f.BARRED, one], until)
    if status in (f.STARTING, f.LOST, f.DOWN):
        rep[f.UP_AT, one] = max(rep[f.UP_AT, one], until)
    if status not in (f.ON, f.DRAINING):
        return
    if a.settings[f.AGE] == 0:  # the router goes by what it heard last
        see(c, a, one)
    pass_time(c, w, one, time)
    lose(c, b, w, one, again)
    while g[s.QUEUED, one] > 0:  # steps under way are lost, and were paid for until now
        newest = (g[s.OLDEST, one] + g[s.QUEUED, one] - 1) % 2
        begun = time
        if g[s.QUEUED, one] == 2:
            begun = max(time, g[s.ENDS + g[s.OLDEST, one], one])
        g[s.BUSY, one] -= g[s.ENDS + newest, one] - begun
        g[s.QUEUED, one] -= 1
    g[s.COMING, one], g[s.COMING_TAIL, one] = -1, -1
    g[s.OUTSTANDING, one], g[s.OWED, one] = 0, 0
    rep[f.FAILURES, one] += 1
    rep[f.STATUS, one], rep[f.LOST_AT, one] = f.LOST, time
    rep[f.UP_AT, one] = max(until, again)
    if status == f.DRAINING:  # it was to stop anyway
        stop(a, one, time)


@kernel
def lose(c: Core, b: Blocks, w: Record, one: int, again: int) -> None:
    """Requests and cache of a replica are gone."""
    r, k, g = c.r, c.k, c.g
    kind, first = g[s.KIND, one], g[s.FIRST_RANK, one]
    for rank in range(first, first + c.rules[kind, s.RANKS]):
        for place in range(k[s.LENGTH, rank]):
            request = c.running[rank, place]
            r[s.SINCE, request] = g[s.NOW, one]  # those that waited have waited since before
            note(w, PREEMPT, g[s.NOW, one], request, r[s.COMPUTED, request])
            restart(c, w, one, request, again)
        request = k[s.HEAD, rank]
        while request >= 0:
            restart(c, w, one, request, again)
            request = r[s.AFTER, request]
        for field in (s.LENGTH, s.WAITING, s.SEEN, s.SENT_HERE, s.S_KEYS):
            k[field, rank] = 0
        k[s.HEAD, rank], k[s.TAIL, rank] = -1, -1
        clear(c, b, rank, c.rules[kind, s.KV_BLOCKS], c.rules[kind, s.CACHE])
    request = g[s.COMING, one]
    while request >= 0:
        restart(c, w, one, request, again)
        request = r[s.AFTER, request]


@kernel
def stop(a: Fleet, one: int, time: int) -> None:
    """A replica is given back."""
    rep = a.replica
    rep[f.STATUS, one] = f.OFF
    rep[f.PAID, one] += time - rep[f.PAID_FROM, one]


@kernel
def settle(c: Core, b: Blocks, w: Record, a: Fleet, time: int) -> None:
    """Replicas that are due come up, are known to be down, or have served what they had to."""
    g, rep, settings = c.g, a.replica, a.settings
    for one in range(rep.shape[1]):
        status = rep[f.STATUS, one]
        if status == f.LOST and rep[f.LOST_AT, one] + settings[f.DETECTION] <= time:
            rep[f.STATUS, one] = status = f.DOWN
        if status in (f.STARTING, f.DOWN) and rep[f.UP_AT, one] <= time:
            rep[f.STATUS, one] = f.ON
            see(c, a, one)
            send_kept(c, w, a, time)
        elif status == f.DRAINING and g[s.OUTSTANDING, one] == 0:
            stop(a, one, max(g[s.END, one], rep[f.UP_AT, one]))
            kind, first = g[s.KIND, one], g[s.FIRST_RANK, one]
            for rank in range(first, first + c.rules[kind, s.RANKS]):
                clear(c, b, rank, c.rules[kind, s.KV_BLOCKS], c.rules[kind, s.CACHE])


@kernel
def scale(c: Core, a: Fleet, time: int) -> None:
    """Order or stop replicas by the requests that are outstanding."""
    rep, settings = a.replica, a.settings
    serving, total = 0, 0
    for one in range(rep.shape[1]):
        serving += 1 if rep[f.STATUS, one] in (f.ON, f.STARTING, f.LOST) else 0
        total += c.g[s.OUTSTANDING, one]
    request = settings[f.KEPT]
    while request >= 0:
        total += 1
        request = c.r[s.AFTER, request]
    wanted = int(np.ceil(total / a.real[f.TARGET]))
    wanted = min(max(wanted, settings[f.LEAST]), rep.shape[1])
    settings[f.SUFFICED] = max(settings[f.SUFFICED], wanted)
    if wanted >= serving:
        settings[f.LOW_SINCE], settings[f.SUFFICED] = time, 0
        order(a, wanted - serving, time)
    elif time - settings[f.LOW_SINCE] >= settings[f.STABLE]:
        drain(a, serving - settings[f.SUFFICED], time)
        settings[f.LOW_SINCE], settings[f.SUFFICED] = time, 0


@kernel
def order(a: Fleet, more: int, time: int) -> None:
    """Keep so many more replicas that were to stop, and start others."""
    rep = a.replica
    for one in range(rep.shape[1]):
        if more > 0 and rep[f.STATUS, one] == f.DRAINING:
            rep[f.STATUS, one] = f.ON
            more -= 1
    for one in range(rep.shape[1]):
        if more > 0 and rep[f.STATUS, one] == f.OFF and rep[f.BARRED, one] <= time:
            rep[f.STATUS, one], rep[f.UP_AT, one] = f.STARTING, time + a.settings[f.STARTUP]
            rep[f.PAID_FROM, one] = time
            rep[f.STARTS, one] += 1
            more -= 1


@kernel
def drain(a: Fleet, fewer: int, time: int) -> None:
    """Stop so many replicas, the last ones first; those that do not serve at once.

    A replica that failed unnoticed is stopped in its turn, but it does not stand in for one that
    works: the least number stays.
    """
    rep, working = a.replica, 0
    for one in range(rep.shape[1]):
        working += 1 if rep[f.STATUS, one] == f.ON else 0
    for one in range(rep.shape[1] - 1, -1, -1):
        if fewer > 0 and rep[f.STATUS, one] in (f.STARTING, f.LOST):
            stop(a, one, time)
            fewer -= 1
        elif fewer > 0 and rep[f.STATUS, one] == f.ON and working > a.settings[f.LEAST]:
            rep[f.STATUS, one], rep[f.UP_AT, one] = f.DRAINING, time
            fewer -= 1
            working -= 1


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
        if w.counts[s.HEAP] > 0:
            if w.heap[0, 0] <= first and w.heap[0, 0] < time:
                return int(w.heap[0, 0])
            second = min(second, w.heap[0, 0])
        if who < 0:
            return time
        follow(c, b, t, w, a, who, max(second, first + 1))


@kernel
def follow(c: Core, b: Blocks, t: Costs, w: Record, a: Fleet, one: int, until: int) -> None:
    """Run a replica through its decisions before a time, or to the first that sends something.

    What an end causes at once is sent between the end and the decision that follows it.
    """
    counts, heap = w.counts, w.heap
    while True:
        time = next_time(c, one)
        if time >= until:
            return
        end_batch(c, b, w, one, time)
        sent = False
        while counts[s.HEAP] > 0 and heap[0, 0] <= time:
            sent = True
            route(c, b, t, w, a, pop(w), time)
        refill(c, b, t, w, one, time)
        if sent or (counts[s.HEAP] > 0 and heap[0, 0] < until):
            return
        if may_jump(c, one):
            jump(c, b, t, w, one, until)


@kernel
def control(
    c: Core, b: Blocks, w: Record, a: Fleet, time: int, event: int, tick: int
) -> tuple[int, int]:
    """Failures and autoscaling due at a time; returns the next failure and the next tick."""
    settle(c, b, w, a, time)
    while event < a.failures.shape[1] and a.failures[0, event] <= time:
        fail(c, b, w, a, a.failures[1, event], time, a.failures[2, event])
        event += 1
    if tick <= time:
        scale(c, a, time)
        tick += a.settings[f.INTERVAL]
    return event, tick


@kernel
def unfinished(c: Core, w: Record, a: Fleet) -> bool:
    """True while a request is on its way, and one that is kept can hope for a replica."""
    if w.counts[s.HEAP] > 0 or c.g[s.OUTSTANDING].max() > 0:
        return True
    if a.settings[f.KEPT] < 0:
        return False
    hope = next_up(a) < s.NEVER
    for one in range(a.replica.shape[1]):
        off = a.replica[f.STATUS, one] in (f.OFF, f.DRAINING)
        if off and a.settings[f.SCALED] > 0 and a.replica[f.BARRED, one] < s.NEVER:
            hope = True
    return bool(hope)


@kernel
def is_lazy(a: Fleet) -> bool:
    """True where a replica's past is enough to choose one, so that none needs to keep pace."""
    settings = a.settings
    stateless = settings[f.ROUTER] in (ROUND_ROBIN, RANDOM, AFFINITY)
    free = settings[f.CAUSING] == 0 and settings[f.MOST] == 0 and settings[f.SCALED] == 0
    return bool(stateless and free and a.failures.shape[1] == 0)


@free_kernel
def run_cluster(c: Core, b: Blocks, t: Costs, w: Record, a: Fleet) -> None:
    """All requests through all replicas, in the order of time."""
    counts, heap, line = w.counts, w.heap, w.order
    begun = line.size if counts[s.NEXT] < 0 else counts[s.NEXT]
    place, event, lazy = 0, 0, is_lazy(a)
    tick = a.settings[f.INTERVAL] if a.settings[f.SCALED] > 0 else s.NEVER
    while True:
        arrival = c.r[s.ARRIVAL, line[place]] if place < begun else s.NEVER
        if lazy:
            if arrival == s.NEVER:
                break
            route(c, b, t, w, a, line[place], arrival)
            place += 1
            continue
        time = min(arrival, heap[0, 0]) if counts[s.HEAP] > 0 else arrival
        if place < begun or unfinished(c, w, a):
            time = min(time, tick)
            if event < a.failures.shape[1]:
                time = min(time, a.failures[0, event])
            time = min(time, next_up(a))
        time = until_event(c, b, t, w, a, time)
        if time == s.NEVER or (place >= begun and not unfinished(c, w, a)):
            break
        event, tick = control(c, b, w, a, time, event, tick)
        if counts[s.HEAP] > 0 and heap[0, 0] <= time:
            route(c, b, t, w, a, pop(w), time)
        elif arrival <= time:
            place += 1
            route(c, b, t, w, a, line[place - 1], time)
    for one in range(c.g.shape[1]):
        advance(c, b, t, w, one, s.NEVER)
    settle(c, b, w, a, c.g[s.END].max())
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
