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


def slower_request(mean_s: Floats, percentile: float) -> Floats:
    """TPOT that the given share of requests does not exceed, from the fluctuating batch alone.

    Mean x exp(z 0.075): 1.10 at the 90th percentile.
    """
    z = NormalDist().inv_cdf(percentile * PERCENT)
    level: Floats = mean_s * np.exp(z * BATCH_LOG_SD)
    return level


def wait_at_percentile(mean_s: Floats, load: Floats, percentile: float) -> Floats:
    """Wait that the given share of requests does not exceed; infinite at full load. [s].

    Parameters
    ----------
    mean_s : array
        Mean wait over all requests. [s]
    load : array, same shape
        Busy share of the server, at least 0.
    percentile : float
        Per cent.
    """
    beyond = 1.0 - percentile * PERCENT
    busy = np.clip(load, 1e-12, 1.0)
    tail = np.maximum(np.log(busy / beyond), 0.0)
    with np.errstate(invalid="ignore"):
        return np.where(load < 1.0, mean_s / busy * tail, np.inf)


def tpot_at_percentile_s(state: SteadyState, percentile: float) -> Floats:
    """TPOT that the given share of requests does not exceed, shape (batch,). [s]."""
    z = NormalDist().inv_cdf(percentile * PERCENT)
    level: Floats = slower_request(state.tpot_s, percentile) + z * state.tpot_sd_s
    return level


def ttft_at_percentile_s(state: SteadyState, percentile: float) -> Floats:
    """TTFT that the given share of requests does not exceed, shape (batch,). [s].

    A step at most for the one running, the prompt's own steps, and the percentile of the wait;
    infinite where prefill saturates.
    """
    wait = wait_at_percentile(state.queue_s, state.load, percentile)
    level: Floats = state.tpot_s + state.prefill_s + wait
    return level
