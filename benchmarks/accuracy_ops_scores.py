"""A scored operator row, and the figures of a group of them."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from tapeout.constants import Z80
from tapeout.numerics import Floats
from tapeout.perf.ops import split
from tapeout.perf.ops.cases import OpCase
from tapeout.serving.validation.scoring import MISS_WEIGHT

FAMILY_NAMES = {
    "gemm": "matrix products",
    "attention": "attention",
    "collective": "collectives",
    "elementwise": "small operators",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """A measured row and its prediction; errors are log(predicted / measured)."""

    case: OpCase
    part: str
    error: float
    log_sd: float
    law_error: float = math.nan  # without the residual; nan where there is none

    @property
    def setup(self) -> str:
        """Chip, stack, formats and kernel."""
        one = self.case
        formats = one.dtype if one.kv_dtype in {"", one.dtype} else f"{one.dtype}/kv {one.kv_dtype}"
        return " ".join(filter(None, (one.chip, one.stack, one.op, formats, one.kernel, one.mode)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """Errors are predicted / measured - 1; band and its score in logarithms."""

    rows: int
    groups: int
    median: float
    mean: float
    p90: float
    bias: float
    coverage: float
    width: float  # median of high / low
    interval: float
    constant: float  # interval score of the constant band that does best on these very rows


def figures(rows: Sequence[Scored], *, law: bool = False) -> Figures:
    """Summarise rows; `law` takes the errors without the residual."""
    error = np.array([row.law_error if law else row.error for row in rows])
    spread = Z80 * np.array([row.log_sd for row in rows])
    off, size = np.abs(error), np.abs(np.expm1(error))
    best = np.quantile(off, 0.8)  # half width that minimises the score: 2 h + 10 E[|e| - h]+
    return Figures(
        rows=len(rows),
        groups=len({split.group(row.case) for row in rows}),
        median=float(np.median(size)),
        mean=float(size.mean()),
        p90=float(np.quantile(size, 0.9)),
        bias=float(np.median(np.expm1(error))),
        coverage=float(np.mean(off <= spread)),
        width=float(np.exp(2.0 * np.median(spread))),
        interval=_interval(off, spread),
        constant=_interval(off, np.full(off.size, best)),
    )


def _interval(off: Floats, half: Floats) -> float:
    return float(np.mean(2.0 * half + MISS_WEIGHT * np.maximum(off - half, 0.0)))


HEAD = [
    "| | rows | shapes | median | p90 | bias | in 80 % band | high/low | interval score | "
    "constant band |",
    "|---|---|---|---|---|---|---|---|---|---|",
]


def line(name: str, one: Figures) -> str:
    """Row of a table of errors with bands."""
    return (
        f"| {name} | {one.rows} | {one.groups} | {one.median:.1%} | {one.p90:.1%} | "
        f"{one.bias:+.1%} | {one.coverage:.0%} | {one.width:.2f} | {one.interval:.3f} | "
        f"{one.constant:.3f} |"
    )


def grouped(rows: Sequence[Scored], name: Callable[[Scored], str]) -> list[str]:
    """Table by a property of the rows, in order of its names."""
    some: dict[str, list[Scored]] = defaultdict(list)
    for row in rows:
        some[name(row)].append(row)
    return [*HEAD, *(line(key, figures(some[key])) for key in sorted(some))]
