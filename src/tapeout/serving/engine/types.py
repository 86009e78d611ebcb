"""What an engine is told, what a step costs it, and what comes out; docs/simulate.md has the rules.

Time is whole picoseconds, so that sums are exact and two implementations can be compared.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from tapeout.numerics import Floats, Ints
from tapeout.serving.engine.gaps import Gaps

PS_PER_S = 10**12


class Order(IntEnum):
    """Who is served first in a step."""

    LIST = 0  # running sequences in order of admission, then waiting ones (vLLM V1, Orca)
    DECODE_FIRST = 1  # decodes, then prompts begun, then waiting ones (Sarathi)
    PREFILL_ALONE = 2  # waiting prompts alone if any can start, else decodes (vLLM V0)
    STATIC = 3  # waiting ones only when nothing runs
    SGLANG = 4  # as PREFILL_ALONE, with room kept for outputs and retraction


class Allocation(IntEnum):
    """When cache blocks are taken."""

    LAZY = 0  # as tokens are scheduled (vLLM V1)
    PROMPT = 1  # for the prompt at admission, then as tokens are scheduled (Sarathi, vLLM V0)
    WHOLE = 2  # for prompt and longest output at admission (Orca, static)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What a scheduler does, in terms that the reference and the kernel share.

    Attributes
    ----------
    token_budget, max_sequences : int
        Of one data-parallel rank.
    kv_blocks : int
        Usable blocks of a rank: vLLM's printed count less one.
    block_tokens : int
    order, allocation
    chunked : bool
        Prompts may be split over steps.
    prefix_cache : bool
    reserve_prompt : bool
        A prompt is admitted only where all of it fits (vLLM `scheduler_reserve_full_isl`).
    watermark_blocks : int
        That stay free when a prompt is admitted beside running ones.
    longest_chunk : int
        Tokens of one prompt in a step (`long_prefill_token_threshold`); 0: the budget.
    async_depth : int
        1: a step is scheduled while the one before it runs.
    ranks : int
        Data-parallel ranks that step together.
    drafts : int
        Draft tokens verified a step and sequence.
    acceptance : tuple of float
        Chance that draft i is accepted given that those before it were; one for each draft.
    seed : int
        Of the acceptance stream.
    longest : int
        Most tokens of a sequence, input and output (max_model_len), longer requests being
        rejected; 0: as many as the cache holds.
    reserved : int
        Order SGLANG: billionths of what running sequences may still make that an admission leaves
        free, at the start.
    host_blocks : int
        Blocks of a rank's tier in host memory; 0: none.
    copy_latency_ps, load_ps, store_ps : int
        A copy takes the latency and a time for each block, to the device or from it. [ps]
    """

    token_budget: int
    max_sequences: int
    kv_blocks: int
    block_tokens: int = 16
    order: Order = Order.LIST
    allocation: Allocation = Allocation.LAZY
    chunked: bool = True
    prefix_cache: bool = True
    reserve_prompt: bool = True
    watermark_blocks: int = 0
    longest_chunk: int = 0
    async_depth: int = 1
    ranks: int = 1
    drafts: int = 0
    acceptance: tuple[float, ...] = ()
    seed: int = 0
    longest: int = 0
    reserved: int = 0
    host_blocks: int = 0
    copy_latency_ps: int = 0
    load_ps: int = 0
    store_ps: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class StepTable:
    """Time and energy of a step, from what it holds.

    A step of a rank has P prompt tokens, which see q keys on average (their own included), N
    decoding sequences with K keys in all, T = P + N tokens (with drafts N (1 + drafts)) and S
    sampled rows. Its local time is

        tokens_ps[T] + sampled_ps[S] + attention,

    where attention is `decode_ps` for P = 0, linear in K between the knots K = N contexts[j], and
    `mixed_ps` for P > 0, multilinear in (P, q, N, K / N). Ranks wait for the slowest; then
    `shared_ps` of the tokens of all ranks follows (experts and collectives). Times are rounded to
    whole picoseconds. Beyond the last knot the last slope goes on.

    Attributes
    ----------
    tokens_ps : array of int, shape (token_budget + 1,)
        Graph padding included. [ps]
    sampled_ps : array of int, shape (max_sequences + 1,)
    contexts : array of int, shape (context,)
        Mean keys of a decoding sequence; at least two knots, ascending.
    decode_ps : array of int, shape (max_sequences + 1, context)
    slope_ps : array of int, shape (max_sequences + 1, context)
        Picoseconds for each key beyond the knot.
    prefill, keys, sequences : arrays of float
        Knots of P, q and N of the mixed table; N begins at 0.
    mixed_ps : array of float, shape (prefill, keys, sequences, context)
    shared_ps : array of int, shape (ranks x token_budget + 1,) or (1,) where there is none
    tokens_j, sampled_j, decode_j, mixed_j, shared_j : arrays of float
        Energy of all chips of the replica, same shapes; `decode_j` is linear between the knots
        too. The ranks' energies add up. [J]
    idle_w : float
        Power of the replica while no step runs. [W]
    """

    tokens_ps: Ints
    sampled_ps: Ints
    contexts: Ints
    decode_ps: Ints
    slope_ps: Ints
    prefill: Floats
    keys: Floats
    sequences: Floats
    mixed_ps: Floats
    shared_ps: Ints
    tokens_j: Floats
    sampled_j: Floats
    decode_j: Floats
    mixed_j: Floats
    shared_j: Floats
    idle_w: float = 0.0


class Event(IntEnum):
    """What the log records; the value is given in brackets."""

    ADMIT = 0  # first time or again (tokens found in the cache)
    PREEMPT = 1  # (computed tokens given up)
    FIRST = 2  # first token exists (0)
    FINISH = 3  # last token exists (0)
    LOAD = 4  # a copy from host memory is asked for (its tokens)


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestTable:
    """What became of every request, arrays of shape (request,), in the order of the trace.

    Attributes
    ----------
    arrival_s : array
        At the router; of a later turn the time at which it was sent. [s]
    input_tokens, output_tokens : array of int
    scheduled_s : array
        First time in a step; nan for a request that never was. [s]
    first_token_s, last_token_s : array
        [s]
    hit_tokens : array of int
        Prompt tokens found in the cache at the first admission.
    preemptions : array of int
    preempted_s : array
        Waiting after preemptions. [s]
    energy_j : array
        Share of the energy of the steps it was part of, by its tokens. [J]
    replica : array of int
    rejected : array of bool
        Longer than the engine can hold; the times are nan.
    """

    arrival_s: Floats
    input_tokens: Ints
    output_tokens: Ints
    scheduled_s: Floats
    first_token_s: Floats
    last_token_s: Floats
    hit_tokens: Ints
    preemptions: Ints
    preempted_s: Floats
    energy_j: Floats
    replica: Ints
    rejected: Ints

    @property
    def queue_s(self) -> Floats:
        """Arrival to the first step it is part of. [s]."""
        return self.scheduled_s - self.arrival_s

    @property
    def ttft_s(self) -> Floats:
        """Arrival to first token, queueing included. [s]."""
        return self.first_token_s - self.arrival_s

    @property
    def e2e_s(self) -> Floats:
        """Arrival to last token. [s]."""
        return self.last_token_s - self.arrival_s


@dataclass(frozen=True, slots=True, kw_only=True)
class RunTotals:
    """Sums over a run of one replica, or of all replicas.

    Tokens obey `scheduled = prompt + output - finished + discarded - hit` where every request
    finished: the last token of a request has no keys. Keys of rejected drafts are not counted.
    Of the hits, `loaded_blocks` blocks came from host memory.
    """

    steps: int
    busy_s: float  # a step runs
    end_s: float  # last token
    scheduled_tokens: int
    hit_tokens: int
    discarded_tokens: int  # computed and given up by preemption
    preemptions: int
    admissions: int
    energy_j: float
    running_s: float  # time integral of running sequences [sequence s]
    blocks_s: float  # time integral of held blocks [block s]
    peak_blocks: int
    peak_running: int
    loads: int = 0  # copies from host memory that requests waited for
    loaded_blocks: int = 0  # copied from host memory to the device
    stored_blocks: int = 0  # and the other way
    load_s: float = 0.0  # from asking for a copy to its end, summed over loads
    stalled_s: float = 0.0  # steps waited for copies out of the blocks that they overwrite


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeline:
    """State of the replicas, summed, at equally spaced times; arrays of shape (sample,)."""

    time_s: Floats
    running: Floats
    waiting: Floats
    blocks: Floats
    prompt_tokens: Floats  # scheduled in the interval that ends here
    output_tokens: Floats  # emitted in it


@dataclass(frozen=True, slots=True, kw_only=True)
class Log:
    """Events in the order in which they happened; arrays of shape (event,)."""

    kind: Ints
    time_ps: Ints
    request: Ints
    value: Ints


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulation:
    """One run; `gaps` are those between tokens, where they were to be counted."""

    requests: RequestTable
    totals: RunTotals
    timeline: Timeline | None = None
    log: Log | None = None
    gaps: Gaps | None = None
