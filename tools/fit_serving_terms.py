"""Fit the stack terms and the bands of serving rows on the fit part of the end-to-end table.

    python tools/fit_serving_terms.py DATA

Writes data/terms.csv and data/bands.csv of tapeout.serving and appends what was tried to
benchmarks/valid_trials.csv. Rows of the report part are never predicted here. Levels and
shrinkage of the terms are chosen by folds of curves inside the fit part, and the bands are fitted
to errors that each fold has with the terms of the others. The timing model was fitted to the
closed loops of the fit part, its effects of engines included: for the bands those effects are
taken out and fitted anew without the fold, or the bands would be too narrow for other curves.
"""

from __future__ import annotations

import argparse
import hashlib
import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from tapeout.constants import Z80
from tapeout.errors import TapeoutError
from tapeout.perf import PhysicalModel
from tapeout.perf.constants import LEVELS as EFFECT_LEVELS
from tapeout.perf.physical import software_of
from tapeout.serving.measured import read_rows
from tapeout.serving.scoring import curve_weights, weighted_quantile
from tapeout.serving.split import is_fit_curve
from tapeout.serving.validation.inputs import ServingCase, read_case
from tapeout.serving.validation.predicting import (
    QUANTITIES,
    TIMES,
    UNKNOWN,
    fallbacks,
    predict_serving,
    run_keys,
)
from tapeout.serving.validation.scoring import measured_number
from tapeout.serving.validation.serving_rows import curve_of, time_ratios, values_of
from tapeout.serving.validation.terms import NO_TERMS, PLAIN, Terms, fit_terms, pair_key

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

TRIALS = ROOT / "benchmarks/valid_trials.csv"
FOLDS = 5
SHARE = 0.8
LEAST_ROWS = 20  # below it the plain kind of load, or all, speaks
LEAST_CURVES = 5
ANY = "*"
LEVELS = ((), (0,), (0, 1), (0, 1, 2), (0, 1, 2, 3), (1, 3), (3,), (1, 3, 4), (0, 1, 2, 3, 4))
PLAIN_LEVELS, PLAIN_PRIOR = (
    tuple(range(len(EFFECT_LEVELS))),
    1.0,
)  # as the effects of the timing model
FIRST = (0,)  # what is known of software that nobody measured on the chip
PRIORS = (0.5, 1.0, 3.0, 10.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One row of the fit part, predicted without terms."""

    curve: str
    mode: str
    keys: tuple[str, ...]
    pair: str
    base_log_sd: float
    blind_log_sd: float  # where nothing is known of its software
    time_log_ratio: float  # measured / predicted; nan where no time was measured
    log_ratio: Mapping[str, float]  # measured / predicted of each quantity

    @property
    def fold(self) -> int:
        """Fold of its curve."""
        return hashlib.sha256(f"terms|{self.curve}".encode()).digest()[0] % FOLDS

    def corrected(self, terms: Terms) -> dict[str, float]:
        """Log ratios once all times are stretched; power is left alone."""
        shift = terms.log_factor(self.keys)
        sign = {name: 1.0 if name in TIMES else -1.0 for name in QUANTITIES}
        sign["power_w_per_chip"] = 0.0
        return {name: value - sign[name] * shift for name, value in self.log_ratio.items()}


def with_effects(model: PhysicalModel, effects: Mapping[str, float]) -> PhysicalModel:
    """The same constants with other effects."""
    return replace(model, fit=replace(model.fit, effects=effects))


def points_of(rows: Iterable[Mapping[str, str]], model: PhysicalModel) -> list[Point]:
    """Predict the fit part; closed loops without the effects they were fitted to."""
    found: list[Point] = []
    # Known software whose effect is not believed: its error is that of what was measured.
    bare = with_effects(model, dict.fromkeys(model.fit.effects, 0.0))
    blind = with_effects(model, {})
    for row in rows:
        curve = curve_of(row)
        if not is_fit_curve(curve) or row["quality"] not in ("A", "B"):
            continue
        try:
            case = read_case(row)
            keys = term_keys_of(case)
            one = predict_serving(case, model if keys else bare, NO_TERMS)
            unknown = predict_serving(case, blind, NO_TERMS)
        except TapeoutError as error:
            print(f"{row['row_id']}: {error}", file=sys.stderr)
            continue
        ratios = time_ratios(row, one)
        found.append(
            Point(
                curve=curve,
                mode=one.mode,
                keys=keys or software_of(one.placement).effect_keys(),
                pair=pair_key(one.mode, case.stack, case.system.chip.name),
                base_log_sd=one.base_log_sd,
                blind_log_sd=unknown.base_log_sd,
                time_log_ratio=sum(ratios) / len(ratios) if ratios else math.nan,
                log_ratio={
                    name: math.log(measured / value)
                    for name, value in values_of(one).items()
                    if (measured := measured_number(row, name))
                },
            )
        )
    return found


def term_keys_of(case: ServingCase) -> tuple[str, ...]:
    """Keys of the terms of a case; none for a closed loop."""
    kind = "disaggregated" if case.plan and case.plan.prefill else str(case.load.kind)
    return run_keys(case, f"{kind}, speculative" if case.speculation else kind)


def fitted(points: Sequence[Point], prior: float, levels: Sequence[int]) -> Terms:
    """Terms of the means of the curves."""
    by_curve: dict[tuple[str, tuple[str, ...]], list[float]] = {}
    for one in points:
        if one.keys and math.isfinite(one.time_log_ratio):
            by_curve.setdefault((one.curve, one.keys), []).append(one.time_log_ratio)
    return fit_terms(
        [(keys, sum(some) / len(some)) for (_, keys), some in by_curve.items()], prior, levels
    )


def held_out(
    points: Sequence[Point], prior: float, levels: Sequence[int]
) -> list[dict[str, float]]:
    """Log ratios of each point with the terms of the other folds."""
    terms = [
        fitted([one for one in points if one.fold != fold], prior, levels) for fold in range(FOLDS)
    ]
    return [one.corrected(terms[one.fold]) for one in points]


def cross_validated(points: Sequence[Point], left: Sequence[Mapping[str, float]]) -> list[float]:
    """Median and p90 of the error of output rate and TPOT, loads with terms, curves equal."""
    found = []
    for name in ("output_tok_s_per_chip", "tpot_ms"):
        some = [
            (one.curve, abs(math.expm1(-values[name])))
            for one, values in zip(points, left, strict=True)
            if one.keys and name in values
        ]
        weights = curve_weights([curve for curve, _ in some])
        off = np.array([error for _, error in some])
        found += [weighted_quantile(off, weights, share) for share in (0.5, 0.9)]
    return found


def choose(points: Sequence[Point]) -> tuple[float, tuple[int, ...], list[list[str]]]:
    """Prior and levels with the least sum of median and p90 / 3 of both quantities."""
    best, chosen, trials = math.inf, (1.0, LEVELS[0]), []
    for levels in LEVELS:
        for prior in PRIORS if levels else PRIORS[:1]:
            errors = cross_validated(points, held_out(points, prior, levels))
            loss = errors[0] + errors[2] + (errors[1] + errors[3]) / 3.0
            setting = f"levels {'+'.join(map(str, levels)) or 'none'} prior {prior:g}"
            for name, at in (("output rate", 0), ("TPOT", 2)):
                trials.append(
                    [
                        today(),
                        f"terms: {name}",
                        setting,
                        f"{errors[at]:.4f}",
                        f"{errors[at + 1]:.4f}",
                    ]
                )
            if loss < best:
                best, chosen = loss, (prior, levels)
    return *chosen, trials


Residual = tuple[str, str, str, float]  # mode, quantity, curve, log error over log_sd


def factor(values: list[float]) -> float:
    """Factor on log_sd with which 80 % of the values are inside."""
    return float(np.quantile(np.abs(values), SHARE)) / Z80


def table(found: Sequence[Residual]) -> dict[tuple[str, str], tuple[float, int, int]]:
    """Factor, rows and curves of every kind of load and quantity with enough of both."""
    out = {}
    every = (ANY, ANY + UNKNOWN)
    modes = [*every, *sorted({mode for mode, *_ in found})]
    for mode in modes:
        for name in QUANTITIES:
            some = [(c, e) for m, q, c, e in found if q == name and mode in (m, _every(m))]
            curves = len({curve for curve, _ in some})
            if mode in every or (len(some) >= LEAST_ROWS and curves >= LEAST_CURVES):
                out[mode, name] = (factor([e for _, e in some]), len(some), curves)
    return out


def _every(mode: str) -> str:
    return ANY + UNKNOWN if mode.endswith(UNKNOWN) else ANY


def looked_up(
    known: Mapping[tuple[str, str], tuple[float, int, int]], mode: str, name: str
) -> float:
    """As `predicting.band_factor` looks it up."""
    for key in (*fallbacks(mode), ANY):
        if (key, name) in known:
            return known[key, name][0]
    raise KeyError(name)


def standard_errors(
    points: Sequence[Point], plain: Sequence[Point], prior: float, levels: Sequence[int]
) -> tuple[list[Residual], list[int]]:
    """Held-out errors over log_sd of all points and their folds, software known and not."""
    found: list[Residual] = []
    folds: list[int] = []
    for end, chosen, plainly in (("", levels, PLAIN_LEVELS), (UNKNOWN, FIRST, FIRST)):
        left = [*held_out(points, prior, chosen), *held_out(plain, PLAIN_PRIOR, plainly)]
        for one, values in zip([*points, *plain], left, strict=True):
            found += [
                (
                    one.mode + end,
                    name,
                    one.curve,
                    value / (one.blind_log_sd if end else one.base_log_sd),
                )
                for name, value in values.items()
            ]
            folds += [one.fold] * len(values)
    return found, folds


def coverage(found: Sequence[Residual], folds: Sequence[int]) -> dict[str, tuple[int, float]]:
    """Rows and coverage by quantity, every fold with the factors of the others."""
    inside: dict[str, list[bool]] = {}
    for fold in range(FOLDS):
        known = table([one for one, own in zip(found, folds, strict=True) if own != fold])
        for (mode, name, _, error), own in zip(found, folds, strict=True):
            if own == fold:
                hit = abs(error) <= Z80 * looked_up(known, mode, name)
                inside.setdefault(name, []).append(hit)
                inside.setdefault(f"{name}, {mode}", []).append(hit)
    return {name: (len(hits), float(np.mean(hits))) for name, hits in sorted(inside.items())}


def main() -> int:
    """Choose, fit, check by folds, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--dry-run", action="store_true", help="print only")
    options = parser.parse_args()
    model = PhysicalModel()
    try:
        points = points_of(read_rows(options.data), model)
    except TapeoutError as error:
        print(error, file=sys.stderr)
        return 2
    plain = [one for one in points if one.mode == PLAIN]
    points = [one for one in points if one.mode != PLAIN]
    prior, levels, trials = choose(points)
    for line in trials:
        print(*line)
    print(f"chosen: prior {prior:g}, levels {levels}")
    found, folds = standard_errors(points, plain, prior, levels)
    known = table(found)
    for (mode, name), (value, rows, curves) in known.items():
        print(f"{mode:28} {name:24} x {value:5.2f}  {rows} rows, {curves} curves")
    for name, (rows, share) in coverage(found, folds).items():
        print(f"held-out folds of the fit part: {name:50} {rows:5} rows, {share:.1%} inside")
    if options.dry_run:
        return 0
    # Pairs that were measured are listed even where their factor is one: their bands are narrower.
    pairs = {one.pair: 0.0 for one in [*points, *plain]}
    terms = Terms(factors=pairs | dict(fitted(points, prior, levels).factors))
    write_table(
        SERVING_DATA / "terms.csv",
        ("key", "log_factor", "note"),
        (
            (key, f"{value:.4f}", f"fit part, {model.name}; tools/fit_serving_terms.py")
            for key, value in sorted(terms.factors.items())
        ),
    )
    write_table(
        SERVING_DATA / "bands.csv",
        ("mode", "quantity", "factor", "rows", "curves", "note"),
        (
            (
                mode,
                name,
                f"{value:.3f}",
                rows,
                curves,
                f"held-out folds of the fit part, {model.name}",
            )
            for (mode, name), (value, rows, curves) in known.items()
        ),
    )
    about = endtoend_provenance("tools/fit_serving_terms.py", options.data)
    note_provenance(SERVING_DATA, ["terms.csv", "bands.csv"], about)
    append_trials(TRIALS, ([*line, model.name] for line in trials))
    return 0


if __name__ == "__main__":
    sys.exit(main())
