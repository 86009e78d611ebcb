"""The calibrated physical timing model, and its ideal limit."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import numpy as np

from tapeout.chip.types import ChipSpec
from tapeout.errors import Outcome
from tapeout.numerics import Floats, Ints
from tapeout.perf.constants import IDEAL, Fit, StackConstants, load_fit
from tapeout.perf.energy import step_energy
from tapeout.perf.fabric_time import fabric_s
from tapeout.perf.law import OVERHEAD, Times, Work, bounds, by_kind, step_times
from tapeout.perf.memory import full_step, memory_map
from tapeout.perf.peaks import peak_flop_per_s
from tapeout.perf.power import capped
from tapeout.perf.sharding import Message, Shard, microbatch, shard
from tapeout.perf.types import Placement, StepCost
from tapeout.workload import OperatorTable, StepMix, operators

CAPTURED_TOKENS = 512  # largest step vLLM captures as a graph by default


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """Steps of a placement before any constant of a stack is known."""

    table: OperatorTable
    shard: Shard
    work: Work

    @property
    def messages(self) -> tuple[Message, ...]:
        """Collectives of the steps."""
        return self.shard.messages


def prepare(placement: Placement, mix: StepMix) -> Prepared:
    """Cut the steps of `mix` and express them at the nominal rates of the chip.

    Raises
    ------
    MissingFieldError
        The chip has neither a peak rate nor a bandwidth.
    InfeasibleError
        Degrees of parallelism that do not fit one another.
    """
    part = microbatch(mix, placement.pipeline_parallel)
    table = operators(placement.architecture, part, placement.formats)
    _, held = full_step(placement.architecture, placement.formats)
    cut = shard(table, placement.degrees, part.tokens, held)
    return Prepared(table=table, shard=cut, work=_work(placement, table, cut, mix))


def _work(placement: Placement, table: OperatorTable, cut: Shard, mix: StepMix) -> Work:
    chip = placement.system.chip
    rates = {dtype: peak_flop_per_s(chip, dtype) for dtype in set(table.dtype)}
    peak = np.array([rates[dtype] for dtype in table.dtype])[:, None]
    compute = cut.flop / peak
    memory = (cut.weight_bytes + cut.activation_bytes) / chip.memory_bytes_per_s
    cache = cut.kv_bytes / chip.memory_bytes_per_s
    if chip.efficiency is not None:
        # The chip brings its own sustained rates; `step_cost` then leaves the fitted ones out.
        fractions = [
            chip.efficiency.compute_fraction(kind, table.m[i], table.n[i], table.k[i])
            for i, kind in enumerate(table.kind)
        ]
        compute = compute / np.stack(fractions)
        sustained = chip.efficiency.memory_fraction(cut.moved_bytes)
        memory, cache = memory / sustained, cache / sustained
    return Work(
        kinds=table.kind,
        compute_s=compute,
        memory_s=memory,
        cache_s=cache,
        launches=cut.launches,
        sequences=(mix.decode_sequences + mix.prefill_sequences) / placement.data_parallel,
        eager=(mix.prefill_tokens > 0.0) & (mix.tokens > CAPTURED_TOKENS),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class PhysicalModel:
    """Roofline of every operator with fitted efficiencies, launch gaps, collectives, host time.

    Attributes
    ----------
    fit : Fit
        Constants with their provenance; the shipped ones by default.
    power_cap_w : float
        Limit on the power of one chip below its rating; 0 for none. [W]
    """

    fit: Fit = field(default_factory=load_fit)
    power_cap_w: float = 0.0

    @property
    def name(self) -> str:
        """Name and date of the constants."""
        return f"physical {self.fit.fitted}"

    def step_cost(self, placement: Placement, mix: StepMix) -> StepCost:
        """Time and energy of the steps of `mix` on `placement`.

        Raises
        ------
        MissingFieldError
            The chip has no peak rate.
        InfeasibleError
            Degrees of parallelism that do not fit one another, or a power cap below idle power.
        """
        chip = placement.system.chip
        error = (self.fit.common_log_sd, own_log_sd(chip, self.fit))
        factor = math.exp(
            self.fit.log_factor(placement.stack, chip.name, placement.architecture.name)
        )
        return _cost(placement, mix, self.fit.generic, error, factor, self.power_cap_w)


def own_log_sd(chip: ChipSpec, fit: Fit) -> float:
    """Timing error of one chip alone: its own where stated, else that of the fit."""
    return chip.own_log_sd or fit.own_log_sd


@dataclass(frozen=True, slots=True, kw_only=True)
class RooflineModel:
    """Every rate at its peak, no launch, host or latency: optimistic by 30-60 %.

    The trivial alternative, to see what the fitted constants change; not for decisions.
    """

    name: str = "roofline (optimistic: peak rates, no overheads)"
    power_cap_w: float = 0.0

    def step_cost(self, placement: Placement, mix: StepMix) -> StepCost:
        """Time and energy of the steps of `mix`; raises as `PhysicalModel`."""
        return _cost(placement, mix, IDEAL, (0.0, 0.0), cap_w=self.power_cap_w)


def _cost(
    placement: Placement,
    mix: StepMix,
    constants: StackConstants,
    error: tuple[float, float],
    factor: float = 1.0,
    cap_w: float = 0.0,
) -> StepCost:
    ready = prepare(placement, mix)
    chip = placement.system.chip
    if chip.efficiency is not None:
        constants = replace(
            constants, memory_efficiency=1.0, cache_efficiency=1.0, compute_efficiency=1.0
        )
    steps = mix.tokens.size
    fabric = fabric_s(ready.messages, placement.system, constants, steps)

    def times_at(clock: Floats) -> Times:
        work = replace(ready.work, compute_s=ready.work.compute_s / clock)
        return step_times(work, fabric, constants)

    clock, waiting = np.ones(steps), np.zeros(steps)
    energy = step_energy(
        chip,
        ready.shard,
        ready.table.dtype,
        sent_bytes(ready.messages, steps),
        factor * times_at(clock).total_s,
    )
    if cap_w > 0.0:
        step = capped(chip, energy, lambda at: factor * times_at(at).total_s, cap_w)
        clock, waiting, energy = step.clock_fraction, step.waiting_s, step.energy
    times = times_at(clock)
    kinds = {kind: factor * part for kind, part in by_kind(ready.work, times).items()}
    kinds[OVERHEAD] = kinds[OVERHEAD] + waiting
    return StepCost(
        time_s=factor * times.total_s + waiting,
        energy_j=energy.total_j * placement.chips,
        by_kind_s=kinds,
        bound=bounds(times),
        outcome=_outcome(placement, mix),
        log_sd=float(np.hypot(*error)),
        common_log_sd=error[0],
        energy_by_part_j={k: part * placement.chips for k, part in energy.parts().items()},
        clock_fraction=clock,
    )


def sent_bytes(messages: tuple[Message, ...], steps: int) -> Floats:
    """Bytes one chip puts on its links, about twice the message of an all-reduce."""
    total = np.zeros(steps)
    for message in messages:
        total = total + 2.0 * message.calls * message.message_bytes
    return total


def _outcome(placement: Placement, mix: StepMix) -> Ints:
    """OK, or DOES_NOT_FIT where the cached tokens of a step exceed memory, shape (step,)."""
    sequences = mix.decode_sequences + mix.prefill_sequences
    tokens = mix.decode_kv_tokens + mix.prefill_tokens + mix.prefill_context_tokens
    context = tokens / np.maximum(sequences, 1.0)
    fits = memory_map(placement, sequences, context).fits
    return np.where(fits, int(Outcome.OK), int(Outcome.DOES_NOT_FIT))
