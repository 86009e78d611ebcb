"""Elementwise operators against limits of their law, and what their estimates list."""

import dataclasses

import numpy as np
import pytest

from tapeout.errors import InfeasibleError
from tapeout.perf.ops import elementwise
from tapeout.perf.ops.cases import ELEMENTWISE, OpCase
from tapeout.perf.ops.elementwise_law import (
    PASSES,
    ElementwiseConstants,
    Memory,
    Work,
    key_of,
    work_of,
)
from tapeout.perf.ops.store import load_setups

MEMORY = Memory(bytes_per_s=2e12, cache_bytes=40e6, cores=108.0)
LAW = ElementwiseConstants(
    host_s=5e-6, start_s=2e-6, memory_fraction=0.8, cache_fraction=2.0, core_fraction=1.5
)


@pytest.fixture
def a100(chip):
    return chip(
        name="NVIDIA A100 80GB SXM", memory_bytes_per_s=2.039e12, cores=108, l2_bytes=41.9e6
    )


def case(**changes):
    values = {"chip": "NVIDIA A100 80GB SXM", "op": "rmsnorm", "m": 4096.0, "n": 4096.0}
    return OpCase(**values | changes)


def test_a_large_array_streams_from_memory():
    work = Work(moved_bytes=np.array(1e11), units=np.array(1e7))
    expected = 1e11 / (0.8 * 2e12)
    assert float(LAW.time_s(work, MEMORY)) == pytest.approx(expected, rel=1e-3)


def test_a_small_array_takes_the_host_or_the_kernel_whichever_is_longer():
    work = Work(moved_bytes=np.array(64.0), units=np.array(1.0))
    assert float(LAW.time_s(work, MEMORY)) == pytest.approx(5e-6, rel=1e-3)
    quick = dataclasses.replace(LAW, host_s=0.1e-6)
    assert float(quick.time_s(work, MEMORY)) == pytest.approx(2e-6, rel=1e-2)


def test_an_array_that_fits_the_cache_moves_at_its_rate():
    work = Work(moved_bytes=np.array(2e6), units=np.array(1e5))
    free = dataclasses.replace(LAW, host_s=1e-9, start_s=1e-9, core_fraction=1e9)
    expected = 2e6 / (2.0 * 2e12)
    assert float(free.time_s(work, MEMORY)) == pytest.approx(expected, rel=0.03)


def test_one_long_row_is_bound_by_its_core():
    """A row on one of 108 cores: cores x bytes over what all cores together move."""
    work = Work(moved_bytes=np.array(1e6), units=np.array(1.0))
    free = dataclasses.replace(LAW, host_s=1e-9, start_s=1e-9)
    assert float(free.time_s(work, MEMORY)) == pytest.approx(108 * 1e6 / (1.5 * 2e12), rel=1e-3)


def test_time_never_falls_with_rows():
    rows = 2.0 ** np.arange(0, 22)
    work = Work(moved_bytes=2 * rows * 4096 * 2, units=rows)
    assert (np.diff(LAW.time_s(work, MEMORY)) >= 0.0).all()


@pytest.mark.parametrize(
    ("op", "kernel", "expected"),
    [
        ("rmsnorm", "", 2 * 8 * 16 * 2),
        ("rmsnorm", "fused_add", 4 * 8 * 16 * 2),
        ("silu_mul", "", 3 * 8 * 16 * 2),
        ("copy", "add", 3 * 8 * 16 * 2),
        ("sample", "", 8 * 16 * 4),
    ],
)
def test_bytes_are_those_of_the_reference(op, kernel, expected):
    """Timing reference 1.6, eight rows of sixteen in bf16; logits in fp32."""
    assert float(work_of(key_of(op, kernel), 8, 16, "bf16").moved_bytes) == expected


@pytest.mark.parametrize("operation", ELEMENTWISE)
@pytest.mark.parametrize("name", ["NVIDIA A100 80GB SXM", "NVIDIA H200 SXM", "Some TPU"])
def test_every_operator_is_answered_on_every_chip(a100, operation, name):
    got = elementwise.estimate(case(op=operation, chip=name), dataclasses.replace(a100, name=name))
    assert 2e-6 < got.time_s < 1e-2
    assert 0.0 < got.log_sd < 2.0


def test_a_borrowed_set_up_has_the_wider_band(a100):
    own = elementwise.estimate(case(), a100)
    lent = elementwise.estimate(case(chip="AMD MI300X"), dataclasses.replace(a100, name="AMD"))
    assert lent.log_sd > own.log_sd
    assert any("borrowed" in note for note in lent.assumptions)


def test_an_eager_call_waits_for_the_host(a100):
    small = {"op": "gelu", "m": 1.0, "n": 1024.0, "dtype": "fp16"}
    eager = elementwise.estimate(case(mode="eager", stack="pytorch-eager", **small), a100)
    graph = elementwise.estimate(case(stack="vidur-2024", **small), a100)
    assert eager.time_s == pytest.approx(45e-6, rel=0.15)  # reference 2.4, GELU on A100
    assert graph.time_s < 0.3 * eager.time_s


def test_rope_takes_its_width_from_heads_and_rows_from_the_batch(a100):
    wide = case(op="rope", m=512.0, n=6144.0)
    heads = case(
        op="rope", m=float("nan"), n=float("nan"), heads=32.0, kv_heads=16.0, head_dim=128.0,
        batch=4.0, q_len=128.0,
    )  # fmt: skip
    assert elementwise.estimate(heads, a100).time_s == elementwise.estimate(wide, a100).time_s


@pytest.mark.parametrize(
    ("changes", "word"),
    [({"m": float("nan")}, "m"), ({"n": 0.0}, "n"), ({"dtype": "int3"}, "int3")],
)
def test_what_cannot_be_answered_says_why(a100, changes, word):
    with pytest.raises(InfeasibleError, match=word):
        elementwise.estimate(case(**changes), a100)


def test_an_unknown_chip_lists_what_was_taken_for_it(chip):
    plain = chip(name="plain", cores=0, l2_bytes=0.0)
    notes = " ".join(elementwise.estimate(case(chip="plain"), plain).assumptions)
    for word in ("cores", "cache", "dtype", "mode"):
        assert word in notes
    with pytest.raises(InfeasibleError, match="bandwidth"):
        elementwise.estimate(case(), chip(memory_bytes_per_s=0.0))


def test_the_measured_time_is_never_read(a100):
    assert elementwise.estimate(case(measured_s=9.0), a100) == elementwise.estimate(case(), a100)


def test_shipped_constants_are_positive_and_of_known_operators():
    for one in load_setups("elementwise"):
        assert one.kernel in PASSES
        assert all(value > 0.0 for value in one.constants.values())
