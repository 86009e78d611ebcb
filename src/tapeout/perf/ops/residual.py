"""What a law leaves of measured products: a smooth surface over log2 of rows, columns and depth.

A Gaussian process with an exponential kernel (Rasmussen and Williams, "Gaussian Processes for
Machine Learning", 2006, section 8.3: subset of regressors) is fitted to the log errors of the law
and its mean is tabulated on a grid of shapes in steps of 0.4 %. Only the table is kept. Away from
measured shapes the mean falls back to zero, the law alone; so it is for chips nobody measured.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib import resources

import numpy as np
from numpy.typing import NDArray

from tapeout.numerics import Floats, Ints

STEP = 0.004  # of the stored logarithm
MOST = 0.5  # larger errors are outliers: they are clipped before the fit
LENGTH = 6.0  # over which errors stay alike, in doublings of the three sizes together
NOISE = 0.1  # variance of a measurement over that of the surface
JITTER = 1e-6  # on the diagonal, for a solution where centres nearly coincide
CENTRES = 2000
ROWS = 6000
ROW_UNIT = 16.0  # rows of the smallest matrix instruction
FEWEST_SHAPES = 30  # (n, k) pairs below which a surface is not fitted
ROWS_MEASURED = (
    1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 32, 33, 48, 49, 64, 65, 80, 81,
    96, 97, 112, 113, 128, 129, 160, 161, 192, 193, 224, 225, 256, 257, 384, 512, 513, 768,
    769, 1024, 1025, 1280, 1281, 1536, 1537, 1792, 1793, 2048, 2049, 2304, 2305, 2560, 2561,
    2816, 2817, 3072, 3073, 3328, 3329, 3584, 3585, 3840, 3841, 4096, 4097, 4352, 4353, 8192,
    16384, 32768,
)  # fmt: skip
SIDES_MEASURED = (
    32, 64, 128, 256, 512, 768, 1024, 1536, 2048, 2560, 3072, 3584, 4096, 5120, 6144, 7168, 8192,
    10240, 12288, 16384, 32768, 51200, 65536,
)  # fmt: skip
ROW_NODES = np.log2(np.array(ROWS_MEASURED, dtype=float))
SIDE_NODES = np.log2(np.array(SIDES_MEASURED, dtype=float))
AXES = (ROW_NODES, SIDE_NODES, SIDE_NODES)


@dataclass(frozen=True, slots=True)
class Surface:
    """Log correction on the nodes, in units of STEP, shape (row node, column node, depth node)."""

    steps: NDArray[np.int8]

    def log_factor(self, m: Floats, n: Floats, k: Floats) -> Floats:
        """Logarithm of measured over predicted time, trilinear between nodes, shape (case,).

        Beyond the nodes the nearest edge holds.
        """
        places = [_place(x, nodes) for x, nodes in zip((m, n, k), AXES, strict=True)]
        total = np.zeros(np.shape(m))
        for corner in range(2 ** len(AXES)):
            weight = np.ones(np.shape(m))
            index = []
            for axis, (low, share) in enumerate(places):
                high = corner >> axis & 1
                weight = weight * (share if high else 1.0 - share)
                index.append(low + high)
            total = total + weight * self.steps[tuple(index)]
        return STEP * total


def _place(x: Floats, nodes: Floats) -> tuple[Ints, Floats]:
    """Node below each value and how far it is towards the next, 0 to 1."""
    log = np.clip(np.log2(np.maximum(x, 1.0)), nodes[0], nodes[-1])
    low = np.clip(np.searchsorted(nodes, log, side="right") - 1, 0, nodes.size - 2)
    return low, (log - nodes[low]) / (nodes[low + 1] - nodes[low])


def fit_surface(m: Floats, n: Floats, k: Floats, log_factor: Floats, seed: int = 0) -> Surface:
    """Tabulate the smoothed log(measured / predicted) of shapes, each array of shape (row,)."""
    points = _features(m, n, k)
    rng = np.random.default_rng(seed)
    if points.shape[0] > ROWS:
        chosen = rng.choice(points.shape[0], ROWS, replace=False)
        points, log_factor = points[chosen], log_factor[chosen]
    centres = _spread_out(points, CENTRES)
    seen = _kernel(points, centres)
    left = seen.T @ seen + NOISE * _kernel(centres, centres) + JITTER * np.eye(len(centres))
    weights = np.linalg.solve(left, seen.T @ np.clip(log_factor, -MOST, MOST))
    n_side, k_side = (2.0 ** side.ravel() for side in np.meshgrid(*AXES[1:], indexing="ij"))
    values = np.stack(
        [
            _kernel(_features(np.full(n_side.size, 2.0**row), n_side, k_side), centres) @ weights
            for row in ROW_NODES
        ]
    )
    steps = np.rint(np.clip(values, -MOST, MOST) / STEP).astype(np.int8)
    return Surface(steps.reshape([nodes.size for nodes in AXES]))


def _features(m: Floats, n: Floats, k: Floats) -> Floats:
    """Coordinates of the process, shape (row, 4): sizes, and the rows missing to a full unit."""
    rows = np.rint(m)
    missing = (np.ceil(rows / ROW_UNIT) * ROW_UNIT - rows) / ROW_UNIT * (rows > ROW_UNIT)
    return np.column_stack([np.log2(m), np.log2(n), np.log2(k), missing])


def _kernel(a: Floats, b: Floats) -> Floats:
    square = (a**2).sum(1)[:, None] + (b**2).sum(1)[None, :] - 2.0 * a @ b.T
    value: Floats = np.exp(-np.sqrt(np.maximum(square, 0.0)) / LENGTH)
    return value


def _spread_out(points: Floats, most: int) -> Floats:
    """Return points far from one another: each next one is the farthest from those chosen."""
    known = np.unique(points, axis=0)
    chosen = [0]
    nearest = ((known - known[0]) ** 2).sum(1)
    while len(chosen) < min(most, len(known)):
        chosen.append(int(nearest.argmax()))
        nearest = np.minimum(nearest, ((known - known[chosen[-1]]) ** 2).sum(1))
    return known[chosen]


@cache
def load_surfaces(name: str) -> dict[str, Surface]:
    """Read data/ops/NAME.npz: surfaces by key of the set-up."""
    path = resources.files("tapeout.perf").joinpath(f"data/ops/{name}.npz")
    with path.open("rb") as file, np.load(file) as stored:
        return {key: Surface(stored[key]) for key in stored.files}


def key_of(chip: str, stack: str, dtype: str, kernel: str) -> str:
    """Key of a set-up in the file of surfaces."""
    return "|".join((chip, stack, dtype, kernel.lower()))
