"""Paths of a price along an estimated trend, with the errors that such forecasts have.

The logarithm of a price moves by `mu + n_t + theta n_(t-1)` a year, with independent shocks n of
standard deviation K (Farmer and Lafond 2016). The trend mu is the mean of m observed yearly
changes, so its error grows with the horizon and never averages out.
"""

from __future__ import annotations

import numpy as np

from tapeout.numerics import Floats

POOLED_AUTOCORRELATION = 0.63  # theta of Farmer and Lafond over 53 technologies


def shocks_needed(years: int) -> int:
    """Independent draws behind a path: the trend's error, this year's shock, and one a year."""
    return years + 2


def log_errors(
    scores: Floats,
    *,
    innovation_sd: Floats,
    observed_changes: Floats,
    autocorrelation: Floats,
) -> Floats:
    """Log of the price over its forecast after 1, 2 ... years.

    Parameters
    ----------
    scores : array, shape (draw, 2 + year)
        Independent standard normals: of the shocks the trend was estimated from, of the shock of
        the last observed year, and of each year to come.
    innovation_sd, observed_changes, autocorrelation : array, shape (draw or 1, 1)
        K, m and theta, see `forecast_sd`.

    Returns
    -------
    array, shape (draw, year)
        Its standard deviation at a horizon is `forecast_sd`, exactly.

    Notes
    -----
    The last observed shock enters twice: it raised the estimated trend, and a share theta of it
    carries over into the first year to come.
    """
    m, theta = observed_changes, autocorrelation
    past, last, coming = scores[:, :1], scores[:, 1:2], scores[:, 2:]
    tau = np.arange(1.0, coming.shape[1] + 1)[None, :]
    before = np.cumsum(coming, axis=1) - coming
    # the m - 1 earlier shocks weigh 1 + theta each in the sum of changes, the one before them theta
    spread = np.sqrt((1.0 + theta) ** 2 * (m - 1.0) + theta**2)
    trend = (last + spread * past) / m
    errors: Floats = innovation_sd * (theta * last + (1.0 + theta) * before + coming - tau * trend)
    return errors
