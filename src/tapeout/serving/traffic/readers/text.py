"""Lines, cells and JSON records of text files, in chunks; a file may be larger than memory."""

from __future__ import annotations

import csv
import gzip
import io
import json
import zlib
from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tapeout.errors import UnknownNameError, did_you_mean, nearest
from tapeout.numerics import Floats, Ints
from tapeout.serving.traffic.readers.base import Tally, columns_in_words, refused

CHUNK_ROWS = 1 << 16
MOST_LINE = 1 << 26  # characters: 67 M, a prompt of ten million blocks
NOT_JSON = "not a JSON object"


@contextmanager
def opened(path: Path) -> Iterator[io.TextIOWrapper]:
    """Open a text file, perhaps compressed by gzip; what is no text is refused.

    Raises
    ------
    ProblemsError
        The file is not there, is empty, or is binary.
    """
    try:
        with path.open("rb") as file:
            head = file.read(4096)
    except OSError as error:
        message = f"cannot be read ({error.strerror})"
        raise refused(path, message, "give the path of a trace file") from error
    is_zipped = head.startswith(b"\x1f\x8b")
    if not head.strip(b"\xef\xbb\xbf \t\r\n"):
        raise refused(path, "the file is empty", "a trace has at least one request")
    if b"\0" in head and not is_zipped:
        raise refused(path, "a binary file, not a trace", "give CSV, JSON lines or Parquet")
    try:
        with gzip.open(path) if is_zipped else path.open("rb") as raw:
            yield io.TextIOWrapper(raw, encoding="utf-8-sig", newline="")
    except UnicodeDecodeError as error:
        raise refused(path, "not UTF-8 text", "give CSV, JSON lines or Parquet") from error
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise refused(path, f"damaged: {error}", "fetch the file again") from error


def lines(path: Path, stream: io.TextIOWrapper) -> Iterator[str]:
    """Yield lines; one without an end is refused before it fills the memory."""
    while line := stream.readline(MOST_LINE):
        if len(line) == MOST_LINE:
            raise refused(path, f"a line of more than {MOST_LINE:,} characters", "is it a trace?")
        yield line


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Some rows of a CSV file: columns of texts, each of shape (row,)."""

    columns: dict[str, list[str]]
    line: Ints
    row: Ints


def header(path: Path) -> tuple[str, ...]:
    """Return the column names of a CSV file as they stand."""
    with opened(path) as stream:
        reader = csv.reader(lines(path, stream))
        try:
            return tuple(name.strip() for name in next(reader))
        except (StopIteration, csv.Error) as error:
            raise refused(path, f"has no header ({error})", "see docs/traffic.md") from error


def csv_chunks(
    path: Path, tally: Tally, needed: Sequence[str], most_rows: int = CHUNK_ROWS
) -> Iterator[Table]:
    """Yield rows by column name; rows with too few or too many cells are counted and left out.

    Raises
    ------
    ProblemsError
        A needed column is missing or stands twice, or the file cannot be read.
    """
    csv.field_size_limit(MOST_LINE)  # for the process: a cell holds all identities of a prompt
    with opened(path) as stream:
        reader = csv.reader(lines(path, stream))
        try:
            names = [name.strip() for name in next(reader, [])]
            _check_names(path, names, needed)
            cells: list[list[str]] = []
            at: list[int] = []
            for row in reader:
                if not row:
                    continue
                cells.append(row)
                at.append(reader.line_num)
                if len(cells) == most_rows:
                    yield _table(names, cells, at, tally)
                    cells, at = [], []
        except csv.Error as error:
            raise refused(path, f"not CSV: {error}", where=f"line {reader.line_num}") from error
        if cells:
            yield _table(names, cells, at, tally)


def _check_names(path: Path, names: list[str], needed: Sequence[str]) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        shown = columns_in_words(twice[:1])
        raise refused(path, f"column {shown} stands twice", "name each column once")
    for name in needed:
        if name not in names:
            close = nearest(name, names)
            hint = f"; rename {did_you_mean(close)}?" if close else ""
            raise refused(path, f"no column {name!r}{hint}", f"it has {columns_in_words(names)}")


def _table(names: list[str], cells: list[list[str]], at: list[int], tally: Tally) -> Table:
    width = len(names)
    first = tally.rows
    tally.rows += len(cells)
    row = np.arange(first, tally.rows)
    line = np.array(at, dtype=np.int64)
    is_whole = np.fromiter((len(one) == width for one in cells), dtype=bool, count=len(cells))
    if not is_whole.all():
        tally.drop(f"not {width} cells", line[~is_whole])
        cells = [one for one in cells if len(one) == width]
        row, line = row[is_whole], line[is_whole]
    columns = zip(*cells, strict=True) if cells else ((),) * width
    return Table(
        columns={name: list(column) for name, column in zip(names, columns, strict=True)},
        line=line,
        row=row,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Records:
    """Some records of a JSON file."""

    records: list[dict[str, Any]]
    line: Ints
    row: Ints

    def numbers(self, key: str) -> Floats:
        """Return the numbers under a key; nan where there is none."""
        return np.array([_number(one.get(key)) for one in self.records], dtype=np.float64)


JSON_ROWS = 1 << 13  # fewer: a record may hold thousands of identities


def json_chunks(path: Path, tally: Tally) -> Iterator[Records]:
    """Yield records of a JSON-lines file; lines that are no object are counted and left out."""
    with opened(path) as stream:
        records: list[dict[str, Any]] = []
        at: list[int] = []
        rows: list[int] = []
        for number, line in enumerate(lines(path, stream), 1):
            if not line.strip():
                continue
            tally.rows += 1
            record = parse(line)
            if record is None:
                tally.drop(NOT_JSON, [number])
                continue
            records.append(record)
            at.append(number)
            rows.append(tally.rows - 1)
            if len(records) == JSON_ROWS:
                yield _records(records, at, rows)
                records, at, rows = [], [], []
        if records:
            yield _records(records, at, rows)


def _records(records: list[dict[str, Any]], at: list[int], rows: list[int]) -> Records:
    return Records(records=records, line=np.array(at), row=np.array(rows))


def parse(line: str) -> dict[str, Any] | None:
    """Return the object of a line, None where it is none."""
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _number(value: object) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError:
            return float("inf")
    return text_number(value) if isinstance(value, str) else float("nan")


def text_number(text: str) -> float:
    """Return a number written in plain digits; nan for anything else.

    Examples
    --------
    >>> text_number(" 12.5 "), text_number("1_000")
    (12.5, nan)
    """
    try:
        return float("nan") if "_" in text else float(text)
    except ValueError:
        return float("nan")


def text_numbers(texts: Sequence[str]) -> Floats:
    """Numbers of cells; nan where there is none."""
    return np.array([text_number(text) for text in texts], dtype=np.float64)


def id_lists(values: Sequence[object]) -> tuple[list[Sequence[Hashable]], Ints]:
    """Lists of identities, and which values are none (they become empty)."""
    found: list[Sequence[Hashable]] = []
    bad = np.zeros(len(values), dtype=bool)
    for place, value in enumerate(values):
        if isinstance(value, list) and all(isinstance(one, int | str) for one in value):
            found.append(value)
        else:
            found.append(())
            bad[place] = True
    return found, bad


def unknown_column(name: str, known: Sequence[str]) -> str:
    """Say that a column is unknown and which one may be meant."""
    return str(UnknownNameError("column", name, known))
