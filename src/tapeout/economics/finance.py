"""Discounting, rates of return, payback, annual cost, levelised cost of a token, depreciation.

Flows are arrays whose last axis is the period; leading axes (the draw first) broadcast. A rate
given per year is an annual effective rate. Inflows are positive unless a name says cost.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from tapeout.constants import HOUR_S, JOULE_PER_KWH, MTOK, QUARTERS_PER_YEAR, YEAR_S
from tapeout.errors import Outcome
from tapeout.numerics import Floats, Ints

Timing = Literal["start", "mid", "end"]
_OFFSET = {"start": 0.0, "mid": 0.5, "end": 1.0}
_LARGEST_LOG_RATE = 40.0  # of 1 + r: e**40 a period is beyond any rate of return


@dataclass(frozen=True, slots=True, kw_only=True)
class RateOfReturn:
    """Rates of return, shape (...), per period of the flows.

    `rate` is nan where `outcome` (an `Outcome` code) is not OK.
    """

    rate: Floats
    outcome: Ints


# --- rates and discount factors ---


def quarterly_rate(rate_per_year: ArrayLike) -> Floats:
    """Rate per quarter that compounds to this annual effective rate."""
    rate: Floats = np.expm1(continuous_rate(rate_per_year) / QUARTERS_PER_YEAR)
    return rate


def annual_rate(rate_per_quarter: ArrayLike) -> Floats:
    """Annual effective rate of a rate per quarter."""
    rate: Floats = np.expm1(continuous_rate(rate_per_quarter) * QUARTERS_PER_YEAR)
    return rate


def continuous_rate(rate_per_year: ArrayLike) -> Floats:
    """Continuous rate rho = ln(1 + r) of an annual effective rate r [1/year]."""
    rho: Floats = np.log1p(np.asarray(rate_per_year, float))
    return rho


def wacc(
    equity_usd: ArrayLike,
    debt_usd: ArrayLike,
    cost_of_equity: ArrayLike,
    cost_of_debt: ArrayLike,
    tax_fraction: ArrayLike = 0.0,
) -> Floats:
    """Weighted average cost of capital, (E/V) k_e + (D/V) k_d (1 - t) [1/year]."""
    equity, debt = np.asarray(equity_usd, float), np.asarray(debt_usd, float)
    after_tax = np.asarray(cost_of_debt, float) * (1.0 - np.asarray(tax_fraction, float))
    total: Floats = (equity * np.asarray(cost_of_equity, float) + debt * after_tax) / (
        equity + debt
    )
    return total


def discount_factors(
    rate_per_year: ArrayLike,
    periods: int,
    *,
    periods_per_year: float = 1.0,
    timing: Timing = "start",
) -> Floats:
    """Value today of one dollar in each period.

    Parameters
    ----------
    rate_per_year : array, shape (...)
        Annual effective rate.
    periods : int
    periods_per_year : float
        1 for years, 4 for quarters.
    timing : "start", "mid" or "end"
        When in its period a flow falls: `start` leaves the first flow undiscounted (the textbook
        and spreadsheet-with-year-0 convention), `mid` is the mid-year or mid-quarter convention,
        `end` discounts the first flow by a whole period.

    Returns
    -------
    array, shape (..., period)
    """
    year = (np.arange(periods) + _OFFSET[timing]) / periods_per_year
    rho = continuous_rate(rate_per_year)
    return np.exp(-rho[..., None] * year)


def npv_usd(
    flows_usd: ArrayLike,
    rate_per_year: ArrayLike,
    *,
    periods_per_year: float = 1.0,
    timing: Timing = "start",
) -> Floats:
    """Net present value of flows of shape (..., period); timing as in `discount_factors` [USD].

    Notes
    -----
    Nominal flows want a nominal rate: discounting them at a real rate ignores inflation.

    Examples
    --------
    >>> round(float(npv_usd([-100.0, 121.0], 0.1)), 6)
    10.0
    """
    flows = np.asarray(flows_usd, float)
    factors = discount_factors(
        rate_per_year, flows.shape[-1], periods_per_year=periods_per_year, timing=timing
    )
    value: Floats = (flows * factors).sum(axis=-1)
    return value


def crf(rate_per_year: ArrayLike, years: ArrayLike) -> Floats:
    """Capital recovery factor w / (1 - (1+w)^-n): the level annual payment per dollar [1/year].

    Payments fall at the end of each year; the limit at w = 0 is 1/n.
    """
    rate, years = np.broadcast_arrays(np.asarray(rate_per_year, float), np.asarray(years, float))
    flat = rate == 0.0
    safe = np.where(flat, 1.0, rate)
    factor: Floats = np.where(flat, 1.0 / years, safe / -np.expm1(-years * np.log1p(safe)))
    return factor


def equivalent_annual_cost_usd(
    present_cost_usd: ArrayLike, rate_per_year: ArrayLike, years: ArrayLike
) -> Floats:
    """Level year-end cost with the same present value; compares unequal lives [USD/year]."""
    cost: Floats = np.asarray(present_cost_usd, float) * crf(rate_per_year, years)
    return cost


# --- rates of return and payback ---


def irr(flows: ArrayLike) -> RateOfReturn:
    """Internal rate of return per period.

    Parameters
    ----------
    flows : array, shape (..., period)

    Returns
    -------
    RateOfReturn
        NO_SIGN_CHANGE where no rate above -100 % makes the value zero, SEVERAL_ROOTS where more
        than one does (Descartes: only possible if the flows change sign more than once).

    Notes
    -----
    One sign change guarantees one root, found by bisection in ln(1 + r) for all rows together;
    rows with more sign changes are few and go through the roots of their polynomial.
    """
    flows = np.asarray(flows, float)
    rows = flows.reshape(-1, flows.shape[-1])
    changes = _sign_changes(rows)
    rate = np.full(len(rows), np.nan)
    outcome = np.full(len(rows), int(Outcome.NO_SIGN_CHANGE))
    single = changes == 1
    rate[single] = _bisect_rate(rows[single])
    outcome[single] = Outcome.OK
    for row in np.flatnonzero(changes > 1):
        roots = irr_roots(rows[row])
        if roots.size == 1:
            rate[row], outcome[row] = roots[0], Outcome.OK
        elif roots.size > 1:
            outcome[row] = Outcome.SEVERAL_ROOTS
    shape = flows.shape[:-1]
    return RateOfReturn(rate=rate.reshape(shape), outcome=outcome.reshape(shape))


def irr_roots(flows: ArrayLike) -> Floats:
    """Every rate per period above -100 % at which one row of flows is worth nothing, ascending."""
    row = np.asarray(flows, float)
    used = np.flatnonzero(row)
    if used.size < 2:
        return np.zeros(0)
    # Value times (1+r)^(n-1) is a polynomial in the growth 1 + r.
    growth = np.roots(row[used[0] : used[-1] + 1])
    # A double root splits into a pair sqrt(machine epsilon) = 1.5e-8 apart.
    is_real = np.abs(growth.imag) / np.abs(growth) < 1e-6
    real = growth[is_real & (growth.real > 0.0)].real
    roots: Floats = np.unique(np.round(real, 9)).astype(np.float64) - 1.0
    return roots


def mirr(flows: ArrayLike, finance_rate: ArrayLike, reinvest_rate: ArrayLike) -> RateOfReturn:
    """Modified rate of return per period: outlays financed at one rate, receipts reinvested.

    Receipts are carried to the end at `reinvest_rate`, outlays back to the first period at
    `finance_rate` (both per period); unique wherever the flows have both signs, else
    NO_SIGN_CHANGE. Same convention as numpy-financial and spreadsheets.
    """
    flows = np.asarray(flows, float)
    last = flows.shape[-1] - 1
    at_end = npv_usd(np.maximum(flows, 0.0), reinvest_rate) * (
        1.0 + np.asarray(reinvest_rate, float)
    ) ** float(last)
    at_start = -npv_usd(np.minimum(flows, 0.0), finance_rate)
    valid = (at_end > 0.0) & (at_start > 0.0)
    ratio = np.where(valid, at_end, 1.0) / np.where(valid, at_start, 1.0)
    rate = np.where(valid, ratio ** (1.0 / max(last, 1)) - 1.0, np.nan)
    code = np.where(valid, int(Outcome.OK), int(Outcome.NO_SIGN_CHANGE))
    return RateOfReturn(rate=rate, outcome=code)


def payback_years(
    flows_usd: ArrayLike,
    *,
    rate_per_year: ArrayLike = 0.0,
    periods_per_year: float = 1.0,
    timing: Timing = "start",
) -> Floats:
    """Time at which cumulative flows first return to zero, interpolated within the period.

    Parameters
    ----------
    flows_usd : array, shape (..., period)
        Outlays first.
    rate_per_year : array, shape (...)
        0 for simple payback; otherwise flows are discounted before they are added up.
    timing : "start", "mid" or "end"
        With `start` the first flow is the outlay at time zero and every later one accrues over
        the period before it; otherwise every flow accrues evenly over its own period.

    Returns
    -------
    array, shape (...)
        Years; 0 where the sum is never negative, nan where it never comes back.
    """
    flows = np.asarray(flows_usd, float)
    worth = flows * discount_factors(
        rate_per_year, flows.shape[-1], periods_per_year=periods_per_year, timing=timing
    )
    cumulative = np.cumsum(worth, axis=-1)
    before = cumulative - worth
    crossing = (cumulative >= 0.0) & (before < 0.0)
    first = np.argmax(crossing, axis=-1)[..., None]
    gain = np.take_along_axis(worth, first, axis=-1)[..., 0]
    owed = -np.take_along_axis(before, first, axis=-1)[..., 0]
    found = crossing.any(axis=-1)
    begun = first[..., 0] - (1.0 if timing == "start" else 0.0)
    years = (begun + owed / np.where(found, gain, 1.0)) / periods_per_year
    never_owed = (cumulative >= 0.0).all(axis=-1)
    result: Floats = np.where(found, years, np.where(never_owed, 0.0, np.nan))
    return result


def _sign_changes(rows: Floats) -> Ints:
    """Sign changes of each row, zeros skipped."""
    sign = np.sign(rows)
    for period in range(1, rows.shape[-1]):  # carry the last sign over zeros
        sign[:, period] = np.where(sign[:, period] == 0.0, sign[:, period - 1], sign[:, period])
    changes: Ints = (sign[:, 1:] * sign[:, :-1] < 0.0).sum(axis=-1)
    return changes


def _bisect_rate(rows: Floats) -> Floats:
    """Rate of rows that change sign once, by bisection on ln(1 + r)."""
    low = np.full(len(rows), -_LARGEST_LOG_RATE)
    high = -low
    falling = _value_sign(rows, low) > 0.0
    for _ in range(64):  # 80 / 2**64 is below the spacing of doubles
        middle = 0.5 * (low + high)
        right = (_value_sign(rows, middle) > 0.0) == falling
        low = np.where(right, middle, low)
        high = np.where(right, high, middle)
    rate: Floats = np.expm1(0.5 * (low + high))
    return rate


def _value_sign(rows: Floats, log_growth: Floats) -> Floats:
    """Sign of the value at each row's log growth; Horner in the factor below one, no overflow."""
    factor = np.exp(-np.abs(log_growth))
    ahead = _horner(rows[:, ::-1], factor)
    behind = _horner(rows, factor)
    return np.sign(np.where(log_growth >= 0.0, ahead, behind))


def _horner(coefficients: Floats, x: Floats) -> Floats:
    total = np.zeros_like(x)
    for column in coefficients.T:
        total = total * x + column
    return total


# --- cost of a token ---


def usd_per_mtok(usd_per_hour: ArrayLike, tokens_per_s: ArrayLike) -> Floats:
    """Cost of a million tokens from an hourly cost and a rate [USD/Mtok].

    Examples
    --------
    >>> round(float(usd_per_mtok(1.30, 1000.0)), 4)
    0.3611
    """
    rate = np.asarray(tokens_per_s, float)
    cost: Floats = np.asarray(usd_per_hour, float) / (rate * HOUR_S) * MTOK
    return cost


def energy_usd_per_year(
    power_w: ArrayLike,
    pue_ratio: ArrayLike,
    load_hours_per_year: ArrayLike,
    usd_per_kwh: ArrayLike,
) -> Floats:
    """Electricity bill at the meter; load hours are energised hours x mean load [USD/year]."""
    joule = np.asarray(power_w, float) * np.asarray(load_hours_per_year, float) * HOUR_S
    usd_per_joule = np.asarray(usd_per_kwh, float) / JOULE_PER_KWH
    bill: Floats = joule * np.asarray(pue_ratio, float) * usd_per_joule
    return bill


def level_usd_per_mtok(
    usd_per_year: ArrayLike, tokens_per_s: ArrayLike, used_fraction: ArrayLike
) -> Floats:
    """Cost of a million tokens from a level annual cost (capital by `crf`) [USD/Mtok].

    `used_fraction` is useful over rated tokens; a year has 365 days.
    """
    tokens = np.asarray(tokens_per_s, float) * np.asarray(used_fraction, float) * YEAR_S
    cost: Floats = np.asarray(usd_per_year, float) / tokens * MTOK
    return cost


def lcot_usd_per_mtok(
    costs_usd: ArrayLike,
    tokens: ArrayLike,
    rate_per_year: ArrayLike,
    *,
    periods_per_year: float = 1.0,
    timing: Timing = "start",
) -> Floats:
    """Levelised cost of a token: discounted cost over discounted tokens [USD/Mtok].

    Parameters
    ----------
    costs_usd, tokens : array, shape (..., period)
        Costs positive. Tokens are discounted too: dividing by plain tokens understates the price
        that recovers the cost. For the value-weighted form multiply the tokens by their price
        relative to the first period.
    rate_per_year : array, shape (...)

    Returns
    -------
    array, shape (...)
        nan where nothing is produced.
    """
    produced = npv_usd(tokens, rate_per_year, periods_per_year=periods_per_year, timing=timing)
    spent = npv_usd(costs_usd, rate_per_year, periods_per_year=periods_per_year, timing=timing)
    cost: Floats = np.where(produced > 0.0, spent, np.nan) / np.where(produced > 0.0, produced, 1.0)
    return cost * MTOK


# --- depreciation ---


def straight_line_usd(cost_usd: float, years: int, *, salvage_usd: float = 0.0) -> Floats:
    """Equal depreciation in each year of life, shape (year,) [USD]."""
    return np.full(years, (cost_usd - salvage_usd) / years)


def macrs_usd(cost_usd: float, recovery_years: int) -> Floats:
    """US tax depreciation by year (MACRS, half-year convention), shape (year,) [USD].

    Declining balance, 200 % for classes of 3, 5, 7 and 10 years and 150 % for 15 and 20, which
    switches to straight line when that is larger; half a year in the first and the last year.
    IRS Publication 946, table A-1, prints the same fractions rounded to a hundredth of a per cent.
    """
    decline = (2.0 if recovery_years <= 10 else 1.5) / recovery_years
    written = np.zeros(recovery_years + 1)
    book = 1.0
    for year in range(recovery_years + 1):
        share = 0.5 if year == 0 else 1.0
        left = recovery_years - year + (0.0 if year == 0 else 0.5)
        rate = max(decline, 1.0 / left)
        written[year] = min(book, book * rate * share)
        book -= written[year]
    return written * cost_usd


def tax_shield_usd(depreciation_usd: ArrayLike, tax_fraction: float) -> Floats:
    """Tax not paid because of depreciation, same shape [USD]."""
    return np.asarray(depreciation_usd, float) * tax_fraction
