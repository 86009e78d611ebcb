"""The own format of this project: a table of requests as CSV, JSON lines or Parquet."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tapeout.errors import Problem, ProblemsError
from tapeout.numerics import Floats, Ints
from tapeout.serving.traffic.readers.base import Rows, Tally, columns_in_words, refused
from tapeout.serving.traffic.readers.text import (
    CHUNK_ROWS,
    Records,
    Table,
    csv_chunks,
    header,
    id_lists,
    json_chunks,
    unknown_column,
)

NEEDED = ("arrival_s", "input_tokens", "output_tokens")
OPTIONAL = ("client", "parent", "turn", "think_s", "slo_class", "prefix_block_ids", "block_tokens")
COLUMNS = NEEDED + OPTIONAL
BLOCK_TOKENS = 16
NO_IDS = "{n} requests without a list of block identities: their prompts share nothing"
TURN = "{n} rows whose turn is not one more than their parent's: the parent counts"


def check_columns(path: Path, names: Sequence[str]) -> None:
    """Refuse columns that are not known, and a table without the needed ones.

    Raises
    ------
    ProblemsError
        Every unknown or missing column.
    """
    problems = [
        Problem(
            path=columns_in_words([name]) if name else "a column",
            value="",
            message=unknown_column(columns_in_words([name]), COLUMNS),
            remedy=f"rename or remove it; known are {', '.join(COLUMNS)}",
        )
        for name in names
        if name not in COLUMNS
    ]
    problems += [
        Problem(path=name, value="", message="the column is missing", remedy="add it")
        for name in NEEDED
        if name not in names
    ]
    if problems:
        raise ProblemsError(f"trace {path}", problems)


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnReader:
    """The table in one of three forms."""

    name: str
    title: str
    mode: str
    timed: bool = True
    from_first: bool = False
    unordered: bool = False
    block_tokens: int = BLOCK_TOKENS
    grid_s: float = 0.0

    def recognises(self, names: frozenset[str]) -> bool:
        """Whether two of the needed columns are there: the message then says what is wrong."""
        return len(names & set(NEEDED)) >= 2

    def rows(self, path: Path, tally: Tally) -> Iterator[Rows]:
        """Yield the rows in chunks."""
        turns: dict[int, int] = {}
        for records in _CHUNKS[self.mode](path, tally):
            yield _rows(path, records, turns, tally)


def _rows(path: Path, records: Records, turns: dict[int, int], tally: Tally) -> Rows:
    known = {name for name in OPTIONAL if any(name in one for one in records.records)}
    _check_block_tokens(path, records, known)
    parent = _whole(records, "parent", -1) if "parent" in known else None
    if parent is not None:
        _compare_turns(records, parent, turns, tally)
    blocks = None
    if "prefix_block_ids" in known:
        blocks, bad = id_lists([one.get("prefix_block_ids") for one in records.records])
        tally.note(NO_IDS, int(bad.sum()))
    return Rows(
        line=records.line,
        row=records.row,
        time_s=records.numbers("arrival_s"),
        input_tokens=records.numbers("input_tokens"),
        output_tokens=records.numbers("output_tokens"),
        client=_whole(records, "client", 0) if "client" in known else None,
        slo_class=_classes(path, records, tally) if "slo_class" in known else None,
        parent=parent,
        think_s=_think(records) if "think_s" in known or parent is not None else None,
        blocks=blocks,
    )


def _whole(records: Records, key: str, default: int) -> Ints:
    """Whole numbers; an empty cell takes the default, anything else that is none becomes -2."""
    values = np.array([_blank(one.get(key), default) for one in records.records], dtype=np.float64)
    is_good = np.isfinite(values) & (values == np.rint(values)) & (np.abs(values) < 2.0**53)
    return np.where(is_good, values, -2.0).astype(np.int64)


def _blank(value: object, default: int) -> float:
    if value is None or value == "":
        return float(default)
    return float(Records(records=[{"": value}], line=_ONE, row=_ONE).numbers("")[0])


_ONE = np.zeros(1, dtype=np.int64)


def _think(records: Records) -> Floats:
    """Think times; an empty one is 0, one that is no time becomes nan and is refused later."""
    values = [_blank(one.get("think_s"), 0) for one in records.records]
    found = np.array(values, dtype=np.float64)
    return np.where(found < 0.0, np.nan, found)


def _classes(path: Path, records: Records, tally: Tally) -> Ints:
    names = [str(one.get("slo_class") or "") for one in records.records]
    for name, line in zip(names, records.line.tolist(), strict=True):
        if not name.isprintable():  # a terminal would obey them
            raise refused(
                path, "slo_class has control characters", "rename it", where=f"line {line}"
            )
    codes = [tally.classes.setdefault(name, len(tally.classes)) for name in names]
    return np.array(codes, dtype=np.int64)


def _compare_turns(records: Records, parent: Ints, turns: dict[int, int], tally: Tally) -> None:
    """A turn column is checked against the parents; nothing is taken from it."""
    wrong = 0
    for one, before, row in zip(
        records.records, parent.tolist(), records.row.tolist(), strict=True
    ):
        follows = turns[row] = turns.get(before, 0) + 1
        said = _blank(one.get("turn"), follows)
        wrong += said not in (follows, follows - 1)  # counted from 1 or from 0
    tally.note(TURN, wrong)


def _check_block_tokens(path: Path, records: Records, known: set[str]) -> None:
    if "block_tokens" in known:
        sizes = {_blank(one.get("block_tokens"), BLOCK_TOKENS) for one in records.records}
        if sizes != {float(BLOCK_TOKENS)}:
            raise refused(path, f"block_tokens must be {BLOCK_TOKENS} in every row", "")


def _csv(path: Path, tally: Tally) -> Iterator[Records]:
    check_columns(path, header(path))
    for table in csv_chunks(path, tally, NEEDED):
        yield _of_table(table)


def _of_table(table: Table) -> Records:
    names = list(table.columns)
    records: list[dict[str, Any]] = [
        dict(zip(names, cells, strict=True)) for cells in zip(*table.columns.values(), strict=True)
    ]
    for one in records:
        if one.get("prefix_block_ids"):
            try:
                one["prefix_block_ids"] = json.loads(one["prefix_block_ids"])
            except (ValueError, RecursionError):
                one["prefix_block_ids"] = None
    return Records(records=records, line=table.line, row=table.row)


def _jsonl(path: Path, tally: Tally) -> Iterator[Records]:
    for records in json_chunks(path, tally):
        names = dict.fromkeys(key for one in records.records for key in one)
        check_columns(path, [*names, *(name for name in NEEDED if name not in names)])
        yield records


def _parquet(path: Path, tally: Tally) -> Iterator[Records]:
    import polars as pl  # noqa: PLC0415  # a quarter of a second to load

    try:
        lazy = pl.scan_parquet(path)
        check_columns(path, lazy.collect_schema().names())
        total = int(lazy.select(pl.len()).collect().item())
        for first in range(0, total, CHUNK_ROWS):
            frame = lazy.slice(first, CHUNK_ROWS).collect()
            row = np.arange(first, first + frame.height)
            tally.rows += frame.height
            yield Records(records=frame.to_dicts(), line=row + 1, row=row)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise refused(path, f"not Parquet: {error}", "write it with a Parquet writer") from error


_CHUNKS = {"csv": _csv, "jsonl": _jsonl, "parquet": _parquet}

CSV = OwnReader(name="csv", title="own table, CSV", mode="csv")
JSONL = OwnReader(name="jsonl", title="own table, JSON lines", mode="jsonl")
PARQUET = OwnReader(name="parquet", title="own table, Parquet", mode="parquet")
