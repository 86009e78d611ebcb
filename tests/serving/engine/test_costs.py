"""Step costs: exact at knots, linear between them, hand-computed beyond them."""

import numpy as np
import pytest
from scipy.interpolate import RegularGridInterpolator

from tapeout.serving.engine.costs import IDLE, Load, StepCosts
from tests.serving.engine.builders import make_rules, make_table, random_table

RULES = make_rules(token_budget=10, max_sequences=4, ranks=2)
DECODE = {
    "contexts": np.array([10, 20, 40], np.int64),
    "decode_ps": np.array([[0, 0, 0], [100, 200, 300], [150, 350, 550], [0, 0, 0], [0, 0, 0]]),
    "slope_ps": np.array([[0, 0, 0], [10, 5, 5], [10, 5, 5], [0, 0, 0], [0, 0, 0]]),
    "decode_j": np.array([[0, 0, 0], [1, 2, 3], [1.5, 3.5, 5.5], [0, 0, 0], [0, 0, 0]], float),
}


def decoding(sequences, keys):
    return Load(tokens=sequences, sequences=sequences, keys=keys)


@pytest.mark.parametrize(
    ("sequences", "keys", "time_ps", "energy_j"),
    [
        (1, 10, 100, 1.0),
        (1, 19, 190, 1.9),
        (1, 20, 200, 2.0),
        (1, 40, 300, 3.0),  # at the last knot by the cell before it
        (1, 60, 400, 4.0),
        (1, 4, 40, 0.4),  # below the first knot its slope goes on
        (2, 39, 150 + 19 * 10, 1.5 + 2 * 19 / 20),
        (2, 40, 350, 3.5),
    ],
)
def test_decode_attention_is_a_line_between_knots_and_beyond(sequences, keys, time_ps, energy_j):
    costs = StepCosts(make_table(RULES, **DECODE))
    assert costs.step_ps([decoding(sequences, keys)]) == time_ps
    assert costs.step_j([decoding(sequences, keys)]) == pytest.approx(energy_j)


def test_a_rank_with_work_takes_a_picosecond_at_least():
    costs = StepCosts(make_table(RULES, **DECODE | {"decode_ps": DECODE["decode_ps"] - 99}))
    assert costs.rank_ps(decoding(1, 4)) == 1
    assert costs.rank_ps(IDLE) == 0
    assert costs.step_ps([decoding(1, 4), IDLE]) == 1


def test_the_slowest_rank_counts_and_what_is_shared_follows_all_tokens():
    table = make_table(
        RULES,
        tokens_ps=np.arange(11) * 10,
        tokens_j=np.arange(11.0),
        sampled_ps=np.array([0, 1, 2, 3, 5]),
        shared_ps=np.arange(21) * 1000,
        shared_j=np.arange(21) * 100.0,
    )
    costs = StepCosts(table)
    long, short = Load(tokens=7, sampled=2, sequences=4), Load(tokens=2, sampled=1, sequences=1)
    assert costs.step_ps([short, long]) == 70 + 2 + 9000
    assert costs.step_ps([long, IDLE]) == 70 + 2 + 7000
    assert costs.step_j([short, long]) == pytest.approx(9 + 900)


def test_beyond_the_end_of_a_table_its_last_slope_goes_on_and_one_entry_holds_for_all():
    table = make_table(RULES, sampled_ps=np.array([0, 1, 2, 3, 5]), shared_ps=np.array([70]))
    costs = StepCosts(table)
    for sampled, sampled_ps in [(4, 5), (5, 7), (9, 15)]:
        assert costs.step_ps([Load(tokens=1, sampled=sampled, sequences=1)]) == 70 + sampled_ps


def test_a_mixed_step_is_multilinear_between_knots():
    """A sum over corners is what scipy's interpolator gives, to rounding."""
    rng = np.random.default_rng(1)
    table = random_table(rng, RULES)
    grid = (table.prefill, table.keys, table.sequences, table.contexts.astype(float))
    inside = RegularGridInterpolator(grid, table.mixed_j)
    costs = StepCosts(table)
    tried = 0
    for _ in range(300):
        sequences = int(rng.integers(1, 5))
        load = Load(
            tokens=0,
            sequences=sequences,
            keys=int(sequences * rng.uniform(table.contexts[0], table.contexts[-1])),
            prompt=int(rng.integers(1, 11)),
            prompt_keys_twice=int(rng.integers(2, 2000)),
        )
        mean_keys = load.prompt_keys_twice / (2 * load.prompt)
        point = (load.prompt, mean_keys, sequences, load.keys / sequences)
        if all(axis[0] <= x <= axis[-1] for axis, x in zip(grid, point, strict=True)):
            tried += 1
            assert costs._mixed(costs._mixed_j, load) == pytest.approx(float(inside(point)))
    assert tried > 20


PLANE = {  # 100 P + 10 q + 1000 N + c: a plane is met anywhere but below the first knots
    "contexts": np.array([10, 20]),
    "prefill": np.array([2.0, 4.0]),
    "keys": np.array([3.0, 6.0]),
    "sequences": np.array([0.0, 2.0]),
}
PLANE["mixed_ps"] = (
    100 * PLANE["prefill"][:, None, None, None]
    + 10 * PLANE["keys"][:, None, None]
    + 1000 * PLANE["sequences"][:, None]
    + PLANE["contexts"]
)


@pytest.mark.parametrize(
    ("prompt", "keys_twice", "sequences", "keys", "time_ps"),
    [
        (2, 12, 0, 0, 200 + 30 + 10),
        (3, 24, 1, 15, 300 + 40 + 1000 + 15),
        (8, 160, 4, 120, 800 + 100 + 4000 + 30),  # beyond every last knot
        (1, 2, 0, 0, 200 + 30 + 10),  # below the first knots
        (3, 24, 2, 10, 300 + 40 + 2000 + 10),
        (3, 25, 1, 15, 300 + 42 + 1000 + 15),  # 41.67 rounds up
    ],
)
def test_a_mixed_step_goes_on_beyond_the_last_knot_and_stops_at_the_first(
    prompt, keys_twice, sequences, keys, time_ps
):
    load = Load(
        tokens=prompt + sequences,
        sequences=sequences,
        keys=keys,
        prompt=prompt,
        prompt_keys_twice=keys_twice,
    )
    assert StepCosts(make_table(RULES, **PLANE)).step_ps([load]) == time_ps


def test_an_axis_with_one_knot_changes_nothing():
    table = make_table(RULES, mixed_ps=np.full((1, 1, 1, 2), 50.0))
    for prompt in (1, 9):
        load = Load(tokens=prompt, prompt=prompt, prompt_keys_twice=90, sequences=3, keys=300)
        assert StepCosts(table).step_ps([load]) == 50
