"""Fitting recovers known constants, refuses the report part; set-ups are chosen as documented."""

from dataclasses import replace

import numpy as np
import pytest

from tapeout.catalog import load
from tapeout.chip import ChipSpec, spec_from_record
from tapeout.errors import InfeasibleError
from tapeout.perf.ops.attention_cases import LAWS, coordinates, kind_of, rates, shapes
from tapeout.perf.ops.attention_constants import DECODE, PREFILL, starting
from tapeout.perf.ops.attention_estimate import estimate
from tapeout.perf.ops.attention_setups import choose, plain_kernel, shipped, transfer_log_sd
from tapeout.perf.ops.cases import parse
from tapeout.perf.ops.fit_attention import fit_attention
from tapeout.perf.ops.smooth import fit_smooth, spread_centres
from tapeout.perf.ops.split import fit_part, report_part
from tapeout.perf.ops.store import Distance

H100 = "NVIDIA H100 SXM"


def row(**changes):
    plain = {"chip": H100, "op": "attention_decode", "stack": "vllm-0.24.0", "dtype": "bf16"}
    plain |= {"batch": "16", "kv_len": "2048", "heads": "32", "kv_heads": "8", "head_dim": "128"}
    plain |= {"kv_dtype": "bf16", "q_len": "1", "window": "0"}
    return parse(plain | {name: str(value) for name, value in changes.items()})


@pytest.fixture(scope="module")
def h100():
    return spec_from_record(load().chip(H100))


def made(kind, chip, truth, noise=0.0):
    """Cases of both parts whose times come from the law itself."""
    op = {"prefill": "attention_prefill", "decode": "attention_decode"}[kind]
    lengths = {"prefill": "q_len", "decode": "kv_len"}[kind]
    other = {"prefill": {"kv_len": 0}, "decode": {"q_len": 1}}[kind]
    cases = [
        row(op=op, batch=batch, heads=heads, kv_heads=kv, **{lengths: length}, **other)
        for batch in (1, 8, 64)
        for heads, kv in ((8, 1), (16, 2), (32, 4), (24, 8), (40, 8), (64, 8), (4, 4))
        for length in (64, 512, 4096, 16384)
    ]
    seconds = LAWS[kind].seconds(shapes(cases, kind), rates(chip, "bf16"), truth)
    factor = np.exp(noise * np.random.default_rng(0).standard_normal(len(cases)))
    return [
        replace(case, measured_s=float(one))
        for case, one in zip(cases, seconds * factor, strict=True)
    ]


@pytest.mark.parametrize(("kind", "law"), [("prefill", PREFILL), ("decode", DECODE)])
def test_fit_recovers_what_made_the_cases(h100, kind, law):
    truth = starting(law) | {"launch_s": 15e-6, "memory_efficiency": 0.65}
    fitted = fit_attention(fit_part(made(kind, h100, truth, 0.01)), h100, kind)
    assert np.median(np.abs(fitted.law_residual)) < 0.02
    assert fitted.constants["launch_s"] == pytest.approx(15e-6, rel=0.1)
    assert fitted.covariance.shape == (len(fitted.names), len(fitted.names))
    assert np.all(np.linalg.eigvalsh(fitted.covariance) > -1e-9)


def test_fit_refuses_the_report_part(h100):
    cases = made("decode", h100, starting(DECODE))
    assert report_part(cases)
    with pytest.raises(InfeasibleError, match="reported group"):
        fit_attention(cases, h100, "decode")


def test_correction_mends_a_smooth_error_and_fades_away():
    rng = np.random.default_rng(1)
    place = rng.uniform(0.0, 8.0, (600, 2))
    target = 0.2 * np.sin(place[:, 0]) + 0.01 * rng.standard_normal(600)
    smooth = fit_smooth(place[:400], target[:400], np.array([1.0, 4.0]), 100, 0.05)
    assert np.std(target[400:] - smooth(place[400:])) < 0.03
    assert np.abs(smooth(np.array([[80.0, 80.0]]))) < 1e-6


def test_centres_are_distinct_and_repeatable():
    place = np.random.default_rng(2).integers(0, 5, (300, 3)).astype(float)
    one = spread_centres(place, np.ones(3), 40)
    assert len(np.unique(one, axis=0)) == 40
    assert np.array_equal(one, spread_centres(place, np.ones(3), 40))


def test_a_prefill_of_one_token_is_decode():
    assert kind_of(row(op="attention_prefill", q_len=1, kv_len=0)) == "decode"
    assert kind_of(row(op="attention_prefill", q_len=2, kv_len=0)) == "prefill"
    with pytest.raises(InfeasibleError, match="not attention"):
        kind_of(row(op="gemm"))


def test_named_kernel_and_head_size_pick_the_set_up():
    assert choose(row(), "decode", shipped()).setup.kernel == "vllm_flash_attn_fa3"
    wide = choose(row(head_dim=512), "decode", shipped())
    assert wide.setup.kernel == "vllm_flash_attn_fa4"
    named = choose(row(kernel="vllm_flash_attn_fa4"), "decode", shipped())
    assert named.setup.kernel == "vllm_flash_attn_fa4"
    assert plain_kernel("VLLM_flashinfer_trtllmPrefill") == "vllm_flashinfer_trtllm"


def test_measured_chip_has_a_correction_and_another_has_none_but_a_wider_band(h100):
    own = choose(row(), "decode", shipped())
    other = choose(row(chip="NVIDIA Rubin CPX"), "decode", shipped())
    assert own.smooth is not None
    assert not own.assumption
    assert other.smooth is None
    assert other.log_sd > own.log_sd
    assert "borrowed" in other.assumption
    stack = choose(row(stack="sglang-0.5"), "decode", shipped())
    assert (stack.smooth, stack.distance) == (None, Distance.OTHER_STACK)
    assert stack.log_sd > own.log_sd
    assert estimate(row(), h100).model.endswith("+ residual")


def test_left_out_chip_is_not_used():
    without = choose(row(), "decode", shipped(), without=H100)
    assert H100 not in without.setup.chip
    assert without.distance is Distance.VENDOR
    assert transfer_log_sd("decode", Distance.VENDOR) > transfer_log_sd("decode", Distance.EXACT)


def test_blanks_take_documented_defaults(h100):
    bare = estimate(parse({"chip": H100, "op": "attention_decode", "heads": "32"}), h100)
    words = " ".join(bare.assumptions)
    for text in ("kv_heads as heads", "head_dim 128", "window 0", "dtype bf16", "batch 1"):
        assert text in words
    full = row(batch=1, kv_len=0, kv_heads=32)
    assert estimate(full, h100).time_s == pytest.approx(bare.time_s, rel=0.3)
    with pytest.raises(InfeasibleError, match="heads"):
        estimate(parse({"chip": H100, "op": "attention_decode"}), h100)


def test_measured_time_does_not_reach_the_estimate(h100):
    assert estimate(row(), h100) == estimate(row(measured_s=1.0), h100)


def test_mixed_prefill_and_latent_are_answered_for_any_chip():
    chip = ChipSpec(
        name="new chip", peak_flop_per_s={"fp8": 1e15}, memory_bytes=8e10, memory_bytes_per_s=2e12
    )
    for op in ("attention_mixed", "mla_prefill", "mla_decode", "attention_prefill"):
        one = estimate(row(op=op, chip="new chip", q_len=64 if "decode" not in op else 1), chip)
        assert one.time_s > 0.0
        assert one.log_sd > 0.2
        assert any("borrowed" in word for word in one.assumptions)


def test_a_chip_measured_with_mixed_calls_only_answers_prefill():
    name = "NVIDIA GeForce RTX 4090"
    one = row(op="attention_prefill", chip=name, q_len=512, kv_len=0, stack="vllm-0.19.0")
    choice = choose(one, "prefill", shipped())
    assert choice.kind == "mixed"
    assert choice.setup.chip == name
    spec = spec_from_record(load().chip(name))
    assert 0.0 < estimate(one, spec).time_s < 1.0


def test_shipped_constants_lie_in_their_ranges():
    for one in shipped():
        for name, constant in LAWS[one.kind].constants.items():
            value = one.setup.constants[name]
            assert constant.low <= value <= constant.high * 1.0001, (one.setup.chip, name)
        if one.smooth is not None:
            assert np.isfinite(one.smooth.weights).all()


def test_coordinates_hold_every_column_that_times_depend_on():
    base = coordinates(shapes([row()], "decode"))
    for change in ("batch", "kv_len", "heads", "kv_heads", "head_dim", "window"):
        moved = coordinates(shapes([row(**{change: 4})], "decode"))
        assert not np.allclose(base, moved), change


def test_a_chip_of_one_large_core_counts_as_many():
    """A TPU core has no single vector lane: 918 TFLOP/s are about 122 H100 cores."""
    tpu = ChipSpec(
        name="tpu",
        peak_flop_per_s={"bf16": 918e12},
        memory_bytes=3e10,
        memory_bytes_per_s=1.6e12,
        cores=1,
    )
    assert rates(tpu, "bf16").cores == pytest.approx(122.5, rel=0.01)
    assert rates(replace(tpu, cores=108), "bf16").cores == 108.0
