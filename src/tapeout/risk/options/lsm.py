"""Early exercise by least squares on simulated paths (Longstaff and Schwartz 2001)."""

from __future__ import annotations

import numpy as np

from tapeout.numerics import Floats
from tapeout.risk.options.lattice import OptionTerms


def lsm_value_usd(
    paths: Floats, strike_usd: float, discount: float, *, degree: int = 2, start: bool = False
) -> tuple[float, float]:
    """Value of a put that may be exercised at every date of given paths [USD].

    Parameters
    ----------
    paths : array, shape (path, date)
        Prices at the exercise dates; with `start` the first column is today, without exercise.
    discount : float
        Factor of one period between dates.
    degree : int
        Of the polynomial in the price that the value of waiting is regressed on, over paths that
        are in the money: with none of them there is nothing to decide.

    Returns
    -------
    value, standard error
        Biased low, since a fitted rule is not the best rule. The error treats paths as
        independent.
    """
    payoff = np.maximum(strike_usd - paths, 0.0)
    first = 1 if start else 0
    cash = payoff[:, -1].copy()
    for date in range(paths.shape[1] - 2, first - 1, -1):
        cash *= discount
        inside = payoff[:, date] > 0.0
        if inside.sum() > degree:
            x = paths[inside, date] / strike_usd
            basis = np.vander(x, degree + 1)
            weights, *_ = np.linalg.lstsq(basis, cash[inside], rcond=None)
            now = payoff[inside, date] > basis @ weights
            index = np.flatnonzero(inside)[now]
            cash[index] = payoff[index, date]
    cash *= discount
    return float(cash.mean()), float(cash.std(ddof=1) / np.sqrt(cash.size))


def lsm_option_usd(
    terms: OptionTerms, *, dates_per_year: int = 50, pairs: int = 50_000, seed: int = 0
) -> tuple[float, float]:
    """Value of a Bermudan put on a lognormal asset by simulation, antithetic pairs [USD].

    Returns
    -------
    value, standard error
        As in `lsm_value_usd`; pairs are antithetic, so the error is an upper bound.
    """
    dates = round(dates_per_year * terms.years)
    step = terms.years / dates
    normal = np.random.default_rng(seed).standard_normal((pairs, dates))
    both = np.concatenate([normal, -normal])
    drift = (terms.rate_per_year - 0.5 * terms.volatility**2) * step
    paths = terms.spot_usd * np.exp(
        np.cumsum(drift + terms.volatility * np.sqrt(step) * both, axis=1)
    )
    return lsm_value_usd(
        paths, terms.strike_usd, float(np.exp(-terms.rate_per_year * step)), degree=3
    )
