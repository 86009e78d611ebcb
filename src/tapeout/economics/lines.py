"""Cost lines of options: each declared with formula, holder and inputs, then computed.

Conventions: costs positive, nominal USD, flows at mid-quarter. The facility is charged as a lease
at the owner's cost of capital, so that no strategy is charged for empty halls after the chips in
them have gone; a hall that stands ready before its chips arrive is charged as such.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce

import numpy as np

from tapeout.constants import KILO, MTOK, QUARTER_HOURS, QUARTER_S, QUARTERS_PER_YEAR
from tapeout.economics.dependence import Dependence
from tapeout.economics.prices import (
    CHIP_PARTS,
    LOG_RENT,
    RENT_SHARES,
    SYSTEM_PARTS,
    chip_price_usd,
    chip_split_usd,
    rent_share,
    simulated,
    site_lease_usd_per_w_year,
    system_usd,
    utilisation,
)
from tapeout.economics.schedule import mid_quarter_years
from tapeout.economics.supply import (
    Fleet,
    Setting,
    in_watts,
    option_life_quarters,
    rent_ratio,
    volume_premium,
)
from tapeout.economics.types import (
    CERTAIN,
    Amount,
    Holder,
    Inputs,
    Line,
    Objective,
    Scaling,
    SiliconOption,
    Strategy,
)
from tapeout.fleet import remaining_life_fraction
from tapeout.numerics import Floats, Ints, accumulated


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """Everything the lines of one strategy are computed from."""

    setting: Setting
    strategy: Strategy
    inputs: Inputs
    objective: Objective
    negotiated: bool  # whether bought chips carry the negotiated price
    fleet: Fleet

    @property
    def quarters(self) -> int:
        """Length of the horizon."""
        return self.setting.quarters

    @property
    def depends(self) -> Dependence:
        """Rules of what the amounts of this case depend on."""
        key = ("depends", self.strategy, self.objective)
        if key not in self.setting.kept:
            self.setting.kept[key] = Dependence(
                setting=self.setting, strategy=self.strategy, objective=self.objective
            )
        found: Dependence = self.setting.kept[key]
        return found

    @property
    def builds(self) -> bool:
        """Whether the strategy has a chip of its own."""
        return self.fleet.dates is not None


Entry = tuple[Line, Amount]


def _scaling(option: SiliconOption) -> Scaling:
    return "own" if option.kind == "build" else "rest"


def physical_lines(case: Case, option: SiliconOption) -> list[Entry]:
    """Capital and running cost of chips that stand on the strategy's own floor."""
    inputs, key = case.inputs, option.key
    path = f"options.{key}"
    quantity = case.depends.chips(key)
    new = case.fleet.plan.new_chips[key]
    alive = case.fleet.plan.chips[key]
    expired = case.fleet.plan.expired_chips[key]
    scales = _scaling(option)
    entries: list[Entry] = []

    def add(name: str, holder: Holder, formula: str, what: tuple[str, ...], usd: Amount) -> None:
        line = Line(
            key=f"{key}.{name}",
            holder=holder,
            formula=formula,
            inputs=quantity + what,
            scales=scales,
        )
        entries.append((line, usd))

    price_inputs = _price_inputs(case, option)
    seller_inputs = (*price_inputs, *(f"{path}.{part}" for part in CHIP_PARTS))
    for holder, usd in chip_split_usd(option, inputs, negotiated=case.negotiated).items():
        is_seller = holder in (Holder.VENDOR, Holder.PARTNER)
        part = next((p for p, h in CHIP_PARTS.items() if h == holder), "")
        what = seller_inputs if is_seller else (f"{path}.{part}",)
        formula = f"new chips x {part or 'rest of the price'}"
        add(f"chip.{holder}", holder, formula, what, ((new, usd),))
    for part, holder in SYSTEM_PARTS.items():
        paid: Amount = ((new, inputs(f"{path}.{part}")),)
        add(part.removesuffix("_usd"), holder, f"new chips x {part}", (f"{path}.{part}",), paid)
    price = chip_price_usd(option, inputs, negotiated=case.negotiated)
    capital = price + system_usd(option, inputs)
    system = tuple(f"{path}.{part}" for part in SYSTEM_PARTS)
    seller = Holder.PARTNER if option.kind == "build" else Holder.VENDOR
    failing = inputs(f"{path}.failure_fraction_per_year") / QUARTERS_PER_YEAR
    add(
        "failures",
        seller,
        "chips x failures a year outside warranty x chip price",
        (f"{path}.failure_fraction_per_year", *price_inputs),
        ((alive, failing * price),),
    )
    share = inputs("operations.fraction_per_year") / QUARTERS_PER_YEAR
    add(
        "operations",
        Holder.ENERGY_SITE,
        "chips x capital a chip x operations a year",
        ("operations.fraction_per_year", *price_inputs, *system),
        ((alive, share * capital),),
    )
    resale = inputs(f"{path}.resale_fraction")
    add(
        "resale",
        Holder.OWNER,
        "- retired chips x price x resale share",
        (f"{path}.resale_fraction", *price_inputs),
        ((expired, -resale * price),),
    )
    add(
        "unexpired_life",
        Holder.OWNER,
        "- book value at the horizon (straight line from capital to resale), last quarter",
        (f"{path}.resale_fraction", *price_inputs, *system),
        _book_value_usd(case, option, capital, resale * price),
    )
    return entries + _floor_lines(case, option) + _memo(case, option, capital)


def _book_value_usd(case: Case, option: SiliconOption, capital: Floats, resale: Floats) -> Amount:
    """Credit for chips that outlive the horizon or end with it, in the last quarter."""
    new, quarters = case.fleet.plan.new_chips[option.key], case.quarters
    life = option_life_quarters(option, case.inputs)
    left, there = _lives_left(case, option, life)
    kept = np.einsum("qd,qd->d", new.T, np.broadcast_to(left, new.shape).T)
    counted = np.einsum("qd,qd->d", new.T, np.broadcast_to(there, new.shape).T)
    last = np.zeros((1, quarters))
    last[0, -1] = 1.0
    credit = kept[:, None] * capital + (counted - kept)[:, None] * resale
    return ((last, -credit),)


def _lives_left(case: Case, option: SiliconOption, life: Ints) -> tuple[Floats, Floats]:
    """Share of life left at the horizon and whether a chip is there then, (draw or 1, quarter)."""

    def make() -> tuple[Floats, Floats]:
        ends = np.add(np.arange(case.quarters)[None, :], life[:, None], order="F")
        there = (ends >= case.quarters).astype(np.float64)
        return remaining_life_fraction(life, case.quarters) * there, there

    return case.inputs.once(("lives left", option, case.quarters), make)


def _price_inputs(case: Case, option: SiliconOption) -> tuple[str, ...]:
    path = f"options.{option.key}"
    parts = tuple(f"{path}.{part}" for part in CHIP_PARTS)
    if option.kind == "build":
        extra = ("test_usd", "partner_margin_fraction", "memory_consigned_fraction")
        return parts + tuple(f"{path}.{name}" for name in extra)
    discount = ("market.negotiated_discount_fraction",) if case.negotiated else ()
    return (f"{path}.price_usd", *discount)


def _floor_lines(case: Case, option: SiliconOption) -> list[Entry]:
    """Electricity and the hall."""
    inputs, key = case.inputs, option.key
    power_w = case.fleet.power_w[key]
    in_use = in_watts(case.setting, case.objective)
    busy_w = case.fleet.plan.used[key] if in_use else power_w * case.fleet.busy_fraction[key]
    idle = inputs("site.idle_power_fraction")
    busy = (1.0 - idle) * utilisation(inputs)
    hours = QUARTER_HOURS / KILO * inputs("site.mean_power_fraction")
    per_w = hours * inputs("site.usd_per_kwh")
    lease = site_lease_usd_per_w_year(inputs) / QUARTERS_PER_YEAR
    scales = _scaling(option)
    return [
        (
            Line(
                key=f"{key}.electricity",
                holder=Holder.ENERGY_SITE,
                scales=scales,
                formula="power at the meter x load x hours x price",
                inputs=(
                    *case.depends.meter_power(key),
                    *case.depends.busy(key),
                    *_LOAD_INPUTS,
                ),
            ),
            ((power_w, per_w * idle), (busy_w, per_w * busy)),
        ),
        (
            Line(
                key=f"{key}.site",
                holder=Holder.ENERGY_SITE,
                scales=scales,
                formula="IT power x construction cost x CRF(discount rate, facility life)",
                inputs=(*case.depends.it_power(key), *_SITE_INPUTS),
            ),
            ((power_w, lease / inputs("site.pue_ratio")),),
        ),
    ]


_LOAD_INPUTS = (
    "site.idle_power_fraction",
    "site.mean_power_fraction",
    "site.usd_per_kwh",
    "demand.peak_to_mean_ratio",
    "demand.fill_fraction",
)
_SITE_INPUTS = ("site.capex_usd_per_w", "site.life_years", "decision.discount_rate")


def _memo(case: Case, option: SiliconOption, capital: Floats) -> list[Entry]:
    """Straight-line depreciation: shown, never paid."""
    key = option.key
    alive = case.fleet.plan.chips[key]
    life = option_life_quarters(option, case.inputs)[:, None]
    system = tuple(f"options.{key}.{part}" for part in SYSTEM_PARTS)
    line = Line(
        key=f"{key}.depreciation",
        holder=Holder.OWNER,
        cash=False,
        scales=_scaling(option),
        formula="chips in service x capital a chip / service life (memo, not a payment)",
        inputs=(*case.depends.chips(key), *_price_inputs(case, option), *system),
    )
    return [(line, ((alive, capital / life),))]


def rent_lines(case: Case, option: SiliconOption) -> list[Entry]:
    """Rent split by who receives it, the port, and what a minimum adds."""
    inputs, key = case.inputs, option.key
    path = f"options.{key}"
    quantity = case.depends.chips(key)
    chip_quarters = case.fleet.plan.carried[key]["rent"]
    rent = inputs(f"{path}.rent_usd_per_chip_hour") * QUARTER_HOURS
    swings = simulated(inputs, LOG_RENT)
    what = (f"{path}.rent_usd_per_chip_hour", "market.rent_drift_per_year", *swings)
    entries: list[Entry] = []
    for name, holder in RENT_SHARES.items():
        share, shares = rent_share(inputs, name)
        line = Line(
            key=f"{key}.rent.{name}",
            holder=holder,
            inputs=(*quantity, *what, *shares),
            formula="chips rented x hours x rent at the start of the term x holder's share",
        )
        entries.append((line, ((chip_quarters, rent * share),)))
    paid = chip_quarters
    if option.market_chips and option.price_impact:
        extra = _premium_in_force(case, option)
        paid = chip_quarters + extra
        line = Line(
            key=f"{key}.rent.volume",
            holder=Holder.CLOUD,
            formula="rent x ((1 + chips taken in the quarter / market)^impact - 1), for their term",
            inputs=(*quantity, *what),
        )
        entries.append((line, ((extra, rent),)))
    entries += _port_lines(case, option)
    if option.minimum:
        time = mid_quarter_years(case.quarters)[None, :]
        owed = inputs(f"{path}.minimum_usd_per_year") / QUARTERS_PER_YEAR
        owed = np.where(time < inputs(f"{path}.minimum_years"), owed, 0.0)
        line = Line(
            key=f"{key}.shortfall",
            holder=Holder.CLOUD,
            formula="take-or-pay minimum less rent paid, where positive",
            inputs=(*quantity, *what, f"{path}.minimum_usd_per_year", f"{path}.minimum_years"),
        )
        short = np.maximum(owed - paid * rent, 0.0)
        entries.append((line, ((short, CERTAIN),)))
    return entries


def _premium_in_force(case: Case, option: SiliconOption) -> Floats:
    """Premiums of the contracts in force, in chips at the quoted rent of today, (draw, quarter)."""
    new = case.fleet.plan.new_chips[option.key]
    time = mid_quarter_years(case.quarters)[None, :]
    signed = new * volume_premium(option, new) * rent_ratio(option, case.inputs, time)
    term = int(option_life_quarters(option, case.inputs)[0])
    running = np.cumsum(signed, axis=1)
    running[:, term:] -= running[:, :-term].copy()
    return running


def _port_lines(case: Case, option: SiliconOption) -> list[Entry]:
    """Porting engineers: once, then as long as the option is in use."""
    path = f"options.{option.key}"
    there = (case.fleet.plan.chips[option.key] > 0).astype(np.float64)
    # one in the first quarter with chips: the running maximum steps up once
    first = accumulated(np.maximum, there)
    first[:, 1:] -= first[:, :-1].copy(order="K")
    upkeep = case.inputs(f"{path}.port_usd_per_year") / QUARTERS_PER_YEAR
    line = Line(
        key=f"{option.key}.port",
        holder=Holder.OWNER,
        formula="port once, then its upkeep while chips are in use",
        inputs=(
            *case.depends.capacity(option.key),
            f"{path}.port_usd",
            f"{path}.port_usd_per_year",
        ),
    )
    return [(line, ((first, case.inputs(f"{path}.port_usd")), (there, upkeep)))]


def api_lines(case: Case, option: SiliconOption) -> list[Entry]:
    """Tokens bought by the million; nothing is held, so only tokens used are paid."""
    inputs, path = case.inputs, f"options.{option.key}"
    time = mid_quarter_years(case.quarters)[None, :]
    used = case.fleet.tokens_used[option.key]
    tokens = served_ratio(inputs) / MTOK
    price = inputs(f"{path}.usd_per_mtok") * tokens
    fallen = used * np.exp(np.multiply(-inputs(f"{path}.decline_per_year"), time, order="F"))
    line = Line(
        key=f"{option.key}.tokens",
        holder=Holder.PLATFORM,
        formula="output tokens x price of the basket per million output tokens",
        inputs=(
            *case.depends.without_spares(case.depends.tokens(option.key)),
            "demand.peak_to_mean_ratio",
            "demand.fill_fraction",
            f"{path}.usd_per_mtok",
            f"{path}.decline_per_year",
        ),
    )
    return [(line, ((fallen, price),))]


def tokens_used(case: Case) -> Floats:
    """Rate asked of all options together at the peak, shape (draw or 1, quarter) [tokens/s]."""
    return reduce(np.add, case.fleet.tokens_used.values())


def served_ratio(inputs: Inputs) -> Floats:
    """Tokens a quarter that a token per second asked at the peak serves, (draw or 1, 1).

    The fleet is sized for the peak and the spares; the mean day, and the batch work that fills
    the gap, is what it serves.
    """
    return utilisation(inputs) * QUARTER_S / (1.0 + inputs("fleet.spares_fraction"))


def unmet_tokens(case: Case) -> Amount:
    """Output tokens that could not be served; none under a site limit."""
    unmet = case.fleet.plan.unmet
    if in_watts(case.setting, case.objective) or not unmet.any():
        return ()
    return ((unmet, served_ratio(case.inputs)),)
