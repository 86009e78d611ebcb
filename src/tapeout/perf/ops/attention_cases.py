"""From attention cases to the arrays of the laws: kinds, shapes, rates, coordinates."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tapeout.chip import ChipSpec
from tapeout.errors import InfeasibleError
from tapeout.numerics import Floats
from tapeout.perf.ops.attention import (
    Attention,
    AttentionRates,
    Constants,
    Values,
    decode_s,
    mixed_s,
    prefill_s,
)
from tapeout.perf.ops.attention_constants import DECODE, MIXED, PREFILL, Constant
from tapeout.perf.ops.cases import OpCase
from tapeout.perf.ops.gemm_rates import default_cores
from tapeout.perf.peaks import WIDER, peak_flop_per_s
from tapeout.workload.formats import FORMAT_BYTES, kv_element_bytes

ELEMENT_BYTES = {"fp32": 4.0, "bf16": 2.0, "fp16": 2.0, "fp8": 1.0, "int8": 1.0}
HEAD_DIM = 128.0
NO_WINDOW = 2.0**17  # coordinate of full attention: longer than any window measured

DEFAULTS = {
    "dtype": "bf16",
    "batch": 1.0,
    "kv_len": 0.0,
    "head_dim": HEAD_DIM,
    "window": 0.0,
    "k": 0.0,
}
"""What a blank column is taken for; `kv_heads` is `heads`, `kv_dtype` is `dtype`."""

POSITIVE = ("batch", "q_len", "kv_heads", "head_dim")  # where they are given

Shapes = tuple[Attention, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Law:
    """A kind of attention: its time, and the constants it has."""

    seconds: Callable[[Shapes, AttentionRates, Constants], Floats]
    constants: Mapping[str, Constant]


LAWS = {
    "prefill": Law(seconds=lambda s, r, c: prefill_s(s[0], r, c), constants=PREFILL),
    "decode": Law(seconds=lambda s, r, c: decode_s(s[0], r, c), constants=DECODE),
    "mixed": Law(seconds=lambda s, r, c: mixed_s(s[0], s[1], r, c), constants=MIXED),
}


def kind_of(case: OpCase) -> str:
    """Kind of a case: a prefill of a single token is what a decode kernel does.

    Raises
    ------
    InfeasibleError
        The operation is no attention over keys and values of heads.
    """
    kinds = {
        "attention_prefill": "decode" if case.q_len == 1.0 else "prefill",
        "attention_decode": "decode",
        "attention_mixed": "mixed",
    }
    if case.op not in kinds:
        raise InfeasibleError(f"{case.op!r} is not attention over heads")
    return kinds[case.op]


def needed(case: OpCase) -> tuple[str, ...]:
    """Columns that cannot be blank."""
    return {
        "attention_prefill": ("heads", "q_len"),
        "attention_decode": ("heads",),
        "attention_mixed": ("heads", "q_len"),
    }[case.op]


def check(case: OpCase) -> None:
    """Refuse a case that lacks a number, states zero of what cannot be, or shares heads oddly.

    Raises
    ------
    InfeasibleError
        Naming the columns.
    """
    some = ("kv_heads", "head_dim") if case.op == "attention_mixed" else POSITIVE
    given = (name for name in some if not np.isnan(getattr(case, name)))
    case.needs(*dict.fromkeys((*needed(case), *given)))
    if case.kv_heads > case.heads:
        raise InfeasibleError(f"{case.kv_heads:g} kv_heads are more than {case.heads:g} heads")


def assumed(case: OpCase) -> tuple[str, ...]:
    """Sentences on the defaults taken for blank columns."""
    words = [
        f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in DEFAULTS.items()
        if _is_blank(case, name) and (name != "k" or case.op == "attention_mixed")
    ]
    if _is_blank(case, "kv_heads"):
        words.append("kv_heads as heads")
    if not case.kv_dtype:
        words.append("kv_dtype as dtype")
    if case.op == "attention_decode" and _is_blank(case, "q_len"):
        words.append("q_len 1")
    return tuple(words)


def _is_blank(case: OpCase, name: str) -> bool:
    value = getattr(case, name)
    return not value if isinstance(value, str) else bool(np.isnan(value))


def kv_dtype(case: OpCase) -> str:
    """Format of the cache: its column, else that of the arithmetic, else bf16."""
    return case.kv_dtype or case.dtype or str(DEFAULTS["dtype"])


def shapes(cases: Sequence[OpCase], kind: str) -> Shapes:
    """Arrays of a law, one entry a case; for `mixed` the chunks, then the decoding sequences."""
    heads = _column(cases, "heads", 1.0)
    kv_heads = np.array([case.given("kv_heads", case.given("heads", 1.0)) for case in cases])
    head_dim = _column(cases, "head_dim", HEAD_DIM)
    window = _column(cases, "window", 0.0)

    def group(batch: Floats, q: Floats, c: Floats) -> Attention:
        return Attention(
            batch=batch,
            q=q,
            c=c,
            heads=heads,
            kv_heads=kv_heads,
            key_dim=head_dim,
            value_dim=head_dim,
            window=window,
        )

    batch, cached = _column(cases, "batch", 1.0), _column(cases, "kv_len", 0.0)
    fresh, one = _column(cases, "q_len", 1.0), np.ones(len(cases))
    if kind == "mixed":
        return group(one, fresh, _column(cases, "k", 0.0)), group(batch, one, cached)
    return (group(batch, fresh, cached),)


def _column(cases: Sequence[OpCase], name: str, default: float) -> Floats:
    return np.array([case.given(name, default) for case in cases])


def rates(chip: ChipSpec, cache_dtype: str, dtype: str = "bf16") -> AttentionRates:
    """Rates of a chip; scores are computed in the format of the cache where it has a unit for it.

    Kernels that read an 8-bit cache cast the query and multiply in 8 bits.
    """
    known = cache_dtype in FORMAT_BYTES
    computed = cache_dtype if cache_dtype in WIDER else "bf16"  # 4-bit caches are unpacked
    return AttentionRates(
        peak_flop_per_s=peak_flop_per_s(chip, computed),
        bytes_per_s=chip.memory_bytes_per_s,
        cores=default_cores(chip),
        l2_bytes=chip.l2_bytes,
        kv_bytes=kv_element_bytes(cache_dtype) if known else 2.0,
        activation_bytes=ELEMENT_BYTES.get(dtype or "bf16", 2.0),
    )


def coordinates(parts: Shapes) -> Floats:
    """Place of every case in the space the residual is smooth in, shape (case, coordinate)."""
    if len(parts) == 2:
        chunk, decode = parts
        mixed = (chunk.q, np.add(chunk.c, 8.0), decode.batch, np.add(decode.c, 8.0))
        return _doublings(mixed)
    one = parts[0]
    window = np.asarray(one.window, dtype=float)
    columns = (
        one.batch,
        np.add(one.c, one.q),
        one.heads,
        one.kv_heads,
        one.key_dim,
        np.where(window > 0.0, window, NO_WINDOW),
        np.maximum(one.q, 1.0),
    )
    return _doublings(columns)


def _doublings(columns: Sequence[Values]) -> Floats:
    # The residual was never fitted to an empty batch; the smallest counts as one.
    return np.column_stack([np.log2(np.maximum(column, 1.0)) for column in columns])
