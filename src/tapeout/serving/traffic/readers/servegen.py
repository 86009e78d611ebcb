"""Client statistics of ServeGen: `_clients.csv` and `_lengths.json.gz` beside it."""

from __future__ import annotations

import csv
import gzip
import json
import zlib
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from tapeout.errors import InfeasibleError, Problem, ProblemsError
from tapeout.serving.traffic.lengths import Histogram, histogram
from tapeout.serving.traffic.servegen import ClientLengths, ClientStatistics

COLUMNS = ("client", "window_start_s", "rate_rps", "cv", "iat_family", "param1")
WINDOW_S = 600.0
MOST_RPS = 1e6
LEAST_SHAPE = {"gamma": 1e-4, "weibull": 0.05}  # smaller ones make almost all gaps zero
MOST_JSON_BYTES = 2**29
UNSUPPORTED = (
    "not supported: image, audio and video tokens (only text is input), the share of reasoning in "
    "outputs, and any dependence of output on input (the statistics hold them apart)"
)


def lengths_path(clients: Path) -> Path:
    """Return where the lengths belonging to a file of clients are."""
    return clients.with_name(clients.name.replace("_clients.csv", "_lengths.json.gz"))


def read_clients(path: Path, lengths: Path | None = None) -> ClientStatistics:
    """Read statistics of clients.

    Parameters
    ----------
    path : Path
        `..._clients.csv`: client, window_start_s, rate_rps, cv, iat_family, param1 (the shape).
    lengths : Path, optional
        `..._lengths.json.gz` (or .json); by default the file beside it.

    Raises
    ------
    ProblemsError
        A file cannot be read, or what is wrong with its rows (the first twenty).
    """
    rows = _rows(path)
    found = lengths or lengths_path(path)
    by_client = _read_lengths(found)
    return ClientStatistics(
        client=np.array([row[0] for row in rows], dtype=np.int64),
        start_s=np.array([row[1] for row in rows]),
        rate_rps=np.array([row[2] for row in rows]),
        cv=np.array([row[3] for row in rows]),
        is_gamma=np.array([row[4] for row in rows], dtype=bool),
        shape=np.array([row[5] for row in rows]),
        window_s=WINDOW_S,
        lengths=by_client,
        source=f"ServeGen clients of {path.name}",
    )


_Row = tuple[int, float, float, float, bool, float]


def _rows(path: Path) -> list[_Row]:
    problems: list[Problem] = []
    rows: list[_Row] = []
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            missing = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
            if missing:
                raise _refused(path, f"no column {', '.join(missing)}", "see docs/traffic.md")
            for row in reader:
                try:
                    rows.append(_row(row))
                except (TypeError, ValueError, AttributeError) as error:
                    problems.append(
                        Problem(path=f"line {reader.line_num}", value="", message=str(error))
                    )
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise _refused(path, f"cannot be read: {error}", "give the _clients.csv") from error
    if problems:
        raise ProblemsError(f"client statistics {path}", problems[:20])
    return _once(path, sorted(rows, key=lambda row: row[:2]))


def _once(path: Path, rows: list[_Row]) -> list[_Row]:
    """The rows, if there are any and no window stands twice."""
    if not rows:
        raise _refused(path, "has no windows", "give a file with rows")
    for before, after in pairwise(rows):
        if before[:2] == after[:2]:
            message = f"client {after[0]} has the window at {after[1]:g} s twice"
            raise _refused(path, message, "remove one of the two")
    return rows


def _row(row: dict[str, Any]) -> _Row:
    family = str(row["iat_family"]).strip().lower()
    start, rate, cv, shape = (
        float(row[name]) for name in ("window_start_s", "rate_rps", "cv", "param1")
    )
    if family not in ("gamma", "weibull"):
        raise ValueError(f"iat_family {row['iat_family']!r} is neither Gamma nor Weibull")
    for name, value, least, most in (
        ("window_start_s", start, 0.0, 1e9),
        ("rate_rps", rate, 1e-9, MOST_RPS),
        ("cv", cv, 0.0, 1e6),
        ("param1", shape, LEAST_SHAPE[family], 1e6),
    ):
        if not least <= value <= most:
            raise ValueError(f"{name} = {row[name]} is not between {least:g} and {most:g}")
    if start % WINDOW_S:
        raise ValueError(f"window_start_s = {row['window_start_s']} is no multiple of {WINDOW_S:g}")
    client = int(row["client"])
    if client < 0:
        raise ValueError(f"client = {client} is negative")
    return client, start, rate, cv, family == "gamma", shape


def _read_lengths(path: Path) -> dict[int, ClientLengths]:
    try:
        with path.open("rb") as file:
            is_zipped = file.read(2) == b"\x1f\x8b"
        with gzip.open(path) if is_zipped else path.open("rb") as stream:
            raw = json.loads(stream.read(MOST_JSON_BYTES))
        found = {int(client): _client(periods) for client, periods in raw.items()}
        return {client: one for client, one in found.items() if one is not None}
    except (OSError, EOFError, zlib.error) as error:
        raise _refused(path, f"cannot be read: {error}", "put it beside the _clients.csv") from (
            error
        )
    except (ValueError, TypeError, KeyError, AttributeError, InfeasibleError) as error:
        raise _refused(
            path, f"is not client -> start -> field -> value: probability ({error})", ""
        ) from error


def _client(periods: dict[str, Any]) -> ClientLengths | None:
    """Lengths of a client; a period without requests has none, and a client may have no period."""
    ordered = sorted(periods.items(), key=lambda item: float(item[0]))
    ordered = [(start, fields) for start, fields in ordered if all(fields.values())]
    if not ordered:
        return None
    return ClientLengths(
        starts_s=np.array([float(start) for start, _ in ordered]),
        input_tokens=tuple(_histogram(fields, _INPUTS) for _, fields in ordered),
        output_tokens=tuple(_histogram(fields, ("output_tokens",)) for _, fields in ordered),
    )


_INPUTS = ("input_tokens", "text_tokens")


def _histogram(fields: dict[str, dict[str, float]], names: tuple[str, ...]) -> Histogram:
    name = next((name for name in names if name in fields), None)
    if name is None:
        raise KeyError(f"no field {' or '.join(names)}")
    values = np.array([float(value) for value in fields[name]])
    weights = np.array(list(fields[name].values()), dtype=np.float64)
    return histogram(np.rint(values).astype(np.int64), weights)


def _refused(path: Path, message: str, remedy: str) -> ProblemsError:
    return ProblemsError(
        f"client statistics {path}",
        [Problem(path=path.name, value="", message=message, remedy=remedy)],
    )
