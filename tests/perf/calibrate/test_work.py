"""Arithmetic and traffic of a timed operator: counted by hand."""

import pytest

from tapeout.errors import InfeasibleError
from tapeout.perf.calibrate.work import load_of
from tapeout.perf.ops.cases import OpCase


def attention(op, **numbers):
    shape = {"batch": 2.0, "heads": 4.0, "kv_heads": 2.0, "head_dim": 8.0} | numbers
    return OpCase(chip="c", op=op, dtype="bf16", **shape)


def test_causal_prefill_counts_each_query_with_the_keys_it_sees():
    pairs = sum(range(1, 6))  # five queries see 1, 2, ... 5 keys
    load = load_of(attention("attention_prefill", q_len=5.0, kv_len=0.0))
    assert load.flop == 2 * 4 * 8 * pairs * 4  # batch x heads x width x pairs x 2 products x 2 FLOP
    assert load.moved_bytes == 2 * 8 * 2 * (2 * 5 * 4 + 2 * 5 * 2)  # q, out; k, v


def test_decode_reads_the_cache_once_per_key_value_head():
    load = load_of(attention("attention_decode", q_len=1.0, kv_len=99.0))
    assert load.flop == 2 * 4 * 8 * 100 * 4
    assert load.moved_bytes == 2 * 8 * 2 * (2 * 4 + 2 * 100 * 2)


def test_a_copy_reads_and_writes():
    assert load_of(OpCase(chip="c", op="copy", dtype="fp32", m=3.0, n=5.0)).moved_bytes == 120.0


def test_an_int8_product_writes_32_bit_sums():
    load = load_of(OpCase(chip="c", op="gemm", dtype="int8", m=2.0, n=3.0, k=5.0))
    assert load.moved_bytes == 2 * 5 + 3 * 5 + 2 * 3 * 4


def test_a_blank_number_is_named():
    with pytest.raises(InfeasibleError, match="positive n, k"):
        load_of(OpCase(chip="c", op="gemm", dtype="bf16", m=2.0))
