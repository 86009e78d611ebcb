"""The tier of cache blocks in host memory: by hand, conserved, against caches without a bound."""

from dataclasses import replace

import numpy as np
import pytest

from tapeout.errors import InfeasibleError
from tapeout.serving.engine.host import HostTier
from tapeout.serving.engine.reference import Engine, run_reference
from tapeout.serving.engine.run import run_engine
from tapeout.serving.engine.types import Allocation, Order
from tests.serving.engine.builders import (
    MS_PS,
    constant_table,
    hosted_case,
    make_job,
    make_prefixes,
    make_rules,
    story,
)
from tests.serving.engine.test_kernel import differences

RUNNERS = [run_reference, run_engine]


def hosted_rules(**changes):
    """Small rules with a prefix cache and a roomy tier, whose copies take a tenth of a step."""
    usual = {
        "prefix_cache": True,
        "kv_blocks": 5,
        "host_blocks": 100,
        "copy_latency_ps": MS_PS // 10,
    }
    return make_rules(**usual | changes)


def two_of_one_prompt(rules, apart_s=0.1):
    """A prompt of four blocks, another that overwrites it on a small device, and the first again.

    The requests are far apart: each finds the engine idle.
    """
    prefixes = make_prefixes([[0, 1, 2, 3], [4, 5, 6, 7, 8], [0, 1, 2, 3]], 4)
    return make_job(np.arange(3) * apart_s, [17, 20, 17], [1, 1, 1], rules, prefixes=prefixes)


@pytest.mark.parametrize("run", RUNNERS)
def test_a_prompt_that_the_device_lost_comes_back_from_host_memory(run):
    """It waits 0.1 ms for its 16 tokens and computes the last one alone."""
    rules = hosted_rules()
    sim = run(two_of_one_prompt(rules), rules, constant_table(rules), log=True)
    assert story(sim)[-4:] == [
        (200.0, "LOAD", 2, 16),
        (200.1, "ADMIT", 2, 16),
        (201.1, "FIRST", 2, 0),
        (201.1, "FINISH", 2, 0),
    ]
    assert sim.totals.loads == 1
    assert sim.totals.loaded_blocks == 4
    assert sim.totals.stored_blocks == 9  # those of both prompts, each once
    assert sim.totals.load_s == pytest.approx(1e-4)


@pytest.mark.parametrize("run", RUNNERS)
def test_without_a_tier_it_is_computed_again(run):
    rules = hosted_rules(host_blocks=0)
    sim = run(two_of_one_prompt(rules), rules, constant_table(rules), log=True)
    assert sim.requests.hit_tokens.tolist() == [0, 0, 0]
    assert sim.totals.stored_blocks == 0


@pytest.mark.parametrize("run", RUNNERS)
def test_a_copy_takes_its_latency_and_a_time_for_every_block(run):
    rules = hosted_rules(load_ps=3 * MS_PS)
    sim = run(two_of_one_prompt(rules), rules, constant_table(rules))
    assert sim.requests.queue_s[2] == pytest.approx(0.1e-3 + 4 * 3e-3)


@pytest.mark.parametrize("run", RUNNERS)
def test_others_pass_a_request_that_waits_for_a_copy(run):
    """The copy takes 12.1 ms; one that came later starts at once."""
    rules = hosted_rules(load_ps=3 * MS_PS, kv_blocks=8)
    prefixes = make_prefixes([[0, 1, 2, 3], list(range(4, 12)), [0, 1, 2, 3], []], 4)
    arrival_s = np.array([0.0, 0.1, 0.2, 0.201])
    job = make_job(arrival_s, [17, 32, 17, 3], [1, 1, 1, 2], rules, prefixes=prefixes)
    sim = run(job, rules, constant_table(rules))
    assert sim.requests.scheduled_s[3] == pytest.approx(0.201)
    assert sim.requests.scheduled_s[2] > 0.212


@pytest.mark.parametrize("run", RUNNERS)
def test_two_that_want_the_same_blocks_share_one_copy(run):
    """The second waits for the first one's copy, and then finds the blocks on the device."""
    rules = hosted_rules(kv_blocks=12, load_ps=MS_PS)
    prefixes = make_prefixes([[0, 1, 2, 3], list(range(4, 15)), [0, 1, 2, 3], [0, 1, 2, 3]], 4)
    arrival_s = np.array([0.0, 0.1, 0.2, 0.2])
    job = make_job(arrival_s, [17, 44, 17, 17], [1, 1, 1, 1], rules, prefixes=prefixes)
    sim = run(job, rules, constant_table(rules))
    assert sim.totals.loads == 1
    assert sim.requests.hit_tokens.tolist() == [0, 0, 16, 16]


@pytest.mark.parametrize("run", RUNNERS)
def test_a_step_waits_for_copies_out_of_blocks_that_it_overwrites(run):
    """The first prompt's four blocks take 20 ms to leave; the next one needs them after 1 ms."""
    rules = hosted_rules(store_ps=5 * MS_PS, copy_latency_ps=0)
    job = two_of_one_prompt(rules, apart_s=0.001)
    sim = run(job, rules, constant_table(rules))
    assert sim.requests.first_token_s[1] == pytest.approx(0.001 + 4 * 0.005 + 0.001)
    assert sim.totals.stalled_s > 0.0


@pytest.mark.parametrize("run", RUNNERS)
def test_a_preempted_request_gets_its_keys_back(run):
    """With a tier nearly nothing that a preemption gave up is computed again."""
    rules = hosted_rules(kv_blocks=10, copy_latency_ps=0, max_sequences=4)
    job = make_job(np.zeros(4), [8] * 4, [20] * 4, rules)
    table = constant_table(rules)
    with_tier = run(job, rules, table).totals
    without = run(job, replace(rules, host_blocks=0), table).totals
    assert with_tier.preemptions > 0
    assert with_tier.loaded_blocks > 0
    assert with_tier.scheduled_tokens < without.scheduled_tokens


@pytest.mark.parametrize("run", RUNNERS)
def test_a_tier_as_large_as_everything_hits_like_a_cache_without_a_bound(run):
    """Requests far apart, so that what is found does not depend on how long copies take."""
    rng = np.random.default_rng(5)
    paths = [list(range(40 * stem, 40 * stem + 8)) for stem in range(6)]
    chosen = rng.integers(0, 6, 40)
    prefixes = make_prefixes([paths[one] for one in chosen], 4)
    rules = hosted_rules(kv_blocks=12)
    job = make_job(np.arange(40) * 0.1, [33] * 40, [4] * 40, rules, prefixes=prefixes)
    table = constant_table(rules)
    small = run(job, replace(rules, host_blocks=0), table)
    tier = run(job, rules, table)
    endless = run(job, replace(rules, host_blocks=0, kv_blocks=10_000), table)
    assert tier.requests.hit_tokens.tolist() == endless.requests.hit_tokens.tolist()
    assert tier.totals.scheduled_tokens == endless.totals.scheduled_tokens
    assert small.totals.hit_tokens < tier.totals.hit_tokens


@pytest.mark.parametrize("run", RUNNERS)
def test_copies_that_take_no_time_serve_like_a_larger_device_cache(run):
    """Arrivals apart, no copy takes time: the same tokens, and every time is the same too."""
    rng = np.random.default_rng(6)
    paths = [list(range(40 * stem, 40 * stem + 6)) for stem in range(5)]
    prefixes = make_prefixes([paths[one] for one in rng.integers(0, 5, 30)], 4)
    rules = hosted_rules(kv_blocks=9, copy_latency_ps=0)
    job = make_job(np.arange(30) * 0.1, [26] * 30, [6] * 30, rules, prefixes=prefixes)
    table = constant_table(rules)
    tier = run(job, rules, table)
    large = run(job, replace(rules, host_blocks=0, kv_blocks=10_000), table)
    assert tier.totals.loads > 0
    assert np.array_equal(tier.requests.last_token_s, large.requests.last_token_s)
    assert tier.totals.scheduled_tokens == large.totals.scheduled_tokens


def test_hits_of_device_and_host_and_what_is_computed_make_up_every_prompt():
    loads = stalls = 0
    for seed in range(60):
        job, rules, table = hosted_case(seed)
        totals = run_reference(job, rules, table).totals
        served = job.rejected == 0
        asked = int((job.prompt + job.output - 1)[served].sum())
        hit = totals.hit_tokens - totals.loaded_blocks * rules.block_tokens  # of the device
        assert hit >= 0
        loaded = totals.loaded_blocks * rules.block_tokens
        assert totals.scheduled_tokens + hit + loaded == asked + totals.discarded_tokens, seed
        loads += totals.loads
        stalls += totals.stalled_s > 0.0
    assert loads > 50
    assert stalls > 5


def test_no_block_is_lost():
    """At the end nobody holds a block of the device, and host memory holds at most its size."""
    for seed in range(60):
        job, rules, table = hosted_case(seed)
        engine = Engine(job, rules, table, samples_s=0.0, log=False)
        engine.run()
        for rank in engine.ranks:
            assert rank.pool.held == 0
            assert rank.host.held <= rules.host_blocks


def test_a_full_tier_forgets_the_least_recently_used_blocks():
    rules = hosted_rules(host_blocks=3)
    tier = HostTier(rules)
    tier.begin(0)
    assert tier.store([(0, 10), (1, 11), (2, 12)], ready_ps=0) == MS_PS // 10
    tier.touch([10, 11, 12])  # the first becomes the most recent one
    tier.begin(MS_PS)
    assert tier.store([(3, 13)], ready_ps=MS_PS) is not None
    assert [tier.find([identity])[0] for identity in (10, 11, 12, 13)] == [1, 1, 0, 1]


def test_a_block_that_a_copy_reads_or_fills_is_not_forgotten():
    """All three are being filled: nothing new is stored, and nothing is lost."""
    tier = HostTier(hosted_rules(host_blocks=3))
    tier.begin(0)
    tier.store([(0, 10), (1, 11), (2, 12)], ready_ps=0)
    assert tier.store([(3, 13)], ready_ps=0) is None
    assert tier.find([10, 11, 12]) == (3, MS_PS // 10)


@pytest.mark.parametrize(
    "changes",
    [
        {"order": Order.STATIC},
        {"allocation": Allocation.WHOLE},
        {"prefix_cache": False},
        {"reserve_prompt": False},
    ],
)
def test_a_tier_under_rules_that_have_none_is_refused(changes):
    rules = hosted_rules(**changes)
    job = make_job(np.zeros(1), [4], [4], rules)
    with pytest.raises(InfeasibleError, match="vllm-v1 alone"):
        run_engine(job, rules, constant_table(rules))


def test_keys_that_come_from_a_prefill_pool_go_with_no_tier():
    rules = hosted_rules()
    job = make_job(np.zeros(1), [9], [4], rules, loaded=np.array([8]))
    with pytest.raises(InfeasibleError, match="prefill pool"):
        run_engine(job, rules, constant_table(rules))


def test_the_compiled_tier_does_what_the_readable_one_does():
    for seed in range(80):  # each rule is felt by one of these
        case = hosted_case(seed)
        expected = run_reference(*case, samples_s=0.01, log=True, gaps_from_s=0.0)
        got = run_engine(*case, samples_s=0.01, log=True, gaps_from_s=0.0)
        assert differences(expected, got) == [], (seed, case[1])


@pytest.mark.slow
def test_a_thousand_runs_with_a_tier_are_equal():
    for seed in range(80, 1080):
        case = hosted_case(seed)
        expected = run_reference(*case, samples_s=0.01, log=True, gaps_from_s=0.0)
        assert (
            differences(expected, run_engine(*case, samples_s=0.01, log=True, gaps_from_s=0.0))
            == []
        ), seed
