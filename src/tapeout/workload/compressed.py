"""Compressed attention of DeepSeek-V4: a raw window beside pooled entries of what lies behind.

Shapes follow section 2.3 of the DeepSeek-V4 report (DeepSeek-AI 2026) as implemented in
transformers 5.23 (`modeling_deepseek_v4`). A layer pools every `ratio` tokens into one entry: 4
tokens with overlap and an indexer that picks entries (CSA), or 128 without either (HCA). One
shared key-value head serves all query heads, and a key is its own value.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tapeout.constants import FLOP_PER_MAC
from tapeout.numerics import Floats
from tapeout.workload.attention import ROTARY_FLOP
from tapeout.workload.drivers import (
    DECODE,
    PREFILL,
    DecodeCache,
    DecodeReads,
    PromptCache,
    PromptPairs,
    Rows,
    SlidingSpan,
)
from tapeout.workload.formats import arithmetic_format, kv_element_bytes
from tapeout.workload.latent import INDEX_SCALE_BYTES, index_rows
from tapeout.workload.parts import ACTIVATION_BYTES, Matrix, Row, Term, elementwise
from tapeout.workload.types import TensorFormats


@dataclass(frozen=True, slots=True)
class CompressedSpan:
    """The last `window` tokens, and one entry for every `ratio` tokens of the whole context.

    Attributes
    ----------
    window : int
        0 for the entries alone, as an indexer sees them.
    ratio : int
        0 for the window alone.
    most : int or None
        Entries a query attends to; None for all.
    """

    window: int
    ratio: int
    most: int | None = None
    label: str = "compressed"

    def stored(self, context: Floats) -> Floats:
        """Window and finished entries."""
        return SlidingSpan(self.window).stored(context) + self._entries(context)

    def pairs(self, new: Floats, cached: Floats) -> Floats:
        """Pairs within the window, and with the entries finished before each query."""
        near = SlidingSpan(self.window).pairs(new, cached)
        return near + self._summed(cached + new) - self._summed(cached)

    def prompt_reads(self, new: Floats, cached: Floats) -> Floats:
        """The window before the prompt, the prompt, and all entries."""
        near = np.minimum(cached, float(self.window)) + (new if self.window else 0.0)
        return near + self._entries(cached + new)

    def decode_reads(self, context: Floats) -> Floats:
        """Window, and the entries picked or all of them."""
        entries = self._entries(context + 1.0)
        if self.most is not None:
            entries = np.minimum(entries, float(self.most))
        return SlidingSpan(self.window).decode_reads(context) + entries

    def _entries(self, tokens: Floats) -> Floats:
        return np.floor(tokens / self.ratio) if self.ratio else np.zeros_like(tokens)

    def _summed(self, position: Floats) -> Floats:
        """Sum over t = 1..position of min(floor(t / ratio), most)."""
        if not self.ratio:
            return np.zeros_like(position)
        full = float(self.most) * self.ratio if self.most is not None else np.inf
        growing = np.minimum(position, full - 1.0)
        whole, rest = np.divmod(growing, float(self.ratio))
        ramp = self.ratio * whole * (whole - 1.0) / 2.0 + whole * (rest + 1.0)
        beyond = np.maximum(position - (full - 1.0), 0.0)
        return ramp + beyond * float(self.most or 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class CompressedAttention:
    """Attention with one shared key-value head, pooled entries and a low-rank output.

    Attributes
    ----------
    ratio : int
        Tokens pooled into an entry; 0 for a layer with its window alone.
    overlapping : bool
        An entry also pools the tokens of the one before, from a second projection (CSA).
    index_heads, index_dim, index_top_k : int
        The indexer over entries; 0 heads without.
    out_groups, out_rank : int
        Heads are projected in groups to `out_rank` each, then mixed.
    """

    heads: int
    head_dim: int
    rope_dim: int
    query_rank: int
    window: int
    ratio: int
    out_groups: int
    out_rank: int
    overlapping: bool = False
    index_heads: int = 0
    index_dim: int = 0
    index_top_k: int = 0

    @property
    def span(self) -> CompressedSpan:
        """What a token attends to."""
        most = self.index_top_k if self.index_heads else None
        return CompressedSpan(self.window, self.ratio, most, self._label)

    @property
    def _label(self) -> str:
        if not self.ratio:
            return "window"
        return "compressed_selected" if self.index_heads else "compressed"

    @property
    def _pooled(self) -> int:
        """Columns that one token brings to the pooling."""
        if not self.ratio:
            return 0
        return self.head_dim * (2 if self.overlapping else 1)

    def matrices(self, hidden: int) -> tuple[Matrix, ...]:
        """Return projections to queries, key-values, poolings and out."""
        width = self.heads * self.head_dim
        mixed = self.out_groups * self.out_rank
        parts = [
            Matrix(name="query_down", n=self.query_rank, k=hidden, shard="replicated"),
            Matrix(name="query_up", n=width, k=self.query_rank),
            Matrix(name="kv_down", n=self.head_dim, k=hidden, shard="replicated"),
            # Block-diagonal: each group of heads has its own block of out_rank columns.
            Matrix(
                name="attention_group",
                n=mixed,
                k=width // self.out_groups,
                traffic=_both(ACTIVATION_BYTES * (width + mixed)),
            ),
            Matrix(name="attention_out", n=hidden, k=mixed, shard="row"),
        ]
        if self._pooled:
            parts.append(Matrix(name="pool", n=2 * self._pooled, k=hidden, shard="replicated"))
        if self.index_heads:
            parts.extend(self._index_matrices(hidden))
        return tuple(parts)

    def _index_matrices(self, hidden: int) -> tuple[Matrix, ...]:
        return (
            Matrix(
                name="index_query",
                n=self.index_heads * self.index_dim,
                k=self.query_rank,
                shard="replicated",
            ),
            # Two overlapping series, each with values and gates.
            Matrix(name="index_key", n=4 * self.index_dim, k=hidden, shard="replicated"),
            Matrix(name="index_weight", n=self.index_heads, k=hidden, shard="replicated"),
        )

    def small_elements(self, hidden: int) -> int:  # noqa: ARG002
        """Norms, sinks, and the position biases of the poolings."""
        own = self.query_rank + self.head_dim + self.heads
        pool = self.ratio * self._pooled + self.head_dim if self._pooled else 0
        index = self.ratio * 2 * self.index_dim + self.index_dim if self.index_heads else 0
        return own + pool + index

    def rows(self, hidden: int, formats: TensorFormats) -> tuple[Row, ...]:  # noqa: ARG002
        """Rotation, attention of the two phases, and the indexer's scores."""
        rotated = (2 * self.heads + 1) * self.rope_dim  # outputs are rotated back
        rotary = elementwise(
            "rotary", bytes_each=2 * rotated * ACTIVATION_BYTES, flop_each=ROTARY_FLOP * rotated
        )
        index: tuple[Row, ...] = ()
        if self.index_heads:
            entries = CompressedSpan(0, self.ratio)
            index = index_rows(self.index_heads, self.index_dim, entries)
        return rotary, *self._attention(formats), *index

    def _attention(self, formats: TensorFormats) -> tuple[Row, Row]:
        pair_flop = float(FLOP_PER_MAC * self.heads * 2 * self.head_dim)
        token_bytes = self.head_dim * kv_element_bytes(formats.kv)
        ends = ACTIVATION_BYTES * self.heads * 2 * self.head_dim
        dtype = arithmetic_format(formats.kv, "bf16")
        span = self.span
        prefill = Row(
            name=f"prefill_attention.{self._label}",
            kind="attention_prefill",
            dtype=dtype,
            shard="head",
            m=Term(1.0, PREFILL),
            n=1.0,
            k=2.0 * self.head_dim,
            flop=Term(pair_flop, PromptPairs(span)),
            activation=Term(ends, PREFILL),
            kv=Term(token_bytes, PromptCache(span)),
        )
        decode = Row(
            name=f"decode_attention.{self._label}",
            kind="attention_decode",
            dtype=dtype,
            shard="head",
            m=Term(1.0, DECODE),
            n=1.0,
            k=2.0 * self.head_dim,
            flop=Term(pair_flop, DecodeReads(span)),
            activation=Term(ends, DECODE),
            kv=Term(token_bytes, DecodeCache(span)),
        )
        return prefill, decode

    def cache_bytes(self, context_tokens: Floats, kv_format: str) -> Floats:
        """Window, entries and index keys; the few tokens of an unfinished entry are left out."""
        tokens = np.asarray(context_tokens, dtype=np.float64)
        kept = self.head_dim * kv_element_bytes(kv_format) * self.span.stored(tokens)
        if not self.index_heads:
            return kept
        return kept + self._index_bytes * CompressedSpan(0, self.ratio).stored(tokens)

    def cache_bytes_per_token(self, kv_format: str) -> float:
        """One entry is shared by `ratio` tokens; a window alone adds nothing."""
        if not self.ratio:
            return 0.0
        entry = self.head_dim * kv_element_bytes(kv_format) + self._index_bytes
        return entry / self.ratio

    @property
    def _index_bytes(self) -> float:
        return self.index_dim + INDEX_SCALE_BYTES if self.index_heads else 0.0

    def state_bytes(self) -> float:
        """No state."""
        return 0.0


def _both(bytes_each: float) -> Rows:
    return Rows(prefill=bytes_each, decode=bytes_each)
