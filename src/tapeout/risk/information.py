"""What it is worth to find out before deciding, in the unit of utility (USD).

Perfect information on everything (EVPI), on some inputs (EVPPI), and a study's noisy result
(EVSI). The last two regress utility on what would be learnt (Strong, Oakley, Brennan 2014).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from tapeout.numerics import Floats, Ints, standard_error

FOLDS = 4  # the draws a choice is valued on never helped to fit it
KNOTS = (0.1, 0.3, 0.5, 0.7, 0.9)  # quantiles at which a fitted line may bend
LEVELS = 6  # a column with no more values than this gets a step for each
MOST_COLUMNS = 80  # of one regression; beyond it inputs enter as straight lines
DRAWS_PER_COLUMN = 8  # fewer draws than this for a column: straight lines only
_RIDGE = 1e-9  # of the number of draws: keeps columns that repeat each other solvable


@dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    """Value of information and its sampling error from the scrambles [unit of utility]."""

    mean: float
    se: float


def evpi(utility: Floats, scramble: Ints) -> Value:
    """Expected value of perfect information, E[max_a U] - max_a E[U].

    Parameters
    ----------
    utility : array, shape (draw, action)
        Of each action in each future; minus its cost where there is no revenue. [USD]
    scramble : array, shape (draw,)
        Independent point set a draw belongs to.

    Examples
    --------
    >>> evpi(np.array([[0.0, 10.0], [0.0, -4.0]]), np.array([0, 0])).mean
    2.0
    """
    return _value(utility.max(axis=1) - utility[:, _best(utility)], scramble)


def evppi(utility: Floats, learnt: Sequence[Floats], scramble: Ints) -> Value:
    """Expected value of learning some inputs exactly before choosing.

    Parameters
    ----------
    utility : array, shape (draw, action)
        [USD]
    learnt : sequence of array, shape (draw,)
        Inputs that become known, together.
    scramble : array, shape (draw,)

    Returns
    -------
    Value
        Never below zero, never above `evpi` of the same draws.

    Notes
    -----
    Each action's advantage is fitted as a sum of bent lines of the inputs, without products. The
    fit chooses an action in draws it has not seen, and the mean utility of those choices is the
    value: a fit that misses something can only make it smaller.
    """
    best = _best(utility)
    gain = utility - utility[:, best, None]
    fitted = _cross_fitted(_design(learnt), gain, _folds(scramble))
    choice = fitted.argmax(axis=1)
    return _value(np.take_along_axis(gain, choice[:, None], axis=1)[:, 0], scramble)


def evsi(utility: Floats, results: Sequence[Floats], scramble: Ints) -> Value:
    """Expected value of a study before choosing, from its simulated results.

    Parameters
    ----------
    utility : array, shape (draw, action)
        [USD]
    results : sequence of array, shape (draw,)
        What the study would report in each future, its noise included.
    scramble : array, shape (draw,)

    Returns
    -------
    Value
        Gross: what the study costs, and the delay it brings, are not taken off.
    """
    return evppi(utility, results, scramble)


def evpi_normal(mean: ArrayLike, sd: ArrayLike) -> Floats:
    """EVPI of two actions whose difference in utility is normal; EVPPI with the sd of a part.

    Zero where sd is zero.

    Examples
    --------
    >>> round(float(evpi_normal(10.0, 50.0)), 3)
    15.345
    """
    from scipy.special import ndtr  # noqa: PLC0415 - heavy to import

    m, s = np.broadcast_arrays(np.asarray(mean, float), np.asarray(sd, float))
    certain = s == 0.0
    z = m / np.where(certain, 1.0, s)
    density = np.exp(-0.5 * z**2) / np.sqrt(2.0 * np.pi)
    worth: Floats = np.where(certain, 0.0, s * density + m * ndtr(z) - np.maximum(m, 0.0))
    return worth


def evsi_normal(mean: ArrayLike, sd: ArrayLike, noise_sd: ArrayLike) -> Floats:
    """EVSI of a study that reports the normal difference with normal noise.

    Noise without end is worth nothing, no noise is worth the EVPI.

    Examples
    --------
    >>> round(float(evsi_normal(10.0, 50.0, 25.0)), 3)
    13.285
    """
    s, noise = np.asarray(sd, float), np.asarray(noise_sd, float)
    total = np.hypot(s, noise)
    return evpi_normal(mean, s**2 / np.where(total == 0.0, 1.0, total))


def _best(utility: Floats) -> int:
    """Action that is best on the mean; the first of equals."""
    return int(utility.mean(axis=0).argmax())


def _value(gain: Floats, scramble: Ints) -> Value:
    return Value(mean=max(0.0, float(gain.mean())), se=standard_error(gain, scramble))


def _folds(scramble: Ints) -> Ints:
    """Fold of each draw: whole scrambles if there are enough, else draw by draw."""
    if np.unique(scramble).size >= FOLDS:
        return scramble % FOLDS
    return np.arange(scramble.size) % FOLDS


def _design(learnt: Sequence[Floats]) -> Floats:
    """Columns of the regression, shape (draw, column), the constant first."""
    size = learnt[0].size if learnt else 0
    most = min(MOST_COLUMNS, size // DRAWS_PER_COLUMN)
    bends = len(learnt) * (len(KNOTS) + 1) <= most
    columns = [np.ones(size)]
    for values in learnt:
        columns += _bent(values, bends=bends)
    return np.stack(columns, axis=1)


def _bent(values: Floats, *, bends: bool) -> list[Floats]:
    """An input's own columns: steps for few values, a line and its bends for many."""
    found = np.unique(values)
    if found.size < 2:
        return []
    if found.size <= LEVELS:
        return [(values == level).astype(np.float64) for level in found[1:]]
    spread = values.std()
    if not spread > 0:
        return []
    x = (values - values.mean()) / spread
    if not bends:
        return [x]
    knots = np.unique(np.quantile(x, KNOTS))
    return [x, *(np.maximum(x - knot, 0.0) for knot in knots)]


def _cross_fitted(design: Floats, target: Floats, fold: Ints) -> Floats:
    """Least squares of each target column, predicted where it was not fitted."""
    names = np.unique(fold)
    parts = {name: np.flatnonzero(fold == name) for name in names}
    squares = {name: design[rows].T @ design[rows] for name, rows in parts.items()}
    products = {name: design[rows].T @ target[rows] for name, rows in parts.items()}
    ridge = _RIDGE * len(design) * np.eye(design.shape[1])
    fitted = np.empty_like(target)
    for name, rows in parts.items():
        left = sum((squares[other] for other in names if other != name), ridge)
        right = sum(
            (products[other] for other in names if other != name), np.zeros_like(products[name])
        )
        fitted[rows] = design[rows] @ np.linalg.solve(left, right)
    return fitted
