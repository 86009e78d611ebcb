"""Survival of programmes whose end may not have been seen: Kaplan-Meier, exponential, Weibull."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from tapeout.numerics import Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class Survival:
    """Share that survives beyond each time at which something ended, shape (time,).

    `low` and `high` bound it pointwise at 95 % (Greenwood's variance on the log-minus-log scale);
    nan where the share is zero or one.
    """

    time: Floats
    share: Floats
    low: Floats
    high: Floats


def kaplan_meier(time: ArrayLike, ended: ArrayLike) -> Survival:
    """Product-limit estimate (Kaplan and Meier 1958).

    Parameters
    ----------
    time : array, shape (subject,)
        How long each was watched.
    ended : array of bool, shape (subject,)
        Whether it ended then; false: it was still alive when last seen, which is no end.

    Examples
    --------
    >>> kaplan_meier([1.0, 2.0, 3.0], [True, False, True]).share.round(4).tolist()
    [0.6667, 0.0]
    """
    when, ends = np.asarray(time, float), np.asarray(ended, bool)
    times = np.unique(when[ends])
    died = np.array([np.sum(ends & (when == one)) for one in times], float)
    at_risk = np.array([np.sum(when >= one) for one in times], float)
    share: Floats = np.cumprod(1.0 - died / at_risk).astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        greenwood = np.cumsum(died / (at_risk * (at_risk - died)))
        half = 1.959964 * np.sqrt(greenwood) / np.abs(np.log(share))
        inside = (share > 0.0) & (share < 1.0)
        low = np.where(inside, share ** np.exp(half), np.nan)
        high = np.where(inside, share ** np.exp(-half), np.nan)
    return Survival(time=times, share=share, low=low, high=high)


def exponential_hazard(time: ArrayLike, ended: ArrayLike) -> float:
    """Constant hazard by maximum likelihood: ends over time watched [1/unit of time]."""
    return float(np.sum(np.asarray(ended, bool)) / np.sum(np.asarray(time, float)))


def weibull_fit(time: ArrayLike, ended: ArrayLike) -> tuple[float, float]:
    """Shape k and scale s of S(t) = exp(-(t/s)^k) by maximum likelihood, censored times in.

    The scale follows from the shape; the shape is the one root of its score. k = 1 is the
    exponential, below one the hazard falls.

    Raises
    ------
    ValueError
        Fewer than two different times ended.
    """
    from scipy.optimize import brentq  # noqa: PLC0415  heavy to import

    when, ends = np.asarray(time, float), np.asarray(ended, bool)
    if np.unique(when[ends]).size < 2:
        raise ValueError("a shape needs ends at two different times")
    logs = np.log(when)

    def score(shape: float) -> float:
        weight = np.exp(shape * (logs - logs.max()))  # scaled against overflow
        pull = float((weight * logs).sum() / weight.sum())
        return 1.0 / shape + float(logs[ends].mean()) - pull

    root: Any = brentq(score, 1e-3, 1e3, xtol=1e-12)
    shape = float(root)
    scale = float((np.sum(when**shape) / ends.sum()) ** (1.0 / shape))
    return shape, scale
