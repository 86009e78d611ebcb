"""Types of the workload room: an architecture, a step and its operators, traffic, demand."""

from __future__ import annotations

from dataclasses import dataclass, field

from tapeout.numerics import Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class StepMix:
    """What one engine step processes; every field has shape (step,).

    Attributes
    ----------
    prefill_tokens : array
        New prompt tokens in the step, over all prompts. [token]
    prefill_context_tokens : array
        Tokens already cached for those prompts when the step begins (mean per new token). [token]
    prefill_sequences : array
        Prompts that bring those tokens; prefill attention is quadratic per prompt.
    decode_sequences : array
        Sequences that bring one new token each.
    decode_kv_tokens : array
        Cached tokens of those sequences, summed over them. [token]
    sampled_sequences : array
        Rows that need logits: decoding sequences and prompts that finish here.
    """

    prefill_tokens: Floats
    prefill_context_tokens: Floats
    prefill_sequences: Floats
    decode_sequences: Floats
    decode_kv_tokens: Floats
    sampled_sequences: Floats

    @property
    def tokens(self) -> Floats:
        """Token rows of the step, shape (step,)."""
        return self.prefill_tokens + self.decode_sequences


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorFormats:
    """Number formats by tensor class; the names are those of `formats.FORMAT_BYTES`."""

    weight: str  # the big matrices
    activation: str  # what the matrix units multiply
    kv: str
    embedding: str = "bf16"  # embeddings, head, router, norms and other small tensors
    expert: str | None = None  # routed experts; None: as `weight`


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorTable:
    """Operators of one step of one whole replica (before any sharding).

    `name`, `kind`, `dtype`, `shard` have one entry per operator; the arrays have shape (op, step).
    FLOP, bytes and messages are totals over `count` repetitions; m, n, k are of one repetition.

    kind is one of "gemm", "grouped_gemm", "attention_prefill", "attention_decode", "scan",
    "elementwise", "norm", "embedding", "sample". shard says how tensor parallelism cuts the
    operator: "column" (n is divided), "row" (k is divided, an all-reduce of the output follows),
    "head" (divided up to kv_heads), "expert" (grouped GEMM; cut by tensor or expert degree,
    an all-reduce or all-to-all follows), "replicated".
    """

    name: tuple[str, ...]
    kind: tuple[str, ...]
    dtype: tuple[str, ...]  # format the arithmetic runs in
    shard: tuple[str, ...]
    m: Floats
    n: Floats
    k: Floats
    count: Floats
    flop: Floats
    weight_bytes: Floats
    activation_bytes: Floats
    kv_bytes: Floats
    message_bytes: Floats  # payload of the reduction that follows when the operator is cut

    def total(self, column: str) -> Floats:
        """Sum a column over the operators, shape (step,)."""
        values: Floats = getattr(self, column)
        total: Floats = values.sum(axis=0)
        return total


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """A class of requests, described by means.

    `cached_input_fraction` is the share of input tokens served from the prefix cache.
    """

    name: str
    model: str
    input_tokens: float
    output_tokens: float
    cached_input_fraction: float = 0.0
    peak_to_mean_ratio: float = 1.0

    @property
    def input_per_output(self) -> float:
        """Input tokens per output token."""
        return self.input_tokens / self.output_tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """Tokens asked for over time, shape (draw, quarter, class), means over the day."""

    classes: tuple[str, ...]
    output_tokens_per_day: Floats
    input_tokens_per_day: Floats
    cached_input_tokens_per_day: Floats
    peak_to_mean_ratio: Floats = field(kw_only=True)
