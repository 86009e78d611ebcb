"""Memory of one chip of a placement: weights, cache, activations, buffers, and what fits."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from tapeout.errors import DoesNotFitError
from tapeout.numerics import Floats
from tapeout.perf.sharding import shard
from tapeout.perf.types import Degrees, Placement
from tapeout.workload import (
    ModelArchitecture,
    OperatorTable,
    StepMix,
    TensorFormats,
    operators,
    state_bytes_per_sequence,
    weight_bytes,
)
from tapeout.workload.parts import Mixer

TOKEN_BUDGET = 8192  # tokens of the step that tables are made for; every expert is hit


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryMap:
    """Bytes of the fullest chip; arrays have the shape of the context asked for."""

    weight_bytes: float
    kv_bytes: Floats
    state_bytes: Floats
    activation_bytes: float
    buffer_bytes: float
    available_bytes: float

    @property
    def required_bytes(self) -> Floats:
        """Sum of the parts."""
        fixed = self.weight_bytes + self.activation_bytes + self.buffer_bytes
        required: Floats = fixed + self.kv_bytes + self.state_bytes
        return required

    @property
    def fits(self) -> NDArray[np.bool_]:
        """True where the parts fit."""
        return np.asarray(self.required_bytes <= self.available_bytes)


def step_mix(
    *,
    prefill: Floats | float = 0.0,
    cached: Floats | float = 0.0,
    prompts: Floats | float = 0.0,
    decode: Floats | float = 0.0,
    context: Floats | float = 0.0,
) -> StepMix:
    """Build a mix from means: tokens of all prompts, cached tokens of each, context of each."""
    arrays = np.broadcast_arrays(
        *(
            np.atleast_1d(np.asarray(x, dtype=float))
            for x in (prefill, cached, prompts, decode, context)
        )
    )
    new, old, count, sequences, tokens = arrays
    return StepMix(
        prefill_tokens=new,
        prefill_context_tokens=old,
        prefill_sequences=count,
        decode_sequences=sequences,
        decode_kv_tokens=sequences * tokens,
        sampled_sequences=sequences + count,
    )


@lru_cache(maxsize=256)
def full_step(
    architecture: ModelArchitecture, formats: TensorFormats
) -> tuple[OperatorTable, Floats]:
    """Table of a step that fills the token budget, and the weights (op,) it reads.

    With 8,192 tokens every expert is hit, so these are all weights an operator has.
    """
    mix = step_mix(prefill=TOKEN_BUDGET, prompts=1.0, decode=1.0, context=TOKEN_BUDGET)
    table = operators(architecture, mix, formats)
    return table, table.weight_bytes[:, 0]


def weights_per_chip_bytes(placement: Placement) -> float:
    """Weights the fullest chip holds: experts over all ranks, the rest over tensor ranks. [B]."""
    return _weights(placement.architecture, placement.formats, placement.degrees)


@lru_cache(maxsize=1024)
def _weights(architecture: ModelArchitecture, formats: TensorFormats, degrees: Degrees) -> float:
    table, held = full_step(architecture, formats)
    cut = np.array(table.shard)
    total = weight_bytes(architecture, formats).total
    experts = float(held[cut == "expert"].sum())
    replicated = float(held[cut == "replicated"].sum())
    rest = total - experts - replicated
    stage = experts / degrees.ranks + replicated + rest / degrees.tensor
    return stage / degrees.pipeline


def kv_per_chip_bytes(placement: Placement, context_tokens: Floats | float) -> Floats:
    """Cache and states of one sequence on one chip of the group that serves it. [B].

    Key-value heads are divided among tensor ranks as far as there are heads; a latent is
    replicated. A pipeline stage keeps its layers only.
    """
    context = np.asarray(context_tokens, dtype=float)
    kept, states = _kept(placement, context)
    total: Floats = kept + states
    return total


def _kept(placement: Placement, context: Floats) -> tuple[Floats, Floats]:
    """Cache and states of a sequence on one chip, shape of context."""
    architecture, formats = placement.architecture, placement.formats
    tensor, stages = placement.tensor_parallel, placement.pipeline_parallel
    kept = np.zeros_like(context)
    for mixer, layers in _mixers(architecture):
        kept = kept + layers * mixer.cache_bytes(context, formats.kv)
    kept = kept * (_kv_share(architecture, formats, tensor) / stages)
    states = np.full_like(kept, _state_bytes(architecture) / tensor / stages)
    return kept, states


@lru_cache(maxsize=256)
def _mixers(architecture: ModelArchitecture) -> tuple[tuple[Mixer, int], ...]:
    """Distinct mixers with their number of layers; summed, they are `workload.kv_bytes`."""
    found = Counter(layer.mixer for layer in architecture.layers if layer.mixer is not None)
    return tuple(found.items())


@lru_cache(maxsize=256)
def _state_bytes(architecture: ModelArchitecture) -> float:
    return state_bytes_per_sequence(architecture)


@lru_cache(maxsize=1024)
def _kv_share(architecture: ModelArchitecture, formats: TensorFormats, tensor: int) -> float:
    """Share of a sequence's cache that one tensor rank holds."""
    table, _ = full_step(architecture, formats)
    decode = np.array([kind == "attention_decode" for kind in table.kind])
    read = np.where(decode, table.kv_bytes[:, 0], 0.0)
    if not read.any():
        return 1.0 / tensor
    heads = np.where(np.array(table.shard) == "head", np.maximum(table.n[:, 0], 1.0), 1.0)
    return float((read / np.minimum(tensor, heads)).sum() / read.sum())


def activation_peak_bytes(placement: Placement) -> float:
    """Largest operator of a step that fills the token budget, inputs and outputs twice. [B]."""
    whole = _activations(placement.architecture, placement.formats, placement.degrees)
    return whole * placement.memory.token_budget / TOKEN_BUDGET


@lru_cache(maxsize=1024)
def _activations(
    architecture: ModelArchitecture, formats: TensorFormats, degrees: Degrees
) -> float:
    table, held = full_step(architecture, formats)
    cut = shard(table, degrees, np.array([float(TOKEN_BUDGET + 1)]), held)
    each = cut.activation_bytes / np.maximum(table.count, 1.0)
    # The budget is per attention group, the table is of the replica.
    return 2.0 * float(each.max()) * float(degrees.data)


def memory_map(
    placement: Placement, sequences: Floats | float, context_tokens: Floats | float
) -> MemoryMap:
    """Bytes on the fullest chip with so many sequences of a mean context in the replica.

    Parameters
    ----------
    placement : Placement
    sequences, context_tokens : array or float
        Broadcast against each other. A data-parallel group holds its equal part, rounded up.
    """
    count, context = np.broadcast_arrays(
        np.asarray(sequences, dtype=float), np.asarray(context_tokens, dtype=float)
    )
    kept, states = _kept(placement, context)
    local = np.ceil(count / placement.data_parallel)
    chip = placement.system.chip
    return MemoryMap(
        weight_bytes=weights_per_chip_bytes(placement),
        kv_bytes=kept * local,
        state_bytes=states * local,
        activation_bytes=activation_peak_bytes(placement),
        buffer_bytes=placement.memory.buffer_bytes,
        available_bytes=placement.memory.usable_fraction * chip.memory_bytes,
    )


def max_sequences(placement: Placement, context_tokens: float) -> int:
    """Sequences of this mean context that fit; 0 when not even one does.

    Parameters
    ----------
    placement : Placement
    context_tokens : float
        Mean tokens a sequence holds over its life: about input + output / 2.
    """
    empty = memory_map(placement, 0.0, context_tokens)
    free = empty.available_bytes - float(empty.required_bytes)
    each = float(kv_per_chip_bytes(placement, context_tokens))
    if free < each:
        return 0
    most = free / each if each > 0.0 else 2.0**31
    return int(most) * placement.data_parallel


def require_fit(placement: Placement, sequences: float, context_tokens: float) -> MemoryMap:
    """Return the memory map of a case that fits.

    Raises
    ------
    DoesNotFitError
        With the bytes needed and those available.
    """
    found = memory_map(placement, sequences, context_tokens)
    if not bool(found.fits):
        what = (
            f"{placement.architecture.name} with {sequences:g} sequences of {context_tokens:g} "
            f"tokens on {placement.chips} x {placement.system.chip.name}"
        )
        raise DoesNotFitError(
            what,
            required_bytes=float(found.required_bytes),
            available_bytes=found.available_bytes,
        )
    return found
