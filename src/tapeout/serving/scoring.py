"""How far predictions are from measurements: weighted quantiles of the absolute error."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tapeout.numerics import Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorSummary:
    """Errors `predicted / measured - 1`, every curve weighing the same."""

    rows: int
    curves: int
    median: float  # of the absolute error
    p90: float
    bias: float  # signed median

    def words(self) -> str:
        """Median / p90 and bias in per cent."""
        return f"{self.median:.1%} / {self.p90:.1%} (bias {self.bias:+.1%})"


def curve_weights(curves: Sequence[str]) -> Floats:
    """Weight of each row so that every curve weighs one, shape (row,)."""
    _, place, count = np.unique(np.asarray(curves), return_inverse=True, return_counts=True)
    weights: Floats = 1.0 / count[place]
    return weights


def weighted_quantile(values: Floats, weights: Floats, share: float) -> float:
    """Smallest value that this share of the weight does not exceed.

    Examples
    --------
    >>> weighted_quantile(np.array([3.0, 1.0, 2.0]), np.array([1.0, 1.0, 2.0]), 0.5)
    2.0
    """
    order = np.argsort(values)
    below = np.cumsum(weights[order])
    place = int(np.searchsorted(below, share * below[-1] * (1.0 - 1e-12)))
    return float(values[order][min(place, values.size - 1)])


def summarise(log_ratio: Floats, curves: Sequence[str]) -> ErrorSummary:
    """Summarise log(predicted / measured); rows without a number are left out."""
    known = np.isfinite(log_ratio)
    names = np.asarray(curves)[known]
    weights = curve_weights(list(names))
    error = np.expm1(log_ratio[known])
    return ErrorSummary(
        rows=int(known.sum()),
        curves=int(np.unique(names).size),
        median=weighted_quantile(np.abs(error), weights, 0.5),
        p90=weighted_quantile(np.abs(error), weights, 0.9),
        bias=weighted_quantile(error, weights, 0.5),
    )
