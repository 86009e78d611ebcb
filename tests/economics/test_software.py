"""Software of the own chip: coverage of new models against arithmetic, and what ports cost."""

import numpy as np
import pytest

from tapeout.economics.roadmap import DATE_INPUTS
from tapeout.economics.schedule import schedule
from tapeout.economics.software import RELEASES, coverage_fraction, release_lines
from tapeout.economics.types import Inputs, Roadmap, Step


def coverage(day0, lag, age):
    return float(coverage_fraction(np.array(day0), np.array(lag), np.array(age)))


def test_coverage_is_the_mean_over_the_ages_of_traffic():
    """Drawn ages: day-0 share, then a linear rise over the lag."""
    ages = np.random.default_rng(2).exponential(6.0, 400_000)
    served = 0.3 + 0.7 * np.minimum(ages / 4.0, 1.0)
    assert coverage(0.3, 4.0, 6.0) == pytest.approx(served.mean(), abs=0.001)


def test_without_a_lag_or_with_all_of_day_zero_everything_is_covered():
    assert coverage(0.0, 0.0, 6.0) == pytest.approx(1.0, abs=1e-6)
    assert coverage(1.0, 9.0, 6.0) == 1.0


def test_a_lag_far_beyond_the_age_of_traffic_leaves_what_day_zero_has():
    assert coverage(0.4, 1e6, 1.0) == pytest.approx(0.4, abs=1e-5)
    assert coverage(0.4, 6.0, 0.0) == pytest.approx(0.4, abs=1e-5)


def test_coverage_falls_with_the_lag_and_rises_with_the_age_of_traffic():
    lags = [coverage(0.2, lag, 6.0) for lag in (1.0, 3.0, 9.0)]
    assert lags == sorted(lags, reverse=True)
    ages = [coverage(0.2, 3.0, age) for age in (2.0, 6.0, 18.0)]
    assert ages == sorted(ages)


def test_releases_are_paid_from_first_service_to_the_last_chip(world):
    """Tape-out 9 + qualification 9 months, sales 3 years, life 4: years 1.5 to 8.5."""
    values = world.inputs()
    paid = type(values)(values.values | {RELEASES: np.array([8e6])})
    ((line, ((serving, each),)),) = release_lines(paid, 40, schedule(paid))
    assert line.key == "own.releases"
    assert float(each[0, 0]) == 2e6
    assert np.flatnonzero(serving[0]).tolist() == list(range(6, 34))
    assert release_lines(values, 40, schedule(values)) == []


def test_a_cancelled_programme_ports_nothing(world):
    values = world.inputs({"options.own.cancelled": 1.0})
    paid = type(values)(values.values | {RELEASES: np.array([8e6])})
    ((_, ((serving, _),)),) = release_lines(paid, 40, schedule(paid))
    assert not serving.any()


def releases(world, roadmap):
    """The line of releases in a strategy, and the quarters in which it is paid."""
    changes = {"options.own.generation_cadence_years": 1.0}
    inputs = Inputs(world.inputs(changes).values | {RELEASES: np.array([8e6])})
    cash, _ = world.flow([Step(option="own", roadmap=roadmap), "gpu"], inputs)
    index = [line.key for line in cash.lines].index("own.releases")
    return cash.lines[index], np.flatnonzero(cash.usd[0, :, index]).tolist()


def test_releases_are_paid_until_the_last_of_several_chips_retires(world):
    """The second chip comes a year later and moves the end from year 8.5 to 9.5."""
    line, paid = releases(world, Roadmap())
    assert paid == list(range(6, 34))
    assert not set(DATE_INPUTS) & set(line.inputs)
    line, paid = releases(world, Roadmap(generations=2))
    assert paid == list(range(6, 38))
    assert {*DATE_INPUTS, "options.own.sales_window_years"} <= set(line.inputs)
