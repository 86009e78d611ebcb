"""What a set of futures says: fans, odds, tails, regret and one-at-a-time swings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from tapeout.numerics import Floats

FAN_LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)


@dataclass(frozen=True, slots=True, kw_only=True)
class Swing:
    """A result with one input at its low, its central and its high value."""

    name: str
    low: float
    base: float
    high: float

    @property
    def width(self) -> float:
        """Largest distance between the three results."""
        return max(self.low, self.base, self.high) - min(self.low, self.base, self.high)


@dataclass(frozen=True, slots=True, kw_only=True)
class Regret:
    """Cost above the best strategy of each future.

    `usd` is (future, strategy), `worst_usd` and `mean_usd` are (strategy,); `choice` is the
    strategy whose worst regret is smallest (the first of equals).
    """

    usd: Floats
    worst_usd: Floats
    mean_usd: Floats
    choice: int


def fan(values: Floats, levels: Sequence[float] = FAN_LEVELS) -> Floats:
    """Quantiles over draws, shape (level, ...) for values of shape (draw, ...)."""
    return np.quantile(values, list(levels), axis=0)


def probability_cheapest(costs_usd: Floats) -> Floats:
    """Share of draws in which each strategy costs least.

    Parameters
    ----------
    costs_usd : array, shape (draw, strategy)

    Returns
    -------
    array, shape (strategy,)
        Adds up to one; strategies that tie share the draw.
    """
    best = costs_usd == costs_usd.min(axis=1, keepdims=True)
    share: Floats = (best / best.sum(axis=1, keepdims=True)).mean(axis=0)
    return share


def cvar(losses: Floats, alpha: float) -> Floats:
    """Mean of the worst (1 - alpha) of losses, losses positive.

    Parameters
    ----------
    losses : array, shape (draw, ...)
    alpha : float
        0.95 for the worst twentieth; 0 is the mean.

    Returns
    -------
    array, shape (...)

    Notes
    -----
    The draw on the edge counts with the part of it that lies in the tail (R. Rockafellar and
    S. Uryasev 2000), so that the result is continuous in alpha.
    """
    ordered = np.sort(losses, axis=0)[::-1]
    tail = (1.0 - alpha) * len(ordered)
    weight = np.clip(tail - np.arange(len(ordered)), 0.0, 1.0)
    mean: Floats = np.tensordot(weight, ordered, axes=(0, 0)) / tail
    return mean


def regret(costs_usd: Floats) -> Regret:
    """Regret of each strategy in named futures, from costs of shape (future, strategy)."""
    usd = costs_usd - costs_usd.min(axis=1, keepdims=True)
    worst = usd.max(axis=0)
    return Regret(usd=usd, worst_usd=worst, mean_usd=usd.mean(axis=0), choice=int(np.argmin(worst)))


def tornado(
    names: Sequence[str], base: float, low: ArrayLike, high: ArrayLike, *, most: int | None = None
) -> tuple[Swing, ...]:
    """One-at-a-time swings, widest first, ties by name.

    Parameters
    ----------
    names : sequence of str
        One input each.
    base : float
        Result with every input at its central value.
    low, high : array, shape (input,)
        Result with that input at its 5 and its 95 % point. They need not enclose the base.
    most : int or None
        Keep only this many.
    """
    low, high = np.asarray(low, float), np.asarray(high, float)
    swings = [
        Swing(name=name, low=float(down), base=float(base), high=float(up))
        for name, down, up in zip(names, low, high, strict=True)
    ]
    swings.sort(key=lambda swing: (-swing.width, swing.name))
    return tuple(swings[:most])
