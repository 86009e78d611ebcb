"""The steady state of many configurations at once: what is worth a simulation.

A placement is timed once for each token budget on a grid of batches; every cap on sequences is then
a part of that grid. Limits on TTFT and TPOT are held; limits on end-to-end time and queue, policies
and the spread of lengths are left to the simulation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from tapeout.errors import Outcome
from tapeout.perf import Placement, TimingModel, max_sequences
from tapeout.serving.engine.types import Rules
from tapeout.serving.objectives import Flags, Objective
from tapeout.serving.percentiles import tpot_at_percentile_s, ttft_at_percentile_s
from tapeout.serving.steady import Lengths, SteadyState, steady_state
from tapeout.serving.types import Deployment

GRID = 40  # batches, geometric: neighbours differ by a fifth up to a thousand sequences


@dataclass(frozen=True, slots=True, kw_only=True)
class Screened:
    """The largest batch of one configuration that meets the objective in the steady state.

    Attributes
    ----------
    outcome : Outcome
        Of a configuration that misses, the figures are those of one sequence and rates are zero.
    rate_rps, output_tokens_per_s : float
        Of one replica.
    sequences : float
    mean_tpot_s, tpot_s, ttft_s : float
        The last two at the objective's percentiles. [s]
    joule_per_output_token : float
    trade : tuple of (mean TPOT [s], output tokens/s, joules of an output token)
        From one sequence to the cap, whatever the objective; rates of one replica.
    log_sd : float
        Timing error of the step model: sd of the log of a step's time.
    """

    outcome: Outcome
    rate_rps: float
    output_tokens_per_s: float
    sequences: float
    mean_tpot_s: float
    tpot_s: float
    ttft_s: float
    joule_per_output_token: float
    trade: tuple[tuple[float, float, float], ...] = ()
    log_sd: float = 0.0


NOT_FITTING = Screened(
    outcome=Outcome.DOES_NOT_FIT, rate_rps=0.0, output_tokens_per_s=0.0, sequences=0.0,
    mean_tpot_s=np.nan, tpot_s=np.nan, ttft_s=np.nan, joule_per_output_token=np.nan,
)  # fmt: skip


def screen(
    model: TimingModel,
    placement: Placement,
    lengths: Lengths,
    objective: Objective,
    token_budget: int,
    caps: Sequence[float],
) -> tuple[Screened, ...]:
    """Screen a placement under several caps on the sequences of the whole replica.

    Raises
    ------
    MissingFieldError
        The chip has no peak rate.
    """
    most = max(caps, default=0.0)
    if most < 1.0:
        return tuple(NOT_FITTING for _ in caps)
    batch = np.unique(np.concatenate([np.rint(np.geomspace(1.0, most, GRID)), np.floor(caps)]))
    batch = batch[batch >= 1.0]
    state = steady_state(model, placement, lengths, batch, token_budget)
    slow, late = _missed(state, objective)
    good = np.flatnonzero(~slow & ~late)
    found = []
    for cap in caps:
        below = good[batch[good] <= cap]
        if cap < 1.0:
            found.append(NOT_FITTING)
        elif below.size:
            found.append(_described(state, objective, lengths, int(below[-1])))
        else:
            outcome = Outcome.MISSES_TPOT if slow[0] else Outcome.MISSES_TTFT
            alone = _described(state, objective, lengths, 0)
            found.append(replace(alone, outcome=outcome, rate_rps=0.0, output_tokens_per_s=0.0))
    return tuple(
        replace(one, trade=_trade(state, cap), log_sd=state.cost.log_sd)
        for one, cap in zip(found, caps, strict=True)
    )


def _trade(state: SteadyState, cap: float) -> tuple[tuple[float, float, float], ...]:
    """Speed of a request, output and energy at every batch that has a steady state."""
    held = (state.sequences <= cap) & (state.load < 1.0)
    rows = np.stack([state.tpot_s, state.output_tokens_per_s, state.joule_per_output_token])
    return tuple((row[0], row[1], row[2]) for row in rows[:, held].T.tolist())


def _missed(state: SteadyState, objective: Objective) -> tuple[Flags, Flags]:
    """Batches that are too slow, and those whose prompts wait too long; shape (batch,)."""
    slow: Flags = np.zeros(state.sequences.size, np.bool_)
    late: Flags = state.load >= 1.0
    for limit in objective.limits:
        if limit.metric == "tpot":
            slow |= tpot_at_percentile_s(state, limit.percentile) > limit.limit_s
        elif limit.metric == "ttft":
            late = late | (ttft_at_percentile_s(state, limit.percentile) > limit.limit_s)
    return slow, late


def _described(state: SteadyState, objective: Objective, lengths: Lengths, at: int) -> Screened:
    def percent(metric: str) -> float:
        own = [one.percentile for one in objective.limits if one.metric == metric]
        return max(own, default=90.0)

    rate = float(state.output_tokens_per_s[at])
    return Screened(
        outcome=Outcome.OK,
        rate_rps=rate / lengths.output,
        output_tokens_per_s=rate,
        sequences=float(state.sequences[at]),
        mean_tpot_s=float(state.tpot_s[at]),
        tpot_s=float(tpot_at_percentile_s(state, percent("tpot"))[at]),
        ttft_s=float(ttft_at_percentile_s(state, percent("ttft"))[at]),
        joule_per_output_token=float(state.joule_per_output_token[at]),
    )


def cap_of(placement: Placement, lengths: Lengths, sequences_per_rank: int) -> float:
    """Sequences of a replica that memory and the engine hold."""
    fitting = max_sequences(placement, lengths.context)
    return float(min(fitting, sequences_per_rank * placement.data_parallel))


def screened_rate(
    deployment: Deployment,
    rules: Rules,
    lengths: Lengths,
    objective: Objective,
    model: TimingModel,
) -> float:
    """Rate of all replicas in the steady state, zero where it meets no limit. [1/s].

    Parameters
    ----------
    deployment : Deployment
    rules : Rules
        Its engine's.
    lengths : Lengths
    objective : Objective
    model : TimingModel
    """
    held = rules.kv_blocks * rules.block_tokens * rules.ranks / lengths.context
    cap = min(held, float(rules.max_sequences * rules.ranks))
    (found,) = screen(model, deployment.placement, lengths, objective, rules.token_budget, [cap])
    return found.rate_rps * deployment.replicas
