"""Share of dies that work: yield models as values, and harvesting of dies with spare cores.

Defect densities are per mm2 here; the literature prints them per cm2 (`constants.CM2_PER_MM2`).
With x = die area times defect density the models differ in how defects cluster; they agree as
x tends to 0.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike

from tapeout.numerics import Floats


class YieldModel(Protocol):
    """Fraction of good dies."""

    def yield_fraction(self, die_mm2: ArrayLike) -> Floats:
        """Fraction of dies of this area that can be sold, same shape as die_mm2."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class PoissonYield:
    """Independent defects, exp(-x)."""

    defects_per_mm2: ArrayLike

    def yield_fraction(self, die_mm2: ArrayLike) -> Floats:
        """Fraction of dies of this area without a killer defect."""
        fraction: Floats = np.exp(-_defects(die_mm2, self.defects_per_mm2))
        return fraction


@dataclass(frozen=True, slots=True, kw_only=True)
class MurphyYield:
    """Defect density spread as a triangle, ((1 - exp(-x))/x)^2 (B. Murphy 1964)."""

    defects_per_mm2: ArrayLike

    def yield_fraction(self, die_mm2: ArrayLike) -> Floats:
        """Fraction of dies of this area without a killer defect."""
        x = _defects(die_mm2, self.defects_per_mm2)
        safe = np.where(x == 0.0, 1.0, x)
        fraction: Floats = np.where(x == 0.0, 1.0, (-np.expm1(-safe) / safe) ** 2)
        return fraction


@dataclass(frozen=True, slots=True, kw_only=True)
class SeedsYield:
    """Defect density spread exponentially, 1/(1 + x) (R. Seeds 1967)."""

    defects_per_mm2: ArrayLike

    def yield_fraction(self, die_mm2: ArrayLike) -> Floats:
        """Fraction of dies of this area without a killer defect."""
        fraction: Floats = 1.0 / (1.0 + _defects(die_mm2, self.defects_per_mm2))
        return fraction


@dataclass(frozen=True, slots=True, kw_only=True)
class NegativeBinomialYield:
    """Defect density spread as a gamma, (1 + x/alpha)^-alpha (C. Stapper 1983).

    `clustering` is alpha: 1 is Seeds, infinity is Poisson.
    """

    defects_per_mm2: ArrayLike
    clustering: ArrayLike

    def yield_fraction(self, die_mm2: ArrayLike) -> Floats:
        """Fraction of dies of this area without a killer defect."""
        alpha = np.asarray(self.clustering, float)
        x = _defects(die_mm2, self.defects_per_mm2)
        fraction: Floats = np.exp(-alpha * np.log1p(x / alpha))
        return fraction


@dataclass(frozen=True, slots=True, kw_only=True)
class BoseEinsteinYield:
    """Seeds per critical mask layer, (1 + x)^-N, the form of Hennessy and Patterson.

    `defects_per_mm2` is per layer; `critical_layers` is N, a fitted process complexity.
    """

    defects_per_mm2: ArrayLike
    critical_layers: ArrayLike

    def yield_fraction(self, die_mm2: ArrayLike) -> Floats:
        """Fraction of dies of this area without a killer defect."""
        x = _defects(die_mm2, self.defects_per_mm2)
        fraction: Floats = (1.0 + x) ** -np.asarray(self.critical_layers, float)
        return fraction


@dataclass(frozen=True, slots=True)
class PerfectYield:
    """Every die works; for isolating other effects."""

    def yield_fraction(self, die_mm2: ArrayLike) -> Floats:
        """Return one for every die."""
        return np.ones_like(np.asarray(die_mm2, float))


@dataclass(frozen=True, slots=True, kw_only=True)
class HarvestedYield:
    """Dies sold with a few bad cores; everything outside the cores must work.

    Attributes
    ----------
    defects_per_mm2 : float
    core_area_fraction : float
        Share of the die covered by the replicated cores.
    cores, spare_cores : int
        Cores on the die, and how many of them may be bad.
    clustering : float or None
        None: one defect density on every wafer. Otherwise it is gamma distributed with this
        shape, the mixture behind the negative binomial: bad cores then come together, and
        harvesting helps less on average than with independent defects.
    """

    defects_per_mm2: float
    core_area_fraction: float
    cores: int
    spare_cores: int
    clustering: float | None = None

    def yield_fraction(self, die_mm2: ArrayLike) -> Floats:
        """Fraction of dies of this area with enough good cores and nothing else broken."""
        x = _defects(die_mm2, self.defects_per_mm2)
        share, weight = _relative_density(self.clustering)
        hits = x[..., None] * share
        outside = np.exp(-hits * (1.0 - self.core_area_fraction))
        core = np.exp(-hits * self.core_area_fraction / self.cores)
        enough = harvest_fraction(core, self.cores, self.cores - self.spare_cores)
        fraction: Floats = (outside * enough) @ weight
        return fraction


def harvest_fraction(core_yield: ArrayLike, cores: int, needed: int) -> Floats:
    """Probability that at least `needed` of `cores` independent cores work.

    Examples
    --------
    >>> round(float(harvest_fraction(0.9, cores=8, needed=7)), 4)
    0.8131
    """
    good = np.asarray(core_yield, float)
    total = np.zeros_like(good)
    for bad in range(cores - needed + 1):
        total += math.comb(cores, bad) * (1.0 - good) ** bad * good ** (cores - bad)
    return total


def _defects(die_mm2: ArrayLike, defects_per_mm2: ArrayLike) -> Floats:
    """Mean number of killer defects of a die."""
    count: Floats = np.asarray(die_mm2, float) * np.asarray(defects_per_mm2, float)
    return count


def _relative_density(clustering: float | None, nodes: int = 48) -> tuple[Floats, Floats]:
    """Nodes and weights of a gamma distribution with mean one, for averaging over densities.

    Gauss quadrature by the eigenvalues of the Jacobi matrix of the Laguerre polynomials (Golub
    and Welsch 1969); the weights are probabilities.
    """
    if clustering is None:
        return np.ones(1), np.ones(1)
    order = np.arange(nodes, dtype=float)
    beside = np.sqrt(order[1:] * (order[1:] + clustering - 1.0))
    jacobi = np.diag(2.0 * order + clustering) + np.diag(beside, 1) + np.diag(beside, -1)
    values, vectors = np.linalg.eigh(jacobi)
    return values / clustering, vectors[0] ** 2
