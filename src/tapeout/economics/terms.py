"""The terms of the money model: every input by name, with unit, sign and default.

One table drives the scenario's schema, the resolution of defaults and the documentation. A default
is "driver:NAME" (a reviewed figure of the catalogue), "chip:FIELD[:CONDITION]" (a figure of the
option's chip), "derived" (computed in `study`), or a number that needs a reason beside it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Sign = Literal["positive", "fraction", "signed", "count"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Term:
    """One input of the money model.

    `unit` is a name of `tapeout.units`; `sign` bounds the values and picks the distribution.
    `why` is the reason of a default that is neither a driver nor a figure of the chip.
    """

    name: str
    unit: str
    sign: Sign
    text: str
    default: str | float = "derived"
    why: str = ""


def _t(name: str, unit: str, sign: Sign, text: str, default: str | float, why: str = "") -> Term:
    return Term(name=name, unit=unit, sign=sign, text=text, default=default, why=why)


GLOBAL_TERMS: dict[str, tuple[Term, ...]] = {
    "decision": (
        _t(
            "discount_rate",
            "fraction",
            "fraction",
            "nominal, annual effective, no premium for programme risk (that is in the draws)",
            "driver:discount_rate_fraction",
        ),
    ),
    "demand": (
        _t(
            "peak_to_mean_ratio",
            "ratio",
            "positive",
            "peak hour over the mean day",
            "driver:peak_to_mean_ratio",
        ),
        _t(
            "fill_fraction",
            "fraction",
            "fraction",
            "share of the gap between mean and peak that batch work fills",
            "driver:hour_of_day_fill_fraction",
        ),
        _t(
            "growth_per_year",
            "1/year",
            "signed",
            "growth of demand after it has ramped up",
            0.0,
            "a site of fixed power cannot grow; set it when the demand sizes the fleet",
        ),
        _t(
            "realised_ratio",
            "ratio",
            "positive",
            "demand that comes over demand planned",
            "driver:demand_realised_ratio",
        ),
    ),
    "fleet": (
        _t(
            "spares_fraction",
            "fraction",
            "fraction",
            "chips held beyond the peak",
            "driver:spares_fraction",
        ),
        _t(
            "pooling_loss_fraction",
            "fraction",
            "fraction",
            "capacity lost for each further kind of silicon in a mix by shares",
            "driver:pooling_loss_fraction",
        ),
    ),
    "site": (
        _t(
            "capex_usd_per_w",
            "USD/W",
            "positive",
            "construction per watt of IT load",
            "driver:site_capex_usd_per_w",
        ),
        _t("life_years", "years", "positive", "life of the hall", "driver:site_life_years"),
        _t(
            "idle_usd_per_w_year",
            "USD/W-year",
            "positive",
            "upkeep of an energised empty hall",
            "driver:idle_site_usd_per_w_year",
        ),
        _t(
            "pue_ratio", "ratio", "positive", "power at the meter over IT power", "driver:pue_ratio"
        ),
        _t("usd_per_kwh", "USD/kWh", "positive", "electricity", "driver:electricity_usd_per_kwh"),
        _t(
            "idle_power_fraction",
            "fraction",
            "fraction",
            "draw of an idle chip over a busy one",
            "driver:idle_power_fraction",
        ),
        _t(
            "mean_power_fraction",
            "fraction",
            "fraction",
            "draw of a busy site over its provisioned power",
            "driver:mean_power_fraction",
        ),
    ),
    "operations": (
        _t(
            "fraction_per_year",
            "1/year",
            "fraction",
            "staff and upkeep a year over IT capital",
            "driver:operations_fraction_per_year",
        ),
    ),
    "market": (
        _t(
            "negotiated_discount_fraction",
            "fraction",
            "fraction",
            "off the list price once an own chip is a credible threat",
            "driver:negotiated_discount_fraction",
        ),
        _t(
            "rent_drift_per_year",
            "1/year",
            "signed",
            "drift of the rent of an unchanged chip",
            "driver:rent_drift_per_year",
        ),
        _t(
            "cloud_margin_fraction",
            "fraction",
            "fraction",
            "kept by the cloud out of a rent",
            "driver:cloud_margin_fraction",
        ),
        _t(
            "server_cost_fraction",
            "fraction",
            "fraction",
            "servers in a cloud's own cost",
            "driver:server_cost_fraction",
        ),
        _t(
            "network_cost_fraction",
            "fraction",
            "fraction",
            "network in a cloud's own cost",
            "driver:network_cost_fraction",
        ),
    ),
    "rival": (
        _t(
            "cadence_years",
            "years",
            "positive",
            "between generations of the alternative",
            "driver:rival_cadence_years",
        ),
        _t(
            "tokens_per_usd_gain_ratio",
            "ratio",
            "positive",
            "a generation's gain in tokens a dollar",
            "driver:rival_tokens_per_usd_gain_per_generation_ratio",
        ),
        _t(
            "tokens_per_w_gain_ratio",
            "ratio",
            "positive",
            "a generation's gain in tokens a watt",
            "driver:rival_tokens_per_w_gain_per_generation_ratio",
        ),
    ),
    "software": (
        _t(
            "port_maturity_years",
            "years",
            "positive",
            "until a ported stack has matured",
            "driver:stack_maturity_years",
        ),
    ),
    "parts": (
        _t(
            "hbm_usd_per_gb", "USD/GB", "positive", "high-bandwidth memory", "driver:hbm_usd_per_gb"
        ),
        _t(
            "wafer_usd",
            "USD/wafer",
            "positive",
            "300 mm wafer of the leading node",
            "driver:wafer_usd_3nm",
        ),
        _t(
            "die_yield_fraction",
            "fraction",
            "fraction",
            "sellable dies a wafer, with harvesting",
            "driver:die_yield_fraction",
        ),
        _t(
            "packaging_usd",
            "USD/chip",
            "positive",
            "advanced package, substrate and assembly",
            "driver:packaging_usd_per_chip",
        ),
        _t(
            "packaging_yield_fraction",
            "fraction",
            "fraction",
            "good packages a package started",
            "driver:packaging_yield_fraction",
        ),
        _t(
            "test_usd",
            "USD/chip",
            "positive",
            "final test and burn-in",
            "driver:test_assembly_usd_per_chip",
        ),
    ),
    "shift": (
        _t(
            "hazard_per_year",
            "1/year",
            "positive",
            "rate of a shift of the workload that the frozen chip was not designed for",
            "driver:shift_hazard_per_year",
        ),
    ),
    "value": (
        _t(
            "markup_ratio",
            "ratio",
            "positive",
            "price over the alternative's levelised cost, from which the revenue is built where the"
            " scenario states none",
            "driver:api_markup_ratio",
        ),
        _t(
            "usd_per_mtok",
            "USD/M tokens",
            "positive",
            "revenue per million output tokens of the basket, input and cached input included",
            "derived",
        ),
        _t(
            "decline_per_year",
            "1/year",
            "signed",
            "continuous decline of that revenue beyond the hardware progress of the alternative",
            "driver:token_price_excess_decline_per_year",
        ),
    ),
}

_SPEED = (
    _t(
        "tokens_per_s_per_chip",
        "tokens/s",
        "positive",
        "states the basket rate per chip instead of simulating it",
        "derived",
    ),
    _t(
        "timing_ratio",
        "ratio",
        "positive",
        "true over simulated throughput: the chip's own timing error (the common part cancels)",
        "derived",
    ),
    _t(
        "availability_fraction",
        "fraction",
        "fraction",
        "share of time a chip serves",
        "driver:availability_gpu_fraction",
    ),
    _t(
        "allin_w_per_chip",
        "W",
        "positive",
        "provisioned at the meter, with its share of host, network and cooling",
        "chip:power:all-in",
    ),
)
_SYSTEM = (
    _t("life_years", "years", "positive", "service life", "driver:service_life_years"),
    _t(
        "failure_fraction_per_year",
        "1/year",
        "fraction",
        "replaced a year outside warranty",
        "driver:failure_fraction_per_year",
    ),
    _t("storage_usd", "USD/chip", "positive", "storage", "driver:storage_usd_per_chip"),
    _t(
        "memory_gb",
        "count",
        "positive",
        "memory on the package, for the split of its price",
        "chip:mem_capacity",
    ),
    _t(
        "die_area_mm2",
        "mm2",
        "positive",
        "silicon on the package, for the split of its price",
        "chip:die_area",
    ),
    _t(
        "ceiling_chips_per_quarter",
        "count",
        "positive",
        "most chips to be had in a quarter; no figure means no ceiling, and the report says so",
        "derived",
    ),
)

BUY_TERMS: tuple[Term, ...] = (
    *_SPEED,
    *_SYSTEM,
    _t(
        "price_usd",
        "USD/chip",
        "positive",
        "list price, as a share of the whole rack",
        "chip:price_usd",
    ),
    _t(
        "host_usd",
        "USD/chip",
        "positive",
        "host beside it (zero where the rack price has it)",
        "driver:host_usd_per_chip_gpu",
    ),
    _t(
        "network_usd",
        "USD/chip",
        "positive",
        "network beyond the rack",
        "driver:network_usd_per_chip_gpu",
    ),
    _t(
        "rack_usd",
        "USD/chip",
        "positive",
        "rack beside it (zero where the price has it)",
        0.0,
        "a rack price is divided by its chips, so the rack is in the price",
    ),
    _t(
        "resale_fraction",
        "fraction",
        "fraction",
        "of the list price at the end of service",
        "driver:gpu_resale_fraction",
    ),
)

RENT_TERMS: tuple[Term, ...] = (
    *_SPEED,
    _t(
        "capital_usd_per_w",
        "USD/W",
        "positive",
        "capital of a site of this silicon per watt at the meter, from which a rent is built where"
        " none is published",
        "derived",
    ),
    _t("rent_usd_per_chip_hour", "USD/chip-hour", "positive", "for the contract's term", "derived"),
    _t(
        "port_usd", "USD", "positive", "one-off port to this silicon", "driver:port_usd_per_silicon"
    ),
    _t(
        "port_usd_per_year",
        "USD/year",
        "positive",
        "upkeep of the port",
        "driver:port_usd_per_year",
    ),
    _t(
        "port_start_fraction",
        "fraction",
        "fraction",
        "throughput on day one over a mature stack",
        "driver:port_throughput_fraction_start",
    ),
    _t("minimum_usd_per_year", "USD/year", "positive", "take-or-pay minimum", "derived"),
    _t("minimum_years", "years", "positive", "years the minimum runs", "derived"),
)

BUILD_TERMS: tuple[Term, ...] = (
    *(entry for entry in _SPEED if entry.name != "availability_fraction"),
    _t(
        "availability_fraction",
        "fraction",
        "fraction",
        "share of time a chip serves once mature",
        "driver:availability_own_mature_fraction",
    ),
    *_SYSTEM,
    _t(
        "nre_usd", "USD", "positive", "design, IP and verification until tape-out", "driver:nre_usd"
    ),
    _t(
        "nre_remaining_fraction",
        "fraction",
        "fraction",
        "share not yet spent at the decision",
        1.0,
        "before the start nothing is spent; later decision dates set it",
    ),
    _t("mask_set_usd", "USD", "positive", "one mask set", "driver:mask_set_usd"),
    _t(
        "masks_remaining_fraction",
        "fraction",
        "fraction",
        "whether the first set is still due",
        1.0,
        "before tape-out it is; later decision dates set it",
    ),
    _t(
        "respin_usd",
        "USD",
        "positive",
        "engineering of an extra stepping, masks apart",
        "driver:respin_engineering_usd",
    ),
    _t(
        "bring_up_usd", "USD", "positive", "bring-up and test programme", "driver:bring_up_test_usd"
    ),
    _t(
        "software_usd_per_year",
        "USD/year",
        "positive",
        "compiler and kernel team",
        "driver:software_team_usd_per_year",
    ),
    _t(
        "software_ramp_years",
        "years",
        "positive",
        "team ramp before tape-out",
        "driver:software_team_ramp_years_before_tapeout",
    ),
    _t(
        "months_to_tapeout",
        "months",
        "positive",
        "from the decision",
        "driver:design_to_tapeout_months",
    ),
    _t(
        "slip_if_late_months",
        "months",
        "positive",
        "slip, where the programme is late",
        "driver:slip_months",
    ),
    _t(
        "late_fraction",
        "fraction",
        "fraction",
        "probability of being late",
        "driver:slip_probability_fraction",
    ),
    _t(
        "first_silicon_fraction",
        "fraction",
        "fraction",
        "probability that first silicon ships",
        "driver:p_first_silicon_fraction",
    ),
    _t(
        "later_spin_fraction",
        "fraction",
        "fraction",
        "probability that a later stepping ships",
        "driver:p_later_spin_fraction",
    ),
    _t("spin_months", "months", "positive", "per extra stepping", "driver:spin_months"),
    _t(
        "qualification_months",
        "months",
        "positive",
        "tape-out to first service on schedule",
        "driver:qualification_months",
    ),
    _t("ramp_years", "years", "positive", "first service to full volume", "driver:ramp_months"),
    _t(
        "sales_window_years",
        "years",
        "positive",
        "years in which this generation is bought",
        "driver:sales_window_years",
    ),
    _t(
        "cancellation_fraction",
        "fraction",
        "fraction",
        "probability of no volume at all",
        "driver:cancellation_probability_fraction",
    ),
    _t(
        "delivered_ratio",
        "ratio",
        "positive",
        "delivered over published peak and bandwidth, beyond the timing error",
        "driver:delivered_over_published_ratio",
    ),
    _t(
        "eligible_fraction",
        "fraction",
        "fraction",
        "share of the traffic it can serve",
        "driver:eligible_traffic_fraction",
    ),
    _t(
        "maturity_start_fraction",
        "fraction",
        "fraction",
        "throughput on day one over a mature stack",
        "driver:stack_maturity_own_start_fraction",
    ),
    _t(
        "maturity_years",
        "years",
        "positive",
        "until the stack has matured",
        "driver:stack_maturity_years",
    ),
    _t(
        "first_year_availability_fraction",
        "fraction",
        "fraction",
        "share of time a chip serves in its first year",
        "driver:availability_own_first_year_fraction",
    ),
    _t(
        "partner_margin_fraction",
        "fraction",
        "fraction",
        "design partner's gross margin",
        "driver:partner_margin_fraction",
    ),
    _t(
        "memory_consigned_fraction",
        "fraction",
        "fraction",
        "memory the owner buys itself, without the partner's margin (1 consigned, 0 turnkey)",
        "procurement",
    ),
    _t("host_usd", "USD/chip", "positive", "host", "driver:host_usd_per_chip_own"),
    _t(
        "network_usd",
        "USD/chip",
        "positive",
        "scale-up and scale-out network",
        "driver:network_usd_per_chip_own",
    ),
    _t(
        "rack_usd",
        "USD/chip",
        "positive",
        "rack, trays, power and cooling",
        "driver:rack_usd_per_chip_own",
    ),
    _t(
        "conversion_usd_per_w",
        "USD/W",
        "positive",
        "changing a GPU hall to the own racks",
        "driver:rack_conversion_usd_per_w",
    ),
    _t(
        "resale_fraction",
        "fraction",
        "fraction",
        "of the price at the end of service",
        "driver:own_resale_fraction",
    ),
    _t(
        "prepayment_fraction",
        "fraction",
        "fraction",
        "deposit a year before delivery",
        "driver:prepayment_fraction",
    ),
    _t(
        "committed_fraction",
        "fraction",
        "fraction",
        "of planned volume ordered firmly",
        "driver:committed_volume_fraction",
    ),
    _t(
        "writeoff_fraction",
        "fraction",
        "fraction",
        "of firm orders lost when not needed",
        "driver:excess_purchase_writeoff_fraction",
    ),
    _t(
        "rebate_lost_fraction",
        "fraction",
        "fraction",
        "rebates and equity lost on what is still bought",
        "driver:rebate_lost_fraction",
    ),
)

API_TERMS: tuple[Term, ...] = (
    _t(
        "usd_per_mtok",
        "USD/M tokens",
        "positive",
        "basket price per million output tokens, input and cached input included",
        "derived",
    ),
    _t(
        "decline_per_year",
        "1/year",
        "signed",
        "continuous decline of that price",
        "driver:token_price_decline_per_year",
    ),
)

OPTION_TERMS: dict[str, tuple[Term, ...]] = {
    "buy": BUY_TERMS,
    "rent": RENT_TERMS,
    "build": BUILD_TERMS,
    "api": API_TERMS,
}


def term(kind_or_section: str, name: str) -> Term:
    """Look a term up by option kind ("buy" ...) or section ("site" ...) and name."""
    table = OPTION_TERMS.get(kind_or_section) or GLOBAL_TERMS[kind_or_section]
    return next(entry for entry in table if entry.name == name)
