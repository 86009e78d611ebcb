"""Peers on the accuracy page: what each computes in closed form, and what happens without it."""

import math
from pathlib import Path

import numpy as np
import pytest

from tapeout.errors import InfeasibleError
from tapeout.perf.ops.cases import parse
from tapeout.serving.cases import Case

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def peers(script):
    return script("benchmarks/peers.py")


def gemm(m, dtype="bf16", chip="h100"):
    text = {"m": str(m), "n": "4096", "k": "4096"}
    return parse({"chip": chip, "op": "gemm", "dtype": dtype} | text)


def case(model="Llama-3.3-70B", parallelism="tp8"):
    return Case(
        row="1",
        chip="NVIDIA H100 SXM",
        model=model,
        engine="vllm",
        precision="fp8",
        parallelism=parallelism,
        chips=8,
        input_tokens=1024.0,
        output_tokens=1024.0,
        concurrency=16.0,
        measured_tpot_s=math.nan,
        measured_ttft_s=math.nan,
        measured_output_tokens_per_s_per_chip=math.nan,
    )


@pytest.fixture
def nothing(monkeypatch, tmp_path):
    """Point the cache at an empty folder."""
    monkeypatch.setenv("TAPEOUT_PEERS", str(tmp_path))


@pytest.mark.usefixtures("nothing")
def test_the_plain_roofline_is_the_larger_of_two_quotients(peers):
    got = peers.peer_gemm_s([gemm(1), gemm(65536)])[peers.ROOFLINE]
    moved = 2.0 * (4096 + 4096 * 4096 + 4096)
    np.testing.assert_allclose(got, [moved / 3.35e12, 2 * 65536 * 4096**2 / 989.4e12], rtol=1e-9)


@pytest.mark.usefixtures("nothing")
def test_llmcompass_reads_elements_for_bytes(peers):
    """A product bound by memory takes it half the time in 16 bit, and the same in 8 bit."""
    got = peers.peer_gemm_s([gemm(1), gemm(1, "fp8")])
    assert got[peers.LLMCOMPASS][0] == pytest.approx(got[peers.ROOFLINE][0] / 2.0)
    assert got[peers.LLMCOMPASS][0] == got[peers.LLMCOMPASS][1]


@pytest.mark.usefixtures("nothing")
def test_an_absent_peer_is_named_and_gives_nan(peers):
    assert "not installed, figure absent" in peers.absent()[peers.GENZ]
    assert np.isnan(peers.peer_gemm_s([gemm(1)])[peers.GENZ]).all()
    assert np.isnan(peers.peer_serving_tpot_s([case()])[peers.GENZ]).all()


def test_a_product_without_a_shape_is_refused(peers):
    with pytest.raises(InfeasibleError, match="gemm needs a positive m, n, k"):
        peers.peer_gemm_s([parse({"chip": "h100", "op": "gemm"})])


@pytest.mark.slow
def test_genz_is_a_roofline_of_operators(peers):
    if peers.absent():
        pytest.skip(f"{peers.GENZ} is {peers.absent()[peers.GENZ]}")
    got = peers.peer_gemm_s([gemm(1), gemm(65536), gemm(65536, "int4")])
    np.testing.assert_allclose(got[peers.GENZ][:2], got[peers.ROOFLINE][:2], rtol=1e-3)
    assert np.isnan(got[peers.GENZ][2])
    tpot = peers.peer_serving_tpot_s(
        [case(), case("DeepSeek-R1-0528"), case(parallelism="tp8-dpattn")]
    )
    read_s = 70e9 / 8 / 3.35e12  # fp8 weights of Llama-3.3-70B over eight chips
    assert read_s < tpot[peers.GENZ][0] < 3.0 * read_s
    assert np.isnan(tpot[peers.GENZ][1:]).all()
    assert np.isfinite(tpot[peers.ROOFLINE]).all()
