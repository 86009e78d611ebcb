"""Fit the constants of an attention law, and what it leaves, to measured cases.

Loss: soft absolute value of log(predicted / measured), so that a few odd kernels do not bend the
constants, with a weak pull towards the starting values for what the cases do not fix. Errors are
those of the folds of `tapeout.perf.ops.split`, each fitted without its own groups.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tapeout.chip import ChipSpec
from tapeout.constants import Z80
from tapeout.numerics import Floats, Ints
from tapeout.perf.ops.attention import Attention, AttentionRates
from tapeout.perf.ops.attention_cases import (
    LAWS,
    Shapes,
    coordinates,
    kv_dtype,
    rates,
    shapes,
)
from tapeout.perf.ops.attention_constants import Constant
from tapeout.perf.ops.cases import OpCase
from tapeout.perf.ops.smooth import Smooth, fit_smooth
from tapeout.perf.ops.split import FOLDS, fold, group, require_fit_part

Chosen = NDArray[np.bool_] | Ints

SOFT = 0.1  # residuals beyond this count as absolute values
PULL = 0.05  # residual that one log unit away from the start counts as
CLIP = 0.7  # largest residual the correction is asked to mend
ROUNDS = 40
STEP = 1e-3
ZERO_SHARE = 1e-4  # a share below this is none
SMALL_ROWS = 100  # with fewer a correction is noise
CENTRES = 400
NOISE = 0.06
WIDTHS = {
    # doublings over which a correction carries: batch, tokens, heads, key heads, head size,
    # window, new tokens
    "prefill": (3.25, 2.0, 3.25, 3.25, 2.0, 5.0, 2.0),
    "decode": (3.25, 2.0, 3.25, 3.25, 2.0, 5.0, 2.0),
    # new tokens, their cached ones, decoding sequences, their cached ones
    "mixed": (1.5, 2.0, 1.5, 2.0),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionFit:
    """Constants of one set-up with their covariance and their error on other folds.

    Attributes
    ----------
    constants : mapping of name to value
    names : tuple of str
        Fitted constants, in the order of the covariance.
    covariance : array, shape (constant, constant)
        Of logarithms; of the value itself for a share.
    smooth : Smooth or None
        Correction; None with few cases.
    law_residual, residual : array, shape (case,)
        log(predicted / measured) out of fold, without and with the correction.
    """

    constants: Mapping[str, float]
    names: tuple[str, ...]
    covariance: Floats
    smooth: Smooth | None
    law_residual: Floats
    residual: Floats

    @property
    def log_sd(self) -> float:
        """Normal standard deviation whose 80 % band holds 80 % of the cases out of fold."""
        return float(np.quantile(np.abs(self.residual), 0.8)) / Z80

    @property
    def law_log_sd(self) -> float:
        """The same without the correction."""
        return float(np.quantile(np.abs(self.law_residual), 0.8)) / Z80


@dataclass(frozen=True, slots=True, kw_only=True)
class _Problem:
    kind: str
    parts: Shapes
    rates: AttentionRates
    log_s: Floats

    def part(self, chosen: Chosen) -> _Problem:
        return _Problem(
            kind=self.kind,
            parts=tuple(_rows(one, chosen) for one in self.parts),
            rates=self.rates,
            log_s=self.log_s[chosen],
        )

    def residual(self, constants: Mapping[str, float]) -> Floats:
        seconds = LAWS[self.kind].seconds(self.parts, self.rates, constants)
        return np.log(seconds) - self.log_s


def _rows(shape: Attention, chosen: Chosen) -> Attention:
    columns = {name: getattr(shape, name) for name in Attention.__dataclass_fields__}
    return Attention(
        **{name: one[chosen] if np.ndim(one) else one for name, one in columns.items()}
    )


def fit_attention(
    cases: Sequence[OpCase],
    chip: ChipSpec,
    kind: str,
    start: Mapping[str, float] | None = None,
    *,
    folds: int = FOLDS,
) -> AttentionFit:
    """Fit one set-up.

    Parameters
    ----------
    cases : sequence of OpCase
        Of one kind, cache format and kernel, each with `measured_s`; groups of the fit part only.
    chip : ChipSpec
    kind : str
        "prefill", "decode" or "mixed".
    start : mapping, optional
        Where to start from and to stay near for what the cases do not fix.
    folds : int
        0: errors in sample, for a user's own few cases.

    Raises
    ------
    InfeasibleError
        A case lies in the report part.
    """
    require_fit_part(cases)
    problem = _Problem(
        kind=kind,
        parts=shapes(cases, kind),
        rates=rates(chip, kv_dtype(cases[0]), cases[0].dtype),
        log_s=np.log([case.measured_s for case in cases]),
    )
    law = LAWS[kind].constants
    first = start or {name: one.start for name, one in law.items()}
    place = np.array([fold(group(case)) for case in cases]) if folds else np.full(len(cases), -1)
    constants, jacobian = _solve(problem, law, first)
    smooth = _smooth(problem, constants)
    plain = problem.residual(constants)
    mended = plain + _correction(smooth, problem)
    for left_out in range(folds):
        out = place == left_out
        if out.any() and not out.all():
            plain[out], mended[out] = _out_of_fold(problem, law, (constants, first), out)
    return AttentionFit(
        constants=_tidy(law, constants),
        names=tuple(name for name, one in law.items() if not one.fixed),
        covariance=_covariance(jacobian, plain),
        smooth=smooth,
        law_residual=plain,
        residual=mended,
    )


def _out_of_fold(
    problem: _Problem,
    law: Mapping[str, Constant],
    starts: tuple[Mapping[str, float], Mapping[str, float]],
    out: NDArray[np.bool_],
) -> tuple[Floats, Floats]:
    """Residuals of the left-out cases, law alone and with the correction, fitted to the others."""
    known, asked = problem.part(np.flatnonzero(np.logical_not(out))), problem.part(out)
    constants, _ = _solve(known, law, starts[0], pull_to=starts[1])
    smooth = _smooth(known, constants)
    plain = asked.residual(constants)
    return plain, plain + _correction(smooth, asked)


def _smooth(problem: _Problem, constants: Mapping[str, float]) -> Smooth | None:
    if problem.log_s.size < SMALL_ROWS:
        return None
    target = np.clip(-problem.residual(constants), -CLIP, CLIP)
    widths = np.array(WIDTHS[problem.kind])
    return fit_smooth(coordinates(problem.parts), target, widths, CENTRES, NOISE)


def _correction(smooth: Smooth | None, problem: _Problem) -> Floats:
    if smooth is None:
        return np.zeros(problem.log_s.size)
    return smooth(coordinates(problem.parts))


def _solve(
    problem: _Problem,
    law: Mapping[str, Constant],
    start: Mapping[str, float],
    *,
    pull_to: Mapping[str, float] | None = None,
) -> tuple[dict[str, float], Floats]:
    """Constants that minimise the loss, and the Jacobian of the cases there."""
    from scipy.optimize import least_squares  # noqa: PLC0415  half a second to load

    low, high = (
        _encode(law, {name: getattr(one, side) for name, one in law.items()})
        for side in ("low", "high")
    )
    near = _encode(law, pull_to or start)

    def loss(point: Floats) -> Floats:
        return np.concatenate([problem.residual(_decode(law, point, start)), PULL * (point - near)])

    margin = STEP * STEP
    found = least_squares(
        loss,
        np.clip(_encode(law, start), low + margin, high - margin),
        bounds=(low, high),
        loss="soft_l1",
        f_scale=SOFT,
        max_nfev=ROUNDS,
        diff_step=STEP,
    )
    return _decode(law, found.x, start), found.jac


def _encode(law: Mapping[str, Constant], values: Mapping[str, float]) -> Floats:
    return np.array(
        [
            values[name] if one.is_share else np.log(values[name])
            for name, one in law.items()
            if not one.fixed
        ]
    )


def _decode(
    law: Mapping[str, Constant], point: Floats, start: Mapping[str, float]
) -> dict[str, float]:
    free = [name for name, one in law.items() if not one.fixed]
    found = {
        name: float(value if law[name].is_share else np.exp(value))
        for name, value in zip(free, point, strict=True)
    }
    return {name: found.get(name, start[name]) for name in law}


def _tidy(law: Mapping[str, Constant], constants: Mapping[str, float]) -> dict[str, float]:
    return {
        name: 0.0 if law[name].is_share and value < ZERO_SHARE else float(f"{value:.5g}")
        for name, value in constants.items()
    }


def _covariance(jacobian: Floats, residual: Floats) -> Floats:
    """Covariance of the fitted point: squared scatter over curvature, the pull included."""
    scatter = float(np.median(np.abs(residual))) * 1.4826
    curvature = jacobian.T @ jacobian
    return np.asarray(np.linalg.pinv(curvature) * scatter**2, dtype=np.float64)
