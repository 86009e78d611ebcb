"""Censored lives: the classical leukaemia trial and what must hold for any."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tapeout.risk.survival import exponential_hazard, kaplan_meier, weibull_fit

# Freireich et al. (1963), remission under 6-MP in weeks; true: relapsed
WEEKS = [6, 6, 6, 6, 7, 9, 10, 10, 11, 13, 16, 17, 19, 20, 22, 23, 25, 32, 32, 34, 35]
ENDED = [1, 1, 1, 0, 1, 0, 1, 0, 0, 1, 1, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0]


def test_the_remission_trial_i4():
    found = kaplan_meier(WEEKS, ENDED)
    assert found.time.tolist() == [6, 7, 10, 13, 16, 22, 23]
    assert found.share == pytest.approx(
        [0.8571, 0.8067, 0.7529, 0.6902, 0.6275, 0.5378, 0.4482], abs=5e-5
    )
    assert (found.low < found.share).all()
    assert (found.share < found.high).all()


def test_nine_ends_in_359_weeks_i5():
    assert exponential_hazard(WEEKS, ENDED) == pytest.approx(9 / 359)
    assert exponential_hazard(WEEKS, ENDED) == pytest.approx(0.02507, abs=5e-6)


def test_the_weibull_of_the_trial_is_where_its_likelihood_is_largest():
    shape, scale = weibull_fit(WEEKS, ENDED)
    time, ended = np.array(WEEKS, float), np.array(ENDED, bool)

    def likelihood(k, s):
        return np.sum(np.log(k / s * (time[ended] / s) ** (k - 1))) - np.sum((time / s) ** k)

    best = likelihood(shape, scale)
    around = [(shape * a, scale * b) for a in (0.98, 1.0, 1.02) for b in (0.98, 1.0, 1.02)]
    assert best >= max(likelihood(k, s) for k, s in around) - 1e-9


@settings(deadline=None)
@given(st.lists(st.integers(1, 30), min_size=2, max_size=40))
def test_without_censoring_the_estimate_is_the_share_still_alive(times):
    found = kaplan_meier(times, [True] * len(times))
    assert found.share == pytest.approx(
        [np.mean(np.array(times) > one) for one in found.time], abs=1e-9
    )


def test_a_weibull_is_found_again():
    rng = np.random.default_rng(7)
    life, watched = 4.0 * rng.weibull(0.7, 20_000), rng.uniform(0.0, 8.0, 20_000)
    shape, scale = weibull_fit(np.minimum(life, watched), life <= watched)
    assert (shape, scale) == pytest.approx((0.7, 4.0), rel=0.05)
    with pytest.raises(ValueError, match="two different times"):
        weibull_fit([3.0, 3.0], [True, True])
