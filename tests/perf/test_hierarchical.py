"""The joint fit finds what made the data, and shrinks what it cannot know."""

from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module", name="tool")
def tool_fixture(script):
    return script("tools/hierarchical.py")


def made(rng, groups=12, each=20, noise=0.02, effect=0.2):
    """Times a + b x of groups that differ by a factor."""
    x = np.tile(np.linspace(1.0, 50.0, each), groups)
    place = np.repeat(np.arange(groups), each)
    factor = rng.normal(0.0, effect, groups)
    factor -= factor.mean()
    log = np.log(3.0 + 0.4 * x) + factor[place] + rng.normal(0.0, noise, x.size)
    return x, place, factor, log


def problem(tool, x, place, log, **changes):
    fields = {
        "log_law": lambda point: np.log(np.exp(point[0]) + np.exp(point[1]) * x),
        "log_measured": log,
        "weights": np.full(x.size, 1.0 / 20.0),
        "keys": [(f"group {one}",) for one in place],
        "effect_sd": [0.3],
        "prior": np.log([1.0, 1.0]),
        "prior_sd": np.array([2.0, 2.0]),
    }
    return tool.Problem(**(fields | changes))


def test_constants_and_effects_that_made_the_data_are_found(tool):
    x, place, factor, log = made(np.random.default_rng(1))
    found = tool.solve(problem(tool, x, place, log))
    np.testing.assert_allclose(np.exp(found.point), [3.0, 0.4], rtol=0.15)
    effects = [found.effects[f"group {one}"] for one in range(12)]
    np.testing.assert_allclose(effects, factor, atol=0.1)


def test_a_broken_group_hardly_moves_the_rest(tool):
    x, place, _, log = made(np.random.default_rng(2))
    whole = tool.solve(problem(tool, x, place, log)).point
    spoilt = np.where(place == 0, log + 3.0, log)
    np.testing.assert_allclose(tool.solve(problem(tool, x, place, spoilt)).point, whole, atol=0.15)


def test_an_effect_of_one_point_is_shrunk_and_of_many_hardly(tool):
    x, place, factor, log = made(np.random.default_rng(3), effect=0.3)
    keep = (place != 0) | (np.arange(x.size) == 0)
    few = tool.solve(
        problem(tool, x[keep], place[keep], log[keep], weights=np.full(int(keep.sum()), 1.0 / 20.0))
    )
    many = tool.solve(problem(tool, x, place, log))
    assert abs(few.effects["group 0"]) < abs(many.effects["group 0"]) < abs(factor[0]) + 0.1


def test_a_tight_prior_holds_a_constant(tool):
    x, place, _, log = made(np.random.default_rng(4))
    tight = problem(tool, x, place, log, prior=np.log([9.0, 1.0]), prior_sd=np.array([1e-4, 2.0]))
    assert np.exp(tool.solve(tight).point[0]) == pytest.approx(9.0, rel=0.01)
