"""One stated fact or figure: a row of the release or of a user's overlay."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

from tapeout.catalog.fields import FieldSpec
from tapeout.errors import Problem, UnitError
from tapeout.sources import SOURCED_STATUSES, Fact, Figure, RangeKind, SetBy, Status
from tapeout.units import unit as find_unit

STATUSES: tuple[Status, ...] = (*SOURCED_STATUSES, "derived", "assumption")
Word = TypeVar("Word", bound=str)
RANGE_KINDS: tuple[RangeKind, ...] = ("ci90", "minmax", "one_sided", "none", "exact")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What one source says about one field of one entity under one condition."""

    entity: str
    field: str
    condition: str
    stated: Figure | Fact
    set_by: SetBy = "catalog"
    why: str = ""  # reason of an assumption or an override
    superseded: str = ""  # reason why the row no longer counts; it stays visible
    is_derived: bool = False  # worked out here from another row

    @property
    def key(self) -> tuple[str, str, str]:
        """Rows with the same key are rival statements of one quantity."""
        return self.entity, self.field, self.condition


@dataclass(frozen=True, slots=True)
class Cell:
    """Where a row stands, to name it in a problem."""

    path: str

    def problem(self, key: str, value: object, message: str, remedy: str = "") -> Problem:
        """Build a problem of one cell."""
        return Problem(
            path=f"{self.path}.{key}", value=str(value)[:60], message=message, remedy=remedy
        )


def is_iso_date(text: str) -> bool:
    """True for a calendar day written YYYY-MM-DD."""
    try:
        return dt.date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False


def rescale(spec: FieldSpec, unit_name: str) -> Callable[[float], float]:
    """Conversion from a stated unit to the unit of the field.

    Raises
    ------
    UnitError
        The unit is missing, unknown, or measures something else than the field.
    """
    if unit_name == spec.unit:
        return lambda value: value
    stated, wanted = find_unit(unit_name), find_unit(spec.unit)
    if stated.dimension != wanted.dimension:
        raise UnitError(f"{unit_name!r} measures {stated.dimension}, not {wanted.dimension}")
    factor, divisor = stated.factor / wanted.factor, wanted.factor / stated.factor
    if divisor > 1:  # dividing by 100 keeps 57.5 % at 0.575, multiplying by 0.01 does not
        return lambda value: value / divisor
    return lambda value: value * factor


def _number(cell: Cell, key: str, text: str, problems: list[Problem]) -> float | None:
    if not text:
        return None
    try:
        return float(text)
    except ValueError:
        problems.append(cell.problem(key, text, "not a number", "write digits only, as in 3.35"))
        return None


def _range_problems(cell: Cell, figure: Figure) -> list[Problem]:
    low, high, value = figure.low, figure.high, figure.value
    if low is not None and high is not None and low > high:
        remedy = "swap them"
        return [cell.problem("low", f"{low:g}", f"low is above high ({high:g})", remedy)]
    found = []
    for key, bound, is_out in (
        ("low", low, low is not None and low > value),
        ("high", high, high is not None and high < value),
    ):
        if is_out:
            found.append(
                cell.problem(
                    "value",
                    f"{value:g}",
                    f"outside its own range ({key} is {bound:g})",
                    f"move value or {key}",
                )
            )
    return found


def figure_of(
    spec: FieldSpec, raw: Mapping[str, str], cell: Cell
) -> tuple[Figure | None, list[Problem]]:
    """Read a figure in the unit of its field; collect every problem of the row.

    Parameters
    ----------
    spec : FieldSpec
        The field; its unit is that of the result.
    raw : mapping
        Cells as text: value, unit, low, high, range_kind, as_of, status, source_url,
        source_title, condition, note.
    cell : Cell
        Where the row stands.
    """
    problems: list[Problem] = []
    value = _number(cell, "value", raw["value"], problems)
    low = _number(cell, "low", raw["low"], problems)
    high = _number(cell, "high", raw["high"], problems)
    try:
        to_field_unit = rescale(spec, raw["unit"])
    except UnitError as error:
        remedy = f"{spec.name} is stored in {spec.unit}"
        problems.append(cell.problem("unit", raw["unit"], str(error), remedy))
        return None, problems
    if value is None:
        if not raw["value"]:
            problems.append(cell.problem("value", "", "value missing", f"give it in {spec.unit}"))
        return None, problems
    figure = Figure(
        value=to_field_unit(value),
        unit=spec.unit,
        low=None if low is None else to_field_unit(low),
        high=None if high is None else to_field_unit(high),
        range_kind=one_of(RANGE_KINDS, raw["range_kind"] or "none"),
        as_of=raw["as_of"],
        status=one_of(STATUSES, raw["status"]),
        source_url=raw["source_url"],
        source_title=raw["source_title"],
        condition=raw["condition"],
        note=raw["note"],
    )
    for key in ("value", "low", "high"):
        stated = getattr(figure, key)
        objection = "" if stated is None else spec.objection(stated)
        if objection:
            remedy = f"{spec.name}: {spec.description}" if spec.description else ""
            problems.append(cell.problem(key, f"{raw[key]} {raw['unit']}", objection, remedy))
    problems += _range_problems(cell, figure)
    return figure, problems


def one_of(allowed: tuple[Word, ...], text: str) -> Word:
    """Return the word of a fixed list that a text is.

    Raises
    ------
    ValueError
        The text is not in the list.
    """
    for name in allowed:
        if name == text:
            return name
    raise ValueError(f"{text!r} is none of {', '.join(allowed)}")


def fact_of(spec: FieldSpec, raw: Mapping[str, str]) -> Fact:
    """Read a text or a date."""
    return Fact(
        text=raw["value"],
        kind="date" if spec.kind == "date" and raw["unit"] != "text" else "text",
        as_of=raw["as_of"],
        status=one_of(STATUSES, raw["status"]),
        source_url=raw["source_url"],
        source_title=raw["source_title"],
        condition=raw["condition"],
        note=raw["note"],
    )


def per_direction(row: Row) -> Row | None:
    """One direction of a link that was stated for both, or without a direction.

    The scale-up rate that a collective wants is that of one direction. A rate whose direction the
    source leaves open is halved, with the stated value as the upper end.
    """
    figure = row.stated
    if row.field != "scaleup_bw" or isinstance(figure, Fact):
        return None
    for word in ("bidirectional", "unstated direction"):
        if row.condition.startswith(word):
            break
    else:
        return None
    condition = ("per-direction" + row.condition.removeprefix(word)).strip()
    half = figure.value / 2
    told = f"half of the {word} {figure.value:.4g} {figure.unit} (derived)"
    ranged: dict[str, object] = (
        {"low": half, "high": figure.value, "range_kind": "minmax"} if word[0] == "u" else {}
    )
    return replace(
        row,
        condition=condition,
        stated=replace(
            figure,
            value=half,
            condition=condition,
            note=f"{told}; {figure.note}".rstrip("; "),
            **ranged,  # type: ignore[arg-type]
        ),
        is_derived=True,
    )
