"""What every topology can be asked: the time of five collective operations."""

from __future__ import annotations

from enum import StrEnum
from typing import Protocol

from tapeout.numerics import Floats


class Collective(StrEnum):
    """The collective operations, and what `message_bytes` means for each."""

    ALL_REDUCE = "all_reduce"  # the buffer every rank holds
    ALL_GATHER = "all_gather"  # the gathered result
    REDUCE_SCATTER = "reduce_scatter"  # the buffer before it is scattered
    ALL_TO_ALL = "all_to_all"  # what one rank sends in total, to itself included
    SEND = "send"  # the message


class Topology(Protocol):
    """Chips joined in one way; every method is vectorised over the message size.

    `ranks` is the number of chips that take part; with one rank every operation takes no time.
    """

    def all_reduce_s(self, message_bytes: Floats, ranks: int) -> Floats:
        """Sum a buffer over all ranks, every rank holds the result."""
        ...

    def all_gather_s(self, message_bytes: Floats, ranks: int) -> Floats:
        """Collect one part from every rank on every rank."""
        ...

    def reduce_scatter_s(self, message_bytes: Floats, ranks: int) -> Floats:
        """Sum a buffer over all ranks, every rank holds one part of the result."""
        ...

    def all_to_all_s(self, message_bytes: Floats, ranks: int) -> Floats:
        """Every rank sends an equal part to every other."""
        ...

    def send_s(self, message_bytes: Floats, ranks: int) -> Floats:
        """One rank sends to another; the mean distance among `ranks` chips counts."""
        ...
