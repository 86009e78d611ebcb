"""Reading configurations: shipped ones, a user's own, and broken ones."""

import json

import pytest

from tapeout.errors import ProblemsError, UnknownNameError
from tapeout.workload import (
    architecture_from_config,
    count_parameters,
    load_model,
    model_aliases,
    model_names,
)

LLAMA = {
    "model_type": "llama",
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 128,
    "vocab_size": 1000,
    "max_position_embeddings": 2048,
}


def problems(config):
    with pytest.raises(ProblemsError) as caught:
        architecture_from_config("mine", config)
    return {problem.path: problem for problem in caught.value.problems}


def test_a_small_llama_is_counted_by_hand():
    model = architecture_from_config("mine", LLAMA)
    layer = 64 * 64 * 2 + 2 * 64 * 32 + 3 * 64 * 128 + 2 * 64
    assert count_parameters(model).total == 2 * 1000 * 64 + 2 * layer + 64
    assert (model.max_context_tokens, model.kv_heads, model.experts) == (2048, 2, 0)


def test_names_do_not_mind_case_and_aliases_resolve():
    assert load_model("DeepSeek-V3") is load_model("deepseek-v3") or (
        load_model("DeepSeek-V3") == load_model("deepseek-v3")
    )
    assert load_model("Llama-3-70B").max_context_tokens == 8192
    assert load_model("Llama-3.3-70B").layers == load_model("llama-3.1-70b").layers
    assert set(model_aliases().values()) <= set(model_names())
    for alias in model_aliases():
        assert load_model(alias).name == alias


def test_mistral_v0_2_has_no_window():
    windowed, full = load_model("mistral-7b"), load_model("Mistral-7B-Instruct-v0.2")
    assert windowed.layers[0].mixer.span.label == "sliding"
    assert full.layers[0].mixer.span.label == "full"


def test_an_unknown_model_is_answered_with_near_names():
    with pytest.raises(UnknownNameError, match="did you mean 'gpt-oss-120b'") as caught:
        load_model("gpt-oss-120")
    assert "gpt-oss-120b" in caught.value.suggestions


def test_layers_follow_the_published_patterns():
    oss = load_model("gpt-oss-120b")
    labels = [layer.mixer.span.label for layer in oss.layers]
    assert labels[:4] == ["sliding", "full", "sliding", "full"]
    jamba = load_model("jamba-v0.1")
    softmax = [i for i, layer in enumerate(jamba.layers) if hasattr(layer.mixer, "kv_heads")]
    assert softmax == [4, 12, 20, 28]
    v3 = load_model("deepseek-v3")
    assert [v3.experts, v3.top_k, v3.kv_heads, v3.next_token_layers] == [256, 8, 1, 1]
    assert [hasattr(layer.feed_forwards[0], "experts") for layer in v3.layers[:4]] == [
        False,
        False,
        False,
        True,
    ]
    assert load_model("llama-4-scout").has_vision_tower
    assert load_model("llada-8b").bidirectional


def test_every_missing_key_is_named_at_once():
    found = problems({"model_type": "llama"})
    assert set(found) == {
        "hidden_size",
        "num_hidden_layers",
        "num_attention_heads",
        "intermediate_size",
        "vocab_size",
    }
    assert all("missing" in problem.message for problem in found.values())


def test_a_misspelt_key_is_recognised():
    config = {**LLAMA, "intermediat_size": 128}
    del config["intermediate_size"]
    assert "'intermediat_size'" in problems(config)["intermediate_size"].remedy


@pytest.mark.parametrize("value", [-1, 0, 1.5, "many", True, [], 10**12, float("nan")])
def test_unusable_numbers_are_named_with_their_value(value):
    found = problems({**LLAMA, "hidden_size": value})
    assert "hidden_size" in found
    assert repr(value)[:20] in found["hidden_size"].value


def test_sizes_that_do_not_fit_each_other_are_refused():
    assert "num_key_value_heads" in problems({**LLAMA, "num_key_value_heads": 3})
    assert "head_dim" in problems({**LLAMA, "hidden_size": 66})
    mixture = {**LLAMA, "model_type": "mixtral", "num_local_experts": 4, "num_experts_per_tok": 5}
    assert "num_experts_per_tok" in problems(mixture)
    assert "num_hidden_layers" in problems({**LLAMA, "num_hidden_layers": 10**8})


def test_lists_of_layer_types_are_checked():
    base = {
        **LLAMA,
        "model_type": "gpt_oss",
        "num_local_experts": 4,
        "num_experts_per_tok": 2,
        "sliding_window": 128,
    }
    short = problems({**base, "layer_types": ["full_attention"]})
    assert "2 entries" in short["layer_types"].message
    wrong = problems({**base, "layer_types": ["full_attention", "sliding_atention"]})
    assert "sliding_attention" in wrong["layer_types[1]"].remedy
    assert "layer_types" in problems({**base, "layer_types": "full_attention"})


def test_patterns_and_ratios_with_unknown_entries_are_refused():
    nemotron = json.loads(json.dumps({**LLAMA, "model_type": "nemotron_h"}))
    assert "hybrid_override_pattern" in problems({**nemotron, "hybrid_override_pattern": "MX"})
    assert "hybrid_override_pattern" in problems(nemotron)
    v4 = {
        **LLAMA,
        "model_type": "deepseek_v4",
        "compress_ratios": [4, 7],
    }
    found = problems(v4)
    assert "compress_ratios[1]" in found
    assert "hc_mult" in found


def test_an_unknown_family_is_answered_with_near_ones():
    assert "qwen3" in problems({**LLAMA, "model_type": "qwen33"})["model_type"].remedy
    assert "missing" in problems({})["model_type"].message


def test_problems_of_a_nested_configuration_carry_its_path():
    config = {"model_type": "multi", "text_config": {**LLAMA, "vocab_size": -5}}
    assert "text_config.vocab_size" in problems(config)


def test_a_nested_table_that_is_none_is_named():
    config = {**LLAMA, "model_type": "kimi_linear", "linear_attn_config": 3}
    found = problems(config)
    assert "linear_attn_config" in found


def test_a_users_file_is_read_by_path(tmp_path):
    folder = tmp_path / "my-model"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(LLAMA), encoding="utf-8")
    model = load_model(str(folder / "config.json"))
    assert model.name == "my-model"
    assert model.hidden == 64


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{not json", "is not JSON"),
        (b"\xff\xfe\x00{", "is not UTF-8"),
        (b"[1, 2]", "a JSON object is needed"),
        (b"[" * 200_000, "is not JSON"),
        (b" " * 5_000_001, "larger than the limit of 5 MB"),
    ],
    ids=["text", "bytes", "list", "deep", "huge"],
)
def test_files_that_are_no_configuration_are_refused(tmp_path, content, message):
    path = tmp_path / "config.json"
    path.write_bytes(content)
    with pytest.raises(ProblemsError, match=message):
        load_model(str(path))


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ProblemsError, match="check the path"):
        load_model(str(tmp_path / "absent.json"))
