"""The calibrated physical timing model, and its ideal limit."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from tapeout.chip import is_measured
from tapeout.chip.types import ChipSpec
from tapeout.errors import Outcome
from tapeout.fabric import Volume
from tapeout.fabric import sent_bytes as ring_bytes
from tapeout.numerics import Floats, Ints
from tapeout.perf.constants import IDEAL, Fit, Software, StackConstants, load_fit
from tapeout.perf.energy import step_energy
from tapeout.perf.fabric_time import fabric_s
from tapeout.perf.law import (
    ATTENTION,
    EXPERT,
    OTHER,
    OVERHEAD,
    PRODUCT,
    Times,
    Work,
    at_clock,
    bounds,
    by_kind,
    by_operator,
    step_times,
)
from tapeout.perf.memory import full_step, memory_map
from tapeout.perf.peaks import peak_flop_per_s
from tapeout.perf.power import capped
from tapeout.perf.products import GEMM, GROUPED, product_s
from tapeout.perf.sharding import Message, Shard, is_combine, microbatch, shard
from tapeout.perf.types import Placement, StepCost
from tapeout.workload import OperatorTable, StepMix, operators
from tapeout.workload.formats import weight_element_bytes

LATENT = "latent_up"
_GROUPS = {
    GEMM: PRODUCT,
    GROUPED: EXPERT,
    "attention_prefill": ATTENTION,
    "attention_decode": ATTENTION,
}
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


def prepare(placement: Placement, mix: StepMix, *, products: bool = True) -> Prepared:
    """Cut the steps of `mix` and express them at the nominal rates of the chip.

    Parameters
    ----------
    placement : Placement
    mix : StepMix
    products : bool
        Time matrix products by the operator law; without, `Work.product_s` is zero.

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
    by_law = products and placement.system.chip.efficiency is None
    work = _work(placement, table, cut, mix)
    if by_law:
        work = replace(work, product_s=_product_s(placement, table, cut))
    return Prepared(table=table, shard=cut, work=work)


def _product_s(placement: Placement, table: OperatorTable, cut: Shard) -> Floats:
    formats = placement.formats
    expert_bytes = weight_element_bytes(formats.expert or formats.weight)
    return product_s(table, cut, placement.degrees, placement.system.chip, expert_bytes)


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
        group=np.array([_GROUPS.get(kind, OTHER) for kind in table.kind])[:, None],
        compute_s=compute,
        memory_s=memory,
        cache_s=cache,
        product_s=np.zeros_like(compute),
        launches=cut.launches,
        expert_layers=_layers(table, cut, is_combine),
        latent_layers=_layers(table, cut, lambda name: name.startswith(LATENT)),
        sequences=(mix.decode_sequences + mix.prefill_sequences) / placement.data_parallel,
        eager=(mix.prefill_tokens > 0.0) & (_rank_tokens(placement, mix) > CAPTURED_TOKENS),
    )


def _rank_tokens(placement: Placement, mix: StepMix) -> Floats:
    """Token rows that one attention group has in a microbatch."""
    part = microbatch(mix, placement.pipeline_parallel)
    rows: Floats = part.tokens / placement.data_parallel
    return rows


def _layers(table: OperatorTable, cut: Shard, belongs: Callable[[str], bool]) -> Floats:
    """Layers that have an operator of this name and run it, shape (step,).

    Only the expert product of a layer, not that of its dense neighbours, counts as its last one.
    """
    named = np.array([belongs(name) for name in table.name])
    routed = np.array([kind == GROUPED for kind in table.kind])
    chosen = named & (routed if belongs is is_combine else True)
    layers: Floats = cut.launches[chosen].sum(axis=0)
    return layers


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
        software = software_of(placement)
        error = (self.fit.spread.common, own_log_sd(chip, self.fit, software))
        factor = math.exp(self.fit.log_factor(software))
        return _cost(placement, mix, self.fit.generic, error, factor, self.power_cap_w)


def software_of(placement: Placement) -> Software:
    """What the software effects of a placement depend on."""
    return Software(
        engine=placement.stack,
        chip=placement.system.chip.name,
        model=placement.architecture.name,
        precision=placement.formats.expert or placement.formats.weight,
    )


def own_log_sd(chip: ChipSpec, fit: Fit, software: Software) -> float:
    """Timing error of one chip alone: its own where stated, else by what was measured of it."""
    return chip.own_log_sd or fit.own_log_sd(software, measured=is_measured(chip.name))


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
    ready = prepare(placement, mix, products=constants.product_factor > 0.0)
    chip = placement.system.chip
    if chip.efficiency is not None:
        constants = replace(
            constants,
            product_factor=0.0,
            memory_efficiency=1.0,
            cache_efficiency=1.0,
            compute_efficiency=1.0,
            attention_efficiency=1.0,
        )
    steps = mix.tokens.size
    fabric = fabric_s(ready.messages, placement.system, constants, steps)

    def times_at(clock: Floats) -> Times:
        return step_times(at_clock(ready.work, clock), fabric, constants)

    clock, waiting = np.ones(steps), np.zeros(steps)
    times = times_at(clock)
    energy = step_energy(
        chip,
        ready.shard.scaled(_filled_stages(placement, mix)),
        ready.table.dtype,
        _filled_stages(placement, mix) * sent_bytes(ready.messages, steps),
        factor * times.total_s,
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
        by_operator_s={
            name: factor * part for name, part in by_operator(ready.table.name, times).items()
        },
        bound=bounds(times),
        outcome=_outcome(placement, mix),
        log_sd=float(np.hypot(*error)),
        common_log_sd=error[0],
        energy_by_part_j={k: part * placement.chips for k, part in energy.parts().items()},
        clock_fraction=clock,
    )


def _filled_stages(placement: Placement, mix: StepMix) -> Floats:
    """Share of pipeline stages that work at a time: with fewer sequences than stages some idle."""
    sequences = mix.decode_sequences + mix.prefill_sequences
    return np.minimum(1.0, np.maximum(sequences, 1.0) / placement.pipeline_parallel)


def sent_bytes(messages: tuple[Message, ...], steps: int) -> Floats:
    """Bytes one chip puts on its links: twice the message of an all-reduce, once of the others."""
    total = np.zeros(steps)
    for message in messages:
        once = ring_bytes(
            Volume.RING, message.operation, np.asarray(message.message_bytes), message.ranks
        )
        total = total + message.calls * once
    return total


def _outcome(placement: Placement, mix: StepMix) -> Ints:
    """OK, or DOES_NOT_FIT where the cached tokens of a step exceed memory, shape (step,)."""
    sequences = mix.decode_sequences + mix.prefill_sequences
    tokens = mix.decode_kv_tokens + mix.prefill_tokens + mix.prefill_context_tokens
    context = tokens / np.maximum(sequences, 1.0)
    fits = memory_map(placement, sequences, context).fits
    return np.where(fits, int(Outcome.OK), int(Outcome.DOES_NOT_FIT))
