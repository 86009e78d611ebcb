"""Prices and unit costs: of a chip, of the system around it, of the hall, of rent."""

from __future__ import annotations

import numpy as np

from tapeout.economics.finance import crf
from tapeout.economics.types import Holder, Inputs, SiliconOption
from tapeout.fleet import utilisation_fraction
from tapeout.numerics import Floats

CHIP_PARTS: dict[str, Holder] = {
    "die_usd": Holder.FOUNDRY,
    "memory_usd": Holder.MEMORY,
    "packaging_usd": Holder.PACKAGING,
}
SYSTEM_PARTS: dict[str, Holder] = {
    "host_usd": Holder.VENDOR,
    "network_usd": Holder.FABRIC,
    "storage_usd": Holder.VENDOR,
    "rack_usd": Holder.VENDOR,
}
RENT_SHARES: dict[str, Holder] = {
    "cloud": Holder.CLOUD,
    "vendor": Holder.VENDOR,
    "fabric": Holder.FABRIC,
    "energy_site": Holder.ENERGY_SITE,
}


def recovery_factor(rate_per_year: Floats, years: Floats) -> Floats:
    """Level yearly payment, spread over the year, that recovers one dollar of capital.

    The capital recovery factor of payments at year's end, moved to mid-year as all flows here are.
    """
    factor: Floats = crf(rate_per_year, years) / np.sqrt(1.0 + rate_per_year)
    return factor


def chip_price_usd(option: SiliconOption, inputs: Inputs, *, negotiated: bool) -> Floats:
    """Price of one chip, (draw or 1, 1).

    Bought: list price less the negotiated discount. Built: parts and test over one less the
    partner's margin; memory that the owner consigns passes without that margin. [USD]
    """
    key = f"options.{option.key}"
    if option.kind == "build":
        parts = inputs(f"{key}.die_usd") + inputs(f"{key}.packaging_usd")
        parts = parts + inputs(f"{key}.test_usd")
        memory = inputs(f"{key}.memory_usd")
        consigned = inputs(f"{key}.memory_consigned_fraction")
        keep = 1.0 - inputs(f"{key}.partner_margin_fraction")
        return (parts + memory * (1.0 - consigned)) / keep + memory * consigned
    price = inputs(f"{key}.price_usd")
    if negotiated:
        price = price * (1.0 - inputs("market.negotiated_discount_fraction"))
    return price


def chip_split_usd(
    option: SiliconOption, inputs: Inputs, *, negotiated: bool
) -> dict[Holder, Floats]:
    """Split the price of a chip by who receives it; the parts add up to the price.

    The seller's line (vendor or design partner) is what is left after die, memory and package:
    margin, boards and test.
    """
    key = f"options.{option.key}"
    price = chip_price_usd(option, inputs, negotiated=negotiated)
    split = {holder: inputs(f"{key}.{part}") for part, holder in CHIP_PARTS.items()}
    seller = Holder.PARTNER if option.kind == "build" else Holder.VENDOR
    split[seller] = price - sum(split.values(), np.zeros((1, 1)))
    return split


def system_usd(option: SiliconOption, inputs: Inputs) -> Floats:
    """Host, network, storage and rack of one chip, (draw or 1, 1). [USD]."""
    return sum((inputs(f"options.{option.key}.{part}") for part in SYSTEM_PARTS), np.zeros((1, 1)))


def site_lease_usd_per_w_year(inputs: Inputs) -> Floats:
    """Yearly cost of a powered hall per watt of IT load, (draw or 1, 1).

    Construction cost as an annuity over the facility's life at the discount rate.
    """

    def make() -> Floats:
        factor = recovery_factor(inputs("decision.discount_rate"), inputs("site.life_years"))
        return inputs("site.capex_usd_per_w") * factor

    return inputs.once("site lease", make)


LOG_ERROR = "value.log_error"  # of the price of tokens after 1, 2 ... years, drawn where stated


LOG_RENT = "market.log_rent"  # of all rents over their drift after 1, 2 ... years, likewise
LONGEST_YEARS = 20  # of a horizon, and so of a simulated path


def yearly_paths(name: str) -> tuple[str, ...]:
    """Inputs that hold a simulated path, a year each."""
    return tuple(f"{name}[{year}]" for year in range(1, LONGEST_YEARS + 1))


def simulated(inputs: Inputs, name: str) -> tuple[str, ...]:
    """Inputs that hold this path, where it is simulated; often none."""
    return yearly_paths(name) if f"{name}[1]" in inputs else ()


def deviation(inputs: Inputs, name: str, time_years: Floats) -> Floats | None:
    """Simulated path at some times, (draw or 1, time); None where there is none.

    Zero today, linear between the years, constant after the last.
    """
    if not simulated(inputs, name):
        return None

    def make() -> Floats:
        columns = [np.zeros((1, 1)), *(inputs(path) for path in yearly_paths(name))]
        return np.concatenate(np.broadcast_arrays(*columns), axis=1)

    table = inputs.once(("path", name), make)
    time = np.clip(time_years, 0.0, LONGEST_YEARS - 1e-9)
    rows = np.broadcast_shapes((len(table), 1), (len(time), 1))[0]
    year = np.broadcast_to(time.astype(np.int64), (rows, time.shape[1]))
    table = np.broadcast_to(table, (rows, table.shape[1]))
    before = np.take_along_axis(table, year, axis=1)
    found: Floats = before + (time % 1.0) * (np.take_along_axis(table, year + 1, axis=1) - before)
    return found


def price_drift(inputs: Inputs, time_years: Floats) -> Floats:
    """Price of a token over today's without hardware progress, (draw or 1, time).

    Software, models and margins: their decline, and where a shock is stated its forecast error.
    """
    log = np.multiply(-inputs("value.decline_per_year"), time_years, order="F")
    error = deviation(inputs, LOG_ERROR, time_years)
    if error is not None:
        log = np.add(log, error, order="F")
    drift: Floats = np.exp(log)
    return drift


def utilisation(inputs: Inputs) -> Floats:
    """Mean use of a fleet sized for its peak, (draw or 1, 1)."""
    return utilisation_fraction(inputs("demand.peak_to_mean_ratio"), inputs("demand.fill_fraction"))


def rent_share(inputs: Inputs, name: str) -> tuple[Floats, tuple[str, ...]]:
    """Share of a rent that reaches a holder, and the inputs that set it.

    The cloud keeps its margin; the rest is its own cost, split as a site's cost is.
    """
    cloud = inputs("market.cloud_margin_fraction")
    if name == "cloud":
        return cloud, ("market.cloud_margin_fraction",)
    vendor = inputs("market.server_cost_fraction")
    fabric = inputs("market.network_cost_fraction")
    share = {"vendor": vendor, "fabric": fabric, "energy_site": 1.0 - vendor - fabric}[name]
    names = {
        "vendor": ("market.server_cost_fraction",),
        "fabric": ("market.network_cost_fraction",),
        "energy_site": ("market.server_cost_fraction", "market.network_cost_fraction"),
    }[name]
    return (1.0 - cloud) * share, ("market.cloud_margin_fraction", *names)
