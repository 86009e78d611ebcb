"""Fit the energy constants: python tools/fit_energy.py DATA [--trials] [--write] [--report].

Reads DATA/measured/endtoend.csv. Constants are fitted to accelerator telemetry on curves of the
fit part (serving.split, keys of serving.power; rows of the report part are refused), at the
measured token rate, so that errors of the timing law stay out of them. Among the settings below
the one with the smallest error on fit curves left out one at a time was chosen, the mean of the
medians of the two sets (`--trials` appends all to benchmarks/energy_trials.csv). `--write` puts
the chosen constants and their spread over the left-out fits into
src/tapeout/perf/data/energy.csv. `--report` scores the report part; it was run once, after the
choice. Wall power fits nothing but a check of the host share (fabric.systems.HOST_FRACTION).

Loss: mean |log(predicted / measured)|, every curve weighing the same, plus a weak log-normal
prior at the physical starting points (PRIOR).
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.optimize import minimize

from tapeout.errors import InfeasibleError
from tapeout.numerics import Floats
from tapeout.perf import PhysicalModel
from tapeout.perf.energy import energy_constants
from tapeout.perf.power import PowerScope
from tapeout.serving.measured import read_rows
from tapeout.serving.power import (
    PowerRow,
    decoding,
    power_at_measured_rate_w,
    predicted_power_w,
    require_fit_rows,
    telemetry_rows,
    token_energy,
    wall_rows,
)

if str(Path(__file__).parent) not in sys.path:
    sys.path.insert(0, str(Path(__file__).parent))
from shipping import ROOT, append_trials, endtoend_provenance, note_provenance, today

TABLE = ROOT / "src/tapeout/perf/data/energy.csv"
TRIALS = ROOT / "benchmarks/energy_trials.csv"

PRIOR = {
    # constant: (median, log sd, why)
    "static.fraction": (0.35, 0.3, "batch-1 decode draws 0.31-0.56 of rated power"),
    "arithmetic.delivery": (1.0, 0.7, "the rows of energy.csv already contain operand delivery"),
    "memory.delivery": (1.5, 0.5, "device and PHY, plus controllers and the way over the die"),
}
NAMES = tuple(PRIOR)


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What is fitted, to which rows, with what loss."""

    name: str
    free: tuple[str, ...] = NAMES
    with_apart: bool = False
    squared: bool = False
    prior_weight: float = 0.01
    soft: float = 0.0  # exponent of a rounded rated limit; 0: a hard one


SETTINGS = (
    Setting(name="three constants"),
    Setting(name="three constants, squared loss", squared=True),
    Setting(name="three constants, ten times the prior", prior_weight=0.1),
    Setting(name="three constants, DeepSeek-V4-Pro rows of the fit part too", with_apart=True),
    Setting(
        name="three constants, DeepSeek-V4-Pro too, squared loss", with_apart=True, squared=True
    ),
    Setting(name="three constants, rounded rated limit (4th power)", soft=4.0),
    Setting(name="three constants, DeepSeek-V4-Pro too, rounded limit", with_apart=True, soft=4.0),
    Setting(name="static and memory", free=("static.fraction", "memory.delivery")),
    Setting(name="static and arithmetic", free=("static.fraction", "arithmetic.delivery")),
    Setting(name="static only", free=("static.fraction",)),
)
CHOSEN = "three constants, DeepSeek-V4-Pro rows of the fit part too"


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Rows ready to be fitted: joules at constants of one; arrays have shape (row,)."""

    rated_w: Floats
    idle_w: Floats
    arithmetic_w: Floats
    memory_w: Floats
    other_w: Floats
    measured_w: Floats
    curve: tuple[str, ...]
    apart: Floats

    def predict(self, values: Floats, soft: float = 0.0) -> Floats:
        """Draw of every row with constants in the order of NAMES, shape (row,). [W]."""
        static, arithmetic, memory = values
        still = np.maximum(self.idle_w, static * self.rated_w)
        moved = arithmetic * self.arithmetic_w + memory * self.memory_w + self.other_w
        room = np.maximum(self.rated_w - still, np.finfo(float).tiny)
        share = moved / room
        kept = share / (1.0 + share**soft) ** (1.0 / soft) if soft else np.minimum(share, 1.0)
        draw: Floats = still + room * kept
        return draw


def table_of(rows: Sequence[PowerRow]) -> Table:
    """Parts of every row at its measured rate, fitted factors taken out.

    Raises
    ------
    InfeasibleError
        A row lies on a curve of the report part.
    """
    require_fit_rows(rows)
    known = energy_constants()
    columns: list[tuple[float, ...]] = []
    for row in rows:
        part = token_energy(row, decoding(row))
        rate = row.measured_rate
        columns.append(
            (
                row.placement.system.chip.tdp_w,
                float(part.idle_j[0]),
                rate * float(part.arithmetic_j[0]) / known["arithmetic.delivery"],
                rate * float(part.memory_j[0]) / known["memory.delivery"],
                rate * float((part.sram_j + part.fabric_j)[0]),
                row.measured_w,
                float(row.apart),
            )
        )
    rated, idle, arithmetic, memory, other, measured, apart = np.array(columns).T
    return Table(
        rated_w=rated,
        idle_w=idle,
        arithmetic_w=arithmetic,
        memory_w=memory,
        other_w=other,
        measured_w=measured,
        curve=tuple(row.curve for row in rows),
        apart=apart,
    )


def weights(table: Table, used: Floats) -> Floats:
    """Weight of every row: each used curve the same, the sum one."""
    counts = {
        key: sum(u for k, u in zip(table.curve, used, strict=True) if k == key)
        for key in set(table.curve)
    }
    each: Floats = np.array(
        [u / counts[k] if u else 0.0 for k, u in zip(table.curve, used, strict=True)]
    )
    return each / each.sum()


def fit(table: Table, used: Floats, setting: Setting) -> Floats:
    """Constants in the order of NAMES; those not free stay at their prior, shape (3,)."""
    start = np.log([PRIOR[name][0] for name in NAMES])
    width = np.array([PRIOR[name][1] for name in NAMES])
    free = np.array([name in setting.free for name in NAMES])
    weight = weights(table, used)

    def whole(point: Floats) -> Floats:
        values = start.copy()
        values[free] = point
        return values

    def loss(point: Floats) -> float:
        values = whole(point)
        ratio = np.abs(np.log(table.predict(np.exp(values), setting.soft) / table.measured_w))
        misfit = float(weight @ (ratio**2 if setting.squared else ratio))
        return misfit + setting.prior_weight * float((((values - start) / width) ** 2).sum())

    best = minimize(loss, start[free], method="Nelder-Mead", options={"xatol": 1e-5, "fatol": 1e-8})
    fitted: Floats = np.exp(whole(best.x))
    return fitted


def left_out(table: Table, setting: Setting) -> tuple[Floats, Floats]:
    """Errors predicted / measured - 1 of every curve left out, and the constants of every fold."""
    usable = np.ones_like(table.apart) if setting.with_apart else 1.0 - table.apart
    errors, constants = np.full(table.apart.size, np.nan), []
    for key in sorted(set(table.curve)):
        out = np.array([curve == key for curve in table.curve])
        values = fit(table, usable * ~out, setting)
        errors[out] = table.predict(values, setting.soft)[out] / table.measured_w[out] - 1.0
        if (usable * out).any():
            constants.append(values)
    return errors, np.array(constants)


def scored(errors: Floats, apart: Floats) -> tuple[float, float]:
    """Median and 90th percentile of the absolute error, rows apart not counted."""
    kept = np.abs(errors[apart == 0.0])
    return float(np.median(kept)), float(np.quantile(kept, 0.9))


def run_trials(table: Table) -> None:
    """Print every setting and append it to the table of trials."""
    for setting in SETTINGS:
        errors, _ = left_out(table, setting)
        median, p90 = scored(errors, table.apart)
        both = np.median(np.abs(errors[table.apart == 1.0]))
        note = f"DeepSeek-V4-Pro curves left out: median {both:.4f}"
        row = (today(), "telemetry", setting.name, f"{median:.4f}", f"{p90:.4f}", note)
        append_trials(TRIALS, [row])
        print(*row, sep=", ")


def run_host_trials(rows: Sequence[PowerRow]) -> None:
    """Host share kept or taken from the other curves: its error on wall power, logged.

    Power-limited submissions are left out: nobody states their limit.
    """
    kept: list[float] = []
    refitted: list[float] = []
    share = {
        row.case.row: (row.measured_w - power_at_measured_rate_w(row) + row.placement.system.host_w)
        / row.placement.system.chip.tdp_w
        for row in rows
    }
    for row in rows:
        others = [share[one.case.row] for one in rows if one.curve != row.curve]
        package = power_at_measured_rate_w(row) - row.placement.system.host_w
        other_w = float(np.median(others)) * row.placement.system.chip.tdp_w
        kept.append(power_at_measured_rate_w(row) / row.measured_w - 1.0)
        refitted.append((package + other_w) / row.measured_w - 1.0)
    for name, errors in (("host share 0.3", kept), ("host share of the others", refitted)):
        absolute = np.abs(errors)
        median, p90 = np.median(absolute), np.quantile(absolute, 0.9)
        row_text = (today(), "wall", name, f"{median:.4f}", f"{p90:.4f}", "3 rows of B200")
        append_trials(TRIALS, [row_text])
        print(*row_text, sep=", ")


def write(values: Floats, spread: Floats, rows: int, curves: int) -> None:
    """Put the constants and the range of the folds into the table, other rows untouched."""
    with TABLE.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        columns, table = list(reader.fieldnames or ()), list(reader)
    for row in table:
        if row["key"] in NAMES:
            at = NAMES.index(row["key"])
            row["value"] = f"{values[at]:.3g}"
            row["low"], row["high"] = (f"{edge:.3g}" for edge in spread[:, at])
            row["status"] = "derived"
            row["source"] = (
                f"tools/fit_energy.py of {today()}: accelerator telemetry of {rows} serving rows "
                f"on {curves} curves of the fit part "
                "(LLM-Inference-Bench: A100, H100; InferenceX: B200)"
            )
    with TABLE.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(table)


def report(rows: Sequence[PowerRow]) -> None:
    """Score rows no constant was fitted to, by set-up and pooled, both ways of prediction."""
    model = PhysicalModel()
    groups: dict[str, list[tuple[float, float]]] = {}
    for row in rows:
        ratio = (
            power_at_measured_rate_w(row) / row.measured_w - 1.0,
            predicted_power_w(row, model) / row.measured_w - 1.0,
        )
        name = f"{row.case.chip}, {row.case.engine}, {row.case.model}"
        groups.setdefault(name, []).append(ratio)
        kind = "wall" if row.scope is PowerScope.ALL_IN else "telemetry"
        groups.setdefault(f"all {kind}{', apart' if row.apart else ''}", []).append(ratio)
    print("set-up | rows | at the measured rate: median, p90, bias | at the predicted rate")
    for name in sorted(groups):
        values = np.array(groups[name])
        text = " | ".join(
            f"{np.median(np.abs(one)):.1%} {np.quantile(np.abs(one), 0.9):.1%} "
            f"{np.median(one):+.1%}"
            for one in values.T
        )
        print(f"{name} | {len(values)} | {text}")


def main() -> int:
    """Fit, and do what is asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--trials", action="store_true", help="try every setting and log it")
    parser.add_argument("--write", action="store_true", help="write the chosen constants")
    parser.add_argument("--report", action="store_true", help="score the report part")
    given = parser.parse_args()
    try:
        raw = read_rows(given.data)
    except InfeasibleError as error:
        print(error, file=sys.stderr)
        return 2
    limited = {row["row_id"] for row in raw if "power-limited" in row["notes"]}
    rows, wall = telemetry_rows(raw), wall_rows(raw)
    fit_rows = [row for row in rows if row.is_fit]
    table = table_of(fit_rows)
    if given.trials:
        run_trials(table)
        run_host_trials([row for row in wall if row.is_fit and row.case.row not in limited])
    setting = next(one for one in SETTINGS if one.name == CHOSEN)
    used = np.ones_like(table.apart) if setting.with_apart else 1.0 - table.apart
    values = fit(table, used, setting)
    errors, folds = left_out(table, setting)
    median, p90 = scored(errors, table.apart)
    print({name: round(float(value), 4) for name, value in zip(NAMES, values, strict=True)})
    print(f"curves of the fit part left out: median {median:.1%}, p90 {p90:.1%}")
    if given.write:
        curves = len({k for k, u in zip(table.curve, used, strict=True) if u})
        write(values, np.stack([folds.min(axis=0), folds.max(axis=0)]), int(used.sum()), curves)
        about = endtoend_provenance("tools/fit_energy.py", given.data)
        note_provenance(TABLE.parent, [TABLE.name], about)
    if given.report:
        report([row for row in (*rows, *wall) if not row.is_fit])
    return 0


if __name__ == "__main__":
    sys.exit(main())
