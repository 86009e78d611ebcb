"""The timing law: from work at nominal rates to seconds by kind.

One law serves the shipped model, the roofline and the fit, so that what is fitted is what runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from tapeout.fabric import exposed_s
from tapeout.numerics import Floats, Ints
from tapeout.perf.constants import StackConstants

FABRIC = "fabric"
OVERHEAD = "overhead"
BOUNDS = ("compute", "memory", FABRIC, OVERHEAD)


OTHER, PRODUCT, EXPERT, ATTENTION = range(4)
"""Classes of operators, each with its own factor or efficiency."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What one chip does in a step, at nominal rates.

    Attributes
    ----------
    kinds : tuple of str, one an operator
    group : array of int, shape (op, 1) or (op, step)
        OTHER, PRODUCT, EXPERT or ATTENTION.
    compute_s, memory_s, cache_s : array, shape (op, step)
        FLOP over peak; weights and activations, and cached keys and values, over bandwidth; of
        the busiest chip. [s]
    product_s : array, shape (op, step)
        Time of matrix products by the operator law; zero for other operators. [s]
    launches : array, shape (op, step)
        Kernels started.
    expert_layers, latent_layers : array, shape (step,)
        Layers with routed experts and with latent attention, which start kernels beside the
        operators of the table: routing, sorting, padding; copies and concatenations of latents.
    sequences : array, shape (step,)
        Sequences that one host process handles: those of one attention group.
    eager : array of bool, shape (step,)
        Steps too large for a captured graph, whose kernels the host starts one by one.
    """

    kinds: tuple[str, ...]
    group: Ints
    compute_s: Floats
    memory_s: Floats
    cache_s: Floats
    product_s: Floats
    launches: Floats
    expert_layers: Floats
    latent_layers: Floats
    sequences: Floats
    eager: NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """Seconds of a step; every array has shape (step,), operators (op, step)."""

    operator_s: Floats
    compute_s: Floats  # share of operator time in operators bound by arithmetic
    memory_s: Floats
    fabric_s: Floats
    overhead_s: Floats

    @property
    def total_s(self) -> Floats:
        """Sum of the shares."""
        total: Floats = self.compute_s + self.memory_s + self.fabric_s + self.overhead_s
        return total


def smooth_maximum(first: Floats, second: Floats) -> Floats:
    """Fourth-power norm of two non-negative arrays: their maximum, rounded where they are equal.

    Arithmetic and memory traffic overlap, but not perfectly (reference: the p = 4 norm).
    """
    a, b = np.square(first), np.square(second)
    norm: Floats = np.sqrt(np.sqrt(np.square(a) + np.square(b)))
    return norm


def at_clock(work: Work, clock_fraction: Floats) -> Work:
    """Work of a chip at a share of its clock, shape (step,): arithmetic slows, memory does not.

    A product slows as its roofline does.
    """
    if np.all(clock_fraction == 1.0):
        return work
    memory = work.memory_s + work.cache_s
    slower = work.compute_s / clock_fraction
    before = smooth_maximum(work.compute_s, memory)
    stretch = smooth_maximum(slower, memory) / np.where(before > 0.0, before, 1.0)
    return replace(work, compute_s=slower, product_s=work.product_s * stretch)


def step_times(work: Work, fabric_s: Floats, constants: StackConstants) -> Times:
    """Apply the law.

    Parameters
    ----------
    work : Work
    fabric_s : array, shape (step,)
        Time in collectives; `constants.overlap_fraction` of it hides behind operators. [s]
    constants : StackConstants
        Without product factors (`IDEAL`, or a chip that brings its own rates) products take the
        slower of arithmetic and memory traffic like every other operator.
    """
    compute, memory = _roofline(work, constants)
    operator = smooth_maximum(compute, memory)
    if constants.product_factor > 0.0:
        factor = np.array([0.0, constants.product_factor, constants.expert_factor, 0.0])
        by_law = factor[work.group] * work.product_s
        operator = np.where(factor[work.group] > 0.0, by_law, operator)
    by_compute = np.where(compute >= memory, operator, 0.0).sum(axis=0)
    busy = operator.sum(axis=0)
    listed = work.launches.sum(axis=0)
    unlisted = (
        constants.expert_kernels * work.expert_layers
        + constants.latent_kernels * work.latent_layers
    )
    gaps = constants.kernel_s * (listed + unlisted)
    # A kernel started by the host takes at least eager_s; a long one hides the start of the next.
    idle = constants.eager_s * unlisted + np.maximum(
        constants.eager_s * work.launches - operator, constants.kernel_s * work.launches
    ).sum(axis=0)
    host = constants.step_s + constants.sequence_s * work.sequences
    return Times(
        operator_s=operator,
        compute_s=by_compute,
        memory_s=busy - by_compute,
        fabric_s=_exposed_fabric_s(busy, fabric_s, constants.overlap_fraction),
        overhead_s=np.where(work.eager, idle, gaps) + host,
    )


def _exposed_fabric_s(busy_s: Floats, fabric_s: Floats, overlap_fraction: float) -> Floats:
    """What collectives add to the operators they partly run beside, shape (step,). [s]."""
    if overlap_fraction == 0.0:  # exactly the collective: adding and subtracting would round it
        return fabric_s
    return exposed_s(busy_s, fabric_s, overlap_fraction) - busy_s


def _roofline(work: Work, constants: StackConstants) -> tuple[Floats, Floats]:
    """Arithmetic and memory time of every operator at sustained rates, shape (op, step)."""
    plain = constants.compute_efficiency
    rate = np.array([plain, plain, plain, constants.attention_efficiency])
    compute: Floats = work.compute_s / rate[work.group]
    memory: Floats = (
        work.memory_s / constants.memory_efficiency + work.cache_s / constants.cache_efficiency
    )
    return compute, memory


def by_kind(work: Work, times: Times) -> Mapping[str, Floats]:
    """Split a step by operator kind, collectives and overhead; the parts add up to the step."""
    parts: dict[str, Floats] = {}
    for place, kind in enumerate(work.kinds):
        row = times.operator_s[place]
        parts[kind] = parts[kind] + row if kind in parts else row
    parts[FABRIC] = times.fabric_s
    parts[OVERHEAD] = times.overhead_s
    return parts


def by_operator(names: tuple[str, ...], times: Times) -> Mapping[str, Floats]:
    """Time of every operator of the table, without collectives and overhead."""
    return dict(zip(names, times.operator_s, strict=True))


def bounds(times: Times) -> tuple[str, ...]:
    """Name the largest share of each step: compute, memory, fabric or overhead."""
    shares = np.stack([times.compute_s, times.memory_s, times.fabric_s, times.overhead_s])
    return tuple([BOUNDS[place] for place in shares.argmax(axis=0).tolist()])
