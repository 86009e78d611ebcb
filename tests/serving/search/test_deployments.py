"""Search of deployments: order, fronts, prices, rows; the simulation is a stand-in."""

import math
from dataclasses import replace

import numpy as np
import pytest

from tapeout.catalog import load
from tapeout.errors import InfeasibleError, Outcome, ProblemsError
from tapeout.fabric import System
from tapeout.perf import PhysicalModel
from tapeout.serving.engine.types import Rules
from tapeout.serving.objectives import Objective, parse_objective
from tapeout.serving.search import (
    HowSearched,
    Price,
    SearchOptions,
    Space,
    catalogue_price,
    cheapest,
    deployments,
    pareto,
    parse_price,
    search_deployments,
    stream_of_means,
)
from tapeout.serving.search.max_load import MaxLoad
from tapeout.serving.search.rows import columns
from tapeout.serving.search.screen import screen, screened_rate
from tapeout.serving.search.streams import mean_lengths
from tapeout.serving.steady import Lengths
from tapeout.serving.types import Deployment
from tapeout.workload import Traffic, load_model

SLO = parse_objective("ttft_p90=1,tpot_p90=0.03")
STREAM = stream_of_means(
    Traffic(name="x", model="m", input_tokens=800.0, output_tokens=200.0, cached_input_fraction=0.0)
)


@pytest.fixture
def simulated(monkeypatch):
    """A stand-in that serves nine tenths of a made-up rate; what it was asked."""
    calls = []

    def stand_in(deployment, *_):
        calls.append(deployment)
        chips = deployment.placement.chips
        return MaxLoad(
            outcome=Outcome.OK, rate_rps=9.0 * chips, half_width_rps=0.1,
            output_tokens_per_s_per_chip=1800.0 / chips, joule_per_output_token=0.1 * chips,
            mean_tpot_s=0.02 / chips, chips=chips, binds="x",
        )  # fmt: skip

    monkeypatch.setattr(deployments, "max_load", stand_in)
    return calls


def space(chip, **changes):
    system = System(chip=chip(), chips_per_domain=8, domains=1)
    return Space(**{"systems": {"a": system, "b": system}, "most_chips": 8} | changes)


MODEL = "llama-3.1-8b"


def find(chip, how=None, **changes):
    return search_deployments(load_model(MODEL), space(chip, **changes), STREAM, SLO, how)


def test_every_combination_is_screened_and_only_the_best_are_simulated(chip, simulated):
    found = find(
        chip, HowSearched(simulated=3), max_sequences=(64, 256), token_budgets=(2048, None)
    )
    places = {one.deployment.placement.chips for one in found}
    assert len(found) == 2 * len(places) * 4
    assert len(simulated) == 3
    assert [one.simulated is not None for one in found] == [True] * 3 + [False] * (len(found) - 3)
    assert {one.chip for one in found[:3]} == {"a", "b"}


def test_a_cap_on_sequences_never_raises_the_screened_rate(placed):
    lengths = Lengths(new=800.0, cached=0.0, output=200.0)
    caps = [1.0, 4.0, 16.0, 64.0, 256.0]
    found = screen(PhysicalModel(), placed(MODEL), lengths, SLO, 8192, caps)
    rates = [one.rate_rps for one in found]
    assert rates == sorted(rates)
    assert rates[-1] > rates[0] > 0.0


def test_a_limit_that_nothing_meets_is_an_outcome_of_the_screen(placed):
    lengths = Lengths(new=800.0, cached=0.0, output=200.0)
    tight = parse_objective("tpot_p90=0.000001")
    (one,) = screen(PhysicalModel(), placed(MODEL), lengths, tight, 8192, [64.0])
    assert one.outcome is Outcome.MISSES_TPOT
    assert one.rate_rps == 0.0


def test_the_screened_rate_counts_replicas_and_cache(placed):
    lengths = Lengths(new=800.0, cached=0.0, output=200.0)
    rules = Rules(token_budget=8192, max_sequences=64, kv_blocks=10_000)
    lengths = Lengths(new=800.0, cached=0.0, output=200.0)
    one, two = (
        screened_rate(Deployment(placement=placed(MODEL), replicas=n), rules, lengths, SLO,
                      PhysicalModel())
        for n in (1, 2)
    )  # fmt: skip
    less = screened_rate(
        Deployment(placement=placed(MODEL)), replace(rules, kv_blocks=600), lengths, SLO,
        PhysicalModel(),
    )  # fmt: skip
    assert two == 2 * one > 0.0
    assert 0.0 < less < one


def shared_stream(share):
    means = Traffic(name="x", model="m", input_tokens=800.0, output_tokens=200.0,
                    cached_input_fraction=share)  # fmt: skip
    return stream_of_means(means)


def test_shared_prefixes_are_cached_tokens_of_the_screen_at_most_as_an_unbounded_cache_has_them():
    trace = shared_stream(0.5).take(2000)
    plain, cached = mean_lengths(trace, cached=False), mean_lengths(trace)
    assert plain.cached == 0.0
    assert cached.input == pytest.approx(plain.input)
    assert cached.cached / cached.input == pytest.approx(0.5, abs=0.03)  # full blocks of 16
    assert mean_lengths(STREAM.take(100)).cached == 0.0


@pytest.mark.usefixtures("simulated")
def test_an_engine_with_a_prefix_cache_is_screened_with_it_and_one_without_is_not(chip):
    asked = space(chip, policies=("vllm-v1", "orca"))
    found = search_deployments(load_model(MODEL), asked, shared_stream(0.6), SLO)
    best = {
        name: max(one.screened.rate_rps for one in found if one.deployment.policy.name == name)
        for name in asked.policies
    }
    assert best["vllm-v1"] > 1.1 * best["orca"] > 0.0
    alone = search_deployments(load_model(MODEL), asked, STREAM, SLO)
    assert len(alone) == len(found)  # no policy is lost where lengths are alike


def test_two_engines_are_compared_on_the_same_placements(chip):
    how = HowSearched(simulated=2, search=SearchOptions(first_requests=200, most_requests=400))
    asked = space(chip, systems={"a": System(chip=chip(), chips_per_domain=8, domains=1)},
                  most_chips=1, policies=("vllm-v1", "sglang"))  # fmt: skip
    found = search_deployments(load_model(MODEL), asked, STREAM, SLO, how)
    ran = {one.deployment.policy.name: one.simulated for one in found}
    assert set(ran) == {"vllm-v1", "sglang"}
    assert all(one is not None and one.rate_rps > 0.0 for one in ran.values())


def test_less_memory_for_the_engine_is_fewer_sequences_of_the_screen_and_is_simulated(
    chip, simulated
):
    whole = find(chip, max_sequences=(8192,))
    half = find(chip, max_sequences=(8192,), memory_fraction=0.5)
    assert {one.memory_fraction for one in simulated} == {None, 0.5}
    most = [max(one.screened.rate_rps / one.chips for one in found) for found in (whole, half)]
    assert 0.0 < most[1] < most[0]


@pytest.mark.usefixtures("simulated")
def test_cheapest_goes_by_dollars_only_where_every_chip_has_a_price(chip):
    half = {"a": Price(usd_per_chip_hour=4.0), "b": Price(usd_per_chip_hour=2.0)}
    found = find(chip, HowSearched(simulated=2, prices=half))
    assert found[0].chip == "b"
    assert found[0].usd_per_mtok == pytest.approx(2.0 / (1800.0 * 3600.0) * 1e6)
    unpriced = [replace(one, price=None) if one.chip == "b" else one for one in found]
    order = cheapest(unpriced)
    assert [one.per_chip for one in order if one.per_chip] == sorted(
        (one.per_chip for one in order if one.per_chip), reverse=True
    )


@pytest.mark.usefixtures("simulated")
def test_the_front_leaves_out_whatever_is_beaten_in_both(chip):
    found = find(chip, HowSearched(simulated=50))
    front = pareto(found, "per_chip")
    for one in front:
        assert not any(
            other.mean_tpot_s < one.mean_tpot_s and other.per_chip > one.per_chip for other in found
        )
    tpot = [one.mean_tpot_s for one in front]
    assert tpot == sorted(tpot, reverse=True)
    assert pareto(found, "per_usd") == []


@pytest.mark.usefixtures("simulated")
def test_rows_give_both_rates_and_their_gap(chip):
    found = find(chip, HowSearched(simulated=1))
    rows = columns(found)
    assert rows["simulated"][0]
    assert {  # one of every chip, however many were asked for
        name: sum(s for s, c in zip(rows["simulated"], rows["chip"], strict=True) if c == name)
        for name in set(rows["chip"])
    } == dict.fromkeys(rows["chip"], 1)
    gap = rows["output_tokens_per_s_per_chip"][0] / rows["steady_output_tokens_per_s_per_chip"][0]
    assert rows["gap_fraction"][0] == pytest.approx(gap - 1.0)
    assert math.isnan(rows["gap_fraction"][rows["simulated"].index(False)])
    assert np.isnan(rows["usd_per_million_output_tokens"]).all()


@pytest.mark.usefixtures("simulated")
def test_a_model_that_fits_nowhere_is_refused(chip):
    small = System(chip=chip(memory_bytes=1e9), chips_per_domain=1, domains=1)
    with pytest.raises(InfeasibleError, match="fits no placement"):
        find(chip, systems={"a": small})
    with pytest.raises(InfeasibleError, match="needs limits"):
        search_deployments(load_model(MODEL), space(chip), STREAM, Objective())


def test_catalogue_rents_are_on_demand_with_source_and_date():
    price = catalogue_price(load(None), "h100")
    assert price.usd_per_chip_hour > 0.5
    assert price.condition.startswith("on-demand")
    assert price.source
    assert len(price.as_of) == 10
    assert catalogue_price(load(None), "Microsoft Maia 200") is None


@pytest.mark.parametrize("text", ["h100", "h100=", "=2", "h100=-1", "h100=nan", "h100=inf"])
def test_prices_that_cannot_be_read_are_refused(text):
    with pytest.raises(ProblemsError, match=r"write h100=2\.5"):
        parse_price(text)
