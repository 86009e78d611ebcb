"""Scheduling policies: small objects that turn the limits of an engine into its rules.

Semantics are those of reference implementations as of 2026: vLLM V1 0.19, vLLM V0 0.6,
Sarathi-Serve (OSDI 2024, as in vidur), Orca (OSDI 2022), SGLang at some commits. docs/simulate.md
has the rules in full, and names the commits.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from typing import Protocol

from tapeout.errors import UnknownNameError
from tapeout.serving.engine.schedule import BILLION
from tapeout.serving.engine.types import Allocation, Order, Rules

SGLANG_RATIO = 0.7
"""New-token ratio at the start, by default (SGLANG_INIT_NEW_TOKEN_RATIO)."""
SGLANG_TOGETHER = 0.3
"""Data-parallel attention multiplies schedule_conservativeness by this (server_args.py)."""
DRAFT_SHARE = 0.03
"""Assumption: time of one draft pass over that of a plain step, as for MTP rows in
serving_defaults.csv: one layer and the head over some sixty layers. A draft model of 1-3 % of the
weights has 0.05 there."""
ACCEPTANCE = 0.7
"""Assumption: chance that a draft is right given that those before it were; serving_defaults.csv.
It depends on model, text and temperature."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a deployment allows one data-parallel rank.

    Attributes
    ----------
    token_budget, max_sequences, kv_blocks, block_tokens : int
    ranks : int
        Data-parallel ranks that step together.
    """

    token_budget: int
    max_sequences: int
    kv_blocks: int
    block_tokens: int = 16
    ranks: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Drafting:
    """Speculative decoding: draft tokens a step, and the chance that each is accepted.

    `share` is the time of the pass that makes one draft over that of a plain step.
    """

    acceptance: tuple[float, ...]
    seed: int = 0
    share: float = DRAFT_SHARE

    @property
    def drafts(self) -> int:
        """Draft tokens a step."""
        return len(self.acceptance)


class Policy(Protocol):
    """How an engine fills its steps."""

    @property
    def name(self) -> str:
        """As on the command line."""
        ...

    def rules(self, limits: Limits) -> Rules:
        """Rules of an engine with these limits."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class VllmV1:
    """vLLM V1: running first, chunked prefill, blocks as needed, the last admitted is preempted."""

    prefix_cache: bool = True
    chunked: bool = True
    reserve_prompt: bool = True
    watermark_fraction: float = 0.0
    longest_chunk: int = 0
    async_depth: int = 1
    drafting: Drafting | None = None
    name: str = "vllm-v1"

    def rules(self, limits: Limits) -> Rules:
        """Rules of an engine with these limits."""
        drafting = self.drafting or Drafting(acceptance=())
        return Rules(
            token_budget=limits.token_budget,
            max_sequences=limits.max_sequences,
            kv_blocks=limits.kv_blocks,
            block_tokens=limits.block_tokens,
            ranks=limits.ranks,
            chunked=self.chunked,
            prefix_cache=self.prefix_cache,
            reserve_prompt=self.reserve_prompt,
            watermark_blocks=ceil(self.watermark_fraction * limits.kv_blocks),
            longest_chunk=self.longest_chunk,
            async_depth=self.async_depth,
            drafts=drafting.drafts,
            acceptance=drafting.acceptance,
            seed=drafting.seed,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Sarathi:
    """Sarathi-Serve: decodes first, prompts in chunks into what is left of the budget."""

    watermark_fraction: float = 0.01
    name: str = "sarathi"

    def rules(self, limits: Limits) -> Rules:
        """Rules of an engine with these limits."""
        return _older(
            limits,
            order=Order.DECODE_FIRST,
            allocation=Allocation.PROMPT,
            watermark=self.watermark_fraction,
            chunked=True,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class VllmV0:
    """vLLM V0: whole prompts alone while any fits, else decodes."""

    watermark_fraction: float = 0.01
    name: str = "vllm-v0"

    def rules(self, limits: Limits) -> Rules:
        """Rules of an engine with these limits."""
        return _older(
            limits,
            order=Order.PREFILL_ALONE,
            allocation=Allocation.PROMPT,
            watermark=self.watermark_fraction,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Orca:
    """Orca: prompts and decodes in one step, no chunks, the longest output reserved."""

    name: str = "orca"

    def rules(self, limits: Limits) -> Rules:
        """Rules of an engine with these limits."""
        return _older(limits, order=Order.LIST, allocation=Allocation.WHOLE)


@dataclass(frozen=True, slots=True, kw_only=True)
class StaticBatching:
    """A batch is formed when the engine is empty, and served to its end."""

    name: str = "static"

    def rules(self, limits: Limits) -> Rules:
        """Rules of an engine with these limits."""
        return _older(limits, order=Order.STATIC, allocation=Allocation.WHOLE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sglang:
    """SGLang: prompts first and alone, in chunks; room for outputs estimated; retraction."""

    prefix_cache: bool = True
    chunked: bool = True
    conservativeness: float = 1.0
    name: str = "sglang"

    def rules(self, limits: Limits) -> Rules:
        """Rules of an engine with these limits."""
        together = limits.ranks > 1
        conservativeness = self.conservativeness * (SGLANG_TOGETHER if together else 1.0)
        return Rules(
            token_budget=limits.token_budget,
            max_sequences=limits.max_sequences,
            kv_blocks=limits.kv_blocks,
            block_tokens=limits.block_tokens,
            ranks=limits.ranks,
            order=Order.SGLANG,
            chunked=self.chunked,
            prefix_cache=self.prefix_cache,
            async_depth=1,
            reserved=round(min(SGLANG_RATIO * conservativeness, 1.0) * BILLION),
        )


def _older(
    limits: Limits,
    *,
    order: Order,
    allocation: Allocation,
    watermark: float = 0.0,
    chunked: bool = False,
) -> Rules:
    """Rules of engines without prefix cache that schedule between steps."""
    return Rules(
        token_budget=limits.token_budget,
        max_sequences=limits.max_sequences,
        kv_blocks=limits.kv_blocks,
        block_tokens=limits.block_tokens,
        ranks=limits.ranks,
        order=order,
        allocation=allocation,
        chunked=chunked,
        prefix_cache=False,
        reserve_prompt=True,
        watermark_blocks=ceil(watermark * limits.kv_blocks),
        async_depth=0,
    )


POLICIES: Mapping[str, Policy] = {
    policy.name: policy
    for policy in (VllmV1(), Sarathi(), VllmV0(), Orca(), StaticBatching(), Sglang())
}


def policy_named(name: str) -> Policy:
    """Policy with its default settings.

    Raises
    ------
    UnknownNameError

    Examples
    --------
    >>> limits = Limits(token_budget=512, max_sequences=128, kv_blocks=1000)
    >>> policy_named("sarathi").rules(limits).watermark_blocks
    10
    """
    if name not in POLICIES:
        raise UnknownNameError("policy", name, POLICIES)
    return POLICIES[name]
