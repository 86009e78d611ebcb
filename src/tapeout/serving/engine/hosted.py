"""Decisions of a rank that has a tier of blocks in host memory; docs/simulate.md has the rules."""

from __future__ import annotations

from collections.abc import Iterable

from tapeout.serving.engine.host import HostTier
from tapeout.serving.engine.schedule import Decision, Entry, Rank, Record, Request
from tapeout.serving.engine.types import Event, Rules


class HostedDecision(Decision):
    """As `Decision`; what the device does not have is looked for in host memory.

    Parameters
    ----------
    rank : Rank
    rules : Rules
    record : function of (Event, int, int)
    host : HostTier
    """

    __slots__ = ("_host",)

    def __init__(self, rank: Rank, rules: Rules, record: Record, host: HostTier) -> None:
        super().__init__(rank, rules, record)
        self._host = host

    def _take(self, count: int) -> list[int]:
        blocks = super()._take(count)
        self._host.overwrite(blocks)
        return blocks

    def _preempt(self, victim: Request) -> None:
        super()._preempt(victim)
        self._host.stall_ps = max(self._host.stall_ps, victim.storing_ps)

    def admit(self) -> None:
        """Admit waiting requests in their order; those that wait for a copy are passed over."""
        rank, rules = self._rank, self._rules
        only_loaded = False
        for request in list(rank.waiting):
            if self.preempted or not self._budget or len(rank.running) == rules.max_sequences:
                return
            if only_loaded and not request.start:
                continue
            fits = request.start > 0 or self._look(request)
            if fits and request.start:
                fits = self._resume(request)  # at once where the copy took no time
            if not fits:
                if rank.running:
                    return
                # nothing will end, so blocks come back only from those that hold some
                only_loaded = True

    def _resume(self, request: Request) -> bool:
        """Admit a request whose copy has ended; False where it does not fit."""
        if request.held_back_ps > self._host.now_ps:
            return True
        full = request.start // self._rules.block_tokens
        for i in range(request.registered, full):
            self._rank.pool.register(request.blocks[i], request.identities(i))
        request.registered = full
        return self._enter(request, request.start, request.blocks, taken=True)

    def _look(self, request: Request) -> bool:
        """Admit a request, or ask for a copy; False where it does not fit."""
        host, size = self._host, self._rules.block_tokens
        request.held_back_ps = request.storing_ps
        if request.held_back_ps > host.now_ps:
            return True
        hits = self._hits(request)
        known = [request.identities(i) for i in range(request.known // size)]
        most = (request.known - 1) // size
        found, request.held_back_ps = host.find(known[len(hits) : most])
        host.touch(known)
        if request.held_back_ps > host.now_ps:
            return True
        if not found:
            return self._enter(request, len(hits) * size, hits, taken=False)
        return self._load(request, hits, known[len(hits) : len(hits) + found])

    def _load(self, request: Request, hits: list[int], wanted: list[int]) -> bool:
        """Take the blocks for a copy and ask for it; False where they are not there."""
        rank, rules = self._rank, self._rules
        loaded = [one for one in rank.waiting if one.start]
        reserved = sum(self._whole(one) - len(one.blocks) for one in loaded)
        unheld = sum(not rank.pool.is_held(block) for block in hits)
        kept_free = rules.watermark_blocks if rank.running else 0
        needed = self._whole(request) - len(hits) + unheld + kept_free + reserved
        if needed > rank.pool.free or len(loaded) == rules.max_sequences:
            return False
        rank.pool.hold(hits)
        request.blocks = hits + self._take(len(wanted))
        request.registered = len(hits)
        request.stored = len(request.blocks)
        request.start = request.stored * rules.block_tokens
        request.held_back_ps = self._host.load(wanted)
        self._record(Event.LOAD, request.index, len(wanted) * rules.block_tokens)
        return True

    def _whole(self, request: Request) -> int:
        """Blocks of all known tokens."""
        return -(-request.known // self._rules.block_tokens)

    def _enter(self, request: Request, start: int, blocks: list[int], *, taken: bool) -> bool:
        """Move a waiting request to the running ones; False where it does not fit.

        `blocks` are the first ones it has: hits of the device, or those of a copy, `taken` already.
        """
        rank, rules = self._rank, self._rules
        tokens = self._chunk(request.known - start)
        if not rules.chunked and tokens > self._budget:
            return False
        tokens = min(tokens, self._budget)
        unheld = sum(not rank.pool.is_held(block) for block in blocks)
        kept_free = rules.watermark_blocks if rank.running else 0
        if self._whole(request) - len(blocks) + unheld + kept_free > rank.pool.free:
            return False
        if not taken:
            rank.pool.hold(blocks)
        upto = -(-(start + tokens) // rules.block_tokens)
        request.blocks = blocks + self._take(upto - len(blocks))
        request.registered = max(request.registered, start // rules.block_tokens)
        request.computed = start
        request.start = 0
        rank.waiting.remove(request)
        rank.running.append(request)
        request.running = request.admitted = True
        self._record(Event.ADMIT, request.index, start)
        self._schedule(request, tokens, 0)
        return True


def store_full_blocks(
    host: HostTier, entries: Iterable[Entry], end_ps: int, block_tokens: int
) -> None:
    """Offer the blocks that a step fills to host memory, request by request.

    Parameters
    ----------
    host : HostTier
    entries : iterable of Entry
        Of one rank.
    end_ps : int
        End of the step: the copies begin then at the earliest.
    block_tokens : int
    """
    for entry in entries:
        request = entry.request
        full = request.computed // block_tokens
        if full <= request.stored:
            continue
        offered = [(request.blocks[i], request.identities(i)) for i in range(request.stored, full)]
        stored_ps = host.store(offered, end_ps)
        if stored_ps is None:
            continue
        request.stored = full
        if stored_ps:
            request.storing_ps = stored_ps
            host.touch([request.identities(i) for i in range(request.known // block_tokens)])
