"""`tapeout simulate` with figures and files that make no sense: one message, status 2, no trace."""

import pytest
import typer
from typer.testing import CliRunner

from tapeout.cli.simulate import simulate
from tapeout.cli.traffic import app as traffic_app
from tapeout.errors import ProblemsError
from tapeout.serving import simulate as room
from tapeout.serving.engine.reference import run_reference

APP = typer.Typer()
APP.command()(simulate)
PLACE = ("--chip", "h100", "--model", "llama-3.1-8b")
LIMITS = ("--max-num-seqs", "64", "--max-num-batched-tokens", "1024", "--kv-blocks", "3000")
TRACE = "arrival_s,input_tokens,output_tokens,slo_class\n"
SPEC = (
    "requests = 4\n[[clients]]\narrivals = { rate_rps = 20.0 }\n"
    'input = { kind = "fixed", tokens = 100 }\noutput = { kind = "fixed", tokens = 12 }\n'
)


@pytest.fixture(autouse=True)
def readable(monkeypatch):
    """The readable engine needs no compiling."""
    monkeypatch.setattr(room, "_engine", lambda: run_reference)


def run(*arguments):
    return CliRunner().invoke(
        APP, [str(one) for one in (*arguments, *PLACE)], env={"COLUMNS": "200"}
    )


@pytest.fixture
def trace(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text(TRACE + "0,10,5,[/bad]\n1,20,5,=cmd|calc\n")
    return path


@pytest.fixture
def spec(tmp_path):
    path = tmp_path / "s.toml"
    path.write_text(SPEC)
    return path


def refused(done, *texts):
    assert done.exit_code == 2, done.output
    assert done.exception is None or isinstance(done.exception, SystemExit)
    for text in texts:
        assert text in done.output, done.output


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (("--rate", "1e300", "--requests", "3"), ["--rate"]),
        (("--rate", "10", "--input", "1000000000000"), ["--input"]),
        (("--rate", "10", "--requests", "100000000000"), ["--requests"]),
        (("--rate", "10", "--duration", "1e15"), ["--duration"]),
        (("--in-flight", "1000000000", "--requests", "5"), ["--in-flight"]),
        (("--rate", "1e300", "--output", "10000000000"), ["--rate", "--output", "2 problems"]),
        (("--rate", "10", "--seed", "99999999999999999999999"), ["--seed"]),
        (("--rate", "10", "--parallelism", "tp1-dp1000000"), ["1,000,000 chips", "at most"]),
        (("--rate", "10", "--parallelism", "tp" + "9" * 5000), ["none of tpN"]),
        (("--rate", "10", "--replicas", "100000"), ["--replicas"]),
        (("--rate", "10", "--prefill-replicas", "100000"), ["--prefill-replicas"]),
        (("--rate", "10", "--max-num-seqs", "1000000000000"), ["--max-num-seqs"]),
        (("--rate", "10", "--kv-blocks", "1000000000000"), ["--kv-blocks"]),
        (("--rate", "10", "--parallelism", "tp3"), ["heads", "1, 2, 4, 8, 16, 32 work"]),
        (("--rate", "10", "--prefill-chip", "h100", "--by-client"), ["--by-client"]),
        (("--in-flight", "4", "--cv", "2", "--sort"), ["--cv", "--sort", "2 problems"]),
        (("--rate", "1", "--input", "500", "--kv-blocks", "8"), ["no request fits", "129"]),
    ],
)
def test_figures_that_make_no_sense_are_refused(arguments, names):
    refused(run(*arguments), *names)


def test_a_thousand_replicas_serve_five_requests_at_once(monkeypatch):
    ran = []
    monkeypatch.setattr(
        room, "_engine", lambda: lambda *a, **k: ran.append(1) or run_reference(*a, **k)
    )
    done = run("--rate", "10", "--requests", "5", "--replicas", "1000", *LIMITS)
    assert done.exit_code == 0, done.output
    assert len(ran) == 5


@pytest.mark.parametrize("option", ["--input", "--output", "--length-cv", "--cv"])
def test_options_of_drawn_requests_are_refused_with_a_file(trace, spec, option):
    refused(run(trace, option, "1"), option)
    refused(run(spec, option, "1"), option)


def test_options_of_reading_are_refused_with_a_spec_all_at_once(spec):
    refused(run(spec, "--sort", "--format", "csv", "--cv", "2"), "--format", "--sort", "2 problems")


def test_the_longest_length_holds_for_specs_and_drawn_requests_too(spec):
    refused(run(spec, "--max-model-len", "100"), "longer than 100 tokens")
    refused(run("--rate", "1", "--max-model-len", "100"), "longer than 100 tokens")
    mixed = ("--rate", "9", "--requests", "50", "--length-cv", "1", "--max-model-len", "600")
    done = run(*mixed, *LIMITS)
    assert done.exit_code == 0, done.output
    assert "requests of more than 600 tokens left out" in done.output


def test_the_first_requests_of_a_sorted_trace_are_taken(trace):
    done = run(trace, "--requests", "1", "--sort", *LIMITS)
    assert done.exit_code == 0, done.output
    assert "rows behind the first 1 requests left out" in done.output


def test_names_of_classes_are_neither_markup_nor_formulas(trace, tmp_path):
    out = tmp_path / "r.csv"
    done = run(trace, *LIMITS, "--slo", "[/bad]:ttft_p90=2,ttft_p90=2", "--out", out)
    assert done.exit_code == 0, done.output
    assert "[/bad]" in done.output
    rows = out.read_text()
    assert "'=cmd|calc" in rows
    assert ",=cmd" not in rows
    assert ",[/bad]," in rows


def test_escape_sequences_do_not_reach_the_terminal(tmp_path):
    path = tmp_path / "a\x1b[31m[bad].csv"
    path.write_text(TRACE + "0,10,5,a\n")
    done = run(path, *LIMITS)
    assert done.exit_code == 0, done.output
    shown = CliRunner().invoke(traffic_app, ["show", str(path)])
    assert shown.exit_code == 0, shown.output
    path.write_text("a\x1b[31m,b\n1,2\n")
    wrong = run(path)
    refused(wrong)
    for one in (done, shown, wrong):
        assert "\x1b[31m" not in one.output


def test_a_request_after_every_clock_is_no_traffic(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text(TRACE + "0,1,1,a\n1e300,1,1,a\n")
    refused(run(path), "1e+300 s")
    shown = CliRunner().invoke(traffic_app, ["show", str(path)])
    assert isinstance(shown.exception, ProblemsError)
