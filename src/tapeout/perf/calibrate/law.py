"""The law a calibration fits: launch, then arithmetic and traffic side by side.

    t = launch + || flop / (P u), bytes / B ||_4,    1/u = (1 + m0/m) (1 + n0/n) (1 + k0/k)

P and B are the sustained rates of a large operator, u how far a small one gets: a dimension equal
to its half-way size reaches one half. Attention and elementwise kernels have u = 1. It is plainer
than the tile law of `perf.ops` on purpose: it must hold for a device nobody described, a CPU
included, and be identified by a minute of timings.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tapeout.numerics import Floats
from tapeout.perf.calibrate.work import load_of
from tapeout.perf.law import smooth_maximum
from tapeout.perf.ops.cases import OpCase

GEMM = "gemm"
NAMES = ("launch_s", "flop_per_s", "bytes_per_s", "half_m", "half_n", "half_k")


@dataclass(frozen=True, slots=True, kw_only=True)
class RateConstants:
    """Constants of one operator in one format; 0 where it has no such term."""

    launch_s: float
    flop_per_s: float
    bytes_per_s: float
    half_m: float = 0.0
    half_n: float = 0.0
    half_k: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """Cases as arrays, shape (row,)."""

    flop: Floats
    moved_bytes: Floats
    m: Floats
    n: Floats
    k: Floats


def rows_of(cases: Sequence[OpCase]) -> Rows:
    """Arrays of cases.

    Raises
    ------
    InfeasibleError
        A number that an operator needs is blank.
    """
    loads = [load_of(case) for case in cases]
    gemm = [case.op == GEMM for case in cases]

    def size(name: str) -> Floats:
        return np.array(
            [getattr(case, name) if own else np.inf for case, own in zip(cases, gemm, strict=True)]
        )

    return Rows(
        flop=np.array([load.flop for load in loads]),
        moved_bytes=np.array([load.moved_bytes for load in loads]),
        m=size("m"),
        n=size("n"),
        k=size("k"),
    )


def utilisation(m: Floats, n: Floats, k: Floats, constants: RateConstants) -> Floats:
    """Share of the sustained arithmetic rate that a product of this size reaches, 0 to 1.

    Examples
    --------
    >>> one = RateConstants(launch_s=0.0, flop_per_s=1.0, bytes_per_s=1.0, half_m=64.0)
    >>> float(utilisation(np.array(64.0), np.array(1.0), np.array(1.0), one))
    0.5
    """
    slower = (
        (1.0 + constants.half_m / m) * (1.0 + constants.half_n / n) * (1.0 + constants.half_k / k)
    )
    share: Floats = 1.0 / slower
    return share


def rate_s(rows: Rows, constants: RateConstants) -> Floats:
    """Time of each row, shape (row,). [s]."""
    reached = utilisation(rows.m, rows.n, rows.k, constants)
    compute = rows.flop / (constants.flop_per_s * reached)
    memory = rows.moved_bytes / constants.bytes_per_s
    time_s: Floats = constants.launch_s + smooth_maximum(compute, memory)
    return time_s
