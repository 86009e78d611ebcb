"""Attention laws: score pairs, bytes and FLOP by hand; limits; directions; mixed calls."""

import numpy as np
import pytest

from tapeout.perf.ops.attention import (
    Attention,
    AttentionRates,
    attention_flop,
    cache_bytes,
    decode_s,
    mixed_s,
    prefill_s,
    score_pairs,
)
from tapeout.perf.ops.attention_constants import DECODE, MIXED, PREFILL, starting
from tapeout.perf.ops.latent import (
    expansion_flop,
    indexer_flop,
    latent_decode,
    latent_prefill,
    mla_decode_s,
    mla_prefill_s,
    sparse_decode_s,
)

RATES = AttentionRates(peak_flop_per_s=1e15, bytes_per_s=3e12, cores=132.0, l2_bytes=5e7)
LAWS = {"prefill": (prefill_s, starting(PREFILL)), "decode": (decode_s, starting(DECODE))}


def shape(**changes):
    plain = {"batch": 4.0, "q": 1.0, "c": 4096.0, "heads": 32.0, "kv_heads": 8.0}
    plain |= {"key_dim": 128.0, "value_dim": 128.0}
    return Attention(**{name: np.asarray(value) for name, value in (plain | changes).items()})


@pytest.mark.parametrize("q", [1, 5, 64])
@pytest.mark.parametrize("c", [0, 3, 100])
@pytest.mark.parametrize("window", [0, 1, 4, 64, 500])
def test_score_pairs_are_the_sum_over_queries(q, c, window):
    limit = window or q + c
    by_hand = sum(min(c + j, limit) for j in range(1, q + 1))
    assert float(score_pairs(q, c, window)) == by_hand


def test_pairs_of_a_window_from_the_start_as_published():
    """For c = 0 and q >= W: W q - W (W - 1) / 2."""
    assert float(score_pairs(1000.0, 0.0, 128.0)) == 128 * 1000 - 128 * 127 / 2


def test_flop_and_bytes_by_hand():
    one = shape(q=10.0, c=90.0)
    pairs = 10 * 90 + 55
    assert float(attention_flop(one)) == 4 * 2 * 256 * 32 * pairs
    assert float(cache_bytes(one, 2.0)) == 4 * 100 * 8 * 256 * 2
    assert float(cache_bytes(shape(q=1.0, c=4096.0, window=128.0), 1.0)) == 4 * 128 * 8 * 256


def test_chunks_add_up_to_the_whole():
    """Score pairs of a prompt do not depend on how it is cut."""
    cut = sum(float(score_pairs(256.0, c, 700.0)) for c in range(0, 2048, 256))
    assert cut == float(score_pairs(2048.0, 0.0, 700.0))


def test_long_prefill_tends_to_its_arithmetic():
    constants = LAWS["prefill"][1] | {"wave_share": 0.0}
    one = shape(q=131072.0, c=0.0, batch=8.0)
    pairs = 8 * 32 * float(score_pairs(131072.0, 0.0))
    ideal = float(attention_flop(one)) / (RATES.peak_flop_per_s * constants["compute_efficiency"])
    ideal += pairs / (constants["exp_per_core_s"] * RATES.cores)
    assert float(prefill_s(one, RATES, constants)) == pytest.approx(ideal, rel=0.02)


def test_long_decode_tends_to_its_bytes():
    one = shape(batch=64.0, c=131071.0)
    constants = LAWS["decode"][1]
    ideal = float(cache_bytes(one, 2.0)) / (RATES.bytes_per_s * constants["memory_efficiency"])
    assert float(decode_s(one, RATES, constants)) == pytest.approx(ideal, rel=0.05)


def test_nothing_to_do_costs_the_launch():
    fn, constants = LAWS["decode"]
    tiny = shape(batch=1.0, c=0.0, heads=1.0, kv_heads=1.0)
    assert float(fn(tiny, RATES, constants)) == pytest.approx(constants["launch_s"], rel=0.03)


@pytest.mark.parametrize("name", LAWS)
@pytest.mark.parametrize("field", ["batch", "q", "c", "heads"])
def test_more_work_never_takes_less_time(name, field):
    fn, constants = LAWS[name]
    values = np.array([8.0, 16.0, 32.0, 64.0, 128.0, 512.0, 4096.0])
    # a draft of many tokens packs by whole instructions: steps are allowed, falls are not
    times = fn(shape(**{"q": 16.0, field: values}), RATES, constants)
    assert np.all(np.diff(times) >= -1e-12)
    assert times[-1] > times[0]


@pytest.mark.parametrize("name", LAWS)
def test_a_window_saves_only_where_the_kernel_skips(name):
    fn, constants = LAWS[name]
    one = {"q": 2048.0 if name == "prefill" else 1.0, "c": 30000.0}
    full = float(fn(shape(**one), RATES, constants))
    narrow = float(fn(shape(**one, window=128.0), RATES, constants))
    masked = float(fn(shape(**one, window=128.0), RATES, constants | {"window_skip": 0.0}))
    assert narrow < 0.7 * full
    assert masked > narrow


def test_a_window_longer_than_the_context_changes_nothing():
    for fn, constants in LAWS.values():
        wide = fn(shape(q=64.0, window=1e6), RATES, constants)
        assert float(wide) == float(fn(shape(q=64.0), RATES, constants))


def test_eight_bit_cache_halves_long_decode():
    constants = LAWS["decode"][1]
    half = AttentionRates(
        peak_flop_per_s=1e15, bytes_per_s=3e12, cores=132.0, l2_bytes=5e7, kv_bytes=1.0
    )
    one = shape(batch=64.0, c=131071.0)
    ratio = float(decode_s(one, RATES, constants) / decode_s(one, half, constants))
    assert ratio == pytest.approx(2.0, rel=0.05)


def test_splitting_fills_the_cores():
    constants = LAWS["decode"][1]
    one = shape(batch=1.0, c=131071.0, kv_heads=1.0)
    unsplit = constants | {"chunk_keys": 1e9}
    assert float(decode_s(one, RATES, unsplit)) > 5.0 * float(decode_s(one, RATES, constants))


def test_a_cache_in_the_last_level_cache_is_read_faster():
    constants = LAWS["decode"][1] | {"l2_ratio": 10.0, "launch_s": 1e-9}
    cold = AttentionRates(peak_flop_per_s=1e15, bytes_per_s=3e12, cores=132.0)
    small, large = shape(batch=8.0, c=500.0), shape(batch=512.0, c=30000.0)
    assert float(decode_s(small, RATES, constants)) < float(decode_s(small, cold, constants))
    assert float(decode_s(large, RATES, constants)) == pytest.approx(
        float(decode_s(large, cold, constants)), rel=1e-3
    )


def test_a_mixed_call_costs_more_than_its_halves_where_singles_fill_tiles():
    """A decoding sequence beside a chunk computes a whole tile of queries."""
    constants = starting(MIXED)
    chunk = shape(batch=1.0, q=512.0, c=1024.0)
    decode = shape(batch=128.0, c=4096.0)
    nothing = shape(batch=0.0, c=0.0)
    both = float(mixed_s(chunk, decode, RATES, constants))
    alone = float(mixed_s(chunk, nothing, RATES, constants))
    halves = alone + float(decode_s(decode, RATES, LAWS["decode"][1]))
    assert both > halves
    cheap = float(mixed_s(chunk, decode, RATES, constants | {"single_cost": 0.05}))
    assert alone < cheap < both


def test_absorbed_latent_decode_as_published():
    """DeepSeek-V3: 2 H (2 rank + rope) FLOP a context token, 242 FLOP a byte in bf16."""
    one = latent_decode(1.0, 1.0, 4095.0, 128.0, 512.0, 64.0)
    flop, moved = float(attention_flop(one)), float(cache_bytes(one, 2.0))
    assert flop == 2 * 128 * (2 * 512 + 64) * 4096
    assert flop / moved == pytest.approx(242.0, abs=0.5)


def test_latent_bytes_do_not_depend_on_heads():
    few = latent_decode(8.0, 1.0, 1000.0, 16.0, 512.0, 64.0)
    many = latent_decode(8.0, 1.0, 1000.0, 128.0, 512.0, 64.0)
    assert float(cache_bytes(few, 2.0)) == float(cache_bytes(many, 2.0))
    assert float(mla_decode_s(few, RATES, starting(DECODE))) <= float(
        mla_decode_s(many, RATES, starting(DECODE))
    )


def test_latent_prefill_expands_what_is_cached():
    first = latent_prefill(1.0, 2048.0, 0.0, 128.0, 64.0, 128.0)
    later = latent_prefill(1.0, 2048.0, 30000.0, 128.0, 64.0, 128.0)
    assert float(expansion_flop(first, 512.0, 128.0)) == 0.0
    assert float(expansion_flop(later, 512.0, 128.0)) == 2 * 30000 * 512 * 128 * 256
    constants = starting(PREFILL)
    plain = float(prefill_s(later, RATES, constants))
    assert float(mla_prefill_s(later, 512.0, RATES, constants)) > plain
    assert float(attention_flop(first)) == 2 * 128 * (192 + 128) * 2048 * 2049 / 2


def test_sparse_decode_stays_linear_with_a_small_slope():
    """Top-2048 of 64 k keys beats dense latent decode; short contexts pay the indexer."""
    constants = starting(DECODE)
    index = (64.0, 128.0, 2048.0)
    long = latent_decode(32.0, 1.0, 65536.0, 128.0, 512.0, 64.0)
    short = latent_decode(1.0, 1.0, 128.0, 128.0, 512.0, 64.0)
    assert float(sparse_decode_s(long, index, RATES, constants)) < 0.5 * float(
        mla_decode_s(long, RATES, constants)
    )
    assert float(sparse_decode_s(short, index, RATES, constants)) > float(
        mla_decode_s(short, RATES, constants)
    )
    assert float(indexer_flop(1.0, 999.0, 64.0, 128.0)) == 2 * 64 * 128 * 1000
