"""Shared limits: never exceeded, first come first served, freed when chips leave."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tapeout.fleet import Limit, Supply, plan

QUARTERS = 8


def supply(key, life=100, **more):
    return Supply(
        key=key,
        unit_per_chip=np.ones((1, 1)),
        active=np.ones((1, 1), bool),
        life_quarters=np.array([life]),
        **more,
    )


def limit(amount, each, **more):
    by_key = {key: np.array([one]) for key, one in each.items()}
    return Limit(key="l", amount=np.array([amount], float), each=by_key, **more)


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.floats(0, 20), min_size=QUARTERS, max_size=QUARTERS),
    st.floats(0.1, 4),
    st.floats(0.1, 4),
    st.integers(1, 9),
    st.booleans(),
)
def test_what_options_take_together_stays_within_the_limit(amount, a, b, life, in_service):
    shared = limit(amount, {"a": a, "b": b}, in_service=in_service)
    ramp = np.linspace(0.1, 0.6, QUARTERS)[None, :]
    need = np.linspace(5, 40, QUARTERS)[None, :]
    made = plan(need, [supply("a", life, ramp_fraction=ramp), supply("b", life)], [shared])
    taken = made.new_chips["a"] * a + made.new_chips["b"] * b
    if in_service:
        there = made.chips["a"] * a + made.chips["b"] * b
        over = there - shared.amount
        assert np.all((over <= 1e-9) | (taken <= 1e-9))  # what was there may stay
    else:
        assert np.all(taken <= shared.amount + 1e-9)
    served = sum(made.used.values())
    assert need == pytest.approx(served + made.unmet)


def test_an_ample_limit_changes_nothing():
    need = np.linspace(5, 40, QUARTERS)[None, :]
    parts = [supply("a", 3), supply("b")]
    free, bound = plan(need, parts), plan(need, parts, [limit([1e9] * QUARTERS, {"a": 1.0})])
    for key in ("a", "b"):
        assert np.array_equal(free.new_chips[key], bound.new_chips[key])


def test_one_option_with_one_limit_is_its_ceiling():
    need = np.full((1, QUARTERS), 30.0)
    shared = plan(need, [supply("a")], [limit([14.0] * QUARTERS, {"a": 2.0})])
    alone = plan(need, [supply("a", ceiling_chips=np.full((1, 1), 7.0))])
    assert np.array_equal(shared.new_chips["a"], alone.new_chips["a"])


def test_the_tighter_of_two_limits_binds():
    need = np.full((1, QUARTERS), 100.0)
    limits = [limit([14.0] * QUARTERS, {"a": 2.0}), limit([5.0] * QUARTERS, {"a": 1.0})]
    assert np.all(plan(need, [supply("a")], limits).new_chips["a"] == 5.0)


def test_power_is_freed_by_chips_that_leave_and_frugal_chips_take_less():
    need = np.full((1, 4), 100.0)
    power = np.array([[1.0, 1.0, 0.5, 0.5]])
    parts = [supply("a", 2, carried={"power": power})]
    shared = limit([10.0] * 4, {"a": 1.0}, in_service=True, weight="power")
    made = plan(need, parts, [shared])
    assert made.new_chips["a"].tolist() == [[10.0, 0.0, 20.0, 0.0]]


def test_draws_are_limited_apart():
    need = np.array([[10.0, 10.0], [1.0, 1.0]])
    made = plan(need, [supply("a")], [limit([4.0, 4.0], {"a": 1.0})])
    assert made.new_chips["a"].tolist() == [[4.0, 4.0], [1.0, 0.0]]
