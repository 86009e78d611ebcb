"""Transformer families: how each one's configuration becomes layers.

Traits that a configuration leaves to code (biases, norms of queries and keys) follow the models'
public implementations; the parameter counts of `tests/workload/parameters.csv` check them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from tapeout.workload.blueprint import (
    Blueprint,
    Traits,
    attention,
    dense,
    hidden_of,
    layer,
    mixture,
    shared_width,
    sliding_mask,
    uniform,
    windowed,
)
from tapeout.workload.config import Reader
from tapeout.workload.drivers import BidirectionalSpan, ChunkedSpan, FullSpan, SlidingSpan
from tapeout.workload.feedforward import DenseFeedForward, MixtureOfExperts
from tapeout.workload.latent import Indexer, LatentAttention
from tapeout.workload.parts import Part

Family = Callable[[Reader], Blueprint]


def llama_like(traits: Traits) -> Family:
    """Return a reader for pre-norm blocks of attention and a gated feed-forward."""

    def read(reader: Reader) -> Blueprint:
        count = reader.layers()
        mixer = attention(reader, traits, _window(reader))
        return uniform(reader, [mixer] * count, [dense(reader)] * count, traits.norms)

    return read


def _window(reader: Reader) -> SlidingSpan | None:
    # The Qwen configurations name a window but leave it off unless they say otherwise.
    enabled = reader.flag(
        "use_sliding_window", default=not reader.text("model_type").startswith("qwen")
    )
    if enabled and reader.has("sliding_window"):
        return SlidingSpan(reader.integer("sliding_window"))
    return None


def diffusion(reader: Reader) -> Blueprint:
    """LLaDA: a llama whose attention looks both ways."""
    blueprint = llama_like(Traits(span=BidirectionalSpan()))(reader)
    blueprint.bidirectional = True
    return blueprint


def mixture_like(traits: Traits) -> Family:
    """Return a reader for blocks of attention and experts (Mixtral, Qwen3-MoE, MiniMax-M2)."""

    def read(reader: Reader) -> Blueprint:
        count = reader.layers()
        mixer = attention(reader, traits, _window(reader))
        experts = mixture(reader, traits)
        step = reader.integer("decoder_sparse_step", default=1)
        skipped = reader.indices("mlp_only_layers") if reader.has("mlp_only_layers") else []
        parts: list[Part] = [
            experts
            if index not in skipped and (index + 1) % step == 0
            else dense(reader, "intermediate_size")
            for index in range(count)
        ]
        return uniform(reader, [mixer] * count, parts, traits.norms)

    return read


def gpt_oss(reader: Reader) -> Blueprint:
    """gpt-oss: alternating windows, sinks, biases everywhere."""
    traits = Traits(qkv_bias=True, out_bias=True, sinks=True, routing_bias=True, expert_bias=True)
    count = reader.layers()
    mixers = windowed(reader, traits, sliding_mask(reader, count))
    experts = mixture(reader, traits, "intermediate_size")
    return uniform(reader, mixers, [experts] * count)


def gemma3(reader: Reader) -> Blueprint:
    """Gemma 3: five windows to one full layer, norms before and after each part."""
    count = reader.layers()
    mixers = windowed(reader, Traits(qk_norm="head"), sliding_mask(reader, count))
    return uniform(reader, mixers, [dense(reader)] * count, norms=4)


def gemma4(reader: Reader) -> Blueprint:
    """Gemma 4: full layers have their own head size and one projection for keys and values."""
    count = reader.layers()
    hidden = hidden_of(reader)
    traits = Traits(qk_norm="head")
    near = attention(reader, traits, SlidingSpan(reader.integer("sliding_window")))
    far = replace(
        attention(
            reader,
            traits,
            FullSpan(),
            kv_heads=reader.integer("num_global_key_value_heads"),
            head_dim=reader.integer("global_head_dim"),
        ),
        shared_kv=reader.flag("attention_k_eq_v"),
    )
    parts: tuple[Part, ...] = (dense(reader),)
    norms = 4
    if reader.flag("enable_moe_block"):
        experts = mixture(reader, traits, "moe_intermediate_size")
        # The router scales its input by a vector, and its choice by one weight an expert.
        parts = (*parts, replace(experts, extra_elements=hidden + experts.experts))
        norms += 3
    layers = tuple(
        layer(hidden, near if short else far, *parts, norms=norms)
        for short in sliding_mask(reader, count)
    )
    return Blueprint(layers=layers, final_norm_elements=hidden)


def glm4_moe(reader: Reader) -> Blueprint:
    """GLM-4.5 to 4.7: grouped attention with biases, experts after the first dense layers."""
    traits = Traits(
        qkv_bias=reader.flag("attention_bias"),
        qk_norm="head" if reader.flag("use_qk_norm") else "none",
        routing_bias=True,
    )
    count = reader.layers()
    return uniform(
        reader, [attention(reader, traits)] * count, _dense_then_experts(reader, traits, count)
    )


def _dense_then_experts(reader: Reader, traits: Traits, count: int) -> list[Part]:
    first = reader.integer("first_k_dense_replace", default=0, low=0)
    experts = mixture(reader, traits, shared_inner=shared_width(reader))
    kinds = reader.per_layer("mlp_layer_types", count, ("dense", "sparse"))
    is_dense = [kind == "dense" for kind in kinds] if kinds else [i < first for i in range(count)]
    narrow = dense(reader, "intermediate_size") if any(is_dense) else None
    return [narrow if flag and narrow else experts for flag in is_dense]


def latent_like(reader: Reader) -> Blueprint:
    """DeepSeek-V3 and V3.2, Kimi K2, GLM-5: latent attention, perhaps with an indexer."""
    count = reader.layers()
    base = latent_attention(reader)
    if reader.has("index_topk"):
        indexer = Indexer(
            heads=reader.integer("index_n_heads"),
            head_dim=reader.integer("index_head_dim"),
            top_k=reader.integer("index_topk"),
        )
        kinds = reader.per_layer("indexer_types", count, ("full", "shared"))
        owned = [kind == "full" for kind in kinds] if kinds else [True] * count
        mixers = [replace(base, indexer=replace(indexer, owned=own)) for own in owned]
    else:
        mixers = [base] * count
    return uniform(reader, mixers, _dense_then_experts(reader, Traits(routing_bias=True), count))


def latent_attention(reader: Reader) -> LatentAttention:
    """Read the ranks and head sizes of a latent attention."""
    return LatentAttention(
        heads=reader.integer("num_attention_heads"),
        query_rank=reader.integer("q_lora_rank") if reader.has("q_lora_rank") else None,
        kv_rank=reader.integer("kv_lora_rank"),
        nope_dim=reader.integer("qk_nope_head_dim"),
        rope_dim=reader.integer("qk_rope_head_dim"),
        value_dim=reader.integer("v_head_dim"),
    )


def mimo(reader: Reader) -> Blueprint:
    """MiMo-V2-Flash: windows and full layers with their own heads, keys wider than values."""
    count = reader.layers()
    sinks = reader.flag("add_swa_attention_sink_bias")
    near = attention(
        reader,
        Traits(sinks=sinks),
        SlidingSpan(reader.integer("sliding_window")),
        kv_heads=reader.integer("swa_num_key_value_heads"),
        head_dim=reader.integer("swa_head_dim"),
        value_dim=reader.integer("swa_v_head_dim"),
    )
    far = attention(
        reader,
        Traits(sinks=reader.flag("add_full_attention_sink_bias")),
        FullSpan(),
        value_dim=reader.integer("v_head_dim"),
    )
    experts = mixture(reader, Traits(routing_bias=True), "moe_intermediate_size")
    sparse = reader.numbers("moe_layer_freq", count)
    narrow = dense(reader, "intermediate_size")
    return uniform(
        reader,
        [near if kind else far for kind in reader.numbers("hybrid_layer_pattern", count)],
        [experts if flag else narrow for flag in sparse],
    )


def llama4(reader: Reader) -> Blueprint:
    """Llama 4: three chunked layers to one full, experts in every or every other layer."""
    count = reader.layers()
    traits = Traits()  # its norm of queries and keys has no weights
    chunked = attention(reader, traits, ChunkedSpan(reader.integer("attention_chunk_size")))
    full = attention(reader, traits, FullSpan())
    period = reader.integer("no_rope_layer_interval", default=4)
    step = reader.integer("interleave_moe_layer_step", default=1)
    inner = reader.integer("intermediate_size")
    experts = mixture(reader, traits, "intermediate_size", shared_inner=inner)
    narrow = dense(reader, "intermediate_size_mlp") if step > 1 else None
    parts: list[DenseFeedForward | MixtureOfExperts] = [
        narrow if narrow and (index + 1) % step else experts for index in range(count)
    ]
    mixers = [full if (index + 1) % period == 0 else chunked for index in range(count)]
    return uniform(reader, mixers, parts)


def gpt2(reader: Reader) -> Blueprint:
    """GPT-2 and GPT-3: biases everywhere, LayerNorms, learned positions, no gate."""
    count = reader.layers()
    hidden = hidden_of(reader)
    mixer = attention(reader, Traits(qkv_bias=True, out_bias=True))
    part = DenseFeedForward(
        inner=reader.integer("intermediate_size", "n_inner", default=4 * hidden),
        gated=False,
        bias=True,
    )
    positions = reader.integer("max_position_embeddings", "n_positions", "n_ctx")
    return Blueprint(
        layers=(layer(hidden, mixer, part, norm_width=2),) * count,
        final_norm_elements=2 * hidden,
        position_elements=positions * hidden,
    )


def phi(reader: Reader) -> Blueprint:
    """Phi-2: attention and feed-forward side by side behind one LayerNorm, a biased head."""
    count = reader.layers()
    hidden = hidden_of(reader)
    mixer = attention(reader, Traits(qkv_bias=True, out_bias=True))
    part = dense(reader, gated=False, bias=True)
    return Blueprint(
        layers=(layer(hidden, mixer, part, norms=1, norm_width=2),) * count,
        final_norm_elements=2 * hidden,
        head_bias=True,
    )


TRANSFORMERS: dict[str, Family] = {
    "llama": llama_like(Traits()),
    "mistral": llama_like(Traits()),
    "internlm": llama_like(Traits()),
    "qwen": llama_like(Traits(qkv_bias=True)),
    "qwen2": llama_like(Traits(qkv_bias=True)),
    "qwen3": llama_like(Traits(qk_norm="head")),
    "llada": diffusion,
    "mixtral": mixture_like(Traits()),
    "qwen3_moe": mixture_like(Traits(qk_norm="head")),
    "minimax_m2": mixture_like(Traits(qk_norm="layer", routing_bias=True)),
    "gpt_oss": gpt_oss,
    "gemma3_text": gemma3,
    "gemma4": gemma4,
    "gemma4_text": gemma4,
    "glm4_moe": glm4_moe,
    "deepseek_v3": latent_like,
    "deepseek_v32": latent_like,
    "kimi_k2": latent_like,
    "glm_moe_dsa": latent_like,
    "mimo_v2_flash": mimo,
    "llama4_text": llama4,
    "gpt2": gpt2,
    "phi": phi,
}
