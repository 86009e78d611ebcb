"""`tapeout portfolio`: a table, JSON, a chart, and mistakes in one message."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tapeout.cli.main import app
from tapeout.errors import ProblemsError

JALAPENO = str(Path(__file__).parents[2] / "examples" / "jalapeno")
QUICK = ("--draws", "5", "--omega", "0.5")


def run(*arguments):
    return CliRunner().invoke(app, ["portfolio", JALAPENO, *arguments])


def test_the_table_says_mix_tail_regret_and_what_is_left_out():
    done = run(*QUICK, "--mw", "200")
    assert done.exit_code == 0, done.output
    for word in ("expected cost", "worst 5 %", "Trainium3", "not served", "regret", "Left out"):
        assert word in done.output


def test_json_is_all_that_is_printed_and_the_chart_is_written(tmp_path):
    plot = tmp_path / "frontier.html"
    done = run(*QUICK, "--json", "--plot", str(plot))
    record = json.loads(done.stdout)
    assert record["portfolios"][0]["omega"] == 0.5
    assert record["futures"] == 32
    assert "CVaR" in plot.read_text(encoding="utf-8")


@pytest.mark.parametrize(("option", "value"), [("--mw", "inf"), ("--capital", "inf")])
def test_a_limit_without_an_end_is_refused(option, value):
    done = run(option, value)
    assert isinstance(done.exception, ProblemsError)
    assert option in str(done.exception)


def test_a_loss_that_is_no_number_is_said():
    done = run("--loss", "own=often")
    assert isinstance(done.exception, ProblemsError)
    assert "OPTION=CHANCE" in str(done.exception)


@pytest.mark.parametrize("omega", ["-0.1", "1.5"])
def test_a_weight_out_of_range_is_said(omega):
    done = run("--draws", "5", "--omega", omega)
    assert isinstance(done.exception, ProblemsError)
    assert "risk.omega" in str(done.exception)
