"""Mixers with a state of fixed size: Mamba, lightning attention, gated DeltaNet and KDA.

FLOP and bytes follow the chunked forms of the published kernels: Mamba-2 (Dao and Gu 2024), gated
DeltaNet in WY form (Yang et al. 2024), lightning attention (Qin et al. 2024).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np

from tapeout.numerics import Floats
from tapeout.workload.drivers import DECODE, PREFILL, Rows
from tapeout.workload.parts import ACTIVATION_BYTES, STATE_BYTES, Matrix, Row, Term
from tapeout.workload.types import TensorFormats


@dataclass(frozen=True, slots=True, kw_only=True)
class Recurrence:
    """What a recurrence costs per token and keeps per sequence.

    Attributes
    ----------
    state, conv_state : int
        Elements of the recurrent state and of the inputs a convolution remembers.
    width : int
        Elements in and out of the scan per token.
    heads : int
        Independent states, the most a scan can be cut into.
    """

    label: str
    state: int
    conv_state: int
    width: int
    heads: int
    decode_flop: float
    prefill_flop: float

    @property
    def kept_bytes(self) -> float:
        """Bytes of one sequence: fp32 state, bf16 convolution inputs."""
        return self.state * STATE_BYTES + self.conv_state * ACTIVATION_BYTES

    def rows(self) -> tuple[Row, Row]:
        """Scan of prompts and of decoding sequences; the state is read and written."""
        return self._row("prefill", PREFILL, Rows(prompts=1.0)), self._row("decode", DECODE, DECODE)

    def _row(self, phase: str, tokens: Rows, sequences: Rows) -> Row:
        flop = self.prefill_flop if phase == "prefill" else self.decode_flop
        return Row(
            name=f"{phase}_scan.{self.label}",
            kind="scan",
            dtype="bf16",
            shard="head",
            m=Term(1.0, tokens),
            n=float(self.heads),
            k=self.state / self.heads,
            flop=Term(flop, tokens),
            activation=Term(self.width * ACTIVATION_BYTES, tokens),
            kv=Term(2.0 * self.kept_bytes, sequences),
        )


class _Stateful(ABC):
    """What all recurrent mixers share: a state and no growing cache."""

    __slots__ = ()

    @property
    @abstractmethod
    def recurrence(self) -> Recurrence:
        """The scan of this mixer."""

    def rows(self, hidden: int, formats: TensorFormats) -> tuple[Row, ...]:  # noqa: ARG002
        """Return the scan of both phases."""
        return self.recurrence.rows()

    def cache_bytes(self, context_tokens: Floats, kv_format: str) -> Floats:  # noqa: ARG002
        """No cache that grows."""
        return np.zeros_like(np.asarray(context_tokens, dtype=np.float64))

    def cache_bytes_per_token(self, kv_format: str) -> float:  # noqa: ARG002
        """No cache that grows."""
        return 0.0

    def state_bytes(self) -> float:
        """State and convolution inputs of one sequence."""
        return self.recurrence.kept_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Mamba2(_Stateful):
    """State-space duality: `heads` of `head_dim` channels with a state of `state` each."""

    heads: int
    head_dim: int
    state: int
    groups: int
    kernel: int
    chunk: int = 256
    conv_bias: bool = True
    bias: bool = False

    @property
    def inner(self) -> int:
        """Channels."""
        return self.heads * self.head_dim

    @property
    def convolved(self) -> int:
        """Channels of the convolution: x, B and C."""
        return self.inner + 2 * self.groups * self.state

    def matrices(self, hidden: int) -> tuple[Matrix, ...]:
        """Return the projections in (z, x, B, C, dt) and out."""
        return (
            Matrix(
                name="mixer_in",
                n=self.inner + self.convolved + self.heads,
                k=hidden,
                bias=self.bias,
            ),
            Matrix(name="mixer_out", n=hidden, k=self.inner, shard="row", bias=self.bias),
        )

    def small_elements(self, hidden: int) -> int:  # noqa: ARG002
        """Convolution; decay, skip and step bias a head; gated norm."""
        conv = self.convolved * (self.kernel + (1 if self.conv_bias else 0))
        return conv + 3 * self.heads + self.inner

    @property
    def recurrence(self) -> Recurrence:
        """Scan with the causal half of each chunk as a matrix product."""
        states = float(self.inner * self.state)
        conv = 2.0 * self.kernel * self.convolved
        half = self.chunk * (self.groups * self.state + self.inner)
        return Recurrence(
            label="mamba2",
            state=self.inner * self.state,
            conv_state=self.convolved * (self.kernel - 1),
            width=2 * self.inner + self.convolved + self.heads,
            heads=self.heads,
            decode_flop=5.0 * states + conv,
            prefill_flop=half + 4.0 * states + 3.0 * states / self.chunk + conv,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Mamba1(_Stateful):
    """Selective scan (Gu and Dao 2023): one state of `state` for each of `inner` channels.

    There is no matrix form, so prefill costs the vector units the same per token as decode.
    """

    inner: int
    state: int
    kernel: int
    step_rank: int
    conv_bias: bool = True
    bias: bool = False
    inner_norms: bool = False  # norms of dt, B and C (jamba)

    def matrices(self, hidden: int) -> tuple[Matrix, ...]:
        """Return the projections in, to (dt, B, C), of dt, and out."""
        return (
            Matrix(name="mixer_in", n=2 * self.inner, k=hidden, bias=self.bias),
            Matrix(
                name="mixer_select",
                n=self.step_rank + 2 * self.state,
                k=self.inner,
                shard="row",
            ),
            Matrix(name="mixer_step", n=self.inner, k=self.step_rank, bias=True),
            Matrix(name="mixer_out", n=hidden, k=self.inner, shard="row", bias=self.bias),
        )

    def small_elements(self, hidden: int) -> int:  # noqa: ARG002
        """Convolution, decay, skip, and norms."""
        conv = self.inner * (self.kernel + (1 if self.conv_bias else 0))
        norms = self.step_rank + 2 * self.state if self.inner_norms else 0
        return conv + self.inner * self.state + self.inner + norms

    @property
    def recurrence(self) -> Recurrence:
        """Scan on the vector units."""
        flop = 9.0 * self.inner * self.state + 2.0 * self.kernel * self.inner
        return Recurrence(
            label="mamba1",
            state=self.inner * self.state,
            conv_state=self.inner * (self.kernel - 1),
            width=4 * self.inner + 2 * self.state,
            heads=self.inner,
            decode_flop=flop,
            prefill_flop=flop,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class LightningAttention(_Stateful):
    """Linear attention with a decay, an output gate and a norm (MiniMax-Text-01)."""

    heads: int
    head_dim: int
    chunk: int = 256

    def matrices(self, hidden: int) -> tuple[Matrix, ...]:
        """Return projections to queries, keys, values and gate, and out."""
        width = self.heads * self.head_dim
        return (
            Matrix(name="mixer_in", n=4 * width, k=hidden),
            Matrix(name="mixer_out", n=hidden, k=width, shard="row"),
        )

    def small_elements(self, hidden: int) -> int:  # noqa: ARG002
        """Norm of the output."""
        return self.heads * self.head_dim

    @property
    def recurrence(self) -> Recurrence:
        """Scan with one d x d state a head."""
        width = self.heads * self.head_dim
        state = width * self.head_dim
        return Recurrence(
            label="lightning",
            state=state,
            conv_state=0,
            width=5 * width,
            heads=self.heads,
            decode_flop=4.0 * state,
            prefill_flop=2.0 * self.chunk * width + 4.0 * state,
        )


WY_CHUNK = 64  # tokens of one chunk of the WY form


def delta_flop(heads: int, key_dim: int, value_dim: int) -> tuple[float, float]:
    """FLOP of a token of a gated delta rule: decoding, and in chunks of the WY form."""
    state = key_dim * value_dim
    chunked = 2 * WY_CHUNK * (3 * key_dim + 2 * value_dim) + 6 * state + WY_CHUNK**2 / 3
    return 7.0 * heads * state, heads * chunked


@dataclass(frozen=True, slots=True, kw_only=True)
class GatedDeltaNet(_Stateful):
    """Delta rule with one decay a head (qwen3-next); value heads share key heads."""

    key_heads: int
    value_heads: int
    key_dim: int
    value_dim: int
    kernel: int

    @property
    def keys(self) -> int:
        """Width of all keys."""
        return self.key_heads * self.key_dim

    @property
    def values(self) -> int:
        """Width of all values."""
        return self.value_heads * self.value_dim

    def matrices(self, hidden: int) -> tuple[Matrix, ...]:
        """Return projections to q, k, v, z and the two gates, and out."""
        return (
            Matrix(name="mixer_in", n=2 * self.keys + 2 * self.values, k=hidden),
            Matrix(name="mixer_gates", n=2 * self.value_heads, k=hidden, tensor="small"),
            Matrix(name="mixer_out", n=hidden, k=self.values, shard="row"),
        )

    def small_elements(self, hidden: int) -> int:  # noqa: ARG002
        """Convolution, decay and step bias a head, gated norm."""
        return self._convolved * self.kernel + 2 * self.value_heads + self.value_dim

    @property
    def _convolved(self) -> int:
        return 2 * self.keys + self.values

    @property
    def recurrence(self) -> Recurrence:
        """Scan with one key x value state a value head."""
        decode, prefill = delta_flop(self.value_heads, self.key_dim, self.value_dim)
        conv = 2.0 * self.kernel * self._convolved
        return Recurrence(
            label="gated_delta",
            state=self.value_heads * self.key_dim * self.value_dim,
            conv_state=self._convolved * (self.kernel - 1),
            width=self._convolved + 2 * self.values,
            heads=self.value_heads,
            decode_flop=decode + conv,
            prefill_flop=prefill + conv,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class KimiDelta(_Stateful):
    """Delta rule with one decay a channel (Kimi Delta Attention).

    Attributes
    ----------
    full_rank_gate : bool
        The output gate is one matrix (Kimi K3) instead of a pair of rank `head_dim`.
    """

    heads: int
    head_dim: int
    kernel: int
    full_rank_gate: bool = False

    @property
    def width(self) -> int:
        """Width of all queries, keys or values."""
        return self.heads * self.head_dim

    def matrices(self, hidden: int) -> tuple[Matrix, ...]:
        """Return projections to q, k, v, decay, step and gate, and out."""
        low_rank = Matrix(name="mixer_gate_up", n=self.width, k=self.head_dim)
        gates = self.heads + self.head_dim * (1 if self.full_rank_gate else 2)
        parts = (
            Matrix(name="mixer_in", n=self.width * (4 if self.full_rank_gate else 3), k=hidden),
            Matrix(name="mixer_gates", n=gates, k=hidden, shard="replicated"),
            low_rank,
            Matrix(name="mixer_out", n=hidden, k=self.width, shard="row"),
        )
        return parts if self.full_rank_gate else (*parts, low_rank)

    def small_elements(self, hidden: int) -> int:  # noqa: ARG002
        """Convolutions, step biases, decay a head, gated norm."""
        return 3 * self.width * self.kernel + self.width + self.heads + self.head_dim

    @property
    def recurrence(self) -> Recurrence:
        """Scan with one d x d state a head."""
        decode, prefill = delta_flop(self.heads, self.head_dim, self.head_dim)
        conv = 2.0 * self.kernel * 3 * self.width
        return Recurrence(
            label="kimi_delta",
            state=self.width * self.head_dim,
            conv_state=3 * self.width * (self.kernel - 1),
            width=6 * self.width,
            heads=self.heads,
            decode_flop=decode + conv,
            prefill_flop=prefill + conv,
        )
