"""Failures, autoscaling and admission, by hand, on servers with steps of a millisecond."""

from dataclasses import replace

import numpy as np
import pytest

from tapeout.errors import ProblemsError
from tapeout.serving.cluster.types import Admission, Autoscaler, Cluster, Failure, Router
from tests.serving.cluster.builders import MS, cluster, kind, make_rules, run, single
from tests.serving.engine.builders import constant_table, proportional_table, story


def fails(**changes):
    return Failure(**{"at_s": 5.5 * MS, "until_s": 50 * MS, "replica": 0} | changes)


# failures


def test_what_was_in_flight_starts_over_when_the_failure_is_noticed():
    """Ten tokens: five are there at 5.5 ms; noticed 2 ms later; ten more steps elsewhere."""
    rules = single()
    how = cluster(rules, failures=(fails(),), detection_s=2 * MS)
    got = run([0.0], 1, 10, rules, how, log=True)
    requests = got.simulation.requests
    assert story(got.simulation) == [
        (0.0, "ADMIT", 0, 0), (1.0, "FIRST", 0, 0), (5.5, "PREEMPT", 0, 6),
        (7.5, "ADMIT", 0, 0), (17.5, "FINISH", 0, 0),
    ]  # fmt: skip
    assert requests.first_token_s[0] == pytest.approx(1 * MS)  # kept
    assert requests.last_token_s[0] == pytest.approx(17.5 * MS)
    assert requests.ttft_s[0] == pytest.approx(1 * MS)
    assert requests.replica[0] == 1
    assert got.tries.tolist() == [2]
    assert got.replicas.failures.tolist() == [1, 0]
    assert got.replicas.busy_s.tolist() == pytest.approx([5.5 * MS, 10 * MS])
    assert got.simulation.totals.discarded_tokens == 6  # five and the one under way
    assert requests.preempted_s[0] == pytest.approx(2 * MS)


def test_a_second_failure_of_a_replica_that_is_down_lasts_to_its_own_end():
    rules = single()
    both = (fails(at_s=0.5 * MS, until_s=4 * MS), fails(at_s=2 * MS, until_s=30 * MS))
    how = replace(cluster(rules, failures=both, detection_s=MS), kinds=(kind(rules, name="a"),))
    requests = run([0.0], 1, 10, rules, how).simulation.requests
    assert requests.last_token_s[0] == pytest.approx(40 * MS)  # not 14 ms


def test_first_token_counts_from_the_first_arrival_where_there_was_none():
    rules = single()
    how = cluster(rules, failures=(fails(at_s=0.5 * MS),), detection_s=2 * MS)
    requests = run([0.0], 1, 10, rules, how).simulation.requests
    assert requests.arrival_s[0] == 0.0
    assert requests.ttft_s[0] == pytest.approx(3.5 * MS)


def test_a_lost_replica_still_gets_requests_until_it_is_noticed():
    rules = single()
    how = cluster(rules, failures=(fails(at_s=0.5 * MS),), detection_s=4 * MS)
    got = run([MS, 2 * MS, 3 * MS, 4.6 * MS], 1, 1, rules, how)
    assert got.tries.tolist() == [2, 1, 2, 1]
    assert got.simulation.requests.replica.tolist() == [1, 1, 1, 1]
    # 4.5 ms: the two are sent again, one after the other
    assert got.simulation.requests.last_token_s.tolist() == pytest.approx(
        [5.5 * MS, 3 * MS, 6.5 * MS, 7.5 * MS]
    )


@pytest.mark.parametrize("router", [Router.LEAST_OUTSTANDING, Router.SLO, Router.COST])
def test_a_lost_replica_looks_as_loaded_as_it_was(router):
    """Three requests at each; a fourth goes to the one that lives, the fifth to the lost one."""
    rules = make_rules()
    how = cluster(rules, router=router, failures=(fails(at_s=10 * MS),), detection_s=1.0)
    arrival = [*(np.arange(7) * 1e-6), *(11 * MS + np.arange(3) * 1e-6)]
    got = run(arrival, 1, [50] * 10, rules, how)
    # 4 requests on the first, 3 on the second: 1 alive gets one; then in turns
    assert got.tries.tolist()[:7].count(2) == 4
    assert sorted(got.tries.tolist()[7:]) == [1, 1, 2]


def test_a_whole_kind_fails_and_comes_back_with_a_cold_cache():
    rules = single()
    kinds = (kind(rules, name="a", replicas=2), kind(rules, name="b"))
    outage = Failure(at_s=2.5 * MS, until_s=20 * MS, kind="a")
    how = Cluster(kinds=kinds, failures=(outage,), detection_s=MS)
    got = run(np.arange(30) * MS, 1, 1, rules, how)
    assert got.replicas.failures.tolist() == [1, 1, 0]
    late = got.simulation.requests.replica[4:20]
    assert set(late.tolist()) == {2}
    assert set(got.simulation.requests.replica[20:].tolist()) == {0, 1, 2}


def test_requests_wait_where_all_is_down_and_go_on_when_something_is_up():
    rules = single()
    down = tuple(fails(replica=one, at_s=0.5 * MS) for one in range(2))
    how = cluster(rules, failures=down, detection_s=MS)
    got = run([0.0, 10 * MS, 20 * MS], 1, 1, rules, how)
    requests = got.simulation.requests
    assert requests.arrival_s.tolist() == [0.0, 10 * MS, 20 * MS]
    assert requests.last_token_s.tolist() == pytest.approx([51 * MS, 51 * MS, 52 * MS])
    assert requests.rejected.tolist() == [0, 0, 0]
    assert got.tries.tolist() == [2, 1, 1]


@pytest.mark.parametrize("scaler", [None, Autoscaler(target=1.0, least=2)])
def test_a_run_ends_though_nothing_comes_back(scaler):
    rules = single()
    down = tuple(fails(replica=one, until_s=float("inf")) for one in range(2))
    how = cluster(rules, failures=down, autoscaler=scaler, detection_s=MS)
    requests = run([0.0, 10 * MS], 1, 100, rules, how).simulation.requests
    assert np.isnan(requests.last_token_s).all()


def test_a_failure_after_the_end_is_no_failure():
    rules = single()
    got = run([0.0], 1, 3, rules, cluster(rules, failures=(fails(at_s=1.0, until_s=2.0),)))
    assert got.replicas.failures.tolist() == [0, 0]


@pytest.mark.parametrize("seed", range(6))
def test_tokens_and_time_are_conserved_through_failures(seed):
    """scheduled = prompt + output - finished + discarded - hit, and Little's law."""
    rng = np.random.default_rng(seed)
    rules = make_rules(
        kv_blocks=60, prefix_cache=bool(seed % 2), async_depth=seed % 2, ranks=1 + seed % 3
    )
    count = 400
    arrival_s = np.cumsum(rng.exponential(1.2 * MS, count))
    failures = tuple(
        Failure(at_s=at, until_s=at + 0.05, replica=int(rng.integers(3)))
        for at in rng.uniform(0.0, 0.5, 8)
    )
    how = cluster(
        rules, proportional_table(rules, MS_PS_FAST), replicas=3, router=Router(seed),
        failures=failures, detection_s=3 * MS,
    )  # fmt: skip
    prompt, output = rng.integers(1, 40, count), rng.integers(1, 30, count)
    got = run(arrival_s, prompt, output, rules, how, samples_s=0.01, log=True)
    requests, totals = got.simulation.requests, got.simulation.totals
    assert np.isfinite(requests.last_token_s).all()
    assert got.tries.max() > 1
    assert totals.scheduled_tokens == (
        prompt.sum() + output.sum() - count + totals.discarded_tokens - totals.hit_tokens
    )
    sojourn = requests.last_token_s - requests.scheduled_s - requests.preempted_s
    assert float(sojourn.sum()) == pytest.approx(totals.running_s)
    assert got.replicas.requests.sum() == count
    assert (got.replicas.busy_s <= totals.end_s).all()
    line = got.simulation.timeline
    assert line.running[-1] == 0
    assert line.waiting[-1] == 0
    assert line.blocks[-1] == 0
    assert line.running.max() > 0
    assert np.all(np.diff(got.simulation.log.time_ps) >= 0)


MS_PS_FAST = 100_000_000


# autoscaling


def scaler(**changes):
    figures = {"target": 2.0, "least": 1, "interval_s": 10 * MS, "startup_s": 20 * MS}
    return Autoscaler(**figures | {"stable_s": 30 * MS} | changes)


def test_replicas_are_ordered_started_drained_and_paid():
    """Four requests at 1 ms want two replicas: ordered at the tick of 10 ms, up at 30 ms.

    The four end at 101 ms or before; a request at 300 ms keeps the run going. From the tick after
    the load falls fewer suffice; 30 ms later the second one stops.
    """
    rules = make_rules()
    how = cluster(rules, autoscaler=scaler(), router=Router.LEAST_OUTSTANDING)
    got = run([MS] * 4 + [31 * MS, 300 * MS], 1, [100] * 4 + [20, 1], rules, how)
    assert got.simulation.requests.replica.tolist() == [0, 0, 0, 0, 1, 0]
    assert got.replicas.starts.tolist() == [1, 1]
    # five outstanding till 51 ms, four till 101 ms: two wanted; one from the tick of 110 ms on,
    # the last at which two were wanted being that of 100 ms; so stopped at 130 ms
    assert got.replicas.paid_s.tolist() == pytest.approx([301 * MS, 120 * MS])


def test_a_replica_that_stops_serves_what_it_has():
    rules = make_rules()
    how = cluster(
        rules, router=Router.ROUND_ROBIN, autoscaler=scaler(target=4.0, startup_s=0.0, stable_s=0.0)
    )
    got = run([MS] * 5 + [15 * MS, 16 * MS, 17 * MS], 1, [12] * 5 + [90, 90, 1], rules, how)
    requests = got.simulation.requests
    assert requests.replica.tolist() == [0, 0, 0, 0, 0, 1, 0, 1]
    # ordered at 10 ms; at 20 ms two are left, so it drains until its end at 105 ms
    assert requests.last_token_s[5] == pytest.approx(105 * MS)
    assert got.replicas.paid_s[1] == pytest.approx(95 * MS)


def test_a_replica_that_comes_again_has_a_cold_cache():
    from tests.serving.engine.builders import make_prefixes  # noqa: PLC0415

    rules = make_rules(prefix_cache=True, max_sequences=2)
    quick = scaler(target=1.0, startup_s=0.0, stable_s=0.0)
    prefixes = make_prefixes([list(range(8))] * 6, 4)
    arrival = [MS, 2 * MS, 11 * MS, 200 * MS, 201 * MS, 211 * MS]
    how = cluster(rules, autoscaler=quick)
    got = run(arrival, 32, [30, 30, 5, 30, 30, 5], rules, how, prefixes=prefixes)
    requests = got.simulation.requests
    second = np.flatnonzero(requests.replica == 1)
    assert second.size >= 2
    assert got.replicas.starts[1] == 2
    assert requests.hit_tokens[second].tolist() == [0] * second.size
    assert requests.hit_tokens[3] == 28


@pytest.mark.parametrize("failed", [0, 1])
def test_a_failure_nobody_has_noticed_does_not_cost_the_last_replica_that_works(failed):
    """Two serve at 10 ms, one is enough from 31 ms on; one fails unnoticed before one stops at 60.

    Had the working one stopped, nothing would be served before the failure is noticed at 5 s.
    """
    rules = make_rules()
    how = cluster(
        rules, autoscaler=scaler(startup_s=0.0), failures=(
            Failure(at_s=45 * MS, until_s=9.0, replica=failed),
        ),
    )  # fmt: skip
    got = run([MS] * 4 + [70 * MS, 71 * MS], 1, [30] * 4 + [5] * 2, rules, how)
    later = got.simulation.requests
    assert later.replica[4:].tolist() == [1 - failed] * 2
    assert later.last_token_s[4:].min() == pytest.approx(76 * MS, abs=1.1 * MS)
    lost_paid = 9.0 if failed == 0 else 50 * MS  # the last one is stopped in its turn, at 60 ms
    assert got.replicas.paid_s[failed] <= lost_paid
    assert got.replicas.failures[failed] == 1


def test_idle_power_counts_while_a_replica_is_paid():
    rules = make_rules()
    table = constant_table(rules, shared_j=np.zeros(1), idle_w=100.0)
    how = cluster(rules, table, replicas=5, autoscaler=scaler())
    got = run([0.0, 0.1], 1, 1, rules, how)
    paid, busy = got.replicas.paid_s, got.replicas.busy_s
    assert paid[1:].tolist() == [0.0] * 4
    assert got.simulation.totals.energy_j == pytest.approx(100.0 * (paid - busy).sum())


def test_an_order_from_a_supplier_that_is_down_is_not_filled():
    rules = make_rules()
    kinds = (kind(rules, name="a"), kind(rules, name="b"))
    outage = Failure(at_s=0.0, until_s=80 * MS, kind="b")
    how = Cluster(kinds=kinds, autoscaler=scaler(startup_s=0.0), failures=(outage,))
    got = run([MS] * 8 + [75 * MS, 85 * MS, 95 * MS], 1, [200] * 11, rules, how)
    assert got.simulation.requests.replica[:9].max() == 0
    assert got.replicas.starts.tolist() == [1, 1]
    # three are left from 201 ms, two from 285 ms: fewer suffice after the tick of 280 ms
    assert got.replicas.paid_s[1] == pytest.approx(310 * MS - 80 * MS)


# admission


def test_refused_requests_come_again_after_waits_that_double_and_are_dropped():
    """One server, one request at most; it is busy for 10 ms. Tries at 0, 2, 6 and 14 ms."""
    rules = single()
    how = cluster(
        rules, replicas=1, admission=Admission(most_outstanding=1, retries=3, backoff_s=2 * MS)
    )
    got = run([0.0, 0.0], 1, [10, 1], rules, how)
    assert got.tries.tolist() == [1, 4]
    assert got.simulation.requests.last_token_s.tolist() == pytest.approx([10 * MS, 15 * MS])
    assert got.simulation.requests.ttft_s[1] == pytest.approx(15 * MS)
    fewer = replace(how, admission=Admission(most_outstanding=1, retries=2, backoff_s=2 * MS))
    got = run([0.0, 0.0], 1, [10, 1], rules, fewer)
    assert got.simulation.requests.rejected.tolist() == [0, 1]
    assert np.isnan(got.simulation.requests.last_token_s[1])
    assert got.tries.tolist() == [1, 3]


def test_a_closed_loop_goes_on_after_a_drop():
    rules = single()
    how = cluster(rules, replicas=1, admission=Admission(most_outstanding=1))
    got = run(np.zeros(6), 1, 10, rules, how, in_flight=2).simulation.requests
    assert got.rejected.sum() == 5
    assert np.isfinite(got.last_token_s).sum() == 1


def test_a_request_sent_again_after_a_failure_may_be_refused_as_often_as_any():
    rules = single()
    how = cluster(
        rules, failures=(fails(),), detection_s=2 * MS,
        admission=Admission(most_outstanding=1, retries=1, backoff_s=20 * MS),
    )  # fmt: skip
    got = run([0.0, 0.0], 1, [10, 20], rules, how)
    assert got.simulation.requests.rejected.tolist() == [0, 0]
    assert got.tries.tolist() == [3, 1]
    assert got.simulation.requests.last_token_s[0] == pytest.approx(37.5 * MS)


# what is refused


def test_mistakes_in_events_are_named():
    rules = single()
    how = cluster(
        rules,
        failures=(fails(replica=9), fails(replica=-1, kind="none"), fails(until_s=0.0)),
        admission=Admission(most_outstanding=0, retries=99),
        autoscaler=scaler(target=0.0, least=3, interval_s=0.0),
    )
    with pytest.raises(ProblemsError) as caught:
        run([0.0], 1, 1, rules, how)
    assert len(caught.value.problems) == 8
