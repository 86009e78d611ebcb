"""Points of a sweep: rates, energy and memory agree; what cannot be served is an outcome."""

import math
from dataclasses import replace

import pytest

from tapeout.errors import DoesNotFitError, InfeasibleError, Outcome
from tapeout.perf import PhysicalModel, PowerScope, step_mix
from tapeout.serving import Lengths, operating_point
from tapeout.serving.sweep import DECODE, PREFILL, STEADY, Load, perf_point, sweep

LENGTHS = Lengths(new=900.0, cached=124.0, output=512.0)
MODEL = PhysicalModel()


@pytest.mark.parametrize("kind", [STEADY, DECODE, PREFILL])
def test_power_is_energy_times_rate(placed, kind):
    place = placed(tensor_parallel=4)
    place = replace(place, system=replace(place.system, host_w=250.0))
    point = perf_point(MODEL, place, Load(lengths=LENGTHS, kind=kind), 32.0)
    assert point.power.sustained_w == pytest.approx(
        point.joule_per_token * point.tokens_per_s_per_chip
    )
    assert point.joule_per_token_of(PowerScope.SUSTAINED) == pytest.approx(point.joule_per_token)
    assert point.joule_per_token_of(PowerScope.RACK) > point.joule_per_token_of(PowerScope.RATED)
    assert point.breakdown.time_s == pytest.approx(point.step_s)


def test_a_steady_point_is_the_operating_point(placed):
    place = placed(tensor_parallel=2)
    point = perf_point(MODEL, place, Load(lengths=LENGTHS), 64.0)
    want = operating_point(MODEL, place, LENGTHS, 64.0)
    assert (point.tpot_s, point.ttft_s, point.log_sd) == (want.tpot_s, want.ttft_s, want.log_sd)
    assert point.tokens_per_s_per_user == pytest.approx(1.0 / want.tpot_s)


def test_a_decode_step_takes_the_context_that_is_given(placed):
    place = placed(tensor_parallel=2)
    load = Load(lengths=LENGTHS, kind=DECODE, context=9000.0)
    point = perf_point(MODEL, place, load, 16.0)
    cost = MODEL.step_cost(place, step_mix(decode=16.0, context=9000.0))
    assert point.tpot_s == pytest.approx(float(cost.time_s[0]))
    assert math.isnan(point.ttft_s)
    shorter = perf_point(MODEL, place, Load(lengths=LENGTHS, kind=DECODE), 16.0)
    assert float(shorter.memory.kv_bytes) < float(point.memory.kv_bytes)


def test_prompts_beyond_the_budget_take_more_steps_of_the_same_time(placed):
    load = Load(lengths=Lengths(new=8192.0, cached=0.0, output=1.0), kind=PREFILL)
    one, four = (perf_point(MODEL, placed(), load, count) for count in (1.0, 4.0))
    assert four.ttft_s == pytest.approx(4.0 * one.ttft_s)
    assert four.input_tokens_per_s_per_chip == pytest.approx(one.input_tokens_per_s_per_chip)
    assert math.isnan(four.output_tokens_per_s_per_chip)


def test_a_long_prompt_is_cut_into_chunks_at_its_mean_depth(placed):
    load = Load(lengths=Lengths(new=32768.0, cached=0.0, output=1.0), kind=PREFILL)
    point = perf_point(MODEL, placed(tensor_parallel=8), load, 1.0)
    deep = step_mix(prefill=8192.0, cached=(32768.0 - 8192.0) / 2.0, prompts=1.0)
    cost = MODEL.step_cost(placed(tensor_parallel=8), deep)
    assert point.ttft_s == pytest.approx(4.0 * float(cost.time_s[0]))


def test_a_sweep_goes_through_every_batch_of_every_placement(placed):
    places = [placed(tensor_parallel=1), placed(tensor_parallel=8)]
    rows = list(sweep(MODEL, places, Load(lengths=LENGTHS), (1.0, 64.0, 1e5)))
    assert [(row.placement.tensor_parallel, row.sequences) for row in rows] == [
        (1, 1.0), (1, 64.0), (1, 1e5), (8, 1.0), (8, 64.0), (8, 1e5),
    ]  # fmt: skip
    assert [row.outcome for row in rows][2] is Outcome.DOES_NOT_FIT
    assert "GB a chip" in rows[2].reason
    assert rows[2].point is None
    assert all((row.point is None) == (row.outcome is not Outcome.OK) for row in rows)


def test_more_sequences_give_more_throughput_and_slower_users(placed):
    rows = list(sweep(MODEL, [placed()], Load(lengths=LENGTHS), (1.0, 4.0, 16.0, 64.0)))
    rate = [row.point.output_tokens_per_s_per_chip for row in rows]
    user = [row.point.tokens_per_s_per_user for row in rows]
    assert rate == sorted(rate)
    assert user == sorted(user, reverse=True)


def test_mistakes_are_refused(placed):
    with pytest.raises(InfeasibleError, match="none of steady"):
        perf_point(MODEL, placed(), Load(lengths=LENGTHS, kind="idle"), 1.0)
    with pytest.raises(InfeasibleError, match="at least one"):
        perf_point(MODEL, placed(), Load(lengths=LENGTHS), math.nan)
    with pytest.raises(DoesNotFitError):
        perf_point(MODEL, placed(), Load(lengths=LENGTHS, kind=DECODE), 1e6)
