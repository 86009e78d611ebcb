"""The GEMM law: limits with known answers, monotone in what it should be, kernel = its Python."""

from dataclasses import astuple, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapeout.perf.ops import _kernels
from tapeout.perf.ops.gemm import (
    Experts,
    GemmConstants,
    GemmRates,
    expected_active,
    expert_ffn_s,
    gemm_s,
    grouped_s,
)

RATES = GemmRates(peak_flop_per_s=1e15, bytes_per_s=3e12, cores=128, l2_bytes=50e6)
IDEAL = GemmConstants(
    compute_fraction=1.0, memory_fraction=1.0, core_memory=1e6, l2_ratio=1e6, fill_depth=0.0,
    static_share=0.0, launch_s=0.0, prologue_s=0.0, epilogue_s=0.0, throttle=1.0,
)  # fmt: skip
REAL = GemmConstants(
    compute_fraction=1.08, memory_fraction=0.88, core_memory=2.3, l2_ratio=5.0, fill_depth=293.0,
    static_share=0.2, launch_s=3e-7, prologue_s=2.3e-6, epilogue_s=1e-7, throttle=0.81, hold=0.3,
    step_s=2e-10,
)  # fmt: skip
SIZE = st.integers(min_value=1, max_value=65536)


def one(m, n, k, rates=RATES, law=REAL):
    return float(gemm_s(m, n, k, rates, law))


def test_one_row_reads_its_weights_once():
    """An ideal chip at one row is bound by memory: weights, x and y over bandwidth."""
    moved = 2.0 * (8192 * 8192 + 8192 + 8192)
    cold = replace(RATES, l2_bytes=0.0)
    assert one(1, 8192, 8192, cold, IDEAL) == pytest.approx(moved / 3e12, rel=1e-5)


def test_a_large_square_runs_at_peak():
    # the smooth maximum adds a little of the memory time: (1 + r^4)^(1/4), r = 0.09
    ideal_s = 2 * 16384**3 / 1e15
    assert one(16384, 16384, 16384, law=IDEAL) == pytest.approx(ideal_s, rel=1e-3)


def test_the_smallest_product_costs_launch_and_prologue():
    floor = REAL.launch_s + REAL.prologue_s
    assert floor < one(1, 32, 32) < 1.2 * floor


def test_static_waves_charge_a_whole_last_wave():
    """One tile of 128 x 256 more than there are cores: a second wave, or smaller, worse tiles."""
    # the cache feeds the largest tile just in time, so that smaller ones are slower
    rates = replace(RATES, bytes_per_s=1e18)
    whole = replace(IDEAL, static_share=1.0, l2_ratio=11.7e12 / 1e18)
    even = replace(whole, static_share=0.0)
    full, over = (128 * 128, 256, 8192), (128 * 129, 256, 8192)
    assert 1.2 < one(*over, rates, whole) / one(*full, rates, whole) <= 2.0
    assert one(*over, rates, even) / one(*full, rates, even) == pytest.approx(129 / 128)


def test_a_split_of_the_depth_helps_few_tiles():
    """One tile of a deep product would use one core; eight and more splits use as many."""
    feed = replace(IDEAL, l2_ratio=1.0)
    rates = replace(RATES, bytes_per_s=1e15)
    unsplit = 2.0 * 16 * 64 * 65536 / (1e15 / 128)
    assert one(16, 64, 65536, rates, feed) < unsplit / 4


def test_weights_that_stay_in_cache_are_read_faster():
    hot = replace(RATES, copies=1.0)
    assert one(1, 1024, 1024, hot) < one(1, 1024, 1024)
    # a weight far larger than the cache gains nothing
    assert one(1, 65536, 65536, hot) == pytest.approx(one(1, 65536, 65536), rel=1e-2)


def test_quantising_is_added_on_top():
    law = replace(REAL, quantise_s=2e-6, quantise_ratio=0.5)
    rates = replace(RATES, activation_bytes=1.0, weight_bytes=1.0)
    extra = 2e-6 + 3.0 * 64 * 4096 / (0.5 * 3e12)
    assert one(64, 4096, 4096, rates, law) - one(64, 4096, 4096, rates) == pytest.approx(extra)


def test_a_throttled_clock_slows_only_busy_products():
    free = replace(REAL, throttle=1.0)
    assert one(8192, 8192, 8192) > 1.1 * one(8192, 8192, 8192, law=free)
    assert one(1, 8192, 8192) == one(1, 8192, 8192, law=free)


def test_no_work_takes_no_time():
    assert gemm_s(np.array([0.0, 4.0]), 64.0, 64.0, RATES, REAL)[0] == 0.0


@given(m=SIZE, n=SIZE, k=SIZE)
def test_time_is_no_less_than_the_roofline_of_a_cold_chip_allows(m, n, k):
    cold = replace(RATES, l2_bytes=0.0)
    flop_s = 2.0 * m * n * k / (REAL.compute_fraction * 1e15)
    memory_s = 2.0 * (m * k + k * n + m * n) / 3e12
    assert one(m, n, k, cold) >= max(flop_s, memory_s)


@given(m=SIZE, n=SIZE, k=SIZE)
def test_a_faster_chip_is_never_slower(m, n, k):
    # the throttle looks at the share of peak, so it is left out
    law = replace(REAL, throttle=1.0)
    base = one(m, n, k, law=law)
    assert one(m, n, k, replace(RATES, peak_flop_per_s=2e15), law) <= base * (1 + 1e-12)
    assert one(m, n, k, replace(RATES, bytes_per_s=6e12), law) <= base * (1 + 1e-12)


@given(m=st.integers(1, 32768), n=SIZE, k=SIZE)
def test_more_rows_take_at_least_about_as_long(m, n, k):
    # more tiles draw more bandwidth while memory is not saturated, so that limit is left out;
    # larger tiles are only tried from half their rows on
    law = replace(REAL, throttle=1.0, core_memory=1e6)
    assert one(2 * m, n, k, law=law) >= 0.99 * one(m, n, k, law=law)


def test_the_kernel_equals_its_python_source():
    rng = np.random.default_rng(0)
    m, n, k = np.rint(2.0 ** rng.uniform(0, 15, (3, 60)))
    chip, law = np.array(astuple(RATES)), np.array(astuple(REAL))
    plain = getattr(_kernels.gemm_s, "py_func", _kernels.gemm_s)(m, n, k, chip, law)
    # compiled code may fuse a product and a sum
    np.testing.assert_allclose(_kernels.gemm_s(m, n, k, chip, law), plain, rtol=1e-12)


def test_arrays_broadcast():
    time_s = gemm_s(np.array([[1.0], [64.0]]), np.array([128.0, 256.0, 512.0]), 64.0, RATES, REAL)
    assert time_s.shape == (2, 3)
    assert time_s[1, 2] == one(64, 512, 64)


# published


REFERENCE = {
    # constants as the timing reference prints them; what it says of cliffs and peaks on H100
    "compute_fraction": 1.10, "memory_fraction": 0.88, "core_memory": 1.5, "l2_ratio": 4.8,
    "fill_depth": 298.0, "static_share": 0.0, "launch_s": 0.3e-6, "prologue_s": 2.3e-6,
    "epilogue_s": 0.0, "throttle": 0.81,
}  # fmt: skip


def test_large_products_on_h100_sustain_the_published_rate():
    """Typical 784 TFLOP/s where all sizes are at least 8192, never above the best seen, 948."""
    h100 = GemmRates(peak_flop_per_s=989e12, bytes_per_s=3.35e12, cores=132, l2_bytes=50e6)
    law = GemmConstants(**REFERENCE)
    sizes = np.array([8192.0, 16384.0])
    rate = 2.0 * sizes**3 / gemm_s(sizes, sizes, sizes, h100, law)
    assert 700e12 < rate.min() < 948e12


# experts


def experts(active, topk=8.0):
    return Experts(active=np.array([float(active)]), topk=np.array([topk]))


def test_one_expert_with_every_token_is_a_plain_product():
    grouped = grouped_s(np.array([64.0]), 4096, 4096, experts(1, 1.0), RATES, REAL)
    assert grouped[0] == pytest.approx(one(64, 4096, 4096))


def test_few_tokens_cost_the_weights_of_the_hit_experts():
    hit = [float(expert_ffn_s(np.array([8.0]), 768, 2048, experts(n), RATES, IDEAL)[0])
           for n in (16, 32)]  # fmt: skip
    weights_s = 16 * 3 * 2.0 * 768 * 2048 / 3e12
    assert hit[1] - hit[0] == pytest.approx(weights_s, rel=0.1)


def test_expected_experts_equal_simulation():
    """E (1 - (1 - k/E)^T): 256 experts, 8 a token, 16 tokens hit 102."""
    rng = np.random.default_rng(1)
    seen = [np.unique([rng.choice(256, 8, replace=False) for _ in range(16)]).size
            for _ in range(300)]  # fmt: skip
    expected = float(expected_active(np.array(16.0), np.array(256.0), np.array(8.0)))
    assert expected == pytest.approx(102.0, abs=0.5)
    assert np.mean(seen) == pytest.approx(expected, rel=0.01)
