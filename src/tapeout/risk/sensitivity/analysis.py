"""First order, total order and Shapley effects of several outcomes in one go."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tapeout.numerics import Floats, Ints
from tapeout.risk.sensitivity.indices import (
    Bools,
    Estimate,
    first_order,
    orders,
    shapley_effects,
    total_order,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shares:
    """Shares of the variance of one outcome, by group."""

    variance: float
    first: Estimate
    total: Estimate
    shapley: Estimate


def analyse(
    outcomes: Callable[[Bools], Floats], groups: int, scramble: Ints, seed: int
) -> tuple[Shares, ...]:
    """Shares of variance by group of inputs.

    Parameters
    ----------
    outcomes : callable
        Takes which groups each row shares with its point, shape (case, group, row), and returns
        the outcomes, shape (outcome, case, row); all true is the point itself, all false an
        independent one. What is not shared has to be drawn given what is.
    groups : int
    scramble : array, shape (row,)
        Independent point set of each row.
    seed : int
        Of the orders in which groups become known.

    Returns
    -------
    tuple of Shares
        One an outcome. Takes rows times (1 + 3 groups) evaluations.

    Examples
    --------
    >>> from tapeout.risk.sensitivity import mix
    >>> rng = np.random.default_rng(1)
    >>> one, other = rng.normal(size=(2, 2, 65_536))
    >>> def total(shared):
    ...     a, b = (mix(shared[:, i], one[i], other[i]) for i in range(2))
    ...     return (3.0 * a + b)[None]
    >>> (found,) = analyse(total, 2, np.arange(65_536) % 16, 1)
    >>> found.shapley.share.round(1).tolist()
    [0.9, 0.1]
    """
    rows = scramble.size
    point = np.ones((1, groups, rows), bool)
    alone = np.eye(groups, dtype=bool)[:, :, None] & point
    order = orders(groups, rows, seed)
    rank = np.argsort(order, axis=1).T
    walk = np.arange(groups + 1)[:, None, None] > rank
    found = outcomes(np.concatenate([alone, ~alone, walk]))
    keeping, changing, known = np.split(found, [groups, 2 * groups], axis=1)
    return tuple(
        Shares(
            variance=float(known[i, [0, -1]].var()),
            first=first_order(known[i, -1], known[i, 0], keeping[i], scramble),
            total=total_order(known[i, -1], known[i, 0], changing[i], scramble),
            shapley=shapley_effects(known[i], order, scramble),
        )
        for i in range(len(found))
    )
