"""Which operators are timed: shapes of serving, larger for an accelerator than for a CPU."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import product, zip_longest

from tapeout.perf.calibrate.types import Device
from tapeout.perf.ops.cases import OpCase

ATTENTION_DTYPES = ("bf16", "fp16", "fp32")  # the first that GEMMs are timed in is used


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """Shapes of one size class.

    `weights` are (n, k) of GEMMs, `heads` (heads, kv_heads, head_dim) of attention, `rows` and
    `widths` those of copies and elementwise kernels.
    """

    tokens: tuple[int, ...]
    weights: tuple[tuple[int, int], ...]
    heads: tuple[tuple[int, int, int], ...]
    prompts: tuple[tuple[int, int], ...]  # batch, new tokens
    contexts: tuple[tuple[int, int], ...]  # batch, cached tokens
    rows: tuple[int, ...]
    widths: tuple[int, ...]


ACCELERATOR = Grid(
    tokens=(1, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192),
    weights=(
        (2048, 2048), (4096, 4096), (8192, 8192), (6144, 4096), (28672, 4096), (4096, 14336),
        (10240, 8192), (8192, 28672), (1280, 8192), (8192, 1024), (7168, 2048), (2112, 7168),
        (3072, 1536), (51200, 5120), (5120, 25600), (1536, 6144),
    ),
    heads=((32, 8, 128), (64, 8, 128), (8, 1, 128), (16, 16, 128), (64, 8, 64), (8, 8, 128)),
    prompts=((1, 512), (1, 1024), (1, 2048), (1, 4096), (1, 8192), (4, 1024), (8, 2048)),
    contexts=((1, 1024), (1, 8192), (8, 1024), (8, 8192), (32, 2048), (64, 4096), (128, 1024)),
    rows=(1, 8, 64, 512, 2048, 8192, 16384),
    widths=(1024, 2048, 4096, 5120, 8192, 14336),
)  # fmt: skip
PROCESSOR = Grid(
    tokens=(1, 2, 4, 16, 64, 256, 1024),
    weights=(
        (512, 512), (1024, 1024), (2048, 512), (512, 2048), (1536, 1024), (1024, 3072),
        (2048, 2048), (4096, 1024), (1024, 4096), (3072, 1536), (768, 768), (4096, 4096),
    ),
    heads=((8, 2, 64), (16, 4, 64), (8, 8, 128), (4, 4, 64), (16, 2, 128), (8, 1, 64)),
    prompts=((1, 64), (1, 128), (1, 256), (1, 512), (2, 256)),
    contexts=((1, 512), (1, 4096), (4, 512), (4, 2048), (16, 1024)),
    rows=(1, 16, 128, 512, 2048),
    widths=(1024, 2048, 4096, 8192, 14336),
)  # fmt: skip
QUICK = {"tokens": 2, "prompts": 2, "contexts": 2, "rows": 2}  # every second of these
QUICK_DTYPES = 1


def probes(device: Device, dtypes: tuple[str, ...], mode: str, *, quick: bool) -> list[OpCase]:
    """Cases to time, ordered so that any beginning of the list has some of every operator.

    Within an operator the order is that of a hash: a run that stops early has seen small and large
    shapes alike.

    Parameters
    ----------
    device : Device
    dtypes : tuple of str
        That GEMMs are timed in; the first of bf16, fp16, fp32 among them serves the rest.
    mode : str
        Launch mode that the backend will use.
    quick : bool
        Every second load, one format.
    """
    grid = PROCESSOR if device.kind == "cpu" else ACCELERATOR
    used = dtypes[:QUICK_DTYPES] if quick else dtypes
    step = QUICK if quick else {}
    plain = next((one for one in ATTENTION_DTYPES if one in used), used[0])

    def every(name: str) -> Iterable[tuple[int, ...] | int]:
        values: tuple[tuple[int, ...] | int, ...] = getattr(grid, name)
        return values[:: step.get(name, 1)]

    columns = [
        [_case(device, mode, "gemm", dtype, m=m, n=n, k=k)
         for m, (n, k) in product(every("tokens"), grid.weights)]
        for dtype in used
    ]  # fmt: skip
    for op, loads in (("attention_prefill", "prompts"), ("attention_decode", "contexts")):
        columns.append(
            [_attention(device, mode, op, plain, (*heads, *load))  # type: ignore[misc]
             for load, heads in product(every(loads), grid.heads)]
        )  # fmt: skip
    columns.extend(
        [_case(device, mode, op, plain, m=m, n=n) for m, n in product(every("rows"), grid.widths)]
        for op in ("copy", "silu_mul", "rmsnorm")
    )
    mixed = [sorted(column, key=_place) for column in columns]
    return [case for together in zip_longest(*mixed) for case in together if case is not None]


def _case(device: Device, mode: str, op: str, dtype: str, **numbers: object) -> OpCase:
    return OpCase(
        chip=device.name,
        op=op,
        stack=device.stack,
        dtype=dtype,
        kernel=device.kernel,
        mode=mode,
        weights="cold",
        **{name: float(value) for name, value in numbers.items()},  # type: ignore[arg-type]
    )


def _attention(
    device: Device, mode: str, op: str, dtype: str, shape: tuple[int, int, int, int, int]
) -> OpCase:
    heads, kv_heads, head_dim, batch, tokens = shape
    new, cached = (tokens, 0) if op == "attention_prefill" else (1, tokens)
    return _case(
        device,
        mode,
        op,
        dtype,
        batch=batch,
        q_len=new,
        kv_len=cached,
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
    )


def _place(case: OpCase) -> bytes:
    """Order by a hash of the shape, the same on every machine."""
    numbers = (case.m, case.n, case.k, case.batch, case.q_len, case.kv_len, case.heads)
    return hashlib.sha256(repr((case.op, case.dtype, numbers)).encode()).digest()
