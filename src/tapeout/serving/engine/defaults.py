"""What an engine does on a chip unless told otherwise, and everything built for a deployment.

Those of vLLM V1 (`EngineArgs`, releases 0.14 to 0.19) depend on memory and on whether the API
server or the `LLM` class runs the engine. Other policies have limits of their own: those of vLLM V0
(`SchedulerConfig`, release 0.6) and of vidur's schedulers (its `config.py`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from tapeout.chip.types import ChipSpec
from tapeout.constants import GIB, MIB
from tapeout.perf import MemorySettings, Placement, TimingModel
from tapeout.serving.engine.capacity import (
    KvCapacity,
    given_capacity,
    kv_capacity,
    static_capacity,
)
from tapeout.serving.engine.drafting import with_draft_passes
from tapeout.serving.engine.host_cache import HostTierSize, tier_size, with_tier
from tapeout.serving.engine.policies import DRAFT_SHARE, Limits, Policy, VllmV1
from tapeout.serving.engine.tables import step_table
from tapeout.serving.engine.types import Rules, StepTable
from tapeout.serving.types import Deployment

MEMORY_FRACTION = 0.9
"""gpu_memory_utilization by default in vLLM 0.19, whose semantics vllm-v1 has; 0.92 came later."""
STATED_CONTEXT = 8192
"""Assumption: longest sequence of an engine whose model does not say what it was made for."""
VLLM_V0_TOKENS = 2048  # max_num_batched_tokens is this, or max_model_len where that is more
VLLM_V0_SEQUENCES = 256  # max_num_seqs
VIDUR_BATCH = 128  # batch_size_cap of every scheduler
SARATHI_CHUNK = 512  # chunk_size
LARGE_BYTES = 70.0 * GIB  # from here on a GPU gets the large budgets, except the A100
REPORTED = 0.97  # least share of its nominal memory that a device reports as usable


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineDefaults:
    """Limits of one data-parallel rank.

    Attributes
    ----------
    token_budget : int
        max_num_batched_tokens.
    max_sequences : int
        max_num_seqs.
    source : str
        Whose they are, in words.
    """

    token_budget: int
    max_sequences: int
    source: str = "vLLM's API server by default"


SGLANG_SEQUENCES = 2048
"""max_running_requests: the least of SGLang's range; it takes 512 for every longest context that
the cache holds, between 2048 and 4096."""
SGLANG_LARGE_GIB = 60.0  # from here on at least 10 GiB stay outside the static share
_SGLANG = ((20.0, 2048, 8, 8), (35.0, 2048, 24, 80), (60.0, 4096, 32, 160), (90.0, 8192, 256, 512),
           (160.0, 8192, 256, 512), (float("inf"), 16384, 512, 512))  # fmt: skip
"""Below so many GiB: chunked_prefill_size, cuda_graph_max_bs below 4 tensor ranks, and from 4 on
(SGLang's server_args.py, `_handle_gpu_memory_settings`; docs/simulate.md names the commit)."""
_LARGE = {True: 16384, False: 8192}  # key: the LLM class
_OTHER = {True: 8192, False: 2048}
_TPU = {
    "v6e": {True: 2048, False: 1024},
    "v5e": {True: 1024, False: 512},
    "v5p": {True: 512, False: 256},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSetup:
    """All that a run of an engine needs.

    Attributes
    ----------
    rules : Rules
    table : StepTable
    kv : KvCapacity
    notes : tuple of str
        What was taken by default or assumed, in words.
    host : HostTierSize, optional
        Tier in host memory.
    """

    rules: Rules
    table: StepTable
    kv: KvCapacity
    notes: tuple[str, ...]
    host: HostTierSize | None = None


def engine_defaults(chip: ChipSpec, *, offline: bool = False) -> EngineDefaults:
    """Limits that vLLM takes on a chip.

    Parameters
    ----------
    chip : ChipSpec
    offline : bool
        The `LLM` class instead of the API server.

    Notes
    -----
    vLLM asks the device for its memory, which is a little under the nominal one. Google's chips
    have budgets of their own; one without an entry is taken as the v6e.
    """
    name = chip.name.lower()
    if "tpu" in name or name.startswith("google"):
        budget = next((own for key, own in _TPU.items() if key in name), _TPU["v6e"])
        large = chip.memory_bytes >= LARGE_BYTES
        return EngineDefaults(token_budget=budget[offline], max_sequences=1024 if large else 256)
    if chip.memory_bytes * REPORTED >= LARGE_BYTES and "a100" not in name:
        return EngineDefaults(token_budget=_LARGE[offline], max_sequences=1024)
    return EngineDefaults(token_budget=_OTHER[offline], max_sequences=256)


def policy_defaults(policy: Policy, chip: ChipSpec, longest_context: int) -> EngineDefaults:
    """Limits that a policy's own engine takes on a chip.

    Parameters
    ----------
    policy : Policy
    chip : ChipSpec
    longest_context : int
        max_model_len.

    Notes
    -----
    Orca and static batches have no budget in vidur; the longest sequence, which a prompt that may
    not be split needs, is an assumption.
    """
    if policy.name == "vllm-v0":
        return EngineDefaults(
            token_budget=max(longest_context, VLLM_V0_TOKENS),
            max_sequences=VLLM_V0_SEQUENCES,
            source="vLLM 0.6 by default, prompts not split",
        )
    if policy.name == "sglang":
        return _sglang_defaults(chip)
    if policy.name == "sarathi":
        return EngineDefaults(
            token_budget=SARATHI_CHUNK, max_sequences=VIDUR_BATCH, source="vidur by default"
        )
    if policy.name in {"orca", "static"}:
        return EngineDefaults(
            token_budget=longest_context,
            max_sequences=VIDUR_BATCH,
            source="batches as in vidur by default; tokens: the longest sequence, assumed",
        )
    return replace(engine_defaults(chip), source=f"vLLM's API server by default on {chip.name}")


def _sglang_row(chip: ChipSpec) -> tuple[float, int, int, int]:
    """Row of SGLang's table; memory as the device reports it, hardly under the nominal one."""
    return next(row for row in _SGLANG if chip.memory_bytes * REPORTED < row[0] * GIB)


def _sglang_defaults(chip: ChipSpec) -> EngineDefaults:
    return EngineDefaults(
        token_budget=_sglang_row(chip)[1],
        max_sequences=SGLANG_SEQUENCES,
        source=f"SGLang by default on {chip.name}",
    )


def sglang_fraction(placement: Placement, budget: int) -> float:
    """mem_fraction_static by default: what activations and graphs leave of the memory.

    Parameters
    ----------
    placement : Placement
    budget : int
        chunked_prefill_size, of all data-parallel ranks together.

    Notes
    -----
    In MiB: 512, 1.5 a token of a chunk (at least 2048 tokens), 2 a sequence of the largest graph
    and 128 a chip of the replica are set aside; from 60 GiB on at least 10 GiB. Rounded to three
    places. Data-parallel attention sets more aside (`--enable-dp-attention`).
    """
    chip = placement.system.chip
    _, _, few, many = _sglang_row(chip)
    ranks = placement.degrees.ranks
    graph = few if ranks < 4 else many
    parts_mib = 512.0 + 1.5 * max(budget, 2048) + 2.0 * graph + 128.0 * ranks
    if placement.data_parallel > 1:
        parts_mib += graph * placement.data_parallel * (4.5 if graph > 300 else 3.0)
    aside = parts_mib * MIB
    if chip.memory_bytes > SGLANG_LARGE_GIB * GIB:
        aside = max(aside, 10.0 * GIB)
    return round(1.0 - aside / chip.memory_bytes, 3)


def longest_of(deployment: Deployment) -> int:
    """Longest sequence an engine takes: as given, else the model's, else `STATED_CONTEXT`."""
    if deployment.max_model_len is not None:
        return deployment.max_model_len
    return deployment.placement.architecture.max_context_tokens or STATED_CONTEXT


def setup(deployment: Deployment, model: TimingModel, *, longest_context: int) -> EngineSetup:
    """Build rules, step table and cache capacity of a deployment.

    Parameters
    ----------
    deployment : Deployment
        What it leaves out is what the engine of its policy does by default on the chip.
    model : TimingModel
    longest_context : int
        Tokens of the longest sequence, input and output (max_model_len); longer requests are
        rejected.

    Raises
    ------
    DoesNotFitError
        The weights leave no room for a cache block.
    MissingFieldError, InfeasibleError
        As the timing model.
    """
    usual = policy_defaults(deployment.policy, deployment.placement.system.chip, longest_context)
    ranks = deployment.placement.data_parallel
    if deployment.policy.name == "sglang":  # its chunk is that of all ranks
        usual = replace(usual, token_budget=usual.token_budget // ranks)
    sequences = deployment.max_sequences or usual.max_sequences
    budget = deployment.token_budget or _budget(deployment, usual, sequences, longest_context)
    fraction = memory_fraction(deployment)
    static = deployment.policy.name == "sglang"
    if static and deployment.memory_fraction is None:
        fraction = sglang_fraction(deployment.placement, budget * ranks)
    placement = _with_limits(deployment.placement, budget, fraction)
    if deployment.kv_blocks is not None:
        kv = given_capacity(deployment.kv_blocks, deployment.block_tokens)
    elif static:
        kv = static_capacity(
            placement, longest_context=longest_context, block_tokens=deployment.block_tokens
        )
    else:
        kv = kv_capacity(
            placement,
            max_sequences=sequences,
            longest_context=longest_context,
            block_tokens=deployment.block_tokens,
        )
    rules = deployment.policy.rules(
        Limits(
            token_budget=budget,
            max_sequences=sequences,
            kv_blocks=kv.blocks,
            block_tokens=deployment.block_tokens,
            ranks=placement.data_parallel,
        )
    )
    rules = replace(rules, longest=longest_context)
    host = None
    if deployment.host_cache is not None and deployment.host_cache.size_bytes > 0.0:
        size = deployment.block_tokens
        host = tier_size(
            deployment.host_cache, placement, longest_context=longest_context, block_tokens=size
        )
        chips = placement.chips // placement.data_parallel
        rules = with_tier(rules, deployment.host_cache, host, chips)
    table = step_table(
        model,
        placement,
        token_budget=budget,
        max_sequences=sequences,
        longest_context=longest_context,
    )
    if rules.drafts:
        share = _draft_share(deployment.policy)
        table = with_draft_passes(table, drafts=rules.drafts, share=share)
    notes = _notes(deployment, usual.source, kv, rules)
    if host is not None:
        notes += (host.source,)
    return EngineSetup(rules=rules, table=table, kv=kv, notes=notes, host=host)


def _draft_share(policy: Policy) -> float:
    drafting = policy.drafting if isinstance(policy, VllmV1) else None
    return DRAFT_SHARE if drafting is None else drafting.share


def _budget(
    deployment: Deployment, usual: EngineDefaults, sequences: int, longest_context: int
) -> int:
    """Budget by default: no more than all sequences could fill, a whole prompt without chunks."""
    budget = min(usual.token_budget, sequences * longest_context)
    trial = Limits(token_budget=budget, max_sequences=sequences, kv_blocks=1)
    return budget if deployment.policy.rules(trial).chunked else max(budget, longest_context)


def memory_fraction(deployment: Deployment) -> float:
    """Share of the memory that the engine takes.

    As the deployment gives it, else as the placement does where that is not what every placement
    has by default, else `MEMORY_FRACTION`.
    """
    if deployment.memory_fraction is not None:
        return deployment.memory_fraction
    placed = deployment.placement.memory.usable_fraction
    return MEMORY_FRACTION if placed == MemorySettings().usable_fraction else placed


def _with_limits(placement: Placement, budget: int, fraction: float) -> Placement:
    """Placement with the engine's share of memory, its activations sized for the budget."""
    memory = replace(placement.memory, token_budget=budget, usable_fraction=fraction)
    return replace(placement, memory=memory)


def _notes(deployment: Deployment, source: str, kv: KvCapacity, rules: Rules) -> tuple[str, ...]:
    found = []
    if deployment.token_budget is None:
        found.append(f"{rules.token_budget} tokens a step: {source}")
    if deployment.max_sequences is None:
        found.append(f"{rules.max_sequences} sequences: {source}")
    if deployment.kv_blocks is None:
        found.append(
            f"{kv.printed:,} cache blocks ({kv.low + 1:,} to {kv.high + 1:,}): {kv.source}"
        )
    if rules.async_depth == 0:
        found.append(
            "this policy decides between steps, but step times have host time as hidden by"
            " asynchronous scheduling, which the constants were fitted to: times are optimistic"
        )
    if rules.drafts:
        chances = ", ".join(f"{one:g}" for one in dict.fromkeys(rules.acceptance))
        found.append(
            f"{rules.drafts} drafts a step, each accepted with chance {chances} after those before"
            f" it, made by passes of {_draft_share(deployment.policy):g} of a step each (docs/"
            "simulate.md: assumptions); their weights and keys take no memory"
        )
    return tuple(found)
