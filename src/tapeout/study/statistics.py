"""Means, sampling errors and quantiles of what the draws yield."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from tapeout.numerics import Floats, Ints, standard_error

LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)
NAMES = ("p05", "p25", "p50", "p75", "p95")


def summary(values: Floats, scramble: Ints | None = None) -> dict[str, float]:
    """Mean, quantiles and, with scrambles, the standard error of the mean."""
    out = {"mean": float(values.mean())}
    if scramble is not None and values.size == scramble.size:
        out["se"] = standard_error(values, scramble)
    quantiles = np.quantile(values, LEVELS)
    return out | {name: float(q) for name, q in zip(NAMES, quantiles, strict=True)}


def ratio_of_means(top: Floats, bottom: Floats, scramble: Ints) -> tuple[float, float]:
    """Ratio of two means, and its sampling error from the scrambles."""
    value = float(top.mean() / bottom.mean())
    groups = np.unique(scramble)
    if groups.size < 2:
        return value, float("nan")
    each = np.array(
        [top[scramble == group].mean() / bottom[scramble == group].mean() for group in groups]
    )
    return value, float(each.std(ddof=1) / np.sqrt(groups.size))


def share_cheapest(cost: Mapping[str, Floats]) -> dict[str, float]:
    """Share of draws in which each strategy costs least."""
    table = np.stack(list(cost.values()), axis=1)
    best = table.argmin(axis=1)
    return {key: float(np.mean(best == index)) for index, key in enumerate(cost)}


def concatenate(parts: list[Floats]) -> Floats:
    """Join blocks along the draw axis."""
    return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=0)
