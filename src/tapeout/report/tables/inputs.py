"""All inputs with value, range, status, source and reason; counts; sources; what moves most."""

from __future__ import annotations

import datetime as dt
import json
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tapeout.report import formats as f
from tapeout.report.content import Cell, Group, Ledger, Row, Sources, Table, cell, left, right, row
from tapeout.report.labels import (
    SET_BY,
    STATUSES,
    field_label,
    group_label,
    input_label,
)
from tapeout.report.reading import OWN, mapping, option_titles, records, rows, tornado
from tapeout.sources import SOURCED_STATUSES

if TYPE_CHECKING:
    from tapeout.study import Results

OLD_DAYS = 180
_COUNTED = ("sourced", "assumed", "derived", "simulated")


def counts_sentence(results: Results) -> str:
    """Inputs by kind, as in "41 sourced, 18 assumed"."""
    counts = mapping(results, "counts")
    named = [f"{f.integer(counts[name])} {name}" for name in _COUNTED if name in counts]
    named += [f"{f.integer(n)} {name}" for name, n in counts.items() if name not in _COUNTED]
    return ", ".join(named)


def stale(results: Results) -> int:
    """Sourced figures stated more than 180 days before the release of the catalogue."""
    try:
        release = dt.date.fromisoformat(str(results.manifest.get("catalog", "")))
    except ValueError:
        return 0
    old = 0
    for one in rows(results, "inputs"):
        if one["status"] not in SOURCED_STATUSES or not one["as_of"]:
            continue
        try:
            stated = dt.date.fromisoformat(one["as_of"])
        except ValueError:
            continue
        old += (release - stated).days > OLD_DAYS
    return old


def _line(one: Mapping[str, Any]) -> Row:
    label = field_label(one["path"])
    beaten = json.loads(one["rejected"] or "[]")
    reason = one["why"] or one["note"] or ""
    title = one["source_title"] or ("" if reason else f.NONE)
    status = STATUSES.get(one["status"], one["status"])
    set_by = SET_BY.get(one["set_by"], one["set_by"])
    source = Cell(
        text=title or reason,
        href=one["source_url"] or "",
        note=_note(reason if title else "", one, beaten),
    )
    search = " ".join((one["path"], label, status, set_by, title, reason)).lower()
    return Row(
        cells=(
            cell(label[:1].upper() + label[1:], note=one["path"]),
            cell(f.quantity(one["value"], one["unit"])),
            cell(f.span(one["low"], one["high"], one["unit"])),
            Cell(text=status, badge=one["status"], note=f"by {set_by}"),
            source,
        ),
        search=search,
    )


def _note(reason: str, one: Mapping[str, Any], beaten: list[dict[str, Any]]) -> str:
    dated = f"as of {f.day(one['as_of'])}" if one["as_of"] else ""
    chosen = [
        f"{f.quantity(b['value'], b['unit'])} ({b['source'] or STATUSES.get(b['status'], '')})"
        for b in beaten
    ]
    over = f"chosen over {', '.join(chosen)}" if chosen else ""
    return "; ".join(text for text in (reason, dated, over) if text)


def ledger(results: Results) -> Ledger:
    """Inputs in groups: the own chip first, then the options, then the rest."""
    titles = option_titles(results)
    grouped: dict[str, list[dict[str, Any]]] = {}
    for one in rows(results, "inputs"):
        grouped.setdefault(group_label(one["path"], titles), []).append(one)
    own = titles.get(OWN, OWN)
    of_options = {group_label(f"options.{key}.x", titles) for key in titles}

    def place(title: str) -> tuple[bool, bool, str]:
        return title != own, title not in of_options, title

    groups = tuple(
        Group(
            title=title,
            summary=_tally(grouped[title]),
            table=Table(
                key=f"inputs-{index}",
                caption=f"Inputs: {title}",
                columns=(
                    left("input", "Input"),
                    right("value", "Value"),
                    right("range", "5 to 95 %"),
                    left("status", "Status"),
                    left("source", "Source and reason"),
                ),
                rows=tuple(_line(one) for one in grouped[title]),
            ),
        )
        for index, title in enumerate(sorted(grouped, key=place))
    )
    statuses = tuple(dict.fromkeys(one["status"] for one in rows(results, "inputs")))
    return Ledger(
        groups=groups,
        statuses=tuple(status for status in STATUSES if status in statuses),
        total=sum(len(group.table.rows) for group in groups),
    )


def _tally(found: list[dict[str, Any]]) -> str:
    counted = Counter(_class(one["status"]) for one in found)
    return ", ".join(f"{counted[name]} {name}" for name in _COUNTED if counted[name])


def _class(status: str) -> str:
    if status in SOURCED_STATUSES:
        return "sourced"
    return "assumed" if status == "assumption" else status


def sources(results: Results) -> Sources:
    """Every title used, once, with its link."""
    found: dict[str, str] = {}
    for one in rows(results, "inputs"):
        if one["source_title"]:
            found.setdefault(one["source_title"], one["source_url"] or "")
        for beaten in json.loads(one["rejected"] or "[]"):
            if beaten.get("source"):
                found.setdefault(beaten["source"], "")
    for one in records(results, "references"):
        if one.get("source"):
            found.setdefault(one["source"], one.get("source_url") or "")
    ordered = sorted(found.items(), key=lambda item: item[0].lower())
    return Sources(items=tuple(Cell(text=title, href=url) for title, url in ordered))


def strongest(results: Results, most: int = 15) -> Table | None:
    """Inputs by swing of the headline's saving, with status."""
    found = tornado(results, most)
    if not found:
        return None
    titles = option_titles(results)
    return Table(
        key="sensitivity",
        caption="Saving of the headline over the baseline with one input at either end",
        columns=(
            left("input", "Input"),
            right("range", "Range"),
            right("at_low", "Saving at the low end"),
            right("at_high", "Saving at the high end"),
            right("swing", "Swing"),
            left("status", "Status"),
        ),
        rows=tuple(
            row(
                input_label(one["path"], titles),
                f.span(one["low"], one["high"], one["unit"]),
                f.usd(one["at_low_usd"]),
                f.usd(one["at_high_usd"]),
                f.usd(one["swing_usd"]),
                Cell(text=STATUSES.get(one["status"], one["status"]), badge=one["status"]),
            )
            for one in found
        ),
    )


def strongest_assumptions(results: Results, most: int = 5) -> list[str]:
    """Labels of the assumptions that move the headline most."""
    titles = option_titles(results)
    found = [one for one in tornado(results, 10_000) if one["status"] == "assumption"]
    return [input_label(one["path"], titles) for one in found[:most]]
