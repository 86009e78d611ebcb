"""Reading the shipped release: tables in, checked rows out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache

from tapeout.catalog.fields import FieldSpec, data_rows, driver_registry, registry
from tapeout.catalog.rows import Cell, Row, fact_of, figure_of, is_iso_date, per_direction
from tapeout.errors import Problem, ProblemsError, UnknownNameError

DRIVER = "driver"  # the entity of every driver figure


def release_names() -> tuple[str, ...]:
    """Every release this version ships, oldest first."""
    return tuple(row["release"] for row in data_rows("release.csv"))


def check_release(release: str | None) -> str:
    """Return the release to use: the named one, else the newest.

    Raises
    ------
    UnknownNameError
        The named release is not shipped with this version.
    """
    names = release_names()
    if release is None:
        return names[-1]
    if release not in names:
        raise UnknownNameError("catalogue release", release, names)
    return release


def _text_problems(raw: Mapping[str, str], cell: Cell) -> list[Problem]:
    problems = []
    if not is_iso_date(raw["as_of"]):
        problems.append(cell.problem("as_of", raw["as_of"], "not a date", "write YYYY-MM-DD"))
    is_ours = raw["status"] in ("assumption", "derived")
    if not raw["source_url"] and not is_ours:
        problems.append(cell.problem("source_url", "", "a sourced row needs its source"))
    if is_ours and not raw.get("why") and not raw["note"]:
        problems.append(cell.problem("why", "", "a figure of our own needs its reason"))
    return problems


def read_row(
    raw: Mapping[str, str], spec: FieldSpec | None, cell: Cell
) -> tuple[Row | None, list[Problem]]:
    """Read one row of a release table."""
    if spec is None:
        remedy = "add it to fields.csv"
        return None, [cell.problem("field", raw["field"], "unknown field", remedy)]
    problems = _text_problems(raw, cell)
    if not spec.is_number:
        return _row(raw, fact_of(spec, raw)), problems
    figure, more = figure_of(spec, raw, cell)
    return (None if figure is None else _row(raw, figure)), problems + more


def _row(raw: Mapping[str, str], stated: object) -> Row:
    status = raw["status"]
    return Row(
        entity=raw["entity"],
        field=raw["field"],
        condition=raw["condition"],
        stated=stated,  # type: ignore[arg-type]
        set_by={"assumption": "default", "derived": "derived"}.get(status, "catalog"),  # type: ignore[arg-type]
        why=raw.get("why", ""),
        superseded=raw.get("superseded", ""),
    )


def _table(name: str, specs: Mapping[str, FieldSpec], problems: list[Problem]) -> Iterator[Row]:
    for line, raw in enumerate(data_rows(name), start=2):
        row, found = read_row(raw, specs.get(raw["field"]), Cell(f"{name}[{line}]"))
        problems += found
        if row is not None:
            yield row
            derived = per_direction(row)
            if derived is not None:
                yield derived


@cache
def release_rows() -> Mapping[str, tuple[Row, ...]]:
    """Rows of the release by kind of entity: chip, market and driver.

    Raises
    ------
    ProblemsError
        A row has an unknown field or unit, a value its field cannot have, or no source.
    """
    problems: list[Problem] = []
    rows = {
        "chip": tuple(_table("chips.csv", registry(), problems)),
        "market": tuple(_table("market.csv", registry(), problems)),
        DRIVER: tuple(_table("drivers.csv", driver_registry(), problems)),
    }
    if problems:
        raise ProblemsError("the catalogue's own release", problems)
    return rows
