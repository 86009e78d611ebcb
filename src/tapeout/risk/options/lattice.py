"""Options on one lognormal asset by the lattice of Cox, Ross and Rubinstein (1979)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from tapeout.numerics import Floats

Exercise = Literal["european", "american", "bermudan"]


@dataclass(frozen=True, slots=True, kw_only=True)
class OptionTerms:
    """A right to buy (call) or sell (put) one lognormal asset until a date.

    `rate_per_year` is continuous, `volatility` that of log returns [1/sqrt(year)].
    """

    spot_usd: float
    strike_usd: float
    rate_per_year: float
    volatility: float
    years: float
    kind: Literal["call", "put"] = "put"


def lattice_option_usd(
    terms: OptionTerms, *, steps: int, exercise: Exercise = "american", dates_per_year: int = 0
) -> float:
    """Value of a call or put on the binomial lattice [USD].

    Parameters
    ----------
    steps : int
        Time steps; for a Bermudan option a multiple of its exercise dates.
    dates_per_year : int
        Exercise dates of a Bermudan option, evenly spaced, the last at expiry.

    Raises
    ------
    ValueError
        The steps of a Bermudan option do not meet its dates, or the up-probability leaves (0, 1).
    """
    dates = round(dates_per_year * terms.years)
    if exercise == "bermudan" and (dates < 1 or steps % dates):
        raise ValueError(f"{steps} steps do not meet {dates} exercise dates")
    step = terms.years / steps
    up = np.exp(terms.volatility * np.sqrt(step))
    growth = np.exp(terms.rate_per_year * step)
    p = (growth - 1.0 / up) / (up - 1.0 / up)
    if not 0.0 < p < 1.0:
        raise ValueError(f"up-probability {p:.3g}: take more steps")
    sign = 1.0 if terms.kind == "call" else -1.0
    moves = np.arange(steps, -steps - 1, -2)
    value: Floats = np.maximum(sign * (terms.spot_usd * up**moves - terms.strike_usd), 0.0)
    for at in range(steps - 1, -1, -1):
        value = (p * value[:-1] + (1.0 - p) * value[1:]) / growth
        if exercise == "american" or (exercise == "bermudan" and at and not at % (steps // dates)):
            price = terms.spot_usd * up ** np.arange(at, -at - 1, -2)
            value = np.maximum(value, sign * (price - terms.strike_usd))
    return float(value[0])
