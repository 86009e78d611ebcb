"""Sharding conserves FLOP and bytes and sends what the closed forms say."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapeout.errors import InfeasibleError
from tapeout.fabric import Collective
from tapeout.perf import Degrees, step_mix
from tapeout.perf.memory import full_step
from tapeout.perf.sharding import check_degrees, imbalance, microbatch, shard
from tapeout.workload import TensorFormats, load_model, operators

FP8 = TensorFormats(weight="fp8", activation="fp8", kv="fp8")
MODELS = ("llama-3.1-70b", "gpt-oss-120b", "deepseek-r1")
MIX = step_mix(
    prefill=np.array([0.0, 2048.0]), prompts=np.array([0.0, 1.0]), decode=32.0, context=4096.0
)


def cut(model, degrees, mix=MIX):
    architecture = load_model(model)
    table = operators(architecture, mix, FP8)
    _, held = full_step(architecture, FP8)
    return table, shard(table, degrees, mix.tokens, held)


@pytest.mark.parametrize("model", MODELS)
def test_one_chip_does_the_whole_table(model):
    table, whole = cut(model, Degrees())
    for name in ("flop", "weight_bytes", "activation_bytes", "kv_bytes"):
        np.testing.assert_allclose(getattr(whole, name), getattr(table, name), rtol=1e-12)
    assert whole.messages == ()


@given(
    model=st.sampled_from(MODELS),
    tensor=st.sampled_from([1, 2, 4, 8]),
    data=st.sampled_from([1, 2, 4, 8]),
    spread=st.booleans(),
)
def test_the_average_chips_add_up_to_the_replica(model, tensor, data, spread):
    """FLOP of cut operators; replicated ones are done once a tensor rank."""
    degrees = Degrees(tensor=tensor, data=data, expert=tensor * data if spread else 1)
    table, part = cut(model, degrees)
    times = np.where(np.array(table.shard) == "replicated", tensor, 1)[:, None]
    np.testing.assert_allclose(
        part.mean_flop * degrees.ranks, table.flop * times, rtol=1e-9, atol=1e-3
    )


@given(
    model=st.sampled_from(MODELS),
    tensor=st.sampled_from([1, 2, 4, 8]),
    data=st.sampled_from([1, 2, 4]),
)
def test_weights_of_all_chips_are_the_model_once_a_group(model, tensor, data):
    """Experts once over all ranks, the rest once a data-parallel group, small ones on all."""
    table, part = cut(model, Degrees(tensor=tensor, data=data))
    kind = np.array(table.shard)
    copies = np.where(kind == "expert", 1, np.where(kind == "replicated", tensor * data, data))
    np.testing.assert_allclose(
        part.weight_bytes * tensor * data, table.weight_bytes * copies[:, None], rtol=1e-9
    )


def test_key_value_heads_are_cut_no_further_than_there_are_heads():
    """Llama-3.1-70B has 8 of them: 16 ranks read as much each as 8 do."""
    _, eight = cut("llama-3.1-70b", Degrees(tensor=8))
    table, sixteen = cut("llama-3.1-70b", Degrees(tensor=16))
    np.testing.assert_array_equal(eight.kv_bytes, sixteen.kv_bytes)
    np.testing.assert_allclose(eight.kv_bytes * 8, table.kv_bytes)


def test_a_latent_cache_is_read_by_every_tensor_rank_and_split_by_data_ranks():
    table, tensor = cut("deepseek-r1", Degrees(tensor=8))
    _, data = cut("deepseek-r1", Degrees(data=8, expert=8))
    np.testing.assert_allclose(tensor.kv_bytes, table.kv_bytes)
    np.testing.assert_allclose(data.kv_bytes * 8, table.kv_bytes)


def test_a_dense_layer_under_tensor_parallelism_needs_two_all_reduces():
    """80 layers, attention and feed-forward, tokens x 8192 x 2 bytes each, and the embedding."""
    _, part = cut("llama-3.1-70b", Degrees(tensor=8))
    assert {message.operation for message in part.messages} == {Collective.ALL_REDUCE}
    np.testing.assert_array_equal(sum(m.calls for m in part.messages), 161.0)
    for message in part.messages:
        np.testing.assert_allclose(message.message_bytes, MIX.tokens * 8192 * 2)


def test_experts_under_tensor_parallelism_send_the_combine_once_a_token():
    """DeepSeek-R1: 61 attention, 3 dense and 58 expert layers, and the embedding."""
    _, part = cut("deepseek-r1", Degrees(tensor=8))
    np.testing.assert_array_equal(sum(m.calls for m in part.messages), 61 + 3 + 58 + 1)
    for message in part.messages:
        np.testing.assert_allclose(message.message_bytes, MIX.tokens * 7168 * 2)


def test_experts_under_data_parallel_attention_dispatch_and_combine_all_to_all():
    _, part = cut("deepseek-r1", Degrees(data=8, expert=8))
    operations = [message.operation for message in part.messages]
    assert operations == [Collective.ALL_TO_ALL] * 2
    dispatch, combine = (m.message_bytes for m in part.messages)
    distinct = 8 * (1 - (1 - 1 / 8) ** 8)  # ranks a token's 8 experts lie on
    np.testing.assert_allclose(combine, MIX.tokens / 8 * distinct * 7168 * 2, rtol=1e-9)
    np.testing.assert_allclose(dispatch * 2, combine)  # fp8 in, bf16 out


def test_pipeline_stages_send_hidden_states():
    _, part = cut("llama-3.1-70b", Degrees(tensor=8, pipeline=4))
    sends = [m for m in part.messages if m.operation == Collective.SEND]
    assert len(sends) == 1
    np.testing.assert_array_equal(sends[0].calls, 4.0)
    np.testing.assert_allclose(sends[0].message_bytes, MIX.tokens * 8192 * 2)


def test_a_microbatch_is_a_share_of_the_step_but_never_less_than_one_sequence():
    mix = step_mix(decode=np.array([1.0, 2.0, 64.0]), context=100.0)
    np.testing.assert_allclose(microbatch(mix, 4).decode_sequences, [1.0, 1.0, 16.0])
    assert microbatch(mix, 1) is mix


def test_the_fullest_expert_rank_follows_the_closed_form():
    """1 + sqrt(2 ln R (1 - 1/R) / mu), mu = rows over ranks; all rows on one rank at most."""
    got = imbalance(np.array([1024.0, 1e-3]), 8)
    np.testing.assert_allclose(got[0], 1 + np.sqrt(2 * np.log(8) * 7 / 8 / 128))
    assert got[1] == 8.0
    np.testing.assert_array_equal(imbalance(np.array([5.0]), 1), 1.0)


def test_a_rank_reads_no_more_experts_than_it_holds():
    mix = step_mix(decode=4096.0, context=10.0)
    architecture = load_model("deepseek-r1")
    _, held = full_step(architecture, FP8)
    _, part = cut("deepseek-r1", Degrees(data=8, expert=8), mix)
    experts = np.array([kind == "grouped_gemm" for kind in full_step(architecture, FP8)[0].kind])
    assert np.all(part.weight_bytes[experts, 0] <= held[experts] / 8 * (1 + 1e-9))


def test_degrees_that_do_not_fit_are_refused():
    with pytest.raises(InfeasibleError, match="expert parallelism 3 does not divide the 8 ranks"):
        check_degrees(Degrees(tensor=8, expert=3))
    with pytest.raises(InfeasibleError, match="tensor parallelism 0"):
        check_degrees(Degrees(tensor=0))
