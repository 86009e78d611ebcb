"""Operator rows as outsiders write them."""

import csv

import pytest

from tapeout.serving.validation.operator_rows import validate_ops

PRODUCT = {"op": "gemm", "m": "256", "n": "4096", "k": "4096", "mode": "graph", "weights": "cold"}
DECODE = {
    "op": "attention_decode", "mode": "graph", "batch": "8", "q_len": "1", "kv_len": "2048",
    "heads": "32", "kv_heads": "8", "head_dim": "128", "window": "0",
}  # fmt: skip
REDUCE = {
    "op": "all_reduce", "dtype": "half", "mode": "graph", "n_chips": "8",
    "message_bytes": "1048576", "topology": "switch",
}  # fmt: skip


@pytest.fixture
def answers(tmp_path):
    def run(*rows):
        path = tmp_path / "cases.csv"
        names = list(dict.fromkeys(name for row in rows for name in row))
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, names)
            writer.writeheader()
            writer.writerows(rows)
        return list(validate_ops(path).rows)

    return run


def product(**changes):
    plain = {"chip": "h100", "stack": "vllm-0.24.0", "dtype": "bf16"}
    return PRODUCT | plain | changes


def test_spellings_of_a_product_give_one_answer(answers):
    rows = answers(
        product(kernel="torch.nn.functional.linear"),
        product(kernel="Torch.NN.Functional.Linear", stack="vLLM 0.24"),
        product(chip="NVIDIA H100 80GB HBM3", dtype="bfloat16"),
        product(chip="NVIDIA H100 80GB", dtype="torch.bfloat16"),
        product(chip="H100-SXM-80GB", dtype="fp16"),
        product(dtype="half"),
        product(stack=""),
    )
    assert {row["status"] for row in rows} == {"ok"}
    assert len({(row["predicted_s"], row["low_s"], row["model"]) for row in rows}) == 1
    assert "stack is blank" in rows[-1]["assumptions"]
    assert not rows[0]["assumptions"]


def test_spellings_of_tensorrt_give_one_answer(answers):
    rows = answers(
        *(
            product(chip=chip, stack=stack, dtype=dtype)
            for chip, stack, dtype in (
                ("b200", "trtllm-1.3.0rc20", "nvfp4"),
                ("B200-SXM", "TensorRT-LLM-1.3.0rc20", "NVFP4"),
                ("NVIDIA B200", "TensorRT-LLM 1.3", "fp4"),
            )
        )
    )
    assert {row["status"] for row in rows} == {"ok"}
    assert len({row["predicted_s"] for row in rows}) == 1


@pytest.mark.parametrize("stack", ["", "vllm-0.24.0", "vLLM 0.24"])
def test_a_blank_kernel_is_the_one_the_stack_takes(answers, stack):
    few = product(dtype="fp8-block", mode="eager", weights="hot", m="8", stack=stack)
    (row,) = answers(few)
    assert row["status"] == "ok"
    assert "flashinfer" in row["model"]


def test_attention_in_fp16_is_that_of_bf16(answers):
    both = [
        {"chip": "h100", "stack": "", "dtype": one, "kv_dtype": one} for one in ("half", "bf16")
    ]
    half, plain = answers(*(DECODE | one for one in both))
    assert half["status"] == "ok"
    assert half["predicted_s"] == plain["predicted_s"]
    assert "residual" in half["model"]


def test_spellings_of_a_library(answers):
    rows = answers(*(REDUCE | {"chip": "b200", "stack": s} for s in ("nccl-2.29.2", "NCCL 2.29")))
    assert {row["status"] for row in rows} == {"ok"}
    assert rows[0]["predicted_s"] == rows[1]["predicted_s"]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"chip": "h10O"}, "unknown chip"),
        ({"chip": ""}, "chip is blank"),
        ({"m": "0"}, "positive m"),
        ({"m": "-4"}, "not a finite number"),
        ({"k": "nan"}, "not a finite number"),
        ({"n": "inf"}, "not a finite number"),
        ({"op": "frobnicate"}, "is none of"),
        (DECODE | {"batch": "0"}, "positive batch"),
        (DECODE | {"kv_heads": "0"}, "positive kv_heads"),
        (DECODE | {"kv_heads": "64"}, "more than 32 heads"),
        (REDUCE | {"message_bytes": "0"}, "positive message_bytes"),
    ],
)
def test_an_impossible_row_says_why(answers, change, reason):
    (row,) = answers(product(**change))
    assert row["status"] == "unanswered"
    assert reason in row["reason"]
    assert not row.get("predicted_s")


def test_software_called_eager_is_launched_by_the_host(answers):
    named, blank = answers(
        *(product(chip="mi210", stack="pytorch-eager", mode=m) for m in ("eager", ""))
    )
    assert named["predicted_s"] == blank["predicted_s"]
