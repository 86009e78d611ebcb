"""Statements that balance, commitments that agree with the rent paid, measures in one set."""

import datetime as dt
import itertools
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest

from tapeout.economics.books import income_tax
from tapeout.economics.sections import FinanceSection
from tapeout.economics.statements import (
    Account,
    Policy,
    account_of,
    after_tax_npv_usd,
    peak_funding_usd,
    run_out_quarter,
)
from tapeout.economics.supply import option_life_quarters
from tapeout.report.tables.money import measures as measures_table
from tapeout.study import decide, money
from tapeout.study.central import central_case
from tapeout.study.decide import prepare

SCENARIO = SimpleNamespace(
    finance=FinanceSection(), decision=SimpleNamespace(start=dt.date(2026, 12, 1))
)
POLICIES = (
    Policy(),
    Policy(debt_fraction=0.6, tax_recovery_years=0, opening_cash_usd=1e8),
    Policy(book_years=3, tax_fraction=0.3, tax_recovery_years=3, debt_fraction=0.2),
)


@pytest.fixture(scope="module")
def world(make, tmp_path_factory):
    folder = make.write(tmp_path_factory.mktemp("money"), make.small())
    study = prepare(folder)
    return study.problem, central_case(study.problem, study.sampler)


@pytest.fixture(scope="module")
def shifted(world):
    """The same world with a shift of the workload in the fourth year."""
    problem, case = world
    changed = case.inputs.replace({"options.own.shift_years": 4.0, "options.own.shift_ratio": 0.6})
    return problem, case, changed


@pytest.mark.parametrize("policy", POLICIES)
def test_assets_equal_what_is_owed_and_owned_in_every_quarter(world, policy):
    problem, case = world
    for statements in money.statements_of(problem, case, policy).values():
        assets = statements.balance["assets"]
        assert assets == pytest.approx(statements.balance["debt, tax and equity"], rel=1e-9, abs=1)
        assert (statements.balance["cash"] >= -1.0).all()


@pytest.mark.parametrize("policy", POLICIES)
def test_tax_on_the_books_is_the_rate_times_profit(world, policy):
    problem, case = world
    for statements in money.statements_of(problem, case, policy).values():
        profit = statements.profit
        booked = profit["current tax"] + profit["deferred tax"]
        assert -booked == pytest.approx(policy.tax_fraction * profit["profit before tax"], abs=1)


def test_cash_before_tax_and_financing_is_the_payments_of_the_strategy(world):
    problem, case = world
    books = money.statements_of(problem, case, Policy(tax_fraction=0.0))
    for key, flow in case.flows.items():
        cash = books[key].cash
        paid = sum(
            flow.usd[0, :, index]
            for index, line in enumerate(flow.lines)
            if account_of(line) is not Account.NONE
        )
        moved = cash["cash from operations"] + cash["cash from investing"]
        assert moved == pytest.approx(money.revenue_usd(flow, case) - paid, rel=1e-9, abs=1)


def test_a_shift_of_the_workload_impairs_the_own_chip_and_nothing_else(shifted):
    problem, case, inputs = shifted
    plain = money.statements_of(problem, case, Policy())
    hit = type(case)(
        inputs=inputs, flows=case.flows, fleets=case.fleets, contribution=case.contribution
    )
    books = money.statements_of(problem, hit, Policy())
    assert books["build"].profit["impairment"].sum() < 0.0
    assert books["buy"].profit["impairment"].sum() == 0.0
    before = plain["build"].profit["depreciation"][:16]
    assert books["build"].profit["depreciation"][:16] == pytest.approx(before)


def test_every_line_of_every_example_has_an_account():
    for folder in sorted(Path("examples").glob("*/scenario.toml")):
        study = prepare(folder.parent)
        case = central_case(study.problem, study.sampler)
        flows = itertools.chain(case.flows.values(), case.contribution.values())
        assert all(account_of(line) in Account for flow in flows for line in flow.lines)


def test_contracts_in_force_are_the_rent_that_is_paid(world):
    problem, case = world
    free = Policy(debt_rate_per_year=0.0)
    flow, plan = case.flows["rent"], case.fleets["rent"].plan
    rent = sum(
        flow.usd[0, :, index]
        for index, line in enumerate(flow.lines)
        if line.key.startswith("bridge.rent.")
    )
    owed = money.commitments_of(problem, case, "rent", free)
    term = int(option_life_quarters(problem.setting.options["bridge"], case.inputs)[0])
    assert owed["rent"] == pytest.approx(owed["rent at the debt rate"])
    # what is owed falls by the rent paid and rises by what is signed: term x its quarterly rent
    signed = np.diff(np.concatenate([[0.0], owed["rent"]])) + rent
    starts = plan.new_chips["bridge"][0] > 0
    assert (signed[~starts] == pytest.approx(0.0, abs=1.0)) or not (~starts).any()
    assert signed[0] == pytest.approx(rent[0] * term)


def test_funding_and_run_out_by_hand():
    flow = np.array([-5.0, -3.0, 10.0])
    assert peak_funding_usd(flow) == 8.0
    assert run_out_quarter(flow, 6.0) == 1
    assert run_out_quarter(flow, 8.0) is None


def test_stakeholders_receive_what_the_strategy_pays(world):
    problem, case = world
    for flow in case.flows.values():
        received = sum(money.receipts_of(flow).values())
        paid = sum(
            flow.usd[0, :, index]
            for index, line in enumerate(flow.lines)
            if account_of(line) not in (Account.NONE, Account.REVENUE)
        )
        assert received == pytest.approx(paid)
    assert problem.builds


def test_measures_agree_with_the_present_costs_they_come_from(world):
    problem, case = world
    rows = money.measures(problem, case, SCENARIO)
    by_key = {row["strategy"]: row for row in rows}
    cost = {key: float(flow.npv_usd()[0]) for key, flow in case.flows.items()}
    assert by_key["rent"]["saving_usd"] == pytest.approx(cost["buy"] - cost["rent"])
    assert by_key["buy"]["irr_outcome"] == "NO_SIGN_CHANGE"
    assert by_key["rent"]["irr_outcome"] == "SAVES_FIRST"  # rent spares the first outlay
    assert np.isnan(by_key["rent"]["irr_per_year"])


def finance(**choices):
    return SimpleNamespace(finance=FinanceSection(**choices))


@pytest.mark.parametrize(
    "choices",
    [
        {"book_years": 1.0},
        {"book_years": 15.0},
        {"debt_fraction": 0.6},
        {"debt_fraction": 0.6, "debt_rate_per_year": 0.3},
        {"opening_cash_usd": 1e9},
    ],
)
def test_the_value_after_tax_moves_with_neither_the_books_nor_the_debt(world, choices):
    problem, case = world
    plain = money.measures(problem, case, SCENARIO)
    other = money.measures(problem, case, finance(**choices))
    for one, two in zip(plain, other, strict=True):
        assert two["npv_after_tax_usd"] == pytest.approx(one["npv_after_tax_usd"], rel=1e-12)


def test_without_tax_the_value_is_the_revenue_less_the_present_cost(world):
    problem, case = world
    for row in money.measures(problem, case, finance(tax_fraction=0.0)):
        flow = case.flows[row["strategy"]]
        sold = float((money.revenue_usd(flow, case) * flow.discount[0]).sum())
        # demand not served is a cost of the comparison, not a payment
        unserved = sum(
            flow.npv_by_line_usd()[0, index]
            for index, line in enumerate(flow.lines)
            if line.key == "unserved"
        )
        assert row["npv_after_tax_usd"] == pytest.approx(
            sold - row["present_cost_usd"] + unserved, rel=1e-9
        )


def test_what_chips_are_worth_at_the_horizon_is_taxed_over_their_tax_basis(world):
    problem, case = world
    free = money.measures(problem, case, finance(tax_fraction=0.0))
    # expensed when bought: no tax basis is left, the whole worth is income of the last quarter
    taxed = money.measures(problem, case, finance(tax_fraction=0.3, tax_recovery_years=0))
    for one, two in zip(free, taxed, strict=True):
        flow = case.flows[one["strategy"]]
        income = money.revenue_usd(flow, case).copy()
        for index, line in enumerate(flow.lines):
            if account_of(line) is Account.NONE and not line.key.endswith("unexpired_life"):
                continue
            if account_of(line) is not Account.DEPOSIT:
                income -= flow.usd[0, :, index]
        tax = income_tax(income, tax_fraction=0.3).current
        expected = float((tax * flow.discount[0]).sum())
        assert one["npv_after_tax_usd"] - two["npv_after_tax_usd"] == pytest.approx(expected)


def test_undiscounted_tax_is_the_same_however_fast_chips_are_deducted(world):
    problem, case = world
    lives = money._lives(problem, case)
    for flow in case.flows.values():
        plain = replace(flow, discount=np.ones_like(flow.discount), _kept={}, _sums={})
        revenue = np.full(flow.tokens.shape[1], 1e12)  # so that no quarter makes a loss
        values = [
            after_tax_npv_usd(plain, Policy(tax_recovery_years=years), lives, revenue_usd=revenue)
            for years in (0, 3, 10)
        ]
        assert values == pytest.approx([values[0]] * 3, rel=1e-12)


def test_a_slower_deduction_is_never_worth_more(world):
    problem, case = world
    at_once = money.measures(problem, case, finance(tax_recovery_years=0))
    slow = money.measures(problem, case, finance(tax_recovery_years=10))
    gaps = [
        one["npv_after_tax_usd"] - two["npv_after_tax_usd"]
        for one, two in zip(at_once, slow, strict=True)
    ]
    assert min(gaps) >= -1.0
    assert max(gaps) > 1.0


def test_tax_takes_from_a_strategy_that_earns(world):
    problem, case = world
    free = money.measures(problem, case, finance(tax_fraction=0.0))
    taxed = money.measures(problem, case, finance(tax_fraction=0.3))
    for one, two in zip(free, taxed, strict=True):
        assert two["npv_after_tax_usd"] < one["npv_after_tax_usd"]


def test_opening_cash_is_not_put_in_again_by_the_owners(world):
    problem, case = world
    plain = money.measures(problem, case, SCENARIO)
    there = max(row["peak_funding_usd"] for row in plain) / 2
    other = money.measures(problem, case, finance(opening_cash_usd=there))
    short = [row for row in other if row["run_out_quarter"] is not None]
    assert short
    assert all(row["run_out_quarter"] is None for row in plain)
    for one, two in zip(plain, other, strict=True):
        left = max(0.0, one["cash_need_usd"] - there)
        assert two["cash_need_usd"] == pytest.approx(one["cash_need_usd"], abs=1.0)
        assert two["peak_funding_usd"] == pytest.approx(left, abs=1.0)
        assert (two in short) == (left > 0.0)


def test_the_table_holds_every_statement_of_every_strategy(world):
    problem, case = world
    table = money.statements_table(problem, case, SCENARIO)
    assert set(table["strategy"]) == set(case.flows)
    assert set(table["statement"]) == {"profit", "cash", "balance", "commitments", "receipts"}
    assert not table["usd"].is_nan().any()
    assert table.filter(pl.col("quarter") == 0)["start"].unique().to_list() == ["2026-12-01"]


@pytest.mark.parametrize("limit", [1e6, 1e15])
def test_a_funding_limit_flags_whoever_needs_more_and_says_when_it_runs_out(world, limit):
    problem, case = world
    scenario = SimpleNamespace(finance=FinanceSection(funding_limit_usd=limit))
    rows = money.measures(problem, case, scenario)
    books = money.statements_of(problem, case, money.policy_of(scenario))
    for row in rows:
        assert row["within_funding_limit"] == (row["peak_funding_usd"] <= limit)
        cash = books[row["strategy"]].cash
        needed = -np.cumsum(cash["change in cash"] - cash[money.OWNERS])
        if not row["within_funding_limit"]:
            at = row["unfunded_quarter"]
            assert needed[at] > limit
            assert not (needed[:at] > limit).any()
    assert all(row["within_funding_limit"] for row in rows) == (limit > 1e9)


def test_without_a_limit_nobody_is_flagged(world):
    problem, case = world
    for row in money.measures(problem, case, SCENARIO):
        assert "within_funding_limit" not in row


def test_the_verdict_names_who_runs_out_and_the_cheapest_that_does_not(make, tmp_path):
    scenario = make.buy_only()
    free = decide(make.write(tmp_path / "free", scenario), draws_log2=5).verdict
    peaks = sorted(row["peak_funding_usd"] for row in free["measures"])
    scenario["finance"] = {"funding_limit_usd": sum(peaks) / 2}
    results = decide(make.write(tmp_path / "bound", scenario), draws_log2=5)
    over = [row for row in results.verdict["measures"] if not row["within_funding_limit"]]
    within = [row for row in results.verdict["measures"] if row["within_funding_limit"]]
    assert [len(over), len(within)] == [1, 1]
    said = results.verdict["sentences"]["funding"]
    assert f"{over[0]['title']} needs" in said
    assert f"stays within it is {within[0]['title']}" in said
    assert "funding" not in free["sentences"]
    shown = measures_table(results).only("strategy", "funding").rows
    assert [row.cells[0].text for row in shown if row.cells[1].tone == "bad"] == [over[0]["title"]]
