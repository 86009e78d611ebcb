"""Paths of a price along an estimated trend, with the errors that such forecasts have.

The logarithm of a price moves by `mu + n_t + theta n_(t-1)` a year, with independent shocks n of
standard deviation K (Farmer and Lafond 2016). The trend mu is the mean of m observed yearly
changes, so its error grows with the horizon and never averages out.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

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


# --- rents: a market that comes back to what it costs to own ---


def reverting_path(
    scores: Floats, *, volatility: Floats, reversion_per_year: Floats, start: Floats
) -> Floats:
    """Log of a price over its long-run level after 1, 2 ... years (Ornstein-Uhlenbeck).

    Parameters
    ----------
    scores : array, shape (draw, year)
        Independent standard normals.
    volatility, reversion_per_year, start : array, shape (draw or 1, 1)
        Standard deviation of the logarithm a root year; rate at which a deviation fades [1/year];
        deviation today.

    Returns
    -------
    array, shape (draw, year)
        Mean start exp(-k t), variance v^2 (1 - exp(-2 k t)) / 2k, exactly.
    """
    speed = np.maximum(reversion_per_year, 1e-9)
    kept = np.exp(-speed)
    step = volatility * np.sqrt(-np.expm1(-2.0 * speed) / (2.0 * speed))
    shape = np.broadcast_shapes(scores.shape, step.shape, np.shape(start))
    path, at = np.empty(shape), np.broadcast_to(start, (shape[0], 1))[:, 0]
    for year in range(shape[1]):
        at = kept[:, 0] * at + step[:, 0] * scores[:, year]
        path[:, year] = at
    return path


def fit_reversion(
    series: Sequence[Sequence[tuple[float, float]]],
    speeds_per_year: Floats | None = None,
) -> tuple[float, float, int]:
    """Most likely reversion and volatility of a log ratio seen at uneven dates.

    Parameters
    ----------
    series : sequence of sequences of (years, log ratio)
        Each in order of time; several series share the two figures.
    speeds_per_year : array, optional
        Rates that are tried; 0.02 to 6 a year.

    Returns
    -------
    reversion_per_year, volatility, changes
        And the number of changes they rest on, at least 2.
    """
    tried = np.geomspace(0.02, 6.0, 600) if speeds_per_year is None else speeds_per_year
    pairs = [(a, b) for one in series for a, b in itertools.pairwise(one)]
    span, before, after = (
        np.array(x) for x in zip(*((b[0] - a[0], a[1], b[1]) for a, b in pairs), strict=True)
    )
    kept = np.exp(-tried[:, None] * span)
    scale = -np.expm1(-2.0 * tried[:, None] * span) / (2.0 * tried[:, None])
    missed = after - kept * before
    variance = (missed**2 / scale).mean(axis=1)
    loglik = -0.5 * (len(pairs) * np.log(variance) + np.log(scale).sum(axis=1))
    best = int(np.argmax(loglik))
    return float(tried[best]), math.sqrt(float(variance[best])), len(pairs)
