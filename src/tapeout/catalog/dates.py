"""Dates as sources write them: a day, a month, a quarter, a half, or words around a year."""

from __future__ import annotations

import datetime as dt
import re

from tapeout.constants import MONTHS_PER_QUARTER, MONTHS_PER_YEAR

_DAY = re.compile(r"\b(20\d\d)-(\d\d)-(\d\d)\b")
_MONTH = re.compile(r"\b(20\d\d)-(\d\d)\b")
_QUARTER = re.compile(r"\b(?:(20\d\d)-Q([1-4])|Q([1-4]) (20\d\d))\b")
_HALF = re.compile(r"\bH([12]) (20\d\d)\b")
_WORDS = re.compile(r"\b(early|mid|late|later in|end of)?[ -]?(20\d\d)\b", re.IGNORECASE)
_WORD_MONTH = {"early": 1, "mid": 6, "late": 10, "later in": 10, "end of": 12}


def first_day(text: str) -> dt.date | None:
    """Return the first day of the period a text names, None if it names no year.

    Examples
    --------
    >>> first_day("2026-Q3"), first_day("late 2027")
    (datetime.date(2026, 7, 1), datetime.date(2027, 10, 1))
    """
    if found := _DAY.search(text):
        return dt.date(*(int(part) for part in found.groups()))
    if found := _MONTH.search(text):
        return dt.date(int(found[1]), int(found[2]), 1)
    if found := _QUARTER.search(text):
        year, quarter = found[1] or found[4], int(found[2] or found[3])
        return dt.date(int(year), MONTHS_PER_QUARTER * (quarter - 1) + 1, 1)
    if found := _HALF.search(text):
        half_year = MONTHS_PER_YEAR // 2
        return dt.date(int(found[2]), half_year * (int(found[1]) - 1) + 1, 1)
    if found := _WORDS.search(text):
        return dt.date(int(found[2]), _WORD_MONTH.get((found[1] or "").lower(), 1), 1)
    return None
