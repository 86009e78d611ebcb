"""Rules of SGLang: prompts first and alone, chunks, room for outputs, retraction."""

import numpy as np
import pytest

from tapeout.errors import InfeasibleError
from tapeout.serving.engine.policies import Limits, policy_named
from tapeout.serving.engine.reference import run_reference
from tapeout.serving.engine.run import run_engine
from tapeout.serving.engine.types import Allocation, Order
from tests.serving.engine.builders import (
    constant_table,
    make_job,
    make_rules,
    random_case,
    story,
)
from tests.serving.engine.test_kernel import differences

BOTH = pytest.mark.parametrize("run", [run_reference, run_engine])
SHARE = 700_000_000


def rules_of(**changes):
    return make_rules(
        **{"order": Order.SGLANG, "reserved": SHARE, "block_tokens": 1, "kv_blocks": 1000} | changes
    )


def told(run, rules, prompt, output, arrival=None):
    times = np.zeros(len(prompt)) if arrival is None else np.array(arrival)
    job = make_job(times, prompt, output, rules)
    return run(job, rules, constant_table(rules), log=True)


def test_the_compiled_engine_writes_the_log_of_the_readable_one():
    retracted = 0
    for seed in range(150):
        case = random_case(
            seed,
            order=Order.SGLANG,
            drafts=0,
            acceptance=(),
            allocation=Allocation.LAZY,
            reserved=SHARE // (1 + seed % 4),
        )
        expected = run_reference(*case, samples_s=0.01, log=True, gaps_from_s=0.0)
        for jump in (True, False):
            got = run_engine(*case, samples_s=0.01, log=True, jump=jump, gaps_from_s=0.0)
            assert differences(expected, got) == [], (seed, jump, case[1])
        retracted += expected.totals.preemptions
    assert retracted > 20


@pytest.mark.parametrize("seed", range(150, 170))
def test_tokens_are_conserved_and_every_request_ends(seed):
    job, rules, table = random_case(
        seed,
        order=Order.SGLANG,
        drafts=0,
        acceptance=(),
        allocation=Allocation.LAZY,
        reserved=SHARE // 3,
    )
    sim = run_engine(job, rules, table)
    served = job.rejected == 0
    done, total = np.isfinite(sim.requests.last_token_s), sim.totals
    assert (done == served).all()
    expected = int((job.prompt + job.output)[served].sum()) - int(served.sum())
    assert total.scheduled_tokens == expected + total.discarded_tokens - total.hit_tokens


@BOTH
def test_a_prompt_runs_alone_before_the_decodes_go_on(run):
    sim = told(run, rules_of(), [4, 4], [4, 1], arrival=[0.0, 0.0015])
    # steps: prompt 0 | decode | prompt 1 alone | decode | decode
    assert sim.requests.first_token_s.tolist() == pytest.approx([0.001, 0.003])
    assert sim.requests.last_token_s.tolist() == pytest.approx([0.005, 0.003])
    assert sim.totals.steps == 5


@BOTH
def test_a_long_prompt_is_cut_and_the_next_one_fills_its_last_chunk(run):
    sim = told(run, rules_of(token_budget=10), [25, 5], [1, 1])
    assert sim.requests.first_token_s.tolist() == pytest.approx([0.003, 0.003])


@BOTH
def test_a_request_waits_while_prompt_and_output_leave_no_token_over(run):
    # the second asks for 10 + 10; of the first one's remaining 9, 0.7 are kept: ceil(6.3) = 7
    for blocks, waits in ((10 + 7 + 20, True), (10 + 7 + 20 + 1, False)):
        sim = told(run, rules_of(kv_blocks=blocks), [10, 10], [10, 10], arrival=[0.0, 0.0005])
        assert (sim.requests.scheduled_s[1] > 0.002) == waits, blocks


@BOTH
def test_the_longest_prompt_of_those_with_least_output_is_retracted_and_waits_last(run):
    rules = rules_of(kv_blocks=40, reserved=1)
    sim = told(run, rules, [4, 9, 6], [15, 14, 13], arrival=[0.0, 0.0005, 0.0015])
    gone = [request for _, event, request, _ in story(sim) if event == "PREEMPT"]
    assert gone[:1] == [1]  # 1 and 2 begin to decode together: prompt 2 ran before 1 went on
    assert np.isfinite(sim.requests.last_token_s).all()


def test_long_decodes_taken_at_once_are_those_taken_one_by_one():
    rules = rules_of(token_budget=64, block_tokens=16, kv_blocks=160, prefix_cache=True)
    rng = np.random.default_rng(3)
    arrival = np.sort(rng.uniform(0.0, 0.4, 40))
    job = make_job(arrival, rng.integers(1, 90, 40), rng.integers(1, 700, 40), rules)
    table = constant_table(rules)
    at_once = run_engine(job, rules, table, samples_s=0.05, log=True, gaps_from_s=0.0)
    singly = run_engine(job, rules, table, samples_s=0.05, log=True, jump=False, gaps_from_s=0.0)
    assert at_once.totals.preemptions > 0
    assert differences(singly, at_once) == []
    readable = run_reference(job, rules, table, samples_s=0.05, log=True, gaps_from_s=0.0)
    assert differences(readable, at_once) == []


@BOTH
def test_an_idle_engine_forgets_how_far_the_share_fell(run):
    # The first one's 300 decode steps bring the share from 0.7 to 0.4. When the third comes some
    # 497 tokens are free and the second may make 97: 0.4 or 0.7 of them are kept; it asks for 445
    for pause_s, waits in ((0.0, False), (1.0, True)):
        arrival = np.array([0.0, 0.2995 + pause_s, 0.3030 + pause_s])
        rules = rules_of(kv_blocks=600, token_budget=1000)
        sim = told(run, rules, [1, 100, 345], [301, 100, 100], arrival)
        assert (sim.requests.queue_s[2] > 0.01) == waits, pause_s


@BOTH
def test_a_request_as_long_as_the_cache_is_rejected(run):
    sim = told(run, rules_of(kv_blocks=20), [10, 10], [10, 9])
    assert sim.requests.rejected.tolist() == [1, 0]


def test_drafts_are_refused():
    rules = rules_of(drafts=1, acceptance=(0.5,))
    with pytest.raises(InfeasibleError, match="SGLang"):
        told(run_engine, rules, [4], [4])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"allocation": Allocation.WHOLE, "chunked": False}, "lazily"),
        ({"allocation": Allocation.PROMPT}, "lazily"),
        ({"token_budget": 8, "block_tokens": 16}, "whole blocks"),
    ],
)
def test_rules_that_sglang_has_not_are_refused(changes, words):
    with pytest.raises(InfeasibleError, match=words):
        told(run_engine, rules_of(**changes), [4], [4])


def test_the_share_kept_starts_at_seven_tenths():
    made = policy_named("sglang").rules(Limits(token_budget=8, max_sequences=4, kv_blocks=9))
    assert (made.reserved, made.order, made.async_depth) == (SHARE, Order.SGLANG, 1)


def test_ranks_that_step_together_keep_three_tenths_of_the_share():
    limits = Limits(token_budget=8, max_sequences=4, kv_blocks=9, ranks=2)
    assert policy_named("sglang").rules(limits).reserved == SHARE * 3 // 10
