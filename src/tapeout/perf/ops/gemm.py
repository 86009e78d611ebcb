"""Time of a matrix product: tiles, split of the depth, waves, caches, launch, throttle.

The law is that of GPU libraries seen from outside. The output is cut into tiles that are dealt to
the cores in waves; a core multiplies its tile through the depth (matrix pipe), fetches operands
through the last cache (feed) and the chip moves weights and activations (memory); the slowest of
the three, joined by a smooth maximum, decides. When tiles are few the depth is split and partial
sums are reduced in a second pass. The library is taken to pick the fastest tile and split.
Short reading: Williams et al., "Roofline", CACM 52 (2009); Osama et al., "Stream-K", PPoPP 2023
(static waves against continuous ones); the constants are fitted, `tools/fit_gemm.py`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace

import numpy as np

from tapeout.numerics import Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class GemmRates:
    """What a chip offers a product of given number formats; the order is that of the kernel.

    Attributes
    ----------
    peak_flop_per_s : float
        Dense peak of the multiplied format.
    bytes_per_s : float
        Nominal memory bandwidth.
    cores : float
        Independent cores that tiles are dealt to.
    weight_bytes, activation_bytes, output_bytes : float
        Per element, scales included.
    l2_bytes : float
        Last cache before memory; 0 for none.
    copies : float
        Weights of this size that are read between two uses of the same: infinity for a served
        model (weights come from memory), 1 for one layer timed again and again.
    """

    peak_flop_per_s: float
    bytes_per_s: float
    cores: float
    weight_bytes: float = 2.0
    activation_bytes: float = 2.0
    output_bytes: float = 2.0
    l2_bytes: float = 0.0
    copies: float = math.inf


@dataclass(frozen=True, slots=True, kw_only=True)
class GemmConstants:
    """Fitted constants of one (chip, stack, number format, kernel); the order is the kernel's.

    Attributes
    ----------
    compute_fraction : float
        Sustained over nominal peak inside a full tile; above 1 where the nominal clock is beaten.
    memory_fraction : float
        Sustained over nominal memory bandwidth.
    core_memory : float
        Bandwidth all cores could draw over nominal; with few busy cores memory is not saturated.
    l2_ratio : float
        Bandwidth of the last cache in units of nominal memory bandwidth.
    fill_depth : float
        Filling and draining a tile, in units of extra depth.
    static_share : float
        1: the last wave costs a whole one; 0: work is spread evenly (persistent, stream-K).
    launch_s, prologue_s : float
        Gap between kernels; start of a kernel, paid again for the reduction of a split. [s]
    epilogue_s : float
        Writing out a tile of 128 x 128. [s]
    throttle : float
        Clock of long arithmetic-bound kernels over that of short ones.
    hold : float
        Share of the last cache in which operands survive until their next use.
    step_s : float
        Latency of a unit of depth that nothing hides. [s]
    quantise_s : float
        Launch of the kernel that quantises activations; 0 where there is none. [s]
    quantise_ratio : float
        Its bandwidth in units of nominal memory bandwidth; 0 for no such kernel.
    """

    compute_fraction: float
    memory_fraction: float
    core_memory: float
    l2_ratio: float
    fill_depth: float
    static_share: float
    launch_s: float
    prologue_s: float
    epilogue_s: float
    throttle: float
    hold: float = 0.3
    step_s: float = 0.0
    quantise_s: float = 0.0
    quantise_ratio: float = 0.0


def gemm_s(
    m: Floats, n: Floats, k: Floats, rates: GemmRates, constants: GemmConstants
) -> Floats:  # fmt: skip
    """Time of y[m, n] = x[m, k] w[k, n], the arrays broadcast against one another.

    Parameters
    ----------
    m, n, k : array
        Rows (tokens), output features, input features, per chip after sharding; 0 takes no time.
    rates : GemmRates
        Of the chip and the number formats.
    constants : GemmConstants
        Fitted, see `setups`.

    Returns
    -------
    gemm_s : array, shape of the broadcast
        [s]

    Examples
    --------
    >>> rates = GemmRates(peak_flop_per_s=1e15, bytes_per_s=3e12, cores=132)
    >>> law = GemmConstants(
    ...     compute_fraction=1.0, memory_fraction=1.0, core_memory=2.0, l2_ratio=5.0,
    ...     fill_depth=0.0, static_share=0.0, launch_s=0.0, prologue_s=0.0, epilogue_s=0.0,
    ...     throttle=1.0)
    >>> bool(gemm_s(1, 8192, 8192, rates, law) > 2 * 8192 * 8192 / 3e12)  # reads its weights
    True
    """
    from tapeout.perf.ops import _kernels  # noqa: PLC0415  (numba loads slowly)

    rows, cols, depth = np.broadcast_arrays(
        np.asarray(m, dtype=float), np.asarray(n, dtype=float), np.asarray(k, dtype=float)
    )
    x, y, z = (np.ascontiguousarray(each).ravel() for each in (rows, cols, depth))
    empty = (x <= 0.0) | (y <= 0.0) | (z <= 0.0)
    x, y, z = (np.maximum(each, 1.0) for each in (x, y, z))
    chip = _vector(replace(rates, l2_bytes=max(rates.l2_bytes, 1.0)))  # no 0 to divide by
    time_s = _kernels.gemm_s(x, y, z, chip, _vector(constants))
    return np.where(empty, 0.0, time_s).reshape(rows.shape)


def _vector(values: GemmRates | GemmConstants) -> Floats:
    """Fields in their order; `astuple` would copy each deeply, a quarter of a capacity table."""
    return np.array([getattr(values, one.name) for one in fields(values)])


@dataclass(frozen=True, slots=True, kw_only=True)
class Experts:
    """Experts that the rows of a grouped product are spread over, each array of shape (case,).

    Attributes
    ----------
    active : array
        Distinct experts hit.
    topk : array
        Experts a token goes to.
    """

    active: Floats
    topk: Floats


def grouped_s(
    m: Floats, n: Floats, k: Floats, experts: Experts, rates: GemmRates, constants: GemmConstants
) -> Floats:  # fmt: skip
    """Time of one product per hit expert in one kernel, rows spread evenly over the experts.

    Tiles, weights and results are those of one product with m topk / active rows and n active
    columns; the inputs, which differ by expert, are moved on top of it.

    Parameters
    ----------
    m, n, k : array
        Tokens; output and input features of one expert.
    experts : Experts
        Hit experts and experts per token.

    Returns
    -------
    grouped_s : array, shape of the broadcast
        [s]
    """
    rows = np.maximum(np.asarray(m) * experts.topk / experts.active, 1.0)
    wide = gemm_s(rows, np.asarray(n) * experts.active, k, rates, constants)
    others = rows * (experts.active - 1.0) * k * rates.activation_bytes
    return wide + others / (rates.bytes_per_s * constants.memory_fraction)


def expert_ffn_s(
    m: Floats, n: Floats, k: Floats, experts: Experts, rates: GemmRates, constants: GemmConstants
) -> Floats:  # fmt: skip
    """Time of a gated expert layer: gate and up (k to 2 n) in one kernel, down (n to k); [s]."""
    up = grouped_s(m, 2.0 * np.asarray(n), k, experts, rates, constants)
    return up + grouped_s(m, k, n, experts, rates, constants)


def expected_active(m: Floats, experts: Floats, topk: Floats) -> Floats:
    """Distinct experts hit by m tokens under uniform independent routing.

    Examples
    --------
    >>> round(float(expected_active(np.array(16.0), np.array(256.0), np.array(8.0))), 1)
    102.0
    """
    return experts * (1.0 - (1.0 - topk / experts) ** m)
