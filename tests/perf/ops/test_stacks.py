import pytest

from tapeout.perf.ops.stacks import engine_of, normal_stack, same_stack
from tapeout.perf.ops.store import load_setups


@pytest.mark.parametrize(
    ("text", "ours"),
    [
        ("vllm-0.24.0", "vllm-0.24.0"),
        ("vLLM 0.24.0", "vllm-0.24.0"),
        ("vllm_0.24", "vllm-0.24"),
        ("vLLM v0.24", "vllm-0.24"),
        ("trtllm-1.3.0rc20", "trtllm-1.3.0rc20"),
        ("TensorRT-LLM-1.3.0rc20", "trtllm-1.3.0rc20"),
        ("TensorRT LLM 1.3.0rc20", "trtllm-1.3.0rc20"),
        ("NCCL 2.29", "nccl-2.29"),
        ("vllm_custom-0.24.0", "vllm_custom-0.24.0"),
        ("pytorch-eager", "pytorch-eager"),
        ("vidur-2024", "vidur-2024"),
        ("", ""),
    ],
)
def test_spellings(text, ours):
    assert normal_stack(text) == ours
    assert normal_stack(ours) == ours


@pytest.mark.parametrize("table", ["gemm", "attention", "collectives", "elementwise"])
def test_shipped_set_ups_are_written_in_our_spelling(table):
    for one in load_setups(table):
        assert normal_stack(one.stack) == one.stack


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("vllm-0.24.0", "vllm-0.24", True),
        ("vllm-0.24.0", "vllm-0.2", False),
        ("vllm-0.24.0", "vllm-0.24.1", False),
        ("vllm-0.24.0", "vllm", True),
        ("vllm-0.24.0", "vllm_custom-0.24.0", False),
        ("trtllm-1.3.0rc20", "TensorRT-LLM 1.3.0rc2", False),
        ("trtllm-1.3.0rc20", "TensorRT-LLM 1.3", True),
    ],
)
def test_the_shorter_version_speaks_for_the_longer(one, other, same):
    assert same_stack(one, other) is same
    assert same_stack(other, one) is same


def test_engines():
    assert engine_of("vllm_custom-0.24.0") != engine_of("vllm-0.24.0")
    assert engine_of("TensorRT-LLM 1.2") == engine_of("trtllm-1.3.0rc20")
