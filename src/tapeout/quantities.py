"""Quantities as people write them: a number, "a to b", "12 months", or a table with a reason.

`"a to b"` is a 90 % range; its median is the geometric mean where both ends are positive, else the
midpoint. A number without a unit is in the unit that the name of its field ends with.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tapeout import units
from tapeout.errors import UnitError

_RANGE = re.compile(r"^\s*(.+?)\s+to\s+(.+?)\s*$")
_PLAIN = re.compile(r"^\s*[-+]?(?:\d[\d_]*\.?\d*|\.\d+)(?:[eE][-+]?\d+)?\s*$")
_TABLE_KEYS = {"value", "low", "high", "unit", "source", "source_url", "why", "as_of", "status"}


class QuantityError(ValueError):
    """Text that is no quantity; says what would be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantity:
    """A number or a range in one unit, with the reason somebody gave for it.

    `value`, `low` and `high` are in `unit`; an empty unit means the unit of the field's name.
    """

    value: float
    low: float | None = None
    high: float | None = None
    unit: str = ""
    source: str = ""
    source_url: str = ""
    why: str = ""
    as_of: str = ""
    status: str = ""

    def scaled(self, factor: float) -> Quantity:
        """The same quantity in another unit of its dimension."""
        return Quantity(
            value=self.value * factor,
            low=None if self.low is None else self.low * factor,
            high=None if self.high is None else self.high * factor,
            source=self.source,
            source_url=self.source_url,
            why=self.why,
            as_of=self.as_of,
            status=self.status,
        )


def read_quantity(raw: object) -> Quantity:
    """Read a number, a text or a table.

    Raises
    ------
    QuantityError
        Not a quantity, not finite, ends of a range in different units, or low above high.

    Examples
    --------
    >>> round(read_quantity("3e8 to 1e9").value)
    547722558
    >>> read_quantity("3 to 6 months").unit
    'months'
    """
    if isinstance(raw, Quantity):
        return raw
    if isinstance(raw, bool):
        raise QuantityError("true or false is no quantity; write a number")
    if isinstance(raw, int | float):
        return _checked(Quantity(value=_float(raw)))
    if isinstance(raw, str):
        return _checked(_from_text(raw))
    if isinstance(raw, Mapping):
        return _checked(_from_table(raw))
    raise QuantityError('write a number, "a to b", "12 months" or a table with value, low, high')


def _float(number: float) -> float:
    try:
        return float(number)
    except OverflowError:
        raise QuantityError("the number is not finite") from None


def _split(text: str) -> tuple[float, str]:
    if _PLAIN.match(text):
        return float(text.replace("_", "")), ""
    try:
        return units.split(text)
    except UnitError as error:
        raise QuantityError(str(error)) from None


def _from_text(text: str) -> Quantity:
    match = _RANGE.match(text)
    if match is None:
        value, unit = _split(text)
        return Quantity(value=value, unit=unit)
    low, low_unit = _split(match.group(1))
    high, high_unit = _split(match.group(2))
    if low_unit and low_unit != high_unit:
        raise QuantityError(f"ends of {text!r} have different units")
    return Quantity(value=_middle(low, high), low=low, high=high, unit=high_unit)


def _middle(low: float, high: float) -> float:
    return math.sqrt(low * high) if low > 0 and high > 0 else (low + high) / 2.0


def _from_table(table: Mapping[str, Any]) -> Quantity:
    unknown = sorted(set(table) - _TABLE_KEYS)
    if unknown:
        raise QuantityError(
            f"unknown key {unknown[0]!r}; known are {', '.join(sorted(_TABLE_KEYS))}"
        )
    low, high = table.get("low"), table.get("high")
    if "value" not in table and (low is None or high is None):
        raise QuantityError("a table needs value, or low and high")
    for name in ("value", "low", "high"):
        if name in table and (
            isinstance(table[name], bool) or not isinstance(table[name], int | float)
        ):
            raise QuantityError(f"{name} must be a number, got {table[name]!r}")
    low, high = (None if end is None else _float(end) for end in (low, high))
    value = table["value"] if "value" in table else _middle(low, high)  # type: ignore[arg-type]
    return Quantity(
        value=_float(value),
        low=low,
        high=high,
        unit=str(table.get("unit", "")),
        source=str(table.get("source", "")),
        source_url=str(table.get("source_url", "")),
        why=str(table.get("why", "")),
        as_of=str(table.get("as_of", "")),
        status=str(table.get("status", "")),
    )


def _checked(quantity: Quantity) -> Quantity:
    for number in (quantity.value, quantity.low, quantity.high):
        if number is not None and not math.isfinite(number):
            raise QuantityError(f"{number} is not finite")
    low = quantity.value if quantity.low is None else quantity.low
    high = quantity.value if quantity.high is None else quantity.high
    if low > high:
        raise QuantityError(f"low {low:g} is above high {high:g}")
    if not low <= quantity.value <= high:
        raise QuantityError(f"value {quantity.value:g} lies outside {low:g} to {high:g}")
    return quantity


def in_unit(quantity: Quantity, unit: str) -> Quantity:
    """Express a quantity in a unit (the one its field's name ends with).

    Raises
    ------
    UnitError
        The written unit is unknown or measures something else.
    """
    if not quantity.unit:
        return quantity
    target = units.unit(unit)
    return quantity.scaled(units.convert(1.0, quantity.unit, target.dimension) / target.factor)
