"""How the plain law of `tapeout calibrate` does on published GPU products, by folds.

Rows of the fit part only; each of the five folds of the fixed split is left out in turn. Prints
the table behind docs/calibrate.md.

Usage: python tools/check_plain_law.py DATA
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from tapeout.errors import InfeasibleError
from tapeout.numerics import Floats
from tapeout.perf.calibrate.fit import NOISE, fit_constants
from tapeout.perf.calibrate.law import rate_s, rows_of
from tapeout.perf.ops.cases import OpCase
from tapeout.perf.ops.convert_gemm import CONVERTERS
from tapeout.perf.ops.split import FOLDS, fit_part, fold, group, require_fit_part

if str(Path(__file__).parent) not in sys.path:
    sys.path.insert(0, str(Path(__file__).parent))
from shipping import converted, measured_files

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
    try:
        paths = measured_files(folder, ["aiconfigurator/gemm_*.csv"])
    except InfeasibleError as error:
        print(error, file=sys.stderr)
        return 2
    for path, some in converted(paths, CONVERTERS):
        cases = fit_part(one for one in some if one.dtype == DTYPE)
        require_fit_part(cases)
        count = min(MOST, len(cases))
        chosen = np.random.default_rng(0).choice(len(cases), count, replace=False)
        error = errors([cases[place] for place in chosen])
        median, p90 = np.median(error), np.quantile(error, 0.9)
        print(f"{path.stem}: {count} rows, median {median:.1%}, p90 {p90:.1%}")
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
