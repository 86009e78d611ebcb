"""From rows of any format to a trace: what is left out and counted, order, turns, prefixes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from tapeout.errors import InfeasibleError
from tapeout.numerics import Floats, Ints
from tapeout.serving.traffic.arrivals import Poisson, first_times
from tapeout.serving.traffic.lengths import MOST_TOKENS
from tapeout.serving.traffic.prefixes import Chains, expand, select
from tapeout.serving.traffic.readers.base import (
    Reader,
    ReadOptions,
    ReadReport,
    Result,
    Rows,
    Tally,
    refused,
    whole_numbers,
)
from tapeout.serving.traffic.streams import stream
from tapeout.serving.traffic.trace import Flags, Prefixes, Trace

GRID_SLACK = 0.01  # of a slot: stamps of Mooncake are up to 3 ms off their grid of 3 s
NO_PARENT, ABSENT = -1, -2
ORPHANS = "{n} turns whose parent is not in the trace: they start on their own"
SHORT = "{n} requests with another number of block identities than their length says"


def checked(reader: Reader, path: Path, options: ReadOptions, tally: Tally) -> Iterator[Rows]:
    """Yield the good rows in chunks; the others are counted.

    Raises
    ------
    ProblemsError
        A row is out of order and sorting was not asked for.
    """
    last, kept = -np.inf, 0
    is_sorted = options.sort or reader.unordered
    for rows in reader.rows(path, tally):
        good = _good(reader, rows, options, tally)
        if reader.timed and good.time_s.size and not is_sorted:
            _check_order(path, good, last)
            last = float(good.time_s[-1])
        inside = _in_window(good, options, tally) if reader.timed else good
        if options.requests is not None and kept + inside.row.size > options.requests:
            inside = _take(inside, np.arange(options.requests - kept))
        kept += inside.row.size
        yield inside
        if options.requests is not None and kept >= options.requests and not is_sorted:
            tally.note(f"stopped after {kept:,} requests: the rest of the file was not read")
            return
        if options.window_s is not None and not is_sorted and last >= options.window_s[1]:
            tally.note("stopped at the end of the window: the rest of the file was not read")
            return


def _good(reader: Reader, rows: Rows, options: ReadOptions, tally: Tally) -> Rows:
    """Rows that are requests."""
    keep = np.ones(rows.row.size, dtype=bool)

    def leave_out(reason: str, bad: Flags) -> None:
        tally.drop(reason, rows.line[keep & bad])
        keep[bad] = False

    if reader.timed:
        leave_out("time missing or no number", ~np.isfinite(rows.time_s))
        if not reader.from_first:
            leave_out("negative time", rows.time_s < 0.0)
    sides = (("input", rows.input_tokens), ("output", rows.output_tokens))
    for side, tokens in sides:
        leave_out(f"{side} tokens missing or no whole number", ~whole_numbers(tokens))
        leave_out(f"negative {side} tokens", tokens < 0.0)
        leave_out(f"more than {MOST_TOKENS:,} {side} tokens", tokens > MOST_TOKENS)
    zero = (rows.input_tokens == 0.0) | (rows.output_tokens == 0.0)
    if options.keep_failures:
        tally.note("{n} requests with zero tokens kept with one token", int((zero & keep).sum()))
    else:
        leave_out("zero tokens (a failed request)", zero)
    if rows.think_s is not None:
        leave_out("think time is no time", ~np.isfinite(rows.think_s))
    if options.max_model_len is not None:
        longer = rows.input_tokens + rows.output_tokens > options.max_model_len
        leave_out(f"longer than {options.max_model_len:,} tokens", longer)
    return _take(rows, np.flatnonzero(keep))


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


def _check_order(path: Path, rows: Rows, last: float) -> None:
    before = np.concatenate([[last], rows.time_s[:-1]])
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


def _in_window(rows: Rows, options: ReadOptions, tally: Tally) -> Rows:
    if options.window_s is None:
        return rows
    low, high = options.window_s
    is_in = (rows.time_s >= low) & (rows.time_s < high)
    tally.drop(f"outside of {low:g} to {high:g} s", rows.line[~is_in])
    return _take(rows, np.flatnonzero(is_in))


@dataclass(slots=True)
class _Columns:
    """Rows of all chunks, in lists of arrays."""

    chunks: list[Rows] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)  # blocks of each prompt
    ids: list[int] = field(default_factory=list)
    chains: Chains = field(default_factory=Chains)

    def add(self, rows: Rows, block_tokens: int, tally: Tally) -> None:
        """Take a chunk; block identities become numbers and are forgotten."""
        if rows.blocks is not None:
            wrong = 0
            for ids, tokens in zip(rows.blocks, rows.input_tokens.tolist(), strict=True):
                whole, rest = divmod(int(tokens), block_tokens)
                blocks = whole + (rest > 0 and len(ids) > whole)
                wrong += bool(ids) and not whole <= len(ids) <= whole + (rest > 0)
                self.ids += self.chains.number(ids, blocks)
                self.sizes.append(blocks)
            tally.note(SHORT, wrong)
        self.chunks.append(rows)

    def column(self, name: str) -> Floats:
        """Return a column over all chunks."""
        return np.concatenate([getattr(one, name) for one in self.chunks])

    def optional(self, name: str, default: float) -> Floats | None:
        """Return a column that some chunks lack; None where all do."""
        if all(getattr(one, name) is None for one in self.chunks):
            return None
        return np.concatenate(
            [
                np.full(one.row.size, default) if getattr(one, name) is None else getattr(one, name)
                for one in self.chunks
            ]
        )

    def prefixes(self, block_tokens: int) -> Prefixes | None:
        """Return the identities of all prompts, those of partial blocks too."""
        if all(one.blocks is None for one in self.chunks):
            return None
        return Prefixes(
            block_tokens=block_tokens,
            offsets=np.concatenate([[0], np.cumsum(np.array(self.sizes, dtype=np.int64))]),
            ids=np.array(self.ids, dtype=np.int64),
            count=self.chains.count,
        )


def collect(reader: Reader, path: Path, options: ReadOptions) -> Result:
    """Read a whole file, or the part asked for.

    Raises
    ------
    ProblemsError
        The file cannot be read, or has no request.
    """
    tally, columns = Tally(), _Columns()
    for rows in checked(reader, path, options, tally):
        columns.add(rows, reader.block_tokens or 1, tally)
    kept = sum(one.row.size for one in columns.chunks)
    if not kept:
        why = "; ".join(f"{one.rows:,} rows: {one.reason}" for one in tally.dropped())
        raise refused(path, f"no request in it ({why or 'no rows'})", "see docs/traffic.md")
    trace = _trace(reader, path, columns, options, tally)
    report = ReadReport(
        path=str(path),
        format=reader.name,
        rows=tally.rows,
        kept=kept,
        dropped=tally.dropped(),
        notes=tally.said(),
    )
    return trace, report


def _trace(
    reader: Reader, path: Path, columns: _Columns, options: ReadOptions, tally: Tally
) -> Trace:
    times = _times(reader, path, columns, options, tally)
    order: Ints | None = None
    if bool((np.diff(times) < 0.0).any()):
        order = np.argsort(times, kind="stable")
        tally.note("rows were sorted by time")

    def ordered(column: Floats | None) -> Floats | None:
        return column if column is None or order is None else column[order]

    def whole(column: Floats | None) -> Ints | None:
        found = ordered(column)
        return None if found is None else found.astype(np.int64)

    input_tokens, output_tokens = (
        whole(columns.column(name)) for name in ("input_tokens", "output_tokens")
    )
    arrival_s = ordered(times)
    assert input_tokens is not None
    assert output_tokens is not None
    assert arrival_s is not None
    unnamed = _unnamed_class(columns, tally)
    if options.window_s is not None:
        arrival_s = arrival_s - options.window_s[0]
    elif arrival_s[0] < 0.0:
        arrival_s = arrival_s - arrival_s[0]
    return Trace(
        arrival_s=arrival_s,
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        prefixes=_prefixes(path, columns, options, order, reader.block_tokens),
        client=whole(columns.optional("client", 0.0)),
        parent=_parents(columns, order, tally),
        think_s=ordered(columns.optional("think_s", 0.0)),
        slo_class=whole(columns.optional("slo_class", unnamed)),
        classes=tuple(tally.classes),
        source=f"{reader.title}: {path.name}",
    )


def _unnamed_class(columns: _Columns, tally: Tally) -> float:
    """Class of rows in chunks without any class, where other chunks have some."""
    if tally.classes and any(one.slo_class is None for one in columns.chunks):
        return float(tally.classes.setdefault("", len(tally.classes)))
    return 0.0


def _times(
    reader: Reader, path: Path, columns: _Columns, options: ReadOptions, tally: Tally
) -> Floats:
    rng = stream(options.seed, "slots" if reader.timed else "arrivals")
    if not reader.timed:
        count = sum(one.row.size for one in columns.chunks)
        if options.rate_rps is None:
            raise refused(
                path, "has lengths but no arrivals", "give a rate (--rate) to draw them at"
            )
        process = options.process or Poisson()
        tally.note(f"arrivals drawn: {process.words}, {options.rate_rps:g} requests/s")
        return first_times(process, count, rng) / options.rate_rps
    times = columns.column("time_s")
    return _spread(times, reader.grid_s, rng, tally) if options.spread else times


def _spread(times: Floats, grid_s: float, rng: np.random.Generator, tally: Tally) -> Floats:
    """Put requests of a slot at uniform times inside it, in the order they have."""
    if grid_s <= 0.0:
        return times
    slots = np.rint(times / grid_s)
    if bool((np.abs(times - slots * grid_s) > GRID_SLACK * grid_s).any()):
        tally.note(f"times are not on a grid of {grid_s:g} s: they were left as they are")
        return times
    tally.note(f"times on a grid of {grid_s:g} s were spread inside their slots")
    within = rng.random(times.size)
    spread = (slots + within) * grid_s
    by_slot = np.argsort(slots, kind="stable")  # as in the file within a slot
    found = np.empty_like(times)
    found[by_slot] = np.sort(spread)
    return found


def _prefixes(
    path: Path, columns: _Columns, options: ReadOptions, order: Ints | None, block_tokens: int
) -> Prefixes | None:
    found = columns.prefixes(block_tokens)
    if found is None:
        return None
    if not options.partial_blocks:
        wanted, tokens = options.block_tokens or block_tokens, columns.column("input_tokens")
        try:
            found = expand(found, tokens.astype(np.int64), wanted)
        except ValueError as error:
            raise InfeasibleError(f"{path}: {error}") from error
    return found if order is None else select(found, order)


def _parents(columns: _Columns, order: Ints | None, tally: Tally) -> Ints | None:
    """Places of the parents in the trace, from numbers of their rows."""
    wanted = columns.optional("parent", NO_PARENT)
    if wanted is None:
        return None
    parents, rows = wanted.astype(np.int64), columns.column("row").astype(np.int64)
    at = np.minimum(np.searchsorted(rows, parents), rows.size - 1)
    is_known = (parents >= 0) & (rows[at] == parents) & (at != np.arange(rows.size))
    tally.note(ORPHANS, int(((parents != NO_PARENT) & ~is_known).sum()))
    found = np.where(is_known, at, NO_PARENT)
    if order is not None:
        place = np.empty(order.size, dtype=np.int64)
        place[order] = np.arange(order.size)
        found = np.where(found >= 0, place[np.maximum(found, 0)], NO_PARENT)[order]
    late = found > np.arange(found.size)
    tally.note("{n} turns before their parent: they start on their own", int(late.sum()))
    return np.where(late, NO_PARENT, found)
