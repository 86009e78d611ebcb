"""Requests through engines over time; here the steady state and the capacity at an objective."""

from tapeout.serving.burst import BurstPrediction, EnginePolicy, burst_closed_loop
from tapeout.serving.capacity import steady_capacity
from tapeout.serving.operating import OperatingPoint, operating_point
from tapeout.serving.points import (
    CapacityOptions,
    CapacityPoint,
    best_point,
    capacity_point,
    least_tpot_point,
    words,
)
from tapeout.serving.policies import usual_policy
from tapeout.serving.steady import Lengths, SteadyState, lengths_of, steady_state
from tapeout.serving.types import CapacityTable, Deployment, Slo

__all__ = [
    "BurstPrediction",
    "CapacityOptions",
    "CapacityPoint",
    "CapacityTable",
    "Deployment",
    "EnginePolicy",
    "Lengths",
    "OperatingPoint",
    "Slo",
    "SteadyState",
    "best_point",
    "burst_closed_loop",
    "capacity_point",
    "least_tpot_point",
    "lengths_of",
    "operating_point",
    "steady_capacity",
    "steady_state",
    "usual_policy",
    "words",
]
