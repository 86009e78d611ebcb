"""Simulated paths have the forecast errors of Farmer and Lafond (2016)."""

import numpy as np
import pytest

from tapeout.risk import forecast_sd, log_errors, shocks_needed


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
