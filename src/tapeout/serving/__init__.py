"""Requests through engines over time; here the steady state and the capacity at an objective."""

from tapeout.serving.steady import Lengths, SteadyState, lengths_of, steady_state
from tapeout.serving.types import CapacityTable, Deployment, Slo

__all__ = [
    "CapacityTable",
    "Deployment",
    "Lengths",
    "Slo",
    "SteadyState",
    "lengths_of",
    "steady_state",
]
