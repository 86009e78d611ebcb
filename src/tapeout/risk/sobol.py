"""Scrambled Sobol points, one column at a time.

A column depends on the seed, on its own number and on nothing else, so a new driver cannot move
the draws of another. The points of one column are the binary-order Sobol sequence with direction
numbers of S. Joe and F. Kuo (2008), put through a random lower-triangular matrix and a random
digital shift (J. Matousek 1998): unbiased, and stratified as before.

Written out here because `scipy.stats.qmc` scrambles all dimensions together and takes half a
second to import; a test compares the unscrambled points with it.
"""

from __future__ import annotations

from functools import cache, lru_cache
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray

from tapeout.errors import InfeasibleError
from tapeout.numerics import Floats

SCRAMBLES = 16  # independent point sets; their spread is the sampling error
SMALLEST_LOG2, LARGEST_LOG2 = 4, 24
_BITS = 32
_Words = NDArray[np.uint32]


def uniforms(
    column: int, draws_log2: int, seed: int, part: tuple[int, int] | None = None
) -> Floats:
    """Points of one column in (0, 1), shape (draw,): 16 scrambles one after the other.

    Parameters
    ----------
    column : int
        Dimension of the Sobol sequence, below `dimensions()`.
    draws_log2 : int
        4 to 24; 16 gives 65,536 draws, 4,096 in each scramble.
    seed : int
        Not negative.
    part : (start, stop), optional
        Only these draws; they are the same numbers as in the whole.

    Raises
    ------
    InfeasibleError
        An argument is out of range.
    """
    _check(column, draws_log2, seed)
    bits = draws_log2 - SMALLEST_LOG2
    start, stop = part or (0, SCRAMBLES << bits)
    first, last = start >> bits, (stop - 1) >> bits
    words = _words(column, bits, seed)[first : last + 1]
    low, offset = _aligned(start - (first << bits), stop - start, bits)
    points = np.empty((len(words), 1 << low), np.uint32)
    points[:, 0] = words[:, 0]
    for bit in range(low, bits):
        if offset >> bit & 1:
            points[:, 0] ^= words[:, bit + 1]
    for bit in range(low):
        half = 1 << bit
        points[:, half : 2 * half] = points[:, :half] ^ words[:, bit + 1, None]
    skip = start - (first << bits) - offset
    values = points.ravel()[skip : skip + stop - start].astype(np.float64)
    values += 0.5
    values /= 2.0**_BITS
    return values


def _aligned(start: int, count: int, bits: int) -> tuple[int, int]:
    """Bits that run through a part of a scramble and where it begins; else the whole scramble."""
    low = count.bit_length() - 1
    if count == 1 << low and low < bits and start % count == 0:
        return low, start
    return bits, 0


def dimensions() -> int:
    """Number of columns there are direction numbers for."""
    return len(_table())


def _check(column: int, draws_log2: int, seed: int) -> None:
    if not 0 <= column < dimensions():
        raise InfeasibleError(f"column {column}: there are columns 0 to {dimensions() - 1}")
    if not SMALLEST_LOG2 <= draws_log2 <= LARGEST_LOG2:
        raise InfeasibleError(
            f"draws_log2 = {draws_log2}: write {SMALLEST_LOG2} to {LARGEST_LOG2}, "
            "16 for 65,536 draws"
        )
    if seed < 0:
        raise InfeasibleError(f"seed = {seed}: write 0 or a positive number")


@lru_cache(maxsize=4096)  # of a few hundred bytes each: blocks of draws ask again and again
def _words(column: int, bits: int, seed: int) -> _Words:
    return _scrambled(_directions(column)[:bits], column, seed)


def _scrambled(directions: _Words, column: int, seed: int) -> _Words:
    """Random shift and scrambled direction numbers, shape (scramble, 1 + bit).

    `random_raw` of a PCG64 is a fixed stream, which `Generator` methods do not promise to be.
    """
    count = 1 + directions.size
    stream = np.random.PCG64(np.random.SeedSequence(seed, spawn_key=(column,)))
    raw = stream.random_raw(SCRAMBLES * count).astype(np.uint64) >> np.uint64(_BITS)
    random = raw.astype(np.uint32).reshape(SCRAMBLES, count)
    result = random.copy()
    if directions.size == 0:
        return result
    # Column j of the matrix: one on the diagonal, random bits below it.
    place = np.uint32(_BITS - 1) - np.arange(directions.size, dtype=np.uint32)
    diagonal = np.uint32(1) << place
    matrix = diagonal | (random[:, 1:] & (diagonal - np.uint32(1)))
    digit = (directions[:, None] >> place) & np.uint32(1)
    result[:, 1:] = np.bitwise_xor.reduce(digit * matrix[:, None, :], axis=-1)
    return result


@cache
def _directions(column: int) -> _Words:
    """Direction numbers of one dimension, left aligned in 32 bits (P. Bratley and B. Fox 1988)."""
    polynomial, initial = _table()[column]
    degree = polynomial.bit_length() - 1
    values = list(initial)
    while len(values) < _BITS:
        if degree == 0:  # the first dimension is the van der Corput sequence
            values.append(1)
            continue
        value = values[-degree] ^ (values[-degree] << degree)
        for term in range(1, degree):
            if polynomial >> (degree - term) & 1:
                value ^= values[-term] << term
        values.append(value)
    return np.array(
        [value << (_BITS - 1 - bit) for bit, value in enumerate(values[:_BITS])], np.uint32
    )


@cache
def _table() -> tuple[tuple[int, tuple[int, ...]], ...]:
    """Polynomial and initial direction numbers of every dimension."""
    text = files("tapeout.risk").joinpath("data/joe_kuo_directions.csv").read_text("utf-8")
    rows = [line.split(",") for line in text.splitlines() if not line.startswith("#")][1:]
    return tuple(
        (int(polynomial), tuple(int(number) for number in initial.split()))
        for _, polynomial, initial in rows
    )
