"""Rows of users: answered in order, echoed whole, the same with and without measurements."""

import csv
import io
import math
import os
from pathlib import Path

import numpy as np
import pytest

from tapeout.errors import InfeasibleError
from tapeout.files import write_whole
from tapeout.perf import PhysicalModel, step_mix
from tapeout.perf.ops.cases import Estimate
from tapeout.serving.cases import case_of
from tapeout.serving.measured import scored_curves
from tapeout.serving.steady import Lengths
from tapeout.serving.validation.anchors import NO_ANCHORS, fit_anchors
from tapeout.serving.validation.converting import convert
from tapeout.serving.validation.files import Table, read_table, table_text
from tapeout.serving.validation.inputs import Kind, Speculation, read_case
from tapeout.serving.validation.loads import Pools, in_open_loop, in_pools, in_static_batch
from tapeout.serving.validation.operator_rows import validate_ops
from tapeout.serving.validation.predicting import QUANTITIES, predict_serving
from tapeout.serving.validation.scoring import Scored, score
from tapeout.serving.validation.serving_rows import (
    COLUMNS,
    answer_table,
    curve_of,
    validate_serving,
)
from tapeout.serving.validation.speculative import in_steps, verify_model
from tapeout.serving.validation.terms import NO_TERMS, fit_terms

ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("TAPEOUT_DATA", ROOT.parent / "shared/data"))
MODEL = PhysicalModel()
MEASURED = {
    "output_tok_s_per_chip": "500",
    "total_tok_s_per_chip": "1000",
    "ttft_ms": "300",
    "tpot_ms": "12.5",
    "power_w_per_chip": "700",
}
ROW = {
    "row_id": "E1",
    "chip": "NVIDIA B200",
    "n_chips": "8",
    "model": "Llama-3.3-70B",
    "weight_precision": "fp8",
    "engine": "vllm",
    "parallelism": "tp8-ep1",
    "input_tokens": "1024",
    "output_tokens": "1024",
    "concurrency_or_qps": "64",
    "serving_mode": "aggregated",
    "spec_decoding": "none",
    "scenario": "closed-loop fixed concurrency, random prompts, range ratio 0.8",
    "my column": "kept, as it is",
}
ROWS = [
    ROW,
    ROW | {"concurrency_or_qps": "1"},
    ROW | {"serving_mode": "static offline batch", "concurrency_or_qps": "16", "scenario": ""},
    ROW | {"parallelism": "P[1w tp4-ep1 4gpu]+D[1w tp4-ep1 4gpu]", "serving_mode": "disaggregated"},
    ROW | {"concurrency_or_qps": "10 req/s", "scenario": ""},
    ROW | {"concurrency_or_qps": "max batch", "scenario": "MLPerf Offline", "parallelism": ""},
    ROW | {"concurrency_or_qps": "Poisson at SLA limit", "scenario": "MLPerf Server"},
    ROW | {"spec_decoding": "mtp"},
    {"chip": "h100", "model": "llama-3.1-8b"},
]


def written(path, rows):
    columns = dict.fromkeys(name for row in rows for name in row)
    write_whole(path, table_text(tuple(columns), rows))
    return path


def answered(row):
    case = read_case(row)
    return case, predict_serving(case, MODEL)


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rows")
    return validate_serving(written(folder / "rows.csv", ROWS))


def test_every_row_is_answered_in_order_and_echoed(found):
    assert len(found.rows) == len(ROWS)
    for given, got in zip(ROWS, found.rows, strict=True):
        assert {name: got[name] for name in given} == given
        for name in QUANTITIES:
            low, value, high = (
                float(got[f"predicted_{name}{end}"]) for end in ("_low", "", "_high")
            )
            assert 0.0 < low < value < high < math.inf
    assert found.columns[-len(COLUMNS) :] == COLUMNS
    assert found.status == {"ok": 5, "assumed": 4, "unanswered": 0}


def test_blank_inputs_are_filled_and_listed(found):
    told = found.rows[-1]["assumptions"]
    assert found.rows[-1]["status"] == "assumed"
    for name in ("input_tokens = 1024", "output_tokens", "concurrency", "parallelism is blank"):
        assert name in told


def test_our_own_output_breaks_no_law(found):
    assert found.violations == []


def test_measured_columns_change_no_byte(tmp_path):
    outputs = []
    for place, extra in enumerate(({}, dict.fromkeys(MEASURED, ""), MEASURED)):
        done = validate_serving(written(tmp_path / f"{place}.csv", [row | extra for row in ROWS]))
        names = [name for name in done.columns if name not in MEASURED]
        outputs.append(table_text(sorted(names), done.rows).encode())
    assert outputs[0] == outputs[1] == outputs[2]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"chip": "B2000"}, "unknown chip 'B2000'"),
        ({"chip": ""}, "chip is blank"),
        ({"model": "llama-9"}, "unknown model 'llama-9'"),
        ({"input_tokens": "many"}, "input_tokens 'many' is not a positive number"),
        ({"n_chips": "2.5"}, "n_chips 2.5 is not a whole number"),
        ({"chip": "Taalas HC1"}, "neither mem_bandwidth nor a peak"),
    ],
)
def test_a_row_without_an_answer_says_why_and_counts_as_a_miss(tmp_path, change, reason):
    rows = [ROW | MEASURED, ROW | MEASURED | change]
    done = validate_serving(written(tmp_path / "rows.csv", rows), by=("engine",))
    assert [row["status"] for row in done.rows] == ["ok", "unanswered"]
    assert reason in done.rows[1]["reason"]
    assert done.rows[1].get("predicted_tpot_ms", "") == ""
    one = next(s for s in done.scores if s.quantity == "tpot_ms")
    assert (one.n, one.answered) == (2, 1)
    assert math.isinf(one.p90)
    assert one.coverage <= 0.5


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "is empty"),
        ("chip,modle\nh100,x\n", "'model' is missing"),
        ("chip,model,chip\na,b,c\n", "'chip' twice"),
        ("chip,model\nh100,llama-3.1-8b,8\n", "row 2 has 3 cells for 2 columns"),
        ('chip,model\n"h100,llama\n', "cannot be read"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused(tmp_path, text, problem):
    path = tmp_path / "rows.csv"
    path.write_text(text)
    with pytest.raises(InfeasibleError, match=problem):
        validate_serving(path)


def test_a_file_in_another_encoding_is_refused(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_bytes("chip,model\nh100,ä\n".encode("latin-1"))
    with pytest.raises(InfeasibleError, match="cannot be read"):
        validate_serving(path)


def test_short_rows_and_the_mark_of_spreadsheets_are_read(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_bytes("\ufeffchip,model,n_chips\nh100,llama-3.1-8b\n\n".encode())
    assert read_table(path, ("chip",)).rows == (
        {"chip": "h100", "model": "llama-3.1-8b", "n_chips": ""},
    )


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "out.csv"
    write_whole(path, "old")
    with pytest.raises(UnicodeEncodeError):
        write_whole(path, "\ud800")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


# reading


@pytest.mark.parametrize(
    ("text", "mode", "kind", "value"),
    [
        ("64", "aggregated", Kind.CLOSED, 64.0),
        ("1,024", "", Kind.CLOSED, 1024.0),
        ("16", "static batch", Kind.STATIC, 16.0),
        ("10 req/s", "aggregated", Kind.OPEN, 10.0),
        ("inf (315 at once)", "aggregated", Kind.CLOSED, 315.0),
        ("max batch", "MLPerf", Kind.LARGEST, math.nan),
        ("Poisson at SLA limit", "MLPerf", Kind.OBJECTIVE, math.nan),
        ("", "single stream", Kind.CLOSED, 1.0),
        ("some", "aggregated", Kind.CLOSED, 16.0),
    ],
)
def test_the_load_of_a_row(text, mode, kind, value):
    load = read_case(ROW | {"concurrency_or_qps": text, "serving_mode": mode}).load
    assert load.kind is kind
    assert load.value == pytest.approx(value, nan_ok=True)


def test_lengths_of_a_range_and_a_cached_prefix():
    assert read_case(ROW).lengths == Lengths(new=921.6, cached=0.0, output=921.6)
    hit = read_case(ROW | {"scenario": "", "notes": "prefix repetition, 75% cache hit"}).lengths
    assert (hit.new, hit.cached) == (256.0, 768.0)


@pytest.mark.parametrize(
    ("engine", "stack"),
    [
        ("TensorRT 10.14, CUDA 13.1", "trt"),
        ("dynamo-sglang", "sglang"),
        ("vLLM TPU", "vLLM TPU"),
        ("sambaflow", "generic"),
        ("PyTorch vLLM", "vllm"),
        ("my own", "generic"),
    ],
)
def test_engines_map_to_the_nearest_known_software(engine, stack):
    case = read_case(ROW | {"engine": engine})
    assert case.stack == stack
    assert bool(case.assumed) is (engine == "my own")


def test_int4_weights_of_a_dense_model_are_int4():
    formats = read_case(ROW | {"weight_precision": "UINT4"}).formats
    assert (formats.weight, formats.activation) == ("int4", "bf16")


def test_the_limits_of_a_benchmark_are_looked_up():
    row = ROW | {"model": "Llama-2-70B", "concurrency_or_qps": "Poisson at SLA limit"}
    slo = read_case(row | {"scenario": "MLPerf v5.1 Interactive (llama2-70b-99.9)"}).objective
    assert (slo.ttft_s, slo.tpot_s, slo.percentile) == (0.45, 0.04, 99.0)
    slo = read_case(row | {"scenario": "MLPerf v5.1 Server (llama2-70b-99.9)"}).objective
    assert (slo.ttft_s, slo.tpot_s) == (2.0, 0.2)


def test_the_curve_of_a_row_is_that_of_the_split():
    for row in (ROW, ROW | {"scenario": ""}):
        full = dict.fromkeys(("tpot_ms", "ttft_ms", "output_tok_s_per_chip"), "") | row
        assert curve_of(row) == case_of(full).curve


# laws of the loads


def test_a_closed_loop_is_the_one_that_is_fitted_and_scored():
    full = ROW | MEASURED | {"quality": "A"}
    (curve,) = scored_curves([full])
    expected = curve.predict(MODEL)
    _, found = answered(ROW)
    assert found.tpot_s == pytest.approx(float(expected.tpot_s[0]), rel=1e-12)
    assert found.ttft_s == pytest.approx(float(expected.ttft_s[0]), rel=1e-12)


def test_one_static_sequence_takes_its_prefill_and_its_steps(placed):
    one = placed(tensor_parallel=8)
    lengths = Lengths(new=1000.0, cached=0.0, output=101.0)
    found = in_static_batch(MODEL, one, lengths, 1.0)
    assert found.steps_per_s == pytest.approx(101.0 / (found.ttft_s + 100.0 * found.step_s))
    step = MODEL.step_cost(one, step_mix(decode=1.0, context=lengths.context)).time_s[0]
    assert found.step_s == pytest.approx(float(step))


def test_a_batch_that_does_not_fit_runs_in_turns(placed):
    part = placed(tensor_parallel=1)
    lengths = Lengths(new=8000.0, cached=0.0, output=8000.0)
    found = in_static_batch(MODEL, part, lengths, 500.0)
    assert found.sequences < 500.0
    assert "one after another" in found.note


def test_an_open_loop_serves_what_arrives_until_it_is_full(placed):
    part = placed(tensor_parallel=8)
    lengths = Lengths(new=1000.0, cached=0.0, output=500.0)
    rates = [in_open_loop(MODEL, part, lengths, rate).steps_per_s for rate in (0.1, 1.0, 4.0)]
    assert rates == pytest.approx([50.0, 500.0, 2000.0])
    full = in_open_loop(MODEL, part, lengths, 1e6)
    assert "exceed" in full.note
    assert full.steps_per_s < 1e6 * 500.0


@pytest.mark.parametrize("requests", [1.0, 7.0, 64.0, 4000.0])
def test_pools_obey_littles_law_and_the_slower_pool(placed, requests):
    part = placed(tensor_parallel=8)
    lengths = Lengths(new=8000.0, cached=0.0, output=200.0)
    pools = Pools(prefill=part, prefill_workers=1, decode=part, decode_workers=1)
    found = in_pools(MODEL, MODEL, pools, lengths, requests)
    inside = found.steps_per_s / 200.0 * (found.ttft_s + 200.0 * found.step_s)
    assert inside == pytest.approx(requests, rel=0.05)
    step = MODEL.step_cost(part, step_mix(prefill=8000.0, prompts=1.0)).time_s[0]
    assert found.steps_per_s / 200.0 <= 1.001 / float(step)


def test_more_prefill_workers_never_slow_a_run(placed):
    part = placed(tensor_parallel=8)
    lengths = Lengths(new=8000.0, cached=0.0, output=200.0)
    rates = []
    for workers in (1, 2, 4):
        pools = Pools(prefill=part, prefill_workers=workers, decode=part, decode_workers=1)
        rates.append(in_pools(MODEL, MODEL, pools, lengths, 200.0).steps_per_s)
    assert rates == sorted(rates)


@pytest.mark.parametrize(("acceptance", "tokens"), [(0.0, 1.0), (0.5, 1.875), (1.0, 4.0)])
def test_tokens_of_a_verify_step(acceptance, tokens):
    """1 + 1/2 + 1/4 + 1/8 at one half; all or nothing at the ends."""
    draft = Speculation(drafts=3, acceptance=acceptance, draft_share=0.0)
    assert draft.tokens_per_step == pytest.approx(tokens)


def test_a_verify_step_costs_more_and_reads_the_caches_once(placed):
    part = placed(tensor_parallel=8)
    lengths = Lengths(new=1000.0, cached=0.0, output=1000.0)
    draft = Speculation(drafts=3, acceptance=0.7, draft_share=0.03)
    steps = in_steps(lengths, draft)
    model = verify_model(MODEL, draft, lengths)
    assert model.context_ratio * steps.context == pytest.approx(lengths.context)
    few, many = (
        np.array(
            [
                float(law.step_cost(part, step_mix(decode=n, context=lengths.context)).time_s[0])
                for law in (MODEL, model)
            ]
        )
        for n in (1.0, 2000.0)
    )
    assert few[0] < few[1] < 1.3 * few[0]  # one sequence: memory-bound, rows are nearly free
    assert many[1] > 2.0 * many[0]  # full: the rows cost, and speculation can lose


def test_power_at_the_wall_has_the_host():
    _, chip_only = answered(ROW)
    case, wall = answered(ROW | {"power_scope": "system wall power / accelerators"})
    assert wall.power_w_per_chip - chip_only.power_w_per_chip == pytest.approx(case.system.host_w)


def test_a_card_of_two_chips_counts_twice():
    row = ROW | {"chip": "Intel Arc Pro B60", "model": "Llama-3.1-8B", "n_chips": "4",
                 "parallelism": "", "notes": "dual-GPU card: figures are per card"}  # fmt: skip
    assert read_case(row).chips == 8
    assert answered(row)[1].chips_per_card == 2


# scores, anchors, terms


def scored(measured, predicted, group="g", width=1.5):
    return Scored(group=group, quantity="q", curve=f"{group}{measured}", measured=measured,
                  predicted=predicted, low=predicted / width, high=predicted * width)  # fmt: skip


def test_scores_of_known_errors():
    every, one = score([scored(1.0, 1.1), scored(2.0, 2.4), scored(4.0, 2.0)])
    assert (every.group, one.group, one.n, one.answered) == ("all", "g", 3, 3)
    assert one.median == pytest.approx(0.2)
    assert one.p90 == pytest.approx(0.5)
    assert one.bias == pytest.approx(0.1)
    assert one.coverage == pytest.approx(2 / 3)
    assert one.width == pytest.approx(2.25)
    outside = math.log(4.0) - math.log(3.0)
    assert one.interval_score == pytest.approx(math.log(2.25) + 10.0 * outside / 3.0)


def test_anchors_move_what_they_are_about_and_nothing_else(tmp_path):
    slower = {"tpot_ms": "20"}
    anchors = written(tmp_path / "anchors.csv", [ROW | slower] * 5)
    other = ROW | {"chip": "NVIDIA H200 SXM"}
    rows = written(tmp_path / "rows.csv", [ROW, ROW | {"concurrency_or_qps": "16"}, other])
    plain, moved = validate_serving(rows), validate_serving(rows, anchors=anchors)

    def tpot(done, place):
        return float(done.rows[place]["predicted_tpot_ms"])

    assert abs(tpot(moved, 0) - 20.0) < 0.2 * abs(tpot(plain, 0) - 20.0)
    assert tpot(moved, 1) > tpot(plain, 1)
    assert moved.rows[2] == plain.rows[2]
    assert moved.violations == []


def test_shrinkage_of_anchors_fades_with_rows():
    few, many = (fit_anchors([(("a",), 0.4)] * n).log_factor(("a",)) for n in (1, 50))
    assert 0.0 < few < many < 0.4
    assert NO_ANCHORS.log_factor(("a",)) == 0.0


def test_terms_are_shrunken_means_of_what_is_left():
    terms = fit_terms([(("m", "m|a"), 0.4), (("m", "m|b"), 0.2)], prior=0.0, levels=(0, 1))
    assert terms.log_factor(("m", "m|a")) == pytest.approx(0.4)
    assert terms.log_factor(("m", "m|c")) == pytest.approx(0.3)
    assert NO_TERMS.log_factor(("m",)) == 0.0


# operators


def test_operator_rows_are_timed_echoed_and_scored(tmp_path):
    rows = [
        {"chip": "h100", "op": "gemm", "m": "8", "measured_s": "2e-6", "mine": "x"},
        {"chip": "h100", "op": "gemm", "m": "-1", "measured_s": "2e-6"},
        {"chip": "h100", "op": "dance", "measured_s": ""},
        {"chip": "h10O", "op": "gemm", "m": "8"},
    ]

    def law(case, _chip):
        assert math.isnan(case.measured_s)
        return Estimate(time_s=case.m * 2e-7, log_sd=0.1, model="test")

    done = validate_ops(written(tmp_path / "ops.csv", rows), laws={"gemm": law})
    assert [row["status"] for row in done.rows] == ["ok", *["unanswered"] * 3]
    assert done.rows[0]["predicted_s"] == "1.6e-06"
    assert done.rows[0]["mine"] == "x"
    assert "m '-1' is not a finite number" in done.rows[1]["reason"]
    assert "op 'dance' is none of gemm" in done.rows[2]["reason"]
    (every, _) = done.scores
    assert (every.n, every.answered, every.median) == (2, 1, pytest.approx(0.2))
    assert math.isinf(every.p90)


def test_a_few_measured_operators_move_the_rest_of_their_family(tmp_path):
    def law(_case, _chip):
        return Estimate(time_s=1e-6, log_sd=0.1, model="test")

    anchors = written(
        tmp_path / "few.csv", [{"chip": "h100", "op": "gemm", "measured_s": "2e-6"}] * 5
    )
    rows = written(
        tmp_path / "ops.csv", [{"chip": "h100", "op": "gemm"}, {"chip": "h100", "op": "copy"}]
    )
    done = validate_ops(rows, anchors=anchors, by=("op",), laws={"gemm": law, "copy": law})
    gemm, copy = (float(row["predicted_s"]) for row in done.rows)
    assert 1.8e-6 < gemm < 2e-6
    assert copy == 1e-6


def test_serving_rows_need_no_conversion(tmp_path):
    path = written(tmp_path / "rows.csv", [ROW])
    with pytest.raises(InfeasibleError, match="tapeout validate serving"):
        convert(path)


def test_a_file_of_no_known_kind_is_refused(tmp_path):
    path = tmp_path / "odd.csv"
    path.write_text("a,b\n1,2\n")
    with pytest.raises(InfeasibleError, match="no converter knows"):
        convert(path)


# the public table


@pytest.mark.shared_data
@pytest.mark.skipif(not (DATA / "measured/endtoend.csv").is_file(), reason="no measurements here")
def test_every_kind_of_public_row_is_answered_and_breaks_no_law():
    """Every 24th row of 4,846, and all of the kinds with few rows."""
    table = read_table(DATA / "measured/endtoend.csv", ("chip", "model"))
    rare = ("TPU", "Inferentia", "SN40L", "Gaudi3", "Trainium2")
    rows = [
        {**row, **dict.fromkeys(MEASURED, "")}
        for place, row in enumerate(table.rows)
        if place % 24 == 0 or any(word in row["chip"] for word in rare)
    ]
    done = answer_table(
        Table(columns=table.columns, rows=tuple(rows)),
        by=("chip",),
        timing=MODEL,
        anchors=NO_ANCHORS,
    )
    assert done.status["unanswered"] == 0
    assert done.violations == []
    assert done.scores == []
    reader = csv.DictReader(io.StringIO(table_text(done.columns, done.rows)))
    assert [row["row_id"] for row in reader] == [row["row_id"] for row in rows]
