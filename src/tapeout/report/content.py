"""What a page is made of: sections of prose, cards, tables and charts. No markup here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

Tone = Literal["", "good", "bad", "muted", "heat1", "heat2", "heat3", "heat4", "heat5", "best"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column of a table; `align` is "left" for words, "right" for numbers."""

    key: str
    label: str
    align: Literal["left", "right"] = "right"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """Text of one cell, with an optional link, second line and tone."""

    text: str
    href: str = ""
    note: str = ""
    tone: Tone = ""
    badge: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """Cells in the order of the columns; a "total" is ruled off, a "group" is a heading."""

    cells: tuple[Cell, ...]
    style: Literal["body", "total", "group"] = "body"
    search: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table with a caption; on a narrow screen each row reads as a card if `stacks`."""

    kind: ClassVar[str] = "table"
    key: str
    caption: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()
    stacks: bool = True

    def only(self, *keys: str) -> Table:
        """The same table with some of its columns, in the order named."""
        at = [next(i for i, column in enumerate(self.columns) if column.key == k) for k in keys]
        return replace(
            self,
            columns=tuple(self.columns[i] for i in at),
            rows=tuple(replace(row, cells=tuple(row.cells[i] for i in at)) for row in self.rows),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Legend:
    """One entry of a legend: words and a colour."""

    label: str
    colour: str
    line: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """A chart specification with the finding as title and a description for those who hear it."""

    kind: ClassVar[str] = "chart"
    key: str
    title: str
    alt: str
    spec: Mapping[str, Any]
    legend: tuple[Legend, ...] = ()
    note: str = ""
    height: int = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Prose:
    """Paragraphs."""

    kind: ClassVar[str] = "prose"
    paragraphs: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bullets:
    """A list, with an optional heading."""

    kind: ClassVar[str] = "bullets"
    items: tuple[str, ...]
    heading: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fold:
    """Blocks that open on demand."""

    kind: ClassVar[str] = "fold"
    summary: str
    blocks: tuple[Any, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Two or more blocks side by side where there is room."""

    kind: ClassVar[str] = "pair"
    blocks: tuple[Any, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Inputs of one subject, counted by status."""

    title: str
    summary: str
    table: Table


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """All inputs in groups, searchable."""

    kind: ClassVar[str] = "ledger"
    groups: tuple[Group, ...]
    statuses: tuple[str, ...]
    total: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """Titles with links."""

    kind: ClassVar[str] = "sources"
    items: tuple[Cell, ...]


Block = Table | Chart | Prose | Bullets | Fold | Pair | Ledger | Sources


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """A key figure: what it is, its value, how to read it, and smaller figures below."""

    label: str
    value: str
    detail: str = ""
    rows: tuple[tuple[str, str], ...] = ()
    tone: Tone = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A numbered part of the page."""

    key: str
    title: str
    lead: str = ""
    blocks: tuple[Block, ...] = ()


def cell(text: str, tone: Tone = "", note: str = "") -> Cell:
    """A plain cell."""
    return Cell(text=text, tone=tone, note=note)


def row(*cells: str | Cell, style: Literal["body", "total", "group"] = "body") -> Row:
    """A row of texts and cells."""
    made = tuple(one if isinstance(one, Cell) else Cell(text=one) for one in cells)
    return Row(cells=made, style=style)


def left(key: str, label: str) -> Column:
    """A column of words."""
    return Column(key=key, label=label, align="left")


def right(key: str, label: str) -> Column:
    """A column of numbers."""
    return Column(key=key, label=label)
