"""From rows of any format to a trace: what is left out and counted, order, turns, prefixes."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from tapeout.errors import InfeasibleError
from tapeout.numerics import Floats, Ints
from tapeout.serving.traffic.arrivals import Poisson, first_times
from tapeout.serving.traffic.prefixes import Chains, expand, select
from tapeout.serving.traffic.readers.base import (
    Reader,
    ReadOptions,
    ReadReport,
    Result,
    Rows,
    Tally,
    refused,
)
from tapeout.serving.traffic.readers.checking import beyond, checked
from tapeout.serving.traffic.scaling import take
from tapeout.serving.traffic.streams import stream
from tapeout.serving.traffic.trace import Prefixes, Trace

GRID_SLACK = 0.01  # of a slot: stamps of Mooncake are up to 3 ms off their grid of 3 s
NO_PARENT, ABSENT = -1, -2
ORPHANS = "{n} turns whose parent is not in the trace: they start on their own"
ANSWERED = ("csv", "jsonl", "parquet")  # our own formats: identities go on into the answer
SHORT = "{n} requests with another number of block identities than their length says"


_EMPTY = np.empty(0, dtype=np.int64)


@dataclass(slots=True)
class _Columns:
    """Rows of all chunks, in lists of arrays."""

    chunks: list[Rows] = field(default_factory=list)
    blocks: list[tuple[Ints, Ints] | None] = field(default_factory=list)  # sizes and numbers
    chains: Chains = field(default_factory=Chains)

    answered: bool = False

    def add(self, rows: Rows, block_tokens: int, tally: Tally) -> None:
        """Take a chunk; block identities become numbers and lines are forgotten."""
        found = None if rows.blocks is None else self._numbered(rows, block_tokens, tally)
        self.blocks.append(found)
        self.chunks.append(replace(rows, line=_EMPTY, blocks=None))

    def _numbered(self, rows: Rows, block_tokens: int, tally: Tally) -> tuple[Ints, Ints]:
        sizes, numbers, wrong = [], [], 0
        blocks = rows.blocks or [()] * rows.row.size
        tokens, out = rows.input_tokens.tolist(), rows.output_tokens.tolist()
        for ids, prompt, answer in zip(blocks, tokens, out, strict=True):
            whole, rest = divmod(int(prompt), block_tokens)
            most = whole + (rest > 0)
            if self.answered:
                most = max(whole, int(prompt + answer - 1) // block_tokens)
            size = max(whole, min(len(ids), most))
            wrong += bool(ids) and not whole <= len(ids) <= most
            numbers += self.chains.number(ids, size)
            sizes.append(size)
        tally.note(SHORT, wrong)
        return np.array(sizes, dtype=np.int64), np.array(numbers, dtype=np.int64)

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

    def prefixes(self, block_tokens: int, tally: Tally) -> Prefixes | None:
        """Return the identities of all prompts, those of partial blocks too."""
        if all(one is None for one in self.blocks):
            return None
        found = [
            self._numbered(rows, block_tokens, tally) if one is None else one
            for one, rows in zip(self.blocks, self.chunks, strict=True)
        ]
        sizes = np.concatenate([one for one, _ in found])
        return Prefixes(
            block_tokens=block_tokens,
            offsets=np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
            ids=np.concatenate([numbers for _, numbers in found]),
            count=self.chains.count,
        )


def collect(reader: Reader, path: Path, options: ReadOptions) -> Result:
    """Read a whole file, or the part asked for.

    Raises
    ------
    ProblemsError
        The file cannot be read, or has no request.
    InfeasibleError
        Fewer than one request is asked for, or blocks of a size that does not divide the file's.
    """
    if options.requests is not None and options.requests < 1:
        raise InfeasibleError(f"{options.requests} requests are none; ask for at least 1")
    tally, columns = Tally(), _Columns(answered=reader.name in ANSWERED)
    for rows in checked(reader, path, options, tally):
        columns.add(rows, reader.block_tokens or 1, tally)
    kept = sum(one.row.size for one in columns.chunks)
    if not kept:
        why = "; ".join(f"{one.rows:,} rows: {one.reason}" for one in tally.dropped())
        raise refused(path, f"no request in it ({why or 'no rows'})", "see docs/traffic.md")
    trace = _trace(reader, path, columns, options, tally)
    if options.requests is not None and trace.requests > options.requests:
        trace = _cut(trace, options, tally)
    report = ReadReport(
        path=str(path),
        format=reader.name,
        rows=tally.rows,
        kept=trace.requests,
        dropped=tally.dropped(),
        notes=tally.said(),
    )
    return trace, report


def _cut(trace: Trace, options: ReadOptions, tally: Tally) -> Trace:
    """The first requests after sorting; their lines are not known any more."""
    assert options.requests is not None
    tally.drop(beyond(options), [], trace.requests - options.requests)
    return take(trace, np.arange(options.requests))


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
        arrival_s = np.maximum(arrival_s - options.window_s[0], 0.0)
    elif arrival_s[0] < 0.0:
        arrival_s = arrival_s - arrival_s[0]
    return Trace(
        arrival_s=arrival_s,
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        prefixes=_prefixes(path, columns, options, order, (reader.block_tokens, tally)),
        client=whole(columns.optional("client", 0.0)),
        parent=_parents(path, columns, order, tally),
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
    path: Path,
    columns: _Columns,
    options: ReadOptions,
    order: Ints | None,
    blocks: tuple[int, Tally],
) -> Prefixes | None:
    block_tokens, tally = blocks
    found = columns.prefixes(block_tokens, tally)
    if found is None:
        return None
    if not options.partial_blocks:
        wanted, tokens = options.block_tokens or block_tokens, columns.column("input_tokens")
        if columns.answered:
            tokens = np.maximum(tokens, np.diff(found.offsets) * block_tokens)
        try:
            found = expand(found, tokens.astype(np.int64), wanted)
        except ValueError as error:
            raise InfeasibleError(f"{path}: {error}") from error
    return found if order is None else select(found, order)


def _parents(path: Path, columns: _Columns, order: Ints | None, tally: Tally) -> Ints | None:
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
    if columns.answered:  # our own formats: what cannot be followed is a mistake
        itself = (parents >= 0) & (parents == rows)
        wrong = int(late.sum()) + int(itself.sum())
        if wrong:
            raise refused(
                path,
                f"{wrong:,} turns do not come after their parent (row of the file, from 0)",
                "let parents come earlier; -1 or a blank is none",
                where="parent",
            )
    tally.note("{n} turns before their parent: they start on their own", int(late.sum()))
    return np.where(late, NO_PARENT, found)
