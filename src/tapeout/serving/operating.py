"""One operating point: a placement with a given number of sequences."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from tapeout.constants import Z80
from tapeout.errors import InfeasibleError
from tapeout.numerics import Floats
from tapeout.perf import (
    ChipPower,
    MemoryMap,
    Placement,
    StepCost,
    TimingModel,
    chip_power,
    require_fit,
)
from tapeout.serving.steady import TOKEN_BUDGET, Lengths, steady_state


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatingPoint:
    """Means of a full engine; rates and power per chip, hosts apart.

    `by_kind_s` splits the decode step; `carrying_fraction` of the steps carry a prefill chunk and
    take `carrying_step_s`. `power` gives the power of a chip under every denominator,
    `joule_by_part` splits the energy of an output token and `clock_fraction` is the mean clock
    over the one without a power cap. `band_factor` is the 80 % band on every time: x and / by it.
    """

    placement: Placement
    sequences: float
    tpot_s: float
    ttft_s: float
    decode_step_s: float
    carrying_step_s: float
    carrying_fraction: float
    output_tokens_per_s_per_chip: float
    input_tokens_per_s_per_chip: float
    joule_per_output_token: float
    power_w_per_chip: float
    host_w_per_chip: float
    power: ChipPower
    joule_by_part: Mapping[str, float]
    clock_fraction: float
    by_kind_s: Mapping[str, float]
    bound: str
    memory: MemoryMap
    log_sd: float

    @property
    def band_factor(self) -> float:
        """Half width of the 80 % band, as a factor."""
        return math.exp(Z80 * self.log_sd)


def operating_point(
    model: TimingModel,
    placement: Placement,
    lengths: Lengths,
    sequences: float,
    token_budget: int = TOKEN_BUDGET,
) -> OperatingPoint:
    """Time one placement with this many sequences decoding, over the whole replica.

    Raises
    ------
    DoesNotFitError
        Weights, caches and buffers exceed the memory of a chip.
    InfeasibleError
        Fewer than one sequence, or degrees of parallelism that do not fit one another.
    MissingFieldError
        The chip has no peak rate.
    """
    if not sequences >= 1.0:
        raise InfeasibleError(f"{sequences:g} sequences; at least one must decode")
    memory = require_fit(placement, sequences, lengths.context)
    state = steady_state(model, placement, lengths, np.array([sequences]), token_budget)
    cost = state.cost
    rate = float(state.output_tokens_per_s[0]) / placement.chips
    joule = float(state.joule_per_output_token[0])
    return OperatingPoint(
        placement=placement,
        sequences=sequences,
        tpot_s=float(state.tpot_s[0]),
        ttft_s=float(state.ttft_s[0]),
        decode_step_s=float(cost.time_s[0]),
        carrying_step_s=float(cost.time_s[1]),
        carrying_fraction=float(state.carrying[0]),
        output_tokens_per_s_per_chip=rate,
        input_tokens_per_s_per_chip=rate * lengths.input / lengths.output,
        joule_per_output_token=joule,
        power_w_per_chip=joule * rate,
        host_w_per_chip=placement.system.host_w,
        power=chip_power(joule * rate, placement.system.chip.tdp_w, placement.system.host_w),
        joule_by_part={
            name: _mixed(part, state.carrying) / sequences
            for name, part in cost.energy_by_part_j.items()
        },
        clock_fraction=_clock(cost, state.carrying),
        by_kind_s={kind: float(part[0]) for kind, part in cost.by_kind_s.items()},
        bound=cost.bound[0],
        memory=memory,
        log_sd=cost.log_sd,
    )


def _mixed(steps: Floats, carrying: Floats) -> float:
    """Mean over the decode step and the one that carries a prefill chunk."""
    share = float(carrying[0])
    return (1.0 - share) * float(steps[0]) + share * float(steps[1])


def _clock(cost: StepCost, carrying: Floats) -> float:
    """Mean clock fraction over time; 1 for a timing model without a clock."""
    if cost.clock_fraction is None:
        return 1.0
    return _mixed(cost.clock_fraction * cost.time_s, carrying) / _mixed(cost.time_s, carrying)
