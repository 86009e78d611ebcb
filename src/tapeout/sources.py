"""Where a number comes from: figures, facts, what was resolved for a run, and the ledger.

A figure enters once, with its source and range. Inside the rooms it is a plain float; the ledger
keeps, for every path used, which figure was chosen, which lost, and who set it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

RangeKind = Literal["ci90", "minmax", "one_sided", "none", "exact"]
Status = Literal[
    "measured",
    "vendor_claim",
    "independent_estimate",
    "analyst",
    "press",  # sourced
    "assumption",
    "derived",
    "simulated",
]
SetBy = Literal["catalog", "overlay", "scenario", "default", "derived", "simulated"]

SOURCED_STATUSES: tuple[Status, ...] = (
    "measured",
    "independent_estimate",
    "vendor_claim",
    "analyst",
    "press",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A number somebody stated, with range, date and source.

    `value`, `low` and `high` are in `unit`, the canonical unit of the field (SI first).
    """

    value: float
    unit: str
    low: float | None = None
    high: float | None = None
    range_kind: RangeKind = "none"
    as_of: str = ""  # ISO date of the statement
    status: Status = "assumption"
    source_url: str = ""
    source_title: str = ""
    condition: str = ""  # separates different quantities, e.g. "dense", "3-year"
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """Like a figure, for text and dates."""

    text: str
    kind: Literal["text", "date"] = "text"
    as_of: str = ""
    status: Status = "press"
    source_url: str = ""
    source_title: str = ""
    condition: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolved:
    """The figure used for one path of a run, and what it was chosen over."""

    path: str
    chosen: Figure
    rejected: tuple[Figure, ...] = ()
    set_by: SetBy = "catalog"
    why: str = ""  # reason of an assumption or override

    @property
    def is_sourced(self) -> bool:
        """True if the chosen figure was stated by a source outside this project."""
        return self.chosen.status in SOURCED_STATUSES


@dataclass(slots=True)
class Ledger:
    """Every resolved input of a run, by path. Paths are unique."""

    entries: dict[str, Resolved] = field(default_factory=dict)

    def add(self, resolved: Resolved) -> Resolved:
        """Enter a resolved input; a path can be set once."""
        assert resolved.path not in self.entries, resolved.path
        self.entries[resolved.path] = resolved
        return resolved

    def __getitem__(self, path: str) -> Resolved:
        return self.entries[path]

    def __contains__(self, path: object) -> bool:
        return path in self.entries

    def __iter__(self) -> Iterator[Resolved]:
        return iter(self.entries.values())

    def __len__(self) -> int:
        return len(self.entries)

    def values(self) -> Mapping[str, float]:
        """Return the central value of every path."""
        return {path: resolved.chosen.value for path, resolved in self.entries.items()}

    def counts(self) -> dict[str, int]:
        """Count the entries as sourced, assumed, derived and simulated."""
        tally = {"sourced": 0, "assumed": 0, "derived": 0, "simulated": 0}
        for entry in self:
            status = entry.chosen.status
            if entry.is_sourced:
                tally["sourced"] += 1
            elif status == "assumption":
                tally["assumed"] += 1
            else:
                tally[status] += 1
        return tally
