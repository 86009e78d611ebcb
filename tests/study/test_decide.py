"""From a small scenario to results: build, buy only, tokens only; written, read, the same twice."""

import dataclasses
import datetime as dt
import json

import numpy as np
import polars as pl
import pytest

from tapeout.errors import ProblemsError
from tapeout.study import decide, read_results
from tapeout.study.results import TABLES

API = {"kind": "api", "usd_per_mtok": "0.5 to 2"}


@pytest.fixture(scope="module")
def folder(make, tmp_path_factory):
    dates = [
        {"name": "early", "title": "Early", "date": dt.date(2025, 6, 1),
         "set": {"options.own.nre_remaining_fraction": 1.0}},
    ]  # fmt: skip
    sunk = {"options__own__nre_remaining_fraction": 0.1, "decision__dates": dates}
    return make.write(tmp_path_factory.mktemp("case"), make.small(scale__mw=2000, **sunk))


@pytest.fixture(scope="module")
def built(folder):
    return decide(folder, draws_log2=6)


def api_only(make, tmp_path):
    scenario = make.buy_only()
    scenario["options"] = {"api": API}
    scenario["strategy"] = [{"key": "pay", "title": "Pay", "steps": [{"option": "api"}]}]
    scenario["decision"] |= {"baseline": "pay", "headline": "pay", "alternative": "api"}
    scenario["scale"] = {"sized_by": "demand"}
    scenario["traffic"][0]["output_tokens_per_day"] = 1e10
    return make.write(tmp_path, scenario)


def test_the_verdict_states_boundary_baseline_life_and_scope(built):
    said = built.verdict["sentences"]["headline"]
    need = built.verdict["g_star"]["list"]["value"]
    assert f"{need:.2f}x" in said
    assert "Buy" in said
    assert "5-year life" in said
    assert "the demand 2,000 MW of" in said


def test_probabilities_of_being_cheapest_add_up_to_one(built):
    assert sum(row["p_cheapest"] for row in built.verdict["ranking"]) == pytest.approx(1.0)
    assert sum(row["p_best"] for row in built.verdict["contribution_ranking"]) == pytest.approx(1.0)


def test_the_ranking_is_by_expected_cost(built):
    costs = [row["mean_usd"] for row in built.verdict["ranking"]]
    assert costs == sorted(costs)


def test_the_counts_add_up_to_the_inputs(built):
    assert sum(built.verdict["counts"].values()) == len(built.tables["inputs"])


def test_the_cash_table_adds_up_to_the_present_cost(built):
    """Sum of usd x discount over cash lines is the central cost of every strategy."""
    cash = built.tables["cashflow"].filter(pl.col("kind") == "line")
    cost = (
        cash.filter(pl.col("cash"))
        .with_columns((pl.col("usd") * pl.col("discount")).alias("pv"))
        .group_by("strategy").agg(pl.col("pv").sum())
    )  # fmt: skip
    lines = built.tables["savings"].filter((pl.col("kind") == "line") & pl.col("cash"))
    declared = lines.group_by("option").agg(pl.col("npv_usd").sum())
    left = dict(cost.iter_rows())
    assert set(left) == {"buy", "rent", "build"}
    assert left == {key: pytest.approx(usd, rel=1e-9) for key, usd in declared.iter_rows()}


def test_the_mean_of_lines_adds_up_to_the_mean_cost(built):
    lines = built.tables["savings"].filter((pl.col("kind") == "line") & pl.col("cash"))
    means = dict(lines.group_by("option").agg(pl.col("npv_mean_usd").sum()).iter_rows())
    for row in built.verdict["ranking"]:
        assert means[row["strategy"]] == pytest.approx(row["mean_usd"], rel=1e-9)


def test_the_waterfall_adds_up_to_the_difference_of_two_costs(built):
    savings = built.tables["savings"]
    steps = savings.filter(pl.col("kind") == "waterfall")["usd_per_mtok"].sum()
    mean = {
        row["option"]: row["mean"] for row in savings.filter(pl.col("kind") == "lcot").to_dicts()
    }
    assert steps == pytest.approx(mean["gpu"] - mean["own"], rel=1e-9)
    for key, total in mean.items():
        parts = savings.filter((pl.col("kind") == "stack") & (pl.col("option") == key))
        assert parts["usd_per_mtok"].sum() == pytest.approx(total, rel=1e-9)


def test_every_line_of_the_results_declares_inputs_of_the_results(built):
    known = set(built.tables["inputs"]["path"])
    lines = built.tables["savings"].filter(pl.col("kind") == "line")
    named = {path for text in lines["inputs"] for path in text.split(", ")}
    derived = {path for path in named if path not in known}
    # only what `derivations` computes may be missing from the resolved inputs
    assert all(path.startswith(("options.", "value.")) for path in derived)


def test_every_prior_has_a_probability(built):
    priors = {row["key"]: row for row in built.verdict["priors"]}
    assert set(priors) == {"sim", "rate", "word"}
    assert all(0 <= row["p_pays"] <= 1 for row in priors.values())
    assert all(row["p_pays_negotiated"] <= row["p_pays"] for row in priors.values())
    assert priors["rate"]["g"]["p50"] == pytest.approx(np.sqrt(0.5 * 1.9), rel=0.05)
    assert priors["sim"]["g"]["p50"] == built.verdict["g_ship"]["list"]["p50"]


def test_an_earlier_date_has_more_to_spend(built):
    dates = {row["title"]: row for row in built.verdict["dates"]}
    assert [row["date"] for row in built.verdict["dates"]] == ["2025-06-01", "2026-12-01"]
    assert dates["Early"]["fixed_usd"] > dates["Headline date"]["fixed_usd"]
    assert dates["Headline date"]["g_star"] is not None


def test_the_tornado_is_sorted_and_its_base_is_the_central_case(built):
    rows = built.tables["sensitivity"]
    swings = rows["swing_usd"].to_list()
    assert swings == sorted(swings, reverse=True)
    assert rows["base_usd"].n_unique() == 1


def test_regret_is_measured_against_the_best_in_each_future(built):
    by_future = {}
    for row in built.verdict["regret"]:
        by_future.setdefault(row["future"], []).append(row["regret_usd"])
    assert all(min(regrets) == 0.0 for regrets in by_future.values())


def test_a_case_without_a_chip_ranks_and_says_nothing_of_a_boundary(make, tmp_path):
    results = decide(make.write(tmp_path, make.buy_only()), draws_log2=5)
    assert results.verdict["builds"] is False
    assert "g_star" not in results.verdict
    assert results.verdict["sentences"]["headline"].startswith("Cheapest over 5 years")
    assert len(results.tables["boundary"]) == 0


def test_tokens_bought_cost_their_price(make, tmp_path):
    results = decide(api_only(make, tmp_path), draws_log2=5)
    (only,) = results.verdict["ranking"]
    lcot = results.verdict["lcot"]["api"]
    assert only["p_cheapest"] == 1.0
    assert lcot["p50"] == pytest.approx(1.0, rel=0.1)


def test_a_dearer_programme_raises_the_bar(folder, built):
    (folder / "overlays.toml").write_text(
        '[dear]\nwhy = "what if"\n[dear.set]\n"options.own.nre_usd" = "3e9 to 9e9"\n'
    )
    dear = decide(folder, draws_log2=6, patches=("dear",))
    assert dear.verdict["g_star"]["list"]["value"] > built.verdict["g_star"]["list"]["value"]
    assert dear.manifest["patches"] == ["dear"]
    assert dear.manifest["scenario_digest"] != built.manifest["scenario_digest"]


# the results folder


def test_results_are_read_as_they_were_written(built, tmp_path):
    built.write(tmp_path / "out")
    again = read_results(tmp_path / "out")
    assert again.manifest == json.loads(json.dumps(built.manifest))
    assert again.verdict["ranking"] == json.loads(json.dumps(built.verdict["ranking"]))
    for name in TABLES:
        assert again.tables[name].equals(built.tables[name]), name
    assert set(again.run) == {"duration_s", "finished", "host"}


def test_two_runs_write_the_same_bytes(folder, tmp_path):
    for name in ("a", "b"):
        decide(folder, draws_log2=5).write(tmp_path / name)
    files = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert files == sorted(
        ["manifest.json", "verdict.json", "run.json", *(f"{name}.parquet" for name in TABLES)]
    )
    for name in files:
        if name != "run.json":
            assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_another_seed_writes_other_results(folder):
    one, two = decide(folder, draws_log2=5), decide(folder, draws_log2=5, seed=1)
    assert one.manifest["seed"] != two.manifest["seed"]
    assert one.verdict["ranking"] != two.verdict["ranking"]


def test_results_replace_older_results(built, tmp_path):
    for _ in range(2):
        built.write(tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_folder_of_something_else_is_left_alone(built, tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(ProblemsError, match="exists and holds something else"):
        built.write(tmp_path)
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


def test_a_folder_with_a_manifest_of_something_else_is_left_alone(built, tmp_path):
    """A web page has a manifest.json as well."""
    (tmp_path / "manifest.json").write_text('{"name": "my page"}')
    with pytest.raises(ProblemsError, match="exists and holds something else"):
        built.write(tmp_path)
    assert (tmp_path / "manifest.json").read_text() == '{"name": "my page"}'


def test_a_report_beside_the_results_survives_a_second_run(built, tmp_path):
    built.write(tmp_path / "out")
    (tmp_path / "out" / "report.html").write_text("<html>")
    built.write(tmp_path / "out")
    assert (tmp_path / "out" / "report.html").read_text() == "<html>"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_failed_write_leaves_what_was_there(built, tmp_path, monkeypatch):
    built.write(tmp_path / "out")
    before = (tmp_path / "out" / "verdict.json").read_bytes()

    def full(*_args, **_kwargs):
        raise OSError("no space left on device")

    monkeypatch.setattr(pl.DataFrame, "write_parquet", full)
    with pytest.raises(OSError, match="no space"):
        dataclasses.replace(built, verdict={}).write(tmp_path / "out")
    assert (tmp_path / "out" / "verdict.json").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_an_incomplete_folder_names_what_is_missing(built, tmp_path):
    built.write(tmp_path / "out")
    (tmp_path / "out" / "capacity.parquet").unlink()
    with pytest.raises(ProblemsError, match=r"capacity\.parquet: missing; run `tapeout decide`"):
        read_results(tmp_path / "out")


def test_results_of_another_schema_are_refused(built, tmp_path):
    dataclasses.replace(built, manifest=dict(built.manifest) | {"schema": 99}).write(tmp_path / "o")
    with pytest.raises(ProblemsError, match="this release reads schema 1"):
        read_results(tmp_path / "o")


def test_a_folder_that_is_not_there_is_answered(tmp_path):
    with pytest.raises(ProblemsError, match=r"manifest\.json: missing"):
        read_results(tmp_path / "nowhere")


def test_a_study_with_every_joint_figure_runs_to_its_results(make, tmp_path):
    """Reviewed correlations, price shocks and ports by release, through all tables."""
    scenario = make.small()
    scenario["correlations"] = {"table": "reviewed"}
    scenario["value"] = {"model_innovation_sd": 0.2, "observed_changes": 10}
    scenario["software"] = {"releases_per_year": 8}
    scenario["options"]["own"] |= {
        "port_usd_per_release": "1e6 to 3e6", "port_lag_months": 3, "traffic_model_age_months": 6,
    }  # fmt: skip
    found = decide(make.write(tmp_path, scenario), draws_log2=6)
    lines = set(found.tables["cashflow"]["line"])
    assert "own.releases" in lines
