"""Which of several rival statements is used, and what the losers do to its range."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, replace

from tapeout.catalog.rows import Row
from tapeout.sources import Fact, Figure, Status

# A reading off hardware beats everything. A third party that worked a figure out has no stake in
# it, so it comes before the maker; the maker knows its chip, so it comes before an analyst, who
# says how; news comes last. What this project worked out or assumed never displaces a source.
STATUS_ORDER: tuple[Status, ...] = (
    "measured",
    "independent_estimate",
    "vendor_claim",
    "analyst",
    "press",
    "derived",
    "simulated",
    "assumption",
)
_RANK = {status: rank for rank, status in enumerate(STATUS_ORDER)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The winner of one key and everything it won over.

    Attributes
    ----------
    best : Row
        The row whose value is used.
    rivals : tuple of Row
        Contemporary rows of the same key that count; they may widen the range.
    past : tuple of Row
        Superseded rows and history; visible, without influence.
    """

    best: Row
    rivals: tuple[Row, ...]
    past: tuple[Row, ...]

    @property
    def losers(self) -> tuple[Row, ...]:
        """Every row that was not chosen, best first."""
        return self.rivals + self.past

    @property
    def is_conflict(self) -> bool:
        """True if a rival states something else."""
        return any(_content(row) != _content(self.best) for row in self.rivals)

    def figure(self) -> Figure:
        """Return the winning figure, its range widened to the span of the rivals.

        Narrowness never wins and disagreement never shrinks: low is the least and high the
        greatest of everything the rivals state, values and ranges.
        """
        chosen = self.best.stated
        assert isinstance(chosen, Figure)
        if self.best.set_by == "overlay":  # the user's word stands as it is
            return chosen
        figures = [row.stated for row in self.rivals if isinstance(row.stated, Figure)]
        least = min((_low(figure) for figure in figures), default=chosen.value)
        most = max((_high(figure) for figure in figures), default=chosen.value)
        if least >= _low(chosen) and most <= _high(chosen):
            return chosen
        return replace(
            chosen,
            low=min(least, _low(chosen)),
            high=max(most, _high(chosen)),
            range_kind="minmax",
        )


def _low(figure: Figure) -> float:
    return figure.value if figure.low is None else figure.low


def _high(figure: Figure) -> float:
    return figure.value if figure.high is None else figure.high


def _content(row: Row) -> float | str:
    return row.stated.text if isinstance(row.stated, Fact) else row.stated.value


def _day(row: Row) -> int:
    return dt.date.fromisoformat(row.stated.as_of).toordinal() if row.stated.as_of else 0


def choose(rows: Sequence[Row], history_days: int | None) -> Choice:
    """Choose among rows of one key: overlay, then status, then the newest date.

    Parameters
    ----------
    rows : sequence of Row
        Not empty, all of one key; earlier rows win ties.
    history_days : int or None
        Rows older than the newest by more than this are history of a quantity that moves, not
        rivals. None: the quantity does not move.
    """
    overlay = [row for row in rows if row.set_by == "overlay"]
    counting = overlay or [row for row in rows if not row.superseded] or list(rows)
    newest = max(_day(row) for row in counting)
    if history_days is not None:
        counting = [row for row in counting if newest - _day(row) <= history_days]
    ranked = sorted(counting, key=lambda row: (_RANK[row.stated.status], -_day(row)))
    if overlay:  # among the user's own figures the last word counts
        ranked = overlay[::-1]
    taken = {id(row) for row in ranked}
    past = sorted((row for row in rows if id(row) not in taken), key=_day, reverse=True)
    return Choice(best=ranked[0], rivals=tuple(ranked[1:]), past=tuple(past))
