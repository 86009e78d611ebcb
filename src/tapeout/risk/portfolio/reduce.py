"""Fewer scenarios with weights, near the many they stand for."""

from __future__ import annotations

import numpy as np

from tapeout.errors import InfeasibleError
from tapeout.numerics import Floats, Ints
from tapeout.risk.portfolio.problem import PortfolioProblem, full, select

MOST_SWAPS = 50
SAME = 1e-12  # spread of a figure, of its size, below which it does not vary


def features(problem: PortfolioProblem) -> Floats:
    """What tells scenarios apart, shape (scenario, feature), every column with unit spread.

    Demand, spot price and depth, and per option throughput and price of taking, by period. A
    figure that is the same in all scenarios drops out. Columns of one kind share unit spread, so
    that forty quarters of one price count no more than its one demand.
    """
    wide = full(problem)
    options = wide.options
    kinds = [wide.demand, wide.unserved_usd]
    for spot in wide.spots:
        kinds += [spot.usd, spot.depth]
    for option in range(len(options.keys)):
        kinds += [options.unit[:, option], options.take_usd[:, option], options.gain[:, option]]
    parts = []
    for values in kinds:
        spread = values.std(axis=0)
        moves = spread > SAME * np.abs(values).max(initial=0.0)
        if moves.any():
            standard = (values[:, moves] - values[:, moves].mean(axis=0)) / spread[moves]
            parts.append(standard / np.sqrt(moves.sum()))
    return np.concatenate(parts, axis=1) if parts else np.zeros((wide.weight.size, 1))


def _distances(points: Floats) -> Floats:
    square = (points * points).sum(axis=1)
    gap = square[:, None] + square[None, :] - 2.0 * points @ points.T
    distances: Floats = np.sqrt(np.maximum(gap, 0.0))
    np.fill_diagonal(distances, 0.0)
    return distances


def fast_forward(points: Floats, weight: Floats, count: int) -> tuple[Ints, Floats]:
    """Choose scenarios one by one, each the one that brings the rest nearest.

    Parameters
    ----------
    points : array, shape (scenario, feature)
    weight : array, shape (scenario,)
    count : int

    Returns
    -------
    chosen : array of int, shape (count,)
        In order of choice.
    weight : array, shape (count,)
        Theirs and that of the scenarios nearest to each.

    Raises
    ------
    InfeasibleError
        `count` is not between 1 and the number of scenarios.

    References
    ----------
    H. Heitsch, W. Roemisch 2003, "Scenario reduction algorithms in stochastic programming".
    """
    _check_count(count, weight.size)
    distance = _distances(points)
    near = np.full(weight.size, np.inf)
    chosen: list[int] = []
    for _ in range(count):
        left = weight @ np.minimum(near[:, None], distance)
        left[chosen] = np.inf
        chosen.append(int(np.argmin(left)))
        near = np.minimum(near, distance[:, chosen[-1]])
    index = np.array(chosen, np.int64)
    return index, _gathered(distance, weight, index)


def k_medoids(points: Floats, weight: Floats, count: int) -> tuple[Ints, Floats]:
    """Improve fast forward's choice: each cluster is stood for by its own weighted centre.

    Parameters and results as in `fast_forward`; alternates until nothing moves.
    """
    index, gathered = fast_forward(points, weight, count)
    distance = _distances(points)
    for _ in range(MOST_SWAPS):
        home = np.argmin(distance[:, index], axis=1)
        moved = index.copy()
        for cluster in range(count):
            members = np.flatnonzero(home == cluster)
            if members.size:
                within = weight[members] @ distance[np.ix_(members, members)]
                moved[cluster] = members[np.argmin(within)]
        if (moved == index).all():
            break
        index, gathered = moved, _gathered(distance, weight, moved)
    return index, gathered


def transport_distance(points: Floats, weight: Floats, chosen: Ints) -> float:
    """Weighted mean distance of all scenarios to the nearest one chosen."""
    return float(weight @ _distances(points)[:, chosen].min(axis=1))


def reduced(problem: PortfolioProblem, count: int) -> PortfolioProblem:
    """The same problem on `count` of its scenarios, by k-medoids on `features`.

    Means move a little, for a medoid is a scenario and not an average; tails move more. Test a
    decision on fresh scenarios (`out_of_sample`).
    """
    index, weight = k_medoids(features(problem), problem.weight, count)
    return select(problem, index, weight)


def _gathered(distance: Floats, weight: Floats, index: Ints) -> Floats:
    home = np.argmin(distance[:, index], axis=1)
    gathered: Floats = np.bincount(home, weights=weight, minlength=index.size).astype(float)
    return gathered


def _check_count(count: int, scenarios: int) -> None:
    if not 1 <= count <= scenarios:
        raise InfeasibleError(f"{count} of {scenarios} scenarios; choose between 1 and all")
