"""Finance against published examples, numpy-financial, and hand calculations.

Each case names its timing convention: `start` (first flow undiscounted), `mid` or `end` of period.
"""

import numpy as np
import numpy_financial as npf
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapeout.economics import finance
from tapeout.errors import Outcome

DOCS_FLOWS = [-40_000.0, 5_000.0, 8_000.0, 12_000.0, 30_000.0]
ENERGY_COST = finance.energy_usd_per_year(1e3, 1.2, 7008, 0.07)
LEVEL_COST = finance.crf(0.10, 5) * 30_000 + 1_500 + ENERGY_COST
LEVEL_COST_PER_MTOK = finance.level_usd_per_mtok(LEVEL_COST, 1000.0, 0.6)


def nearest_zero(flows):
    """What numpy-financial prints where several rates exist and `irr` reports just that."""
    assert finance.irr(flows).outcome == Outcome.SEVERAL_ROOTS
    roots = finance.irr_roots(flows)
    return roots[np.argmin(np.abs(roots))]


LCOT_COSTS, LCOT_TOKENS = [100, 10, 10, 10, 10], [0, 50e6, 50e6, 50e6, 50e6]
MIRR_1 = [-4500, -800, 800, 800, 600, 600, 800, 800, 700, 3000]
MIRR_2 = [-120000, 39000, 30000, 21000, 37000, 46000]
NPV_2 = [-15000, 1500, 2500, 3500, 4500, 6000]

# Counted oracles: name, convention, value, expected, absolute tolerance. 16 values. B1, B2 and the
# last eight are published in the documentation and tests of numpy-financial 1.0.0, the formula of
# B4 by InferenceX; the other values are computed by hand.
START = "first flow undiscounted, yearly"
ORACLES = [
    ("B1 irr", START, finance.irr([-100, 39, 59, 55, 20]).rate, 0.28095, 1e-5),
    ("B2 npv", START, finance.npv_usd(DOCS_FLOWS, 0.08), 3065.2227, 1e-4),
    ("B3 capital recovery", "year end", finance.crf(0.10, 5), 0.2638, 5e-5),
    ("B4 USD/Mtok", "no time", finance.usd_per_mtok(1.30, 1000.0), 0.3611, 5e-5),
    ("B5 USD/year", "year end", LEVEL_COST, 10_002.60, 0.01),
    ("B5 USD/Mtok", "year end", LEVEL_COST_PER_MTOK, 0.5286, 5e-5),
    ("B6 LCOT", START, finance.lcot_usd_per_mtok(LCOT_COSTS, LCOT_TOKENS, 0.10), 0.8309, 5e-5),
    ("B6, tokens plain", START, finance.npv_usd(LCOT_COSTS, 0.10) / 200, 0.6585, 5e-5),
    ("irr 2", START, finance.irr([-100, 0, 0, 74]).rate, -0.0955, 5e-5),
    ("irr 3", START, nearest_zero([-100, 100, 0, -7]), -0.0833, 5e-5),
    ("irr 4", START, finance.irr([-100, 100, 0, 7]).rate, 0.06206, 5e-6),
    ("irr 5", START, nearest_zero([-5, 10.5, 1, -8, 1]), 0.0886, 5e-5),
    ("npv 2", START, finance.npv_usd(NPV_2, 0.05), 122.89, 5e-3),
    ("mirr 1", START, finance.mirr(MIRR_1, 0.08, 0.055).rate, 0.0666, 5e-5),
    ("mirr 2", START, finance.mirr(MIRR_2, 0.10, 0.12).rate, 0.126094, 5e-7),
    ("mirr 3", START, finance.mirr([100, 200, -50, 300, -200], 0.05, 0.06).rate, 0.3428, 5e-5),
]


@pytest.mark.parametrize(("name", "convention", "value", "expected", "tolerance"), ORACLES)
def test_published_and_computed_examples_are_reproduced(
    name, convention, value, expected, tolerance
):
    assert float(value) == pytest.approx(expected, abs=tolerance), f"{name} ({convention})"


# IRS Publication 946 (2023), table A-1, half-year convention, per cent a year.
MACRS_A1 = {
    3: [33.33, 44.45, 14.81, 7.41],
    5: [20.00, 32.00, 19.20, 11.52, 11.52, 5.76],
    7: [14.29, 24.49, 17.49, 12.49, 8.93, 8.92, 8.93, 4.46],
    10: [10.00, 18.00, 14.40, 11.52, 9.22, 7.37, 6.55, 6.55, 6.56, 6.55, 3.28],
    15: [5.00, 9.50, 8.55, 7.70, 6.93, 6.23, 5.90, 5.90, *[5.91, 5.90] * 3, 5.91, 2.95],
}


@pytest.mark.parametrize("recovery_years", MACRS_A1)
def test_macrs_fractions_equal_the_printed_table(recovery_years):
    written = finance.macrs_usd(100.0, recovery_years)
    # The table rounds to 0.01 and lets single entries absorb the rounding.
    assert written == pytest.approx(MACRS_A1[recovery_years], abs=0.0101)
    assert written.sum() == pytest.approx(100.0)


def test_straight_line_writes_off_cost_less_salvage():
    written = finance.straight_line_usd(100.0, 4, salvage_usd=20.0)
    assert list(written) == [20.0] * 4
    assert finance.tax_shield_usd(written, 0.21).sum() == pytest.approx(0.21 * 80)


def test_timing_shifts_every_flow_by_the_same_factor():
    """One quarter later costs (1+r)^(1/4), half a quarter (1+r)^(1/8)."""
    flows = np.array([-10.0, 3.0, 4.0, 5.0])
    at = {
        timing: finance.npv_usd(flows, 0.12, periods_per_year=4, timing=timing)
        for timing in ("start", "mid", "end")
    }
    assert at["mid"] == pytest.approx(at["start"] * 1.12**-0.125)
    assert at["end"] == pytest.approx(at["start"] * 1.12**-0.25)


def test_rates_convert_both_ways():
    assert finance.annual_rate(finance.quarterly_rate(0.10)) == pytest.approx(0.10)
    assert finance.quarterly_rate(0.10) == pytest.approx(1.10**0.25 - 1)
    assert finance.continuous_rate(0.10) == pytest.approx(0.0953102)


def test_quarterly_annuity_equals_the_geometric_sum():
    q = 1.08**-0.25
    value = finance.npv_usd(np.ones(40), 0.08, periods_per_year=4, timing="end")
    assert value == pytest.approx(q * (1 - q**40) / (1 - q))


def test_wacc_weighs_after_tax_debt():
    """Hand calculation: 60 % equity at 12 %, 40 % debt at 6 % less 25 % tax."""
    assert finance.wacc(60, 40, 0.12, 0.06, 0.25) == pytest.approx(0.6 * 0.12 + 0.4 * 0.045)


def test_crf_tends_to_one_over_n():
    assert finance.crf(0.0, 5) == pytest.approx(0.2)
    assert finance.crf(1e-9, 5) == pytest.approx(0.2, rel=1e-8)
    assert finance.crf([0.0, 0.1], [4, 5]) == pytest.approx([0.25, 0.263797], abs=1e-6)


def test_equivalent_annual_cost_has_the_same_present_value():
    cost = finance.equivalent_annual_cost_usd(1000.0, 0.07, 6)
    assert finance.npv_usd(np.full(6, cost), 0.07, timing="end") == pytest.approx(1000.0)


def test_npv_broadcasts_rates_over_draws():
    rates = np.array([0.05, 0.10])
    both = finance.npv_usd(np.array([[-1.0, 2.0], [-1.0, 2.0]]), rates)
    assert both == pytest.approx([-1 + 2 / 1.05, -1 + 2 / 1.1])
    assert finance.npv_usd([-1.0, 2.0], rates) == pytest.approx(both)


def test_flows_of_one_sign_have_no_rate_of_return():
    found = finance.irr([[1.0, 2.0, 0.0], [-1.0, -2.0, 0.0], [0.0, 0.0, 0.0]])
    assert (found.outcome == Outcome.NO_SIGN_CHANGE).all()
    assert np.isnan(found.rate).all()
    assert finance.mirr([1.0, 2.0], 0.1, 0.1).outcome == Outcome.NO_SIGN_CHANGE


def test_several_roots_are_reported_and_listed():
    """Textbook pump: -1.6, 10, -10 has rates of return 25 % and 400 %."""
    found = finance.irr([-1.6, 10.0, -10.0])
    assert found.outcome == Outcome.SEVERAL_ROOTS
    assert np.isnan(found.rate)
    assert finance.irr_roots([-1.6, 10.0, -10.0]) == pytest.approx([0.25, 4.0])


def test_two_sign_changes_can_still_leave_no_root():
    assert finance.irr([1.0, -1.0, 1.0]).outcome == Outcome.NO_SIGN_CHANGE


def test_rates_of_many_rows_are_found_together():
    rng = np.random.default_rng(0)
    flows = np.concatenate([-rng.uniform(50, 200, (300, 2)), rng.uniform(1, 40, (300, 18))], axis=1)
    found = finance.irr(flows.reshape(3, 100, 20))
    assert found.rate.shape == (3, 100)
    residual = (flows * (1 + found.rate.reshape(-1, 1)) ** -np.arange(20.0)).sum(axis=1)
    assert residual == pytest.approx(np.zeros(300), abs=1e-8)
    assert found.rate.flat[7] == pytest.approx(npf.irr(flows[7]), abs=1e-9)


@given(
    outlay=st.floats(1.0, 1e9),
    receipts=st.lists(st.floats(0.0, 1e9), min_size=1, max_size=40),
)
def test_an_outlay_before_receipts_has_exactly_one_rate(outlay, receipts):
    found = finance.irr([-outlay, *receipts])
    if sum(receipts) < 1e-6 * outlay:  # the rate lies within a millionth of -100 %
        return
    assert found.outcome == Outcome.OK
    value = finance.npv_usd([-outlay, *receipts], float(found.rate))
    scale = outlay + sum(
        np.array(receipts) * (1 + found.rate) ** -np.arange(1.0, len(receipts) + 1)
    )
    assert abs(value) <= 1e-9 * scale


def test_simple_payback_interpolates_within_the_year():
    """1,000 out, then 500, 400, 300: the last 100 takes a third of year three."""
    assert finance.payback_years([-1000, 500, 400, 300]) == pytest.approx(2 + 1 / 3)


def test_discounted_payback_is_later_than_simple():
    """Hand calculation at 10 %: 454.55 + 330.58 leaves 214.88 of year three's 225.39."""
    discounted = finance.payback_years([-1000, 500, 400, 300, 100], rate_per_year=0.10)
    assert discounted == pytest.approx(2 + 214.876 / 225.394, abs=1e-5)


def test_quarterly_payback_counts_flows_evenly_over_their_quarter():
    """Out 10 in quarter one, 4 a quarter after: back in the middle of quarter four."""
    flows = [-10.0, 4.0, 4.0, 4.0, 4.0]
    assert finance.payback_years(flows, periods_per_year=4, timing="mid") == pytest.approx(3.5 / 4)


def test_payback_that_never_comes_is_nan_and_one_never_needed_is_zero():
    years = finance.payback_years([[-10.0, 1.0], [1.0, 1.0]])
    assert np.isnan(years[0])
    assert years[1] == 0.0


@given(rate=st.floats(0.0, 0.5), months=st.integers(1, 40))
def test_lcot_recovers_exactly_the_cost(rate, months):
    """Selling every token at LCOT has zero net present value."""
    costs = np.linspace(5.0, 1.0, months)
    tokens = np.linspace(1e6, 9e6, months)
    price = finance.lcot_usd_per_mtok(costs, tokens, rate, periods_per_year=4, timing="mid")
    net = finance.npv_usd(price * tokens / 1e6 - costs, rate, periods_per_year=4, timing="mid")
    assert abs(net) < 1e-9 * costs.sum()


def test_lcot_without_tokens_is_nan():
    assert np.isnan(finance.lcot_usd_per_mtok([1.0], [0.0], 0.1))
