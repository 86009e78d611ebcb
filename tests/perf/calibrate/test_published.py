"""The plain law on published GPU timings: rows of the fit part, by folds of the fixed split."""

import os
from pathlib import Path

import numpy as np
import pytest

from tapeout.perf.calibrate.fit import fit_constants
from tapeout.perf.calibrate.law import rate_s, rows_of
from tapeout.perf.ops.cases import parse
from tapeout.perf.ops.convert import converter_for
from tapeout.perf.ops.convert_gemm import CONVERTERS
from tapeout.perf.ops.split import fit_part, fold, group

ROOT = Path(__file__).resolve().parents[3]
DATA = Path(os.environ.get("TAPEOUT_DATA", ROOT.parent / "shared" / "data"))
FOLDER = DATA / "measured" / "aiconfigurator"
MOST = 1500  # rows of a file, about what a long calibration takes


@pytest.mark.slow
@pytest.mark.shared_data
@pytest.mark.parametrize(
    ("name", "median"),
    [
        ("gemm_a100_sxm_vllm0.14.0.csv", 0.13),
        ("gemm_h100_sxm_vllm0.24.0.csv", 0.10),
        ("gemm_b200_sxm_trtllm1.3.0rc20.csv", 0.13),
        ("gemm_intel_b60_vllm0.20.0.csv", 0.14),
    ],
)
def test_products_of_folds_left_out_are_met_within_a_seventh(name, median):
    path = FOLDER / name
    if not path.is_file():
        pytest.skip(f"{path} is not there; TAPEOUT_DATA names the folder of measurements")
    rows = converter_for(path, CONVERTERS).rows(path)
    cases = fit_part(case for case in map(parse, rows) if case.dtype == "bf16")
    chosen = np.random.default_rng(0).choice(len(cases), min(MOST, len(cases)), replace=False)
    some = [cases[place] for place in chosen]
    known = [case for case in some if fold(group(case)) != 0]
    held = [case for case in some if fold(group(case)) == 0]
    constants, _ = fit_constants(known, np.full(len(known), 20.0))
    error = np.abs(rate_s(rows_of(held), constants) / [case.measured_s for case in held] - 1.0)
    assert np.median(error) < median
