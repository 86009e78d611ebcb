"""Fit the law of a calibration to timings, and say how far it is off on others.

Groups are those of the fixed split of operator measurements: constants see the fit part only, and
the error is that on the report part of the same run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tapeout.constants import MICRO
from tapeout.errors import InfeasibleError
from tapeout.numerics import Floats
from tapeout.perf.calibrate.law import (
    GEMM,
    NAMES,
    RateConstants,
    Rows,
    rate_s,
    rows_of,
)
from tapeout.perf.calibrate.work import ATTENTION
from tapeout.perf.ops.cases import OpCase
from tapeout.perf.ops.split import fit_part, report_part, require_fit_part

LEAST_ROWS = 4
NOISE = 0.05  # log error of a quiet timing; a noisy one counts as its own spread is larger
HALF_START = {"half_m": 16.0, "half_n": 64.0, "half_k": 64.0}
# Weak priors, standard deviations in log units around the start: a short run identifies less than
# a long one, and what it does not identify stays where it began.
PRIOR_LOG_SD = {
    "launch_s": 2.0,
    "flop_per_s": 1.0,
    "bytes_per_s": 1.0,
    "half_m": 2.0,
    "half_n": 2.0,
    "half_k": 2.0,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """A timed case (`case.measured_s`): spread of its samples over their median, their number."""

    case: OpCase
    spread_fraction: float = 0.0
    samples: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorFit:
    """Constants of one operator and format with their errors.

    Attributes
    ----------
    op, dtype : str
    constants : RateConstants
    log_sd : mapping of name to float
        Standard error of the logarithm of each fitted constant.
    fit_rows, report_rows : int
    median_error, p90_error : float
        Absolute relative error on the report part; nan where it is empty.
    best_flop_per_s, best_bytes_per_s : float
        Highest rates that any timing reached, launch included.
    """

    op: str
    dtype: str
    constants: RateConstants
    log_sd: Mapping[str, float]
    fit_rows: int
    report_rows: int
    median_error: float
    p90_error: float
    best_flop_per_s: float
    best_bytes_per_s: float


def fit_all(measured: Sequence[Measured]) -> tuple[OperatorFit, ...]:
    """Fit every operator and format that has enough timings in the fit part."""
    classes: dict[tuple[str, str], list[Measured]] = {}
    for one in measured:
        classes.setdefault((one.case.op, one.case.dtype), []).append(one)
    return tuple(
        fit_operator(some)
        for some in classes.values()
        if len(fit_part(one.case for one in some)) >= LEAST_ROWS
    )


def fit_operator(measured: Sequence[Measured]) -> OperatorFit:
    """Fit one operator in one format to the fit part of its timings; score it on the rest.

    Raises
    ------
    InfeasibleError
        Too few timings in the fit part.
    """
    spread = {id(one.case): one.spread_fraction for one in measured}
    known = fit_part(one.case for one in measured)
    if len(known) < LEAST_ROWS:
        raise InfeasibleError(f"{len(known)} timings in the fit part; at least {LEAST_ROWS}")
    require_fit_part(known)
    weight = 1.0 / np.hypot(NOISE, np.array([spread[id(case)] for case in known]))
    constants, log_sd = fit_constants(known, weight)
    held = report_part(one.case for one in measured)
    median, p90 = _score(held, constants)
    cases = [one.case for one in measured]
    rows, taken = rows_of(cases), _measured_s(cases)
    return OperatorFit(
        op=cases[0].op,
        dtype=cases[0].dtype,
        constants=constants,
        log_sd=log_sd,
        fit_rows=len(known),
        report_rows=len(held),
        median_error=median,
        p90_error=p90,
        best_flop_per_s=float((rows.flop / taken).max()),
        best_bytes_per_s=float((rows.moved_bytes / taken).max()),
    )


def fit_constants(
    cases: Sequence[OpCase], weight: Floats
) -> tuple[RateConstants, dict[str, float]]:
    """Robust least squares of log time.

    Parameters
    ----------
    cases : sequence of OpCase
        Of one operator, with `measured_s`.
    weight : array, shape (case,)
        One over the expected log error.

    Returns
    -------
    constants : RateConstants
    log_sd : dict of name to float
        From the Jacobian at the optimum, scaled by the residuals where they exceed the weights.
    """
    from scipy.optimize import least_squares  # noqa: PLC0415  loads slowly

    rows, target = rows_of(cases), np.log(_measured_s(cases))
    names = _fitted_names(cases[0].op)
    start = _start(rows, np.exp(target))
    centre = np.log([start[name] for name in names])
    width = np.array([PRIOR_LOG_SD[name] for name in names])

    def residual(point: Floats) -> Floats:
        model = np.log(rate_s(rows, _constants(names, point)))
        return np.concatenate([(model - target) * weight, (point - centre) / width])

    found = least_squares(residual, centre, loss="soft_l1", f_scale=2.0)
    size = target.size
    excess = max(1.0, float(np.median(np.abs(found.fun[:size])) / 0.6745))
    covariance = np.linalg.pinv(found.jac.T @ found.jac) * excess**2
    errors = np.sqrt(np.maximum(np.diag(covariance), 0.0))
    return _constants(names, found.x), dict(zip(names, map(float, errors), strict=True))


def _fitted_names(op: str) -> tuple[str, ...]:
    """Constants that an operator has: copies and the like have no arithmetic to speak of."""
    if op == GEMM:
        return NAMES
    return NAMES[:3] if op in ATTENTION else ("launch_s", "bytes_per_s")


def _start(rows: Rows, measured_s: Floats) -> dict[str, float]:
    """Best rates seen, and the shortest time as launch."""
    return {
        "launch_s": float(max(measured_s.min() / 2.0, MICRO / 10.0)),
        "flop_per_s": float(max((rows.flop / measured_s).max(), 1.0)),
        "bytes_per_s": float((rows.moved_bytes / measured_s).max()),
        **HALF_START,
    }


def _constants(names: Sequence[str], point: Floats) -> RateConstants:
    values = dict(zip(names, map(float, np.exp(point)), strict=True))
    return RateConstants(**({"flop_per_s": np.inf} | values))


def _measured_s(cases: Sequence[OpCase]) -> Floats:
    return np.array([case.measured_s for case in cases])


def _score(cases: Sequence[OpCase], constants: RateConstants) -> tuple[float, float]:
    """Median and 90th percentile of the absolute relative error."""
    if not cases:
        return float("nan"), float("nan")
    error = np.abs(rate_s(rows_of(cases), constants) / _measured_s(cases) - 1.0)
    return float(np.median(error)), float(np.quantile(error, 0.9))
