"""Price to demand and back: how use answers a price, and what a cheaper token earns and costs.

Demand of constant elasticity; the price follows the unit cost at a stated pass-through, never above
the price planned and never below the owner's own cost. Going round between price and cost until
both agree is the caller's work: nothing here plans a fleet.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from tapeout.market.incidence import ces_cournot, linear_cournot, logit_bertrand, price_floor
from tapeout.numerics import Floats

Conduct = Literal["none", "competition", "linear-cournot", "ces-cournot", "logit"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """What a lower price changes in present value, against the planned price. [USD].

    `given_away`, negative, is the fall of the price on tokens sold at the planned price as well;
    `rebound_revenue` and `rebound_cost` are of the tokens that come on top; `cannibalised`,
    negative, is what own dearer tiers lose to them.
    """

    given_away: float
    rebound_revenue: float
    rebound_cost: float
    cannibalised: float

    @property
    def change(self) -> float:
        """Contribution at the new price less contribution at the planned one. [USD]."""
        return self.given_away + self.rebound_revenue - self.rebound_cost + self.cannibalised


def stated_pass_through(
    conduct: Conduct, *, firms: float, firms_with_saving: float, share: float, elasticity: float
) -> float:
    """Fall of the price per dollar of unit cost saved, under a stated conduct.

    Parameters
    ----------
    conduct : str
        "none": the owner keeps it all. "competition": all of it is passed on. "linear-cournot":
        m/(n+1) of m of n rivals. "ces-cournot": n eps/(n eps - 1), a saving of the whole industry,
        above one. "logit": of one firm of a given share among n that set prices.
    firms, firms_with_saving, share : float
        n, m and the market share of one firm.
    elasticity : float
        Of demand, negative.

    Returns
    -------
    float
        nan where the conduct has no equilibrium.
    """
    if conduct == "linear-cournot":
        return float(linear_cournot(firms, firms_with_saving))
    if conduct == "ces-cournot":
        return float(ces_cournot(firms, -elasticity))
    if conduct == "logit":
        return float(logit_bertrand(firms, share).own)
    return 1.0 if conduct == "competition" else 0.0


def demand_ratio(price_ratio: ArrayLike, elasticity: ArrayLike) -> Floats:
    """Demand over planned demand, (P / P0)^elasticity; elasticity negative.

    Examples
    --------
    >>> float(demand_ratio(0.9, -1.5).round(3))
    1.171
    """
    ratio: Floats = np.power(np.asarray(price_ratio, float), np.asarray(elasticity, float))
    return ratio


def passed_price(
    planned: ArrayLike, reference_cost: ArrayLike, cost: ArrayLike, passed: ArrayLike
) -> Floats:
    """Price after a saving in unit cost: P0 - rho (c0 - c), within [own cost, P0].

    A strategy dearer than the reference cannot raise the price, since others sell at it; nobody
    sells below the own cost for long, unless the planned price is below it already.

    Parameters
    ----------
    planned, reference_cost, cost : array
        P0, c0 and c, in one unit.
    passed : array
        rho.
    """
    p0 = np.asarray(planned, float)
    saved = np.asarray(reference_cost, float) - np.asarray(cost, float)
    wanted = p0 - np.asarray(passed, float) * saved
    price: Floats = np.minimum(p0, np.maximum(wanted, price_floor(cost)))
    return price


def respond(
    prices: tuple[Floats, Floats],
    tokens: tuple[Floats, Floats],
    costs: tuple[float, float],
    *,
    diverted: float = 0.0,
    dearer_price_ratio: float = 1.0,
) -> Response:
    """Split the change of contribution into what is given away, rebound and cannibalised.

    Parameters
    ----------
    prices : pair of arrays, shape (quarter,)
        Planned and new, before the trend that both follow. [USD/token]
    tokens : pair of arrays, shape (quarter,)
        Served at the planned and at the new price, discounted and weighted by that trend.
    costs : pair
        Present cost of serving them. [USD]
    diverted : float
        Share of the extra tokens that users of own dearer tiers would have bought there.
    dearer_price_ratio : float
        Price of those tiers over the planned price; a token costs there what it costs here.
    """
    (planned, price), (sold, now_sold), (cost, now_cost) = prices, tokens, costs
    extra = now_sold - sold
    each = now_cost / max(float(now_sold.sum()), np.finfo(float).tiny)
    lost = diverted * float((extra * (dearer_price_ratio * planned - each)).sum())
    return Response(
        given_away=float((sold * (price - planned)).sum()),
        rebound_revenue=float((extra * price).sum()),
        rebound_cost=now_cost - cost,
        cannibalised=-max(lost, 0.0),
    )
