"""Terms of the options: what a scenario may say of something bought, rented, built or metered."""

from __future__ import annotations

from tapeout.economics.term import Term
from tapeout.economics.term import make as _t

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
        "GB",
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

_PORT_PER_RELEASE = _t(
    "port_usd_per_release",
    "USD",
    "positive",
    "port of one new model release; with software.releases_per_year",
    "derived",
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
        "life_years",
        "years",
        "positive",
        "service life behind a rent built from capital, and span over which a port is judged",
        "driver:service_life_years",
    ),
    _t(
        "hall_fraction",
        "fraction",
        "fraction",
        "share of that capital that is hall and power, written off over the life of the hall",
        "driver:hall_cost_fraction_custom",
    ),
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
    _PORT_PER_RELEASE,
    _t("minimum_usd_per_year", "USD/year", "positive", "take-or-pay minimum", "derived"),
    _t("minimum_years", "years", "positive", "years the minimum runs", "derived"),
)

# of the second and later own chips; a scenario whose programme ends with one has none of them
ROADMAP_TERMS: tuple[Term, ...] = (
    _t(
        "generation_cadence_years",
        "years",
        "positive",
        "planned first service of one own chip to that of the next",
        "driver:own_generation_cadence_years",
    ),
    _t(
        "generation_design_months",
        "months",
        "positive",
        "design of a successor, to its planned tape-out; beyond the cadence, designs overlap",
        "driver:design_to_tapeout_months",
    ),
    _t(
        "tokens_per_usd_gain_ratio",
        "ratio",
        "positive",
        "of each step of the own cadence over the one before, at an unchanged price a chip",
        "driver:own_generation_tokens_per_usd_gain_ratio",
    ),
    _t(
        "tokens_per_w_gain_ratio",
        "ratio",
        "positive",
        "of each step of the own cadence over the one before",
        "driver:own_generation_tokens_per_w_gain_ratio",
    ),
    _t(
        "reused_nre_fraction",
        "fraction",
        "fraction",
        "of the first chip's NRE that a successor saves by reuse, a dearer node set against it",
        "driver:own_generation_reused_nre_fraction",
    ),
    _t(
        "slip_learning_fraction",
        "fraction",
        "fraction",
        "by which slip and extra steppings shrink with every chip built",
        "driver:own_generation_slip_learning_fraction",
    ),
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
    *ROADMAP_TERMS,
    _PORT_PER_RELEASE,
    _t(
        "model_families",
        "count",
        "positive",
        "families of models kept running on the chip",
        "derived",
    ),
    _t(
        "usd_per_family_year",
        "USD/year",
        "positive",
        "kernels, formats and tests of one family; with model_families",
        "derived",
    ),
    _t(
        "day0_coverage_fraction",
        "fraction",
        "fraction",
        "share of a new model's traffic served on the day of its release; with port_lag_months",
        "derived",
    ),
    _t(
        "port_lag_months",
        "months",
        "positive",
        "from a release until all of its traffic is served",
        "derived",
    ),
    _t(
        "traffic_model_age_months",
        "months",
        "positive",
        "mean age of the model behind a token; with port_lag_months",
        "derived",
    ),
    _t(
        "context_eligible_fraction",
        "fraction",
        "fraction",
        "share of the traffic whose context the chip's memory holds",
        "derived",
    ),
    _t(
        "modality_eligible_fraction",
        "fraction",
        "fraction",
        "share of the traffic in modalities that its stack serves",
        "derived",
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
