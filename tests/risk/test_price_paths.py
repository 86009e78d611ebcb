"""Simulated paths have the forecast errors of Farmer and Lafond (2016)."""

import numpy as np
import pytest

from tapeout.catalog import load
from tapeout.risk import fit_reversion, forecast_sd, log_errors, reverting_path, shocks_needed


def paths(theta, changes=30.0, sd=0.15, years=10, count=200_000):
    scores = np.random.default_rng(5).standard_normal((count, shocks_needed(years)))
    one = np.ones((1, 1))
    return log_errors(
        scores, innovation_sd=sd * one, observed_changes=changes * one, autocorrelation=theta * one
    )


@pytest.mark.parametrize(
    ("theta", "expected"),
    [(0.0, (0.1525, 0.3623, 0.5477)), (0.63, (0.1801, 0.5611, 0.8696))],
    ids=["M1", "M2"],
)
def test_the_spread_of_simulated_paths_is_the_published_one(theta, expected):
    """K = .15, m = 30 at 1, 5 and 10 years; 200,000 paths know a spread within 0.5 %."""
    spread = paths(theta).std(axis=0)
    assert spread[[0, 4, 9]] == pytest.approx(expected, rel=0.006)


@pytest.mark.parametrize(("theta", "changes"), [(0.0, 2.0), (0.63, 5.0), (0.9, 12.0)])
def test_the_spread_is_that_of_the_formula_at_every_horizon(theta, changes):
    wanted = forecast_sd(
        np.arange(1, 11), innovation_sd=0.15, observed_changes=changes, autocorrelation=theta
    )
    assert paths(theta, changes).std(axis=0) == pytest.approx(wanted, rel=0.008)


def test_a_path_simulated_from_its_own_history_has_the_same_errors():
    """Second way: draw the observed years too, estimate the trend from them, forecast, compare."""
    theta, changes, years = 0.63, 12, 6
    shocks = np.random.default_rng(8).standard_normal((200_000, 1 + changes + years))
    moves = shocks[:, 1:] + theta * shocks[:, :-1]
    trend = moves[:, :changes].mean(axis=1, keepdims=True)
    ahead = np.cumsum(moves[:, changes:], axis=1) - trend * np.arange(1, years + 1)
    ours = paths(theta, changes, sd=1.0, years=years)
    assert np.cov(ours.T) == pytest.approx(np.cov(ahead.T), rel=0.02, abs=0.05)


def test_a_price_without_shocks_keeps_to_its_forecast():
    assert (paths(0.63, sd=0.0, count=10) == 0).all()


def rents(count=200_000, years=8, volatility=0.4, speed=0.7, start=0.5):
    scores = np.random.default_rng(6).standard_normal((count, years))
    one = np.ones((1, 1))
    return reverting_path(
        scores, volatility=volatility * one, reversion_per_year=speed * one, start=start * one
    )


def test_a_reverting_path_has_the_moments_of_an_ornstein_uhlenbeck_process():
    tau = np.arange(1, 9)
    path = rents()
    assert path.mean(axis=0) == pytest.approx(0.5 * np.exp(-0.7 * tau), abs=0.004)
    wanted = 0.4 * np.sqrt((1 - np.exp(-1.4 * tau)) / 1.4)
    assert path.std(axis=0) == pytest.approx(wanted, rel=0.006)
    lag = np.corrcoef(path[:, 5], path[:, 6])[0, 1] * path[:, 6].std() / path[:, 5].std()
    assert lag == pytest.approx(np.exp(-0.7), abs=0.01)


def test_a_path_without_reversion_is_a_plain_walk():
    path = rents(speed=0.0, start=0.0)
    assert path.std(axis=0) == pytest.approx(0.4 * np.sqrt(np.arange(1, 9)), rel=0.006)


def test_the_fit_finds_the_figures_a_long_series_was_made_with():
    path = rents(count=400, years=60, start=0.0)
    series = [list(enumerate(map(float, one))) for one in path]
    speed, volatility, changes = fit_reversion(series)
    assert speed == pytest.approx(0.7, rel=0.05)
    assert volatility == pytest.approx(0.4, rel=0.03)
    assert changes == 400 * 59


# an H100 hour over 1.69 USD, what it costs an owner without scale (InferenceX, 2026-04)
OWNER_USD = 1.69
INDEX = ((2023.5, 9.5), (2024.25, 2.85), (2024.83, 2.99), (2026.41, 2.60))
ONE_YEAR = ((2025.83, 1.70), (2026.25, 2.35))


def test_the_rows_the_rent_process_rests_on_stand_in_the_catalogue():
    catalog = load()
    for condition, rows in (("on-demand index", INDEX), ("1-year", ONE_YEAR)):
        series = catalog.series("NVIDIA H100 SXM", "rental", condition)
        assert {usd for _, usd in rows} <= {figure.value for figure in series}, condition


def test_four_changes_of_rent_give_a_fast_reversion_and_a_wide_swing():
    """Frozen, as docs/methods/price-decline.md prints it; four changes bear no second digit."""
    series = [[(at, np.log(usd / OWNER_USD)) for at, usd in one] for one in (INDEX, ONE_YEAR)]
    speed, volatility, changes = fit_reversion(series)
    assert changes == 4
    assert (round(speed, 1), round(volatility, 1)) == (1.2, 0.5)
