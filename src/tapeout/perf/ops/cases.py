"""One operator case: a row of an operator table, read and normalised.

Columns (docs/validate.md): `COLUMNS`. Every column but `op` and `chip` may be absent or blank;
what the law of an operator then takes for it is its own default, listed among the assumptions of
the estimate.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from tapeout.errors import InfeasibleError
from tapeout.perf.ops.stacks import normal_stack

COLUMNS = (
    "chip",
    "stack",
    "op",
    "dtype",
    "act_dtype",
    "weight_dtype",
    "kv_dtype",
    "kernel",
    "mode",
    "weights",
    "m",
    "n",
    "k",
    "batch",
    "q_len",
    "kv_len",
    "heads",
    "kv_heads",
    "head_dim",
    "window",
    "kv_lora_rank",
    "rope_dim",
    "state_dim",
    "experts",
    "topk",
    "active_experts",
    "n_chips",
    "topology",
    "message_bytes",
    "measured_s",
)
NUMBERS = (
    *COLUMNS[COLUMNS.index("m") : COLUMNS.index("topology")],
    "message_bytes",
    "measured_s",
)
ELEMENTWISE = (
    "rmsnorm",
    "layernorm",
    "softmax",
    "gelu",
    "silu_mul",
    "rope",
    "embedding",
    "sample",
    "copy",
)
OPERATIONS = (
    "gemm",
    "grouped_gemm",
    "attention_prefill",
    "attention_decode",
    "attention_mixed",
    "mla_prefill",
    "mla_decode",
    "scan",
    "all_reduce",
    "all_gather",
    "reduce_scatter",
    "all_to_all",
    "send_recv",
    *ELEMENTWISE,
)
CHOICES = {"op": OPERATIONS, "mode": ("", "graph", "eager"), "weights": ("", "cold", "hot")}
DTYPES = {
    # spellings in the wild: ours
    "bfloat16": "bf16",
    "float16": "fp16",
    "half": "fp16",
    "float32": "fp32",
    "float": "fp32",
    "auto": "",  # the default of the stack
    "fp8_e4m3": "fp8",
    "fp8_e4m3fn": "fp8",
    "fp8_e5m2": "fp8",
    "e4m3": "fp8",
    "float8": "fp8",
    "float8_e4m3fn": "fp8",
    "fp8-block": "fp8_block",
    "fp8block": "fp8_block",
    "fp4": "nvfp4",
}
NAN = math.nan


@dataclass(frozen=True, slots=True, kw_only=True)
class OpCase:
    """A parsed row; texts are lower case (chip apart) and blank, numbers nan, where not given.

    `mode` is "graph" or "eager", `weights` "cold" or "hot"; attributes are named as the columns.
    For attention `q_len` are new tokens and `kv_len` those already cached, per sequence.
    """

    chip: str
    op: str
    stack: str = ""
    dtype: str = ""
    act_dtype: str = ""
    weight_dtype: str = ""
    kv_dtype: str = ""
    kernel: str = ""
    mode: str = ""
    weights: str = ""
    topology: str = ""
    m: float = NAN
    n: float = NAN
    k: float = NAN
    batch: float = NAN
    q_len: float = NAN
    kv_len: float = NAN
    heads: float = NAN
    kv_heads: float = NAN
    head_dim: float = NAN
    window: float = NAN
    kv_lora_rank: float = NAN
    rope_dim: float = NAN
    state_dim: float = NAN
    experts: float = NAN
    topk: float = NAN
    active_experts: float = NAN
    n_chips: float = NAN
    message_bytes: float = NAN
    measured_s: float = NAN

    def needs(self, *names: str) -> None:
        """Refuse a case without these positive numbers.

        Raises
        ------
        InfeasibleError
            Naming every column that is blank or not positive.
        """
        missing = [name for name in names if not getattr(self, name) > 0.0]
        if missing:
            raise InfeasibleError(f"{self.op} needs a positive {', '.join(missing)}")

    def given(self, name: str, default: float) -> float:
        """Value of a numeric column, or a default where it is blank."""
        value: float = getattr(self, name)
        return default if math.isnan(value) else value


def normal_dtype(text: str) -> str:
    """Our name of a number format.

    Examples
    --------
    >>> normal_dtype("bfloat16"), normal_dtype("FP8"), normal_dtype("fp8-block")
    ('bf16', 'fp8', 'fp8_block')
    """
    name = text.strip().lower().removeprefix("torch.")
    return DTYPES.get(name, name)


def parse(row: Mapping[str, str | None]) -> OpCase:
    """Read one row.

    Raises
    ------
    InfeasibleError
        A number cannot be read, is negative or not finite, or the operation is unknown; every
        problem of the row is listed.
    """
    problems: list[str] = []
    texts: dict[str, str] = {}
    numbers: dict[str, float] = {}
    for name in COLUMNS:
        text = (row.get(name) or "").strip()
        if name in NUMBERS:
            numbers[name] = _number(name, text, problems)
        else:
            texts[name] = _normal(name, text)
    for name, known in CHOICES.items():
        if texts[name] not in known:
            problems.append(f"{name} {texts[name]!r} is none of {', '.join(filter(None, known))}")
    if not texts["chip"]:
        problems.append("chip is blank")
    if problems:
        raise InfeasibleError("; ".join(problems))
    return OpCase(**texts, **numbers)  # type: ignore[arg-type]


def _normal(name: str, text: str) -> str:
    """Our spelling of a text of a column."""
    if "dtype" in name:
        return normal_dtype(text)
    if name == "stack":
        return normal_stack(text)
    return text if name == "chip" else text.lower()


def _number(name: str, text: str, problems: list[str]) -> float:
    if not text:
        return NAN
    try:
        value = float(text)
    except ValueError:
        value = NAN
    if not math.isfinite(value) or value < 0.0:
        if name != "measured_s":  # a measured value is never read by a prediction
            problems.append(f"{name} {text!r} is not a finite number of at least 0")
        return NAN
    return value


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """Time of one operator and how sure it is.

    Attributes
    ----------
    time_s : float
        Median of the estimate. [s]
    log_sd : float
        Standard deviation of its logarithm; the 80 % band is time_s exp(+-1.2816 log_sd).
    model : str
        Law, constants and their date, e.g. "gemm law vllm-0.24.0 bf16 2026-11-25 + residual".
    assumptions : tuple of str
        Defaults taken for blank columns, and constants borrowed from elsewhere.
    """

    time_s: float
    log_sd: float
    model: str
    assumptions: tuple[str, ...] = ()
