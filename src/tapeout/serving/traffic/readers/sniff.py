"""What kind of file it is, and the names of its columns or keys."""

from __future__ import annotations

import csv
import json
from itertools import islice
from pathlib import Path

from tapeout.serving.traffic.readers.base import Mode, refused
from tapeout.serving.traffic.readers.text import lines, opened, parse

_LINES = 100  # and characters looked at for a first record
_HEAD = 1 << 20  # characters of a JSON list that are looked at


def names_of(path: Path) -> tuple[Mode, frozenset[str]]:
    """Return the kind of a file and its columns or the keys of its first record.

    Raises
    ------
    ProblemsError
        The file cannot be read, or begins with nothing that could be a record.
    """
    if _is_parquet(path):
        return "parquet", frozenset({"arrival_s", "input_tokens", "output_tokens"})
    with opened(path) as stream:
        if stream.read(_LINES).lstrip().startswith("["):  # perhaps all of it in one long line
            return "json", _first_of_list(path)
    with opened(path) as stream:
        for line in islice(lines(path, stream), _LINES):
            found = _recognised(path, line.strip())
            if found is not None:
                return found
    raise refused(path, "no record in its first lines", "name the format")


def _recognised(path: Path, text: str) -> tuple[Mode, frozenset[str]] | None:
    """What a line tells; None for an empty one, or one that should be a record and is none."""
    if text.startswith("{"):
        record = parse(text)
        return None if record is None else ("jsonl", frozenset(record))
    return ("csv", _cells(path, text)) if text else None


def _is_parquet(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(4) == b"PAR1"
    except OSError:
        return False


def _cells(path: Path, text: str) -> frozenset[str]:
    try:
        return frozenset(cell.strip() for cell in next(csv.reader([text])))
    except csv.Error as error:
        raise refused(path, f"not CSV: {error}", "name the format", where="line 1") from error


def _first_of_list(path: Path) -> frozenset[str]:
    """Keys of the first object of a JSON list."""
    with opened(path) as stream:
        text = stream.read(_HEAD)
    try:
        first, _ = json.JSONDecoder().raw_decode(text, text.index("{"))
        return frozenset(first)
    except (ValueError, RecursionError) as error:
        raise refused(path, f"not a JSON list of objects: {error}", "name the format") from error
