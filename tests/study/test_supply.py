"""Scarce inputs in a study: ceilings, shadow prices by hand, deposits and hurry."""

from dataclasses import replace

import numpy as np
import pytest

from tapeout.economics.cashflow import strategy_cash_flow
from tapeout.economics.scarcity import expected_amount
from tapeout.errors import ProblemsError
from tapeout.study import decide
from tapeout.study.decide import prepare
from tapeout.study.scarce import shadow_price, supply_rows, with_more

AMPLE = {"amount_per_quarter": 1e9}


def prepared(make, folder, **supply):
    scenario = make.small(scale__mw=500)
    if supply:
        scenario["supply"] = supply
    study = prepare(make.write(folder, scenario))
    return study, study.sampler.inputs(study.sampler.medians())


def flow_of(study, inputs, key="buy"):
    problem = study.problem
    return strategy_cash_flow(
        problem.setting, problem.strategy(key), inputs, negotiated=problem.builds_own(key)
    )


def test_amounts_wait_for_the_lead_time_and_power_adds_up():
    amount = expected_amount([4, 8], 5, allocation=0.5, first_quarter=2)
    assert amount.tolist() == [0, 0, 4, 4, 4]
    power = expected_amount([4, 8], 5, allocation=0.5, first_quarter=1, cumulated=True)
    assert power.tolist() == [0, 4, 8, 12, 16]


def test_ample_supply_of_everything_changes_no_cost(make, tmp_path):
    names = ("hbm_gb", "package_starts", "wafers", "racks", "mw", "gpu_queue")
    free, inputs = prepared(make, tmp_path / "free")
    bound, same = prepared(make, tmp_path / "bound", **dict.fromkeys(names, AMPLE))
    for key in ("buy", "rent", "build"):
        assert flow_of(free, inputs, key)[0].npv_usd() == pytest.approx(
            flow_of(bound, same, key)[0].npv_usd(), rel=1e-12
        )
    assert all(row["binding_quarters"] == 0 for row in supply_rows(bound.problem, same))
    assert {row["cost_usd_per_unit"] for row in supply_rows(bound.problem, same)} == {0.0}


def test_memory_caps_the_own_chip_by_its_gigabytes_and_scrap(make, tmp_path):
    study, inputs = prepared(make, tmp_path, hbm_gb={"amount_per_quarter": 2e5})
    ledger = study.ledger
    each = (
        ledger["options.own.memory_gb"].chosen.value
        / ledger["parts.packaging_yield_fraction"].chosen.value
    )
    new = flow_of(study, inputs, "build")[1].plan.new_chips["own"]
    assert new.max() == pytest.approx(2e5 / each)
    queue, inputs = prepared(
        make, tmp_path / "q", gpu_queue={"amount_per_quarter": 900, "allocation_fraction": 0.5}
    )
    assert flow_of(queue, inputs)[1].plan.new_chips["gpu"].max() == pytest.approx(450)


def test_power_is_shared_by_own_and_bought_chips(make, tmp_path):
    study, inputs = prepared(make, tmp_path, mw={"amount_per_quarter": 4.0})
    scarce = study.problem.setting.scarce[0]
    fleet = flow_of(study, inputs, "build")[1]
    drawn = (fleet.power_w["own"] + fleet.power_w["gpu"])[0]
    assert np.all(drawn <= scarce.amount * (1 + 1e-12))
    assert drawn.max() > 0


def test_a_shadow_price_is_the_saving_of_serving_what_was_not_served(make, tmp_path):
    study, inputs = prepared(make, tmp_path, gpu_queue={"amount_per_quarter": 3000})
    scarce = study.problem.setting.scarce[0]
    more, last = shadow_price(study.problem, "buy", inputs, scarce, "cost")
    ten = replace(study.problem, setting=with_more(study.problem.setting, scarce.key, 10.0))
    by_hand = (
        flow_of(study, inputs)[0].npv_usd()[0]
        - strategy_cash_flow(ten.setting, ten.strategy("buy"), inputs)[0].npv_usd()[0]
    ) / 10.0
    assert more == pytest.approx(by_hand, rel=1e-3)
    assert more == pytest.approx(last, rel=1e-3)
    assert more > 0


def test_deposits_cost_their_interest_and_hurry_its_price(make, tmp_path):
    terms = {"amount_per_quarter": 1e9, "lead_time_quarters": 4, "expedite_quarters": 4}
    study, inputs = prepared(
        make, tmp_path, gpu_queue=terms | {"prepayment_usd": 1000.0, "expedite_usd": 50.0}
    )
    flow, fleet = flow_of(study, inputs)
    lines = {line.key: flow.usd[0, :, i] for i, line in enumerate(flow.lines)}
    new = fleet.plan.new_chips["gpu"][0]
    assert lines["gpu_queue.reservation"].sum() == pytest.approx(0.0, abs=1.0)
    assert lines["gpu_queue.reservation"][0] == pytest.approx(1000.0 * new[1:5].sum())
    assert (lines["gpu_queue.reservation"] * flow.discount[0]).sum() > 0
    assert lines["gpu_queue.expedite"][:4] == pytest.approx(50.0 * new[:4])
    assert not lines["gpu_queue.expedite"][4:].any()


def test_a_study_shows_the_rows_and_without_the_section_has_no_such_key(make, tmp_path):
    scenario = make.buy_only()
    plain = decide(make.write(tmp_path / "plain", scenario), draws_log2=5).verdict
    scenario["supply"] = {"racks": {"amount_per_quarter": [20, 40]}}
    verdict = decide(make.write(tmp_path / "bound", scenario), draws_log2=5).verdict
    assert "supply" not in plain
    assert [row["strategy"] for row in verdict["supply"]] == ["buy"]
    assert verdict["supply"][0]["binding_quarters"] > 0
    assert not any("supply ceiling" in text for text in verdict["omitted"])


@pytest.mark.parametrize(
    ("name", "section", "path"),
    [
        ("racks", {"amount_per_quarter": -1}, "racks.amount_per_quarter"),
        ("racks", {"amount_per_quarter": 0}, "racks.amount_per_quarter"),
        ("mw", {"amount_per_quarter": 9, "lead_time_quarters": 32}, "mw.amount_per_quarter"),
        ("racks", {"amount_per_quarter": []}, "racks.amount_per_quarter"),
        ("mw", {"amount_per_quarter": 1, "options": ["bridge"]}, "mw.options"),
        ("mw", {"amount_per_quarter": 1, "per_chip": {"gpu": 2}}, "mw.per_chip"),
        ("hbm_gb", {"amount_per_quarter": 1, "per_chip": {"own": 0}}, "hbm_gb.per_chip"),
        ("wafers", {"amount_per_quarter": 1, "expedite_quarters": 2}, "wafers.expedite_quarters"),
    ],
)
def test_a_supply_without_meaning_is_refused_by_name(make, tmp_path, name, section, path):
    scenario = make.small()
    scenario["supply"] = {name: section}
    with pytest.raises(ProblemsError, match=f"supply.{path}"):
        prepare(make.write(tmp_path / "wrong", scenario))


@pytest.mark.parametrize(
    ("more", "impact"),
    [
        ({}, 0.25),
        ({"depth": "on-demand"}, 0.5),
        ({"depth": "take-or-pay"}, 0.1),
        ({"price_impact": 0.7}, 0.7),
    ],
)
def test_volume_moves_a_rent_by_the_depth_of_its_contract(make, tmp_path, more, impact):
    scenario = make.small(scale__mw=500)
    scenario["options"]["bridge"] |= {"market_chips_per_quarter": 50_000} | more
    study = prepare(make.write(tmp_path, scenario))
    inputs = study.sampler.inputs(study.sampler.medians())
    option = study.problem.setting.options["bridge"]
    assert option.price_impact == impact
    flow, fleet = flow_of(study, inputs, "rent")
    lines = {line.key: flow.usd[0, :, i] for i, line in enumerate(flow.lines)}
    new = fleet.plan.new_chips["bridge"][0]
    quoted = sum(lines[f"bridge.rent.{one}"][0] for one in ("cloud", "vendor", "fabric"))
    quoted += lines["bridge.rent.energy_site"][0]
    assert lines["bridge.rent.volume"][0] == pytest.approx(
        quoted * ((1 + new[0] / 50_000) ** impact - 1)
    )
    assert study.problem.setting.options["gpu"].price_impact == 0.0
