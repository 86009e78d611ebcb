"""Updating beliefs: normal claims with bias and selection, shift hazards, silicon spins, scores.

Claims are ratios and are handled as logarithms: averaging ratios themselves inflates them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from tapeout.constants import Z90
from tapeout.numerics import Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class Normal:
    """A normal belief, of a log ratio for claims."""

    mean: float
    sd: float

    def ratio_range(self) -> tuple[float, float, float]:
        """5 %, median and 95 % points of the ratio whose logarithm this is."""
        half = Z90 * self.sd
        return (
            math.exp(self.mean - half),
            math.exp(self.mean),
            math.exp(self.mean + half),
        )


def update(prior: Normal, observed: float, noise_sd: float) -> Normal:
    """Belief after one observation with normal noise (conjugate).

    Examples
    --------
    >>> after = update(Normal(mean=0.0, sd=0.3), 0.7, 0.4)
    >>> round(after.mean, 3), round(after.sd, 3)
    (0.252, 0.24)
    """
    return update_shared(prior, [observed], noise_sd, 0.0)


def update_shared(
    prior: Normal, observed: ArrayLike, noise_sd: float, bias_sd: float, *, bias_mean: float = 0.0
) -> Normal:
    """Belief after several claims of one source, which share its bias.

    Each claim is truth + bias + noise with one bias ~ N(bias_mean, bias_sd) for all; ten articles
    on one release share their noise too and count as one claim. The mean of n claims then has
    variance bias_sd^2 + noise_sd^2 / n.

    Parameters
    ----------
    observed : array, shape (claim,)
    noise_sd, bias_sd, bias_mean : float
        Log units; a negative mean deflates nothing and a positive one deflates the claims.
    """
    claims = np.asarray(observed, float)
    variance = bias_sd**2 + noise_sd**2 / claims.size
    weight = prior.sd**2 / (prior.sd**2 + variance)
    surprise = float(claims.mean()) - bias_mean - prior.mean
    return Normal(mean=prior.mean + weight * surprise, sd=prior.sd * math.sqrt(1.0 - weight))


def best_of(count: int) -> float:
    """Mean of the largest of `count` standard normals: what picking the best workload adds, in sd.

    Subtract this many noise standard deviations from a claim chosen among `count`.
    """
    from scipy.special import ndtr  # noqa: PLC0415 - heavy to import

    # E[max] = int_0^inf (1 - F^n) - int_-inf^0 F^n; both integrands vanish beyond 9.
    edges = np.linspace(0.0, 9.0, 9_001)
    z = 0.5 * (edges[1:] + edges[:-1])
    above, below = 1.0 - ndtr(z) ** count, ndtr(-z) ** count
    return float(((above - below) * np.diff(edges)).sum())


def effective_count(count: float, correlation: float) -> float:
    """Independent observations that n equally correlated ones are worth, n/(1 + (n-1) r)."""
    return count / (1.0 + (count - 1.0) * correlation)


# --- scores of a forecast, smaller is better ---


def brier_score(probability: ArrayLike, happened: ArrayLike) -> Floats:
    """Squared error of a stated probability."""
    score: Floats = (np.asarray(probability, float) - np.asarray(happened, float)) ** 2
    return score


def log_score(probability: ArrayLike, happened: ArrayLike) -> Floats:
    """Minus the log of the probability given to what happened; infinite if that was zero."""
    p, event = np.asarray(probability, float), np.asarray(happened, bool)
    with np.errstate(divide="ignore"):
        score: Floats = -np.log(np.where(event, p, 1.0 - p))
    return score


def crps_normal(belief: Normal, outcome: ArrayLike) -> Floats:
    """Continuous ranked probability score of a normal forecast (Gneiting and Raftery 2007)."""
    from scipy.special import ndtr  # noqa: PLC0415 - heavy to import

    z = (np.asarray(outcome, float) - belief.mean) / belief.sd
    density = np.exp(-0.5 * z**2) / math.sqrt(2.0 * math.pi)
    score: Floats = belief.sd * (
        z * (2.0 * ndtr(z) - 1.0) + 2.0 * density - 1.0 / math.sqrt(math.pi)
    )
    return score


# --- architecture shifts: unknown constant hazard, Jeffreys prior Gamma(1/2, 0) ---


def shift_hazard_per_year(shifts: float, observed_years: float) -> float:
    """Posterior mean hazard (n + 1/2)/T of workload shifts [1/year]."""
    return (shifts + 0.5) / observed_years


def no_shift_probability(
    years: ArrayLike, shifts: ArrayLike, observed_years: ArrayLike, *, prior_shape: float = 0.5
) -> Floats:
    """Predictive probability of no shift for some years, (T/(T + t))^(n + 1/2).

    Lies above exp(-h t) at the mean hazard: a long quiet spell also says that h is small. A
    `prior_shape` of 1 is Laplace's rule of succession in continuous time and that of Gott (1993).
    """
    seen = np.asarray(observed_years, float)
    odds: Floats = (seen / (seen + np.asarray(years, float))) ** (
        np.asarray(shifts, float) + prior_shape
    )
    return odds


def rule_of_succession(periods: int, more: int) -> float:
    """Laplace: chance of no event in `more` periods after none in `periods`, uniform prior."""
    return (periods + 1) / (periods + more + 1)


def years_to_shift(u: Floats, shifts: float, observed_years: float) -> Floats:
    """Time of the next shift by inverting `no_shift_probability`, from uniform draws [year]."""
    time: Floats = observed_years * ((1.0 - u) ** (-1.0 / (shifts + 0.5)) - 1.0)
    return time


# --- silicon spins ---


def done_by_spin(spin: ArrayLike, first_success: ArrayLike, later_success: ArrayLike) -> Floats:
    """Probability that the silicon is good by its k-th spin, the first counted as 1."""
    first, later = np.asarray(first_success, float), np.asarray(later_success, float)
    done: Floats = 1.0 - (1.0 - first) * (1.0 - later) ** (np.asarray(spin, float) - 1.0)
    return done


def mean_extra_spins(first_success: ArrayLike, later_success: ArrayLike) -> Floats:
    """Expected spins after the first, (1 - p1)/p2, without a cap."""
    mean: Floats = (1.0 - np.asarray(first_success, float)) / np.asarray(later_success, float)
    return mean


def beta_mean(prior: tuple[float, float], successes: float, trials: float) -> float:
    """Mean of a probability with a Beta(a, b) prior after some trials."""
    return (prior[0] + successes) / (sum(prior) + trials)


# --- forecast error of a price trend ---


def forecast_sd(
    horizon_years: ArrayLike,
    *,
    innovation_sd: ArrayLike,
    observed_changes: ArrayLike,
    autocorrelation: ArrayLike = 0.63,
) -> Floats:
    """Standard deviation of a log price extrapolated along its trend [log units].

    Parameters
    ----------
    horizon_years : array
        tau, years ahead.
    innovation_sd : array
        K, of the yearly shocks; that of the observed log changes is K sqrt(1 + theta^2).
    observed_changes : array
        m, yearly changes the trend was estimated from, at least 2. Standardised errors follow
        Student's t with m - 1 degrees of freedom.
    autocorrelation : array
        theta, moving-average coefficient; 0.63 pooled over 53 technologies, 0 a plain walk.

    References
    ----------
    .. [1] J. D. Farmer, F. Lafond, "How predictable is technological progress?", Research Policy
       45, 2016.
    """
    tau, m, theta = (
        np.asarray(x, float) for x in (horizon_years, observed_changes, autocorrelation)
    )
    growth = -2.0 * theta + (1.0 + 2.0 * (m - 1.0) * theta / m + theta**2) * (tau + tau**2 / m)
    sd: Floats = np.asarray(innovation_sd, float) * np.sqrt(growth)
    return sd
