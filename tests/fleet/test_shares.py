"""Shares of bought and rented options: what each may fill, what is left to the next."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tapeout.fleet import Supply, plan

QUARTERS = 8


def supply(key: str, share: float | None, life: int = 4, unit: float = 2.0) -> Supply:
    return Supply(
        key=key,
        unit_per_chip=np.full((1, QUARTERS), unit),
        active=np.ones((1, QUARTERS), bool),
        life_quarters=np.array([life]),
        share_fraction=None if share is None else np.full((1, QUARTERS), share),
    )


@settings(deadline=None, max_examples=40)
@given(st.floats(0.05, 0.9), st.floats(0.1, 5.0), st.integers(1, 6))
def test_each_option_holds_its_share_of_a_steady_need(share: float, unit: float, life: int):
    need = np.full((1, QUARTERS), 100.0)
    parts = [supply("a", share, life, unit), supply("b", 1.0 - share, life)]
    planned = plan(need, parts)
    assert planned.capacity["a"] == pytest.approx(np.full((1, QUARTERS), 100.0 * share))
    assert planned.capacity["b"] == pytest.approx(np.full((1, QUARTERS), 100.0 * (1 - share)))
    assert planned.unmet == pytest.approx(np.zeros((1, QUARTERS)), abs=1e-9)


def test_shares_that_do_not_reach_one_leave_the_rest_unmet():
    planned = plan(np.full((1, QUARTERS), 100.0), [supply("a", 0.3), supply("b", 0.5)])
    assert planned.unmet == pytest.approx(np.full((1, QUARTERS), 20.0))


def test_an_option_without_a_share_takes_what_the_others_leave():
    planned = plan(np.full((1, QUARTERS), 100.0), [supply("a", 0.3), supply("b", None)])
    assert planned.capacity["b"] == pytest.approx(np.full((1, QUARTERS), 70.0))


def test_a_share_of_one_changes_nothing():
    need = np.linspace(10.0, 200.0, QUARTERS)[None, :]
    capped = plan(need, [supply("a", 1.0), supply("b", None)])
    free = plan(need, [supply("a", None), supply("b", None)])
    for key in ("a", "b"):
        assert np.array_equal(capped.chips[key], free.chips[key])


def test_chips_above_a_share_that_falls_stay_until_their_term_ends():
    share = np.array([[1.0, 1.0, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5]])
    falling = Supply(
        key="a",
        unit_per_chip=np.ones((1, QUARTERS)),
        active=np.ones((1, QUARTERS), bool),
        life_quarters=np.array([4]),
        share_fraction=share,
    )
    planned = plan(np.full((1, QUARTERS), 100.0), [falling, supply("b", None)])
    assert planned.capacity["a"][0].tolist() == [100, 100, 100, 100, 50, 50, 50, 50]
    assert planned.capacity["b"][0].tolist() == [0, 0, 0, 0, 50, 50, 50, 50]
