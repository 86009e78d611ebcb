"""Steady state of an engine: a mixture of pure decode steps and steps that carry a prefill chunk.

With n sequences decoding and O output tokens each, n/O prompts finish and are replaced in every
step. Their new tokens arrive in chunks of at most the token budget, so a fraction f of the steps
carries a chunk and the rest decodes alone; each kind is timed on its own (reference timing, issue
3.5, serving section 4). Engines that run prefill alone put it between two steps, which costs
about the same time.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tapeout.numerics import Floats
from tapeout.perf import Placement, StepCost, TimingModel, step_mix
from tapeout.workload import StepMix, Traffic

TOKEN_BUDGET = 8192  # tokens of a step and attention group; default of the vLLM API server


@dataclass(frozen=True, slots=True, kw_only=True)
class Lengths:
    """Mean tokens of a request: new input (to be computed), cached input, output."""

    new: float
    cached: float
    output: float

    @property
    def input(self) -> float:
        """All input tokens."""
        return self.new + self.cached

    @property
    def context(self) -> float:
        """Mean tokens a sequence holds while it decodes."""
        return self.input + self.output / 2.0


def lengths_of(traffic: Traffic) -> Lengths:
    """Split the input of a class into new and cached tokens; at least one token is computed."""
    cached = traffic.input_tokens * traffic.cached_input_fraction
    new = max(1.0, traffic.input_tokens - cached)
    return Lengths(new=new, cached=traffic.input_tokens - new, output=traffic.output_tokens)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mixture:
    """The two kinds of steps; arrays have shape (batch,).

    Attributes
    ----------
    steps : StepMix
        Decode steps, then carrying steps: shape (2 batch,).
    carrying : array
        Fraction f of steps with a prefill chunk.
    load : array
        Prefill tokens of an average step over the budget; at 1 and above there is no steady state.
    chunks : float
        Steps that one prompt takes.
    """

    steps: StepMix
    carrying: Floats
    load: Floats
    chunks: float


def mixture(lengths: Lengths, sequences: Floats, token_budget: float) -> Mixture:
    """Compose the steps of an engine with so many decoding sequences.

    Parameters
    ----------
    lengths : Lengths
    sequences : array, shape (batch,)
        Sequences that decode, over the whole replica.
    token_budget : float
        Prefill tokens of a step, over all data-parallel groups.
    """
    count = np.asarray(sequences, dtype=float)
    per_step = count / lengths.output * lengths.new  # new tokens of an average step
    chunk = min(lengths.new, token_budget)
    carrying = np.minimum(1.0, per_step / chunk)
    tokens = np.minimum(np.maximum(per_step, chunk), token_budget)
    earlier = lengths.cached + (lengths.new - chunk) / 2.0  # mean over the chunks of a prompt
    none = np.zeros_like(count)
    steps = step_mix(
        prefill=np.concatenate([none, tokens]),
        cached=np.concatenate([none, none + earlier]),
        prompts=np.concatenate([none, tokens / chunk]),
        decode=np.concatenate([count, count]),
        context=lengths.context,
    )
    return Mixture(
        steps=steps,
        carrying=carrying,
        load=per_step / token_budget,
        chunks=lengths.new / chunk,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class SteadyState:
    """Means of a full engine; arrays have shape (batch,).

    Attributes
    ----------
    sequences : array
        Sequences decoding.
    tpot_s : array
        Mean time of a step. [s]
    ttft_s : array
        Half a step, the queue, and the prompt's own steps; infinite where prefill saturates. [s]
    prefill_s, queue_s : array
        The prompt's own steps, and the mean wait for the budget. [s]
    tpot_sd_s : array
        Spread of a request's TPOT from the number of carrying steps it meets. [s]
    output_tokens_per_s : array
        Of the replica.
    joule_per_output_token : array
        All chips of the replica, hosts apart. [J]
    cost : StepCost
        Of the decode steps, then the carrying ones.
    """

    sequences: Floats
    tpot_s: Floats
    ttft_s: Floats
    prefill_s: Floats
    queue_s: Floats
    tpot_sd_s: Floats
    carrying: Floats
    load: Floats
    output_tokens_per_s: Floats
    joule_per_output_token: Floats
    cost: StepCost


def steady_state(
    model: TimingModel,
    placement: Placement,
    lengths: Lengths,
    sequences: Floats,
    token_budget: int = TOKEN_BUDGET,
) -> SteadyState:
    """Time a placement that decodes so many sequences for ever.

    The wait for prefill is that of a queue with constant service (M/D/1) whose load is the share
    of the token budget in use: `W = rho S / (2 (1 - rho))`.

    Parameters
    ----------
    model : TimingModel
    placement : Placement
    lengths : Lengths
    sequences : array, shape (batch,)
        Over the whole replica.
    token_budget : int
        Of one data-parallel group.

    Raises
    ------
    MissingFieldError, InfeasibleError
        As the timing model.
    """
    count = np.asarray(sequences, dtype=float)
    budget = float(token_budget) * placement.data_parallel
    mix = mixture(lengths, count, budget)
    cost = model.step_cost(placement, mix.steps)
    decode_s, carry_s = np.split(cost.time_s, 2)
    decode_j, carry_j = np.split(cost.energy_j, 2)
    share = mix.carrying
    tpot = (1.0 - share) * decode_s + share * carry_s
    prefill = mix.chunks * carry_s
    room = np.maximum(1.0 - mix.load, 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        queue = np.where(room > 0.0, mix.load / (2.0 * room) * prefill, np.inf)
    joule = (1.0 - share) * decode_j + share * carry_j
    return SteadyState(
        sequences=count,
        tpot_s=tpot,
        ttft_s=tpot / 2.0 + queue + prefill,
        prefill_s=prefill,
        queue_s=queue,
        tpot_sd_s=(carry_s - decode_s) * np.sqrt(share * (1.0 - share) / lengths.output),
        carrying=share,
        load=mix.load,
        output_tokens_per_s=count / tpot,
        joule_per_output_token=joule / count,
        cost=cost,
    )
