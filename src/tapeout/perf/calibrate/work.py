"""Arithmetic and traffic of a timed operator, from its case alone.

Conventions of the operator tables: y[m,n] = x[m,k] w[k,n]; causal attention of q_len new tokens
on kv_len cached ones; one multiply-add is two FLOP.
"""

from __future__ import annotations

from dataclasses import dataclass

from tapeout.constants import FLOP_PER_MAC
from tapeout.perf.ops.cases import OpCase

ELEMENT_BYTES = {"fp32": 4.0, "bf16": 2.0, "fp16": 2.0, "fp8": 1.0, "int8": 1.0}
OUTPUT_BYTES = {"fp32": 4.0, "bf16": 2.0, "fp16": 2.0, "fp8": 2.0, "int8": 4.0}
PASSES = {"copy": 2.0, "silu_mul": 3.0, "rmsnorm": 2.0}  # tensors of m x n read or written
ATTENTION = ("attention_prefill", "attention_decode")


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What one call does. [FLOP], [B]."""

    flop: float
    moved_bytes: float


def load_of(case: OpCase) -> Load:
    """FLOP and least bytes of a case.

    Raises
    ------
    InfeasibleError
        A number that the operator needs is blank.

    Examples
    --------
    >>> from tapeout.perf.ops.cases import parse
    >>> row = {"chip": "c", "op": "gemm", "dtype": "fp32", "m": "1", "n": "2", "k": "3"}
    >>> load_of(parse(row))
    Load(flop=12.0, moved_bytes=44.0)
    """
    size = ELEMENT_BYTES[case.dtype]
    if case.op == "gemm":
        case.needs("m", "n", "k")
        read = (case.m + case.n) * case.k * size
        return Load(
            flop=FLOP_PER_MAC * case.m * case.n * case.k,
            moved_bytes=read + case.m * case.n * OUTPUT_BYTES[case.dtype],
        )
    if case.op in ATTENTION:
        case.needs("batch", "q_len", "heads", "kv_heads", "head_dim")
        cached = case.given("kv_len", 0.0)
        pairs = case.q_len * (cached + (case.q_len + 1.0) / 2.0)
        flop = 2.0 * FLOP_PER_MAC * case.batch * case.heads * case.head_dim * pairs
        queries = 2.0 * case.q_len * case.heads  # read, and the output of the same shape
        keys = 2.0 * (cached + case.q_len) * case.kv_heads
        return Load(flop=flop, moved_bytes=case.batch * case.head_dim * size * (queries + keys))
    case.needs("m", "n")
    return Load(flop=0.0, moved_bytes=PASSES[case.op] * case.m * case.n * size)
