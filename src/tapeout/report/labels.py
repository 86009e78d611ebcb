"""Plain words for inputs, holders and groups; an unknown name is spelt out from its path."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping

from tapeout.economics.types import Holder

HOLDERS: Mapping[str, str] = {
    Holder.FOUNDRY: "Foundry",
    Holder.MEMORY: "Memory makers",
    Holder.PACKAGING: "Packaging and test",
    Holder.PARTNER: "Design partner",
    Holder.VENDOR: "Chip and server vendors",
    Holder.FABRIC: "Network",
    Holder.CLOUD: "Cloud provider",
    Holder.ENERGY_SITE: "Energy and site",
    Holder.OWNER: "Owner, net of resale",
    Holder.PLATFORM: "Platform",
    Holder.CUSTOMER: "Customer",
}

STATUSES: Mapping[str, str] = {
    "measured": "measured",
    "independent_estimate": "independent estimate",
    "vendor_claim": "vendor claim",
    "analyst": "analyst",
    "press": "press",
    "assumption": "assumption",
    "derived": "derived",
    "simulated": "simulated",
}

SET_BY: Mapping[str, str] = {
    "catalog": "catalogue",
    "overlay": "overlay",
    "scenario": "scenario",
    "default": "default",
    "derived": "formula",
    "simulated": "simulation",
}

SECTIONS: Mapping[str, str] = {
    "decision": "Decision",
    "demand": "Demand",
    "fleet": "Fleet",
    "market": "Market",
    "operations": "Operations",
    "parts": "Parts of the own chip",
    "rival": "Next rival generations",
    "shift": "Shift of the workload",
    "site": "Site and power",
    "software": "Software",
    "value": "Value of a token",
}

_FIELDS: Mapping[str, str] = {
    "decision.discount_rate": "discount rate",
    "demand.fill_fraction": "idle hours filled by batch work",
    "demand.growth_per_year": "growth of demand",
    "demand.peak_to_mean_ratio": "busiest hour over the mean",
    "demand.realised_ratio": "demand that comes over demand planned",
    "fleet.pooling_loss_fraction": "capacity lost to separate pools",
    "fleet.spares_fraction": "spare chips",
    "market.cloud_margin_fraction": "cloud's margin on rent",
    "market.negotiated_discount_fraction": "discount won by the threat to build",
    "market.network_cost_fraction": "network's share of a cluster's cost",
    "market.rent_over_owner_cost_ratio": "today's rents over owner cost",
    "market.rent_reversion_per_year": "rate at which swings of rents fade",
    "market.rent_volatility_ratio": "swings of rents about their drift",
    "market.rent_drift_per_year": "drift of rents",
    "market.server_cost_fraction": "servers' share of a cluster's cost",
    "operations.fraction_per_year": "operations, share of capital",
    "options.allin_w_per_chip": "power, all in, per chip",
    "options.availability_fraction": "availability",
    "options.bring_up_usd": "bring-up and test programme",
    "options.cancellation_fraction": "chance of cancellation",
    "options.cancelled": "programme cancelled",
    "options.capital_usd_per_w": "capital per watt behind the rent",
    "options.hall_fraction": "share of hall in the capital behind the rent",
    "options.ceiling_chips_per_quarter": "supply ceiling, chips a quarter",
    "options.committed_fraction": "volume under firm order",
    "options.conversion_usd_per_w": "rack and cooling conversion",
    "options.decline_per_year": "decline of the price of tokens",
    "options.delivered_ratio": "delivered over published performance",
    "options.die_area_mm2": "die area",
    "options.port_usd_per_release": "port of one model release",
    "options.model_families": "model families kept running",
    "options.usd_per_family_year": "upkeep of one model family",
    "options.day0_coverage_fraction": "share of a new model's traffic served at once",
    "options.port_lag_months": "months until a new model is fully served",
    "options.traffic_model_age_months": "mean age of the model behind a token",
    "options.context_eligible_fraction": "share of traffic whose context fits",
    "options.modality_eligible_fraction": "share of traffic in modalities served",
    "options.eligible_fraction": "share of demand the chip can serve",
    "options.failure_fraction_per_year": "chips failing",
    "options.first_silicon_fraction": "chance that first silicon ships",
    "options.first_year_availability_fraction": "availability in the first year",
    "options.generation_cadence_years": "years from one own chip to the next",
    "options.generation_design_months": "months of design of a successor",
    "options.generation_years": "generation on sale since (years from the decision)",
    "options.host_usd": "host computer per chip",
    "options.late_fraction": "chance of being late",
    "options.later_spin_fraction": "chance that a respin is the last",
    "options.life_years": "service life",
    "options.mask_set_usd": "mask set",
    "options.masks_remaining_fraction": "masks still to be paid",
    "options.maturity_start_fraction": "software maturity at first service",
    "options.maturity_years": "years until the software is mature",
    "options.memory_consigned_fraction": "memory bought without the partner's margin",
    "options.memory_gb": "memory per package, GB",
    "options.minimum_usd_per_year": "take-or-pay minimum",
    "options.minimum_years": "years the minimum runs",
    "options.months_to_tapeout": "months to tape-out",
    "options.network_usd": "network per chip",
    "options.nre_remaining_fraction": "engineering cost still to be spent",
    "options.nre_usd": "engineering cost (NRE)",
    "options.partner_margin_fraction": "design partner's margin",
    "options.port_maturity_years": "years until a port is mature",
    "options.port_start_fraction": "throughput right after the port",
    "options.port_usd": "one-off cost of the port",
    "options.port_usd_per_year": "upkeep of the port",
    "options.prepayment_fraction": "prepayment",
    "options.price_usd": "price per chip",
    "options.qualification_months": "months from tape-out to first service",
    "options.rack_usd": "rack per chip",
    "options.ramp_years": "years to full volume",
    "options.rebate_lost_fraction": "rebates lost by building",
    "options.rent_usd_per_chip_hour": "rent",
    "options.resale_fraction": "resale value",
    "options.reused_nre_fraction": "engineering cost a successor saves by reuse",
    "options.respin_usd": "cost of a respin",
    "options.sales_window_years": "years the generation is ordered",
    "options.slip_if_late_months": "months of delay if late",
    "options.slip_learning_fraction": "delay unlearnt with every chip built",
    "options.slip_months": "months of delay",
    "options.software_ramp_years": "years of software work before service",
    "options.software_usd_per_year": "software team",
    "options.spin_months": "months per respin",
    "options.spins": "extra steppings",
    "options.storage_usd": "storage per chip",
    "options.timing_ratio": "throughput over simulated",
    "options.tokens_per_s_per_chip": "simulated output tokens per second and chip",
    "options.tokens_per_usd_gain_ratio": "tokens per dollar, gain per own generation",
    "options.tokens_per_w_gain_ratio": "tokens per watt, gain per own generation",
    "options.usd_per_mtok": "price of a million output tokens",
    "options.writeoff_fraction": "write-off of firm orders not needed",
    "parts.die_yield_fraction": "die yield",
    "parts.hbm_usd_per_gb": "price of HBM",
    "parts.packaging_usd": "packaging per chip",
    "parts.packaging_yield_fraction": "packaging yield",
    "parts.test_usd": "test per chip",
    "parts.wafer_usd": "wafer price",
    "rival.cadence_years": "years between generations",
    "rival.tokens_per_usd_gain_ratio": "tokens per dollar, gain per generation",
    "rival.tokens_per_w_gain_ratio": "tokens per watt, gain per generation",
    "shift.hazard_per_year": "chance of a shift of architecture",
    "site.capex_usd_per_w": "construction per watt",
    "site.idle_power_fraction": "power of an idle chip over a busy one",
    "site.idle_usd_per_w_year": "upkeep of an empty hall",
    "site.life_years": "life of the hall",
    "site.mean_power_fraction": "mean draw over provisioned power",
    "site.pue_ratio": "power at the meter over IT power (PUE)",
    "site.usd_per_kwh": "electricity",
    "software.releases_per_year": "model releases a year to be ported",
    "software.port_maturity_years": "years until a port is mature",
    "value.decline_per_year": "decline of token prices beyond hardware",
    "value.software_decline_per_year": "decline of token prices through serving software",
    "value.software_innovation_sd": "yearly shock to token prices through serving software",
    "value.model_decline_per_year": "decline of token prices through leaner models",
    "value.model_innovation_sd": "yearly shock to token prices through leaner models",
    "value.margin_decline_per_year": "decline of token prices through thinner margins",
    "value.margin_innovation_sd": "yearly shock to token prices through thinner margins",
    "value.observed_changes": "yearly price changes observed",
    "value.autocorrelation_fraction": "share of a price shock that carries over",
    "value.usd_per_mtok": "value of a million output tokens",
    "value.markup_ratio": "token price over compute cost",
}

_UNIT_TAILS = ("_usd_per_year", "_fraction_per_year", "_per_year", "_fraction", "_ratio", "_usd")


def field_label(path: str) -> str:
    """What an input is, without whose it is.

    Examples
    --------
    >>> field_label("options.vera-rubin.price_usd"), field_label("options.own.glue_usd")
    ('price per chip', 'glue')
    """
    head, *rest = path.split(".")
    name = rest[-1] if rest else head
    known = _FIELDS.get(f"{head}.{name}")
    if known:
        return known
    for tail in _UNIT_TAILS:
        name = name.removesuffix(tail)
    return name.replace("_", " ").replace("-", " ")


def group_label(path: str, titles: Mapping[str, str]) -> str:
    """Whose input it is: the option's title or the subject."""
    head, *rest = path.split(".")
    if head == "options" and rest:
        return titles.get(rest[0], rest[0])
    return SECTIONS.get(head, head.replace("_", " ").capitalize())


def input_label(path: str, titles: Mapping[str, str]) -> str:
    """Name of an input in full.

    Examples
    --------
    >>> input_label("options.own.nre_usd", {"own": "Jalapeno"})
    'Jalapeno: engineering cost (NRE)'
    >>> input_label("parts.hbm_usd_per_gb", {})
    'Price of HBM'
    """
    label = field_label(path)
    if path.startswith("options."):
        return f"{group_label(path, titles)}: {label}"
    return label[:1].upper() + label[1:]


def holder_label(holder: str) -> str:
    """Who receives a dollar, in words."""
    return HOLDERS.get(holder, holder.replace("_", " ").capitalize())


def inside(label: str) -> str:
    """A label within a sentence.

    Examples
    --------
    >>> inside("Design partner"), inside("HBM")
    ('design partner', 'HBM')
    """
    return label if label[1:2].isupper() else label[:1].lower() + label[1:]


def wrapped(text: str, width: int = 46, lines: int = 2) -> str:
    r"""Text broken into at most so many lines, for a chart; cut at a word if longer.

    Examples
    --------
    >>> wrapped("one two three", width=8)
    'one two\nthree'
    """
    made = textwrap.wrap(text, width=width, max_lines=lines, placeholder=" …")
    return "\n".join(made)
