"""The fitting tool computes what the shipped model computes, and refuses what it must not see."""

import datetime as dt
import hashlib
import json
import os
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tapeout.errors import InfeasibleError
from tapeout.perf import load_fit
from tapeout.perf.ops.split import SALT as OPERATOR_SALT
from tapeout.serving import steady_state
from tapeout.serving.measured import scored_curves
from tapeout.serving.split import SALT as SERVING_SALT
from tapeout.serving.split import is_fit_curve

ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("TAPEOUT_DATA", ROOT.parent / "shared/data"))
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
def tool_fixture(script):
    return script("tools/fit_perf.py")


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


SCRIPTS = (
    "tools/calibrate_shipped.py",
    "tools/check_plain_law.py",
    "tools/fit_attention.py",
    "tools/fit_burst.py",
    "tools/fit_collectives.py",
    "tools/fit_elementwise.py",
    "tools/fit_energy.py",
    "tools/fit_gemm.py",
    "tools/fit_perf.py",
    "tools/fit_serving_terms.py",
    "benchmarks/accuracy.py",
    "benchmarks/score_gemm.py",
)


@pytest.mark.parametrize("script", SCRIPTS)
def test_without_the_data_the_scripts_say_so_and_return_two(script, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", [script, str(tmp_path)])
    monkeypatch.setattr(sys, "path", [str((ROOT / script).parent), *sys.path])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(ROOT / script), run_name="__main__")
    assert ended.value.code == 2
    told = capsys.readouterr().err
    assert str(tmp_path) in told
    assert "does not exist" in told


def test_the_make_target_asks_for_the_data():
    done = subprocess.run(
        [str(shutil.which("make")), "-s", "-o", ".venv/.dev", "calibrate-shipped"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "DATA=FOLDER" in done.stdout


FITTED = {
    "perf/data/ops/gemm.json": "tools/fit_gemm.py",
    "perf/data/ops/attention.json": "tools/fit_attention.py",
    "perf/data/ops/collectives.json": "tools/fit_collectives.py",
    "perf/data/ops/elementwise.json": "tools/fit_elementwise.py",
    "perf/data/constants.json": "tools/fit_perf.py",
    "perf/data/energy.csv": "tools/fit_energy.py",
    "serving/data/host_times.csv": "tools/fit_burst.py",
    "serving/data/terms.csv": "tools/fit_serving_terms.py",
    "serving/data/bands.csv": "tools/fit_serving_terms.py",
}


def provenance_of(name):
    path = ROOT / "src/tapeout" / name
    beside = path.with_name("provenance.json")
    if path.suffix == ".json":
        return json.loads(path.read_text("utf-8"))["provenance"]
    return json.loads(beside.read_text("utf-8"))[path.name]


@pytest.mark.parametrize(("name", "tool"), FITTED.items())
def test_every_fitted_file_says_from_what_when_and_by_which_split(name, tool):
    known = provenance_of(name)
    assert known["tool"] == tool
    dt.date.fromisoformat(known["fitted"])
    assert {"seed", "split"} <= known.keys()
    assert OPERATOR_SALT in known["split"] or SERVING_SALT in known["split"]
    assert known["sha256"]
    assert all(len(digest) == 64 for digest in known["sha256"].values())


@pytest.mark.shared_data
@pytest.mark.skipif(not (DATA / "measured/endtoend.csv").is_file(), reason="no measurements here")
@pytest.mark.parametrize("name", FITTED)
def test_the_inputs_of_every_fitted_file_are_those_at_hand(name):
    for path, digest in provenance_of(name)["sha256"].items():
        assert hashlib.sha256((DATA / path).read_bytes()).hexdigest() == digest, path
