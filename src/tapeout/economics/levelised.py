"""Levelised cost of a token of each option, by holder, and the delivered advantage.

LCOT = (capital x capital recovery factor + yearly running cost) / tokens a year. It is the unit
cost of one chip of the option taken at a stated date; NRE, masks and team are outside.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tapeout.constants import KILO, MTOK, YEAR_HOURS, YEAR_S
from tapeout.economics.prices import (
    RENT_SHARES,
    SYSTEM_PARTS,
    chip_price_usd,
    chip_split_usd,
    recovery_factor,
    rent_share,
    site_lease_usd_per_w_year,
    system_usd,
    utilisation,
)
from tapeout.economics.schedule import OWN, Schedule, maturity_fraction, schedule
from tapeout.economics.supply import (
    base_rate,
    generation_gains,
    option_power_w,
    own_derating,
    rent_ratio,
)
from tapeout.economics.types import Holder, Inputs, SiliconOption
from tapeout.numerics import Floats

_LIFE_POINTS = 20  # quarters of a five-year life, for the mean derating of the own chip


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitCost:
    """Cost and output of one chip of an option taken at a date; arrays are (draw or 1,).

    Attributes
    ----------
    usd_per_year : mapping of Holder to array
        Levelised yearly cost, by who receives it.
    output_tokens_per_year : array
        Tokens it serves in a mean year of its life.
    power_w : array
        Provisioned at the meter.
    capital_usd : array
        Paid when it is taken; zero for rent and tokens.
    """

    usd_per_year: dict[Holder, Floats]
    output_tokens_per_year: Floats
    power_w: Floats
    capital_usd: Floats

    def total_usd_per_year(self) -> Floats:
        """Levelised yearly cost, all holders."""
        return sum(self.usd_per_year.values(), np.zeros(1))

    def lcot_usd_per_mtok(self) -> Floats:
        """Levelised cost per million output tokens."""
        return self.total_usd_per_year() / self.output_tokens_per_year * MTOK

    def lcot_by_holder_usd_per_mtok(self) -> dict[Holder, Floats]:
        """The same, by holder; adds up to the total."""
        scale = MTOK / self.output_tokens_per_year
        return {holder: usd * scale for holder, usd in self.usd_per_year.items()}


def unit_cost(
    option: SiliconOption, inputs: Inputs, *, at_years: Floats, negotiated: bool = False
) -> UnitCost:
    """Levelised cost of one chip taken at a date.

    Parameters
    ----------
    option, inputs
    at_years : array, shape (draw or 1,)
        Years from the decision date; for the own chip its first service.
    negotiated : bool
        Whether a bought chip carries the negotiated price.
    """
    time = np.atleast_1d(at_years)[:, None]
    tokens_gain, power_gain = generation_gains(option, inputs, time)
    rate = base_rate(option, inputs) * tokens_gain
    if option.kind != "api":
        rate = rate * inputs(f"options.{option.key}.availability_fraction")
    if option.kind == "build":
        rate = rate * mean_derating(inputs, schedule(inputs))
    if option.kind == "rent":
        rate = rate * mean_port(option, inputs)
    served = rate / (1.0 + inputs("fleet.spares_fraction")) * utilisation(inputs)
    tokens = served * YEAR_S
    power = option_power_w(option, inputs) * power_gain
    makers = {"buy": _physical, "build": _physical, "rent": _rented, "api": _api}
    costs, capital = makers[option.kind](option, inputs, (time, tokens, power, negotiated))
    flat = np.broadcast_shapes(tokens.shape, *(usd.shape for usd in costs.values()), capital.shape)
    return UnitCost(
        usd_per_year={h: np.broadcast_to(usd, flat)[:, 0] for h, usd in costs.items()},
        output_tokens_per_year=np.broadcast_to(tokens, flat)[:, 0],
        power_w=np.broadcast_to(power, flat)[:, 0],
        capital_usd=np.broadcast_to(capital, flat)[:, 0],
    )


_When = tuple[Floats, Floats, Floats, bool]
_Costs = tuple[dict[Holder, Floats], Floats]


def _physical(option: SiliconOption, inputs: Inputs, when: _When) -> _Costs:
    _, _, power, negotiated = when
    path = f"options.{option.key}"
    rate = inputs("decision.discount_rate")
    life = inputs(f"{path}.life_years")
    recovery = recovery_factor(rate, life)
    price = chip_price_usd(option, inputs, negotiated=negotiated)
    serviced = capital = price + system_usd(option, inputs)
    costs = {
        holder: usd * recovery
        for holder, usd in chip_split_usd(option, inputs, negotiated=negotiated).items()
    }

    def add(holder: Holder, usd: Floats) -> None:
        costs[holder] = costs.get(holder, np.zeros((1, 1))) + usd

    for part, holder in SYSTEM_PARTS.items():
        add(holder, inputs(f"{path}.{part}") * recovery)
    if option.kind == "build":
        conversion = inputs(f"{path}.it_w_per_chip") * inputs(f"{path}.conversion_usd_per_w")
        add(Holder.ENERGY_SITE, conversion * recovery)
        capital = capital + conversion
    seller = Holder.PARTNER if option.kind == "build" else Holder.VENDOR
    add(seller, inputs(f"{path}.failure_fraction_per_year") * price)
    add(Holder.ENERGY_SITE, inputs("operations.fraction_per_year") * serviced)
    it_w = power / inputs("site.pue_ratio")
    add(Holder.ENERGY_SITE, it_w * site_lease_usd_per_w_year(inputs))
    add(Holder.ENERGY_SITE, energy_usd_per_year(inputs, power))
    # the sum received at the end of life, as a level yearly credit
    sinking = recovery - rate / np.sqrt(1.0 + rate)
    add(Holder.OWNER, -inputs(f"{path}.resale_fraction") * price * sinking)
    return costs, capital


def energy_usd_per_year(inputs: Inputs, power_w: Floats) -> Floats:
    """Electricity of provisioned power at mean use, (draw or 1, 1). [USD/year]."""
    idle = inputs("site.idle_power_fraction")
    load = (idle + (1.0 - idle) * utilisation(inputs)) * inputs("site.mean_power_fraction")
    return power_w / KILO * YEAR_HOURS * load * inputs("site.usd_per_kwh")


def _rented(option: SiliconOption, inputs: Inputs, when: _When) -> _Costs:
    time, _, _, _ = when
    rent = inputs(f"options.{option.key}.rent_usd_per_chip_hour") * rent_ratio(option, inputs, time)
    yearly = rent * YEAR_HOURS
    costs = {holder: yearly * rent_share(inputs, name)[0] for name, holder in RENT_SHARES.items()}
    return costs, np.zeros((1, 1))


def _api(option: SiliconOption, inputs: Inputs, when: _When) -> _Costs:
    time, tokens, _, _ = when
    path = f"options.{option.key}"
    price = inputs(f"{path}.usd_per_mtok") * np.exp(-inputs(f"{path}.decline_per_year") * time)
    return {Holder.PLATFORM: price * tokens / MTOK}, np.zeros((1, 1))


def mean_port(option: SiliconOption, inputs: Inputs) -> Floats:
    """Mean throughput of a ported stack over a mature one, over the span it is judged on.

    Returns
    -------
    array, shape (draw or 1, 1)
    """
    path = f"options.{option.key}"
    life = inputs(f"{path}.life_years")
    age = (np.arange(_LIFE_POINTS) + 0.5)[None, :] / _LIFE_POINTS * life
    mature = maturity_fraction(
        inputs(f"{path}.port_start_fraction"), inputs("software.port_maturity_years"), age
    )
    return _discounted_mean(mature, age, inputs)


def _discounted_mean(values: Floats, age_years: Floats, inputs: Inputs) -> Floats:
    """Mean over a life, later years weighing less, (draw or 1, 1)."""
    weight = (1.0 + inputs("decision.discount_rate")) ** -age_years
    mean: Floats = (values * weight).sum(axis=1) / weight.sum(axis=1)
    return mean[:, None]


def mean_derating(inputs: Inputs, dates: Schedule) -> Floats:
    """Mean of maturity, early availability and shift over the own chip's life, discounted.

    Returns
    -------
    array, shape (draw or 1, 1)
    """
    life = inputs(f"{OWN}.life_years")
    age = (np.arange(_LIFE_POINTS) + 0.5)[None, :] / _LIFE_POINTS * life
    derating = own_derating(inputs, dates, dates.first_service[:, None] + age)
    return _discounted_mean(derating, age, inputs)


@dataclass(frozen=True, slots=True, kw_only=True)
class Advantage:
    """Delivered advantage against one counterfactual; arrays are (draw or 1,).

    `g_ship` is own tokens per dollar over the alternative's, both at the own chip's first service;
    it equals `usd_per_mw_ratio` x `tokens_per_mw_ratio`, where the first is the alternative's cost
    of a megawatt-year over the own chip's.
    """

    g_ship: Floats
    usd_per_mw_ratio: Floats
    tokens_per_mw_ratio: Floats


def delivered_advantage(own: UnitCost, alternative: UnitCost) -> Advantage:
    """Compare two unit costs taken at the same date."""
    g_ship = alternative.lcot_usd_per_mtok() / own.lcot_usd_per_mtok()
    tokens = (own.output_tokens_per_year / own.power_w) / (
        alternative.output_tokens_per_year / alternative.power_w
    )
    return Advantage(g_ship=g_ship, usd_per_mw_ratio=g_ship / tokens, tokens_per_mw_ratio=tokens)
