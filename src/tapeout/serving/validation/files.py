"""Tables that users bring, and tables that are given back: text cells, nothing lost."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tapeout.errors import InfeasibleError

STATUS: tuple[str, ...] = ("ok", "assumed", "unanswered")
ENCODING = "utf-8-sig"  # spreadsheets put a mark at the start


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Columns in order, and rows as text; blank cells are empty."""

    columns: tuple[str, ...]
    rows: tuple[Mapping[str, str], ...]


def read_table(path: Path, needed: Sequence[str]) -> Table:
    """Read a CSV file whole.

    Raises
    ------
    InfeasibleError
        It cannot be read: not there, no text, no header, a column that is needed is missing, a
        column twice, or a row longer than the header.
    """
    try:
        text = path.read_text(encoding=ENCODING)
        lines = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        why = getattr(error, "strerror", None) or error
        raise InfeasibleError(f"{path} cannot be read: {why}") from error
    if not lines or not any(cell.strip() for cell in lines[0]):
        raise InfeasibleError(f"{path} is empty; its first line must name the columns")
    columns = tuple(cell.strip() for cell in lines[0])
    problems = _problems(columns, needed)
    rows = []
    for number, cells in enumerate(lines[1:], start=2):
        if not any(cell.strip() for cell in cells):
            continue  # an empty line is no row
        if len(cells) > len(columns):
            problems.append(f"row {number} has {len(cells)} cells for {len(columns)} columns")
        padded = [*cells, *[""] * (len(columns) - len(cells))]
        rows.append(dict(zip(columns, padded, strict=False)))
    problems.extend(_hints(columns, needed))
    if problems:
        raise InfeasibleError(f"{path} cannot be read: {'; '.join(problems[:10])}")
    return Table(columns=columns, rows=tuple(rows))


def _problems(columns: Sequence[str], needed: Sequence[str]) -> list[str]:
    twice = sorted({name for name in columns if columns.count(name) > 1})
    missing = [name for name in needed if name not in columns]
    found = [f"column {name!r} twice" for name in twice]
    return found + [f"column {name!r} is missing" for name in missing]


def _hints(columns: Sequence[str], needed: Sequence[str]) -> list[str]:
    """What a user may have meant whose header lacks the needed columns."""
    missing = [name for name in needed if name not in columns]
    if not missing:
        return []
    for mark, word in ((";", "semicolons"), ("\t", "tabs"), ("|", "bars")):
        if len(columns) == 1 and mark in columns[0]:
            return [f"its cells are separated by {word}; write commas"]
    close = [name for name in columns if name.lower() in missing]
    return [f"{name!r} must be spelled {name.lower()!r}" for name in close]


def table_text(columns: Sequence[str], rows: Iterable[Mapping[str, str]]) -> str:
    """Write rows as CSV with Unix line ends; a row without a column has it blank."""
    out = io.StringIO()
    writer = csv.DictWriter(out, columns, restval="", lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def joined(parts: Iterable[str]) -> str:
    """Put sentences into one cell; repetitions are dropped."""
    return "; ".join(dict.fromkeys(parts))


def number_text(value: float) -> str:
    """Six significant digits, the same on every machine."""
    return f"{value:.6g}"
