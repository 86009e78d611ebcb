"""Converters of published timings of norms, activations, rotary, embedding, softmax and sampling.

Files that time a whole layer hold matrix products as well; these become `gemm` rows.
`m` is the number of rows (tokens, sequences), `n` the elements of a row on this chip. A flat array
is one row. `kernel` says what a name alone does not: "fused_add" (a norm that adds the residual
first), "add" (a residual add: a copy with a second operand).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

from tapeout.constants import GIGA, MICRO, MILLI
from tapeout.errors import InfeasibleError
from tapeout.perf.ops.convert import Converter, Row, case_row, read_rows
from tapeout.perf.ops.convert_collectives import chip_of

ROWS_HEADER = {"rows", "cols", "throughput_1e9"}
FLAT_HEADER = {"elements", "throughput_1e9"}
LAYER_HEADER = {"n_head", "n_embd", "num_tokens", "num_tensor_parallel_workers", "emb_ms"}
PROFILE_HEADER = ("layer", "tokens", "time_us")
SEQUENCE_HEADER = ("layer", "sequences", "time_us")
Shape = dict[str, str | float]


def _array_rows(path: Path) -> Iterator[Row]:
    """Elements per second of one PyTorch call, timed on the host."""
    op = path.stem.split("_", maxsplit=1)[0]
    for row in read_rows(path):
        m = int(row.get("rows") or 1)
        n = int(row.get("cols") or row["elements"])
        yield case_row(
            chip=chip_of(path),
            stack="pytorch-eager",
            op=op,
            dtype="fp16",
            mode="eager",
            m=m,
            n=n,
            measured_s=m * n / (GIGA * float(row["throughput_1e9"])),
        )


def _layer_shapes(row: Row) -> dict[str, Shape]:
    """Operators of one transformer layer cut over `ways` chips, by the name of their column."""
    ways = int(row["num_tensor_parallel_workers"])
    heads, groups = int(row["n_head"]), int(row["n_kv_head"])
    width, inner = int(row["n_embd"]), int(row["n_expanded_embd"])
    size = width // heads
    mine = (heads + groups) * size / ways
    return {
        "emb": {"op": "embedding", "n": width},
        "input_layernorm": {"op": "rmsnorm", "n": width},
        "attn_pre_proj": {"op": "gemm", "n": (heads + 2 * groups) * size / ways, "k": width},
        "attn_rope": {"op": "rope", "n": mine, "head_dim": size},
        "attn_post_proj": {"op": "gemm", "n": width, "k": width / ways},
        "post_attention_layernorm": {"op": "rmsnorm", "n": width},
        "mlp_up_proj": {"op": "gemm", "n": 2 * inner / ways, "k": width},
        "mlp_act": {"op": "silu_mul", "n": inner / ways},
        "mlp_down_proj": {"op": "gemm", "n": width, "k": inner / ways},
        "add": {"op": "copy", "kernel": "add", "n": width},
    }


def _layer_rows(path: Path) -> Iterator[Row]:
    """One row a column that holds a time; fp16, kernel times of 2024."""
    for row in read_rows(path):
        for name, shape in _layer_shapes(row).items():
            text = row.get(f"{name}_ms", "")
            if text and float(text) > 0.0:  # the timer shows 0 below its step of 1 us
                yield case_row(
                    chip=chip_of(path),
                    stack="vidur-2024",
                    dtype="fp16",
                    m=int(row["num_tokens"]),
                    measured_s=MILLI * float(text),
                    **shape,
                )


PROFILED_CHIPS = {
    "RTX4090": "NVIDIA GeForce RTX 4090",
    "RTXPRO6000": "NVIDIA RTX PRO 6000 BSE",
}
# hidden, heads, KV heads, head size, FFN inner size, vocabulary (the models' own config files)
PROFILED_MODELS = {
    "meta-llama/Llama-3.1-8B": (4096, 32, 8, 128, 14336, 128256),
    "Qwen/Qwen3-30B-A3B-Instruct-2507": (2048, 32, 4, 128, 6144, 151936),
}


def _profiled_shapes(model: str) -> dict[str, Shape]:
    if model not in PROFILED_MODELS:
        raise InfeasibleError(f"no shapes of {model!r}; known: {', '.join(PROFILED_MODELS)}")
    width, heads, groups, size, inner, words = PROFILED_MODELS[model]
    mine = (heads + groups) * size
    fused: Shape = {"op": "rmsnorm", "kernel": "fused_add", "n": width}
    return {
        "embedding": {"op": "embedding", "n": width},
        "layernorm": fused,
        "final_layernorm": fused,
        "qk_norm": {"op": "rmsnorm", "n": mine, "head_dim": size},
        "rotary_emb": {"op": "rope", "n": mine, "head_dim": size},
        "act_fn": {"op": "silu_mul", "n": inner},
        "qkv_proj": {"op": "gemm", "n": (heads + 2 * groups) * size, "k": width},
        "o_proj": {"op": "gemm", "n": width, "k": heads * size},
        "gate_up_proj": {"op": "gemm", "n": 2 * inner, "k": width},
        "down_proj": {"op": "gemm", "n": width, "k": inner},
        "lm_head": {"op": "gemm", "n": words, "k": width},
        "sampler": {"op": "sample", "n": words},
    }


def _profile_rows(path: Path) -> Iterator[Row]:
    """Kernel profile of a vLLM engine; chip, model and version stand in meta.yaml beside it."""
    text = path.with_name("meta.yaml").read_text(encoding="utf-8")
    pairs = re.finditer(r"^(\w+): '?([^'\n]+)'?$", text, flags=re.MULTILINE)
    meta = {str(one[1]): str(one[2]) for one in pairs}
    shapes = _profiled_shapes(meta["model"])
    for row in read_rows(path):
        if row["layer"] in shapes:
            yield case_row(
                chip=PROFILED_CHIPS.get(meta["hardware"], meta["hardware"]),
                stack=f"vllm-{meta['vllm_version']}",
                dtype="bf16",
                mode="eager",
                m=int(row.get("tokens") or row["sequences"]),
                measured_s=MICRO * float(row["time_us"]),
                **shapes[row["layer"]],
            )


def _named(*words: str) -> Callable[[Path], bool]:
    return lambda path: path.stem.split("_")[0] in words and bool(chip_of(path))


CONVERTERS = (
    Converter(
        name="llmcompass-rows",
        matches=lambda path, header: (
            set(header) >= ROWS_HEADER and _named("softmax", "layernorm")(path)
        ),
        rows=_array_rows,
    ),
    Converter(
        name="llmcompass-flat",
        matches=lambda path, header: set(header) >= FLAT_HEADER and _named("gelu")(path),
        rows=_array_rows,
    ),
    Converter(
        name="vidur-layer",
        matches=lambda path, header: set(header) >= LAYER_HEADER and bool(chip_of(path)),
        rows=_layer_rows,
    ),
    Converter(
        name="llmservingsim-profile",
        matches=lambda path, header: (
            header in {PROFILE_HEADER, SEQUENCE_HEADER} and path.with_name("meta.yaml").is_file()
        ),
        rows=_profile_rows,
    ),
)
