"""Learning curves: cost against cumulative output, cost against time, and when they coincide.

Learning on one chip (yield, test time) and progress of the field (price per FLOP/s) are different
processes: apply one of them to a price, not both.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from tapeout.numerics import Floats


def wright_cost(
    first_unit_cost: ArrayLike, cumulative_units: ArrayLike, exponent: ArrayLike
) -> Floats:
    """Cost of the unit at cumulative output Q, c1 Q^-b (T. Wright 1936), in the unit of c1.

    Examples
    --------
    >>> round(float(wright_cost(10_000.0, 2.0, wright_exponent(0.8))))
    8000
    """
    units = np.asarray(cumulative_units, float)
    cost: Floats = np.asarray(first_unit_cost, float) * units ** -np.asarray(exponent, float)
    return cost


def wright_exponent(progress_ratio: ArrayLike) -> Floats:
    """Exponent b at which a doubling of output leaves this share of the cost, 2^-b."""
    exponent: Floats = -np.log2(np.asarray(progress_ratio, float))
    return exponent


def moore_cost(cost_now: ArrayLike, decline_per_year: ArrayLike, years: ArrayLike) -> Floats:
    """Cost after some years of steady decline, c0 exp(-mu t), mu continuous [unit of cost_now]."""
    exponent = np.asarray(decline_per_year, float) * np.asarray(years, float)
    cost: Floats = np.asarray(cost_now, float) * np.exp(-exponent)
    return cost


def sahal_decline_per_year(exponent: ArrayLike, growth_per_year: ArrayLike) -> Floats:
    """Decline mu = b gamma at which both laws agree when output grows as exp(gamma t) [1/year].

    While output grows steadily data cannot tell the two apart (D. Sahal 1979; Nagy, Farmer, Bui,
    Trancik, PLoS ONE 2013).
    """
    decline: Floats = np.asarray(exponent, float) * np.asarray(growth_per_year, float)
    return decline


def decline_from_doubling(doubling_years: ArrayLike) -> Floats:
    """Continuous rate ln 2 / T of a quantity per dollar that doubles every T years [1/year]."""
    rate: Floats = math.log(2.0) / np.asarray(doubling_years, float)
    return rate
