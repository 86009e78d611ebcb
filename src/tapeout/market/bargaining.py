"""What a threat to build is worth: negotiated prices, leverage, hold-up, two buyers, joint gains.

Two theories disagree on whether a chip that is never used lowers the price at all. Under Nash
bargaining with the chip as disagreement point it always does; under the outside-option principle
(K. Binmore, A. Rubinstein, A. Wolinsky 1986) only when walking away would really beat the deal.
Both are computed and the interval between them is what a report prints.

Values, costs and prices are USD per unit of compute; surpluses of alternatives are what a party
nets per unit if there is no deal, with the cost of getting there sunk.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from math import factorial
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from tapeout.errors import Outcome
from tapeout.numerics import Floats, Ints

Theory = Literal["nash", "outside_option"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bargain:
    """Prices of a deal and whether there is one.

    Where `outcome` is NO_TRADE the alternatives are worth more than the deal; `price_usd` then
    is the seller's reservation price, the lowest it would take.
    """

    price_usd: Floats
    outcome: Ints


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceInterval:
    """One price under both theories; arrays of one shape."""

    nash_usd: Floats
    outside_option_usd: Floats

    @property
    def low_usd(self) -> Floats:
        """The lower of the two."""
        return np.minimum(self.nash_usd, self.outside_option_usd)

    @property
    def high_usd(self) -> Floats:
        """The higher of the two."""
        return np.maximum(self.nash_usd, self.outside_option_usd)


def nash_price(
    value_usd: ArrayLike,
    cost_usd: ArrayLike,
    *,
    buyer_surplus_usd: ArrayLike = 0.0,
    seller_surplus_usd: ArrayLike = 0.0,
    buyer_power: ArrayLike = 0.5,
) -> Bargain:
    """Price p = c + d_s + (1 - beta) S that splits S = v - c - d_b - d_s (J. Nash 1950).

    Parameters
    ----------
    value_usd, cost_usd : array
        v, worth of the good to the buyer, and c, its cost to the seller.
    buyer_surplus_usd, seller_surplus_usd : array
        d_b and d_s, what each nets without the deal.
    buyer_power : array
        beta, share of the joint surplus that goes to the buyer.
    """
    value, cost, at_home, elsewhere, power = (
        _floats(x)
        for x in (value_usd, cost_usd, buyer_surplus_usd, seller_surplus_usd, buyer_power)
    )
    surplus = value - cost - at_home - elsewhere
    return _bargain(cost + elsewhere, (1.0 - power) * surplus, surplus)


def outside_option_price(
    value_usd: ArrayLike,
    cost_usd: ArrayLike,
    *,
    buyer_surplus_usd: ArrayLike = 0.0,
    seller_surplus_usd: ArrayLike = 0.0,
    buyer_power: ArrayLike = 0.5,
) -> Bargain:
    """Price min(Nash price without the threat, v - w): the threat w counts only if it binds."""
    value, cost, threat, elsewhere, power = (
        _floats(x)
        for x in (value_usd, cost_usd, buyer_surplus_usd, seller_surplus_usd, buyer_power)
    )
    floor = cost + elsewhere
    above = np.minimum((1.0 - power) * (value - floor), value - threat - floor)
    return _bargain(floor, above, value - threat - floor)


def negotiated_price(
    list_usd: ArrayLike,
    cost_usd: ArrayLike,
    surplus_usd: ArrayLike,
    theory: Theory,
    *,
    buyer_power: ArrayLike = 0.5,
) -> Bargain:
    """Price after a threat, from the price without one.

    Parameters
    ----------
    list_usd : array
        Price the buyer pays without a programme of its own.
    cost_usd : array
        The vendor's cost.
    surplus_usd : array
        w, what a unit from the buyer's own chip would net it once NRE is sunk, in the same units;
        with own cost k it is `implied_value_usd` less k. A negative one is no threat.
    theory : "nash" or "outside_option"

    Notes
    -----
    The value v is the one at which bargaining without a threat gives the list price. With own
    cost k = v - w the rules become c + (1 - beta)(k - c) and min(list, k): neither needs v.
    """
    value = implied_value_usd(list_usd, cost_usd, buyer_power)
    rule = nash_price if theory == "nash" else outside_option_price
    threat = np.maximum(_floats(surplus_usd), 0.0)
    return rule(value, cost_usd, buyer_surplus_usd=threat, buyer_power=buyer_power)


def negotiated_interval(
    list_usd: ArrayLike,
    cost_usd: ArrayLike,
    surplus_usd: ArrayLike,
    *,
    buyer_power: ArrayLike = 0.5,
) -> PriceInterval:
    """`negotiated_price` under both theories."""
    prices = [
        negotiated_price(list_usd, cost_usd, surplus_usd, theory, buyer_power=buyer_power).price_usd
        for theory in ("nash", "outside_option")
    ]
    return PriceInterval(nash_usd=prices[0], outside_option_usd=prices[1])


def implied_value_usd(
    list_usd: ArrayLike, cost_usd: ArrayLike, buyer_power: ArrayLike = 0.5
) -> Floats:
    """Worth to the buyer at which bargaining without threats gives the list price [USD]."""
    cost = _floats(cost_usd)
    value: Floats = cost + (_floats(list_usd) - cost) / (1.0 - _floats(buyer_power))
    return value


def leverage_value_usd(
    price_without_usd: ArrayLike,
    price_with_usd: ArrayLike,
    quantity: ArrayLike,
    *,
    credibility: ArrayLike = 1.0,
    sunk_nre_usd: ArrayLike = 0.0,
) -> Floats:
    """Worth of a programme as a threat alone, q (p0 - p1) Q - NRE [USD].

    `credibility` q rises from a concept over a tape-out to running silicon; `sunk_nre_usd` is
    what has to be spent to be that credible.
    """
    discount = _floats(price_without_usd) - _floats(price_with_usd)
    gain: Floats = _floats(credibility) * discount * _floats(quantity) - _floats(sunk_nre_usd)
    return gain


def hold_up_transfer_usd(switching_cost_usd: ArrayLike, buyer_power: ArrayLike = 0.5) -> Floats:
    """What a partner takes after design-in: (1 - beta) of the cost of switching away [USD]."""
    transfer: Floats = (1.0 - _floats(buyer_power)) * _floats(switching_cost_usd)
    return transfer


def hold_up_investment(
    buyer_power: ArrayLike, *, scale: ArrayLike = 1.0, exponent: ArrayLike = 0.5
) -> Floats:
    """Investment I that solves beta V'(I) = 1 when its gain V = scale I^a / a is shared.

    A power of 1 gives the first best. The default V = 2 sqrt(I) leaves beta^2 of it (S. Grossman
    and O. Hart 1986).
    """
    slope = _floats(buyer_power) * _floats(scale)
    invested: Floats = slope ** (1.0 / (1.0 - _floats(exponent)))
    return invested


def two_buyer_price(high_usd: ArrayLike, low_usd: ArrayLike) -> Floats:
    """Price max(h/2, l) of one unit with two buyers of worth h > l, no cost [USD].

    The limit under the outside-option principle; `two_buyer_bounds_usd` holds every other
    subgame-perfect price (D. Abreu and M. Manea 2025).
    """
    return np.maximum(_floats(high_usd) / 2.0, _floats(low_usd))


def two_buyer_bounds_usd(high_usd: ArrayLike) -> tuple[Floats, Floats]:
    """Lowest and highest subgame-perfect price with two buyers, h/2 and h [USD]."""
    high = _floats(high_usd)
    return high / 2.0, high


def shapley_usd(worth_usd: Mapping[frozenset[str], float]) -> dict[str, float]:
    """Split of a joint gain by average marginal contribution (L. Shapley 1953).

    Parameters
    ----------
    worth_usd : mapping of coalition to worth
        Coalitions that are left out are worth nothing; the players are those of the largest one.

    Returns
    -------
    dict of player to USD
        Adds up to the worth of all players together.

    Examples
    --------
    >>> shapley_usd({frozenset({"owner"}): 40.0, frozenset({"owner", "partner"}): 100.0})
    {'owner': 70.0, 'partner': 30.0}
    """
    players = sorted(frozenset().union(*worth_usd))
    share = dict.fromkeys(players, 0.0)
    for player in players:
        others = [other for other in players if other != player]
        for size in range(len(players)):
            weight = factorial(size) * factorial(len(others) - size) / factorial(len(players))
            for group in combinations(others, size):
                before = frozenset(group)
                gain = worth_usd.get(before | {player}, 0.0) - worth_usd.get(before, 0.0)
                share[player] += weight * gain
    return share


def _bargain(floor: Floats, above: Floats, surplus: Floats) -> Bargain:
    """Price at `above` over the seller's floor where there is a surplus, else the floor."""
    floor, above, surplus = np.broadcast_arrays(floor, above, surplus)
    trade = surplus >= 0.0
    return Bargain(
        price_usd=floor + np.where(trade, above, 0.0),
        outcome=np.where(trade, int(Outcome.OK), int(Outcome.NO_TRADE)),
    )


def _floats(value: ArrayLike) -> Floats:
    return np.asarray(value, float)
