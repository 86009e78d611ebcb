"""Shares of variance against Ishigami (reference values L1 to L3) and linear closed forms."""

import numpy as np
import pytest
from scipy.special import ndtri
from scipy.stats import sobol_indices, uniform

from tapeout.risk.sensitivity import analyse, follow_back, matched, mix
from tapeout.risk.sobol import uniforms

LOG2 = 14
SCRAMBLE = np.repeat(np.arange(16), (1 << LOG2) // 16)


def points(count):
    rows = matched(SCRAMBLE, 5)
    one = np.stack([uniforms(column, LOG2, 1) for column in range(count)])
    other = np.stack([uniforms(column, LOG2, 2)[rows] for column in range(count)])
    return one, other


def ishigami(x):
    return np.sin(x[0]) + 7.0 * np.sin(x[1]) ** 2 + 0.1 * x[2] ** 4 * np.sin(x[0])


@pytest.fixture(scope="module")
def found():
    one, other = points(3)

    def outcomes(shared):
        x = [np.pi * (2.0 * mix(shared[:, i], one[i], other[i]) - 1.0) for i in range(3)]
        return ishigami(x)[None]

    (shares,) = analyse(outcomes, 3, SCRAMBLE, 9)
    return shares


def test_l1_variance_and_first_order_of_ishigami(found):
    assert found.variance == pytest.approx(13.8446, rel=2e-3)
    expected = np.array([0.3139, 0.4424, 0.0])
    assert np.all(np.abs(found.first.share - expected) < 4 * found.first.se)
    assert found.first.share == pytest.approx(expected, abs=0.02)


def test_l2_total_order_of_ishigami(found):
    expected = np.array([0.5576, 0.4424, 0.2437])
    assert found.total.share == pytest.approx(expected, abs=0.01)


def test_shapley_effects_of_ishigami_split_the_interaction(found):
    """Independent inputs: own share and half of the interaction S13 of .2437."""
    expected = np.array([0.3139 + 0.2437 / 2, 0.4424, 0.2437 / 2])
    assert found.shapley.share == pytest.approx(expected, abs=0.015)
    assert found.shapley.share.sum() == pytest.approx(1.0, abs=1e-12)


def test_l3_the_same_indices_as_scipy():
    law = uniform(loc=-np.pi, scale=2 * np.pi)
    theirs = sobol_indices(func=ishigami, n=2**16, dists=[law] * 3, rng=np.random.default_rng(3))
    assert theirs.first_order == pytest.approx([0.3139, 0.4424, 0.0], abs=2e-3)
    assert theirs.total_order == pytest.approx([0.5576, 0.4424, 0.2437], abs=2e-3)


@pytest.mark.parametrize("rho", [-0.8, -0.4, 0.0, 0.6])
def test_shapley_effects_of_correlated_normals(rho):
    """Two correlated inputs in a sum: Owen and Prieur (2017), and the indices that go with it."""
    one, other = points(2)
    first, second = one[0], follow_back(one[1], one[0], rho)
    fresh = other[0], follow_back(other[1], other[0], rho)
    weight, sd = np.array([1.0, 2.0]), 1.0

    def outcomes(shared):
        has = shared[:, 0], shared[:, 1]
        back = follow_back(other[0], second, rho)
        forth = follow_back(other[1], first, rho)
        a = np.where(has[0], first, np.where(has[1], back, fresh[0]))
        b = np.where(has[1], second, np.where(has[0], forth, fresh[1]))
        return (weight[0] * ndtri(a) + weight[1] * ndtri(b))[None] * sd

    (shares,) = analyse(outcomes, 2, SCRAMBLE, 4)
    p, q = weight
    variance = p**2 + q**2 + 2 * rho * p * q
    shift = (q**2 - p**2) * rho**2 / 2
    shapley = np.array([p**2 + rho * p * q + shift, q**2 + rho * p * q - shift]) / variance
    first_order = np.array([(p + rho * q) ** 2, (q + rho * p) ** 2]) / variance
    total = np.array([p**2, q**2]) * (1 - rho**2) / variance
    assert shares.variance == pytest.approx(variance, rel=0.01)
    assert shares.shapley.share == pytest.approx(shapley, abs=0.02)
    assert shares.first.share == pytest.approx(first_order, abs=0.03)
    assert shares.total.share == pytest.approx(total, abs=0.02)


def test_an_outcome_that_does_not_vary_has_no_shares():
    (shares,) = analyse(lambda shared: np.ones((1, len(shared), SCRAMBLE.size)), 2, SCRAMBLE, 4)
    assert np.isnan(shares.first.share).all()
    assert np.isnan(shares.shapley.share).all()


def test_a_group_without_effect_has_no_share():
    one, other = points(2)
    (shares,) = analyse(lambda shared: mix(shared[:, 0], one[0], other[0])[None], 2, SCRAMBLE, 4)
    assert shares.total.share[1] == 0.0
    assert shares.shapley.share[1] == 0.0
