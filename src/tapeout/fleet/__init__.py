"""Chips, racks and megawatts by quarter: what a need for capacity turns into."""

from tapeout.fleet.limits import Limit
from tapeout.fleet.plan import (
    FleetPlan,
    Supply,
    peak_need,
    plan,
    remaining_life_fraction,
    utilisation_fraction,
)

__all__ = [
    "FleetPlan",
    "Limit",
    "Supply",
    "peak_need",
    "plan",
    "remaining_life_fraction",
    "utilisation_fraction",
]
