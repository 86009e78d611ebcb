"""Arrival processes against their closed forms, and common random numbers."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapeout.errors import InfeasibleError
from tapeout.serving.traffic import renewal, stream
from tapeout.serving.traffic.arrivals import (
    Gamma,
    Poisson,
    Rates,
    Weibull,
    constant,
    first_times,
    operational_times,
    repeated,
)

PROCESSES = [
    Poisson(),
    Gamma(4.0),
    Gamma(0.25),
    Gamma(0.05),
    Weibull(2.0),
    Weibull(0.5),
]


@pytest.mark.parametrize("process", PROCESSES, ids=lambda one: one.words)
def test_gaps_have_mean_one_and_the_stated_cv(process):
    gaps = process.gaps(stream(1, "arrivals"), 400_000)
    # standard errors: CV / sqrt(n) of the mean; heavy tails make that of the CV larger
    assert gaps.mean() == pytest.approx(1.0, abs=5.0 * process.cv / 400_000**0.5)
    assert gaps.std() == pytest.approx(process.cv, rel=0.03)


@pytest.mark.parametrize("process", PROCESSES, ids=lambda one: one.words)
def test_the_mean_count_is_the_length_of_the_window_whatever_the_cv(process):
    """An ordinary renewal process would have (CV^2 - 1) / 2 requests more: 9.5 at CV 4.5."""
    rng, end, draws = stream(2, "arrivals"), 20.0, 3000
    counts = [operational_times(process, end, rng).size for _ in range(draws)]
    error = np.std(counts) / draws**0.5
    assert np.mean(counts) == pytest.approx(end, abs=4.0 * error)


@pytest.mark.parametrize("process", PROCESSES, ids=lambda one: one.words)
def test_the_first_gap_has_the_mean_of_an_interrupted_one(process):
    """E[X^2] / (2 E[X]) = (1 + CV^2) / 2."""
    rng = stream(3, "arrivals")
    first = np.array([process.first(rng) for _ in range(20_000)])
    error = first.std() / 20_000**0.5
    assert first.mean() == pytest.approx((1.0 + process.cv**2) / 2.0, abs=4.0 * error)


@given(cv=st.floats(0.05, 20.0))
def test_a_weibull_process_has_the_cv_it_was_made_for(cv):
    assert renewal("weibull", cv).cv == pytest.approx(cv, rel=1e-6)
    assert renewal("gamma", cv).cv == pytest.approx(cv, rel=1e-6)


@pytest.mark.parametrize(
    ("family", "cv"), [("poisson", 2.0), ("gamma", 0.0), ("gamma", 1e3), ("pareto", 1.0)]
)
def test_processes_that_do_not_exist_are_refused(family, cv):
    with pytest.raises(InfeasibleError):
        renewal(family, cv)
    with pytest.raises(InfeasibleError):
        renewal("weibull", float("nan"))


@pytest.mark.parametrize("process", PROCESSES, ids=lambda one: one.words)
def test_a_later_end_only_adds_requests(process):
    short = operational_times(process, 50.0, stream(4, "arrivals"))
    long = operational_times(process, 700.0, stream(4, "arrivals"))
    count = first_times(process, short.size + 5, stream(4, "arrivals"))
    assert (long[: short.size] == short).all()
    assert (count[: short.size] == short).all()
    assert long.size > short.size
    assert (np.diff(long) >= 0.0).all()


def test_no_time_and_no_requests_are_empty():
    assert operational_times(Poisson(), 0.0, stream(1, "arrivals")).size == 0
    assert first_times(Poisson(), 0, stream(1, "arrivals")).size == 0


def test_two_rates_see_the_same_requests():
    times = operational_times(Gamma(0.3), 100.0, stream(5, "arrivals"))
    slow, fast = constant(2.0, 50.0).clock(times), constant(8.0, 12.5).clock(times)
    assert slow == pytest.approx(4.0 * fast)


def test_time_runs_at_the_rate_of_each_window():
    rates = Rates(edges_s=np.array([0.0, 10.0, 20.0, 30.0]), rates_rps=np.array([1.0, 0.0, 2.0]))
    assert rates.expected == 30.0
    assert rates.clock(np.array([0.0, 5.0, 10.0, 12.0])).tolist() == [0.0, 5.0, 20.0, 21.0]
    twice = repeated(rates, 65.0)
    assert twice.edges_s.tolist() == [0.0, 10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 65.0]
    assert twice.expected == 65.0
    assert rates.scaled(0.5).expected == 15.0
    with pytest.raises(InfeasibleError, match="widen them"):
        repeated(rates, 1e9)


def test_requests_of_a_day_follow_its_rates():
    """Counts of a Poisson process in windows are Poisson of rate times window."""
    rates = Rates(edges_s=np.arange(25) * 3600.0, rates_rps=1.0 + np.arange(24) % 5)
    times = rates.clock(operational_times(Poisson(), rates.expected, stream(6, "arrivals")))
    counts = np.histogram(times, rates.edges_s)[0]
    expected = rates.rates_rps * 3600.0
    chi_squared = float(((counts - expected) ** 2 / expected).sum())
    assert chi_squared < 51.2  # 99.9 % of chi squared with 24 degrees


def test_streams_differ_by_seed_cause_and_key():
    draws = {stream(*key).random() for key in ((1, "a"), (2, "a"), (1, "b"), (1, "a", 1))}
    assert len(draws) == 4
