"""From means of a steady state to a percentile of requests.

TPOT of a request is its mean over O steps. Two things spread it: how many steps with a prefill
chunk it meets (binomial, computed) and how the batch fluctuates around its mean (assumed). TTFT is
a fixed part and a wait whose tail is taken as exponential, P(W > t) = rho exp(-t rho / W_mean),
exact for M/M/1 and the usual approximation for M/G/1.
"""

from __future__ import annotations

from statistics import NormalDist

import numpy as np

from tapeout.constants import PERCENT
from tapeout.numerics import Floats
from tapeout.serving.steady import SteadyState

BATCH_LOG_SD = 0.075
"""Spread of requests' TPOT from load, log units. Assumption between the two runs measured request
by request: p99 over mean 1.13 (two RTX PRO 6000, below saturation, log sd 0.05) and 1.73 (RTX
4090, saturated with preemptions, 0.24)."""


def tpot_at_percentile_s(state: SteadyState, percentile: float) -> Floats:
    """TPOT that the given share of requests does not exceed, shape (batch,). [s].

    Mean x exp(z 0.075) + z x binomial spread; at the 90th percentile the factor is 1.10.
    """
    z = NormalDist().inv_cdf(percentile * PERCENT)
    level: Floats = state.tpot_s * np.exp(z * BATCH_LOG_SD) + z * state.tpot_sd_s
    return level


def ttft_at_percentile_s(state: SteadyState, percentile: float) -> Floats:
    """TTFT that the given share of requests does not exceed, shape (batch,). [s].

    A step at most for the one running, the prompt's own steps, and the percentile of the wait;
    infinite where prefill saturates.
    """
    beyond = 1.0 - percentile * PERCENT
    load = np.clip(state.load, 1e-12, 1.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean_if_waiting = state.queue_s / load
        wait = np.where(load > beyond, mean_if_waiting * np.log(load / beyond), 0.0)
    level: Floats = state.tpot_s + state.prefill_s + np.where(state.load < 1.0, wait, np.inf)
    return level
