"""Fit the host times of serving engines: python tools/fit_burst.py DATA [--trials FILE].

Two constants for each engine (steps an arrival misses, time before a request is queued) and one
for all (tokeniser time of a prompt token), on a coarse grid, by mean absolute log error of TTFT
over curves of the fit part of serving/split.py with the shipped timing constants. The error is
cross-validated over five folds of curves; with a chip left out, the constants come from the
curves of the other chips. Every setting of the grid goes to the file of trials, the constants to
src/tapeout/serving/data/host_times.csv, which serving/policies.py reads. Rows of the report part
are never read.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from tapeout.errors import InfeasibleError
from tapeout.numerics import Floats
from tapeout.perf import PhysicalModel
from tapeout.serving.burst import EnginePolicy, burst_closed_loop
from tapeout.serving.measured import Curve, read_rows, scored_curves
from tapeout.serving.policies import Setting, recipe_policy
from tapeout.serving.scoring import summarise
from tapeout.serving.split import is_fit_curve, require_fit_part

if str(Path(__file__).parent) not in sys.path:
    sys.path.insert(0, str(Path(__file__).parent))
from shipping import (
    ROOT,
    SERVING_DATA,
    append_trials,
    endtoend_provenance,
    note_provenance,
    today,
    write_table,
)

TRIALS = ROOT / "benchmarks/burst_trials.csv"
TABLE = "host_times.csv"
FOLDS = 5
SALT = "tapeout-burst-folds"
MICRO = 1e-6
TOKEN_S = (4 * MICRO, 6 * MICRO, 8 * MICRO, 10 * MICRO)
REQUEST_S = (0.0, 0.01, 0.02, 0.03, 0.04)
GRID = {
    "vllm": ((2, 3, 4), REQUEST_S),
    "trt": ((2, 3, 4), REQUEST_S),
    "atom": ((1, 2, 3), REQUEST_S),
    "sglang AMD": ((2, 3, 4), (0.0, 0.02, 0.04)),
    "sglang NVIDIA": ((1, 2, 3), (0.10, 0.15, 0.20)),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One setting and the log errors of TTFT of each curve of a group."""

    skipped_steps: int
    request_s: float
    token_s: float
    errors: tuple[Floats, ...]

    def loss(self, chosen: Sequence[int]) -> float:
        """Mean absolute log error, every curve weighing the same."""
        return float(np.mean([np.abs(self.errors[at]).mean() for at in chosen]))

    def words(self) -> str:
        """Setting in words."""
        return (
            f"skipped_steps {self.skipped_steps} request_s {self.request_s:g} "
            f"token_s {self.token_s:.0e}"
        )


def group_of(curve: Curve) -> str:
    """Group that shares constants: the engine, SGLang by vendor of the chip."""
    engine = curve.cases[0].engine
    vendor = curve.cases[0].chip.partition(" ")[0]
    return f"{engine} {vendor}" if engine == "sglang" else engine


def fold_of(curve: Curve) -> int:
    """Fold of a curve inside the fit part."""
    return hashlib.sha256(f"{SALT}|{curve.key}".encode()).digest()[0] % FOLDS


def errors_of(curve: Curve, trial: dict[str, float], model: PhysicalModel) -> Floats:
    """log(predicted / measured) TTFT of the points of a curve under a setting."""
    policies: list[EnginePolicy] = []
    for case in curve.cases:
        setting = Setting(
            placement=curve.placement, lengths=curve.lengths, in_flight=case.concurrency
        )
        policies.append(
            replace(
                recipe_policy(setting),
                skipped_steps=int(trial["skipped_steps"]),
                request_s=trial["request_s"],
                token_s=trial["token_s"],
            )
        )
    got = burst_closed_loop(
        model, curve.placement, curve.lengths, curve.cases[0].length_spread,
        curve.column("concurrency"), policies,
    )  # fmt: skip
    return np.asarray(np.log(got.ttft_s / curve.column("measured_ttft_s")))


def trials_of(name: str, curves: Sequence[Curve], model: PhysicalModel) -> list[Trial]:
    """Every setting of the grid of a group."""
    found = []
    for skipped, request_s, token_s in itertools.product(*GRID[name], TOKEN_S):
        setting = {"skipped_steps": skipped, "request_s": request_s, "token_s": token_s}
        errors = tuple(errors_of(curve, setting, model) for curve in curves)
        found.append(
            Trial(skipped_steps=skipped, request_s=request_s, token_s=token_s, errors=errors)
        )
    return found


def best(trials: Sequence[Trial], chosen: Sequence[int], token_s: float) -> Trial:
    """Setting with the least loss on some curves at one tokeniser time."""
    return min(
        (trial for trial in trials if trial.token_s == token_s),
        key=lambda trial: trial.loss(chosen),
    )


def held_out(
    groups: dict[str, tuple[list[Curve], list[Trial]]], part: dict[str, list[str]]
) -> dict[str, list[tuple[Curve, Floats]]]:
    """Errors of every curve under constants from the curves of other parts."""
    found: dict[str, list[tuple[Curve, Floats]]] = {name: [] for name in groups}
    for one in sorted({label for labels in part.values() for label in labels}):
        keep = {
            name: [at for at, label in enumerate(part[name]) if label != one] for name in groups
        }
        known = {name: value for name, value in groups.items() if keep[name]}
        token_s = min(
            TOKEN_S,
            key=lambda value: sum(
                len(keep[name]) * best(trials, keep[name], value).loss(keep[name])
                for name, (_, trials) in known.items()
            ),
        )
        for name, (curves, trials) in groups.items():
            # A group seen on no other chip takes the constants of the first group.
            source = name if keep[name] else "vllm"
            pick = best(groups[source][1], keep[source], token_s)
            for at, label in enumerate(part[name]):
                if label == one:
                    same = next(trial for trial in trials if trial.words() == pick.words())
                    found[name].append((curves[at], same.errors[at]))
    return found


def summary(some: Sequence[tuple[Curve, Floats]]) -> str:
    """Median / p90 and bias."""
    return summarise(
        np.concatenate([errors for _, errors in some]),
        [curve.key for curve, errors in some for _ in errors],
    ).words()


def log_trials(path: Path, groups: dict[str, tuple[list[Curve], list[Trial]]]) -> None:
    """Append every setting with its error over the folds (nothing is fitted within a setting)."""
    for name, (curves, trials) in groups.items():
        for trial in trials:
            error = summarise(
                np.concatenate(trial.errors),
                [c.key for c, errors in zip(curves, trial.errors, strict=True) for _ in errors],
            )
            append_trials(path, [
                (today(), f"ttft {name}", trial.words(), f"{100 * error.median:.1f}",
                 f"{100 * error.p90:.1f}", f"bias {100 * error.bias:+.1f} %, grid")
            ])  # fmt: skip


def write(chosen: dict[str, Trial], counts: dict[str, int], data: Path) -> None:
    """Write the table that policies read: one row an engine, SGLang by vendor of the chip."""
    rows = []
    for name, one in chosen.items():
        engine, _, vendor = name.partition(" ")
        note = f"TTFT of {counts[name]} curves of the fit part"
        rows.append((engine, vendor or "*", one.skipped_steps, one.request_s, one.token_s, note))
    header = ("engine", "vendor", "skipped_steps", "request_s", "token_s", "note")
    write_table(SERVING_DATA / TABLE, header, rows)
    note_provenance(SERVING_DATA, [TABLE], endtoend_provenance("tools/fit_burst.py", data))


def main() -> int:
    """Fit and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--trials", type=Path, default=TRIALS)
    options = parser.parse_args()
    model = PhysicalModel()
    try:
        measured = scored_curves(read_rows(options.data))
    except InfeasibleError as error:
        print(error, file=sys.stderr)
        return 2
    every = [curve for curve in measured if is_fit_curve(curve.key)]
    groups: dict[str, tuple[list[Curve], list[Trial]]] = {}
    for name in GRID:
        curves = [curve for curve in every if group_of(curve) == name]
        for curve in curves:
            require_fit_part(curve.cases)
        groups[name] = (curves, trials_of(name, curves, model))
    log_trials(options.trials, groups)
    for label, key in (("folds", fold_of), ("chip left out", lambda c: c.cases[0].chip)):
        part = {name: [str(key(curve)) for curve in curves] for name, (curves, _) in groups.items()}
        held = held_out(groups, part)
        print(f"{label}: {summary([pair for pairs in held.values() for pair in pairs])}")
        for name, pairs in held.items():
            print(f"  {name}: {summary(pairs)}")
    whole = {name: range(len(curves)) for name, (curves, _) in groups.items()}
    token_s = min(
        TOKEN_S,
        key=lambda value: sum(
            len(whole[name]) * best(trials, whole[name], value).loss(whole[name])
            for name, (_, trials) in groups.items()
        ),
    )
    print(f"constants: token_s {token_s:.0e}")
    chosen = {name: best(some, whole[name], token_s) for name, (_, some) in groups.items()}
    for name, one in chosen.items():
        print(f"  {name}: {one.words()}")
    write(chosen, {name: len(curves) for name, (curves, _) in groups.items()}, options.data)
    return 0


if __name__ == "__main__":
    sys.exit(main())
