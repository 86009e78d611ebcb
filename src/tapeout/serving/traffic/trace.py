"""A trace: when requests arrive, how long they are, what their prompts share, who sent them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tapeout.numerics import Floats, Ints

Flags = NDArray[np.bool_]
MOST_SECONDS = 1e9  # of any time in a file: 31 years; a simulation counts to less


@dataclass(frozen=True, slots=True, kw_only=True)
class Prefixes:
    """Identities of the full blocks of every prompt, and of those that its output fills.

    Attributes
    ----------
    block_tokens : int
        Tokens of a block.
    offsets : array of int, shape (request + 1,)
        Where the blocks of a request begin in `ids`. Blocks past the prompt are those that its
        output fills, for turns whose prompts go on from an answer; they may be left out.
    ids : array of int, shape (block,)
        Chained identities: two equal ones stand for prompts that are equal up to and including
        the block. Dense: 0 to `count` - 1.
    count : int
        Distinct identities.
    """

    block_tokens: int
    offsets: Ints
    ids: Ints
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """Requests as arrays of shape (request,), in order of arrival.

    Attributes
    ----------
    arrival_s : array
        From the start of the trace; of a request with a parent the earliest time. [s]
    input_tokens, output_tokens : array of int
        At least 1 each.
    prefixes : Prefixes, optional
        What prompts share; None: nothing.
    client : array of int, optional
        Number of the client that sent it; routers with affinity use it.
    parent : array of int, optional
        Place of the turn before it in this trace, -1 for none. A turn is sent when its parent has
        ended and `think_s` has passed.
    think_s : array, optional
        [s]
    slo_class : array of int, optional
        Place in `classes`.
    classes : tuple of str
    source : str
        Where it comes from, in words.
    """

    arrival_s: Floats
    input_tokens: Ints
    output_tokens: Ints
    prefixes: Prefixes | None = None
    client: Ints | None = None
    parent: Ints | None = None
    think_s: Floats | None = None
    slo_class: Ints | None = None
    classes: tuple[str, ...] = ()
    source: str = ""

    @property
    def requests(self) -> int:
        """Number of requests."""
        return int(self.arrival_s.size)
