"""From a case to an estimate: defaults are listed, bands widen with distance, fits recover."""

import json
import math
from dataclasses import astuple, replace
from importlib import resources

import numpy as np
import pytest

from tapeout.catalog import load
from tapeout.chip import spec_from_record
from tapeout.errors import InfeasibleError, MissingFieldError
from tapeout.perf.ops import split, store
from tapeout.perf.ops.cases import OpCase, parse
from tapeout.perf.ops.convert import converter_for
from tapeout.perf.ops.convert_gemm import CONVERTERS
from tapeout.perf.ops.fit_gemm import GENERIC, NAMES, anchor_gemm, fit_gemm
from tapeout.perf.ops.gemm import gemm_s
from tapeout.perf.ops.gemm_estimate import NAME, constants_of, estimate
from tapeout.perf.ops.gemm_rates import default_cores, default_l2_bytes, rates_for
from tapeout.perf.ops.residual import ROW_NODES, SIDE_NODES, fit_surface, load_surfaces


def chip_named(name):
    return spec_from_record(load().chip(name))


@pytest.fixture(scope="module")
def h100():
    return chip_named("NVIDIA H100 SXM")


def case(**changes):
    values = {"chip": "h100", "op": "gemm", "stack": "vllm-0.24.0", "dtype": "bf16",
              "weights": "cold", "mode": "graph", "m": 64.0, "n": 4096.0, "k": 4096.0}  # fmt: skip
    return OpCase(**values | changes)


def test_the_law_without_its_surface_is_the_kernel_with_the_stored_constants(h100):
    setup = next(one for one in store.load_setups(NAME)
                 if (one.chip, one.dtype) == ("NVIDIA H100 SXM", "bf16"))  # fmt: skip
    rates = rates_for(h100, "bf16", "bf16", 6.0)
    expected = float(gemm_s(64.0, 4096.0, 4096.0, rates, constants_of(setup)))
    assert estimate(case(), h100, with_surface=False).time_s == pytest.approx(expected, rel=1e-12)


def test_a_complete_case_of_a_measured_set_up_assumes_nothing(h100):
    found = estimate(case(), h100)
    assert found.assumptions == ()
    assert "surface" in found.model


def test_blanks_are_filled_and_listed(h100):
    found = estimate(OpCase(chip="h100", op="gemm", m=64.0, n=4096.0, k=4096.0), h100)
    assert {"dtype = bf16", "weights = cold"} <= set(found.assumptions)


def test_a_measured_time_does_not_move_the_prediction(h100):
    assert estimate(case(measured_s=1.0), h100) == estimate(case(), h100)


def test_every_chip_of_the_catalogue_gets_an_answer():
    catalog = load()
    answered = 0
    for name in catalog.entities():
        try:
            chip = spec_from_record(catalog.chip(name))
        except MissingFieldError:  # neither a bandwidth nor a peak: its own message elsewhere
            continue
        found = estimate(case(chip=name, stack=""), chip)
        assert 0.0 < found.time_s < math.inf
        assert 0.0 < found.log_sd < math.inf
        answered += 1
    assert answered > 50


def test_the_band_widens_with_distance(h100):
    measured = estimate(case(), h100)
    sibling = estimate(case(), chip_named("NVIDIA H200 SXM"))
    stranger = estimate(case(), chip_named("AMD MI300X"))
    assert measured.log_sd < sibling.log_sd < stranger.log_sd
    assert any("same family" in words for words in sibling.assumptions)


def test_a_chip_left_out_borrows_from_others(h100):
    found = estimate(case(), h100, without="NVIDIA H100 SXM")
    assert not any("H100" in words for words in found.assumptions)
    assert found.log_sd > estimate(case(), h100).log_sd


def test_an_eager_launch_is_added_once(h100):
    graph, eager = estimate(case(), h100), estimate(case(mode="eager"), h100)
    assert eager.time_s - graph.time_s == pytest.approx(21e-6, rel=1e-6)


def test_weight_only_formats_read_fewer_bytes_and_multiply_in_the_wide_format(h100):
    plain = estimate(case(m=1.0, n=16384.0, k=16384.0, stack=""), h100)
    packed = estimate(case(m=1.0, n=16384.0, k=16384.0, stack="", dtype="", act_dtype="bf16",
                           weight_dtype="int4"), h100)  # fmt: skip
    assert 0.25 < packed.time_s / plain.time_s < 0.4
    assert any("unpacked" in words for words in packed.assumptions)


def test_hot_weights_are_no_slower(h100):
    small = {"m": 1.0, "n": 1024.0, "k": 1024.0}
    hot = estimate(case(weights="hot", **small), h100, with_surface=False)
    assert hot.time_s <= estimate(case(**small), h100, with_surface=False).time_s


def test_grouped_needs_experts(h100):
    with pytest.raises(InfeasibleError, match="experts"):
        estimate(case(op="grouped_gemm"), h100)
    some = estimate(case(op="grouped_gemm", experts=128.0, topk=8.0, m=16.0), h100)
    assert any("uniform routing" in words for words in some.assumptions)


def test_a_missing_size_is_named(h100):
    with pytest.raises(InfeasibleError, match="n, k"):
        estimate(OpCase(chip="h100", op="gemm", m=4.0), h100)


# fit


def shapes():
    rng = np.random.default_rng(0)
    for n in (512, 1024, 4096, 5120, 8192, 14336):
        for k in (1024, 2048, 4096, 8192):
            if split.is_fit_group(f"gemm|{n}|{k}"):
                for m in rng.choice([1, 4, 16, 64, 256, 1024, 4096, 8192], 5, replace=False):
                    yield float(m), float(n), float(k)


def test_a_fit_recovers_the_times_it_was_made_from(h100):
    """Times made by other constants, 2 % noise: errors after the fit are about the noise."""
    truth = replace(GENERIC, memory_fraction=0.65, compute_fraction=0.8, prologue_s=4e-6)
    rng = np.random.default_rng(1)
    rates = rates_for(h100, "bf16", "bf16")
    cases = [
        case(stack="mine", m=m, n=n, k=k, measured_s=float(gemm_s(m, n, k, rates, truth))
             * math.exp(rng.normal(0.0, 0.02)))
        for m, n, k in shapes()
    ]  # fmt: skip
    found, covariance, error = fit_gemm(cases, h100)
    assert error.median < 0.03
    assert found.memory_fraction == pytest.approx(0.65, rel=0.05)
    assert covariance.shape == (len(NAMES), len(NAMES))
    assert np.all(np.linalg.eigvalsh(covariance) > 0.0)
    assert len(astuple(found)) == len(NAMES)


def test_a_fit_refuses_the_report_part(h100):
    cases = [case(n=float(n), measured_s=1e-5) for n in range(64, 4096, 64)]
    with pytest.raises(InfeasibleError, match="reported group"):
        fit_gemm(cases, h100)


def test_five_rows_move_rates_and_launch():
    """Times of the same law at 0.7 of its rates and 20 us more launch."""
    chip = chip_named("AMD MI300X")
    truth = replace(
        GENERIC, compute_fraction=GENERIC.compute_fraction * 0.7, l2_ratio=GENERIC.l2_ratio * 0.7,
        memory_fraction=GENERIC.memory_fraction * 0.7, launch_s=20e-6,
    )  # fmt: skip
    rates = rates_for(chip, "bf16", "bf16")
    rows = [case(chip="mi300x", stack="mine", m=m, n=4096.0, k=4096.0,
                 measured_s=float(gemm_s(m, 4096.0, 4096.0, rates, truth)))
            for m in (1.0, 32.0, 256.0, 2048.0, 16384.0)]  # fmt: skip
    moved = anchor_gemm(rows, chip, replace(GENERIC, launch_s=10e-6))
    assert moved.memory_fraction == pytest.approx(truth.memory_fraction, rel=0.05)
    assert moved.launch_s == pytest.approx(20e-6, rel=0.1)


# surface


def test_a_surface_follows_a_smooth_error_and_stays_in_its_box():
    rng = np.random.default_rng(0)
    m, n, k = 2.0 ** rng.uniform([[0], [5], [5]], [[15], [16], [16]], (3, 200))
    truth = 0.2 * np.sin(np.log2(m) / 4) - 0.02 * (np.log2(n) - 10)
    surface = fit_surface(m, n, k, truth)
    left = truth - surface.log_factor(m, n, k)
    assert np.median(np.abs(left)) < 0.2 * np.median(np.abs(truth))
    far = surface.log_factor(np.array([1e9]), np.array([1.0]), np.array([1e9]))
    assert abs(far[0]) <= 0.508


def test_a_surface_of_nothing_corrects_nothing():
    m = np.array([1.0, 8.0, 64.0])
    surface = fit_surface(m, m * 64, m * 64, np.zeros(3))
    assert not surface.steps.any()


def test_the_surfaces_are_tables_on_the_nodes():
    surfaces = load_surfaces(NAME)
    shape = (ROW_NODES.size, SIDE_NODES.size, SIDE_NODES.size)
    assert surfaces
    assert {one.steps.shape for one in surfaces.values()} == {shape}
    stored = resources.files("tapeout.perf").joinpath(f"data/ops/{NAME}.npz").read_bytes()
    assert len(stored) < 600_000


def test_every_set_up_states_where_it_comes_from():
    text = resources.files("tapeout.perf").joinpath(f"data/ops/{NAME}.json").read_text("utf-8")
    data = json.loads(text)
    assert data["schema"] == 1
    for one in data["setups"]:
        assert len(one["sha256"]) == 64
        assert np.shape(one["covariance"]) == (len(NAMES), len(NAMES))
        assert set(one["constants"]) == set(NAMES)


def test_the_catalogue_still_states_what_the_constants_are_relative_to():
    """A corrected peak, bandwidth, core count or cache of a measured chip asks for a new fit."""
    text = resources.files("tapeout.perf").joinpath(f"data/ops/{NAME}.json").read_text("utf-8")
    for one in json.loads(text)["setups"]:
        chip = chip_named(one["chip"])
        now = {
            "bf16_flop_per_s": chip.peak_flop_per_s["bf16"],
            "bytes_per_s": chip.memory_bytes_per_s,
            "cores": default_cores(chip),
            "l2_bytes": default_l2_bytes(chip),
        }
        assert one["figures"] == pytest.approx(now, rel=1e-6), one["chip"]


# converters


FILES = {
    "gemm_h100_sxm_vllm0.24.0.csv": (
        "gemm_dtype,kernel_source,m,n,k,latency_us\nfp8_block,DeepGemm,32,64,128,80.5\n",
        {"chip": "NVIDIA H100 SXM", "dtype": "fp8_block", "mode": "eager", "weights": "hot",
         "m": 32.0, "n": 64.0, "k": 128.0, "measured_s": 80.5e-6},
    ),
    "matmul_mi210.csv": (
        "m,k,n,latency_ms,tflops\n32,12288,64,0.5493,17.6\n",
        {"chip": "AMD MI210", "stack": "pytorch-eager", "dtype": "fp16", "m": 32.0, "n": 64.0,
         "k": 12288.0, "measured_s": 0.5493e-3},
    ),
    "rtxpro6000/profile/moe.csv": (
        "tokens,activated_experts,time_us\n16,64,424.1\n",
        {"op": "grouped_gemm", "active_experts": 64.0, "topk": 8.0, "measured_s": 424.1e-6},
    ),
    "rtx4090/profile/dense.csv": (
        "layer,tokens,time_us\nrotary_emb,1,3\ndown_proj,2,126.8\n",
        {"op": "gemm", "m": 2.0, "n": 4096.0, "k": 14336.0, "measured_s": 126.8e-6},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_published_files_become_cases(tmp_path, name):
    text, expected = FILES[name]
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    converter = converter_for(path, CONVERTERS)
    assert converter is not None
    (row,) = converter.rows(path)
    found = parse(row)
    assert {key: getattr(found, key) for key in expected} == pytest.approx(expected)


def test_vidur_projections_are_sharded(tmp_path):
    header = ("n_head,n_kv_head,n_embd,n_expanded_embd,vocab_size,use_gated_mlp,num_tokens,"
              "num_tensor_parallel_workers,attn_pre_proj_ms,attn_post_proj_ms,mlp_up_proj_ms,"
              "mlp_down_proj_ms\n")  # fmt: skip
    path = tmp_path / "dense_ops_a100_x.csv"
    path.write_text(header + "32,8,4096,14336,128256,True,7,2,0.021,0.015,0.082,0.041\n")
    converter = converter_for(path, CONVERTERS)
    found = [(one.n, one.k) for one in map(parse, converter.rows(path))]
    assert found == [(3072.0, 4096.0), (4096.0, 2048.0), (14336.0, 4096.0), (4096.0, 7168.0)]
