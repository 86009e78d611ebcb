"""Profile folders and the step tables made from them, on a hand-made law and on the real ones."""

import os
from pathlib import Path

import numpy as np
import pytest

from tapeout.constants import MICRO
from tapeout.errors import InfeasibleError, ProblemsError
from tapeout.fabric import System
from tapeout.serving.engine.profile import Curve, filled, read_profile
from tapeout.serving.engine.profiled import (
    Exchange,
    ExtraExchange,
    exchange_s,
    expert_layers,
    experts_s,
    profiled_table,
)
from tapeout.serving.engine.types import PS_PER_S
from tapeout.workload import load_model
from tests.serving.engine.profile_files import (
    CACHED,
    CHUNKS,
    decode_us,
    prompt_us,
    write_profile,
)

DATA = Path(os.environ.get("TAPEOUT_DATA", Path(__file__).parents[4] / "shared/data"))
RUNS = DATA / "measured/llmservingsim"
PS_PER_US = round(PS_PER_S * MICRO)
LLAMA, QWEN = load_model("llama-3.1-8b"), load_model("qwen3-30b-a3b")


@pytest.fixture
def table(tmp_path):
    profile = read_profile(write_profile(tmp_path / "profile"))
    return profiled_table(profile, LLAMA, token_budget=600, max_sequences=16)


def test_dense_layers_count_once_a_layer_norms_twice_and_the_ends_once(table):
    """32 layers: 32 (5 + T) + 2 x 32 (1 + T/2) + 3 + (2 + T/2), at T padded up to 16 and 528."""
    for rows, run in ((1, 1), (9, 16), (64, 64), (300, 300), (520, 520)):
        expected = 32 * (5 + run) + 64 * (1 + run / 2) + 3 + 2 + run / 2
        assert table.tokens_ps[rows] == pytest.approx(expected * PS_PER_US, abs=2)
    assert table.tokens_ps[0] == 0


def test_head_and_sampler_follow_the_sampled_rows(table):
    assert table.sampled_ps[0] == 0
    assert table.sampled_ps[10].tolist() == (110 + 30) * PS_PER_US


def test_decode_attention_is_that_of_all_layers(table):
    """Between the grid's 4 and 16 sequences, and beyond a knot of keys by its slope."""
    at = table.contexts.tolist().index(128)
    assert table.decode_ps[7, at] == 32 * round((2.0 + decode_us(7, 128)) * PS_PER_US)
    found = table.decode_ps[7, at] + table.slope_ps[7, at] * 7 * (500 - 128)
    assert found == pytest.approx(32 * (2.0 + decode_us(7, 500)) * PS_PER_US, rel=1e-6)


def test_prompt_attention_is_exact_where_the_law_is_linear(table):
    """Cached prompts at knots of P; several prompts (fewer keys) go on down with the slope."""
    for p, chunk in enumerate(table.prefill):
        for q, keys in enumerate(table.keys):
            cached = keys - (chunk + 1) / 2
            if cached > CACHED[-1]:
                continue
            expected = prompt_us(chunk, cached) + decode_us(4, 128)
            floor = prompt_us(CHUNKS[0], 0) + decode_us(4, 128)
            n = table.sequences.tolist().index(4.0)
            c = table.contexts.tolist().index(128)
            assert table.mixed_ps[p, q, n, c] / PS_PER_US / 32 == pytest.approx(
                max(expected, floor) if cached < 0 else expected
            )


def test_prompts_alone_are_the_first_place_of_the_sequences(table):
    assert table.sequences.tolist() == [0.0, 1.0, 4.0, 16.0]
    alone = table.mixed_ps[-1, :, 0, :]
    assert np.ptp(alone, axis=1).max() == 0.0


def test_missing_combinations_are_filled_by_straight_lines(tmp_path):
    """A missing node inside the grid, where the law is linear along every axis."""
    skip = {(64, 64, 4, 128), (256, 512, 16, 1024)}
    whole = read_profile(write_profile(tmp_path / "a")).mixed.time_s
    holes = read_profile(write_profile(tmp_path / "b", skip=skip)).mixed.time_s
    inside = (1, 1, 2, 1)
    # Along the keys, the last axis: halfway would be wrong, 128 lies at 1/9 of 16 to 1024.
    assert holes[inside] == pytest.approx(whole[inside])
    assert np.isfinite(holes).all()
    assert holes[2, 2, 3, 2] == holes[2, 2, 3, 1]  # a corner takes its neighbour


def test_filling_keeps_what_was_measured():
    grid = np.array([[1.0, np.nan, 3.0], [np.nan, np.nan, np.nan], [5.0, 6.0, 7.0]])
    done = filled(grid, (np.array([0.0, 1.0, 4.0]), np.array([0.0, 1.0, 2.0])))
    assert done.tolist() == [[1.0, 2.0, 3.0], [2.0, 3.0, 4.0], [5.0, 6.0, 7.0]]


def test_a_curve_goes_on_with_its_last_slope():
    curve = Curve(at=np.array([1.0, 3.0]), time_s=np.array([2.0, 4.0]))
    assert curve(np.array([0.0, 0.5, 2.0, 5.0])).tolist() == [0.0, 2.0, 3.0, 6.0]


def test_experts_run_the_tokens_of_all_ranks_on_their_half(tmp_path):
    """Two ranks, 100 tokens: the time of 50 tokens and 64 (1 - (1 - 1/16)^100) experts."""
    profile = read_profile(write_profile(tmp_path / "profile", experts=True))
    hit = 64 * (1 - (15 / 16) ** 100)
    found = experts_s(profile.experts, QWEN, np.array([0.0, 100.0]), 2)
    assert found[0] == 0.0
    assert found[1] == pytest.approx(48 * (7 * hit + 0.1 * 50) * MICRO)
    assert expert_layers(QWEN) == 48


def test_one_rank_has_its_experts_in_the_token_rows(tmp_path):
    profile = read_profile(write_profile(tmp_path / "profile", experts=True))
    table = profiled_table(profile, QWEN, token_budget=600, max_sequences=16)
    experts = 48 * (7 * 128 * (1 - (15 / 16) ** 64) + 0.1 * 64)
    dense = 48 * (5 + 64) + 96 * 33 + 3 + 34
    assert table.tokens_ps[64] == pytest.approx((experts + dense) * PS_PER_US, rel=1e-9)
    assert table.shared_ps.tolist() == [0]


def test_the_exchange_is_gather_and_scatter_of_hidden_states(chip):
    """Ideal two-rank links would take 2 B x (2 x 2048 + 128) / 2 a token; a library takes more."""
    system = System(chip=chip(), chips_per_domain=8)
    exchange = Exchange(ranks=2, system=system)
    tokens = np.array([0.0, 1.0, 1000.0])
    found = exchange_s(QWEN, tokens, exchange)
    assert found[0] == 0.0
    assert found[2] > 48 * 1000 * (2 * 2048 + 128) / 450e9
    extra = Exchange(ranks=2, system=system, extra=ExtraExchange(layer_s=1e-4, token_s=1e-6))
    more = exchange_s(QWEN, tokens, extra) - found
    assert more == pytest.approx([0.0, 48 * 1.01e-4, 48 * 1.1e-3])


def test_ranks_share_experts_and_exchange(tmp_path, chip):
    profile = read_profile(write_profile(tmp_path / "profile", experts=True))
    exchange = Exchange(ranks=2, system=System(chip=chip(), chips_per_domain=8))
    table = profiled_table(profile, QWEN, token_budget=100, max_sequences=16, exchange=exchange)
    assert table.shared_ps.shape == (201,)
    at = np.array([150.0])
    expected = experts_s(profile.experts, QWEN, at, 2) + exchange_s(QWEN, at, exchange)
    assert table.shared_ps[150] == pytest.approx(expected[0] * PS_PER_S, abs=1)


def test_a_model_and_a_profile_that_differ_in_experts_are_refused(tmp_path):
    plain = read_profile(write_profile(tmp_path / "a"))
    mixture = read_profile(write_profile(tmp_path / "b", experts=True))
    with pytest.raises(InfeasibleError, match=r"lacks moe\.csv"):
        profiled_table(plain, QWEN, token_budget=64, max_sequences=4)
    with pytest.raises(InfeasibleError, match="has no experts"):
        profiled_table(mixture, LLAMA, token_budget=64, max_sequences=4)


def test_names_come_from_the_top_level_of_the_notes(tmp_path):
    profile = read_profile(write_profile(tmp_path / "profile"))
    assert (profile.gpu, profile.model) == ("Some Card", "some/model")
    (tmp_path / "profile/meta.yaml").unlink()
    assert read_profile(tmp_path / "profile").gpu == ""


def test_every_problem_of_a_folder_is_told_at_once(tmp_path):
    folder = write_profile(tmp_path / "profile")
    (folder / "dense.csv").unlink()
    (folder / "attention.csv").write_text("prefill_chunk,time_us\n0,1\n")
    (folder / "per_sequence.csv").write_text("layer,sequences,time_us\nlm_head,1,soon\n")
    with pytest.raises(ProblemsError) as caught:
        read_profile(folder)
    text = str(caught.value)
    assert len(caught.value.problems) == 3
    assert "dense.csv" in text
    assert "kv_prefill" in text
    assert "per_sequence.csv.2.time_us = soon" in text


def test_a_profile_without_decodes_is_a_problem(tmp_path):
    folder = write_profile(tmp_path / "profile")
    lines = (folder / "attention.csv").read_text().splitlines()
    kept = [line for line in lines if not line.startswith("0,0,")]
    (folder / "attention.csv").write_text("\n".join(kept))
    with pytest.raises(ProblemsError, match="decoding sequences alone"):
        read_profile(folder)


@pytest.mark.shared_data
@pytest.mark.skipif(not RUNS.is_dir(), reason="no measurements here")
def test_the_profile_of_the_rtx_4090_reads_weights_at_its_bandwidth():
    """One token reads 16 GB less the embedding: 15 GB at 1,008 GB/s are 14.9 ms."""
    profile = read_profile(RUNS / "rtx4090-llama-3.1-8b/profile")
    table = profiled_table(profile, LLAMA, token_budget=2048, max_sequences=256)
    one_s = float(table.tokens_ps[1] + table.sampled_ps[1]) / PS_PER_S
    assert 15e9 / 1008e9 < one_s < 1.2 * 15e9 / 1008e9
    assert profile.mixed.time_s.shape == (8, 12, 9, 11)
    assert profile.gpu == "NVIDIA GeForce RTX 4090"


@pytest.mark.shared_data
@pytest.mark.skipif(not RUNS.is_dir(), reason="no measurements here")
def test_two_sweeps_of_one_profile_become_one_grid():
    """The Qwen3 profile holds a sweep by factors of 2 and one of 1.5; their union is filled."""
    profile = read_profile(RUNS / "rtxpro6000-qwen3-30b-a3b/profile")
    assert profile.mixed.time_s.shape == (19, 20, 9, 19)
    assert np.isfinite(profile.mixed.time_s).all()
    assert profile.experts.time_s.shape == (12, 5)
    assert np.all(np.diff(profile.experts.time_s, axis=1) >= 0.0)
