"""What an engine does on a chip unless told otherwise, and everything built for a deployment.

Defaults are those of vLLM V1 (`EngineArgs`, releases 0.14 to 0.19): the budget of a step depends on
memory and on whether the API server or the `LLM` class runs the engine.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from tapeout.chip.types import ChipSpec
from tapeout.constants import GIB
from tapeout.perf import Placement, TimingModel
from tapeout.serving.engine.capacity import KvCapacity, given_capacity, kv_capacity
from tapeout.serving.engine.drafting import with_draft_passes
from tapeout.serving.engine.policies import DRAFT_SHARE, Limits, Policy, VllmV1
from tapeout.serving.engine.tables import step_table
from tapeout.serving.engine.types import Rules, StepTable
from tapeout.serving.types import Deployment

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
    """

    token_budget: int
    max_sequences: int


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
    """

    rules: Rules
    table: StepTable
    kv: KvCapacity
    notes: tuple[str, ...]


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


def setup(deployment: Deployment, model: TimingModel, *, longest_context: int) -> EngineSetup:
    """Build rules, step table and cache capacity of a deployment.

    Parameters
    ----------
    deployment : Deployment
        What it leaves out is what vLLM's API server does by default on the chip.
    model : TimingModel
    longest_context : int
        Tokens of the longest request, input and output (max_model_len).

    Raises
    ------
    DoesNotFitError
        The weights leave no room for a cache block.
    MissingFieldError, InfeasibleError
        As the timing model.
    """
    usual = engine_defaults(deployment.placement.system.chip)
    sequences = deployment.max_sequences or usual.max_sequences
    budget = deployment.token_budget or _budget(deployment, usual, sequences, longest_context)
    placement = _with_budget(deployment.placement, budget)
    if deployment.kv_blocks is not None:
        kv = given_capacity(deployment.kv_blocks, deployment.block_tokens)
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
    return EngineSetup(rules=rules, table=table, kv=kv, notes=_notes(deployment, budget, kv, rules))


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


def _with_budget(placement: Placement, budget: int) -> Placement:
    """Placement whose activations are sized for the budget."""
    return replace(placement, memory=replace(placement.memory, token_budget=budget))


def _notes(deployment: Deployment, budget: int, kv: KvCapacity, rules: Rules) -> tuple[str, ...]:
    chip = deployment.placement.system.chip.name
    found = []
    if deployment.token_budget is None:
        found.append(f"{budget} tokens a step: vLLM's API server by default on {chip}")
    if deployment.max_sequences is None:
        found.append(f"{rules.max_sequences} sequences: vLLM by default on {chip}")
    if deployment.kv_blocks is None:
        found.append(
            f"{kv.printed:,} cache blocks ({kv.low + 1:,} to {kv.high + 1:,}): {kv.source}"
        )
    if rules.drafts:
        chances = ", ".join(f"{one:g}" for one in dict.fromkeys(rules.acceptance))
        found.append(
            f"{rules.drafts} drafts a step, each accepted with chance {chances} after those before"
            f" it, made by passes of {_draft_share(deployment.policy):g} of a step each (docs/"
            "simulate.md: assumptions); their weights and keys take no memory"
        )
    return tuple(found)
