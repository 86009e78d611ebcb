"""Candidate placements and serving formats."""

from dataclasses import replace

import pytest

from tapeout.errors import UnknownNameError
from tapeout.fabric import System, usual_system
from tapeout.perf import (
    formats,
    heads_divide,
    in_words,
    max_sequences,
    placements,
    serving_formats,
    usual_precision,
)
from tapeout.serving.tables import engines
from tapeout.workload import load_model

FP4 = {"bf16": 1e15, "fp8": 2e15, "fp4": 4e15}


def words(model, chip, **options):
    architecture = load_model(model)
    served = serving_formats(chip, architecture)
    found = placements(architecture, usual_system(chip), served, **options)
    assert all(max_sequences(placement, 1024.0) > 0 for placement in found)
    assert [p.chips for p in found] == sorted(p.chips for p in found)
    return [in_words(placement) for placement in found]


def test_a_dense_model_gets_powers_of_two_of_tensor_parallelism(chip):
    assert words("llama-3.1-70b", chip()) == [f"tp{n} fp8" for n in (1, 2, 4, 8, 16)]


def test_a_mixture_is_also_spread_one_attention_group_a_chip(chip):
    found = words("gpt-oss-120b", chip(peak_flop_per_s=FP4))
    assert found[0] == "tp1 mxfp4"
    assert {"dp8 ep8 mxfp4", "dp16 ep16 mxfp4", "dp32 ep32 mxfp4", "dp64 ep64 mxfp4"} < set(found)


def test_what_fits_no_domain_gets_pipeline_stages(chip):
    small = chip(memory_bytes=80e9)
    few = replace(small, links=(replace(small.links[0], chips=8),))
    assert words("deepseek-r1", few)[0] == "tp8 pp2 fp8"


def test_what_fits_nowhere_has_no_placement(chip):
    assert words("deepseek-r1", chip(memory_bytes=8e9)) == []


def test_a_domain_is_not_exceeded(chip):
    system = System(chip=chip(), chips_per_domain=4, domains=1)
    architecture = load_model("gpt-oss-120b")
    served = serving_formats(chip(), architecture)
    assert max(p.chips for p in placements(architecture, system, served)) == 4


@pytest.mark.parametrize(
    ("peaks", "model", "precision"),
    [
        (FP4, "llama-3.1-70b", "fp4"),
        ({"bf16": 1e15, "fp8": 2e15}, "llama-3.1-70b", "fp8"),
        ({"bf16": 1e15}, "llama-3.1-70b", "bf16"),
        ({"bf16": 1e15}, "gpt-oss-120b", "fp4"),
        ({"bf16": 1e15}, "kimi-k2.5", "int4"),
        ({"int8": 9e13}, "llama-3.1-8b", "int8"),
    ],
)
def test_a_checkpoint_is_served_in_the_narrowest_format_of_the_chip(chip, peaks, model, precision):
    assert usual_precision(chip(peak_flop_per_s=peaks), load_model(model)) == precision


def test_gpt_oss_keeps_its_attention_in_bf16_and_unpacks_experts_without_fp4_units(chip):
    model = load_model("gpt-oss-120b")
    new = serving_formats(chip(peak_flop_per_s=FP4), model)
    old = serving_formats(chip(), model)
    assert (new.weight, new.expert, new.activation) == ("bf16", "mxfp4", "fp8")
    assert old.activation == "bf16"


def test_a_rule_of_a_stack_speaks_before_that_of_any_and_for_no_other(chip, monkeypatch):
    row = {"precision": "fp8", "chip": "*", "experts": "*", "weight": "fp8", "expert": "fp8",
           "activation": "fp8"}  # fmt: skip
    rules = ({**row, "stack": "sglang", "kv": "bf16"}, {**row, "stack": "*", "kv": "fp8"})
    monkeypatch.setattr(formats, "_rules", lambda: rules)
    model = load_model("llama-3.1-70b")
    cache = {
        stack: serving_formats(chip(), model, "fp8", stack=stack).kv
        for stack in ("sglang", "dynamo-sglang", "SGLang", "vllm", "generic")
    }
    assert cache == dict.fromkeys(("sglang", "dynamo-sglang", "SGLang"), "bf16") | dict.fromkeys(
        ("vllm", "generic"), "fp8"
    )


def test_every_rule_names_a_known_stack_and_a_source_and_the_last_of_a_precision_fits_all():
    rules = formats._rules()
    stacks = {one.stack for one in engines()} | {"*"}
    assert {rule["stack"] for rule in rules} <= stacks
    assert all(rule["source"] for rule in rules)
    last = {rule["precision"]: rule for rule in rules}
    for rule in last.values():
        assert (rule["stack"], rule["experts"]) == ("*", "*")


def test_an_unknown_precision_is_refused(chip):
    with pytest.raises(UnknownNameError, match="fp8"):
        serving_formats(chip(), load_model("llama-3.1-8b"), "fp9")


@pytest.mark.parametrize(
    ("model", "good"),
    [("llama-3.1-8b", [1, 2, 4, 8, 16, 32]), ("qwen2.5-7b", [1, 2, 4, 28])],
)
def test_query_heads_are_divided_and_key_heads_divided_or_copied(model, good):
    architecture = load_model(model)
    assert [one for one in range(1, 65) if heads_divide(architecture, one)] == good
