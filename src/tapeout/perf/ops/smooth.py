"""A smooth correction over a few coordinates: what a law leaves, where measurements exist.

Kernel ridge regression on a subset of centres [1]_: Gaussian bumps of fixed width, so that the
correction fades to none away from what was measured.

References
----------
.. [1] A. Smola, B. Schoelkopf, "Sparse greedy matrix approximation for machine learning",
   ICML 2000.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tapeout.numerics import Floats

PRIOR_SD = 0.15  # size of a correction expected before any is seen, log units
JITTER = 1e-8


@dataclass(frozen=True, slots=True, kw_only=True)
class Smooth:
    """Sum of Gaussian bumps.

    Attributes
    ----------
    centres : array, shape (centre, coordinate)
    widths : array, shape (coordinate,)
        Standard deviation of a bump.
    weights : array, shape (centre,)
    """

    centres: Floats
    widths: Floats
    weights: Floats

    def __call__(self, place: Floats) -> Floats:
        """Correction at each place, shape (case, coordinate) to (case,); log units."""
        value: Floats = _bumps(place, self.centres, self.widths) @ self.weights
        return value


def _bumps(place: Floats, centres: Floats, widths: Floats) -> Floats:
    a, b = place / widths, centres / widths
    square = np.square(a).sum(axis=1)[:, None] + np.square(b).sum(axis=1) - 2.0 * a @ b.T
    bumps: Floats = np.exp(-0.5 * np.maximum(square, 0.0))
    return bumps


def spread_centres(place: Floats, widths: Floats, count: int) -> Floats:
    """Choose `count` of the places far from one another, the one nearest the middle first."""
    scaled = np.unique(place, axis=0) / widths
    chosen = [int(np.square(scaled - scaled.mean(axis=0)).sum(axis=1).argmin())]
    nearest = np.square(scaled - scaled[chosen[0]]).sum(axis=1)
    while len(chosen) < min(count, len(scaled)):
        chosen.append(int(nearest.argmax()))
        nearest = np.minimum(nearest, np.square(scaled - scaled[chosen[-1]]).sum(axis=1))
    centres: Floats = scaled[chosen] * widths
    return centres


def fit_smooth(place: Floats, target: Floats, widths: Floats, count: int, noise: float) -> Smooth:
    """Fit a correction.

    Parameters
    ----------
    place : array, shape (case, coordinate)
    target : array, shape (case,)
        What to add to the logarithm of the law.
    widths : array, shape (coordinate,)
    count : int
        Most centres.
    noise : float
        Scatter of the target about a smooth surface, log units.
    """
    centres = np.round(spread_centres(place, widths, count), 3)
    bumps = _bumps(place, centres, widths)
    ridge = (noise / PRIOR_SD) ** 2 * _bumps(centres, centres, widths)
    system = bumps.T @ bumps + ridge + JITTER * len(place) * np.eye(len(centres))
    weights: Floats = np.linalg.solve(system, bumps.T @ target).astype(np.float64)
    return Smooth(centres=centres, widths=widths, weights=weights)
