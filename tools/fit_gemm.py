"""Fit the GEMM law and its residual surfaces to the fit part of published measurements.

    python tools/fit_gemm.py DATA

DATA is a folder of measurements (docs/data.md). Writes gemm.json (constants of every set-up with
their covariance) and gemm.npz (surfaces) into src/tapeout/perf/data/ops, and appends the
cross-validated errors to benchmarks/gemm_trials.csv. Of the report part nothing is read but its
shapes, to leave it out.
"""

from __future__ import annotations

import json
import math
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from tapeout.catalog import load
from tapeout.chip import ChipSpec, spec_from_record
from tapeout.errors import InfeasibleError
from tapeout.perf.ops import split
from tapeout.perf.ops.cases import OpCase
from tapeout.perf.ops.convert_gemm import CONVERTERS
from tapeout.perf.ops.fit_gemm import FitError, Table, fit_gemm, table_of
from tapeout.perf.ops.gemm import GemmConstants
from tapeout.perf.ops.gemm_estimate import BAND_EDGES_S
from tapeout.perf.ops.gemm_rates import default_cores, default_l2_bytes
from tapeout.perf.ops.residual import FEWEST_SHAPES, Surface, fit_surface, key_of
from tapeout.perf.peaks import peak_flop_per_s

if str(Path(__file__).parent) not in sys.path:
    sys.path.insert(0, str(Path(__file__).parent))
from shipping import (
    OPERATOR_DATA,
    OPERATOR_SPLIT,
    ROOT,
    append_trials,
    converted,
    measured_files,
    provenance,
    sums_of,
    today,
)

TRIALS = ROOT / "benchmarks/gemm_trials.csv"
FITTED = ("aiconfigurator/gemm_*.csv", "llmservingsim/*/profile/*.csv")  # others are only scored
SEED = 0
FOLDS = 3  # of five that are held out in turn, for time
FEWEST = 50  # rows that give a band of its own


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Cases of the fit part of one set-up, and their file."""

    chip: str
    stack: str
    dtype: str
    kernel: str
    mode: str
    op: str
    source: Path
    sums: dict[str, str]
    cases: list[OpCase] = field(default_factory=list)


def groups(data: Path) -> list[Group]:
    """Cases of the fit part by set-up; a profile of layers is one set-up whatever the layer."""
    found: dict[tuple[str, ...], Group] = {}
    for path, cases in converted(measured_files(data, FITTED), CONVERTERS):
        for case in split.fit_part(cases):
            dense_profile = "profile" in path.parts and case.op == "gemm"
            kernel = "" if dense_profile else case.kernel
            key = (case.chip, case.stack, case.dtype, kernel, case.mode, case.op)
            if key not in found:
                names = dict(
                    zip(("chip", "stack", "dtype", "kernel", "mode", "op"), key, strict=True)
                )
                found[key] = Group(**names, source=path, sums=sums_of(data, [path]))
            found[key].cases.append(case)
    return list(found.values())


def cross_validate(group: Group, chip: ChipSpec) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Log errors of the law, of law and surface, and predicted times, of rows of other folds."""
    folds = np.array([split.fold(split.group(case)) for case in group.cases])
    plain, smooth, times = [], [], []
    for fold in sorted(set(folds))[:FOLDS]:
        kept = [case for case, one in zip(group.cases, folds, strict=True) if one != fold]
        out = [case for case, one in zip(group.cases, folds, strict=True) if one == fold]
        if not kept:
            continue
        constants, _, _ = fit_gemm(kept, chip, seed=SEED)
        table = table_of(out, chip)
        error = table.log_error(constants)
        surface = surface_of(table_of(kept, chip), constants)
        plain.append(error)
        smooth.append(error + surface.log_factor(table.m, table.n, table.k) if surface else error)
        times.append(table.measured_s * np.exp(smooth[-1]))
    return np.concatenate(plain), np.concatenate(smooth), np.concatenate(times)


def bands(error: np.ndarray, time_s: np.ndarray) -> list[float]:
    """Log sd of the 80 % band by predicted time (BAND_EDGES_S); of all rows where few are there."""
    place = np.searchsorted(BAND_EDGES_S, time_s)
    found = []
    for one in range(len(BAND_EDGES_S) + 1):
        some = error[place == one]
        found.append(round(FitError.of(some if some.size >= FEWEST else error).log_sd, 4))
    return found


def surface_of(table: Table, constants: GemmConstants) -> Surface | None:
    """Surface of what the law leaves, where enough shapes were measured."""
    shapes = np.unique(np.column_stack([table.n, table.k]), axis=0).shape[0]
    if shapes < FEWEST_SHAPES:
        return None
    return fit_surface(table.m, table.n, table.k, -table.log_error(constants), SEED)


def fit(group: Group, chip: ChipSpec) -> tuple[dict[str, object], Surface | None]:
    """Set-up as stored, and its surface."""
    plain, smooth, time_s = cross_validate(group, chip)
    constants, covariance, _ = fit_gemm(group.cases, chip, seed=SEED)
    surface = surface_of(table_of(group.cases, chip), constants)
    law, both = FitError.of(plain), FitError.of(smooth)
    record(group, "law", law)
    record(group, "law + surface", both)
    stored = {
        **{
            name: getattr(group, name)
            for name in ("chip", "stack", "dtype", "kernel", "mode", "op")
        },
        "constants": {name: float(f"{value:.6g}") for name, value in asdict(constants).items()},
        "figures": figures(chip),
        "log_sd": round(both.log_sd, 5),
        "law_log_sd": round(law.log_sd, 5),
        "band_log_sd": bands(smooth, time_s),
        "law_band_log_sd": bands(plain, time_s),
        "rows": len(group.cases),
        "fitted": today(),
        "source": f"{group.source.parent.name}/{group.source.name}",
        "sha256": next(iter(group.sums.values())),
        "seed": SEED,
        "cross_validation": {"law": asdict(law), "with_surface": asdict(both)},
        "covariance": [[float(f"{x:.3g}") for x in row] for row in covariance],
    }
    return stored, surface


def figures(chip: ChipSpec) -> dict[str, float]:
    """What the constants are relative to; a test tells when the catalogue moves away from it."""
    return {
        "bf16_flop_per_s": peak_flop_per_s(chip, "bf16"),
        "bytes_per_s": chip.memory_bytes_per_s,
        "cores": default_cores(chip),
        "l2_bytes": default_l2_bytes(chip),
    }


def record(group: Group, setting: str, error: FitError) -> None:
    """Append a cross-validated error to the list of everything that was tried."""
    part = " ".join(filter(None, (group.op, group.chip, group.stack, group.dtype, group.kernel)))
    row = [today(), part, setting, f"{error.median:.4f}", f"{error.p90:.4f}"]
    append_trials(TRIALS, [[*row, f"shipped form, {FOLDS} folds"]])


def name_of(group: Group) -> str:
    return " ".join((group.chip, group.stack, group.dtype, group.kernel, group.mode, group.op))


def keep(group: Group, setups: list[dict[str, object]], surfaces: dict[str, np.ndarray]) -> None:
    """Carry over what is stored of a set-up."""
    stored = json.loads(OPERATOR_DATA.joinpath("gemm.json").read_text(encoding="utf-8"))["setups"]
    names = ("chip", "stack", "dtype", "kernel", "mode", "op")
    setups += [one for one in stored if all(one[x] == getattr(group, x) for x in names)]
    key = key_of(group.chip, group.stack, group.dtype, group.kernel)
    with np.load(OPERATOR_DATA / "gemm.npz") as known:
        if key in known.files:
            surfaces[key] = known[key]


def main(arguments: list[str]) -> int:
    """Fit every set-up, or those whose name holds the second argument, keeping the others."""
    if len(arguments) not in {1, 2}:
        sys.stderr.write("usage: python tools/fit_gemm.py DATA [PART OF A NAME]\n")
        return 2
    try:
        found = groups(Path(arguments[0]))
    except InfeasibleError as error:
        print(error, file=sys.stderr)
        return 2
    catalog = load()
    setups, surfaces = [], {}
    for group in found:
        if len(arguments) > 1 and arguments[1] not in name_of(group):
            keep(group, setups, surfaces)
            continue
        began = time.process_time()
        stored, surface = fit(group, spec_from_record(catalog.chip(group.chip)))
        setups.append(stored)
        if surface is not None:
            key = key_of(group.chip, group.stack, group.dtype, group.kernel)
            surfaces[key] = surface.steps
        print(group.chip, group.stack, group.dtype, group.kernel, group.op, len(group.cases))
        print(
            "   ",
            stored["cross_validation"],
            math.ceil(time.process_time() - began),
            "s",
            flush=True,
        )
    sums = {name: one for group in found for name, one in group.sums.items()}
    about = provenance("tools/fit_gemm.py", OPERATOR_SPLIT, sums, SEED)
    OPERATOR_DATA.joinpath("gemm.json").write_text(
        json.dumps({"schema": 1, "provenance": about, "setups": setups}, indent=1) + "\n",
        encoding="utf-8",
    )
    np.savez_compressed(OPERATOR_DATA / "gemm.npz", **surfaces)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
