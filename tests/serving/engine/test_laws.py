"""Laws of every run, on random small traces with every kind of rule, in whole picoseconds."""

from collections import Counter
from functools import cache

import numpy as np
import pytest

from tapeout.serving.engine.reference import Engine
from tapeout.serving.engine.types import PS_PER_S, Event, Order
from tests.serving.engine.builders import (
    MS_PS,
    RUNNERS,
    constant_table,
    make_job,
    make_rules,
    random_case,
)

SEEDS = range(80)
every_case = pytest.mark.parametrize("seed", SEEDS)
every_runner = pytest.mark.parametrize("run", RUNNERS)


@cache
def played(run, seed):
    job, rules, table = random_case(seed)
    end_s = run(job, rules, table).totals.end_s
    return job, rules, run(job, rules, table, samples_s=max(end_s / 17, 1e-12), log=True)


def in_ps(time_s):
    """Whole picoseconds; exact below 2**52, which is an hour."""
    return np.rint(np.asarray(time_s) * PS_PER_S).astype(np.int64)


def served(job):
    return np.flatnonzero(job.rejected == 0)


def ready_ps(job, sim):
    return in_ps(sim.requests.arrival_s) + job.host_ps


def times(sim, event):
    """Times of a kind of event by request."""
    chosen = sim.log.kind == event
    found = {}
    for request, time_ps in zip(
        sim.log.request[chosen].tolist(), sim.log.time_ps[chosen].tolist(), strict=True
    ):
        found.setdefault(request, []).append(time_ps)
    return found


def test_the_random_cases_reach_what_the_laws_are_about():
    seen = Counter()
    for seed in SEEDS:
        job, rules, sim = played(RUNNERS[0], seed)
        seen[rules.order] += 1
        seen["preemptions"] += sim.totals.preemptions
        seen["hits"] += sim.totals.hit_tokens > 0
        seen["rejected"] += bool(job.rejected.any())
        seen["drafts"] += rules.drafts > 0
        seen["closed"] += job.in_flight > 0
        seen["turns"] += bool((job.parent >= 0).any())
        seen["async"] += rules.async_depth
        seen["ranks"] += rules.ranks > 1
        seen["refreshed"] += rules.ranks > 1 and sim.totals.end_s > 0.1
    assert set(Order) - {Order.SGLANG} <= set(seen)  # test_sglang.py has its own
    few = {"preemptions": 100, "refreshed": 5}
    names = set(seen) - set(Order)
    assert all(seen[name] >= few.get(name, 5) for name in names), seen
    assert len(names) == 9


@every_case
@every_runner
def test_every_request_is_served_once_or_rejected(run, seed):
    job, _, sim = played(run, seed)
    for event in (Event.FIRST, Event.FINISH):
        found = times(sim, event)
        assert sorted(found) == served(job).tolist()
        assert all(len(each) == 1 for each in found.values())
    assert np.isnan(sim.requests.last_token_s[job.rejected == 1]).all()


@every_case
@every_runner
def test_times_come_in_their_order(run, seed):
    job, rules, sim = played(run, seed)
    ok = served(job)
    table = sim.requests
    assert (np.diff(sim.log.time_ps) >= 0).all()
    assert (in_ps(table.scheduled_s[ok]) >= ready_ps(job, sim)[ok]).all()
    assert (table.first_token_s[ok] > table.scheduled_s[ok]).all()
    assert (table.last_token_s[ok] >= table.first_token_s[ok]).all()
    if not rules.drafts:
        later = table.last_token_s[ok] > table.first_token_s[ok]
        assert later.tolist() == (job.output[ok] > 1).tolist()


@every_case
@every_runner
def test_no_token_is_lost_or_made_up(run, seed):
    job, rules, sim = played(run, seed)
    ok = served(job)
    totals = sim.totals
    known = int((job.prompt + job.output - 1)[ok].sum())
    assert totals.scheduled_tokens == known + totals.discarded_tokens - totals.hit_tokens
    assert sim.timeline.output_tokens.sum() == job.output[ok].sum()
    assert totals.scheduled_tokens <= totals.steps * rules.ranks * rules.token_budget
    if not rules.prefix_cache and not job.loaded.any():
        assert totals.hit_tokens == 0


@every_case
@every_runner
def test_the_time_integral_of_the_number_in_system_is_the_sum_of_sojourns(run, seed):
    """Little's law, exact: running, queued and preempted time make up the stay."""
    job, _, sim = played(run, seed)
    ok = served(job)
    table = sim.requests
    ready = ready_ps(job, sim)[ok]
    stay = in_ps(table.last_token_s[ok]) - ready
    queued = in_ps(table.scheduled_s[ok]) - ready
    running = int(in_ps(sim.totals.running_s))
    assert running + queued.sum() + in_ps(table.preempted_s[ok]).sum() == stay.sum()


@every_case
@every_runner
def test_running_time_is_that_between_admission_and_preemption_or_end(run, seed):
    _, _, sim = played(run, seed)
    begin, stop = times(sim, Event.ADMIT), times(sim, Event.FINISH)
    for request, each in times(sim, Event.PREEMPT).items():
        stop[request] = stop.get(request, []) + each
    assert {r: len(each) for r, each in begin.items()} == {r: len(e) for r, e in stop.items()}
    spent = sum(map(sum, stop.values())) - sum(map(sum, begin.values()))
    assert int(in_ps(sim.totals.running_s)) == spent


@every_case
@every_runner
def test_the_engine_is_idle_only_while_nobody_is_in_the_system(run, seed):
    """Work conservation: busy time is that in which somebody is ready and has not ended."""
    job, _, sim = played(run, seed)
    ok = served(job)
    changes = sorted(
        [(int(t), 1) for t in ready_ps(job, sim)[ok]]
        + [(int(t), -1) for t in in_ps(sim.requests.last_token_s[ok])]
    )
    busy = inside = before = 0
    for time_ps, change in changes:
        busy += (time_ps - before) * (inside > 0)
        inside += change
        before = time_ps
    assert int(in_ps(sim.totals.busy_s)) == busy
    assert sim.totals.end_s == pytest.approx(before / PS_PER_S)


@every_case
@every_runner
def test_samples_count_who_has_come_and_not_ended(run, seed):
    job, rules, sim = played(run, seed)
    ok = served(job)
    line = sim.timeline
    ready, end = ready_ps(job, sim)[ok], in_ps(sim.requests.last_token_s[ok])
    for time_ps, inside in zip(in_ps(line.time_s), line.running + line.waiting, strict=True):
        assert inside == (ready <= time_ps).sum() - (end <= time_ps).sum()
    assert line.time_s[-1] >= sim.totals.end_s > line.time_s[-1] - line.time_s[0]
    assert line.blocks.max() <= rules.ranks * rules.kv_blocks
    assert line.blocks[-1] == 0


@every_case
@every_runner
def test_limits_are_kept(run, seed):
    _, rules, sim = played(run, seed)
    totals = sim.totals
    assert totals.peak_running <= rules.ranks * rules.max_sequences
    assert totals.peak_blocks <= rules.ranks * rules.kv_blocks
    assert totals.busy_s <= totals.end_s


@every_case
@every_runner
def test_counts_of_the_log_of_the_table_and_of_the_totals_agree(run, seed):
    job, _, sim = played(run, seed)
    kinds = Counter(sim.log.kind.tolist())
    ok = served(job)
    assert kinds[Event.ADMIT] == sim.totals.admissions == ok.size + sim.totals.preemptions
    assert kinds[Event.PREEMPT] == sim.totals.preemptions == sim.requests.preemptions.sum()
    values = sim.log.value
    assert values[sim.log.kind == Event.ADMIT].sum() == sim.totals.hit_tokens
    assert values[sim.log.kind == Event.PREEMPT].sum() == sim.totals.discarded_tokens


@every_case
@every_runner
def test_energy_is_shared_out_without_rest(run, seed):
    _, _, sim = played(run, seed)
    table = random_case(seed)[2]
    idle_j = table.idle_w * (sim.totals.end_s - sim.totals.busy_s)
    assert sim.totals.energy_j == pytest.approx(sim.requests.energy_j.sum() + idle_j, rel=1e-9)


@pytest.mark.parametrize("seed", [seed for seed in SEEDS if random_case(seed)[1].ranks == 1])
@every_runner
def test_first_come_is_first_admitted(run, seed):
    job, _, sim = played(run, seed)
    first = {request: each[0] for request, each in times(sim, Event.ADMIT).items()}
    order = list(dict.fromkeys(sim.log.request[sim.log.kind == Event.ADMIT].tolist()))
    ready = ready_ps(job, sim)
    assert order == sorted(first, key=lambda request: (ready[request], request))


@every_case
@every_runner
def test_looking_on_changes_nothing(run, seed):
    job, rules, sim = played(run, seed)
    plain = run(job, rules, random_case(seed)[2])
    assert plain.totals == sim.totals
    assert plain.log is None
    assert plain.timeline is None
    assert np.array_equal(plain.requests.last_token_s, sim.requests.last_token_s, equal_nan=True)


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("depth", [0, 1])
@every_runner
def test_a_running_request_gets_one_token_a_step_without_drafts(run, depth, seed):
    rng = np.random.default_rng(seed)
    rules = make_rules(async_depth=depth, token_budget=12)
    output = rng.integers(1, 30, 40)
    job = make_job(np.cumsum(rng.exponential(2e-3, 40)), rng.integers(1, 30, 40), output, rules)
    table = run(job, rules, constant_table(rules)).requests
    gaps = in_ps(table.last_token_s) - in_ps(table.first_token_s)
    assert gaps.tolist() == ((output - 1) * MS_PS).tolist()


# inside the reference


class Watched(Engine):
    """The reference, checked after every decision."""

    def _decide(self):
        decisions = super()._decide()
        for rank, decision in zip(self.ranks, decisions, strict=True):
            self.check_step(rank, decision)
            self.check_blocks(rank)
        return decisions

    def check_step(self, rank, decision):
        rules = self.rules
        entries = list(decision.entries.values())
        assert sum(entry.tokens for entry in entries) <= rules.token_budget
        assert len(rank.running) <= rules.max_sequences
        assert all(entry.tokens >= 1 and entry.request.running for entry in entries)
        assert all(entry.emitted <= 1 + entry.drafts for entry in entries)
        if decision.preempted:
            assert all(entry.request not in rank.waiting for entry in entries)
        if rules.longest_chunk:
            longest = max(rules.longest_chunk, 1 + rules.drafts)
            assert all(entry.tokens <= longest for entry in entries)

    def check_blocks(self, rank):
        pool, rules = rank.pool, self.rules
        held = Counter(block for request in rank.running for block in request.blocks)
        assert pool.free + pool.held == rules.kv_blocks
        assert pool.held == len(held)
        assert [held[block] for block in range(pool.size)] == pool._holders
        assert not any(request.blocks for request in rank.waiting)
        for request in rank.running:
            assert 0 < request.computed <= request.known
            assert request.computed <= len(request.blocks) * rules.block_tokens
            if rules.prefix_cache:
                full = request.computed // rules.block_tokens
                found = [pool._identity[block] for block in request.blocks[:full]]
                assert found == [request.identities(i) for i in range(full)]
        listed = {(block, key) for key, blocks in pool._blocks_of.items() for block in blocks}
        assert listed == {(b, key) for b, key in enumerate(pool._identity) if key >= 0}


@every_case
def test_blocks_budgets_and_identities_are_right_after_every_decision(seed):
    job, rules, table = random_case(seed)
    engine = Watched(job, rules, table, samples_s=0.0, log=False)
    engine.run()
    assert all(rank.pool.held == 0 for rank in engine.ranks)
