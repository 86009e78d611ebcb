"""What the readers of model families share: sizes, attention and expert settings, layers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from tapeout.workload.architecture import Layer
from tapeout.workload.attention import SoftmaxAttention, span_for
from tapeout.workload.config import Reader
from tapeout.workload.drivers import FullSpan, Span
from tapeout.workload.feedforward import DenseFeedForward, MixtureOfExperts
from tapeout.workload.parts import Mixer, Part

SLIDING = "sliding_attention"
FULL = "full_attention"


@dataclass(slots=True, kw_only=True)
class Blueprint:
    """What a family's reader yields beside the sizes common to all."""

    layers: tuple[Layer, ...]
    final_norm_elements: int
    outer_elements: int = 0
    position_elements: int = 0
    head_bias: bool = False
    bidirectional: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Traits:
    """What a family fixes in code and leaves out of its configuration."""

    qkv_bias: bool = False
    out_bias: bool = False
    qk_norm: Literal["none", "head", "layer"] = "none"
    sinks: bool = False
    gate: bool = False
    routing_bias: bool = False
    expert_bias: bool = False
    norms: int = 2
    span: Span = field(default_factory=FullSpan)


def hidden_of(reader: Reader) -> int:
    """Width of the hidden state."""
    return reader.integer("hidden_size", "n_embd", "d_model")


def attention(
    reader: Reader,
    traits: Traits,
    span: Span | None = None,
    *,
    kv_heads: int | None = None,
    head_dim: int | None = None,
    value_dim: int | None = None,
) -> SoftmaxAttention:
    """Read a softmax attention; explicit sizes override the configuration."""
    heads = reader.integer("num_attention_heads", "n_head", "n_heads")
    groups = kv_heads or reader.integer("num_key_value_heads", "n_kv_heads", default=heads)
    if heads % groups:
        reader.note("num_key_value_heads", groups, f"does not divide {heads} attention heads")
    width = head_dim or _head_dim(reader, heads)
    return SoftmaxAttention(
        heads=heads,
        kv_heads=groups,
        head_dim=width,
        value_dim=value_dim or width,
        span=span or traits.span,
        qkv_bias=traits.qkv_bias,
        out_bias=traits.out_bias,
        qk_norm=traits.qk_norm,
        sinks=traits.sinks,
        gate=traits.gate,
    )


def _head_dim(reader: Reader, heads: int) -> int:
    keys = ("head_dim", "attention_head_dim")
    if reader.get(*keys) is not None:
        return reader.integer(*keys)
    hidden = hidden_of(reader)
    if hidden % heads:
        reader.note("head_dim", None, f"missing, and {heads} heads do not divide {hidden}")
    return max(hidden // heads, 1)


def dense(reader: Reader, *keys: str, gated: bool = True, bias: bool = False) -> DenseFeedForward:
    """Read a dense feed-forward."""
    names = keys or ("intermediate_size", "n_inner", "mlp_hidden_size")
    return DenseFeedForward(inner=reader.integer(*names), gated=gated, bias=bias)


def mixture(
    reader: Reader,
    traits: Traits,
    *inner_keys: str,
    shared_inner: int = 0,
    gated: bool = True,
    shared_gate: bool = False,
) -> MixtureOfExperts:
    """Read a mixture of experts."""
    experts = reader.integer(
        "n_routed_experts", "num_local_experts", "num_experts", "moe_num_experts"
    )
    top_k = reader.integer(
        "num_experts_per_tok", "num_experts_per_token", "top_k_experts", "experts_per_token"
    )
    if top_k > experts:
        reader.note("num_experts_per_tok", top_k, f"more than the {experts} experts there are")
    return MixtureOfExperts(
        experts=experts,
        top_k=min(top_k, experts),
        inner=reader.integer(*(inner_keys or ("moe_intermediate_size", "intermediate_size"))),
        gated=gated,
        shared_inner=shared_inner,
        routing_bias=traits.routing_bias,
        expert_bias=traits.expert_bias,
        shared_gate=shared_gate,
    )


def shared_width(reader: Reader) -> int:
    """Inner width of `n_shared_experts` experts as wide as the routed ones."""
    shared = reader.integer("n_shared_experts", "num_shared_experts", default=0, low=0)
    return shared * reader.integer("moe_intermediate_size") if shared else 0


def layer(
    hidden: int,
    mixer: Mixer | None,
    *feed_forwards: Part,
    norms: int = 2,
    norm_width: int = 1,
    residual: Part | None = None,
) -> Layer:
    """Put a layer together; `norm_width` is 2 for norms with a bias."""
    return Layer(
        mixer=mixer,
        feed_forwards=tuple(feed_forwards),
        norms=norms,
        norm_elements=norms * norm_width * hidden,
        residual=residual,
    )


def uniform(
    reader: Reader, mixers: Sequence[Mixer], feed_forwards: Sequence[Part], norms: int = 2
) -> Blueprint:
    """Pair mixers and feed-forwards layer by layer under RMS norms."""
    hidden = hidden_of(reader)
    pairs = zip(mixers, feed_forwards, strict=True)
    return Blueprint(
        layers=tuple(layer(hidden, mixer, ffn, norms=norms) for mixer, ffn in pairs),
        final_norm_elements=hidden,
    )


def sliding_mask(reader: Reader, layers: int) -> list[bool]:
    """Tell which layers have a window, from `layer_types` or `sliding_window_pattern`."""
    kinds = reader.per_layer("layer_types", layers, (SLIDING, FULL))
    if kinds is not None:
        return [kind == SLIDING for kind in kinds]
    period = reader.integer("sliding_window_pattern")
    return [(index + 1) % period != 0 for index in range(layers)]


def windowed(reader: Reader, traits: Traits, sliding: Sequence[bool]) -> list[SoftmaxAttention]:
    """Read attention with a window in some layers."""
    near = attention(reader, traits, span_for(reader.integer("sliding_window")))
    far = attention(reader, traits, FullSpan())
    return [near if short else far for short in sliding]
