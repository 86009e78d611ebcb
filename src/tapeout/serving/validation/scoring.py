"""How far predictions are from measurements, by group.

Errors are predicted / measured - 1. A row that was measured but not answered is a miss: it counts
in n, its absolute error is infinite and its band covers nothing, so leaving rows out cannot help.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tapeout.serving.scoring import curve_weights, weighted_quantile

ALL = "all"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """One measured quantity of one row; `predicted`, `low`, `high` are nan where unanswered."""

    group: str
    quantity: str
    curve: str
    measured: float
    predicted: float
    low: float
    high: float

    @property
    def error(self) -> float:
        """Relative error; nan where unanswered."""
        return self.predicted / self.measured - 1.0

    @property
    def covered(self) -> bool:
        """True if the band holds the measurement."""
        return self.low <= self.measured <= self.high


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupScore:
    """Errors of one quantity in one group.

    Attributes
    ----------
    n, answered, curves : int
        Measured rows, those with a prediction, and sets of rows that differ in load only.
    median, p90 : float
        Of the absolute error, every row weighing the same; infinite where misses reach it.
    bias : float
        Signed median of the answered rows.
    coverage : float
        Share of measured rows inside their 80 % band.
    width : float
        Median of high / low.
    curve_median, curve_p90 : float
        As `median` and `p90`, every curve weighing the same.
    interval_score : float
        Mean of the interval score of the logarithm at 80 %, answered rows: the width of the band
        and 10 times what lies outside; smaller is better.
    """

    group: str
    quantity: str
    n: int
    answered: int
    curves: int
    median: float
    p90: float
    bias: float
    coverage: float
    width: float
    curve_median: float
    curve_p90: float
    interval_score: float


MISS_WEIGHT = 10.0  # 2 / alpha of the interval score, alpha = 0.2


def score(rows: Iterable[Scored]) -> list[GroupScore]:
    """Score every quantity over all rows, then by group; groups in order of their names."""
    grouped: dict[tuple[str, str], list[Scored]] = {}
    for row in rows:
        for group in dict.fromkeys((ALL, row.group)):
            grouped.setdefault((group, row.quantity), []).append(row)
    order = sorted(grouped, key=lambda key: (key[0] != ALL, key[0]))
    return [_score(group, quantity, grouped[group, quantity]) for group, quantity in order]


def _score(group: str, quantity: str, rows: Sequence[Scored]) -> GroupScore:
    error = np.array([row.error for row in rows])
    known = np.isfinite(error)
    off = np.where(known, np.abs(error), np.inf)
    curves = [row.curve for row in rows]
    weights = curve_weights(curves)
    widths = np.array([row.high / row.low for row in rows])[known]
    inside = [row.covered for row in rows]
    return GroupScore(
        group=group,
        quantity=quantity,
        n=len(rows),
        answered=int(known.sum()),
        curves=len(set(curves)),
        median=weighted_quantile(off, np.ones(len(rows)), 0.5),
        p90=weighted_quantile(off, np.ones(len(rows)), 0.9),
        bias=float(np.median(error[known])) if known.any() else math.nan,
        coverage=float(np.mean(inside)),
        width=float(np.median(widths)) if widths.size else math.nan,
        curve_median=weighted_quantile(off, weights, 0.5),
        curve_p90=weighted_quantile(off, weights, 0.9),
        interval_score=_interval_score([row for row in rows if math.isfinite(row.error)]),
    )


def _interval_score(rows: Sequence[Scored]) -> float:
    """Mean interval score of log values; nan without rows or without a band."""
    scores = []
    for row in rows:
        if not (row.low > 0.0 and row.predicted > 0.0):
            continue
        low, high, y = math.log(row.low), math.log(row.high), math.log(row.measured)
        scores.append(high - low + MISS_WEIGHT * (max(low - y, 0.0) + max(y - high, 0.0)))
    return float(np.mean(scores)) if scores else math.nan


def measured_number(row: Mapping[str, str], name: str) -> float | None:
    """Positive measured value of a cell; None where blank or unreadable."""
    try:
        value = float((row.get(name) or "").strip())
    except ValueError:
        return None
    return value if math.isfinite(value) and value > 0.0 else None
