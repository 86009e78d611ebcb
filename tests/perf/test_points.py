"""Breakdown by operator: parts add up, MFU and MBU by hand, and the rooflines above them."""

from dataclasses import replace

import numpy as np
import pytest

from tapeout.perf import PhysicalModel, RooflineModel, prepare, step_mix, weights_per_chip_bytes
from tapeout.perf.peaks import peak_flop_per_s, peak_format
from tapeout.perf.points import breakdown
from tapeout.perf.roofline import roofline_points, roofs
from tapeout.workload import TensorFormats

DECODE = step_mix(decode=64.0, context=4096.0)
PLACEMENTS = [
    {},
    {"tensor_parallel": 8},
    {"tensor_parallel": 4, "pipeline_parallel": 2},
    {"model": "deepseek-r1", "data_parallel": 8, "expert_parallel": 8},
]


@pytest.mark.parametrize("degrees", PLACEMENTS)
@pytest.mark.parametrize("model", [PhysicalModel(), RooflineModel()], ids=["fitted", "roofline"])
def test_operators_add_up_to_the_step(placed, degrees, model):
    place = placed(**degrees)
    mix = step_mix(prefill=[0.0, 2048.0], prompts=[0.0, 1.0], decode=64.0, context=4096.0)
    weight = np.array([0.7, 0.3])
    found, cost = breakdown(model, place, mix, weight), model.step_cost(place, mix)
    assert found.time_s == pytest.approx(float(cost.time_s @ weight))
    assert sum(one.time_s for one in found.operators) == pytest.approx(found.time_s)
    assert sum(found.shares_s.values()) == pytest.approx(found.time_s)
    energy = sum(one.energy_j for one in found.operators) * place.chips
    assert energy == pytest.approx(float(cost.energy_j @ weight))
    for kind, part in cost.by_kind_s.items():
        mine = sum(one.time_s for one in found.operators if one.kind == kind)
        assert mine == pytest.approx(float(part @ weight))


def test_times_that_the_model_gives_by_operator_are_taken_as_they_are(placed):
    place = placed()

    class Given:
        name = "given"

        def step_cost(self, placement, mix):
            cost = PhysicalModel().step_cost(placement, mix)
            names = prepare(placement, mix).table.name
            even = cost.time_s / len(names)

            class Cost:
                by_operator_s = dict.fromkeys(names, even)

                def __getattr__(self, name):
                    return getattr(cost, name)

            return Cost()

    found = breakdown(Given(), place, DECODE)
    work = [one.time_s for one in found.operators if one.kind not in ("fabric", "overhead")]
    assert found.exact
    assert work == pytest.approx([work[0]] * len(work))
    assert breakdown(PhysicalModel(), place, DECODE).exact


def test_mbu_of_one_sequence_at_peak_rates_is_nearly_one(placed):
    """Batch one without overheads: weights at full bandwidth, activations negligible."""
    found = breakdown(RooflineModel(), placed(), step_mix(decode=1.0, context=1.0))
    assert 0.97 < found.mbu_fraction <= 1.0
    assert found.bound == "memory"
    place = placed()
    floor_s = weights_per_chip_bytes(place) / place.system.chip.memory_bytes_per_s
    assert found.time_s >= 0.97 * floor_s


def test_mfu_is_two_flop_a_parameter_and_token(placed):
    """A short-context decode step of a dense model does 2 FLOP per parameter and token."""
    place = placed()
    found = breakdown(PhysicalModel(), place, step_mix(decode=256.0, context=1.0))
    weights = weights_per_chip_bytes(place)  # fp8: one byte a parameter, embeddings two
    rate = 2.0 * weights * 256.0 / found.time_s
    assert found.mfu_fraction == pytest.approx(rate / 2e15, rel=0.08)
    assert found.mfu_basis == "dense fp8 peak, rated"


def test_no_fraction_exceeds_one(placed):
    for degrees in PLACEMENTS:
        for mix in (DECODE, step_mix(prefill=8192.0, prompts=1.0)):
            found = breakdown(RooflineModel(), placed(**degrees), mix)
            assert 0.0 < found.mfu_fraction <= 1.0
            assert 0.0 < found.mbu_fraction <= 1.0
            for point in roofline_points(found):
                assert 0.0 < point.roof_fraction <= 1.0 + 1e-9


def test_flop_of_a_replica_do_not_depend_on_how_it_is_cut(placed):
    """Every placement of a dense model does the same products, in all chips together."""
    cuts = ({}, {"tensor_parallel": 8}, {"tensor_parallel": 2, "pipeline_parallel": 4})
    total = []
    for degrees in cuts:
        place = placed(**degrees)
        found = breakdown(PhysicalModel(), place, DECODE)
        gemm = sum(one.flop for one in found.operators if one.kind == "gemm")
        total.append(gemm * place.chips)
    assert total == pytest.approx([total[0]] * len(total))


def test_few_sequences_in_a_deep_pipeline_leave_stages_idle(placed):
    """Two sequences on four stages: each chip works half of the time, so MBU halves at least."""
    deep = placed(pipeline_parallel=4)
    two = breakdown(RooflineModel(), deep, step_mix(decode=2.0, context=1.0))
    four = breakdown(RooflineModel(), deep, step_mix(decode=4.0, context=1.0))
    assert four.mbu_fraction / two.mbu_fraction == pytest.approx(2.0, rel=0.05)


def test_a_large_prefill_is_bound_by_compute_and_one_sequence_by_memory(placed):
    prefill = breakdown(PhysicalModel(), placed(), step_mix(prefill=8192.0, prompts=1.0))
    assert prefill.bound == "compute"
    assert prefill.shares_s["compute"] > 0.5 * prefill.time_s
    alone = breakdown(PhysicalModel(), placed(), step_mix(decode=1.0, context=100.0))
    assert alone.bound == "memory"


def test_roofs_are_those_of_the_formats_used(placed):
    found = breakdown(PhysicalModel(), placed(), DECODE)
    top, low = roofs(found)
    assert (top.dtype, low.dtype) == ("fp8", "bf16")
    assert top.ridge_flop_per_byte == pytest.approx(500.0)
    assert top.at(1.0) == 4e12
    assert top.at(1e9) == 2e15


def test_work_in_a_format_without_a_peak_is_named_by_the_peak_it_runs_at(chip, placed):
    only = chip(peak_flop_per_s={"fp32": 1e13})
    bf16 = TensorFormats(weight="bf16", activation="bf16", kv="bf16")
    found = breakdown(PhysicalModel(), placed(chip=only, formats=bf16), DECODE)
    assert found.mfu_basis == "dense fp32 peak, rated"
    assert {one.dtype for one in roofs(found)} == {"fp32"}
    assert peak_flop_per_s(only, "bf16") == 1e13
    assert peak_format(chip(peak_flop_per_s={"int8": 2.0, "int4": 3.0}), "fp8") == "int8"


def test_uneven_experts_do_not_raise_mfu(placed):
    """Imbalance costs time; the FLOP that count are the model's."""
    shape = {"model": "deepseek-r1", "data_parallel": 8, "expert_parallel": 8}
    found = breakdown(PhysicalModel(), placed(**shape), DECODE)
    ready = prepare(placed(**shape), DECODE)
    assert sum(one.flop for one in found.operators) == pytest.approx(ready.shard.mean_flop.sum())
    assert ready.shard.mean_flop.sum() < ready.shard.flop.sum()


def test_a_power_cap_slows_the_clock_and_the_parts_still_add_up(placed):
    mix = step_mix(prefill=8192.0, prompts=1.0)
    free, capped = (
        breakdown(PhysicalModel(power_cap_w=cap), placed(), mix) for cap in (0.0, 500.0)
    )
    assert free.clock_fraction == 1.0 > capped.clock_fraction
    assert capped.time_s > free.time_s
    assert capped.energy_j / capped.time_s == pytest.approx(500.0, rel=1e-6)
    for found in (free, capped):
        assert sum(found.energy_by_part_j.values()) == pytest.approx(found.energy_j)
        assert sum(one.time_s for one in found.operators) == pytest.approx(found.time_s)
        assert sum(one.energy_j for one in found.operators) == pytest.approx(found.energy_j)


def test_weights_of_the_mean_are_respected(placed):
    mix = step_mix(decode=[1.0, 512.0], context=2048.0)
    parts = [
        breakdown(PhysicalModel(), placed(tensor_parallel=2), one).time_s
        for one in (step_mix(decode=1.0, context=2048.0), step_mix(decode=512.0, context=2048.0))
    ]
    whole = breakdown(PhysicalModel(), placed(tensor_parallel=2), mix, np.array([0.25, 0.75]))
    assert whole.time_s == pytest.approx(0.25 * parts[0] + 0.75 * parts[1])
    assert replace(whole, exact=True).exact
