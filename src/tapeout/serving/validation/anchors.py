"""A few rows of the user's own move the predictions for what they are about.

A correction is a chain of log factors, widest first, each the mean of what the ones before leave,
shrunk as if `PRIOR_ROWS` more rows had said "no correction": sum / (n + prior). Rows of one key
share most of their error (81 % of what a first fit left was one constant a curve), so the last,
narrowest level is shrunk least.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tapeout.serving.validation.terms import chained_factors

PRIOR_ROWS = (2.0, 1.0, 0.5)  # noise over spread, both as variances; wide to narrow keys
LEFT_SD = (0.9, 0.8, 0.6)  # band that is left when a key of this level has an anchor


@dataclass(frozen=True, slots=True, kw_only=True)
class Anchors:
    """Log factors by key; no keys, no corrections."""

    factors: Mapping[str, float]

    def log_factor(self, keys: Sequence[str]) -> float:
        """Sum over the keys of a row."""
        return sum(self.factors.get(key, 0.0) for key in keys)

    def band_share(self, keys: Sequence[str]) -> float:
        """Factor on log_sd: that of the narrowest key with an anchor."""
        found = [share for key, share in zip(keys, LEFT_SD, strict=False) if key in self.factors]
        return found[-1] if found else 1.0


NO_ANCHORS = Anchors(factors={})


def fit_anchors(rows: Sequence[tuple[Sequence[str], float]]) -> Anchors:
    """Fit the chains.

    Parameters
    ----------
    rows : sequence of (keys, log ratio)
        Keys from wide to narrow, all rows as many; log(measured / predicted) of a time.

    Examples
    --------
    >>> one = fit_anchors([(("chip", "curve"), 0.3)])
    >>> round(one.log_factor(("chip", "curve")), 3), round(one.log_factor(("chip", "else")), 3)
    (0.2, 0.1)
    """
    known = [row for row in rows if math.isfinite(row[1])]
    depth = max((len(keys) for keys, _ in known), default=0)
    priors = {level: PRIOR_ROWS[min(level, len(PRIOR_ROWS) - 1)] for level in range(depth)}
    return Anchors(factors=chained_factors(known, priors))
