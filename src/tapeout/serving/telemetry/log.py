"""A user's own request log: when each request came, answered and ended, and how long it was."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import file_digest
from pathlib import Path

import numpy as np

from tapeout.errors import Problem, ProblemsError, nearest
from tapeout.numerics import Floats, Ints
from tapeout.serving.traffic.trace import Trace

MOST_PROBLEMS = 20  # that are listed one by one
LATEST_EPOCH_S = 1e11  # the year 5138; larger numbers are milliseconds or finer
LONGEST_TOKENS = 10_000_000
NAMES: Mapping[str, tuple[str, ...]] = {
    "arrival": ("arrival", "arrival_s", "arrival_time", "start_time", "request_time", "timestamp"),
    "first_token": ("first_token", "first_token_s", "first_token_time"),
    "last_token": ("last_token", "last_token_s", "last_token_time", "end_time", "finish_time"),
    "ttft_s": ("ttft_s", "ttft"),
    "e2e_s": ("e2e_s", "e2e", "latency_s"),
    "input_tokens": ("input_tokens", "prompt_tokens", "input_length", "prompt_len"),
    "output_tokens": ("output_tokens", "completion_tokens", "output_length", "generated_tokens"),
}
"""Columns by what they mean; the first that a file has counts. Case does not matter."""

INSTEAD = {"first_token": "ttft_s", "last_token": "e2e_s"}


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestLog:
    """Requests that got all their tokens, in order of arrival; arrays have shape (request,).

    Attributes
    ----------
    arrival_s : array
        From the first arrival. [s]
    first_token_s, last_token_s : array
        On the same clock. [s]
    input_tokens, output_tokens : array of int
    rows : int
        Of the file.
    failed : int
        Rows without a token: they are left out, also from the load.
    bad : int
        Rows that could not be read and were skipped on request.
    name : str
        Of the file.
    sha256 : str
        Of its bytes.
    """

    arrival_s: Floats
    first_token_s: Floats
    last_token_s: Floats
    input_tokens: Ints
    output_tokens: Ints
    rows: int
    failed: int = 0
    bad: int = 0
    name: str = ""
    sha256: str = ""

    @property
    def requests(self) -> int:
        """Number of requests."""
        return int(self.arrival_s.size)

    def trace(self) -> Trace:
        """Return the requests as traffic; they share no prefixes."""
        return Trace(
            arrival_s=self.arrival_s,
            input_tokens=self.input_tokens,
            output_tokens=self.output_tokens,
            source=f"request log {self.name}",
        )


@dataclass(slots=True, kw_only=True)
class _Rows:
    """What was read so far."""

    kept: list[tuple[float, float, float, int, int]]
    problems: list[Problem]
    rows: int = 0
    failed: int = 0
    bad: int = 0


def read_log(
    path: Path, *, columns: Mapping[str, str] | None = None, skip_bad: bool = False
) -> RequestLog:
    """Read a request log from CSV or JSON lines.

    Parameters
    ----------
    path : Path
        `.csv` (with a header), or `.jsonl` or `.ndjson` (an object a line).
    columns : mapping, optional
        Column names of this file by what they mean: `arrival`, `first_token` (or `ttft_s`),
        `last_token` (or `e2e_s`), `input_tokens`, `output_tokens`. Others are found by usual names.
    skip_bad : bool
        Leave out rows that cannot be read, and count them.

    Returns
    -------
    RequestLog
        Sorted by arrival. Times are seconds of an epoch or ISO 8601 (without a zone: UTC).

    Raises
    ------
    ProblemsError
        The file cannot be read, lacks columns, has no request, or has rows that cannot be read.
    """
    found = _Rows(kept=[], problems=[])
    place: dict[str, str] = {}
    try:
        for line, row in _records(path):
            if not place:
                place = _columns(path, list(row), columns or {})
            _take(found, f"line {line}", row, place)
    except OSError as error:
        raise _whole(path, error.strerror or "cannot be read", "check the path") from error
    except UnicodeDecodeError as error:
        raise _whole(path, "is not UTF-8 text", "save it as UTF-8") from error
    except (csv.Error, RecursionError) as error:
        raise _whole(path, f"cannot be read ({error})", "is it a text file?") from error
    if found.bad and not skip_bad:
        raise ProblemsError(f"request log {path.name}", _listed(found))
    if not found.kept:
        raise _whole(path, "has no request with a token", "nothing can be fitted")
    with path.open("rb") as file:
        return _log(path.name, file_digest(file, "sha256").hexdigest(), found)


def _records(path: Path) -> Iterator[tuple[int, Mapping[str, object]]]:
    """Line numbers and rows; an empty mapping stands for a line that is no object."""
    lines = path.suffix.lower() in (".jsonl", ".ndjson")
    with path.open(encoding="utf-8-sig", newline="") as file:
        if not lines:
            reader = csv.DictReader(file)
            for row in reader:
                yield reader.line_num, {str(name): one for name, one in row.items()}
            return
        for number, line in enumerate(file, 1):
            if line.strip():
                yield number, _object(line)


def _object(line: str) -> Mapping[str, object]:
    try:
        found = json.loads(line)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _columns(path: Path, header: Sequence[str], given: Mapping[str, str]) -> dict[str, str]:
    """Which column holds what."""
    problems = [
        Problem(
            path=meaning,
            value=name,
            message="no such column" if meaning in NAMES else "no such meaning",
            remedy=f"the file has {', '.join(header[:20])}; meanings are {', '.join(NAMES)}",
        )
        for meaning, name in given.items()
        if meaning not in NAMES or name not in header
    ]
    lowered = {name.lower().strip(): name for name in header}
    place = {
        meaning: next(lowered[name] for name in names if name in lowered)
        for meaning, names in NAMES.items()
        if any(name in lowered for name in names)
    } | dict(given)
    for meaning, names in NAMES.items():
        if meaning in INSTEAD.values() or meaning in place or INSTEAD.get(meaning) in place:
            continue
        near = [hit for name in names for hit in nearest(name, header, most=1)]
        hint = f"; is it {near[0]!r}?" if near else ""
        problems.append(
            Problem(
                path=meaning,
                value="",
                message=f"no column for it{hint}",
                remedy=f"call it {names[0]}, or say --column {meaning}=NAME",
            )
        )
    if problems:
        raise ProblemsError(f"request log {path.name}", problems)
    return place


def _take(found: _Rows, where: str, row: Mapping[str, object], place: Mapping[str, str]) -> None:
    found.rows += 1
    try:
        read = _read(row, place)
    except _BadRowError as error:
        found.bad += 1
        if len(found.problems) < MOST_PROBLEMS:
            found.problems.append(
                Problem(path=where, value=error.value[:60], message=error.message)
            )
        return
    if read is None:
        found.failed += 1
    else:
        found.kept.append(read)


class _BadRowError(Exception):
    """A row that cannot be read."""

    def __init__(self, value: object, message: str) -> None:
        super().__init__(message)
        self.value = str(value)
        self.message = message


def _read(
    row: Mapping[str, object], place: Mapping[str, str]
) -> tuple[float, float, float, int, int] | None:
    """Times and lengths; None for a request that got no token."""
    arrival = _time(row, place["arrival"])
    prompt = _count(row, place["input_tokens"])
    if arrival is None or not prompt:
        raise _BadRowError("", "a request needs an arrival and at least one input token")
    output = _count(row, place["output_tokens"])
    first = _later(row, place, "first_token", arrival)
    last = _later(row, place, "last_token", arrival)
    if not output or first is None:
        return None
    if last is None:
        raise _BadRowError("", "a first token but no last one")
    if not arrival <= first <= last:
        raise _BadRowError(
            f"{arrival}, {first}, {last}", "arrival, first and last token are not in this order"
        )
    return arrival, first, last, prompt, output


def _later(
    row: Mapping[str, object], place: Mapping[str, str], meaning: str, arrival: float
) -> float | None:
    """A time, or the arrival and a duration."""
    if meaning in place:
        return _time(row, place[meaning])
    duration = _time(row, place[INSTEAD[meaning]])
    return None if duration is None else arrival + duration


def _time(row: Mapping[str, object], column: str) -> float | None:
    """Seconds; None where nothing stands."""
    value = row.get(column)
    if value is None or value == "":
        return None
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise _BadRowError(value, f"{column} is no time")
    try:
        seconds = float(value)
    except ValueError:
        return _iso(str(value), column)
    if not math.isfinite(seconds) or seconds < 0.0:
        raise _BadRowError(value, f"{column} is no time")
    if seconds > LATEST_EPOCH_S:
        raise _BadRowError(value, f"{column} looks like milliseconds or finer; give seconds")
    return seconds


def _iso(text: str, column: str) -> float:
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        raise _BadRowError(text, f"{column} is neither seconds nor ISO 8601") from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _count(row: Mapping[str, object], column: str) -> int:
    value = row.get(column)
    if value is None or value == "":
        return 0
    try:
        number = float(value) if isinstance(value, int | float | str) else math.nan
    except ValueError:
        number = math.nan
    if not number.is_integer() or not 0 <= number <= LONGEST_TOKENS:
        raise _BadRowError(value, f"{column} is no number of tokens")
    return int(number)


def _listed(found: _Rows) -> list[Problem]:
    rest = found.bad - len(found.problems)
    more = [
        Problem(
            path=f"{found.bad} of {found.rows} rows",
            value="",
            message="cannot be read" + (f" ({rest} not listed)" if rest else ""),
            remedy="mend them, or leave them out with --skip-bad",
        )
    ]
    return found.problems + more


def _log(name: str, digest: str, found: _Rows) -> RequestLog:
    table = np.array(sorted(found.kept), float)
    begin = table[0, 0]
    return RequestLog(
        arrival_s=table[:, 0] - begin,
        first_token_s=table[:, 1] - begin,
        last_token_s=table[:, 2] - begin,
        input_tokens=table[:, 3].astype(np.int64),
        output_tokens=table[:, 4].astype(np.int64),
        rows=found.rows,
        failed=found.failed,
        bad=found.bad,
        name=name,
        sha256=digest,
    )


def _whole(path: Path, message: str, remedy: str) -> ProblemsError:
    problem = Problem(path=path.name, value="", message=message, remedy=remedy)
    return ProblemsError(f"request log {path.name}", [problem])
