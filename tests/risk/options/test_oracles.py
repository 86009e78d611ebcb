"""Published and closed-form values of economics.md, section (f)."""

from dataclasses import replace

import numpy as np
import pytest

from tapeout.risk.options import (
    Asset,
    OptionTerms,
    exchange_option_usd,
    investment_trigger,
    lattice_option_usd,
    lsm_option_usd,
    lsm_value_usd,
)

HULL = OptionTerms(spot_usd=50, strike_usd=50, rate_per_year=0.10, volatility=0.40, years=5 / 12)
# Longstaff and Schwartz (2001), table 1: spot, volatility, years; finite difference, own LSM
LS_ROWS = (
    (36, 0.2, 1, 4.478), (36, 0.2, 2, 4.840), (36, 0.4, 1, 7.101), (36, 0.4, 2, 8.508),
    (40, 0.2, 1, 2.314), (40, 0.4, 2, 6.920), (44, 0.2, 1, 1.110), (44, 0.4, 2, 5.647),
)  # fmt: skip
# their eight paths: prices at years 0 to 3, strike 1.10, rate 6 %
EIGHT = np.array([
    [1.00, 1.09, 1.08, 1.34], [1.00, 1.16, 1.26, 1.54], [1.00, 1.22, 1.07, 1.03],
    [1.00, 0.93, 0.97, 0.92], [1.00, 1.11, 1.56, 1.52], [1.00, 0.76, 0.77, 0.90],
    [1.00, 0.92, 0.84, 1.01], [1.00, 0.88, 1.22, 1.34],
])  # fmt: skip


def row_terms(spot, sd, years):
    return OptionTerms(spot_usd=spot, strike_usd=40, rate_per_year=0.06, volatility=sd, years=years)


@pytest.mark.parametrize(("steps", "value"), [(5, 4.488), (1000, 4.2836)])
def test_the_american_put_of_a_textbook_f1(steps, value):
    assert lattice_option_usd(HULL, steps=steps) == pytest.approx(value, abs=5e-4)


def test_eight_paths_by_hand_f2():
    american, _ = lsm_value_usd(EIGHT, 1.10, float(np.exp(-0.06)), start=True)
    assert american == pytest.approx(0.1144, abs=5e-5)
    european = np.maximum(1.10 - EIGHT[:, -1], 0).mean() * np.exp(-0.18)
    assert european == pytest.approx(0.0564, abs=5e-5)


@pytest.mark.parametrize(("spot", "sd", "years", "value"), LS_ROWS)
def test_fifty_dates_a_year_on_a_lattice_f3(spot, sd, years, value):
    found = lattice_option_usd(
        row_terms(spot, sd, years), steps=1000 * years, exercise="bermudan", dates_per_year=50
    )
    assert found == pytest.approx(value, abs=6e-3)


@pytest.mark.parametrize(("spot", "sd", "years", "value"), LS_ROWS[::3])
def test_least_squares_comes_near_and_from_below_f5(spot, sd, years, value):
    found, se = lsm_option_usd(row_terms(spot, sd, years), pairs=10_000, seed=3)
    assert -4.0 * se - 5e-3 * value < found - value < 2.0 * se


def test_continuous_exercise_is_worth_more_than_fifty_dates_f6():
    found = lattice_option_usd(row_terms(36, 0.2, 1), steps=4000)
    assert found == pytest.approx(4.4865, abs=1e-3)


@pytest.mark.parametrize(
    ("sd", "values"),
    [
        (0.15, (2.1251, 2.0446, 1.9736)),
        (0.20, (2.1986, 2.0913, 1.9891)),
        (0.25, (2.2827, 2.1520, 2.0189)),
    ],
)
def test_exchange_of_two_assets_f7_to_f9(sd, values):
    for correlation, value in zip((-0.5, 0.0, 0.5), values, strict=True):
        found = exchange_option_usd(
            Asset(usd=22, volatility=0.20, yield_per_year=0.06),
            Asset(usd=20, volatility=sd, yield_per_year=0.04),
            correlation=correlation,
            years=0.1,
        )
        assert found == pytest.approx(value, abs=1e-4)


def test_equal_assets_that_move_together_are_exchanged_for_certain():
    get, give = Asset(usd=22, volatility=0.2), Asset(usd=20, volatility=0.2)
    found = exchange_option_usd(get, give, correlation=1.0, years=0.5)
    assert found == pytest.approx(2.0, abs=1e-12)


def test_the_trigger_of_a_perpetual_right_f10():
    assert investment_trigger(0.04, 0.04, 0.2) == pytest.approx((2.0, 2.0), abs=1e-9)
    growing = investment_trigger(0.05, 0.03, 1e-6)
    assert growing == pytest.approx(investment_trigger(0.05, 0.03, 0.0), rel=1e-6)
    assert investment_trigger(0.03, 0.04, 0.0)[1] == 1.0


def test_call_and_put_keep_their_parity():
    terms = OptionTerms(spot_usd=40, strike_usd=42, rate_per_year=0.05, volatility=0.3, years=1)
    put = lattice_option_usd(terms, steps=300, exercise="european")
    call = lattice_option_usd(replace(terms, kind="call"), steps=300, exercise="european")
    assert call - put == pytest.approx(40 - 42 * np.exp(-0.05), abs=1e-9)


def test_dates_that_steps_do_not_meet_are_refused():
    with pytest.raises(ValueError, match="do not meet"):
        lattice_option_usd(row_terms(40, 0.2, 1), steps=99, exercise="bermudan", dates_per_year=50)
