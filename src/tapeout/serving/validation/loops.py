"""Closed loops by the engine that was asked for: mixture, burst or simulation."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tapeout.perf import Placement, TimingModel
from tapeout.serving.cases import Prediction, closed_loop
from tapeout.serving.closed_loop import LoopEngine, simulated_closed_loop
from tapeout.serving.policies import Setting, recipe_policy
from tapeout.serving.steady import Lengths
from tapeout.serving.validation.loads import Replica, in_closed_loop, is_long_loop


def in_loop(
    model: TimingModel,
    placement: Placement,
    lengths: Lengths,
    requests: float,
    spread: float,
    engine: LoopEngine,
) -> Replica:
    """So many requests in flight in a replica, all sent at once at the start.

    Parameters
    ----------
    model, placement, lengths
    requests : float
        In flight in the replica.
    spread : float
        Half the range of lengths over their mean.
    engine : LoopEngine
        SIMULATE keeps what all three say in `Replica.beside`. A loop that is too long to be taken
        step by step is timed by its steady state whatever the engine.
    """
    count = np.array([requests])
    if engine is LoopEngine.MIXTURE:
        return _replica(placement, closed_loop(model, placement, lengths, count), lengths)
    burst = in_closed_loop(model, placement, lengths, requests, spread)
    if engine is LoopEngine.BURST:
        return burst
    mixture = _replica(placement, closed_loop(model, placement, lengths, count), lengths)
    simulated = burst
    if not is_long_loop(placement, lengths, requests):
        policy = recipe_policy(Setting(placement=placement, lengths=lengths, in_flight=requests))
        found = simulated_closed_loop(model, placement, lengths, spread, count, policy)
        simulated = replace(
            _replica(placement, found, lengths), mean_ttft_s=float(found.mean_ttft_s[0])
        )
    three = (mixture, burst, simulated)
    return replace(simulated, beside=dict(zip(LoopEngine, three, strict=True)))


def _replica(placement: Placement, found: Prediction, lengths: Lengths) -> Replica:
    """Means of a prediction of one point."""
    rate = float(found.output_tokens_per_s_per_chip[0]) * placement.chips
    rate *= min(1.0, lengths.output / 2.0)  # a run generates two tokens a request at least
    state = found.state
    return Replica(
        steps_per_s=rate,
        step_s=float(found.tpot_s[0]),
        ttft_s=float(found.ttft_s[0]),
        power_w=float(state.joule_per_output_token[0] * state.output_tokens_per_s[0])
        / placement.chips,
        sequences=float(found.decoding[0]),
        log_sd=state.cost.log_sd,
    )
