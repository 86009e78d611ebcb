"""Every error a caller can meet, and the outcome codes of sweeps.

Raise early, name the value, say what to do. Problems of one file are collected and raised
together as a `ProblemsError`; in a sweep infeasible is a result (`Outcome`), not an exception.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING

from tapeout.constants import GIGA

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


def printable(text: str) -> str:
    r"""Return a text without what a terminal obeys: control and direction marks become "\ufffd".

    Examples
    --------
    >>> printable("a\x1b[31mb")
    'a\ufffd[31mb'
    """
    return "".join(one if one.isprintable() or one == "\n" else "\ufffd" for one in text)


class TapeoutError(Exception):
    """Base of every error this package raises on purpose."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing wrong in something a user wrote."""

    path: str  # dotted path, e.g. "options.b.chip"
    value: str  # what stood there, shortened
    message: str  # what is wrong
    remedy: str = ""  # what to do

    def line(self) -> str:
        """Return the problem as one line of text."""
        shown = f" = {self.value}" if self.value else ""
        remedy = f"; {self.remedy}" if self.remedy else ""
        return printable(f"{self.path}{shown}: {self.message}{remedy}")


class ProblemsError(TapeoutError):
    """Everything wrong with one input, all at once."""

    def __init__(self, what: str, problems: Sequence[Problem]) -> None:
        self.what = what
        self.problems = tuple(problems)
        count = len(self.problems)
        noun = "problem" if count == 1 else "problems"
        lines = "\n".join(f"  - {problem.line()}" for problem in self.problems)
        super().__init__(f"{printable(what)}: {count} {noun}\n{lines}")


class UnknownNameError(TapeoutError):
    """A name that is in no list; carries the nearest known ones."""

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        self.kind = kind
        self.name = name
        self.suggestions = nearest(name, known)
        hint = f"; did you mean {did_you_mean(self.suggestions)}?" if self.suggestions else ""
        super().__init__(f"unknown {kind} {name!r}{hint}")


class UnitError(TapeoutError):
    """A quantity without a unit, or with one that does not fit."""


class InfeasibleError(TapeoutError):
    """What was asked cannot be done with what is there."""


class DoesNotFitError(InfeasibleError):
    """More memory is required than is available."""

    def __init__(self, what: str, *, required_bytes: float, available_bytes: float) -> None:
        self.required_bytes = required_bytes
        self.available_bytes = available_bytes
        super().__init__(
            f"{what} needs {required_bytes / GIGA:,.1f} GB a chip, "
            f"{available_bytes / GIGA:,.1f} GB is available; "
            "use more chips a replica, a narrower weight format or a smaller model"
        )


class MissingFieldError(InfeasibleError):
    """A record lacks a field that the calculation cannot do without."""


class Outcome(IntEnum):
    """What became of one point of a sweep."""

    OK = 0
    DOES_NOT_FIT = 1
    MISSES_TTFT = 2
    MISSES_TPOT = 3
    NO_PEAK = 4
    NO_ADVANTAGE_SUFFICES = 5
    NO_SIGN_CHANGE = 6
    SEVERAL_ROOTS = 7
    EXCEEDS_RETICLE = 8
    NO_TRADE = 9
    MISSES_SLO = 10

    @property
    def sentence(self) -> str:
        """The code in words."""
        return _SENTENCES[self]


_SENTENCES = {
    Outcome.OK: "feasible",
    Outcome.DOES_NOT_FIT: "weights, cache and buffers exceed the memory of the largest placement",
    Outcome.MISSES_TTFT: "one prompt alone takes longer than the time-to-first-token limit",
    Outcome.MISSES_TPOT: "one sequence alone is slower than the time-per-output-token limit",
    Outcome.NO_PEAK: "the chip has neither a peak rate for any number format nor a bandwidth",
    Outcome.NO_ADVANTAGE_SUFFICES: "no delivered advantage pays back the fixed cost",
    Outcome.NO_SIGN_CHANGE: "no rate makes the flows worth nothing, so no rate of return exists",
    Outcome.SEVERAL_ROOTS: "the flows change sign more than once; the rate of return is not unique",
    Outcome.EXCEEDS_RETICLE: "the die is larger than one exposure field and needs chiplets",
    Outcome.NO_TRADE: "the parties lose by any price, so they do not trade",
    Outcome.MISSES_SLO: "requests that never meet one another miss a limit",
}


def nearest(name: str, known: Iterable[str], most: int = 3) -> tuple[str, ...]:
    """Return the known names closest to this one, best first."""
    lowered = {candidate.lower(): candidate for candidate in known}
    hits = difflib.get_close_matches(name.lower(), list(lowered), n=most, cutoff=0.5)
    return tuple(lowered[hit] for hit in hits)


def did_you_mean(suggestions: Sequence[str]) -> str:
    """Join suggestions as "'a', 'b' or 'c'"."""
    quoted = [repr(name) for name in suggestions]
    if len(quoted) < 2:
        return "".join(quoted)
    return f"{', '.join(quoted[:-1])} or {quoted[-1]}"
