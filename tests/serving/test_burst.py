"""Closed loops with a burst start: closed forms, limits, conservation, an independent stepper."""

import os
from collections import deque
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.interpolate import RegularGridInterpolator

from tapeout.errors import InfeasibleError
from tapeout.perf import PhysicalModel, StepCost
from tapeout.serving import _kernels as kernels
from tapeout.serving.burst import (
    EnginePolicy,
    Requests,
    StepTables,
    burst_closed_loop,
    request_lengths,
    run_burst,
    step_tables,
)
from tapeout.serving.cases import closed_loop
from tapeout.serving.measured import read_rows, scored_curves
from tapeout.serving.policies import (
    SGLANG,
    TRT,
    VLLM,
    VLLM_TPU,
    Setting,
    recipe_policy,
    usual_policy,
)
from tapeout.serving.scoring import summarise
from tapeout.serving.split import is_fit_curve, require_fit_part
from tapeout.serving.steady import Lengths

DATA = Path(os.environ.get("TAPEOUT_DATA", Path(__file__).parents[3] / "shared/data"))
BASE_S, SEQUENCE_S, TOKEN_S, CONTEXT_S = 0.01, 1e-4, 1e-5, 1e-9
AT_ONCE = EnginePolicy(skipped_steps=0)
CHAT = Lengths(new=1000.0, cached=0.0, output=500.0)


def step_s(tokens, running, context):
    """Linear in tokens and sequences, bilinear in sequences and context: tables hold it exactly."""
    return BASE_S + TOKEN_S * tokens + running * (SEQUENCE_S + CONTEXT_S * context)


class LinearModel:
    name = "linear"

    def step_cost(self, placement, mix):
        del placement
        mean = mix.decode_kv_tokens / np.maximum(mix.decode_sequences, 1.0)
        time_s = step_s(mix.prefill_tokens, mix.decode_sequences, mean)
        return StepCost(
            time_s=time_s,
            energy_j=mix.tokens,
            by_kind_s={},
            bound=("memory",) * time_s.size,
            outcome=np.zeros(time_s.size, dtype=np.int64),
            log_sd=0.1,
        )


def linear_tables(most=64.0, budget=8192.0):
    sequences, contexts = np.array([1.0, 8.0, most]), np.array([900.0, 1200.0, 2100.0])
    chunks, beside = np.array([1.0, 512.0, budget]), np.array([0.0, 1.0, 8.0, most])
    return StepTables(
        sequences=sequences,
        contexts=contexts,
        decode_s=step_s(0.0, sequences[:, None], contexts[None, :]),
        chunks=chunks,
        beside=beside,
        carry_s=step_s(chunks[:, None, None], beside[None, :, None], contexts[None, None, :]),
    )


def requests(count, spread=0.1, output=200.0, seed=1):
    rng = np.random.default_rng(seed)
    return (
        request_lengths(1000.0, spread, count, rng),
        np.maximum(request_lengths(output, spread, count, rng), 2),
    )


# limits and closed forms


def test_one_request_at_a_time_waits_for_nothing():
    """TTFT is the prompt's own step; TPOT the decode step at the mean context."""
    new, out = requests(5, spread=0.0)
    run = run_burst(linear_tables(), Requests(new=new, out=out, in_flight=1), AT_ONCE)
    np.testing.assert_allclose(run.ttft_s, step_s(1000.0, 0.0, 0.0))
    np.testing.assert_allclose(run.tpot_s, step_s(0.0, 1.0, 1001.0 + 198 / 2))
    np.testing.assert_allclose(run.in_flight, 1.0)


def test_the_burst_queues_for_the_budget():
    """A budget of one prompt, prompts alone: the k-th has its first token after k steps."""
    new, out = requests(80, spread=0.0)
    policy = replace(AT_ONCE, token_budget=1000, prefill_alone=True)
    run = run_burst(linear_tables(), Requests(new=new, out=out, in_flight=8), policy)
    np.testing.assert_allclose(run.ttft_s[:8], np.arange(1, 9) * step_s(1000.0, 0.0, 0.0))


def test_lengths_without_spread_keep_the_burst_together():
    """All end in one step, so every round queues like the first."""
    new, out = requests(40, spread=0.0)
    policy = replace(AT_ONCE, token_budget=4000, prefill_alone=True)
    run = run_burst(linear_tables(), Requests(new=new, out=out, in_flight=4), policy)
    np.testing.assert_allclose(run.ttft_s, step_s(4000.0, 0.0, 0.0))


def test_prompts_of_a_burst_pass_the_tokeniser_one_by_one():
    """When it is slower than the engine, the k-th waits for k prompts of it."""
    new, out = requests(4, spread=0.0)
    policy = replace(AT_ONCE, prefill_alone=True, request_s=0.1, token_s=1e-3)
    run = run_burst(linear_tables(), Requests(new=new, out=out, in_flight=4), policy)
    assert run.ttft_s[0] == pytest.approx(0.1 + 1.0 + step_s(1000.0, 0.0, 0.0))
    later = 0.1 + np.arange(2, 5) + step_s(1000.0, 0.0, 0.0)
    assert np.all(run.ttft_s[1:] >= later - 1e-12)
    assert np.all(run.ttft_s[1:] < later + 2 * step_s(0.0, 4.0, 2000.0))


def test_steps_missed_and_looks_at_the_queue_delay_the_first_token():
    new, out = requests(40)
    base = run_burst(linear_tables(), Requests(new=new, out=out, in_flight=4), AT_ONCE)
    step = float(np.median(base.tpot_s))
    missed = run_burst(
        linear_tables(), Requests(new=new, out=out, in_flight=4), replace(AT_ONCE, skipped_steps=5)
    )
    assert np.median(missed.ttft_s - base.ttft_s) == pytest.approx(5 * step, rel=0.3)
    polled = run_burst(
        linear_tables(), Requests(new=new, out=out, in_flight=4), replace(AT_ONCE, polled_steps=30)
    )
    assert np.mean(polled.ttft_s - base.ttft_s) == pytest.approx(15 * step, rel=0.3)
    waiting = replace(AT_ONCE, wait_steps=20, wait_fraction=0.9)
    waited = run_burst(linear_tables(), Requests(new=new, out=out, in_flight=4), waiting)
    # The first of a batch waits 20 steps, those that join it less.
    assert 10 * step < np.median(waited.ttft_s - base.ttft_s) < 20 * step


def test_ranks_wait_for_each_other_when_told_to():
    new, out = requests(80)
    apart = run_burst(
        linear_tables(budget=32768.0), Requests(new=new, out=out, in_flight=8), AT_ONCE, ranks=4
    )
    policy = replace(AT_ONCE, balance_steps=60)
    together = run_burst(
        linear_tables(budget=32768.0), Requests(new=new, out=out, in_flight=8), policy, ranks=4
    )
    assert together.carrying_steps < apart.carrying_steps
    assert np.median(together.ttft_s) > 2 * np.median(apart.ttft_s)
    assert together.output_tokens == apart.output_tokens


def test_memory_keeps_requests_waiting():
    """Two at a time of eight: TTFT of the last of the burst is three rounds of decoding."""
    new, out = requests(80, spread=0.0)
    run = run_burst(
        linear_tables(), Requests(new=new, out=out, in_flight=8), replace(AT_ONCE, max_sequences=2)
    )
    assert run.ttft_s[7] > 3 * 199 * step_s(0.0, 2.0, 1000.0)
    assert run.decoding <= 2.0


def test_many_mixed_requests_approach_the_steady_state(placed):
    """Far from saturation and with lengths spread wide the bunching fades."""
    model, place = LinearModel(), placed()
    many = np.array([48.0])
    steady = closed_loop(model, place, CHAT, many)
    run = burst_closed_loop(model, place, CHAT, 0.9, many, AT_ONCE)
    assert run.tpot_s[0] == pytest.approx(steady.tpot_s[0], rel=0.08)
    # The end of the run, when no more are sent, costs a part of the rate.
    assert 0.75 < (run.output_tokens_per_s_per_chip / steady.output_tokens_per_s_per_chip)[0] < 1.02


# conservation and order

POLICIES = st.builds(
    EnginePolicy,
    token_budget=st.sampled_from([300, 1100, 8192]),
    prefill_alone=st.booleans(),
    max_sequences=st.sampled_from([2, 5, 1024]),
    skipped_steps=st.integers(0, 3),
    polled_steps=st.sampled_from([1, 7]),
    request_s=st.sampled_from([0.0, 0.013]),
    token_s=st.sampled_from([0.0, 8e-6]),
)


class Stepper:
    """The same rules written again: one step at a time, one rank, plain lists."""

    def __init__(self, tables, new, out, slots, policy):
        axes = (tables.chunks, tables.beside, tables.contexts)
        self.carry = RegularGridInterpolator(axes, tables.carry_s)
        self.decode = RegularGridInterpolator((tables.sequences, tables.contexts), tables.decode_s)
        self.tables, self.new, self.out, self.policy = tables, new, out, policy
        arrival = np.cumsum(policy.token_s * new[:slots]) + policy.request_s
        self.waiting = deque((k, arrival[k], 0, 0.0) for k in range(slots))
        self.left, self.got, self.held, self.sent = list(new), {}, set(), slots
        self.now, self.step, self.looked, self.fresh = 0.0, 0, (0, 0.0), True
        self.ttft, self.first, self.tpot = (np.zeros(new.size) for _ in range(3))

    def run(self):
        while self.waiting or self.got:
            if self.fresh or self.step - self.looked[0] >= self.policy.polled_steps:
                self.looked = (self.step, self.now)
            picked = self.pick()
            if not picked and not self.got:
                _, ready, first_step, _ = min(self.waiting, key=lambda one: one[1])
                self.now, self.step = max(self.now, ready), max(self.step, first_step)
                self.fresh = True
                continue
            tokens = sum(take for _, take in picked)
            alone = self.policy.prefill_alone and tokens > 0
            self.now += self.time_s(tokens, 0 if alone else len(self.got))
            self.step, self.fresh = self.step + 1, tokens > 0
            if not alone:
                self.decode_all()
            self.prefill(picked)
        return self.ttft, self.tpot, self.now

    def pick(self):
        policy, picked = self.policy, []
        room = policy.token_budget - (0 if policy.prefill_alone else len(self.got))
        for k, ready, first_step, _ in self.waiting:
            late = ready > self.looked[1] or first_step > self.step
            busy = len(self.got) + len(self.held)
            if room <= 0 or late or (k not in self.held and busy >= policy.max_sequences):
                break
            self.held.add(k)
            picked.append((k, min(self.left[k], room)))
            room -= picked[-1][1]
        return picked

    def time_s(self, tokens, running):
        low, high = self.tables.contexts[[0, -1]]
        mean = np.mean([self.new[k] + n for k, n in self.got.items()]) if self.got else low
        context = np.clip(mean, low, high)
        if tokens:
            return float(self.carry([[tokens, running, context]])[0])
        return float(self.decode([[running, context]])[0])

    def decode_all(self):
        self.got = {k: n + 1 for k, n in self.got.items()}
        for k in [k for k in self.got if self.got[k] == self.out[k]]:
            self.tpot[k] = (self.now - self.first[k]) / (self.out[k] - 1)
            del self.got[k]
            if self.sent < self.new.size:
                policy = self.policy
                ready = self.now + policy.request_s + policy.token_s * self.new[self.sent]
                first_step = self.step + policy.skipped_steps
                self.waiting.append((self.sent, ready, first_step, self.now))
                self.sent += 1

    def prefill(self, picked):
        for k, take in picked:
            self.left[k] -= take
            if self.left[k] == 0:
                one = self.waiting.popleft()
                assert one[0] == k
                self.held.remove(k)
                self.first[k], self.ttft[k], self.got[k] = self.now, self.now - one[3], 1


@settings(max_examples=25)
@given(policy=POLICIES, slots=st.integers(1, 7), seed=st.integers(0, 1000))
def test_the_kernel_steps_as_the_rules_say(policy, slots, seed):
    """Equal prompts: requests that end in one step are followed in another order there."""
    new, out = requests(3 * slots, output=23.0, seed=seed)
    new[:] = 1000
    tables = linear_tables()
    run = run_burst(tables, Requests(new=new, out=out, in_flight=slots), policy)
    ttft, tpot, end = Stepper(tables, new, out, slots, policy).run()
    assert run.duration_s == pytest.approx(end)
    np.testing.assert_allclose(run.ttft_s, ttft)
    np.testing.assert_allclose(run.tpot_s, tpot)


@settings(max_examples=25)
@given(
    policy=POLICIES,
    slots=st.integers(1, 9),
    ranks=st.integers(1, 3),
    wait=st.sampled_from([0, 4]),
    chunked=st.booleans(),
)
def test_jumps_change_nothing_and_tokens_are_conserved(policy, slots, ranks, wait, chunked):
    policy = replace(
        policy, balance_steps=wait, wait_steps=wait, wait_fraction=0.5, chunked=chunked
    )
    new, out = requests(4 * slots, output=60.0)
    tables = linear_tables(budget=8192.0 * ranks)
    fast = run_burst(tables, Requests(new=new, out=out, in_flight=slots), policy, ranks=ranks)
    slow = run_burst(
        tables, Requests(new=new, out=out, in_flight=slots), policy, ranks=ranks, jump=False
    )
    assert (fast.steps, fast.carrying_steps) == (slow.steps, slow.carrying_steps)
    np.testing.assert_allclose(fast.ttft_s, slow.ttft_s)
    np.testing.assert_allclose(fast.tpot_s, slow.tpot_s)
    assert (fast.prompt_tokens, fast.output_tokens) == (new.sum(), out.sum())
    assert np.all(fast.end_s > 0.0)
    np.testing.assert_allclose(
        fast.end_s - fast.sent_s, fast.ttft_s + fast.tpot_s * (out - 1), rtol=1e-9
    )
    assert fast.in_flight <= slots * (1 + 1e-9)


def test_the_kernel_equals_its_python():
    new, out = requests(12, output=30.0)
    t, host = linear_tables(), np.array([0.01, 8e-6])
    policy = np.array([1500, 0, 1, 8, 2, 5, 0, 3, 900], dtype=np.int64)
    arguments = (
        new, out, 4, 1, policy, host, t.sequences, t.contexts, t.decode_s, t.chunks, t.beside,
        t.carry_s, 1,
    )  # fmt: skip
    plain = getattr(kernels.closed_loop_run, "py_func", kernels.closed_loop_run)
    for ours, theirs in zip(kernels.closed_loop_run(*arguments), plain(*arguments), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-12)


def test_tables_hold_a_linear_model_exactly(placed):
    """And a chunk shorter than a prompt comes from its middle."""
    tables = step_tables(LinearModel(), placed(), CHAT, 100, 8192)
    running, context = tables.sequences[:, None], tables.contexts[None, :]
    np.testing.assert_allclose(tables.decode_s, step_s(0.0, running, context))
    assert tables.sequences[-1] == 100.0
    assert CHAT.new in tables.chunks
    assert tables.chunks[-1] == 8192.0
    assert tables.beside[0] == 0.0


# monotone


def test_more_in_flight_wait_longer_and_finish_more(placed):
    loads = np.array([1.0, 4.0, 16.0, 64.0, 256.0])
    got = burst_closed_loop(LinearModel(), placed(), CHAT, 0.1, loads, VLLM)
    assert np.all(np.diff(got.mean_ttft_s) > 0.0)
    assert np.all(np.diff(got.output_tokens_per_s_per_chip) > 0.0)
    assert np.all(np.diff(got.tpot_s) > 0.0)
    assert np.all(got.in_flight <= loads + 1e-9)
    assert np.all(got.in_flight > 0.85 * loads)


def test_a_larger_budget_serves_the_burst_sooner():
    new, out = requests(320)
    ends = [
        run_burst(
            linear_tables(),
            Requests(new=new, out=out, in_flight=32),
            replace(AT_ONCE, token_budget=budget),
        ).ttft_s
        for budget in (1000, 2000, 4000, 8000)
    ]
    assert np.all(np.diff([ttft[:32].max() for ttft in ends]) < 0.0)


# lengths, refusals, policies


def test_lengths_are_stratified_and_repeatable():
    rng = np.random.default_rng(3)
    values = request_lengths(900.0, 1 / 9, 1000, rng)
    assert values.mean() == pytest.approx(900.0, rel=1e-3)
    assert (values.min(), values.max()) == (800, 1000)
    again = request_lengths(900.0, 1 / 9, 1000, np.random.default_rng(3))
    assert values.tobytes() == again.tobytes()
    assert np.all(request_lengths(64.0, 0.0, 10, rng) == 64)


def test_the_same_input_gives_the_same_bytes(placed):
    loads = np.array([8.0])
    one, two = (
        burst_closed_loop(LinearModel(), placed(), CHAT, 0.1, loads, SGLANG) for _ in range(2)
    )
    assert one.ttft_s.tobytes() == two.ttft_s.tobytes()


def test_impossible_settings_are_refused(placed):
    loads = np.array([4.0, 8.0])
    with pytest.raises(InfeasibleError, match="spread by 1"):
        burst_closed_loop(LinearModel(), placed(), CHAT, 1.0, loads, VLLM)
    with pytest.raises(InfeasibleError, match="1 policies for 2 points"):
        burst_closed_loop(LinearModel(), placed(), CHAT, 0.1, loads, [VLLM])


@pytest.mark.parametrize(
    ("engine", "policy"),
    [
        ("vllm", VLLM),
        ("vLLM TPU", VLLM_TPU),
        ("dynamo-trt", TRT),
        ("sglang", SGLANG),
        ("new", VLLM),
    ],
)
def test_every_engine_has_a_policy(engine, policy):
    assert usual_policy(engine) is policy


def test_a_recipe_sets_what_its_script_sets(placed, chip):
    short = Lengths(new=921.6, cached=0.0, output=921.6)
    trt = Setting(placement=placed(stack="trt"), lengths=short, in_flight=4.0)
    assert recipe_policy(trt).wait_steps == 20
    assert recipe_policy(trt).token_budget == 2048 + 200
    wide = Setting(placement=placed(stack="trt", tensor_parallel=8), lengths=short, in_flight=4.0)
    assert recipe_policy(wide).wait_steps == 0
    chip_b200 = chip(name="NVIDIA B200")
    deep = placed("deepseek-r1-0528", chip=chip_b200, stack="trt", tensor_parallel=8)
    assert recipe_policy(Setting(placement=deep, lengths=short, in_flight=64.0)).wait_steps == 40
    held = recipe_policy(Setting(placement=deep, lengths=short, in_flight=256.0))
    assert (held.wait_steps, held.token_budget) == (60, 8 * 8192)
    # 8 (1 + 1/2 + ... + 1/8) prompts until each of 8 ranks has one.
    assert held.wait_fraction * held.token_budget == pytest.approx(21.743 * 921.6, rel=1e-4)
    plain = Setting(placement=placed(stack="vllm"), lengths=short, in_flight=4.0)
    assert recipe_policy(plain) is VLLM


@pytest.mark.shared_data
@pytest.mark.skipif(not (DATA / "measured/endtoend.csv").is_file(), reason="no measurements here")
def test_the_burst_explains_most_of_ttft_on_the_fit_part():
    """Steady state: 52 % median error and 51 % too low; curves of the report part are not read."""
    curves = [c for c in scored_curves(read_rows(DATA)) if is_fit_curve(c.key)][::5]
    model = PhysicalModel()
    logs = {"burst": [], "steady": []}
    for curve in curves:
        require_fit_part(curve.cases)
        measured = curve.column("measured_ttft_s")
        logs["burst"].append(np.log(curve.predict(model).ttft_s / measured))
        logs["steady"].append(np.log(curve.steady(model).ttft_s / measured))
    keys = [curve.key for curve in curves for _ in curve.cases]
    burst, steady = (summarise(np.concatenate(logs[name]), keys) for name in ("burst", "steady"))
    assert burst.median < 0.25
    assert abs(burst.bias) < 0.1
    assert burst.median < 0.5 * steady.median
