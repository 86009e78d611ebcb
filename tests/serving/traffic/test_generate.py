"""Clients that are described: lengths, shared prompts, sessions, common random numbers."""

import numpy as np
import pytest

from tapeout.errors import InfeasibleError
from tapeout.serving.traffic import (
    ClientPlan,
    Fixed,
    LogNormal,
    Mixture,
    Sessions,
    generate,
    histogram,
    prefix_statistics,
    renewal,
    stream,
    trace_statistics,
)
from tapeout.serving.traffic.arrivals import constant
from tapeout.serving.traffic.generate import Pairs

HUNDRED = Fixed(tokens=100)


def plan(**changes):
    fields = {
        "rates": constant(2.0, 1e9),
        "process": renewal("poisson", 1.0),
        "input_tokens": HUNDRED,
        "output_tokens": Fixed(tokens=10),
    }
    return ClientPlan(**fields | changes)


# lengths


def test_a_lognormal_has_its_mean_and_cv():
    tokens = LogNormal(mean=1000.0, cv=0.8).draw(stream(1, "lengths"), 400_000)
    assert tokens.mean() == pytest.approx(1000.0, rel=0.01)
    assert tokens.std() / tokens.mean() == pytest.approx(0.8, rel=0.02)
    assert LogNormal(mean=1000.0, cv=3.0, most=50).draw(stream(1, "lengths"), 1000).max() == 50
    assert LogNormal(mean=1.0, cv=3.0).draw(stream(1, "lengths"), 1000).min() == 1


def test_a_histogram_gives_its_values_with_their_weights():
    one = histogram(np.array([30, 10, 20, 10]), np.array([1.0, 2.0, 0.0, 1.0]))
    assert one.values.tolist() == [10, 20, 30]
    assert one.probabilities.tolist() == [0.75, 0.0, 0.25]
    assert one.at(np.array([0.0, 0.749, 0.75, 0.999999])).tolist() == [10, 10, 30, 30]
    drawn = one.draw(stream(1, "lengths"), 100_000)
    assert drawn.mean() == pytest.approx(one.mean, rel=0.01)
    with pytest.raises(InfeasibleError, match="one positive"):
        histogram(np.array([1]), np.array([0.0]))


def test_a_mixture_keeps_the_usual_values_when_the_share_changes():
    def drawn(share):
        one = Mixture(usual=LogNormal(mean=200, cv=1), other=Fixed(tokens=9999), share=share)
        return one.draw(stream(1, "lengths"), 10_000)

    few, many = drawn(0.1), drawn(0.4)
    assert (few == 9999).mean() == pytest.approx(0.1, abs=0.015)
    is_usual = many != 9999
    assert (few[is_usual] == many[is_usual]).all()


@pytest.mark.parametrize(
    "counts",
    [
        HUNDRED,
        LogNormal(mean=100, cv=1.0),
        histogram(np.arange(1, 9), np.ones(8)),
        Mixture(usual=LogNormal(mean=9, cv=1), other=HUNDRED, share=0.5),
    ],
    ids=lambda one: one.words,
)
def test_more_requests_begin_with_the_same_lengths(counts):
    few = counts.draw(stream(1, "lengths"), 10)
    assert (counts.draw(stream(1, "lengths"), 1000)[:10] == few).all()


# single requests


def test_another_rate_leaves_lengths_alone_and_lengths_leave_arrivals_alone():
    lengths = LogNormal(mean=300, cv=1.0)
    slow = generate([plan(input_tokens=lengths)], 3, requests=500)
    fast = generate([plan(input_tokens=lengths, rates=constant(8.0, 1e9))], 3, requests=500)
    other = generate([plan(output_tokens=Fixed(tokens=77))], 3, requests=500)
    assert slow.arrival_s == pytest.approx(4.0 * fast.arrival_s)
    assert (slow.input_tokens == fast.input_tokens).all()
    assert (slow.arrival_s == other.arrival_s).all()


def test_the_same_seed_gives_the_same_trace_and_another_one_another():
    first, again, other = (generate([plan()], seed, duration_s=100.0) for seed in (1, 1, 2))
    assert (first.arrival_s == again.arrival_s).all()
    assert (
        first.arrival_s.size != other.arrival_s.size or (first.arrival_s != other.arrival_s).any()
    )


def test_a_client_is_the_same_beside_others():
    alone = generate([plan()], 5, duration_s=200.0)
    beside = generate([plan(), plan(rates=constant(9.0, 1e9))], 5, duration_s=200.0)
    assert (beside.arrival_s[beside.client == 0] == alone.arrival_s).all()
    assert (np.diff(beside.arrival_s) >= 0.0).all()


def test_the_number_of_requests_is_exact_and_its_prefix_stable():
    many, few = (generate([plan(), plan()], 5, requests=n) for n in (3000, 40))
    assert (many.requests, few.requests) == (3000, 40)
    assert (many.arrival_s[:40] == few.arrival_s).all()
    assert (many.client[:40] == few.client).all()


def test_pairs_stay_together():
    sizes = np.arange(1, 50)
    pairs = Pairs(input_tokens=sizes, output_tokens=sizes * 3)
    trace = generate([plan(pairs=pairs)], 1, requests=300)
    assert (trace.output_tokens == 3 * trace.input_tokens).all()
    assert np.unique(trace.input_tokens).size > 40


def test_superposed_bursts_are_calmer_than_one_of_the_same_rate():
    """Independent streams add up towards a Poisson process."""
    bursty = renewal("gamma", 4.0)
    one = generate([plan(process=bursty, rates=constant(20.0, 1e9))], 1, duration_s=2000.0)
    twenty = generate([plan(process=bursty, rates=constant(1.0, 1e9))] * 20, 1, duration_s=2000.0)
    calm, wild = (trace_statistics(trace).interarrival_cv for trace in (twenty, one))
    assert wild == pytest.approx(4.0, rel=0.1)
    assert calm < 3.0


def test_neither_end_nothing_and_far_too_much_are_refused():
    with pytest.raises(InfeasibleError, match="either"):
        generate([plan()], 1)
    with pytest.raises(InfeasibleError, match="either"):
        generate([plan()], 1, duration_s=1.0, requests=1)
    with pytest.raises(InfeasibleError, match="no request"):
        generate([plan(rates=constant(1e-9, 1e9))], 1, duration_s=1.0)
    with pytest.raises(InfeasibleError, match="too many"):
        generate([plan()], 1, duration_s=1e12)
    with pytest.raises(InfeasibleError, match="positive rate"):
        generate([plan(rates=constant(0.0, 1e9))], 1, requests=5)


# prefixes and sessions


def test_shared_prompts_are_hit_after_the_first_of_each_group():
    trace = generate([plan(shared_tokens=160, groups=3)], 1, requests=1000)
    assert (trace.input_tokens == 260).all()
    found = prefix_statistics(trace.prefixes, trace.input_tokens)
    assert found.blocks == 16_000
    assert found.hit_block_fraction == pytest.approx(10 * 997 / 16_000)


def test_a_session_carries_its_history_with_what_was_generated():
    sessions = Sessions(turns=4, spread="fixed", think_s=20.0, think_cv=0.0)
    trace = generate([plan(sessions=sessions, shared_tokens=32)], 1, duration_s=100.0)
    later = np.flatnonzero(trace.parent >= 0)
    parent = trace.parent[later]
    assert later.size == 3 * (trace.parent < 0).sum()
    assert (parent < later).all()
    assert (trace.input_tokens[trace.parent < 0] == 132).all()
    # prompt + output + new
    assert (trace.input_tokens[later] == trace.input_tokens[parent] + 10 + 100).all()
    assert trace.arrival_s[later] == pytest.approx(trace.arrival_s[parent] + 20.0)
    assert (trace.think_s[later] == 20.0).all()
    assert (trace.client[later] == trace.client[parent]).all()
    assert np.unique(trace.client).size == (trace.parent < 0).sum()
    assert (trace.think_s[trace.parent < 0] == 0.0).all()


def test_a_turn_has_all_blocks_that_the_one_before_filled():
    sessions = Sessions(turns=5, think_s=3.0)
    lengths = LogNormal(mean=90, cv=1.0)
    trace = generate(
        [plan(sessions=sessions, shared_tokens=50, groups=2, input_tokens=lengths)],
        2,
        duration_s=60.0,
    )
    ids = np.split(trace.prefixes.ids, trace.prefixes.offsets[1:-1])
    filled = trace.input_tokens + trace.output_tokens - 1  # the last token of an answer has no keys
    assert [one.size for one in ids] == (filled // 16).tolist()
    for turn, before in enumerate(trace.parent.tolist()):
        if before >= 0:
            assert (ids[turn][: ids[before].size] == ids[before]).all()
    starts = [one for one, before in zip(ids, trace.parent.tolist(), strict=True) if before < 0]
    own = np.concatenate([one[3:] for one in starts])  # 50 tokens are three shared full blocks
    assert np.unique(own).size == own.size
    assert np.unique(np.concatenate([one[:3] for one in starts])).size == 6


def test_turns_are_geometric_and_think_times_have_their_mean():
    sessions = Sessions(turns=5, think_s=10.0, think_cv=1.0)
    trace = generate([plan(sessions=sessions)], 1, duration_s=5000.0)
    roots = (trace.parent < 0).sum()
    assert trace.requests / roots == pytest.approx(5.0, rel=0.05)
    assert trace.think_s[trace.parent >= 0].mean() == pytest.approx(10.0, rel=0.03)


def test_a_session_ends_before_its_context_is_too_long():
    sessions = Sessions(turns=50, spread="fixed", max_context_tokens=1000)
    trace = generate([plan(sessions=sessions)], 1, duration_s=50.0)
    longest = trace.input_tokens + trace.output_tokens
    assert longest.max() == 990  # nine turns of 110
    assert (np.bincount(np.searchsorted(np.unique(longest), longest)) > 0).sum() == 9
