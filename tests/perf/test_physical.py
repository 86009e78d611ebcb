"""The timing law: limits, monotonicity, conservation, energy."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapeout.chip import Link
from tapeout.errors import MissingFieldError, Outcome
from tapeout.perf import (
    PhysicalModel,
    RooflineModel,
    Software,
    load_fit,
    prepare,
    step_mix,
    weights_per_chip_bytes,
)
from tapeout.perf.constants import IDEAL
from tapeout.perf.energy import energy_constants, flop_j, memory_j_per_byte, static_w
from tapeout.perf.law import smooth_maximum
from tapeout.perf.peaks import peak_flop_per_s
from tapeout.workload import TensorFormats

MODEL = PhysicalModel()
BATCHES = np.array([1.0, 8.0, 64.0, 256.0])
MODELS = ("llama-3.1-70b", "gpt-oss-120b", "deepseek-r1", "mamba2-2.7b")


def decode(context=2048.0, batch=BATCHES):
    return step_mix(decode=batch, context=context)


def test_decode_at_batch_one_takes_the_time_to_read_the_weights(placed):
    """Each weight is read once per token; the embedding is looked up, not read."""
    part = placed()
    embedding = part.architecture.embedding_elements * 2.0
    read = weights_per_chip_bytes(part) - embedding
    step = RooflineModel().step_cost(part, decode(1.0, np.ones(1)))
    assert step.bound == ("memory",)
    assert step.time_s[0] == pytest.approx(read / 4e12, rel=0.01)


def test_prefill_of_a_long_prompt_takes_the_time_of_its_arithmetic(placed):
    """2 FLOP per weight and token at the fp8 peak, attention beside it."""
    part = placed()
    step = RooflineModel().step_cost(part, step_mix(prefill=8192.0, prompts=1.0))
    assert step.bound == ("compute",)
    matrices = 2 * 68.4e9 * 8192 / 2e15  # weights in layers of Llama-3.1-70B, fp8
    attention = 80 * 2 * 64 * 256 * 8192 * 8193 / 2 / 1e15  # causal pairs of 64 heads, bf16
    assert step.time_s[0] == pytest.approx(matrices + attention, rel=0.1)


def test_the_calibrated_model_is_slower_than_the_roofline_by_a_third_at_least(placed):
    part = placed(tensor_parallel=8)
    slow = MODEL.step_cost(part, decode()).time_s
    assert np.all(slow > 1.33 * RooflineModel().step_cost(part, decode()).time_s)


@pytest.mark.parametrize("model", MODELS)
def test_kinds_add_up_to_the_step(placed, model):
    for part in (placed(model), placed(model, tensor_parallel=8)):
        step = MODEL.step_cost(part, decode())
        np.testing.assert_allclose(sum(step.by_kind_s.values()), step.time_s, rtol=1e-12)
        assert all(np.all(share >= 0) for share in step.by_kind_s.values())


RATES = st.floats(1.0, 4.0)


@given(
    model=st.sampled_from(MODELS),
    tensor=st.sampled_from([1, 8]),
    gains=st.tuples(RATES, RATES, RATES),
)
def test_a_faster_chip_is_never_slower(placed, chip, model, tensor, gains):
    compute, memory, link = gains
    slow = chip(cores=264)  # the same number: more cores are harder to fill
    fast = chip(
        cores=264,
        peak_flop_per_s={name: rate * compute for name, rate in slow.peak_flop_per_s.items()},
        memory_bytes_per_s=slow.memory_bytes_per_s * memory,
        links=(Link(name="link", bytes_per_s=450e9 * link, chips=64),),
    )
    mix = step_mix(
        prefill=np.array([0.0, 4096.0]), prompts=np.array([0.0, 1.0]), decode=32.0, context=2000.0
    )
    before = MODEL.step_cost(placed(model, slow, tensor_parallel=tensor), mix).time_s
    after = MODEL.step_cost(placed(model, fast, tensor_parallel=tensor), mix).time_s
    assert np.all(after <= before * (1 + 1e-12))


@given(
    model=st.sampled_from(MODELS),
    batch=st.floats(1.0, 512.0),
    context=st.floats(0.0, 30_000.0),
    more=st.floats(1.0, 4.0),
)
def test_more_sequences_or_cached_tokens_are_never_faster(placed, model, batch, context, more):
    part = placed(model)
    grown = step_mix(
        decode=np.array([batch, batch, batch * more]),
        context=np.array([context, context * more, context]),
    )
    base, longer, wider = MODEL.step_cost(part, grown).time_s
    assert longer >= base * (1 - 1e-12)
    assert wider >= base * (1 - 1e-12)


def test_a_narrower_format_reads_less_and_is_faster(placed, chip):
    has_fp4 = chip(peak_flop_per_s={"bf16": 1e15, "fp8": 2e15, "fp4": 4e15})
    fp4 = TensorFormats(weight="fp4", activation="fp4", kv="fp8")
    wide = MODEL.step_cost(placed(chip=has_fp4), decode()).time_s
    narrow = MODEL.step_cost(placed(chip=has_fp4, formats=fp4), decode()).time_s
    assert np.all(narrow < wide)


def test_a_format_without_units_runs_at_the_next_wider_rate(chip):
    plain = chip()
    assert peak_flop_per_s(plain, "fp4") == 2e15
    assert peak_flop_per_s(plain, "int8") == 1e15
    assert peak_flop_per_s(chip(peak_flop_per_s={"int8": 9e13}), "bf16") == 9e13
    with pytest.raises(MissingFieldError, match="NVIDIA plain has no peak rate"):
        peak_flop_per_s(chip(peak_flop_per_s={}), "bf16")


def test_all_reduces_of_small_steps_cost_latency(placed):
    """161 all-reduces of a token: between one and two phases each."""
    step = MODEL.step_cost(placed(tensor_parallel=8), decode(10.0, np.ones(1)))
    hop = MODEL.fit.generic.hop_s
    assert 161 * hop < step.by_kind_s["fabric"][0] < 161 * 3 * hop


def test_one_chip_has_no_fabric_time(placed):
    np.testing.assert_array_equal(MODEL.step_cost(placed(), decode()).by_kind_s["fabric"], 0.0)


def test_a_step_that_exceeds_memory_is_marked_not_raised(placed):
    step = MODEL.step_cost(placed(), decode(8192.0, np.array([1.0, 5000.0])))
    assert step.outcome.tolist() == [Outcome.OK, Outcome.DOES_NOT_FIT]


def test_a_mixed_step_costs_no_more_than_its_halves_apart(placed):
    """Weights are read once a step, which is why chunking helps."""
    part = placed()
    both = step_mix(prefill=512.0, prompts=1.0, decode=64.0, context=2048.0)
    apart = (
        step_mix(prefill=512.0, prompts=1.0),
        step_mix(decode=64.0, context=2048.0),
    )
    together = MODEL.step_cost(part, both).time_s[0]
    assert together < sum(MODEL.step_cost(part, mix).time_s[0] for mix in apart)


def test_the_smooth_maximum_is_the_maximum_far_from_equality():
    np.testing.assert_allclose(smooth_maximum(np.array([1.0]), np.array([0.0])), 1.0)
    np.testing.assert_allclose(smooth_maximum(np.array([1.0]), np.array([10.0])), 10.0, rtol=1e-4)
    np.testing.assert_allclose(smooth_maximum(np.array([1.0]), np.array([1.0])), 2**0.25)


class HalfEfficient:
    """Half of every peak."""

    def compute_fraction(self, kind, m, n, k):  # noqa: ARG002
        return np.full_like(m, 0.5)

    def memory_fraction(self, moved_bytes):
        return np.full_like(moved_bytes, 0.5)


def test_a_chip_that_brings_its_own_efficiency_leaves_the_fitted_ones_out(placed, chip):
    own = placed(chip=chip(efficiency=HalfEfficient()))
    ready = prepare(own, decode())
    plain = prepare(placed(), decode())
    np.testing.assert_allclose(ready.work.compute_s, 2 * plain.work.compute_s)
    np.testing.assert_allclose(ready.work.memory_s, 2 * plain.work.memory_s)
    ideal = RooflineModel().step_cost(own, decode()).time_s
    np.testing.assert_allclose(ideal, 2 * RooflineModel().step_cost(placed(), decode()).time_s)


# Stack effects and bands


def test_an_effect_scales_time_and_only_where_its_key_fits(placed):
    part = placed(tensor_parallel=8)
    served = Software(
        engine="vllm", chip="NVIDIA plain", model=part.architecture.name, precision="fp8"
    )
    effects = dict(zip(served.effect_keys(), (0.1, 0.2, 0.3, 0.4, 0.5, 0.6), strict=True))
    fit = replace(load_fit(), effects=effects)
    plain = PhysicalModel(fit=replace(fit, effects={})).step_cost(part, decode()).time_s
    generic = PhysicalModel(fit=fit).step_cost(part, decode()).time_s
    known = PhysicalModel(fit=fit).step_cost(replace(part, stack="vllm"), decode())
    np.testing.assert_allclose(generic, plain * np.exp(0.1))
    np.testing.assert_allclose(known.time_s, plain * np.exp(2.1))
    np.testing.assert_allclose(sum(known.by_kind_s.values()), known.time_s)


def test_the_less_was_measured_of_the_software_the_wider_the_band():
    fit = load_fit()
    known = Software(engine="vllm", chip="NVIDIA B200", model="Llama-3.3-70B", precision="fp8")
    widths = [
        fit.own_log_sd(known, measured=True),
        fit.own_log_sd(replace(known, model="a model to come"), measured=True),
        fit.own_log_sd(replace(known, chip="NVIDIA next"), measured=False),
    ]
    assert widths == sorted(widths)
    assert widths[0] < widths[2]
    whole = np.hypot(widths[0], fit.spread.common)
    assert whole == pytest.approx(max(fit.spread.stack, fit.spread.common))


def test_a_chip_nobody_measured_has_the_wider_band(placed, chip):
    measured = MODEL.step_cost(placed(), decode())
    unmeasured = MODEL.step_cost(placed(chip=chip(own_log_sd=0.3)), decode())
    assert unmeasured.log_sd > measured.log_sd
    assert unmeasured.log_sd == pytest.approx(np.hypot(MODEL.fit.spread.common, 0.3))
    assert unmeasured.common_log_sd == measured.common_log_sd == MODEL.fit.spread.common


def test_the_shipped_constants_are_below_the_ideal_ones():
    got = load_fit().generic
    for name in ("memory_efficiency", "cache_efficiency", "compute_efficiency", "link_efficiency"):
        assert 0.2 < getattr(got, name) < getattr(IDEAL, name) == 1.0
    for name in ("kernel_s", "eager_s", "sequence_s", "step_s", "hop_s"):
        assert 0.0 < getattr(got, name) < 0.01


# Energy


@given(
    model=st.sampled_from(MODELS),
    batch=st.floats(1.0, 1024.0),
    prefill=st.floats(0.0, 16_000.0),
    tdp=st.floats(50.0, 3000.0),
)
def test_power_lies_between_static_and_rated(placed, chip, model, batch, prefill, tdp):
    part = placed(model, chip(tdp_w=tdp), tensor_parallel=2)
    mix = step_mix(prefill=prefill, prompts=1.0, decode=batch, context=1000.0)
    step = MODEL.step_cost(part, mix)
    power = step.energy_j / step.time_s / part.chips
    assert np.all(power <= tdp * (1 + 1e-9))
    assert np.all(power >= static_w(part.system.chip) * (1 - 1e-9))


def test_a_chip_without_a_rated_power_is_not_limited(placed, chip):
    step = MODEL.step_cost(placed(chip=chip(tdp_w=0.0)), decode())
    assert np.all(step.energy_j > 0.0)


def test_energy_constants_have_a_source_or_a_reason_and_keep_their_order():
    assert flop_j("bf16", 7.0) > flop_j("bf16", 5.0) > flop_j("bf16", 3.0)
    assert memory_j_per_byte("HBM2e") > memory_j_per_byte("HBM3") > memory_j_per_byte("HBM4")
    assert memory_j_per_byte("GDDR6") > memory_j_per_byte("HBM2e")
    assert memory_j_per_byte("SRAM") < memory_j_per_byte("HBM4") / 10
    assert 0.2 < energy_constants()["static.fraction"] < 0.5


def test_overlap_hides_collectives_behind_operators_and_no_more_than_those_take(placed):
    quick, mix = placed(tensor_parallel=8), decode()
    fit = load_fit()

    def cost(overlap):
        constants = replace(fit.generic, overlap_fraction=overlap)
        return PhysicalModel(fit=replace(fit, generic=constants)).step_cost(quick, mix)

    none, half, whole = (cost(overlap) for overlap in (0.0, 0.5, 1.0))
    fabric, rest = none.by_kind_s["fabric"], none.time_s - none.by_kind_s["fabric"]
    busy = rest - none.by_kind_s["overhead"]
    assert (fabric > 0.0).all()
    exposed = np.maximum(fabric - busy, 0.0)
    np.testing.assert_allclose(whole.by_kind_s["fabric"], exposed, atol=1e-12)
    np.testing.assert_allclose(half.by_kind_s["fabric"], np.maximum(fabric / 2, exposed))
    np.testing.assert_allclose(whole.time_s, rest + exposed)
    np.testing.assert_array_equal(none.time_s, PhysicalModel().step_cost(quick, mix).time_s)
