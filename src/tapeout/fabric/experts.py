"""Exchange of tokens around experts that are spread over many chips (wide expert parallelism)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tapeout.errors import InfeasibleError
from tapeout.fabric.topology import Topology
from tapeout.numerics import Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpertExchange:
    """What one token of a mixture-of-experts layer sends.

    Attributes
    ----------
    experts, experts_per_token : int
    dispatch_bytes, combine_bytes : float
        One token's hidden state on the way out (fp8 with its scales, or bf16) and back. [B]
    """

    experts: int
    experts_per_token: int
    dispatch_bytes: float
    combine_bytes: float


def distinct_ranks(ranks: int, experts: int, experts_per_token: int) -> float:
    """Mean number of ranks one token is sent to under uniform routing.

    `R (1 - C(E - E/R, k) / C(E, k))`, exact for k different experts drawn at random; the product
    form below needs no factorials.

    Raises
    ------
    InfeasibleError
        Ranks do not divide the experts, or more experts are asked for than there are.

    Examples
    --------
    >>> round(distinct_ranks(8, 256, 8), 2)
    5.29
    """
    if experts % ranks or not 0 < experts_per_token <= experts:
        raise InfeasibleError(
            f"{experts_per_token} of {experts} experts over {ranks} ranks: ranks must divide "
            "the experts, and a token cannot use more than there are"
        )
    elsewhere = experts - experts // ranks
    draw = np.arange(experts_per_token)
    none_here = np.prod(np.maximum(elsewhere - draw, 0.0) / (experts - draw))
    return float(ranks * (1.0 - none_here))


def exchange_s(
    exchange: ExpertExchange,
    tokens_per_rank: Floats,
    ranks: int,
    topology: Topology,
    *,
    imbalance: float = 1.0,
) -> Floats:
    """Time to send tokens to their experts and the results back, shape of `tokens_per_rank` [s].

    Parameters
    ----------
    exchange : ExpertExchange
    tokens_per_rank : array
        Tokens that one rank holds before the layer.
    ranks : int
        Chips the experts are spread over.
    topology : Topology
        Of these chips; on two levels a token crosses once for every distinct chip, as no library
        here forwards inside a domain.
    imbalance : float
        Load of the fullest rank over the mean; all wait for it.
    """
    copies = distinct_ranks(ranks, exchange.experts, exchange.experts_per_token)
    sent = np.asarray(tokens_per_rank, dtype=float) * copies * imbalance
    there = topology.all_to_all_s(sent * exchange.dispatch_bytes, ranks)
    return there + topology.all_to_all_s(sent * exchange.combine_bytes, ranks)
