"""How a call is sampled: warm-up, then as many samples as the budget allows, at least six."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from tapeout.perf.calibrate.types import Timing

LEAST = 6
MOST = 200
WARM_UP = 2


def sample(once_s: Callable[[], float], budget_s: float) -> Timing:
    """Median of repeated timings.

    The median, not the mean: a shared machine adds time now and then and never takes any away.

    Parameters
    ----------
    once_s : callable
        Runs the operator and returns its own seconds. [s]
    budget_s : float
        Wall time to spend; `LEAST` samples are taken whatever it is. [s]
    """
    end = time.perf_counter() + budget_s
    for _ in range(WARM_UP):
        once_s()
    taken: list[float] = []
    while len(taken) < LEAST or (len(taken) < MOST and time.perf_counter() < end):
        taken.append(once_s())
    low, median, high = np.quantile(taken, [0.25, 0.5, 0.75])
    return Timing(
        median_s=float(median),
        spread_fraction=float((high - low) / median) if median > 0.0 else 0.0,
        samples=len(taken),
    )


def wall_s(call: Callable[[], object]) -> Callable[[], float]:
    """Time a call by the wall clock, for work that has finished when the call returns."""

    def once() -> float:
        begin = time.perf_counter()
        call()
        return time.perf_counter() - begin

    return once
