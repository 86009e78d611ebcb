"""Converters of collectives and elementwise operators on small files of each kind."""

import csv

import pytest

from tapeout.errors import InfeasibleError
from tapeout.perf.ops import convert_collectives, convert_elementwise
from tapeout.perf.ops.cases import parse
from tapeout.perf.ops.convert import converter_for

ALL = (*convert_collectives.CONVERTERS, *convert_elementwise.CONVERTERS)


def written(folder, name, header, *rows):
    path = folder / name
    with path.open("w", encoding="utf-8", newline="") as lines:
        csv.writer(lines).writerows([header.split(","), *(row.split(",") for row in rows)])
    return path


def converted(path):
    converter = converter_for(path, ALL)
    assert converter is not None
    return [parse(row) for row in converter.rows(path)]


def test_elements_become_bytes_and_microseconds_seconds(tmp_path):
    path = written(
        tmp_path,
        "collectives_nccl2.29.2_h100_sxm.csv",
        "op_name,kernel_source,nccl_dtype,num_gpus,message_size,latency_us",
        "alltoall,NCCL,half,8,1024,10",
        "all_reduce,NCCL,int8,4,1024,20",
    )
    first, second = converted(path)
    assert (first.op, first.chip, first.stack) == ("all_to_all", "NVIDIA H100 SXM", "nccl-2.29.2")
    assert (first.message_bytes, first.n_chips) == (2048.0, 8.0)
    assert first.measured_s == pytest.approx(10e-6)
    assert (second.message_bytes, second.dtype) == (1024.0, "int8")


def test_custom_kernels_keep_their_launch_mode(tmp_path):
    path = written(
        tmp_path,
        "allreduce_custom_vllm0.24.0_b200_sxm.csv",
        "op_name,kernel_source,allreduce_dtype,num_gpus,message_size,backend,latency_us",
        "all_reduce,vLLM_custom_graph,bfloat16,2,128,vllm_graph,6.5",
        "all_reduce,vLLM_custom_eager,bfloat16,2,128,vllm_eager,21",
    )
    assert [one.mode for one in converted(path)] == ["graph", "eager"]
    assert {one.stack for one in converted(path)} == {"vllm_custom-0.24.0"}


def test_torch_sizes_are_bytes_and_ranks_on_several_nodes_have_two_levels(tmp_path):
    path = written(
        tmp_path,
        "all_reduce_a100_dgx.csv",
        "num_workers,size,collective,devices_per_node,latency_ms",
        "8,2048,all_reduce,8,0.02",
        "16,2048,all_reduce,8,0.06",
    )
    inside, across = converted(path)
    assert (inside.message_bytes, inside.topology) == (2048.0, "")
    assert across.topology == "two-level:8"


def test_rates_become_times(tmp_path):
    path = written(tmp_path, "softmax_a100.csv", "rows,cols,throughput_1e9", "4096,32,10")
    (one,) = converted(path)
    assert (one.op, one.m, one.n) == ("softmax", 4096.0, 32.0)
    assert one.measured_s == pytest.approx(4096 * 32 / 10e9)
    flat = written(tmp_path, "gelu_mi210.csv", "elements,throughput_1e9", "1024,0.05")
    (one,) = converted(flat)
    assert (one.op, one.m, one.n, one.chip) == ("gelu", 1.0, 1024.0, "AMD MI210")


def test_a_layer_is_cut_over_its_ways_and_zero_times_are_left_out(tmp_path):
    path = written(
        tmp_path,
        "dense_ops_h100_llama-2-7b-hf.csv",
        "n_head,n_kv_head,n_embd,n_expanded_embd,num_tokens,num_tensor_parallel_workers,"
        "emb_ms,attn_pre_proj_ms,attn_rope_ms,mlp_act_ms,add_ms",
        "32,8,4096,14336,16,2,0.002,0.038,0.004,0.006,0.0",
    )
    found = {one.op: one for one in converted(path)}
    assert set(found) == {"embedding", "gemm", "rope", "silu_mul"}
    assert found["rope"].n == 40 * 128 / 2
    assert (found["gemm"].n, found["gemm"].k) == (48 * 128 / 2, 4096.0)
    assert found["silu_mul"].n == 7168.0


def _profile(folder, model):
    (folder / "meta.yaml").write_text(
        f"vllm_version: 0.19.0\nhardware: RTX4090\nmodel: {model}\n", encoding="utf-8"
    )


def test_a_profile_takes_chip_and_shapes_from_beside_it(tmp_path):
    _profile(tmp_path, "meta-llama/Llama-3.1-8B")
    dense = written(
        tmp_path, "dense.csv", "layer,tokens,time_us", "layernorm,4,2.5", "unheard_of,4,1"
    )
    (norm,) = converted(dense)
    assert (norm.op, norm.kernel, norm.n) == ("rmsnorm", "fused_add", 4096.0)
    assert (norm.chip, norm.stack) == ("NVIDIA GeForce RTX 4090", "vllm-0.19.0")
    heads = written(tmp_path, "per_sequence.csv", "layer,sequences,time_us", "lm_head,1,1096")
    (head,) = converted(heads)
    assert (head.op, head.m, head.n, head.k) == ("gemm", 1.0, 128256.0, 4096.0)


def test_a_profile_of_a_model_without_shapes_is_refused(tmp_path):
    _profile(tmp_path, "someone/else")
    path = written(tmp_path, "dense.csv", "layer,tokens,time_us", "layernorm,4,2.5")
    with pytest.raises(InfeasibleError, match="someone/else"):
        converted(path)


@pytest.mark.parametrize("name", ["all_reduce_unknownchip.csv", "softmax_unknown.csv"])
def test_a_file_of_an_unknown_chip_is_nobodys(tmp_path, name):
    header = "num_workers,size,collective,devices_per_node,latency_ms"
    assert converter_for(written(tmp_path, name, header), ALL) is None
