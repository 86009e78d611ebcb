"""Converters: from the files measurements are published in to the columns of an operator case.

Each maker of a converter has its own module (`convert_gemm`, ...) with a tuple `CONVERTERS`; this
one holds only what they share.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tapeout.perf.ops.cases import COLUMNS

Row = dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Converter:
    """Reader of one kind of published file.

    Attributes
    ----------
    name : str
        Unique, e.g. "aiconfigurator-gemm".
    matches : callable (path, header) -> bool
        True if the file is of this kind; `header` is its first line, split.
    rows : callable (path) -> iterator of dict
        Rows with keys out of `cases.COLUMNS`, blanks left out.
    """

    name: str
    matches: Callable[[Path, tuple[str, ...]], bool]
    rows: Callable[[Path], Iterator[Row]]


def read_header(path: Path) -> tuple[str, ...]:
    """First line of a CSV file, split; empty for an empty file."""
    with path.open(encoding="utf-8", newline="") as lines:
        return tuple(next(csv.reader(lines), ()))


def read_rows(path: Path) -> Iterator[Row]:
    """Rows of a CSV file by column name."""
    with path.open(encoding="utf-8", newline="") as lines:
        yield from csv.DictReader(lines)


def case_row(**values: str | float) -> Row:
    """Row of an operator case: numbers as text that reads back exactly, blanks left out.

    Raises
    ------
    KeyError
        A name is no column (our own bug).

    Examples
    --------
    >>> case_row(chip="h100", op="gemm", m=8, n=4096.0, mode="")
    {'chip': 'h100', 'op': 'gemm', 'm': '8', 'n': '4096'}
    """
    unknown = values.keys() - set(COLUMNS)
    if unknown:
        raise KeyError(f"no columns of an operator case: {', '.join(sorted(unknown))}")
    return {name: _text(value) for name, value in values.items() if value != ""}


def _text(value: str | float) -> str:
    if isinstance(value, str):
        return value
    return str(int(value)) if float(value).is_integer() else repr(float(value))


def converter_for(path: Path, known: tuple[Converter, ...]) -> Converter | None:
    """First converter that knows the file; None where none does."""
    header = read_header(path)
    return next((one for one in known if one.matches(path, header)), None)
