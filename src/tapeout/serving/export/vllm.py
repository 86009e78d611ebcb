"""`vllm serve` for a deployment.

Flags are those of the command-line reference of vLLM 0.19 (docs.vllm.ai, "vllm serve"; the one that
has `--scheduler-reserve-full-isl` and not yet `--watermark`) [1]_; the keys of
`--speculative-config` and `--kv-transfer-config` are from their pages [2]_ [3]_, the meaning of
`--max-num-seqs` and of experts under data parallelism from [4]_. `--kv-offloading-size` and its
backend are those of the source (`vllm/config/cache.py`, commit 002f10e0). What neither says is not
emitted.

References
----------
.. [1] https://docs.vllm.ai/en/stable/cli/serve/
.. [2] https://docs.vllm.ai/en/stable/features/speculative_decoding/
.. [3] https://docs.vllm.ai/en/stable/features/nixl_connector_usage/
.. [4] https://docs.vllm.ai/en/stable/serving/data_parallel_deployment/
.. [5] https://docs.vllm.ai/en/stable/features/quantization/fp8/
"""

from __future__ import annotations

import json
from collections.abc import Iterator

from tapeout.chip.spec import vendor_of
from tapeout.constants import GIB
from tapeout.errors import InfeasibleError
from tapeout.serving.engine.defaults import memory_fraction
from tapeout.serving.engine.policies import VllmV1
from tapeout.serving.export.command import (
    Command,
    Wanted,
    check_checkpoint,
    quantization,
)
from tapeout.serving.types import Deployment

VERSION = "vLLM 0.19"
KV_TYPES = {"bf16": "", "fp16": "", "fp8": "fp8"}  # "" is the default, the model's own type
KV_ROLES = ("kv_producer", "kv_consumer", "kv_both")
NEURON = "AWS"


def vllm_command(deployment: Deployment, wanted: Wanted) -> Command:
    """Return the command that starts one replica.

    Raises
    ------
    InfeasibleError
        The policy is not vLLM's, or something in the deployment has no flag.

    Examples
    --------
    `tapeout export vllm h100 llama-3.1-8b --hf-model meta-llama/Llama-3.1-8B-Instruct` prints it.
    """
    policy = deployment.policy
    if not isinstance(policy, VllmV1):
        raise InfeasibleError(
            f"policy {policy.name} is not what {VERSION} runs; only vllm-v1 can be exported to it"
        )
    check_checkpoint(wanted)
    arguments = (
        *_parallelism(deployment),
        *_memory(deployment, wanted),
        *quantization(deployment, wanted, "vLLM"),
        *_scheduler(deployment, policy),
        *_speculation(policy, wanted),
        *_transfer(wanted),
        ("--port", str(wanted.port)),
    )
    return Command(
        program=("vllm", "serve", wanted.hf_model),
        arguments=arguments,
        model=wanted.hf_model,
        notes=tuple(_notes(deployment, policy, wanted)),
        verified=VERSION,
    )


def _parallelism(deployment: Deployment) -> Iterator[tuple[str, ...]]:
    placement = deployment.placement
    if vendor_of(placement.system.chip.name) != NEURON:  # there the degree counts cores
        yield ("--tensor-parallel-size", str(placement.tensor_parallel))
    if placement.pipeline_parallel > 1:
        yield ("--pipeline-parallel-size", str(placement.pipeline_parallel))
    if placement.data_parallel > 1:
        yield ("--data-parallel-size", str(placement.data_parallel))
    if placement.expert_parallel > 1:
        ranks = placement.degrees.ranks
        if placement.expert_parallel != ranks:
            raise InfeasibleError(
                f"ep{placement.expert_parallel}: vLLM spreads experts over all tensor x data ranks "
                f"({ranks} here) or slices them; choose ep{ranks} or ep1"
            )
        yield ("--enable-expert-parallel",)


def _memory(deployment: Deployment, wanted: Wanted) -> Iterator[tuple[str, ...]]:
    placement = deployment.placement
    fraction = wanted.memory_fraction or memory_fraction(deployment)
    yield ("--gpu-memory-utilization", f"{fraction:g}")
    yield ("--block-size", str(deployment.block_tokens))
    stored = placement.formats.kv
    if stored not in KV_TYPES:
        raise InfeasibleError(
            f"a cache in {stored} is none of vLLM's ({', '.join(KV_TYPES)}); the capacity would "
            "not be the simulated one"
        )
    if KV_TYPES[stored]:
        yield ("--kv-cache-dtype", KV_TYPES[stored])
    if deployment.kv_blocks is not None:
        # One of vLLM's blocks is the null block and holds no keys.
        yield ("--num-gpu-blocks-override", str(deployment.kv_blocks + 1))
    if deployment.host_cache is not None and deployment.host_cache.size_bytes > 0.0:
        if wanted.kv_role:
            raise InfeasibleError(
                "a cache in host memory and a role of disaggregation are two connectors of keys;"
                " leave one of them out"
            )
        yield ("--kv-offloading-size", f"{deployment.host_cache.size_bytes / GIB:g}")
        yield ("--kv-offloading-backend", "native")
    longest = wanted.max_model_len or deployment.max_model_len
    if longest is not None:
        yield ("--max-model-len", str(longest))


def _scheduler(deployment: Deployment, policy: VllmV1) -> Iterator[tuple[str, ...]]:
    if deployment.max_sequences is not None:
        yield ("--max-num-seqs", str(deployment.max_sequences))
    if deployment.token_budget is not None:
        yield ("--max-num-batched-tokens", str(deployment.token_budget))
    yield (_switch("enable-prefix-caching", on=policy.prefix_cache),)
    yield (_switch("enable-chunked-prefill", on=policy.chunked),)
    yield (_switch("async-scheduling", on=policy.async_depth > 0),)
    yield (_switch("scheduler-reserve-full-isl", on=policy.reserve_prompt),)
    if policy.longest_chunk:
        yield ("--long-prefill-token-threshold", str(policy.longest_chunk))
    if policy.watermark_fraction:
        raise InfeasibleError(
            f"a watermark of {policy.watermark_fraction:g}: {VERSION} has no flag for it"
        )


def _switch(name: str, *, on: bool) -> str:
    return f"--{name}" if on else f"--no-{name}"


def _speculation(policy: VllmV1, wanted: Wanted) -> Iterator[tuple[str, ...]]:
    drafts = policy.drafting.drafts if policy.drafting else 0
    if not drafts:
        return
    if wanted.speculation is None:
        raise InfeasibleError(
            f"{drafts} draft tokens a step: name how they are made with --speculative-method"
        )
    config: dict[str, object] = {"method": wanted.speculation.method}
    if wanted.speculation.model:
        config["model"] = wanted.speculation.model
    config["num_speculative_tokens"] = drafts
    yield ("--speculative-config", json.dumps(config))


def _transfer(wanted: Wanted) -> Iterator[tuple[str, ...]]:
    if not wanted.kv_role:
        return
    if wanted.kv_role not in KV_ROLES:
        raise InfeasibleError(f"--kv-role {wanted.kv_role!r} is none of {', '.join(KV_ROLES)}")
    config = {"kv_connector": "NixlConnector", "kv_role": wanted.kv_role}
    yield ("--kv-transfer-config", json.dumps(config))


def _notes(deployment: Deployment, policy: VllmV1, wanted: Wanted) -> Iterator[str]:
    placement = deployment.placement
    if deployment.max_sequences is None or deployment.token_budget is None:
        yield "limits that were not given are left to the engine's defaults for the chip"
    if deployment.kv_blocks is None:
        yield (
            "the engine measures its own cache; compare the number of GPU KV cache blocks it "
            "prints (one is the null block) with the simulated capacity"
        )
    if placement.data_parallel > 1:
        yield "limits are of one data-parallel rank"
    if vendor_of(placement.system.chip.name) == NEURON:
        yield (
            "tensor parallelism is left out: on Neuron it counts logical cores, of which a chip "
            "has several; set --tensor-parallel-size for your core configuration"
        )
    if policy.drafting and placement.pipeline_parallel > 1:
        yield "vLLM up to 0.15 could not combine drafts with pipeline stages; check that yours can"
    if deployment.host_cache is not None and deployment.host_cache.size_bytes > 0.0:
        yield (
            "--kv-offloading-size is of every data-parallel rank, all its chips together; models"
            " with windows or states may need --disable-hybrid-kv-cache-manager"
        )
    if wanted.kv_role:
        yield (
            "disaggregation needs a proxy in front of both pools, and VLLM_NIXL_SIDE_CHANNEL_HOST "
            "and _PORT set on every instance"
        )
