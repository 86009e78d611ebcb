"""The field registry: what each field means, in which unit, and which values it may take."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Literal

from tapeout.units import UNITS

FieldKind = Literal["positive", "fraction", "signed", "count", "date", "text"]
DRIVER_HISTORY_DAYS = "180"  # drivers move
FIELD_KINDS: tuple[FieldKind, ...] = ("positive", "fraction", "signed", "count", "date", "text")


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldSpec:
    """One field of the catalogue, or one driver of the money model.

    Attributes
    ----------
    unit : str
        Name in `tapeout.units`; figures of this field are in it. Empty for texts and dates.
    kind : str
        Values allowed, and the distribution a range stands for: positive (lognormal), fraction
        (logit-normal), signed (normal), count, date, text.
    group : str
        Field class; the default range depends on it.
    history_days : int or None
        Sources this far apart do not conflict, the older one is history. None: never history.
    default_conditions : tuple of str
        Conditions tried in this order when a caller names none.
    """

    name: str
    unit: str
    kind: FieldKind
    group: str
    history_days: int | None = None
    default_conditions: tuple[str, ...] = ("",)
    description: str = ""

    @property
    def is_number(self) -> bool:
        """True for fields whose rows are figures."""
        return self.kind not in ("date", "text")

    def objection(self, value: float) -> str:
        """Say why this field cannot have this value; empty if it can."""
        if not math.isfinite(value):
            return "not a finite number"
        if self.kind == "positive" and value <= 0:
            return "must be positive"
        if self.kind == "count" and value < 0:
            return "a count cannot be negative"
        if self.kind == "fraction" and not 0 <= value <= 1:
            return "a fraction lies between 0 and 1 (0 and 100 %)"
        return ""


def data_text(name: str) -> str:
    """Text of one file of the release."""
    return resources.files("tapeout.catalog").joinpath("data", name).read_text(encoding="utf-8")


def data_rows(name: str) -> Iterator[dict[str, str]]:
    """Rows of one table of the release."""
    return iter(csv.DictReader(data_text(name).splitlines()))


def _kind(text: str, where: str) -> FieldKind:
    for kind in FIELD_KINDS:
        if kind == text:
            return kind
    raise ValueError(f"{where}: kind {text!r} is none of {', '.join(FIELD_KINDS)}")


def _spec(row: Mapping[str, str], where: str) -> FieldSpec:
    kind = _kind(row["kind"], where)
    if kind not in ("date", "text") and row["unit"] not in UNITS:
        raise ValueError(f"{where}: unknown unit {row['unit']!r}")
    days = row.get("history_days", DRIVER_HISTORY_DAYS)
    return FieldSpec(
        name=row["field"],
        unit=row["unit"],
        kind=kind,
        group=row["class"],
        history_days=int(days) if days else None,
        default_conditions=tuple(row.get("default_condition", "").split("|")),
        description=row.get("description", ""),
    )


@cache
def registry() -> Mapping[str, FieldSpec]:
    """Every field of chips and markets, by name."""
    rows = data_rows("fields.csv")
    return {row["field"]: _spec(row, f"fields.csv, {row['field']}") for row in rows}


@cache
def driver_registry() -> Mapping[str, FieldSpec]:
    """Every driver figure as a field, by name."""
    rows = data_rows("drivers.csv")
    return {row["field"]: _spec(row, f"drivers.csv, {row['field']}") for row in rows}


@cache
def field_aliases() -> Mapping[str, tuple[str, tuple[str, ...]]]:
    """Other names of fields: alias to (field, conditions to try)."""
    rows = data_rows("field_aliases.csv")
    return {row["alias"]: (row["field"], tuple(row["condition"].split("|"))) for row in rows}


def find_spec(path: str) -> FieldSpec:
    """Look up the field of a catalogue path (`driver.<name>`, `catalog.<entity>.<field>...`).

    Raises
    ------
    KeyError
        The path names no field.
    """
    parts = path.split(".")
    if parts[0] == "driver":
        return driver_registry()[parts[1]]
    return registry()[parts[2]]
