"""Arrays shared by all rooms: the draw axis comes first, length 1 means certain."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

BLOCK = 4096  # draws are processed and reduced in blocks of this many


@dataclass(frozen=True, slots=True, kw_only=True)
class Draws:
    """Joint futures: named columns of equal length.

    Attributes
    ----------
    values : mapping of name to array, shape (draw,)
        One column per driver figure, in the unit its name ends with.
    seed : int
        Seed of the scrambles.
    scramble : array, shape (draw,)
        Which independent scramble a draw belongs to; the spread between scrambles is the
        sampling error.
    """

    values: Mapping[str, Floats]
    seed: int
    scramble: Ints

    def __len__(self) -> int:
        return int(self.scramble.size)

    def __getitem__(self, name: str) -> Floats:
        return self.values[name]

    def block(self, index: int) -> Draws:
        """Return the i-th block of `BLOCK` draws (the last may be shorter)."""
        part = slice(index * BLOCK, (index + 1) * BLOCK)
        return Draws(
            values={name: column[part] for name, column in self.values.items()},
            seed=self.seed,
            scramble=self.scramble[part],
        )

    def blocks(self) -> Iterator[Draws]:
        """Yield the blocks in order."""
        for index in range(-(-len(self) // BLOCK)):
            yield self.block(index)


def accumulated(step: np.ufunc, values: Floats) -> Floats:
    """Running result of a binary step over quarters, shape of values, (draw, quarter).

    As `step.accumulate(values, axis=1)`, but row by row of arrays stored quarter by quarter, as
    those of the fleet are: several times faster.
    """
    rows = values.T
    out = np.empty(rows.shape)
    out[:1] = rows[:1]
    for index in range(1, len(rows)):
        step(out[index - 1], rows[index], out=out[index])
    return out.T


def standard_error(values: Floats, scramble: Ints) -> float:
    """Sampling error of a mean, from the spread of independent scrambles.

    Parameters
    ----------
    values : array, shape (draw,)
    scramble : array, shape (draw,)
        Scramble each draw belongs to; every scramble has the same number of draws.

    Returns
    -------
    float
        Standard error of the mean over all draws; nan with fewer than two scrambles.
    """
    groups = np.unique(scramble)
    if groups.size < 2:
        return float("nan")
    means = np.array([values[scramble == group].mean() for group in groups])
    return float(means.std(ddof=1) / np.sqrt(groups.size))
