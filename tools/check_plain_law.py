"""How the plain law of `tapeout calibrate` does on published GPU products, by folds.

Rows of the fit part only; each of the five folds of the fixed split is left out in turn. Prints
the table behind docs/calibrate.md.

Usage: python tools/check_plain_law.py FOLDER_OF_MEASUREMENTS
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from tapeout.numerics import Floats
from tapeout.perf.calibrate.fit import NOISE, fit_constants
from tapeout.perf.calibrate.law import rate_s, rows_of
from tapeout.perf.ops.cases import OpCase, parse
from tapeout.perf.ops.convert import converter_for
from tapeout.perf.ops.convert_gemm import CONVERTERS
from tapeout.perf.ops.split import FOLDS, fit_part, fold, group, require_fit_part

MOST = 4000
DTYPE = "bf16"


def errors(cases: list[OpCase]) -> Floats:
    """Absolute relative error of every case, its fold left out of the fit."""
    found = []
    for number in range(FOLDS):
        known = [case for case in cases if fold(group(case)) != number]
        held = [case for case in cases if fold(group(case)) == number]
        if not held:
            continue
        constants, _ = fit_constants(known, np.full(len(known), 1.0 / NOISE))
        measured = np.array([case.measured_s for case in held])
        found.append(np.abs(rate_s(rows_of(held), constants) / measured - 1.0))
    return np.concatenate(found)


def main(folder: Path) -> int:
    """Print median and 90th percentile for every file of GPU products."""
    paths = sorted((folder / "measured" / "aiconfigurator").glob("gemm_*.csv"))
    if not paths:
        print(f"{folder}: no measured/aiconfigurator/gemm_*.csv there")
        return 2
    for path in paths:
        converter = converter_for(path, CONVERTERS)
        assert converter is not None
        cases = fit_part(one for one in map(parse, converter.rows(path)) if one.dtype == DTYPE)
        require_fit_part(cases)
        count = min(MOST, len(cases))
        chosen = np.random.default_rng(0).choice(len(cases), count, replace=False)
        error = errors([cases[place] for place in chosen])
        median, p90 = np.median(error), np.quantile(error, 0.9)
        print(f"{path.stem}: {count} rows, median {median:.1%}, p90 {p90:.1%}")
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
