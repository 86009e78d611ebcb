"""Value of information against closed forms (reference values L4 to L6) and its own bounds."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapeout.risk.distributions import TwoPieceNormal
from tapeout.risk.information import evpi, evpi_normal, evppi, evsi, evsi_normal
from tapeout.risk.sobol import uniforms

Z90 = 1.6448536269514722


def normals(column, sd, log2=17):
    return TwoPieceNormal(median=0.0, low=-Z90 * sd, high=Z90 * sd).ppf(uniforms(column, log2, 7))


@pytest.fixture(scope="module")
def parts():
    a, b = normals(0, 30.0), normals(1, 40.0)
    utility = np.stack([np.zeros(a.size), 10.0 + a + b], axis=1)
    return a, b, utility, np.repeat(np.arange(16), a.size // 16)


def test_l4_perfect_information_on_a_normal_difference():
    assert evpi_normal(10.0, 50.0) == pytest.approx(15.345, abs=5e-4)


@pytest.mark.parametrize(("sd", "worth"), [(30.0, 7.627), (40.0, 11.454)])
def test_l5_perfect_information_on_a_part(sd, worth):
    assert evpi_normal(10.0, sd) == pytest.approx(worth, abs=5e-4)


@pytest.mark.parametrize(("noise", "worth"), [(25.0, 13.285), (50.0, 9.665), (100.0, 4.798)])
def test_l6_a_study_is_worth_less_the_noisier_it_is(noise, worth):
    assert evsi_normal(10.0, 50.0, noise) == pytest.approx(worth, abs=5e-4)


def test_simulated_evpi_meets_the_closed_form(parts):
    _, _, utility, scramble = parts
    found = evpi(utility, scramble)
    assert found.mean == pytest.approx(15.345, rel=2e-3)
    assert abs(found.mean - 15.345) < 5 * found.se + 5e-4


def test_l5_by_regression_within_one_percent(parts):
    a, b, utility, scramble = parts
    assert evppi(utility, [a], scramble).mean == pytest.approx(7.627, rel=0.01)
    assert evppi(utility, [b], scramble).mean == pytest.approx(11.454, rel=0.01)


def test_knowing_both_parts_is_knowing_everything(parts):
    a, b, utility, scramble = parts
    both = evppi(utility, [a, b], scramble)
    assert both.mean == pytest.approx(evpi(utility, scramble).mean, rel=1e-3)


def test_l6_by_simulated_results_within_one_percent(parts):
    a, b, utility, scramble = parts
    for column, noise, worth in ((2, 25.0, 13.285), (3, 50.0, 9.665), (4, 100.0, 4.798)):
        found = evsi(utility, [a + b + normals(column, noise)], scramble)
        assert found.mean == pytest.approx(worth, rel=0.01)


def test_a_study_of_a_part_is_worth_no_more_than_the_part(parts):
    a, _, utility, scramble = parts
    study = evsi(utility, [a + normals(5, 30.0)], scramble)
    assert study.mean < evppi(utility, [a], scramble).mean < evpi(utility, scramble).mean


def test_what_has_no_bearing_is_worth_nothing(parts):
    _, _, utility, scramble = parts
    assert evppi(utility, [normals(6, 1.0)], scramble).mean < 0.02


def test_a_bent_effect_of_a_coin_is_found():
    """A coin that decides which action pays is worth half the stake."""
    coin = np.tile([0.0, 1.0], 2048)
    utility = np.stack([np.zeros(4096), np.where(coin > 0, 10.0, -10.0)], axis=1)
    assert evppi(utility, [coin], np.arange(4096) % 16).mean == pytest.approx(5.0)


def test_certainty_is_worth_nothing():
    assert evpi_normal(3.0, 0.0) == 0.0
    assert evsi_normal(3.0, 0.0, 0.0) == 0.0
    same = np.tile([1.0, 2.0], (64, 1))
    assert evpi(same, np.arange(64) % 16).mean == 0.0
    assert evppi(same, [np.arange(64.0)], np.arange(64) % 16).mean == 0.0


@given(st.integers(0, 2**32), st.integers(1, 4), st.integers(6, 9))
def test_partial_information_lies_between_nothing_and_perfect(seed, actions, log2):
    rng = np.random.default_rng(seed)
    size = 1 << log2
    learnt = rng.normal(size=(2, size))
    utility = rng.normal(size=(size, actions)) + learnt[:1].T * rng.normal(size=actions)
    scramble = np.repeat(np.arange(16), size // 16)
    part, whole = evppi(utility, list(learnt), scramble), evpi(utility, scramble)
    assert 0.0 <= part.mean <= whole.mean + 1e-12
