"""Routers against shares run apart, queueing theory and cases worked out by hand."""

import math
from dataclasses import fields, replace

import numpy as np
import pytest

from tapeout.errors import ProblemsError, UnknownNameError
from tapeout.serving.cluster.run import run_cluster
from tapeout.serving.cluster.types import Cluster, Router, router_named
from tapeout.serving.engine.job import prepare
from tapeout.serving.engine.run import run_engine
from tapeout.serving.engine.types import Order
from tapeout.serving.replicas import run_split
from tapeout.serving.traffic.scaling import take
from tests.serving.cluster.builders import MS, MS_PS, cluster, kind, make_rules, run, single
from tests.serving.engine.builders import (
    constant_table,
    make_job,
    make_prefixes,
    make_trace,
    proportional_table,
    random_case,
    random_rules,
    random_table,
    random_trace,
)

BLIND = [Router.ROUND_ROBIN, Router.RANDOM, Router.AFFINITY]


def differences(one, two, but=()):
    """Names of the columns in which two tables of requests differ."""
    return [
        field.name
        for field in fields(one)
        if field.name not in but
        and not np.array_equal(
            np.asarray(getattr(one, field.name), float),
            np.asarray(getattr(two, field.name), float),
            equal_nan=True,
        )
    ]


def cases(count):
    for seed in range(count):
        job, rules, table = random_case(seed)
        if not (rules.order is Order.DECODE_FIRST and rules.prefix_cache):
            yield seed, job, rules, table


# one replica, and shares


def test_one_replica_behind_any_router_is_the_engine():
    """Turns and closed loops included; the log too."""
    compared = 0
    for seed, job, rules, table in cases(60):
        expected = run_engine(job, rules, table, samples_s=0.01, log=True)
        router = Router(seed % len(Router))
        got = run_cluster(
            job, cluster(rules, table, replicas=1, router=router), samples_s=0.01, log=True
        ).simulation
        assert differences(expected.requests, got.requests, but=("energy_j",)) == [], seed
        assert np.allclose(expected.requests.energy_j, got.requests.energy_j)
        for name in ("steps", "end_s", "scheduled_tokens", "peak_blocks", "preemptions", "busy_s"):
            assert getattr(expected.totals, name) == getattr(got.totals, name), (seed, name)
        assert got.totals.energy_j == pytest.approx(expected.totals.energy_j)
        assert got.totals.running_s == pytest.approx(expected.totals.running_s)
        assert differences(expected.log, got.log) == [], seed
        assert np.allclose(expected.timeline.waiting, got.timeline.waiting)
        compared += 1
    assert compared > 40


@pytest.mark.parametrize("router", BLIND)
def test_a_router_that_looks_at_nothing_makes_shares_that_run_apart(router):
    rng = np.random.default_rng(int(router))
    for seed in range(8):
        rules = random_rules(rng, order=Order.LIST, drafts=0, acceptance=())
        table = random_table(rng, rules)
        trace = replace(random_trace(rng, rules, 60), parent=None, think_s=None)
        how = cluster(rules, table, replicas=3, router=router, seed=seed)
        client = rng.integers(0, 9, 60)
        whole = run_cluster(prepare(trace, rules), how, client=client).simulation.requests
        for one in range(3):
            place = np.flatnonzero((whole.replica == one) & (whole.rejected == 0))
            alone = run_engine(prepare(take(trace, place), rules), rules, table).requests
            for name in ("scheduled_s", "first_token_s", "last_token_s", "hit_tokens"):
                assert np.array_equal(getattr(whole, name)[place], getattr(alone, name)), seed


def test_round_robin_is_the_split_of_a_trace():
    from tapeout.serving.replicas import Task  # noqa: PLC0415

    rng = np.random.default_rng(3)
    rules = make_rules(prefix_cache=True)
    table = random_table(rng, rules)
    trace = replace(random_trace(rng, rules, 80), parent=None, think_s=None)
    split = run_split(trace, Task(rules=rules, table=table, runner=run_engine, replicas=4))
    whole = run_cluster(prepare(trace, rules), cluster(rules, table, replicas=4)).simulation
    assert differences(split.requests, whole.requests, but=("energy_j",)) == []
    assert whole.totals.busy_s == pytest.approx(split.totals.busy_s)
    assert whole.totals.peak_running == split.totals.peak_running


@pytest.mark.parametrize("router", list(Router))
def test_a_run_repeats_itself(router):
    rng = np.random.default_rng(5)
    rules = make_rules(prefix_cache=True)
    table = random_table(rng, rules)
    trace = random_trace(rng, rules, 60)
    how = cluster(rules, table, replicas=3, router=router)
    one, two = (run_cluster(prepare(trace, rules), how) for _ in range(2))
    assert differences(one.simulation.requests, two.simulation.requests) == []


# queues


def erlang_c(servers, offered):
    """Chance that a request waits."""
    terms = [offered**n / math.factorial(n) for n in range(servers)]
    last = offered**servers / math.factorial(servers) * servers / (servers - offered)
    return last / (sum(terms) + last)


def geometric_run(router, servers=4, load=0.8, count=30_000, **changes):
    """Mean wait [ms] of servers of one request each; service is geometric, 20 steps on average."""
    rng = np.random.default_rng(11)
    output = rng.geometric(1 / 20, count)
    arrival_s = np.cumsum(rng.exponential(20 * MS / load / servers, count))
    rules = single()
    how = cluster(rules, replicas=servers, router=router, **changes)
    wait = run(arrival_s, 1, output, rules, how).simulation.requests.queue_s
    return float(wait[2000:].mean() / MS)


def test_waits_are_those_of_split_and_shared_queues():
    """Random is k queues M/M/1; least outstanding lies above Erlang C; two choices between."""
    rho, servers = 0.8, 4
    apart = 20 * rho / (1 - rho)
    shared = 20 * erlang_c(servers, servers * rho) / (servers * (1 - rho))
    alone = geometric_run(Router.RANDOM)
    two = geometric_run(Router.POWER_OF_TWO)
    least = geometric_run(Router.LEAST_OUTSTANDING)
    assert alone == pytest.approx(apart, rel=0.15)
    assert shared * 0.98 < least < two < alone
    assert least < 2 * shared


def test_stale_loads_make_least_outstanding_worse():
    fresh = geometric_run(Router.LEAST_OUTSTANDING, count=15_000)
    stale = geometric_run(Router.LEAST_OUTSTANDING, count=15_000, information_age_s=2.0)
    assert stale > 1.3 * fresh


@pytest.mark.parametrize("router", [Router.ROUND_ROBIN, Router.LEAST_OUTSTANDING, Router.SLO])
def test_a_closed_loop_obeys_littles_law_over_all_replicas(router):
    rng = np.random.default_rng(2)
    rules = make_rules(max_sequences=4)
    output = rng.integers(1, 30, 3000)
    how = cluster(rules, proportional_table(rules), replicas=3, router=router)
    sim = run(np.zeros(3000), 2, output, rules, how, in_flight=9).simulation
    requests, end_s = sim.requests, sim.totals.end_s
    in_system = float(requests.e2e_s.sum()) / end_s
    assert in_system == pytest.approx(9, rel=0.01)
    assert float((requests.last_token_s - requests.scheduled_s).sum()) == pytest.approx(
        sim.totals.running_s
    )
    assert int(np.isfinite(requests.last_token_s).sum()) == 3000


def test_turns_are_sent_to_any_replica_after_their_think_time():
    rules = single()
    parent, think = np.array([-1, 0, 1, -1]), np.array([0.0, 2 * MS, 0.0, 0.0])
    sim = run(
        [0.0, 0.0, 0.0, 0.5 * MS], 1, 3, rules, cluster(rules), parent=parent, think_s=think
    ).simulation.requests  # fmt: skip
    assert sim.arrival_s.tolist() == pytest.approx([0.0, 5 * MS, 8 * MS, 0.5 * MS])
    assert sim.replica.tolist() == [0, 0, 1, 1]
    assert sim.last_token_s.tolist() == pytest.approx([3 * MS, 8 * MS, 11 * MS, 3.5 * MS])


# choices


def test_affinity_keeps_clients_and_moves_only_those_of_a_replica_that_goes():
    rules = single()
    client = np.arange(400) % 40
    homes = []
    for replicas in (5, 4):
        how = cluster(rules, replicas=replicas, router=Router.AFFINITY)
        sim = run(np.arange(400) * MS, 1, 1, rules, how, client=client).simulation
        home = sim.requests.replica.reshape(10, 40)
        assert (home == home[0]).all()
        homes.append(home[0])
    five, four = homes
    moved = five != four
    assert (five[moved] == 4).all()
    assert 0 < moved.sum() < 20
    assert len(set(five.tolist())) == 5


def test_the_prefix_router_prefers_the_cache_until_load_outweighs_it():
    """A cached prompt of 32 tokens, 31 of which can be found: 28 in whole blocks of 4."""
    rules = make_rules(prefix_cache=True, max_sequences=8)
    prefixes = make_prefixes([list(range(8))] * 8, 4)
    arrival_s = np.concatenate([[0.0], 1.0 + np.arange(7) * 1e-6])
    for load_tokens, first_away in ((10.0, 3), (100.0, 1)):
        how = cluster(rules, router=Router.PREFIX, load_tokens=load_tokens)
        sim = run(arrival_s, 32, 20, rules, how, prefixes=prefixes).simulation.requests
        there = sim.replica[1:].tolist()
        assert there[:first_away] == [0] * first_away
        assert there[first_away] == 1
    assert run(
        arrival_s, 32, 20, rules,
        cluster(rules, router=Router.PREFIX, load_tokens=0.0), prefixes=prefixes,
    ).simulation.requests.replica.tolist() == [0] * 8  # fmt: skip


def test_weights_divide_load():
    rules = make_rules()
    kinds = (kind(rules, name="small"), kind(rules, name="large", weight=3.0))
    how = Cluster(kinds=kinds, router=Router.LEAST_OUTSTANDING)
    sim = run(np.arange(8) * 1e-6, 1, 50, rules, how).simulation.requests
    assert np.bincount(sim.replica).tolist() == [2, 6]


def two_prices(**changes):
    """A cheap slow kind and a dear fast one; a step costs by its tokens."""
    rules = make_rules(max_sequences=8)
    slow = proportional_table(rules, 4 * MS_PS)
    fast = proportional_table(rules, MS_PS)
    kinds = (
        kind(rules, fast, name="fast", usd_per_hour=40.0),
        kind(rules, slow, name="slow", usd_per_hour=1.0),
    )
    return rules, Cluster(**{"kinds": kinds, "router": Router.COST} | changes)


def test_the_cost_router_fills_the_cheap_kind_and_spills_when_it_would_miss():
    """The n-th of a burst has 4 n ms a token on the slow kind: three meet a limit of 13 ms."""
    rules, how = two_prices(tpot_s=13 * MS)
    sim = run(np.arange(6) * 1e-6, 1, 40, rules, how).simulation.requests
    assert sim.replica.tolist() == [1, 1, 1, 0, 0, 0]
    rules, how = two_prices()
    sim = run(np.arange(6) * 1e-6, 1, 40, rules, how).simulation.requests
    assert sim.replica.tolist() == [1] * 6


def test_the_slo_router_goes_to_the_soonest_where_all_would_miss():
    rules, how = two_prices(router=Router.SLO, ttft_s=1e-9)
    sim = run([0.0, 1.0, 2.0], 1, 3, rules, how).simulation.requests
    assert sim.replica.tolist() == [0, 0, 0]
    rules, how = two_prices(router=Router.SLO)  # no limit: least loaded
    sim = run([0.0, 1e-6, 2e-6, 3e-6], 1, 30, rules, how).simulation.requests
    assert sorted(sim.replica.tolist()) == [0, 0, 1, 1]


def test_unlike_kinds_take_their_own_times_and_a_rank_is_theirs():
    rules = make_rules(ranks=2)
    kinds = (
        kind(rules, constant_table(rules), name="a"),
        kind(rules, constant_table(rules, 2 * MS_PS), name="b", replicas=2),
    )
    sim = run([0.0] * 6, 1, 10, rules, Cluster(kinds=kinds))
    requests = sim.simulation.requests
    assert requests.replica.tolist() == [0, 1, 2, 0, 1, 2]
    took = [10 * MS, 20 * MS, 20 * MS] * 2
    assert requests.e2e_s.tolist() == pytest.approx(took)
    assert sim.replicas.kind.tolist() == [0, 1, 1]
    assert sim.replicas.requests.tolist() == [2, 2, 2]


# what is refused


def test_every_mistake_is_named_at_once():
    rules = single()
    kinds = (
        kind(rules, replicas=0, weight=0.0),
        kind(make_rules(block_tokens=8), usd_per_hour=-1.0),
    )
    how = Cluster(kinds=kinds, information_age_s=-1.0, detection_s=float("inf"))
    with pytest.raises(ProblemsError) as caught:
        run_cluster(make_job([0.0], 1, 1, rules), how)
    assert len(caught.value.problems) == 7
    with pytest.raises(ProblemsError, match="there is none"):
        run_cluster(make_job([0.0], 1, 1, rules), Cluster(kinds=()))


def test_routers_have_names():
    assert router_named("least-outstanding") is Router.LEAST_OUTSTANDING
    with pytest.raises(UnknownNameError):
        router_named("leest-outstanding")


def test_trace_of_no_request_runs():
    rules = single()
    job = prepare(make_trace([], 1, 1), rules)
    assert run_cluster(job, cluster(rules)).simulation.totals.end_s == 0.0
