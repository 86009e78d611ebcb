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


def known(draws):
    return np.zeros((draws, 4))


def test_without_knowledge_the_ladder_is_the_best_of_a_few_means():
    draws = 64
    scramble = np.repeat(np.arange(16), 4)
    found = Worth(
        programme=np.full(draws, 10.0),
        at_list=np.full(draws, -30.0),
        negotiated=np.full(draws, -5.0),
        price_gain=np.full(draws, 18.0),
        presold=np.full(draws, np.nan),
    )
    rungs = {one["rung"]: one for one in ladder_rows(found, known(draws), scramble)}
    assert rungs["committed"]["value_usd"] == pytest.approx(-30.0)
    assert rungs["abandon"]["value_usd"] == pytest.approx(-10.0)  # finish, then leave
    assert rungs["stage"]["value_usd"] == pytest.approx(0.0)  # stop today
    assert rungs["leverage"]["value_usd"] == pytest.approx(8.0)  # finish for the price alone
    assert "presale" not in rungs
    assert rungs["leverage"]["goes_on"] == 0.0


def test_going_to_volume_with_every_right_is_world_c():
    draws = 32
    found = Worth(
        programme=np.full(draws, 10.0),
        at_list=np.full(draws, 50.0),
        negotiated=np.full(draws, 60.0),
        price_gain=np.full(draws, 12.0),
        presold=np.full(draws, np.nan),
    )
    rungs = ladder_rows(found, known(draws), np.repeat(np.arange(16), 2))
    assert rungs[-1]["value_usd"] == pytest.approx(60.0)
    assert rungs[-1]["goes_on"] == 1.0


def test_the_smallest_scale_falls_with_the_advantage_and_rises_with_the_team(results):
    rows = results.verdict["scale"]
    at = {(one["stability"], one["team_usd_per_year"], one["g_ship"]): one["mw"] for one in rows}
    assert at[("as stated", 1e8, 3.0)] < at[("as stated", 1e8, 1.5)]
    assert at[("as stated", 1e7, 2.0)] < at[("as stated", 3e8, 2.0)]
    assert at[("no shift", 1e8, 1.5)] <= at[("three times as stated", 1e8, 1.5)]
