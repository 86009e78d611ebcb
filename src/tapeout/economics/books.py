"""Books of one strategy: vintages written off, debt repaid, tax paid, contracts outstanding.

Arrays have the quarter as last axis; a vintage is what was bought in one quarter, first axis.
A quarter's purchase is written off from that quarter on.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tapeout.constants import QUARTERS_PER_YEAR
from tapeout.economics.finance import macrs_usd
from tapeout.numerics import Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class Assets:
    """What happens to capital on the books, each of shape (quarter,) [USD].

    capital = depreciation + impairment + derecognised, summed, + the last carrying amount.
    """

    capital: Floats
    depreciation: Floats
    impairment: Floats
    derecognised: Floats
    carrying: Floats


def write_off(capital_usd: Floats, book_quarters: int, service_quarters: int) -> Floats:
    """Share of each vintage's cost still on the books, shape (vintage, quarter end + 1).

    Straight line over the book life, nothing once the chip has left service. Column 0 is before
    the first quarter.
    """
    quarters = capital_usd.size
    age = np.arange(quarters + 1)[None, :] - np.arange(quarters)[:, None]
    there = (age >= 1) & (age <= service_quarters)
    share: Floats = np.where(there, np.maximum(0.0, 1.0 - age / book_quarters), 0.0)
    return share


def depreciate(
    capital_usd: Floats,
    *,
    book_quarters: int,
    service_quarters: int,
    useful_ratio: Floats | None = None,
) -> Assets:
    """Depreciation, impairment and disposal of purchases.

    Parameters
    ----------
    capital_usd : array, shape (quarter,)
        Purchases.
    book_quarters, service_quarters : int
        Life by which the owner writes off, and quarters after which a chip leaves. What is then
        still on the books is derecognised against the proceeds.
    useful_ratio : array, shape (quarter,), optional
        Throughput of a chip over its throughput when new. Where it falls for good the carrying
        amount is written down in the same proportion and never up again.

    Returns
    -------
    Assets

    Notes
    -----
    Impairment by lost throughput stands in for the recoverable amount of IAS 36 and ASC 360, which
    are tests on discounted and plain cash flows; it is neither.
    """
    quarters = capital_usd.size
    left = write_off(capital_usd, book_quarters, service_quarters)
    useful = np.ones(quarters) if useful_ratio is None else useful_ratio
    kept = np.ones((quarters, quarters + 1))
    for vintage in range(quarters):
        fall = np.minimum.accumulate(useful[vintage:] / useful[vintage])
        kept[vintage, vintage + 1 :] = np.minimum(fall, 1.0)
    cost = capital_usd[:, None]
    before, after = kept[:, :-1], kept[:, 1:]
    opening = left[:, :-1].copy()
    opening[np.arange(quarters), np.arange(quarters)] = 1.0  # bought as the quarter begins
    leaves = np.arange(quarters)[None, :] - np.arange(quarters)[:, None] == service_quarters
    derecognised = np.where(leaves, cost * opening * before, 0.0)
    written = np.where(leaves, 0.0, cost * (opening - left[:, 1:]) * before)
    impaired = cost * left[:, 1:] * (before - after)
    return Assets(
        capital=capital_usd,
        depreciation=written.sum(axis=0),
        impairment=impaired.sum(axis=0),
        derecognised=derecognised.sum(axis=0),
        carrying=(cost * left * kept).sum(axis=0)[1:],
    )


def tax_basis(capital_usd: Floats, *, recovery_years: int, service_quarters: int) -> Assets:
    """The same for the tax authority: MACRS over the recovery period, or at once.

    Parameters
    ----------
    recovery_years : int
        0: expensed when bought. Else a MACRS class; a year's share is spread over its quarters,
        counted from the purchase.

    Notes
    -----
    What is left when a chip leaves is deducted then. There is no impairment for tax.
    """
    quarters = capital_usd.size
    if recovery_years == 0:
        shares = np.ones(1)
    else:
        per_quarter = macrs_usd(1.0, recovery_years) / QUARTERS_PER_YEAR
        shares = np.repeat(per_quarter, int(QUARTERS_PER_YEAR))
    shares = np.concatenate([shares, np.zeros(max(quarters - shares.size, 0))])[:quarters]
    left = 1.0 - np.cumsum(shares)
    written, gone, carrying = (np.zeros(quarters) for _ in range(3))
    for vintage, cost in enumerate(capital_usd):
        span = min(service_quarters, quarters - vintage)
        written[vintage : vintage + span] += cost * shares[:span]
        carrying[vintage : vintage + span] += cost * left[:span]
        if vintage + service_quarters < quarters:
            gone[vintage + service_quarters] += cost * left[service_quarters - 1]
    return Assets(
        capital=capital_usd,
        depreciation=written,
        impairment=np.zeros(quarters),
        derecognised=gone,
        carrying=carrying,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Debt:
    """Loans, shape (quarter,) [USD]: drawn and repaid in the quarter, owed at its end."""

    drawn: Floats
    repaid: Floats
    interest: Floats
    owed: Floats


def borrow(drawn_usd: Floats, *, rate_per_quarter: float, term_quarters: int) -> Debt:
    """Loans repaid in equal parts from the quarter after they are drawn.

    Interest falls due on what was owed as the quarter began. Vendor financing is the same loan
    with the vendor as lender.
    """
    quarters = drawn_usd.size
    repaid = np.zeros(quarters)
    for vintage, usd in enumerate(drawn_usd):
        repaid[vintage + 1 : vintage + 1 + term_quarters] += usd / term_quarters
    owed = np.cumsum(drawn_usd - repaid)
    opening = np.concatenate([np.zeros(1), owed[:-1]])
    return Debt(drawn=drawn_usd, repaid=repaid, interest=opening * rate_per_quarter, owed=owed)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tax:
    """Income tax, shape (quarter,) [USD]; `loss` is what can still be carried forward."""

    current: Floats
    loss: Floats


def income_tax(taxable_usd: Floats, *, tax_fraction: float, loss_use_fraction: float = 0.8) -> Tax:
    """Tax on taxable income with losses carried forward.

    Parameters
    ----------
    loss_use_fraction : float
        Share of a profit that earlier losses may cover: 80 % by 26 U.S.C. 172.

    Notes
    -----
    Quarters are assessed one by one; a real return is for a year. Losses are never refunded, and
    never lost.
    """
    current, loss = np.zeros(taxable_usd.size), np.zeros(taxable_usd.size)
    carried = 0.0
    for quarter, income in enumerate(taxable_usd):
        used = min(carried, loss_use_fraction * income) if income > 0.0 else 0.0
        carried += -used if income > 0.0 else -income
        current[quarter] = tax_fraction * max(income - used, 0.0)
        loss[quarter] = carried
    return Tax(current=current, loss=loss)


def contract_commitment_usd(
    usd_per_quarter: Floats, term_quarters: int, rate_per_quarter: float
) -> tuple[Floats, Floats]:
    """What contracts still bind one to pay at the end of each quarter, plain and at the debt rate.

    Parameters
    ----------
    usd_per_quarter : array, shape (quarter,)
        Quarterly payment of the contracts signed in that quarter; each runs `term_quarters`
        from then on, beyond the horizon if need be.

    Returns
    -------
    undiscounted, present : arrays, shape (quarter,)
        Payments are discounted to the end of the quarter, each from the middle of its own.
    """
    quarters = usd_per_quarter.size
    plain, present = np.zeros(quarters), np.zeros(quarters)
    factor = (1.0 + rate_per_quarter) ** -(np.arange(term_quarters) + 0.5)
    worth = np.concatenate([np.zeros(1), np.cumsum(factor)])
    for vintage, usd in enumerate(usd_per_quarter):
        last = min(vintage + term_quarters, quarters)
        left = term_quarters - 1 - np.arange(last - vintage)
        plain[vintage:last] += usd * left
        present[vintage:last] += usd * worth[left]
    return plain, present


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaseback:
    """Sale and leaseback of a fleet, per dollar sold: value to the seller after tax [USD/USD].

    `lease_usd_per_quarter` is the level payment; `gain_usd` is proceeds less the present value,
    at the owner's rate, of the lease and of the resale given up.
    """

    lease_usd_per_quarter: float
    gain_usd: float


def sale_and_leaseback(
    *,
    proceeds_usd: float,
    lessor_rate_per_quarter: float,
    owner_rate_per_quarter: float,
    term_quarters: int,
    resale_usd: float,
) -> Leaseback:
    """Sell chips at their book value and rent them back until the end of their life.

    The lessor asks for the level payment, at each quarter's end, that with the resale earns its
    rate. Before tax; with equal rates the gain is zero, which is the test.
    """
    last = (1.0 + lessor_rate_per_quarter) ** -term_quarters
    annuity = _annuity(lessor_rate_per_quarter, term_quarters)
    payment = (proceeds_usd - resale_usd * last) / annuity
    given_up = payment * _annuity(owner_rate_per_quarter, term_quarters)
    given_up += resale_usd * (1.0 + owner_rate_per_quarter) ** -term_quarters
    return Leaseback(lease_usd_per_quarter=payment, gain_usd=proceeds_usd - given_up)


def _annuity(rate: float, periods: int) -> float:
    return float(periods) if rate == 0.0 else float(-np.expm1(-periods * np.log1p(rate)) / rate)


def expected_default_loss_usd(
    exposure_usd: Floats, hazard_per_year: float, recovery_fraction: float
) -> Floats:
    """Expected loss on a counterparty in each quarter, shape (quarter,) [USD].

    Exposure is what is owed by, or prepaid to, the counterparty at the start of each quarter, had
    it lived; the hazard is constant.
    """
    alive = np.exp(-hazard_per_year * np.arange(exposure_usd.size) / QUARTERS_PER_YEAR)
    fails = -np.expm1(-hazard_per_year / QUARTERS_PER_YEAR)
    lost: Floats = exposure_usd * alive * fails * (1.0 - recovery_fraction)
    return lost
