"""Compiled look-up of a step's time and energy; `StepTable` documents the law."""

from __future__ import annotations

import numpy as np

from tapeout.serving.compiling._kernels import inlined, kernel
from tapeout.serving.engine import state as s
from tapeout.serving.engine.state import F64, I64, Costs


@inlined
def whole_at(row: I64, begin: int, size: int, at: int) -> int:
    """Entry of a row; past its end the last difference goes on."""
    if at < size:
        return int(row[begin + at])
    last = begin + size - 1
    if size == 1:
        return int(row[last])
    return int(row[last] + (at - size + 1) * (row[last] - row[last - 1]))


@inlined
def real_at(row: F64, begin: int, size: int, at: int) -> float:
    """As `whole_at`, for energies."""
    if at < size:
        return float(row[begin + at])
    last = begin + size - 1
    if size == 1:
        return float(row[last])
    return float(row[last] + (at - size + 1) * (row[last] - row[last - 1]))


@inlined
def decode_attention(t: Costs, kind: int, sequences: int, keys: int) -> tuple[int, float]:
    """Attention of a step of decodes alone [ps], [J]."""
    where, whole, real = t.where, t.whole, t.real
    size, begin = where[kind, s.N_CONTEXTS], where[kind, s.W_CONTEXTS]
    low, high = 0, size - 1
    while high - low > 1:
        middle = (low + high) // 2
        if whole[begin + middle] * sequences <= keys:
            low = middle
        else:
            high = middle
    near = whole[begin + low]
    beyond = keys - sequences * near
    place = sequences * size + low
    time = whole[where[kind, s.W_DECODE] + place]
    time += whole[where[kind, s.W_SLOPE] + place] * beyond
    wide = sequences * (whole[begin + low + 1] - near)
    joules = real[where[kind, s.R_DECODE_J] + place]
    more = real[where[kind, s.R_DECODE_J] + place + 1] - joules
    return int(time), float(joules + (more * (beyond / wide) if wide > 0 else 0.0))


@kernel
def knot(knots: F64, begin: int, size: int, value: float) -> tuple[int, float]:
    """Lower corner of the cell of a value and the place in it, above 1 past the last knot."""
    if size == 1:
        return 0, 0.0
    low, high = 0, size - 1
    while high - low > 1:
        middle = (low + high) // 2
        if knots[begin + middle] <= value:
            low = middle
        else:
            high = middle
    near = knots[begin + low]
    return low, float(max((value - near) / (knots[begin + low + 1] - near), 0.0))


@kernel
def mean_knot(t: Costs, kind: int, sequences: int, keys: int) -> tuple[int, float]:
    """As `knot`, of the mean keys of the decoding sequences."""
    where, whole = t.where, t.whole
    begin = where[kind, s.W_CONTEXTS]
    mean = keys / sequences if sequences > 0 else float(whole[begin])
    low, high = 0, where[kind, s.N_CONTEXTS] - 1
    while high - low > 1:
        middle = (low + high) // 2
        if whole[begin + middle] <= mean:
            low = middle
        else:
            high = middle
    near = whole[begin + low]
    return low, float(max((mean - near) / (whole[begin + low + 1] - near), 0.0))


@kernel
def mixed_attention(
    t: Costs, kind: int, prompt: int, pairs: int, sequences: int, keys: int
) -> tuple[int, float]:
    """Attention of a step with prompts [ps], [J]; `pairs` is twice the keys that they see."""
    where, real = t.where, t.real
    wide_p, wide_q = where[kind, s.N_PREFILL], where[kind, s.N_KEYS]
    wide_n, wide_c = where[kind, s.N_SEQUENCES], where[kind, s.N_CONTEXTS]
    a, wa = knot(t.real, where[kind, s.R_PREFILL], wide_p, float(prompt))
    b, wb = knot(t.real, where[kind, s.R_KEYS], wide_q, pairs / (2.0 * prompt))
    c, wc = knot(t.real, where[kind, s.R_SEQUENCES], wide_n, float(sequences))
    d, wd = mean_knot(t, kind, sequences, keys)
    time, joules = 0.0, 0.0
    for i in range(2):
        fa = wa if i else 1.0 - wa
        p = min(a + i, wide_p - 1)
        for j in range(2):
            fb = fa * (wb if j else 1.0 - wb)
            q = min(b + j, wide_q - 1)
            for k in range(2):
                fc = fb * (wc if k else 1.0 - wc)
                n = min(c + k, wide_n - 1)
                place = ((p * wide_q + q) * wide_n + n) * wide_c + d
                for m in range(2):
                    weight = fc * (wd if m else 1.0 - wd)
                    time += weight * real[where[kind, s.R_MIXED] + place + m]
                    joules += weight * real[where[kind, s.R_MIXED_J] + place + m]
    return max(int(np.floor(time + 0.5)), 0), float(joules)


@inlined
def row_cost(t: Costs, kind: int, tokens: int, sampled: int) -> tuple[int, float]:
    """Time and energy that follow from tokens and sampled rows alone [ps], [J]."""
    where = t.where
    w = where[kind]
    time = whole_at(t.whole, w[s.W_TOKENS], w[s.N_TOKENS], tokens)
    time += whole_at(t.whole, w[s.W_SAMPLED], w[s.N_SAMPLED], sampled)
    joules = real_at(t.real, w[s.R_TOKENS_J], w[s.N_TOKENS], tokens)
    joules += real_at(t.real, w[s.R_SAMPLED_J], w[s.N_SAMPLED], sampled)
    return time, joules


@inlined
def rank_cost(t: Costs, kind: int, k: I64, rank: int) -> tuple[int, float]:
    """Local time and energy of the batch whose sums are in the state of ranks [ps], [J]."""
    time, joules = row_cost(t, kind, k[s.S_TOKENS, rank], k[s.S_SAMPLED, rank])
    sequences, keys = k[s.S_SEQUENCES, rank], k[s.S_KEYS, rank]
    prompt = k[s.S_PROMPT, rank]
    if prompt > 0:
        more, energy = mixed_attention(t, kind, prompt, k[s.S_PAIRS, rank], sequences, keys)
    else:
        more, energy = decode_attention(t, kind, sequences, keys)
    return max(time + more, 1), joules + energy


@inlined
def shared_cost(t: Costs, kind: int, tokens: int) -> tuple[int, float]:
    """What all ranks do together [ps], [J]."""
    where = t.where
    begin, size = where[kind, s.W_SHARED], where[kind, s.N_SHARED]
    time = whole_at(t.whole, begin, size, tokens)
    return time, real_at(t.real, where[kind, s.R_SHARED_J], size, tokens)
