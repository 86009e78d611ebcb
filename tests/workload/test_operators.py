"""The operator table: FLOP, bytes and messages of engine steps."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tapeout.workload import (
    StepMix,
    TensorFormats,
    checkpoint_formats,
    count_parameters,
    kv_bytes_per_token,
    load_model,
    model_names,
    operators,
    state_bytes_per_sequence,
    weight_bytes,
    weight_element_bytes,
)
from tapeout.workload.operators import small_elements

BF16 = TensorFormats(weight="bf16", activation="bf16", kv="bf16")
KINDS = {
    "gemm",
    "grouped_gemm",
    "attention_prefill",
    "attention_decode",
    "scan",
    "elementwise",
    "norm",
    "embedding",
    "sample",
}
SHARDS = {"column", "row", "head", "expert", "replicated"}
COLUMNS = ("flop", "weight_bytes", "activation_bytes", "kv_bytes", "message_bytes")
PRODUCTS = ("gemm", "grouped_gemm")


def mix(*, prefill=0.0, cached=0.0, prompts=0.0, decode=0.0, kv=0.0, sampled=None):
    def column(value):
        return np.atleast_1d(np.asarray(value, dtype=float))

    return StepMix(
        prefill_tokens=column(prefill),
        prefill_context_tokens=column(cached),
        prefill_sequences=column(prompts),
        decode_sequences=column(decode),
        decode_kv_tokens=column(kv),
        sampled_sequences=column(decode if sampled is None else sampled),
    )


def pick(table, column, *, name="", kind=""):
    """Sum a column over the operators whose name and kind begin so."""
    chosen = [
        index
        for index in range(len(table.name))
        if table.name[index].startswith(name) and table.kind[index].startswith(kind)
    ]
    assert chosen, (name, kind)
    return float(getattr(table, column)[chosen].sum())


@pytest.mark.parametrize("name", model_names())
def test_products_of_a_token_are_twice_the_active_matrix_parameters(name):
    """A look-up and small tensors do no product; the head does, tied or not."""
    model = load_model(name)
    table = operators(model, mix(decode=1.0), BF16)
    flop = sum(pick(table, "flop", kind=kind) for kind in PRODUCTS if kind in table.kind)
    count = count_parameters(model)
    embedding = model.embedding_elements
    matrices = count.active - small_elements(model) - model.position_elements
    matrices -= 0 if model.tied_embeddings else embedding
    biases = sum(
        matrix.used * matrix.n
        for layer in model.layers
        for part in layer.parts()
        for matrix in part.matrices(model.hidden)
        if matrix.bias
    )
    biases += model.vocabulary if model.head_bias else 0
    assert flop == pytest.approx(2.0 * (matrices - biases), rel=1e-12)


@pytest.mark.parametrize("name", model_names())
def test_a_decode_step_at_batch_one_is_about_twice_the_active_parameters(name):
    model = load_model(name)
    flop = float(operators(model, mix(decode=1.0, kv=1.0), BF16).total("flop")[0])
    count = count_parameters(model)
    reading = count.active if model.tied_embeddings else count.active_less_one_embedding
    # Scans and vector work come on top: 4 % in a small state-space model.
    assert flop == pytest.approx(2.0 * reading, rel=0.045)


def test_prefill_flop_of_llama_2_7b_in_closed_form():
    """2 x (4 h^2 + 3 h f) L per token, 4 H d per pair, and one head product a prompt."""
    tokens, prompts = 4096.0, 2.0
    table = operators(
        load_model("llama-2-7b"), mix(prefill=tokens, prompts=prompts, sampled=prompts), BF16
    )
    h, f, layers, vocabulary = 4096, 11_008, 32, 32_000
    products = 2 * tokens * layers * (4 * h * h + 3 * h * f) + 2 * prompts * h * vocabulary
    assert pick(table, "flop", kind="gemm") == products
    q = tokens / prompts
    pairs = prompts * q * (q + 1) / 2
    assert pick(table, "flop", kind="attention_prefill") == 4 * h * layers * pairs


def test_a_chunk_attends_to_what_earlier_chunks_left():
    """Two chunks of 512 score as many pairs as one prompt of 1024."""
    model = load_model("llama-3.1-8b")
    whole = operators(model, mix(prefill=1024.0, prompts=1.0), BF16)
    chunks = operators(
        model, mix(prefill=[512.0, 512.0], cached=[0.0, 512.0], prompts=[1.0, 1.0]), BF16
    )
    pairs = pick(whole, "flop", kind="attention_prefill")
    assert pick(chunks, "flop", kind="attention_prefill") == pytest.approx(pairs, rel=1e-12)
    # Keys and values of the first chunk are read again.
    again = pick(chunks, "kv_bytes", kind="attention_prefill")
    assert again == pick(whole, "kv_bytes", kind="attention_prefill") + 512 * kv_bytes_per_token(
        model, "bf16"
    )


@pytest.mark.parametrize("name", ["gpt-oss-20b", "llama-4-scout", "deepseek-v4-flash"])
@settings(deadline=None, max_examples=25)
@given(cut=st.integers(1, 2999))
def test_cutting_a_prompt_anywhere_conserves_its_pairs(name, cut):
    """Windows, chunks and pooled entries included; the pool of a prompt is exact at any cut."""
    model = load_model(name)
    whole = operators(model, mix(prefill=3000.0, prompts=1.0), BF16)
    pieces = operators(
        model,
        mix(prefill=[cut, 3000.0 - cut], cached=[0.0, cut], prompts=[1.0, 1.0]),
        BF16,
    )
    assert pick(pieces, "flop", kind="attention_prefill") == pytest.approx(
        pick(whole, "flop", kind="attention_prefill"), rel=1e-12
    )


def brute_pairs(tokens, reach):
    return sum(reach(position) for position in range(1, tokens + 1))


@pytest.mark.parametrize(
    ("name", "label", "layers", "pair_flop", "reach"),
    [
        ("gpt-oss-20b", "sliding", 12, 2 * 64 * 128, lambda t: min(t, 128)),
        ("gpt-oss-20b", "full", 12, 2 * 64 * 128, lambda t: t),
        ("llama-4-scout", "chunked", 36, 2 * 40 * 256, lambda t: (t - 1) % 8192 + 1),
        ("deepseek-v4-flash", "window", 2, 2 * 64 * 1024, lambda t: min(t, 128)),
        (
            "deepseek-v4-flash",
            "compressed_selected",
            21,
            2 * 64 * 1024,
            lambda t: min(t, 128) + min(t // 4, 512),
        ),
        ("deepseek-v3.2", "latent_selected", 61, 2 * 128 * 1088, lambda t: min(t, 2048)),
    ],
)
def test_score_pairs_equal_a_count_by_hand(name, label, layers, pair_flop, reach):
    tokens = 10_000
    table = operators(load_model(name), mix(prefill=tokens, prompts=1.0), BF16)
    index = table.name.index(f"prefill_attention.{label}")
    expected = layers * pair_flop * brute_pairs(tokens, reach)
    assert table.flop[index, 0] == pytest.approx(expected, rel=1e-12)


def test_windows_bound_what_gpt_oss_reads_in_half_its_layers():
    """8 heads of 64 for keys and values in fp8; each sequence writes its own token."""
    table = operators(
        load_model("gpt-oss-120b"),
        mix(decode=4.0, kv=4 * 1000.0),
        TensorFormats(weight="bf16", activation="bf16", kv="fp8"),
    )
    token = 8 * 128
    assert pick(table, "kv_bytes", name="decode_attention.sliding") == 18 * token * 4 * (128 + 1)
    assert pick(table, "kv_bytes", name="decode_attention.full") == 18 * token * 4 * (1001 + 1)


def test_latent_decode_does_242_flop_a_byte():
    """DeepSeek-V3: 2 H (2 r + d_rope) FLOP for 1,152 B of a context token."""
    table = operators(load_model("deepseek-v3"), mix(decode=1.0, kv=1e6), BF16)
    flop = pick(table, "flop", kind="attention_decode")
    assert flop / pick(table, "kv_bytes", kind="attention_decode") == pytest.approx(242, rel=0.002)


def test_sixteen_tokens_hit_102_of_256_experts():
    model = load_model("deepseek-v3")
    table = operators(model, mix(decode=16.0), BF16)
    index = table.name.index("expert_gate_up")
    one = table.n[index, 0] * table.k[index, 0] * 2 * table.count[index, 0]
    hit = table.weight_bytes[index, 0] / one
    assert hit == pytest.approx(256 * (1 - (1 - 8 / 256) ** 16))
    assert round(hit) == 102
    assert table.m[index, 0] == 16 * 8


def test_one_token_hits_its_top_k_experts():
    table = operators(load_model("mixtral-8x7b"), mix(decode=1.0), BF16)
    index = table.name.index("expert_down")
    assert table.weight_bytes[index, 0] == pytest.approx(32 * 2 * 4096 * 14_336 * 2)


@pytest.mark.parametrize("name", model_names())
def test_weights_are_read_once_a_step_whatever_its_size(name):
    """A step large enough to hit every expert reads all weights but the gathered embedding."""
    model = load_model(name)
    formats = checkpoint_formats(model)
    large = mix(prefill=[20_000.0, 40_000.0], prompts=[4.0, 8.0], decode=200.0, kv=1e5)
    read = operators(model, large, formats).total("weight_bytes")
    held = weight_bytes(model, formats)
    embedding = model.position_elements * weight_element_bytes("bf16")
    if not model.tied_embeddings:
        embedding += model.embedding_elements * weight_element_bytes("bf16")
    np.testing.assert_allclose(read, held.total - embedding, rtol=1e-12)


def test_experts_alone_shrink_when_only_they_are_fp4():
    model = load_model("gpt-oss-120b")
    wide = operators(model, mix(decode=64.0), BF16)
    narrow = operators(
        model,
        mix(decode=64.0),
        TensorFormats(weight="bf16", activation="bf16", kv="bf16", expert="mxfp4"),
    )
    for index, kind in enumerate(wide.kind):
        ratio = narrow.weight_bytes[index, 0] / max(wide.weight_bytes[index, 0], 1.0)
        if kind == "grouped_gemm":
            # Biases of the experts stay bf16.
            assert ratio == pytest.approx(4.25 / 16, rel=0.002)
        elif wide.weight_bytes[index, 0]:
            assert ratio == 1.0


def test_arithmetic_runs_in_the_wider_of_weight_and_activation():
    model = load_model("gpt-oss-120b")
    formats = TensorFormats(weight="bf16", activation="fp4", kv="fp8", expert="mxfp4")
    table = operators(model, mix(decode=1.0), formats)
    dtype = dict(zip(table.name, table.dtype, strict=True))
    assert (dtype["qkv"], dtype["expert_gate_up"], dtype["lm_head"]) == ("bf16", "fp4", "bf16")


def test_only_rows_that_need_logits_reach_the_head():
    model = load_model("llama-3.1-8b")
    table = operators(model, mix(prefill=500.0, prompts=1.0, sampled=0.0), BF16)
    assert pick(table, "flop", name="lm_head") == 0.0
    table = operators(model, mix(prefill=500.0, prompts=1.0, sampled=1.0), BF16)
    assert pick(table, "flop", name="lm_head") == 2 * 4096 * 128_256


def test_messages_are_two_reductions_a_layer_and_one_after_the_embedding():
    model = load_model("llama-3.1-70b")
    table = operators(model, mix(decode=32.0), BF16)
    assert float(table.total("message_bytes")[0]) == (2 * 80 + 1) * 32 * 8192 * 2


def test_dispatch_is_in_the_experts_format_and_combine_in_bf16():
    """DeepSeek-V3: 8 copies of 7,168 elements each way; the shared expert adds no message."""
    model = load_model("deepseek-v3")
    table = operators(model, mix(decode=10.0), checkpoint_formats(model))
    assert pick(table, "message_bytes", name="expert_gate_up") == 58 * 10 * 8 * 7168 * 1
    assert pick(table, "message_bytes", name="expert_down") == 58 * 10 * 8 * 7168 * 2
    assert pick(table, "message_bytes", name="shared_down") == 0.0


def test_latent_experts_are_sent_their_latent():
    model = load_model("kimi-k3")
    table = operators(model, mix(decode=1.0), BF16)
    assert pick(table, "message_bytes", name="expert_down") == 92 * 16 * 3584 * 2


def test_states_are_read_and_written_by_each_decoding_sequence():
    model = load_model("mamba-codestral-7b")
    table = operators(model, mix(decode=3.0, kv=3e4), BF16)
    assert pick(table, "kv_bytes", name="decode_scan") == 3 * 2 * state_bytes_per_sequence(model)


def test_gated_delta_flop_follow_the_published_form():
    """7 H d_k d_v a token in decode, plus the convolution."""
    table = operators(load_model("qwen3-next-80b-a3b"), mix(decode=1.0), BF16)
    delta = 7 * 32 * 128 * 128
    convolution = 2 * 4 * 8192
    assert pick(table, "flop", name="decode_scan") == 36 * (delta + convolution)


def test_diffusion_attends_both_ways():
    table = operators(load_model("llada-8b"), mix(prefill=256.0, prompts=1.0), BF16)
    assert pick(table, "flop", kind="attention_prefill") == 32 * 4 * 4096 * 256**2


@pytest.mark.parametrize("name", model_names())
def test_tables_are_small_and_well_formed(name):
    model = load_model(name)
    steps = mix(decode=np.arange(1.0, 65.0), kv=np.arange(1.0, 65.0) * 1000)
    table = operators(model, steps, checkpoint_formats(model))
    rows = len(table.name)
    assert 8 <= rows <= 40
    assert len(set(table.name)) == rows
    assert set(table.kind) <= KINDS
    assert set(table.shard) <= SHARDS
    for column in ("m", "n", "k", "count", *COLUMNS):
        values = getattr(table, column)
        assert values.shape == (rows, 64)
        assert np.isfinite(values).all()
        assert (values >= 0).all()


@pytest.mark.parametrize("name", model_names())
def test_merging_layers_conserves_every_total(name):
    """Layer by layer: the sum over models of one layer less the rows around the layers."""
    model = load_model(name)
    steps = mix(prefill=[0.0, 700.0], cached=[0.0, 64.0], prompts=[0.0, 2.0], decode=9.0, kv=9e3)
    merged = operators(model, steps, BF16)
    from dataclasses import replace  # noqa: PLC0415

    bare = operators(replace(model, layers=()), steps, BF16)
    totals = {column: bare.total(column) for column in COLUMNS}
    one_layer = {}
    for layer in model.layers:
        if layer not in one_layer:
            one_layer[layer] = operators(replace(model, name="one", layers=(layer,)), steps, BF16)
        for column in COLUMNS:
            totals[column] = totals[column] + one_layer[layer].total(column) - bare.total(column)
    for column in COLUMNS:
        np.testing.assert_allclose(merged.total(column), totals[column], rtol=1e-9)


@pytest.mark.parametrize("name", ["llama-3.1-8b", "deepseek-v3", "jamba-v0.1", "llama-4-scout"])
def test_a_mixed_step_is_the_sum_of_its_halves_but_for_weights(name):
    """FLOP, caches and messages add up; a mixed step reads the shared weights once."""
    model = load_model(name)
    prefill = {"prefill": 600.0, "cached": 100.0, "prompts": 2.0}
    decode = {"decode": 8.0, "kv": 8e3}
    halves = [
        operators(model, mix(**prefill, sampled=2.0), BF16),
        operators(model, mix(**decode), BF16),
    ]
    both = operators(model, mix(**prefill, **decode, sampled=10.0), BF16)
    for column in ("flop", "kv_bytes", "message_bytes", "activation_bytes"):
        expected = sum(float(half.total(column)[0]) for half in halves)
        assert float(both.total(column)[0]) == pytest.approx(expected, rel=1e-12)
    apart = [float(half.total("weight_bytes")[0]) for half in halves]
    assert max(apart) <= float(both.total("weight_bytes")[0]) <= sum(apart)


def test_an_empty_step_costs_nothing():
    table = operators(load_model("deepseek-v4-flash"), mix(), BF16)
    for column in COLUMNS:
        assert not table.total(column).any()


@pytest.mark.parametrize("name", ["gpt-oss-20b", "deepseek-v3.2", "qwen3-next-80b-a3b", "kimi-k3"])
@settings(deadline=None, max_examples=30)
@given(batch=st.integers(1, 4096), more=st.integers(1, 512), context=st.integers(0, 100_000))
def test_more_sequences_never_cost_less(name, batch, more, context):
    sizes = np.array([batch, batch + more], dtype=float)
    table = operators(load_model(name), mix(decode=sizes, kv=sizes * context), BF16)
    for column in COLUMNS:
        small, large = table.total(column)
        assert large >= small * (1 - 1e-12)


@settings(deadline=None, max_examples=30)
@given(context=st.integers(0, 200_000), more=st.integers(1, 10_000))
def test_a_longer_context_never_costs_less(context, more):
    table = operators(
        load_model("deepseek-v4-flash"),
        mix(decode=[8.0, 8.0], kv=[8.0 * context, 8.0 * (context + more)]),
        BF16,
    )
    short, long = table.total("kv_bytes")
    assert long >= short
