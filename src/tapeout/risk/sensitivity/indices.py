"""Sobol indices and Shapley effects from an outcome at points that share some inputs.

Every estimator is a mean of products over rows, so its sampling error is the spread of that mean
between scrambles. Correlated inputs are allowed if what is not shared was drawn anew *given* what
is shared; the indices then no longer add up, the Shapley effects do.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tapeout.numerics import Floats, Ints, standard_error

Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """Share of variance of each group and its sampling error, shape (group,).

    nan where the outcome does not vary.
    """

    share: Floats
    se: Floats


def first_order(y: Floats, other: Floats, keeping: Floats, scramble: Ints) -> Estimate:
    """Var(E[Y | group]) / V: what is gone, on average, once the group is known.

    Parameters
    ----------
    y, other : array, shape (row,)
        Outcome at two independent points.
    keeping : array, shape (group, row)
        Outcome at the first point's group and everything else drawn anew.
    scramble : array, shape (row,)

    Notes
    -----
    Mean of y (keeping - other) (Saltelli et al. 2010, table 2), y centred.
    """
    variance, centre = _moments(y, other)
    return _estimate((y - centre) * (keeping - other), variance, scramble)


def total_order(y: Floats, other: Floats, changing: Floats, scramble: Ints) -> Estimate:
    """E[Var(Y | all else)] / V: what is left, on average, while only the group is unknown.

    Parameters
    ----------
    y, other : array, shape (row,)
        Outcome at two independent points; the second only helps to estimate V.
    changing : array, shape (group, row)
        Outcome at the first point with the group drawn anew.
    scramble : array, shape (row,)

    Notes
    -----
    Half the mean square of the difference (Jansen 1999): never negative.
    """
    variance, _ = _moments(y, other)
    return _estimate(0.5 * (y - changing) ** 2, variance, scramble)


def orders(groups: int, rows: int, seed: int) -> Ints:
    """A random order of the groups for each row, shape (row, group)."""
    raw = np.random.PCG64(np.random.SeedSequence(seed)).random_raw(rows * groups)
    order: Ints = np.argsort(raw.reshape(rows, groups), axis=1, kind="stable")
    return order


def shapley_effects(walk: Floats, order: Ints, scramble: Ints) -> Estimate:
    """Share of variance by group, interactions and correlations split evenly; adds up to one.

    Parameters
    ----------
    walk : array, shape (1 + group, row)
        Outcome while the groups of a point become known one after the other: none shared with the
        point first, the point itself last.
    order : array, shape (row, group)
        In which each row's groups become known.
    scramble : array, shape (row,)

    Notes
    -----
    One random order a row (Goda 2021), of the definition of Owen (2014) and of Song, Nelson and
    Staum (2016) for correlated inputs. The step from v to w adds (y - (v + w)/2)(w - v); the
    halves cancel on the mean, as both have the same law, and take most of the noise away. The
    steps of a row add up to half its squared distance, whose mean is V: the effects add up to one
    exactly.
    """
    y, before, after = walk[-1], walk[:-1], walk[1:]
    gain = (y - 0.5 * (before + after)) * (after - before)
    by_group = np.empty_like(gain)
    np.put_along_axis(by_group.T, order, gain.T, axis=1)
    variance = float(0.5 * np.mean((y - walk[0]) ** 2))
    return _estimate(by_group, variance, scramble)


def _moments(y: Floats, other: Floats) -> tuple[float, float]:
    both = np.concatenate([y, other])
    return float(both.var()), float(both.mean())


def _estimate(terms: Floats, variance: float, scramble: Ints) -> Estimate:
    """Mean of the terms of each group over the variance, and its error between scrambles."""
    if not variance > 0:
        unknown = np.full(len(terms), np.nan)
        return Estimate(share=unknown, se=unknown)
    error = np.array([standard_error(row, scramble) for row in terms])
    return Estimate(share=terms.mean(axis=1) / variance, se=error / variance)
