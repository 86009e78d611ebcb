"""Rights over the futures: rungs agree with the worlds; no right costs more than sampling."""

import itertools

import numpy as np
import pytest

from tapeout.study import decide
from tapeout.study.ladder import Worth, ladder_rows


@pytest.fixture(scope="module")
def results(make, tmp_path_factory):
    scenario = make.small(scale__mw=500)
    scenario["offtake"] = {"fraction": 0.4, "price_over_cost_ratio": 1.1}
    return decide(make.write(tmp_path_factory.mktemp("ladder"), scenario), draws_log2=9)


def test_every_right_adds_or_is_left_unused(results):
    rungs = results.verdict["ladder"]
    assert [one["rung"] for one in rungs] == [
        "committed", "abandon", "stage", "presale", "leverage",
    ]  # fmt: skip
    for before, after in itertools.pairwise(rungs):
        assert after["gain_usd"] == pytest.approx(after["value_usd"] - before["value_usd"])
        assert after["gain_usd"] >= -3.0 * (before["se_usd"] + after["se_usd"])


def worth(draws, **usd):
    plain = {"left": -15.0, "left_negotiated": -8.0, "threat": 8.0, "presold": np.nan,
             "presold_negotiated": np.nan}  # fmt: skip
    return Worth(**{name: np.full(draws, value) for name, value in (plain | usd).items()})


def rungs_of(found, known=None):
    draws = found.at_list.size
    signals = np.zeros((draws, 4)) if known is None else known
    scramble = np.repeat(np.arange(16), draws // 16)
    return {one["rung"]: one for one in ladder_rows(found, signals, scramble)}


def test_without_knowledge_the_ladder_is_the_best_of_a_few_means():
    rungs = rungs_of(worth(64, at_list=-30.0, negotiated=-5.0))
    assert rungs["committed"]["value_usd"] == pytest.approx(-30.0)
    assert rungs["abandon"]["value_usd"] == pytest.approx(-15.0)  # go on, then leave, at its cost
    assert rungs["stage"]["value_usd"] == pytest.approx(0.0)  # stop today
    assert rungs["leverage"]["value_usd"] == pytest.approx(8.0)  # keep the threat alone
    assert "presale" not in rungs
    assert rungs["leverage"]["goes_on"] == 0.0


def test_going_to_volume_with_every_right_is_world_c():
    rungs = rungs_of(worth(32, at_list=50.0, negotiated=60.0))
    assert rungs["leverage"]["value_usd"] == pytest.approx(60.0)
    assert rungs["leverage"]["goes_on"] == 1.0


def test_a_share_is_sold_ahead_where_that_adds():
    rungs = rungs_of(
        worth(32, at_list=5.0, negotiated=6.0, presold=3.0, presold_negotiated=-1.0, threat=0.0)
    )
    assert rungs["presale"]["value_usd"] == pytest.approx(8.0)
    assert rungs["leverage"]["value_usd"] == pytest.approx(6.0)


def test_a_programme_that_is_cancelled_anyway_gains_nothing_by_leaving(make, tmp_path):
    """Whatever was paid before the door stays paid: bridge rent, idle halls, firm orders."""
    scenario = make.small(
        scale__mw=500, options__own__cancellation_fraction=1.0, options__own__committed_fraction=0.5
    )
    results = decide(make.write(tmp_path, scenario), draws_log2=7)
    rungs = {one["rung"]: one for one in results.verdict["ladder"]}
    assert rungs["abandon"]["gain_usd"] == pytest.approx(0.0, abs=1.0)


def test_the_smallest_scale_counts_the_team_where_the_scenario_has_none(make, tmp_path):
    scenario = make.small(scale__mw=500, options__own__software_usd_per_year=0.0)
    results = decide(make.write(tmp_path, scenario), draws_log2=5)
    sizes = {
        one["team_usd_per_year"]: one["volume"]
        for one in results.verdict["scale"]
        if one["g_ship"] == 3.0 and one["stability"] == "as stated"
    }
    assert len(set(sizes.values())) == len(sizes)


def test_the_smallest_scale_falls_with_the_advantage_and_rises_with_the_team(results):
    rows = results.verdict["scale"]
    at = {(one["stability"], one["team_usd_per_year"], one["g_ship"]): one["mw"] for one in rows}
    assert at[("as stated", 1e8, 3.0)] < at[("as stated", 1e8, 1.5)]
    assert at[("as stated", 1e7, 2.0)] < at[("as stated", 3e8, 2.0)]
    assert at[("no shift", 1e8, 1.5)] <= at[("three times as stated", 1e8, 1.5)]
