"""Printed parts that add up to the printed total (largest remainder)."""

from __future__ import annotations

import math
from collections.abc import Sequence


def parts(values: Sequence[float], places: int, total: float | None = None) -> list[float]:
    """Round numbers so that the rounded ones add up to the rounded total.

    Each value moves by less than one unit of the last place; the units to give are handed to
    the largest remainders first (Hamilton's method), the earlier value winning a tie.

    Parameters
    ----------
    values : sequence of float
        Parts, of either sign.
    places : int
        Decimals printed.
    total : float, optional
        What the printed parts shall add up to; default: the sum of the values. A total further
        from the sum than half a unit is spread over all parts in turn.

    Returns
    -------
    list of float

    Examples
    --------
    >>> parts([0.334, 0.334, 0.334], 2)
    [0.34, 0.33, 0.33]
    >>> parts([1.26, -0.31], 1, total=1.0)
    [1.3, -0.3]
    """
    scale = 10.0**places
    units = [value * scale for value in values]
    wanted = round((sum(values) if total is None else total) * scale)
    floors = [math.floor(unit) for unit in units]
    left = wanted - sum(floors)
    order = sorted(range(len(units)), key=lambda i: (floors[i] - units[i], i))
    if order:
        each, left = divmod(left, len(order))
        floors = [floor + each for floor in floors]
    for i in order[:left]:
        floors[i] += 1
    return [round(floor / scale, places) for floor in floors]
