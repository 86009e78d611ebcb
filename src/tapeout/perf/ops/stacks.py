"""Names of software stacks: one spelling for all, and which of them mean the same software.

A stack is written "engine-version". Tables in the wild write "vLLM 0.24", "TensorRT-LLM-1.3.0rc20"
or "NCCL_2.29.2"; a version with fewer parts stands for every one that begins with it.
"""

from __future__ import annotations

import re
from functools import lru_cache

ENGINES = {
    # as letters and digits only: ours
    "tensorrtllm": "trtllm",
    "trt": "trtllm",
    "tensorrt": "trtllm",
    "vllmcustom": "vllm_custom",
    "pytorcheager": "pytorch-eager",
}
_NAME = re.compile(
    r"^(?P<engine>.*?)[\s_:=@-]*(?:v(?:ersion)?\.?\s*)?(?P<version>\d+(?:\.\d+).*)?$"
)


@lru_cache(maxsize=4096)
def normal_stack(text: str) -> str:
    """Our spelling of a stack: lower case, known engines by their short name.

    Examples
    --------
    >>> normal_stack("vLLM 0.24"), normal_stack("TensorRT-LLM-1.3.0rc20")
    ('vllm-0.24', 'trtllm-1.3.0rc20')
    """
    name = " ".join(text.lower().split())
    match = _NAME.match(name)
    engine, version = (match["engine"], match["version"] or "") if match else (name, "")
    known = ENGINES.get("".join(letter for letter in engine if letter.isalnum()), engine)
    return "-".join(filter(None, (known, version)))


def engine_of(stack: str) -> str:
    """Engine of a stack in any spelling.

    Examples
    --------
    >>> engine_of("vllm_custom-0.24.0"), engine_of("TensorRT-LLM 1.2")
    ('vllm_custom', 'trtllm')
    """
    return _split(stack)[0]


@lru_cache(maxsize=4096)
def _split(stack: str) -> tuple[str, tuple[str, ...]]:
    engine, dash, version = normal_stack(stack).rpartition("-")
    if not dash or not version[:1].isdigit():
        return normal_stack(stack), ()
    return engine, tuple(re.findall(r"\d+|[a-z]+", version))


def same_stack(one: str, other: str) -> bool:
    """True if two spellings mean the same software, as far as the shorter version says.

    Examples
    --------
    >>> same_stack("vllm-0.24.0", "vLLM 0.24"), same_stack("vllm-0.24.0", "vllm-0.2")
    (True, False)
    """
    (engine, version), (other_engine, other_version) = _split(one), _split(other)
    common = min(len(version), len(other_version))
    return engine == other_engine and version[:common] == other_version[:common]
