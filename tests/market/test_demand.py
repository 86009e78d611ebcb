"""Demand and price: pass-through by conduct, bounds of the price, lines that add up."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapeout import market

CONDUCTS = [
    ("none", 0.0),
    ("competition", 1.0),
    ("linear-cournot", 0.25),
    ("ces-cournot", 4.5 / 3.5),
    ("logit", 0.7383),
]


@pytest.mark.parametrize(("conduct", "expected"), CONDUCTS)
def test_conduct_states_the_pass_through(conduct, expected):
    rho = market.stated_pass_through(
        conduct, firms=3, firms_with_saving=1, share=0.2821, elasticity=-1.5
    )
    assert rho == pytest.approx(expected, abs=1e-4)


def test_a_price_a_tenth_lower_brings_what_the_press_reports():
    gained = market.demand_ratio(0.9, np.array([-1.2, -1.8])) - 1.0
    assert gained == pytest.approx([0.135, 0.209], abs=1e-3)


@given(
    st.floats(0.1, 10), st.floats(0.01, 10), st.floats(0.01, 10), st.floats(0, 1.5)
)  # fmt: skip
def test_the_price_stays_between_own_cost_and_plan(planned, base, cost, rho):
    price = float(market.passed_price(planned, base, cost, rho))
    assert price <= planned
    assert price >= min(planned, cost)
    if cost >= base:
        assert price == planned


def test_the_lines_add_up_to_the_change_of_contribution():
    rng = np.random.default_rng(7)
    planned, sold = np.full(8, 2.0), rng.uniform(1, 2, 8)
    price = np.where(np.arange(8) < 3, 2.0, 1.5)
    now = sold * (price / planned) ** -1.5
    cost, now_cost = 9.0, 12.0
    found = market.respond((planned, price), (sold, now), (cost, now_cost))
    earned = (now * price).sum() - now_cost - ((sold * planned).sum() - cost)
    assert found.change == pytest.approx(earned)
    diverted = market.respond(
        (planned, price), (sold, now), (cost, now_cost), diverted=0.5, dearer_price_ratio=3.0
    )
    lost = 0.5 * ((now - sold).sum() * (6.0 - now_cost / now.sum()))
    assert diverted.change == pytest.approx(earned - lost)
    assert found.cannibalised == 0.0
