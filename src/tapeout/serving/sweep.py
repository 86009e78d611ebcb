"""Operating points over batches and placements: what `tapeout perf` shows of each.

A point is one of three kinds of load: "steady" is the mixture of decode steps and steps that carry
a prefill chunk (`serving.steady`), "decode" a step in which every sequence brings one token,
"prefill" a step full of prompt tokens. In a sweep what cannot be served is an outcome, never an
exception.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from tapeout.constants import Z80
from tapeout.errors import DoesNotFitError, InfeasibleError, MissingFieldError, Outcome
from tapeout.perf import (
    ChipPower,
    MemoryMap,
    Placement,
    PowerScope,
    TimingModel,
    chip_power,
    require_fit,
    step_mix,
)
from tapeout.perf.points import Breakdown, breakdown
from tapeout.serving.operating import OperatingPoint, operating_point
from tapeout.serving.steady import TOKEN_BUDGET, Lengths, mixture
from tapeout.workload import StepMix

STEADY, DECODE, PREFILL = "steady", "decode", "prefill"
KINDS = (STEADY, DECODE, PREFILL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What is served: lengths of requests, kind of step, tokens a decoding sequence holds.

    `context` counts in decode steps only; None is the mean over a request's life.
    """

    lengths: Lengths
    kind: str = STEADY
    context: float | None = None

    @property
    def context_tokens(self) -> float:
        """Mean tokens of a sequence that the memory map counts."""
        if self.kind == PREFILL:
            return self.lengths.input
        if self.kind == DECODE and self.context is not None:
            return self.context
        return self.lengths.context


@dataclass(frozen=True, slots=True, kw_only=True)
class PerfPoint:
    """One point that can be served; rates and power per chip, hosts apart unless said.

    Attributes
    ----------
    sequences : float
        Sequences that decode, or prompts of a prefill step, over the whole replica.
    step_s : float
        Mean step. [s]
    tpot_s, ttft_s : float
        nan where the kind of load has none; TTFT of a prefill step is that of the last prompt of
        the batch. [s]
    joule_per_token : float
        Of output tokens, in prefill of new input tokens. [J]
    power : ChipPower
        Watts of a chip under the four denominators.
    steady : OperatingPoint or None
        Of the steady mixture only.
    """

    placement: Placement
    load: Load
    sequences: float
    step_s: float
    tpot_s: float
    ttft_s: float
    output_tokens_per_s_per_chip: float
    input_tokens_per_s_per_chip: float
    joule_per_token: float
    power: ChipPower
    breakdown: Breakdown
    memory: MemoryMap
    log_sd: float
    steady: OperatingPoint | None = None

    @property
    def band_factor(self) -> float:
        """Half width of the 80 % band on every time, as a factor."""
        return math.exp(Z80 * self.log_sd)

    @property
    def tokens_per_s_per_user(self) -> float:
        """Interactivity: output tokens per second of one sequence; nan in prefill."""
        return 1.0 / self.tpot_s

    @property
    def tokens_per_s_per_chip(self) -> float:
        """Tokens that `joule_per_token` is per: output, in prefill new input."""
        if self.load.kind == PREFILL:
            return self.input_tokens_per_s_per_chip
        return self.output_tokens_per_s_per_chip

    def joule_per_token_of(self, scope: PowerScope) -> float:
        """Energy of a token with a chip charged under one of the four denominators. [J]."""
        return self.power.of(scope) / self.tokens_per_s_per_chip


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepRow:
    """A point of a sweep: `point` is None unless the outcome is OK, `reason` says why."""

    placement: Placement
    sequences: float
    outcome: Outcome
    reason: str
    point: PerfPoint | None


def perf_point(model: TimingModel, placement: Placement, load: Load, sequences: float) -> PerfPoint:
    """Time one placement under one load.

    Raises
    ------
    DoesNotFitError
        Weights, caches and buffers exceed the memory of a chip.
    InfeasibleError
        Fewer than one sequence, an unknown kind of load, or degrees that do not fit one another.
    MissingFieldError
        The chip has no peak rate.
    """
    if load.kind not in KINDS:
        raise InfeasibleError(f"load {load.kind!r} is none of {', '.join(KINDS)}")
    if not sequences >= 1.0:
        raise InfeasibleError(f"{sequences:g} sequences; at least one")
    if load.kind == STEADY:
        return _steady(model, placement, load, sequences)
    return _single(model, placement, load, sequences)


def _steady(model: TimingModel, placement: Placement, load: Load, sequences: float) -> PerfPoint:
    point = operating_point(model, placement, load.lengths, sequences)
    budget = float(TOKEN_BUDGET) * placement.data_parallel
    mix = mixture(load.lengths, np.array([sequences]), budget)
    carrying = float(mix.carrying[0])
    found = breakdown(model, placement, mix.steps, np.array([1.0 - carrying, carrying]))
    return PerfPoint(
        placement=placement,
        load=load,
        sequences=sequences,
        step_s=point.tpot_s,
        tpot_s=point.tpot_s,
        ttft_s=point.ttft_s,
        output_tokens_per_s_per_chip=point.output_tokens_per_s_per_chip,
        input_tokens_per_s_per_chip=point.input_tokens_per_s_per_chip,
        joule_per_token=point.joule_per_output_token,
        power=point.power,
        breakdown=found,
        memory=point.memory,
        log_sd=point.log_sd,
        steady=point,
    )


def _single(model: TimingModel, placement: Placement, load: Load, sequences: float) -> PerfPoint:
    """A pure decode or prefill step."""
    decode = load.kind == DECODE
    mix, steps = _mix(placement, load, sequences)
    held = sequences if decode else float(mix.prefill_sequences[0])
    memory = require_fit(placement, held, load.context_tokens)
    log_sd = float(model.step_cost(placement, mix).log_sd)
    found = breakdown(model, placement, mix)
    tokens = sequences if decode else float(mix.prefill_tokens[0])
    rate = tokens / found.time_s / placement.chips
    joule = found.energy_j / tokens
    return PerfPoint(
        placement=placement,
        load=load,
        sequences=sequences,
        step_s=found.time_s,
        tpot_s=found.time_s if decode else math.nan,
        ttft_s=math.nan if decode else steps * found.time_s,
        output_tokens_per_s_per_chip=rate if decode else math.nan,
        input_tokens_per_s_per_chip=math.nan if decode else rate,
        joule_per_token=joule,
        power=_power(placement, joule * rate),
        breakdown=found,
        memory=memory,
        log_sd=log_sd,
    )


def _mix(placement: Placement, load: Load, sequences: float) -> tuple[StepMix, float]:
    """The step, and how many of it the whole batch takes."""
    if load.kind == DECODE:
        return step_mix(decode=sequences, context=load.context_tokens), 1.0
    lengths = load.lengths
    total = sequences * lengths.new
    tokens = min(total, float(TOKEN_BUDGET) * placement.data_parallel)
    chunk = min(lengths.new, tokens)
    earlier = lengths.cached + (lengths.new - chunk) / 2.0  # mean over the chunks of a prompt
    return step_mix(prefill=tokens, cached=earlier, prompts=tokens / chunk), total / tokens


def _power(placement: Placement, sustained_w: float) -> ChipPower:
    return chip_power(sustained_w, placement.system.chip.tdp_w, placement.system.host_w)


def sweep(
    model: TimingModel,
    placements: Iterable[Placement],
    load: Load,
    batches: Iterable[float],
) -> Iterator[SweepRow]:
    """Every batch on every placement, placements in order.

    Yields
    ------
    SweepRow
        With the outcome; only a missing field of a chip or an unknown name raises.
    """
    counts = tuple(batches)
    for placement in placements:
        for sequences in counts:
            yield _row(model, placement, load, sequences)


def _row(model: TimingModel, placement: Placement, load: Load, sequences: float) -> SweepRow:
    outcome, reason, point = Outcome.OK, "", None
    try:
        point = perf_point(model, placement, load, sequences)
    except DoesNotFitError as error:
        outcome, reason = Outcome.DOES_NOT_FIT, str(error)
    except MissingFieldError as error:
        outcome, reason = Outcome.NO_PEAK, str(error)
    return SweepRow(
        placement=placement, sequences=sequences, outcome=outcome, reason=reason, point=point
    )
