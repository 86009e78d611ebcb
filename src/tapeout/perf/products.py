"""Time of the matrix products of a step by the operator law, for the busiest chip."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

from tapeout.chip.types import ChipSpec
from tapeout.numerics import Floats, Ints
from tapeout.perf.ops.gemm import Experts, GemmConstants, GemmRates, gemm_s, grouped_s
from tapeout.perf.ops.gemm_estimate import constants_of
from tapeout.perf.ops.gemm_rates import default_cores, default_l2_bytes
from tapeout.perf.ops.store import geometric_mean, load_setups
from tapeout.perf.peaks import peak_flop_per_s
from tapeout.perf.sharding import Shard, is_combine
from tapeout.perf.types import Degrees
from tapeout.workload import OperatorTable
from tapeout.workload.formats import element_bytes

GEMM, GROUPED = "gemm", "grouped_gemm"
LEAST_EXPERTS = 1e-9  # an empty step hits none, and takes no time
RESULT_BYTES = 2.0  # results of products are bf16
LAW_SETUPS = ("bf16", "graph")  # format and launch mode of the timed set-ups that are averaged


@dataclass(frozen=True, slots=True, kw_only=True)
class Shapes:
    """Products of one repetition on the busiest chip.

    Attributes
    ----------
    place : array of int, shape (product,)
        Row of the operator table.
    m, experts : array, shape (product, step)
        Rows of one product, and products side by side: the experts hit, else 1.
    n, k, weight_bytes : array, shape (product,)
        Columns, depth, and stored bytes of one weight with its scales.
    """

    place: Ints
    m: Floats
    experts: Floats
    n: Floats
    k: Floats
    weight_bytes: Floats


def shapes(table: OperatorTable, cut: Shard, degrees: Degrees, expert_bytes: float) -> Shapes:
    """Cut m, n, k of the products as `sharding.shard` cuts FLOP and bytes.

    A column-cut product loses output features, a row-cut one input features; experts are divided
    among expert ranks and each is cut by the ranks that share it; token rows are divided among
    attention groups, those of experts are not. A grouped product has the mean rows of the experts
    it hits.

    Parameters
    ----------
    table : OperatorTable
    cut : Shard
    degrees : Degrees
    expert_bytes : float
        Stored bytes of one weight of an expert, scales included.
    """
    place = np.flatnonzero([kind in (GEMM, GROUPED) for kind in table.kind])
    how = np.array(table.shard)[place]
    expert = how == "expert"
    shared = degrees.ranks / degrees.expert
    last = np.array([is_combine(table.name[i]) for i in place])
    n = table.n[place, 0] / np.where(
        how == "column", float(degrees.tensor), np.where(expert & ~last, shared, 1.0)
    )
    k = table.k[place, 0] / np.where(
        how == "row", float(degrees.tensor), np.where(expert & last, shared, 1.0)
    )
    calls = np.maximum(table.count[place], 1.0)
    read = cut.weight_bytes[place] / calls / np.maximum(n * k, 1.0)[:, None]
    hit = np.where(expert[:, None], np.maximum(read / expert_bytes, LEAST_EXPERTS), 1.0)
    spread = cut.uneven_rows[place] / (degrees.expert * hit)
    return Shapes(
        place=place,
        m=table.m[place] * np.where(expert[:, None], spread, 1.0 / degrees.data),
        n=n,
        k=k,
        experts=hit,
        weight_bytes=(read / hit).max(axis=1, initial=0.0),
    )


@cache
def product_constants() -> GemmConstants:
    """Constants of the law in a served step, on any chip and in any format.

    The mean over the chips whose bf16 products were timed in a graph. Folds of end-to-end runs
    preferred it to a chip's own constants and to those of its narrow formats, which belong to one
    library's kernels and their separate quantisation (benchmarks/stack_trials.csv): served engines
    choose other kernels and fuse. What a stack makes of it is `product_factor`.
    """
    timed = [one for one in load_setups("gemm") if (one.dtype, one.mode) == LAW_SETUPS]
    return constants_of(geometric_mean(timed))


def product_s(
    table: OperatorTable, cut: Shard, degrees: Degrees, chip: ChipSpec, expert_bytes: float
) -> Floats:
    """Time of the matrix products of steps, zero for other operators, shape (op, step). [s].

    Parameters
    ----------
    table, cut, degrees, expert_bytes
        As in `shapes`.
    chip : ChipSpec
    """
    shape = shapes(table, cut, degrees, expert_bytes)
    time_s = np.zeros_like(table.m)
    law = product_constants()
    for at, place in enumerate(shape.place.tolist()):
        dtype = table.dtype[place]
        rates = _rates(chip, dtype, float(shape.weight_bytes[at]))
        once = _once(shape, at, rates, law)
        time_s[place] = table.count[place] * once
    return time_s


def _rates(chip: ChipSpec, dtype: str, weight_bytes: float) -> GemmRates:
    return GemmRates(
        peak_flop_per_s=peak_flop_per_s(chip, dtype),
        bytes_per_s=chip.memory_bytes_per_s,
        cores=default_cores(chip),
        weight_bytes=weight_bytes,
        activation_bytes=element_bytes(dtype),
        output_bytes=RESULT_BYTES,
        l2_bytes=default_l2_bytes(chip),
    )


def _once(shape: Shapes, at: int, rates: GemmRates, law: GemmConstants) -> Floats:
    """Time of one call in every step; equal shapes are timed once. [s]."""
    pairs, back = np.unique(shape.m[at] + 1j * shape.experts[at], return_inverse=True)
    rows, experts = np.real(pairs), np.imag(pairs)
    n, k = shape.n[at], shape.k[at]
    if np.all(experts == 1.0):
        once = gemm_s(rows, n, k, rates, law)
    else:
        hit = Experts(active=experts, topk=np.ones_like(rows))
        once = grouped_s(rows * experts, n, k, hit, rates, law)
    found: Floats = once[back]
    return found
