"""Every figure of a verdict leads to inputs of the ledger, and to no others than move it."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from tapeout.cli.main import app
from tapeout.study import decide, prepare
from tapeout.study.trace import PREFIX, central_values, trace, traced_figures

# what stands in a verdict and is no computed amount: names, dates, counts, and inputs themselves
NOT_COMPUTED = {
    "alternative_chip", "alternative_title", "assumed_prices", "baseline_strategy",
    "baseline_title", "best_without_assumed", "builds", "counterfactuals", "counts", "finance",
    "headline_strategy", "headline_title", "horizon_years", "installed", "left_out", "life_years",
    "omitted", "own_rate_stated", "question", "sampling", "scope", "sentences", "start", "title",
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(make, tmp_path_factory):
    return make.write(tmp_path_factory.mktemp("traced"), make.small(scale__mw=2000))


@pytest.fixture(scope="module")
def study(folder):
    return prepare(folder)


@pytest.fixture(scope="module")
def traces(study):
    return {
        one.key: trace(study.problem, study.sampler, one) for one in traced_figures(study.problem)
    }


def paths(traces, key):
    return {move.path for move in traces[key][1]}


def test_every_key_of_a_verdict_is_traced_or_no_amount(folder, study):
    reported = {key for one in traced_figures(study.problem) for key in one.reported_as}
    verdict = decide(folder, draws_log2=5).verdict
    assert set(verdict) - NOT_COMPUTED <= reported
    assert reported <= set(verdict)
    assert not reported & NOT_COMPUTED


def test_what_leads_nowhere_is_nought(traces):
    for key, (value, moves) in traces.items():
        assert moves or value == 0 or not np.isfinite(value), key


def test_a_trace_ends_in_the_ledger(study, traces):
    known = {entry.path for entry in study.ledger}
    for _, moves in traces.values():
        assert {move.path for move in moves} <= known


def test_central_values_are_those_of_the_results(folder, study):
    results = decide(folder, draws_log2=5)
    central = central_values(study.problem, study.sampler)
    saving = results.tables["sensitivity"]["base_usd"][0]
    assert central["cost.buy"] - central["cost.build"] == pytest.approx(saving, rel=1e-9)
    assert central["peak_cash_need"] == pytest.approx(
        results.verdict["payback"]["peak_cash_need_usd"]
    )
    units = {(row["strategy"], row["option"]): row["chips"] for row in results.verdict["units"]}
    for (strategy, option), chips in units.items():
        assert central[f"chips.{strategy}.{option}"] == pytest.approx(chips)


def test_an_option_that_is_not_used_moves_nothing(traces):
    assert not any(path.startswith("options.own") for path in paths(traces, "cost.buy"))
    assert not any(path.startswith("options.gpu") for path in paths(traces, "lcot.bridge")
                   if not path.endswith("generation_years"))  # fmt: skip
    assert "options.gpu.price_usd" in paths(traces, "cost.buy")


def test_engineering_moves_the_programme_and_never_the_advantage(traces):
    assert "options.own.nre_usd" in paths(traces, "programme")
    assert "options.own.nre_usd" in paths(traces, "g_star.list")
    assert "options.own.nre_usd" not in paths(traces, "g_ship.list")


def test_an_input_behind_a_toss_is_found(traces):
    found = paths(traces, "first_service")
    assert {"options.own.late_fraction", "options.own.slip_if_late_months"} <= found
    assert "options.own.cancellation_fraction" in paths(traces, "chips.build.own")
    through = {move.path: move.through for move in traces["first_service"][1]}
    assert through["options.own.late_fraction"] == "options.own.slip_months"
    assert through["options.own.months_to_tapeout"] == ""


def test_ends_are_the_figure_at_the_ends_of_the_range(study, traces):
    # NRE enters the programme linearly, so the ends lie as the input's own ends do
    figure = study.ledger["options.own.nre_usd"].chosen
    value, moves = traces["programme"]
    one = next(move for move in moves if move.path == "options.own.nre_usd")
    slope = (one.at_high - one.at_low) / (figure.high - figure.low)
    assert one.at_low + slope * (figure.value - figure.low) == pytest.approx(value, rel=1e-9)


def test_a_required_advantage_that_none_suffices_for_is_no_number(make, tmp_path):
    poor = make.small(options__gpu__price_usd=100.0, options__gpu__host_usd=0)
    study = prepare(make.write(tmp_path, poor))
    assert np.isnan(central_values(study.problem, study.sampler)["g_star.list"])


def test_show_lists_figures_and_traces_one(folder):
    run = CliRunner().invoke
    listed = run(app, ["show", str(folder), "verdict"])
    assert listed.exit_code == 0
    assert f"{PREFIX}g_ship.list" in listed.output
    one = run(app, ["show", str(folder), "verdict.g_ship.list", "--json"])
    read = json.loads(one.output)
    assert read["figure"] == "verdict.g_ship.list"
    assert all({"path", "status", "source"} <= set(row) for row in read["moved_by"])
    several = json.loads(run(app, ["show", str(folder), "verdict.lcot.*", "--json"]).output)
    assert {row["figure"] for row in several} == {
        "verdict.lcot.gpu", "verdict.lcot.bridge", "verdict.lcot.own",
    }  # fmt: skip
    text = run(app, ["show", str(folder), "verdict.programme"]).output
    assert "options.own.nre_usd" in text
    assert "formula" in text


@pytest.mark.parametrize(
    "words", [["verdict.g_shipp.list"], ["buy.gpu.chip.foundri", "--lines"], ["options.own.nre"]]
)
def test_an_unknown_name_is_answered_with_near_ones(folder, words):
    done = CliRunner().invoke(app, ["show", str(folder), *words])
    assert "did you mean" in str(done.exception)
