"""Converters of published GEMM measurements: aiconfigurator, LLMCompass, Vidur, LLMServingSim."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tapeout.constants import MICRO, MILLI
from tapeout.perf.ops.convert import Converter, Row, case_row, read_rows
from tapeout.perf.ops.gemm_rates import EXPERT_LAYER

CHIPS = {
    "a100": "NVIDIA A100 80GB SXM",
    "h100": "NVIDIA H100 SXM",
    "b200": "NVIDIA B200",
    "b60": "Intel Arc Pro B60",
    "mi210": "AMD MI210",
    "rtx4090": "NVIDIA GeForce RTX 4090",
    "rtxpro6000": "NVIDIA RTX PRO 6000 BSE",
}
STACKS = {
    "vllm0.14.0": "vllm-0.14.0",
    "vllm0.20.0": "vllm-0.20.0",
    "vllm0.24.0": "vllm-0.24.0",
    "trtllm1.3.0rc20": "trtllm-1.3.0rc20",
}


def chip_of(path: Path) -> str:
    """Catalogue name of the chip a path mentions.

    Raises
    ------
    KeyError
        It mentions none that we know.

    Examples
    --------
    >>> chip_of(Path("gemm_h100_sxm_vllm0.24.0.csv"))
    'NVIDIA H100 SXM'
    """
    words = str(Path(*path.parts[-3:])).lower()
    return next(
        (name for key, name in CHIPS.items() if key in words), ""
    ) or _unknown(path)  # fmt: skip


def _unknown(path: Path) -> str:
    raise KeyError(f"{path.name} names no chip of {', '.join(CHIPS)}")


def _is_collector(_path: Path, header: tuple[str, ...]) -> bool:
    return {"gemm_dtype", "m", "n", "k", "latency_us"} <= set(header)


def _collector_rows(path: Path) -> Iterator[Row]:
    """Layers timed in CUDA graphs; block-scaled fp8 under vLLM and all of B60 with the host."""
    chip = chip_of(path)
    stack = next((name for key, name in STACKS.items() if key in path.name), "")
    for row in read_rows(path):
        block = row["gemm_dtype"] == "fp8_block" and stack.startswith("vllm")
        yield case_row(
            chip=chip,
            stack=stack,
            op="gemm",
            dtype=row["gemm_dtype"],
            kernel=row.get("kernel_source", ""),
            mode="eager" if block or chip == CHIPS["b60"] else "graph",
            weights="hot" if block else "cold",
            m=float(row["m"]),
            n=float(row["n"]),
            k=float(row["k"]),
            measured_s=float(row["latency_us"]) * MICRO,
        )


def _is_eager_matmul(_path: Path, header: tuple[str, ...]) -> bool:
    return header == ("m", "k", "n", "latency_ms", "tflops")


def _eager_matmul_rows(path: Path) -> Iterator[Row]:
    """PyTorch eager, timed from the host, the same operands again and again."""
    for row in read_rows(path):
        yield case_row(
            chip=chip_of(path),
            stack="pytorch-eager",
            op="gemm",
            dtype="fp16",
            mode="eager",
            weights="hot",
            m=float(row["m"]),
            n=float(row["n"]),
            k=float(row["k"]),
            measured_s=float(row["latency_ms"]) * MILLI,
        )


def _is_layer_profile(_path: Path, header: tuple[str, ...]) -> bool:
    return {"n_embd", "num_tensor_parallel_workers", "mlp_up_proj_ms"} <= set(header)


def _layer_profile_rows(path: Path) -> Iterator[Row]:
    """The four projections of a layer; kernels by CUDA events, resolution 1 us."""
    for row in read_rows(path):
        ways = float(row["num_tensor_parallel_workers"])
        width, inner = float(row["n_embd"]), float(row["n_expanded_embd"])
        head = width / float(row["n_head"])
        query = float(row["n_head"]) / ways * head
        cache = max(float(row["n_kv_head"]) / ways, 1.0) * head
        gates = 2.0 if row["use_gated_mlp"] == "True" else 1.0
        shapes = {
            "attn_pre_proj_ms": (query + 2.0 * cache, width),
            "attn_post_proj_ms": (width, query),
            "mlp_up_proj_ms": (gates * inner / ways, width),
            "mlp_down_proj_ms": (width, inner / ways),
        }
        for column, (n, k) in shapes.items():
            if row[column] and float(row[column]) > 0.0:
                yield case_row(
                    chip=chip_of(path),
                    stack="vidur-2024",
                    op="gemm",
                    dtype="fp16",
                    kernel=column.removesuffix("_ms"),
                    mode="graph",
                    weights="cold",
                    m=float(row["num_tokens"]),
                    n=n,
                    k=k,
                    measured_s=float(row[column]) * MILLI,
                )


def _is_expert_profile(_path: Path, header: tuple[str, ...]) -> bool:
    return header == ("tokens", "activated_experts", "time_us")


def _expert_profile_rows(path: Path) -> Iterator[Row]:
    """All experts of a layer of Qwen3-30B-A3B: gate, up and down of 128 experts, 8 a token."""
    for row in read_rows(path):
        yield case_row(
            chip=chip_of(path),
            stack="vllm-0.19.0",
            op="grouped_gemm",
            dtype="bf16",
            kernel=EXPERT_LAYER,
            mode="eager",
            weights="cold",
            m=float(row["tokens"]),
            n=768.0,
            k=2048.0,
            experts=128.0,
            topk=8.0,
            active_experts=float(row["activated_experts"]),
            measured_s=float(row["time_us"]) * MICRO,
        )


LAYERS = {
    # output and input features of the products of a layer, tensor parallel 1
    "rtx4090": {
        "qkv_proj": (6144.0, 4096.0),
        "o_proj": (4096.0, 4096.0),
        "gate_up_proj": (28672.0, 4096.0),
        "down_proj": (4096.0, 14336.0),
        "lm_head": (128256.0, 4096.0),
    },
    "rtxpro6000": {
        "qkv_proj": (5120.0, 2048.0),
        "o_proj": (2048.0, 4096.0),
        "lm_head": (151936.0, 2048.0),
    },
}


def _is_dense_profile(_path: Path, header: tuple[str, ...]) -> bool:
    return header in {("layer", "tokens", "time_us"), ("layer", "sequences", "time_us")}


def _dense_profile_rows(path: Path) -> Iterator[Row]:
    """Products of a dense profile; kernel times, without the host, although run eagerly.

    Each layer is timed again and again: what fits the cache of the chip stays there.
    """
    words = str(path).lower()
    layers = next((known for key, known in LAYERS.items() if key in words), {})
    for row in read_rows(path):
        if row["layer"] in layers:
            n, k = layers[row["layer"]]
            yield case_row(
                chip=chip_of(path),
                stack="vllm-0.19.0",
                op="gemm",
                dtype="bf16",
                kernel=row["layer"],
                mode="eager",
                weights="hot",
                m=float(row.get("tokens") or row["sequences"]),
                n=n,
                k=k,
                measured_s=float(row["time_us"]) * MICRO,
            )


CONVERTERS = (
    Converter(name="aiconfigurator-gemm", matches=_is_collector, rows=_collector_rows),
    Converter(name="llmcompass-matmul", matches=_is_eager_matmul, rows=_eager_matmul_rows),
    Converter(name="vidur-projections", matches=_is_layer_profile, rows=_layer_profile_rows),
    Converter(name="llmservingsim-experts", matches=_is_expert_profile, rows=_expert_profile_rows),
    Converter(name="llmservingsim-dense", matches=_is_dense_profile, rows=_dense_profile_rows),
)
