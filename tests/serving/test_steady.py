"""The steady-state mixture, closed loops and percentiles."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapeout.errors import Outcome
from tapeout.perf import PhysicalModel, StepCost, step_mix
from tapeout.serving import Lengths, lengths_of, steady_state
from tapeout.serving.cases import closed_loop
from tapeout.serving.percentiles import (
    slower_request,
    tpot_at_percentile_s,
    ttft_at_percentile_s,
    wait_at_percentile,
)
from tapeout.serving.steady import mixture
from tapeout.workload import Traffic

MODEL = PhysicalModel()
CHAT = Lengths(new=1000.0, cached=0.0, output=500.0)


class LinearModel:
    """A step takes 10 ms + 0.1 ms a sequence + 10 us a prefill token, and 1 J a token."""

    name = "linear"

    def step_cost(self, placement, mix):  # noqa: ARG002
        time_s = 0.01 + 1e-4 * mix.decode_sequences + 1e-5 * mix.prefill_tokens
        return StepCost(
            time_s=time_s,
            energy_j=mix.tokens * 1.0,
            by_kind_s={"gemm": time_s},
            bound=("memory",) * time_s.size,
            outcome=np.full(time_s.size, int(Outcome.OK)),
            log_sd=0.2,
        )


def test_prompts_arrive_as_fast_as_sequences_end():
    """50 sequences of 500 tokens end every tenth step; each brings 1,000 new tokens."""
    mix = mixture(CHAT, np.array([50.0]), 8192.0)
    assert mix.carrying[0] == pytest.approx(0.1)
    np.testing.assert_allclose(mix.steps.prefill_tokens, [0.0, 1000.0])
    np.testing.assert_allclose(mix.steps.decode_kv_tokens, 50 * 1250.0)


@given(
    new=st.floats(1.0, 50_000.0),
    output=st.floats(2.0, 5000.0),
    sequences=st.floats(1.0, 4000.0),
    budget=st.sampled_from([512.0, 8192.0, 65_536.0]),
)
def test_prefill_tokens_are_conserved_below_saturation(new, output, sequences, budget):
    """Carrying share x tokens of a carrying step = sequences / output x new tokens."""
    lengths = Lengths(new=new, cached=0.0, output=output)
    mix = mixture(lengths, np.array([sequences]), budget)
    supplied = mix.carrying[0] * mix.steps.prefill_tokens[1]
    needed = sequences / output * new
    assert mix.load[0] == pytest.approx(needed / budget)
    if mix.load[0] < 1.0:
        assert supplied == pytest.approx(needed)
    else:
        assert supplied == pytest.approx(budget)


def test_tpot_is_the_mixture_of_both_kinds_of_steps(placed):
    state = steady_state(LinearModel(), placed(), CHAT, np.array([50.0]))
    assert state.tpot_s[0] == pytest.approx(0.9 * 0.015 + 0.1 * 0.025)
    assert state.prefill_s[0] == pytest.approx(0.025)
    assert state.output_tokens_per_s[0] == pytest.approx(50 / 0.016)
    rho = 100 / 8192
    assert state.queue_s[0] == pytest.approx(rho / (2 * (1 - rho)) * 0.025)
    assert state.ttft_s[0] == pytest.approx(0.008 + 0.025 + state.queue_s[0])


def test_energy_a_token_is_conserved(placed):
    """1 J a token: per output token itself and its share of the prompt, 1,000 / 500."""
    state = steady_state(LinearModel(), placed(), CHAT, np.array([10.0, 50.0, 400.0]))
    np.testing.assert_allclose(state.joule_per_output_token, 3.0)


def test_a_cached_prefix_is_read_but_not_computed_again(placed):
    traffic = Traffic(
        name="x", model="m", input_tokens=4000.0, output_tokens=500.0, cached_input_fraction=0.75
    )
    lengths = lengths_of(traffic)
    assert (lengths.new, lengths.cached) == (1000.0, 3000.0)
    batch = np.array([32.0])
    cached = steady_state(MODEL, placed(), lengths, batch)
    fresh = steady_state(MODEL, placed(), Lengths(new=4000.0, cached=0.0, output=500.0), batch)
    none = steady_state(MODEL, placed(), CHAT, batch)
    assert none.tpot_s < cached.tpot_s < fresh.tpot_s


def test_prefill_that_cannot_keep_up_has_no_time_to_first_token(placed):
    flood = Lengths(new=100_000.0, cached=0.0, output=10.0)
    state = steady_state(LinearModel(), placed(), flood, np.array([1.0]))
    assert state.load[0] > 1.0
    assert state.ttft_s[0] == np.inf


@given(batch=st.floats(1.0, 500.0), more=st.floats(1.0, 3.0))
def test_a_larger_batch_is_slower_for_each_and_faster_for_all(placed, batch, more):
    few, many = (steady_state(MODEL, placed(), CHAT, np.array([n])) for n in (batch, batch * more))
    assert many.tpot_s >= few.tpot_s * (1 - 1e-9)
    # A few rows more may begin a new row of tiles, which costs some per cent; doubling never does.
    cliff = 0.05 if more < 2.0 else 1e-9
    assert many.output_tokens_per_s >= few.output_tokens_per_s * (1 - cliff)


# Percentiles


def test_the_median_wait_of_an_idle_server_is_none():
    got = wait_at_percentile(np.array([0.1, 0.1]), np.array([0.3, 0.8]), 50.0)
    assert got[0] == 0.0
    assert got[1] == pytest.approx(0.1 / 0.8 * np.log(0.8 / 0.5))


def test_the_waits_tail_integrates_to_its_mean():
    """Mean = integral of rho exp(-t rho / W) = W, so the p-quantiles average to W."""
    share = (np.arange(20_000) + 0.5) / 20_000
    waits = [wait_at_percentile(np.array([2.0]), np.array([0.6]), 100 * p)[0] for p in share[::10]]
    assert np.mean(waits) == pytest.approx(2.0, rel=0.01)


def test_higher_percentiles_are_never_faster(placed):
    state = steady_state(MODEL, placed(), CHAT, np.array([64.0]))
    for level in (tpot_at_percentile_s, ttft_at_percentile_s):
        values = [level(state, p)[0] for p in (50.0, 75.0, 90.0, 99.0)]
        assert values == sorted(values)
    assert slower_request(np.array([1.0]), 90.0)[0] == pytest.approx(1.10, abs=0.005)
    assert slower_request(np.array([1.0]), 50.0)[0] == pytest.approx(1.0)


# Closed loops


def test_a_closed_loop_obeys_littles_law(placed):
    """Requests in flight = request rate x (time to first token + output x time per token)."""
    loop = closed_loop(MODEL, placed(tensor_parallel=4), CHAT, np.array([4.0, 32.0, 256.0]))
    rate = loop.output_tokens_per_s_per_chip * 4 / CHAT.output
    inside = rate * (loop.ttft_s + CHAT.output * loop.tpot_s)
    np.testing.assert_allclose(inside, [4.0, 32.0, 256.0], rtol=0.02)


def test_what_memory_does_not_hold_waits(placed, chip):
    small = placed(chip=chip(memory_bytes=100e9))
    loop = closed_loop(MODEL, small, CHAT, np.array([16.0, 4096.0]))
    assert loop.decoding[1] < 4096.0
    assert loop.ttft_s[1] > 10 * loop.ttft_s[0]


def test_the_stack_of_a_placement_reaches_the_prediction(placed):
    known = replace(MODEL.fit, effects={"engine|chip vllm|NVIDIA plain": 0.5})
    part = replace(placed(), stack="vllm")
    slow = closed_loop(PhysicalModel(fit=known), part, CHAT, np.array([8.0]))
    plain = closed_loop(PhysicalModel(fit=replace(known, effects={})), part, CHAT, np.array([8.0]))
    assert slow.tpot_s[0] / plain.tpot_s[0] == pytest.approx(np.exp(0.5), rel=0.02)


def test_a_decode_step_of_the_mixture_is_the_step_itself(placed):
    mix = mixture(CHAT, np.array([20.0]), 8192.0)
    alone = step_mix(decode=20.0, context=CHAT.context)
    got = MODEL.step_cost(placed(), mix.steps).time_s[0]
    assert got == pytest.approx(MODEL.step_cost(placed(), alone).time_s[0])
