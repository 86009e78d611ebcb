"""Compiled decision of one rank: who gets tokens in the next step, and who has to give way.

Written from docs/simulate.md; `reference.py` is the same rule book in plain Python. Names of
places in the arrays are in `state.py`.
"""

from __future__ import annotations

import numpy as np

from tapeout.serving.compiling._kernels import inlined, kernel
from tapeout.serving.engine import state as s
from tapeout.serving.engine.pool._kernels import (
    hits,
    open_slot,
    register,
    release,
    take,
    take_hits,
)
from tapeout.serving.engine.state import F64, Blocks, Core, Record

ADMIT, PREEMPT = 0, 1  # kinds of events
DECODE_FIRST, PREFILL_ALONE, STATIC = 1, 2, 3  # orders other than LIST
PROMPT, WHOLE = 1, 2  # allocations other than LAZY
SGLANG = 4
CLIP, BILLION = 4096, 1_000_000_000  # as in schedule.py, which says whose they are
RETRACT_STEPS, LEAST_PERCENT, DECAY_STEPS = 20, 14, 600
ANY, ONE_LEFT, MORE_LEFT = range(3)  # which of the running a pass serves


@kernel
def note(w: Record, kind: int, time: int, request: int, value: int) -> None:
    """Write an event to the log; past its end only count it."""
    counts, log = w.counts, w.log
    at = counts[s.LOGGED]
    counts[s.LOGGED] += 1
    if at < log.shape[1]:
        log[0, at], log[1, at], log[2, at], log[3, at] = kind, time, request, value


@kernel
def splitmix(x: np.uint64) -> np.uint64:
    """Finaliser of splitmix64: 64 even bits from a counter."""
    z = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@kernel
def accepted(chance: F64, kind: int, drafts: int, seed: int, request: int, made: int) -> int:
    """Drafts in a row that are accepted; the same for a request and token in every run."""
    step = np.uint64(0x9E3779B97F4A7C15)
    x = np.uint64(seed) * step + np.uint64(request) * np.uint64(0xBF58476D1CE4E5B9)
    x += np.uint64(made)
    count = 0
    while count < drafts:
        x += step
        even = np.float64(splitmix(x) >> np.uint64(11)) * 2.0**-53
        if even >= chance[kind, count]:
            break
        count += 1
    return count


@kernel
def preempt(c: Core, b: Blocks, w: Record, replica: int, rank: int, place: int) -> None:
    """Throw a running request out; it waits first in line and computes all again."""
    rules, r, k, queue, g = c.rules, c.r, c.k, c.running, c.g
    kind, now = g[s.KIND, replica], g[s.NOW, replica]
    victim = queue[rank, place]
    for at in range(place, k[s.LENGTH, rank] - 1):
        queue[rank, at] = queue[rank, at + 1]
    k[s.LENGTH, rank] -= 1
    release(c, b, rank, victim, rules[kind, s.CACHE])
    lost = r[s.COMPUTED, victim]
    note(w, PREEMPT, now, victim, lost)
    g[s.OWED, replica] += r[s.PROMPT, victim] + r[s.MADE, victim]
    g[s.PREEMPTED, replica] += 1
    g[s.DISCARDED, replica] += lost
    k[s.STALL, rank] = max(k[s.STALL, rank], r[s.STORING, victim])
    r[s.COMPUTED, victim] = 0
    r[s.PREEMPTS, victim] += 1
    r[s.SINCE, victim] = now
    r[s.AFTER, victim] = k[s.HEAD, rank]
    if k[s.HEAD, rank] < 0:
        k[s.TAIL, rank] = victim
    k[s.HEAD, rank] = victim
    k[s.WAITING, rank] += 1


@inlined
def count_in(c: Core, rank: int, which: int, at: int, sign: int) -> None:
    """Add an entry of the batch to the sums that its cost depends on, or take it away."""
    k, e = c.k, c.e
    own, before = e[s.E_TOKENS, rank, which, at], e[s.E_BEFORE, rank, which, at]
    decoding = e[s.E_FLAGS, rank, which, at] & s.DECODING
    tokens = sign * own
    k[s.S_TOKENS, rank] += tokens
    if decoding:
        k[s.S_SEQUENCES, rank] += sign
        k[s.S_KEYS, rank] += tokens + sign * before
    else:
        k[s.S_PROMPT, rank] += tokens
        k[s.S_PAIRS, rank] += tokens * (2 * before + own + 1)
    if e[s.E_EMITTED, rank, which, at] > 0:
        k[s.S_SAMPLED, rank] += tokens if decoding else sign


@kernel
def enter(
    c: Core, w: Record, replica: int, rank: int, which: int, request: int, tokens: int
) -> None:
    """Give a request a place in the batch; its tokens count as computed from now on."""
    rules, r, k, e, g = c.rules, c.r, c.k, c.e, c.g
    before, made, left = r[s.COMPUTED, request], r[s.MADE, request], 0
    known = r[s.PROMPT, request] + made
    decoding = made > 0 and before == known - 1
    flags, emitted = (s.DECODING if decoding else 0), 0
    if before + tokens >= known:
        emitted = 1
        if decoding and tokens > 1:
            kind = g[s.KIND, replica]
            seed = rules[kind, s.SEED]
            took = accepted(w.chance, kind, tokens - 1, seed, request, made)
            emitted += took
            left = tokens - 1 - took
        flags |= s.FIRST_TOKEN if made == 0 else 0
        flags |= s.LAST_TOKEN if made + emitted == r[s.OUTPUT, request] else 0
    r[s.COMPUTED, request] = before + tokens - left
    r[s.MADE, request] = made + emitted
    g[s.DONE_TOKENS, replica] += tokens - left
    at = k[s.COUNT + which, rank]
    e[s.E_REQUEST, rank, which, at], e[s.E_TOKENS, rank, which, at] = request, tokens
    e[s.E_BEFORE, rank, which, at], e[s.E_EMITTED, rank, which, at] = before, emitted
    e[s.E_FLAGS, rank, which, at] = flags
    k[s.COUNT + which, rank] = at + 1
    count_in(c, rank, which, at, 1)
    if flags != s.DECODING:
        k[s.S_PLAIN, rank] = 0
    gone = r[s.OUTPUT, request] - made - emitted
    k[s.S_LEAST_LEFT, rank] = min(k[s.S_LEAST_LEFT, rank], gone)


@kernel
def withdraw(c: Core, replica: int, rank: int, which: int, request: int) -> int:
    """Take a request's place in the batch away again; returns its tokens."""
    r, k, e, g = c.r, c.k, c.e, c.g
    size = k[s.COUNT + which, rank]
    for at in range(size):
        if e[s.E_REQUEST, rank, which, at] != request:
            continue
        count_in(c, rank, which, at, -1)
        tokens, before = e[s.E_TOKENS, rank, which, at], e[s.E_BEFORE, rank, which, at]
        g[s.DONE_TOKENS, replica] -= r[s.COMPUTED, request] - before
        r[s.COMPUTED, request] = before
        r[s.MADE, request] -= e[s.E_EMITTED, rank, which, at]
        for after in range(at, size - 1):
            for field in range(s.ENTRY_FIELDS):
                e[field, rank, which, after] = e[field, rank, which, after + 1]
        k[s.COUNT + which, rank] = size - 1
        return int(tokens)
    return 0


@inlined
def serve_decodes(
    c: Core, b: Blocks, replica: int, rank: int, which: int, budget: int
) -> tuple[int, int]:
    """Serve the leading sequences that decode, while blocks last; what `enter` does, in one loop.

    Returns the place of the first that is not served here, and the budget left.
    """
    rules, r, k, g = c.rules, c.r, c.k, c.g
    kind = g[s.KIND, replica]
    cached, size = rules[kind, s.CACHE], rules[kind, s.BLOCK]
    # rows, since an index into one costs a third of an index into the whole
    line, prompt, output = c.running[rank], r[s.PROMPT], r[s.OUTPUT]
    computed, made, held = r[s.COMPUTED], r[s.MADE], r[s.HELD]
    requests, tokens = c.e[s.E_REQUEST, rank, which], c.e[s.E_TOKENS, rank, which]
    befores, emitted = c.e[s.E_BEFORE, rank, which], c.e[s.E_EMITTED, rank, which]
    flags = c.e[s.E_FLAGS, rank, which]
    at, keys, least, plain = k[s.COUNT + which, rank], 0, s.NEVER, 1
    free = k[s.FREE, rank]
    place, most = 0, at + budget
    while place < k[s.LENGTH, rank] and at < most:
        one = line[place]
        before, left = computed[one], output[one] - made[one] - 1
        if left < 0:  # its last token is on the way
            place += 1
            continue
        if made[one] == 0 or before != prompt[one] + made[one] - 1:
            break
        if before == held[one] * size:
            if free == 0:
                break
            free -= 1
            if cached > 0:
                take(c, b, rank, one, held[one] + 1, 1)
            else:
                held[one] += 1
        made[one] += 1
        computed[one] = before + 1
        requests[at], tokens[at], befores[at], emitted[at] = one, 1, before, 1
        flags[at] = s.DECODING
        if left == 0:
            flags[at], plain = s.DECODING | s.LAST_TOKEN, 0
        if cached > 0 and (before + 1) % size == 0:
            register(c, b, rank, one, before // size, before // size + 1)
        keys += before + 1
        least = min(least, left)
        at += 1
        place += 1
    k[s.FREE, rank] = free
    served = at - k[s.COUNT + which, rank]
    k[s.COUNT + which, rank] = at
    k[s.S_TOKENS, rank] += served
    k[s.S_SEQUENCES, rank] += served
    k[s.S_SAMPLED, rank] += served
    k[s.S_KEYS, rank] += keys
    k[s.S_PLAIN, rank] = min(k[s.S_PLAIN, rank], plain)
    k[s.S_LEAST_LEFT, rank] = min(k[s.S_LEAST_LEFT, rank], least)
    g[s.DONE_TOKENS, replica] += served
    return place, budget - served


@kernel
def serve_running(
    c: Core, b: Blocks, w: Record, replica: int, rank: int, which: int, budget: int, part: int
) -> tuple[int, bool]:
    """Give running requests their tokens; returns the budget left and whether one was preempted."""
    rules, r, k, queue, g = c.rules, c.r, c.k, c.running, c.g
    kind = g[s.KIND, replica]
    cached, size = rules[kind, s.CACHE], rules[kind, s.BLOCK]
    drafts, longest = rules[kind, s.DRAFTS], rules[kind, s.LONGEST]
    lost, place = False, 0
    if part == ANY and drafts == 0:
        place, budget = serve_decodes(c, b, replica, rank, which, budget)
    while place < k[s.LENGTH, rank] and budget > 0:
        one = queue[rank, place]
        made, before = r[s.MADE, one], r[s.COMPUTED, one]
        tokens = r[s.PROMPT, one] + made - before if made < r[s.OUTPUT, one] else 0
        if tokens == 0 or (part == ONE_LEFT and tokens != 1) or (part == MORE_LEFT and tokens == 1):
            place += 1
            continue
        if tokens == 1 and made > 0 and drafts > 0:
            tokens += min(drafts, r[s.OUTPUT, one] - made - 1)
        elif longest > 0:
            tokens = min(tokens, longest)
        tokens = min(tokens, budget)
        upto = (before + tokens + size - 1) // size
        while upto - r[s.HELD, one] > k[s.FREE, rank]:
            last = k[s.LENGTH, rank] - 1
            victim = queue[rank, last]
            while r[s.MADE, victim] >= r[s.OUTPUT, victim]:  # its last token is on the way
                last -= 1
                victim = queue[rank, last]
            if part == MORE_LEFT:
                budget += withdraw(c, replica, rank, which, victim)
            preempt(c, b, w, replica, rank, last)
            lost = True
            if victim == one:
                return budget, True
        take(c, b, rank, one, upto, cached)
        enter(c, w, replica, rank, which, one, tokens)
        if cached > 0:
            register(c, b, rank, one, before // size, r[s.COMPUTED, one] // size)
        budget -= tokens
        place += 1
    return budget, lost


@kernel
def blocks_asked(c: Core, kind: int, request: int, tokens: int) -> tuple[int, int]:
    """Blocks that a request takes at admission, and those that must be there for it.

    `tokens` are those computed after its first step.
    """
    rules, r = c.rules, c.r
    size, allocate = rules[kind, s.BLOCK], rules[kind, s.ALLOCATE]
    known = r[s.PROMPT, request] + r[s.MADE, request]
    upto = (tokens + size - 1) // size
    if allocate == PROMPT:
        upto = (known + size - 1) // size
    elif allocate == WHOLE:
        upto = (r[s.PROMPT, request] + r[s.OUTPUT, request] + size - 2) // size
    asked = upto
    if rules[kind, s.RESERVE] > 0:
        asked = max(asked, (known + size - 1) // size)
    return upto, asked


@kernel
def admit(c: Core, b: Blocks, w: Record, replica: int, rank: int, start: int, found: int) -> None:
    """Move the first of the waiting to the end of the running."""
    rules, r, k, queue, g = c.rules, c.r, c.k, c.running, c.g
    kind, now, one = g[s.KIND, replica], g[s.NOW, replica], k[s.HEAD, rank]
    k[s.HEAD, rank] = r[s.AFTER, one]
    if k[s.HEAD, rank] < 0:
        k[s.TAIL, rank] = -1
    k[s.WAITING, rank] -= 1
    if rules[kind, s.CACHE] > 0:
        open_slot(c, b, rank, one)
        take_hits(c, b, rank, one, found)
    r[s.COMPUTED, one] = start
    queue[rank, k[s.LENGTH, rank]] = one
    k[s.LENGTH, rank] += 1
    if r[s.SCHEDULED, one] < 0:
        r[s.SCHEDULED, one], r[s.HIT, one] = now, start
    else:
        r[s.WAITED, one] += now - r[s.SINCE, one]
    note(w, ADMIT, now, one, start)
    g[s.ADMITTED, replica] += 1
    g[s.HITS, replica] += start
    g[s.OWED, replica] -= r[s.PROMPT, one] + r[s.MADE, one]


@kernel
def serve_waiting(
    c: Core, b: Blocks, w: Record, replica: int, rank: int, which: int, budget: int
) -> int:
    """Admit waiting requests, first come first served, until the first that does not fit."""
    rules, r, k, g = c.rules, c.r, c.k, c.g
    kind = g[s.KIND, replica]
    cached, size = rules[kind, s.CACHE], rules[kind, s.BLOCK]
    while k[s.HEAD, rank] >= 0 and budget > 0 and k[s.LENGTH, rank] < rules[kind, s.CAP]:
        one = k[s.HEAD, rank]
        known = r[s.PROMPT, one] + r[s.MADE, one]
        found, idle = 0, 0
        if cached > 0:
            found, idle = hits(c, b, rank, one, (known - 1) // size)
        start = found * size
        if r[s.SCHEDULED, one] < 0:
            start = max(start, r[s.LOADED, one])
        tokens = known - start
        if rules[kind, s.LONGEST] > 0:
            tokens = min(tokens, rules[kind, s.LONGEST])
        if rules[kind, s.CHUNKED] == 0 and tokens > budget:
            break
        tokens = min(tokens, budget)
        upto, asked = blocks_asked(c, kind, one, start + tokens)
        spare = rules[kind, s.WATERMARK] if k[s.LENGTH, rank] > 0 else 0
        if asked - found + idle + spare > k[s.FREE, rank]:
            break
        admit(c, b, w, replica, rank, start, found)
        take(c, b, rank, one, upto, cached)
        enter(c, w, replica, rank, which, one, tokens)
        if cached > 0:
            register(c, b, rank, one, found, r[s.COMPUTED, one] // size)
        budget -= tokens
    return budget


@inlined
def sglang_share(c: Core, kind: int, rank: int) -> int:
    """Billionths of the outputs to come that admissions leave free."""
    if c.k[s.SHARE, rank] == 0:
        c.k[s.SHARE, rank] = c.rules[kind, s.RESERVED]
    return int(c.k[s.SHARE, rank])


@inlined
def sglang_decayed(share: int, first: int, steps: int) -> int:
    """Share after so many decode steps without retraction."""
    least = first * LEAST_PERCENT // 100
    return max(share - (first - least) // DECAY_STEPS * steps, least)


@inlined
def sglang_decodes(c: Core, one: int) -> bool:
    """True for a running request that has its prompt and needs a step for its next token."""
    r = c.r
    made = r[s.MADE, one]
    return bool(0 < made < r[s.OUTPUT, one] and r[s.COMPUTED, one] == r[s.PROMPT, one] + made - 1)


@kernel
def sglang_prefill(c: Core, b: Blocks, w: Record, replica: int, rank: int, which: int) -> None:
    """Go on with the prompt that was cut, then admit while room for outputs is left."""
    rules, r, k, queue, g = c.rules, c.r, c.k, c.running, c.g
    kind = g[s.KIND, replica]
    cached, size, budget = rules[kind, s.CACHE], rules[kind, s.BLOCK], rules[kind, s.BUDGET]
    share, coming, cut, whole = sglang_share(c, kind, rank), 0, -1, k[s.LENGTH, rank]
    if whole > 0:  # nobody is admitted beside a prompt that was cut, so it is the last
        one = queue[rank, whole - 1]
        if r[s.MADE, one] == 0 or r[s.COMPUTED, one] < r[s.PROMPT, one] + r[s.MADE, one] - 1:
            cut, whole = one, whole - 1
    if cut < 0 and (k[s.HEAD, rank] < 0 or k[s.FULL_AT, rank] > 0):
        return
    for place in range(whole):
        one = queue[rank, place]
        coming += min(r[s.OUTPUT, one] - r[s.MADE, one], CLIP)
    kept = -(-coming * share // BILLION)
    if cut >= 0:
        k[s.FULL_AT, rank] = 0
        before = r[s.COMPUTED, cut]
        left = r[s.PROMPT, cut] + r[s.MADE, cut] - before
        room = (r[s.HELD, cut] + k[s.FREE, rank]) * size - before - kept
        tokens = min(left, budget, room)
        if tokens > 0:
            take(c, b, rank, cut, (before + tokens + size - 1) // size, cached)
            enter(c, w, replica, rank, which, cut, tokens)
            if cached > 0:
                register(c, b, rank, cut, before // size, r[s.COMPUTED, cut] // size)
            budget -= (tokens + size - 1) // size * size
            if tokens == left:
                kept += min(r[s.OUTPUT, cut], CLIP)
        if tokens < left:
            return
    while k[s.HEAD, rank] >= 0 and k[s.FULL_AT, rank] == 0 and budget > 0:
        if k[s.LENGTH, rank] >= rules[kind, s.CAP]:
            k[s.FULL_AT, rank] = k[s.LENGTH, rank]
            return
        one = k[s.HEAD, rank]
        known, found, idle = r[s.PROMPT, one] + r[s.MADE, one], 0, 0
        if cached > 0:
            found, idle = hits(c, b, rank, one, (known - 1) // size)
        start = found * size
        if r[s.SCHEDULED, one] < 0:
            start = max(start, r[s.LOADED, one])
        tokens = known - start
        free = k[s.FREE, rank] - idle
        fits = tokens + min(r[s.OUTPUT, one] - r[s.MADE, one], CLIP) < free * size - kept
        counted = (tokens + size - 1) // size * size if rules[kind, s.CHUNKED] > 0 else tokens
        if fits and counted > budget:
            tokens = budget // size * size
            if rules[kind, s.CHUNKED] == 0 or tokens == 0:
                return
        upto = (start + tokens + size - 1) // size
        if not fits or upto - found > free:
            k[s.FULL_AT, rank] = k[s.LENGTH, rank]
            return
        admit(c, b, w, replica, rank, start, found)
        take(c, b, rank, one, upto, cached)
        enter(c, w, replica, rank, which, one, tokens)
        if cached > 0:
            register(c, b, rank, one, found, r[s.COMPUTED, one] // size)
        budget -= (tokens + size - 1) // size * size
        if start + tokens == known:
            kept += min(r[s.OUTPUT, one], CLIP)


@kernel
def sglang_retract(c: Core, b: Blocks, w: Record, replica: int, rank: int) -> bool:
    """Throw out who made least until the others have blocks; False where all have them."""
    r, k, queue = c.r, c.k, c.running
    size, lost = c.rules[c.g[s.KIND, replica], s.BLOCK], False
    if k[s.FREE, rank] >= k[s.LENGTH, rank]:  # a block for each
        return False
    while True:
        needed, made, most, victim = 0, 0, 0, -1
        for place in range(k[s.LENGTH, rank]):
            one = queue[rank, place]
            if not sglang_decodes(c, one):
                continue
            needed += 1 if r[s.COMPUTED, one] == r[s.HELD, one] * size else 0
            made += r[s.MADE, one] + RETRACT_STEPS
            most += r[s.OUTPUT, one]
            last = queue[rank, victim] if victim >= 0 else one
            fewer = r[s.MADE, one] < r[s.MADE, last]
            longer = r[s.MADE, one] == r[s.MADE, last] and r[s.PROMPT, one] >= r[s.PROMPT, last]
            if victim < 0 or fewer or longer:
                victim = place
        if needed <= k[s.FREE, rank]:
            if lost:
                k[s.SHARE, rank] = max(1, min(BILLION, made * BILLION // (most + 1)))
                k[s.FULL_AT, rank] = 0
            return lost
        preempt(c, b, w, replica, rank, victim)
        lost = True
        one = k[s.HEAD, rank]
        if r[s.AFTER, one] >= 0:  # it waits last, not first
            k[s.HEAD, rank] = r[s.AFTER, one]
            r[s.AFTER, k[s.TAIL, rank]] = one
            r[s.AFTER, one], k[s.TAIL, rank] = -1, one


@kernel
def sglang_decode(c: Core, b: Blocks, w: Record, replica: int, rank: int, which: int) -> None:
    """Decode all that have their prompts."""
    rules, r, k, queue = c.rules, c.r, c.k, c.running
    kind = c.g[s.KIND, replica]
    cached, size, share = rules[kind, s.CACHE], rules[kind, s.BLOCK], sglang_share(c, kind, rank)
    if k[s.LENGTH, rank] < k[s.FULL_AT, rank]:
        k[s.FULL_AT, rank] = 0
    lost = sglang_retract(c, b, w, replica, rank)
    served, _ = serve_decodes(c, b, replica, rank, which, k[s.LENGTH, rank])
    for place in range(served, k[s.LENGTH, rank]):
        one = queue[rank, place]
        if not sglang_decodes(c, one):
            continue
        before = r[s.COMPUTED, one]
        take(c, b, rank, one, before // size + 1, cached)
        enter(c, w, replica, rank, which, one, 1)
        if cached > 0:
            register(c, b, rank, one, before // size, (before + 1) // size)
    if not lost and k[s.COUNT + which, rank] > 0:
        k[s.SHARE, rank] = sglang_decayed(share, rules[kind, s.RESERVED], 1)
    full = k[s.COUNT + which, rank] == k[s.LENGTH, rank]
    # who waits is not looked at while the mark stands; else he might fit as the share falls
    blocked = k[s.HEAD, rank] < 0 or k[s.FULL_AT, rank] > 0
    k[s.PLAIN + which, rank] = 1 if full and blocked and not lost and k[s.S_PLAIN, rank] > 0 else 0


@inlined
def decide(c: Core, b: Blocks, w: Record, replica: int, rank: int, which: int) -> None:
    """Fill the next batch of a rank."""
    rules, k, g = c.rules, c.k, c.g
    kind = g[s.KIND, replica]
    k[s.COUNT + which, rank] = 0
    for field in range(s.S_PROMPT, s.S_LEAST_LEFT):
        k[field, rank] = 0
    k[s.S_PLAIN, rank], k[s.S_LEAST_LEFT, rank] = 1, s.NEVER
    budget, order = rules[kind, s.BUDGET], rules[kind, s.ORDER]
    if order == SGLANG:
        if k[s.LENGTH, rank] == 0:
            k[s.SHARE, rank] = 0
        sglang_prefill(c, b, w, replica, rank, which)
        k[s.PLAIN + which, rank] = 0
        if k[s.COUNT + which, rank] == 0:
            sglang_decode(c, b, w, replica, rank, which)
        if k[s.COUNT + which, rank] == 0:  # an end or a retraction may have made room
            sglang_prefill(c, b, w, replica, rank, which)
            k[s.PLAIN + which, rank] = 0
        return
    lost = False
    first = ONE_LEFT if order == DECODE_FIRST else ANY
    if order == PREFILL_ALONE:
        first = MORE_LEFT
    if order != STATIC or k[s.LENGTH, rank] > 0:
        budget, lost = serve_running(c, b, w, replica, rank, which, budget, first)
        if order == DECODE_FIRST:
            budget, more = serve_running(c, b, w, replica, rank, which, budget, MORE_LEFT)
            lost = lost or more
        if order != STATIC and not lost:
            serve_waiting(c, b, w, replica, rank, which, budget)
    else:
        serve_waiting(c, b, w, replica, rank, which, budget)
    if order == PREFILL_ALONE and k[s.COUNT + which, rank] == 0:
        budget = rules[kind, s.BUDGET]
        budget, more = serve_running(c, b, w, replica, rank, which, budget, ONE_LEFT)
        lost = lost or more
    full = k[s.COUNT + which, rank] == k[s.LENGTH, rank]
    k[s.PLAIN + which, rank] = 1 if full and not lost and k[s.S_PLAIN, rank] > 0 else 0
