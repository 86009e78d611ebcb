"""A model's architecture: what each layer is made of, and the sizes around the layers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from tapeout.workload.attention import SoftmaxAttention
from tapeout.workload.drivers import SAMPLED
from tapeout.workload.feedforward import MixtureOfExperts
from tapeout.workload.parts import Matrix, Mixer, Part


@dataclass(frozen=True, slots=True, kw_only=True)
class NativeFormats:
    """Formats a checkpoint is published in."""

    weight: str = "bf16"
    expert: str = "bf16"


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One block: at most one mixer, the feed-forwards beside or after it, and its norms.

    Attributes
    ----------
    norms : int
        Norms over the hidden state, as operators.
    norm_elements : int
        Their parameters (twice the width each with a bias).
    residual : Part or None
        What replaces the plain residual stream.
    """

    mixer: Mixer | None
    feed_forwards: tuple[Part, ...]
    norms: int
    norm_elements: int
    residual: Part | None = None

    def parts(self) -> tuple[Part, ...]:
        """Everything in the layer that has parameters of its own, norms aside."""
        around = (self.mixer, self.residual)
        return (*(part for part in around if part is not None), *self.feed_forwards)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelArchitecture:
    """Layers in order, and what surrounds them.

    Attributes
    ----------
    hidden : int
        Width of the hidden state.
    vocabulary : int
        Rows of the embedding.
    tied_embeddings : bool
        The head is the embedding, stored once (its product runs all the same).
    max_context_tokens : int or None
        None where nothing bounds it (pure state-space models).
    position_elements : int
        Learned position embeddings.
    outer_elements : int
        Small parameters outside the layers: the final norm and what mixes streams.
    bidirectional : bool
        Masked diffusion: a step is a pass over prompt and block.
    next_token_layers : int
        Layers for multi-token prediction; in no count here.
    has_vision_tower : bool
        The checkpoint holds vision weights that are not described here.
    """

    name: str
    family: str
    hidden: int
    vocabulary: int
    layers: tuple[Layer, ...]
    tied_embeddings: bool
    max_context_tokens: int | None
    position_elements: int = 0
    outer_elements: int = 0
    head_bias: bool = False
    bidirectional: bool = False
    next_token_layers: int = 0
    has_vision_tower: bool = False
    native: NativeFormats = NativeFormats()

    def __hash__(self) -> int:
        """Cheap, since tables are looked up by architecture at every step."""
        return hash((self.name, self.hidden, self.vocabulary, len(self.layers)))

    def distinct_layers(self) -> Counter[Layer]:
        """Each different layer with its number; most models have one to four."""
        return Counter(self.layers)

    @property
    def embedding_elements(self) -> int:
        """Parameters of one embedding matrix."""
        return self.vocabulary * self.hidden

    @property
    def kv_heads(self) -> int:
        """Most key-value heads of a layer: what a cache can be cut into (1 for latents)."""
        heads = [
            layer.mixer.kv_heads
            for layer in self.layers
            if isinstance(layer.mixer, SoftmaxAttention)
        ]
        return max(heads, default=1)

    @property
    def experts(self) -> int:
        """Most routed experts of a layer; 0 in a dense model."""
        return max((part.experts for part in self._mixtures()), default=0)

    @property
    def top_k(self) -> int:
        """Most routed experts a token meets in a layer; 0 in a dense model."""
        return max((part.top_k for part in self._mixtures()), default=0)

    def _mixtures(self) -> Iterator[MixtureOfExperts]:
        for layer in self.layers:
            for part in layer.feed_forwards:
                if isinstance(part, MixtureOfExperts):
                    yield part

    def head_matrix(self) -> Matrix:
        """Return the product that yields logits, on the rows that need them."""
        return Matrix(
            name="lm_head",
            n=self.vocabulary,
            k=self.hidden,
            tensor="small",
            bias=self.head_bias,
            rows=SAMPLED,
        )
