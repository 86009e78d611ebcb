"""The fitting tool computes what the shipped model computes, and refuses what it must not see."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tapeout.errors import InfeasibleError
from tapeout.perf import load_fit
from tapeout.serving import steady_state
from tapeout.serving.measured import scored_curves
from tapeout.serving.split import is_fit_curve

ROOT = Path(__file__).parents[2]
CASES = (
    ("NVIDIA B200", "Llama-3.3-70B", "fp8", "tp4-ep1"),
    ("NVIDIA B200", "gpt-oss-120b", "fp4", "tp2-ep2-dpattn"),
    ("AMD MI355X", "DeepSeek-R1-0528", "fp4", "tp8-ep1"),
    ("Google TPU v6e (Trillium)", "Qwen3.8-27B", "bf16", "tp8"),
)


def row(case, length, load):
    chip, model, precision, parallelism = case
    return {
        "row_id": f"{length}/{load}",
        "chip": chip,
        "n_chips": "8",
        "model": model,
        "weight_precision": precision,
        "engine": "vllm",
        "parallelism": parallelism,
        "input_tokens": str(length),
        "output_tokens": "512",
        "concurrency_or_qps": str(load),
        "output_tok_s_per_chip": "500",
        "ttft_ms": "100",
        "tpot_ms": "12.5",
        "scenario": "",
        "serving_mode": "aggregated",
        "spec_decoding": "none",
        "quality": "A",
    }


@pytest.fixture(scope="module", name="tool")
def tool_fixture():
    spec = importlib.util.spec_from_file_location("fit_perf", ROOT / "tools/fit_perf.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["fit_perf"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module", name="curves")
def curves_fixture():
    rows = [row(case, n, load) for case in CASES for n in range(100, 1000, 300) for load in (4, 32)]
    return scored_curves(rows)


def test_packed_curves_take_the_time_that_the_shipped_model_gives(tool, curves):
    seen = [curve for curve in curves if is_fit_curve(curve.key)]
    counts = [curve.column("concurrency") for curve in seen]
    constants = load_fit().generic
    packed = tool.pack(seen, counts)
    model = tool.model_of(constants)
    expected = [
        steady_state(model, curve.placement, curve.lengths, count).tpot_s
        for curve, count in zip(seen, counts, strict=True)
    ]
    np.testing.assert_allclose(tool.tpot_s(packed, constants), np.concatenate(expected), rtol=1e-9)


def test_a_reported_curve_cannot_be_packed(tool, curves):
    assert not all(is_fit_curve(curve.key) for curve in curves)
    with pytest.raises(InfeasibleError, match="lies on the reported curve"):
        tool.pack(curves, [curve.column("concurrency") for curve in curves])


def test_a_fold_is_refused_a_reported_curve(tool, curves):
    with pytest.raises(InfeasibleError, match="lies on the reported curve"):
        tool.fit_curves(curves, tool.START, 1)


def test_bands_are_quantiles_of_the_folds_and_share_no_more_than_the_narrowest(tool, curves):
    rng = np.random.default_rng(1)
    keys = [curve.key for curve in curves for _ in curve.cases]
    noise = rng.normal(0.0, 0.2, len(keys))
    folds = {name: {"tpot": (noise * wide, keys)} for name, wide in
             (("stack", 0.5), ("model", 1.0), ("software", 1.0), ("chip", 1.5))}  # fmt: skip
    widths = tool.spread_of(folds, curves)
    assert widths["stack"] < widths["model"] == widths["software"] < widths["chip"]
    assert widths["common"] <= widths["stack"]


@pytest.mark.parametrize("script", ["tools/fit_perf.py", "benchmarks/accuracy.py"])
def test_without_the_data_the_scripts_say_so_and_return_two(script, tmp_path):
    done = subprocess.run(  # our own script
        [sys.executable, str(ROOT / script), str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "endtoend.csv does not exist" in done.stderr
