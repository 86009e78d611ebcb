"""What every reader of a format offers, and what reading one gives beside the trace."""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

import numpy as np

from tapeout.errors import Problem, ProblemsError
from tapeout.numerics import Floats, Ints
from tapeout.serving.traffic.arrivals import Renewal
from tapeout.serving.traffic.trace import Flags, Trace

LINES_SHOWN = 5  # first line numbers of every reason
BEHIND = "behind the first"  # begins the reason of rows after the last one wanted
_COLUMN = re.compile(r"[A-Za-z0-9_\- ]{1,40}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadOptions:
    """What to read of a file, and how.

    Attributes
    ----------
    format : str, optional
        Name of a format; None: recognised by its columns or keys.
    sort : bool
        Bring rows into the order of their times. Without it rows out of order are an error.
    requests : int, optional
        Stop after so many.
    window_s : (float, float), optional
        Only requests of this time, which then begins at 0. [s]
    max_model_len : int, optional
        Leave out requests with more input and output tokens together.
    keep_failures : bool
        Requests with zero tokens stay, with 1 token, instead of being left out.
    spread : bool
        Coarse time stamps are spread inside their slot.
    seed : int
        Of the spreading, and of what is drawn for formats without arrivals.
    block_tokens : int, optional
        Cut prefix blocks into blocks of this size; None: as in the file.
    partial_blocks : bool
        Keep the identity of partial last blocks: for statistics, not for an engine.
    rate_rps : float, optional
        For files without times: mean rate of the arrivals. [1/s]
    process : Renewal, optional
        For files without times; None: Poisson.
    """

    format: str | None = None
    sort: bool = False
    requests: int | None = None
    window_s: tuple[float, float] | None = None
    max_model_len: int | None = None
    keep_failures: bool = False
    spread: bool = True
    seed: int = 0
    block_tokens: int | None = None
    partial_blocks: bool = False
    rate_rps: float | None = None
    process: Renewal | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Dropped:
    """Rows left out for one reason.

    Attributes
    ----------
    reason : str
    rows : int
    lines : tuple of int
        First line numbers in the file.
    """

    reason: str
    rows: int
    lines: tuple[int, ...]

    @property
    def words(self) -> str:
        """As a note; without a number where the rest of the file was not read."""
        if self.reason.startswith(BEHIND):
            return f"rows {self.reason} left out"
        first = f", first in line {self.lines[0]}" if self.lines else ""
        return f"{self.rows:,} rows left out: {self.reason}{first}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadReport:
    """What became of the rows of a file.

    Attributes
    ----------
    path : str
    format : str
    rows : int
        Rows read, empty lines apart.
    kept : int
        Requests of the trace.
    dropped : tuple of Dropped
        Everything between the two, by reason.
    notes : tuple of str
        What else to know: what was assumed, changed, or is not supported.
    """

    path: str
    format: str
    rows: int
    kept: int
    dropped: tuple[Dropped, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def dropped_rows(self) -> int:
        """Rows that are not in the trace."""
        return sum(one.rows for one in self.dropped)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """Some rows of a file as arrays of shape (row,), not checked yet.

    Attributes
    ----------
    line, row : array of int
        Line in the file, from 1; number of the row, from 0.
    time_s : array
        nan where it cannot be read; empty where the format has none. [s]
    input_tokens, output_tokens : array
        nan where they cannot be read.
    client, slo_class : array of int, optional
    parent : array of int, optional
        Number of the row of the turn before, -1 for none, -2 for one that is not in the file.
    think_s : array, optional
        [s]
    blocks : list of sequences, optional
        Identities of the blocks of every prompt.
    """

    line: Ints
    row: Ints
    time_s: Floats
    input_tokens: Floats
    output_tokens: Floats
    client: Ints | None = None
    slo_class: Ints | None = None
    parent: Ints | None = None
    think_s: Floats | None = None
    blocks: list[Sequence[Hashable]] | None = None


@dataclass(slots=True)
class Tally:
    """Counts rows while they are read; the report is made of it."""

    rows: int = 0
    counts: dict[str, int] = field(default_factory=dict)
    lines: dict[str, list[int]] = field(default_factory=dict)
    notes: dict[str, int] = field(default_factory=dict)
    classes: dict[str, int] = field(default_factory=dict)  # names of service classes

    def drop(self, reason: str, lines: Sequence[int] | Ints, count: int | None = None) -> None:
        """Count rows that are left out; `count` where their lines are not known."""
        rows = len(lines) if count is None else count
        if rows:
            self.counts[reason] = self.counts.get(reason, 0) + rows
            shown = self.lines.setdefault(reason, [])
            shown.extend(int(one) for one in lines[: LINES_SHOWN - len(shown)])

    def note(self, text: str, count: int = 1) -> None:
        """Remember something; a text with {n} is filled with how often."""
        if count:
            self.notes[text] = self.notes.get(text, 0) + count

    def dropped(self) -> tuple[Dropped, ...]:
        """Rows left out, by reason."""
        return tuple(
            Dropped(reason=reason, rows=count, lines=tuple(self.lines[reason]))
            for reason, count in self.counts.items()
        )

    def said(self) -> tuple[str, ...]:
        """Return the notes with their counts."""
        return tuple(text.replace("{n}", f"{count:,}") for text, count in self.notes.items())


class Reader(Protocol):
    """A format."""

    @property
    def name(self) -> str:
        """As given to `--format`."""
        ...

    @property
    def title(self) -> str:
        """For people."""
        ...

    @property
    def timed(self) -> bool:
        """Rows have arrival times."""
        ...

    @property
    def from_first(self) -> bool:
        """Times count from the first row: clock time, or seconds since an unknown start."""
        ...

    @property
    def unordered(self) -> bool:
        """Rows are in no order, so they are always sorted."""
        ...

    @property
    def block_tokens(self) -> int:
        """Tokens of a prefix block; 0 where the format has none."""
        ...

    @property
    def grid_s(self) -> float:
        """Step of coarse time stamps; 0 for fine ones. [s]."""
        ...

    def recognises(self, names: frozenset[str]) -> bool:
        """Whether a header or the keys of a first record are those of the format."""
        ...

    def rows(self, path: Path, tally: Tally) -> Iterator[Rows]:
        """Yield the rows in chunks; rows that are no rows are counted in the tally."""
        ...


Result = tuple[Trace, ReadReport]
Mode = Literal["csv", "jsonl", "json", "parquet"]


def refused(path: Path, message: str, remedy: str = "", *, where: str = "") -> ProblemsError:
    """Make the error for a whole file."""
    problem = Problem(path=where or path.name, value="", message=message, remedy=remedy)
    return ProblemsError(f"trace {path}", [problem])


def columns_in_words(names: Iterable[str]) -> str:
    """Name columns, but only what looks like one: a file that is no trace is not quoted.

    Examples
    --------
    >>> columns_in_words(["time", "root:x:0:0:/root"])
    'time and 1 that is no name'
    """
    every = list(names)
    shown = [one for one in every if _COLUMN.fullmatch(one)]
    hidden = len(every) - len(shown)
    told = ", ".join(shown)[:200]
    if not hidden:
        return told
    return f"{told} and {hidden} that is no name" if told else f"{hidden} that is no name"


def whole_numbers(values: Floats) -> Flags:
    """Whether values are whole numbers that fit, shape of the values."""
    with np.errstate(invalid="ignore"):
        found: Flags = (
            np.isfinite(values) & (values == np.rint(values)) & (np.abs(values) < 2.0**53)
        )
    return found
