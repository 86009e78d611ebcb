"""Cost lines of options: each declared with formula, holder and inputs, then computed.

Conventions: costs positive, nominal USD, flows at mid-quarter. The facility is charged as a lease
at the owner's cost of capital, so that no strategy is charged for empty halls after the chips in
them have gone; a hall that stands ready before its chips arrive is charged as such.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tapeout.constants import KILO, MTOK, QUARTER_HOURS, QUARTER_S, QUARTERS_PER_YEAR
from tapeout.economics.dependence import Dependence
from tapeout.economics.prices import (
    CHIP_PARTS,
    RENT_SHARES,
    SYSTEM_PARTS,
    chip_price_usd,
    chip_split_usd,
    rent_share,
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
)
from tapeout.economics.types import (
    Holder,
    Inputs,
    Line,
    Objective,
    Scaling,
    SiliconOption,
    Strategy,
)
from tapeout.fleet import remaining_life_fraction
from tapeout.numerics import Floats


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
        return Dependence(setting=self.setting, strategy=self.strategy, objective=self.objective)

    @property
    def builds(self) -> bool:
        """Whether the strategy has a chip of its own."""
        return self.fleet.dates is not None


Entry = tuple[Line, Floats]


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

    def add(name: str, holder: Holder, formula: str, what: tuple[str, ...], usd: Floats) -> None:
        line = Line(
            key=f"{key}.{name}",
            holder=holder,
            formula=formula,
            inputs=quantity + what,
            scales=scales,
        )
        entries.append((line, np.broadcast_to(usd, new.shape)))

    price_inputs = _price_inputs(case, option)
    seller_inputs = (*price_inputs, *(f"{path}.{part}" for part in CHIP_PARTS))
    for holder, usd in chip_split_usd(option, inputs, negotiated=case.negotiated).items():
        is_seller = holder in (Holder.VENDOR, Holder.PARTNER)
        part = next((p for p, h in CHIP_PARTS.items() if h == holder), "")
        what = seller_inputs if is_seller else (f"{path}.{part}",)
        add(f"chip.{holder}", holder, f"new chips x {part or 'rest of the price'}", what, new * usd)
    for part, holder in SYSTEM_PARTS.items():
        usd = new * inputs(f"{path}.{part}")
        add(part.removesuffix("_usd"), holder, f"new chips x {part}", (f"{path}.{part}",), usd)
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
        alive * failing * price,
    )
    share = inputs("operations.fraction_per_year") / QUARTERS_PER_YEAR
    add(
        "operations",
        Holder.ENERGY_SITE,
        "chips x capital a chip x operations a year",
        ("operations.fraction_per_year", *price_inputs, *system),
        alive * share * capital,
    )
    resale = inputs(f"{path}.resale_fraction")
    add(
        "resale",
        Holder.OWNER,
        "- retired chips x price x resale share",
        (f"{path}.resale_fraction", *price_inputs),
        -expired * resale * price,
    )
    add(
        "unexpired_life",
        Holder.OWNER,
        "- book value at the horizon (straight line from capital to resale), last quarter",
        (f"{path}.resale_fraction", *price_inputs, *system),
        _book_value_usd(case, option, capital, resale * price),
    )
    return entries + _floor_lines(case, option) + _memo(case, option, capital)


def _book_value_usd(case: Case, option: SiliconOption, capital: Floats, resale: Floats) -> Floats:
    """Credit for chips that outlive the horizon or end with it, in the last quarter."""
    new = case.fleet.plan.new_chips[option.key]
    life = option_life_quarters(option, case.inputs)
    left = remaining_life_fraction(life, case.quarters)
    there = np.arange(case.quarters)[None, :] + life[:, None] >= case.quarters
    credit = np.zeros(new.shape)
    credit[:, -1] = -(new * there * (left * capital + (1.0 - left) * resale)).sum(axis=1)
    return credit


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
    busy = case.fleet.busy_fraction[key] * utilisation(inputs)
    idle = inputs("site.idle_power_fraction")
    load = (idle + (1.0 - idle) * busy) * inputs("site.mean_power_fraction")
    kwh = power_w / KILO * QUARTER_HOURS * load
    lease = site_lease_usd_per_w_year(inputs) / QUARTERS_PER_YEAR
    it_w = power_w / inputs("site.pue_ratio")
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
            kwh * inputs("site.usd_per_kwh"),
        ),
        (
            Line(
                key=f"{key}.site",
                holder=Holder.ENERGY_SITE,
                scales=scales,
                formula="IT power x construction cost x CRF(discount rate, facility life)",
                inputs=(*case.depends.it_power(key), *_SITE_INPUTS),
            ),
            it_w * lease,
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
    return [(line, alive * capital / life)]


def rent_lines(case: Case, option: SiliconOption) -> list[Entry]:
    """Rent split by who receives it, the port, and what a minimum adds."""
    inputs, key = case.inputs, option.key
    path = f"options.{key}"
    quantity = case.depends.chips(key)
    chip_quarters = case.fleet.plan.carried[key]["rent"]
    paid = chip_quarters * inputs(f"{path}.rent_usd_per_chip_hour") * QUARTER_HOURS
    what = (f"{path}.rent_usd_per_chip_hour", "market.rent_drift_per_year")
    entries: list[Entry] = []
    for name, holder in RENT_SHARES.items():
        share, shares = rent_share(inputs, name)
        line = Line(
            key=f"{key}.rent.{name}",
            holder=holder,
            inputs=(*quantity, *what, *shares),
            formula="chips rented x hours x rent at the start of the term x holder's share",
        )
        entries.append((line, paid * share))
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
        entries.append((line, np.maximum(owed - paid, 0.0)))
    return entries


def _port_lines(case: Case, option: SiliconOption) -> list[Entry]:
    """Porting engineers: once, then as long as the option is in use."""
    path = f"options.{option.key}"
    there = case.fleet.plan.chips[option.key] > 0
    first = there & ~np.concatenate([np.zeros((there.shape[0], 1), bool), there[:, :-1]], axis=1)
    first = first & (np.cumsum(first, axis=1) == 1)
    usd = first * case.inputs(f"{path}.port_usd")
    usd = usd + there * case.inputs(f"{path}.port_usd_per_year") / QUARTERS_PER_YEAR
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
    return [(line, usd)]


def api_lines(case: Case, option: SiliconOption) -> list[Entry]:
    """Tokens bought by the million; nothing is held, so only tokens used are paid."""
    inputs, path = case.inputs, f"options.{option.key}"
    time = mid_quarter_years(case.quarters)[None, :]
    used = case.fleet.tokens_used[option.key]
    tokens = used / (1.0 + inputs("fleet.spares_fraction")) * utilisation(inputs) * QUARTER_S
    price = inputs(f"{path}.usd_per_mtok") * np.exp(-inputs(f"{path}.decline_per_year") * time)
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
    return [(line, tokens / MTOK * price)]


def tokens_served(case: Case) -> Floats:
    """Output tokens served in each quarter, shape (draw, quarter).

    The fleet is sized for the peak and the spares; the mean day, and the batch work that fills
    the gap, is what it serves.
    """
    used = sum(case.fleet.tokens_used.values(), np.zeros((1, 1))) / (
        1.0 + case.inputs("fleet.spares_fraction")
    )
    served: Floats = used * utilisation(case.inputs) * QUARTER_S
    return served


def unmet_tokens(case: Case) -> Floats:
    """Output tokens that could not be served, shape (draw, quarter); zero under a site limit."""
    if in_watts(case.setting, case.objective):
        return np.zeros(case.fleet.plan.unmet.shape)
    unmet = case.fleet.plan.unmet / (1.0 + case.inputs("fleet.spares_fraction"))
    return unmet * utilisation(case.inputs) * QUARTER_S
