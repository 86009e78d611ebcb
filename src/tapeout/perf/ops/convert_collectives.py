"""Converters of published collective timings (NCCL, oneCCL, custom kernels, torch.distributed).

`message_bytes` becomes the S of the law in each: the buffer of a rank for an all-reduce, the
gathered size for an all-gather, the size before scattering for a reduce-scatter, all that one
rank sends for an all-to-all, the message for a send. The sources count differently; each converter
says how.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tapeout.constants import MICRO, MILLI
from tapeout.perf.ops.convert import Converter, Row, case_row, read_rows

CHIPS = {
    # word of a file name: catalogue name
    "a100": "NVIDIA A100 80GB SXM",
    "h100": "NVIDIA H100 SXM",
    "b200": "NVIDIA B200",
    "b60": "Intel Arc Pro B60",
    "mi210": "AMD MI210",
}
LIBRARIES = {"nccl": "nccl", "oneccl": "oneccl"}
OPERATIONS = {
    "all_reduce": "all_reduce",
    "all_gather": "all_gather",
    "reduce_scatter": "reduce_scatter",
    "alltoall": "all_to_all",
}
DTYPES = {"half": ("fp16", 2), "int8": ("int8", 1), "bfloat16": ("bf16", 2), "float": ("fp32", 4)}
LIBRARY_HEADER = {"op_name", "nccl_dtype", "num_gpus", "message_size", "latency_us"}
CUSTOM_HEADER = {"op_name", "allreduce_dtype", "num_gpus", "message_size", "backend", "latency_us"}
TORCH_HEADER = {"num_workers", "size", "collective", "devices_per_node", "latency_ms"}


def chip_of(path: Path) -> str:
    """Catalogue name of the chip a file name speaks of; empty where it names none."""
    words = path.stem.lower().replace("-", "_").split("_")
    return next((name for word, name in CHIPS.items() if word in words), "")


def _version(path: Path, prefix: str) -> str:
    """Version behind a prefix in a file name: "nccl2.27.3" gives "2.27.3"."""
    for word in path.stem.lower().split("_"):
        if word.startswith(prefix) and word != prefix:
            return word.removeprefix(prefix)
    return ""


def _stack(name: str, version: str) -> str:
    return f"{name}-{version}" if version else name


def _library_rows(path: Path) -> Iterator[Row]:
    """Elements of the message a rank puts in; what it gathers or sends is n times as much or it.

    Checked against the link: 2^28 half elements on eight H100 take the time of a buffer of 537 MB
    in every operation, so `message_size` already is the S of the law, in elements.
    """
    for row in read_rows(path):
        library = row["kernel_source"].lower()
        dtype, width = DTYPES[row["nccl_dtype"]]
        yield case_row(
            chip=chip_of(path),
            stack=_stack(library, _version(path, library)),
            op=OPERATIONS[row["op_name"]],
            dtype=dtype,
            kernel=library,
            mode="graph",
            n_chips=int(row["num_gpus"]),
            message_bytes=width * int(row["message_size"]),
            measured_s=MICRO * float(row["latency_us"]),
        )


def _custom_rows(path: Path) -> Iterator[Row]:
    for row in read_rows(path):
        dtype, width = DTYPES[row["allreduce_dtype"]]
        yield case_row(
            chip=chip_of(path),
            stack=_stack("vllm_custom", _version(path, "vllm")),
            op=OPERATIONS[row["op_name"]],
            dtype=dtype,
            kernel="vllm_custom",
            mode="eager" if row["backend"].endswith("eager") else "graph",
            n_chips=int(row["num_gpus"]),
            message_bytes=width * int(row["message_size"]),
            measured_s=MICRO * float(row["latency_us"]),
        )


def _torch_rows(path: Path) -> Iterator[Row]:
    """`size` is in bytes; ranks spread over nodes get a topology of two levels."""
    for row in read_rows(path):
        ranks, per_node = int(row["num_workers"]), int(row["devices_per_node"])
        yield case_row(
            chip=chip_of(path),
            stack="vidur-2024",
            op=row["collective"],
            dtype="fp16",
            kernel="nccl",
            mode="eager",
            topology="" if per_node >= ranks else f"two-level:{per_node}",
            n_chips=ranks,
            message_bytes=int(row["size"]),
            measured_s=MILLI * float(row["latency_ms"]),
        )


CONVERTERS = (
    Converter(
        name="aiconfigurator-collectives",
        matches=lambda path, header: set(header) >= LIBRARY_HEADER and bool(chip_of(path)),
        rows=_library_rows,
    ),
    Converter(
        name="aiconfigurator-custom-allreduce",
        matches=lambda path, header: set(header) >= CUSTOM_HEADER and bool(chip_of(path)),
        rows=_custom_rows,
    ),
    Converter(
        name="vidur-collectives",
        matches=lambda path, header: set(header) >= TORCH_HEADER and bool(chip_of(path)),
        rows=_torch_rows,
    ),
)
