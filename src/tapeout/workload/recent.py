"""Families of 2026 that leave the plain residual stream: DeepSeek-V4 and Kimi K3.

DeepSeek-V4 follows `modeling_deepseek_v4` of transformers 5.23. Kimi K3 follows `kimi_linear` of
the same release, with what its configuration adds (full-rank gate, gated MLA, latent experts,
attention over depth) as public ports of the checkpoint describe it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from tapeout.workload.blueprint import (
    Blueprint,
    Traits,
    dense,
    hidden_of,
    layer,
    mixture,
    shared_width,
)
from tapeout.workload.compressed import CompressedAttention
from tapeout.workload.config import Reader
from tapeout.workload.families import latent_attention
from tapeout.workload.feedforward import MixtureOfExperts
from tapeout.workload.parts import Mixer, Part
from tapeout.workload.recurrent import KimiDelta
from tapeout.workload.residual import DepthAttention, HyperConnections

WINDOW_ONLY, SELECTED, HEAVY = 0, 4, 128  # compression ratios with a meaning


def deepseek_v4(reader: Reader) -> Blueprint:
    """DeepSeek-V4: windows with compressed context, experts in all layers, several streams."""
    count = reader.layers()
    hidden = hidden_of(reader)
    streams = HyperConnections(streams=reader.integer("hc_mult"))
    experts = mixture(reader, Traits(), "moe_intermediate_size", shared_inner=shared_width(reader))
    # The first layers route by a table of token ids and have no learned bias.
    by_table = reader.integer("num_hash_layers", default=0, low=0)
    learned = replace(experts, routing_bias=True)
    made = {ratio: _compressed(reader, ratio) for ratio in (WINDOW_ONLY, SELECTED, HEAVY)}
    layers = []
    for index, ratio in enumerate(reader.numbers("compress_ratios", count)):
        if ratio not in made:
            known = ", ".join(str(key) for key in made)
            reader.note(f"compress_ratios[{index}]", ratio, "unknown ratio", f"use {known}")
            continue
        ffn = experts if index < by_table else learned
        layers.append(layer(hidden, made[ratio], ffn, residual=streams))
    head = streams.streams * streams.streams * hidden + streams.streams + 1
    return Blueprint(layers=tuple(layers), final_norm_elements=hidden, outer_elements=head)


def _compressed(reader: Reader, ratio: int) -> CompressedAttention:
    base = CompressedAttention(
        heads=reader.integer("num_attention_heads"),
        head_dim=reader.integer("head_dim"),
        rope_dim=reader.integer("qk_rope_head_dim"),
        query_rank=reader.integer("q_lora_rank"),
        window=reader.integer("sliding_window"),
        ratio=ratio,
        out_groups=reader.integer("o_groups"),
        out_rank=reader.integer("o_lora_rank"),
    )
    if ratio != SELECTED:
        return base
    return replace(
        base,
        overlapping=True,
        index_heads=reader.integer("index_n_heads"),
        index_dim=reader.integer("index_head_dim"),
        index_top_k=reader.integer("index_topk"),
    )


def kimi_linear(reader: Reader) -> Blueprint:
    """Kimi Linear and Kimi K3: delta attention with latent attention every fourth layer."""
    count = reader.layers()
    hidden = hidden_of(reader)
    settings = reader.section("linear_attn_config")
    recurrent = KimiDelta(
        heads=settings.integer("num_heads"),
        head_dim=settings.integer("head_dim"),
        kernel=settings.integer("short_conv_kernel_size"),
        full_rank_gate=settings.flag("use_full_rank_gate"),
    )
    linear = set(settings.indices("kda_layers"))  # counted from 1
    softmax = replace(latent_attention(reader), gate=reader.flag("mla_use_output_gate"))
    first = reader.integer("first_k_dense_replace", default=0, low=0)
    experts = _latent_experts(reader)
    narrow = dense(reader, "intermediate_size")
    depth = _depth(reader, count)
    layers = []
    for index in range(count):
        mixer: Mixer = recurrent if index + 1 in linear else softmax
        ffn: Part = narrow if index < first else experts
        layers.append(layer(hidden, mixer, ffn, residual=depth))
    return Blueprint(
        layers=tuple(layers),
        final_norm_elements=hidden,
        outer_elements=2 * hidden if depth else 0,
    )


def _latent_experts(reader: Reader) -> MixtureOfExperts:
    experts = mixture(
        reader,
        Traits(routing_bias=True),
        "moe_intermediate_size",
        shared_inner=shared_width(reader),
    )
    if not reader.has("routed_expert_hidden_size"):
        return experts
    return replace(
        experts,
        latent=reader.integer("routed_expert_hidden_size"),
        latent_norm=reader.flag("latent_moe_use_norm"),
    )


def _depth(reader: Reader, count: int) -> DepthAttention | None:
    if not reader.has("attn_res_block_size"):
        return None
    block = reader.integer("attn_res_block_size")
    # A layer chooses among the finished blocks, the embedding and its own block so far.
    candidates = sum(index // block + 2 for index in range(count)) / count
    return DepthAttention(candidates=candidates)


RECENT: dict[str, Callable[[Reader], Blueprint]] = {
    "deepseek_v4": deepseek_v4,
    "kimi_linear": kimi_linear,
}
