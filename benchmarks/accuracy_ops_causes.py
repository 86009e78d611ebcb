"""Likely cause of the error of an operator row, by the regime its shape lies in.

The rules look at the row's inputs and its measured time, not at the error. They name what the
laws do not hold: see docs/gemm.md, docs/attention.md and docs/fabric.md.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from tapeout.constants import KIB, MIB, MICRO
from tapeout.perf.ops.cases import OpCase
from tapeout.perf.ops.predict import family

SHORT_S = 5.0 * MICRO
MEDIUM_S = 20.0 * MICRO
FEW_ROWS = 16.0
DEEP = 8.0  # depth over the longer side from which a product is split along it
NARROW = 256.0
EMPTY = 16.0  # tokens of context below which attention is its launch
SMALL_MESSAGE = 64 * KIB
LARGE_MESSAGE = 16 * MIB

CLEAR = 0.05  # rise in share below which no regime is named

Rule = tuple[Callable[[OpCase], bool], str]

GEMM: tuple[Rule, ...] = (
    (lambda c: c.op == "grouped_gemm", "expert layer: routing and small kernels of one profile"),
    (lambda c: c.measured_s < SHORT_S, "product under 5 us: launch, tail and timer"),
    (lambda c: c.k > DEEP * max(c.m, c.n), "deep product: how the library splits the sum"),
    (
        lambda c: "block" in c.dtype and c.mode == "eager",
        "block-scaled kernel launched by the host",
    ),
    (lambda c: c.m <= FEW_ROWS, "few rows: kernel for small batches, chosen by the library"),
    (lambda c: min(c.n, c.k) <= NARROW, "n or k up to 256: activations and stores, not arithmetic"),
    (lambda c: c.measured_s < MEDIUM_S, "5 to 20 us: one wave, its tile chosen by the library"),
    (lambda c: c.mode == "eager", "eager run: host or first use inside the timing"),
    (lambda _: True, "large product: tile and schedule chosen by the library"),
)
ATTENTION: tuple[Rule, ...] = (
    (lambda c: c.op == "attention_mixed", "chunk beside decoding sequences: how they overlap"),
    (lambda c: c.q_len + c.kv_len <= EMPTY, "hardly any context: launch and host"),
    (lambda c: "triton" in c.kernel and c.window > 0.0, "Triton kernel, window of a few tiles"),
    (lambda c: "triton" in c.kernel, "Triton kernel: its tile is chosen per head size"),
    (lambda c: c.window > 0.0, "sliding window of a few tiles"),
    (lambda c: c.measured_s < MEDIUM_S, "call under 20 us: launch and split of the sequence"),
    (lambda c: "B60" in c.chip, "B60: kernels of an early software stack"),
    (lambda c: c.heads / max(c.kv_heads, 1.0) == 1.0, "as many KV heads as heads: no sharing"),
    (lambda c: c.op == "attention_decode", "decode: how the library splits the sequence"),
    (lambda _: True, "prefill: tile and schedule of the kernel"),
)
COLLECTIVE: tuple[Rule, ...] = (
    (lambda c: "custom" in c.stack and c.mode == "eager", "engine's kernel launched by the host"),
    (lambda c: c.message_bytes < SMALL_MESSAGE, "message under 64 KiB: launch and hops"),
    (lambda c: c.message_bytes < LARGE_MESSAGE, "64 KiB to 16 MiB: where protocols change"),
    (lambda _: True, "large message: rate of the links"),
)
SMALL: tuple[Rule, ...] = (
    (
        lambda c: c.op == "embedding",
        "embedding: constants of other engines, its one width fell in the report part",
    ),
    (lambda c: c.op == "sample", "sampler: several kernels, one set-up measured"),
    (lambda c: c.measured_s < SHORT_S, "operator under 5 us: launch, timer of 1 us"),
    (lambda c: c.mode == "eager" and c.stack == "pytorch-eager", "host time of PyTorch eager"),
    (lambda _: True, "memory-bound kernel: cache and schedule"),
)
RULES = {"gemm": GEMM, "attention": ATTENTION, "collective": COLLECTIVE, "elementwise": SMALL}


def cause_of(case: OpCase) -> str:
    """First rule of the operator's kind that holds."""
    rules = RULES.get(family(case.op), SMALL)
    return next(words for holds, words in rules if holds(case))


def main_cause(beyond: Sequence[OpCase], of: Sequence[OpCase]) -> str:
    """Regime whose share grows most from all rows to those beyond a limit, with both shares."""
    if not beyond:
        return ""
    found = Counter(cause_of(case) for case in beyond)
    everywhere = Counter(cause_of(case) for case in of)
    shares = {words: (n / len(beyond), everywhere[words] / len(of)) for words, n in found.items()}
    words = max(shares, key=lambda one: shares[one][0] - shares[one][1])
    here, there = shares[words]
    if here - there < CLEAR:
        return "no regime stands out"
    return f"{here:.0%} of them, {there:.0%} of all rows: {words}"
