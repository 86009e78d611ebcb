"""The clock: times that 64 bits of picoseconds cannot count are refused, and turns are in order."""

import numpy as np
import pytest

from tapeout.errors import InfeasibleError
from tapeout.serving.engine.job import LONGEST_S, Front, longest_tokens, never_fits
from tapeout.serving.engine.run import run_engine
from tapeout.serving.engine.types import PS_PER_S, Allocation
from tests.serving.engine.builders import constant_table, make_job, make_rules

RULES = make_rules()


def turns(arrival_s, think_s, **more):
    parent = np.arange(len(arrival_s)) - 1
    return make_job(arrival_s, 4, 2, RULES, parent=parent, think_s=np.array(think_s, float), **more)


@pytest.mark.parametrize(
    ("arrival_s", "think_s"),
    [
        ([0.0, 0.0], [0.0, 1e300]),
        ([0.0, 0.0], [0.0, float("inf")]),
        ([0.0, 0.0], [0.0, float("nan")]),
        ([LONGEST_S, LONGEST_S], [0.0, LONGEST_S]),  # served at once when it wrapped around
        ([0.0, 0.0, 0.0], [0.0, LONGEST_S / 2, LONGEST_S]),
    ],
)
def test_think_times_beyond_the_clock_are_refused(arrival_s, think_s):
    with pytest.raises(InfeasibleError, match="the clock counts"):
        turns(arrival_s, think_s)


def test_think_times_that_do_not_follow_one_another_may_be_long():
    half = LONGEST_S / 2.0
    parent = np.array([-1, 0, 0, 0])
    job = make_job(
        np.zeros(4), 4, 2, RULES, parent=parent, think_s=np.array([0.0, half, half, half])
    )
    assert job.think_ps.max() == round(half * PS_PER_S)


def test_time_before_the_scheduler_counts():
    with pytest.raises(InfeasibleError, match="host time"):
        turns([0.0], [0.0], front=Front(request_s=1e300))
    with pytest.raises(InfeasibleError, match="waits between turns"):
        turns([0.0, 0.0], [0.0, 1.0], front=Front(request_s=0.6 * LONGEST_S))


def test_think_times_of_a_closed_loop_count_by_its_places():
    waits = np.full(8, LONGEST_S / 4)
    with pytest.raises(InfeasibleError, match="waits between turns"):
        make_job(np.zeros(8), 4, 2, RULES, think_s=waits, in_flight=1)
    assert make_job(np.zeros(8), 4, 2, RULES, think_s=waits, in_flight=4).in_flight == 4


@pytest.mark.parametrize("parent", [[0, -1], [1, 0], [-1, 2], [-2, -1]])
def test_a_parent_comes_before_its_child(parent):
    with pytest.raises(InfeasibleError, match="a parent comes earlier"):
        make_job([0.0, 0.0], 4, 2, RULES, parent=np.array(parent))


def test_a_run_beyond_the_clock_is_refused_instead_of_wrapping_around():
    table = constant_table(RULES, 10**18)
    with pytest.raises(InfeasibleError, match="longer than the clock"):
        run_engine(make_job([0.0], 4, 30, RULES), RULES, table)


@pytest.mark.parametrize("chunked", [True, False])
@pytest.mark.parametrize("allocation", list(Allocation))
def test_the_longest_request_fits_and_one_token_more_does_not(chunked, allocation):
    rules = make_rules(chunked=chunked, allocation=allocation, kv_blocks=30, token_budget=32)
    longest = longest_tokens(rules)
    output = 1 if allocation is not Allocation.WHOLE else longest - 1
    sizes = np.array([longest - output, longest - output + 1])
    assert never_fits(sizes, np.full(2, output), rules).tolist() == [False, True]
