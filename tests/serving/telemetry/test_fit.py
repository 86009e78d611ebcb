"""Known constants are found again in logs that the simulator made with them."""

from dataclasses import replace

import numpy as np
import pytest

from tapeout.errors import InfeasibleError
from tapeout.serving.engine.job import Front, prepare
from tapeout.serving.engine.policies import Limits, VllmV1
from tapeout.serving.engine.run import run_engine
from tapeout.serving.engine.types import PS_PER_S, StepTable
from tapeout.serving.telemetry import Constants, RequestLog, apply_calibration, fit_log
from tapeout.serving.telemetry.calibration import NAMES
from tapeout.serving.telemetry.fit import Engine
from tapeout.serving.telemetry.statistics import in_flight_at_first_token, measured, statistic
from tapeout.serving.traffic.trace import Trace

MS_PS = PS_PER_S // 1000
TRUE = Constants(operator_factor=1.3, step_s=0.002, request_s=0.01, token_s=2e-5)
RULES = VllmV1(prefix_cache=False).rules(Limits(token_budget=512, max_sequences=32, kv_blocks=4000))


def table():
    """5 ms a step, 20 us a token and 0.2 us a key, prompts or not."""
    tokens = np.arange(RULES.token_budget + 1)
    contexts = np.array([0, 4000])
    sequences = np.array([0.0, float(RULES.max_sequences)])
    each_ps = 200_000
    decode = np.arange(RULES.max_sequences + 1)[:, None] * contexts * each_ps
    mixed = np.zeros((1, 1, 2, 2)) + sequences[:, None] * contexts * each_ps
    return StepTable(
        tokens_ps=np.where(tokens > 0, 5 * MS_PS + tokens * 20_000_000, 0),
        sampled_ps=np.zeros(RULES.max_sequences + 1, np.int64),
        contexts=contexts,
        decode_ps=decode,
        slope_ps=np.full(decode.shape, each_ps),
        prefill=np.array([1.0]),
        keys=np.array([1.0]),
        sequences=sequences,
        mixed_ps=mixed,
        shared_ps=np.zeros(1, np.int64),
        tokens_j=np.zeros(tokens.size),
        sampled_j=np.zeros(RULES.max_sequences + 1),
        decode_j=np.zeros(decode.shape),
        mixed_j=np.zeros(mixed.shape),
        shared_j=np.zeros(1),
    )


ENGINE = Engine(rules=RULES, table=table(), runner=run_engine)


def made(constants=TRUE, *, count=70, rates=(2.0, 30.0), noise=0.0, seed=1):
    """Log of a deployment with these constants; the load goes up and down."""
    rng = np.random.default_rng(seed)
    rate = np.where((np.arange(count) // 12) % 2 == 0, *rates)
    arrival = np.cumsum(rng.exponential(1.0, count) / rate)
    trace = Trace(
        arrival_s=arrival - arrival[0],
        input_tokens=rng.integers(20, 900, count),
        output_tokens=rng.integers(2, 30, count),
    )
    step_table, front = apply_calibration(table(), Front(), constants)
    found = run_engine(prepare(trace, RULES, front=front), RULES, step_table).requests
    ttft = found.ttft_s * np.exp(noise * rng.standard_normal(count))
    rest = (found.last_token_s - found.first_token_s) * np.exp(noise * rng.standard_normal(count))
    return RequestLog(
        arrival_s=trace.arrival_s,
        first_token_s=trace.arrival_s + ttft,
        last_token_s=trace.arrival_s + ttft + rest,
        input_tokens=trace.input_tokens,
        output_tokens=trace.output_tokens,
        rows=count,
    )


@pytest.fixture(scope="module")
def fitted():
    return fit_log(made(), ENGINE)


def test_known_constants_are_found_within_a_tenth(fitted):
    """The tolerance is that of a figure of so short a log, which jumps with single requests."""
    for name in NAMES:
        assert getattr(fitted.constants, name) == pytest.approx(getattr(TRUE, name), rel=0.1)


def test_the_intervals_hold_the_known_constants(fitted):
    for name in NAMES:
        low, high = getattr(fitted.low, name), getattr(fitted.high, name)
        assert low <= getattr(TRUE, name) <= high
        assert low <= getattr(fitted.constants, name) <= high


def test_a_load_that_varies_determines_all_constants(fitted):
    assert fitted.identified == dict.fromkeys(NAMES, True)
    assert not fitted.warnings


def test_the_part_held_back_is_predicted_where_it_was_far_off(fitted):
    assert {(one.metric, one.statistic) for one in fitted.errors} == {
        (metric, name) for metric in ("ttft", "tpot", "e2e") for name in ("mean", "p50", "p90")
    }
    assert min(abs(one.before) for one in fitted.errors) > 0.3
    assert max(abs(one.after) for one in fitted.errors) < 0.05
    assert fitted.held > 10
    assert fitted.fitted + fitted.held == 70


def test_a_low_steady_load_warns_that_step_and_operator_time_are_one():
    """One sequence at a time shows one step time: no factor and no addend can be told from it."""
    found = fit_log(made(count=56, rates=(1.0, 1.0), seed=2), ENGINE)
    assert not found.identified["operator_factor"]
    assert not found.identified["step_s"]
    assert any("operator_factor and step_s" in warning for warning in found.warnings)
    assert max(abs(one.after) for one in found.errors) < 0.05


def test_noise_of_the_log_is_in_the_intervals(fitted):
    found = fit_log(made(noise=0.3), ENGINE)
    quiet = fitted.high.operator_factor / fitted.low.operator_factor
    assert found.high.operator_factor / found.low.operator_factor > quiet
    assert found.low.operator_factor <= TRUE.operator_factor <= found.high.operator_factor


def test_the_fit_does_not_see_what_is_held_back(fitted):
    """Answers of the later part twice as slow change the score and nothing else."""
    log, told = made(), []
    late = log.arrival_s >= 0.6 * log.arrival_s[-1]
    longer = np.where(late, log.last_token_s - log.first_token_s, 0.0)
    slow = replace(log, last_token_s=log.last_token_s + longer)
    found = fit_log(slow, ENGINE, tell=told.append)
    assert found.constants == fitted.constants  # the same seed, so the same fit
    assert found.low == fitted.low
    assert found.errors != fitted.errors
    assert told == list(range(1, found.runs + 1))


def test_all_of_a_log_can_be_fitted_to_and_is_then_not_scored():
    found = fit_log(made(count=40), ENGINE, fraction=1.0)
    assert found.errors == ()
    assert (found.fitted, found.held) == (40, 0)


def test_too_short_a_log_and_one_that_does_not_fit_are_refused():
    with pytest.raises(InfeasibleError, match="at least 30"):
        fit_log(made(count=20), ENGINE)
    tight = replace(ENGINE, rules=replace(RULES, kv_blocks=20))
    with pytest.raises(InfeasibleError, match="not the one"):
        fit_log(made(), tight)
    with pytest.raises(InfeasibleError, match="--fraction"):
        fit_log(made(), ENGINE, fraction=0.0)


def test_one_token_answers_have_no_tpot_and_still_fit():
    log = made(count=60)
    single = replace(
        log, output_tokens=np.ones(60, np.int64), last_token_s=log.first_token_s.copy()
    )
    found = fit_log(single, ENGINE)
    assert {one.metric for one in found.errors} == {"ttft", "e2e"}


def test_requests_in_flight_are_counted_at_each_first_token():
    log = RequestLog(
        arrival_s=np.array([0.0, 0.0, 0.0]),
        first_token_s=np.array([1.0, 2.0, 9.0]),
        last_token_s=np.array([5.0, 3.0, 10.0]),
        input_tokens=np.ones(3, np.int64),
        output_tokens=np.array([5, 2, 2]),
        rows=3,
    )
    assert in_flight_at_first_token(log, np.arange(3)).tolist() == [1.0, 2.0, 1.0]
    assert measured(log).tpot_s.tolist() == [1.0, 1.0, 1.0]
    assert statistic(np.array([np.nan, 1.0, 3.0]), "p50") == 2.0
    assert np.isnan(statistic(np.array([np.nan]), "mean"))
