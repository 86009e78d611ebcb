"""Small runs by hand: every step takes 1 ms and blocks hold 4 tokens unless a test says so."""

import numpy as np
import pytest

from tapeout.serving.engine.arrivals import REFRESH_PS, Balancer
from tapeout.serving.engine.blocks import BlockPool
from tapeout.serving.engine.drafts import accepted_drafts
from tapeout.serving.engine.job import Front
from tapeout.serving.engine.policies import Limits, Orca, Sarathi, StaticBatching, VllmV0
from tapeout.serving.engine.types import Allocation, Order
from tests.serving.engine.builders import (
    MS_PS,
    RUNNERS,
    constant_table,
    make_job,
    make_prefixes,
    make_rules,
    proportional_table,
    story,
)

MS = 1e-3
pytestmark = pytest.mark.parametrize("run", RUNNERS)


def played(run, rules, job, table=None):
    return run(job, rules, constant_table(rules) if table is None else table, log=True)


def of(sim, *events):
    """Time, request and value of some kinds of event."""
    return [(ms, event, who, value) for ms, event, who, value in story(sim) if event in events]


# chunks


def test_a_long_prompt_is_split_over_steps(run):
    rules = make_rules(token_budget=8)
    sim = played(run, rules, make_job([0.0], 20, 2, rules))
    assert story(sim) == [
        (0, "ADMIT", 0, 0),
        (3, "FIRST", 0, 0),
        (4, "FINISH", 0, 0),
    ]  # fmt: skip
    assert sim.totals.steps == 4
    assert sim.totals.scheduled_tokens == 21


def test_what_a_prompt_leaves_of_the_budget_goes_to_the_next(run):
    rules = make_rules(token_budget=8)
    sim = played(run, rules, make_job([0.0, 0.0], [12, 6], [2, 1], rules))
    assert story(sim) == [
        (0, "ADMIT", 0, 0),
        (1, "ADMIT", 1, 0),
        (2, "FIRST", 0, 0),
        (3, "FINISH", 0, 0),
        (3, "FIRST", 1, 0),
        (3, "FINISH", 1, 0),
    ]


def test_a_prompt_that_may_not_be_split_waits_and_nobody_passes_it(run):
    rules = make_rules(token_budget=8, chunked=False)
    sim = played(run, rules, make_job([0.0, 0.0, 0.0], [5, 6, 1], [2, 1, 1], rules))
    assert of(sim, "ADMIT") == [(0, "ADMIT", 0, 0), (1, "ADMIT", 1, 0), (1, "ADMIT", 2, 0)]


def test_a_threshold_caps_the_chunk_of_one_prompt(run):
    rules = make_rules(longest_chunk=5)
    sim = played(run, rules, make_job([0.0], 20, 1, rules))
    assert of(sim, "FIRST") == [(4, "FIRST", 0, 0)]


def test_no_more_sequences_run_than_may(run):
    rules = make_rules(max_sequences=2)
    sim = played(run, rules, make_job([0.0] * 3, 1, [3, 2, 1], rules))
    assert of(sim, "ADMIT")[2] == (2, "ADMIT", 2, 0)
    assert sim.totals.peak_running == 2


# blocks


PAIR = {"prompt": [4, 4], "output": [8, 8]}


def test_the_last_admitted_is_preempted_and_recomputes_prompt_and_output(run):
    """Four blocks for two requests of three: at 5 ms the first needs its third block."""
    rules = make_rules(kv_blocks=4)
    sim = played(run, rules, make_job([0.0, 0.0], rules=rules, **PAIR))
    assert story(sim) == [
        (0, "ADMIT", 0, 0),
        (0, "ADMIT", 1, 0),
        (1, "FIRST", 0, 0),
        (1, "FIRST", 1, 0),
        (5, "PREEMPT", 1, 8),
        (8, "FINISH", 0, 0),
        (8, "ADMIT", 1, 0),  # 4 + 5 tokens at once
        (11, "FINISH", 1, 0),
    ]
    assert sim.requests.preempted_s[1] == pytest.approx(3 * MS)
    assert sim.requests.preemptions.tolist() == [0, 1]
    assert sim.requests.first_token_s[1] == pytest.approx(1 * MS)
    assert sim.requests.scheduled_s[1] == 0.0
    assert sim.totals.discarded_tokens == 8
    assert sim.totals.scheduled_tokens == 11 + 8 + 11
    assert sim.totals.peak_blocks == 4


def test_a_preempted_request_finds_the_blocks_that_nobody_took(run):
    """Its second block went to the other request, since tails are freed first."""
    rules = make_rules(kv_blocks=4, prefix_cache=True)
    sim = played(run, rules, make_job([0.0, 0.0], rules=rules, **PAIR))
    assert of(sim, "ADMIT")[-1] == (8, "ADMIT", 1, 4)
    assert sim.requests.hit_tokens.tolist() == [0, 0]  # of first admissions
    assert sim.totals.hit_tokens == 4


def test_a_preempted_request_waits_before_those_that_never_ran(run):
    """From 5 ms on there is room for the third request, but not for the one before it."""
    rules = make_rules(kv_blocks=4)
    sim = played(run, rules, make_job([0.0, 0.0, 4.5 * MS], [4, 4, 1], [8, 8, 1], rules))
    assert of(sim, "ADMIT")[2:] == [(8, "ADMIT", 1, 0), (8, "ADMIT", 2, 0)]


def test_nobody_is_admitted_in_a_step_that_preempted(run):
    """At 5 ms a chunk of the victim would fit into the block that is left; it comes at 6 ms."""
    rules = make_rules(kv_blocks=4, longest_chunk=4, reserve_prompt=False)
    sim = played(run, rules, make_job([0.0, 0.0], rules=rules, **PAIR))
    assert story(sim)[4:] == [
        (5, "PREEMPT", 1, 8),
        (6, "ADMIT", 1, 0),
        (7, "PREEMPT", 1, 4),
        (8, "FINISH", 0, 0),
        (8, "ADMIT", 1, 0),
        (13, "FINISH", 1, 0),
    ]


@pytest.mark.parametrize(("reserve", "admitted_ms"), [(True, 9), (False, 0)])
def test_a_reserved_prompt_waits_until_all_of_it_fits(run, reserve, admitted_ms):
    rules = make_rules(kv_blocks=4, token_budget=8, reserve_prompt=reserve)
    sim = played(run, rules, make_job([0.0, 0.0], [4, 13], [9, 1], rules))
    assert of(sim, "ADMIT")[1] == (admitted_ms, "ADMIT", 1, 0)


@pytest.mark.parametrize(("watermark", "admitted_ms"), [(1, 0), (2, 4), (3, 4)])
def test_a_watermark_holds_only_while_something_runs(run, watermark, admitted_ms):
    rules = make_rules(kv_blocks=4, watermark_blocks=watermark)
    sim = played(run, rules, make_job([0.0, 0.0], [4, 8], [4, 1], rules))
    assert of(sim, "ADMIT")[1] == (admitted_ms, "ADMIT", 1, 0)


@pytest.mark.parametrize(
    ("allocation", "blocks"), [(Allocation.LAZY, 1), (Allocation.PROMPT, 3), (Allocation.WHOLE, 4)]
)
def test_an_allocation_takes_blocks_for_the_chunk_the_prompt_or_the_whole(run, allocation, blocks):
    rules = make_rules(token_budget=4, allocation=allocation)
    job = make_job([0.0], 10, 6, rules)
    sim = run(job, rules, constant_table(rules), samples_s=0.5 * MS)
    assert sim.timeline.blocks[0] == blocks


def test_a_request_is_rejected_where_its_keys_never_fit(run):
    rules = make_rules(kv_blocks=4, chunked=False, token_budget=14)
    sim = played(run, rules, make_job([0.0] * 4, [14, 10, 14, 8], [1, 8, 2, 9], rules))
    assert sim.requests.rejected.tolist() == [0, 1, 1, 1]
    assert np.isnan(sim.requests.scheduled_s[1:]).all()
    assert np.isnan(sim.requests.last_token_s[1:]).all()
    assert {who for _, _, who, _ in story(sim)} == {0}


# prefix cache


@pytest.mark.parametrize(
    ("prompt", "ids", "hit"),
    [
        (9, [0, 1], 8),
        (8, [0, 1], 4),  # a full hit computes its last block again
        (9, [0, 2], 4),
        (9, [2, 3], 0),
        (13, [0, 1, 4], 8),
    ],
)
@pytest.mark.parametrize("arrival_s", [0.0, 5 * MS])
def test_leading_blocks_are_found_even_in_the_same_step(run, prompt, ids, hit, arrival_s):
    rules = make_rules(prefix_cache=True)
    prefixes = make_prefixes([[0, 1], ids], 4)
    job = make_job([0.0, arrival_s], [9, prompt], [2, 1], rules, prefixes=prefixes)
    sim = played(run, rules, job)
    assert sim.requests.hit_tokens.tolist() == [0, hit]


@pytest.mark.parametrize(("ids", "hit"), [([0, 1], 4), ([2, 3], 8)])
def test_what_was_freed_longest_ago_is_lost_first_and_tails_before_heads(run, ids, hit):
    """Of four blocks the third request takes one: the last block of the first request."""
    rules = make_rules(kv_blocks=4, prefix_cache=True)
    prefixes = make_prefixes([[0, 1], [2, 3], [4], ids], 4)
    job = make_job([0.0, 2 * MS, 4 * MS, 6 * MS], [8, 8, 4, 9], 1, rules, prefixes=prefixes)
    sim = played(run, rules, job)
    assert sim.requests.hit_tokens.tolist() == [0, 0, 0, hit]


def test_hit_blocks_that_nobody_holds_count_as_needed(run):
    """Five blocks, three held: two hit blocks and a new one are one too many until 5 ms."""
    rules = make_rules(kv_blocks=5, prefix_cache=True)
    prefixes = make_prefixes([[0, 1], [2, 3, 4], [0, 1]], 4)
    job = make_job([0.0, 1 * MS, 2 * MS], [8, 12, 9], [1, 1, 1], rules, prefixes=prefixes)
    sim = played(run, rules, job)
    assert of(sim, "ADMIT")[2] == (2, "ADMIT", 2, 8)
    job = make_job([0.0, 1 * MS, 2 * MS], [8, 9, 9], [1, 4, 1], rules, prefixes=prefixes)
    sim = played(run, rules, job)
    assert of(sim, "ADMIT")[2] == (5, "ADMIT", 2, 8)


def test_generated_tokens_are_found_by_nobody_else(run):
    rules = make_rules(prefix_cache=True)
    job = make_job([0.0, 20 * MS], [4, 13], [10, 1], rules, prefixes=make_prefixes([[0], [0]], 4))
    assert played(run, rules, job).requests.hit_tokens.tolist() == [0, 4]


def test_keys_that_come_with_a_request_are_not_computed(run):
    rules = make_rules(prefix_cache=True)
    job = make_job([0.0], 10, 2, rules, loaded=np.array([9]))
    sim = played(run, rules, job)
    assert story(sim)[0] == (0, "ADMIT", 0, 9)
    assert sim.totals.scheduled_tokens == 2


# one identity in several blocks


def test_the_block_registered_first_is_found_and_only_the_one_taken_is_forgotten(run):
    del run  # parts of the reference
    pool = BlockPool(3)
    first, second = pool.take(2)
    pool.register(first, 7)
    pool.register(second, 7)
    assert pool.find(7) == first
    pool.release([second, first])  # queue: 2, first, second
    assert pool.take(2) == [2, first]
    assert pool.find(7) == second
    pool.hold([second])
    assert pool.free == 0


# asynchronous scheduling


@pytest.mark.parametrize(("depth", "first_ms"), [(0, 2), (1, 3)])
def test_an_arrival_during_a_step_enters_the_second_step_after_it_where_two_are_queued(
    run, depth, first_ms
):
    rules = make_rules(async_depth=depth)
    sim = played(run, rules, make_job([0.0, 0.5 * MS], 1, [10, 1], rules))
    assert of(sim, "ADMIT")[1] == (1, "ADMIT", 1, 0)
    assert sim.requests.first_token_s[1] == pytest.approx(first_ms * MS)
    assert sim.requests.last_token_s[0] == pytest.approx(10 * MS)


def test_the_place_of_a_finisher_is_free_a_step_later(run):
    """At 1 ms the last token of the first request is scheduled, but it has not ended."""
    rules = make_rules(async_depth=1, max_sequences=1)
    sim = played(run, rules, make_job([0.0, 0.0], 1, 2, rules))
    assert of(sim, "FINISH", "ADMIT") == [
        (0, "ADMIT", 0, 0),
        (2, "FINISH", 0, 0),
        (2, "ADMIT", 1, 0),
        (4, "FINISH", 1, 0),
    ]


def test_a_preempted_request_gets_the_token_that_was_on_its_way(run):
    """Decided at 4 ms for the step from 5 ms: the victim's token of the step before it comes."""
    rules = make_rules(kv_blocks=4, async_depth=1)
    sim = played(run, rules, make_job([0.0, 0.0], rules=rules, **PAIR))
    assert story(sim)[4:] == [
        (4, "PREEMPT", 1, 8),
        (8, "FINISH", 0, 0),
        (8, "ADMIT", 1, 0),
        (11, "FINISH", 1, 0),
    ]


# drafts


@pytest.mark.parametrize(
    ("acceptance", "last_ms"), [((1.0, 1.0), 3), ((1.0, 0.0), 4), ((0.0, 1.0), 7)]
)
def test_accepted_drafts_come_in_one_step_up_to_the_first_refusal(run, acceptance, last_ms):
    rules = make_rules(drafts=2, acceptance=acceptance)
    sim = played(run, rules, make_job([0.0], 1, 7, rules))
    assert sim.requests.last_token_s[0] == pytest.approx(last_ms * MS)
    assert sim.totals.scheduled_tokens == 7  # keys of refused drafts do not count


def test_drafts_cost_tokens_and_none_are_made_beyond_the_last_token(run):
    """One token, then two of which one is refused, then one."""
    rules = make_rules(drafts=2, acceptance=(0.0, 0.0))
    sim = played(run, rules, make_job([0.0], 1, 3, rules), proportional_table(rules))
    assert sim.totals.end_s == pytest.approx(4 * MS)


def test_drafts_that_do_not_fit_into_the_budget_are_not_made(run):
    rules = make_rules(drafts=3, acceptance=(1.0, 1.0, 1.0), token_budget=2)
    sim = played(run, rules, make_job([0.0], 1, 5, rules))
    assert sim.totals.steps == 3


def test_draws_are_those_of_splitmix(run):
    """SplitMix64 from seed 0 begins with e220a8397b1dcdaf (0.883), 6e789e6aa1b965f4 (0.432)."""
    del run
    for acceptance, accepted in [((0.88, 1.0), 0), ((0.89, 0.43), 1), ((0.89, 0.44), 2)]:
        rules = make_rules(drafts=2, acceptance=acceptance)
        assert accepted_drafts(0, 0, 2, rules) == accepted


def test_drafts_bring_the_mean_of_a_truncated_geometric_law(run):
    """(1 - a^(k+1)) / (1 - a) tokens a step; the last steps of a request have fewer drafts."""
    a, k, output = 0.7, 3, 4001
    rules = make_rules(drafts=k, acceptance=(a,) * k, kv_blocks=5000)
    sim = played(run, rules, make_job([0.0] * 4, 1, output, rules))
    steps = sum(sim.requests.last_token_s - sim.requests.first_token_s) / MS
    mean = (1 - a ** (k + 1)) / (1 - a)
    spread = np.sqrt(sum((2 * i - 1) * a ** (i - 1) for i in range(1, k + 2)) - mean**2)
    assert 4 * (output - 1) / steps == pytest.approx(mean, abs=4 * spread / np.sqrt(steps))


# ranks


def test_ranks_wait_for_the_slowest_and_share_the_rest(run):
    rules = make_rules(ranks=2, max_sequences=1)
    shared = np.arange(2 * rules.token_budget + 1, dtype=np.int64) * 100 * MS_PS
    job = make_job([0.0, 0.0], [10, 2], [2, 1], rules)
    sim = played(run, rules, job, proportional_table(rules, shared_ps=shared))
    assert story(sim) == [
        (0, "ADMIT", 0, 0),
        (0, "ADMIT", 1, 0),
        (10 + 1200, "FIRST", 0, 0),
        (10 + 1200, "FIRST", 1, 0),
        (10 + 1200, "FINISH", 1, 0),
        (10 + 1200 + 1 + 100, "FINISH", 0, 0),
    ]


def test_requests_spread_over_ranks(run):
    """Six requests at once on three ranks of one place each: three at once, then three more."""
    rules = make_rules(ranks=3, max_sequences=1)
    sim = played(run, rules, make_job([0.0] * 6, 1, 2, rules))
    assert [ms for ms, *_ in of(sim, "ADMIT")] == [0, 0, 0, 2, 2, 2]


def test_a_balancer_knows_what_was_at_the_last_refresh_and_what_it_sent_since(run):
    del run
    balancer = Balancer(2)
    assert [balancer.choose() for _ in range(4)] == [0, 1, 0, 1]
    balancer.refresh(REFRESH_PS - 1, [(0, 0), (9, 9)])
    assert balancer.choose() == 0
    balancer.refresh(REFRESH_PS, [(0, 5), (1, 0)])
    assert [balancer.choose(), balancer.choose()] == [1, 0]


def test_a_stale_count_sends_a_request_behind_a_long_queue(run):
    """Two long requests go to rank 0 and 1; the short one of rank 1 has ended, but nobody knows.

    At 50 ms the counts are those of 0 ms plus what was sent since, so rank 0, which is still busy,
    is as good as the idle rank 1; at 150 ms they are known.
    """
    rules = make_rules(ranks=2, max_sequences=1)
    for arrival_s, waits in [(0.05, True), (0.15, False)]:
        job = make_job([0.0, 0.0, arrival_s], 1, [300, 2, 1], rules)
        sim = played(run, rules, job)
        assert bool(sim.requests.queue_s[2] > 0.1) is waits


# other orders


def test_v0_stalls_decodes_while_a_prompt_runs(run):
    rules = VllmV0().rules(Limits(token_budget=64, max_sequences=8, kv_blocks=100, block_tokens=4))
    sim = played(run, rules, make_job([0.0, 0.5 * MS], 4, [5, 2], rules))
    assert of(sim, "FIRST", "FINISH") == [
        (1, "FIRST", 0, 0),
        (2, "FIRST", 1, 0),
        (3, "FINISH", 1, 0),
        (6, "FINISH", 0, 0),
    ]


def test_v1_does_not_stall_them(run):
    rules = make_rules()
    sim = played(run, rules, make_job([0.0, 0.5 * MS], 4, [5, 2], rules))
    assert of(sim, "FINISH")[-1] == (5, "FINISH", 0, 0)


@pytest.mark.parametrize(
    ("order", "finished"), [(Order.LIST, [3, 4]), (Order.DECODE_FIRST, [4, 2])]
)
def test_decodes_come_before_prompts_that_were_begun(run, order, finished):
    """Of four tokens a chunk takes three; a decode with two drafts wants three."""
    rules = make_rules(
        token_budget=4, longest_chunk=3, order=order, drafts=2, acceptance=(1.0, 1.0)
    )
    sim = played(run, rules, make_job([0.0, 0.0], [9, 1], [1, 4], rules))
    assert sim.requests.last_token_s == pytest.approx(np.array(finished) * MS)


def test_a_victim_loses_its_place_in_the_same_step(run):
    """At 2 ms the decode has its token when the prompt, admitted before it, wants its block."""
    rules = make_rules(kv_blocks=3, longest_chunk=4, reserve_prompt=False, order=Order.DECODE_FIRST)
    sim = played(run, rules, make_job([0.0, 0.0], [12, 1], [1, 8], rules))
    assert story(sim) == [
        (0, "ADMIT", 0, 0),
        (0, "ADMIT", 1, 0),
        (1, "FIRST", 1, 0),
        (2, "PREEMPT", 1, 2),
        (3, "FIRST", 0, 0),
        (3, "FINISH", 0, 0),
        (3, "ADMIT", 1, 0),
        (9, "FINISH", 1, 0),
    ]
    assert sim.totals.scheduled_tokens == 12 + 2 + 8
    assert sim.totals.discarded_tokens == 2


def test_keys_of_a_lost_place_are_not_found(run):
    """The decode fills its block at 3 ms, in the step in which it is preempted."""
    rules = make_rules(
        kv_blocks=4, longest_chunk=4, reserve_prompt=False, order=Order.DECODE_FIRST,
        prefix_cache=True,
    )  # fmt: skip
    sim = played(run, rules, make_job([0.0, 0.0], [16, 1], [1, 8], rules))
    assert of(sim, "PREEMPT", "ADMIT")[2:] == [(3, "PREEMPT", 1, 3), (4, "ADMIT", 1, 0)]


def test_a_prompt_has_its_turn_though_a_decode_had_to_go(run):
    """At 1 ms the decode wants a block and has to go itself; that ends the turn of decodes only."""
    rules = make_rules(kv_blocks=2, longest_chunk=4, reserve_prompt=False, order=Order.DECODE_FIRST)
    sim = played(run, rules, make_job([0.0, 0.0], [8, 4], [1, 5], rules))
    assert story(sim) == [
        (0, "ADMIT", 0, 0),
        (0, "ADMIT", 1, 0),
        (1, "FIRST", 1, 0),
        (1, "PREEMPT", 1, 4),
        (2, "FIRST", 0, 0),
        (2, "FINISH", 0, 0),
        (2, "ADMIT", 1, 0),
        (7, "FINISH", 1, 0),
    ]


def test_sarathi_takes_the_blocks_of_a_prompt_at_once(run):
    rules = Sarathi().rules(Limits(token_budget=4, max_sequences=8, kv_blocks=100, block_tokens=4))
    job = make_job([0.0], 12, 1, rules)
    sim = run(job, rules, constant_table(rules), samples_s=0.5 * MS)
    assert sim.timeline.blocks[0] == 3


def test_orca_reserves_the_longest_output_and_never_preempts(run):
    rules = Orca().rules(Limits(token_budget=64, max_sequences=8, kv_blocks=4, block_tokens=4))
    sim = played(run, rules, make_job([0.0, 0.0], 4, [9, 2], rules))
    assert of(sim, "ADMIT")[1] == (9, "ADMIT", 1, 0)
    assert sim.totals.preemptions == 0


def test_a_static_batch_is_served_to_its_end(run):
    limits = Limits(token_budget=64, max_sequences=8, kv_blocks=100, block_tokens=4)
    rules = StaticBatching().rules(limits)
    sim = played(run, rules, make_job([0.0, 0.0, 0.5 * MS], 1, [2, 4, 1], rules))
    assert of(sim, "ADMIT")[2] == (4, "ADMIT", 2, 0)


# arrivals


def test_a_closed_loop_sends_the_next_request_at_every_end(run):
    rules = make_rules()
    think_s = np.array([0.0, 0.0, 0.0, 5 * MS])
    job = make_job([0.0] * 4, 1, [1, 2, 1, 1], rules, in_flight=2, think_s=think_s)
    sim = played(run, rules, job)
    assert sim.requests.arrival_s == pytest.approx(np.array([0, 0, 1, 7]) * MS)
    assert sim.totals.end_s == pytest.approx(8 * MS)


def test_a_closed_loop_passes_rejected_requests_over(run):
    rules = make_rules(kv_blocks=2)
    job = make_job([0.0] * 4, [1, 50, 1, 1], 1, rules, in_flight=1)
    sim = played(run, rules, job)
    assert [who for _, _, who, _ in of(sim, "ADMIT")] == [0, 2, 3]
    assert sim.totals.end_s == pytest.approx(3 * MS)


def test_a_turn_waits_for_the_one_before_it_and_for_its_own_time(run):
    rules = make_rules()
    job = make_job(
        [0.0, 1 * MS, 20 * MS], 1, [2, 1, 1], rules,
        parent=np.array([-1, 0, 1]), think_s=np.array([0.0, 3 * MS, 1 * MS]),
    )  # fmt: skip
    sim = played(run, rules, job)
    assert sim.requests.arrival_s == pytest.approx(np.array([0, 5, 20]) * MS)


def test_a_turn_after_a_rejected_one_is_sent_all_the_same(run):
    rules = make_rules(kv_blocks=2)
    job = make_job(
        [1 * MS, 1 * MS, 1 * MS], [50, 50, 1], 1, rules,
        parent=np.array([-1, 0, 1]), think_s=np.array([0.0, 2 * MS, 3 * MS]),
    )  # fmt: skip
    sim = played(run, rules, job)
    assert sim.requests.arrival_s == pytest.approx(np.array([1, 3, 6]) * MS)
    assert sim.requests.first_token_s[2] == pytest.approx(7 * MS)


def test_the_scheduler_sees_a_request_when_the_host_is_done_with_it(run):
    rules = make_rules()
    job = make_job([0.0], 4, 1, rules, front=Front(request_s=2 * MS, token_s=0.5 * MS))
    sim = played(run, rules, job)
    assert story(sim)[0] == (4, "ADMIT", 0, 0)
    assert sim.requests.ttft_s[0] == pytest.approx(5 * MS)


def test_an_empty_trace_is_a_run_that_ends_at_once(run):
    rules = make_rules()
    sim = run(make_job([], 1, 1, rules), rules, constant_table(rules), samples_s=1.0, log=True)
    assert sim.totals.steps == 0
    assert sim.totals.end_s == 0.0
    assert sim.log.kind.size == 0
    assert sim.timeline.time_s.tolist() == [1.0]


# what is recorded


def test_the_energy_of_a_step_is_shared_by_tokens_and_idle_time_counts(run):
    rules = make_rules()
    table = constant_table(rules, idle_w=1000.0)
    sim = played(run, rules, make_job([4 * MS, 4 * MS], [3, 1], 1, rules), table)
    assert sim.requests.energy_j == pytest.approx(np.array([0.75, 0.25]))
    assert sim.totals.energy_j == pytest.approx(1.0 + 1000.0 * 4 * MS)


def test_a_timeline_holds_the_state_after_what_happened_at_its_times(run):
    rules = make_rules(max_sequences=1)
    job = make_job([0.5 * MS, 1 * MS], [2, 2], [3, 1], rules)
    timeline = run(job, rules, constant_table(rules), samples_s=1 * MS).timeline
    assert timeline.time_s == pytest.approx(np.arange(1, 6) * MS)
    assert timeline.running.tolist() == [1, 1, 1, 1, 0]
    assert timeline.waiting.tolist() == [1, 1, 1, 0, 0]
    assert timeline.blocks.tolist() == [1, 1, 1, 1, 0]
    assert timeline.prompt_tokens.tolist() == [2, 0, 0, 2, 0]
    assert timeline.output_tokens.tolist() == [0, 1, 1, 1, 1]


def test_times_are_integrated_over_running_requests_and_blocks(run):
    rules = make_rules()
    totals = played(run, rules, make_job([0.0, 0.0], [4, 1], [2, 1], rules)).totals
    assert totals.running_s == pytest.approx((2 + 1) * MS)
    assert totals.blocks_s == pytest.approx((2 + 2) * MS)
    assert totals.peak_running == 2
    assert totals.peak_blocks == 2
