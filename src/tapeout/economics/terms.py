"""The terms of the money model: every input by name, with unit, sign and default.

One table drives the scenario's schema, the resolution of defaults and the documentation. A default
is "driver:NAME" (a reviewed figure of the catalogue), "chip:FIELD[:CONDITION]" (a figure of the
option's chip), "derived" (computed in `study`), or a number that needs a reason beside it.
"""

from __future__ import annotations

from tapeout.economics.option_terms import (
    API_TERMS,
    BUILD_TERMS,
    BUY_TERMS,
    OPTION_TERMS,
    RENT_TERMS,
    ROADMAP_TERMS,
)
from tapeout.economics.term import Sign, Term
from tapeout.economics.term import make as _t

# Each drift of the price of tokens acts once: hardware through the rival's generations, the others
# here. Stated, they take the place of `decline_per_year`, which lumps them.
PRICE_DRIFTS = ("software", "model", "margin")
_DRIFT_TEXTS = {
    "software": "better serving software on the same chips and models",
    "model": "models that need less work for the same answer",
    "margin": "thinner margins of those who sell tokens",
}
PRICE_DRIFT_TERMS: tuple[Term, ...] = (
    *(
        _t(
            f"{name}_decline_per_year",
            "1/year",
            "signed",
            f"decline of the price of a token through {text}; in place of decline_per_year",
            "derived",
        )
        for name, text in _DRIFT_TEXTS.items()
    ),
    *(
        _t(
            f"{name}_innovation_sd",
            "ratio",
            "positive",
            f"yearly shock to the logarithm of the price through {text}, one standard deviation",
            "derived",
        )
        for name, text in _DRIFT_TEXTS.items()
    ),
    _t(
        "observed_changes",
        "count",
        "count",
        "yearly changes from which those declines were estimated, at least 2; needed with a shock",
        "derived",
    ),
    _t(
        "autocorrelation_fraction",
        "fraction",
        "fraction",
        "share of a year's shock that carries over into the next; 0.63 where not stated",
        "derived",
    ),
)

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
            "rent_volatility_ratio",
            "ratio",
            "positive",
            "swings of rents about their drift: standard deviation of the logarithm a root year",
            "derived",
        ),
        _t(
            "rent_reversion_per_year",
            "1/year",
            "positive",
            "rate at which such a swing fades; with rent_volatility_ratio",
            "derived",
        ),
        _t(
            "rent_over_owner_cost_ratio",
            "ratio",
            "positive",
            "today's rents over what owning the same chips costs: the excess fades likewise",
            "derived",
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
        _t(
            "releases_per_year",
            "1/year",
            "positive",
            "new model releases a year that have to be ported",
            "derived",
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
        *PRICE_DRIFT_TERMS,
    ),
}


def term(kind_or_section: str, name: str) -> Term:
    """Look a term up by option kind ("buy" ...) or section ("site" ...) and name."""
    table = OPTION_TERMS.get(kind_or_section) or GLOBAL_TERMS[kind_or_section]
    return next(entry for entry in table if entry.name == name)


__all__ = [
    "API_TERMS",
    "BUILD_TERMS",
    "BUY_TERMS",
    "GLOBAL_TERMS",
    "OPTION_TERMS",
    "PRICE_DRIFTS",
    "RENT_TERMS",
    "ROADMAP_TERMS",
    "Sign",
    "Term",
    "term",
]
