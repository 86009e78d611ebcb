"""`tapeout validate` and `tapeout check`: files, summaries and exit codes."""

import csv
import json

import pytest
from typer.testing import CliRunner

from tapeout.cli.check import app as check_app
from tapeout.cli.validate import app as validate_app
from tapeout.errors import InfeasibleError

HEAD = "chip,model,n_chips,parallelism,engine,concurrency_or_qps,tpot_ms,serving_mode\n"
LINE = "h100,llama-3.1-8b,1,tp1,vllm,16,{},aggregated\n"


def run(app, *arguments):
    return CliRunner().invoke(app, [str(one) for one in arguments])


@pytest.fixture
def cases(tmp_path):
    path = tmp_path / "runs.csv"
    path.write_text(HEAD + LINE.format(9) + LINE.format("").replace("h100", "h10O"))
    return path


def test_the_summary_and_the_file(tmp_path, cases):
    out = tmp_path / "deep/out.csv"
    done = run(validate_app, "serving", cases, "--out", out)
    assert done.exit_code == 0
    assert "2 rows: 0 ok, 1 assumed, 1 unanswered" in done.output
    for word in ("median", "p90", "bias", "coverage", "high/low", "aggregated | h100"):
        assert word in done.output
    rows = list(csv.DictReader(out.read_text().splitlines()))
    assert [row["status"] for row in rows] == ["assumed", "unanswered"]
    assert rows[0]["tpot_ms"] == "9"


def test_the_errors_are_bad_and_the_status_is_zero(tmp_path):
    path = tmp_path / "runs.csv"
    path.write_text(HEAD + LINE.format(100_000))
    assert run(validate_app, "serving", path).exit_code == 0


def test_json_has_groups_by_any_column(cases):
    done = run(validate_app, "serving", cases, "--by", "engine", "--json")
    found = json.loads(done.output)
    assert found["rows"] == {"ok": 0, "assumed": 1, "unanswered": 1}
    assert {one["group"] for one in found["scores"]} == {"all", "vllm"}
    assert found["violations"] == []


def test_a_column_that_is_not_there_is_a_mistake(cases):
    done = run(validate_app, "serving", cases, "--by", "colour")
    assert isinstance(done.exception, InfeasibleError)
    assert "no column 'colour'" in str(done.exception)


@pytest.mark.parametrize("command", ["ops", "serving", "convert"])
def test_a_file_that_is_not_there_is_a_mistake(tmp_path, command):
    done = run(validate_app, command, tmp_path / "none.csv")
    assert isinstance(done.exception, InfeasibleError)  # the entry point turns it into status 2


def test_rows_without_measurements_have_nothing_to_score(tmp_path):
    path = tmp_path / "ops.csv"
    path.write_text("chip,op\nh100,gemm\n")
    done = run(validate_app, "ops", path)
    assert done.exit_code == 0
    assert "nothing to score" in done.output


IMPOSSIBLE = ("--chip", "h100", "--model", "llama-3.1-8b", "--precision", "bf16", "--chips", "1",
              "--concurrency", "1", "--tpot-ms", "0.041")  # fmt: skip


def test_an_impossible_figure_ends_with_status_one():
    done = run(check_app, "serving", *IMPOSSIBLE)
    assert done.exit_code == 1
    assert "FAILS  weight-read floor: reading 15.0 GB of weights" in done.output


def test_a_possible_figure_ends_with_status_zero():
    done = run(check_app, "serving", *IMPOSSIBLE[:-1], "9", "--json")
    assert done.exit_code == 0
    assert {one["name"] for one in json.loads(done.output)} >= {"weight-read floor"}


def test_a_pasted_sparse_peak_is_found():
    done = run(check_app, "serving", "--chip", "h100", "--model", "llama-3.1-8b",
               "--peak-tflops", "1979")  # fmt: skip
    assert done.exit_code == 1
    assert "twice the dense rate: sparse" in done.output


def test_a_table_is_checked_row_by_row(tmp_path):
    path = tmp_path / "runs.csv"
    path.write_text(
        HEAD + LINE.format(9) + LINE.format(0.041) + LINE.format(9).replace("h100", "x")
    )
    done = run(check_app, "serving", path)
    assert done.exit_code == 1
    assert "row 2: FAILS  weight-read floor" in done.output
    assert "row 3 is not checked: unknown chip" in done.stderr


def test_nothing_to_check_is_a_mistake():
    assert isinstance(run(check_app, "serving").exception, InfeasibleError)
