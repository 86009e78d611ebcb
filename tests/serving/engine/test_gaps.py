"""Bins of token gaps: none lost, none wide, and percentiles as from the gaps themselves."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapeout.serving.cluster.run import run_cluster
from tapeout.serving.cluster.types import Failure, Router
from tapeout.serving.engine import reference
from tapeout.serving.engine.disaggregated import Pool, Split, Watch, run_disaggregated
from tapeout.serving.engine.gaps import BINS, GapRecord, Gaps, bin_of, bin_starts_ps
from tapeout.serving.engine.handover import Link
from tapeout.serving.engine.job import prepare
from tapeout.serving.engine.reference import run_reference
from tapeout.serving.engine.run import run_engine
from tapeout.serving.engine.types import PS_PER_S
from tapeout.serving.replicas import Task, run_split
from tests.serving.cluster.builders import MS, cluster, single
from tests.serving.engine.builders import (
    constant_table,
    make_job,
    make_rules,
    make_trace,
    proportional_table,
)

STARTS = bin_starts_ps()


def histogram(gaps_ps):
    return Gaps(counts=np.bincount([bin_of(int(gap)) for gap in gaps_ps], minlength=BINS))


@given(st.integers(0, 2**63 - 1))
def test_a_gap_lies_in_its_bin(gap_ps):
    at = bin_of(gap_ps)
    assert STARTS[at] <= gap_ps
    assert at == BINS - 1 or gap_ps < STARTS[at + 1]


def test_bins_ascend_and_none_is_wider_than_half_a_percent():
    width = np.diff(STARTS)
    assert (width > 0).all()
    assert (width[512:] <= 0.005 * STARTS[512:-1]).all()


def test_percentiles_are_those_of_the_gaps_within_half_a_bin():
    gaps_ps = np.random.default_rng(1).lognormal(24.0, 1.0, 5000).astype(np.int64)
    percent = np.array([0.0, 1.0, 50.0, 90.0, 99.0, 100.0])
    exact_s = np.percentile(gaps_ps, percent) / PS_PER_S
    found_s = histogram(gaps_ps).percentile_s(percent)
    assert found_s == pytest.approx(exact_s, rel=0.5 / 256)


def test_small_gaps_are_exact():
    """Below 512 ps each gap has a bin of its own."""
    gaps_ps = [0, 3, 3, 500]
    found_s = histogram(gaps_ps).percentile_s(np.array([0.0, 40.0, 100.0]))
    assert found_s * PS_PER_S == pytest.approx(np.percentile(gaps_ps, [0, 40, 100]))


def test_without_gaps_there_is_no_percentile():
    assert np.isnan(Gaps(counts=np.zeros(BINS, np.int64)).percentile_s(np.array([50.0]))).all()


def test_gaps_of_a_run_add_up_to_last_less_first_token_also_over_preemptions():
    """Each gap is right to half a bin, so the sum is too."""
    rules = make_rules(kv_blocks=20, token_budget=32)
    job = make_job([0.0, 0.0, 0.0], 20, 30, rules)
    run = run_reference(job, rules, constant_table(rules), gaps_from_s=0.0)
    counts = run.gaps.counts
    assert run.totals.preemptions > 0
    assert counts.sum() == 3 * 29
    middle_ps = STARTS[:-1] + np.diff(STARTS) / 2
    whole_s = float((run.requests.last_token_s - run.requests.first_token_s).sum())
    assert counts[:-1] @ middle_ps / PS_PER_S == pytest.approx(whole_s, rel=0.5 / 256)


def test_drafts_that_are_accepted_come_with_one_gap():
    """Every step gives 1 + 2 tokens a millisecond apart: nine after the first are three chunks."""
    rules = make_rules(drafts=2, acceptance=(1.0, 1.0))
    job = make_job([0.0], 20, 10, rules)
    counts = run_reference(job, rules, constant_table(rules), gaps_from_s=0.0).gaps.counts
    assert np.flatnonzero(counts).tolist() == [bin_of(PS_PER_S // 1000)]
    assert counts.sum() == 3


def test_percentiles_of_a_run_are_those_of_its_token_times_within_half_a_bin(monkeypatch):
    times = {}

    class Kept(GapRecord):
        def note(self, time_ps, request):
            times.setdefault(request, []).append(time_ps)
            super().note(time_ps, request)

    monkeypatch.setattr(reference, "GapRecord", Kept)
    trace, rules, table = random_job(3, requests=20)
    run = run_reference(prepare(trace, rules), rules, table, gaps_from_s=0.0)
    gaps_ps = np.concatenate([np.diff(one) for one in times.values()])
    assert gaps_ps.size == run.gaps.total == (trace.output_tokens - 1).sum()
    percent = np.array([50.0, 90.0, 99.0])
    exact_s = np.percentile(gaps_ps, percent) / PS_PER_S
    assert run.gaps.percentile_s(percent) == pytest.approx(exact_s, rel=0.5 / 256)
    assert run.gaps.sum_s == pytest.approx(gaps_ps.sum() / PS_PER_S, rel=0.5 / 256)


# every way to run replicas


def whole_s(run):
    """Time between first and last tokens of all requests that finished. [s]."""
    return float(np.nansum(run.requests.last_token_s - run.requests.first_token_s))


def adds_up(run, per_request):
    """True where the gaps are as many as they should be, and add up, each right to half a bin."""
    whole = run.gaps.sum_s == pytest.approx(whole_s(run), rel=0.5 / 256)
    return run.gaps.total == per_request.sum() and whole


def random_job(seed, requests=40, **changes):
    rng = np.random.default_rng(seed)
    rules = make_rules(token_budget=64, max_sequences=6, kv_blocks=60, **changes)
    arrival_s = np.sort(rng.uniform(0.0, 0.4, requests))
    trace = make_trace(arrival_s, rng.integers(1, 90, requests), rng.integers(1, 90, requests))
    return trace, rules, proportional_table(rules)


@pytest.mark.parametrize("seed", range(4))
def test_gaps_of_replicas_in_turn_are_those_of_a_cluster_and_add_up(seed):
    trace, rules, table = random_job(seed, async_depth=seed % 2)
    asked = Task(rules=rules, table=table, runner=run_engine, replicas=3, gaps_from_s=0.0)
    split = run_split(trace, asked)
    how = cluster(rules, table, replicas=3)
    routed = run_cluster(prepare(trace, rules), how, gaps_from_s=0.0).simulation
    assert split.totals.preemptions > 0
    assert adds_up(split, trace.output_tokens - 1)
    assert np.array_equal(split.gaps.counts, routed.gaps.counts)


def test_tokens_made_again_after_a_failure_are_no_gaps_but_the_wait_is_one():
    """Five tokens by 5.5 ms; the sixth comes with the second try, at 7.5 + 6 ms."""
    rules = single()
    lost = Failure(at_s=5.5 * MS, until_s=50 * MS, replica=0)
    how = cluster(rules, failures=(lost,), detection_s=2 * MS)
    run = run_cluster(make_job([0.0], 1, 10, rules), how, gaps_from_s=0.0).simulation
    expected = np.zeros(BINS, np.int64)
    expected[bin_of(PS_PER_S // 1000)] = 8
    expected[bin_of(8_500_000_000)] = 1
    assert np.array_equal(run.gaps.counts, expected)


@pytest.mark.parametrize("seed", range(6))
def test_gaps_add_up_over_failures(seed):
    trace, rules, table = random_job(seed, async_depth=seed % 2)
    failures = tuple(
        Failure(at_s=at, until_s=at + 0.05, replica=one)
        for at, one in ((0.08, 0), (0.2, 1), (0.31, 0), (0.5, 1))
    )
    how = cluster(
        rules, table, failures=failures, detection_s=0.01, router=Router.LEAST_OUTSTANDING
    )
    run = run_cluster(prepare(trace, rules), how, gaps_from_s=0.0)
    assert (run.tries > 1).any()
    assert adds_up(run.simulation, trace.output_tokens - 1)


def test_more_failures_than_tries_keep_what_the_client_has():
    """Twelve tokens; tries end after four, two and three: only new tokens ever count."""
    rules = single()
    failures = tuple(
        Failure(at_s=at * MS, until_s=(at + 1) * MS, replica=0) for at in (4.5, 8.5, 13.5)
    )
    how = cluster(rules, replicas=1, failures=failures, detection_s=MS)
    run = run_cluster(make_job([0.0], 1, 12, rules), how, gaps_from_s=0.0).simulation
    # tries from 0, 5.5, 9.5 and 14.5 ms; the fifth token comes at 19.5 ms, the last at 26.5 ms
    expected = np.zeros(BINS, np.int64)
    expected[bin_of(PS_PER_S // 1000)] = 3 + 7
    expected[bin_of(15_500_000_000)] = 1
    assert np.array_equal(run.gaps.counts, expected)


@pytest.mark.parametrize("stream_first", [False, True])
def test_gaps_add_up_with_prefill_apart(stream_first):
    """With a streamed first token the first gap is the hand-over."""
    trace, rules, table = random_job(7)
    pool = Pool(rules=rules, table=table, replicas=2)
    link = Link(token_s=MS / 50, latency_s=2 * MS)
    split = Split(prefill=pool, decode=pool, link=link, stream_first=stream_first)
    found = [
        run_disaggregated(trace, split, watch=Watch(gaps_from_s=0.0, runner=runner)).simulation
        for runner in (run_engine, run_reference)
    ]
    assert adds_up(found[0], trace.output_tokens - 1)
    assert np.array_equal(found[0].gaps.counts, found[1].gaps.counts)


def test_gaps_count_from_the_time_asked_for():
    """A token a millisecond, the first at 1 ms: from 5 ms on six of the nine gaps end."""
    rules = make_rules()
    job, table = make_job([0.0], 20, 10, rules), constant_table(rules)
    for run in (run_engine, run_reference):
        assert run(job, rules, table, gaps_from_s=5 * MS).gaps.counts.sum() == 6
        assert run(job, rules, table).gaps is None
