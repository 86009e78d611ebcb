"""Azure LLM inference traces of 2023 and 2024 (Azure/AzurePublicDataset, CC-BY 4.0).

`TIMESTAMP,ContextTokens,GeneratedTokens`. The stamps of 2023 have seven digits of a second and no
zone, those of 2024 six and `+00:00`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tapeout.constants import MINUTE_S, NANO
from tapeout.numerics import Floats, Ints
from tapeout.serving.traffic.readers.base import Rows, Tally
from tapeout.serving.traffic.readers.text import csv_chunks, text_numbers

COLUMNS = ("TIMESTAMP", "ContextTokens", "GeneratedTokens")
UTC = "+00:00"
NO_TIME = np.iinfo(np.int64).min
_ZONE = re.compile(r"(?:Z|([+-])(\d\d):?(\d\d))$")
_STAMP = re.compile(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(?:\.\d{1,9})?")
_NS_PER_MINUTE = round(MINUTE_S / NANO)


@dataclass(frozen=True, slots=True, kw_only=True)
class AzureReader:
    """Both years; times count from the first row."""

    name: str = "azure"
    title: str = "Azure LLM inference 2023 or 2024, CSV"
    timed: bool = True
    from_first: bool = True
    unordered: bool = False
    block_tokens: int = 0
    grid_s: float = 0.0

    def recognises(self, names: frozenset[str]) -> bool:
        """Whether the three columns are there."""
        return names >= set(COLUMNS)

    def rows(self, path: Path, tally: Tally) -> Iterator[Rows]:
        """Yield the rows in chunks."""
        first: int | None = None
        for table in csv_chunks(path, tally, COLUMNS):
            stamps = stamps_ns(table.columns["TIMESTAMP"])
            is_good = stamps != NO_TIME
            if first is None and is_good.any():
                first = int(stamps[is_good][0])
            time_s: Floats = np.where(is_good, (stamps - (first or 0)) * NANO, np.nan)
            yield Rows(
                line=table.line,
                row=table.row,
                time_s=time_s,
                input_tokens=text_numbers(table.columns["ContextTokens"]),
                output_tokens=text_numbers(table.columns["GeneratedTokens"]),
            )


def stamps_ns(texts: list[str]) -> Ints:
    """Nanoseconds since 1970 of wall-clock stamps; the least integer where there is none.

    A stamp without a zone is taken as UTC.

    Examples
    --------
    >>> a, b = stamps_ns(["2024-05-10 00:00:00.009930+00:00", "2024-05-10 02:00:00.0099301+02:00"])
    >>> int(b - a)
    100
    """
    alike = _alike(texts)
    if alike is not None:
        return alike
    bodies, shifts = [], np.zeros(len(texts), dtype=np.int64)
    for place, text in enumerate(texts):
        body = text.strip()
        zone = _ZONE.search(body)
        if zone is not None and len(body) > 10:
            body = body[: zone.start()]
            if zone.group(1):
                minutes = int(zone.group(2)) * int(MINUTE_S) + int(zone.group(3))
                shifts[place] = minutes if zone.group(1) == "+" else -minutes
        bodies.append(body if _STAMP.fullmatch(body) else "NaT")
    try:
        stamps = np.array(bodies, dtype="datetime64[ns]").astype(np.int64)
    except ValueError:  # a thirteenth month somewhere
        stamps = np.array([_one(body) for body in bodies], dtype=np.int64)
    return np.where(stamps == NO_TIME, NO_TIME, stamps - shifts * _NS_PER_MINUTE)


def _alike(texts: list[str]) -> Ints | None:
    """Stamps of one length, without a zone or all in UTC: three times faster; None for others."""
    if not texts or len({len(text) for text in texts}) > 1:
        return None
    if all(text.endswith(UTC) for text in texts):
        texts = [text[: -len(UTC)] for text in texts]
    every = "".join(texts)
    has_zone = "+" in every or "Z" in every or every.count("-") != 2 * len(texts)
    if has_zone or not _STAMP.fullmatch(texts[0]):
        return None
    try:
        return np.array(texts, dtype="datetime64[ns]").astype(np.int64)
    except ValueError:  # no stamp somewhere
        return None


def _one(body: str) -> int:
    try:
        return int(np.datetime64(body, "ns").astype(np.int64))
    except ValueError:
        return int(NO_TIME)
