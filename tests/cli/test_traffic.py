"""`tapeout traffic`: figures, files and messages."""

import json

import pytest
from typer.testing import CliRunner

from tapeout.cli.traffic import app
from tapeout.errors import InfeasibleError, ProblemsError

SPEC = """
duration_s = 100
[[clients]]
arrivals = { rate_rps = 3.0 }
input = { kind = "lognormal", mean = 300, cv = 1.0 }
output = { kind = "fixed", tokens = 50 }
sessions = { turns = 3, think_s = 2 }
"""
BURST = """Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type
5,ChatGPT,472,18,490,Conversation log
45,ChatGPT,1087,0,1087,Conversation log
118,GPT-4,417,276,693,API log
"""


def run(*arguments):
    return CliRunner().invoke(app, [str(one) for one in arguments])


@pytest.fixture
def burst(tmp_path):
    path = tmp_path / "burst.csv"
    path.write_text(BURST)
    return path


@pytest.fixture
def spec(tmp_path):
    path = tmp_path / "spec.toml"
    path.write_text(SPEC)
    return path


def test_show_prints_figures_and_what_was_left_out(burst):
    done = run("show", burst)
    assert done.exit_code == 0
    for word in ("requests", "busiest minute", "p99", "classes of the trace"):
        assert word in done.output
    assert "3 rows read as burstgpt, 2 kept, 1 left out." in done.output
    assert "1: zero tokens (a failed request) (line 3)" in done.output


def test_json_has_the_same_and_null_for_what_is_no_number(burst):
    done = run("show", burst, "--json", "--keep-failures", "--requests", 1)
    found = json.loads(done.output)
    assert found["statistics"]["requests"] == 1
    assert found["statistics"]["rate_rps"] is None
    assert found["report"]["format"] == "burstgpt"
    assert found["report"]["dropped"][0]["reason"] == "behind the first 1 requests"


def test_generate_writes_a_file_that_show_reads(tmp_path, spec):
    out = tmp_path / "deep/out.csv"
    done = run("generate", spec, "--out", out, "--seed", 7)
    assert done.exit_code == 0
    assert f"Wrote {out}." in done.output.replace("\n", "")
    first = out.read_bytes()
    run("generate", spec, "--out", out, "--seed", 7, "--json")
    assert out.read_bytes() == first
    shown, drawn = (
        json.loads(run("show", *arguments, "--json").output)["statistics"]
        for arguments in ((out,), (spec, "--seed", 7))
    )
    assert shown["requests"] == drawn["requests"] > 500
    assert shown["prefixes"] == drawn["prefixes"]
    assert shown["later_turns"] == drawn["later_turns"]


def test_clients_are_shown_from_their_statistics(tmp_path):
    (tmp_path / "a_clients.csv").write_text(
        "client,window_start_s,rate_rps,cv,iat_family,param1,param2\n0,0,2.0,2.0,Gamma,0.25,1\n"
    )
    (tmp_path / "a_lengths.json.gz").write_text(
        '{"0": {"0": {"input_tokens": {"5": 1}, "output_tokens": {"6": 1}}}}'
    )
    done = run("show", tmp_path / "a_clients.csv")
    assert "expected requests" in done.output
    assert "1,200" in done.output
    found = json.loads(run("show", tmp_path / "a_clients.csv", "--json").output)
    assert found["clients"]["expected_requests"] == 1200


@pytest.mark.parametrize(
    "options",
    [("--rate", "0"), ("--rate", "nan"), ("--from-s", "9", "--to-s", "3"), ("--cv", "2")],
)
def test_wrong_options_are_mistakes(burst, options):
    assert isinstance(run("show", burst, *options).exception, InfeasibleError)


def test_options_that_would_do_nothing_are_refused(spec):
    done = run("show", spec, "--requests", 5, "--sort")
    assert isinstance(done.exception, InfeasibleError)
    assert "--sort, --requests: only for a file of requests" in str(done.exception)


def test_a_file_that_is_not_there_is_a_mistake(tmp_path):
    assert isinstance(run("show", tmp_path / "none.csv").exception, ProblemsError)
    assert isinstance(run("show", tmp_path / "none.toml").exception, ProblemsError)
    done = run("generate", tmp_path / "none.toml", "--out", tmp_path / "x.csv")
    assert isinstance(done.exception, ProblemsError)


def test_nothing_is_written_under_a_wrong_name(tmp_path, spec):
    done = run("generate", spec, "--out", tmp_path / "x.txt")
    assert isinstance(done.exception, InfeasibleError)
    assert not (tmp_path / "x.txt").exists()
