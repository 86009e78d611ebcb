"""The boundary: the closed form is the simulation, and what follows from it."""

import itertools
from dataclasses import replace

import numpy as np
import pytest

from tapeout.economics.schedule import OWN
from tapeout.errors import Outcome
from tapeout.study.boundary import break_even_map, contours, npv_usd, share_that_pays, threshold
from tapeout.study.decide import prepare
from tapeout.study.evaluate import evaluate


@pytest.fixture(scope="module")
def case(make, tmp_path_factory):
    """A gigawatt, so that an advantage exists that pays; 64 futures."""
    study = prepare(make.write(tmp_path_factory.mktemp("large"), make.small(scale__mw=2000)))
    draws = study.sampler.draw(6, 7)
    inputs = study.sampler.inputs(study.sampler.table(draws))
    return study.problem, inputs, evaluate(study.problem, inputs, full=False), draws


COUNTERFACTUALS = ("list", "negotiated", "rented")


@pytest.mark.parametrize("name", COUNTERFACTUALS)
def test_at_its_own_advantage_the_closed_form_is_the_simulation(case, name):
    problem, _, out, _ = case
    bound = out.boundaries[name]
    against = {
        "list": out.worlds["A"],
        "negotiated": out.worlds["B"] - out.worlds["programme"],
        "rented": out.cost["rent"].npv_usd,
    }[name]
    simulated = against - out.cost[problem.headline].npv_usd
    scale = np.abs(against).max()
    assert npv_usd(bound, bound.g_ship) == pytest.approx(simulated, abs=1e-9 * scale)


@pytest.mark.parametrize("factor", [0.5, 0.8, 1.7, 3.0])
@pytest.mark.parametrize("name", COUNTERFACTUALS)
def test_scaling_the_chips_throughput_moves_along_the_closed_form(case, name, factor):
    """At constant cost a chip; tokens per dollar scale with it and nothing else does."""
    problem, inputs, out, _ = case
    rate = inputs.flat(f"{OWN}.tokens_per_s_per_chip")
    faster = inputs.replace({f"{OWN}.tokens_per_s_per_chip": rate * factor})
    again = evaluate(problem, faster, full=False)
    bound, moved = out.boundaries[name], again.boundaries[name]
    assert moved.g_ship == pytest.approx(bound.g_ship * factor, rel=1e-9)
    scale = np.abs(out.worlds["A"]).max()
    resimulated = npv_usd(moved, moved.g_ship)
    assert npv_usd(bound, bound.g_ship * factor) == pytest.approx(resimulated, abs=1e-9 * scale)
    assert moved.fixed_usd == pytest.approx(bound.fixed_usd, rel=1e-9)
    assert moved.a_usd == pytest.approx(bound.a_usd, rel=1e-9, abs=1e-9 * scale)


@pytest.mark.parametrize("name", COUNTERFACTUALS)
def test_at_the_threshold_the_expected_value_is_zero(case, name):
    _, _, out, draws = case
    bound = out.boundaries[name]
    need = threshold(bound, draws.scramble)
    assert need.outcome == Outcome.OK
    mean = npv_usd(bound, need.g_star).mean()
    assert mean == pytest.approx(0.0, abs=1e-9 * np.abs(bound.a_usd).mean())
    assert npv_usd(bound, need.g_star * 1.01).mean() > 0 > npv_usd(bound, need.g_star * 0.99).mean()


def test_the_advantage_is_dollars_times_tokens_per_megawatt(case):
    for bound in case[2].boundaries.values():
        product = bound.usd_per_mw_ratio * bound.tokens_per_mw_ratio
        assert product == pytest.approx(bound.g_ship, rel=1e-12)


def test_the_negotiated_price_asks_for_more(case):
    """The alternative is cheaper, so the same chip is ahead by less and must be ahead by more."""
    bounds = case[2].boundaries
    assert (bounds["negotiated"].g_ship <= bounds["list"].g_ship).all()
    assert (bounds["negotiated"].a_usd <= bounds["list"].a_usd).all()


def test_a_programme_too_dear_for_its_volume_has_no_threshold(case):
    bound = case[2].boundaries["list"]
    hopeless = replace(bound, fixed_usd=bound.a_usd * 2)
    need = threshold(hopeless, case[3].scramble)
    assert need.outcome == Outcome.NO_ADVANTAGE_SUFFICES
    assert np.isinf(need.g_star)


def test_the_map_rises_with_the_advantage_and_contours_lie_on_it(case):
    bound = case[2].boundaries["list"]
    rows = break_even_map(bound)
    by_volume = {}
    for row in rows:
        by_volume.setdefault(row["volume"], []).append(row["p"])
    for shares in by_volume.values():
        assert all(a <= b for a, b in itertools.pairwise(shares))
    for row in contours(bound):
        share = share_that_pays(bound, row["g"] * 1.0001, row["volume"])
        assert share == pytest.approx(row["level"], abs=2.5 / 64)


def test_the_three_worlds_add_up(case):
    worlds = case[2].worlds
    whole = worlds["A"] - worlds["C"]
    parts = (worlds["A"] - worlds["B"]) + (worlds["B"] - worlds["C"])
    assert parts == pytest.approx(whole, abs=1e-9 * np.abs(worlds["A"]).max())


def test_a_threat_costs_the_programme_and_earns_the_discount(case):
    """World B buys at the negotiated price and pays for a programme without volume."""
    problem, inputs, out, _ = case
    free = evaluate(
        problem, inputs.replace({"market.negotiated_discount_fraction": 0.0}), full=False
    )
    assert free.worlds["B"] - free.worlds["programme"] == pytest.approx(free.worlds["A"])
    assert (free.worlds["programme"] > 0).all()
    assert out.worlds["programme"] == pytest.approx(free.worlds["programme"])
