"""Pass-through against closed forms and against equilibria solved numerically."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.optimize import fsolve

from tapeout import market

LOGIT = market.logit_bertrand(3, 0.2821)
ALONE = market.logit_bertrand(1, [0.107, 0.362, 0.688]).own
ONE, TWO, THREE = (market.monopoly_chain(10.0, 2.0, links) for links in (1, 2, 3))
COMPLEMENTS = market.complement_price(10.0, 2.0, [0.0, 4.0, 8.0, 12.0, 14.0])


def surplus_ratio(firms):
    split = market.split_saving(market.linear_cournot(firms, firms), 1 / firms)
    return split.consumers / split.producers


# Counted oracles: name, value, expected, absolute tolerance. 43 values. H4 and H5 to the digits
# printed, the rest exact; all computed, H6 and H7 after Spengler (1950).
ORACLES = [
    *((f"H1 industry, n = {n}", market.linear_cournot(n, n), n / (n + 1), 1e-9) for n in (1, 2, 5)),
    *((f"H1 one firm, n = {n}", market.linear_cournot(n, 1), 1 / (n + 1), 1e-9) for n in (1, 2, 5)),
    ("H2 (1, 2)", market.ces_cournot(1, 2.0), 2.0, 1e-9),
    ("H2 (2, 1.5)", market.ces_cournot(2, 1.5), 1.5, 1e-9),
    ("H3 monopoly", market.pass_through(1.0, surplus_elasticity=1.0), 0.5, 1e-9),
    *(("H4", *pair, 1e-3) for pair in zip(ALONE, (0.893, 0.638, 0.312), strict=True)),
    ("H5 industry", LOGIT.industry, 0.9224, 1e-4),
    ("H5 own", LOGIT.own, 0.7383, 1e-4),
    ("H5 cross", LOGIT.cross, 0.0920, 1e-4),
    ("H6 price", ONE.prices[0], 6.0, 1e-9),
    ("H6 quantity", ONE.quantity, 4.0, 1e-9),
    ("H6 profit", ONE.profits[0], 16.0, 1e-9),
    ("H6 consumer surplus", ONE.consumer_surplus, 8.0, 1e-9),
    ("H7 wholesale price", TWO.prices[0], 6.0, 1e-9),
    ("H7 price", TWO.prices[1], 8.0, 1e-9),
    ("H7 quantity", TWO.quantity, 2.0, 1e-9),
    ("H7 upstream profit", TWO.profits[0], 8.0, 1e-9),
    ("H7 downstream profit", TWO.profits[1], 4.0, 1e-9),
    ("H7 consumer surplus", TWO.consumer_surplus, 2.0, 1e-9),
    *((f"H8, n = {n}", surplus_ratio(n), n / 2, 1e-9) for n in (1, 2, 3, 5, 10)),
    ("4.3 chain of 1", ONE.prices[-1], 6.0, 1e-9),
    ("4.3 chain of 2", TWO.prices[-1], 8.0, 1e-9),
    ("4.3 chain of 3", THREE.prices[-1], 9.0, 1e-9),
    ("4.3 joint profit of 1", ONE.profits.sum(), 16.0, 1e-9),
    ("4.3 joint profit of 2", TWO.profits.sum(), 12.0, 1e-9),
    ("4.3 joint profit of 3", THREE.profits.sum(), 7.0, 1e-9),
    *(("4.3 complement", *pair, 1e-9) for pair in zip(COMPLEMENTS, (6, 4, 2, 0, 0), strict=True)),
    ("Weyl-Fabinger, competition", market.pass_through(0.0, surplus_elasticity=1.0), 1.0, 1e-9),
    ("Weyl-Fabinger, duopoly", market.pass_through(0.5, surplus_elasticity=1.0), 2 / 3, 1e-9),
]


@pytest.mark.parametrize(("name", "value", "expected", "tolerance"), ORACLES)
def test_pass_through_examples_are_reproduced(name, value, expected, tolerance):
    assert float(value) == pytest.approx(expected, abs=tolerance), name


@given(links=st.integers(1, 6), saving=st.floats(0.01, 1.0))
def test_a_chain_passes_on_a_half_per_link(links, saving):
    """H3, (1/2)^K, by moving the cost."""
    before = market.monopoly_chain(10.0, 2.0, links).prices[-1]
    after = market.monopoly_chain(10.0, 2.0 - saving, links).prices[-1]
    assert (before - after) / saving == pytest.approx(0.5**links, abs=1e-9)


@pytest.mark.parametrize("shocked", [1, 2, 4])
def test_linear_cournot_equals_the_solved_equilibrium(shocked):
    """First-order conditions a - Q - q_i = c_i of four firms, as a linear system."""
    firms = 4

    def price(costs):
        quantity = np.linalg.solve(np.ones((firms, firms)) + np.eye(firms), 10.0 - costs)
        return 10.0 - quantity.sum()

    costs = np.full(firms, 2.0)
    saved = costs.copy()
    saved[:shocked] -= 0.1
    passed = (price(costs) - price(saved)) / 0.1
    assert passed == pytest.approx(float(market.linear_cournot(firms, shocked)), abs=1e-6)


@given(n=st.integers(1, 8), elasticity=st.floats(1.1, 4.0))
def test_ces_cournot_equals_the_general_formula(n, elasticity):
    """theta = 1/n and e_ms = -eps."""
    assume(n * elasticity > 1.2)
    general = market.pass_through(1 / n, surplus_elasticity=-elasticity)
    assert market.ces_cournot(n, elasticity) == pytest.approx(float(general))


def test_ces_cournot_without_equilibrium_is_nan():
    assert np.isnan(market.ces_cournot(1, 0.9))


def test_logit_equals_the_solved_equilibrium():
    """Prices of three firms with an outside good, alpha 1, solved before and after a saving."""
    quality = 2.4

    def share(price):
        weight = np.exp(quality - price)
        return weight / (1.0 + weight.sum())

    def price(costs):
        return fsolve(lambda p: p - costs - 1 / (1 - share(p)), costs + 1.5, xtol=1e-13)

    costs, step = np.ones(3), 1e-4
    one = np.array([step, 0.0, 0.0])
    base = price(costs)
    own = (price(costs + one) - price(costs - one)) / (2 * step)
    industry = (price(costs + step) - price(costs - step)) / (2 * step)
    found = market.logit_bertrand(3, share(base)[0])
    assert own == pytest.approx([found.own, found.cross, found.cross], abs=1e-5)
    assert industry == pytest.approx([float(found.industry)] * 3, abs=1e-5)


def test_industry_logit_equals_the_printed_closed_form():
    """H5: (1-s)^2 / ((1-s)^2 + s(1-3s)) at n = 3."""
    s = np.linspace(0.01, 0.33, 20)
    printed = (1 - s) ** 2 / ((1 - s) ** 2 + s * (1 - 3 * s))
    assert market.logit_bertrand(3, s).industry == pytest.approx(printed)


@given(rho=st.floats(0.0, 3.0), theta=st.floats(0.0, 1.0))
def test_shares_of_a_saving_add_up_to_it_and_the_recovered_loss(rho, theta):
    split = market.split_saving(rho, theta)
    assert split.consumers + split.producers == pytest.approx(1 + float(split.recovered))


def test_rising_marginal_cost_lowers_pass_through_of_a_competitive_market():
    """theta = 0: 1/(1 + e_D/e_S), the textbook incidence formula."""
    found = market.pass_through(
        0.0, surplus_elasticity=1.0, demand_elasticity=1.5, supply_elasticity=3.0
    )
    assert found == pytest.approx(1 / (1 + 0.5))


def test_the_fringe_caps_the_price_and_the_floor_is_own_cost_less_side_income():
    assert market.capped_price([5.0, 9.0], 6.0, 0.1) == pytest.approx([5.0, 6.6])
    assert market.price_floor(2.0, [0.0, 1.5, 3.0]) == pytest.approx([2.0, 0.5, 0.0])
