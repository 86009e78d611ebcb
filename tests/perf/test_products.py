"""Products of a step are cut as their FLOP and bytes are."""

import numpy as np
import pytest

from tapeout.catalog import load
from tapeout.chip import spec_from_record
from tapeout.fabric import usual_system
from tapeout.perf import PhysicalModel, Placement, prepare, serving_formats, step_mix
from tapeout.perf.law import EXPERT, PRODUCT, at_clock
from tapeout.perf.products import shapes
from tapeout.workload import load_model
from tapeout.workload.formats import weight_element_bytes

LAYOUTS = [
    ("llama-3.1-70b", "fp8", {"tensor_parallel": 8}),
    ("gpt-oss-120b", "fp4", {"tensor_parallel": 4}),
    ("deepseek-v3", "fp8", {"tensor_parallel": 8, "expert_parallel": 8}),
    ("deepseek-v3", "fp8", {"data_parallel": 8, "expert_parallel": 8}),
    ("deepseek-v3", "fp8", {"data_parallel": 16, "expert_parallel": 8}),
]


def placed(model, precision, degrees, chip="NVIDIA B200"):
    spec = spec_from_record(load().chip(chip))
    architecture = load_model(model)
    formats = serving_formats(spec, architecture, precision)
    return Placement(
        architecture=architecture, system=usual_system(spec), formats=formats, **degrees
    )


@pytest.mark.parametrize(("model", "precision", "degrees"), LAYOUTS)
def test_the_products_hold_the_flop_and_the_weights_of_the_busiest_chip(model, precision, degrees):
    part = placed(model, precision, degrees)
    mix = step_mix(prefill=np.array([0.0, 2048.0]), prompts=np.array([0.0, 1.0]), decode=64.0)
    ready = prepare(part, mix)
    expert_bytes = weight_element_bytes(part.formats.expert or part.formats.weight)
    cut = shapes(ready.table, ready.shard, part.degrees, expert_bytes)
    count = ready.table.count[cut.place]
    flop = 2.0 * cut.m * cut.experts * (cut.n * cut.k)[:, None] * count
    np.testing.assert_allclose(flop, ready.shard.flop[cut.place], rtol=1e-9)
    read = cut.experts * (cut.n * cut.k * cut.weight_bytes)[:, None] * count
    np.testing.assert_allclose(read, ready.shard.weight_bytes[cut.place], rtol=1e-9)


def test_equal_token_counts_are_timed_alike_and_more_are_never_faster():
    part = placed("gpt-oss-120b", "fp4", {"tensor_parallel": 2})
    mix = step_mix(decode=np.array([8.0, 64.0, 8.0, 512.0]), context=np.array([1.0, 9.0, 7e3, 1.0]))
    time_s = prepare(part, mix).work.product_s
    np.testing.assert_array_equal(time_s[:, 0], time_s[:, 2])
    # One product of a few rows may lose to a taller tile by some per cent (it refetches operands).
    assert np.all(time_s[:, 1] >= 0.9 * time_s[:, 0])
    assert np.all(time_s[:, 3] >= 0.9 * time_s[:, 1])
    assert np.all(np.diff(time_s[:, [0, 1, 3]].sum(axis=0)) > 0.0)


def test_only_products_are_timed_by_the_law():
    ready = prepare(placed(*LAYOUTS[2]), step_mix(decode=4.0, context=100.0))
    law = np.isin(ready.work.group[:, 0], (PRODUCT, EXPERT))
    assert np.all(ready.work.product_s[law] > 0.0)
    assert np.all(ready.work.product_s[~law] == 0.0)
    assert not prepare(
        placed(*LAYOUTS[2]), step_mix(decode=4.0), products=False
    ).work.product_s.any()


def test_a_lower_clock_slows_arithmetic_and_leaves_memory():
    work = prepare(placed(*LAYOUTS[0]), step_mix(prefill=8192.0, prompts=1.0)).work
    slow = at_clock(work, np.array([0.5]))
    np.testing.assert_allclose(slow.compute_s, 2.0 * work.compute_s)
    np.testing.assert_allclose(slow.memory_s, work.memory_s)
    heavy = work.compute_s > 4.0 * (work.memory_s + work.cache_s)
    chosen = heavy & (work.product_s > 0.0)
    assert chosen.any()
    np.testing.assert_allclose(slow.product_s[chosen], 2.0 * work.product_s[chosen], rtol=0.02)
    assert at_clock(work, np.ones(1)) is work


def test_operators_fabric_and_overhead_add_up_to_the_step():
    step = PhysicalModel().step_cost(placed(*LAYOUTS[3]), step_mix(decode=64.0, context=1e3))
    rest = step.by_kind_s["fabric"] + step.by_kind_s["overhead"]
    np.testing.assert_allclose(sum(step.by_operator_s.values()) + rest, step.time_s, rtol=1e-12)
