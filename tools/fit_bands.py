"""Fit the width of the bands of serving rows on the fit part of the end-to-end table.

    python tools/fit_bands.py DATA

Writes src/tapeout/serving/data/bands.csv: for each kind of load and quantity, the factor by which
the error exceeds the timing model's own `log_sd`, so that 80 % of the rows of the fit part are
inside. Rows of the report part are never predicted here. Coverage is checked by folds of curves
inside the fit part: each is scored with factors from the others.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import math
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from tapeout.constants import Z80
from tapeout.errors import TapeoutError
from tapeout.perf import PhysicalModel, TimingModel
from tapeout.serving.measured import read_rows
from tapeout.serving.split import is_fit_curve
from tapeout.serving.validation.inputs import read_case
from tapeout.serving.validation.predicting import QUANTITIES, predict_serving
from tapeout.serving.validation.scoring import measured_number
from tapeout.serving.validation.serving_rows import curve_of, values_of

OUT = Path(__file__).parents[1] / "src/tapeout/serving/data/bands.csv"
FOLDS = 5
SHARE = 0.8
LEAST_ROWS = 20  # below it the plain kind of load, or all, speaks
LEAST_CURVES = 5
ANY = "*"

Residual = tuple[str, str, str, float]  # mode, quantity, curve, log error over log_sd


def residuals(rows: Iterable[Mapping[str, str]], model: TimingModel) -> list[Residual]:
    """Log errors of the fit part over the timing model's own log_sd."""
    found: list[Residual] = []
    for row in rows:
        curve = curve_of(row)
        if not is_fit_curve(curve) or row["quality"] not in ("A", "B"):
            continue
        try:
            case = read_case(row)
            prediction = predict_serving(case, model)
        except TapeoutError as error:
            print(f"{row['row_id']}: {error}", file=sys.stderr)
            continue
        for name, value in values_of(prediction).items():
            measured = measured_number(row, name)
            if measured:
                error = math.log(measured / value) / prediction.base_log_sd
                found.append((prediction.mode, name, curve, error))
    return found


def factor(values: list[float]) -> float:
    """Factor on log_sd with which 80 % of the values are inside."""
    return float(np.quantile(np.abs(values), SHARE)) / Z80


def table(found: list[Residual]) -> dict[tuple[str, str], tuple[float, int, int]]:
    """Factor, rows and curves of every kind of load and quantity with enough of both."""
    out = {}
    modes = [ANY, *sorted({mode for mode, *_ in found})]
    for mode in modes:
        for name in QUANTITIES:
            some = [(c, e) for m, q, c, e in found if q == name and mode in (ANY, m)]
            curves = len({curve for curve, _ in some})
            if mode == ANY or (len(some) >= LEAST_ROWS and curves >= LEAST_CURVES):
                out[mode, name] = (factor([e for _, e in some]), len(some), curves)
    return out


def looked_up(
    known: Mapping[tuple[str, str], tuple[float, int, int]], mode: str, name: str
) -> float:
    """As `predicting.band_factor` looks it up."""
    for key in (mode, mode.removesuffix(", speculative"), ANY):
        if (key, name) in known:
            return known[key, name][0]
    raise KeyError(name)


def held_out_coverage(found: list[Residual]) -> dict[str, tuple[int, float]]:
    """Rows and coverage by quantity, every fold with the factors of the others."""
    inside: dict[str, list[bool]] = {}
    for fold in range(FOLDS):
        known = table([one for one in found if _fold(one[2]) != fold])
        for mode, name, curve, error in found:
            if _fold(curve) == fold:
                hit = abs(error) <= Z80 * looked_up(known, mode, name)
                inside.setdefault(name, []).append(hit)
                inside.setdefault(f"{name}, {mode}", []).append(hit)
    return {name: (len(hits), float(np.mean(hits))) for name, hits in sorted(inside.items())}


def _fold(curve: str) -> int:
    digest = hashlib.sha256(f"bands|{curve}".encode()).digest()
    return digest[0] % FOLDS


def write(known: Mapping[tuple[str, str], tuple[float, int, int]], path: Path, name: str) -> None:
    """Write the table."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("mode", "quantity", "factor", "rows", "curves", "note"))
        for (mode, quantity), (value, rows, curves) in known.items():
            note = f"fit part, {name}; tools/fit_bands.py"
            writer.writerow((mode, quantity, f"{value:.3f}", rows, curves, note))


def main() -> int:
    """Fit, check by folds, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--dry-run", action="store_true", help="print only")
    options = parser.parse_args()
    model = PhysicalModel()
    try:
        found = residuals(read_rows(options.data), model)
    except TapeoutError as error:
        print(error, file=sys.stderr)
        return 2
    known = table(found)
    for (mode, name), (value, rows, curves) in known.items():
        print(f"{mode:28} {name:24} x {value:5.2f}  {rows} rows, {curves} curves")
    for name, (rows, share) in held_out_coverage(found).items():
        print(f"held-out folds of the fit part: {name:50} {rows:5} rows, {share:.1%} inside")
    if not options.dry_run:
        write(known, OUT, model.name)
        print(f"wrote {OUT}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
