"""The range rule: no stated range never means no uncertainty.

A value is a median, low and high its 5 and 95 % points. Where the source gives no range, a
documented spread by field class and status stands in, and the figure counts as an assumption.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache

from tapeout.catalog.fields import FieldSpec, data_rows, find_spec
from tapeout.sources import Resolved

ANY = "*"


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """Default spread of a class: positive values are multiplied and divided by 1 + spread.

    Fractions have their odds multiplied and divided by 1 + spread; signed values get an absolute
    half width of spread, in their unit.
    """

    spread: float
    reason: str


@cache
def default_spreads() -> Mapping[tuple[str, str], Spread]:
    """Every documented spread, by (field class, status); `*` is any status."""
    return {
        (row["class"], row["status"]): Spread(spread=float(row["spread"]), reason=row["reason"])
        for row in data_rows("default_ranges.csv")
    }


def spread_of(group: str, status: str) -> Spread:
    """Return the spread of a field class and status, falling back to any status and any class."""
    table = default_spreads()
    for key in ((group, status), (group, ANY), (ANY, status)):
        if key in table:
            return table[key]
    return table[ANY, ANY]


def _bounds(spec: FieldSpec, value: float, spread: float) -> tuple[float, float]:
    if spec.kind == "signed":
        return value - spread, value + spread
    if spec.kind == "fraction":
        if value in (0.0, 1.0):  # odds of 0 and 1 do not move; give a tenth of the spread
            near = min(spread / 10, 1.0)
            return (0.0, near) if value == 0.0 else (1.0 - near, 1.0)
        odds = value / (1.0 - value)
        low, high = odds / (1.0 + spread), odds * (1.0 + spread)
        return low / (1.0 + low), high / (1.0 + high)
    return value / (1.0 + spread), value * (1.0 + spread)


def with_default_range(resolved: Resolved) -> Resolved:
    """Give a figure without a full range the documented default of its class.

    Parameters
    ----------
    resolved : Resolved
        Of a `catalog.` or `driver.` path.

    Returns
    -------
    Resolved
        Unchanged if exact or ranged on both sides. Otherwise with the missing side or sides
        filled, status `assumption`, set by `default`, and why saying from where; the figure as
        its source states it comes first among the rejected.

    Raises
    ------
    KeyError
        The path names no field of the registry.
    """
    figure = resolved.chosen
    is_whole = figure.low is not None and figure.high is not None
    spec = find_spec(resolved.path)
    if is_whole or figure.range_kind == "exact" or spec.kind == "count":
        return resolved
    assert math.isfinite(figure.value), resolved.path
    spread = spread_of(spec.group, figure.status)
    low, high = _bounds(spec, figure.value, spread.spread)
    ranged = replace(
        figure,
        low=low if figure.low is None else figure.low,
        high=high if figure.high is None else figure.high,
        range_kind="ci90",
        status="assumption",
    )
    why = (
        f"value: {figure.status}; range: default of class {spec.group} "
        f"(spread {spread.spread:g}): {spread.reason}"
    )
    rejected = (figure, *resolved.rejected)
    return Resolved(path=resolved.path, chosen=ranged, rejected=rejected, set_by="default", why=why)
