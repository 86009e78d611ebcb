"""GEMM evaluations per CPU second: a million distinct shapes, 8 tiles x 4 splits, no memo."""

from __future__ import annotations

import time

import numpy as np

from tapeout.perf.ops import store
from tapeout.perf.ops.gemm import GemmRates, gemm_s
from tapeout.perf.ops.gemm_estimate import NAME, constants_of

SHAPES = 1_000_000
SEED = 0
H100 = GemmRates(peak_flop_per_s=989.4e12, bytes_per_s=3.35e12, cores=132, l2_bytes=50e6)


def gemm_evals_per_cpu_s(shapes: int = SHAPES) -> float:
    """Distinct shapes timed per CPU second of one thread, compilation left out.

    Rows are spread evenly over the logarithm of 1 to 16384, columns and depths over 64 to 65536,
    as those of the measured tables.
    """
    rng = np.random.default_rng(SEED)
    m = np.rint(2.0 ** rng.uniform(0.0, 14.0, shapes))
    n, k = (np.rint(2.0 ** rng.uniform(6.0, 16.0, shapes)) for _ in range(2))
    setup = next(one for one in store.load_setups(NAME) if one.chip == "NVIDIA H100 SXM")
    law = constants_of(setup)
    gemm_s(m[:10], n[:10], k[:10], H100, law)
    began = time.process_time()
    gemm_s(m, n, k, H100, law)
    return shapes / (time.process_time() - began)


if __name__ == "__main__":
    print(f"gemm_evals_per_cpu_s {max(gemm_evals_per_cpu_s() for _ in range(3)):.3g}")
