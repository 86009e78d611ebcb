"""Measured cases: reading, grouping, the fixed split, scoring, and the dated prediction."""

import csv
import hashlib
import os
from pathlib import Path

import numpy as np
import pytest

from tapeout import catalog
from tapeout.chip import measured_rows
from tapeout.errors import InfeasibleError
from tapeout.perf import Degrees, PhysicalModel
from tapeout.serving.cases import case_of, parse_parallelism, scored_cases
from tapeout.serving.measured import read_rows, scored_curves
from tapeout.serving.scoring import curve_weights, summarise, weighted_quantile
from tapeout.serving.split import fit_part, is_fit_curve, report_part, require_fit_part

ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("TAPEOUT_DATA", ROOT.parent / "shared/data"))
ROW = {
    "row_id": "E1",
    "chip": "NVIDIA B200",
    "n_chips": "8",
    "model": "Llama-3.3-70B",
    "weight_precision": "fp8",
    "engine": "vllm",
    "parallelism": "tp8-ep1",
    "input_tokens": "1024",
    "output_tokens": "1024.0",
    "concurrency_or_qps": "64",
    "output_tok_s_per_chip": "500",
    "ttft_ms": "",
    "tpot_ms": "12.5",
    "scenario": "closed-loop fixed concurrency, random prompts, range ratio 0.8",
    "serving_mode": "aggregated",
    "spec_decoding": "none",
    "quality": "A",
}


@pytest.mark.parametrize(
    ("text", "degrees"),
    [
        ("tp8", Degrees(tensor=8)),
        ("tp8-ep1", Degrees(tensor=8)),
        ("tp8-ep8", Degrees(tensor=8, expert=8)),
        ("tp8-ep8-dpattn", Degrees(data=8, expert=8)),
        ("tp4-pp2-ep4", Degrees(tensor=4, pipeline=2, expert=4)),
        ("tp2-dp4-ep8", Degrees(tensor=2, data=4, expert=8)),
    ],
)
def test_parallelism_is_read(text, degrees):
    assert parse_parallelism(text) == degrees


@pytest.mark.parametrize("text", ["", "tp", "tp8,ep8", "P[tp4]+D[tp8]", "8", "tp-8"])
def test_unreadable_parallelism_is_refused(text):
    with pytest.raises(InfeasibleError, match="is none of tpN"):
        parse_parallelism(text)


def test_lengths_drawn_from_a_range_have_its_mean():
    case = case_of(ROW)
    assert case.input_tokens == pytest.approx(921.6)
    assert case.measured_tpot_s == pytest.approx(0.0125)
    assert np.isnan(case.measured_ttft_s)
    assert case_of(ROW | {"scenario": "vllm bench"}).input_tokens == 1024.0


@pytest.mark.parametrize(
    "change",
    [
        {"quality": "C"},
        {"serving_mode": "disaggregated"},
        {"spec_decoding": "mtp"},
        {"tpot_ms": ""},
        {"concurrency_or_qps": "max batch"},
    ],
)
def test_only_rows_that_can_be_scored_are_scored(change):
    assert len(scored_cases([ROW, ROW | change])) == 1


def test_points_of_a_curve_differ_in_load_only():
    assert case_of(ROW).curve == case_of(ROW | {"concurrency_or_qps": "4"}).curve
    assert case_of(ROW).curve != case_of(ROW | {"engine": "trt"}).curve


def test_the_split_is_the_one_written_down_before_the_first_fit():
    """Changing it would let a fit see what it is judged by."""
    parts = "".join("f" if is_fit_curve(f"curve {i}") else "r" for i in range(64))
    assert hashlib.sha256(parts.encode()).hexdigest()[:16] == "86f87312e793ff45"


def test_the_fit_refuses_a_reported_curve():
    cases = [case_of(ROW | {"row_id": str(n), "input_tokens": str(n)}) for n in range(100, 140)]
    seen, reported = fit_part(cases), report_part(cases)
    assert len(seen) + len(reported) == 40
    require_fit_part(seen)
    with pytest.raises(InfeasibleError, match="fit to fit_part only"):
        require_fit_part(cases)


def test_every_curve_weighs_the_same():
    np.testing.assert_allclose(curve_weights(["a", "b", "b", "b"]), [1.0, 1 / 3, 1 / 3, 1 / 3])
    errors = summarise(np.log(np.array([1.5, 1.0, 1.1, 0.9, np.nan])), ["a", "b", "b", "b", "c"])
    assert (errors.rows, errors.curves) == (4, 2)
    assert errors.median == pytest.approx(0.1)
    assert errors.p90 == pytest.approx(0.5)


def test_a_weighted_quantile_of_equal_weights_is_the_ordinary_one():
    values = np.arange(101.0)
    assert weighted_quantile(values, np.ones(101), 0.9) == pytest.approx(90.0, abs=1)


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(InfeasibleError, match=r"endtoend\.csv does not exist"):
        read_rows(tmp_path)


@pytest.mark.parametrize(
    ("page", "digest"),
    [
        ("jalapeno.md", "ec6ad9c048e62fc6e5df25398b50a234979112d95d6bec0af76b42515ed564e8"),
        ("jalapeno-second.md", "91a55f16a13a84bbd95c3c740fc9d3f7d35224300d4d32709167ef738fbbd8f4"),
    ],
)
def test_a_prediction_for_jalapeno_is_never_edited(page, digest):
    """They were committed before any result of this chip was read, and are only graded."""
    text = (ROOT / "docs/predictions" / page).read_bytes()
    assert hashlib.sha256(text).hexdigest() == digest


@pytest.mark.shared_data
@pytest.mark.skipif(not (DATA / "measured/endtoend.csv").is_file(), reason="no measurements here")
def test_every_scored_row_is_answered_within_the_shipped_error():
    """1,821 rows on 357 curves; a measured row proves that its model fits."""
    curves = scored_curves(read_rows(DATA))
    assert sum(len(curve.cases) for curve in curves) == 1821
    assert len(curves) == 357
    model = PhysicalModel()
    reported = [curve for curve in curves if not is_fit_curve(curve.key)]
    names = [curve.key for curve in reported for _ in curve.cases]
    ratio = np.concatenate(
        [np.log(c.predict(model).tpot_s / c.column("measured_tpot_s")) for c in reported]
    )
    assert np.all(np.isfinite(ratio))
    assert summarise(ratio, names).median < 0.12


@pytest.mark.shared_data
@pytest.mark.skipif(not (DATA / "measured/endtoend.csv").is_file(), reason="no measurements here")
def test_the_list_of_measured_chips_counts_the_table():
    names = catalog.load()
    counted: dict[str, int] = {}
    with (DATA / "measured/endtoend.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            name = names.chip(row["chip"]).name
            counted[name] = counted.get(name, 0) + 1
    assert counted == measured_rows()
