"""Softmax attention over cached keys and values: MHA, GQA, MQA, full or with a window."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from tapeout.constants import FLOP_PER_MAC
from tapeout.numerics import Floats
from tapeout.workload.drivers import (
    DECODE,
    PREFILL,
    TOKENS,
    DecodeCache,
    DecodeReads,
    FullSpan,
    PromptCache,
    PromptPairs,
    SlidingSpan,
    Span,
)
from tapeout.workload.formats import arithmetic_format, kv_element_bytes
from tapeout.workload.parts import ACTIVATION_BYTES, Matrix, Row, Term, elementwise
from tapeout.workload.types import TensorFormats

ROTARY_FLOP = 3.0  # per rotated element
WIDE_NORM_FLOP = 4.0  # per element: no residual is added
STATISTIC_BYTES = 4.0  # mean squares are kept in fp32
FULL = FullSpan()


@dataclass(frozen=True, slots=True, kw_only=True)
class SoftmaxAttention:
    """Attention with `kv_heads` keys and values, each shared by `heads / kv_heads` queries.

    Attributes
    ----------
    head_dim, value_dim : int
        Width of a key and of a value.
    qk_norm : str
        "head": two weights of a head's width; "layer": over all heads; "none" also where the
        norm has no weights.
    shared_kv : bool
        One projection yields keys and values (both are cached).
    sinks : bool
        One learned logit a head.
    gate : bool
        The output is multiplied by a gate as wide as the queries.
    """

    heads: int
    kv_heads: int
    head_dim: int
    value_dim: int
    span: Span = FULL
    qkv_bias: bool = False
    out_bias: bool = False
    qk_norm: Literal["none", "head", "layer"] = "none"
    shared_kv: bool = False
    sinks: bool = False
    gate: bool = False

    @property
    def kv_elements(self) -> int:
        """Cached elements of one token."""
        return self.kv_heads * (self.head_dim + self.value_dim)

    @property
    def query_elements(self) -> int:
        """Width of the queries."""
        return self.heads * self.head_dim

    def matrices(self, hidden: int) -> tuple[Matrix, ...]:
        """Return the projections into and out of the heads."""
        keys = self.kv_heads * self.head_dim
        values = 0 if self.shared_kv else self.kv_heads * self.value_dim
        gate = self.heads * self.value_dim if self.gate else 0
        return (
            Matrix(
                name="qkv",
                n=self.query_elements + gate + keys + values,
                k=hidden,
                bias=self.qkv_bias,
            ),
            Matrix(
                name="attention_out",
                n=hidden,
                k=self.heads * self.value_dim,
                shard="row",
                bias=self.out_bias,
            ),
        )

    def small_elements(self, hidden: int) -> int:  # noqa: ARG002
        """Norms of queries and keys, and sinks."""
        norm = {
            "none": 0,
            "head": 2 * self.head_dim,
            "layer": (self.heads + self.kv_heads) * self.head_dim,
        }[self.qk_norm]
        return norm + (self.heads if self.sinks else 0)

    def rows(self, hidden: int, formats: TensorFormats) -> tuple[Row, ...]:  # noqa: ARG002
        """Return rotation and the two attention operators, and a norm that ranks must agree on."""
        rotated = self.query_elements + self.kv_heads * self.head_dim
        wide = (_wide_norm(rotated),) if self.qk_norm == "layer" else ()
        return (
            *wide,
            elementwise(
                "rotary",
                bytes_each=2 * rotated * ACTIVATION_BYTES,
                flop_each=ROTARY_FLOP * rotated,
            ),
            *attention_rows(self, formats),
        )

    def cache_bytes(self, context_tokens: Floats, kv_format: str) -> Floats:
        """Keys and values within reach."""
        per_token = self.kv_elements * kv_element_bytes(kv_format)
        return per_token * self.span.stored(np.asarray(context_tokens, dtype=np.float64))

    def cache_bytes_per_token(self, kv_format: str) -> float:
        """Nought once a window is full."""
        bounded = float(self.span.stored(np.array(np.inf))) < np.inf
        return 0.0 if bounded else self.kv_elements * kv_element_bytes(kv_format)

    def state_bytes(self) -> float:
        """No state."""
        return 0.0


def _wide_norm(width: int) -> Row:
    """Norm of queries and keys over all heads of a layer (MiniMax-M2).

    Its two mean squares of a token are summed over tensor ranks, an all-reduce of two fp32 values
    (vLLM, MiniMaxText01RMSNormTP.forward_qk). Norms per head need none and are fused with rotary.
    """
    return Row(
        name="qk_norm",
        kind="norm",
        dtype="bf16",
        shard="row",
        m=Term(1.0, TOKENS),
        n=2.0,
        k=float(width),
        flop=Term(WIDE_NORM_FLOP * width, TOKENS),
        activation=Term(2.0 * ACTIVATION_BYTES * width, TOKENS),
        message=Term(2.0 * STATISTIC_BYTES, TOKENS),
    )


def attention_rows(part: SoftmaxAttention, formats: TensorFormats) -> tuple[Row, Row]:
    """Prefill and decode attention; products run in bf16 whatever the cache is kept in."""
    pair_flop = FLOP_PER_MAC * part.heads * (part.head_dim + part.value_dim)
    kv_bytes = part.kv_elements * kv_element_bytes(formats.kv)
    ends = ACTIVATION_BYTES * part.heads * (part.head_dim + part.value_dim)
    dtype = arithmetic_format(formats.kv, "bf16")
    prefill = Row(
        name=f"prefill_attention.{part.span.label}",
        kind="attention_prefill",
        dtype=dtype,
        shard="head",
        m=Term(1.0, PREFILL),
        n=part.kv_heads,
        k=part.head_dim + part.value_dim,
        flop=Term(pair_flop, PromptPairs(part.span)),
        activation=Term(ends, PREFILL),
        kv=Term(kv_bytes, PromptCache(part.span)),
    )
    decode = Row(
        name=f"decode_attention.{part.span.label}",
        kind="attention_decode",
        dtype=dtype,
        shard="head",
        m=Term(1.0, DECODE),
        n=part.kv_heads,
        k=part.head_dim + part.value_dim,
        flop=Term(pair_flop, DecodeReads(part.span)),
        activation=Term(ends, DECODE),
        kv=Term(kv_bytes, DecodeCache(part.span)),
    )
    return prefill, decode


def span_for(window: int | None) -> Span:
    """Return a sliding span, or the full one without a window."""
    return SlidingSpan(window) if window else FULL
