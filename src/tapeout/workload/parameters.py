"""Counting parameters from an architecture, in the three conventions of "active"."""

from __future__ import annotations

from dataclasses import dataclass

from tapeout.workload.architecture import ModelArchitecture
from tapeout.workload.operators import small_elements


@dataclass(frozen=True, slots=True, kw_only=True)
class ParameterCount:
    """Parameters of a model, without layers for multi-token prediction and vision.

    Attributes
    ----------
    total : int
        Everything stored; tied embeddings once.
    active : int
        What one token meets: `top_k` experts a layer, everything else (Mixtral, Qwen3, DeepSeek).
    active_less_one_embedding : int
        Without the input embedding (gpt-oss, Nemotron 3).
    active_less_both : int
        Without embedding and head (MiniMax-Text-01); tied ones are subtracted once.
    """

    total: int
    active: int
    active_less_one_embedding: int
    active_less_both: int


def count_parameters(architecture: ModelArchitecture) -> ParameterCount:
    """Count the parameters of a model.

    Parameters
    ----------
    architecture : ModelArchitecture

    Returns
    -------
    ParameterCount
        Never a source of FLOP: published active counts use different conventions.

    Examples
    --------
    >>> from tapeout.workload import load_model
    >>> count_parameters(load_model("llama-2-7b")).total
    6738415616
    """
    embedding = architecture.embedding_elements
    head = embedding + (architecture.vocabulary if architecture.head_bias else 0)
    outer = embedding + architecture.position_elements + small_elements(architecture)
    if not architecture.tied_embeddings:
        outer += head
    total = active = outer
    for layer, times in architecture.distinct_layers().items():
        for part in layer.parts():
            for matrix in part.matrices(architecture.hidden):
                total += times * matrix.copies * matrix.elements
                active += times * matrix.used * matrix.elements
    both = embedding if architecture.tied_embeddings else 2 * embedding
    return ParameterCount(
        total=total,
        active=active,
        active_less_one_embedding=active - embedding,
        active_less_both=active - both,
    )
