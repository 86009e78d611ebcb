"""Points that share some inputs with another point; the rest is drawn given what is shared."""

from __future__ import annotations

import numpy as np

from tapeout.numerics import Floats, Ints
from tapeout.risk.sensitivity.indices import Bools


def mix(shared: Bools, one: Floats, other: Floats) -> Floats:
    """Value of the first point where shared, else of the second, shape (row,)."""
    return np.where(shared, one, other)


def follow_back(own: Floats, partner: Floats, correlation: float) -> Floats:
    """Uniform whose normal score has this correlation with the partner's, from a fresh one.

    Holds in both directions: a pair in a Gaussian copula can be completed from either member.
    """
    from scipy.special import ndtr, ndtri  # noqa: PLC0415 - heavy to import

    score = correlation * ndtri(partner) + np.sqrt(1.0 - correlation**2) * ndtri(own)
    found: Floats = np.clip(ndtr(score), 2.0**-53, 1.0 - 2.0**-53)
    return found


def matched(scramble: Ints, seed: int) -> Ints:
    """Row numbers in a random order within each scramble, shape (row,).

    Two scrambles of the same Sobol columns share their leading bits up to a flip; put in another
    order the second becomes independent of the first row by row.
    """
    raw = np.random.PCG64(np.random.SeedSequence(seed)).random_raw(scramble.size)
    return np.lexsort((raw, scramble))
