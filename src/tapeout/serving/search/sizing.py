"""How many replicas a rate needs, from the largest load of some."""

from __future__ import annotations

import math
from dataclasses import dataclass

from tapeout.errors import InfeasibleError
from tapeout.serving.search.max_load import MaxLoad

ROUNDING = 1e-9  # of a quotient that should be whole


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizing:
    """Replicas for a rate, each at most at its largest load.

    Attributes
    ----------
    rate_rps : float
        Asked for. [1/s]
    each_rps, each_low_rps : float
        Largest load of a replica, and the low end of its 95 % interval; nan where that is
        unknown. [1/s]
    replicas, estimated_replicas : int
        Enough at the low end (at the estimate where there is no interval), and at the estimate.
    chips : int
        Of `replicas`.
    headroom_fraction : float
        What `replicas` serve at the estimate over the rate, less one.
    usd_per_h : float
        Rent of the chips; nan without a price. [USD/h]
    """

    rate_rps: float
    each_rps: float
    each_low_rps: float
    replicas: int
    estimated_replicas: int
    chips: int
    headroom_fraction: float
    usd_per_h: float = math.nan


def replicas_for(
    rate_rps: float, found: MaxLoad, replicas: int, usd_per_chip_hour: float = math.nan
) -> Sizing:
    """Replicas that serve a rate within the limits.

    Requests are taken to be shared evenly, so that every replica sees its part of the rate with
    the same kind of bursts as in the search.

    Parameters
    ----------
    rate_rps : float
        [1/s]
    found : MaxLoad
        Of so many replicas.
    replicas : int
    usd_per_chip_hour : float
        Nan: not known. [USD/h]

    Raises
    ------
    InfeasibleError
        A rate that is not above 0, or a deployment that serves none within its limits.

    Examples
    --------
    >>> from tapeout.errors import Outcome
    >>> made = MaxLoad(outcome=Outcome.OK, rate_rps=80.0, half_width_rps=8.0, chips=2)
    >>> need = replicas_for(300.0, made, 2, 2.5)
    >>> need.replicas, need.estimated_replicas, need.chips, need.usd_per_h
    (9, 8, 9, 22.5)
    """
    if not 0.0 < rate_rps < math.inf:
        raise InfeasibleError(f"--rate {rate_rps:g} is not positive; give requests per second")
    if not found.rate_rps > 0.0:
        raise InfeasibleError("no number of replicas serves a rate: one misses the limits at any")
    each = found.rate_rps / replicas
    low = (found.rate_rps - found.half_width_rps) / replicas
    known = math.isfinite(low) and low > 0.0
    count = _ceil(rate_rps / (low if known else each))
    chips = count * found.chips // replicas
    return Sizing(
        rate_rps=rate_rps,
        each_rps=each,
        each_low_rps=low if known else math.nan,
        replicas=count,
        estimated_replicas=_ceil(rate_rps / each),
        chips=chips,
        headroom_fraction=count * each / rate_rps - 1.0,
        usd_per_h=chips * usd_per_chip_hour,
    )


def _ceil(ratio: float) -> int:
    return math.ceil(ratio * (1.0 - ROUNDING))
