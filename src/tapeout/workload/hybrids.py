"""Families with recurrent layers: Mamba, Jamba, Nemotron-H, Qwen3-Next, MiniMax-Text-01."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from tapeout.workload.architecture import Layer
from tapeout.workload.blueprint import (
    FULL,
    Blueprint,
    Traits,
    attention,
    dense,
    hidden_of,
    layer,
    mixture,
    uniform,
)
from tapeout.workload.config import Reader
from tapeout.workload.parts import Mixer, Part
from tapeout.workload.recurrent import GatedDeltaNet, LightningAttention, Mamba1, Mamba2

LINEAR = "linear_attention"
_BLOCKS = {"M": "mamba", "*": "attention", "E": "moe", "-": "mlp"}


def mamba2(reader: Reader) -> Blueprint:
    """Pure Mamba-2: one mixer and one norm a layer."""
    hidden = hidden_of(reader)
    mixer = Mamba2(
        heads=reader.integer("num_heads"),
        head_dim=reader.integer("head_dim"),
        state=reader.integer("state_size"),
        groups=reader.integer("n_groups"),
        kernel=reader.integer("conv_kernel"),
        chunk=reader.integer("chunk_size", default=256),
        conv_bias=reader.flag("use_conv_bias", default=True),
        bias=reader.flag("use_bias"),
    )
    return Blueprint(
        layers=(layer(hidden, mixer, norms=1),) * reader.layers(), final_norm_elements=hidden
    )


def nemotron_h(reader: Reader) -> Blueprint:
    """Nemotron-H and 3: one Mamba-2, attention, feed-forward or mixture a layer."""
    count = reader.layers()
    hidden = hidden_of(reader)
    kinds = _block_kinds(reader, count)
    makers: dict[str, Callable[[Reader], Layer]] = {
        "mamba": lambda r: layer(hidden, _nemotron_mamba(r), norms=1),
        "attention": lambda r: layer(hidden, attention(r, Traits()), norms=1),
        "mlp": lambda r: layer(hidden, None, dense(r, gated=False), norms=1),
        "moe": lambda r: layer(hidden, None, _nemotron_experts(r), norms=1),
    }
    made = {kind: makers[kind](reader) for kind in dict.fromkeys(kinds)}
    return Blueprint(layers=tuple(made[kind] for kind in kinds), final_norm_elements=hidden)


def _block_kinds(reader: Reader, count: int) -> list[str]:
    pattern = reader.get("hybrid_override_pattern")
    if isinstance(pattern, str):
        unknown = sorted(set(pattern) - set(_BLOCKS))
        if unknown or len(pattern) != count:
            wrong = f"unknown letters {unknown}" if unknown else f"{len(pattern)} letters"
            reader.note(
                "hybrid_override_pattern", pattern, wrong, f"{count} letters of {''.join(_BLOCKS)}"
            )
            return ["mamba"]
        return [_BLOCKS[letter] for letter in pattern]
    kinds = reader.per_layer("layers_block_type", count, tuple(_BLOCKS.values()))
    if kinds is None:
        reader.note("hybrid_override_pattern", None, "missing (or layers_block_type)")
        return ["mamba"]
    return [str(kind) for kind in kinds]


def _nemotron_mamba(reader: Reader) -> Mamba2:
    return Mamba2(
        heads=reader.integer("mamba_num_heads"),
        head_dim=reader.integer("mamba_head_dim"),
        state=reader.integer("ssm_state_size"),
        groups=reader.integer("n_groups"),
        kernel=reader.integer("conv_kernel"),
        chunk=reader.integer("chunk_size", default=128),
        conv_bias=reader.flag("use_conv_bias", default=True),
        bias=reader.flag("mamba_proj_bias"),
    )


def _nemotron_experts(reader: Reader) -> Part:
    shared = reader.integer("n_shared_experts", default=0, low=0)
    width = reader.integer("moe_shared_expert_intermediate_size") if shared else 0
    experts = mixture(
        reader,
        Traits(routing_bias=True),
        "moe_intermediate_size",
        shared_inner=shared * width,
        gated=False,
    )
    if not reader.has("moe_latent_size"):
        return experts
    return replace(experts, latent=reader.integer("moe_latent_size"))


def jamba(reader: Reader) -> Blueprint:
    """Jamba: Mamba-1 with attention every few layers, experts every other layer."""
    count = reader.layers()
    hidden = hidden_of(reader)
    recurrent = Mamba1(
        inner=hidden * reader.integer("mamba_expand"),
        state=reader.integer("mamba_d_state"),
        kernel=reader.integer("mamba_d_conv"),
        step_rank=reader.integer("mamba_dt_rank", default=-(-hidden // 16)),
        conv_bias=reader.flag("mamba_conv_bias", default=True),
        bias=reader.flag("mamba_proj_bias"),
        inner_norms=True,
    )
    softmax = attention(reader, Traits())
    experts = mixture(reader, Traits(), "intermediate_size")
    narrow = dense(reader)
    mixers: list[Mixer] = [
        softmax if _due(reader, "attn_layer", index) else recurrent for index in range(count)
    ]
    parts: list[Part] = [
        experts if _due(reader, "expert_layer", index) else narrow for index in range(count)
    ]
    return uniform(reader, mixers, parts)


def _due(reader: Reader, what: str, index: int) -> bool:
    period = reader.integer(f"{what}_period")
    return index % period == reader.integer(f"{what}_offset", low=0)


def qwen_next(reader: Reader) -> Blueprint:
    """Qwen3-Next and Qwen3.5: gated DeltaNet with gated attention every few layers."""
    count = reader.layers()
    linear = GatedDeltaNet(
        key_heads=reader.integer("linear_num_key_heads"),
        value_heads=reader.integer("linear_num_value_heads"),
        key_dim=reader.integer("linear_key_head_dim"),
        value_dim=reader.integer("linear_value_head_dim"),
        kernel=reader.integer("linear_conv_kernel_dim"),
    )
    gate = reader.flag("attn_output_gate", default=True)
    softmax = attention(reader, Traits(qk_norm="head", gate=gate))
    kinds = reader.per_layer("layer_types", count, (LINEAR, FULL))
    if kinds is None:
        period = reader.integer("full_attention_interval")
        kinds = [LINEAR if (index + 1) % period else FULL for index in range(count)]
    mixers: list[Mixer] = [softmax if kind == FULL else linear for kind in kinds]
    return uniform(reader, mixers, [_qwen_feed_forward(reader)] * count)


def _qwen_feed_forward(reader: Reader) -> Part:
    if not reader.has("num_experts"):
        return dense(reader)
    shared = reader.integer("shared_expert_intermediate_size", default=0, low=0)
    return mixture(
        reader,
        Traits(),
        "moe_intermediate_size",
        shared_inner=shared,
        shared_gate=shared > 0,
    )


def minimax_text(reader: Reader) -> Blueprint:
    """MiniMax-Text-01: seven lightning layers to one of softmax attention, experts in all."""
    count = reader.layers()
    softmax = attention(reader, Traits())
    linear = LightningAttention(
        heads=softmax.heads,
        head_dim=softmax.head_dim,
        chunk=reader.integer("block_size", default=256),
    )
    mixers: list[Mixer] = [
        softmax if kind else linear for kind in reader.numbers("attn_type_list", count)
    ]
    return uniform(reader, mixers, [mixture(reader, Traits(), "intermediate_size")] * count)


HYBRIDS: dict[str, Callable[[Reader], Blueprint]] = {
    "mamba2": mamba2,
    "nemotron_h": nemotron_h,
    "jamba": jamba,
    "qwen3_next": qwen_next,
    "qwen3_5_text": qwen_next,
    "qwen3_5_moe_text": qwen_next,
    "minimax_text_01": minimax_text,
}
