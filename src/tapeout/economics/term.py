"""One input of the money model: its name, unit, sign, meaning and default."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Sign = Literal["positive", "fraction", "signed", "count"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Term:
    """One input of the money model.

    `unit` is a name of `tapeout.units`; `sign` bounds the values and picks the distribution.
    `why` is the reason of a default that is neither a driver nor a figure of the chip.
    """

    name: str
    unit: str
    sign: Sign
    text: str
    default: str | float = "derived"
    why: str = ""


def make(name: str, unit: str, sign: Sign, text: str, default: str | float, why: str = "") -> Term:
    """Make a term from its columns, in the order of the tables."""
    return Term(name=name, unit=unit, sign=sign, text=text, default=default, why=why)
