"""The memory map: what weights and caches take, and what fits."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapeout.errors import DoesNotFitError
from tapeout.perf import (
    kv_per_chip_bytes,
    max_sequences,
    memory_map,
    require_fit,
    weights_per_chip_bytes,
)
from tapeout.workload import kv_bytes, weight_bytes


def test_one_chip_holds_all_weights(placed):
    one = placed()
    total = weight_bytes(one.architecture, one.formats).total
    assert weights_per_chip_bytes(one) == pytest.approx(total, rel=1e-9)


def test_tensor_ranks_share_all_but_the_small_tensors(placed):
    """Llama has 80 x 2 + 1 norms of 8,192 in bf16, kept by every rank."""
    whole, eighth = placed(), placed(tensor_parallel=8)
    norms = 161 * 8192 * 2
    expected = (weights_per_chip_bytes(whole) - norms) / 8 + norms
    assert weights_per_chip_bytes(eighth) == pytest.approx(expected, rel=1e-6)


def test_experts_lie_on_all_ranks_and_attention_is_repeated(placed):
    spread = placed("deepseek-r1", data_parallel=8, expert_parallel=8)
    parts = weight_bytes(spread.architecture, spread.formats)
    expected = parts.experts / 8 + parts.matrices + parts.embeddings + parts.small
    assert weights_per_chip_bytes(spread) == pytest.approx(expected, rel=1e-6)


def test_the_cache_of_a_sequence_is_that_of_the_workload(placed):
    for model, ranks in (("llama-3.1-70b", 8), ("deepseek-r1", 1), ("gpt-oss-120b", 8)):
        part = placed(model, tensor_parallel=8)
        whole = kv_bytes(part.architecture, 3000.0, "fp8")
        np.testing.assert_allclose(kv_per_chip_bytes(part, 3000.0), whole / ranks, rtol=1e-9)


def test_the_map_adds_up_and_the_largest_batch_is_the_last_that_fits(placed):
    part = placed("llama-3.1-70b", tensor_parallel=2)
    most = max_sequences(part, 4096.0)
    assert most > 100
    found = memory_map(part, np.array([most, most + 1.0]), 4096.0)
    np.testing.assert_array_equal(found.fits, [True, False])
    np.testing.assert_allclose(
        found.required_bytes,
        found.weight_bytes + found.kv_bytes + found.activation_bytes + found.buffer_bytes,
    )


def test_what_does_not_fit_is_refused_with_both_figures(placed, chip):
    small = placed("deepseek-r1", chip(memory_bytes=80e9), tensor_parallel=8)
    assert max_sequences(small, 1000.0) == 0
    with pytest.raises(
        DoesNotFitError, match=r"needs 8\d\.\d GB a chip, 73\.6 GB is available"
    ) as caught:
        require_fit(small, 1.0, 1000.0)
    assert caught.value.available_bytes == pytest.approx(73.6e9)


@given(memory=st.floats(8e10, 4e11), more=st.floats(1.0, 4.0), context=st.floats(100, 50_000))
def test_more_memory_and_shorter_contexts_never_hold_fewer(placed, chip, memory, more, context):
    less = placed(chip=chip(memory_bytes=memory))
    larger = placed(chip=chip(memory_bytes=memory * more))
    assert max_sequences(less, context) <= max_sequences(larger, context)
    assert max_sequences(larger, context * more) <= max_sequences(larger, context)
