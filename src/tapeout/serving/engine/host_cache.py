"""A tier of the cache in host memory: its size and its link, as blocks and times of copies."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import floor

from tapeout.constants import GIB, GIGA
from tapeout.errors import InfeasibleError
from tapeout.perf import Placement
from tapeout.serving.engine.arrays import may_have_tier
from tapeout.serving.engine.capacity import block_bytes
from tapeout.serving.engine.types import PS_PER_S, Rules

LINK_BYTES_PER_S = 50.0 * GIGA
"""Assumption: each chip, each way. PCIe 5.0 x16 carries 63 GB/s each way (32 GT/s, 16 lanes, 128 of
130 bits); large copies from pinned memory are taken to reach four fifths of it."""
LATENCY_S = 1e-4
"""Assumption: to start one copy of many blocks and to notice its end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HostCache:
    """Host memory that one data-parallel rank keeps blocks in.

    Attributes
    ----------
    size_bytes : float
        Of all chips of the rank together, as vLLM's `--kv-offloading-size` (which is in GiB). [B]
    link_bytes_per_s : float
        Of each chip, each way, both at once. [B/s]
    latency_s : float
        Of one copy. [s]
    """

    size_bytes: float
    link_bytes_per_s: float = LINK_BYTES_PER_S
    latency_s: float = LATENCY_S


@dataclass(frozen=True, slots=True, kw_only=True)
class HostTierSize:
    """What a tier holds.

    Attributes
    ----------
    blocks : int
        Of a rank.
    block_bytes : float
        Of all chips of the rank. [B]
    source : str
        In words.
    """

    blocks: int
    block_bytes: float
    source: str


def tier_size(
    cache: HostCache, placement: Placement, *, longest_context: int, block_tokens: int
) -> HostTierSize:
    """Count the blocks that host memory holds.

    Raises
    ------
    InfeasibleError
        Less than a block.

    Notes
    -----
    As vLLM counts: every chip of a rank keeps its own part of a block, here that of the fullest
    one. Layers with a window or a state count for nothing, in size and in copies.
    """
    chips = placement.chips // placement.data_parallel
    each = chips * block_bytes(placement, longest_context, block_tokens)
    blocks = floor(cache.size_bytes / each) if each > 0.0 else 0
    if blocks < 1:
        raise InfeasibleError(
            f"{cache.size_bytes / GIB:g} GiB of host memory hold no cache block of"
            f" {each / GIB:.3g} GiB; give more, or 0 for no tier"
        )
    source = (
        f"{blocks:,} blocks in {cache.size_bytes / GIB:g} GiB of host memory a rank; copies at"
        f" {cache.link_bytes_per_s / GIGA:g} GB/s a chip and way"
    )
    if cache.link_bytes_per_s == LINK_BYTES_PER_S:
        source += ", an assumption (four fifths of PCIe 5.0 x16)"
    return HostTierSize(blocks=blocks, block_bytes=each, source=source)


def with_tier(rules: Rules, cache: HostCache, size: HostTierSize, chips: int) -> Rules:
    """Rules with a tier in host memory.

    Parameters
    ----------
    rules : Rules
    cache : HostCache
    size : HostTierSize
    chips : int
        Of a rank: each copies its own part of a block.

    Raises
    ------
    InfeasibleError
        Rules of an engine that has no such tier.
    """
    if not may_have_tier(rules):
        raise InfeasibleError(
            "a cache in host memory is simulated for vllm-v1 with its prefix cache on; leave"
            " --host-cache-gib, or --policy and --no-prefix-cache, out"
        )
    copy_ps = round(size.block_bytes / chips / cache.link_bytes_per_s * PS_PER_S)
    return replace(
        rules,
        host_blocks=size.blocks,
        copy_latency_ps=round(cache.latency_s * PS_PER_S),
        load_ps=copy_ps,
        store_ps=copy_ps,
    )
