"""Yield models against printed values and against each other."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapeout.chip import yields
from tapeout.constants import CM2_PER_MM2, MM2_PER_CM2

PER_CM2 = CM2_PER_MM2  # one defect per cm2, in defects per mm2


def bose_einstein(area_cm2):
    model = yields.BoseEinsteinYield(defects_per_mm2=0.031 * PER_CM2, critical_layers=13.5)
    return model.yield_fraction(area_cm2 * MM2_PER_CM2)


def negative_binomial(alpha, die_mm2=100.0, per_cm2=1.0):
    model = yields.NegativeBinomialYield(defects_per_mm2=per_cm2 * PER_CM2, clustering=alpha)
    return model.yield_fraction(die_mm2)


def poisson(die_mm2):
    return yields.PoissonYield(defects_per_mm2=PER_CM2).yield_fraction(die_mm2)


def murphy(die_mm2, per_cm2):
    return yields.MurphyYield(defects_per_mm2=per_cm2 * PER_CM2).yield_fraction(die_mm2)


# Counted oracles: name, value, expected, absolute tolerance. 16 values. A2 is also printed,
# rounded to two digits, by Hennessy and Patterson; the rest is computed.
ORACLES = [
    ("A2, 2.25 cm2", bose_einstein(2.25), 0.402, 5e-4),
    ("A2, 1.00 cm2", bose_einstein(1.00), 0.662, 5e-4),
    ("A3 Poisson", poisson(100.0), 0.3679, 5e-5),
    ("A3 Murphy", murphy(100.0, 1.0), 0.3996, 5e-5),
    ("A3 Seeds", yields.SeedsYield(defects_per_mm2=PER_CM2).yield_fraction(100), 0.5000, 5e-5),
    ("A3 negative binomial 2", negative_binomial(2), 0.4444, 5e-5),
    ("A3 negative binomial 3", negative_binomial(3), 0.4219, 5e-5),
    ("A3 negative binomial 10", negative_binomial(10), 0.3855, 5e-5),
    ("A4 Murphy", murphy(814.0, 0.10), 0.468, 5e-4),
    ("A4 negative binomial 10", negative_binomial(10, 814.0, 0.10), 0.457, 5e-4),
    ("A10, all of 8", yields.harvest_fraction(0.9, 8, 8), 0.4305, 5e-5),
    ("A10, 7 of 8", yields.harvest_fraction(0.9, 8, 7), 0.8131, 5e-5),
    ("x = 1.24 Poisson", poisson(124.0), 0.289, 5e-4),
    ("x = 1.24 Murphy", murphy(124.0, 1.0), 0.328, 5e-4),
    ("x = 1.24 negative binomial 3", negative_binomial(3, 124.0), 0.354, 5e-4),
    ("814 mm2, 12 of 144 cores spare", yields.HarvestedYield(
        defects_per_mm2=0.1 * PER_CM2, core_area_fraction=0.6, cores=144, spare_cores=12
    ).yield_fraction(814.0), 0.72, 5e-3),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value", "expected", "tolerance"), ORACLES)
def test_printed_yields_are_reproduced(name, value, expected, tolerance):
    assert float(value) == pytest.approx(expected, abs=tolerance), name


@given(x=st.floats(0.0, 5.0))
def test_clustering_of_one_is_seeds_and_of_infinity_poisson(x):
    assert negative_binomial(1.0, x * 100.0) == pytest.approx(1 / (1 + x))
    assert negative_binomial(1e9, x * 100.0) == pytest.approx(math.exp(-x), rel=1e-6)


@given(x=st.floats(1e-6, 5.0))
def test_models_rank_by_clustering(x):
    """More clustering at the same mean leaves more dies untouched."""
    poisson = math.exp(-x)
    assert poisson <= murphy(x * 100.0, 1.0) + 1e-12
    assert poisson <= negative_binomial(10.0, x * 100.0) <= negative_binomial(2.0, x * 100.0)


def test_every_model_is_certain_without_defects():
    area = np.array([0.0, 400.0])
    for model in (
        yields.PoissonYield(defects_per_mm2=0.0),
        yields.MurphyYield(defects_per_mm2=0.0),
        yields.SeedsYield(defects_per_mm2=0.0),
        yields.NegativeBinomialYield(defects_per_mm2=0.0, clustering=3.0),
        yields.BoseEinsteinYield(defects_per_mm2=0.0, critical_layers=10.0),
        yields.HarvestedYield(
            defects_per_mm2=0.0, core_area_fraction=0.6, cores=8, spare_cores=1, clustering=3.0
        ),
        yields.PerfectYield(),
    ):
        assert model.yield_fraction(area) == pytest.approx([1.0, 1.0])


def test_mixed_harvest_without_spares_is_the_negative_binomial():
    """All cores and the rest must work: the gamma mixture of exp(-x) is the closed form."""
    model = yields.HarvestedYield(
        defects_per_mm2=0.001, core_area_fraction=0.6, cores=144, spare_cores=0, clustering=3.0
    )
    assert model.yield_fraction(814.0) == pytest.approx(float(negative_binomial(3, 814.0, 0.1)))


def test_mixed_harvest_equals_averaging_over_drawn_densities():
    rng = np.random.default_rng(3)
    density = rng.gamma(2.0, 0.001 / 2.0, 200_000)
    core = np.exp(-density * 814.0 * 0.6 / 144)
    drawn = np.exp(-density * 814.0 * 0.4) * yields.harvest_fraction(core, 144, 140)
    model = yields.HarvestedYield(
        defects_per_mm2=0.001, core_area_fraction=0.6, cores=144, spare_cores=4, clustering=2.0
    )
    error = drawn.std() / math.sqrt(drawn.size)
    assert model.yield_fraction(814.0) == pytest.approx(drawn.mean(), abs=4 * error)


@given(good=st.floats(0.0, 1.0), cores=st.integers(1, 40))
def test_harvest_is_a_probability_that_rises_with_spares(good, cores):
    fractions = [yields.harvest_fraction(good, cores, needed) for needed in range(cores, -1, -1)]
    assert (np.diff(fractions) >= -1e-12).all()
    assert fractions[0] == pytest.approx(good**cores)
    assert fractions[-1] == pytest.approx(1.0)
