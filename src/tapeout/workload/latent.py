"""Multi-head latent attention (DeepSeek-V2), with or without the sparse indexer (DSA)."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from tapeout.constants import FLOP_PER_MAC
from tapeout.numerics import Floats
from tapeout.workload.attention import FULL, ROTARY_FLOP
from tapeout.workload.drivers import (
    DECODE,
    PREFILL,
    DecodeCache,
    DecodeReads,
    PromptCache,
    PromptPairs,
    Rows,
    SelectedSpan,
    Span,
)
from tapeout.workload.formats import arithmetic_format, kv_element_bytes
from tapeout.workload.parts import ACTIVATION_BYTES, Matrix, Row, Term, elementwise
from tapeout.workload.types import TensorFormats

INDEX_SCALE_BYTES = 4.0  # one fp32 scale for the fp8 index key of a token


@dataclass(frozen=True, slots=True, kw_only=True)
class Indexer:
    """Cheap scoring of all earlier tokens that picks those attended to (DeepSeek-V3.2).

    `owned` is False where a layer reuses the choice of the layer before.
    """

    heads: int
    head_dim: int
    top_k: int
    owned: bool = True

    def matrices(self, hidden: int, query_rank: int) -> tuple[Matrix, ...]:
        """Queries from the latent, one key and the head weights from the hidden state."""
        if not self.owned:
            return ()
        return (
            Matrix(
                name="index_query", n=self.heads * self.head_dim, k=query_rank, shard="replicated"
            ),
            Matrix(name="index_key", n=self.head_dim, k=hidden, shard="replicated"),
            Matrix(name="index_weight", n=self.heads, k=hidden, shard="replicated"),
        )

    def small_elements(self) -> int:
        """LayerNorm of the key."""
        return 2 * self.head_dim if self.owned else 0

    def rows(self) -> tuple[Row, ...]:
        """Scores over everything cached."""
        return index_rows(self.heads, self.head_dim, FULL) if self.owned else ()

    @property
    def cache_bytes_per_token(self) -> float:
        """Index key in fp8 with its scale, whatever the format of the cache."""
        return self.head_dim + INDEX_SCALE_BYTES if self.owned else 0.0


def index_rows(heads: int, head_dim: int, span: Span) -> tuple[Row, Row]:
    """Scores of queries against index keys in fp8; not split, since every rank needs the choice."""
    pair_flop = float(FLOP_PER_MAC * heads * head_dim)
    token_bytes = head_dim + INDEX_SCALE_BYTES
    queries = float(heads * head_dim)  # one byte each
    prefill = Row(
        name="prefill_index",
        kind="attention_prefill",
        dtype="fp8",
        shard="replicated",
        m=Term(1.0, PREFILL),
        n=1.0,
        k=float(head_dim),
        flop=Term(pair_flop, PromptPairs(span)),
        activation=Term(queries, PREFILL),
        kv=Term(token_bytes, PromptCache(span)),
    )
    decode = replace(
        prefill,
        name="decode_index",
        kind="attention_decode",
        m=Term(1.0, DECODE),
        flop=Term(pair_flop, DecodeReads(span)),
        activation=Term(queries, DECODE),
        kv=Term(token_bytes, DecodeCache(span)),
    )
    return prefill, decode


@dataclass(frozen=True, slots=True, kw_only=True)
class LatentAttention:
    """Keys and values of all heads are expanded from one cached latent of a token.

    Prefill expands the latent (and again that of cached context); decode works on the latent
    itself. Both multiply each row with the same matrix: 2 H r_kv (d_nope + d_v) FLOP, so it is one
    operator, `latent_up`, whose weights are read once. With an indexer both phases work on the
    latent, for the tokens picked.
    """

    heads: int
    query_rank: int | None
    kv_rank: int
    nope_dim: int
    rope_dim: int
    value_dim: int
    indexer: Indexer | None = None
    gate: bool = False

    @property
    def latent(self) -> int:
        """Cached elements of one token."""
        return self.kv_rank + self.rope_dim

    @property
    def span(self) -> Span:
        """What a token attends to."""
        return SelectedSpan(self.indexer.top_k) if self.indexer else FULL

    def matrices(self, hidden: int) -> tuple[Matrix, ...]:
        """Return the down and up projections, and those of the indexer."""
        query = self.heads * (self.nope_dim + self.rope_dim)
        parts = [Matrix(name="kv_down", n=self.latent, k=hidden, shard="replicated")]
        if self.query_rank is None:
            parts.append(Matrix(name="query", n=query, k=hidden))
        else:
            parts.append(Matrix(name="query_down", n=self.query_rank, k=hidden, shard="replicated"))
            parts.append(Matrix(name="query_up", n=query, k=self.query_rank))
        parts.append(self._latent_up())
        if self.gate:
            parts.append(Matrix(name="attention_gate", n=self.heads * self.value_dim, k=hidden))
        parts.append(
            Matrix(name="attention_out", n=hidden, k=self.heads * self.value_dim, shard="row")
        )
        if self.indexer is not None:
            parts.extend(self.indexer.matrices(hidden, self.query_rank or hidden))
        return tuple(parts)

    def _latent_up(self) -> Matrix:
        expanded = self.nope_dim + self.value_dim
        unfolded = ACTIVATION_BYTES * (self.kv_rank + self.heads * expanded)
        absorbed = ACTIVATION_BYTES * self.heads * (expanded + 2 * self.kv_rank)
        if self.indexer is None:
            rows = Rows(prefill=1.0, cached=1.0, decode=1.0)
            traffic = Rows(prefill=unfolded, cached=unfolded, decode=absorbed)
        else:
            rows = Rows(prefill=1.0, decode=1.0)
            traffic = Rows(prefill=absorbed, decode=absorbed)
        return Matrix(
            name="latent_up", n=self.heads * expanded, k=self.kv_rank, rows=rows, traffic=traffic
        )

    def small_elements(self, hidden: int) -> int:  # noqa: ARG002
        """Norms of the latents."""
        indexer = self.indexer.small_elements() if self.indexer else 0
        return self.kv_rank + (self.query_rank or 0) + indexer

    def rows(self, hidden: int, formats: TensorFormats) -> tuple[Row, ...]:  # noqa: ARG002
        """Rotation, attention of the two phases, and the indexer's scores."""
        rotated = (self.heads + 1) * self.rope_dim
        rotary = elementwise(
            "rotary", bytes_each=2 * rotated * ACTIVATION_BYTES, flop_each=ROTARY_FLOP * rotated
        )
        indexer = self.indexer.rows() if self.indexer else ()
        return rotary, self._prefill(formats), self._decode(formats), *indexer

    def _absorbed_flop(self) -> float:
        return FLOP_PER_MAC * self.heads * (2 * self.kv_rank + self.rope_dim)

    def _prefill(self, formats: TensorFormats) -> Row:
        unfolded = self.nope_dim + self.rope_dim + self.value_dim
        if self.indexer is None:
            pair_flop = float(FLOP_PER_MAC * self.heads * unfolded)
            width = ACTIVATION_BYTES * self.heads * unfolded
            # Queries and outputs of the prompt; unfolded keys and values of all it reads.
            activation = Term(width, Rows(prefill=2.0, cached=1.0))
        else:
            pair_flop = self._absorbed_flop()
            width = ACTIVATION_BYTES * self.heads * (self.latent + self.kv_rank)
            activation = Term(width, PREFILL)
        return Row(
            name=f"prefill_attention.{self._label}",
            kind="attention_prefill",
            dtype=arithmetic_format(formats.kv, "bf16"),
            shard="head",
            m=Term(1.0, PREFILL),
            n=1.0,
            k=float(unfolded if self.indexer is None else self.latent + self.kv_rank),
            flop=Term(pair_flop, PromptPairs(self.span)),
            activation=activation,
            kv=Term(self._token_bytes(formats.kv), PromptCache(self.span)),
        )

    def _decode(self, formats: TensorFormats) -> Row:
        ends = ACTIVATION_BYTES * self.heads * (self.latent + self.kv_rank)
        return Row(
            name=f"decode_attention.{self._label}",
            kind="attention_decode",
            dtype=arithmetic_format(formats.kv, "bf16"),
            shard="head",
            m=Term(1.0, DECODE),
            n=1.0,
            k=float(self.latent + self.kv_rank),
            flop=Term(self._absorbed_flop(), DecodeReads(self.span)),
            activation=Term(ends, DECODE),
            kv=Term(self._token_bytes(formats.kv), DecodeCache(self.span)),
        )

    @property
    def _label(self) -> str:
        return "latent" if self.indexer is None else "latent_selected"

    def _token_bytes(self, kv_format: str) -> float:
        return self.latent * kv_element_bytes(kv_format)

    def cache_bytes(self, context_tokens: Floats, kv_format: str) -> Floats:
        """Latents of the whole context, with index keys."""
        tokens = np.asarray(context_tokens, dtype=np.float64)
        return tokens * self.cache_bytes_per_token(kv_format)

    def cache_bytes_per_token(self, kv_format: str) -> float:
        """Latent and index key of a token."""
        indexer = self.indexer.cache_bytes_per_token if self.indexer else 0.0
        return self._token_bytes(kv_format) + indexer

    def state_bytes(self) -> float:
        """No state."""
        return 0.0
