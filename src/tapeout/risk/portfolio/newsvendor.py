"""One period, one kind of capacity, normal demand: the portfolio in closed form."""

from __future__ import annotations

import math
from statistics import NormalDist

from tapeout.errors import InfeasibleError


def newsvendor(mean: float, sd: float, under_usd: float, over_usd: float) -> tuple[float, float]:
    """Capacity to hold, and expected cost of holding too little or too much.

    Parameters
    ----------
    mean, sd : float
        Normal demand.
    under_usd : float
        Cost of a unit short: the rent premium that owning avoids. [USD/unit]
    over_usd : float
        Cost of a unit idle: stranded capital. [USD/unit]

    Returns
    -------
    capacity, expected_usd : float
        Infinite capacity where idling is free.

    Raises
    ------
    InfeasibleError
        A cost or the spread is negative, or both costs are zero.

    Examples
    --------
    >>> capacity, usd = newsvendor(100.0, 20.0, 3.0, 1.0)
    >>> round(capacity, 3), round(usd, 3)
    (113.49, 25.422)
    """
    if min(sd, under_usd, over_usd) < 0.0 or under_usd + over_usd == 0.0:
        raise InfeasibleError("a newsvendor needs sd, under_usd and over_usd >= 0, one cost above")
    if over_usd == 0.0:
        return math.inf, 0.0
    if under_usd == 0.0:
        return -math.inf, 0.0
    normal = NormalDist()
    z = normal.inv_cdf(under_usd / (under_usd + over_usd))
    return mean + sd * z, (under_usd + over_usd) * sd * normal.pdf(z)
