"""The vocabulary that the parts of a layer describe themselves in: matrices, rows, caches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

from tapeout.constants import FLOP_PER_MAC
from tapeout.numerics import Floats
from tapeout.workload.drivers import TOKENS, Driver, ExpertsHit, Once, Rows
from tapeout.workload.formats import (
    arithmetic_format,
    element_bytes,
    expert_format,
    weight_element_bytes,
)
from tapeout.workload.types import TensorFormats

TensorClass = Literal["matrix", "expert", "small"]
Message = Literal["none", "reduce", "dispatch", "combine"]
ACTIVATION_BYTES = 2.0  # results, residual stream and messages are bf16
LOGIT_BYTES = 4.0
STATE_BYTES = 4.0  # recurrent states are kept in fp32


@dataclass(frozen=True, slots=True)
class Term:
    """A constant times a driver."""

    factor: float
    driver: Driver


NOTHING = Term(0.0, Once())


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One operator of one repetition, before a step is known; see `OperatorTable`."""

    name: str
    kind: str
    dtype: str
    shard: str
    m: Term
    n: float
    k: float
    flop: Term
    weight: Term = NOTHING
    activation: Term = NOTHING
    kv: Term = NOTHING
    message: Term = NOTHING


@dataclass(frozen=True, slots=True, kw_only=True)
class Matrix:
    """A weight matrix (k by n) and the product it takes part in.

    Attributes
    ----------
    copies : int
        Stored copies: the routed experts, else 1.
    used : int
        Copies that one token meets.
    rows : Driver
        Rows multiplied per used copy.
    traffic : Driver, optional
        Bytes of activations per step if they do not follow from m, n and k.
    message : str, optional
        What travels between ranks when the product is cut.
    """

    name: str
    n: int
    k: int
    shard: str = "column"
    tensor: TensorClass = "matrix"
    bias: bool = False
    copies: int = 1
    used: int = 1
    rows: Driver = TOKENS
    traffic: Driver | None = None
    message: Message | None = None  # None: "reduce" after a row-cut product, else "none"

    @property
    def elements(self) -> int:
        """Parameters of one copy."""
        return self.n * self.k + (self.n if self.bias else 0)

    def weight_bytes(self, formats: TensorFormats) -> float:
        """Bytes of one copy with scales; a bias keeps the format of the small tensors."""
        stored = self.n * self.k * weight_element_bytes(format_of(self.tensor, formats))
        return stored + (self.n * weight_element_bytes(formats.embedding) if self.bias else 0.0)

    def row(self, formats: TensorFormats) -> Row:
        """Return the operator of the product."""
        grouped = self.copies > 1
        dtype = arithmetic_format(format_of(self.tensor, formats), formats.activation)
        moved = element_bytes(dtype) * self.k + ACTIVATION_BYTES * self.n
        return Row(
            name=self.name,
            kind="grouped_gemm" if grouped else "gemm",
            dtype=dtype,
            shard=self.shard,
            m=Term(self.used, self.rows),
            n=self.n,
            k=self.k,
            flop=Term(FLOP_PER_MAC * self.n * self.k * self.used, self.rows),
            weight=Term(
                self.weight_bytes(formats),
                ExpertsHit(self.copies, self.used) if grouped else Once(),
            ),
            activation=Term(1.0, self.traffic)
            if self.traffic is not None
            else Term(moved * self.used, self.rows),
            message=self._message(dtype),
        )

    def _message(self, dtype: str) -> Term:
        what = self.message or ("reduce" if self.shard == "row" else "none")
        if what == "none":
            return NOTHING
        # Tokens go to experts in the format they are multiplied in; all else travels in bf16.
        inward = what == "dispatch"
        width = element_bytes(dtype) * self.k if inward else ACTIVATION_BYTES * self.n
        return Term(width * self.used, self.rows)


class Part(Protocol):
    """A mixer or feed-forward of a layer."""

    def matrices(self, hidden: int) -> tuple[Matrix, ...]:
        """Weight matrices with their products."""
        ...

    def small_elements(self, hidden: int) -> int:
        """Parameters that are in no matrix: norms, convolutions, sinks, decay rates."""
        ...

    def rows(self, hidden: int, formats: TensorFormats) -> tuple[Row, ...]:
        """Operators that are not matrix products with weights."""
        ...


class Mixer(Part, Protocol):
    """The part that mixes tokens: attention or a recurrence."""

    def cache_bytes(self, context_tokens: Floats, kv_format: str) -> Floats:
        """Bytes kept for one sequence of this many tokens, same shape."""
        ...

    def cache_bytes_per_token(self, kv_format: str) -> float:
        """Bytes that one more token adds in a long context."""
        ...

    def state_bytes(self) -> float:
        """Bytes kept for one sequence whatever its length."""
        ...


def format_of(tensor: TensorClass, formats: TensorFormats) -> str:
    """Return the format a class of tensors is stored in."""
    if tensor == "expert":
        return expert_format(formats)
    return formats.weight if tensor == "matrix" else formats.embedding


def elementwise(name: str, *, bytes_each: float, flop_each: float, rows: Rows = TOKENS) -> Row:
    """Return an operator bound by the activations it moves."""
    return Row(
        name=name,
        kind="elementwise",
        dtype="bf16",
        shard="column",
        m=Term(1.0, rows),
        n=bytes_each / ACTIVATION_BYTES,
        k=1.0,
        flop=Term(flop_each, rows),
        activation=Term(bytes_each, rows),
    )
