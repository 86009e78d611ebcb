"""Requests through engines over time; here the steady state and the capacity at an objective."""

from tapeout.serving.capacity import (
    CapacityOptions,
    CapacityPoint,
    best_point,
    capacity_point,
    steady_capacity,
)
from tapeout.serving.steady import Lengths, SteadyState, lengths_of, steady_state
from tapeout.serving.types import CapacityTable, Deployment, Slo

__all__ = [
    "CapacityOptions",
    "CapacityPoint",
    "CapacityTable",
    "Deployment",
    "Lengths",
    "Slo",
    "SteadyState",
    "best_point",
    "capacity_point",
    "lengths_of",
    "steady_capacity",
    "steady_state",
]
