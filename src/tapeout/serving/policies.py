"""Scheduling policies of serving engines, and the settings of published benchmark recipes.

What an engine does by default comes from its documentation; the settings of the closed-loop runs
in the end-to-end table come from the scripts that started the servers (InferenceX, folder
benchmarks, https://github.com/SemiAnalysisAI/InferenceX, Apache-2.0; read 2026-11-25). Host times
are fitted to the fit part of serving/split.py alone (data/host_times.csv, tools/fit_burst.py).

- vllm: running sequences first, then prompts up to `--max-num-batched-tokens`, 8192 by default for
  the API server on chips of 70 GiB and more; asynchronous scheduling.
- sglang: a batch of new prompts runs alone and before the next decode step, up to
  `--max-prefill-tokens`; `--scheduler-recv-interval` and `--num-continuous-decode-steps` let
  arrivals wait for the next look at the queue.
- trt (TensorRT-LLM): in-flight batching, whole prompts up to `max_num_tokens` (8192);
  `attention_dp_config` holds prompts back until every rank has one, `batch_wait_timeout_iters`
  until a step is full.
- atom, and engines without a row: as vllm. Dynamo starts one of the three.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from tapeout.perf import Placement
from tapeout.serving.burst import EnginePolicy
from tapeout.serving.steady import Lengths
from tapeout.serving.tables import host_times


def _timed(policy: EnginePolicy, engine: str, vendor: str) -> EnginePolicy:
    """Policy with the fitted host times of an engine on chips of a vendor."""
    known = host_times(engine, vendor)
    return replace(
        policy,
        skipped_steps=known.skipped_steps,
        request_s=known.request_s,
        token_s=known.token_s,
    )


VLLM = _timed(EnginePolicy(), "vllm", "*")
SGLANG = _timed(EnginePolicy(token_budget=16_384, prefill_alone=True), "sglang", "NVIDIA")
TRT = _timed(EnginePolicy(chunked=False, max_sequences=2048), "trt", "*")
VLLM_TPU = replace(VLLM, token_budget=1024)  # vLLM's arg_utils.py: default of its server on v6e
ATOM = _timed(EnginePolicy(token_budget=16_384), "atom", "*")
_ENGINES = {"vllm": VLLM, "sglang": SGLANG, "trt": TRT, "atom": ATOM, "vllm tpu": VLLM_TPU}
_SHORT = 1500.0  # tokens: tells nominal lengths of 1k from 8k
_LLAMA_MARGIN = 200  # tokens by which max_model_len exceeds input and output


def usual_policy(engine: str) -> EnginePolicy:
    """Policy of an engine as it comes; "dynamo-trt" and the like are the engine they start.

    Examples
    --------
    >>> usual_policy("vLLM TPU").token_budget, usual_policy("vLLM 0.11").token_budget
    (1024, 8192)
    >>> usual_policy("sglang").prefill_alone, usual_policy("dynamo-trt").chunked
    (True, False)
    """
    name = engine.lower().rpartition("dynamo-")[2]
    if name in _ENGINES:
        return _ENGINES[name]
    return _ENGINES.get(name.split()[0] if name else name, VLLM)


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What a recipe looks at."""

    placement: Placement
    lengths: Lengths
    in_flight: float

    @property
    def short(self) -> bool:
        """Nominal lengths of 1k tokens in and 1k out."""
        return max(self.lengths.input, self.lengths.output) < _SHORT


def recipe_policy(run: Setting) -> EnginePolicy:
    """Policy of a published benchmark run: that of the engine with the settings of its script."""
    policy = usual_policy(run.placement.stack)
    if policy is TRT:
        return _trt(policy, run)
    if policy is SGLANG:
        return _sglang(policy, run)
    return policy


def _trt(policy: EnginePolicy, run: Setting) -> EnginePolicy:
    """benchmarks/{70b_fp4,70b_fp8,gptoss_fp4,dsr1_fp4,dsr1_fp8}_*_trt*.sh."""
    model = run.placement.architecture.name.lower()
    policy = replace(policy, balance_steps=60)
    if "llama" in model:
        nominal = (run.lengths.input + run.lengths.output) / 0.9
        policy = replace(policy, token_budget=int(nominal) + _LLAMA_MARGIN)
        if run.short and run.placement.tensor_parallel < 8:
            policy = replace(policy, wait_steps=20, wait_fraction=0.9)
    elif "gpt-oss" in model:
        policy = replace(policy, token_budget=20_000)
    elif "deepseek-r1" in model and "B200" in run.placement.system.chip.name:
        policy = _trt_deepseek(policy, run)
    return policy


def _trt_deepseek(policy: EnginePolicy, run: Setting) -> EnginePolicy:
    """DeepSeek-R1 on B200.

    From 256 in flight, with long prompts in fp4 from 64, the scripts change the expert kernels
    and graph sizes to those of data-parallel attention, and TTFT of the fit part jumps to that of
    rows labelled so, though the label says tensor parallel: such a run holds prompts back until
    each of its ranks has one. An assumption about the label, stated in docs/closed-loop.md.
    """
    formats, ranks = run.placement.formats, run.placement.tensor_parallel
    fp4 = (formats.expert or formats.weight) != "fp8"
    long = run.lengths.input > _SHORT
    if ranks > 1 and (run.in_flight >= 256 or (fp4 and long and run.in_flight >= 64)):
        # Requests end on any rank: all have one after ranks x (1 + 1/2 + ... + 1/ranks) of them.
        each = sum(1.0 / k for k in range(1, ranks + 1))
        return replace(
            policy,
            token_budget=policy.token_budget * ranks,
            wait_steps=60,
            wait_fraction=each * run.lengths.input / policy.token_budget,
        )
    if run.short and not fp4 and run.in_flight >= 64:
        return replace(policy, wait_steps=40, wait_fraction=0.8)
    return policy


def _sglang(policy: EnginePolicy, run: Setting) -> EnginePolicy:
    """benchmarks/dsr1_{fp4,fp8}_{b200,h200,mi300x,mi355x}.sh; others run with the defaults."""
    amd = run.placement.system.chip.name.startswith("AMD")
    if amd:
        policy = _timed(policy, "sglang", "AMD")
    if "deepseek-r1" not in run.placement.architecture.name.lower():
        return policy
    if amd:
        return replace(policy, token_budget=131_072, polled_steps=4)
    if "B200" in run.placement.system.chip.name:
        return replace(policy, polled_steps=30 if run.in_flight >= 16 else 10)
    return replace(policy, token_budget=32_768)
