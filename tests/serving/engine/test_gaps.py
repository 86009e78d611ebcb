"""Bins of token gaps: none lost, none wide, and percentiles as from the gaps themselves."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapeout.serving.engine.gaps import BINS, Gaps, bin_of, bin_starts_ps
from tapeout.serving.engine.reference import run_reference
from tapeout.serving.engine.types import PS_PER_S
from tests.serving.engine.builders import constant_table, make_job, make_rules

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
