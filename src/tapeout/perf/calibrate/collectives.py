"""Time collectives with torch.distributed: one process a device, all of one host.

`message_bytes` is S of the operator tables: the buffer of a rank for an all-reduce, the gathered
size for an all-gather, the size before scattering for a reduce-scatter, all that one rank sends
for an all-to-all. The slowest rank counts.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from tapeout.constants import KIB, MIB
from tapeout.errors import InfeasibleError
from tapeout.numerics import Floats
from tapeout.perf.calibrate.fit import Measured
from tapeout.perf.calibrate.timing import LEAST, WARM_UP
from tapeout.perf.calibrate.torch_backend import load_torch
from tapeout.perf.calibrate.types import Device
from tapeout.perf.ops.cases import OpCase

OPERATIONS = ("all_reduce", "all_gather", "reduce_scatter", "all_to_all")
NO_CPU = ("reduce_scatter", "all_to_all")  # gloo, the library of the CPU, has neither
SIZES = (4 * KIB, 64 * KIB, MIB, 16 * MIB, 128 * MIB)
PASSES = {"all_reduce": 2.0}  # a rank sends S (n-1)/n once, for an all-reduce twice
ELEMENT_BYTES = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What the processes time: operations and sizes, within so many seconds."""

    kind: str  # cpu or cuda
    ranks: int
    operations: tuple[str, ...]
    sizes: tuple[int, ...]
    seconds: float
    meeting: str  # file the processes meet through
    result: str  # file the first process writes


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectiveFit:
    """latency + wire bytes / rate of one operation over so many devices."""

    op: str
    n_chips: int
    latency_s: float
    bus_bytes_per_s: float


def operations_of(kind: str) -> tuple[str, ...]:
    """Operations that the library of a device kind has."""
    return tuple(op for op in OPERATIONS if kind != "cpu" or op not in NO_CPU)


def time_collectives(
    device: Device,
    *,
    ranks: int,
    seconds: float,
    sizes: Sequence[int] = SIZES,
) -> list[Measured]:
    """Time the collectives of some devices of this host.

    Parameters
    ----------
    device : Device
    ranks : int
        Devices, one process each.
    seconds : float
        Wall time, starting the processes apart. [s]
    sizes : sequence of int
        Messages, S. [B]

    Raises
    ------
    InfeasibleError
        Fewer than two ranks, or the processes failed.
    MissingFieldError
        Torch is not installed.
    """
    if ranks < 2:
        raise InfeasibleError(f"{ranks} device: collectives need at least two")
    torch = load_torch()
    with tempfile.TemporaryDirectory(prefix="tapeout-") as folder:
        plan = Plan(
            kind="cpu" if device.kind == "cpu" else "cuda",
            ranks=ranks,
            operations=operations_of(device.kind),
            sizes=tuple(sizes),
            seconds=seconds,
            meeting=str(Path(folder) / "meeting"),
            result=str(Path(folder) / "result.json"),
        )
        try:
            torch.multiprocessing.spawn(worker, args=(plan,), nprocs=ranks, join=True)
            rows = json.loads(Path(plan.result).read_text(encoding="utf-8"))
        except (RuntimeError, OSError) as error:
            first = str(error).strip().splitlines()[-1:] or [type(error).__name__]
            raise InfeasibleError(f"collectives over {ranks} devices failed: {first[0]}") from error
    return [_measured(device, ranks, row) for row in rows]


def _measured(device: Device, ranks: int, row: dict[str, Any]) -> Measured:
    case = OpCase(
        chip=device.name,
        op=row["op"],
        stack=device.stack,
        dtype="fp32",
        kernel="gloo" if device.kind == "cpu" else "nccl",
        mode="eager",
        n_chips=float(ranks),
        message_bytes=float(row["bytes"]),
    )
    low, median, high = np.quantile(row["samples_s"], [0.25, 0.5, 0.75])
    timed = replace(case, measured_s=float(median))
    return Measured(
        case=timed,
        spread_fraction=float((high - low) / median),
        samples=len(row["samples_s"]),
    )


def worker(rank: int, plan: Plan) -> None:
    """One process: join the others, time every case, let the first one write the samples."""
    torch = load_torch()
    distributed = torch.distributed
    distributed.init_process_group(
        "gloo" if plan.kind == "cpu" else "nccl",
        init_method=f"file://{plan.meeting}",
        rank=rank,
        world_size=plan.ranks,
    )
    device = torch.device("cpu") if plan.kind == "cpu" else torch.device("cuda", rank)
    if plan.kind != "cpu":
        torch.cuda.set_device(device)
    each_s = plan.seconds / (len(plan.operations) * len(plan.sizes))
    rows = []
    for op in plan.operations:
        for size in plan.sizes:
            call, sent = _call(torch, device, op, size, plan.ranks)
            samples = _samples(torch, device, call, each_s)
            rows.append({"op": op, "bytes": sent, "samples_s": samples})
    if rank == 0:
        Path(plan.result).write_text(json.dumps(rows), encoding="utf-8")
    distributed.barrier()
    distributed.destroy_process_group()


def _call(
    torch: Any, device: Any, op: str, size: int, ranks: int
) -> tuple[Callable[[], object], int]:
    """The call, and its S: the size cut to a multiple of the ranks. [B]."""
    distributed = torch.distributed
    part = max(1, size // ELEMENT_BYTES // ranks)
    whole = torch.ones(part * ranks, device=device)
    piece = torch.ones(part, device=device)
    calls: dict[str, Callable[[], object]] = {
        "all_reduce": lambda: distributed.all_reduce(whole),
        "all_gather": lambda: distributed.all_gather(list(whole.chunk(ranks)), piece),
        "reduce_scatter": lambda: distributed.reduce_scatter_tensor(piece, whole),
        "all_to_all": lambda: distributed.all_to_all_single(torch.empty_like(whole), whole),
    }
    return calls[op], part * ranks * ELEMENT_BYTES


def _samples(torch: Any, device: Any, call: Callable[[], object], budget_s: float) -> list[float]:
    """Seconds of the slowest rank; every rank takes the same number of samples."""
    once_s = [_one(torch, device, call) for _ in range(WARM_UP)][-1]
    count = int(max(LEAST, min(100.0, budget_s / max(once_s, 1e-9))))
    return [_one(torch, device, call) for _ in range(count)]


def _one(torch: Any, device: Any, call: Callable[[], object]) -> float:
    distributed = torch.distributed
    distributed.barrier()
    begin = time.perf_counter()
    call()
    if device.type != "cpu":
        torch.cuda.synchronize(device)
    taken = torch.tensor([time.perf_counter() - begin], device=device)
    distributed.all_reduce(taken, op=distributed.ReduceOp.MAX)
    return float(taken.item())


def fit_collectives(measured: Sequence[Measured]) -> tuple[CollectiveFit, ...]:
    """Latency and rate of each operation, least squares on relative error.

    t = latency + w S (n-1)/n / rate with w = 2 for an all-reduce, 1 otherwise: a straight line, so
    that a few sizes identify it; the curved law of `perf.ops` takes the rows themselves.
    """
    groups: dict[tuple[str, int], list[OpCase]] = {}
    for one in measured:
        groups.setdefault((one.case.op, int(one.case.n_chips)), []).append(one.case)
    return tuple(_line(op, ranks, some) for (op, ranks), some in groups.items() if len(some) > 1)


def _line(op: str, ranks: int, cases: Sequence[OpCase]) -> CollectiveFit:
    size = np.array([case.message_bytes for case in cases])
    target = np.array([case.measured_s for case in cases])
    wire = PASSES.get(op, 1.0) * size * (ranks - 1) / ranks
    latency, per_byte = _not_negative(wire, target)
    return CollectiveFit(op=op, n_chips=ranks, latency_s=latency, bus_bytes_per_s=1.0 / per_byte)


def _not_negative(wire: Floats, target: Floats) -> tuple[float, float]:
    """Both coefficients of a line weighted by 1/target, neither below zero."""
    from scipy.optimize import nnls  # noqa: PLC0415  loads slowly

    scaled = np.column_stack([np.ones_like(wire) / target, wire / wire.max() / target])
    (latency, slope), _ = nnls(scaled, np.ones_like(target))
    return float(latency), float(max(slope / wire.max(), np.finfo(float).tiny))
