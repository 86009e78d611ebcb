"""Step tables against the timing model they are made from."""

import numpy as np
import pytest

from tapeout.perf import PhysicalModel
from tapeout.serving.engine.tables import Reach, knots_of, padded_tokens, slopes, step_table
from tapeout.serving.engine.types import PS_PER_S
from tapeout.workload import StepMix, TensorFormats

MODEL = PhysicalModel()
BF16 = TensorFormats(weight="bf16", activation="bf16", kv="bf16")
BUDGET, SEQUENCES, LONGEST = 8192, 256, 32768
DENSE = {"model": "llama-3.1-8b", "formats": BF16}
PLACED = {
    "one chip": DENSE,
    "tensor": {"tensor_parallel": 4},
    "experts": {"model": "gpt-oss-120b", "formats": BF16},
    "ranks": {
        "model": "qwen3-30b-a3b",
        "formats": BF16,
        "data_parallel": 2,
        "expert_parallel": 2,
    },
}


@pytest.fixture(scope="module")
def table_of(placed):
    found = {}

    def make(name):
        if name not in found:
            where = placed(**PLACED[name])
            found[name] = (
                where,
                step_table(
                    MODEL,
                    where,
                    token_budget=BUDGET,
                    max_sequences=SEQUENCES,
                    longest_context=LONGEST,
                ),
            )
        return found[name]

    return make


def cell(axis, value):
    low = int(np.clip(np.searchsorted(axis, value, "right") - 1, 0, len(axis) - 2))
    return low, max(0.0, (value - axis[low]) / (axis[low + 1] - axis[low]))


def mixed(table, values, step):
    """Multilinear in P, q, N and K / N, written out as the StepTable's docstring has it."""
    p, q, n, k = step
    axes = (table.prefill, table.keys, table.sequences, table.contexts)
    places = [cell(a, v) for a, v in zip(axes, (p, q, n, k / n if n else axes[3][0]), strict=True)]
    total = 0.0
    for corner in np.ndindex(2, 2, 2, 2):
        weight = np.prod([w if c else 1 - w for (_, w), c in zip(places, corner, strict=True)])
        total += weight * values[tuple(low + c for (low, _), c in zip(places, corner, strict=True))]
    return total


def rank_ps(table, step):
    """Time of one rank."""
    p, _, n, k = step
    if p:
        attention = mixed(table, table.mixed_ps, step)
    else:
        low, _ = cell(table.contexts, k / n)
        attention = table.decode_ps[n, low] + table.slope_ps[n, low] * (k - n * table.contexts[low])
    return table.tokens_ps[p + n] + table.sampled_ps[n] + attention


def rank_j(table, step):
    p, _, n, k = step
    attention = (
        mixed(table, table.mixed_j, step)
        if p
        else np.interp(k / n, table.contexts, table.decode_j[n])
    )
    return table.tokens_j[p + n] + table.sampled_j[n] + attention


def asked(where, step):
    """Cost of a step of all ranks with this step each, by the timing model."""
    p, q, n, k = step
    ranks = where.data_parallel
    prompts = p / min(2 * q - 1, p) if p else 0.0
    figures = (ranks * p, max(q - (p + 1) / 2, 0.0), ranks * prompts, ranks * n, ranks * (k - n))
    one = [np.array([float(figure)]) for figure in (*figures, ranks * n)]
    cost = MODEL.step_cost(
        where,
        StepMix(
            prefill_tokens=one[0],
            prefill_context_tokens=one[1],
            prefill_sequences=one[2],
            decode_sequences=one[3],
            decode_kv_tokens=one[4],
            sampled_sequences=one[5],
        ),
    )
    return float(cost.time_s[0]), float(cost.energy_j[0])


def total_s(where, table, step):
    ranks = where.data_parallel
    shared = table.shared_ps[ranks * (step[0] + step[2])] if ranks > 1 else 0
    return float(rank_ps(table, step) + shared) / PS_PER_S


def total_j(where, table, step):
    ranks = where.data_parallel
    shared = table.shared_j[ranks * (step[0] + step[2])] if ranks > 1 else 0.0
    return float(ranks * rank_j(table, step) + shared)


def random_steps(count):
    """A third decode alone, a quarter are prompts alone, sizes spread over powers of two."""
    rng = np.random.default_rng(7)
    for _ in range(count):
        n = int(2 ** rng.uniform(0, 8))
        p = min(int(2 ** rng.uniform(0, 13)), BUDGET - n)
        kind = rng.random()
        n, p = (0 if kind < 0.25 else n), (0 if kind > 0.67 else p)
        q = (p + 1) / 2 * 2 ** rng.uniform(-2, 3)
        yield p, min(max(q, 1.0), LONGEST), n, int(n * 2 ** rng.uniform(4, 15))


@pytest.mark.parametrize("name", PLACED)
def test_random_steps_cost_what_the_timing_model_says(table_of, name):
    """Interpolation and graph padding: median below 1 %, 95 of 100 below 5 %."""
    where, table = table_of(name)
    steps = list(random_steps(300))
    asked_of = [asked(where, step) for step in steps]
    time = np.array([total_s(where, table, step) for step in steps])
    joule = np.array([total_j(where, table, step) for step in steps])
    time_error = np.abs(time / np.array([s for s, _ in asked_of]) - 1)
    joule_error = np.abs(joule / np.array([j for _, j in asked_of]) - 1)
    assert np.median(time_error) < 0.01
    assert np.quantile(time_error, 0.95) < 0.05
    assert np.median(joule_error) < 0.02
    assert np.quantile(joule_error, 0.95) < 0.10


@pytest.mark.parametrize("name", PLACED)
def test_a_step_at_the_knots_is_exact(table_of, name):
    """Sizes that no graph pads: 16 and 256 rows, and more than 512."""
    where, table = table_of(name)
    keys = np.asarray(table.keys)
    assert {16.0, 256.0, 1024.0} <= set(table.prefill.tolist())
    for step in (
        (16, keys[4], 0, 0),
        (256, keys[6], 0, 0),
        (1024, keys[8], 64, 64 * int(table.contexts[5])),
        (4096, keys[10], 256, 256 * int(table.contexts[7])),
        (0, 1, 16, 16 * int(table.contexts[3])),
        (0, 1, 256, 256 * int(table.contexts[6])),
    ):
        time_s, energy_j = asked(where, step)
        assert total_s(where, table, step) == pytest.approx(time_s, rel=1e-8)
        assert total_j(where, table, step) == pytest.approx(energy_j, rel=1e-6)


def test_equal_ranks_cost_what_the_replica_does(table_of):
    """A balanced step is within 1 % of the model that times all ranks at once."""
    where, table = table_of("ranks")
    for step in ((0, 1, 100, 100 * 700), (1500, 800.0, 96, 96 * 1200), (700, 350.5, 0, 0)):
        time_s, energy_j = asked(where, step)
        assert total_s(where, table, step) == pytest.approx(time_s, rel=0.01)
        assert total_j(where, table, step) == pytest.approx(energy_j, rel=0.02)


def test_what_ranks_share_grows_with_the_tokens_of_all(table_of):
    where, table = table_of("ranks")
    assert table.shared_ps.shape == (where.data_parallel * BUDGET + 1,)
    assert table.shared_ps[0] == 0
    assert np.all(table.shared_ps[1:] > 0)
    assert table.shared_ps[-1] > 3 * table.shared_ps[500]


def test_one_rank_shares_nothing(table_of):
    _, table = table_of("experts")
    assert table.shared_ps.tolist() == [0]
    assert table.shared_j.tolist() == [0.0]


@pytest.mark.parametrize("name", PLACED)
def test_more_token_rows_never_save_more_than_a_tile(table_of, name):
    """Time falls where a larger tile is chosen, never by more than 3 % of what fewer rows take."""
    _, table = table_of(name)
    assert table.tokens_ps[0] == 0
    envelope = np.maximum.accumulate(table.tokens_ps)
    assert np.all(table.tokens_ps[1:] >= 0.97 * envelope[1:])
    assert np.all(np.diff(table.sampled_ps) > -0.03 * table.sampled_ps[-1])
    assert np.all(np.diff(table.decode_ps[1:], axis=1) > 0)


def test_shapes_are_those_of_a_step_table(table_of):
    _, table = table_of("one chip")
    grid = (
        table.prefill.size,
        table.keys.size,
        table.sequences.size,
        table.contexts.size,
    )
    assert table.tokens_ps.shape == table.tokens_j.shape == (BUDGET + 1,)
    assert table.sampled_ps.shape == table.sampled_j.shape == (SEQUENCES + 1,)
    assert table.decode_ps.shape == table.slope_ps.shape == table.decode_j.shape
    assert table.decode_ps.shape == (SEQUENCES + 1, table.contexts.size)
    assert table.mixed_ps.shape == table.mixed_j.shape == grid
    assert table.tokens_ps.dtype == table.slope_ps.dtype == table.contexts.dtype == np.int64
    assert table.sequences[0] == 0.0
    assert np.all(table.mixed_ps >= 0.0)
    assert table.idle_w > 0.0


def test_graphs_are_padded_to_captured_sizes():
    """vLLM 0.19 lists 1, 2, 4, 8, 16 ... 256, 272 ... 512 for 256 sequences."""
    padded = padded_tokens(2048, 256)
    assert np.unique(padded[1:513]).tolist() == [1, 2, 4, *range(8, 256, 8), *range(256, 513, 16)]
    assert padded[513:].tolist() == list(range(513, 2049))
    assert padded_tokens(2048, 128)[257] == 257
    assert padded_tokens(4, 128).tolist() == [0, 1, 2, 4, 4]


def test_rows_that_pad_a_graph_hit_no_experts(table_of):
    """Nine rows and sixteen differ by the experts that seven more rows hit."""
    _, table = table_of("experts")
    assert table.tokens_ps[9] < 0.9 * table.tokens_ps[16]
    _, plain = table_of("one chip")
    assert plain.tokens_ps[9] == plain.tokens_ps[16]


def test_a_slope_carries_a_knot_to_the_next():
    decode = np.array([[0, 0, 0], [100, 400, 1000], [100, 700, 1900]])
    contexts = np.array([1, 101, 301])
    assert slopes(decode, contexts).tolist() == [[0, 0, 0], [3, 3, 3], [3, 3, 3]]


def test_a_tiny_deployment_has_a_table(placed):
    where = placed(**DENSE)
    table = step_table(MODEL, where, token_budget=1, max_sequences=1, longest_context=2)
    assert table.prefill.size >= 1
    assert table.contexts.size >= 2
    assert table.tokens_ps.shape == (2,)


def test_knots_ascend():
    for reach in ((1, 1, 1), (512, 128, 300), (16384, 1024, 131072)):
        knots = knots_of(
            Reach(token_budget=reach[0], max_sequences=reach[1], longest_context=reach[2])
        )
        for axis in (knots.contexts, knots.prefill, knots.keys, knots.sequences):
            assert np.all(np.diff(axis) > 0)
        assert knots.prefill[-1] == reach[0]
        assert knots.sequences[-1] == reach[1]


def test_stages_idle_with_fewer_sequences_than_stages(placed):
    """With four stages one sequence takes as long as four, each a quarter of the step."""
    where = placed(pipeline_parallel=4, tensor_parallel=2)
    table = step_table(MODEL, where, token_budget=2048, max_sequences=64, longest_context=4096)
    for step in ((0, 1, 1, 1024), (0, 1, 4, 4096), (0, 1, 64, 65536)):
        assert total_s(where, table, step) == pytest.approx(asked(where, step)[0], rel=0.02)
