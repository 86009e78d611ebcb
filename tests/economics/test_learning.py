"""Learning curves against textbook hours and published doubling times."""

import numpy as np
import pytest

from tapeout.economics import learning

# D1, 80 % curve, 10,000 h at unit 1 (computed). 4 values.
HOURS_80 = {2: 8000.0, 4: 6400.0, 8: 5120.0, 16: 4096.0}

# D2 doubling times of FLOP/s per USD (published: Epoch AI, 2022-06-27) and D3, their continuous
# rates and factors a year (computed). 6 values.
DOUBLING = {
    "all GPUs": (2.46, 0.282, 1.33),
    "ML GPUs": (2.07, 0.335, 1.40),
    "top GPUs": (2.95, 0.235, 1.26),
}


@pytest.mark.parametrize(("unit", "hours"), HOURS_80.items())
def test_the_eighty_per_cent_curve_gives_the_textbook_hours(unit, hours):
    found = learning.wright_cost(10_000.0, unit, learning.wright_exponent(0.8))
    assert found == pytest.approx(hours, rel=1e-6)


@pytest.mark.parametrize(("years", "rate", "factor"), DOUBLING.values())
def test_doubling_times_convert_to_the_printed_rates(years, rate, factor):
    found = learning.decline_from_doubling(years)
    assert found == pytest.approx(rate, abs=5e-4)
    assert np.exp(found) == pytest.approx(factor, abs=5e-3)


def test_no_learning_is_constant_cost():
    assert learning.wright_cost(3.0, [1.0, 1e6], 0.0) == pytest.approx([3.0, 3.0])
    assert learning.wright_exponent(1.0) == 0.0


def test_both_laws_agree_while_output_grows_steadily():
    """Sahal: with Q = exp(gamma t), c1 Q^-b equals c0 exp(-b gamma t)."""
    years = np.linspace(0.0, 10.0, 11)
    wright = learning.wright_cost(5.0, np.exp(0.4 * years), 0.32)
    moore = learning.moore_cost(5.0, learning.sahal_decline_per_year(0.32, 0.4), years)
    assert wright == pytest.approx(moore)
