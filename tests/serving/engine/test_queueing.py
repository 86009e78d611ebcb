"""The simulator against queueing theory: z-tests with fixed seeds, by means of batches.

A batch mean of a queue is nearly normal where a batch lasts many relaxation times, so the limit
of four standard errors is met by a right simulator in all but one of 10,000 tests.
"""

import numpy as np
import pytest

from tapeout.serving.engine.types import PS_PER_S, Order
from tests.serving.engine.builders import (
    MS_PS,
    RUNNERS,
    constant_table,
    make_job,
    make_rules,
    proportional_table,
)

MS = 1e-3
BATCHES = 25
WARM = 0.05  # share of the requests left out: the queue is empty at first
pytestmark = pytest.mark.parametrize("run", RUNNERS)


def poisson(rng, rate_per_s, count):
    return np.cumsum(rng.exponential(1 / rate_per_s, count))


def z_score(values, expected, allowance=0.0):
    """Distance of a mean from what is expected, in standard errors; an allowance is free."""
    values = values[int(WARM * values.size) :]
    means = np.array([batch.mean() for batch in np.array_split(values, BATCHES)])
    error = means.std(ddof=1) / np.sqrt(BATCHES)
    return max(0.0, abs(means.mean() - expected) - allowance) / error


def one_at_a_time(**changes):
    return make_rules(max_sequences=1, token_budget=4, kv_blocks=100_000, **changes)


# one server


@pytest.mark.parametrize("load", [0.3, 0.6, 0.9])
def test_one_token_requests_one_at_a_time_are_an_m_d_1_queue(run, load):
    """W_q = rho c / (2 (1 - rho))."""
    rng = np.random.default_rng(1)
    rules = one_at_a_time()
    job = make_job(poisson(rng, load / MS, 20_000), 1, 1, rules)
    sim = run(job, rules, constant_table(rules))
    assert z_score(sim.requests.queue_s, load * MS / (2 * (1 - load))) < 4


@pytest.mark.parametrize("order", list(Order))
def test_every_wait_is_that_of_lindleys_recursion(run, order):
    """Exact for each request: a wait is the one before it plus service less the gap, at least 0."""
    rng = np.random.default_rng(2)
    rules = one_at_a_time(order=order)
    output = rng.integers(1, 6, 2000)
    job = make_job(poisson(rng, 0.9 / (3 * MS), 2000), 1, output, rules)
    sim = run(job, rules, constant_table(rules))
    wait, waits = 0, [0]
    arrival = job.arrival_ps.tolist()
    for i in range(1, 2000):
        wait = max(0, wait + int(output[i - 1]) * MS_PS - (arrival[i] - arrival[i - 1]))
        waits.append(wait)
    assert np.rint(sim.requests.queue_s * PS_PER_S) == pytest.approx(waits, abs=8)


@pytest.mark.parametrize("load", [0.5, 0.8])
def test_random_lengths_one_at_a_time_are_an_m_g_1_queue(run, load):
    """Pollaczek-Khinchine: W_q = lambda E[S^2] / (2 (1 - rho)); lengths of two kinds."""
    rng = np.random.default_rng(3)
    rules = one_at_a_time()
    output = rng.choice([1, 9], 8000, p=[0.75, 0.25])
    mean, square = 3.0 * MS, (0.75 + 0.25 * 81) * MS**2
    rate = load / mean
    job = make_job(poisson(rng, rate, output.size), 1, output, rules)
    sim = run(job, rules, constant_table(rules))
    assert z_score(sim.requests.queue_s, rate * square / (2 * (1 - load))) < 4


def test_geometric_lengths_one_at_a_time_are_a_geometric_queue(run):
    """With geometric service of mean m steps E[S^2] = (2 m^2 - m) c^2: M/M/1 for many steps."""
    rng = np.random.default_rng(4)
    rules = one_at_a_time()
    mean, load = 10.0, 0.7
    output = rng.geometric(1 / mean, 4000)
    rate = load / (mean * MS)
    job = make_job(poisson(rng, rate, output.size), 1, output, rules)
    sim = run(job, rules, constant_table(rules))
    expected = rate * (2 * mean**2 - mean) * MS**2 / (2 * (1 - load))
    assert z_score(sim.requests.queue_s, expected) < 4


# everybody at once


@pytest.mark.parametrize(
    ("load", "law"), [(0.4, "geometric"), (0.7, "constant"), (0.7, "two kinds")]
)
def test_steps_that_cost_by_the_sequence_share_the_processor(run, load, law):
    """E[T given S] = S / (1 - rho) for any law of lengths.

    A step is finite here: an arrival waits for the end of a step, and the first token of others
    comes with it. That is about one step of E[N] + 1 = 1 / (1 - rho) sequences, the allowance.
    """
    rng = np.random.default_rng(5)
    rules = make_rules(max_sequences=500, token_budget=1000, kv_blocks=100_000)
    count, mean = 2000, 20
    output = {
        "constant": np.full(count, mean),
        "geometric": rng.geometric(1 / mean, count),
        "two kinds": rng.choice([8, 56], count, p=[0.75, 0.25]),
    }[law]
    token_s = 1e-4
    job = make_job(poisson(rng, load / (mean * token_s), count), 1, output, rules)
    sim = run(job, rules, proportional_table(rules, token_ps=round(token_s * PS_PER_S)))
    stretch = sim.requests.e2e_s - output * token_s / (1 - load)
    assert z_score(stretch, 0.0, allowance=token_s / (1 - load)) < 4
    if law == "two kinds":  # short and long ones are stretched alike
        for length in (8, 56):
            own = stretch[output == length]
            assert z_score(own, 0.0, allowance=token_s / (1 - load)) < 4


def test_steps_of_constant_cost_are_a_queue_with_a_server_for_everyone(run):
    """M/G/infinity: a Poisson number in system, mean rate x stay, variance the mean.

    Steps follow each other without a gap while somebody is there (nearly always, at a mean of 21),
    so a stay is the rest of a step, on average half of one, and the request's own steps.
    """
    rng = np.random.default_rng(6)
    rules = make_rules(max_sequences=500, token_budget=1000, kv_blocks=100_000)
    mean, rate = 20, 1.0 / MS
    output = rng.geometric(1 / mean, 6000)
    job = make_job(poisson(rng, rate, output.size), 1, output, rules)
    sim = run(job, rules, constant_table(rules), samples_s=20.37 * MS)
    last_s = sim.requests.arrival_s[-1]
    line = sim.timeline
    during = (line.time_s > 0.05 * last_s) & (line.time_s < last_s)
    number = (line.running + line.waiting)[during]
    stay_s = (mean + 0.5) * MS
    assert z_score(sim.requests.e2e_s - output * MS, 0.5 * MS) < 4
    assert z_score(number, rate * stay_s) < 4
    # The variance of n independent Poisson counts has the error sqrt(2 / n) of itself; samples
    # a stay apart are nearly independent.
    assert number.var() / (rate * stay_s) == pytest.approx(1.0, abs=4 * np.sqrt(2 / number.size))


# closed loops


@pytest.mark.parametrize(("in_flight", "cap"), [(1, 8), (4, 8), (20, 8)])
def test_a_closed_loop_obeys_its_law(run, in_flight, cap):
    """X = N / mean(e2e), and X <= min(N / e2e_1, X_max).

    Before the last requests are sent exactly N are in the system; as these drain it is fewer,
    which is at most a share N / requests of the time integral.
    """
    rng = np.random.default_rng(7)
    rules = make_rules(max_sequences=cap, kv_blocks=100_000)
    output = rng.integers(1, 20, 2000)
    job = make_job(np.zeros(2000), 1, output, rules, in_flight=in_flight)
    sim = run(job, rules, constant_table(rules))
    rate = output.size / sim.totals.end_s
    e2e_s = sim.requests.e2e_s.mean()
    assert rate == pytest.approx(in_flight / e2e_s, rel=2 * in_flight / output.size)
    alone_s = output.mean() * MS
    assert rate <= min(in_flight / alone_s, cap / alone_s) * (1 + 1e-9)
    assert rate >= 0.95 * min(in_flight, cap) / alone_s  # constant steps: nobody slows others


def test_a_closed_loop_with_think_time_obeys_the_law_of_response_time(run):
    """X = N / (mean(e2e) + mean(think))."""
    rng = np.random.default_rng(8)
    rules = make_rules(kv_blocks=100_000)
    think_s = rng.exponential(20 * MS, 2000)
    output = rng.integers(1, 20, 2000)
    job = make_job(np.zeros(2000), 1, output, rules, in_flight=6, think_s=think_s)
    sim = run(job, rules, proportional_table(rules))
    cycle_s = sim.requests.e2e_s.mean() + think_s[6:].mean()
    assert output.size / sim.totals.end_s == pytest.approx(6 / cycle_s, rel=0.01)
