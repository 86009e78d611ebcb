"""Trace events: they nest, they are bounded, and they say what the run says."""

import json
from itertools import pairwise

import numpy as np
import pytest

from tapeout.serving.chrome_trace import MOST_SAMPLES, trace_events, write_trace
from tapeout.serving.phases import order_of, phases


@pytest.fixture(scope="module")
def made(script):
    return script("tests/serving/handmade_runs.py")


@pytest.fixture(scope="module")
def run(made):
    return made.queue_run(count=300, rate=12.0)


def without_log(made, run):
    return made.run_of(run.requests)


# phases


def test_phases_follow_one_another_from_arrival_to_last_token(run):
    chosen = order_of(run.requests, 100)
    found = {}
    for phase in phases(run, chosen):
        found.setdefault(phase.request, []).append(phase)
    assert list(found) == list(chosen)
    for one, parts in found.items():
        assert parts[0].start_s == pytest.approx(run.requests.arrival_s[one], abs=1e-12)
        assert parts[-1].end_s == pytest.approx(run.requests.last_token_s[one], abs=1e-12)
        for left, right in pairwise(parts):
            assert left.end_s == right.start_s


def test_a_preemption_has_its_place_with_a_log_and_none_without(made, run):
    names = [phase.name for phase in phases(run, [0])]
    assert names == ["prefill", "decode", "preempted", "decode"]
    assert [one.name for one in phases(without_log(made, run), [0])] == ["prefill", "decode"]
    preempted = sum(one.end_s - one.start_s for one in phases(run, [0]) if one.name == "preempted")
    assert preempted == pytest.approx(run.requests.preempted_s[0])


def test_waiting_is_queue(run):
    late = int(np.argmax(run.requests.queue_s))
    first = phases(run, [late])[0]
    assert first.name == "queue"
    assert first.end_s - first.start_s == pytest.approx(run.requests.queue_s[late])


def test_rejected_requests_have_no_phases(made):
    nan = float("nan")
    requests = made.table([0.0, 1.0], [nan, 1.0], [nan, 1.5], [nan, 2.0], rejected=[1, 0])
    found = made.run_of(requests)
    assert {one.request for one in phases(found, [0, 1])} == {1}
    assert order_of(requests, 10) == (1,)


# events


def test_slices_nest_and_times_are_microseconds(run):
    found = trace_events(run, most=40)
    stacks = {}
    for event in found["traceEvents"]:
        if event["ph"] not in "be":
            continue
        stack = stacks.setdefault((event["cat"], event["id"]), [])
        if event["ph"] == "b":
            assert not stack or stack[-1]["ts"] <= event["ts"]
            stack.append(event)
        else:
            begun = stack.pop()
            assert begun["name"] == event["name"]
            assert begun["ts"] <= event["ts"]
    assert len(stacks) == 40
    assert not any(stacks.values())
    whole = [one for one in found["traceEvents"] if one["name"] == "request 7"]
    length_us = whole[1]["ts"] - whole[0]["ts"]
    assert length_us == pytest.approx(run.requests.e2e_s[7] * 1_000_000, abs=0.01)
    assert whole[0]["args"]["ttft_s"] == pytest.approx(run.requests.ttft_s[7])


def test_counters_carry_the_timeline_in_bounded_number(made, run):
    events = trace_events(run)["traceEvents"]
    counters = [one for one in events if one["ph"] == "C" and one["name"] == "sequences"]
    line = run.timeline
    assert len(counters) == line.time_s.size <= MOST_SAMPLES
    assert [one["args"]["running"] for one in counters] == line.running.tolist()
    long = made.timeline_of(run.requests, samples=3 * MOST_SAMPLES)
    many = trace_events(type(run)(requests=run.requests, totals=run.totals, timeline=long))
    shown = [one for one in many["traceEvents"] if one["name"] == "sequences"]
    assert MOST_SAMPLES / 2 <= len(shown) <= MOST_SAMPLES


def test_every_replica_is_a_process(made):
    requests = made.table(
        np.arange(4.0),
        np.arange(4.0),
        np.arange(4.0) + 0.5,
        np.arange(4.0) + 1.0,
        replica=[0, 1, 0, 1],
    )
    events = trace_events(made.run_of(requests))["traceEvents"]
    names = {one["pid"]: one["args"]["name"] for one in events if one["name"] == "process_name"}
    assert names == {1: "replica 0", 2: "replica 1"}
    assert {one["pid"] for one in events if one.get("id") == 3} == {2}


def test_what_is_left_out_is_said(made, run):
    told = trace_events(without_log(made, run), most=50)["otherData"]
    assert told["requests shown"] == 50
    assert told["left out"].startswith("250 served requests")
    assert "no log" in told["preemptions"]


def test_the_file_is_plain_json(made, tmp_path):
    nan = float("nan")
    requests = made.table(
        [0.0, 1.0], [nan, 1.0], [nan, 1.5], [nan, 1.5], rejected=[1, 0], output_tokens=[5, 1]
    )
    write_trace(made.run_of(requests), tmp_path / "t.json")
    text = (tmp_path / "t.json").read_text(encoding="utf-8")
    assert "NaN" not in text
    assert len(json.loads(text)["traceEvents"]) > 4
