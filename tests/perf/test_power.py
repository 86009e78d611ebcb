"""Power caps, the parts of energy, and what a watt is divided over."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tapeout.errors import InfeasibleError
from tapeout.fabric import usual_system
from tapeout.perf import (
    PhysicalModel,
    PowerScope,
    capped,
    chip_power,
    prepare,
    step_mix,
    stretched,
    weights_per_chip_bytes,
)
from tapeout.perf.energy import (
    StepEnergy,
    awake_w,
    energy_constants,
    idle_w,
    operator_energy,
    rated_cut,
    sram_bytes,
    static_w,
)
from tapeout.perf.power import voltage_factor
from tapeout.serving import Lengths, operating_point

MIXED = step_mix(
    prefill=np.array([0.0, 4096.0]), prompts=np.array([0.0, 1.0]), decode=64.0, context=2000.0
)


def energy(**parts):
    names = ("idle_j", "awake_j", "arithmetic_j", "sram_j", "memory_j", "fabric_j")
    return StepEnergy(**{name: np.array([parts.get(name, 0.0)]) for name in names})


def mean_w(step, chips=1):
    return step.energy_j / step.time_s / chips


# The law of a cap, in closed form


def test_without_idle_awake_and_memory_a_cap_scales_the_clock_by_its_cube_root(chip):
    """Arithmetic alone: P = P0 f^3, so half the power is 0.794 of the clock and 1.26 the time."""
    only = energy(arithmetic_j=1000.0)
    one = np.ones(1)
    got = capped(chip(tdp_w=0.0), only, stretched(one, one), 500.0)
    assert got.clock_fraction[0] == pytest.approx(0.5 ** (1 / 3), rel=1e-9)
    assert got.time_s[0] == pytest.approx(2.0 ** (1 / 3), rel=1e-9)
    assert got.waiting_s[0] == 0.0


def test_below_the_voltage_floor_power_is_linear_in_the_clock(chip):
    floor = energy_constants()["clock.voltage_floor"]
    at_floor = 1000.0 * floor**3
    one = np.ones(1)
    got = capped(chip(tdp_w=0.0), energy(arithmetic_j=1000.0), stretched(one, one), at_floor / 2.0)
    assert got.clock_fraction[0] == pytest.approx(floor / 2.0, rel=1e-9)
    assert voltage_factor(np.array(floor / 2)) == voltage_factor(np.array(floor)) == floor**2


def test_memory_bound_time_does_not_follow_the_clock(chip):
    """Half the energy is memory: the cap takes its share off the arithmetic alone."""
    both = energy(arithmetic_j=300.0, memory_j=300.0)
    one = np.ones(1)
    got = capped(chip(tdp_w=0.0), both, stretched(one, np.zeros(1)), 500.0)
    assert got.time_s[0] == 1.0
    assert got.clock_fraction[0] == pytest.approx(math.sqrt(200.0 / 300.0), rel=1e-9)


def test_below_the_lowest_clock_the_chip_waits_at_idle_power(chip):
    """Memory alone at 300 W above an idle 100 W, cap 200 W: three times the time."""
    bare = chip(tdp_w=0.0, idle_w=100.0)
    moved = energy(idle_j=100.0, memory_j=300.0)
    got = capped(bare, moved, stretched(np.ones(1), np.zeros(1)), 200.0)
    assert got.waiting_s[0] == pytest.approx(2.0)
    assert got.energy.total_j[0] / got.time_s[0] == pytest.approx(200.0)
    assert got.energy.memory_j[0] == 300.0


def test_a_cap_below_idle_power_is_refused_by_name(chip):
    part = chip(tdp_w=1000.0)
    with pytest.raises(InfeasibleError, match="NVIDIA plain draws 150 W when idle"):
        capped(part, energy(idle_j=150.0), stretched(np.ones(1), np.ones(1)), 150.0)


@settings(max_examples=25)
@given(cap=st.floats(160.0, 1500.0), more=st.floats(1.0, 4.0), prefill=st.floats(0.0, 16_000.0))
def test_a_cap_is_kept_and_a_higher_one_is_never_slower(placed, cap, more, prefill):
    part = placed(tensor_parallel=2)
    mix = step_mix(prefill=prefill, prompts=1.0, decode=32.0, context=1000.0)
    free = PhysicalModel().step_cost(part, mix)
    tight = PhysicalModel(power_cap_w=cap).step_cost(part, mix)
    loose = PhysicalModel(power_cap_w=cap * more).step_cost(part, mix)
    assert mean_w(tight, 2) <= cap * (1 + 1e-9)
    assert mean_w(tight, 2) <= mean_w(free, 2) * (1 + 1e-9)
    assert free.time_s * (1 - 1e-9) <= loose.time_s
    assert loose.time_s <= tight.time_s * (1 + 1e-9)


def test_a_cap_at_the_rating_changes_nothing(placed):
    part = placed()
    free = PhysicalModel().step_cost(part, MIXED)
    same = PhysicalModel(power_cap_w=1000.0).step_cost(part, MIXED)
    np.testing.assert_allclose(same.time_s, free.time_s, rtol=1e-12)
    np.testing.assert_allclose(same.energy_j, free.energy_j, rtol=1e-12)
    np.testing.assert_allclose(same.clock_fraction, 1.0, rtol=1e-12)


def test_a_cap_slows_prefill_more_than_decode(placed):
    part = placed()
    free = PhysicalModel().step_cost(part, MIXED)
    tight = PhysicalModel(power_cap_w=500.0).step_cost(part, MIXED)
    decode, carrying = tight.time_s / free.time_s
    assert carrying > 1.2
    assert decode < carrying


def test_kinds_add_up_to_a_capped_step_too(placed):
    for cap in (600.0, 170.0):  # a lower clock, and waits
        step = PhysicalModel(power_cap_w=cap).step_cost(placed(tensor_parallel=2), MIXED)
        np.testing.assert_allclose(sum(step.by_kind_s.values()), step.time_s, rtol=1e-12)


# Parts of energy


@given(cap=st.sampled_from([0.0, 300.0, 700.0]), tdp=st.sampled_from([0.0, 400.0, 1200.0]))
def test_parts_of_energy_add_up(placed, chip, cap, tdp):
    part = placed(chip=chip(tdp_w=tdp), tensor_parallel=2)
    step = PhysicalModel(power_cap_w=cap).step_cost(part, MIXED)
    np.testing.assert_allclose(sum(step.energy_by_part_j.values()), step.energy_j, rtol=1e-12)
    assert all(np.all(one >= 0.0) for one in step.energy_by_part_j.values())
    if tdp == 0.0:
        assert np.all(step.energy_by_part_j["idle"] == 0.0)


def test_operators_add_up_to_the_work_of_a_step(placed, chip):
    part = placed(chip=chip(tdp_w=0.0), tensor_parallel=1)
    ready = prepare(part, MIXED)
    step = PhysicalModel().step_cost(part, MIXED)
    work = operator_energy(
        part.system.chip, ready.table.dtype, ready.shard.mean_flop, ready.shard.mean_bytes
    )
    np.testing.assert_allclose(work.total_j.sum(axis=0), step.energy_j, rtol=1e-12)
    assert work.total_j.shape == (len(ready.table.name), 2)


def test_energy_of_one_product_by_hand(chip):
    """1e12 FLOP of fp8 at N4, 1e9 bytes of HBM3e, with the table's own constants."""
    table = energy_constants()
    work = operator_energy(chip(), ("fp8",), np.array([[1e12]]), np.array([[1e9]]))
    per_flop = table["flop.4nm"] * table["dtype.fp8"] * table["arithmetic.delivery"]
    per_byte = table["memory.hbm3e"] * table["memory.delivery"]
    on_chip = (1e9 + 1e12 / table["sram.tile"]) * table["memory.sram"]
    assert work.arithmetic_j[0, 0] == pytest.approx(1e12 * per_flop)
    assert work.memory_j[0, 0] == pytest.approx(1e9 * per_byte)
    assert work.sram_j[0, 0] == pytest.approx(on_chip)


def test_the_rating_comes_off_the_arithmetic_first():
    whole = energy(idle_j=100.0, arithmetic_j=800.0, memory_j=300.0)
    cut = rated_cut(whole, np.array([1000.0]))
    assert (cut.idle_j[0], cut.memory_j[0]) == (100.0, 300.0)
    assert cut.arithmetic_j[0] == pytest.approx(600.0)
    deeper = rated_cut(whole, np.array([200.0]))
    assert deeper.arithmetic_j[0] == 0.0
    assert deeper.total_j[0] == pytest.approx(200.0)
    free = rated_cut(whole, np.array([np.inf]))
    assert free.total_j[0] == whole.total_j[0]


def test_idle_and_awake_make_the_static_power(chip):
    part = chip(tdp_w=1000.0)
    assert idle_w(part) == pytest.approx(150.0)
    assert idle_w(part) + awake_w(part) == pytest.approx(static_w(part))
    stated = chip(tdp_w=1000.0, idle_w=900.0)
    assert (idle_w(stated), awake_w(stated)) == (900.0, 0.0)


def test_on_chip_bytes_of_a_square_product_follow_its_tiles():
    """2 n^3 FLOP of bf16 in tiles of 128: 2 n^3 / 64 operand bytes, and memory's passes once."""
    n = 1024.0
    got = sram_bytes(np.array([[2 * n**3]]), np.array([[6 * n**2]]), np.array([[2.0]]))
    assert got[0, 0] == pytest.approx(6 * n**2 + 2 * n * n * n / 64)


def test_a_memory_on_the_chip_is_counted_once(placed, chip):
    """Its bytes cost what the on-chip memory costs, not that and a main memory."""
    part = placed("llama-3.1-8b", chip(memory_kind="SRAM", tdp_w=0.0))
    step = PhysicalModel().step_cost(part, step_mix(decode=np.ones(1), context=1.0))
    read = weights_per_chip_bytes(part) - part.architecture.embedding_elements * 2.0
    joule = energy_constants()["memory.sram"]
    assert step.energy_by_part_j["memory"][0] == pytest.approx(read * joule, rel=0.01)
    assert step.energy_by_part_j["sram"][0] < step.energy_by_part_j["memory"][0]


# Denominators


def test_every_denominator_is_its_own_figure():
    got = chip_power(600.0, 1000.0, 300.0)
    assert [got.of(scope) for scope in PowerScope] == [1000.0, 600.0, 900.0, 1300.0]


def test_an_unknown_rating_leaves_two_figures_unknown():
    got = chip_power(600.0, 0.0, 300.0)
    assert math.isnan(got.rated_w)
    assert math.isnan(got.rack_w)
    assert got.all_in_w == 900.0


def test_the_host_share_is_part_of_all_in_power_only(placed):
    part = placed(tensor_parallel=2)
    lengths = Lengths(new=1000.0, cached=0.0, output=200.0)
    point = operating_point(PhysicalModel(), part, lengths, 32.0)
    assert usual_system(part.system.chip).host_w > 0.0
    rate = point.output_tokens_per_s_per_chip
    assert point.power.sustained_w == pytest.approx(point.joule_per_output_token * rate)
    assert sum(point.joule_by_part.values()) == pytest.approx(point.joule_per_output_token)
    assert point.power.all_in_w == point.power.sustained_w + part.system.host_w
    assert point.clock_fraction == 1.0
