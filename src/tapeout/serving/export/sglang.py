"""`sglang.launch_server` for a deployment.

Flags are those of SGLang's page of server arguments as of 2026 (0.5 series) [1]_. Only
the policy `sglang` is scheduled alike; with another one the command says that it is not.

References
----------
.. [1] https://docs.sglang.io/advanced_features/server_arguments.html
"""

from __future__ import annotations

from collections.abc import Iterator

from tapeout.errors import InfeasibleError
from tapeout.serving.engine.policies import Sglang, VllmV1
from tapeout.serving.export.command import (
    Command,
    Wanted,
    check_checkpoint,
    quantization,
    ranks_share_experts,
)
from tapeout.serving.types import Deployment

VERSION = "SGLang 0.5"
KV_TYPES = {"bf16": "", "fp16": "", "fp8": "fp8_e4m3"}


def sglang_command(deployment: Deployment, wanted: Wanted) -> Command:
    """Return the command that starts one replica.

    Raises
    ------
    InfeasibleError
        Something in the deployment has no documented flag.
    """
    check_checkpoint(wanted)
    if wanted.kv_role or wanted.speculation:
        raise InfeasibleError(
            "drafts and disaggregation are exported to vLLM only; SGLang's flags for them were "
            "not verified"
        )
    return Command(
        program=("python3", "-m", "sglang.launch_server"),
        arguments=(
            ("--model-path", wanted.hf_model),
            *_parallelism(deployment),
            *_memory(deployment, wanted),
            *quantization(deployment, wanted, "SGLang"),
            *_limits(deployment),
            ("--host", "0.0.0.0"),  # noqa: S104 - a server in a container
            ("--port", str(wanted.port)),
        ),
        model=wanted.hf_model,
        notes=tuple(_notes(deployment)),
        verified=VERSION,
    )


def _parallelism(deployment: Deployment) -> Iterator[tuple[str, ...]]:
    """The degree of tensor parallelism; under data-parallel attention it counts all ranks."""
    placement = deployment.placement
    shared = ranks_share_experts(deployment)
    if shared and placement.tensor_parallel > 1:
        raise InfeasibleError(
            f"tp{placement.tensor_parallel}-dp{placement.data_parallel}: SGLang documents data-"
            "parallel attention for as many data as tensor ranks only; choose tp1"
        )
    ranks = placement.degrees.ranks
    yield ("--tp-size", str(ranks if shared else placement.tensor_parallel))
    if placement.pipeline_parallel > 1:
        yield ("--pp-size", str(placement.pipeline_parallel))
    if placement.data_parallel > 1:
        yield ("--dp-size", str(placement.data_parallel))
    if shared:
        yield ("--enable-dp-attention",)
    if placement.expert_parallel > 1:
        yield ("--ep-size", str(placement.expert_parallel))


def _memory(deployment: Deployment, wanted: Wanted) -> Iterator[tuple[str, ...]]:
    placement = deployment.placement
    stored = placement.formats.kv
    if stored not in KV_TYPES:
        raise InfeasibleError(f"a cache in {stored} is none of {', '.join(KV_TYPES)}")
    if KV_TYPES[stored]:
        yield ("--kv-cache-dtype", KV_TYPES[stored])
    if wanted.memory_fraction is not None:
        yield ("--mem-fraction-static", f"{wanted.memory_fraction:g}")
    if deployment.kv_blocks is not None and placement.data_parallel == 1:
        yield ("--max-total-tokens", str(deployment.kv_blocks * deployment.block_tokens))
    if wanted.max_model_len is not None:
        yield ("--context-length", str(wanted.max_model_len))
    yield ("--page-size", str(deployment.block_tokens))


def _limits(deployment: Deployment) -> Iterator[tuple[str, ...]]:
    policy = deployment.policy
    if deployment.max_sequences is not None and deployment.placement.data_parallel == 1:
        yield ("--max-running-requests", str(deployment.max_sequences))
    if isinstance(policy, VllmV1 | Sglang) and not policy.chunked:
        yield ("--chunked-prefill-size", "-1")
    elif deployment.token_budget is not None:
        together = deployment.placement.data_parallel if ranks_share_experts(deployment) else 1
        yield ("--chunked-prefill-size", str(deployment.token_budget * together))
    if not (isinstance(policy, VllmV1 | Sglang) and policy.prefix_cache):
        yield ("--disable-radix-cache",)
    if isinstance(policy, Sglang) and policy.conservativeness != 1.0:
        yield ("--schedule-conservativeness", f"{policy.conservativeness:g}")


def _notes(deployment: Deployment) -> Iterator[str]:
    if not isinstance(deployment.policy, Sglang):
        yield _other_rules(deployment)
    yield (
        "--mem-fraction-static is weights and cache together, not vLLM's share of memory; it is "
        "left to the engine unless given"
    )
    if deployment.placement.data_parallel > 1:
        yield (
            "limits of sequences and cache are left out: whether they are of one data-parallel "
            "rank or of all is not documented"
        )


def _other_rules(deployment: Deployment) -> str:
    return (
        f"scheduled by SGLang's own rules, not by the simulated policy ({deployment.policy.name}): "
        "prompts run in batches of their own unless it is told otherwise"
    )
