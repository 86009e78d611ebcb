"""A user's own figures, laid over the release.

The file is TOML with one table per figure:

    [[figure]]
    entity = "gb300"
    field = "price_usd"
    condition = "rack-share"
    value = 49000
    unit = "USD"
    as_of = 2026-11-20
    status = "vendor_claim"
    source_title = "our quotation"
    why = "quoted to us in November"

Driver figures have the entity "driver". Figures of an overlay win over the release.
"""

from __future__ import annotations

import datetime as dt
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from tapeout.catalog.fields import FieldSpec, driver_registry, field_aliases, registry
from tapeout.catalog.names import slug
from tapeout.catalog.release import DRIVER
from tapeout.catalog.rows import Cell, Row, fact_of, figure_of
from tapeout.catalog.store import Catalog
from tapeout.constants import MEGA
from tapeout.errors import Problem, ProblemsError, UnknownNameError, did_you_mean, nearest

MOST_BYTES = int(5 * MEGA)
Text = str


class OverlayFigure(BaseModel):
    """One `[[figure]]` table."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    entity: Text = Field(min_length=1)
    field: Text = Field(min_length=1)
    condition: Text = ""
    value: float | str
    unit: Text = ""
    low: float | None = None
    high: float | None = None
    range_kind: Literal["ci90", "minmax", "one_sided", "none", "exact", ""] = ""
    as_of: Text = Field(min_length=1)
    status: Literal[
        "measured", "vendor_claim", "independent_estimate", "analyst", "press", "assumption"
    ] = "assumption"
    source_url: Text = ""
    source_title: Text = ""
    note: Text = ""
    why: Text = ""

    @field_validator("value", "low", "high", mode="before")
    @classmethod
    def _no_truth_values(cls, value: object) -> object:
        if isinstance(value, bool):
            raise ValueError("true and false are not numbers")  # noqa: TRY004  # pydantic's way
        return value

    @field_validator("as_of", mode="before")
    @classmethod
    def _day(cls, value: object) -> object:
        """Take TOML dates as well as texts; both must be a calendar day."""
        if isinstance(value, dt.datetime):
            value = value.date()
        if isinstance(value, dt.date):
            return value.isoformat()
        if isinstance(value, str):
            try:
                return dt.date.fromisoformat(value).isoformat()
            except ValueError:
                raise ValueError("not a date; write YYYY-MM-DD") from None
        raise ValueError("not a date; write YYYY-MM-DD")


def _whole(path: Path, message: str, remedy: str) -> ProblemsError:
    problem = Problem(path=path.name, value="", message=message, remedy=remedy)
    return ProblemsError(f"overlay {path}", [problem])


def _read(path: Path) -> tuple[bytes, Mapping[str, object]]:
    try:
        size = path.stat().st_size
        if size > MOST_BYTES:
            raise _whole(
                path,
                f"{size / MEGA:,.1f} MB is more than the {MOST_BYTES / MEGA:.0f} MB allowed",
                "an overlay holds only the figures you change",
            )
        data = path.read_bytes()
    except OSError as error:
        remedy = "give the path of a TOML file"
        raise _whole(path, f"cannot be read ({error.strerror})", remedy) from error
    try:
        return data, tomllib.loads(data.decode("utf-8"))
    except UnicodeDecodeError as error:
        message = f"not UTF-8 (byte {error.start})"
        raise _whole(path, message, "save the file as UTF-8") from error
    except tomllib.TOMLDecodeError as error:
        raise _whole(path, f"not TOML: {error}", "see the example in docs/catalog.md") from error


def _tables(path: Path, raw: Mapping[str, object]) -> list[object]:
    unknown = [key for key in raw if key != "figure"]
    if unknown:
        problems = [
            Problem(
                path=key, value="", message="unknown key", remedy="an overlay has only [[figure]]"
            )
            for key in unknown
        ]
        raise ProblemsError(f"overlay {path}", problems)
    tables = raw.get("figure", [])
    if not isinstance(tables, list):
        raise _whole(path, "figure is not a list of tables", "write [[figure]] with two brackets")
    if not tables:
        raise _whole(path, "names nothing", "add at least one [[figure]]")
    return tables


def _parse(table: object, cell: Cell, problems: list[Problem]) -> OverlayFigure | None:
    try:
        return OverlayFigure.model_validate(table)
    except ValidationError as error:
        for one in error.errors():
            key = str(one["loc"][0]) if one["loc"] else ""
            message = one["msg"].removeprefix("Value error, ")
            hint = nearest(key, OverlayFigure.model_fields)
            is_unknown = one["type"] == "extra_forbidden"
            remedy = f"did you mean {did_you_mean(hint)}?" if is_unknown and hint else ""
            shown = "" if isinstance(one["input"], dict) else one["input"]
            problem = cell.problem(key, shown, "unknown key" if is_unknown else message, remedy)
            if problem.path not in {other.path for other in problems}:
                problems.append(problem)
        return None


def _entity(base: Catalog, name: str, cell: Cell, problems: list[Problem]) -> str | None:
    if name == DRIVER:
        return DRIVER
    try:
        return base.entity(name)
    except UnknownNameError as error:
        hint = error.suggestions
        remedy = f"did you mean {did_you_mean(hint)}?" if hint else "see `tapeout catalog list`"
        problems.append(cell.problem("entity", name, "unknown entity", remedy))
        return None


def _spec(
    base: Catalog, entity: str, name: str, cell: Cell, problems: list[Problem]
) -> FieldSpec | None:
    known: list[str] = []
    if entity == DRIVER:
        if name in driver_registry():
            return driver_registry()[name]
        known += driver_registry()
    elif name in driver_registry():
        message = "is a driver, not a field of an entity"
        problems.append(cell.problem("field", name, message, 'set entity = "driver"'))
        return None
    else:
        if name in registry() or name in field_aliases():
            return base.spec(name)
        known += [*registry(), *field_aliases()]
    hint = nearest(name, known)
    remedy = f"did you mean {did_you_mean(hint)}?" if hint else "see `tapeout catalog list`"
    problems.append(cell.problem("field", name, "unknown field", remedy))
    return None


def _condition(base: Catalog, entity: str, spec: FieldSpec, given: OverlayFigure) -> str:
    """Return the condition meant: the catalogue's spelling, its default where none is given."""
    known = () if entity == DRIVER else base.conditions(entity, spec.name)
    wanted = [given.condition]
    if not given.condition and entity != DRIVER:
        aliased = field_aliases().get(given.field, ("", ("",)))[1]
        wanted = list(spec.default_conditions if aliased == ("",) else aliased)
    for condition in wanted:
        for spelling in known:
            if slug(spelling) == slug(condition):
                return spelling
    return wanted[0]


def _raw(given: OverlayFigure, condition: str) -> dict[str, str]:
    """Return the row as text, as the release's tables hold it."""
    bounds = {
        key: "" if bound is None else repr(bound)
        for key, bound in (("low", given.low), ("high", given.high))
    }
    count = sum(bool(text) for text in bounds.values())
    return {
        "value": given.value if isinstance(given.value, str) else repr(given.value),
        "unit": given.unit,
        **bounds,
        "range_kind": given.range_kind or ("none", "one_sided", "ci90")[count],
        "as_of": given.as_of,
        "status": given.status,
        "source_url": given.source_url,
        "source_title": given.source_title,
        "condition": condition,
        "note": given.note,
    }


def _row(base: Catalog, given: OverlayFigure, cell: Cell, problems: list[Problem]) -> Row | None:
    entity = _entity(base, given.entity, cell, problems)
    if entity is None:
        return None
    spec = _spec(base, entity, given.field, cell, problems)
    if spec is None:
        return None
    condition = _condition(base, entity, spec, given)
    raw = _raw(given, condition)
    if not spec.is_number:
        stated: object = fact_of(spec, raw)
    else:
        if isinstance(given.value, str):
            remedy = f"write digits without quotation marks and the unit in unit ({spec.unit})"
            problems.append(cell.problem("value", given.value, "text, a number is needed", remedy))
            return None
        stated, found = figure_of(spec, raw, cell)
        problems += found
        if stated is None:
            return None
    return Row(
        entity=entity,
        field=spec.name,
        condition=condition,
        stated=stated,  # type: ignore[arg-type]
        set_by="overlay",
        why=given.why,
    )


def read_overlay(path: Path, base: Catalog) -> tuple[bytes, dict[str, list[Row]]]:
    """Read and check an overlay.

    Parameters
    ----------
    path : Path
        TOML file of at most 5 MB, UTF-8.
    base : Catalog
        The release it is laid over.

    Returns
    -------
    data, rows
        The bytes of the file, and its rows by kind of entity.

    Raises
    ------
    ProblemsError
        Everything wrong with the file, at once, each with its place and remedy.
    """
    data, raw = _read(path)
    problems: list[Problem] = []
    rows: dict[str, list[Row]] = {}
    for number, table in enumerate(_tables(path, raw)):
        cell = Cell(f"figure[{number}]")
        given = _parse(table, cell, problems)
        row = None if given is None else _row(base, given, cell, problems)
        if row is not None:
            rows.setdefault(base.kind_of(row.entity), []).append(row)
    if problems:
        raise ProblemsError(f"overlay {path}", problems)
    return data, rows
