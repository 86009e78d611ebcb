"""Blocks of draws, and the sampling error from independent scrambles."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapeout.numerics import BLOCK, Draws, standard_error


def draws(size):
    return Draws(values={"x": np.arange(size, dtype=float)}, seed=7, scramble=np.arange(size) % 4)


@given(st.integers(1, 3 * BLOCK + 5))
def test_blocks_put_together_are_the_draws(size):
    whole = draws(size)
    blocks = list(whole.blocks())
    assert np.array_equal(np.concatenate([block["x"] for block in blocks]), whole["x"])
    assert sum(len(block) for block in blocks) == len(whole) == size
    assert all(len(block) == BLOCK for block in blocks[:-1])
    assert {block.seed for block in blocks} == {7}


def test_the_sampling_error_is_that_of_the_mean_of_scramble_means():
    """Means 1 and 3: standard deviation sqrt(2), over sqrt(2) scrambles."""
    values = np.array([0.0, 2.0, 2.0, 4.0])
    assert standard_error(values, np.array([0, 0, 1, 1])) == pytest.approx(1.0)


def test_one_scramble_has_no_sampling_error():
    assert math.isnan(standard_error(np.ones(8), np.zeros(8, dtype=np.int64)))


def test_equal_scrambles_have_no_error():
    assert standard_error(np.tile([1.0, 5.0], 8), np.repeat(np.arange(8), 2)) == 0.0
