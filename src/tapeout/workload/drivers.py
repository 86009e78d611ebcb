"""What the size of an operator follows: token rows, score pairs, cached tokens, experts hit.

Every column of an operator table is a constant times one driver, so that a table for many steps
is a few array products. A driver is a value: two equal ones are evaluated once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from tapeout.numerics import Floats
from tapeout.workload.types import StepMix


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A mix with the means per prompt and per sequence; arrays have shape (step,)."""

    prefill: Floats  # new prompt tokens
    prompts: Floats
    new: Floats  # per prompt
    cached: Floats  # per prompt
    decode: Floats  # sequences
    context: Floats  # cached tokens per decoding sequence
    sampled: Floats


def step_of(mix: StepMix) -> Step:
    """Prepare a mix; tokens without a number of prompts count as one prompt.

    Raises
    ------
    ValueError
        The fields of the mix do not have one shape, nor shapes that broadcast.
    """
    prefill, cached, prompts, decode, kv, sampled = np.broadcast_arrays(
        np.atleast_1d(np.asarray(mix.prefill_tokens, dtype=np.float64)),
        mix.prefill_context_tokens,
        mix.prefill_sequences,
        mix.decode_sequences,
        mix.decode_kv_tokens,
        mix.sampled_sequences,
    )
    prompts = np.where(prompts > 0, prompts, prefill > 0)
    return Step(
        prefill=prefill,
        prompts=prompts,
        new=np.divide(prefill, prompts, out=np.zeros_like(prefill), where=prompts > 0),
        cached=np.where(prefill > 0, cached, 0.0),
        decode=decode,
        context=np.divide(kv, decode, out=np.zeros_like(prefill), where=decode > 0),
        sampled=sampled,
    )


class Span(Protocol):
    """Which earlier tokens a token attends to.

    Arguments and results are tokens of one sequence; arrays broadcast.
    """

    @property
    def label(self) -> str:
        """Short name, used in operator names."""
        ...

    def stored(self, context: Floats) -> Floats:
        """Tokens whose keys and values are kept after `context` tokens."""
        ...

    def pairs(self, new: Floats, cached: Floats) -> Floats:
        """Query-key pairs of `new` prompt tokens that follow `cached` ones."""
        ...

    def prompt_reads(self, new: Floats, cached: Floats) -> Floats:
        """Tokens whose keys and values a prompt reads once: old ones in reach and its own."""
        ...

    def decode_reads(self, context: Floats) -> Floats:
        """Tokens that one decoded token attends to, itself included."""
        ...


@dataclass(frozen=True, slots=True)
class FullSpan:
    """Causal attention to everything before."""

    label: str = "full"

    def stored(self, context: Floats) -> Floats:
        """Everything."""
        return context

    def pairs(self, new: Floats, cached: Floats) -> Floats:
        """Triangle above a rectangle: q c + q (q + 1) / 2."""
        return new * cached + new * (new + 1.0) / 2.0

    def prompt_reads(self, new: Floats, cached: Floats) -> Floats:
        """Everything once."""
        return cached + new

    def decode_reads(self, context: Floats) -> Floats:
        """The context and the token itself."""
        return context + 1.0


@dataclass(frozen=True, slots=True)
class BidirectionalSpan:
    """Every new token sees every other one (diffusion models); the cache serves blocks."""

    label: str = "bidirectional"

    def stored(self, context: Floats) -> Floats:
        """Everything, if blocks are cached."""
        return context

    def pairs(self, new: Floats, cached: Floats) -> Floats:
        """Rectangle q (c + q)."""
        return new * (cached + new)

    def prompt_reads(self, new: Floats, cached: Floats) -> Floats:
        """Everything once."""
        return cached + new

    def decode_reads(self, context: Floats) -> Floats:
        """The context and the token itself."""
        return context + 1.0


@dataclass(frozen=True, slots=True)
class SlidingSpan:
    """The last `window` tokens, itself included; kept in a ring buffer.

    A decode batch is described by its mean context, so sequences shorter than the window beside
    longer ones are over-read by at most the window (the minimum is concave).
    """

    window: int
    label: str = "sliding"

    def stored(self, context: Floats) -> Floats:
        """At most the window."""
        return np.minimum(context, float(self.window))

    def pairs(self, new: Floats, cached: Floats) -> Floats:
        """Sum over j = 1..q of min(c + j, W)."""
        growing = np.clip(self.window - cached, 0.0, new)
        ramp = growing * cached + growing * (growing + 1.0) / 2.0
        return ramp + (new - growing) * self.window

    def prompt_reads(self, new: Floats, cached: Floats) -> Floats:
        """The window before the prompt, and the prompt."""
        return np.minimum(cached, float(self.window)) + new

    def decode_reads(self, context: Floats) -> Floats:
        """At most the window."""
        return np.minimum(context + 1.0, float(self.window))


@dataclass(frozen=True, slots=True)
class SelectedSpan:
    """The `most` tokens that an indexer picks; all are kept, since any can be picked."""

    most: int
    label: str = "selected"

    def stored(self, context: Floats) -> Floats:
        """Everything."""
        return context

    def pairs(self, new: Floats, cached: Floats) -> Floats:
        """Sum over j = 1..q of min(c + j, most)."""
        return SlidingSpan(self.most).pairs(new, cached)

    def prompt_reads(self, new: Floats, cached: Floats) -> Floats:
        """Everything once: different queries pick different tokens."""
        return cached + new

    def decode_reads(self, context: Floats) -> Floats:
        """At most what the indexer picks."""
        return np.minimum(context + 1.0, float(self.most))


@dataclass(frozen=True, slots=True)
class ChunkedSpan:
    """Tokens of the same chunk of the sequence, up to itself (llama-4).

    Beyond the first chunk the sequences of a batch stand anywhere in theirs, so a decoded token
    reads half a chunk on average.
    """

    chunk: int
    label: str = "chunked"

    def stored(self, context: Floats) -> Floats:
        """At most one chunk."""
        return np.minimum(context, float(self.chunk))

    def pairs(self, new: Floats, cached: Floats) -> Floats:
        """Triangles, one a chunk, between the two positions."""
        return self._triangles(cached + new) - self._triangles(cached)

    def prompt_reads(self, new: Floats, cached: Floats) -> Floats:
        """What is there of the chunk the prompt begins in, and the prompt."""
        return np.mod(cached, float(self.chunk)) + new

    def decode_reads(self, context: Floats) -> Floats:
        """All of the first chunk, then the mean over a chunk."""
        return np.where(context < self.chunk, context + 1.0, (self.chunk + 1.0) / 2.0)

    def _triangles(self, position: Floats) -> Floats:
        whole, rest = np.divmod(position, float(self.chunk))
        return whole * self.chunk * (self.chunk + 1.0) / 2.0 + rest * (rest + 1.0) / 2.0


class Driver(Protocol):
    """A quantity per step that operators are proportional to."""

    def evaluate(self, step: Step) -> Floats:
        """Return the quantity, shape (step,)."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """Weighted sum of the rows of a step."""

    prefill: float = 0.0
    cached: float = 0.0  # tokens of earlier chunks, re-expanded
    decode: float = 0.0
    sampled: float = 0.0
    prompts: float = 0.0

    def evaluate(self, step: Step) -> Floats:
        """Return the weighted sum."""
        return (
            self.prefill * step.prefill
            + self.cached * (step.prompts * step.cached)
            + self.decode * step.decode
            + self.sampled * step.sampled
            + self.prompts * step.prompts
        )


TOKENS = Rows(prefill=1.0, decode=1.0)
PREFILL = Rows(prefill=1.0)
DECODE = Rows(decode=1.0)
SAMPLED = Rows(sampled=1.0)


@dataclass(frozen=True, slots=True)
class Once:
    """One in a step that does anything, nought in an empty one: weights are read once."""

    def evaluate(self, step: Step) -> Floats:
        """Return 1 or 0."""
        return ((step.prefill + step.decode) > 0).astype(np.float64)


@dataclass(frozen=True, slots=True)
class ExpertsHit:
    """Distinct experts that the tokens of a step meet: E (1 - (1 - k/E)^T), uniform routing.

    Examples
    --------
    >>> round(256 * (1 - (1 - 8 / 256) ** 16))
    102
    """

    experts: int
    top_k: int

    def evaluate(self, step: Step) -> Floats:
        """Return the expected number."""
        tokens = step.prefill + step.decode
        missed = np.power(1.0 - self.top_k / self.experts, tokens)
        return self.experts * (1.0 - missed)


@dataclass(frozen=True, slots=True)
class PromptPairs:
    """Query-key pairs of all prompts, taken as equally long."""

    span: Span

    def evaluate(self, step: Step) -> Floats:
        """Return the pairs."""
        return step.prompts * self.span.pairs(step.new, step.cached)


@dataclass(frozen=True, slots=True)
class PromptCache:
    """Cached tokens that the prompts read, plus those they write."""

    span: Span

    def evaluate(self, step: Step) -> Floats:
        """Return tokens read and written."""
        return step.prompts * self.span.prompt_reads(step.new, step.cached) + step.prefill


@dataclass(frozen=True, slots=True)
class DecodeReads:
    """Cached tokens attended to by the decoding sequences, themselves included."""

    span: Span

    def evaluate(self, step: Step) -> Floats:
        """Return tokens."""
        return step.decode * self.span.decode_reads(step.context)


@dataclass(frozen=True, slots=True)
class DecodeCache:
    """Cached tokens that the decoding sequences read, plus the one each writes."""

    span: Span

    def evaluate(self, step: Step) -> Floats:
        """Return tokens read and written."""
        return step.decode * (self.span.decode_reads(step.context) + 1.0)
