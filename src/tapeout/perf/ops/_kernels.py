"""Compiled laws of operators: flat arrays in, array out, no checks (the wrappers make them)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

import numpy as np
from numba import njit
from numpy.typing import NDArray

F64 = NDArray[np.float64]
Function = TypeVar("Function", bound=Callable[..., object])


def compiled(function: Function) -> Function:
    """Compile on first use, keeping the type; divisions by zero give inf as in numpy."""
    return cast("Function", njit(cache=True, error_model="numpy")(function))


# Rows x columns of the output tile of one core, smallest first. Powers of two, so that the number
# of tiles is a product with an exact reciprocal.
TILE_ROWS = np.array([16.0, 32.0, 64.0, 64.0, 128.0, 128.0, 128.0, 256.0])
TILE_COLUMNS = np.array([64.0, 64.0, 64.0, 128.0, 64.0, 128.0, 256.0, 128.0])
SPLITS = np.array([1.0, 2.0, 4.0, 8.0])  # the last grows until every core has a tile,
MOST_SPLITS = 16.0  # to this at most
SMALL = 0  # tiles before this one are tried whatever the shape

K_STEP = 64.0  # depth that one core takes at a time
EPILOGUE_TILE = 128.0 * 128.0
PARTIAL_BYTES = 8.0  # a partial sum of a split is written and read back in 4 bytes each


@compiled
def gemm_s(m: F64, n: F64, k: F64, chip: F64, law: F64) -> F64:
    """Time of each y[m, n] = x[m, k] w[k, n], in seconds.

    `chip` holds the fields of GemmRates and `law` those of GemmConstants, in their order.
    """
    peak, byte_rate, cores, weight_b, act_b, out_b, l2_bytes, copies = chip
    eta, f_bw, c_core, l2_ratio, k_fill, stat, launch, prologue = law[:8]
    epilogue, throttle, hold, step, quant_s, quant_ratio = law[8:]
    core_rate = eta * peak / cores
    l2_core_rate = byte_rate * l2_ratio / cores
    time_s = np.empty(m.size)
    for i in range(m.size):
        rows, cols, depth = m[i], n[i], k[i]
        stored = weight_b * depth * cols
        passed = act_b * rows * depth + out_b * rows * cols
        ratio = (copies * stored + passed) / (hold * l2_bytes)
        cold = 1.0 / (1.0 + 1.0 / (ratio * ratio))
        ratio = (stored + passed) / (hold * l2_bytes)
        fresh = 1.0 / (1.0 + 1.0 / (ratio * ratio))
        moved = stored * cold + passed * fresh
        cached_s = (stored + passed - moved) / (byte_rate * l2_ratio)
        reduce_s = PARTIAL_BYTES * rows * cols / (byte_rate * l2_ratio)
        best = np.inf
        for tile in range(TILE_ROWS.size):
            t_rows, t_cols = TILE_ROWS[tile], TILE_COLUMNS[tile]
            if tile > SMALL and (t_rows >= 2.0 * rows or t_cols >= 2.0 * cols):
                continue
            tiles = np.ceil(rows / t_rows) * np.ceil(cols / t_cols)
            flop_s = 2.0 * t_rows * t_cols / core_rate
            feed_s = (t_rows + t_cols) * act_b / l2_core_rate
            tail_s = epilogue * t_rows * t_cols / EPILOGUE_TILE
            for q in range(SPLITS.size):
                split = SPLITS[q]
                if q == SPLITS.size - 1:
                    split = min(max(split, np.floor(cores / tiles)), MOST_SPLITS)
                jobs = tiles * split
                if q > 0 and (jobs >= 4.0 * cores or depth < split * K_STEP):
                    break
                part = K_STEP * np.ceil(depth / (split * K_STEP))
                waves = stat * np.ceil(jobs / cores) + (1.0 - stat) * max(jobs / cores, 1.0)
                compute = waves * flop_s * (part + k_fill)
                feed = waves * feed_s * part
                share = min(f_bw, c_core * min(jobs, cores) / cores)
                memory = moved / (byte_rate * share) + cached_s
                added = launch + prologue + waves * tail_s + step * part
                if q > 0:
                    memory += split * reduce_s
                    added += prologue
                if added + max(compute, feed, memory) >= best:
                    continue
                norm = np.sqrt(np.sqrt(compute**4 + feed**4 + memory**4))
                best = min(best, added + norm)
        busy = 2.0 * rows * cols * depth / (eta * peak * best)
        best *= 1.0 + (1.0 / throttle - 1.0) * min(max(2.0 * busy - 1.0, 0.0), 1.0)
        if quant_ratio > 0.0:
            best += quant_s + (2.0 + act_b) * rows * depth / (quant_ratio * byte_rate)
        time_s[i] = best
    return time_s
