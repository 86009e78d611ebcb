"""Fit the constants of elementwise operators: python tools/fit_elementwise.py DATA [--report].

Reads the timings of DATA/measured/{vidur,llmservingsim,llmcompass}, fits all set-ups at once to
the fit part of their groups and writes src/tapeout/perf/data/ops/elementwise.json. Prints errors of
folds of the fit part; with --report also, once everything is frozen, of the report part.

Set-ups share how operators differ (bytes moved, least time, rate of one core); each set-up may
depart from that, against a pull that a handful of rows overcomes. So an operator that a set-up
lacks is predicted from the others, with the error that leaving whole operators out shows.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from tapeout.catalog import load
from tapeout.chip import ChipSpec, spec_from_record
from tapeout.constants import MICRO, Z80
from tapeout.errors import InfeasibleError
from tapeout.numerics import Floats, Ints
from tapeout.perf.ops import elementwise
from tapeout.perf.ops.cases import ELEMENTWISE, OpCase
from tapeout.perf.ops.convert_elementwise import CONVERTERS
from tapeout.perf.ops.elementwise_law import (
    LONG_ROW_BYTES,
    ElementwiseConstants,
    Memory,
    Work,
    key_of,
    work_of,
)
from tapeout.perf.ops.split import FOLDS, fit_part, fold, group, report_part, require_fit_part

if str(Path(__file__).parent) not in sys.path:
    sys.path.insert(0, str(Path(__file__).parent))
from shipping import (
    OPERATOR_DATA,
    OPERATOR_SPLIT,
    converted,
    lines_of,
    log_sd_of,
    measured_files,
    provenance,
    sums_of,
    today,
)

OUT = OPERATOR_DATA / "elementwise.json"
SOURCES = ("vidur/dense_ops_*.csv", "llmcompass/*.csv", "llmservingsim/*/profile/*.csv")
POINTS = 50  # rows kept of one array width: grids of up to 451 sizes would drown the rest
LOSS_SCALE = 0.08
PULL_SETUP, PULL_OPERATOR, PULL_OWN = 0.05, 0.4, 0.5
PARTS = 5  # of a set-up: host, memory, cache, core, start; of an operator: see unpack
LEAST_LOG_SD = 0.04
CONSTANTS = tuple(ElementwiseConstants.__dataclass_fields__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """Thinned measurements as arrays, shape (row,), and what their indices mean."""

    setups: tuple[tuple[str, str, str], ...]
    keys: tuple[str, ...]
    setup: Ints
    key: Ints
    pair: Ints
    pairs: tuple[tuple[int, int], ...]
    fold: Ints
    width: Floats
    work: Work
    memory: Memory
    measured_s: Floats


def read_cases(data: Path) -> list[OpCase]:
    """Elementwise cases of all files the converters know."""
    files = converted(measured_files(data, SOURCES), CONVERTERS)
    return [case for _, cases in files for case in cases if case.op in ELEMENTWISE]


def _thinned(cases: Sequence[OpCase]) -> list[tuple[OpCase, float]]:
    """Mean (of logarithms) of repeated sizes, and at most POINTS sizes a width."""
    same: dict[tuple[object, ...], list[OpCase]] = defaultdict(list)
    for case in cases:
        same[case.chip, case.stack, case.op, case.kernel, case.n, case.m].append(case)
    widths: dict[tuple[object, ...], list[tuple[OpCase, float]]] = defaultdict(list)
    for name, some in same.items():
        mean = float(np.exp(np.mean(np.log([one.measured_s for one in some]))))
        widths[name[:5]].append((some[0], mean))
    kept: list[tuple[OpCase, float]] = []
    for rows in widths.values():
        rows.sort(key=lambda row: row[0].m)
        size = np.log([row[0].m for row in rows])
        wanted = np.linspace(size[0], size[-1], POINTS)
        chosen = {int(np.argmin(np.abs(size - one))) for one in wanted}
        kept += [rows[place] for place in sorted(chosen)] if len(rows) > POINTS else rows
    return kept


def table(cases: Sequence[OpCase], chips: dict[str, ChipSpec]) -> Rows:
    """Arrays of cases."""
    kept = _thinned(cases)
    setups = tuple(sorted({(case.chip, case.stack, case.mode) for case, _ in kept}))
    keys = tuple(sorted({key_of(case.op, case.kernel) for case, _ in kept}))
    setup = np.array([setups.index((case.chip, case.stack, case.mode)) for case, _ in kept])
    key = np.array([keys.index(key_of(case.op, case.kernel)) for case, _ in kept])
    pairs = tuple(sorted(set(zip(setup.tolist(), key.tolist(), strict=True))))
    works = [work_of(key_of(c.op, c.kernel), c.m, c.n, c.dtype) for c, _ in kept]
    specs = [chips[case.chip] for case, _ in kept]
    return Rows(
        setups=setups,
        keys=keys,
        setup=setup,
        key=key,
        pair=np.array([pairs.index(one) for one in zip(setup.tolist(), key.tolist(), strict=True)]),
        pairs=pairs,
        fold=np.array([fold(group(case)) for case, _ in kept]),
        width=np.array([case.n for case, _ in kept]),
        work=Work(
            moved_bytes=np.array([float(one.moved_bytes) for one in works]),
            units=np.array([float(one.units) for one in works]),
            row_bytes=np.array([float(one.row_bytes) for one in works]),
        ),
        memory=Memory(
            bytes_per_s=np.array([one.memory_bytes_per_s for one in specs]),
            cache_bytes=np.array([one.l2_bytes for one in specs]),
            cores=np.array([float(one.cores) for one in specs]),
        ),
        measured_s=np.array([seconds for _, seconds in kept]),
    )


def start(rows: Rows) -> Floats:
    """Start of the fit: constants by set-up, then what operators share, then departures."""
    by_setup = [
        [20.0, 0.8, 2.0, 1.5, 10.0] if "pytorch" in stack else [4.0, 0.8, 2.0, 1.5, 2.0]
        for _, stack, _ in rows.setups
    ]
    shared = [0.0, 0.0, 0.0, math.log(0.5), math.log(LONG_ROW_BYTES)] * len(rows.keys)
    own = np.zeros(3 * len(rows.pairs))
    return np.concatenate([np.log(np.array(by_setup)).ravel(), np.array(shared), own])


def pulls(rows: Rows) -> Floats:
    """Weight of the start value of each constant."""
    return np.concatenate(
        [
            np.full(PARTS * len(rows.setups), PULL_SETUP),
            np.full(PARTS * len(rows.keys), PULL_OPERATOR),
            np.full(3 * len(rows.pairs), PULL_OWN),
        ]
    )


def unpack(
    vector: Floats, rows: Rows, setup: Ints, key: Ints, pair: Ints | None
) -> ElementwiseConstants:
    """Constants of (set-up, operator) pairs; without `pair` no departure of their own."""
    cut = PARTS * len(rows.setups)
    mine = vector[:cut].reshape(-1, PARTS)[setup]
    end = cut + PARTS * len(rows.keys)
    shared = vector[cut:end].reshape(-1, PARTS)[key]
    own = np.zeros_like(shared[:, :3]) if pair is None else vector[end:].reshape(-1, 3)[pair]
    return ElementwiseConstants(
        host_s=MICRO * np.exp(mine[:, 0] + shared[:, 0] + own[:, 0]),
        start_s=MICRO * np.exp(mine[:, 4]),
        memory_fraction=np.exp(mine[:, 1]),
        cache_fraction=np.exp(mine[:, 2]),
        core_fraction=np.exp(mine[:, 3] + shared[:, 2] + own[:, 2]),
        moved_factor=np.exp(shared[:, 1] + own[:, 1]),
        long_row_extra=np.exp(shared[:, 3]),
        long_row_bytes=np.exp(shared[:, 4]),
    )


def errors(vector: Floats, rows: Rows) -> Floats:
    """Log of predicted over measured, shape (row,)."""
    law = unpack(vector, rows, rows.setup, rows.key, rows.pair)
    return np.log(law.time_s(rows.work, rows.memory) / rows.measured_s)


def fit(rows: Rows, chosen: np.ndarray) -> tuple[Floats, Floats]:
    """Vector fitted to the chosen rows, and its covariance."""
    from scipy.optimize import least_squares  # noqa: PLC0415 - heavy to import
    from scipy.sparse import lil_matrix  # noqa: PLC0415

    first, weight = start(rows), pulls(rows)
    places = np.flatnonzero(chosen)
    touched = lil_matrix((places.size + first.size, first.size), dtype=int)
    for line, row in enumerate(places):
        cut = PARTS * len(rows.setups)
        own = cut + PARTS * len(rows.keys) + 3 * rows.pair[row]
        touched[line, PARTS * rows.setup[row] : PARTS * rows.setup[row] + PARTS] = 1
        shared = cut + PARTS * rows.key[row]
        touched[line, shared : shared + PARTS] = 1
        touched[line, own : own + 3] = 1
    for place in range(first.size):
        touched[places.size + place, place] = 1

    def loss(vector: Floats) -> Floats:
        return np.concatenate([errors(vector, rows)[chosen], weight * (vector - first)])

    found = least_squares(
        loss, first, loss="soft_l1", f_scale=LOSS_SCALE, max_nfev=60, jac_sparsity=touched
    )
    jacobian = found.jac.toarray()
    spread = np.median(np.abs(found.fun[: places.size])) / 0.6745
    return found.x, spread**2 * np.linalg.pinv(jacobian.T @ jacobian)


def folds(rows: Rows) -> tuple[Floats, np.ndarray]:
    """Error of each row from a fit without its fold, and whether its operator was in that fit."""
    left = np.zeros(rows.measured_s.size)
    known = np.zeros(rows.measured_s.size, dtype=bool)
    for one in range(FOLDS):
        out = rows.fold == one
        left[out] = errors(fit(rows, ~out)[0], rows)[out]
        known[out] = np.isin(rows.pair[out], np.unique(rows.pair[~out]))
    return left, known


def without_chips(rows: Rows) -> Floats:
    """Error of each row with its chip unmeasured: the geometric mean of the nearest set-ups.

    Of the set-ups of other chips that measured the operator, those with the same software count,
    else all.
    """
    left = np.zeros(rows.measured_s.size)
    for chip in sorted({name for name, _, _ in rows.setups}):
        out = np.array([rows.setups[one][0] == chip for one in rows.setup])
        vector, _ = fit(rows, ~out)
        for place, key in sorted({rows.pairs[one] for one in rows.pair[out]}):
            mine = (rows.setup == place) & (rows.key == key)
            law = lent_law(rows, vector, place, key)
            memory = Memory(
                bytes_per_s=np.asarray(rows.memory.bytes_per_s)[mine],
                cache_bytes=np.asarray(rows.memory.cache_bytes)[mine],
                cores=np.asarray(rows.memory.cores)[mine],
            )
            work = Work(
                moved_bytes=rows.work.moved_bytes[mine],
                units=rows.work.units[mine],
                row_bytes=np.asarray(rows.work.row_bytes)[mine],
            )
            left[mine] = np.log(law.time_s(work, memory) / rows.measured_s[mine])
    return left


def lent_law(rows: Rows, vector: Floats, place: int, key: int) -> ElementwiseConstants:
    """Constants that set-ups of other chips lend to a set-up for one operator."""
    chip, stack, _ = rows.setups[place]
    others = [one for one, (name, _, _) in enumerate(rows.setups) if name != chip]
    measured = [one for one in others if (one, key) in rows.pairs] or others
    kin = [one for one in measured if rows.setups[one][1] == stack] or measured
    logs = np.array([_logs(rows, vector, one, key) for one in kin])
    values = np.exp(logs.mean(axis=0)).tolist()
    return ElementwiseConstants.of(dict(zip(CONSTANTS, values, strict=True)))


def _logs(rows: Rows, vector: Floats, place: int, key: int) -> list[float]:
    return [float(np.log(value)) for value in values_of(rows, vector, place, key).values()]


def values_of(rows: Rows, vector: Floats, place: int, key: int) -> dict[str, float]:
    """Constants of one operator of one set-up by name."""
    pair = np.array([rows.pairs.index((place, key))]) if (place, key) in rows.pairs else None
    law = unpack(vector, rows, np.array([place]), np.array([key]), pair)
    return {name: float(np.asarray(getattr(law, name))[0]) for name in CONSTANTS}


def text(left: Floats) -> str:
    """Median, p90 and bias in per cent."""
    size = np.abs(np.expm1(left))
    if size.size == 0:
        return "none"
    bias = np.expm1(np.median(left))
    return (
        f"n {size.size:5d}  median {100 * np.median(size):5.1f} %  p90 "
        f"{100 * np.quantile(size, 0.9):5.1f} %  mean {100 * size.mean():5.1f} %  "
        f"bias {100 * bias:+5.1f} %"
    )


def log_sd(left: Floats) -> float:
    """Standard deviation whose 80 % band holds 80 % of the errors, no less than LEAST_LOG_SD."""
    return max(log_sd_of(left), LEAST_LOG_SD)


def setups(
    rows: Rows, vector: Floats, left: Floats, known: np.ndarray, lent: Floats
) -> list[dict[str, object]]:
    """Table to ship: every operator of every set-up, measured or not."""
    found: list[dict[str, object]] = []
    fall_back = log_sd(left[known])
    unknown = log_sd(left[~known])
    for place, (chip, stack, mode) in enumerate(rows.setups):
        for key, name in enumerate(rows.keys):
            pair = rows.pairs.index((place, key)) if (place, key) in rows.pairs else None
            mine = rows.pair == pair if pair is not None else np.zeros(rows.key.size, dtype=bool)
            seen = mine & known
            constants = values_of(rows, vector, place, key)
            spread = log_sd(left[seen]) if seen.sum() >= 10 else fall_back
            found.append(
                {
                    "chip": chip,
                    "stack": stack,
                    "dtype": "",
                    "kernel": name,
                    "mode": mode or "graph",
                    "constants": constants | {"borrowed_log_sd": log_sd(lent)},
                    "log_sd": spread if pair is not None else unknown,
                    "rows": int(mine.sum()),
                    "fitted": today(),
                    "source": "vidur, llmservingsim, llmcompass; see docs/fabric.md",
                }
            )
    return found


def score(cases: Sequence[OpCase], chips: dict[str, ChipSpec], without: str = "") -> None:
    """Print errors of the shipped constants on cases, by set-up and operator."""
    left: dict[tuple[str, ...], list[tuple[float, float]]] = defaultdict(list)
    for case in cases:
        got = elementwise.estimate(case, chips[case.chip], without=without)
        error = float(np.log(got.time_s / case.measured_s))
        for name in ((case.chip, case.stack, key_of(case.op, case.kernel)), ("all",)):
            left[name].append((error, got.log_sd))
    for name, some in sorted(left.items()):
        both = np.array(some)
        inside = np.mean(np.abs(both[:, 0]) <= Z80 * both[:, 1])
        print(f"{' '.join(name):60s} {text(both[:, 0])}  in band {100 * inside:.0f} %")


def main() -> int:
    """Fit, print, write; with --report score what was kept for it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--report", action="store_true")
    options = parser.parse_args()
    try:
        cases = read_cases(options.data)
    except InfeasibleError as error:
        print(error, file=sys.stderr)
        return 2
    chips = {name: spec_from_record(load().chip(name)) for name in {case.chip for case in cases}}
    mine = fit_part(cases)
    require_fit_part(mine)
    rows = table(mine, chips)
    left, known = folds(rows)
    lent = without_chips(rows)
    vector, covariance = fit(rows, np.ones(left.size, dtype=bool))
    for place, (chip, stack, _) in enumerate(rows.setups):
        chosen = rows.setup == place
        print(f"{chip:25s} {stack:14s} folds, operator known   {text(left[chosen & known])}")
        print(f"{chip:25s} {stack:14s} folds, operator unknown {text(left[chosen & ~known])}")
        print(f"{chip:25s} {stack:14s} chip left out           {text(lent[chosen])}")
    print(f"pooled, known   {text(left[known])}\npooled, unknown {text(left[~known])}")
    print(f"pooled, all     {text(left)}\nchip left out   {text(lent)}")
    sums = sums_of(options.data, measured_files(options.data, SOURCES))
    head: dict[str, object] = {
        "provenance": provenance("tools/fit_elementwise.py", OPERATOR_SPLIT, sums),
        "log_sd_of_vector": np.sqrt(np.diag(covariance)).round(4).tolist(),
    }
    found = setups(rows, vector, left, known, lent)
    OUT.write_text(lines_of(head, found, partial(json.dumps, default=float)), encoding="utf-8")
    if options.report:
        score(report_part(cases), chips)
    return 0


if __name__ == "__main__":
    sys.exit(main())
