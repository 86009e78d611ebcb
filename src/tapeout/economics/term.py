"""One input of the money model: its name, unit, sign, meaning and default."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Sign = Literal["positive", "fraction", "signed", "count"]

# what the money model divides by, or cannot do without
ABOVE_ZERO = frozenset(
    {
        "tokens_per_s_per_chip",
        "timing_ratio",
        "availability_fraction",
        "first_year_availability_fraction",
        "maturity_start_fraction",
        "port_start_fraction",
        "delivered_ratio",
        "allin_w_per_chip",
        "die_area_mm2",
        "die_yield_fraction",
        "packaging_yield_fraction",
        "realised_ratio",
        "rent_over_owner_cost_ratio",
        "tokens_per_usd_gain_ratio",
        "tokens_per_w_gain_ratio",
    }
)
AT_LEAST = {
    "peak_to_mean_ratio": 1.0,
    "pue_ratio": 1.0,
    "life_years": 0.25,  # the step of the plan
    "cadence_years": 0.25,
    "generation_cadence_years": 0.25,
    "observed_changes": 2.0,
}
BELOW_ONE = frozenset({"partner_margin_fraction", "cloud_margin_fraction"})


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

    def wrong(self, numbers: list[float]) -> str:
        """Say what is wrong with the sign or size of a value and its range, if anything."""
        low, high = min(numbers), max(numbers)
        least = AT_LEAST.get(self.name)
        if self.sign in ("positive", "count") and low < 0:
            return "must not be negative"
        if self.sign == "fraction" and not (low >= 0 and high <= 1):
            return "must lie between 0 and 1"
        if self.name in ABOVE_ZERO and low <= 0:
            return "must be more than zero"
        if least is not None and low < least:
            return f"must be at least {least:g}"
        if self.name in BELOW_ONE and high >= 1:
            return "must be less than 1"
        return ""


def make(name: str, unit: str, sign: Sign, text: str, default: str | float, why: str = "") -> Term:
    """Make a term from its columns, in the order of the tables."""
    return Term(name=name, unit=unit, sign=sign, text=text, default=default, why=why)
