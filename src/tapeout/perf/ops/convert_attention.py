"""Converters of attention measurements: two published collections, to operator cases.

A prefill chunk beside decoding sequences is one `attention_mixed` case: `q_len` new tokens of one
sequence with `k` tokens already cached, and `batch` sequences that each decode one token with
`kv_len` cached. Rows of such a sweep without the one or the other are plain prefill or decode.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tapeout.constants import MICRO
from tapeout.perf.ops.cases import normal_dtype
from tapeout.perf.ops.convert import Converter, Row, case_row, read_rows

SYSTEMS = {
    # part of a file name: (catalogue name, how the rows were launched)
    "a100_sxm": ("NVIDIA A100 80GB SXM", "graph"),
    "h100_sxm": ("NVIDIA H100 SXM", "graph"),
    "b200_sxm": ("NVIDIA B200", "graph"),
    "intel_b60": ("Intel Arc Pro B60", "eager"),
}
STACKS = {"a100_sxm": "0.14.0", "h100_sxm": "0.24.0", "b200_sxm": "0.24.0", "intel_b60": "0.20.0"}
PROFILES = {
    # part of a folder name: (catalogue name, heads, key heads, head size of the profiled model)
    "rtx4090-llama-3.1-8b": ("NVIDIA GeForce RTX 4090", 32, 8, 128),
    "rtxpro6000-qwen3-30b-a3b": ("NVIDIA RTX PRO 6000 BSE", 32, 4, 128),
}
PROFILE_STACK = "vllm-0.19.0"
SWEEP = ("prefill_chunk", "kv_prefill", "n_decode", "kv_decode", "time_us")


def _system(path: Path) -> str:
    return next((name for name in SYSTEMS if name in path.name), "")


def _is_context(path: Path, header: tuple[str, ...]) -> bool:
    return {"isl", "num_heads", "kv_cache_dtype"} <= set(header) and bool(_system(path))


def _is_generation(path: Path, header: tuple[str, ...]) -> bool:
    return {"step", "num_heads", "kv_cache_dtype"} <= set(header) and bool(_system(path))


def _rows(path: Path) -> Iterator[Row]:
    """Rows of a prefill (`isl`) or decode (`step`) table; latencies are microseconds."""
    name = _system(path)
    chip, mode = SYSTEMS[name]
    for row in read_rows(path):
        prefill = "isl" in row
        yield case_row(
            chip=chip,
            stack=f"vllm-{STACKS[name]}",
            op="attention_prefill" if prefill else "attention_decode",
            dtype=normal_dtype(row["attn_dtype"]),
            kv_dtype=normal_dtype(row["kv_cache_dtype"]),
            kernel=row.get("kernel_source") or "",
            mode=mode,
            batch=float(row["batch_size"]),
            q_len=float(row["isl"]) if prefill else 1.0,
            kv_len=0.0 if prefill else float(row["step"]),
            heads=float(row["num_heads"]),
            kv_heads=float(row["num_key_value_heads"]),
            head_dim=float(row["head_dim"]),
            window=float(row.get("window_size") or 0.0),
            measured_s=float(row["latency_us"]) * MICRO,
        )


def _profile(path: Path) -> str:
    return next((name for name in PROFILES if name in path.parts), "")


def _is_sweep(path: Path, header: tuple[str, ...]) -> bool:
    return header == SWEEP and bool(_profile(path))


def _sweep_rows(path: Path) -> Iterator[Row]:
    """Rows of a sweep over a prefill chunk beside decoding sequences; eager, one layer."""
    chip, heads, kv_heads, head_dim = PROFILES[_profile(path)]
    for row in read_rows(path):
        chunk, cached, batch, kv_len, time_us = (float(row[name]) for name in SWEEP)
        shared = case_row(
            chip=chip,
            stack=PROFILE_STACK,
            dtype="bf16",
            kv_dtype="bf16",
            mode="eager",
            heads=heads,
            kv_heads=kv_heads,
            head_dim=head_dim,
            window=0.0,
            measured_s=time_us * MICRO,
        )
        if batch == 0.0:
            one = case_row(op="attention_prefill", batch=1.0, q_len=chunk, kv_len=cached)
        elif chunk == 0.0:
            one = case_row(op="attention_decode", batch=batch, q_len=1.0, kv_len=kv_len)
        else:
            one = case_row(op="attention_mixed", batch=batch, q_len=chunk, kv_len=kv_len, k=cached)
        yield shared | one


CONVERTERS = (
    Converter(name="aiconfigurator-attention-context", matches=_is_context, rows=_rows),
    Converter(name="aiconfigurator-attention-generation", matches=_is_generation, rows=_rows),
    Converter(name="llmservingsim-attention", matches=_is_sweep, rows=_sweep_rows),
)
