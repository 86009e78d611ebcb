"""Summaries of draws against closed forms and hand-made tables."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.special import ndtri

from tapeout import risk

COSTS = arrays(float, (20, 3), elements=st.integers(-5, 5).map(float))


def test_cvar_of_the_normal_is_the_closed_form():
    """Counted oracle E2: CVaR95 of N(0, 1) = 2.0627 (computed). 1 value."""
    normal = ndtri((np.arange(2**20) + 0.5) / 2**20)
    assert risk.cvar(normal, 0.95) == pytest.approx(2.0627, abs=5e-5)


def test_cvar_counts_the_draw_on_the_edge_in_part():
    """Worst quarter of ten: 10, 9 and half of 8, over 2.5."""
    assert risk.cvar(np.arange(1.0, 11.0), 0.75) == pytest.approx((10 + 9 + 4) / 2.5)


@given(costs=COSTS)
def test_cvar_runs_from_the_mean_to_the_worst(costs):
    assert risk.cvar(costs, 0.0) == pytest.approx(costs.mean(axis=0))
    assert risk.cvar(costs, 0.999) == pytest.approx(costs.max(axis=0))
    assert (risk.cvar(costs, 0.8) >= risk.cvar(costs, 0.5) - 1e-12).all()


@given(costs=COSTS)
def test_chances_of_being_cheapest_add_up_to_one(costs):
    assert risk.probability_cheapest(costs).sum() == pytest.approx(1.0)


def test_ties_share_a_draw():
    share = risk.probability_cheapest(np.array([[1.0, 1.0, 2.0], [3.0, 2.0, 1.0]]))
    assert share == pytest.approx([0.25, 0.25, 0.5])


def test_a_fan_has_its_levels_for_every_quarter():
    values = np.arange(101.0)[:, None] * np.array([1.0, 2.0])
    found = risk.fan(values)
    assert found.shape == (5, 2)
    assert found[:, 0] == pytest.approx([5, 25, 50, 75, 95])
    assert found[:, 1] == pytest.approx(2 * found[:, 0])


def test_regret_picks_the_smallest_worst_case():
    """Rows are futures; strategy 1 is never best and never far off."""
    found = risk.regret(np.array([[10.0, 12.0, 20.0], [30.0, 23.0, 21.0]]))
    assert found.usd.tolist() == [[0.0, 2.0, 10.0], [9.0, 2.0, 0.0]]
    assert found.worst_usd.tolist() == [9.0, 2.0, 10.0]
    assert found.mean_usd.tolist() == [4.5, 2.0, 5.0]
    assert found.choice == 1


@given(costs=COSTS)
def test_somebody_has_no_regret_in_every_future(costs):
    found = risk.regret(costs)
    assert (found.usd.min(axis=1) == 0).all()
    assert found.worst_usd[found.choice] == found.worst_usd.min()


def test_the_tornado_is_ordered_by_width():
    """The widest swing may lie on one side of the base."""
    swings = risk.tornado(["b", "a", "c"], 10.0, [9.0, 12.0, 8.0], [11.0, 15.0, 10.0])
    assert [(swing.name, swing.width) for swing in swings] == [("a", 5.0), ("b", 2.0), ("c", 2.0)]
    assert len(risk.tornado(["b", "a"], 0.0, [1, 2], [3, 4], most=1)) == 1
