"""Capacity meets its objective, and says why where there is none."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tapeout.errors import DoesNotFitError, InfeasibleError, Outcome, UnknownNameError
from tapeout.fabric import usual_system
from tapeout.perf import PhysicalModel, RooflineModel, max_sequences
from tapeout.serving import (
    CapacityOptions,
    Slo,
    best_point,
    capacity_point,
    least_tpot_point,
    lengths_of,
    steady_capacity,
    steady_state,
    words,
)
from tapeout.serving.percentiles import tpot_at_percentile_s, ttft_at_percentile_s
from tapeout.workload import Traffic, load_model

CHAT = Traffic(name="chat", model="gpt-oss-120b", input_tokens=2000.0, output_tokens=500.0)
LONG = Traffic(name="long", model="deepseek-r1", input_tokens=8192.0, output_tokens=1024.0)
SLO = Slo(ttft_s=2.0, tpot_s=0.05)
TIGHT = Slo(ttft_s=2.0, tpot_s=0.0001)
TOGETHER = CapacityOptions(disaggregated=False)


@given(ttft=st.floats(0.1, 5.0), tpot=st.floats(0.006, 0.2), percentile=st.floats(50.0, 99.0))
@settings(max_examples=40)
def test_a_served_point_meets_its_objective_and_fits(placed, ttft, tpot, percentile):
    part = placed("gpt-oss-120b", tensor_parallel=2)
    slo = Slo(ttft_s=ttft, tpot_s=tpot, percentile=percentile)
    point = capacity_point(part, CHAT, slo)
    if point.outcome == Outcome.OK:
        assert point.tpot_s <= tpot
        assert point.ttft_s <= ttft
        assert point.batch_sequences <= max_sequences(part, lengths_of(CHAT).context)
        assert bool(point.memory.fits)
    else:
        assert point.output_tokens_per_s_per_chip == 0.0
        assert (point.tpot_s > tpot) or (point.ttft_s > ttft)


def test_the_next_larger_batch_would_miss_the_objective(placed):
    part = placed("gpt-oss-120b", tensor_parallel=2)
    point = capacity_point(part, CHAT, SLO)
    larger = point.batch_sequences * 1.03
    state = steady_state(PhysicalModel(), part, lengths_of(CHAT), np.array([larger]))
    slow = tpot_at_percentile_s(state, 90.0)[0] > SLO.tpot_s
    late = ttft_at_percentile_s(state, 90.0)[0] > SLO.ttft_s
    full = larger > max_sequences(part, lengths_of(CHAT).context)
    assert slow or late or full


def test_rates_of_a_point_agree_with_one_another(placed):
    point = capacity_point(placed("gpt-oss-120b", tensor_parallel=2), CHAT, SLO)
    per_chip = point.batch_sequences / point.mean_tpot_s / 2
    assert point.output_tokens_per_s_per_chip == pytest.approx(per_chip)
    ratio = point.input_tokens_per_s_per_chip / point.output_tokens_per_s_per_chip
    assert ratio == pytest.approx(4.0)
    power = point.joule_per_output_token * point.output_tokens_per_s_per_chip
    assert point.power_w_per_chip == pytest.approx(power)


@given(tpot=st.floats(0.005, 0.1), slack=st.floats(1.0, 3.0))
@settings(max_examples=15)
def test_a_looser_objective_never_serves_less(chip, tpot, slack):
    system, model = usual_system(chip()), load_model("gpt-oss-120b")
    tight, loose = (
        best_point(model, system, CHAT, Slo(ttft_s=2.0, tpot_s=limit))
        for limit in (tpot, tpot * slack)
    )
    # Batches are tried on a grid: a few per cent may be lost between its points.
    assert loose.output_tokens_per_s_per_chip >= 0.96 * tight.output_tokens_per_s_per_chip


@given(gain=st.floats(1.0, 3.0))
@settings(max_examples=10)
def test_a_faster_chip_never_serves_less(chip, gain):
    slow = chip()
    fast = chip(
        memory_bytes_per_s=slow.memory_bytes_per_s * gain,
        peak_flop_per_s={name: rate * gain for name, rate in slow.peak_flop_per_s.items()},
    )
    model = load_model("gpt-oss-120b")
    before, after = (best_point(model, usual_system(one), CHAT, SLO) for one in (slow, fast))
    assert after.output_tokens_per_s_per_chip >= 0.96 * before.output_tokens_per_s_per_chip


def test_pools_of_their_own_help_under_a_tight_limit(chip):
    """A prompt of 8,192 tokens holds up decode steps on shared chips."""
    system, model = usual_system(chip()), load_model("deepseek-r1")
    slo = Slo(ttft_s=5.0, tpot_s=0.025)
    together = best_point(model, system, LONG, slo, TOGETHER)
    apart = best_point(model, system, LONG, slo)
    assert apart.prefill_placement is not None
    assert apart.output_tokens_per_s_per_chip > 1.1 * together.output_tokens_per_s_per_chip
    assert apart.tpot_s <= slo.tpot_s
    assert apart.ttft_s <= slo.ttft_s
    assert words(apart).startswith("prefill ")
    assert apart.chips > apart.placement.chips


def test_a_single_request_is_fastest_on_many_chips(chip):
    system, model = usual_system(chip()), load_model("gpt-oss-120b")
    point = least_tpot_point(model, system, CHAT)
    one = capacity_point(replace(point.placement, tensor_parallel=1), CHAT, SLO)
    assert point.batch_sequences == 1.0
    assert point.mean_tpot_s < one.mean_tpot_s


def test_a_placement_that_holds_nothing_is_refused_with_figures(placed, chip):
    with pytest.raises(DoesNotFitError, match="GB a chip"):
        capacity_point(placed("deepseek-r1", chip(memory_bytes=80e9)), LONG, SLO)


@pytest.fixture(scope="module", name="table")
def table_fixture(chip):
    silicon = {
        "plain": chip(),
        "small": chip(memory_bytes=2e9),
        "blank": None,
        "no peak": chip(peak_flop_per_s={}),
    }
    return steady_capacity(silicon, [CHAT, LONG, CHAT], [SLO, SLO, TIGHT])


def test_the_table_has_one_row_a_silicon_and_one_column_a_class(table):
    shape = (4, 3, 1)
    for name in ("output_tokens_per_s_per_chip", "chips_per_replica", "outcome", "own_log_sd"):
        assert getattr(table, name).shape == shape
    assert table.silicon == ("plain", "small", "blank", "no peak")
    assert table.stack_year == (0,)
    assert table.method == "steady"
    assert [len(row) for row in table.placement] == [3, 3, 3, 3]


def test_what_cannot_be_served_has_a_code_and_no_rate(table):
    codes = table.outcome[:, :, 0].tolist()
    assert codes[0] == [Outcome.OK, Outcome.OK, Outcome.MISSES_TPOT]
    assert set(codes[1]) == {Outcome.DOES_NOT_FIT}
    assert set(codes[2]) == set(codes[3]) == {Outcome.NO_PEAK}
    served = table.outcome == Outcome.OK
    assert np.all(table.output_tokens_per_s_per_chip[served] > 0)
    assert np.all(table.output_tokens_per_s_per_chip[~served] == 0)
    assert np.all(table.joule_per_output_token[~served] == 0)


def test_a_late_first_token_has_its_own_code(chip):
    late = Slo(ttft_s=1e-6, tpot_s=1.0)
    table = steady_capacity({"plain": chip()}, [CHAT], [late])
    assert table.outcome[0, 0, 0] == Outcome.MISSES_TTFT


def test_the_timing_model_is_a_choice(chip):
    system, model = usual_system(chip()), load_model("gpt-oss-120b")
    real = best_point(model, system, CHAT, SLO)
    ideal = best_point(model, system, CHAT, SLO, CapacityOptions(model=RooflineModel()))
    assert ideal.output_tokens_per_s_per_chip > 1.2 * real.output_tokens_per_s_per_chip
    assert (ideal.common_log_sd, ideal.own_log_sd) == (0.0, 0.0)
    assert real.common_log_sd > 0.0


def test_wrong_calls_are_refused(chip):
    with pytest.raises(InfeasibleError, match="2 classes of traffic but 1 objectives"):
        steady_capacity({"plain": chip()}, [CHAT, LONG], [SLO])
    with pytest.raises(UnknownNameError, match="gpt-oss-120b"):
        steady_capacity({"plain": chip()}, [replace(CHAT, model="gpt-oss-120")], [SLO])
