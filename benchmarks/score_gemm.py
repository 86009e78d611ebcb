"""Errors of the GEMM law on measurements it was not fitted to.

    python benchmarks/score_gemm.py DATA

The report part of the split, chips left out, and sources that were never fitted (LLMCompass,
Vidur). Nothing here chooses anything: constants, surfaces and bands are those that ship.
"""

from __future__ import annotations

import csv
import sys
from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from tapeout.catalog import load
from tapeout.chip import ChipSpec, spec_from_record
from tapeout.constants import Z80
from tapeout.perf.ops import split
from tapeout.perf.ops.cases import OpCase, parse
from tapeout.perf.ops.convert import converter_for
from tapeout.perf.ops.convert_gemm import CONVERTERS
from tapeout.perf.ops.fit_gemm import anchor_gemm, table_of
from tapeout.perf.ops.gemm_estimate import BAND_EDGES_S, EAGER_S, estimate, law_for
from tapeout.perf.ops.gemm_rates import rates_for
from tapeout.perf.ops.store import vendor

FILES = (
    "aiconfigurator/gemm_*.csv",
    "llmservingsim/*/profile/*.csv",
    "llmcompass/matmul_*.csv",
    "vidur/dense_ops_*.csv",
)
NEVER_FITTED = ("pytorch-eager", "vidur-2024")
ANCHORS = slice(2, None, 4)  # every fourth row from the third: 5 of 22, fixed beforehand
LEFT_OUT_ROWS = 3000
SEED = 0


@dataclass(frozen=True, slots=True)
class Score:
    """Log errors and log sds of some rows, in their order."""

    error: np.ndarray
    log_sd: np.ndarray
    time_s: np.ndarray

    def row(self, part: str, group: str) -> dict[str, object]:
        """Figures of a table row; the errors are those of the time, not of its logarithm."""
        absolute = np.abs(np.expm1(self.error))
        covered = np.abs(self.error) <= Z80 * self.log_sd
        return {
            "part": part,
            "group": group,
            "rows": self.error.size,
            "median": round(float(np.median(absolute)), 4),
            "mean": round(float(absolute.mean()), 4),
            "p90": round(float(np.quantile(absolute, 0.9)), 4),
            "bias": round(float(np.median(np.expm1(self.error))), 4),
            "coverage": round(float(covered.mean()), 3),
            "band_log_sd": round(float(np.median(self.log_sd)), 3),
        }


def read(data: Path) -> dict[tuple[str, ...], list[OpCase]]:
    """Cases of every file by set-up."""
    found: dict[tuple[str, ...], list[OpCase]] = defaultdict(list)
    for pattern in FILES:
        for path in sorted((data / "measured").glob(pattern)):
            converter = converter_for(path, CONVERTERS)
            if converter is None:
                continue
            for case in map(parse, converter.rows(path)):
                kernel = case.kernel if path.parent.name == "aiconfigurator" else path.stem
                found[case.chip, case.stack, case.dtype, kernel, case.op].append(case)
    return found


def score(cases: list[OpCase], chip: ChipSpec, **options: object) -> Score:
    found = [estimate(case, chip, **options) for case in cases]
    time_s = np.array([one.time_s for one in found])
    measured = np.array([case.measured_s for case in cases])
    return Score(np.log(time_s / measured), np.array([one.log_sd for one in found]), time_s)


def chip_of(name: str) -> ChipSpec:
    return spec_from_record(load().chip(name))


def report_part(data: dict[tuple[str, ...], list[OpCase]]) -> list[dict[str, object]]:
    """Rows of groups that no fit saw, with and without the surface; pooled by precision."""
    rows, pooled = [], defaultdict(list)
    for key, cases in data.items():
        kept = split.report_part(cases)
        if key[1] in NEVER_FITTED or not kept:
            continue
        for name, smooth in (("law", False), ("law + surface", True)):
            found = score(kept, chip_of(key[0]), with_surface=smooth)
            rows.append(found.row(f"report part, {name}", " ".join(key)))
            pooled[name, "bf16" if key[2] == "bf16" else "narrower"].append(found)
            pooled[name, "all"].append(found)
    for (name, what), found in pooled.items():
        whole = together(found)
        rows.append(whole.row(f"report part, {name}", f"pooled {what}"))
        place = np.searchsorted(BAND_EDGES_S, whole.time_s)
        for band in range(len(BAND_EDGES_S) + 1) if what == "all" else ():
            some = Score(*(x[place == band] for x in (whole.error, whole.log_sd, whole.time_s)))
            rows.append(some.row(f"report part, {name}", f"predicted time, band {band}"))
    return rows


def together(found: list[Score]) -> Score:
    """Pooled rows of several scores."""
    return Score(*(np.concatenate([getattr(one, x) for one in found])
                   for x in ("error", "log_sd", "time_s")))  # fmt: skip


def left_out(data: dict[tuple[str, ...], list[OpCase]], part: str) -> list[dict[str, object]]:
    """Each measured chip in bf16 by constants of the others; rows of one part of the split."""
    rows = []
    for (chip, stack, dtype, _, op), cases in data.items():
        if stack in NEVER_FITTED or dtype != "bf16" or op != "gemm" or len(cases) < LEFT_OUT_ROWS:
            continue
        kept = split.report_part(cases) if part == "report" else split.fit_part(cases)
        if len(kept) > LEFT_OUT_ROWS:
            chosen = np.random.default_rng(SEED).choice(len(kept), LEFT_OUT_ROWS, replace=False)
            kept = [kept[i] for i in chosen]
        found = score(kept, chip_of(chip), without=chip)
        rows.append(found.row(f"chip left out, {part} part", chip))
    return rows


def never_fitted(data: dict[tuple[str, ...], list[OpCase]]) -> list[dict[str, object]]:
    """Sources nobody fitted; MI210 once more with five anchors."""
    rows = []
    for key, cases in data.items():
        if key[1] in NEVER_FITTED:
            rows.append(score(cases, chip_of(key[0])).row("never fitted", " ".join(key)))
        if key[0] == "AMD MI210":
            rows.append(anchored(cases).row("five anchors, the others", " ".join(key)))
    return rows


def anchored(cases: list[OpCase]) -> Score:
    """Errors on the other rows after five moved one factor and the launch."""
    chip = chip_of(cases[0].chip)
    five = cases[ANCHORS]
    others = [case for case in cases if case not in five]
    borrowed = law_for(cases[0], chip, "bf16").constants
    start = replace(borrowed, launch_s=borrowed.launch_s + EAGER_S[vendor(chip.name)])
    moved = anchor_gemm(five, chip, start)
    table = table_of(others, chip)
    assert table.rates == rates_for(chip, "fp16", "fp16", 1.0)
    error = table.log_error(moved)
    spread = np.full(error.size, np.nan)  # no band is claimed for an anchored law
    return Score(error, spread, table.measured_s * np.exp(error))


def main(arguments: list[str]) -> int:
    if len(arguments) != 1:
        sys.stderr.write("usage: python benchmarks/score_gemm.py DATA\n")
        return 2
    data = read(Path(arguments[0]))
    if not data:
        sys.stderr.write(f"{Path(arguments[0]) / 'measured' / FILES[0]} does not exist\n")
        return 2
    rows = [*report_part(data), *left_out(data, "report"), *never_fitted(data)]
    writer = csv.DictWriter(sys.stdout, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
