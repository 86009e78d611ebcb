"""Metrics of runs whose figures follow by hand or from queueing theory."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapeout.errors import InfeasibleError, ProblemsError
from tapeout.serving.engine.gaps import BINS, Gaps, bin_of
from tapeout.serving.engine.types import PS_PER_S
from tapeout.serving.intervals import mean, percentile
from tapeout.serving.metrics import Setting, met_objective, summarise, tpot_s
from tapeout.serving.objectives import Limit, Objective, objective_of, parse_objective
from tapeout.serving.types import Slo
from tapeout.serving.window import Basis, Steadiness, trend_of, window_of

NAN = float("nan")


@pytest.fixture(scope="module")
def made(script):
    return script("tests/serving/handmade_runs.py")


@pytest.fixture(scope="module")
def steady(made):
    return made.queue_run(count=4000)


def setting(made, **changes):
    return Setting(**{"chips": 2, "blocks": made.BLOCKS} | changes)


# latencies


def test_latencies_of_one_request_are_as_defined(made):
    run = made.run_of(made.table([1.0], [1.5], [2.0], [7.0], preempted_s=[0.5]))
    found = summarise(run, setting(made))
    assert found.latencies["queue"]["mean"].value == 0.5
    assert found.latencies["ttft"]["p99"].value == 1.0
    assert found.latencies["tpot"]["p50"].value == 0.5
    assert found.latencies["e2e"]["p90"].value == 6.0
    assert found.itl_mean_s == 0.5


def test_a_single_token_has_no_tpot_and_meets_every_limit_on_it(made):
    run = made.run_of(
        made.table([0.0, 9.0], [0.0, 9.0], [1.0, 10.0], [1.0, 20.0], output_tokens=[1, 11])
    )
    assert np.isnan(tpot_s(run.requests)[0])
    found = summarise(run, setting(made, objective=parse_objective("tpot_p90=0.1")))
    assert found.latencies["tpot"].count == 1
    assert found.attainment.value == 0.5


@given(gaps=st.integers(1, 1000), first=st.floats(0.01, 10.0), gap=st.floats(1e-4, 1.0))
def test_e2e_is_ttft_and_the_gaps(gaps, first, gap, made):
    run = made.run_of(
        made.table([0.0], [0.0], [first], [first + gaps * gap], output_tokens=[gaps + 1])
    )
    found = summarise(run, setting(made)).latencies
    total = found["ttft"]["mean"].value + gaps * found["tpot"]["mean"].value
    assert found["e2e"]["mean"].value == pytest.approx(total)


def test_percentiles_are_those_of_numpy(steady, made):
    window = window_of(steady.requests, steady.totals.end_s)
    inside = steady.requests.arrival_s <= window.end_s
    wanted = np.percentile(steady.requests.ttft_s[inside], 95)
    assert summarise(steady, setting(made)).latencies["ttft"]["p95"].value == wanted


# objectives


def test_an_objective_is_read_as_written():
    found = parse_objective("ttft_p90=2, tpot_p99.9=0.05,chat:e2e_p50=30")
    assert found.limits[1] == Limit(metric="tpot", limit_s=0.05, percentile=99.9)
    assert [limit.key for limit in found.of("chat")] == ["e2e_p50"]
    assert [limit.key for limit in found.of("batch")] == ["ttft_p90", "tpot_p99.9"]
    assert found.share == pytest.approx(0.999)


@pytest.mark.parametrize(
    "text",
    ["", "ttft=2", "ttft_p90", "ttfd_p90=2", "ttft_p0=2", "ttft_p100=2", "ttft_p90=-1",
     "ttft_p90=nan", "ttft_p90=2,ttft_p90=3", "ttft_p9.9.9=2", "ttft_p90=2s"],
)  # fmt: skip
def test_an_objective_that_cannot_be_read_is_a_problem(text):
    with pytest.raises(ProblemsError, match="ttft"):
        parse_objective(text)


def test_every_part_that_is_wrong_is_named():
    with pytest.raises(ProblemsError) as caught:
        parse_objective("ttfd_p90=2,tpot_p90=0.05,e2e_p200=3")
    assert [one.value for one in caught.value.problems] == ["ttfd_p90=2", "e2e_p200=3"]
    assert "ttft" in caught.value.problems[0].remedy


def test_the_scenario_s_objective_means_the_same():
    found = objective_of(Slo(ttft_s=2.0, tpot_s=0.05, percentile=95.0))
    assert found == parse_objective("ttft_p95=2,tpot_p95=0.05")


def test_attainment_needs_every_limit_and_counts_failed_ones_as_misses(made):
    # in turn: good, late first token, slow tokens, rejected, unfinished
    requests = made.table(
        [0.0, 1.0, 2.0, 3.0, 4.0],
        [0.0, 4.0, 2.0, NAN, 4.0],
        [0.5, 4.5, 2.5, NAN, 4.5],
        [1.0, 5.0, 9.0, NAN, NAN],
        rejected=[0, 0, 0, 1, 0],
    )
    objective = parse_objective("ttft_p90=1,tpot_p90=0.1")
    found = summarise(made.run_of(requests), setting(made, objective=objective))
    assert met_objective(requests, setting(made, objective=objective)).tolist() == [
        True, False, False, False, False,
    ]  # fmt: skip
    assert found.attainment.value == pytest.approx(0.2)
    assert found.goodput_requests_per_s == pytest.approx(1.0 / 4.0)
    assert (found.finished, found.rejected, found.unfinished) == (3, 1, 1)
    assert not found.met
    assert found.checks[0].value.value == float("inf")  # two of five never got a token


def test_a_limit_holds_where_fewer_fail_than_the_percentile_allows(made):
    at = np.arange(100.0)
    last = np.where(at == 50, NAN, at + 1.0)
    requests = made.table(at, at, at + 0.5, last, rejected=(at == 50).astype(int))
    objective = parse_objective("ttft_p90=0.6,ttft_p99.9=0.6")
    found = summarise(made.run_of(requests), setting(made, objective=objective))
    assert [one.met for one in found.checks] == [True, False]


def test_classes_have_limits_of_their_own(made):
    at = np.arange(10.0)
    requests = made.table(at, at, at + 0.5, at + 1.0)
    found = summarise(
        made.run_of(requests),
        setting(
            made,
            objective=parse_objective("ttft_p90=1,chat:ttft_p90=0.1"),
            slo_class=np.arange(10) % 2,
            classes=("batch", "chat"),
        ),
    )
    batch, chat = found.classes
    assert (batch.name, batch.requests, batch.attainment.value) == ("batch", 5, 1.0)
    assert (chat.name, chat.requests, chat.attainment.value) == ("chat", 5, 0.0)
    assert found.attainment.value == 0.5
    assert [one.met for one in found.checks] == [True, False]


def test_a_limit_for_a_class_that_is_not_there_is_a_problem(made, steady):
    with pytest.raises(ProblemsError, match="no such class; it has: batch"):
        summarise(
            steady,
            setting(
                made,
                objective=parse_objective("bacth:ttft_p90=1"),
                classes=("batch",),
                slo_class=np.zeros(4000, np.int64),
            ),
        )


# window and trend


def test_rates_are_counted_in_the_window(made, steady):
    found = summarise(steady, setting(made, warm_up_s=100.0))
    assert found.window.start_s == 100.0
    assert found.window.end_s == steady.requests.arrival_s[-1]
    assert found.offered_requests_per_s == pytest.approx(8.0, rel=0.05)
    assert found.served_requests_per_s == pytest.approx(found.offered_requests_per_s, rel=0.01)
    assert found.output_tokens_per_s == pytest.approx(11 * found.served_requests_per_s, rel=0.01)
    assert found.input_tokens_per_s_per_chip == pytest.approx(
        100 * found.served_requests_per_s / 2, rel=0.01
    )


def test_a_warm_up_that_leaves_nothing_is_refused(made, steady):
    with pytest.raises(InfeasibleError, match="warm-up of 1e\\+09 s leaves nothing"):
        summarise(steady, setting(made, warm_up_s=1e9))


def test_a_burst_is_observed_to_its_last_token_and_has_no_offered_rate(made):
    requests = made.table(np.zeros(4), np.arange(4.0), np.arange(4.0) + 0.5, np.arange(4.0) + 1.0)
    found = summarise(made.run_of(requests), setting(made))
    assert found.window.burst
    assert math.isnan(found.offered_requests_per_s)
    assert found.served_requests_per_s == 1.0
    assert found.output_tokens_per_s == pytest.approx(11.0)


def test_a_closed_loop_offers_what_it_serves(made, steady):
    found = summarise(steady, setting(made, in_flight=8))
    assert found.window.end_s == steady.totals.end_s
    assert found.offered_requests_per_s == found.served_requests_per_s == 4000 / found.window.end_s


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("rate", [5.0, 9.0])
def test_a_queue_below_its_capacity_is_steady(made, rate, seed):
    run = made.queue_run(count=3000, rate=rate, seed=seed, exponential=True)
    assert trend_of(run.requests, window_of(run.requests, run.totals.end_s)).steadiness is (
        Steadiness.STEADY
    )


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("rate", [11.0, 30.0])
def test_a_queue_above_its_capacity_is_saturated(made, rate, seed):
    run = made.queue_run(count=3000, rate=rate, seed=seed, exponential=True)
    trend = trend_of(run.requests, window_of(run.requests, run.totals.end_s))
    assert trend.steadiness is Steadiness.SATURATED
    assert trend.slope_per_s == pytest.approx(rate - 10.0, rel=0.5)


def test_a_burst_drains_and_few_requests_tell_nothing(made):
    run = made.queue_run(count=500, rate=1e6)
    burst = trend_of(run.requests, window_of(run.requests, run.totals.end_s))
    assert burst.steadiness is Steadiness.DRAINING
    few = made.queue_run(count=50)
    assert summarise(few, setting(made)).trend.steadiness is Steadiness.SHORT


def crowd(made, *, rate, service_s, count=1000):
    """Requests that all run at once from their arrival on."""
    at = np.arange(count) / rate
    takes_s = np.broadcast_to(service_s, at.shape)
    return made.run_of(made.table(at, at, at + 0.1 * takes_s, at + takes_s))


def test_requests_that_pile_up_running_are_not_steady(made):
    """Nobody waits, but each takes longer than the one before."""
    run = crowd(made, rate=10.0, service_s=np.linspace(1.0, 40.0, 1000))
    found = summarise(run, setting(made)).trend
    assert found.steadiness is Steadiness.SATURATED


def test_requests_that_never_wait_nor_grow_are_steady_once_the_engine_has_filled(made):
    run = crowd(made, rate=10.0, service_s=20.0)
    found = summarise(run, setting(made, slots=1000)).trend
    assert found.steadiness is Steadiness.STEADY
    assert found.growth == pytest.approx(0.0, abs=1.0)


def test_a_window_of_few_lifetimes_is_too_short_to_tell(made):
    run = crowd(made, rate=10.0, service_s=30.0)
    assert summarise(run, setting(made)).trend.steadiness is Steadiness.TOO_SHORT


def test_more_arrivals_than_can_be_in_flight_are_saturation(made):
    run = crowd(made, rate=10.0, service_s=200.0)
    known = summarise(run, setting(made, slots=900)).trend.steadiness
    assert known is Steadiness.SATURATED
    roomy = summarise(run, setting(made, slots=1000)).trend.steadiness
    assert roomy is Steadiness.TOO_SHORT


def test_rates_of_a_saturated_run_are_those_under_full_load(made):
    """All arrive in 10 s, the servers go on for 100 s at 10 a second."""
    found = summarise(made.queue_run(count=1000, rate=100.0), setting(made))
    assert found.trend.steadiness is Steadiness.SATURATED
    assert found.window.end_s < 11.0
    assert found.basis is Basis.FULL_LOAD
    assert found.counted.end_s > 90.0
    assert found.served_requests_per_s == pytest.approx(10.0, rel=0.03)
    assert found.output_tokens_per_s == pytest.approx(110.0, rel=0.03)
    assert found.to_dict()["rates"]["of"] == "full load"


def test_without_a_full_load_the_whole_run_is_counted_and_said(made):
    at = np.arange(1000) / 100.0
    run = made.run_of(made.table(at, at, at + 1.0, at + 50.0))
    found = summarise(run, setting(made, slots=800))
    assert found.basis is Basis.WHOLE_RUN
    assert found.served_requests_per_s == pytest.approx(1000 / run.totals.end_s)
    assert found.to_dict()["rates"] == {
        "of": "whole run", "start_s": 0.0, "end_s": run.totals.end_s
    }  # fmt: skip


# engine


def test_use_of_the_engine_is_of_the_whole_run(made, steady):
    use = summarise(steady, setting(made, replicas=1)).use
    end_s = steady.totals.end_s
    assert use.utilisation_fraction == pytest.approx(0.5)
    assert use.kv_mean_fraction == pytest.approx(steady.totals.blocks_s / end_s / made.BLOCKS)
    assert use.kv_peak_fraction == 0.04
    assert use.hit_fraction == pytest.approx(0.16)
    assert use.preempted_fraction == pytest.approx(0.02)
    assert use.joule_per_output_token == pytest.approx(1 / 11)
    assert use.joule_per_request == pytest.approx(1.0)
    assert abs(use.little_residual_fraction) < 1e-12


def test_littles_law_shows_an_engine_that_counts_wrongly(made, steady):
    wrong = made.run_of(steady.requests, running_s=0.9 * steady.totals.running_s)
    found = summarise(wrong, setting(made)).use.little_residual_fraction
    assert found == pytest.approx(1 / 0.9 - 1.0)


# intervals


@pytest.mark.parametrize("percent", [50.0, 90.0])
def test_intervals_cover_what_they_should(percent):
    """Of 200 samples of a correlated series about 95 % of intervals hold the true value."""
    rng = np.random.default_rng(7)
    noise = rng.standard_normal((200, 4000))
    series = np.empty_like(noise)
    series[:, 0] = noise[:, 0]
    for step in range(1, 4000):  # AR(1), variance 1
        series[:, step] = 0.8 * series[:, step - 1] + 0.6 * noise[:, step]
    true = {50.0: 0.0, 90.0: 1.2815515655446004}[percent]
    held = [
        abs(one.value - true) <= one.half_width for one in (percentile(s, percent) for s in series)
    ]
    assert 0.89 <= np.mean(held) <= 0.99
    if percent == 50.0:
        naive = 1.96 * series.std(axis=1) / np.sqrt(4000)
        assert np.mean(np.abs(series.mean(axis=1)) <= naive) < 0.6  # what batches are for
        means = [mean(one) for one in series]
        assert 0.89 <= np.mean([abs(one.value) <= one.half_width for one in means]) <= 0.99


def test_an_interval_that_cannot_be_known_is_nan():
    values = np.arange(400.0)
    assert math.isnan(mean(values[:49]).half_width)
    assert percentile(values, 90.0).half_width > 0.0
    assert math.isnan(percentile(values, 95.0).half_width)
    assert math.isnan(percentile(values, 99.0).half_width)
    assert math.isnan(mean(values[:0]).value)


# forms


def test_json_has_no_nan_and_rows_have_every_figure(made, steady):
    found = summarise(steady, setting(made, objective=Objective(limits=(
        Limit(metric="ttft", limit_s=2.0),
    ))))  # fmt: skip
    content = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert content["latency_s"]["ttft"]["p90"]["value"] == found.latencies["ttft"]["p90"].value
    assert content["limits"][0]["met"] is True
    assert content["steadiness"] == "steady"
    rows = {row.name: row for row in found.rows()}
    assert rows["goodput"].value == found.goodput_requests_per_s
    assert rows["TTFT p90"].unit == "s"
    assert len(rows) == len(found.rows())


def test_a_run_without_requests_has_figures_that_are_undefined(made):
    found = summarise(made.run_of(made.table([], [], [], [])), setting(made))
    assert found.requests == 0
    assert math.isnan(found.latencies["ttft"]["mean"].value)
    json.dumps(found.to_dict(), allow_nan=False)


# gaps between tokens


def test_percentiles_of_gaps_are_those_that_the_run_counted(made):
    """A run that counted none gives none; p99.9 comes with the gaps to say it."""
    run = made.run_of(made.table([1.0], [1.5], [2.0], [7.0], preempted_s=[0.5]))
    assert summarise(run, setting(made)).itl is None
    for copies, rare in ((1, False), (100, True)):
        counts = np.zeros(BINS, np.int64)
        for gap_s, count in ((0.01, 90), (0.02, 9), (1.0, 1)):
            counts[bin_of(round(gap_s * PS_PER_S))] = count * copies
        found = summarise(replace(run, gaps=Gaps(counts=counts)), setting(made))
        assert found.itl.count == 100 * copies
        assert found.itl.values_s["p50"] == pytest.approx(0.01, rel=0.002)
        assert found.itl.values_s["p95"] == pytest.approx(0.02, rel=0.002)
        assert found.itl.values_s["mean"] == pytest.approx(0.0208, rel=0.002)
        assert found.itl.largest_s == pytest.approx(1.0, rel=0.002)
        assert ("p99.9" in found.itl.values_s) == rare
        said = found.to_dict()["itl_s"]
        assert said["gaps"] == 100 * copies
        assert said["p95"] == found.itl.values_s["p95"]
        names = [row.name for row in found.rows()]
        assert "ITL p95" in names
        assert names.count("ITL mean") == 1


def test_a_limit_on_itl_is_refused_with_the_one_to_write():
    with pytest.raises(ProblemsError, match="no request meets or misses it") as caught:
        parse_objective("itl_p99=0.05")
    assert "tpot_p99=0.05" in str(caught.value)
