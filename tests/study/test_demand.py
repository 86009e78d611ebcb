"""Price, demand and cost settle where closed forms say; a study off the section is untouched."""

import numpy as np
import pytest

from tapeout.errors import ProblemsError
from tapeout.market import demand_ratio, passed_price
from tapeout.study import decide
from tapeout.study.central import central_case
from tapeout.study.decide import prepare
from tapeout.study.demand import demand_response, served, settle


def linear(fixed, each, base, rho, elasticity):
    """The map price to price for the cost fixed + each x demand; planned price and demand one."""

    def follow(price):
        demand = float(demand_ratio(price, elasticity))
        return float(passed_price(1.0, base, fixed / demand + each, rho))

    return follow


@pytest.mark.parametrize(("fixed", "rho"), [(0.1, 1.0), (0.3, 0.5), (0.3, 1.0), (0.0, 1.0)])
def test_unit_elasticity_and_linear_cost_settle_at_the_closed_form(fixed, rho):
    found = settle(linear(fixed, 0.3, 0.8, rho, -1.0), 1.0)
    assert found.found
    assert found.price == pytest.approx((1.0 - rho * 0.5) / (1.0 - rho * fixed), abs=2e-9)


@pytest.mark.parametrize("fixed", [0.05, 0.2, 0.3])
def test_elasticity_two_settles_at_the_lower_root(fixed):
    found = settle(linear(fixed, 0.3, 0.8, 1.0, -2.0), 1.0)
    a = 1.0 - (0.8 - 0.3)
    assert found.price == pytest.approx((1 - np.sqrt(1 - 4 * a * fixed)) / (2 * fixed), abs=3e-9)


@pytest.mark.parametrize("elasticity", [-0.5, -1.2, -1.5, -1.8])
def test_the_way_in_contracts_at_the_rate_of_the_formula(elasticity):
    fixed, rho = 0.25, 0.6
    found = settle(linear(fixed, 0.3, 0.8, rho, elasticity), 1.0)
    average = fixed / float(demand_ratio(found.price, elasticity))
    assert found.found
    assert found.contraction == pytest.approx(rho * -elasticity * average / found.price, rel=0.02)
    assert found.contraction < 1.0


def test_a_map_that_never_stands_still_says_so():
    assert not settle(lambda price: 0.5 if price == 1.0 else 1.0, 1.0).found


@pytest.fixture(scope="module")
def study(make, tmp_path_factory):
    scenario = make.small(scale__mw=500, demand_response={"conduct": "competition"})
    return prepare(make.write(tmp_path_factory.mktemp("demand"), scenario))


@pytest.fixture(scope="module")
def response(study):
    inputs = central_case(study.problem, study.sampler).inputs
    return demand_response(study.problem, inputs, study.scenario.demand_response, study.catalog)


def test_price_and_cost_agree_at_the_fixed_point(response):
    planned, base = response["planned_usd_per_mtok"], response["baseline_cost_usd_per_mtok"]
    for one in response["rows"]:
        assert one["settled"]
        assert one["contraction"] < 1.0
        wanted = float(
            passed_price(planned, base, one["unit_cost_usd_per_mtok"], one["pass_through"])
        )
        assert one["price_usd_per_mtok"] == pytest.approx(wanted, rel=1e-8)
        assert one["demand_ratio"] == pytest.approx(one["price_ratio"] ** one["elasticity"])


def test_the_baseline_keeps_its_price_and_a_cheaper_strategy_gains_demand(response):
    by_key = {(one["strategy"], one["case"]): one for one in response["rows"]}
    assert by_key["buy", "central"]["demand_ratio"] == 1.0
    assert by_key["buy", "central"]["extra_tokens"] == 0.0
    rent = [by_key["rent", case]["demand_ratio"] for case in ("high", "central", "low")]
    assert 1.0 < rent[0] < rent[1] < rent[2]
    assert by_key["build", "central"]["first_quarter"] > 0


def test_the_rows_re_add_from_the_fleets_of_both_prices(study, response):
    inputs = study.sampler.inputs(study.sampler.medians())
    one = next(row for row in response["rows"] if row["strategy"] == "rent")
    before = served(study.problem, "rent", inputs, np.ones(1))
    after = served(study.problem, "rent", inputs, np.array([one["demand_ratio"]]))
    price = one["price_usd_per_mtok"] / 1e6
    assert one["contribution_usd"] == pytest.approx(price * after.tokens.sum() - after.cost_usd)
    assert one["extra_tokens"] == pytest.approx(after.output_tokens - before.output_tokens)
    assert one["rebound_cost_usd"] == pytest.approx(after.cost_usd - before.cost_usd)


def test_keeping_the_saving_leaves_demand_where_it_was(study):
    inputs = study.sampler.inputs(study.sampler.medians())
    section = study.scenario.demand_response.model_copy(update={"conduct": "none"})
    found = demand_response(study.problem, inputs, section, study.catalog)
    assert {one["demand_ratio"] for one in found["rows"]} == {1.0}


def test_a_study_without_the_section_has_no_such_key_and_says_what_is_left_out(make, tmp_path):
    plain = decide(make.write(tmp_path / "plain", make.buy_only()), draws_log2=5).verdict
    scenario = make.buy_only()
    scenario["demand_response"] = {"elasticity": "-1.8 to -1.2"}
    moved = decide(make.write(tmp_path / "moved", scenario), draws_log2=5).verdict
    assert "demand_response" not in plain
    assert set(moved) - set(plain) == {"demand_response"}
    assert moved["ranking"] == plain["ranking"]
    assert set(plain["left_out"]) - set(moved["left_out"]) == {
        "What users do with cheaper tokens: demand does not react to the price."
    }


@pytest.mark.parametrize(
    ("section", "path"),
    [
        ({"elasticity": 1.5}, "elasticity"),
        ({"firms": 2, "firms_with_saving": 3}, "firms_with_saving"),
        ({"conduct": "ces-cournot", "firms": 1, "elasticity": -0.9}, "firms"),
        ({"conduct": "logit", "firms": 4, "market_share": 0.3}, "market_share"),
    ],
)
def test_a_response_without_meaning_is_refused_by_name(make, tmp_path, section, path):
    scenario = make.buy_only()
    scenario["demand_response"] = section
    with pytest.raises(ProblemsError, match=f"demand_response.{path}"):
        prepare(make.write(tmp_path / "wrong", scenario))
