"""Compiled cache blocks: a queue of free ones, identities, and who finds what."""

from __future__ import annotations

from tapeout.serving.compiling._kernels import kernel
from tapeout.serving.engine import state as s
from tapeout.serving.engine.state import Blocks, Core


@kernel
def identity_of(c: Core, b: Blocks, request: int, place: int) -> int:
    """Identity of a block of a request."""
    r, offsets, ids = c.r, b.offsets, b.ids
    at = offsets[request] + place
    if at < offsets[request + 1]:
        return int(ids[at])
    return int(r[s.OWN, request] + place)


@kernel
def push_back(c: Core, b: Blocks, rank: int, block: int) -> None:
    """Put a block that nobody holds at the end of the queue."""
    k, pool = c.k, b.blocks
    last = k[s.BACK, rank]
    pool[s.BEFORE, rank, block], pool[s.BEHIND, rank, block] = last, -1
    if last >= 0:
        pool[s.BEHIND, rank, last] = block
    else:
        k[s.FRONT, rank] = block
    k[s.BACK, rank] = block
    k[s.FREE, rank] += 1


@kernel
def unlink(c: Core, b: Blocks, rank: int, block: int) -> None:
    """Take a block out of the queue."""
    k, pool = c.k, b.blocks
    left, right = pool[s.BEFORE, rank, block], pool[s.BEHIND, rank, block]
    if left >= 0:
        pool[s.BEHIND, rank, left] = right
    else:
        k[s.FRONT, rank] = right
    if right >= 0:
        pool[s.BEFORE, rank, right] = left
    else:
        k[s.BACK, rank] = left
    k[s.FREE, rank] -= 1


@kernel
def forget(b: Blocks, rank: int, block: int) -> None:
    """Drop the identity of a block; others with the same one stay."""
    pool, found = b.blocks, b.found
    name = pool[s.IDENTITY, rank, block]
    if name < 0:
        return
    one = found[rank, name]
    if one == block:
        found[rank, name] = pool[s.SAME, rank, block]
    else:
        while pool[s.SAME, rank, one] != block:
            one = pool[s.SAME, rank, one]
        pool[s.SAME, rank, one] = pool[s.SAME, rank, block]
    pool[s.IDENTITY, rank, block] = -1
    pool[s.SAME, rank, block] = -1


@kernel
def register(c: Core, b: Blocks, rank: int, request: int, begin: int, end: int) -> None:
    """Name the blocks from `begin` to `end` of a request, which are full now."""
    r, pool, found, table = c.r, b.blocks, b.found, b.table
    slot = r[s.SLOT, request]
    for place in range(begin, end):
        block = table[rank, slot, place]
        name = identity_of(c, b, request, place)
        if pool[s.IDENTITY, rank, block] == name:
            continue
        forget(b, rank, block)
        pool[s.IDENTITY, rank, block], pool[s.SAME, rank, block] = name, -1
        one = found[rank, name]
        if one < 0:
            found[rank, name] = block
            continue
        while pool[s.SAME, rank, one] >= 0:
            one = pool[s.SAME, rank, one]
        pool[s.SAME, rank, one] = block


@kernel
def hits(c: Core, b: Blocks, rank: int, request: int, most: int) -> tuple[int, int]:
    """Leading blocks of a request that are cached, and how many of them nobody holds."""
    pool, found = b.blocks, b.found
    count, idle = 0, 0
    while count < most:
        block = found[rank, identity_of(c, b, request, count)]
        if block < 0:
            break
        idle += 1 if pool[s.USERS, rank, block] == 0 else 0
        count += 1
    return count, idle


@kernel
def open_slot(c: Core, b: Blocks, rank: int, request: int) -> None:
    """Give a request a row of the table of blocks."""
    r, k, slots = c.r, c.k, b.slots
    k[s.SLOTS_FREE, rank] -= 1
    r[s.SLOT, request] = slots[rank, k[s.SLOTS_FREE, rank]]


@kernel
def take_hits(c: Core, b: Blocks, rank: int, request: int, count: int) -> None:
    """Hold the leading cached blocks."""
    r, pool, found, table = c.r, b.blocks, b.found, b.table
    for place in range(count):
        block = found[rank, identity_of(c, b, request, place)]
        if pool[s.USERS, rank, block] == 0:
            unlink(c, b, rank, block)
        pool[s.USERS, rank, block] += 1
        table[rank, r[s.SLOT, request], place] = block
    r[s.HELD, request] = count


@kernel
def take(c: Core, b: Blocks, rank: int, request: int, upto: int, cached: int) -> None:
    """Hold new blocks until the request has so many."""
    r, k, pool, table, rows = c.r, c.k, b.blocks, b.table, c.running
    held = r[s.HELD, request]
    if upto <= held:
        return
    r[s.HELD, request] = upto
    if cached == 0:
        k[s.FREE, rank] -= upto - held
        return
    hosted = rows.shape[0] > k.shape[1]  # `offloading` has the rows
    leaving = k.shape[1] + s.HOST_FIELDS * rank + s.H_LEAVING
    for place in range(held, upto):
        block = k[s.FRONT, rank]
        unlink(c, b, rank, block)
        forget(b, rank, block)
        if hosted:  # a copy may still read it
            k[s.STALL, rank] = max(k[s.STALL, rank], rows[leaving, block])
        pool[s.USERS, rank, block] = 1
        table[rank, r[s.SLOT, request], place] = block


@kernel
def release(c: Core, b: Blocks, rank: int, request: int, cached: int) -> None:
    """Give up all blocks of a request, the last one first."""
    r, k, pool, table, slots = c.r, c.k, b.blocks, b.table, b.slots
    held = r[s.HELD, request]
    r[s.HELD, request] = 0
    if cached == 0:
        k[s.FREE, rank] += held
        return
    slot = r[s.SLOT, request]
    for place in range(held - 1, -1, -1):
        block = table[rank, slot, place]
        pool[s.USERS, rank, block] -= 1
        if pool[s.USERS, rank, block] == 0:
            push_back(c, b, rank, block)
    slots[rank, k[s.SLOTS_FREE, rank]] = slot
    k[s.SLOTS_FREE, rank] += 1


@kernel
def clear(c: Core, b: Blocks, rank: int, blocks: int, cached: int) -> None:
    """Make all blocks of a rank free and nameless, as at a start."""
    k, pool, found, slots = c.k, b.blocks, b.found, b.slots
    k[s.FREE, rank], k[s.FULL_AT, rank], k[s.SHARE, rank] = blocks, 0, 0
    if cached == 0:
        return
    for block in range(blocks):
        name = pool[s.IDENTITY, rank, block]
        if name >= 0:
            found[rank, name] = -1
        pool[s.IDENTITY, rank, block] = -1
        pool[s.SAME, rank, block] = -1
        pool[s.USERS, rank, block] = 0
        pool[s.BEFORE, rank, block] = block - 1
        pool[s.BEHIND, rank, block] = block + 1
    pool[s.BEHIND, rank, blocks - 1] = -1
    k[s.FRONT, rank], k[s.BACK, rank] = 0, blocks - 1
    k[s.SLOTS_FREE, rank] = slots.shape[1]
    for place in range(slots.shape[1]):
        slots[rank, place] = place
