"""The gain an own chip must deliver: closed forms, and the linear form of a simulated programme.

Symbols of the closed forms: K annual cost at t = 0 prices of the work bought elsewhere, NRE the
fixed cost, r = K / NRE, g the ratio K over the annual cost of the same work on the own chip. The
condition for building to pay is

    NRE (1 + c) <= int_s^T exp(-rho t) S(t) f(t) K [exp(-d t) - 1/g] dt,
    S(t) = 1 - sigma (1 - exp(-h t)),    f(t) = min(1, (t - s)/R).

It generalises the two-for-two rule of Magaki, Khazraee, Vega Gutierrez and Taylor, "ASIC Clouds:
Specializing the Datacenter", ISCA 2016. Rates here are continuous, per year.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import ArrayLike

from tapeout.errors import Outcome
from tapeout.numerics import Floats, Ints

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(16)  # exact to rounding for exponents below 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Required:
    """Gain at which a programme is worth nothing either way, with an `Outcome` code per element.

    `gain` is infinite where no gain suffices (NO_ADVANTAGE_SUFFICES).
    """

    gain: Floats
    outcome: Ints


@dataclass(frozen=True, slots=True, kw_only=True)
class Programme:
    """A programme in the symbols of the closed form; numbers or arrays that broadcast.

    Attributes
    ----------
    spend_ratio : r, annual spend on the alternative over NRE [1/year]
    slip_years : s, from the commitment to first service
    horizon_years : T, end of the window counted from the commitment
    ramp_years : R, length of a linear ramp after first service
    discount : rho, continuous discount rate [1/year]
    decline : d, fall of the alternative's hardware price, continuous [1/year]
    hazard, severity : h and sigma, rate of a workload shift [1/year] and share of the advantage
        it takes
    contingency : c, surcharge on NRE
    capital_is_sunk : the own chip goes on costing its share after a shift (owned capacity);
        otherwise its cost stops with the work
    serves_whole_horizon : the window is T years of service after first service, so a slip moves
        its end too; otherwise a slip eats into it
    """

    spend_ratio: ArrayLike
    slip_years: ArrayLike = 0.0
    horizon_years: ArrayLike = 4.0
    ramp_years: ArrayLike = 0.0
    discount: ArrayLike = 0.0
    decline: ArrayLike = 0.0
    hazard: ArrayLike = 0.0
    severity: ArrayLike = 1.0
    contingency: ArrayLike = 0.0
    capital_is_sunk: bool = False
    serves_whole_horizon: bool = False


def two_for_two(lifetime_ratio: ArrayLike) -> Required:
    """Static rule: building pays iff g > r / (r - 1), r lifetime cost of the alternative over NRE.

    Examples
    --------
    >>> float(two_for_two(2.0).gain)
    2.0
    """
    ratio = np.asarray(lifetime_ratio, float)
    return _required(ratio, ratio - 1.0)


def annuity_years(rate: ArrayLike, start_years: ArrayLike, end_years: ArrayLike) -> Floats:
    """Present value A(k) of one dollar a year from s to T, (exp(-k s) - exp(-k T)) / k.

    A(0) = T - s; zero where the end is not after the start. Negative rates are allowed.
    """
    rate, start, end = np.broadcast_arrays(*(_floats(x) for x in (rate, start_years, end_years)))
    span = np.maximum(end - start, 0.0)
    flat = np.abs(rate) < 1e-12  # there the relative error of taking the limit is below 1e-11
    safe = np.where(flat, 1.0, rate)
    value: Floats = np.where(flat, span, np.exp(-safe * start) * -np.expm1(-safe * span) / safe)
    return value


def ramped_annuity_years(
    rate: ArrayLike, start_years: ArrayLike, end_years: ArrayLike, ramp_years: ArrayLike
) -> Floats:
    """Like `annuity_years` with a linear ramp f(t) = min(1, (t - s)/R) after the start.

    The ramp is integrated by Gauss-Legendre quadrature (no cancellation at rate 0), the level
    part in closed form. A ramp longer than the window is cut off by its end.
    """
    rate, start, end, ramp = np.broadcast_arrays(
        *(_floats(x) for x in (rate, start_years, end_years, ramp_years))
    )
    level_from = np.minimum(start + ramp, np.maximum(end, start))
    span = level_from - start
    share = 0.5 * (_NODES + 1.0)  # of the ramp's span
    elapsed = span[..., None] * share
    served = elapsed / np.where(ramp > 0.0, ramp, 1.0)[..., None]
    worth = served * np.exp(-rate[..., None] * (start[..., None] + elapsed))
    rising = 0.5 * span * (worth @ _WEIGHTS)
    total: Floats = rising + annuity_years(rate, level_from, end)
    return total


def g_star_today(programme: Programme) -> Required:
    """Gain required, measured against the alternative's price on the commitment date (t = 0).

    Returns
    -------
    Required
        gain = A_cost / (A_price - (1 + c)/r), shape of the broadcast fields.

    Notes
    -----
    With `capital_is_sunk` false the result is not monotone in hazard or discount: both weight the
    early years, when the alternative is dearest.
    """
    cost, price = _weights(programme)
    floor = (1.0 + _floats(programme.contingency)) / _floats(programme.spend_ratio)
    return _required(cost, price - floor)


def r_min(programme: Programme) -> Floats:
    """Smallest annual spend over NRE at which some finite gain suffices [1/year].

    Infinite where nothing is left of the window. The programme's own spend ratio does not enter.
    """
    _, price = _weights(programme)
    surcharge = 1.0 + _floats(programme.contingency)
    with np.errstate(divide="ignore"):
        ratio: Floats = surcharge / np.maximum(price, 0.0)
    return ratio


def g_ship(g_today: ArrayLike, decline: ArrayLike, slip_years: ArrayLike) -> Floats:
    """Gain against the price on the date of first service, exp(-d s) times that against today's."""
    gain: Floats = _floats(g_today) * np.exp(-_floats(decline) * _floats(slip_years))
    return gain


# --- the linear form of a simulated programme ---


def npv_at_usd(
    gain: ArrayLike,
    fixed_usd: ArrayLike,
    avoided: ArrayLike,
    own: ArrayLike,
    volume: ArrayLike = 1.0,
) -> Floats:
    """Worth of a programme at delivered gain g, -F + V (a - b/g) [USD].

    Parameters
    ----------
    gain : array
        g, own tokens per dollar over the alternative's at the first service date.
    fixed_usd : array
        F, present value of what does not depend on the volume served.
    avoided, own : array
        a and b, present value per unit of volume of what the alternative would cost, and of what
        the own chip costs at g = 1.
    volume : array
        V, in the unit that a and b are per; all arguments broadcast.
    """
    per_unit = _floats(avoided) - _floats(own) / _floats(gain)
    worth: Floats = _floats(volume) * per_unit - _floats(fixed_usd)
    return worth


def advantage_for_zero_npv(
    fixed_usd: ArrayLike, avoided: ArrayLike, own: ArrayLike, volume: ArrayLike = 1.0
) -> Required:
    """Gain at which `npv_at_usd` is zero, g = b / (a - F/V); own must be positive."""
    return _required(_floats(own), _floats(avoided) - _floats(fixed_usd) / _floats(volume))


def break_even_volume(
    gain: ArrayLike, fixed_usd: ArrayLike, avoided: ArrayLike, own: ArrayLike
) -> Floats:
    """Volume at which `npv_at_usd` is zero, F / (a - b/g); infinite if a unit saves nothing."""
    per_unit = _floats(avoided) - _floats(own) / _floats(gain)
    fixed = _floats(fixed_usd)
    saves = per_unit > 0.0
    volume: Floats = np.where(saves, fixed / np.where(saves, per_unit, 1.0), np.inf)
    return volume


def probability_pays(
    gain_grid: Floats, volume_grid: Floats, fixed_usd: Floats, avoided: Floats, own: Floats
) -> Floats:
    """Share of draws in which a programme pays, for contours over volume and gain.

    Parameters
    ----------
    gain_grid : array, shape (gain,)
    volume_grid : array, shape (volume,)
    fixed_usd, avoided, own : array, shape (draw,)
        F, a and b of `npv_at_usd`; own positive.

    Returns
    -------
    array, shape (volume, gain)
        P(NPV > 0 | g, V). In every draw NPV rises with g, so counting the draws whose required
        gain lies below g is exact.
    """
    share = np.empty((volume_grid.size, gain_grid.size))
    for row, volume in enumerate(volume_grid):
        required = np.sort(advantage_for_zero_npv(fixed_usd, avoided, own, volume).gain)
        share[row] = np.searchsorted(required, gain_grid, side="left") / required.size
    return share


def gain_for_probability(
    levels: Floats, volume_grid: Floats, fixed_usd: Floats, avoided: Floats, own: Floats
) -> Floats:
    """Gain at which a programme pays in a given share of draws: the contours themselves.

    Returns
    -------
    array, shape (level, volume)
        Infinite where even an unlimited gain does not pay in that share of draws.
    """
    contour = np.empty((len(levels), volume_grid.size))
    for column, volume in enumerate(volume_grid):
        required = np.sort(advantage_for_zero_npv(fixed_usd, avoided, own, volume).gain)
        rank = np.ceil(np.asarray(levels) * required.size).astype(int) - 1
        contour[:, column] = required[np.clip(rank, 0, required.size - 1)]
    return contour


def _weights(programme: Programme) -> tuple[Floats, Floats]:
    """Discounted years that the own cost and the alternative's price count for."""
    values = {
        field.name: _floats(getattr(programme, field.name))
        for field in fields(Programme)
        if field.name not in ("capital_is_sunk", "serves_whole_horizon")
    }
    start, rho, hazard, sigma = (
        values[name] for name in ("slip_years", "discount", "hazard", "severity")
    )
    end = values["horizon_years"] + (start if programme.serves_whole_horizon else 0.0)

    def surviving(rate: Floats) -> Floats:
        intact = ramped_annuity_years(rate + hazard, start, end, values["ramp_years"])
        whole = ramped_annuity_years(rate, start, end, values["ramp_years"])
        kept: Floats = (1.0 - sigma) * whole + sigma * intact
        return kept

    price = surviving(rho + values["decline"])
    if programme.capital_is_sunk:
        return ramped_annuity_years(rho, start, end, values["ramp_years"]), price
    return surviving(rho), price


def _required(cost: Floats, left: Floats) -> Required:
    """Quotient cost / left where something is left, else infinite with its outcome code."""
    cost, left = np.broadcast_arrays(cost, left)
    enough = left > 0.0
    gain = np.where(enough, cost / np.where(enough, left, 1.0), np.inf)
    code = np.where(enough, int(Outcome.OK), int(Outcome.NO_ADVANTAGE_SUFFICES))
    return Required(gain=gain, outcome=code)


def _floats(value: ArrayLike) -> Floats:
    return np.asarray(value, float)
