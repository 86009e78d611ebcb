"""Three statements of a strategy, quarter by quarter: profit and loss, cash, balance.

One draw (the central case). Costs are negative here, as on a statement; everything in nominal USD.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np

from tapeout.constants import QUARTERS_PER_YEAR
from tapeout.economics.books import (
    Assets,
    Debt,
    borrow,
    depreciate,
    income_tax,
    tax_basis,
)
from tapeout.economics.finance import quarterly_rate
from tapeout.economics.types import CashFlow, Line
from tapeout.numerics import Floats

HORIZON_VALUE = "unexpired_life"  # line that credits what chips are worth at the horizon


class Account(StrEnum):
    """Where a cost line stands on the statements."""

    REVENUE = "revenue"
    RUNNING = "running cost"
    RENT = "rent and tokens bought"
    PROGRAMME = "programme"  # research and development, expensed as incurred (ASC 730)
    CAPITAL = "capital"
    DEPOSIT = "deposits"
    DISPOSAL = "resale"
    NONE = "no payment"  # valuation at the horizon, value of demand not served, memo lines


_ACCOUNTS = {
    Account.REVENUE: ("revenue",),
    Account.RUNNING: (
        "failures",
        "operations",
        "electricity",
        "site",
        "idle_hall",
        "writeoff",
        "rebates_lost",
        "port",
        "expedite",
        "releases",
    ),
    Account.RENT: ("rent", "shortfall", "tokens"),
    Account.PROGRAMME: ("nre", "masks", "respins", "bring_up", "software"),
    Account.CAPITAL: ("chip", "host", "network", "storage", "rack", "conversion"),
    Account.DEPOSIT: ("prepayment", "reservation"),
    Account.DISPOSAL: ("resale",),
    Account.NONE: (HORIZON_VALUE, "depreciation", "unserved"),
}
_BY_NAME = {name: account for account, names in _ACCOUNTS.items() for name in names}


def account_of(line: Line) -> Account:
    """Account of a line, by what it is called after its option; an unknown name is our own bug."""
    parts = line.key.split(".")
    return _BY_NAME[parts[1] if len(parts) > 1 else parts[0]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """How an owner keeps its books and pays for capital.

    Attributes
    ----------
    book_years : float
        Life over which chips and systems are written off.
    tax_fraction : float
    tax_recovery_years : int
        MACRS class, or 0 for expensing at once.
    debt_fraction, debt_rate_per_year, debt_years : float
        Share of each purchase that is borrowed, its annual effective rate, and the years over
        which it is repaid. A vendor that lends is such a lender.
    opening_cash_usd : float
        What is there at the start; the rest is put in by the owners as it is needed.
    """

    book_years: float = 5.0
    tax_fraction: float = 0.21
    tax_recovery_years: int = 5
    debt_fraction: float = 0.0
    debt_rate_per_year: float = 0.07
    debt_years: float = 4.0
    opening_cash_usd: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleetlife:
    """What the books need to know of an option's chips: quarters in service, and use over time."""

    service_quarters: int
    useful_ratio: Floats | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Statements:
    """Profit and loss, cash and balance; each item an array (quarter,) [USD].

    Income and receipts are positive, costs and payments negative; balances are at quarter's end.
    """

    profit: Mapping[str, Floats]
    cash: Mapping[str, Floats]
    balance: Mapping[str, Floats]

    def items(self) -> Iterator[tuple[str, str, Floats]]:
        """Every line as (statement, item, values)."""
        for name in ("profit", "cash", "balance"):
            for item, usd in getattr(self, name).items():
                yield name, item, usd + 0.0  # no negative zeros


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sums:
    """Lines of a cash flow added up by account, statement signs, (quarter,)."""

    by_account: Mapping[Account, Floats]
    capital: Mapping[str, Floats] = field(default_factory=dict)  # by option, positive

    def __getitem__(self, account: Account) -> Floats:
        return self.by_account[account]


def _sums(flow: CashFlow, draw: int) -> _Sums:
    quarters = flow.usd.shape[1]
    totals = {account: np.zeros(quarters) for account in Account}
    capital: dict[str, Floats] = {}
    for index, line in enumerate(flow.lines):
        account, usd = account_of(line), flow.usd[draw, :, index]
        totals[account] = totals[account] - usd
        if account is Account.CAPITAL:
            option = line.key.split(".")[0]
            capital[option] = capital.get(option, np.zeros(quarters)) + usd
    return _Sums(by_account=totals, capital=capital)


def three_statements(
    flow: CashFlow,
    policy: Policy,
    lives: Mapping[str, Fleetlife],
    *,
    revenue_usd: Floats | None = None,
    draw: int = 0,
) -> Statements:
    """Keep the books of a strategy.

    Parameters
    ----------
    flow : CashFlow
    policy : Policy
    lives : mapping of option to Fleetlife
        For every option with capital.
    revenue_usd : array, shape (quarter,), optional
        Revenue of the quarters where the flow has no revenue line.
    draw : int
        Which draw of the flow.

    Returns
    -------
    Statements
        Deferred tax counts every loss carried forward in full. Leases of halls and capacity are
        expensed as paid and stand in the commitments, not on the balance.
    """
    sums = _sums(flow, draw)
    revenue = sums[Account.REVENUE]
    if revenue_usd is not None:
        revenue = revenue + revenue_usd
    books = {key: _book(usd, lives[key], policy) for key, usd in sums.capital.items()}
    taxes = {key: _tax_book(usd, lives[key], policy) for key, usd in sums.capital.items()}
    spent = -sums[Account.CAPITAL]
    debt = borrow(
        spent * policy.debt_fraction,
        rate_per_quarter=float(quarterly_rate(policy.debt_rate_per_year)),
        term_quarters=max(1, round(policy.debt_years * QUARTERS_PER_YEAR)),
    )
    profit = _profit(sums, revenue, _total(books, flow), debt)
    tax = _taxation(profit, _total(books, flow), _total(taxes, flow), policy)
    profit |= tax
    profit["net income"] = profit["profit before tax"] + tax["current tax"] + tax["deferred tax"]
    cash = _cash(sums, profit, debt, policy)
    return Statements(
        profit=profit,
        cash=cash,
        balance=_balance(sums, (profit, cash), debt, _total(books, flow), policy),
    )


def _book(capital: Floats, life: Fleetlife, policy: Policy) -> Assets:
    return depreciate(
        capital,
        book_quarters=max(1, round(policy.book_years * QUARTERS_PER_YEAR)),
        service_quarters=life.service_quarters,
        useful_ratio=life.useful_ratio,
    )


def _tax_book(capital: Floats, life: Fleetlife, policy: Policy) -> Assets:
    return tax_basis(
        capital,
        recovery_years=policy.tax_recovery_years,
        service_quarters=life.service_quarters,
    )


def _total(parts: Mapping[str, Assets], flow: CashFlow) -> Assets:
    zero = np.zeros(flow.usd.shape[1])
    return Assets(
        **{
            name: sum((getattr(one, name) for one in parts.values()), zero)
            for name in Assets.__slots__
        }
    )


def _profit(sums: _Sums, revenue: Floats, assets: Assets, debt: Debt) -> dict[str, Floats]:
    running, rent = sums[Account.RUNNING], sums[Account.RENT]
    programme = sums[Account.PROGRAMME]
    ebitda = revenue + running + rent + programme
    gain = sums[Account.DISPOSAL] - assets.derecognised
    ebit = ebitda - assets.depreciation - assets.impairment + gain
    return {
        "revenue": revenue,
        "running cost": running,
        "rent and tokens bought": rent,
        "programme": programme,
        "EBITDA": ebitda,
        "depreciation": -assets.depreciation,
        "impairment": -assets.impairment,
        "gain on disposal": gain,
        "EBIT": ebit,
        "interest": -debt.interest,
        "profit before tax": ebit - debt.interest,
    }


def _taxation(
    profit: Mapping[str, Floats], books: Assets, tax: Assets, policy: Policy
) -> dict[str, Floats]:
    """Current tax on the tax authority's profit, and the change of deferred tax."""
    ours = books.depreciation + books.impairment + books.derecognised
    theirs = tax.depreciation + tax.derecognised
    taxable = profit["profit before tax"] + ours - theirs
    assessed = income_tax(taxable, tax_fraction=policy.tax_fraction)
    liability = policy.tax_fraction * (books.carrying - tax.carrying - assessed.loss)
    return {
        "current tax": -assessed.current,
        "deferred tax": -np.diff(liability, prepend=0.0),
    }


def _cash(
    sums: _Sums, profit: Mapping[str, Floats], debt: Debt, policy: Policy
) -> dict[str, Floats]:
    not_paid = profit["depreciation"] + profit["impairment"] + profit["gain on disposal"]
    operations = profit["net income"] - not_paid - profit["deferred tax"]
    investing = sums[Account.CAPITAL] + sums[Account.DEPOSIT] + sums[Account.DISPOSAL]
    financing = debt.drawn - debt.repaid
    own = operations + investing + financing
    position = policy.opening_cash_usd + np.cumsum(own)
    # the owners put in what is missing when it is missing, and nothing is paid out
    missing = np.maximum.accumulate(np.maximum(-position, 0.0))
    put_in = np.diff(missing, prepend=0.0)
    return {
        "net income": profit["net income"],
        "written off, not paid": -not_paid,
        "deferred tax": -profit["deferred tax"],
        "cash from operations": operations,
        "purchases": sums[Account.CAPITAL],
        "deposits": sums[Account.DEPOSIT],
        "resale": sums[Account.DISPOSAL],
        "cash from investing": investing,
        "borrowed": debt.drawn,
        "repaid": -debt.repaid,
        "put in by owners": put_in,
        "cash from financing": financing + put_in,
        "change in cash": own + put_in,
    }


def _balance(
    sums: _Sums,
    moved: tuple[Mapping[str, Floats], Mapping[str, Floats]],
    debt: Debt,
    assets: Assets,
    policy: Policy,
) -> dict[str, Floats]:
    profit, cash = moved
    deferred = -np.cumsum(profit["deferred tax"])
    deposits = -np.cumsum(sums[Account.DEPOSIT])
    held = policy.opening_cash_usd + np.cumsum(cash["change in cash"])
    put_in = policy.opening_cash_usd + np.cumsum(cash["put in by owners"])
    equity = put_in + np.cumsum(profit["net income"])
    return {
        "cash": held,
        "deposits": deposits,
        "chips and systems": assets.carrying,
        "assets": held + deposits + assets.carrying,
        "debt": debt.owed,
        "deferred tax": deferred,
        "equity": equity,
        "debt, tax and equity": debt.owed + deferred + equity,
    }


def after_tax_npv_usd(
    flow: CashFlow,
    policy: Policy,
    lives: Mapping[str, Fleetlife],
    *,
    revenue_usd: Floats | None = None,
    draw: int = 0,
) -> float:
    """Present value of a strategy after tax and before financing [USD].

    Parameters
    ----------
    flow, policy, lives, revenue_usd, draw
        As in `three_statements`.

    Notes
    -----
    Tax is on income before interest, so neither debt nor its rate moves the value; depreciation is
    that of the tax authority, so the owner's book life does not either. What chips are worth at
    the horizon is the credit of the present cost; its excess over the tax basis is income of the
    last quarter, a shortfall a loss.
    """
    sums = _sums(flow, draw)
    tax = _total(
        {key: _tax_book(usd, lives[key], policy) for key, usd in sums.capital.items()}, flow
    )
    operating = sums[Account.REVENUE] + sums[Account.RUNNING] + sums[Account.RENT]
    operating = operating + sums[Account.PROGRAMME] + sums[Account.DISPOSAL]
    if revenue_usd is not None:
        operating = operating + revenue_usd
    value = np.zeros_like(operating)
    for index, line in enumerate(flow.lines):
        if line.key.split(".")[-1] == HORIZON_VALUE:
            value -= flow.usd[draw, :, index]
    taxable = operating + value - tax.depreciation - tax.derecognised
    taxable[-1] -= tax.carrying[-1]
    paid = income_tax(taxable, tax_fraction=policy.tax_fraction).current
    moved = operating + value + sums[Account.CAPITAL] + sums[Account.DEPOSIT] - paid
    return float((moved * flow.discount[draw]).sum())


def peak_funding_usd(change_in_cash_usd: Floats) -> float:
    """Most that has to be put in, ever: the depth of the cumulated flow [USD]."""
    return float(max(0.0, -np.cumsum(change_in_cash_usd).min()))


def run_out_quarter(change_in_cash_usd: Floats, available_usd: float) -> int | None:
    """First quarter at whose end more has been spent than there was; None: never."""
    short = np.flatnonzero(available_usd + np.cumsum(change_in_cash_usd) < 0.0)
    return int(short[0]) if short.size else None
