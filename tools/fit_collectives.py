"""Fit the constants of collective operations: python tools/fit_collectives.py DATA [--report].

Reads DATA/measured/aiconfigurator/{collectives,allreduce_custom}_*.csv, fits each (chip, library,
operation, launch mode) to the fit part of its (ranks, message) groups and writes
src/tapeout/perf/data/ops/collectives.json. Prints errors of folds inside the fit part, of the law
alone and with its smoothed residual, and with each chip left out; with --report also, once all is
frozen, of the report part and of the second source (DATA/measured/vidur, fitted to nowhere).
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from tapeout.catalog import load
from tapeout.chip import ChipSpec, spec_from_record
from tapeout.constants import Z80
from tapeout.errors import InfeasibleError
from tapeout.numerics import Floats, Ints
from tapeout.perf.ops import collective
from tapeout.perf.ops.cases import OpCase
from tapeout.perf.ops.collective_law import fit_collective, fit_table, residual, table
from tapeout.perf.ops.convert_collectives import CONVERTERS
from tapeout.perf.ops.split import FOLDS, fit_part, fold, group, report_part
from tapeout.perf.ops.store import load_setups

if str(Path(__file__).parent) not in sys.path:
    sys.path.insert(0, str(Path(__file__).parent))
from shipping import (
    OPERATOR_DATA,
    OPERATOR_SPLIT,
    converted,
    lines_of,
    measured_files,
    provenance,
    sums_of,
    today,
)
from shipping import log_sd_of as log_sd

OUT = OPERATOR_DATA / "collectives.json"
FIRST = ("aiconfigurator/collectives_*.csv", "aiconfigurator/allreduce_custom_*.csv")
SECOND = ("vidur/all_reduce_*.csv", "vidur/send_recv_*.csv")
ADDING_SWITCH = ("NVIDIA H100 SXM", "NVIDIA B200")  # third generation of NVSwitch and later
Key = tuple[str, str, str, str]


def read_cases(data: Path, patterns: Sequence[str]) -> list[OpCase]:
    """Cases of all files that match."""
    files = converted(measured_files(data, patterns), CONVERTERS)
    return [case for _, cases in files for case in cases]


def by_setup(cases: Sequence[OpCase]) -> dict[Key, list[OpCase]]:
    """Cases of each chip, stack, operation and mode."""
    found: dict[Key, list[OpCase]] = defaultdict(list)
    for case in cases:
        found[case.chip, case.stack, case.op, case.mode].append(case)
    return found


def form(key: Key) -> str:
    """Form of the law a set-up takes."""
    chip, stack, operation, _ = key
    if stack.startswith(collective.CUSTOM):
        return "shots"
    return "library in-switch" if operation == "all_reduce" and chip in ADDING_SWITCH else "library"


def fold_errors(cases: Sequence[OpCase], rate: float, name: str) -> tuple[Floats, Floats, Ints]:
    """Log of predicted over measured from fits without the row's fold: law, with residual; fold."""
    data = table(cases)
    folds = np.array([fold(group(case)) for case in cases])
    alone = np.zeros(folds.size)
    smoothed = np.zeros(folds.size)
    for one in np.unique(folds):
        out = folds == one
        law = fit_table(data.where(~out), rate, name).constants.law()
        left = residual(data.where(~out), law, rate)
        time = data.law_s(law, rate)
        alone[out] = np.log(time / data.measured_s)[out]
        size, ranks = data.message_bytes, data.ranks
        smoothed[out] = [alone[i] + left.at(size[i], ranks[i]) for i in np.flatnonzero(out)]
    return alone, smoothed, folds


def text(left: Floats) -> str:
    """Median, p90 and bias in per cent."""
    size = np.abs(np.expm1(left))
    bias = np.expm1(np.median(left))
    return (
        f"{100 * np.median(size):5.1f} / {100 * np.quantile(size, 0.9):5.1f} % ({100 * bias:+.1f})"
    )


def coverage(left: Floats, folds: Ints) -> Floats:
    """Whether each row lies in the band that the other folds give."""
    inside = np.zeros(folds.size, dtype=bool)
    for one in range(FOLDS):
        out = folds == one
        inside[out] = np.abs(left[out]) <= Z80 * log_sd(left[~out])
    return inside


def fit_all(cases: Sequence[OpCase], chips: dict[str, ChipSpec]) -> list[dict[str, object]]:
    """Set-ups to ship, errors of folds printed."""
    found: list[dict[str, object]] = []
    pooled: dict[str, list[Floats]] = defaultdict(list)
    for key, some in by_setup(cases).items():
        chip, stack, operation, mode = key
        rate = chips[chip].links[0].bytes_per_s
        alone, smoothed, folds = fold_errors(some, rate, form(key))
        fitted = fit_collective(some, rate, form(key))
        left = residual(table(some), fitted.constants.law(), rate)
        name = "custom " + mode if stack.startswith(collective.CUSTOM) else "library"
        for part, values in (("law", alone), ("with residual", smoothed)):
            pooled[f"{name}, {part}"].append(values)
        pooled[f"{name}, inside band"].append(coverage(smoothed, folds).astype(float))
        print(f"{chip:22s} {stack:19s} {operation:14s} {mode} {len(some):4d}  ", end="")
        print(f"law {text(alone)}   with residual {text(smoothed)}")
        found.append(
            {
                "chip": chip,
                "stack": stack,
                "dtype": "",
                "kernel": operation,
                "mode": mode,
                "constants": dict(fitted.constants.values),
                "log_sd": log_sd(smoothed),
                "rows": len(some),
                "fitted": today(),
                "source": f"aiconfigurator {stack}; see docs/fabric.md",
                "covariance": np.round(fitted.covariance, 6).tolist(),
                "residual": asdict(left),
            }
        )
    for name, values in pooled.items():
        joined = np.concatenate(values)
        share = "inside" in name
        print(f"{name:32s} " + (f"{100 * joined.mean():.0f} %" if share else text(joined)))
    return found


def score(cases: Sequence[OpCase], chips: dict[str, ChipSpec], *, leave: bool = False) -> Floats:
    """Print errors of the shipped constants on cases by set-up; all errors."""
    left: dict[tuple[str, ...], list[tuple[float, float, float]]] = defaultdict(list)
    for case in cases:
        without = case.chip if leave else ""
        got = collective.estimate(case, chips[case.chip], without=without)
        law = collective.estimate(case, chips[case.chip], without=without, use_residual=False)
        error = np.log(np.array([got.time_s, law.time_s]) / case.measured_s)
        place = case.topology or "one domain"
        kind = (
            "custom " + case.mode if case.kernel == collective.CUSTOM else case.stack.split("-")[0]
        )
        for name in ((case.chip, case.stack, case.op, case.mode, place), ("all", kind, place)):
            left[name].append((error[0], error[1], got.log_sd))
    for name, some in sorted(left.items()):
        both = np.array(some)
        inside = np.mean(np.abs(both[:, 0]) <= Z80 * both[:, 2])
        print(
            f"{' '.join(name):75s} {len(some):5d}  {text(both[:, 0])}  law alone "
            f"{text(both[:, 1])}  in band {100 * inside:.0f} %"
        )
    return np.concatenate([np.array(some)[:, 0] for name, some in left.items() if name[0] != "all"])


def write(head: dict[str, object], setups: Sequence[object]) -> None:
    """Write the table, a set-up a line, and forget what was read of the one before."""
    OUT.write_text(lines_of(head, setups, json.dumps), encoding="utf-8")
    for cached in (load_setups, collective._residuals, collective._borrowed_log_sd):  # noqa: SLF001
        cached.cache_clear()


def main() -> int:
    """Fit, print, write; with --report score what was kept for it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--report", action="store_true")
    options = parser.parse_args()
    try:
        cases = read_cases(options.data, FIRST)
    except InfeasibleError as error:
        print(error, file=sys.stderr)
        return 2
    chips = {name: spec_from_record(load().chip(name)) for name in {case.chip for case in cases}}
    found = fit_all(fit_part(cases), chips)
    sums = sums_of(options.data, measured_files(options.data, FIRST))
    about = provenance("tools/fit_collectives.py", OPERATOR_SPLIT, sums)
    write({"provenance": about, "borrowed_log_sd": 0.0}, found)
    print("each chip without its own set-ups, fit part")
    left = score(fit_part(cases), chips, leave=True)
    print(f"pooled {text(left)}")
    write({"provenance": about, "borrowed_log_sd": log_sd(left)}, found)
    if options.report:
        print("report part")
        score(report_part(cases), chips)
        print("second source, fitted to nowhere")
        score(read_cases(options.data, SECOND), chips)
    return 0


if __name__ == "__main__":
    sys.exit(main())
