"""The timing law: from work at nominal rates to seconds by kind.

One law serves the shipped model, the roofline and the fit, so that what is fitted is what runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tapeout.numerics import Floats
from tapeout.perf.constants import StackConstants

FABRIC = "fabric"
OVERHEAD = "overhead"
BOUNDS = ("compute", "memory", FABRIC, OVERHEAD)


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What one chip does in a step, at nominal rates.

    Attributes
    ----------
    kinds : tuple of str, one an operator
    compute_s, memory_s, cache_s : array, shape (op, step)
        FLOP over peak; weights and activations, and cached keys and values, over bandwidth; of
        the busiest chip. [s]
    launches : array, shape (op, step)
        Kernels started.
    sequences : array, shape (step,)
        Sequences that one host process handles: those of one attention group.
    eager : array of bool, shape (step,)
        Steps too large for a captured graph, whose kernels the host starts one by one.
    """

    kinds: tuple[str, ...]
    compute_s: Floats
    memory_s: Floats
    cache_s: Floats
    launches: Floats
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


def step_times(work: Work, fabric_s: Floats, constants: StackConstants) -> Times:
    """Apply the law.

    Parameters
    ----------
    work : Work
    fabric_s : array, shape (step,)
        Time in collectives. [s]
    constants : StackConstants
    """
    compute = work.compute_s / constants.compute_efficiency
    memory = work.memory_s / constants.memory_efficiency + work.cache_s / constants.cache_efficiency
    operator = smooth_maximum(compute, memory)
    by_compute = np.where(compute >= memory, operator, 0.0).sum(axis=0)
    busy = operator.sum(axis=0)
    gaps = constants.kernel_s * work.launches.sum(axis=0)
    # A kernel started by the host takes at least eager_s; a long one hides the start of the next.
    idle = np.maximum(
        constants.eager_s * work.launches - operator, constants.kernel_s * work.launches
    ).sum(axis=0)
    host = constants.step_s + constants.sequence_s * work.sequences
    return Times(
        operator_s=operator,
        compute_s=by_compute,
        memory_s=busy - by_compute,
        fabric_s=fabric_s,
        overhead_s=np.where(work.eager, idle, gaps) + host,
    )


def by_kind(work: Work, times: Times) -> Mapping[str, Floats]:
    """Split a step by operator kind, collectives and overhead; the parts add up to the step."""
    parts: dict[str, Floats] = {}
    for place, kind in enumerate(work.kinds):
        row = times.operator_s[place]
        parts[kind] = parts[kind] + row if kind in parts else row
    parts[FABRIC] = times.fabric_s
    parts[OVERHEAD] = times.overhead_s
    return parts


def bounds(times: Times) -> tuple[str, ...]:
    """Name the largest share of each step: compute, memory, fabric or overhead."""
    shares = np.stack([times.compute_s, times.memory_s, times.fabric_s, times.overhead_s])
    return tuple(BOUNDS[place] for place in shares.argmax(axis=0))
