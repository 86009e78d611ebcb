"""Closed forms: exchanging one asset for another, and when to invest for ever."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True, kw_only=True)
class Asset:
    """A lognormal asset: price, volatility [1/sqrt(year)] and continuous yield [1/year]."""

    usd: float
    volatility: float
    yield_per_year: float = 0.0


def exchange_option_usd(get: Asset, give: Asset, *, correlation: float, years: float) -> float:
    """Right to exchange one asset for another at a date (Margrabe 1978) [USD].

    Without relative volatility the value is that of exchanging for certain, if that is worth
    anything.
    """
    from scipy.special import ndtr  # noqa: PLC0415  heavy to import

    variance = get.volatility**2 + give.volatility**2
    variance -= 2.0 * correlation * get.volatility * give.volatility
    spread = np.sqrt(max(variance, 0.0) * years)
    gained = get.usd * np.exp(-get.yield_per_year * years)
    given = give.usd * np.exp(-give.yield_per_year * years)
    if spread == 0.0:
        return float(max(gained - given, 0.0))
    d1 = np.log(gained / given) / spread + 0.5 * spread
    return float(gained * ndtr(d1) - given * ndtr(d1 - spread))


def investment_trigger(
    rate_per_year: float, payout_per_year: float, volatility: float
) -> tuple[float, float]:
    """Root b and trigger V*/I = b / (b - 1) of a perpetual right to invest.

    Dixit and Pindyck (1994): b > 1 solves s^2 b (b - 1) / 2 + (r - payout) b - r = 0, rates
    continuous. Without volatility the limit is taken: r / (r - payout), or infinity where the
    project does not grow.
    """
    if volatility == 0.0:
        growth = rate_per_year - payout_per_year
        root = rate_per_year / growth if growth > 0.0 else float("inf")
    else:
        drift = 0.5 - (rate_per_year - payout_per_year) / volatility**2
        root = drift + float(np.sqrt(drift**2 + 2.0 * rate_per_year / volatility**2))
    return root, 1.0 if np.isinf(root) else root / (root - 1.0)
