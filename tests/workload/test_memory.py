"""Cache, states and weights in bytes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tapeout.errors import UnknownNameError
from tapeout.workload import (
    FORMAT_BYTES,
    TensorFormats,
    checkpoint_formats,
    count_parameters,
    kv_bytes,
    kv_bytes_per_token,
    kv_element_bytes,
    load_model,
    model_names,
    state_bytes_per_sequence,
    weight_bytes,
    weight_element_bytes,
)

BF16 = TensorFormats(weight="bf16", activation="bf16", kv="bf16")


def test_deepseek_v3_caches_1152_bytes_per_token_and_layer():
    """576 latent elements in bf16, in each of 61 layers."""
    model = load_model("deepseek-v3")
    assert kv_bytes_per_token(model, "bf16") == 61 * 1152
    assert kv_bytes(model, 1000, "bf16") == 61 * 1152 * 1000


def test_llama_caches_keys_and_values_of_its_groups():
    model = load_model("llama-3.1-70b")
    assert kv_bytes_per_token(model, "fp8") == 80 * 8 * 2 * 128


def test_half_of_gpt_oss_stops_growing_at_its_window():
    """18 of 36 layers keep 128 tokens; 8 heads of 64 for keys and values."""
    model = load_model("gpt-oss-120b")
    per_layer = 8 * 64 * 2 * 2
    assert kv_bytes_per_token(model, "bf16") == 18 * per_layer
    context = np.array([0.0, 100.0, 128.0, 5000.0])
    expected = 18 * per_layer * (context + np.minimum(context, 128))
    np.testing.assert_array_equal(kv_bytes(model, context, "bf16"), expected)


def test_gemma_keeps_one_full_layer_in_six():
    model = load_model("gemma-3-27b")
    per_layer = 16 * 128 * 2 * 2
    assert kv_bytes_per_token(model, "bf16") == 10 * per_layer
    assert kv_bytes(model, 100_000, "bf16") == per_layer * (10 * 100_000 + 52 * 1024)


def test_gemma_4_full_layers_have_heads_of_their_own():
    """10 full layers with 4 heads of 512, 50 windows with 16 heads of 256."""
    model = load_model("gemma-4-31b")
    full, near = 4 * 512 * 2 * 2, 16 * 256 * 2 * 2
    assert kv_bytes(model, 4096, "bf16") == 10 * full * 4096 + 50 * near * 1024


def test_mimo_keys_are_wider_than_values():
    model = load_model("mimo-v2-flash")
    assert kv_bytes_per_token(model, "bf16") == 9 * 4 * (192 + 128) * 2


def test_llama_4_chunks_are_bounded_and_every_fourth_layer_is_not():
    model = load_model("llama-4-scout")
    per_layer = 8 * 128 * 2 * 2
    assert kv_bytes_per_token(model, "bf16") == 12 * per_layer
    assert kv_bytes(model, 20_000, "bf16") == per_layer * (12 * 20_000 + 36 * 8192)


def test_index_keys_are_cached_beside_the_latents():
    """One fp8 key of 128 with a 4-byte scale; only 21 layers of GLM-5.2 own an indexer."""
    assert kv_bytes_per_token(load_model("deepseek-v3.2"), "bf16") == 61 * (1152 + 132)
    assert kv_bytes_per_token(load_model("glm-5.2"), "bf16") == 78 * 1152 + 21 * 132


def test_deepseek_v4_stores_windows_and_pooled_entries():
    """Flash: 2 windows, 21 layers pooling 4 with index keys, 20 pooling 128; K is V, 512 wide."""
    model = load_model("deepseek-v4-flash")
    context = 1003
    window = 43 * 128
    entries = 21 * (context // 4) + 20 * (context // 128)
    index = 21 * (context // 4) * 132
    assert kv_bytes(model, context, "bf16") == (window + entries) * 512 * 2 + index


def test_deepseek_v4_pro_cache_is_a_tenth_of_v3_2_at_a_million_tokens():
    """The report claims 10 % of DeepSeek-V3.2's cache for one million tokens."""
    million = 1_000_000
    small = kv_bytes(load_model("deepseek-v4-pro"), million, "fp8")
    large = kv_bytes(load_model("deepseek-v3.2"), million, "fp8")
    assert float(small / large) == pytest.approx(0.10, abs=0.02)


def test_mamba_codestral_keeps_268_mb_of_state():
    """64 layers of 128 heads x 64 x 128 in fp32, and 3 inputs of 10,240 convolved channels."""
    state = 64 * 128 * 64 * 128 * 4
    assert state == pytest.approx(268e6, rel=0.002)
    convolution = 64 * 10_240 * 3 * 2
    assert state_bytes_per_sequence(load_model("mamba-codestral-7b")) == state + convolution


def test_qwen_next_keeps_75_mb_of_state():
    """36 layers of 32 heads x 128 x 128 in fp32, and 3 inputs of 8,192 convolved channels."""
    state = 36 * 32 * 128 * 128 * 4
    assert state == pytest.approx(75e6, rel=0.01)
    convolution = 36 * 8192 * 3 * 2
    assert state_bytes_per_sequence(load_model("qwen3-next-80b-a3b")) == state + convolution


def test_transformers_keep_no_state_and_mamba_no_cache():
    assert state_bytes_per_sequence(load_model("llama-2-7b")) == 0.0
    assert kv_bytes(load_model("mamba2-2.7b"), 5000, "bf16") == 0.0


def test_scales_make_mxfp4_4_25_bit_and_nvfp4_4_5_bit():
    assert weight_element_bytes("mxfp4") * 8 == 4.25
    assert weight_element_bytes("nvfp4") * 8 == 4.5
    assert weight_element_bytes("fp8") == 1 + 4 / 128**2
    assert kv_element_bytes("fp8") == 1.0
    assert all(weight_element_bytes(name) >= size for name, size in FORMAT_BYTES.items())


def test_unknown_formats_are_named_with_a_suggestion():
    with pytest.raises(UnknownNameError, match="did you mean 'mxfp4'"):
        weight_element_bytes("mxfp44")
    with pytest.raises(UnknownNameError, match="number format"):
        kv_bytes_per_token(load_model("llama-2-7b"), "bf15")


def test_gpt_oss_checkpoint_keeps_only_its_experts_in_fp4():
    """The published files hold 60.8 GiB (model card); matrices outside the experts are bf16."""
    model = load_model("gpt-oss-120b")
    formats = checkpoint_formats(model)
    assert (formats.weight, formats.expert, formats.activation) == ("bf16", "mxfp4", "bf16")
    held = weight_bytes(model, formats)
    assert held.total == pytest.approx(60.8 * 2**30, rel=0.005)
    assert held.experts > 0.9 * held.total


def test_deepseek_v3_checkpoint_is_fp8_with_bf16_embeddings():
    model = load_model("deepseek-v3")
    formats = checkpoint_formats(model)
    assert (formats.weight, formats.expert, formats.embedding) == ("fp8", None, "bf16")
    held = weight_bytes(model, formats)
    assert held.embeddings == 2 * 2 * 129_280 * 7168
    narrow = held.experts + held.matrices
    wide = held.embeddings + held.small
    elements = narrow / weight_element_bytes("fp8") + wide / 2
    assert elements == pytest.approx(count_parameters(model).total, rel=1e-12)


def test_kimi_k2_5_experts_are_int4():
    formats = checkpoint_formats(load_model("kimi-k2.5"))
    assert (formats.weight, formats.expert) == ("bf16", "int4")


@pytest.mark.parametrize("name", model_names())
def test_bf16_weights_are_two_bytes_a_parameter(name):
    model = load_model(name)
    assert weight_bytes(model, BF16).total == pytest.approx(
        2 * count_parameters(model).total, rel=1e-12
    )


@pytest.mark.parametrize("name", model_names())
@settings(deadline=None, max_examples=10)
@given(context=st.integers(0, 200_000), more=st.integers(1, 5000))
def test_the_cache_never_shrinks_and_grows_by_at_most_all_layers(name, context, more):
    model = load_model(name)
    before, after = kv_bytes(model, np.array([context, context + more]), "bf16")
    assert after >= before >= 0.0
    growth = kv_bytes_per_token(model, "bf16") * (more - 128)
    assert after - before >= growth - 1e-6 * after
