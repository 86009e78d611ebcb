"""How long requests are: one value, a lognormal, a histogram, or a mixture."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from tapeout.errors import InfeasibleError
from tapeout.numerics import Floats, Ints

MOST_TOKENS = 100_000_000


class TokenCounts(Protocol):
    """A distribution of token counts."""

    def draw(self, rng: np.random.Generator, count: int) -> Ints:
        """Draw counts of at least 1, shape (count,); more of them begin with the same ones."""
        ...

    @property
    def words(self) -> str:
        """The distribution in words."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Fixed:
    """Always the same."""

    tokens: int

    def draw(self, rng: np.random.Generator, count: int) -> Ints:
        """Return the value `count` times; nothing is drawn."""
        del rng
        return np.full(count, self.tokens, dtype=np.int64)

    @property
    def words(self) -> str:
        """The distribution in words."""
        return f"always {self.tokens}"


@dataclass(frozen=True, slots=True, kw_only=True)
class LogNormal:
    """Lognormal by its mean and coefficient of variation, rounded, kept between 1 and `most`.

    The mean is that before the ends are cut off.
    """

    mean: float
    cv: float
    most: int = MOST_TOKENS

    def draw(self, rng: np.random.Generator, count: int) -> Ints:
        """Draw counts."""
        variance = math.log1p(self.cv**2)
        normal = rng.standard_normal(count)
        values = self.mean * np.exp(math.sqrt(variance) * normal - variance / 2.0)
        return np.clip(np.rint(values), 1, self.most).astype(np.int64)

    @property
    def words(self) -> str:
        """The distribution in words."""
        return f"lognormal of mean {self.mean:g} and CV {self.cv:g}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Histogram:
    """Values with probabilities.

    Attributes
    ----------
    values : array of int, shape (value,)
    cumulative : array, shape (value,)
        Sums of the probabilities up to and with each value; the last is 1.
    """

    values: Ints
    cumulative: Floats

    def draw(self, rng: np.random.Generator, count: int) -> Ints:
        """Draw values by the inverse of the distribution."""
        return self.at(rng.random(count))

    def at(self, level: Floats) -> Ints:
        """Values at the levels, 0 <= level < 1."""
        place = np.searchsorted(self.cumulative, level, side="right")
        found: Ints = self.values[np.minimum(place, self.values.size - 1)]
        return found

    @property
    def probabilities(self) -> Floats:
        """Probability of each value."""
        return np.diff(self.cumulative, prepend=0.0)

    @property
    def mean(self) -> float:
        """Mean of the values."""
        return float(self.values @ self.probabilities)

    @property
    def words(self) -> str:
        """The distribution in words."""
        return f"histogram of {self.values.size} values, mean {self.mean:.4g}"


def histogram(values: Ints, weights: Floats) -> Histogram:
    """Make a histogram; weights need not add up to 1, values may repeat.

    Parameters
    ----------
    values : array of int, shape (value,)
        At least 1; smaller ones become 1.
    weights : array, shape (value,)
        Not negative.

    Raises
    ------
    InfeasibleError
        There is no positive weight.

    Examples
    --------
    >>> histogram(np.array([10, 20]), np.array([3.0, 1.0])).mean
    12.5
    """
    distinct, place = np.unique(np.maximum(values, 1), return_inverse=True)
    mass = np.bincount(place, weights=weights, minlength=distinct.size)
    total = float(mass.sum())
    if not 0.0 < total < math.inf or bool((mass < 0.0).any()):
        raise InfeasibleError("a histogram needs weights that are not negative, one positive")
    cumulative = np.cumsum(mass) / total
    cumulative[-1] = 1.0
    return Histogram(values=distinct.astype(np.int64), cumulative=cumulative)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mixture:
    """Usually one distribution, in a share of the cases another: answers with long reasoning."""

    usual: TokenCounts
    other: TokenCounts
    share: float

    def draw(self, rng: np.random.Generator, count: int) -> Ints:
        """Draw from both and choose; each has its own stream, so that the share moves neither."""
        choice, usual, other = rng.spawn(3)
        is_other = choice.random(count) < self.share
        return np.where(is_other, self.other.draw(other, count), self.usual.draw(usual, count))

    @property
    def words(self) -> str:
        """The distribution in words."""
        return f"{self.usual.words}; {self.share:.3g} of them {self.other.words}"
