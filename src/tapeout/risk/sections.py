"""Sections of a scenario that this room owns: how drivers hang together."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from tapeout.economics.sections import Section


class PairSection(Section):
    """The correlation of two inputs, or of an input and a toss."""

    between: tuple[str, str] = Field(
        description="dotted paths, or tosses such as build.late; the first follows the second"
    )
    correlation: float = Field(ge=-1, le=1, description="of the normal scores of the two")
    why: Annotated[str, Field(min_length=3, max_length=500)]


class CorrelationsSection(Section):
    """Which inputs are drawn together; both keep their ranges."""

    table: Literal["none", "stated", "reviewed"] = Field(
        default="stated",
        description="stated: slip with delivered performance; reviewed: all pairs of the table;"
        " none: every input on its own",
    )
    nearest: bool = Field(
        default=False,
        description="replace correlations that contradict one another by the nearest possible"
        " ones, instead of refusing them",
    )
    pair: tuple[PairSection, ...] = Field(
        default=(), max_length=100, description="pairs that replace or join those of the table"
    )
