"""Which rows are requests; what is left out is counted with its reason."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from tapeout.numerics import Ints
from tapeout.serving.traffic.lengths import MOST_TOKENS
from tapeout.serving.traffic.readers.base import (
    BEHIND,
    Reader,
    ReadOptions,
    Rows,
    Tally,
    refused,
    whole_numbers,
)
from tapeout.serving.traffic.trace import MOST_SECONDS, Flags


def checked(reader: Reader, path: Path, options: ReadOptions, tally: Tally) -> Iterator[Rows]:
    """Yield the good rows in chunks; the others are counted.

    Where rows are sorted later, the number of requests is not limited here.

    Raises
    ------
    ProblemsError
        A row is out of order and sorting was not asked for, or a window was asked of a format
        without times.
    """
    is_sorted = options.sort or reader.unordered
    if options.window_s is not None and not reader.timed:
        raise refused(path, "has no arrival times, so no window", "leave the window out")
    last, left = -np.inf, None if is_sorted else options.requests
    origin_s = None if reader.from_first else 0.0
    for rows in reader.rows(path, tally):
        good = _good(reader, rows, options, tally)
        if reader.timed and good.row.size:
            origin_s = float(good.time_s[0]) if origin_s is None else origin_s
            _check_clock(path, good, origin_s)
        inside = _in_window(good, options, tally)
        if left is not None:
            inside = _limited(inside, left, options, tally)
            left -= inside.row.size
        if reader.timed and not is_sorted:
            read = good if left != 0 else _take(good, np.flatnonzero(good.row <= inside.row[-1]))
            _check_order(path, read, last)
            last = float(read.time_s[-1]) if read.row.size else last
        yield inside
        if left == 0:
            tally.note(f"stopped after {options.requests:,} requests: the rest was not read")
            return
        if options.window_s is not None and not is_sorted and last >= options.window_s[1]:
            tally.note("stopped at the end of the window: the rest of the file was not read")
            return


def _good(reader: Reader, rows: Rows, options: ReadOptions, tally: Tally) -> Rows:
    """Rows that are requests; a row that is none for several reasons counts for the first."""
    keep = np.ones(rows.row.size, dtype=bool)
    for reason, bad in _faults(reader, rows):
        tally.drop(reason, rows.line[keep & bad])
        keep &= ~bad
    zero = (rows.input_tokens == 0.0) | (rows.output_tokens == 0.0)
    if options.keep_failures:
        tally.note("{n} requests with zero tokens kept with one token", int((zero & keep).sum()))
    else:
        tally.drop("zero tokens (a failed request)", rows.line[keep & zero])
        keep &= ~zero
    if options.max_model_len is not None:
        longer = rows.input_tokens + rows.output_tokens > options.max_model_len
        tally.drop(f"longer than {options.max_model_len:,} tokens", rows.line[keep & longer])
        keep &= ~longer
    return _take(rows, np.flatnonzero(keep))


def _faults(reader: Reader, rows: Rows) -> Iterator[tuple[str, Flags]]:
    """What makes a row no request, and which rows have it."""
    if reader.timed:
        yield "time missing or no number", ~np.isfinite(rows.time_s)
        if not reader.from_first:
            yield "negative time", rows.time_s < 0.0
    for side, tokens in (("input", rows.input_tokens), ("output", rows.output_tokens)):
        yield f"{side} tokens missing or no whole number", ~whole_numbers(tokens)
        yield f"negative {side} tokens", tokens < 0.0
        yield f"more than {MOST_TOKENS:,} {side} tokens", tokens > MOST_TOKENS
    if rows.client is not None:
        yield "client is no whole number of at least 0", rows.client < 0
    if rows.think_s is not None:
        yield "think time is no time", ~np.isfinite(rows.think_s)
        yield f"think time of more than {MOST_SECONDS:,.0f} s", rows.think_s > MOST_SECONDS


def _take(rows: Rows, at: Ints) -> Rows:
    """Some of the rows; tokens of at least 1."""

    def part(column: Ints | None) -> Ints | None:
        return None if column is None else column[at]

    return Rows(
        line=rows.line[at],
        row=rows.row[at],
        time_s=rows.time_s[at] if rows.time_s.size else rows.time_s,
        input_tokens=np.maximum(rows.input_tokens[at], 1.0),
        output_tokens=np.maximum(rows.output_tokens[at], 1.0),
        client=part(rows.client),
        slo_class=part(rows.slo_class),
        parent=part(rows.parent),
        think_s=None if rows.think_s is None else rows.think_s[at],
        blocks=None if rows.blocks is None else [rows.blocks[place] for place in at.tolist()],
    )


def _in_window(rows: Rows, options: ReadOptions, tally: Tally) -> Rows:
    if options.window_s is None:
        return rows
    low, high = options.window_s
    is_in = (rows.time_s >= low) & (rows.time_s < high)
    tally.drop(f"outside of {low:g} to {high:g} s", rows.line[~is_in])
    return _take(rows, np.flatnonzero(is_in))


def _limited(rows: Rows, left: int, options: ReadOptions, tally: Tally) -> Rows:
    """The first rows; those that were read with them are counted."""
    tally.drop(beyond(options), rows.line[left:])
    return _take(rows, np.arange(min(left, rows.row.size)))


def beyond(options: ReadOptions) -> str:
    """Say why rows behind the last one wanted are left out."""
    return f"{BEHIND} {options.requests:,} requests"


def _check_clock(path: Path, rows: Rows, origin_s: float) -> None:
    """Refuse times that nothing can count: one of 1e300 s would stretch all figures."""
    beyond_it = np.flatnonzero(np.abs(rows.time_s - origin_s) > MOST_SECONDS)
    if beyond_it.size:
        place = int(beyond_it[0])
        raise refused(
            path,
            f"its time {rows.time_s[place]:g} s is more than {MOST_SECONDS:,.0f} s away",
            "give times in seconds from the start",
            where=f"line {int(rows.line[place])}",
        )


def _check_order(path: Path, rows: Rows, last: float) -> None:
    before = np.concatenate([[last], rows.time_s[:-1]])[: rows.row.size]
    late = np.flatnonzero(rows.time_s < before)
    if late.size:
        place = int(late[0])
        raise refused(
            path,
            f"its time {rows.time_s[place]:g} s is before that of the row above,"
            f" {before[place]:g} s",
            "ask for sorting (--sort)",
            where=f"line {int(rows.line[place])}",
        )
