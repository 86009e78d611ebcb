"""Joint draws: Sobol points against scipy, stability of names, evenness, errors."""

import csv
import sys
from pathlib import Path
from subprocess import run

import numpy as np
import pytest
from scipy.stats import qmc

from tapeout import risk
from tapeout.errors import InfeasibleError, UnknownNameError
from tapeout.numerics import BLOCK, standard_error
from tapeout.risk import registry, sobol

NRE = risk.from_range(5e8, 3e8, 1e9, "positive")
DISTRIBUTIONS = {
    "build.nre_usd": NRE,
    "decision.discount_rate": risk.from_range(0.1, 0.08, 0.14, "fraction"),
    "option.price_usd[3]": risk.from_range(4e4, 3e4, 6e4, "positive"),
    "site.pue_ratio": risk.Constant(1.1),
}

# Of this version; a change here changes every published number.
FROZEN_0 = [0.9429375528125092, 0.3163371525006369]
FROZEN_123 = [0.5501358652254567, 0.11058259813580662, 0.03159725561272353]


def unscrambled(column, bits):
    """The plain sequence in binary order."""
    points = np.zeros(1, np.uint32)
    for direction in sobol._directions(column)[:bits]:
        points = np.concatenate([points, points ^ direction])
    return points / 2.0**32


def test_points_without_scrambling_equal_scipys():
    """scipy walks in Gray-code order: its point i is the binary-order point i ^ (i >> 1)."""
    engine = qmc.Sobol(700, scramble=False, bits=32)
    theirs = engine.random(256)
    gray = np.arange(256) ^ (np.arange(256) >> 1)
    for column in (0, 1, 2, 3, 17, 99, 250, 699):
        assert (unscrambled(column, 8)[gray] == theirs[:, column]).all()


@pytest.mark.parametrize("column", [0, 1, 40, 300])
def test_every_scramble_has_one_point_in_each_stratum(column):
    points = sobol.uniforms(column, 12, seed=3).reshape(sobol.SCRAMBLES, -1)
    strata = np.sort((points * points.shape[1]).astype(int), axis=1)
    assert (strata == np.arange(points.shape[1])).all()


def test_the_first_two_columns_of_a_scramble_are_a_net():
    """Every box of 2^-a x 2^-(8-a) holds one of 256 points: the (0, 8, 2)-net property."""
    first, second = (sobol.uniforms(c, 12, seed=5).reshape(16, -1) for c in (0, 1))
    for a in range(9):
        boxes = (first * 2**a).astype(int) * 2 ** (8 - a) + (second * 2 ** (8 - a)).astype(int)
        assert (np.sort(boxes, axis=1) == np.arange(256)).all()


def test_scrambles_and_seeds_and_columns_differ():
    points = sobol.uniforms(4, 12, seed=1)
    assert len({tuple(np.sort(part)) for part in points.reshape(16, -1)}) == 16
    assert (points != sobol.uniforms(4, 12, seed=2)).any()
    assert (points != sobol.uniforms(5, 12, seed=1)).any()


def test_points_are_the_same_on_every_machine():
    """Frozen: integers of a fixed PCG64 stream, exact in floating point."""
    assert sobol.uniforms(0, 4, seed=0)[:2].tolist() == FROZEN_0
    assert sobol.uniforms(123, 16, seed=42)[[0, 5000, 65535]].tolist() == FROZEN_123


def test_low_columns_are_nearly_uncorrelated():
    """Plain Monte Carlo has 1/256 = 0.0039 on average; here a quarter, and no pair above six."""
    columns = np.array([sobol.uniforms(c, 16, seed=11) for c in range(128)])
    off = np.corrcoef(columns) - np.eye(128)
    assert np.abs(off).max() < 6 / 256
    assert np.sqrt((off**2).mean()) < 0.25 / 256


def test_adding_or_reordering_drivers_moves_no_other_number():
    few = risk.sample(DISTRIBUTIONS, 8, seed=9)
    more = {"option.price_usd[7]": NRE, "build.spins": risk.Uniform()} | dict(
        reversed(DISTRIBUTIONS.items())
    )
    many = risk.sample(more, 8, seed=9)
    for name in DISTRIBUTIONS:
        assert (few[name] == many[name]).all()


def test_released_columns_never_move():
    """A copy of the registry as first released; later ones may only append."""
    released = Path(__file__).parent / "released_drivers.csv"
    lines = [line for line in released.read_text().splitlines() if not line.startswith("#")]
    current = registry.fields()
    for row in csv.DictReader(lines):
        columns = tuple(int(number) for number in row["columns"].split())
        assert current[row["field"]][: len(columns)] == columns, row["field"]


def test_no_two_drivers_share_a_column():
    columns = [number for numbers in registry.fields().values() for number in numbers]
    assert len(columns) == len(set(columns))
    assert max(columns) < sobol.dimensions()


def test_draws_come_in_scrambles_of_equal_size_and_blocks():
    draws = risk.sample(DISTRIBUTIONS, 16, seed=1)
    assert len(draws) == 65_536
    assert (np.bincount(draws.scramble) == BLOCK).all()
    assert all(len(set(block.scramble)) == 1 for block in draws.blocks())
    assert list(draws.values) == list(DISTRIBUTIONS)
    assert (draws["site.pue_ratio"] == 1.1).all()


def test_columns_follow_their_distributions():
    draws = risk.sample(DISTRIBUTIONS, 14, seed=1)
    points = np.quantile(draws["build.nre_usd"], [0.05, 0.5, 0.95])
    assert points == pytest.approx([3e8, 5e8, 1e9], rel=2e-3)


def test_correlated_drivers_keep_their_distributions():
    names = {"build.slip_if_late_months": NRE, "build.delivered_ratio": NRE}
    pair = ("build.slip_if_late_months", "build.delivered_ratio")
    plain = risk.sample(names, 14, seed=1)
    joint = risk.sample(names, 14, seed=1, correlations={pair: -0.6})
    assert (plain["build.delivered_ratio"] == joint["build.delivered_ratio"]).all()
    logs = [np.log(joint[name]) for name in pair]
    ranks = [np.argsort(np.argsort(x)) for x in logs]
    # Spearman's rank correlation of a Gaussian copula: 6/pi asin(rho/2)
    assert np.corrcoef(ranks)[0, 1] == pytest.approx(6 / np.pi * np.arcsin(-0.3), abs=0.01)
    points = np.quantile(joint["build.slip_if_late_months"], [0.05, 0.5, 0.95])
    assert points == pytest.approx([3e8, 5e8, 1e9], rel=0.01)


def test_standard_error_matches_the_spread_over_seeds_and_beats_plain_draws():
    """A sum of six drivers: the scrambles' error is honest, and far below plain Monte Carlo's."""
    names = list(registry.fields())[:6]
    means, errors = [], []
    for seed in range(40):
        draws = risk.sample(dict.fromkeys(names, NRE), 10, seed=seed)
        total = sum(np.log(draws[name]) + draws[name] / 1e9 for name in names)
        means.append(total.mean())
        errors.append(standard_error(total, draws.scramble))
    spread = np.std(means, ddof=1)
    assert np.sqrt(np.mean(np.square(errors))) == pytest.approx(spread, rel=0.4)
    plain = total.std() / np.sqrt(total.size)
    assert spread < plain / 3


def test_the_error_of_a_quantile_comes_from_the_scrambles():
    draws = risk.sample({"build.nre_usd": NRE}, 12, seed=1)
    error = risk.standard_error_of(np.median, draws["build.nre_usd"], draws.scramble)
    assert 0 < error < 0.01 * 5e8


def test_refusals_name_the_driver_and_the_remedy():
    with pytest.raises(UnknownNameError, match=r"build\.nre_usd"):
        risk.sample({"build.nre_us": NRE}, 8, 0)
    with pytest.raises(InfeasibleError, match="slots 0 to 3"):
        risk.sample({"build.nre_usd[4]": NRE}, 8, 0)
    with pytest.raises(InfeasibleError, match="draws_log2 = 3"):
        risk.sample({"build.nre_usd": NRE}, 3, 0)
    with pytest.raises(InfeasibleError, match="seed = -1"):
        risk.sample({"build.nre_usd": NRE}, 8, -1)
    with pytest.raises(InfeasibleError, match="column 5000"):
        sobol.uniforms(5000, 8, 0)


@pytest.mark.parametrize(
    ("correlations", "message"),
    [
        ({("build.nre_usd", "site.pue_ratio"): 1.5}, "write -1 to 1"),
        ({("build.spins", "build.nre_usd"): 0.5}, "not drawn"),
    ],
)
def test_impossible_correlations_are_refused(correlations, message):
    with pytest.raises(InfeasibleError, match=message):
        risk.sample(DISTRIBUTIONS, 8, 0, correlations=correlations)


def test_importing_the_room_loads_no_scipy():
    code = "import sys, tapeout.risk, tapeout.market; sys.exit('scipy' in sys.modules)"
    result = run([sys.executable, "-c", code], check=False)
    assert result.returncode == 0


@pytest.mark.parametrize("part", [(0, 64), (64, 128), (96, 112), (100, 103), (1000, 1024)])
def test_a_part_of_the_points_is_that_part_of_the_whole(part):
    whole = sobol.uniforms(7, 10, seed=5)
    assert sobol.uniforms(7, 10, 5, part).tolist() == whole[slice(*part)].tolist()


def test_a_part_of_a_sample_is_that_part_of_the_whole():
    names = ("site.pue_ratio", "site.usd_per_kwh")
    wanted = {name: risk.from_range(1.2, 1.1, 1.4, "positive") for name in names}
    how = {"correlations": {(names[0], names[1]): 0.5}}
    whole = risk.sample(wanted, 9, 1, **how)
    part = risk.sample(wanted, 9, 1, part=(128, 192), **how)
    for name in names:
        assert part[name] == pytest.approx(whole[name][128:192], rel=1e-15)
    assert part.scramble.tolist() == whole.scramble[128:192].tolist()
