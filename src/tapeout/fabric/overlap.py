"""How much of a collective hides behind arithmetic."""

from __future__ import annotations

import numpy as np

from tapeout.numerics import Floats


def exposed_s(compute_s: Floats, communication_s: Floats, overlap_fraction: float) -> Floats:
    """Time of arithmetic and a collective that partly overlap, broadcast shape. [s].

    `compute + (1 - o) communication`, never below the longer of the two: a stack parameter, 0
    unless the engine overlaps (reference table 2.3).

    Examples
    --------
    >>> float(exposed_s(3.0, 2.0, 0.5)), float(exposed_s(1.0, 2.0, 1.0))
    (4.0, 2.0)
    """
    compute = np.asarray(compute_s, dtype=float)
    communication = np.asarray(communication_s, dtype=float)
    summed = compute + (1.0 - overlap_fraction) * communication
    longer: Floats = np.maximum(compute, communication)
    return np.asarray(np.maximum(summed, longer))
