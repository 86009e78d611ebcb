"""Prefill and decode on pools of their own."""

import itertools
from dataclasses import replace

import numpy as np
import pytest

from tapeout.errors import InfeasibleError
from tapeout.serving.engine.disaggregated import Pool, Split, Watch, run_disaggregated
from tapeout.serving.engine.handover import Link, Wire, assigned
from tapeout.serving.engine.types import Event
from tests.serving.engine.builders import constant_table, make_rules, make_trace

MS = 1e-3
LINK = Link(token_s=MS, latency_s=2 * MS)


def split_of(link=LINK, *, prefill=1, decode=1, rules=None, **more):
    rules = rules or make_rules()
    pool = Pool(rules=rules, table=constant_table(rules), replicas=1)
    return Split(
        prefill=replace(pool, replicas=prefill),
        decode=replace(pool, replicas=decode),
        link=link,
        **more,
    )


def first_and_last_ms(trace, split):
    found = run_disaggregated(trace, split).simulation.requests
    return found.first_token_s / MS, found.last_token_s / MS


def test_ttft_is_queue_prefill_transfer_queue_and_a_step():
    # prompt: 0 to 1 ms; 8 tokens move to 9 ms, known at 11 ms; steps end at 12, 13, 14 ms
    first, last = first_and_last_ms(make_trace([0.0], 8, 3), split_of())
    assert first == pytest.approx([12.0])
    assert last == pytest.approx([14.0])


def test_a_streamed_first_token_comes_from_the_prefill_replica():
    first, last = first_and_last_ms(make_trace([0.0], 8, 3), split_of(stream_first=True))
    assert first == pytest.approx([1.0])
    assert last == pytest.approx([13.0])


def test_a_streamed_answer_of_one_token_never_moves():
    run = run_disaggregated(make_trace([0.0], 8, 1), split_of(stream_first=True))
    assert run.simulation.requests.last_token_s / MS == pytest.approx([1.0])
    assert np.isnan(run.transfers.end_s).all()


def test_layers_that_leave_early_hide_all_but_the_last():
    rules = make_rules(token_budget=4)  # the prompt takes two steps, 0 to 2 ms
    slow = Link(token_s=MS, latency_s=0.0, layers=4, layered=True)
    quick = replace(slow, token_s=0.1 * MS)
    ends = []
    for link in (slow, quick, replace(quick, layered=False)):
        run = run_disaggregated(make_trace([0.0], 8, 2), split_of(link, rules=rules))
        ends.append(float(run.transfers.end_s[0]) / MS)
    # slow: begun at 0.5 ms, 8 ms long; quick: the last of four layers, 0.2 ms, after 2 ms
    assert ends == pytest.approx([8.5, 2.2, 2.8])


def test_a_link_carries_one_transfer_after_another():
    trace = make_trace([0.0, 0.0], 8, 2)
    one = run_disaggregated(trace, split_of()).transfers
    assert one.start_s / MS == pytest.approx([1.0, 9.0])
    both = run_disaggregated(trace, split_of(prefill=2, decode=2, least_loaded=False)).transfers
    assert both.start_s / MS == pytest.approx([1.0, 1.0])
    shared = run_disaggregated(trace, split_of(prefill=2, least_loaded=False)).transfers
    assert shared.start_s / MS == pytest.approx([1.0, 9.0])


def test_ranks_of_a_replica_have_links_of_their_own():
    wire = Wire(link=Link(token_s=MS, latency_s=0.0), ranks=(2, 2))
    assert wire.send(0, 0, 8, (0.0, 0.0)) == pytest.approx((0.0, 8 * MS))
    assert wire.send(0, 0, 8, (0.0, 0.0)) == pytest.approx((4 * MS, 12 * MS))


@pytest.mark.parametrize("stream_first", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_tokens_are_conserved(seed, stream_first):
    rng = np.random.default_rng(seed)
    count = 60
    rules = make_rules(kv_blocks=40)
    trace = make_trace(
        np.sort(rng.uniform(0.0, 0.2, count)),
        rng.integers(1, 60, count),
        rng.integers(1, 20, count),
    )
    split = split_of(
        Link(token_s=1e-5), prefill=2, decode=2, rules=rules, stream_first=stream_first
    )
    found = run_disaggregated(trace, split).simulation
    table, totals = found.requests, found.totals
    expected = int(trace.input_tokens.sum() + trace.output_tokens.sum())
    # without a streamed token the decode side computes the last prompt token once more
    expected -= count if stream_first else 0
    assert totals.scheduled_tokens == expected + totals.discarded_tokens - totals.hit_tokens
    assert totals.preemptions == table.preemptions.sum()
    order = (table.arrival_s, table.scheduled_s, table.first_token_s, table.last_token_s)
    for early, late in itertools.pairwise(order):
        assert (early <= late + 1e-12).all()
    assert totals.energy_j == pytest.approx(table.energy_j.sum())
    moved = table.output_tokens > (1 if stream_first else 0)
    assert (table.replica[moved] >= 2).all()
    assert (table.replica[~moved] < 2).all()


def test_what_waits_for_the_link_is_taken_off_the_cache_of_the_prefill_pool():
    rules = make_rules(kv_blocks=16)
    trace = make_trace(np.arange(40) * MS, 32, 2)
    slow = run_disaggregated(trace, split_of(Link(token_s=0.1 * MS), rules=rules))
    quick = run_disaggregated(trace, split_of(Link(token_s=0.0, latency_s=0.0), rules=rules))
    assert slow.transfers.pinned_blocks > quick.transfers.pinned_blocks
    assert quick.transfers.pinned_blocks == 0.0


def test_a_faster_prefill_chip_shortens_the_first_token_and_not_the_others():
    rules, trace = make_rules(), make_trace(np.arange(20) * 5 * MS, 64, 4)
    slow = split_of(Link(token_s=0.0, latency_s=0.0), rules=rules)
    quick = replace(slow, prefill=replace(slow.prefill, table=constant_table(rules, step_ps=10**8)))
    runs = [run_disaggregated(trace, one).simulation.requests for one in (slow, quick)]
    assert (runs[1].ttft_s < runs[0].ttft_s - 0.5 * MS).all()
    gaps = [run.last_token_s - run.first_token_s for run in runs]
    assert gaps[0] == pytest.approx(gaps[1], abs=1e-9)


def test_the_log_has_one_first_and_one_last_token_a_request():
    trace = make_trace([0.0, 0.0, 0.0], 8, [1, 2, 3])
    for early in (False, True):
        split = split_of(stream_first=early)
        log = run_disaggregated(trace, split, watch=Watch(log=True, samples_s=MS)).simulation.log
        for kind in (Event.ADMIT, Event.FIRST, Event.FINISH):
            assert sorted(log.request[log.kind == kind].tolist()) == [0, 1, 2]
        assert (np.diff(log.time_ps) >= 0).all()


def test_a_request_that_one_pool_cannot_hold_goes_to_neither():
    rules = make_rules(kv_blocks=4)
    found = run_disaggregated(make_trace([0.0, 0.0], 8, [2, 60]), split_of(rules=rules)).simulation
    assert found.requests.rejected.tolist() == [0, 1]
    assert np.isnan(found.requests.first_token_s[1])
    assert np.isfinite(found.requests.first_token_s[0])


def test_least_loaded_replicas_are_chosen_in_order_of_time():
    ready, work = np.array([0.0, 0.1, 0.2, 0.3, 5.0]), np.array([4.0, 4.0, 4.0, 0.1, 1.0])
    for serial, last in ((True, 1), (False, 0)):
        found = assigned(ready, work, 2, least=True, serial=serial)
        assert found[:4].tolist() == [0, 1, 0, 1]
        assert found[4] == last  # in a queue the third still runs, behind the first
    assert assigned(ready, work, 3, least=False, serial=True).tolist() == [0, 1, 2, 0, 1]


def test_turns_and_empty_pools_are_refused():
    trace = make_trace([0.0, 0.0], 8, 2, parent=np.array([-1, 0]), think_s=np.zeros(2))
    with pytest.raises(InfeasibleError, match="turns"):
        run_disaggregated(trace, split_of())
    with pytest.raises(InfeasibleError, match="replica"):
        run_disaggregated(make_trace([0.0], 8, 2), split_of(decode=0))
