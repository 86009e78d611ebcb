"""Sampling error of means and percentiles of one run, from batches of consecutive requests.

Requests of one run wait behind one another, so their latencies are correlated and the textbook
error of a mean is far too small. Batches long enough are nearly independent [1]_. A percentile is
taken of all requests and its error from the spread of the batches' percentiles around it
(sectioning) [2]_; that needs enough requests beyond the percentile in every batch, and where there
are not, the error is nan: unknown, not nought.

References
----------
.. [1] A. Law, "Simulation Modeling and Analysis", 5th ed., 2015, on batch means.
.. [2] S. Asmussen, P. Glynn, "Stochastic Simulation", 2007, on sectioning.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tapeout.constants import PERCENT
from tapeout.numerics import Floats

MOST_BATCHES = 20  # more make each one short, fewer make the t quantile large
LEAST_BATCHES = 5
LEAST_BATCH = 10  # requests
BEYOND = 5  # requests of a batch that lie beyond its percentile
CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A value with half the width of its 95 % confidence interval; nan where that is unknown."""

    value: float
    half_width: float = float("nan")


NOTHING = Estimate(value=float("nan"))


def mean(values: Floats, most_batches: int = MOST_BATCHES) -> Estimate:
    """Mean of values in order of arrival.

    Parameters
    ----------
    values : array, shape (request,)
        Finite, in order of arrival.
    most_batches : int
        Fewer than `MOST_BATCHES` where batches have to be long; below `LEAST_BATCHES` the half
        width is nan.

    Returns
    -------
    Estimate
        nan without values; its half width is nan below 50 of them.

    Examples
    --------
    >>> mean(np.full(400, 2.0))
    Estimate(value=2.0, half_width=0.0)
    """
    if not values.size:
        return NOTHING
    centre = float(values.mean())
    count = _batches(values.size, LEAST_BATCH, most_batches)
    if not count:
        return Estimate(value=centre)
    found = np.array([part.mean() for part in np.array_split(values, count)])
    return Estimate(value=centre, half_width=_half_width(found, centre))


def percentile(values: Floats, percent: float) -> Estimate:
    """Percentile of values in order of arrival, linear between neighbours as numpy does it.

    Parameters
    ----------
    values : array, shape (request,)
        Finite, in order of arrival.
    percent : float
        Between 0 and 100.

    Returns
    -------
    Estimate
        nan without values; its half width is nan where fewer than five batches would have five
        values beyond the percentile (below 500 values for the 95th).

    Examples
    --------
    >>> percentile(np.array([1.0, 2.0, 3.0]), 50.0)
    Estimate(value=2.0, half_width=nan)
    """
    if not values.size:
        return NOTHING
    centre = float(np.percentile(values, percent))
    beyond = min(percent, 100.0 - percent) * PERCENT
    least = int(np.ceil(BEYOND / beyond - 1e-9)) if beyond > 0.0 else values.size
    count = _batches(values.size, max(least, LEAST_BATCH))
    if not count:
        return Estimate(value=centre)
    found = np.array([np.percentile(part, percent) for part in np.array_split(values, count)])
    return Estimate(value=centre, half_width=_half_width(found, centre))


def _batches(size: int, least: int, most: int = MOST_BATCHES) -> int:
    """Number of batches, 0 where there would be too few."""
    count = min(most, size // least)
    return count if count >= LEAST_BATCHES else 0


def _half_width(found: Floats, centre: float) -> float:
    """Half width of the interval of a mean of batches, around the value of all."""
    from scipy.special import stdtrit  # noqa: PLC0415  a second to load

    error = np.sqrt(np.square(found - centre).sum() / (found.size - 1) / found.size)
    return float(stdtrit(found.size - 1, 0.5 + 0.5 * CONFIDENCE) * error)
