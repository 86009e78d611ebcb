"""Shipped set-ups of the attention laws, and which of them speaks for a case.

data/ops/attention.json holds one set-up per (kind, chip, stack, cache format, kernel): its
`dtype` is the format of the cache and its `kernel` starts with the kind ("decode:NAME").
tools/fit_attention.py writes it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources
from typing import Any

import numpy as np

from tapeout.perf.ops.attention_cases import HEAD_DIM, kv_dtype
from tapeout.perf.ops.cases import OpCase
from tapeout.perf.ops.smooth import Smooth
from tapeout.perf.ops.store import DATA, Distance, Setup, Wanted, nearest

SAME = {"fp16": "bf16"}  # as many bytes at the same rate
PHASES = ("prefill", "decode")  # endings of kernel names that a stack swaps by itself


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionSetup:
    """A set-up with what the general form does not hold.

    Attributes
    ----------
    kind : str
        "prefill", "decode" or "mixed".
    setup : Setup
        Its kernel without the kind; `log_sd` is that of law and correction.
    law_log_sd : float
        Error of the law alone, where the correction does not apply.
    head_dims : tuple of float
        Head sizes measured; a stack picks its kernel by them.
    smooth : Smooth or None
    """

    kind: str
    setup: Setup
    law_log_sd: float
    head_dims: tuple[float, ...]
    smooth: Smooth | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Constants for a case, their correction where it applies, and how sure they are."""

    kind: str
    setup: Setup
    smooth: Smooth | None
    log_sd: float
    distance: Distance
    assumption: str


def plain_kernel(kernel: str) -> str:
    """Name of a kernel family: without the phase that some stacks put at the end.

    Examples
    --------
    >>> plain_kernel("vllm_flashinfer_trtllmdecode")
    'vllm_flashinfer_trtllm'
    """
    name = kernel.lower()
    for phase in PHASES:
        name = name.removesuffix(phase)
    return name


@cache
def _table() -> dict[str, Any]:
    text = resources.files(DATA).joinpath("data/ops/attention.json").read_text("utf-8")
    table: dict[str, Any] = json.loads(text)
    return table


@cache
def shipped() -> tuple[AttentionSetup, ...]:
    """Every shipped set-up."""
    return tuple(read_setup(one) for one in _table()["setups"])


def read_setup(one: dict[str, Any]) -> AttentionSetup:
    """Read an entry of the file."""
    names = Setup.__dataclass_fields__
    kind, _, kernel = one["kernel"].partition(":")
    plain = Setup(**{key: value for key, value in one.items() if key in names})
    bumps = one["smooth"]
    return AttentionSetup(
        kind=kind,
        setup=replace(plain, kernel=kernel),
        law_log_sd=one["law_log_sd"],
        head_dims=tuple(one["head_dims"]),
        smooth=Smooth(**{key: np.array(value, dtype=float) for key, value in bumps.items()})
        if bumps
        else None,
    )


def transfer_log_sd(kind: str, distance: Distance) -> float:
    """Error of a law on a chip nobody measured, from leaving out one measured chip at a time.

    Zero for a set-up of the chip itself. A distance that no measured chip allows to try takes the
    next one further, else the next nearer.
    """
    if distance < Distance.FAMILY:
        return 0.0
    table: dict[str, float] = _table()["transfer"].get(kind, {})
    tried = [one for one in Distance if one.name in table]
    further = [one for one in tried if one >= distance]
    chosen = further[:1] or tried[-1:]
    return table[chosen[0].name] if chosen else 0.0


def choose(
    case: OpCase, kind: str, known: Sequence[AttentionSetup], *, without: str = ""
) -> Choice:
    """Set-up for a case; `without` leaves a chip out.

    A prefill on a chip that was only measured with mixed calls takes a mixed call without a
    decoding sequence.
    """
    own = {one.kind for one in known if one.setup.chip == case.chip != without}
    if kind == "prefill" and "prefill" not in own and "mixed" in own:
        kind = "mixed"
    some = _one_kernel_each([one for one in known if one.kind == kind], case)
    wanted = Wanted(
        chip=case.chip,
        stack=case.stack,
        dtype=SAME.get(kv_dtype(case), kv_dtype(case)),
        kernel=plain_kernel(case.kernel),
        mode=case.mode,
    )
    # Away from its own set-up a case goes without the correction, with the error of the law alone.
    laws = [replace(one.setup, log_sd=one.law_log_sd) for one in some]
    match = nearest(laws, wanted, without=without)
    exact = match.distance is Distance.EXACT
    found = next((one for one, law in zip(some, laws, strict=True) if law is match.setup), None)
    smooth = found.smooth if exact and found else None
    return Choice(
        kind=kind,
        setup=match.setup,
        smooth=smooth,
        log_sd=found.setup.log_sd if exact and found else match.log_sd,
        distance=match.distance,
        assumption=match.assumption,
    )


def shipped_choice(
    chip: str, kind: str, *, stack: str = "", cache_dtype: str = "bf16", head_dim: float = HEAD_DIM
) -> Choice:
    """Shipped constants for many calls of one kind, as a step of a model has them.

    Examples
    --------
    >>> shipped_choice("NVIDIA H100 SXM", "decode").setup.kernel
    'vllm_flash_attn_fa3'
    """
    case = OpCase(
        chip=chip,
        op=f"attention_{kind}",
        stack=stack,
        kv_dtype=cache_dtype,
        head_dim=head_dim,
    )
    return choose(case, kind, shipped())


def _one_kernel_each(known: list[AttentionSetup], case: OpCase) -> list[AttentionSetup]:
    """Per (chip, stack, cache format) the kernel the case names or its head size calls for."""
    head_dim = case.given("head_dim", HEAD_DIM)
    kernel = plain_kernel(case.kernel)
    best: dict[tuple[str, str, str], AttentionSetup] = {}

    def rank(one: AttentionSetup) -> tuple[bool, bool, int]:
        named = bool(kernel) and one.setup.kernel == kernel
        return named, head_dim in one.head_dims, one.setup.rows

    for one in known:
        key = (one.setup.chip, one.setup.stack, one.setup.dtype)
        if key not in best or rank(one) > rank(best[key]):
            best[key] = one
    return list(best.values())
