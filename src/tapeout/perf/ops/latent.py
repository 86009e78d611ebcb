"""Latent attention (MLA) and sparse attention with an indexer (DSA), on the attention laws.

Decode works in the absorbed form: each head's query is taken into the latent space, so that all
heads share one key of rank + rotary elements, whose first part is the value too. FLOP per context
token are 2 H (2 rank + rope) and the latent is read once per rank, whatever its heads [1]_.
Prefill expands the latent into keys and values of every head first. No kernel of either kind was
measured at operator level: constants are borrowed from attention over heads and the band is wide.

References
----------
.. [1] DeepSeek-AI, "DeepSeek-V2", 2024, section 2.1 and appendix C.
.. [2] DeepSeek-AI, "DeepSeek-V3.2-Exp: sparse attention", 2025.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from tapeout.chip import ChipSpec
from tapeout.constants import FLOP_PER_MAC
from tapeout.numerics import Floats
from tapeout.perf.law import smooth_maximum
from tapeout.perf.ops.attention import (
    Attention,
    AttentionRates,
    Constants,
    Values,
    decode_s,
    prefill_s,
)
from tapeout.perf.ops.attention_cases import kv_dtype, rates
from tapeout.perf.ops.attention_setups import AttentionSetup, choose, transfer_log_sd
from tapeout.perf.ops.cases import Estimate, OpCase

RANK, ROPE_DIM, NOPE_DIM = 512.0, 64.0, 128.0  # DeepSeek-V2, V3 and R1, Kimi-K2
LATENT_LOG_SD = 0.3  # no measurement of a latent kernel: 80 % band of -32/+47 %, an assumption
LATENT_KV_HEADS = 1.0


def latent_decode(
    batch: Values, q: Values, c: Values, heads: Values, rank: Values, rope_dim: Values
) -> Attention:
    """Absorbed latent attention as one shared key head.

    Examples
    --------
    >>> from tapeout.perf.ops.attention import attention_flop, cache_bytes
    >>> one = latent_decode(1.0, 1.0, 999.0, 128.0, 512.0, 64.0)
    >>> float(attention_flop(one)) == 2 * 128 * (2 * 512 + 64) * 1000
    True
    >>> float(cache_bytes(one, 2.0)) == 1152 * 1000
    True
    """
    key = np.add(rank, rope_dim)
    return Attention(
        batch=batch,
        q=q,
        c=c,
        heads=heads,
        kv_heads=LATENT_KV_HEADS,
        key_dim=key,
        value_dim=rank,
        stored_dim=key,
    )


def latent_prefill(
    batch: Values, q: Values, c: Values, heads: Values, rope_dim: Values, nope_dim: Values
) -> Attention:
    """Expanded latent attention: every head has its own keys and values."""
    return Attention(
        batch=batch,
        q=q,
        c=c,
        heads=heads,
        kv_heads=heads,
        key_dim=np.add(nope_dim, rope_dim),
        value_dim=nope_dim,
    )


def expansion_flop(shape: Attention, rank: Values, nope_dim: Values) -> Floats:
    """Arithmetic of expanding the cached latents of a chunk again [FLOP].

    That of its new tokens is a projection of the layer and counted there.
    """
    cached = np.multiply(shape.batch, shape.c)
    return np.asarray(FLOP_PER_MAC * cached * rank * shape.heads * 2.0 * nope_dim, dtype=float)


def mla_decode_s(shape: Attention, rates: AttentionRates, constants: Constants) -> Floats:
    """Time of absorbed latent decode [s]; `shape` from `latent_decode`, `DECODE` constants."""
    # Wide tiles are what these kernels are built for; the loss of wide heads does not apply.
    return decode_s(shape, rates, {**constants, "wide_power": 0.0})


def mla_prefill_s(
    shape: Attention, rank: Values, rates: AttentionRates, constants: Constants
) -> Floats:
    """Time of expanded latent prefill [s], the expansion of cached latents included."""
    flop = expansion_flop(shape, rank, shape.value_dim)
    sustained = rates.peak_flop_per_s * min(constants["compute_efficiency"], 1.0)
    expanded = np.multiply(shape.batch, shape.c) * shape.stored * rates.activation_bytes
    latent = np.multiply(shape.batch, shape.c) * rank * rates.kv_bytes
    moved = (expanded + latent) / (rates.bytes_per_s * constants["memory_efficiency"])
    extra = smooth_maximum(flop / sustained, np.asarray(moved, dtype=float))
    return np.asarray(prefill_s(shape, rates, constants) + extra, dtype=float)


def indexer_flop(q: Values, c: Values, index_heads: Values, index_dim: Values) -> Floats:
    """Scores of a sparse-attention indexer over all that is cached [FLOP].

    `2 Hi di` for every pair of a new token and one before it or itself.
    """
    pairs = np.multiply(q, c) + np.multiply(q, np.add(q, 1.0)) / 2.0
    return np.asarray(FLOP_PER_MAC * index_heads * index_dim * pairs, dtype=float)


def sparse_decode_s(
    shape: Attention,
    index: tuple[float, float, float],
    rates: AttentionRates,
    constants: Constants,
) -> Floats:
    """Time of decode with a learned choice of keys (DSA) [s].

    Parameters
    ----------
    shape : Attention
        The full call, as from `latent_decode`.
    index : tuple of float
        Indexer heads, their width, and keys kept per query ("top k").
    rates : AttentionRates
    constants : mapping
        `DECODE` constants.

    Notes
    -----
    The indexer is attention of its own over all keys with one shared key head and no values; it
    keeps 8-bit keys and is linear in the context. Attention proper then reads at most `top k`
    keys per new token, gathered, so every new token reads its own.
    """
    index_heads, index_dim, top_k = index
    scan = Attention(
        batch=shape.batch,
        q=shape.q,
        c=shape.c,
        heads=index_heads,
        kv_heads=LATENT_KV_HEADS,
        key_dim=index_dim,
        value_dim=0.0,
        stored_dim=index_dim,
    )
    kept = np.minimum(np.add(shape.c, 1.0), top_k)
    chosen = Attention(
        batch=np.multiply(shape.batch, shape.q),
        q=np.ones_like(kept),
        c=kept - 1.0,
        heads=shape.heads,
        kv_heads=shape.kv_heads,
        key_dim=shape.key_dim,
        value_dim=shape.value_dim,
        stored_dim=shape.stored_dim,
    )
    first = mla_decode_s(scan, rates, constants)
    return np.asarray(first + mla_decode_s(chosen, rates, constants), dtype=float)


def latent_estimate(case: OpCase, chip: ChipSpec, known: Sequence[AttentionSetup]) -> Estimate:
    """Estimate of an `mla_prefill` or `mla_decode` case."""
    case.needs("heads", *(("q_len",) if case.op == "mla_prefill" else ()))
    kind = "prefill" if case.op == "mla_prefill" else "decode"
    rank, rope = case.given("kv_lora_rank", RANK), case.given("rope_dim", ROPE_DIM)
    batch, cached = case.given("batch", 1.0), case.given("kv_len", 0.0)
    fresh = case.given("q_len", 1.0)
    choice = choose(case, kind, [one for one in known if one.kind == kind])
    found = rates(chip, kv_dtype(case), case.dtype)
    constants = choice.setup.constants
    if kind == "decode":
        shape = latent_decode(np.array([batch]), fresh, cached, case.heads, rank, rope)
        seconds = mla_decode_s(shape, found, constants)
    else:
        nope = case.given("head_dim", NOPE_DIM)
        shape = latent_prefill(np.array([batch]), fresh, cached, case.heads, rope, nope)
        seconds = mla_prefill_s(shape, rank, found, constants)
    words = ["no latent kernel was measured: constants of attention over heads"]
    defaults = {"kv_lora_rank": rank, "rope_dim": rope, "batch": batch, "kv_len": cached}
    if kind == "prefill":
        defaults["head_dim"] = case.given("head_dim", NOPE_DIM)
    else:
        defaults["q_len"] = fresh
    words += [
        f"{name} {value:g}" for name, value in defaults.items() if math.isnan(getattr(case, name))
    ]
    return Estimate(
        time_s=float(seconds[0]),
        log_sd=math.hypot(
            LATENT_LOG_SD, max(choice.log_sd, transfer_log_sd(choice.kind, choice.distance))
        ),
        model=f"latent attention law {choice.setup.stack} {choice.setup.fitted}",
        assumptions=tuple(filter(None, (*words, choice.assumption))),
    )
