"""Joint futures: every driver's distribution put on scrambled Sobol points."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from tapeout.errors import InfeasibleError
from tapeout.numerics import Draws, Floats, Ints
from tapeout.risk.distributions import Constant, Distribution
from tapeout.risk.registry import column
from tapeout.risk.sobol import SMALLEST_LOG2, uniforms

Correlations = Mapping[tuple[str, str], float]


def sample(
    distributions: Mapping[str, Distribution],
    draws_log2: int,
    seed: int,
    *,
    correlations: Correlations | None = None,
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
    correlations : mapping of (driven, driver) to rank-normal correlation
        The driven figure follows the other through a Gaussian copula; both keep their
        distributions. A driver drawn along with another cannot itself drive a third.
    part : (start, stop), optional
        Only these draws of the 2^draws_log2; they are the same numbers as in the whole.

    Returns
    -------
    Draws
        Columns in the order of `distributions`.

    Raises
    ------
    UnknownNameError, InfeasibleError
        A name is not in the registry, or a number is out of range.
    """
    leaders = _leaders(correlations or {}, distributions)

    def points(name: str) -> Floats:
        own = uniforms(column(name), draws_log2, seed, part)
        if name not in leaders:
            return own
        leader, strength = leaders[name]
        return _follow(own, uniforms(column(leader), draws_log2, seed, part), strength)

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


def _leaders(
    correlations: Correlations, distributions: Mapping[str, Distribution]
) -> dict[str, tuple[str, float]]:
    """The driver that each driven figure follows, checked."""
    leaders = {driven: (leader, rho) for (driven, leader), rho in correlations.items()}
    if len(leaders) < len(correlations):
        raise InfeasibleError("a driver figure can follow only one other")
    for driven, (leader, rho) in leaders.items():
        if not -1.0 <= rho <= 1.0:
            raise InfeasibleError(f"correlation of {driven} with {leader}, {rho}: write -1 to 1")
        if leader in leaders:
            raise InfeasibleError(f"{driven} follows {leader}, which follows {leaders[leader][0]}")
        if driven not in distributions:
            raise InfeasibleError(f"{driven} is correlated with {leader} but not drawn")
    return leaders


def _follow(own: Floats, leader: Floats, strength: float) -> Floats:
    """Uniform draws whose normal scores have this correlation with the leader's."""
    from scipy.special import ndtr, ndtri  # noqa: PLC0415 - heavy to import

    score = strength * ndtri(leader) + np.sqrt(1.0 - strength**2) * ndtri(own)
    # Beyond eight standard deviations ndtr rounds to 0 or 1, which have no finite quantile.
    followed: Floats = np.clip(ndtr(score), 2.0**-53, 1.0 - 2.0**-53)
    return followed
