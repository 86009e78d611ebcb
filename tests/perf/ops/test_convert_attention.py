"""Converters of attention files: columns, units, and phases of a mixed sweep."""

import os
from pathlib import Path

import numpy as np
import pytest

from tapeout.catalog import load
from tapeout.chip import spec_from_record
from tapeout.perf.ops.attention_estimate import estimate
from tapeout.perf.ops.cases import parse
from tapeout.perf.ops.convert import converter_for
from tapeout.perf.ops.convert_attention import CONVERTERS
from tapeout.perf.ops.split import fit_part

DATA = Path(os.environ.get("TAPEOUT_DATA", Path(__file__).parents[3].parent / "shared/data"))
FILES = DATA / "measured/aiconfigurator"

CONTEXT = (
    "kernel_source,batch_size,isl,num_heads,num_key_value_heads,head_dim,kv_cache_dtype,"
    "window_size,attn_dtype,latency_us\nfa3,2,512,32,8,64,fp8,128,bfloat16,25.5\n"
)
GENERATION = (
    "batch_size,num_heads,num_key_value_heads,step,attn_dtype,kv_cache_dtype,head_dim,latency_us\n"
    "4,32,8,1023,bfloat16,bfloat16,128,30\n"
)
SWEEP = (
    "prefill_chunk,kv_prefill,n_decode,kv_decode,time_us\n"
    "0,0,4,16,9.5\n512,128,0,0,20\n256,64,8,1024,40\n"
)


def read(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    converter = converter_for(path, CONVERTERS)
    assert converter is not None
    return [parse(row) for row in converter.rows(path)]


def test_context_file(tmp_path):
    (one,) = read(tmp_path / "attention_context_h100_sxm_x.csv", CONTEXT)
    assert (one.op, one.chip, one.stack) == ("attention_prefill", "NVIDIA H100 SXM", "vllm-0.24.0")
    assert (one.kernel, one.kv_dtype, one.dtype, one.mode) == ("fa3", "fp8", "bf16", "graph")
    assert (one.batch, one.q_len, one.kv_len, one.window) == (2, 512, 0, 128)
    assert one.measured_s == pytest.approx(25.5e-6)


def test_generation_file(tmp_path):
    (one,) = read(tmp_path / "attention_generation_a100_sxm_x.csv", GENERATION)
    assert (one.op, one.stack, one.kernel) == ("attention_decode", "vllm-0.14.0", "")
    assert (one.q_len, one.kv_len, one.heads, one.kv_heads, one.head_dim) == (1, 1023, 32, 8, 128)


def test_sweep_is_split_into_phases(tmp_path):
    path = tmp_path / "rtx4090-llama-3.1-8b/profile/attention.csv"
    decode, prefill, mixed = read(path, SWEEP)
    assert (decode.op, decode.batch, decode.kv_len) == ("attention_decode", 4, 16)
    assert (prefill.op, prefill.q_len, prefill.kv_len) == ("attention_prefill", 512, 128)
    assert (mixed.op, mixed.q_len, mixed.k, mixed.batch, mixed.kv_len) == (
        "attention_mixed",
        256,
        64,
        8,
        1024,
    )


def test_other_files_are_left_alone(tmp_path):
    for name in ("attention_context_unknown.csv", "gemm.csv"):
        path = tmp_path / name
        path.write_text(CONTEXT, encoding="utf-8")
        assert converter_for(path, CONVERTERS) is None


@pytest.mark.shared_data
@pytest.mark.skipif(not FILES.is_dir(), reason="no measurements here")
@pytest.mark.parametrize("name", ["context_a100_sxm_vllm0.14.0", "generation_h100_sxm_vllm0.24.0"])
def test_measured_rows_are_met_as_well_as_the_shipped_fit_says(name):
    """Every 20th fit row; a converter that mixed up columns or units would be far off."""
    path = FILES / f"attention_{name}.csv"
    converter = converter_for(path, CONVERTERS)
    assert converter is not None
    cases = fit_part(parse(row) for row in converter.rows(path))[::20]
    chip = spec_from_record(load().chip(cases[0].chip))
    off = [abs(estimate(case, chip).time_s / case.measured_s - 1.0) for case in cases]
    assert np.median(off) < 0.06
    assert np.quantile(off, 0.9) < 0.2
