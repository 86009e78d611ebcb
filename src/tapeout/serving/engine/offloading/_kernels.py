"""Compiled tier of cache blocks in host memory: its blocks, the copies, and who waits for them.

Written from docs/simulate.md; `host.py` and `hosted.py` are the same rules in plain Python.
"""

from __future__ import annotations

from tapeout.serving.compiling._kernels import inlined, kernel
from tapeout.serving.engine import state as s
from tapeout.serving.engine.pool._kernels import (
    hits,
    identity_of,
    open_slot,
    register,
    take,
    take_hits,
)
from tapeout.serving.engine.scheduling._kernels import ADMIT, ANY, enter, note, serve_running
from tapeout.serving.engine.state import Blocks, Core, Record

LOAD = 4  # kind of event
WANTED = -2  # in place of a block in host memory: it is about to be stored


@inlined
def tier_of(c: Core, rank: int) -> s.I64:
    """Blocks of a rank in host memory, (place, block): rows behind those of the running ones."""
    first = c.k.shape[1] + s.HOST_FIELDS * rank
    return c.running[first : first + s.HOST_FIELDS]


@inlined
def names_of(c: Core, b: Blocks, rank: int) -> s.I32:
    """Block in host memory of every identity, -1: a row behind those of the device."""
    row: s.I32 = b.found[c.k.shape[1] + rank]
    return row


@kernel
def lift(c: Core, rank: int, place: int) -> None:
    """Take a block out of the order of use."""
    k, host = c.k, tier_of(c, rank)
    older, newer = host[s.H_OLDER, place], host[s.H_NEWER, place]
    if older >= 0:
        host[s.H_NEWER, older] = newer
    else:
        k[s.H_OLDEST, rank] = newer
    if newer >= 0:
        host[s.H_OLDER, newer] = older
    else:
        k[s.H_NEWEST, rank] = older


@kernel
def put_last(c: Core, rank: int, place: int) -> None:
    """Make a block the most recently used one."""
    k, host = c.k, tier_of(c, rank)
    newest = k[s.H_NEWEST, rank]
    host[s.H_OLDER, place], host[s.H_NEWER, place] = newest, -1
    if newest >= 0:
        host[s.H_NEWER, newest] = place
    else:
        k[s.H_OLDEST, rank] = place
    k[s.H_NEWEST, rank] = place


@kernel
def touch(c: Core, b: Blocks, rank: int, request: int) -> None:
    """Make the full blocks of a request the most recently used ones, the first one last."""
    r, hosted = c.r, names_of(c, b, rank)
    size = c.rules[0, s.BLOCK]
    for at in range((r[s.PROMPT, request] + r[s.MADE, request]) // size - 1, -1, -1):
        place = hosted[identity_of(c, b, request, at)]
        if place >= 0:
            lift(c, rank, place)
            put_last(c, rank, place)


@kernel
def find(c: Core, b: Blocks, rank: int, request: int, begin: int, most: int) -> tuple[int, int]:
    """Blocks from `begin` on that are in host memory, and from when on all can be read."""
    host, hosted, count, until = tier_of(c, rank), names_of(c, b, rank), 0, 0
    for at in range(begin, most):
        place = hosted[identity_of(c, b, request, at)]
        if place < 0:
            break
        count += 1
        until = max(until, host[s.H_READY, place], host[s.H_LOADING, place])
    return count, until


@kernel
def make_room(c: Core, b: Blocks, rank: int, now: int, count: int) -> bool:
    """Forget the least recently used blocks that no copy reads or fills; all or none.

    Their places are left in a chain from `H_SPARE` on.
    """
    k, host, hosted = c.k, tier_of(c, rank), names_of(c, b, rank)
    short = count - (c.rules[0, s.TIER] - k[s.H_COUNT, rank])
    if short <= 0:
        return True
    for forgets in (False, True):
        place, missing = k[s.H_OLDEST, rank], short
        while place >= 0 and missing > 0:
            newer = host[s.H_NEWER, place]
            until = max(host[s.H_READY, place], host[s.H_LOADING, place])
            if until <= now and host[s.H_KEPT, place] != k[s.H_STAMP, rank]:
                missing -= 1
                if forgets:
                    lift(c, rank, place)
                    hosted[host[s.H_IDENTITY, place]] = -1
                    host[s.H_NEWER, place] = k[s.H_SPARE, rank]
                    k[s.H_SPARE, rank] = place
            place = newer
        if missing > 0:
            return False
    return True


@kernel
def insert(c: Core, b: Blocks, rank: int, name: int, ready: int) -> None:
    """Give a content a place, where it is once a copy has ended."""
    k, host, hosted = c.k, tier_of(c, rank), names_of(c, b, rank)
    place = k[s.H_SPARE, rank]
    if place >= 0:
        k[s.H_SPARE, rank] = host[s.H_NEWER, place]
    else:
        place = k[s.H_COUNT, rank]
        k[s.H_COUNT, rank] += 1
    hosted[name] = place
    host[s.H_IDENTITY, place] = name
    host[s.H_READY, place], host[s.H_LOADING, place] = ready, 0
    put_last(c, rank, place)


@kernel
def store(c: Core, b: Blocks, replica: int, rank: int, request: int, ready: int) -> None:
    """Offer the blocks of a request that are full since they were offered last."""
    rules, r, k, g = c.rules, c.r, c.k, c.g
    host, hosted = tier_of(c, rank), names_of(c, b, rank)
    first, full = r[s.STORED, request], r[s.COMPUTED, request] // rules[0, s.BLOCK]
    k[s.H_STAMP, rank] += 1
    new = 0
    for at in range(first, full):
        name = identity_of(c, b, request, at)
        place = hosted[name]
        if place >= 0:
            host[s.H_KEPT, place] = k[s.H_STAMP, rank]
        elif place != WANTED:
            hosted[name] = WANTED
            new += 1
    room = make_room(c, b, rank, g[s.NOW, replica], new)
    end = max(ready, k[s.STORES_END, rank]) + rules[0, s.LATENCY] + new * rules[0, s.STORE_PS]
    for at in range(first, full):
        name = identity_of(c, b, request, at)
        if hosted[name] != WANTED:
            continue
        if not room:
            hosted[name] = -1
            continue
        insert(c, b, rank, name, end)
        host[s.H_LEAVING, b.table[rank, r[s.SLOT, request], at]] = end
    if not room:
        return
    r[s.STORED, request] = full
    if new > 0:
        k[s.STORES_END, rank] = end
        r[s.STORING, request] = end
        g[s.BLOCKS_OUT, replica] += new
        touch(c, b, rank, request)


@kernel
def store_full(c: Core, b: Blocks, replica: int, which: int, ready: int) -> None:
    """Offer the blocks that a step fills to host memory, request by request."""
    rules, r, k, g = c.rules, c.r, c.k, c.g
    first = g[s.FIRST_RANK, replica]
    for rank in range(first, first + rules[0, s.RANKS]):
        for at in range(k[s.COUNT + which, rank]):
            one = c.e[s.E_REQUEST, rank, which, at]
            if r[s.COMPUTED, one] // rules[0, s.BLOCK] > r[s.STORED, one]:
                store(c, b, replica, rank, one, ready)


@kernel
def load(
    c: Core, b: Blocks, w: Record, replica: int, rank: int, request: int,
    found: int, idle: int, count: int,
) -> bool:  # fmt: skip
    """Take blocks for a copy from host memory and ask for it; False where they are not there."""
    rules, r, k, g = c.rules, c.r, c.k, c.g
    host, hosted = tier_of(c, rank), names_of(c, b, rank)
    size, now = rules[0, s.BLOCK], g[s.NOW, replica]
    whole = (r[s.PROMPT, request] + r[s.MADE, request] + size - 1) // size
    spare = rules[0, s.WATERMARK] if k[s.LENGTH, rank] > 0 else 0
    if whole - found + idle + spare + k[s.KEPT_BACK, rank] > k[s.FREE, rank]:
        return False
    if k[s.LOADED_ONES, rank] == rules[0, s.CAP]:
        return False
    open_slot(c, b, rank, request)
    take_hits(c, b, rank, request, found)
    take(c, b, rank, request, found + count, 1)
    end = max(now, k[s.STALL, rank], k[s.LOADS_END, rank])
    end += rules[0, s.LATENCY] + count * rules[0, s.LOAD_PS]
    k[s.LOADS_END, rank] = end
    for at in range(found, found + count):
        host[s.H_LOADING, hosted[identity_of(c, b, request, at)]] = end
    r[s.STORED, request] = found + count
    r[s.START, request] = (found + count) * size
    r[s.HELD_BACK, request] = end
    k[s.LOADED_ONES, rank] += 1
    k[s.KEPT_BACK, rank] += whole - found - count
    g[s.LOADS, replica] += 1
    g[s.BLOCKS_IN, replica] += count
    g[s.LOADING, replica] += end - now
    note(w, LOAD, now, request, count * size)
    return True


@kernel
def unqueue(c: Core, rank: int, before: int, request: int) -> None:
    """Take a request, which waits behind another (-1: the first), out of the waiting ones."""
    r, k = c.r, c.k
    following = r[s.AFTER, request]
    if before < 0:
        k[s.HEAD, rank] = following
    else:
        r[s.AFTER, before] = following
    if following < 0:
        k[s.TAIL, rank] = before
    k[s.WAITING, rank] -= 1


@kernel
def begin(
    c: Core, b: Blocks, w: Record, replica: int, rank: int, which: int,
    before: int, request: int, budget: int, found: int, idle: int,
) -> tuple[bool, int]:  # fmt: skip
    """Move a waiting request to the running ones; False where it does not fit, and its tokens.

    `found` are hits of the device, of which nobody holds `idle`; neither counts for a request that
    has the blocks of a copy.
    """
    rules, r, k, g = c.rules, c.r, c.k, c.g
    size, now, loaded = rules[0, s.BLOCK], g[s.NOW, replica], r[s.START, request] > 0
    had = r[s.HELD, request] if loaded else found
    start, known = had * size, r[s.PROMPT, request] + r[s.MADE, request]
    tokens, whole = known - start, (known + size - 1) // size
    if rules[0, s.LONGEST] > 0:
        tokens = min(tokens, rules[0, s.LONGEST])
    if rules[0, s.CHUNKED] == 0 and tokens > budget:
        return False, 0
    tokens = min(tokens, budget)
    spare = rules[0, s.WATERMARK] if k[s.LENGTH, rank] > 0 else 0
    if whole - had + idle + spare > k[s.FREE, rank]:
        return False, 0
    unqueue(c, rank, before, request)
    if loaded:
        k[s.LOADED_ONES, rank] -= 1
        k[s.KEPT_BACK, rank] -= whole - had
        r[s.START, request] = 0
    else:
        open_slot(c, b, rank, request)
        take_hits(c, b, rank, request, found)
    r[s.COMPUTED, request] = start
    c.running[rank, k[s.LENGTH, rank]] = request
    k[s.LENGTH, rank] += 1
    if r[s.SCHEDULED, request] < 0:
        r[s.SCHEDULED, request], r[s.HIT, request] = now, start
    else:
        r[s.WAITED, request] += now - r[s.SINCE, request]
    note(w, ADMIT, now, request, start)
    g[s.ADMITTED, replica] += 1
    g[s.HITS, replica] += start
    g[s.OWED, replica] -= known
    take(c, b, rank, request, (start + tokens + size - 1) // size, 1)
    enter(c, w, replica, rank, which, request, tokens)
    register(c, b, rank, request, had, r[s.COMPUTED, request] // size)
    return True, tokens


@kernel
def look(
    c: Core, b: Blocks, w: Record, replica: int, rank: int, which: int,
    before: int, request: int, budget: int,
) -> tuple[bool, int]:  # fmt: skip
    """Admit a request, or ask for a copy; False where it does not fit, and its tokens."""
    r, size, now = c.r, c.rules[0, s.BLOCK], c.g[s.NOW, replica]
    r[s.HELD_BACK, request] = r[s.STORING, request]
    if r[s.HELD_BACK, request] > now:
        return True, 0
    most = (r[s.PROMPT, request] + r[s.MADE, request] - 1) // size
    found, idle = hits(c, b, rank, request, most)
    count, until = find(c, b, rank, request, found, most)
    r[s.HELD_BACK, request] = until
    touch(c, b, rank, request)
    if until > now:
        return True, 0
    if count > 0:
        return load(c, b, w, replica, rank, request, found, idle, count), 0
    return begin(c, b, w, replica, rank, which, before, request, budget, found, idle)


@kernel
def serve_waiting(
    c: Core, b: Blocks, w: Record, replica: int, rank: int, which: int, budget: int
) -> None:
    """Admit waiting requests in their order; those that wait for a copy are passed over."""
    rules, r, k = c.rules, c.r, c.k
    size, now = rules[0, s.BLOCK], c.g[s.NOW, replica]
    before, one, only_loaded = -1, k[s.HEAD, rank], False
    while one >= 0 and budget > 0 and k[s.LENGTH, rank] < rules[0, s.CAP]:
        following, fits, tokens = r[s.AFTER, one], True, 0
        if r[s.START, one] == 0 and not only_loaded:
            fits, tokens = look(c, b, w, replica, rank, which, before, one, budget)
        if fits and tokens == 0 and r[s.START, one] > 0 and r[s.HELD_BACK, one] <= now:
            if r[s.HELD_BACK, one] >= 0:  # not named yet
                register(c, b, rank, one, 0, r[s.START, one] // size)
                r[s.HELD_BACK, one] = -1
            fits, tokens = begin(c, b, w, replica, rank, which, before, one, budget, 0, 0)
        if not fits:
            if k[s.LENGTH, rank] > 0:
                return
            only_loaded = True  # nothing will end: blocks come back only from those that hold some
        budget -= tokens
        if tokens == 0:
            before = one
        one = following


@kernel
def decide_hosted(c: Core, b: Blocks, w: Record, replica: int, rank: int, which: int) -> None:
    """Fill the next batch of a rank that has a tier in host memory."""
    k = c.k
    k[s.COUNT + which, rank] = 0
    for field in range(s.S_PROMPT, s.S_LEAST_LEFT):
        k[field, rank] = 0
    k[s.S_PLAIN, rank], k[s.S_LEAST_LEFT, rank] = 1, s.NEVER
    k[s.PLAIN + which, rank] = 0
    k[s.STALL, rank] = 0
    budget = c.rules[0, s.BUDGET]
    budget, lost = serve_running(c, b, w, replica, rank, which, budget, ANY)
    k[s.LOST_ONE, rank] = 1 if lost else 0
    if not lost:
        serve_waiting(c, b, w, replica, rank, which, budget)


@kernel
def stalled(c: Core, replica: int, start: int) -> int:
    """When a step begins that waits for copies out of blocks that it overwrites."""
    k, g = c.k, c.g
    begin_at, first = start, g[s.FIRST_RANK, replica]
    for rank in range(first, first + c.rules[0, s.RANKS]):
        begin_at = max(begin_at, k[s.STALL, rank])
    g[s.STALLED, replica] += begin_at - start
    return int(begin_at)


@kernel
def again(c: Core, replica: int) -> bool:
    """True where the last one to run gave way to copies: others may go on at once."""
    k, g = c.k, c.g
    if g[s.QUEUED, replica] > 0:
        return False
    first, lost = g[s.FIRST_RANK, replica], 0
    for rank in range(first, first + c.rules[0, s.RANKS]):
        lost += k[s.LOST_ONE, rank]
    return lost > 0


@kernel
def wake(c: Core, replica: int) -> int:
    """When the first copy ends that a waiting request waits for; NEVER where there is none."""
    r, k, g = c.r, c.k, c.g
    first, time = g[s.FIRST_RANK, replica], s.NEVER
    for rank in range(first, first + c.rules[0, s.RANKS]):
        one = k[s.HEAD, rank]
        while one >= 0:
            if r[s.HELD_BACK, one] > g[s.NOW, replica]:
                time = min(time, r[s.HELD_BACK, one])
            one = r[s.AFTER, one]
    return int(time)
