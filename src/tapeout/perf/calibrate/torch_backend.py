"""CUDA, ROCm and CPU through torch (extra `calibrate`).

On a GPU a batch of calls is captured as a graph and replayed between two events, so that neither
the host nor the launch is in the figure; what cannot be captured runs call by call. Tensors rotate
through a pool larger than the last cache, so every call finds its weights cold.
"""

from __future__ import annotations

import importlib
import importlib.util
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from tapeout.constants import KILO, MEGA, MIB
from tapeout.errors import InfeasibleError, MissingFieldError
from tapeout.perf.calibrate import host
from tapeout.perf.calibrate.numpy_backend import COLD, EPSILON, MOST_POOL_BYTES, processor
from tapeout.perf.calibrate.timing import sample, wall_s
from tapeout.perf.calibrate.types import Device, Timing
from tapeout.perf.calibrate.work import ATTENTION, load_of
from tapeout.perf.ops.cases import OpCase

CALLS = 16  # of one captured graph
MOST_OF_MEMORY = 0.5
NAMES = {
    "bf16": "bfloat16",
    "fp16": "float16",
    "fp32": "float32",
    "fp8": "float8_e4m3fn",
    "int8": "int8",
}
ON_CPU = ("fp32", "bf16")
ON_GPU = ("bf16", "fp16", "fp8", "int8", "fp32")
USUAL_L2_BYTES = 64.0 * MIB  # assumption where the driver does not say


def is_installed() -> bool:
    """True if the extra is there."""
    return importlib.util.find_spec("torch") is not None


def load_torch() -> Any:
    """Import torch.

    Raises
    ------
    MissingFieldError
        It is not installed.
    """
    if not is_installed():
        raise MissingFieldError(
            "torch is not installed; pip install 'tapeout[calibrate]', or leave --backend torch out"
        )
    return importlib.import_module("torch")


def describe(torch: Any, device: Any) -> Device:
    """What torch and the driver say of a device."""
    version = f"torch-{torch.__version__}"
    if device.type == "cpu":
        return replace(processor(version, "torch-cpu"), devices=1)
    about = torch.cuda.get_device_properties(device)
    rocm = torch.version.hip is not None
    return Device(
        name=str(about.name),
        kind="rocm" if rocm else "cuda",
        host=host.host_name(),
        driver=host.driver(),
        stack=version,
        kernel="hipblaslt" if rocm else "cublas",
        memory_bytes=float(about.total_memory),
        cache_bytes=float(getattr(about, "L2_cache_size", 0)) or USUAL_L2_BYTES,
        clock_hz=_clock_hz(torch, device),
        units=int(about.multi_processor_count),
        devices=int(torch.cuda.device_count()),
    )


def _clock_hz(torch: Any, device: Any) -> float:
    """Clock now; 0 where the driver's library is not there."""
    try:
        return float(torch.cuda.clock_rate(device)) * MEGA
    except (ImportError, ModuleNotFoundError, RuntimeError):
        return 0.0


@dataclass(slots=True)
class TorchBackend:
    """Times torch's kernels on one device.

    Attributes
    ----------
    name : str
        "cpu", "cuda" or "cuda:1"; ROCm devices are called cuda as well.
    """

    name: str = "cuda:0"
    torch: Any = field(default_factory=load_torch, repr=False)
    device: Device = field(init=False)
    mode: str = field(init=False)
    _on: Any = field(init=False, repr=False)
    _pool: Any = field(init=False, default=None, repr=False)

    def __post_init__(self) -> None:
        self._on = _checked(self.torch, self.name)
        self.device = describe(self.torch, self._on)
        self.mode = "eager" if self._on.type == "cpu" else "graph"

    def dtypes(self) -> tuple[str, ...]:
        """Formats in which a small GEMM runs here."""
        wanted = ON_CPU if self._on.type == "cpu" else ON_GPU
        return tuple(dtype for dtype in wanted if self._multiplies(dtype))

    def _multiplies(self, dtype: str) -> bool:
        size = 64.0
        case = OpCase(chip="probe", op="gemm", dtype=dtype, m=size, n=size, k=size)
        try:
            self._call(case)()
            self._wait()
        except (RuntimeError, InfeasibleError, NotImplementedError, TypeError):
            return False
        return True

    def time(self, case: OpCase, budget_s: float) -> Timing:
        """Time a case; see `Backend.time`."""
        needed = 2.0 * load_of(case).moved_bytes
        if needed > MOST_OF_MEMORY * self.device.memory_bytes:
            raise InfeasibleError(f"{needed / MIB:,.0f} MiB is too much of the device's memory")
        try:
            with self.torch.inference_mode():
                call = self._call(case)
                if self._on.type == "cpu":
                    return sample(wall_s(call), budget_s)
                return sample(self._events(call), budget_s)
        except (RuntimeError, NotImplementedError, TypeError) as error:
            first = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise InfeasibleError(f"{case.op} in {case.dtype} does not run: {first}") from error

    def _wait(self) -> None:
        if self._on.type != "cpu":
            self.torch.cuda.synchronize(self._on)

    def _events(self, call: Callable[[], object]) -> Callable[[], float]:
        """Seconds of one call from events around a replayed graph."""
        torch = self.torch
        stream = torch.cuda.Stream(self._on)
        with torch.cuda.stream(stream):
            for _ in range(2):  # libraries choose their kernels outside the capture
                call()
        stream.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=stream):
            for _ in range(CALLS):
                call()
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))

        def once() -> float:
            begin.record()
            graph.replay()
            end.record()
            end.synchronize()
            return float(begin.elapsed_time(end)) / KILO / CALLS

        return once

    def _call(self, case: OpCase) -> Callable[[], object]:
        if case.op == "gemm":
            return self._gemm(case)
        if case.op in ATTENTION:
            return self._attention(case)
        return self._rows(case)

    def _tensors(self, dtype: str, *shape: int) -> Callable[[], Any]:
        """Hand out views that rotate through a pool larger than the last cache."""
        torch, kind = self.torch, getattr(self.torch, NAMES[dtype])
        size = 1
        for length in shape:
            size *= length
        item = torch.empty(0, dtype=kind).element_size()
        stride = -(-size * item // 256) * 256
        wanted = max(min(COLD * self.device.cache_bytes, MOST_POOL_BYTES), 2 * stride)
        if self._pool is None or self._pool.numel() < wanted:
            # 0x23 is a small positive number in every format but int8, where it is 35
            self._pool = torch.full((int(wanted),), 0x23, dtype=torch.uint8, device=self._on)
        pool = self._pool
        places = itertools.cycle(range(0, pool.numel() - size * item + 1, stride))

        def view() -> Any:
            at = next(places)
            return pool[at : at + size * item].view(kind).view(*shape)

        return view

    def _gemm(self, case: OpCase) -> Callable[[], object]:
        torch = self.torch
        m, n, k = int(case.m), int(case.n), int(case.k)
        weight = self._tensors(case.dtype, n, k)  # as checkpoints hold it
        x = self._tensors(case.dtype, m, k)()
        if case.dtype == "fp8":
            one = torch.ones((), device=self._on)
            multiply = torch._scaled_mm  # noqa: SLF001  the only fp8 GEMM torch has
            return lambda: multiply(x, weight().t(), one, one, out_dtype=torch.bfloat16)
        if case.dtype == "int8":
            return lambda: torch._int_mm(x, weight().t())  # noqa: SLF001  the only int8 GEMM
        return lambda: torch.mm(x, weight().t())

    def _attention(self, case: OpCase) -> Callable[[], object]:
        batch, new, width = int(case.batch), int(case.q_len), int(case.head_dim)
        cached = int(case.given("kv_len", 0.0))
        if new > 1 and cached > 0:
            raise InfeasibleError("a prompt on a cached prefix is not timed")
        query = self._tensors(case.dtype, batch, int(case.heads), new, width)()
        keys = self._tensors(case.dtype, batch, int(case.kv_heads), cached + new, width)
        attend = self.torch.nn.functional.scaled_dot_product_attention
        grouped = case.heads != case.kv_heads
        return lambda: attend(query, keys(), keys(), is_causal=new > 1, enable_gqa=grouped)

    def _rows(self, case: OpCase) -> Callable[[], object]:
        torch, shape = self.torch, (int(case.m), int(case.n))
        first, second = self._tensors(case.dtype, *shape), self._tensors(case.dtype, *shape)
        out = torch.empty(shape, dtype=getattr(torch, NAMES[case.dtype]), device=self._on)
        functions = torch.nn.functional
        calls: dict[str, Callable[[], object]] = {
            "copy": lambda: out.copy_(first()),
            "silu_mul": lambda: torch.mul(functions.silu(first()), second(), out=out),
            "rmsnorm": lambda: functions.rms_norm(first(), (shape[1],), eps=EPSILON),
        }
        if case.op not in calls:
            raise InfeasibleError(f"{case.op} is not timed with torch")
        return calls[case.op]


def _checked(torch: Any, name: str) -> Any:
    """The device of this name.

    Raises
    ------
    InfeasibleError
        There is none.
    """
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise InfeasibleError(f"device {name!r} is none of cpu, cuda, cuda:N") from error
    if device.type == "cpu":
        return device
    count = torch.cuda.device_count() if device.type == "cuda" else 0
    if (device.index or 0) >= count:
        raise InfeasibleError(
            f"device {name!r}: torch sees {count} of them here; --device cpu times the processor"
        )
    return torch.device("cuda", device.index or 0)
