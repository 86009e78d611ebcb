"""Which Sobol column a driver draws from: an append-only list of names.

`data/drivers.csv` gives each field its columns, one per slot: an option, a year or a generation
that has the field of its own. A number is never moved or dropped; new fields get new rows, new
slots new numbers. Hence a driver's draws depend on nothing but its name and the seed.

The evenness of pairs of Sobol columns fades with their number (below 128 it is good at 4,096
points a scramble), so the drivers that weigh most hold the low columns.
"""

from __future__ import annotations

import csv
import re
from functools import cache
from importlib.resources import files

from tapeout.errors import InfeasibleError, UnknownNameError

_NAME = re.compile(r"^([a-z][a-z0-9_.]*)(?:\[(\d+)\])?$")


def driver_name(field: str, slot: int = 0) -> str:
    """Name of a driver: the field, with its slot in brackets unless it is the first.

    Examples
    --------
    >>> driver_name("option.price_usd", 2)
    'option.price_usd[2]'
    """
    return f"{field}[{slot}]" if slot else field


def column(name: str) -> int:
    """Sobol column of a driver.

    Raises
    ------
    UnknownNameError
        The field is not in the registry; near names are suggested.
    InfeasibleError
        The slot is beyond those of the field.
    """
    match = _NAME.match(name)
    field, slot = (match[1], int(match[2] or 0)) if match else (name, 0)
    columns = fields().get(field)
    if columns is None:
        raise UnknownNameError("driver", field, fields())
    if slot >= len(columns):
        raise InfeasibleError(
            f"driver {name}: {field} has slots 0 to {len(columns) - 1}; "
            "give the registry more columns for it"
        )
    return columns[slot]


@cache
def fields() -> dict[str, tuple[int, ...]]:
    """Columns of every field by slot, in the order of the registry."""
    text = files("tapeout.risk").joinpath("data/drivers.csv").read_text("utf-8")
    rows = csv.DictReader(line for line in text.splitlines() if not line.startswith("#"))
    return {row["field"]: tuple(int(number) for number in row["columns"].split()) for row in rows}
