"""The largest load: against the M/D/1 queue in closed form, consistent, deterministic."""

import math
from dataclasses import replace

import numpy as np
import pytest

from tapeout.errors import InfeasibleError, Outcome
from tapeout.serving.engine.reference import run_reference
from tapeout.serving.engine.types import PS_PER_S, RequestTable, RunTotals, Simulation
from tapeout.serving.objectives import Objective, parse_objective
from tapeout.serving.replicas import Task, run_split
from tapeout.serving.search.bracket import Level, root_of
from tapeout.serving.search.max_load import SearchOptions, search_rate
from tapeout.serving.search.probes import Burden, Judge, Probe, Verdict
from tapeout.serving.search.streams import DrawnStream, TraceStream, at_rate, stream_of_means
from tapeout.serving.traffic import TrafficSpec, mean_rate_rps
from tapeout.workload import Traffic
from tests.serving.engine.builders import constant_table, make_rules, make_trace

STEP_S = 1e-3
QUICK = SearchOptions(first_requests=2000, most_requests=12_000)


def drawn(seed=0, output=1):
    client = {
        "arrivals": {"family": "poisson", "rate_rps": 1.0},
        "input": {"kind": "fixed", "tokens": 1},
        "output": {"kind": "fixed", "tokens": output},
    }
    return DrawnStream(TrafficSpec.model_validate({"clients": [client], "requests": 1}), seed)


def lindley(job, rules, table, *, samples_s=0.0, log=False, gaps_from_s=None):
    """One request at a time, a step a token, at once for all requests: the engine's exact result.

    tests/serving/engine/test_queueing.py holds the engine against the same recursion.
    """
    del rules, table, samples_s, log, gaps_from_s
    arrival, service = job.arrival_ps / PS_PER_S, job.output * STEP_S
    done = np.cumsum(service)
    start = done - service + np.maximum.accumulate(arrival - (done - service))
    none = np.zeros(arrival.size, np.int64)
    requests = RequestTable(
        arrival_s=arrival, input_tokens=job.prompt, output_tokens=job.output, scheduled_s=start,
        first_token_s=start + STEP_S, last_token_s=start + service, hit_tokens=none,
        preemptions=none, preempted_s=none.astype(float), energy_j=service, replica=none,
        rejected=none,
    )  # fmt: skip
    end_s = float((start + service).max())
    counts = dict.fromkeys(RunTotals.__slots__, 0)
    totals = RunTotals(**counts | {"end_s": end_s, "energy_j": 1.0, "running_s": float(done[-1])})
    return Simulation(requests=requests, totals=totals)


def task(runner=lindley):
    rules = make_rules(max_sequences=1, token_budget=4, kv_blocks=100_000)
    return Task(rules=rules, table=constant_table(rules), runner=runner)


def find(slo, guess=500.0, stream=None, options=QUICK):
    return search_rate(task(), stream or drawn(), parse_objective(slo), 1, guess, options)


def waits_at_most(load, time):
    """Share of an M/D/1 queue that waits at most so long, in services (Erlang 1909, Crommelin)."""
    total = 0.0
    for k in range(int(time) + 1):
        x = load * (k - time)  # at most 0
        total += (-x) ** k * (-1) ** k * math.exp(-x) / math.factorial(k)
    return (1.0 - load) * total


def load_at(time, share):
    low, high = 0.01, 0.999
    for _ in range(60):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if waits_at_most(middle, time) > share else (low, middle)
    return low


def test_the_closed_form_has_its_known_limits():
    """Nobody waits with probability 1 - rho; the mean is that of Pollaczek and Khinchine."""
    assert waits_at_most(0.6, 0.0) == pytest.approx(0.4)
    grid = np.linspace(0.0, 14.0, 14_001)
    mean = np.trapezoid([1.0 - waits_at_most(0.6, t) for t in grid], grid)
    assert mean == pytest.approx(0.6 / (2 * 0.4), rel=1e-3)


@pytest.mark.parametrize(("services", "percent"), [(1.5, 90), (4.0, 90), (3.0, 50)])
def test_the_rate_at_which_waits_meet_a_limit_is_that_of_m_d_1(services, percent):
    found = find(f"queue_p{percent}={services * STEP_S}")
    expected = load_at(services, percent / 100) / STEP_S
    assert found.outcome is Outcome.OK
    assert found.binds.startswith(f"p{percent} queue")
    assert abs(found.rate_rps - expected) < found.half_width_rps + 0.01 * expected
    assert found.half_width_rps < 0.12 * expected


def test_the_engine_gives_the_same_answer_as_the_recursion():
    slo = parse_objective(f"queue_p90={3 * STEP_S}")
    small = replace(QUICK, first_requests=300, most_requests=600)
    engine = search_rate(task(run_reference), drawn(), slo, 1, 600.0, small)
    assert engine.rate_rps == pytest.approx(
        search_rate(task(), drawn(), slo, 1, 600.0, small).rate_rps, rel=1e-6
    )


def test_the_answer_lies_between_a_rate_that_meets_and_one_that_misses():
    slo = parse_objective(f"queue_p90={3 * STEP_S}")
    found = find(f"queue_p90={3 * STEP_S}")
    trace = drawn().take(QUICK.most_requests)
    judge = Judge(objective=slo)

    def verdict(rate):
        timed = at_rate(trace, rate)
        return judge.judge(run_split(timed, task()), timed, rate).verdict

    assert verdict(found.rate_rps * 0.98) is Verdict.MEETS
    assert verdict(found.rate_rps * 1.02) is Verdict.MISSES_SLO


def test_the_first_guess_does_not_matter():
    slo = f"queue_p90={3 * STEP_S}"
    rates = [find(slo, guess=guess).rate_rps for guess in (100.0, 700.0, 3000.0, float("nan"))]
    assert max(rates) / min(rates) < 1.02


def test_the_same_search_gives_the_same_answer_and_another_stream_another():
    slo = f"queue_p90={3 * STEP_S}"
    first, again, other = find(slo), find(slo), find(slo, stream=drawn(1))
    assert first == again
    assert other.rate_rps != first.rate_rps


def test_a_looser_limit_gives_a_higher_rate():
    rates = [find(f"queue_p90={n * STEP_S}").rate_rps for n in (1.5, 3.0, 6.0)]
    assert rates == sorted(rates)


def test_a_limit_that_a_request_alone_misses_is_an_outcome():
    assert find(f"ttft_p90={0.5 * STEP_S}").outcome is Outcome.MISSES_TTFT
    slow = find(f"tpot_p90={0.5 * STEP_S}", stream=drawn(output=3), guess=100.0)
    assert slow.outcome is Outcome.MISSES_TPOT
    assert slow.rate_rps == 0.0
    assert find(f"e2e_p90={0.5 * STEP_S}").outcome is Outcome.MISSES_SLO


def test_without_a_limit_that_is_reached_stability_binds_near_full_load():
    found = find("ttft_p90=1000")
    assert found.binds == "stability"
    assert found.rate_rps == pytest.approx(1 / STEP_S, rel=0.03)


def test_attainment_of_one_limit_is_its_percentile():
    by_percentile = find(f"queue_p90={3 * STEP_S}")
    by_share = find(f"queue_p50={3 * STEP_S}", options=replace(QUICK, attainment=0.9))
    assert by_share.rate_rps == by_percentile.rate_rps
    assert by_share.binds == "attainment"


def test_two_replicas_take_about_twice_the_load_of_one():
    slo = parse_objective(f"queue_p90={3 * STEP_S}")
    two = search_rate(replace(task(), replicas=2), drawn(), slo, 2, 1000.0, QUICK)
    one = find(f"queue_p90={3 * STEP_S}")
    # taken by turns, each replica sees Erlang gaps, which are more even than Poisson ones
    assert 2.0 * one.rate_rps < two.rate_rps < 2.0 / STEP_S


def test_a_trace_is_scaled_in_time():
    """Evenly spaced requests never wait below full load."""
    stream = TraceStream(make_trace(np.arange(3000) * 0.25, 1, 1))
    assert mean_rate_rps(stream.take(3000)) == pytest.approx(1.0)
    found = find(f"queue_p90={0.1 * STEP_S}", stream=stream)
    assert found.rate_rps == pytest.approx(1 / STEP_S, rel=0.02)


def test_no_limit_is_refused():
    with pytest.raises(InfeasibleError, match="needs limits"):
        search_rate(task(), drawn(), Objective(), 1, 1.0, QUICK)


def test_a_longer_stream_begins_with_the_shorter_one():
    stream = stream_of_means(Traffic(name="x", model="m", input_tokens=500.0, output_tokens=50.0,
                                     cached_input_fraction=0.2))  # fmt: skip
    short, long = stream.take(300), stream.take(1000)
    stretched = short.arrival_s / long.arrival_s[:300]  # each brings one a second, exactly
    assert stretched == pytest.approx(stretched[0])
    assert 0.8 < stretched[0] < 1.25
    for one in (short, long):
        assert mean_rate_rps(one) == pytest.approx(1.0)
    assert np.array_equal(short.input_tokens, long.input_tokens[:300])
    assert np.array_equal(short.output_tokens, long.output_tokens[:300])


# the bracket alone


def probe(rate, value, verdict=None):
    met = Verdict.MEETS if value <= 1.0 else Verdict.MISSES_SLO
    return Probe(
        rate_rps=rate, requests=1, counted=1, verdict=verdict or met, short=False, stay_s=0.0,
        burdens=(Burden(name="limit", metric="ttft", value=value, half_width=0.1),),
        simulation=None, window=None,
    )  # fmt: skip


def test_of_several_crossings_the_lowest_is_taken_and_the_others_are_counted():
    level = Level(run=lambda rate: probe(rate, 1.5 if 4.0 <= rate < 5.0 or rate > 8.0 else 0.5))
    for rate in (3.0, 4.2, 6.0, 9.0):
        level.at(rate)
    assert (level.low.rate_rps, level.high.rate_rps, level.anomalies) == (3.0, 4.2, 1)
    level.narrow(0.01)
    assert level.high.rate_rps == pytest.approx(4.0, rel=0.01)


@pytest.mark.parametrize("guess", [0.3, 10.0, 500.0])
def test_a_power_law_is_solved_to_its_root_and_error(guess):
    level = Level(run=lambda rate: probe(rate, (rate / 7.0) ** 5))
    assert level.bracket(guess, 0.25, 1e-6)
    level.narrow(0.02)
    root = root_of(level, 0.0)
    assert root.rate_rps == pytest.approx(7.0, rel=1e-3)
    assert 0.1 / 5.0 * 0.9 < root.log_half_width < 0.1 / 5.0 * 2.5


def logistic(rate, root=7.0, steep=60.0, allowed=0.1):
    """A share of misses whose log odds are straight in the log of the rate."""
    odds = allowed / (1.0 - allowed) * (rate / root) ** steep
    return odds / (1.0 + odds) / allowed


@pytest.mark.parametrize("guess", [6.8, 7.05, 7.3])
def test_a_known_slope_closes_the_bracket_in_two_probes(guess):
    def run(rate):
        one = probe(rate, logistic(rate))
        return replace(one, burdens=(replace(one.burdens[0], allowed=0.1),))

    level = Level(run=run)
    level.approach(guess, 60.0, 0.03)
    level.narrow(0.03)
    assert len(level.probes) <= 3
    root = root_of(level, 0.0)
    assert root.rate_rps == pytest.approx(7.0, rel=1e-6)
    # half width over the burden's own slope, which is that of the log odds times 1 - allowed
    assert root.log_half_width == pytest.approx(0.1 / (60.0 * 0.9), rel=1e-6)


def test_the_interval_of_the_waits_of_m_d_1_covers_the_truth_as_often_as_it_says():
    """Of 24 streams 95 % are 22.8; 19 or fewer would come in one of 60 by chance."""
    expected = load_at(3.0, 0.9) / STEP_S
    options = replace(QUICK, most_requests=6000)
    found = [find(f"queue_p90={3 * STEP_S}", stream=drawn(seed), options=options)
             for seed in range(24)]  # fmt: skip
    assert sum(abs(one.rate_rps - expected) < one.half_width_rps for one in found) >= 20


def test_by_default_the_last_runs_are_longer_than_the_second():
    found = find(f"queue_p90={3 * STEP_S}", options=SearchOptions())
    assert found.longest_run > 12_000
    assert found.half_width_rps < 0.02 * found.rate_rps


def test_keys_that_are_there_are_not_computed():
    """A prompt of four tokens of which three are there takes a step less to compute."""
    from tapeout.serving.search.max_load import _loaded  # noqa: PLC0415

    seen = []

    def runner(job, rules, table, *, samples_s=0.0, log=False, gaps_from_s=None):
        seen.append(job.loaded.tolist())
        return lindley(job, rules, table, samples_s=samples_s, log=log, gaps_from_s=gaps_from_s)

    run_split(make_trace([0.0, 1.0], [4, 2], 1), task(_loaded(runner, 3)))
    assert seen == [[3, 1]]
    assert _loaded(runner, 0) is runner


def test_a_floor_that_misses_has_no_bracket():
    level = Level(run=lambda rate: probe(rate, 2.0))
    assert not level.bracket(8.0, 0.25, 1.0)
    assert level.probes[-1].rate_rps == 1.0
