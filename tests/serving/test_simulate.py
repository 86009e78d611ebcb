"""A trace through a deployment: one replica, several, and the rows that come out."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from tapeout.errors import DoesNotFitError, InfeasibleError, ProblemsError
from tapeout.serving import records
from tapeout.serving.engine.reference import run_reference
from tapeout.serving.engine.types import RequestTable
from tapeout.serving.objectives import parse_objective
from tapeout.serving.replicas import assign, together
from tapeout.serving.simulate import AUTO, Options, simulate
from tapeout.serving.traffic import Trace
from tapeout.serving.types import Deployment

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def made(script):
    return script("tests/serving/handmade_runs.py")


@pytest.fixture(scope="module")
def deployment(placed):
    return Deployment(
        placement=placed("llama-3.1-8b"), max_sequences=32, token_budget=512, kv_blocks=400
    )


def trace_of(count=200, rate=40.0, seed=0, **columns):
    rng = np.random.default_rng(seed)
    return Trace(
        arrival_s=np.cumsum(rng.exponential(1.0 / rate, count)),
        input_tokens=rng.integers(20, 400, count),
        output_tokens=rng.integers(1, 60, count),
        source="drawn for a test",
        **columns,
    )


def run(deployment, trace, objective="", **options):
    return simulate(
        deployment,
        trace,
        objective=parse_objective(objective) if objective else None,
        options=Options(runner=run_reference, **options),
    )


@pytest.fixture(scope="module")
def result(deployment):
    return run(
        deployment, trace_of(), "ttft_p90=1,tpot_p90=0.05", samples_s=AUTO, log=True, warm_up_s=0.5
    )


# one replica


def test_every_request_is_served_and_measured(result):
    requests = result.simulation.requests
    assert np.isfinite(requests.last_token_s).all()
    assert result.summary.window.start_s == 0.5
    assert result.summary.requests == int((requests.arrival_s >= 0.5).sum())
    assert abs(result.summary.use.little_residual_fraction) < 1e-9
    assert result.met.sum() > 0


def test_gaps_between_tokens_are_counted_after_the_warm_up_unless_switched_off(deployment, result):
    """Without a warm-up there is one gap for each token but the first of a request."""
    trace = trace_of(60)
    whole = run(deployment, trace).summary.itl
    assert whole.count == (trace.output_tokens - 1).sum()
    assert whole.values_s["p50"] <= whole.values_s["p99"] <= whole.largest_s
    assert 0 < result.summary.itl.count < (result.trace.output_tokens - 1).sum()
    assert run(deployment, trace, gaps=False).summary.itl is None


def test_the_result_says_what_it_was_made_with(result):
    content = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert content["kv_blocks"] == {"usable": 400, "low": 400, "high": 400, "source": "given"}
    assert content["semantics"].startswith("vLLM V1")
    assert content["timing_band_80_factor"] > 1.0
    assert content["timing_model"]
    assert content["token_budget"] == 512
    assert content["latency_s"]["ttft"]["p90"]["value"] > 0.0


def test_a_timeline_has_a_few_hundred_points(result):
    assert 300 <= result.simulation.timeline.time_s.size <= 3000


def test_a_burst_has_a_timeline_too(deployment):
    trace = trace_of(count=60)
    found = run(deployment, replace(trace, arrival_s=np.zeros(60)), samples_s=AUTO)
    assert 100 <= found.simulation.timeline.time_s.size <= 20_000
    assert found.summary.window.burst


def test_without_being_asked_nothing_is_kept_over_time(deployment):
    found = run(deployment, trace_of(count=20))
    assert found.simulation.timeline is None
    assert found.simulation.log is None


def test_the_same_input_gives_the_same_result(deployment, result):
    again = run(deployment, trace_of(), "ttft_p90=1,tpot_p90=0.05", warm_up_s=0.5)
    assert again.summary.to_dict() == result.summary.to_dict()


def test_requests_longer_than_the_cache_are_rejected_and_miss(deployment):
    trace = trace_of(count=50)
    tokens = trace.input_tokens.copy()
    tokens[7] = 7000
    found = run(deployment, replace(trace, input_tokens=tokens), "ttft_p90=100")
    assert found.summary.rejected == 1
    assert found.summary.attainment.value == pytest.approx(49 / 50)


def test_a_closed_loop_keeps_its_requests_in_flight(deployment):
    found = run(deployment, trace_of(count=100), in_flight=8)
    requests = found.simulation.requests
    in_system = requests.e2e_s.sum() / found.simulation.totals.end_s
    assert in_system == pytest.approx(8.0, rel=0.1)  # less near the end, when none follow
    assert found.summary.use.running_peak == 8


def test_what_cannot_be_run_is_refused(deployment, placed):
    with pytest.raises(InfeasibleError, match="no requests"):
        run(deployment, trace_of(count=0))
    with pytest.raises(InfeasibleError, match="0 replicas"):
        run(replace(deployment, replicas=0), trace_of(count=5))
    with pytest.raises(DoesNotFitError):
        run(Deployment(placement=placed("deepseek-r1")), trace_of(count=5))


def test_a_limit_for_an_unknown_class_is_found_before_the_run(deployment):
    def never(*_, **__):
        raise AssertionError("ran")

    with pytest.raises(ProblemsError, match="no such class"):
        simulate(
            deployment,
            trace_of(count=5),
            objective=parse_objective("chat:ttft_p90=1"),
            options=Options(runner=never),
        )


def test_a_request_that_is_rejected_changes_nothing_of_the_engine(placed):
    deployment = Deployment(placement=placed("llama-3.1-8b"))
    trace = trace_of(count=20)
    tokens = trace.input_tokens.copy()
    tokens[3] = 10_000_000
    plain, long = (run(deployment, one) for one in (trace, replace(trace, input_tokens=tokens)))
    assert long.summary.rejected == 1
    assert plain.setup.kv == long.setup.kv
    assert np.array_equal(plain.setup.table.mixed_ps, long.setup.table.mixed_ps)
    assert any("up to 131,072 tokens" in note for note in plain.setup.notes)


def test_longer_sequences_than_the_engine_takes_are_rejected(deployment):
    trace = trace_of(count=50)
    found = run(replace(deployment, max_model_len=200), trace)
    longer = trace.input_tokens + trace.output_tokens > 200
    assert 0 < found.summary.rejected == longer.sum()
    assert np.array_equal(found.simulation.requests.rejected == 1, longer)
    assert found.to_dict()["max_model_len"] == 200
    assert found.to_dict()["gpu_memory_utilization"] == 0.9
    assert found.to_dict()["kv_format"] == deployment.placement.formats.kv


# several replicas


def test_conversations_go_round_and_stay_together():
    parent = np.array([-1, -1, 0, -1, 1, 2])
    trace = trace_of(count=6, parent=parent, client=np.array([5, 5, 5, 9, 5, 5]))
    assert assign(trace, 2).tolist() == [0, 1, 0, 0, 1, 0]
    assert assign(trace, 2, by_client=True).tolist() == [0, 0, 0, 1, 0, 0]
    assert assign(trace_of(count=5), 3).tolist() == [0, 1, 2, 0, 1]


def test_two_replicas_with_twins_are_one_replica_twice(deployment):
    trace = trace_of(count=80)
    twins = replace(
        trace,
        arrival_s=np.repeat(trace.arrival_s, 2),
        input_tokens=np.repeat(trace.input_tokens, 2),
        output_tokens=np.repeat(trace.output_tokens, 2),
    )
    one = run(deployment, trace, samples_s=0.05, log=True)
    two = run(replace(deployment, replicas=2), twins, samples_s=0.05, log=True)
    left, right = one.simulation, two.simulation
    assert np.array_equal(np.repeat(left.requests.last_token_s, 2), right.requests.last_token_s)
    assert right.requests.replica.tolist() == [0, 1] * 80
    assert np.array_equal(2 * left.timeline.running, right.timeline.running)
    assert np.array_equal(np.repeat(left.log.time_ps, 2), right.log.time_ps)
    assert right.totals.steps == 2 * left.totals.steps
    assert right.totals.end_s == left.totals.end_s
    used = one.summary.use, two.summary.use
    assert used[0].utilisation_fraction == pytest.approx(used[1].utilisation_fraction)
    assert used[0].kv_mean_fraction == pytest.approx(used[1].kv_mean_fraction)
    assert used[1].chips == 2 * used[0].chips
    assert two.summary.output_tokens_per_s_per_chip == pytest.approx(
        one.summary.output_tokens_per_s_per_chip
    )


def test_runs_of_unequal_length_are_put_together_in_the_order_of_the_trace(made):
    first, second = made.queue_run(count=30), made.queue_run(count=10, seed=3)
    places = [np.setdiff1d(np.arange(40), np.arange(0, 40, 4)), np.arange(0, 40, 4)]
    whole = together([first, second], places)
    for name in RequestTable.__slots__:
        if name != "replica":
            values = getattr(whole.requests, name)
            assert np.array_equal(values[places[0]], getattr(first.requests, name))
            assert np.array_equal(values[places[1]], getattr(second.requests, name))
    assert (np.diff(whole.log.time_ps) >= 0).all()
    at = whole.log.request == places[1][3]
    own = second.log.request == 3
    assert np.array_equal(whole.log.time_ps[at], second.log.time_ps[own])
    total = first.timeline.output_tokens.sum() + second.timeline.output_tokens.sum()
    assert whole.timeline.output_tokens.sum() == pytest.approx(total)


def test_a_closed_loop_is_shared_out(deployment):
    found = run(replace(deployment, replicas=3), trace_of(count=90), in_flight=7)
    peaks = [
        run(deployment, trace_of(count=30), in_flight=share).summary.use.running_peak
        for share in (3, 2, 2)
    ]
    assert found.summary.use.running_peak == sum(peaks)
    with pytest.raises(InfeasibleError, match="fewer than 3 replicas"):
        run(replace(deployment, replicas=3), trace_of(count=9), in_flight=2)


def test_more_replicas_than_requests_leave_some_idle(deployment):
    found = run(
        replace(deployment, replicas=8), trace_of(count=3), samples_s=AUTO, log=True
    ).simulation
    assert found.requests.replica.tolist() == [0, 1, 2]
    assert np.isfinite(found.requests.last_token_s).all()
    assert found.timeline.running.max() <= 3


def test_stages_are_told_in_order(deployment):
    told = []
    run(
        replace(deployment, replicas=2),
        trace_of(count=4),
        tell=lambda stage, done: told.append((stage, done)),
    )
    assert told == [
        ("setup", 0.0), ("setup", 1.0), ("simulate", 0.0), ("simulate", 0.5), ("simulate", 1.0),
        ("measure", 0.0),
    ]  # fmt: skip


def test_another_fleet_can_take_the_place_of_fixed_shares(deployment, made):
    seen = []

    def fleet(trace, task):
        seen.append((trace.requests, task.replicas, task.rules.token_budget))
        return made.queue_run(count=trace.requests)

    run(replace(deployment, replicas=2), trace_of(count=60), fleet=fleet)
    assert seen == [(60, 2, 512)]


# rows


@pytest.mark.parametrize("ending", [".csv", ".parquet"])
def test_rows_come_back_as_they_were(result, tmp_path, ending):
    path = tmp_path / "deep" / f"rows{ending}"
    records.write_columns(
        path, records.columns(result.simulation.requests, result.trace, result.met)
    )
    read = pl.read_csv(path) if ending == ".csv" else pl.read_parquet(path)
    requests = result.simulation.requests
    assert np.allclose(read["ttft_s"].to_numpy(), requests.ttft_s, atol=1e-12)
    assert read["tpot_s"].null_count() == int((requests.output_tokens == 1).sum())
    assert read["met_slo"].sum() == int(result.met.sum())
    assert [one.name for one in path.parent.iterdir()] == [path.name]


def test_client_and_class_are_columns_where_the_trace_has_them(made):
    run_ = made.queue_run(count=4)
    trace = trace_of(
        count=4,
        client=np.array([3, 3, 1, 1]),
        slo_class=np.array([0, 1, 1, 0]),
        classes=("chat", "batch"),
    )
    found = records.columns(run_.requests, trace)
    assert list(found)[:3] == ["request", "client", "class"]
    assert found["class"] == ["chat", "batch", "batch", "chat"]
    assert "client" not in records.columns(run_.requests)


def test_every_column_is_documented(result):
    text = (ROOT / "docs" / "simulate.md").read_text(encoding="utf-8").partition("## Output")[2]
    trace = replace(
        result.trace,
        client=np.zeros(200, np.int64),
        slo_class=np.zeros(200, np.int64),
        classes=("a",),
    )
    names = list(records.columns(result.simulation.requests, trace, result.met))
    names += records.timeline_columns(result.simulation.timeline)
    assert [name for name in names if f"`{name}`" not in text] == []


def test_another_ending_is_refused(tmp_path):
    with pytest.raises(InfeasibleError, match=r"\.csv or \.parquet"):
        records.write_columns(tmp_path / "rows.xlsx", {})
    assert not list(tmp_path.iterdir())
