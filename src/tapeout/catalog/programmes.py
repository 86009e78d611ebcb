"""Dated events of chip programmes: what was promised, what happened, who measured it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from tapeout.catalog.fields import data_rows
from tapeout.catalog.rows import STATUSES, Cell, is_iso_date, one_of
from tapeout.errors import Problem, ProblemsError
from tapeout.sources import Status

EVENTS = (
    "first_report",
    "programme_start",
    "announcement",
    "tape_out",
    "promised_availability",
    "promised_performance",
    "claimed_measurement",
    "independent_measurement",
    "delayed_to",
    "general_availability",
    "volume_production",
    "units_shipped",
    "owner_statement_of_savings",
    "outcome_note",
    "unused",
    "cancelled",
    "wound_down",
    "acquired",
    "design_cost",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgrammeEvent:
    """One dated event.

    Attributes
    ----------
    date, date_low, date_high : str
        ISO dates. For `promised_availability` and `delayed_to` the date is that of the promise
        and low to high the promised window; otherwise low to high is the uncertainty of the date.
    value : float or None
        What was promised or measured, in `unit` as the source words it ("x A100-80GB (BERT)"):
        claims have baselines, so they have no common unit.
    """

    programme: str
    event: str
    date: str
    date_low: str
    date_high: str
    value: float | None
    unit: str
    status: Status
    source_url: str
    source_title: str
    note: str


def _problems(raw: Mapping[str, str], cell: Cell) -> list[Problem]:
    problems = []
    if raw["event"] not in EVENTS:
        problems.append(cell.problem("event", raw["event"], f"none of {', '.join(EVENTS)}"))
    if raw["status"] not in STATUSES:
        problems.append(cell.problem("status", raw["status"], f"none of {', '.join(STATUSES)}"))
    problems += [
        cell.problem(key, raw[key], "not a date", "write YYYY-MM-DD")
        for key in ("date", "date_low", "date_high")
        if not is_iso_date(raw[key]) and (raw[key] or key == "date")
    ]
    if raw["date_low"] and raw["date_high"] and raw["date_low"] > raw["date_high"]:
        problems.append(cell.problem("date_low", raw["date_low"], "after date_high"))
    if raw["value"] and not raw["unit"]:  # a unit alone words a size ("tens of M USD")
        problems.append(cell.problem("unit", raw["unit"], "a number needs its unit"))
    if not raw["source_url"]:
        problems.append(cell.problem("source_url", "", "an event needs its source"))
    return problems


def _event(raw: Mapping[str, str]) -> ProgrammeEvent:
    return ProgrammeEvent(
        programme=raw["programme"],
        event=raw["event"],
        date=raw["date"],
        date_low=raw["date_low"],
        date_high=raw["date_high"],
        value=float(raw["value"]) if raw["value"] else None,
        unit=raw["unit"],
        status=one_of(STATUSES, raw["status"]),
        source_url=raw["source_url"],
        source_title=raw["source_title"],
        note=raw["note"],
    )


@cache
def programme_events() -> tuple[ProgrammeEvent, ...]:
    """Every event of the release, in the order of the table.

    Raises
    ------
    ProblemsError
        A row has an unknown event or status, a bad date, a number without a unit, or no source.
    """
    rows = list(data_rows("programmes.csv"))
    problems = [
        problem
        for line, raw in enumerate(rows, start=2)
        for problem in _problems(raw, Cell(f"programmes.csv[{line}]"))
    ]
    if problems:
        raise ProblemsError("programmes.csv", problems)
    return tuple(_event(raw) for raw in rows)
