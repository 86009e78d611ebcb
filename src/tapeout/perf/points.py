"""Where the time and the joules of a step go: operator by operator, with MFU, MBU and bound.

Definitions, per average chip: `mfu_fraction` is the useful FLOP of a step over dense peak x time,
the peak being that of the format most of the products run in (named in `mfu_basis`);
`mbu_fraction` is weights and cached keys and values read or written over bandwidth x time.
Activations are left out of MBU: how many of them move is a matter of fusion. Both count what the
model needs, not what an uneven spread over experts makes the busiest chip do.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from tapeout.chip.types import ChipSpec
from tapeout.numerics import Floats
from tapeout.perf.energy import energy_constants, operator_energy, static_w
from tapeout.perf.law import FABRIC, OVERHEAD, smooth_maximum
from tapeout.perf.peaks import peak_flop_per_s, peak_format
from tapeout.perf.physical import Prepared, prepare, sent_bytes
from tapeout.perf.sharding import microbatch
from tapeout.perf.types import Placement, StepCost, TimingModel
from tapeout.workload import StepMix

COMPUTE, MEMORY = "compute", "memory"
PRODUCTS = ("gemm", "grouped_gemm")


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorShare:
    """One operator of a step, mean over the steps asked for; per average chip.

    `kind` of what is no operator is "fabric" (collectives) or "overhead" (launch gaps, host).
    `bound` is the side that the chip's own rates make slower; `launches` the kernels started.
    """

    name: str
    kind: str
    dtype: str
    time_s: float
    energy_j: float
    flop: float
    moved_bytes: float
    launches: float
    bound: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Breakdown:
    """A step of a placement, mean over the steps asked for.

    Attributes
    ----------
    time_s, energy_j : float
        Of the step; energy of all chips of the replica, hosts apart. The operators add up to
        both (their energy is per chip).
    operators : tuple of OperatorShare
        Slowest first, then collectives and overhead.
    mfu_fraction, mbu_fraction : float
        See the module.
    mfu_basis : str
        Which peak, e.g. "dense fp8 peak, rated".
    bound : str
        "compute", "memory", "fabric" or "overhead" (launch and host): the largest share of time.
    shares_s : mapping of bound to seconds
    energy_by_part_j : mapping of part to joules
        Of all chips: idle, awake, arithmetic, sram, memory, fabric; they add up to `energy_j`.
    clock_fraction : float
        Mean clock over the one without a power cap.
    exact : bool
        False where the timing model gives no times by operator, so that those of a kind are
        divided by the nominal roofline.
    """

    placement: Placement
    time_s: float
    energy_j: float
    operators: tuple[OperatorShare, ...]
    mfu_fraction: float
    mbu_fraction: float
    mfu_basis: str
    bound: str
    shares_s: Mapping[str, float]
    energy_by_part_j: Mapping[str, float]
    clock_fraction: float
    exact: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _Parts:
    """Operators at nominal rates, arrays of shape (op, step), per average chip."""

    flop: Floats
    moved_bytes: Floats
    useful_bytes: Floats
    launches: Floats
    compute_s: Floats
    memory_s: Floats


def rate_basis(chip: ChipSpec) -> str:
    """Whether the rates of a specification are rated or sustained; a chip file has the latter."""
    return "rated" if chip.efficiency is None else "sustained"


def breakdown(
    model: TimingModel, placement: Placement, mix: StepMix, weight: Floats | None = None
) -> Breakdown:
    """Break the mean of some steps down by operator.

    Parameters
    ----------
    model : TimingModel
    placement : Placement
    mix : StepMix
        Fields of shape (step,).
    weight : array, shape (step,), optional
        Share of each step, adding up to 1; equal shares by default.

    Raises
    ------
    MissingFieldError, InfeasibleError
        As the timing model.
    """
    steps = mix.tokens.size
    share = np.full(steps, 1.0 / steps) if weight is None else np.asarray(weight, dtype=float)
    ready = prepare(placement, mix)
    cost = model.step_cost(placement, mix)
    parts = _parts(placement, ready, mix)
    times, exact = _operator_s(cost, ready, parts)
    operators = _operators(placement, ready, parts, times, cost, share)
    time_s = float(cost.time_s @ share)
    by_compute = np.where(parts.compute_s >= parts.memory_s, times, 0.0) @ share
    compute_s = float(by_compute.sum())
    shares = {
        COMPUTE: compute_s,
        MEMORY: float((times @ share).sum()) - compute_s,
        FABRIC: float(_kind_s(cost, FABRIC) @ share),
        OVERHEAD: float(_kind_s(cost, OVERHEAD) @ share),
    }
    chip = placement.system.chip
    dtype = _main_dtype(ready, parts, share)
    flop = float((parts.flop @ share).sum())
    useful = float((parts.useful_bytes @ share).sum())
    return Breakdown(
        placement=placement,
        time_s=time_s,
        energy_j=float(cost.energy_j @ share),
        operators=operators,
        mfu_fraction=flop / (peak_flop_per_s(chip, dtype) * time_s),
        mbu_fraction=useful / (chip.memory_bytes_per_s * time_s),
        mfu_basis=f"dense {peak_format(chip, dtype)} peak, {rate_basis(chip)}",
        bound=cost.bound[0] if steps == 1 else max(shares, key=lambda name: shares[name]),
        shares_s=shares,
        energy_by_part_j={
            name: float(part @ share) for name, part in cost.energy_by_part_j.items()
        },
        clock_fraction=_clock(cost, share),
        exact=exact,
    )


def _parts(placement: Placement, ready: Prepared, mix: StepMix) -> _Parts:
    """Work of the average chip at nominal rates; all microbatches of a pipeline together."""
    chip, cut, table = placement.system.chip, ready.shard, ready.table
    stages = placement.pipeline_parallel
    part = microbatch(mix, stages).tokens
    # a stage does 1/pp of the layers for every microbatch of the step
    passes = mix.tokens / np.maximum(part, np.finfo(float).tiny) / stages
    rate = {dtype: peak_flop_per_s(chip, dtype) for dtype in set(table.dtype)}
    peak = np.array([rate[dtype] for dtype in table.dtype])[:, None]
    return _Parts(
        flop=cut.mean_flop * passes,
        moved_bytes=cut.mean_bytes * passes,
        useful_bytes=(cut.weight_bytes / cut.uneven_weights + cut.kv_bytes) * passes,
        launches=cut.launches * passes,
        compute_s=cut.flop / peak,
        memory_s=cut.moved_bytes / chip.memory_bytes_per_s,
    )


def _operator_s(cost: StepCost, ready: Prepared, parts: _Parts) -> tuple[Floats, bool]:
    """Seconds by operator, shape (op, step), and whether the model gave them itself."""
    names, kinds = ready.table.name, ready.table.kind
    given: Mapping[str, Floats] = getattr(cost, "by_operator_s", None) or {}
    if all(name in given for name in names):
        return np.stack([given[name] for name in names]), True
    nominal = smooth_maximum(parts.compute_s, parts.memory_s)
    whole = {kind: cost.by_kind_s.get(kind, np.zeros_like(cost.time_s)) for kind in set(kinds)}
    sums: dict[str, Floats] = {}
    for kind, row in zip(kinds, nominal, strict=True):
        sums[kind] = sums.get(kind, np.zeros_like(row)) + row
    tiny = np.finfo(float).tiny
    rows = [
        whole[kind] * row / np.maximum(sums[kind], tiny)
        for kind, row in zip(kinds, nominal, strict=True)
    ]
    return np.stack(rows), False


def _operators(
    placement: Placement,
    ready: Prepared,
    parts: _Parts,
    times: Floats,
    cost: StepCost,
    share: Floats,
) -> tuple[OperatorShare, ...]:
    """Operators with their mean time and energy, slowest first; collectives and overhead last."""
    table = ready.table
    seconds = [float(one) for one in times @ share]
    computing = np.where(parts.compute_s >= parts.memory_s, times, 0.0) @ share
    energy = _energy_j(placement, ready, parts, times, cost) @ share
    found = []
    for place, name in enumerate(table.name):
        found.append(
            OperatorShare(
                name=name,
                kind=table.kind[place],
                dtype=table.dtype[place],
                time_s=seconds[place],
                energy_j=float(energy[place]),
                flop=float(parts.flop[place] @ share),
                moved_bytes=float(parts.moved_bytes[place] @ share),
                launches=float(parts.launches[place] @ share),
                bound=COMPUTE if 2.0 * computing[place] > seconds[place] else MEMORY,
            )
        )
    found.sort(key=lambda one: -one.time_s)
    sent = _sent_bytes(ready, share)
    rest = [
        _other(FABRIC, float(_kind_s(cost, FABRIC) @ share), float(energy[-2]), sent),
        _other(OVERHEAD, float(_kind_s(cost, OVERHEAD) @ share), float(energy[-1]), 0.0),
    ]
    used = [one for one in found if one.time_s > 0.0 or one.flop > 0.0]
    return tuple(used + [one for one in rest if one.time_s > 0.0])


def _other(kind: str, time_s: float, energy_j: float, moved_bytes: float) -> OperatorShare:
    name = {FABRIC: "collectives", OVERHEAD: "launch gaps and host"}[kind]
    return OperatorShare(
        name=name,
        kind=kind,
        dtype="",
        time_s=time_s,
        energy_j=energy_j,
        flop=0.0,
        moved_bytes=moved_bytes,
        launches=0.0,
        bound=kind,
    )


def _kind_s(cost: StepCost, kind: str) -> Floats:
    return cost.by_kind_s.get(kind, np.zeros_like(cost.time_s))


def _sent_bytes(ready: Prepared, share: Floats) -> float:
    """Bytes that one chip puts on its links."""
    return float(sent_bytes(ready.messages, share.size) @ share)


def _energy_j(
    placement: Placement, ready: Prepared, parts: _Parts, times: Floats, cost: StepCost
) -> Floats:
    """Joules of one chip, shape (op + 2, step): operators, collectives, overhead.

    The energy of the step is the timing model's; it is divided by dynamic energy per operation and
    byte, and by time for what a chip draws without work.
    """
    chip = placement.system.chip
    work = operator_energy(chip, ready.table.dtype, parts.flop, parts.moved_bytes).total_j
    sent = sent_bytes(ready.messages, cost.time_s.size)
    link = energy_constants()["link.switch"] * sent
    other = np.stack([_kind_s(cost, FABRIC), _kind_s(cost, OVERHEAD)])
    idle = static_w(chip) * np.concatenate([times, other])
    rough = idle + np.concatenate([work, link[None, :], np.zeros_like(link)[None, :]])
    whole = cost.energy_j / placement.chips
    scaled: Floats = rough * whole / np.maximum(rough.sum(axis=0), np.finfo(float).tiny)
    return scaled


def _clock(cost: StepCost, share: Floats) -> float:
    """Mean clock fraction over time; 1 for a timing model without a clock."""
    if cost.clock_fraction is None:
        return 1.0
    return float((cost.clock_fraction * cost.time_s) @ share / (cost.time_s @ share))


def _main_dtype(ready: Prepared, parts: _Parts, share: Floats) -> str:
    """Format in which most FLOP of the matrix products are done."""
    total: dict[str, float] = {}
    table = ready.table
    for kind, dtype, flop in zip(table.kind, table.dtype, parts.flop @ share, strict=True):
        if kind in PRODUCTS:
            total[dtype] = total.get(dtype, 0.0) + float(flop)
    return max(total, key=lambda name: total[name]) if total else table.dtype[0]
