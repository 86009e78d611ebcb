"""Joint futures: every driver's distribution put on scrambled Sobol points."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from tapeout.errors import InfeasibleError
from tapeout.numerics import Draws, Floats, Ints
from tapeout.risk.copula import Copula, Correlations, copula
from tapeout.risk.distributions import Constant, Distribution
from tapeout.risk.registry import column
from tapeout.risk.sobol import SMALLEST_LOG2, uniforms


def sample(
    distributions: Mapping[str, Distribution],
    draws_log2: int,
    seed: int,
    *,
    correlations: Correlations | Copula | None = None,
    part: tuple[int, int] | None = None,
) -> Draws:
    """Draw 2^draws_log2 futures in 16 independent scrambles.

    Parameters
    ----------
    distributions : mapping of driver name to Distribution
        Names of the registry, `field` or `field[slot]`. Adding or leaving out a driver does not
        change the draws of the others.
    draws_log2 : int
        4 to 24; 16 gives 65,536 draws in blocks of one scramble each.
    seed : int
    correlations : mapping of (follower, leader) to correlation, or Copula
        Of their normal scores, see `copula`; all drivers keep their distributions. A copula may
        name drivers that are not drawn here.
    part : (start, stop), optional
        Only these draws of the 2^draws_log2; they are the same numbers as in the whole.

    Returns
    -------
    Draws
        Columns in the order of `distributions`.

    Raises
    ------
    UnknownNameError, InfeasibleError
        A name is not in the registry, a number is out of range, or correlations contradict one
        another.
    """
    joint = _copula(correlations or {}, distributions)

    def own(name: str) -> Floats:
        return uniforms(column(name), draws_log2, seed, part)

    def points(name: str) -> Floats:
        leaders = joint.leaders(name)
        return _follow([(own(n), weight) for n, weight in leaders]) if leaders else own(name)

    start, stop = part or (0, 1 << draws_log2)
    values = {
        name: np.full(stop - start, distribution.value)
        if isinstance(distribution, Constant)
        else distribution.ppf(points(name))
        for name, distribution in distributions.items()
    }
    scramble: Ints = np.arange(start, stop) >> (draws_log2 - SMALLEST_LOG2)
    return Draws(values=values, seed=seed, scramble=scramble)


class Columns(Mapping[str, Floats]):
    """Columns of `sample`, each drawn when it is asked for and not kept.

    A million draws of a hundred drivers would take a gigabyte.
    """

    def __init__(self, names: Sequence[str], make: Callable[[str], Floats]) -> None:
        self._names = tuple(names)
        self._make = make

    def __getitem__(self, name: str) -> Floats:
        if name not in self._names:
            raise KeyError(name)
        return self._make(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def standard_error_of(
    statistic: Callable[[Floats], float], values: Floats, scramble: Ints
) -> float:
    """Sampling error of any statistic of the draws, from the spread between the scrambles.

    Parameters
    ----------
    statistic : callable
        Of the draws of one scramble, shape (draw, ...); a quantile, say.
    values : array, shape (draw, ...)
    scramble : array, shape (draw,)

    Returns
    -------
    float
        Standard error of the statistic over all draws. For quantiles it leaves out the small
        bias of a sixteenth of the sample.
    """
    groups = np.unique(scramble)
    found = np.array([statistic(values[scramble == group]) for group in groups])
    return float(found.std(ddof=1) / np.sqrt(groups.size))


def _copula(
    correlations: Correlations | Copula, distributions: Mapping[str, Distribution]
) -> Copula:
    if isinstance(correlations, Copula):
        return correlations
    for follower, leader in correlations:
        if follower not in distributions:
            raise InfeasibleError(f"{follower} is correlated with {leader} but not drawn")
    return copula(correlations)


def _follow(columns: Sequence[tuple[Floats, float]]) -> Floats:
    """Uniform draws whose normal score is the weighted sum of those of other uniform draws."""
    from scipy.special import ndtr, ndtri  # noqa: PLC0415 - heavy to import

    (first, weight), *rest = columns
    score = weight * ndtri(first)
    for column_, weight_ in rest:
        score += weight_ * ndtri(column_)
    # Beyond eight standard deviations ndtr rounds to 0 or 1, which have no finite quantile.
    followed: Floats = np.clip(ndtr(score), 2.0**-53, 1.0 - 2.0**-53)
    return followed
