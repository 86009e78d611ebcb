"""What it is worth to find out before deciding, in the unit of utility (USD).

Perfect information on everything (EVPI), on some inputs (EVPPI), and a study's noisy result
(EVSI). The last two regress utility on what would be learnt (Strong, Oakley, Brennan 2014).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

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
    The advantage of each action is fitted as a sum of bent lines of the inputs, and of products of
    pairs while they are few. The fit chooses an action in draws it has not seen, and the mean
    utility of those choices is the value: a fit that misses something can only make it smaller.
    """
    return worth_of_choice(utility, expected(utility, learnt, scramble), scramble)


def expected(utility: Floats, learnt: Sequence[Floats], scramble: Ints) -> Floats:
    """Utility of each action to be expected once some inputs are known, (draw, action).

    Fitted in three quarters of the scrambles, predicted in the fourth, four times.
    """
    size = len(utility)
    design, folds = _design(learnt, size), _folds(scramble)
    # what all actions share does not help to choose, and would only add noise
    gain = utility - utility[:, _best(utility), None]
    squares = [design[:, rows] @ design[:, rows].T for rows in folds]
    products = [design[:, rows] @ gain[rows] for rows in folds]
    ridge = _RIDGE * size * np.eye(len(design))
    whole, all_products = sum(squares, ridge), sum(products, np.zeros_like(products[0]))
    fitted = np.empty_like(gain)
    for rows, square, product in zip(folds, squares, products, strict=True):
        fitted[rows] = design[:, rows].T @ np.linalg.solve(whole - square, all_products - product)
    return fitted


def worth_of_choice(utility: Floats, believed: Floats, scramble: Ints) -> Value:
    """Mean gain of choosing by a belief over the action that is best on the mean.

    Parameters
    ----------
    utility, believed : array, shape (draw, action)
        What an action yields, and what it is believed to yield when the choice is made.
    scramble : array, shape (draw,)
    """
    choice = believed.argmax(axis=1)
    chosen = np.take_along_axis(utility, choice[:, None], axis=1)[:, 0]
    return _value(chosen - utility[:, _best(utility)], scramble)


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


def _folds(scramble: Ints) -> list[slice | Ints]:
    """Draws of each fold: whole scrambles if there are enough, else draw by draw."""
    names, index = np.unique(scramble, return_inverse=True)
    enough = names.size >= FOLDS
    fold = index * FOLDS // names.size if enough else np.arange(scramble.size) % FOLDS
    return [_as_slice(np.flatnonzero(fold == number)) for number in range(FOLDS)]


def _as_slice(rows: Ints) -> slice | Ints:
    """A slice where rows follow each other: it saves copies."""
    if rows.size and rows[-1] - rows[0] + 1 == rows.size:
        return slice(int(rows[0]), int(rows[-1]) + 1)
    return rows


def _design(learnt: Sequence[Floats], size: int) -> Floats:
    """Columns of the regression, shape (column, draw), the constant first."""
    most = min(MOST_COLUMNS, size // DRAWS_PER_COLUMN)
    bends = len(learnt) * (len(KNOTS) + 1) <= most
    columns = [np.ones(size)]
    for values in learnt:
        columns += _bent(values, bends=bends)
    if len(columns) + len(learnt) * (len(learnt) - 1) // 2 <= most:
        columns += [_standard(one) * _standard(two) for one, two in combinations(learnt, 2)]
    return np.stack(columns)


def _standard(values: Floats) -> Floats:
    """Mean zero, standard deviation one; zeros where nothing varies."""
    spread = float(values.std())
    scores: Floats = (values - values.mean()) / (spread if spread > 0 else 1.0)
    return scores


def _bent(values: Floats, *, bends: bool) -> list[Floats]:
    """An input's own columns: steps for few values, a line and its bends for many."""
    ordered = np.sort(values)
    new = np.flatnonzero(np.diff(ordered) > 0) + 1
    if new.size == 0:
        return []
    if new.size < LEVELS:
        return [(values == ordered[first]).astype(np.float64) for first in new]
    x = _standard(values)
    if not bends:
        return [x]
    at = ordered[[int(knot * (ordered.size - 1)) for knot in KNOTS]]
    knots = np.unique((at - values.mean()) / values.std())
    return [x, *(np.maximum(x - knot, 0.0) for knot in knots)]
