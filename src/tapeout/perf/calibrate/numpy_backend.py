"""The CPU without torch: numpy's BLAS, plain attention, copies. Always there."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from tapeout.constants import MIB
from tapeout.errors import InfeasibleError
from tapeout.perf.calibrate import host
from tapeout.perf.calibrate.timing import sample, wall_s
from tapeout.perf.calibrate.types import Device, Timing
from tapeout.perf.calibrate.work import ATTENTION, load_of
from tapeout.perf.ops.cases import OpCase

F32 = NDArray[np.float32]
COLD = 4.0  # weights rotate through this many times the cache
MOST_POOL_BYTES = 512.0 * MIB
MOST_OF_MEMORY = 0.25
ALIGNED = 16  # elements; a cache line of fp32
EPSILON = 1e-6


def processor(stack: str, kernel: str) -> Device:
    """The CPU of this host as seen by a library."""
    info = host.text_of(host.CPU_INFO)
    return Device(
        name=host.processor_name(info),
        kind="cpu",
        host=host.host_name(),
        driver=host.driver(),
        stack=stack,
        kernel=kernel,
        memory_bytes=host.memory_bytes(),
        cache_bytes=host.cache_bytes(),
        clock_hz=host.processor_clock_hz(info),
        units=host.usable_cores(),
    )


def _blas() -> str:
    """Name of the BLAS that numpy was built with."""
    config = np.show_config(mode="dicts")
    blas = config.get("Build Dependencies", {}).get("blas", {}) if config else {}
    return str(blas.get("name", "blas"))


@dataclass(slots=True)
class NumpyBackend:
    """Times numpy in fp32 (what BLAS has; numpy itself has no bf16 and no fast fp16)."""

    device: Device = field(
        default_factory=lambda: processor(f"numpy-{np.__version__}", f"numpy-{_blas()}")
    )
    mode: str = "eager"
    _pool: F32 = field(default_factory=lambda: np.empty(0, np.float32), repr=False)

    def dtypes(self) -> tuple[str, ...]:
        """Only fp32."""
        return ("fp32",)

    def time(self, case: OpCase, budget_s: float) -> Timing:
        """Time a case; see `Backend.time`."""
        if case.dtype != "fp32":
            raise InfeasibleError(f"numpy multiplies fp32 only, not {case.dtype}")
        needed = 2.0 * load_of(case).moved_bytes
        if self.device.memory_bytes and needed > MOST_OF_MEMORY * self.device.memory_bytes:
            raise InfeasibleError(f"{needed / MIB:,.0f} MiB is too much of this host's memory")
        if case.op == "gemm":
            call = self._gemm(case)
        elif case.op in ATTENTION:
            call = self._attention(case)
        else:
            call = self._rows(case)
        return sample(wall_s(call), budget_s)

    def _tensors(self, *shape: int) -> Callable[[], F32]:
        """Hand out views that rotate through a pool larger than the cache."""
        size = int(np.prod(shape))
        stride = -(-size // ALIGNED) * ALIGNED
        wanted = int(min(COLD * self.device.cache_bytes, MOST_POOL_BYTES)) // 4
        elements = max(wanted, 2 * stride)
        if self._pool.size < elements:
            # small values: products and exponentials of them stay normal numbers
            self._pool = np.resize(np.linspace(-0.1, 0.1, 8191, dtype=np.float32), elements)
        places = itertools.cycle(range(0, self._pool.size - size + 1, stride))
        return lambda: self._pool[(at := next(places)) : at + size].reshape(shape)

    def _gemm(self, case: OpCase) -> Callable[[], object]:
        m, n, k = int(case.m), int(case.n), int(case.k)
        x, out = np.full((m, k), 0.01, np.float32), np.empty((m, n), np.float32)
        weight = self._tensors(k, n)
        return lambda: np.matmul(x, weight(), out=out)

    def _attention(self, case: OpCase) -> Callable[[], object]:
        batch, new, cached = int(case.batch), int(case.q_len), int(case.given("kv_len", 0.0))
        groups, each = int(case.kv_heads), int(case.heads // case.kv_heads)
        width, total = int(case.head_dim), cached + new
        query = np.full((batch, groups, each * new, width), 0.01, np.float32)
        keys = self._tensors(batch, groups, width, total)
        values = self._tensors(batch, groups, total, width)
        hidden = np.triu(np.ones((new, total), bool), cached + 1)
        mask = np.where(np.tile(hidden, (each, 1)), np.float32(-np.inf), np.float32(0.0))

        def call() -> F32:
            scores: F32 = np.matmul(query, keys(), dtype=np.float32)
            if new > 1:
                scores += mask
            np.exp(scores, out=scores)
            np.divide(scores, scores.sum(axis=-1, keepdims=True), out=scores)
            result: F32 = np.matmul(scores, values(), dtype=np.float32)
            return result

        return call

    def _rows(self, case: OpCase) -> Callable[[], object]:
        shape = (int(case.m), int(case.n))
        first, second = self._tensors(*shape), self._tensors(*shape)
        out = np.empty(shape, np.float32)
        if case.op == "copy":
            return lambda: np.copyto(out, first())

        def silu_mul() -> None:
            gate = first()
            np.negative(gate, out=out)
            np.exp(out, out=out)
            np.add(out, 1.0, out=out)
            np.divide(gate, out, out=out)
            np.multiply(out, second(), out=out)

        def rmsnorm() -> None:
            x = first()
            scale = 1.0 / np.sqrt(np.einsum("ij,ij->i", x, x) / shape[1] + EPSILON)
            np.multiply(x, scale[:, None], out=out)

        calls = {"silu_mul": silu_mul, "rmsnorm": rmsnorm}
        if case.op not in calls:
            raise InfeasibleError(f"{case.op} is not timed with numpy")
        return calls[case.op]
