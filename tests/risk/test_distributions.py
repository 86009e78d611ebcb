"""Distributions: their 5, 50 and 95 % points, their limits, and clear refusals."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapeout import risk
from tapeout.errors import InfeasibleError
from tapeout.sources import Figure

POINTS = np.array([0.05, 0.5, 0.95])
FINE = (np.arange(200_000) + 0.5) / 200_000


@given(value=st.floats(1e-3, 1e9), down=st.floats(1.0, 20.0), up=st.floats(1.0, 20.0))
def test_a_positive_range_holds_its_points(value, down, up):
    low, high = value / down, value * up
    found = risk.from_range(value, low, high, "positive").ppf(POINTS)
    assert found == pytest.approx([low, value, high], rel=1e-9)


@given(three=st.lists(st.floats(0.001, 0.999), min_size=3, max_size=3).map(sorted))
def test_a_fraction_range_holds_its_points_and_stays_inside(three):
    low, value, high = three
    found = risk.from_range(value, low, high, "fraction").ppf(np.append(POINTS, [1e-9, 1 - 1e-9]))
    assert found[:3] == pytest.approx(three, rel=1e-6)
    assert ((found >= 0) & (found <= 1)).all()


@given(value=st.floats(-1e3, 1e3), down=st.floats(0.0, 1e3), up=st.floats(0.0, 1e3))
def test_a_signed_range_holds_its_points(value, down, up):
    found = risk.from_range(value, value - down, value + up, "signed").ppf(POINTS)
    assert found == pytest.approx([value - down, value, value + up], abs=1e-6)


def test_a_to_b_is_the_lognormal_of_the_reference():
    """Counted oracle: 300 to 500 has its median at 387.3 (computed). 1 value."""
    found = risk.lognormal_range(300.0, 500.0).ppf(POINTS)
    assert found == pytest.approx([300.0, 387.3, 500.0], abs=0.05)


def test_a_positive_figure_may_start_at_zero():
    found = risk.from_range(9.0, 0.0, 18.0, "positive").ppf(np.append(POINTS, 1e-6))
    assert found == pytest.approx([0.0, 9.0, 18.0, 0.0])


def test_a_fraction_may_end_at_one():
    found = risk.from_range(0.97, 0.9, 1.0, "fraction").ppf(POINTS)
    assert found == pytest.approx([0.9, 0.97, 1.0], abs=2e-4)


def test_a_missing_side_is_mirrored_on_its_scale():
    assert risk.from_range(4.0, None, 8.0, "positive").ppf(POINTS)[0] == pytest.approx(2.0)
    assert risk.from_range(-1.0, None, 0.0, "signed").ppf(POINTS)[0] == pytest.approx(-2.0)
    assert risk.from_range(0.5, 0.2, None, "fraction").ppf(POINTS)[2] == pytest.approx(0.8)


def test_figures_without_a_range_or_exact_are_constants():
    exact = Figure(value=3.0, unit="x", low=1.0, high=5.0, range_kind="exact")
    assert risk.from_figure(exact, "positive") == risk.Constant(3.0)
    assert risk.from_figure(Figure(value=3.0, unit="x"), "positive") == risk.Constant(3.0)
    assert risk.from_range(0.3, 0.3, 0.3, "fraction") == risk.Constant(0.3)
    ranged = Figure(value=3.0, unit="x", low=1.0, high=9.0, range_kind="ci90")
    assert risk.from_figure(ranged, "positive").ppf(POINTS) == pytest.approx([1.0, 3.0, 9.0])


@pytest.mark.parametrize(
    ("value", "low", "high", "kind"),
    [
        (3.0, 4.0, 5.0, "positive"),
        (3.0, 1.0, 2.0, "signed"),
        (3.0, -1.0, 5.0, "positive"),
        (0.5, 0.1, 1.5, "fraction"),
        (math.nan, 0.1, 0.5, "signed"),
    ],
)
def test_a_range_out_of_order_or_bounds_is_refused(value, low, high, kind):
    with pytest.raises(InfeasibleError, match="low <= value <= high"):
        risk.from_range(value, low, high, kind)


@given(
    low=st.floats(0.01, 0.99),
    value=st.floats(1.0, 5.0),
    high=st.floats(5.1, 100.0),
    kind=st.sampled_from(["positive", "signed"]),
)
def test_quantiles_rise(low, value, high, kind):
    u = np.linspace(0.001, 0.999, 101)
    assert (np.diff(risk.from_range(value, low, high, kind).ppf(u)) > 0).all()


def test_events_happen_with_their_probability():
    assert risk.Bernoulli(0.14).ppf(FINE).mean() == pytest.approx(0.14, abs=1e-5)
    assert not risk.Bernoulli(0.0).ppf(FINE).any()
    drawn = risk.Discrete([5.0, 7.0, 9.0], [1.0, 0.0, 3.0]).ppf(FINE)
    assert [(drawn == x).mean() for x in (5.0, 7.0, 9.0)] == pytest.approx([0.25, 0, 0.75])
    assert risk.Uniform(2.0, 4.0).ppf(FINE).mean() == pytest.approx(3.0)
    assert (risk.Uniform().ppf(FINE) == FINE).all()


def test_beta_and_gamma_have_their_means():
    """Beta(14, 86) has mean 0.14; Gamma(1/2, 9 years) 1/18 a year."""
    assert risk.Beta(14, 86).ppf(FINE).mean() == pytest.approx(0.14, abs=1e-5)
    assert risk.Gamma(0.5, 9.0).ppf(FINE).mean() == pytest.approx(1 / 18, rel=1e-3)


def test_extra_spins_have_the_geometric_distribution():
    drawn = risk.ExtraSpins(first_success=0.14, later_success=0.6, cap=60).ppf(FINE)
    for spin in (1, 2, 3):
        expected = float(risk.done_by_spin(spin, 0.14, 0.6))
        assert (drawn < spin).mean() == pytest.approx(expected, abs=1e-4)
    assert drawn.mean() == pytest.approx(float(risk.mean_extra_spins(0.14, 0.6)), abs=1e-3)


def test_extra_spins_are_capped_and_certain_at_the_edges():
    assert risk.extra_spins(FINE, 0.0, 0.0, cap=4).max() == 4
    assert (risk.extra_spins(FINE, 1.0, 0.5) == 0).all()
    assert (risk.extra_spins(FINE, 0.0, 1.0) == 1).all()
    each = risk.extra_spins(np.array([0.5, 0.5]), np.array([0.4, 0.6]), 0.6)
    assert list(each) == [1.0, 0.0]
