"""Rows as strangers write them: odd spellings, absurd numbers, chips and models of their own."""

import itertools
import math
import time

import pytest

from tapeout.errors import InfeasibleError, ProblemsError, UnknownNameError
from tapeout.perf import PhysicalModel
from tapeout.serving.policies import usual_policy
from tapeout.serving.sanity import check_prediction
from tapeout.serving.validation.chips import chips_from
from tapeout.serving.validation.files import read_table, table_text
from tapeout.serving.validation.inputs import Kind, read_case
from tapeout.serving.validation.predicting import predict_serving
from tapeout.serving.validation.serving_rows import COLUMNS, validate_serving
from tapeout.serving.validation.words import drafts_of, load_of, precision_of

MODEL = PhysicalModel()
ROW = {
    "chip": "b200",
    "n_chips": "8",
    "model": "gpt-oss-120b",
    "weight_precision": "fp4",
    "engine": "vllm",
    "parallelism": "tp8",
    "input_tokens": "1024",
    "output_tokens": "1024",
    "concurrency_or_qps": "64",
    "serving_mode": "aggregated",
    "spec_decoding": "none",
}
OVERLAY = """
[[figure]]
entity = "b200"
field = "mem_bandwidth"
value = 1
unit = "TB/s"
as_of = 2026-11-20
why = "a slower part"
"""


def case(**changes):
    return read_case(ROW | changes)


def predicted(**changes):
    return predict_serving(case(**changes), MODEL)


# words


@pytest.mark.parametrize(
    ("text", "ours"),
    [
        ("FP8", "fp8"),
        ("fp8_e4m3", "fp8"),
        ("mxfp8", "fp8"),
        ("w8a8-fp8", "fp8"),
        ("W8A8", "int8"),
        ("NVFP4", "fp4"),
        ("MXFP4", "fp4"),
        ("w4a16", "int4"),
        ("Q4_K_M", "int4"),
        ("int4-awq", "int4"),
        ("BF16/FP8", "bf16"),
        ("fp32", "bf16"),
        ("sparse", None),
    ],
)
def test_spellings_of_a_precision(text, ours):
    assert precision_of(text)[0] == ours


def test_a_precision_that_is_not_modelled_is_told():
    assert any("fp32" in line for line in case(weight_precision="fp32").assumed)
    assert any("weird" in line for line in case(kv_precision="weird").assumed)
    assert not case(kv_precision="fp8_e5m2").assumed


@pytest.mark.parametrize(
    ("text", "value"), [("64.0", 64), ("6.4e1", 64), ("64 users", 64), ("bs 64", 64), (" 64 ", 64)]
)
def test_a_number_of_requests_in_words(text, value):
    load = case(concurrency_or_qps=text).load
    assert (load.kind, load.value) == (Kind.CLOSED, value)


def test_a_rate_in_exponents_is_the_whole_number():
    assert load_of("1e3 req/s").value == 1000.0
    assert load_of("2.5 requests per second").value == 2.5
    assert case(concurrency_or_qps="8 qps").load.kind is Kind.OPEN


@pytest.mark.parametrize("text", ["0", "-1", "nan", "0.5", "0 req/s", "1e9", "1e300"])
def test_what_is_no_load_is_unanswered_and_not_guessed(text):
    with pytest.raises(InfeasibleError, match="concurrency_or_qps"):
        case(concurrency_or_qps=text)


def test_an_endless_load_is_the_largest_batch():
    found = case(concurrency_or_qps="inf")
    assert found.load.kind is Kind.LARGEST
    assert found.assumed


@pytest.mark.parametrize("text", ["n/a", "None", "off", "mtp (0 draft tokens)", ""])
def test_no_speculation_is_no_speculation(text):
    assert case(spec_decoding=text).speculation is None


def test_drafts_are_read_and_capped_aloud():
    assert (drafts_of("mtp3"), drafts_of("mtp 1"), drafts_of("eagle3")) == (3, 1, None)
    many = case(spec_decoding="mtp (1000 draft tokens)")
    assert many.speculation.drafts == 16
    assert any("1000 drafts" in line for line in many.assumed)
    assert any("ngram" in line for line in case(spec_decoding="ngram").assumed)


def test_a_draft_model_with_an_underscore_has_the_rules_of_draft_models():
    assert (
        case(spec_decoding="draft_model").speculation
        == case(spec_decoding="draft model").speculation
    )


@pytest.mark.parametrize(
    ("engine", "stack"),
    [
        ("NVIDIA Dynamo + SGLang", "sglang"),
        ("Dynamo", "trt"),
        ("vLLM 0.11.0 (V1)", "vllm"),
        ("TensorRT-LLM 1.0", "trt"),
    ],
)
def test_the_engine_named_beside_a_router_counts(engine, stack):
    assert case(engine=engine).stack == stack


def test_a_blank_engine_and_a_blank_number_of_chips_are_listed():
    assert any(line.startswith("engine is blank") for line in case(engine="").assumed)
    assert any(line.startswith("n_chips is blank") for line in case(n_chips="").assumed)


@pytest.mark.parametrize(
    "name", ["meta-llama/Llama-3.1-70B-Instruct", "llama 3.1 70b", "Llama-3.1-70B"]
)
def test_names_of_a_hub_are_known(name):
    assert case(model=name).architecture.name == "llama-3.1-70b"


def test_an_unknown_model_of_a_hub_is_no_missing_file():
    with pytest.raises(UnknownNameError, match="gpt-oss-120b"):
        case(model="openai/gpt-oss-12b")


# absurd numbers


@pytest.mark.parametrize(
    "change", [{"input_tokens": "1e12"}, {"output_tokens": "1e12"}, {"n_chips": "9" * 40}]
)
def test_more_than_any_run_has_is_unanswered_at_once(change):
    with pytest.raises(InfeasibleError, match="the most that is read"):
        case(**change)


def test_a_run_of_billions_of_steps_is_timed_by_its_steady_state():
    start = time.process_time()
    found = predicted(concurrency_or_qps="1000000", input_tokens="1000000")
    assert time.process_time() - start < 5.0
    assert any("steady state" in note for note in found.notes)
    assert not [one for one in check_prediction(found, case()) if not math.isfinite(one.figure)]


def test_one_output_token_is_one_and_not_two():
    one, two = predicted(output_tokens="1"), predicted(output_tokens="2")
    assert one.output_tokens_per_s_per_chip == pytest.approx(two.output_tokens_per_s_per_chip / 2)


# physics


def test_littles_law_holds_where_requests_wait_in_turns():
    row = {
        "chip": "h100",
        "n_chips": "1",
        "model": "llama-3.1-8b",
        "weight_precision": "fp8",
        "parallelism": "tp1",
        "output_tokens": "8192",
        "concurrency_or_qps": "256",
    }
    found = predicted(**row)
    assert found.mean_ttft_s > 10.0 * predicted(**row | {"concurrency_or_qps": "64"}).mean_ttft_s
    assert not [one.sentence for one in check_prediction(found, case(**row)) if one.fires]


@pytest.mark.parametrize(
    "row",
    [
        {"chip": "h200", "model": "llama-3.1-70b", "weight_precision": "fp8"},
        {"chip": "mi355x", "model": "deepseek-r1", "weight_precision": "fp8", "engine": "sglang"},
    ],
)
def test_more_load_is_slower_for_each_and_faster_for_all(row):
    found = [predicted(**row, concurrency_or_qps=str(n)) for n in (1, 8, 64, 256)]
    for low, high in itertools.pairwise(found):
        assert high.tpot_s > low.tpot_s
        assert high.output_tokens_per_s_per_chip > low.output_tokens_per_s_per_chip


def test_narrower_weights_are_faster_also_without_units_for_them():
    found = [
        predicted(chip="h100", model="llama-3.1-70b", weight_precision=one, concurrency_or_qps="1")
        for one in ("fp4", "fp8", "bf16")
    ]
    assert found[0].tpot_s < found[1].tpot_s < found[2].tpot_s


def test_a_largest_batch_outside_a_benchmark_has_none_of_its_corrections():
    largest = predicted(concurrency_or_qps="max batch")
    closed = predicted(concurrency_or_qps="1024")
    ratio = largest.output_tokens_per_s_per_chip / closed.output_tokens_per_s_per_chip
    assert 0.6 < ratio < 1.6


# files


def test_cells_split_by_semicolons_are_named_as_such(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("chip;model\nb200;gpt-oss-120b\n")
    with pytest.raises(InfeasibleError, match="semicolons"):
        read_table(path, ("chip", "model"))
    path.write_text("Chip,model\nb200,gpt-oss-120b\n")
    with pytest.raises(InfeasibleError, match="must be spelled 'chip'"):
        read_table(path, ("chip", "model"))


def test_the_order_of_columns_changes_nothing_and_line_breaks_survive(tmp_path):
    row = ROW | {"comment": 'two\nlines, "quoted"'}
    path, other = tmp_path / "a.csv", tmp_path / "b.csv"
    path.write_text(table_text(tuple(row), [row]))
    other.write_text(table_text(tuple(reversed(row)), [row]))
    first, second = validate_serving(path).rows[0], validate_serving(other).rows[0]
    assert dict(first) == dict(second)
    assert first["comment"] == row["comment"]
    assert first["model"] == "gpt-oss-120b"
    assert first["timing_model"] == MODEL.name
    assert set(COLUMNS) <= set(first)


def test_figures_of_an_overlay_are_used(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text("not toml at all")
    with pytest.raises(ProblemsError, match="not TOML"):
        chips_from(overlay=path)
    path.write_text(OVERLAY)
    slow = predict_serving(read_case(ROW, chips_from(overlay=path)), MODEL)
    assert slow.tpot_s > 1.2 * predicted().tpot_s


def test_a_tpu_runs_with_the_chunks_of_its_backend():
    usual = {"chip": "tpu v6e", "model": "Llama-3.3-70B", "weight_precision": "bf16"}
    tpu, gpu = predicted(**usual, engine="vLLM TPU"), predicted(**usual, engine="vllm")
    assert usual_policy("vLLM TPU").token_budget == 1024
    assert tpu.ttft_s < 0.5 * gpu.ttft_s


@pytest.mark.parametrize("model", ["/dev/zero", "../../etc/passwd", "x/config.json", "config.json"])
def test_a_cell_of_a_table_never_opens_a_file(model):
    with pytest.raises(UnknownNameError, match="unknown model"):
        read_case({"chip": "h100", "model": model})
