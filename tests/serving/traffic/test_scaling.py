"""Traces at other rates, in part, and in other tokens."""

import numpy as np
import pytest

from tapeout.errors import InfeasibleError
from tapeout.serving.traffic import (
    ClientPlan,
    LogNormal,
    Prefixes,
    Sessions,
    Trace,
    convert_tokens,
    expand,
    fits,
    full_blocks,
    generate,
    mean_rate_rps,
    merge,
    prefix_statistics,
    renewal,
    scale_time,
    take,
    thin,
    time_window,
)
from tapeout.serving.traffic.arrivals import constant
from tapeout.serving.traffic.scaling import roots
from tapeout.serving.traffic.statistics import hit_blocks, interarrival_cv


@pytest.fixture(scope="module")
def trace():
    lengths = LogNormal(mean=200, cv=1.0)
    return generate(
        [
            ClientPlan(
                rates=constant(2.0, 1e9),
                process=renewal("gamma", 2.0),
                input_tokens=lengths,
                output_tokens=lengths,
                sessions=Sessions(turns=3, think_s=5.0),
                shared_tokens=64,
            )
        ],
        1,
        duration_s=1000.0,
    )


def test_scaling_time_keeps_the_shape_and_names_the_method(trace):
    fast = scale_time(trace, 20.0)
    assert mean_rate_rps(fast) == pytest.approx(20.0)
    assert interarrival_cv(fast.arrival_s) == pytest.approx(interarrival_cv(trace.arrival_s))
    assert (fast.think_s == trace.think_s).all()
    assert "time scaled from" in fast.source


def test_thinning_keeps_whole_sessions_and_the_length_of_the_trace(trace):
    half = thin(trace, mean_rate_rps(trace) / 2.0, 7)
    assert half.requests / trace.requests == pytest.approx(0.5, abs=0.05)
    assert half.arrival_s[-1] > 900.0
    assert (half.parent < 0).sum() / half.requests == pytest.approx(
        (trace.parent < 0).sum() / trace.requests, rel=0.1
    )
    later = half.parent >= 0
    assert (half.input_tokens[later] > half.input_tokens[half.parent[later]]).all()
    assert "thinned from" in half.source


def test_a_lower_rate_keeps_a_part_of_what_a_higher_one_keeps(trace):
    rate = mean_rate_rps(trace)
    some, few = (thin(trace, rate * share, 7) for share in (0.6, 0.2))
    assert np.isin(few.arrival_s, some.arrival_s).all()


def test_thinning_cannot_raise_a_rate(trace):
    with pytest.raises(InfeasibleError, match="scale the time"):
        thin(trace, 100.0, 1)
    with pytest.raises(InfeasibleError, match="not positive"):
        scale_time(trace, 0.0)
    with pytest.raises(InfeasibleError, match="has no rate"):
        mean_rate_rps(take(trace, np.array([0])))


def test_the_first_turn_of_a_chain_is_its_root():
    one = np.ones(5, dtype=np.int64)
    chain = Trace(
        arrival_s=np.arange(5.0),
        input_tokens=one,
        output_tokens=one,
        parent=np.array([-1, 0, -1, 1, 3]),
    )
    assert roots(chain).tolist() == [0, 0, 2, 0, 0]


def test_a_window_begins_at_zero_and_cuts_chains(trace):
    part = time_window(trace, 100.0, 300.0)
    assert 0.0 <= part.arrival_s[0] < part.arrival_s[-1] < 200.0
    assert part.parent.max() < part.requests
    inside = (trace.arrival_s >= 100.0) & (trace.arrival_s < 300.0)
    assert part.requests == inside.sum()
    assert (part.input_tokens == trace.input_tokens[inside]).all()
    with pytest.raises(InfeasibleError, match="no request arrives"):
        time_window(trace, 1e6, 2e6)


def test_a_part_has_the_prefixes_of_its_requests(trace):
    part = take(trace, np.arange(0, trace.requests, 2))
    filled = part.input_tokens + part.output_tokens - 1
    assert np.diff(part.prefixes.offsets).tolist() == (filled // 16).tolist()
    assert part.prefixes.count == np.unique(part.prefixes.ids).size == part.prefixes.ids.max() + 1


def test_requests_that_are_too_long_are_left_out_and_counted(trace):
    part, left = fits(trace, 1000)
    assert left == (trace.input_tokens + trace.output_tokens > 1000).sum() > 0
    assert part.requests == trace.requests - left
    assert fits(trace, 10**8) == (trace, 0)
    with pytest.raises(InfeasibleError, match="every request"):
        fits(trace, 1)


@pytest.mark.parametrize("factor", [0.5, 0.77, 1.0, 1.3, 4.0])
def test_another_tokeniser_keeps_what_is_shared(trace, factor):
    other = convert_tokens(trace, factor)
    assert other.input_tokens.sum() == pytest.approx(factor * trace.input_tokens.sum(), rel=0.01)
    filled = other.input_tokens + other.output_tokens - 1
    assert np.diff(other.prefixes.offsets).tolist() == (filled // 16).tolist()
    before = prefix_statistics(trace.prefixes, trace.input_tokens).hit_token_fraction
    after = prefix_statistics(other.prefixes, other.input_tokens).hit_token_fraction
    assert after == pytest.approx(before, abs=0.03)
    # nothing is shared that was not: a hit ends inside what was hit before
    assert (
        hit_blocks(other.prefixes) * 16 <= hit_blocks(trace.prefixes) * 16 * factor + 1e-6
    ).all()


def test_the_factor_one_changes_nothing(trace):
    same = convert_tokens(trace, 1.0)
    assert (same.prefixes.ids == trace.prefixes.ids).all()
    with pytest.raises(InfeasibleError, match="not positive"):
        convert_tokens(trace, -1.0)


def test_blocks_are_cut_into_smaller_ones_and_back_to_full_ones():
    blocks = Prefixes(
        block_tokens=32, offsets=np.array([0, 2, 4]), ids=np.array([0, 1, 0, 2]), count=3
    )
    tokens = np.array([60, 64])
    small = expand(blocks, tokens, 16)
    assert small.ids.tolist() == [0, 1, 2, 0, 1, 3, 4]
    assert full_blocks(blocks, tokens).ids.tolist() == [0, 0, 1]
    with pytest.raises(ValueError, match="no whole blocks"):
        expand(blocks, tokens, 24)


def test_merged_traces_keep_turns_classes_and_separate_prefixes(trace):
    both = merge([trace, trace], "twice")
    assert both.requests == 2 * trace.requests
    later = both.parent >= 0
    assert (both.parent[later] < np.flatnonzero(later)).all()
    assert (both.input_tokens[later] > both.input_tokens[both.parent[later]]).all()
    assert both.prefixes.count == 2 * trace.prefixes.count


def test_a_trace_without_classes_is_unnamed_beside_one_with_some():
    one = np.ones(2, dtype=np.int64)
    plain = Trace(arrival_s=np.array([0.0, 2.0]), input_tokens=one, output_tokens=one)
    named = Trace(
        arrival_s=np.array([1.0]),
        input_tokens=one[:1],
        output_tokens=one[:1],
        slo_class=np.array([0]),
        classes=("fast",),
    )
    both = merge([plain, named], "both")
    assert [both.classes[place] for place in both.slo_class] == ["", "fast", ""]
