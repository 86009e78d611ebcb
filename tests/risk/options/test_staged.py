"""Staged programmes: the worked tree, rights that never harm, and no credit for hindsight."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tapeout.risk.options import Stage, staged_value


def sure(value):
    return np.array([float(value)])


def tree(*, leave):
    payoff = np.repeat([1400.0, 500.0, 100.0], [35, 40, 25])
    stages = [
        Stage(key="design", cost_usd=sure(30)),
        Stage(key="tape-out", cost_usd=sure(120)),
        Stage(
            key="volume",
            cost_usd=sure(350),
            known=payoff[:, None],
            exits={"abandon": sure(0)} if leave else {},
        ),
    ]
    return staged_value(stages, payoff)


def test_the_worked_tree_f11():
    committed, free = tree(leave=False), tree(leave=True)
    assert committed.value_usd == pytest.approx(215.0, abs=1e-9)
    assert free.value_usd == pytest.approx(277.5, abs=1e-9)
    assert free.value_usd - committed.value_usd == pytest.approx(62.5, abs=1e-9)
    assert free.reached == {"design": 1.0, "tape-out": 1.0, "volume": 1.0}
    assert free.action["volume"].count("abandon") == 25


def test_a_right_without_knowledge_is_worth_the_better_of_two_means():
    payoff = np.random.default_rng(1).normal(-5.0, 100.0, 4000)
    stage = Stage(key="go", cost_usd=sure(0), exits={"abandon": sure(0)})
    assert staged_value([stage], payoff).value_usd == pytest.approx(0.0)


def test_perfect_knowledge_is_worth_the_mean_of_the_better():
    payoff = np.repeat([-50.0, -10.0, 30.0, 70.0], 100)
    stage = Stage(key="go", cost_usd=sure(0), known=payoff[:, None], exits={"abandon": sure(0)})
    assert staged_value([stage], payoff).value_usd == pytest.approx(25.0)


def test_noise_is_worth_nothing():
    """A signal that says nothing earns nothing, although many are tried: no hindsight."""
    rng = np.random.default_rng(2)
    payoff = rng.normal(0.0, 100.0, 2000)
    stage = Stage(
        key="go", cost_usd=sure(0), known=rng.normal(size=(2000, 6)), exits={"abandon": sure(0)}
    )
    found = staged_value([stage], payoff)
    assert abs(found.value_usd) < 3.0 * found.se_usd


def test_a_noisy_signal_is_worth_what_the_normal_formula_says():
    """Two actions, INB ~ N(10, 50), study noise 50: EVSI 9.665 (economics.md, L6)."""
    rng = np.random.default_rng(3)
    payoff = rng.normal(10.0, 50.0, 200_000)
    seen = payoff + rng.normal(0.0, 50.0, payoff.size)
    stage = Stage(key="go", cost_usd=sure(0), known=seen[:, None], exits={"abandon": sure(0)})
    found = staged_value([stage], payoff)
    assert found.value_usd - 10.0 == pytest.approx(9.665, abs=3.0 * found.se_usd)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 1000), st.floats(-50, 50), st.floats(0, 40))
def test_a_further_door_never_costs_more_than_sampling(seed, exit_value, cost):
    rng = np.random.default_rng(seed)
    signal = rng.integers(0, 4, 1600)
    payoff = 20.0 * signal + rng.normal(0, 10, signal.size)

    def value(exits):
        last = Stage(key="b", cost_usd=sure(cost), known=signal[:, None] * 1.0, exits=exits)
        return staged_value([Stage(key="a", cost_usd=sure(1)), last], payoff)

    one, two = value({"x": sure(0)}), value({"x": sure(0), "y": sure(exit_value)})
    assert two.value_usd >= one.value_usd - 3.0 * (one.se_usd + two.se_usd)


def test_what_a_stage_brings_counts_even_if_the_programme_ends_after_it():
    stages = [
        Stage(key="threat", cost_usd=sure(10), gain_usd=sure(25)),
        Stage(key="volume", cost_usd=sure(100), exits={"abandon": sure(0)}),
    ]
    assert staged_value(stages, np.full(10, 50.0)).value_usd == pytest.approx(15.0)


def test_error_over_scrambles_is_that_of_their_means():
    rng = np.random.default_rng(4)
    scramble = np.repeat(np.arange(16), 64)
    payoff = rng.normal(0, 1, 1024)
    found = staged_value([Stage(key="go", cost_usd=sure(0))], payoff, scramble=scramble)
    means = payoff.reshape(16, 64).mean(axis=1)
    assert found.se_usd == pytest.approx(means.std(ddof=1) / 4.0)
