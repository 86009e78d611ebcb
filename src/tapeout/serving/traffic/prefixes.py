"""What prompts share: identities of blocks, chained and dense."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field

import numpy as np

from tapeout.numerics import Ints
from tapeout.serving.traffic.trace import Flags, Prefixes

_SPARSE = 8  # numbers for each block


@dataclass(slots=True)
class Chains:
    """Gives every chain of blocks a number, as requests come in.

    A block of a file may have the identity of its own content only. Chained, two blocks are equal
    only where everything before them is, too.

    Examples
    --------
    >>> chains = Chains()
    >>> chains.number([7, 8], 2), chains.number([7, 9], 2), chains.number([9], 3)
    ([0, 1], [0, 2], [3, 4, 5])
    """

    known: dict[tuple[int, Hashable], int] = field(default_factory=dict)
    count: int = 0

    def number(self, ids: Sequence[Hashable], blocks: int) -> list[int]:
        """Number the blocks of a prompt; those beyond the ids are like no other block.

        Parameters
        ----------
        ids : sequence
            Identities in a file, in order.
        blocks : int
            How many numbers to give.
        """
        found, before, known = [], -1, self.known
        for identity in ids[:blocks]:
            key = (before, identity)
            before = known.get(key, -1)
            if before < 0:
                before = known[key] = self.count
                self.count += 1
            found.append(before)
        missing = blocks - len(found)
        found.extend(range(self.count, self.count + missing))
        self.count += missing
        return found


def dense(block_tokens: int, offsets: Ints, ids: Ints) -> Prefixes:
    """Renumber identities from 0 in order of their first appearance.

    Parameters
    ----------
    block_tokens : int
    offsets : array of int, shape (request + 1,)
    ids : array of int, shape (block,)
        Chained.
    """
    most = int(ids.max(initial=-1)) + 1
    if most > _SPARSE * ids.size + 1:  # too far apart for a table
        distinct, ids = np.unique(ids, return_inverse=True)
        most = int(distinct.size)
    is_first = first_of_each(ids, most)
    number = np.empty(most, dtype=np.int64)
    count = int(is_first.sum())
    number[ids[is_first]] = np.arange(count)
    return Prefixes(block_tokens=block_tokens, offsets=offsets, ids=number[ids], count=count)


def first_of_each(ids: Ints, count: int) -> Flags:
    """Whether each entry is the first of its number, shape (block,); numbers are below `count`."""
    first = np.empty(count, dtype=np.int64)
    first[ids[::-1]] = np.arange(ids.size - 1, -1, -1)  # of equal ones the last assignment stays
    is_first = np.zeros(ids.size, dtype=bool)
    is_first[first[ids]] = True
    return is_first


def select(prefixes: Prefixes, requests: Ints) -> Prefixes:
    """Return the prefixes of some requests, in the order given, shape (request,)."""
    sizes = np.diff(prefixes.offsets)[requests]
    offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    starts = np.repeat(prefixes.offsets[:-1][requests] - offsets[:-1], sizes)
    ids = prefixes.ids[starts + np.arange(int(offsets[-1]))]
    return dense(prefixes.block_tokens, offsets, ids)


def expand(prefixes: Prefixes, tokens: Ints, block_tokens: int) -> Prefixes:
    """Cut blocks into smaller ones: 512 tokens of a file into 32 blocks of an engine.

    Parameters
    ----------
    prefixes : Prefixes
        With the identity of the last, partial block, or without.
    tokens : array of int, shape (request,)
        Of the prompts.
    block_tokens : int
        Must divide the tokens of a block.

    Returns
    -------
    Prefixes
        Full blocks only. Where the identity of a partial block is missing, its full smaller
        blocks are like no other.

    Raises
    ------
    ValueError
        The sizes do not divide.

    Examples
    --------
    >>> one = Prefixes(block_tokens=4, offsets=np.array([0, 2]), ids=np.array([0, 1]), count=2)
    >>> expand(one, np.array([7]), 2).ids.tolist()
    [0, 1, 2]
    """
    parts, rest = divmod(prefixes.block_tokens, block_tokens)
    if rest or not parts:
        raise ValueError(f"{prefixes.block_tokens} tokens are no whole blocks of {block_tokens}")
    sizes = tokens // block_tokens
    offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    request = np.repeat(np.arange(tokens.size), sizes)
    within = np.arange(int(offsets[-1])) - offsets[:-1][request]
    place = prefixes.offsets[:-1][request] + within // parts
    is_known = place < prefixes.offsets[1:][request]
    ids = prefixes.count * parts + np.arange(request.size)  # of their own
    ids[is_known] = prefixes.ids[place[is_known]] * parts + within[is_known] % parts
    return dense(block_tokens, offsets, ids)


def full_blocks(prefixes: Prefixes, tokens: Ints) -> Prefixes:
    """Leave out partial blocks; `tokens` of the prompts, shape (request,)."""
    return expand(prefixes, tokens, prefixes.block_tokens)
