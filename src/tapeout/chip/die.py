"""Dies on a wafer and the cost of a good one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from tapeout.chip.yields import YieldModel
from tapeout.errors import Outcome
from tapeout.numerics import Floats, Ints

WAFER_MM = 300.0
RETICLE_MM2 = 858.0  # one 26 mm x 33 mm exposure field; a larger die needs chiplets


@dataclass(frozen=True, slots=True, kw_only=True)
class DieCost:
    """Cost of one die; arrays of the broadcast shape.

    `raw_usd` shares the wafer among all dies, `good_usd` among those that work; both are infinite
    where no whole die fits. `outcome` holds `Outcome` codes.
    """

    dies_per_wafer: Floats
    yield_fraction: Floats
    raw_usd: Floats
    good_usd: Floats
    outcome: Ints


def gross_dies(die_mm2: ArrayLike, *, wafer_mm: float = WAFER_MM) -> Floats:
    """Dies on a wafer, pi (d/2)^2 / A - pi d / sqrt(2 A), at least 0 (Hennessy and Patterson).

    The second term takes off the dies cut by the edge. No scribe lanes, no edge exclusion.

    Examples
    --------
    >>> round(float(gross_dies(225.0)), 1)
    269.7
    """
    area = np.asarray(die_mm2, float)
    count = np.pi * (wafer_mm / 2) ** 2 / area - np.pi * wafer_mm / np.sqrt(2.0 * area)
    dies: Floats = np.maximum(count, 0.0)
    return dies


def gross_dies_scribed(
    die_mm2: ArrayLike,
    *,
    wafer_mm: float = WAFER_MM,
    scribe_mm: float = 0.2,
    edge_mm: float = 5.0,
) -> Floats:
    """Like `gross_dies`, with scribe lanes around square dies and a lost rim of the wafer.

    The form and the defaults of Chiplet Actuary (Y. Feng and K. Ma, DAC 2022).
    """
    side = np.sqrt(np.asarray(die_mm2, float)) + scribe_mm
    return gross_dies(side**2, wafer_mm=wafer_mm - 2.0 * edge_mm)


def known_good_die_usd(
    wafer_usd: ArrayLike, dies_per_wafer: ArrayLike, yield_fraction: ArrayLike
) -> Floats:
    """Wafer price over good dies, infinite where there are none [USD]."""
    good = np.asarray(dies_per_wafer, float) * np.asarray(yield_fraction, float)
    some = good > 0.0
    cost: Floats = np.where(some, np.asarray(wafer_usd, float) / np.where(some, good, 1.0), np.inf)
    return cost


def die_cost(
    die_mm2: ArrayLike, wafer_usd: ArrayLike, model: YieldModel, *, dies_per_wafer: ArrayLike
) -> DieCost:
    """Cost of a die from its area, the wafer price and a yield model.

    Parameters
    ----------
    die_mm2, wafer_usd : array, broadcast
    dies_per_wafer : array
        From `gross_dies`, `gross_dies_scribed` or an exact packing.

    Returns
    -------
    DieCost
        EXCEEDS_RETICLE above one exposure field; the cost is still computed.
    """
    fraction = model.yield_fraction(die_mm2)
    outcome = np.where(
        np.asarray(die_mm2, float) > RETICLE_MM2, int(Outcome.EXCEEDS_RETICLE), int(Outcome.OK)
    )
    return DieCost(
        dies_per_wafer=np.asarray(dies_per_wafer, float),
        yield_fraction=fraction,
        raw_usd=known_good_die_usd(wafer_usd, dies_per_wafer, 1.0),
        good_usd=known_good_die_usd(wafer_usd, dies_per_wafer, fraction),
        outcome=outcome,
    )
