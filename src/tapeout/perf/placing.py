"""Sensible ways to place a model on a system."""

from __future__ import annotations

from collections.abc import Iterator

from tapeout.fabric import System
from tapeout.perf.memory import max_sequences
from tapeout.perf.types import Placement
from tapeout.workload import ModelArchitecture, TensorFormats

MOST_TENSOR = 16  # beyond it an all-reduce a layer costs more than the weights save
LEAST_DATA = 8  # attention groups below this are served better by tensor parallelism
CONTEXT_TOKENS = 1024.0  # a placement that cannot hold one such sequence is left out


def placements(
    architecture: ModelArchitecture,
    system: System,
    formats: TensorFormats,
    *,
    most_chips: int = 64,
    stack: str = "generic",
) -> list[Placement]:
    """Candidates that hold the weights and one sequence, fewest chips first.

    Tensor parallel degrees are powers of two up to the scale-up domain and 16; mixtures of
    experts are also spread with one attention group a chip (8 and more chips, one expert-parallel
    group). Only a model that fits none of these gets pipeline stages across domains.

    Parameters
    ----------
    architecture, system, formats
    most_chips : int
        Of one replica; a model that needs more may take up to twice as many.

    Returns
    -------
    list of Placement
        Empty when the model fits no candidate.
    """
    found: list[Placement] = []
    for degrees in (_in_domain, _across_domains):
        for tensor, pipeline, data in degrees(architecture, system, most_chips):
            placement = Placement(
                architecture=architecture,
                system=system,
                tensor_parallel=tensor,
                pipeline_parallel=pipeline,
                expert_parallel=data,
                data_parallel=data,
                formats=formats,
                stack=stack,
            )
            if max_sequences(placement, CONTEXT_TOKENS) > 0:
                found.append(placement)
        if found:
            break
    return sorted(found, key=lambda placement: placement.chips)


def _in_domain(
    architecture: ModelArchitecture, system: System, most_chips: int
) -> Iterator[tuple[int, int, int]]:
    """Degrees (tensor, pipeline, data) inside one scale-up domain."""
    domain = min(most_chips, system.chips_per_domain)
    degree = 1
    while degree <= min(domain, MOST_TENSOR):
        yield degree, 1, 1
        degree *= 2
    data = LEAST_DATA
    while architecture.experts and data <= domain:
        yield 1, 1, data
        data *= 2


def _across_domains(
    architecture: ModelArchitecture, system: System, most_chips: int
) -> Iterator[tuple[int, int, int]]:
    """Degrees (tensor, pipeline, data) with a stage a domain, up to twice the most chips."""
    del architecture
    total = min(2 * most_chips, system.chips_per_domain * system.domains)
    widest = _power_of_two(min(system.chips_per_domain, MOST_TENSOR))
    stages = 2
    while widest * stages <= total:
        yield widest, stages, 1
        stages *= 2


def heads_divide(architecture: ModelArchitecture, tensor: int) -> bool:
    """Whether an engine can cut the heads over so many ranks.

    Query heads are divided; key-value heads are divided, or copied where there are fewer than
    ranks, as vLLM does (`QKVParallelLinear`).
    """
    for mixer in {layer.mixer for layer in architecture.layers}:
        heads, kv_heads = (getattr(mixer, name, tensor) for name in ("heads", "kv_heads"))
        if heads % tensor or (kv_heads % tensor and tensor % kv_heads):
            return False
    return True


def _power_of_two(number: int) -> int:
    return 1 << (max(1, number).bit_length() - 1)


def in_words(placement: Placement) -> str:
    """Name a placement as in tables: "tp8 fp4", "dp32 ep32 fp4", "tp8 pp2 bf16"."""
    degrees = {
        "tp": placement.tensor_parallel,
        "pp": placement.pipeline_parallel,
        "dp": placement.data_parallel,
        "ep": placement.expert_parallel,
    }
    parts = [f"{name}{degree}" for name, degree in degrees.items() if degree > 1]
    expert = placement.formats.expert or placement.formats.weight
    return " ".join([*(parts or ["tp1"]), expert])
