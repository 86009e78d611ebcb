"""Belief updates, scores, hazards, spins and forecast errors against closed forms."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapeout import risk

PRIOR = risk.Normal(mean=0.0, sd=0.3)
K1 = risk.update(PRIOR, 0.7, 0.4)
K3 = risk.update_shared(PRIOR, [0.7, 0.7], 0.2, 0.3464)
K3_WRONG = risk.update_shared(PRIOR, [0.7, 0.7], 0.4, 0.0)
STANDARD = risk.Normal(mean=0.0, sd=1.0)


def sd(tau, theta):
    return risk.forecast_sd(tau, innovation_sd=0.15, observed_changes=30, autocorrelation=theta)


# Counted oracles: name, value, expected, absolute tolerance. 47 values, computed.
ORACLES = [
    ("K1 mean", K1.mean, 0.252, 1e-9),
    ("K1 sd", K1.sd, 0.24, 1e-9),
    *(("K1 ratio", *x, 5e-3) for x in zip(K1.ratio_range(), (0.87, 1.29, 1.91), strict=True)),
    ("K2 of 2", risk.best_of(2), 0.564, 5e-4),
    ("K2 of 3", risk.best_of(3), 0.846, 5e-4),
    ("K2 of 5", risk.best_of(5), 1.163, 5e-4),
    ("K2 of 10", risk.best_of(10), 1.539, 5e-4),
    ("K3 mean", K3.mean, 0.2739, 5e-5),
    ("K3 sd", K3.sd, 0.2341, 5e-5),
    ("K3 wrong mean", K3_WRONG.mean, 0.3706, 5e-5),
    ("K3 wrong sd", K3_WRONG.sd, 0.2058, 5e-5),
    ("K4, r = 0", risk.effective_count(10, 0.0), 10.0, 5e-4),
    ("K4, r = 0.5", risk.effective_count(10, 0.5), 1.818, 5e-4),
    ("K4, r = 1", risk.effective_count(10, 1.0), 1.0, 5e-4),
    ("K5 Brier, event", risk.brier_score(0.8, 1), 0.04, 5e-5),
    ("K5 log, event", risk.log_score(0.8, 1), 0.2231, 5e-5),
    ("K5 Brier, none", risk.brier_score(0.8, 0), 0.64, 5e-5),
    ("K5 log, none", risk.log_score(0.8, 0), 1.6094, 5e-5),
    ("K6 at 0", risk.crps_normal(STANDARD, 0.0), 0.2337, 5e-5),
    ("K6 at 1", risk.crps_normal(STANDARD, 1.0), 0.6024, 5e-5),
    ("M1, 1 year", sd(1, 0.0), 0.1525, 5e-5),
    ("M1, 5 years", sd(5, 0.0), 0.3623, 5e-5),
    ("M1, 10 years", sd(10, 0.0), 0.5477, 5e-5),
    ("M2, 1 year", sd(1, 0.63), 0.1801, 1e-4),
    ("M2, 5 years", sd(5, 0.63), 0.5611, 1e-4),
    ("M2, 10 years", sd(10, 0.63), 0.8696, 1e-4),
    ("I1 hazard", risk.shift_hazard_per_year(0, 9), 0.0556, 5e-5),
    ("I1, 3 years", risk.no_shift_probability(3, 0, 9), 0.866, 5e-4),
    ("I1, 5 years", risk.no_shift_probability(5, 0, 9), 0.802, 5e-4),
    ("I2, 3 years", risk.no_shift_probability(3, 1, 9), 0.650, 5e-4),
    ("I2, 5 years", risk.no_shift_probability(5, 1, 9), 0.515, 5e-4),
    ("I3 Gott", risk.no_shift_probability(3, 0, 9, prior_shape=1.0), 0.75, 5e-4),
    ("I3 Laplace", risk.rule_of_succession(9, 3), 0.769, 5e-4),
    ("J1 mean spins", 1 + risk.mean_extra_spins(0.14, 0.14), 7.14, 5e-3),
    ("J1 by 1", risk.done_by_spin(1, 0.14, 0.14), 0.140, 5e-4),
    ("J1 by 2", risk.done_by_spin(2, 0.14, 0.14), 0.260, 5e-4),
    ("J1 by 3", risk.done_by_spin(3, 0.14, 0.14), 0.364, 5e-4),
    ("J1 by 5", risk.done_by_spin(5, 0.14, 0.14), 0.530, 5e-4),
    ("J2 by 1", risk.done_by_spin(1, 0.14, 0.6), 0.140, 5e-4),
    ("J2 by 2", risk.done_by_spin(2, 0.14, 0.6), 0.656, 5e-4),
    ("J2 by 3", risk.done_by_spin(3, 0.14, 0.6), 0.862, 5e-4),
    ("J2 extra spins", risk.mean_extra_spins(0.14, 0.6), 1.433, 5e-4),
    ("J2 extra spins, p1 0.30", risk.mean_extra_spins(0.30, 0.6), 1.167, 5e-4),
    ("J3 after 1 of 1", risk.beta_mean((14, 86), 1, 1), 0.1485, 5e-5),
    ("J3 after 3 of 5", risk.beta_mean((14, 86), 3, 5), 0.1619, 5e-5),
]


@pytest.mark.parametrize(("name", "value", "expected", "tolerance"), ORACLES)
def test_computed_beliefs_are_reproduced(name, value, expected, tolerance):
    assert float(value) == pytest.approx(expected, abs=tolerance), name


@given(
    mean=st.floats(-1, 1),
    spread=st.floats(0.05, 1),
    noise=st.floats(0.05, 1),
    claims=st.lists(st.floats(-1, 1), min_size=2, max_size=6),
)
def test_independent_claims_may_come_one_by_one_or_together(mean, spread, noise, claims):
    together = risk.update_shared(risk.Normal(mean=mean, sd=spread), claims, noise, 0.0)
    step = risk.Normal(mean=mean, sd=spread)
    for claim in claims:
        step = risk.update(step, claim, noise)
    assert together.mean == pytest.approx(step.mean, abs=1e-9)
    assert together.sd == pytest.approx(step.sd, rel=1e-9)


def test_a_hopelessly_biased_source_leaves_the_prior():
    after = risk.update_shared(PRIOR, [0.7] * 10, 0.2, 1e6)
    assert after.mean == pytest.approx(0.0, abs=1e-9)
    assert after.sd == pytest.approx(0.3)


def test_a_known_inflation_is_taken_off():
    assert risk.update_shared(PRIOR, [0.7], 0.4, 0.0, bias_mean=0.7).mean == pytest.approx(0.0)


def test_one_candidate_has_no_selection_bias():
    assert risk.best_of(1) == pytest.approx(0.0, abs=1e-12)


def test_the_predictive_lies_above_the_plugged_in_hazard():
    """A known trap: exp(-h t) gives 0.846 and 0.757."""
    plugged = np.exp(-risk.shift_hazard_per_year(0, 9) * np.array([3.0, 5.0]))
    assert plugged == pytest.approx([0.846, 0.757], abs=5e-4)
    assert (risk.no_shift_probability([3.0, 5.0], 0, 9) > plugged).all()


def test_shift_times_follow_the_predictive():
    u = (np.arange(100_000) + 0.5) / 100_000
    later = (risk.years_to_shift(u, 0, 9.0) > 3.0).mean()
    assert later == pytest.approx(float(risk.no_shift_probability(3, 0, 9)), abs=1e-4)


def test_forecast_error_matches_a_simulation():
    """M2's process: drift from m changes, extrapolated tau years, MA(1) noise."""
    rng = np.random.default_rng(5)
    noise = rng.normal(0, 0.15, (100_000, 1 + 30 + 5))
    change = noise[:, 1:] + 0.63 * noise[:, :-1]
    error = change[:, 30:].sum(axis=1) - 5 * change[:, :30].mean(axis=1)
    assert error.std() == pytest.approx(float(sd(5, 0.63)), rel=0.01)


def test_an_impossible_forecast_that_fails_scores_infinity():
    assert risk.log_score(0.0, 1) == np.inf
