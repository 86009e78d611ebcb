"""How many cache blocks an engine has on a chip, and between which bounds.

As vLLM V1 counts them: a share of the memory, less weights, less the peak of a profiling step
that runs a full token budget and then samples all sequences, less what lies outside the memory
pool. A printed block count is better than any of this; `Deployment.kv_blocks` takes it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import ceil, floor

from tapeout.constants import GIB, GIGA
from tapeout.errors import DoesNotFitError
from tapeout.perf import Placement, kv_per_chip_bytes, weights_per_chip_bytes
from tapeout.perf.memory import activation_peak_bytes
from tapeout.workload import ModelArchitecture, weight_element_bytes

NEGLIGIBLE = 1e-6  # share of a sequence below which what grows is rounding
NULL_BLOCKS = 1  # vLLM keeps one block that nobody may hold
REPORTED = GIB / GIGA
"""High bound: a nominal figure of gigabytes may mean binary ones. An H100 of 80 GB (catalogue:
80e9 B) reports 85e9, an H200 of 141 GB 150e9; a chip file may hold what the device reports."""
GRAPHS_COUNTED = 0.9  # releases with a larger default share of memory subtract graphs (after 0.19)


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A figure that is assumed, with the bounds it may lie in."""

    low: float
    value: float
    high: float


SAMPLING_BYTES = Span(low=12.0, value=30.0, high=40.0)
"""Bytes of one logit in the profiling step. Counted off vLLM's sampler in plain PyTorch (top-k and
top-p over a sort): bf16 logits 2, fp32 logits 4, sorted values and their places 12, and the sort's
second copy of those 12. Low: a fused kernel without a sort; high: with probabilities kept."""

OUTSIDE_BYTES = Span(low=0.05 * GIGA, value=0.1 * GIGA, high=0.5 * GIGA)
"""Assumption: libraries and workspaces outside PyTorch's pool on one chip."""

COMMUNICATOR_BYTES = Span(low=0.2 * GIGA, value=0.5 * GIGA, high=2.0 * GIGA)
"""Assumption: buffers of a communicator, where a replica has more than one chip."""

GRAPH_BYTES = Span(low=0.3 * GIGA, value=0.6 * GIGA, high=1.5 * GIGA)
"""Assumption: captured graphs, in releases that subtract them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KvCapacity:
    """Cache blocks of one data-parallel rank.

    Attributes
    ----------
    blocks : int
        Usable: what the engine prints less one.
    low, high : int
        Bounds of `blocks` from what is assumed; equal where the count was given.
    block_tokens : int
    block_bytes : float
        On the fullest chip; 0 where the count was given.
    free_bytes : float
        What weights and buffers leave of the memory share; 0 where the count was given. [B]
    source : str
        In words.
    """

    blocks: int
    low: int
    high: int
    block_tokens: int
    block_bytes: float = 0.0
    free_bytes: float = 0.0
    source: str = ""

    @property
    def printed(self) -> int:
        """As vLLM prints it (num_gpu_blocks)."""
        return self.blocks + NULL_BLOCKS

    @property
    def tokens(self) -> int:
        """Tokens that the usable blocks hold."""
        return self.blocks * self.block_tokens


def given_capacity(blocks: int, block_tokens: int) -> KvCapacity:
    """Take the usable blocks as they are given."""
    return KvCapacity(
        blocks=blocks, low=blocks, high=blocks, block_tokens=block_tokens, source="given"
    )


def kv_capacity(
    placement: Placement,
    *,
    max_sequences: int,
    longest_context: int,
    block_tokens: int = 16,
    draft: ModelArchitecture | None = None,
) -> KvCapacity:
    """Count the cache blocks of a rank.

    Parameters
    ----------
    placement : Placement
        `memory.usable_fraction` is vLLM's gpu_memory_utilization, `memory.token_budget` the tokens
        of the profiling step. `memory.buffer_bytes` is not used: buffers are counted one by one.
    max_sequences : int
        Of a rank; the profiling step samples so many.
    longest_context : int
        Tokens of the longest request.
    block_tokens : int
    draft : ModelArchitecture, optional
        Its weights and cache lie beside those of the model, in the same formats and cut alike.

    Raises
    ------
    DoesNotFitError
        Weights and buffers leave no usable block.

    Notes
    -----
    ::

        free   = ceil(usable_fraction memory) - weights - max(activations, sampling) - buffers
        blocks = floor(free / (block_tokens bytes_per_token)) - 1

    of the fullest pipeline stage: layers are rounded up, and it may hold the embedding or the head.
    Layers with a window or a state take a bounded amount a sequence. It is set aside for the
    sequences that fit at half of the longest context (an assumption), the rest is token blocks;
    vLLM takes both from one pool of pages. The high bound takes a memory of whole gigabytes for
    GiB, as many devices report 1.07 times their nominal ones; the middle does not.
    """
    middle = _free_bytes(placement, max_sequences, draft, lambda span: span.value)
    least = _free_bytes(placement, max_sequences, draft, lambda span: span.high)
    # a size that is no round number of gigabytes came from the device or counts binary ones
    nominal = placement.system.chip.memory_bytes % GIGA == 0.0
    reported = REPORTED if nominal else 1.0
    most = _free_bytes(placement, max_sequences, draft, lambda span: span.low, reported=reported)
    each = _each(placement, longest_context, draft)
    shape = (max_sequences, longest_context, block_tokens)
    blocks, low, high = (_blocks(free, each, *shape) for free in (middle, least, most))
    if blocks < 1:
        required = float(placement.system.chip.memory_bytes)
        raise DoesNotFitError(
            f"{placement.architecture.name} with a cache block on {placement.chips} x "
            f"{placement.system.chip.name}",
            required_bytes=required * placement.memory.usable_fraction - middle,
            available_bytes=required * placement.memory.usable_fraction,
        )
    return KvCapacity(
        blocks=blocks,
        low=max(low, 0),
        high=high,
        block_tokens=block_tokens,
        block_bytes=block_tokens * each.token_bytes,
        free_bytes=middle,
        source="memory less weights, a profiling step, assumed buffers"
        + ("; high: nominal GB are GiB" if nominal else ""),
    )


def static_capacity(
    placement: Placement, *, longest_context: int, block_tokens: int = 16
) -> KvCapacity:
    """Count the cache blocks of a rank where a static share holds weights and cache (SGLang).

    Parameters
    ----------
    placement : Placement
        `memory.usable_fraction` is mem_fraction_static.
    longest_context, block_tokens : int

    Raises
    ------
    DoesNotFitError
        The weights leave no block.

    Notes
    -----
    ``blocks = floor((mem_fraction_static memory - weights - buffers) / (block_tokens
    bytes_per_token))``. Activations and graphs lie in the rest of the memory. Buffers are what
    lies outside the memory pool, assumed as for vLLM.
    """
    share, weights = placement.memory.usable_fraction, _stage_weights(placement)
    memory = placement.system.chip.memory_bytes
    each = _each(placement, longest_context, None)
    size = block_tokens * each.token_bytes if each.token_bytes else each.bounded_bytes

    def blocks(reported: float, span: Callable[[Span], float]) -> int:
        buffers = span(OUTSIDE_BYTES) + (span(COMMUNICATOR_BYTES) if placement.chips > 1 else 0.0)
        return floor((share * memory * reported - weights - buffers) / size)

    middle = blocks(1.0, lambda span: span.value)
    if middle < 1:
        raise DoesNotFitError(
            f"{placement.architecture.name} with a cache block on {placement.chips} x "
            f"{placement.system.chip.name}",
            required_bytes=weights + size,
            available_bytes=share * memory,
        )
    nominal = memory % GIGA == 0.0
    return KvCapacity(
        blocks=middle,
        low=max(blocks(1.0, lambda span: span.high), 0),
        high=blocks(REPORTED if nominal else 1.0, lambda span: span.low),
        block_tokens=block_tokens,
        block_bytes=size,
        free_bytes=share * memory - weights,
        source="SGLang's static share of memory less weights, assumed buffers",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Each:
    """Bytes of one sequence on the fullest chip: a bounded part, and what grows by the token."""

    bounded_bytes: float
    token_bytes: float


def block_bytes(placement: Placement, longest_context: int, block_tokens: int) -> float:
    """Bytes of a cache block on the fullest chip, without layers of a bounded size."""
    return block_tokens * _each(placement, longest_context, None).token_bytes


def _each(placement: Placement, longest: int, draft: ModelArchitecture | None) -> _Each:
    half, whole = max(longest / 2.0, 1.0), float(max(longest, 2))
    bounded, growing = 0.0, 0.0
    for model in (placement.architecture, *([] if draft is None else [draft])):
        where = replace(placement, architecture=model)
        stages = float(_stage_layers(where) * where.pipeline_parallel / len(model.layers))
        first, last = (stages * float(kv_per_chip_bytes(where, c)) for c in (half, whole))
        slope = (last - first) / (whole - half)
        growing += slope
        bounded += max(last - slope * whole, 0.0)
    return _Each(bounded_bytes=bounded, token_bytes=growing)


def _blocks(
    free_bytes: float, each: _Each, max_sequences: int, longest: int, block_tokens: int
) -> int:
    """Usable blocks; negative where there is no room at all."""
    if free_bytes <= 0.0:
        return -1
    typical = max(longest / 2.0, 1.0)
    whole = each.bounded_bytes + each.token_bytes * typical
    sequences = min(float(max_sequences), free_bytes / whole) if whole > 0.0 else max_sequences
    if each.token_bytes * typical < NEGLIGIBLE * whole or whole == 0.0:  # nothing grows
        return floor(sequences) * ceil(longest / block_tokens)
    left = free_bytes - sequences * each.bounded_bytes
    return floor(left / (block_tokens * each.token_bytes)) - NULL_BLOCKS


def _free_bytes(
    placement: Placement,
    max_sequences: int,
    draft: ModelArchitecture | None,
    of: Callable[[Span], float],
    *,
    reported: float = 1.0,
) -> float:
    """Bytes left for the cache on the fullest chip, each assumption taken by `of`.

    `reported` is what the device reports of the memory that the catalogue has.
    """
    memory = placement.memory
    share = float(ceil(memory.usable_fraction * placement.system.chip.memory_bytes * reported))
    weights = _stage_weights(placement)
    if draft is not None:
        weights += _stage_weights(replace(placement, architecture=draft))
    logits = max_sequences * placement.architecture.vocabulary
    peak = max(activation_peak_bytes(placement), of(SAMPLING_BYTES) * logits)
    buffers = of(OUTSIDE_BYTES)
    if placement.chips > 1:
        buffers += of(COMMUNICATOR_BYTES)
    if memory.usable_fraction > GRAPHS_COUNTED:
        buffers += of(GRAPH_BYTES)
    return share - weights - peak - buffers


def _stage_layers(placement: Placement) -> int:
    """Layers of the fullest pipeline stage."""
    return ceil(len(placement.architecture.layers) / placement.pipeline_parallel)


def _stage_weights(placement: Placement) -> float:
    """Weights on a chip of the fullest stage."""
    even = weights_per_chip_bytes(placement)
    if placement.pipeline_parallel == 1:
        return even
    architecture = placement.architecture
    element = weight_element_bytes(placement.formats.embedding)
    table = architecture.vocabulary * architecture.hidden * element / placement.tensor_parallel
    outer = min(2.0 * table, even * placement.pipeline_parallel)
    share = _stage_layers(placement) / len(architecture.layers)
    return (even * placement.pipeline_parallel - outer) * share + outer / 2.0
