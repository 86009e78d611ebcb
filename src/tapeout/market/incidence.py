"""How much of a cost saving reaches the customer: pass-through by conduct.

Pass-through rho is the fall of the price per dollar of saving. Nothing here fixes the conduct:
a report prints the range over the models and over how many rivals share the saving.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from tapeout.numerics import Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class Incidence:
    """Who gains per dollar of unit cost saved.

    `consumers` is rho, `producers` 1 - (1 - theta) rho; together they exceed the dollar by
    `recovered`, theta rho of deadweight loss won back.
    """

    consumers: Floats
    producers: Floats
    recovered: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class LogitPassThrough:
    """Price changes per dollar of cost in a symmetric logit market.

    `own`: of the firm whose cost alone changes; `cross`: of each rival then; `industry`: of every
    firm when all costs change.
    """

    own: Floats
    cross: Floats
    industry: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """A chain of monopolists facing demand Q = a - p, from the source down.

    `prices` and `profits` have one entry per link; the last price is the customer's.
    """

    prices: Floats
    profits: Floats
    quantity: float
    consumer_surplus: float


def pass_through(
    conduct: ArrayLike,
    *,
    surplus_elasticity: ArrayLike,
    demand_elasticity: ArrayLike = 1.0,
    supply_elasticity: ArrayLike = np.inf,
    conduct_elasticity: ArrayLike = np.inf,
) -> Floats:
    """General pass-through 1/(1 + theta/e_theta + (e_D - theta)/e_S + theta/e_ms).

    Parameters
    ----------
    conduct : array
        theta: 0 competition, 1/n Cournot, 1 monopoly.
    surplus_elasticity : array
        e_ms, inverse elasticity of marginal surplus: 1 for linear demand, -eps for demand of
        constant elasticity eps.
    demand_elasticity, supply_elasticity, conduct_elasticity : array
        e_D, e_S and e_theta; infinite e_S is constant marginal cost, infinite e_theta constant
        conduct.

    References
    ----------
    .. [1] G. Weyl, M. Fabinger, "Pass-Through as an Economic Tool", J. Political Economy 2013.
    """
    theta, e_ms, e_d, e_s, e_theta = (
        _floats(x)
        for x in (
            conduct,
            surplus_elasticity,
            demand_elasticity,
            supply_elasticity,
            conduct_elasticity,
        )
    )
    rho: Floats = 1.0 / (1.0 + theta / e_theta + (e_d - theta) / e_s + theta / e_ms)
    return rho


def split_saving(passed: ArrayLike, conduct: ArrayLike) -> Incidence:
    """Split of a saving between customers and producers at pass-through rho and conduct theta."""
    rho, theta = np.broadcast_arrays(_floats(passed), _floats(conduct))
    return Incidence(
        consumers=rho.copy(), producers=1.0 - (1.0 - theta) * rho, recovered=theta * rho
    )


def linear_cournot(firms: ArrayLike, firms_with_saving: ArrayLike) -> Floats:
    """Pass-through m/(n+1) of a saving that m of n Cournot rivals share, linear demand.

    n/(n+1) if all have it, 1/(n+1) if one does; a monopolist passes on a half.
    """
    rho: Floats = _floats(firms_with_saving) / (_floats(firms) + 1.0)
    return rho


def ces_cournot(firms: ArrayLike, elasticity: ArrayLike) -> Floats:
    """Industry pass-through n eps/(n eps - 1), demand of constant elasticity; above one.

    nan where n eps is not above 1: no equilibrium exists there.
    """
    n_eps = _floats(firms) * _floats(elasticity)
    exists = n_eps > 1.0
    rho: Floats = np.where(exists, n_eps, np.nan) / np.where(exists, n_eps - 1.0, 1.0)
    return rho


def logit_bertrand(firms: ArrayLike, share: ArrayLike) -> LogitPassThrough:
    """Pass-through among n symmetric firms of market share s each, logit demand, price setting.

    From the derivative of the first-order conditions p - c = 1/(alpha (1 - s)): the matrix
    (A + B) I - B J with A = 1/(1-s), B = (s/(1-s))^2 maps price to cost changes. One firm alone
    passes on 1 - s.
    """
    n, s = _floats(firms), _floats(share)
    own_weight, rival_weight = 1.0 / (1.0 - s), (s / (1.0 - s)) ** 2
    diagonal = own_weight + rival_weight
    cross: Floats = rival_weight / (diagonal * (diagonal - n * rival_weight))
    return LogitPassThrough(
        own=1.0 / diagonal + cross, cross=cross, industry=1.0 / (diagonal - n * rival_weight)
    )


def monopoly_chain(intercept: float, cost: float, links: int) -> Chain:
    """Successive monopolists facing Q = a - p: each link halves the way from cost to a.

    One link is the integrated firm, two are double marginalisation (J. Spengler 1950). Each link
    passes on a half of a saving below it, the chain (1/2)^links.
    """
    step = np.power(0.5, np.arange(links + 1))
    levels: Floats = intercept - (intercept - cost) * step  # cost first, then each link's price
    quantity = float(intercept - levels[-1])
    return Chain(
        prices=levels[1:],
        profits=np.diff(levels) * quantity,
        quantity=quantity,
        consumer_surplus=quantity**2 / 2.0,
    )


def complement_price(intercept: ArrayLike, cost: ArrayLike, side_margin: ArrayLike = 0.0) -> Floats:
    """Monopoly price max(0, (a + c - m)/2) when each unit also earns m elsewhere, Q = a - p.

    With m from advertising, seats or devices the token is a complement: at the bound of zero a
    saving no longer moves the price but goes to volume or quality.
    """
    interior = (_floats(intercept) + _floats(cost) - _floats(side_margin)) / 2.0
    return np.maximum(interior, 0.0)


def price_floor(own_cost: ArrayLike, side_margin: ArrayLike = 0.0) -> Floats:
    """Lowest sustainable price: own cost, less what the unit earns elsewhere; at least 0."""
    return np.maximum(_floats(own_cost) - _floats(side_margin), 0.0)


def capped_price(price: ArrayLike, fringe_price: ArrayLike, premium: ArrayLike = 0.0) -> Floats:
    """Price under a competitive fringe, min(p, p_fringe (1 + premium)).

    While the cap binds, pass-through of the own cost is 0 and of the fringe's cost 1 (times
    1 + premium).
    """
    return np.minimum(_floats(price), _floats(fringe_price) * (1.0 + _floats(premium)))


def _floats(value: ArrayLike) -> Floats:
    return np.asarray(value, float)
