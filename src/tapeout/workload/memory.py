"""What a model occupies: cache and states of a sequence, weights by tensor class."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tapeout.numerics import Floats
from tapeout.workload.architecture import ModelArchitecture
from tapeout.workload.formats import weight_element_bytes
from tapeout.workload.operators import small_elements
from tapeout.workload.types import TensorFormats


def kv_bytes_per_token(architecture: ModelArchitecture, kv_format: str) -> float:
    """Bytes that one more token adds to the cache of a long sequence, over all layers.

    Layers with a full window or chunk add nothing; compressed ones their share of an entry.

    Raises
    ------
    UnknownNameError
        The format is not in `FORMAT_BYTES`.
    """
    return sum(
        layer.mixer.cache_bytes_per_token(kv_format)
        for layer in architecture.layers
        if layer.mixer is not None
    )


def kv_bytes(
    architecture: ModelArchitecture, context_tokens: Floats | float, kv_format: str
) -> Floats:
    """Bytes of the cache of one sequence, over all layers.

    Parameters
    ----------
    architecture : ModelArchitecture
    context_tokens : array or float
        Tokens of the sequence so far, prompt and output.
    kv_format : str
        A name of `FORMAT_BYTES`.

    Returns
    -------
    array, shape of context_tokens
        Windows and chunks are ring buffers; states are in `state_bytes_per_sequence`. [B]

    Raises
    ------
    UnknownNameError
        The format is unknown.
    """
    tokens = np.asarray(context_tokens, dtype=np.float64)
    total = np.zeros_like(tokens)
    for layer, times in architecture.distinct_layers().items():
        if layer.mixer is not None:
            total = total + times * layer.mixer.cache_bytes(tokens, kv_format)
    return total


def state_bytes_per_sequence(architecture: ModelArchitecture) -> float:
    """Bytes of recurrent states of one sequence: fp32 states and bf16 convolution inputs."""
    return sum(
        layer.mixer.state_bytes() for layer in architecture.layers if layer.mixer is not None
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightBytes:
    """Bytes of the weights by tensor class, scales included."""

    experts: float
    matrices: float
    embeddings: float  # embedding, head, learned positions
    small: float  # router, norms, biases and other small tensors

    @property
    def total(self) -> float:
        """All of it."""
        return self.experts + self.matrices + self.embeddings + self.small


def weight_bytes(architecture: ModelArchitecture, formats: TensorFormats) -> WeightBytes:
    """Size the weights in these formats.

    Parameters
    ----------
    architecture : ModelArchitecture
    formats : TensorFormats
        `checkpoint_formats` gives those of the published checkpoint.

    Returns
    -------
    WeightBytes
        Without vision tower and layers for multi-token prediction. [B]

    Raises
    ------
    UnknownNameError
        A format is not in `FORMAT_BYTES`.
    """
    wide = weight_element_bytes(formats.embedding)
    held = {"expert": 0.0, "matrix": 0.0, "small": small_elements(architecture) * wide}
    for layer, times in architecture.distinct_layers().items():
        for part in layer.parts():
            for matrix in part.matrices(architecture.hidden):
                held[matrix.tensor] += times * matrix.copies * matrix.weight_bytes(formats)
    tables = architecture.embedding_elements + architecture.position_elements
    if not architecture.tied_embeddings:
        tables += architecture.embedding_elements
    if architecture.head_bias:
        tables += architecture.vocabulary
    return WeightBytes(
        experts=held["expert"],
        matrices=held["matrix"],
        embeddings=tables * wide,
        small=held["small"],
    )
