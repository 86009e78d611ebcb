"""Shares of an outcome's variance by input or group of inputs, independent or correlated."""

from tapeout.risk.sensitivity.analysis import Shares, analyse
from tapeout.risk.sensitivity.copies import follow_back, matched, mix
from tapeout.risk.sensitivity.indices import (
    Estimate,
    first_order,
    orders,
    shapley_effects,
    total_order,
)

__all__ = [
    "Estimate",
    "Shares",
    "analyse",
    "first_order",
    "follow_back",
    "matched",
    "mix",
    "orders",
    "shapley_effects",
    "total_order",
]
