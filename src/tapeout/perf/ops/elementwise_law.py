"""Law of operators that do little arithmetic a byte: norms, activations, rotary, copies.

    t = (t_host^8 + (t_start + mem)^8)^(1/8)
    mem = (stream^4 + serial^4)^(1/4)
    stream = c V (h / (f_L2 BW) + (1 - h) / (f BW)),   h = 1 / (1 + (c V / (L2/2))^2)
    serial = max(units / (8 cores), 1) v cores / (f_core BW),   v = V / units

`V` are the bytes of table 1.6 of the timing reference, `c = c_0 (1 + x g / (1 + g))` with
`g = (row / row_0)^4` how many of them the kernel really moves: a reduction over a row that outgrows
registers and shared memory reads it once more (LayerNorm on A100 falls from 0.76 to 0.40 of the
bandwidth between rows of 4 k and 16 k elements). Producer and consumer share what fits half of the
last cache, so small arrays move at its rate. Kernels that give a row to one block loop over it: a
single long row takes time that no other core can share, which sets the floor of wide activations.
A kernel issued by the host hides behind the issue of the next, hence the larger of host and device
and not their sum (PyTorch on A100: GELU takes 48 us from 1 k to 4 M elements and 37 us more than
its traffic above 16 M).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from tapeout.errors import InfeasibleError
from tapeout.numerics import Floats

HOST_POWER = 8.0
STREAM_POWER = 4.0
CACHE_SHARE = 0.5  # of the last cache, for one array; chosen among 1, 1/2 and 1/4 by the folds
BLOCKS_PER_CORE = 8.0  # resident at a time: 2,048 threads of 256
FLAT_BLOCK = 1024.0  # elements of a block where rows mean nothing
LONG_ROW_POWER = 4.0
LONG_ROW_BYTES = 24e3  # start of the fit: between the rows of 8 and 32 kB that differ

PASSES = {
    # key of the operator: times an element is read or written
    "rmsnorm": 2.0,
    "rmsnorm+fused_add": 4.0,
    "layernorm": 2.0,
    "softmax": 2.0,
    "gelu": 2.0,
    "silu_mul": 3.0,
    "rope": 2.0,
    "embedding": 2.0,
    "sample": 1.0,
    "copy": 2.0,
    "copy+add": 3.0,
}
FLAT = ("gelu", "copy", "copy+add")
REDUCED = ("rmsnorm", "rmsnorm+fused_add", "layernorm", "softmax")
WIDTH_BYTES = {"fp32": 4.0, "bf16": 2.0, "fp16": 2.0, "fp8": 1.0, "int8": 1.0}
SAMPLED = "sample"
LOGIT_BYTES = 4.0  # logits are widened before they are sampled


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What operators move; scalars or arrays of one shape.

    Attributes
    ----------
    moved_bytes : array
        V of the module. [B]
    units : array
        Rows, or blocks of a flat array: what is dealt to cores.
    row_bytes : array
        Of a row that is reduced; 0 where nothing is. [B]
    """

    moved_bytes: Floats
    units: Floats
    row_bytes: Floats | float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """What the law needs to know of a chip; scalars or arrays of the shape of the work.

    Attributes
    ----------
    bytes_per_s : float
        Of main memory. [B/s]
    cache_bytes : float
        Last cache before it. [B]
    cores : float
    """

    bytes_per_s: Floats | float
    cache_bytes: Floats | float
    cores: Floats | float


@dataclass(frozen=True, slots=True, kw_only=True)
class ElementwiseConstants:
    """Constants of one operator of one set-up.

    Attributes
    ----------
    host_s : float
        Least time between two calls. [s]
    start_s : float
        Start and end of the kernel. [s]
    memory_fraction, cache_fraction, core_fraction : float
        Rates of main memory, of the cache, and of all cores each looping over its own row; in
        units of the nominal rate of main memory.
    moved_factor : float
        c_0: bytes moved over bytes counted, short rows.
    long_row_extra : float
        x: further bytes over bytes counted, long rows.
    long_row_bytes : float
        row_0: where half of them are moved. [B]
    """

    host_s: Floats | float
    start_s: Floats | float
    memory_fraction: Floats | float
    cache_fraction: Floats | float
    core_fraction: Floats | float
    moved_factor: Floats | float = 1.0
    long_row_extra: Floats | float = 0.5
    long_row_bytes: Floats | float = LONG_ROW_BYTES

    @staticmethod
    def of(values: Mapping[str, float]) -> ElementwiseConstants:
        """Read a flat table that may hold more."""
        names = ElementwiseConstants.__dataclass_fields__
        return ElementwiseConstants(**{name: values[name] for name in names if name in values})

    def time_s(self, work: Work, memory: Memory) -> Floats:
        """Time of each operator, shape of the work. [s]."""
        long = (work.row_bytes / self.long_row_bytes) ** LONG_ROW_POWER
        extra = 1.0 + self.long_row_extra * long / (1.0 + long)
        moved = self.moved_factor * extra * work.moved_bytes
        hot = 1.0 / (1.0 + (moved / (CACHE_SHARE * memory.cache_bytes)) ** 2)
        near = hot / (self.cache_fraction * memory.bytes_per_s)
        far = (1.0 - hot) / (self.memory_fraction * memory.bytes_per_s)
        waves = np.maximum(work.units / (BLOCKS_PER_CORE * memory.cores), 1.0)
        each = work.moved_bytes / work.units
        serial = waves * each * memory.cores / (self.core_fraction * memory.bytes_per_s)
        device = self.start_s + _larger(moved * (near + far), serial, STREAM_POWER)
        return _larger(np.asarray(self.host_s), device, HOST_POWER)


def _larger(one: Floats, other: Floats, power: float) -> Floats:
    """Smooth maximum, homogeneous so that microseconds stay in range."""
    top = np.maximum(one, other)
    bottom = np.minimum(one, other)
    return np.asarray(top * (1.0 + (bottom / top) ** power) ** (1.0 / power))


def key_of(op: str, kernel: str) -> str:
    """Key of `PASSES`: the operation, and the kernel where it changes what is moved.

    Examples
    --------
    >>> key_of("rmsnorm", "fused_add"), key_of("rmsnorm", "flashinfer")
    ('rmsnorm+fused_add', 'rmsnorm')
    """
    joined = f"{op}+{kernel}"
    return joined if joined in PASSES else op


def work_of(key: str, rows: float, width: float, dtype: str) -> Work:
    """Work of one operator on `rows` rows of `width` elements.

    Raises
    ------
    InfeasibleError
        The number format has no known width.
    """
    if dtype not in WIDTH_BYTES:
        raise InfeasibleError(f"dtype {dtype!r} is none of {', '.join(WIDTH_BYTES)}")
    each = LOGIT_BYTES if key == SAMPLED else WIDTH_BYTES[dtype]
    elements = rows * width
    units = np.ceil(elements / FLAT_BLOCK) if key in FLAT else rows
    return Work(
        moved_bytes=np.asarray(PASSES[key] * elements * each),
        units=np.asarray(float(units)),
        row_bytes=width * each if key in REDUCED else 0.0,
    )
