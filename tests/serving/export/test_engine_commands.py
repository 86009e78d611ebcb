"""Commands of engines say what the deployment says, or refuse; quoting survives a shell."""

import json
import shlex
from dataclasses import replace

import pytest

from tapeout.constants import GIB
from tapeout.errors import InfeasibleError
from tapeout.serving.engine.host_cache import HostCache
from tapeout.serving.engine.policies import Drafting, Sarathi, VllmV1
from tapeout.serving.export import Speculation, Wanted, sglang_command, vllm_command
from tapeout.serving.types import Deployment
from tapeout.workload import TensorFormats

BF16 = TensorFormats(weight="bf16", activation="bf16", kv="bf16")
FP8 = TensorFormats(weight="fp8", activation="fp8", kv="fp8")
FP4 = TensorFormats(weight="fp4", activation="fp4", kv="fp8")
# From vLLM's and SGLang's pages of arguments; a flag that is not here must be looked up first.
VLLM_FLAGS = """--tensor-parallel-size --pipeline-parallel-size --data-parallel-size
    --enable-expert-parallel --gpu-memory-utilization --block-size --kv-cache-dtype
    --num-gpu-blocks-override --max-model-len --quantization --max-num-seqs
    --max-num-batched-tokens --enable-prefix-caching --no-enable-prefix-caching
    --enable-chunked-prefill --no-enable-chunked-prefill --async-scheduling --no-async-scheduling
    --scheduler-reserve-full-isl --no-scheduler-reserve-full-isl --long-prefill-token-threshold
    --speculative-config --kv-transfer-config --kv-offloading-size --kv-offloading-backend
    --port"""
SGLANG_FLAGS = """--model-path
    --tp-size --pp-size --dp-size --ep-size --enable-dp-attention --kv-cache-dtype
    --mem-fraction-static --max-total-tokens --context-length --page-size --quantization
    --max-running-requests --chunked-prefill-size --disable-radix-cache --host --port"""


def flags(command):
    return {argument[0]: argument[1:] for argument in command.arguments}


def value(command, flag):
    (one,) = flags(command)[flag]
    return one


@pytest.fixture
def dense(placed):
    return Deployment(placement=placed(formats=BF16, tensor_parallel=2))


@pytest.fixture
def mixture(placed):
    def make(**degrees):
        formats = TensorFormats(weight="fp8", activation="fp8", kv="fp8", expert="fp8")
        return Deployment(placement=placed("deepseek-r1", formats=formats, **degrees))

    return make


WANTED = Wanted(hf_model="org/model")


def test_a_plain_deployment_serves_the_checkpoint_on_its_chips(dense):
    command = vllm_command(dense, WANTED)
    assert command.program == ("vllm", "serve", "org/model")
    assert value(command, "--tensor-parallel-size") == "2"
    assert value(command, "--gpu-memory-utilization") == "0.9"
    assert set(flags(command)) <= set(VLLM_FLAGS.split())
    assert "--num-gpu-blocks-override" not in flags(command)
    assert "--kv-cache-dtype" not in flags(command)
    assert "--quantization" not in flags(command)


def test_a_cache_in_host_memory_is_given_in_gib(dense):
    deployment = replace(dense, host_cache=HostCache(size_bytes=64.0 * GIB))
    command = vllm_command(deployment, WANTED)
    assert value(command, "--kv-offloading-size") == "64"
    assert value(command, "--kv-offloading-backend") == "native"
    assert set(flags(command)) <= set(VLLM_FLAGS.split())
    assert any("data-parallel rank" in note for note in command.notes)


def test_a_cache_in_host_memory_goes_with_no_other_connector(dense):
    deployment = replace(dense, host_cache=HostCache(size_bytes=64.0 * GIB))
    with pytest.raises(InfeasibleError, match="two connectors"):
        vllm_command(deployment, replace(WANTED, kv_role="kv_both"))


def test_limits_that_were_given_are_passed_and_others_left_to_the_engine(dense):
    given = replace(dense, max_sequences=64, token_budget=2048)
    command = vllm_command(given, replace(WANTED, max_model_len=4096))
    assert value(command, "--max-num-seqs") == "64"
    assert value(command, "--max-num-batched-tokens") == "2048"
    assert value(command, "--max-model-len") == "4096"
    assert "--max-num-seqs" not in flags(vllm_command(dense, WANTED))
    assert any("defaults" in note for note in vllm_command(dense, WANTED).notes)


def test_the_null_block_is_added_to_the_usable_blocks(dense):
    command = vllm_command(replace(dense, kv_blocks=2587), WANTED)
    assert value(command, "--num-gpu-blocks-override") == "2588"


def test_every_switch_of_the_policy_has_both_states(dense):
    off = VllmV1(
        prefix_cache=False, chunked=False, reserve_prompt=False, async_depth=0, longest_chunk=256
    )
    command = vllm_command(replace(dense, policy=off), WANTED)
    for flag in ("enable-prefix-caching", "enable-chunked-prefill", "async-scheduling"):
        assert f"--no-{flag}" in flags(command)
        assert f"--{flag}" in flags(vllm_command(dense, WANTED))
    assert "--no-scheduler-reserve-full-isl" in flags(command)
    assert value(command, "--long-prefill-token-threshold") == "256"
    assert set(flags(command)) <= set(VLLM_FLAGS.split())


def test_what_vllm_has_no_flag_for_is_refused(dense):
    with pytest.raises(InfeasibleError, match="sarathi"):
        vllm_command(replace(dense, policy=Sarathi()), WANTED)
    with pytest.raises(InfeasibleError, match="watermark"):
        vllm_command(replace(dense, policy=VllmV1(watermark_fraction=0.01)), WANTED)


def test_experts_over_all_ranks_are_asked_for_and_over_some_refused(mixture):
    command = vllm_command(mixture(data_parallel=8, expert_parallel=8), WANTED)
    assert value(command, "--data-parallel-size") == "8"
    assert "--enable-expert-parallel" in flags(command)
    assert set(flags(command)) <= set(VLLM_FLAGS.split())
    with pytest.raises(InfeasibleError, match="ep8 or ep1"):
        vllm_command(mixture(tensor_parallel=8, expert_parallel=4), WANTED)


def test_weights_narrower_than_the_checkpoint_are_made_or_must_be_stored(placed):
    narrow = Deployment(placement=placed(formats=FP8))
    assert value(vllm_command(narrow, WANTED), "--quantization") == "fp8"
    assert value(vllm_command(narrow, WANTED), "--kv-cache-dtype") == "fp8"
    stored = replace(WANTED, quantized=True)
    assert "--quantization" not in flags(vllm_command(narrow, stored))
    four_bit = Deployment(placement=placed(formats=FP4))
    with pytest.raises(InfeasibleError, match="--quantized"):
        vllm_command(four_bit, WANTED)
    assert "--quantization" not in flags(vllm_command(four_bit, stored))


def test_a_checkpoint_in_its_own_formats_needs_no_quantisation(mixture):
    command = vllm_command(mixture(tensor_parallel=8), WANTED)
    assert "--quantization" not in flags(command)


def test_a_cache_format_of_no_engine_is_refused(placed):
    odd = Deployment(placement=placed(formats=replace(BF16, kv="int8")))
    for make in (vllm_command, sglang_command):
        with pytest.raises(InfeasibleError, match="int8"):
            make(odd, WANTED)


def test_drafts_need_a_method_and_become_one_json_word(dense):
    drafting = VllmV1(drafting=Drafting(acceptance=(0.8, 0.6)))
    deployment = replace(dense, policy=drafting)
    with pytest.raises(InfeasibleError, match="--speculative-method"):
        vllm_command(deployment, WANTED)
    wanted = replace(WANTED, speculation=Speculation(method="eagle3", model="org/head"))
    config = json.loads(value(vllm_command(deployment, wanted), "--speculative-config"))
    assert config == {"method": "eagle3", "model": "org/head", "num_speculative_tokens": 2}


def test_a_role_in_a_disaggregated_deployment_names_the_connector(dense):
    command = vllm_command(dense, replace(WANTED, kv_role="kv_producer"))
    config = json.loads(value(command, "--kv-transfer-config"))
    assert config == {"kv_connector": "NixlConnector", "kv_role": "kv_producer"}
    assert any("proxy" in note for note in command.notes)
    with pytest.raises(InfeasibleError, match="kv_consumer"):
        vllm_command(dense, replace(WANTED, kv_role="prefill"))


def test_the_shell_line_reads_back_as_the_same_words(dense):
    wanted = replace(WANTED, hf_model="/models/my model's", kv_role="kv_both")
    command = vllm_command(dense, wanted)
    assert tuple(shlex.split(command.shell().replace("\\\n", " "))) == command.words


@pytest.mark.parametrize("name", ["", "-x", "--port"])
def test_a_checkpoint_that_would_read_as_a_flag_is_refused(dense, name):
    for make in (vllm_command, sglang_command):
        with pytest.raises(InfeasibleError, match="--hf-model"):
            make(dense, Wanted(hf_model=name))


def test_neuron_gets_no_tensor_degree_since_it_counts_cores_there(placed, chip):
    deployment = Deployment(placement=placed(chip=chip(name="AWS Trainium2"), formats=BF16))
    command = vllm_command(deployment, WANTED)
    assert "--tensor-parallel-size" not in flags(command)
    assert any("cores" in note for note in command.notes)


def test_sglang_gets_documented_flags_and_says_that_it_schedules_differently(dense):
    given = replace(dense, max_sequences=64, token_budget=2048, kv_blocks=100, block_tokens=16)
    command = sglang_command(given, replace(WANTED, max_model_len=4096, memory_fraction=0.8))
    assert value(command, "--tp-size") == "2"
    assert value(command, "--max-running-requests") == "64"
    assert value(command, "--chunked-prefill-size") == "2048"
    assert value(command, "--max-total-tokens") == "1600"
    assert value(command, "--mem-fraction-static") == "0.8"
    assert set(flags(command)) <= set(SGLANG_FLAGS.split())
    assert "vllm-v1" in command.notes[0]


def test_sglang_counts_all_ranks_under_data_parallel_attention(mixture):
    deployment = mixture(data_parallel=8, expert_parallel=8)
    command = sglang_command(replace(deployment, max_sequences=64), WANTED)
    assert value(command, "--tp-size") == "8"
    assert value(command, "--dp-size") == "8"
    assert value(command, "--ep-size") == "8"
    assert "--enable-dp-attention" in flags(command)
    assert "--max-running-requests" not in flags(command)
    assert set(flags(command)) <= set(SGLANG_FLAGS.split())
    chunked = sglang_command(replace(deployment, token_budget=1024), WANTED)
    assert value(chunked, "--chunked-prefill-size") == "8192"  # SGLang divides it by the ranks
    with pytest.raises(InfeasibleError, match="tp1"):
        sglang_command(mixture(tensor_parallel=2, data_parallel=4), WANTED)


def test_sglang_turns_off_what_the_policy_turns_off(dense):
    policy = VllmV1(prefix_cache=False, chunked=False)
    command = sglang_command(replace(dense, policy=policy), WANTED)
    assert "--disable-radix-cache" in flags(command)
    assert value(command, "--chunked-prefill-size") == "-1"
    with pytest.raises(InfeasibleError, match="vLLM only"):
        sglang_command(dense, replace(WANTED, kv_role="kv_both"))
