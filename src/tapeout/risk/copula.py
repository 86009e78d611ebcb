"""Correlated drivers: a Gaussian copula over named pairs, on the drivers' own Sobol columns.

Each connected group of drivers has a correlation matrix of normal scores; pairs that nobody names
are zero. Its Cholesky factor turns the columns of the group into correlated ones, every driver
keeping its distribution. The first driver of a group keeps its draws to the byte, and a driver
appended to a group leaves those before it as they were.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from tapeout.errors import InfeasibleError
from tapeout.numerics import Floats

LARGEST_GROUP = 16  # drivers correlated with one another, directly or through others
_ROUNDING = 1e-9  # a pivot this near zero is one; correlations of +-1 are allowed
_REPAIR_STEPS = 500
Correlations = Mapping[tuple[str, str], float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Drivers that hang together, those that lead before those that follow.

    Attributes
    ----------
    names : tuple of str
    matrix : array, shape (name, name)
        Correlations of the normal scores.
    factor : array, shape (name, name)
        Lower triangular, factor @ factor.T = matrix.
    """

    names: tuple[str, ...]
    matrix: Floats
    factor: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class Copula:
    """Correlations of all drivers; one without groups leaves every driver independent."""

    groups: tuple[Group, ...] = ()
    place: Mapping[str, tuple[Group, int]] = field(default_factory=dict)

    def leaders(self, name: str) -> tuple[tuple[str, float], ...]:
        """Drivers whose own columns enter the draws of this one, the last itself, with weights.

        Empty where the driver's own column is its draw.
        """
        if name not in self.place:
            return ()
        group, row = self.place[name]
        weights = [float(x) for x in group.factor[row, : row + 1]]
        if not any(weights[:-1]):
            return ()
        return tuple((n, w) for n, w in zip(group.names, weights, strict=False) if w or n == name)


def copula(correlations: Correlations, *, nearest: bool = False) -> Copula:
    """Correlations by pair, checked and factored.

    Parameters
    ----------
    correlations : mapping of (follower, leader) to the correlation of their normal scores
        A rank correlation r of a Gaussian copula belongs to 2 sin(pi r / 6) here. The order of a
        pair, and of the pairs, decides only which driver keeps its own column.
    nearest : bool
        Replace correlations that no joint distribution has by the nearest ones that it may have
        (Higham 2002), instead of refusing them.

    Raises
    ------
    InfeasibleError
        Out of range, a pair twice or of one driver, a group too large, or correlations that
        contradict one another.

    Examples
    --------
    >>> joint = copula({("b", "a"): 0.6, ("c", "a"): 0.6})
    >>> joint.groups[0].names
    ('a', 'b', 'c')
    >>> joint.groups[0].matrix[1].tolist()
    [0.6, 1.0, 0.0]
    >>> joint.leaders("b")
    (('a', 0.6), ('b', 0.8))
    """
    _check_pairs(correlations)
    groups = tuple(
        _group(names, correlations, nearest=nearest) for names in _connected(correlations)
    )
    place = {name: (group, i) for group in groups for i, name in enumerate(group.names)}
    return Copula(groups=groups, place=place)


def rank_correlation(correlation: float) -> float:
    """Spearman's rank correlation of two drivers whose normal scores have this correlation.

    Examples
    --------
    >>> round(rank_correlation(0.5), 3)
    0.483
    """
    return 6.0 / math.pi * math.asin(correlation / 2.0)


def nearest_correlations(matrix: Floats) -> Floats:
    """Nearest correlation matrix in the Frobenius norm (N. Higham 2002, alternating projections).

    Parameters
    ----------
    matrix : array, shape (name, name)
        Symmetric, ones on the diagonal.
    """
    found, change = np.array(matrix, float), np.zeros_like(matrix)
    for _ in range(_REPAIR_STEPS):
        before = found - change
        values, vectors = np.linalg.eigh(before)
        positive = (vectors * np.maximum(values, _ROUNDING)) @ vectors.T
        change, last = positive - before, found
        found = positive.copy()
        np.fill_diagonal(found, 1.0)
        if np.abs(found - last).max() < _ROUNDING:
            break
    # what is left of a negative eigenvalue goes by drawing all correlations towards zero
    least = float(np.linalg.eigvalsh(found)[0])
    shrink = 1.0 if least >= 0.0 else 1.0 / (1.0 - least)
    repaired: Floats = shrink * found + (1.0 - shrink) * np.eye(len(found))
    return repaired


def conditional(
    group: Group, known: Sequence[int], scores: Floats, fresh: Floats
) -> tuple[tuple[int, ...], Floats]:
    """Normal scores of the drivers of a group that are not known, given those that are.

    Parameters
    ----------
    group : Group
    known : sequence of int
        Places of the known drivers in the group.
    scores : array, shape (name, row)
        Correlated normal scores; only those of the known drivers are read.
    fresh : array, shape (name, row)
        Independent normal scores.

    Returns
    -------
    others, drawn
        Places of the rest and their scores, shape (other, row).
    """
    others = tuple(i for i in range(len(group.names)) if i not in known)
    own = group.matrix[np.ix_(others, others)]
    if not known:
        return others, factored(own) @ fresh[list(others)]
    cross = group.matrix[np.ix_(others, known)]
    given = np.linalg.pinv(group.matrix[np.ix_(known, known)], hermitian=True)
    weight = cross @ given
    left = own - weight @ cross.T
    drawn: Floats = weight @ scores[list(known)] + factored(left) @ fresh[list(others)]
    return others, drawn


def factored(matrix: Floats) -> Floats:
    """Lower Cholesky factor of a matrix that may be singular, shape (name, name).

    Written out: LAPACK refuses singular matrices, and its rounding differs between machines.

    Raises
    ------
    InfeasibleError
        A combination of the variables would have a negative variance.
    """
    size = len(matrix)
    factor = np.zeros((size, size))
    for i in range(size):
        for j in range(i):
            left = float(matrix[i, j]) - float(factor[i, :j] @ factor[j, :j])
            pivot = float(factor[j, j])
            if pivot == 0.0 and abs(left) > math.sqrt(_ROUNDING):
                raise InfeasibleError("not a matrix of correlations")
            factor[i, j] = left / pivot if pivot else 0.0
        variance = float(matrix[i, i]) - float(factor[i, :i] @ factor[i, :i])
        if variance < -_ROUNDING:
            raise InfeasibleError("not a matrix of correlations")
        factor[i, i] = math.sqrt(variance) if variance > _ROUNDING else 0.0
    return factor


def _check_pairs(correlations: Correlations) -> None:
    seen: set[frozenset[str]] = set()
    for (follower, leader), rho in correlations.items():
        if not -1.0 <= rho <= 1.0:
            raise InfeasibleError(f"correlation of {follower} with {leader}, {rho}: write -1 to 1")
        if follower == leader:
            raise InfeasibleError(f"{follower} is correlated with itself")
        pair = frozenset((follower, leader))
        if pair in seen:
            raise InfeasibleError(f"{follower} and {leader} are correlated twice")
        seen.add(pair)


def _connected(correlations: Correlations) -> list[tuple[str, ...]]:
    """Groups of drivers that hang together, each in order of first mention, leaders first."""
    group_of: dict[str, int] = {}
    for follower, leader in correlations:
        one = group_of.setdefault(leader, len(group_of))
        other = group_of.setdefault(follower, one)
        if one != other:
            keep, drop = min(one, other), max(one, other)
            group_of = {n: keep if g == drop else g for n, g in group_of.items()}
    names: dict[int, list[str]] = {}
    for name, number in group_of.items():
        names.setdefault(number, []).append(name)
    return [tuple(members) for members in names.values()]


def _group(names: tuple[str, ...], correlations: Correlations, *, nearest: bool) -> Group:
    if len(names) > LARGEST_GROUP:
        raise InfeasibleError(
            f"{len(names)} drivers hang together through correlations: at most {LARGEST_GROUP}"
        )
    matrix = np.eye(len(names))
    for (follower, leader), rho in correlations.items():
        if follower in names:
            i, j = names.index(follower), names.index(leader)
            matrix[i, j] = matrix[j, i] = rho
    try:
        return Group(names=names, matrix=matrix, factor=factored(matrix))
    except InfeasibleError:
        if nearest:
            repaired = nearest_correlations(matrix)
            return Group(names=names, matrix=repaired, factor=factored(repaired))
    least = float(np.linalg.eigvalsh(matrix)[0])
    raise InfeasibleError(
        f"the correlations of {', '.join(names)} contradict one another: no joint distribution "
        f"has them all; multiply them by {math.floor(100.0 / (1.0 - least)) / 100.0:g} or less"
    )
