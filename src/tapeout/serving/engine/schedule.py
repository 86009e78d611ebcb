"""How a scheduler fills the next step of a rank; docs/simulate.md has the rules in words.

A `Decision` knows the two things a scheduler does: give tokens to running requests, and admit
waiting ones. The orders of `Order` are small objects that say what comes first.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

from tapeout.serving.engine.blocks import BlockPool
from tapeout.serving.engine.costs import Load
from tapeout.serving.engine.drafts import accepted_drafts
from tapeout.serving.engine.host import HostTier
from tapeout.serving.engine.types import Allocation, Event, Order, Rules

CLIP = 4096
"""SGLang: of an output, at most so many tokens count when room is looked for."""
BILLION = 1_000_000_000
RETRACT_STEPS = 20
"""SGLang: tokens that each sequence left is expected to make soon, after a retraction."""
LEAST_PERCENT, DECAY_STEPS = 14, 600
"""SGLang: the share kept for outputs falls to this part of its start in so many decode steps."""

Record = Callable[[Event, int, int], None]  # event, request, value


class Request:
    """A request that a scheduler has seen.

    Attributes
    ----------
    index : int
        Place in the trace.
    prompt, output : int
        Tokens.
    loaded : int
        Prompt tokens whose keys come with the request.
    identities : function of int
        Identity of its i-th block.
    computed : int
        Tokens whose keys exist or are scheduled.
    sampled : int
        Output tokens that are scheduled.
    running, admitted : bool
        Admitted now; admitted before.
    blocks : list of int
        Held, in the order of its tokens.
    registered : int
        Leading blocks that have an identity.
    stored : int
        Leading blocks that were offered to host memory.
    storing_ps : int
        End of the last copy of its blocks to host memory.
    held_back_ps : int
        It is passed over while it waits before this time: for a copy.
    start : int
        Tokens that are computed once a copy from host memory has ended; 0: none was asked for.
    """

    __slots__ = (
        "admitted", "blocks", "computed", "held_back_ps", "identities", "index", "loaded", "output",
        "prompt", "registered", "running", "sampled", "start", "stored", "storing_ps",
    )  # fmt: skip

    def __init__(
        self,
        *,
        index: int,
        prompt: int,
        output: int,
        loaded: int,
        identities: Callable[[int], int],
    ) -> None:
        self.index = index
        self.prompt = prompt
        self.output = output
        self.loaded = loaded
        self.identities = identities
        self.computed = 0
        self.sampled = 0
        self.running = False
        self.admitted = False
        self.blocks: list[int] = []
        self.registered = 0
        self.stored = 0
        self.storing_ps = 0
        self.held_back_ps = 0
        self.start = 0

    @property
    def known(self) -> int:
        """Prompt and output tokens that are scheduled."""
        return self.prompt + self.sampled

    @property
    def missing(self) -> int:
        """Known tokens without keys: 1 for a request that decodes."""
        return self.prompt + self.sampled - self.computed


class Entry:
    """Tokens of one request in one step.

    Attributes
    ----------
    request : Request
    tokens : int
        In the step, drafts included.
    drafts : int
    computed, sampled : int
        Of the request before the step.
    emitted : int
        Output tokens that exist when the step ends.
    """

    __slots__ = ("computed", "drafts", "emitted", "request", "sampled", "tokens")

    def __init__(self, request: Request, tokens: int, drafts: int) -> None:
        self.request = request
        self.tokens = tokens
        self.drafts = drafts
        self.computed = request.computed
        self.sampled = request.sampled
        self.emitted = 0

    @property
    def first(self) -> bool:
        """Whether the first output token is among what it emits."""
        return not self.sampled

    @property
    def last(self) -> bool:
        """Whether the last output token is among what it emits."""
        return self.sampled + self.emitted == self.request.output


class Rank:
    """A data-parallel rank: who runs, who waits, and the blocks."""

    __slots__ = ("full_at", "host", "pool", "running", "share", "waiting")

    def __init__(self, rules: Rules) -> None:
        self.running: list[Request] = []  # in order of admission
        self.waiting: deque[Request] = deque()
        self.pool = BlockPool(rules.kv_blocks)
        self.host = HostTier(rules) if rules.host_blocks else None
        self.full_at = 0  # SGLang: running ones when nobody more fitted; 0: not full
        self.share = 0  # SGLang: billionths of the outputs to come; 0: as the rules say

    def drop(self, request: Request) -> None:
        """Take a request out of the running ones and free its blocks."""
        self.running.remove(request)
        request.running = False
        self.pool.release(request.blocks)
        request.blocks = []
        request.registered = 0


class Decision:
    """What one rank does in its next step.

    Parameters
    ----------
    rank : Rank
    rules : Rules
    record : function of (Event, int, int)
        Is told of admissions and preemptions.

    Attributes
    ----------
    entries : dict of Request to Entry
        In the order in which they were scheduled.
    preempted : bool
        Whether somebody lost his place: nobody is admitted then.
    """

    __slots__ = ("_budget", "_rank", "_record", "_rules", "entries", "preempted")

    def __init__(self, rank: Rank, rules: Rules, record: Record) -> None:
        self._rank = rank
        self._rules = rules
        self._record = record
        self._budget = rules.token_budget
        self.entries: dict[Request, Entry] = {}
        self.preempted = False

    # running requests

    def run(self, requests: Iterable[Request]) -> None:
        """Give running requests their tokens, in this order, while budget is left."""
        for request in requests:
            if not self._budget:
                return
            if not request.running or request.sampled == request.output:
                continue  # preempted for one before it; or its last token is on its way
            tokens, drafts = self._tokens(request)
            if not self._make_room(request, tokens):
                return
            self._schedule(request, tokens, drafts)

    def _tokens(self, request: Request) -> tuple[int, int]:
        """Tokens of a running request in this step, and how many of them are drafts."""
        rules = self._rules
        tokens = request.missing
        if tokens == 1 and rules.drafts and request.sampled:
            wanted = 1 + min(rules.drafts, request.output - request.sampled - 1)
            tokens = min(wanted, self._budget)
            return tokens, tokens - 1
        return min(self._chunk(tokens), self._budget), 0

    def _chunk(self, tokens: int) -> int:
        longest = self._rules.longest_chunk
        return min(tokens, longest) if longest else tokens

    def _make_room(self, request: Request, tokens: int) -> bool:
        """Take the blocks that the tokens need; False where the request itself had to go."""
        pool = self._rank.pool
        needed = _blocks(request.computed + tokens, self._rules) - len(request.blocks)
        if needed <= 0:
            return True
        while needed > pool.free:
            victim = next(r for r in reversed(self._rank.running) if r.sampled < r.output)
            self._preempt(victim)
            if victim is request:
                return False
        request.blocks += self._take(needed)
        return True

    def _take(self, count: int) -> list[int]:
        """New blocks."""
        return self._rank.pool.take(count)

    def _preempt(self, victim: Request) -> None:
        """Send a running request back to the head of the queue without its keys."""
        entry = self.entries.pop(victim, None)
        if entry:
            self._take_back(entry)
        self._rank.drop(victim)
        self._rank.waiting.appendleft(victim)
        self.preempted = True
        self._record(Event.PREEMPT, victim.index, victim.computed)
        victim.computed = 0

    def _take_back(self, entry: Entry) -> None:
        """Undo what this decision gave a request: it will not be in the step."""
        request = entry.request
        self._budget += entry.tokens
        if self._rules.prefix_cache:  # keys that will not be computed must not be found
            first = entry.computed // self._rules.block_tokens
            for block in request.blocks[first : request.registered]:
                self._rank.pool.forget(block)
        request.computed = entry.computed
        request.sampled = entry.sampled

    # waiting requests

    def admit(self) -> None:
        """Admit waiting requests, first come, first served, until one does not fit."""
        rank, rules = self._rank, self._rules
        while (
            rank.waiting
            and self._budget
            and not self.preempted
            and len(rank.running) < rules.max_sequences
        ):
            if not self._admit(rank.waiting[0]):
                return

    def _admit(self, request: Request) -> bool:
        """Admit the head of the queue; False where it has to wait."""
        rank, rules = self._rank, self._rules
        hits = self._hits(request)
        start = len(hits) * rules.block_tokens
        if not request.admitted:
            start = max(start, request.loaded)
        tokens = self._chunk(request.known - start)
        if not rules.chunked and tokens > self._budget:
            return False
        tokens = min(tokens, self._budget)
        if not self._fits(request, start + tokens, hits):
            return False
        rank.pool.hold(hits)
        new = _blocks(self._allocated(request, start + tokens), rules) - len(hits)
        request.blocks = hits + self._take(new)
        request.registered = len(hits)
        request.computed = start
        rank.waiting.popleft()
        rank.running.append(request)
        request.running = request.admitted = True
        self._record(Event.ADMIT, request.index, start)
        self._schedule(request, tokens, 0)
        return True

    # as SGLang

    @property
    def _share(self) -> int:
        """Billionths of the outputs to come that admissions leave free."""
        return self._rank.share or self._rules.reserved

    def rest(self) -> None:
        """Forget what was learnt of the outputs: nothing runs."""
        self._rank.share = 0

    def prefill(self) -> None:
        """Go on with the prompt that was cut, then admit while room for outputs is left."""
        running = self._rank.running
        cut = [one for one in running if one.missing > 1 or not one.sampled]
        coming = sum(min(one.output - one.sampled, CLIP) for one in running if one not in cut)
        kept = -(-coming * self._share // BILLION)
        for request in cut:  # at most one: nobody is admitted beside it
            self._rank.full_at = 0
            if not self._go_on(request, kept):
                return
            kept += min(request.output, CLIP)
        self._admit_while_room(kept)

    def _go_on(self, request: Request, kept: int) -> bool:
        """Give a prompt that was cut its next tokens; True where they are its last."""
        left = request.missing
        blocks = len(request.blocks) + self._rank.pool.free
        room = blocks * self._rules.block_tokens - request.computed - kept
        tokens = min(left, self._budget, room)
        if tokens > 0:
            self._make_room(request, tokens)
            self._schedule_prompt(request, tokens)
        return tokens == left

    def _admit_while_room(self, kept: int) -> None:
        running, waiting = self._rank.running, self._rank.waiting
        while waiting and not self._rank.full_at and self._budget > 0:
            request = waiting[0]
            fits = len(running) < self._rules.max_sequences
            first = self._first_tokens(request, kept) if fits else None
            if first is None:
                self._rank.full_at = len(running)
                return
            if first == 0:
                return
            self._start(request, first)
            if self.entries[request].emitted:
                kept += min(request.output, CLIP)

    def _start_tokens(self, request: Request, hits: list[int]) -> int:
        start = len(hits) * self._rules.block_tokens
        return start if request.admitted else max(start, request.loaded)

    def _first_tokens(self, request: Request, kept: int) -> int | None:
        """Tokens of a waiting request in this step, 0 for no budget and None for no room."""
        rules, pool, hits = self._rules, self._rank.pool, self._hits(request)
        start, size = self._start_tokens(request, hits), rules.block_tokens
        tokens = request.known - start
        whole = tokens + min(request.output - request.sampled, CLIP)
        free = pool.free - sum(not pool.is_held(block) for block in hits)
        if whole >= free * size - kept:
            return None
        if (_blocks(tokens, rules) * size if rules.chunked else tokens) > self._budget:
            tokens = self._budget // size * size
            if not rules.chunked or not tokens:
                return 0
        return None if _blocks(start + tokens, rules) - len(hits) > free else tokens

    def _start(self, request: Request, tokens: int) -> None:
        """Move the head of the queue to the running ones."""
        hits = self._hits(request)
        start = self._start_tokens(request, hits)
        self._rank.pool.hold(hits)
        new = max(_blocks(start + tokens, self._rules) - len(hits), 0)
        request.blocks = hits + self._rank.pool.take(new)
        request.registered = len(hits)
        request.computed = start
        self._rank.waiting.popleft()
        self._rank.running.append(request)
        request.running = request.admitted = True
        self._record(Event.ADMIT, request.index, start)
        self._schedule_prompt(request, tokens)

    def _schedule_prompt(self, request: Request, tokens: int) -> None:
        """Schedule tokens that count as whole blocks in the budget."""
        self._schedule(request, tokens, 0)
        self._budget -= _blocks(tokens, self._rules) * self._rules.block_tokens - tokens

    def _decoding(self) -> list[Request]:
        return [r for r in self._rank.running if r.missing == 1 and 0 < r.sampled < r.output]

    def _missing_blocks(self) -> int:
        """Blocks that the next tokens of all that decode need beyond the free ones."""
        full = [r for r in self._decoding() if _blocks(r.computed + 1, self._rules) > len(r.blocks)]
        return len(full) - self._rank.pool.free

    def decode(self) -> None:
        """Decode all that have their prompts; retract some where blocks are short."""
        rank, rules, share = self._rank, self._rules, self._share
        if len(rank.running) < rank.full_at:
            rank.full_at = 0
        while self._missing_blocks() > 0:
            places = {request: place for place, request in enumerate(rank.running)}
            least = min(self._decoding(), key=lambda r: (r.sampled, -r.prompt, -places[r]))
            self._preempt(least)
            rank.waiting.rotate(-1)  # it waits last, not first
        decoding = self._decoding()
        for request in decoding:
            self._make_room(request, 1)
        if self.preempted:
            made = sum(request.sampled + RETRACT_STEPS for request in decoding)
            most = sum(request.output for request in decoding)
            rank.share = max(1, min(BILLION, made * BILLION // (most + 1)))
            rank.full_at = 0
        elif decoding:
            least_share = rules.reserved * LEAST_PERCENT // 100
            step = (rules.reserved - least_share) // DECAY_STEPS
            rank.share = max(share - step, least_share)
        for request in decoding:
            self._schedule(request, 1, 0)

    def _hits(self, request: Request) -> list[int]:
        """Leading blocks that are in the cache; at least one token is left to compute."""
        hits: list[int] = []
        if not self._rules.prefix_cache:
            return hits
        for i in range((request.known - 1) // self._rules.block_tokens):
            block = self._rank.pool.find(request.identities(i))
            if block is None:
                break
            hits.append(block)
        return hits

    def _fits(self, request: Request, scheduled: int, hits: list[int]) -> bool:
        rank, rules = self._rank, self._rules
        full = self._allocated(request, scheduled)
        if rules.reserve_prompt:
            full = max(full, request.known)
        unheld = sum(not rank.pool.is_held(block) for block in hits)
        kept_free = rules.watermark_blocks if rank.running else 0
        needed = _blocks(full, rules) - len(hits) + unheld + kept_free
        return needed <= rank.pool.free

    def _allocated(self, request: Request, scheduled: int) -> int:
        """Tokens for which an admitted request gets blocks."""
        if self._rules.allocation is Allocation.WHOLE:
            return request.prompt + request.output - 1
        if self._rules.allocation is Allocation.PROMPT:
            return request.known
        return scheduled

    # both

    def _schedule(self, request: Request, tokens: int, drafts: int) -> None:
        """Put tokens of a request that has the blocks for them into the step."""
        entry = Entry(request, tokens, drafts)
        self.entries[request] = entry
        self._budget -= tokens
        request.computed += tokens
        if request.computed >= request.known:
            accepted = 0
            if drafts:
                accepted = accepted_drafts(request.index, request.sampled, drafts, self._rules)
                request.computed -= drafts - accepted
            entry.emitted = 1 + accepted
            request.sampled += entry.emitted
        if self._rules.prefix_cache:
            full = request.computed // self._rules.block_tokens
            for i in range(request.registered, full):
                self._rank.pool.register(request.blocks[i], request.identities(i))
            request.registered = full


def _blocks(tokens: int, rules: Rules) -> int:
    return -(-tokens // rules.block_tokens)


def load_of(entries: Iterable[Entry]) -> Load:
    """Sums over the entries of a rank's step that its cost depends on."""
    tokens = sampled = sequences = keys = prompt = prompt_keys_twice = 0
    for entry in entries:
        n, before = entry.tokens, entry.computed
        tokens += n
        if entry.emitted:
            sampled += 1 + entry.drafts
        if entry.sampled and before == entry.request.prompt + entry.sampled - 1:
            sequences += 1
            keys += before + n
        else:
            prompt += n
            prompt_keys_twice += n * (2 * before + n + 1)
    return Load(
        tokens=tokens,
        sampled=sampled,
        sequences=sequences,
        keys=keys,
        prompt=prompt,
        prompt_keys_twice=prompt_keys_twice,
    )


# orders


class Scheduler(Protocol):
    """Who is served first."""

    def fill(self, decision: Decision, running: list[Request]) -> None:
        """Fill a step; `running` may be changed by the decision while it is filled."""
        ...


class ListOrder:
    """Running requests in order of admission, then waiting ones (vLLM V1, Orca)."""

    def fill(self, decision: Decision, running: list[Request]) -> None:
        """Fill a step."""
        decision.run(running.copy())
        decision.admit()


class DecodeFirst:
    """Decodes, then prompts that were begun, then waiting ones (Sarathi)."""

    def fill(self, decision: Decision, running: list[Request]) -> None:
        """Fill a step."""
        decodes = [request for request in running if request.missing <= 1]
        prompts = [request for request in running if request.missing > 1]
        decision.run(decodes)
        decision.run(prompts)
        decision.admit()


class PrefillAlone:
    """Prompts alone where any can be served, else decodes (vLLM V0)."""

    def fill(self, decision: Decision, running: list[Request]) -> None:
        """Fill a step."""
        begun = [request for request in running if request.missing > 1]
        others = [request for request in running if request.missing <= 1]
        decision.run(begun)
        decision.admit()
        if not decision.entries:
            decision.run(others)


class Static:
    """A batch is formed where nothing runs, and served to its end."""

    def fill(self, decision: Decision, running: list[Request]) -> None:
        """Fill a step."""
        if running:
            decision.run(running.copy())
        else:
            decision.admit()


class Sglang:
    """Prompts in a batch of their own, with room kept for outputs, else decodes (SGLang)."""

    def fill(self, decision: Decision, running: list[Request]) -> None:
        """Fill a step."""
        if not running:
            decision.rest()
        decision.prefill()
        if not decision.entries:
            decision.decode()
        if not decision.entries:  # an end or a retraction may have made room
            decision.prefill()


SCHEDULERS: Mapping[Order, Scheduler] = {
    Order.LIST: ListOrder(),
    Order.DECODE_FIRST: DecodeFirst(),
    Order.PREFILL_ALONE: PrefillAlone(),
    Order.STATIC: Static(),
    Order.SGLANG: Sglang(),
}
