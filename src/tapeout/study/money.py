"""Statements, commitments and measures of every strategy in the central case."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import polars as pl

from tapeout.constants import MTOK, QUARTER_HOURS, QUARTERS_PER_YEAR
from tapeout.economics.books import contract_commitment_usd
from tapeout.economics.finance import (
    annual_rate,
    discount_factors,
    equivalent_annual_cost_usd,
    irr,
    mirr,
    quarterly_rate,
)
from tapeout.economics.prices import chip_price_usd
from tapeout.economics.programme import PREPAYMENT_LEAD_QUARTERS
from tapeout.economics.schedule import OWN, mid_quarter_years
from tapeout.economics.statements import (
    Account,
    Fleetlife,
    Policy,
    Statements,
    account_of,
    after_tax_npv_usd,
    peak_funding_usd,
    run_out_quarter,
    three_statements,
)
from tapeout.economics.supply import option_life_quarters, rent_ratio, volume_premium
from tapeout.economics.types import CashFlow
from tapeout.errors import Outcome
from tapeout.numerics import Floats
from tapeout.study.central import CentralCase, back_at_zero_years, quarter_start
from tapeout.study.evaluate import Problem

OWNERS = "put in by owners"


def policy_of(scenario: Any) -> Policy:
    """The owner's policy as the scenario states it."""
    return Policy(**scenario.finance.model_dump(exclude={"funding_limit_usd"}))


def statements_of(problem: Problem, case: CentralCase, policy: Policy) -> dict[str, Statements]:
    """Three statements of every strategy, revenue at the value of a token."""
    lives = _lives(problem, case)
    return {
        key: three_statements(flow, policy, lives, revenue_usd=revenue_usd(flow, case))
        for key, flow in case.flows.items()
    }


def _lives(problem: Problem, case: CentralCase) -> dict[str, Fleetlife]:
    """Service life of every option's chips, and what a shift of the workload leaves of them."""
    inputs, quarters = case.inputs, problem.setting.quarters
    lives = {}
    for key, option in problem.setting.options.items():
        useful = None
        if option.kind == "build":
            shifted = mid_quarter_years(quarters) >= inputs.flat(f"{OWN}.shift_years")[0]
            useful = np.where(shifted, inputs.flat(f"{OWN}.shift_ratio")[0], 1.0)
        life = int(option_life_quarters(option, inputs)[0])
        lives[key] = Fleetlife(service_quarters=life, useful_ratio=useful)
    return lives


def revenue_usd(flow: CashFlow, case: CentralCase) -> Floats:
    """Tokens served at what a token sells for, shape (quarter,) [USD]."""
    worth = np.broadcast_to(flow.token_worth, flow.tokens.shape)[0]
    usd: Floats = flow.tokens[0] / MTOK * worth * value_usd_per_mtok(case)
    return usd


def value_usd_per_mtok(case: CentralCase) -> float:
    """What a million output tokens sell for at the decision [USD]."""
    return float(case.inputs.flat("value.usd_per_mtok")[0])


def commitments_of(
    problem: Problem, case: CentralCase, key: str, policy: Policy
) -> dict[str, Floats]:
    """What a strategy is bound to pay at the end of each quarter, shape (quarter,) [USD].

    Rent: contracts in force, plain and at the debt rate. Take-or-pay: the rest of the minimum.
    Chips: those due within the lead of their deposits, less the deposits. Halls are left out: the
    scenario states no term for them.
    """
    inputs, quarters = case.inputs, problem.setting.quarters
    plan = case.fleets[key].plan
    rate = float(quarterly_rate(policy.debt_rate_per_year))
    time = mid_quarter_years(quarters)[None, :]
    out = {
        name: np.zeros(quarters)
        for name in ("rent", "rent at the debt rate", "take-or-pay minimum", "chips on order")
    }
    for name in plan.options:
        option = problem.setting.options[name]
        path = f"options.{name}"
        if option.kind == "rent":
            each = inputs(f"{path}.rent_usd_per_chip_hour") * QUARTER_HOURS
            new = plan.new_chips[name]
            dearer = 1.0 + volume_premium(option, new)
            signed = (new * dearer * rent_ratio(option, inputs, time) * each)[0]
            term = int(option_life_quarters(option, inputs)[0])
            plain, present = contract_commitment_usd(signed, term, rate)
            out["rent"] += plain
            out["rent at the debt rate"] += present
            if option.minimum:
                left = inputs.flat(f"{path}.minimum_years")[0] - (time[0] + 0.5 / QUARTERS_PER_YEAR)
                yearly = inputs.flat(f"{path}.minimum_usd_per_year")[0]
                out["take-or-pay minimum"] += np.maximum(left, 0.0) * yearly
        elif option.kind == "build":
            price = chip_price_usd(option, inputs, negotiated=False)
            ordered = (plan.new_chips[name] * price)[0]
            ahead = np.concatenate([ordered, np.zeros(PREPAYMENT_LEAD_QUARTERS)])
            window = np.array(
                [ahead[q + 1 : q + 1 + PREPAYMENT_LEAD_QUARTERS].sum() for q in range(quarters)]
            )
            paid = inputs.flat(f"{path}.prepayment_fraction")[0]
            out["chips on order"] += window * (1.0 - paid)
    return out


def receipts_of(flow: CashFlow) -> dict[str, Floats]:
    """What each stakeholder receives from a strategy by quarter, shape (quarter,) [USD].

    The owner's own line is its team less resale; the customer's is no payment. What suppliers keep
    of it as profit is not known here; the margin stack of the report says what is assumed.
    """
    out: dict[str, Floats] = {}
    for index, line in enumerate(flow.lines):
        if account_of(line) not in (Account.NONE, Account.REVENUE):
            holder = str(line.holder)
            out[holder] = out.get(holder, 0.0) + flow.usd[0, :, index]
    return out


def _rows(
    problem: Problem, case: CentralCase, books: Mapping[str, Statements], policy: Policy
) -> Iterator[tuple[str, str, str, Floats]]:
    for key, statements in books.items():
        for name, item, usd in statements.items():
            yield key, name, item, usd
        for item, usd in commitments_of(problem, case, key, policy).items():
            yield key, "commitments", item, usd
        for holder, usd in receipts_of(case.flows[key]).items():
            yield key, "receipts", holder, usd


def statements_table(problem: Problem, case: CentralCase, scenario: Any) -> pl.DataFrame:
    """Statements in long form: strategy, statement, item, quarter, USD.

    statement is "profit", "cash", "balance", "commitments" or "receipts" (by stakeholder).
    """
    policy, start = policy_of(scenario), scenario.decision.start
    books = statements_of(problem, case, policy)
    parts = []
    for key, name, item, usd in _rows(problem, case, books, policy):
        parts.append(
            pl.DataFrame(
                {
                    "strategy": key,
                    "statement": name,
                    "item": item,
                    "quarter": np.arange(usd.size),
                    "start": [quarter_start(start, q).isoformat() for q in range(usd.size)],
                    "usd": usd,
                }
            )
        )
    return pl.concat(parts)


def measures(problem: Problem, case: CentralCase, scenario: Any) -> list[dict[str, Any]]:
    """Every measure of a strategy as one set, in the central case.

    Rates of return and paybacks are of the payments saved over the baseline; a strategy that
    spends nothing extra has none, and an outcome code says why. NPV after tax is before financing;
    funding is of the whole strategy, financing and tax included.
    """
    policy, lives = policy_of(scenario), _lives(problem, case)
    books = statements_of(problem, case, policy)
    base = case.flows[problem.baseline].by_quarter_usd()[0]
    rate = float(case.inputs.flat("decision.discount_rate")[0])
    years = problem.setting.quarters / QUARTERS_PER_YEAR
    rows = []
    for key, flow in case.flows.items():
        cost = float(flow.npv_usd()[0])
        cash = books[key].cash
        funding = cash["change in cash"] - cash[OWNERS]
        row: dict[str, Any] = {
            "strategy": key,
            "title": problem.strategy(key).title,
            "present_cost_usd": cost,
            "saving_usd": float(case.flows[problem.baseline].npv_usd()[0]) - cost,
            "equivalent_annual_cost_usd": float(equivalent_annual_cost_usd(cost, rate, years)),
            "lcot_usd_per_mtok": cost / float(flow.discounted_tokens()[0]) * MTOK,
            "lcot_by_value_usd_per_mtok": cost / float(flow.discounted_worth()[0]) * MTOK,
            "value_usd_per_mtok": value_usd_per_mtok(case),
            "npv_after_tax_usd": after_tax_npv_usd(
                flow, policy, lives, revenue_usd=revenue_usd(flow, case)
            ),
            "peak_funding_usd": float(cash[OWNERS].sum()),
            "cash_need_usd": peak_funding_usd(funding),
            # without cash of its own there is nothing that could run out
            "run_out_quarter": run_out_quarter(funding, policy.opening_cash_usd)
            if policy.opening_cash_usd
            else None,
        }
        limit = scenario.finance.funding_limit_usd
        if limit is not None:
            short = run_out_quarter(funding, limit)
            row |= {"within_funding_limit": short is None, "unfunded_quarter": short}
        rows.append(row | _returns(base - flow.by_quarter_usd()[0], rate, policy))
    return rows


def _returns(saved_usd: Floats, rate: float, policy: Policy) -> dict[str, Any]:
    """Rates of return and paybacks of the payments saved, shape (quarter,).

    What is saved first and paid later is a loan taken: its rate is the price of the loan, not a
    return, and is left out under the code SAVES_FIRST.
    """
    moved = np.flatnonzero(saved_usd)
    code, found, modified = "SAVES_FIRST", float("nan"), float("nan")
    if not moved.size or saved_usd[moved[0]] < 0.0:
        returned = irr(saved_usd)
        code, found = Outcome(int(returned.outcome)).name, float(annual_rate(returned.rate))
        lent, reinvested = quarterly_rate(policy.debt_rate_per_year), quarterly_rate(rate)
        modified = float(annual_rate(mirr(saved_usd, lent, reinvested).rate))
    factors = discount_factors(
        rate, saved_usd.size, periods_per_year=QUARTERS_PER_YEAR, timing="mid"
    )
    return {
        "irr_per_year": found,
        "irr_outcome": code,
        "mirr_per_year": modified,
        "payback_years": back_at_zero_years(np.cumsum(saved_usd)),
        "discounted_payback_years": back_at_zero_years(np.cumsum(saved_usd * factors)),
    }
