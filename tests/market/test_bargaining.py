"""Bargaining against hand calculations; the two theories and the interval between them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapeout import market
from tapeout.errors import Outcome

THREATS = np.array([0.0, 20.0, 40.0, 60.0])
NASH = market.nash_price(100.0, 30.0, buyer_surplus_usd=THREATS).price_usd
OUTSIDE = market.outside_option_price(100.0, 30.0, buyer_surplus_usd=THREATS).price_usd

# Joint gains of section 4.1: only all three together add the 60; and two equal players.
OWNER_PARTNER_FOUNDRY = {
    frozenset({"owner"}): 40.0,
    frozenset({"owner", "partner"}): 40.0,
    frozenset({"owner", "foundry"}): 40.0,
    frozenset({"owner", "partner", "foundry"}): 100.0,
}
SHARES = market.shapley_usd(OWNER_PARTNER_FOUNDRY)

# Counted oracles: name, value, expected. 17 values, computed, tolerance 1e-9.
ORACLES = [
    *(("G1 Nash", *pair) for pair in zip(NASH, (65.0, 55.0, 45.0, 35.0), strict=True)),
    *(("G2 outside option", *pair) for pair in zip(OUTSIDE, (65.0, 65.0, 60.0, 40.0), strict=True)),
    ("G3 hold-up", market.hold_up_investment(0.6), 0.36),
    ("G3 first best", market.hold_up_investment(1.0), 1.0),
    ("G4, l = 40", market.two_buyer_price(100.0, 40.0), 50.0),
    ("G4, l = 60", market.two_buyer_price(100.0, 60.0), 60.0),
    ("G4 low", market.two_buyer_bounds_usd(100.0)[0], 50.0),
    ("G4 high", market.two_buyer_bounds_usd(100.0)[1], 100.0),
    ("4.1 owner", SHARES["owner"], 60.0),
    ("4.1 partner", SHARES["partner"], 20.0),
    ("4.1 foundry", SHARES["foundry"], 20.0),
]


@pytest.mark.parametrize(("name", "value", "expected"), ORACLES)
def test_bargaining_examples_are_reproduced(name, value, expected):
    assert float(value) == pytest.approx(expected, abs=1e-9), name


def test_leverage_of_a_thirty_per_cent_discount_is_reproduced():
    """4.2, counted oracle: 10 bn USD a year, 30 % off, 0.5 bn NRE, fully credible: 2.5 bn."""
    gain = market.leverage_value_usd(1.0, 0.7, 10e9, sunk_nre_usd=0.5e9)
    assert gain == pytest.approx(2.5e9)


def test_a_threat_that_does_not_bind_lowers_the_price_only_under_nash():
    prices = market.negotiated_interval(65.0, 30.0, 20.0)
    assert prices.nash_usd == pytest.approx(55.0)
    assert prices.outside_option_usd == pytest.approx(65.0)
    assert (prices.low_usd, prices.high_usd) == (prices.nash_usd, prices.outside_option_usd)


@given(
    cost=st.floats(1.0, 50.0),
    margin=st.floats(0.0, 200.0),
    power=st.floats(0.05, 0.95),
    share=st.floats(0.0, 1.0),
)
def test_negotiated_prices_depend_on_the_own_cost_alone(cost, margin, power, share):
    """With own cost k the rules are c + (1 - beta)(k - c) and min(list, k)."""
    list_usd = cost + margin
    value = market.implied_value_usd(list_usd, cost, power)
    own = cost + share * (value - cost)
    prices = market.negotiated_interval(list_usd, cost, value - own, buyer_power=power)
    scale = 1e-9 * (value + 1)
    assert prices.nash_usd == pytest.approx(cost + (1 - power) * (own - cost), abs=scale)
    assert prices.outside_option_usd == pytest.approx(min(list_usd, own), abs=scale)
    assert cost - scale <= prices.low_usd <= prices.high_usd <= list_usd + scale


def test_a_chip_below_the_vendors_cost_ends_the_trade():
    """w > v - c: the vendor would have to sell at a loss."""
    for theory in ("nash", "outside_option"):
        deal = market.negotiated_price(65.0, 30.0, [60.0, 80.0], theory)
        assert list(deal.outcome) == [Outcome.OK, Outcome.NO_TRADE]
        assert deal.price_usd[1] == pytest.approx(30.0)


def test_a_worthless_chip_is_no_threat():
    assert market.negotiated_price(65.0, 30.0, -50.0, "nash").price_usd == pytest.approx(65.0)


def test_a_second_customer_of_the_seller_raises_the_price():
    price = market.nash_price(100.0, 30.0, seller_surplus_usd=10.0).price_usd
    assert price == pytest.approx(30 + 10 + 0.5 * 60)


def test_hold_up_takes_the_partners_share_of_switching():
    assert market.hold_up_transfer_usd(100.0, 0.7) == pytest.approx(30.0)


@given(power=st.floats(0.05, 1.0), exponent=st.floats(0.1, 0.9), scale=st.floats(0.5, 2.0))
def test_hold_up_investment_solves_its_first_order_condition(power, exponent, scale):
    invested = market.hold_up_investment(power, scale=scale, exponent=exponent)
    assert power * scale * invested ** (exponent - 1.0) == pytest.approx(1.0)


@given(worth=st.lists(st.floats(-100.0, 100.0), min_size=7, max_size=7))
def test_shapley_shares_add_up_and_treat_equals_alike(worth):
    players = ("a", "b", "c")
    groups = [frozenset(p for i, p in enumerate(players) if mask >> i & 1) for mask in range(1, 8)]
    table = dict(zip(groups, worth, strict=True))
    shares = market.shapley_usd(table)
    assert sum(shares.values()) == pytest.approx(table[frozenset(players)], abs=1e-9)
    symmetric = {group: float(len(group)) ** 2 for group in groups}
    assert list(market.shapley_usd(symmetric).values()) == pytest.approx([3.0] * 3)


def test_two_players_split_as_nash_with_equal_power():
    shares = market.shapley_usd({frozenset("b"): 20.0, frozenset("s"): 10.0, frozenset("bs"): 70.0})
    price = market.nash_price(
        70.0, 0.0, buyer_surplus_usd=20.0, seller_surplus_usd=10.0, buyer_power=0.5
    ).price_usd
    assert shares["s"] == pytest.approx(float(price))
