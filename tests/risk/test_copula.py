"""The copula: stated correlations come out, distributions stay, contradictions are refused."""

import numpy as np
import pytest

from tapeout import risk
from tapeout.errors import InfeasibleError
from tapeout.risk.copula import LARGEST_GROUP, conditional, factored

NAMES = (
    "build.slip_if_late_months",
    "build.delivered_ratio",
    "build.maturity_years",
    "demand.realised_ratio",
    "market.rent_drift_per_year",
)
LAWS = {
    name: risk.from_range(2.0, 1.0, 5.0, "positive")
    if i % 2
    else risk.from_range(0.3, 0, 1, "signed")
    for i, name in enumerate(NAMES)
}
PAIRS = {
    (NAMES[1], NAMES[0]): -0.4,
    (NAMES[2], NAMES[1]): -0.3,
    (NAMES[4], NAMES[3]): 0.5,
    (NAMES[3], NAMES[0]): 0.2,
}


def spearman(draws, one, other):
    ranks = [np.argsort(np.argsort(draws[name])) for name in (one, other)]
    return float(np.corrcoef(np.stack(ranks))[0, 1])


@pytest.fixture(scope="module")
def draws():
    return risk.sample(LAWS, 14, seed=1, correlations=PAIRS)


def test_rank_correlations_of_a_sample_are_the_stated_ones_and_zero_elsewhere(draws):
    for i, one in enumerate(NAMES):
        for other in NAMES[:i]:
            rho = PAIRS.get((one, other), PAIRS.get((other, one), 0.0))
            wanted = risk.rank_correlation(rho)
            assert spearman(draws, one, other) == pytest.approx(wanted, abs=0.012), (one, other)


def test_correlated_drivers_keep_their_quantiles(draws):
    for name in NAMES:
        levels = [0.05, 0.25, 0.5, 0.75, 0.95]
        found = np.quantile(draws[name], levels)
        assert found == pytest.approx(LAWS[name].ppf(np.array(levels)), rel=0.02, abs=0.005), name


def test_a_table_of_zeros_equals_no_table_to_the_byte():
    plain = risk.sample(LAWS, 10, seed=1)
    zeros = risk.sample(LAWS, 10, seed=1, correlations=dict.fromkeys(PAIRS, 0.0))
    for name in NAMES:
        assert plain[name].tobytes() == zeros[name].tobytes()


def test_a_pair_that_joins_later_leaves_the_drivers_before_it_as_they_were():
    first = {(NAMES[1], NAMES[0]): -0.4}
    before = risk.sample(LAWS, 10, seed=1, correlations=first)
    after = risk.sample(LAWS, 10, seed=1, correlations=first | {(NAMES[2], NAMES[1]): -0.3})
    for name in NAMES[:2]:
        assert before[name].tobytes() == after[name].tobytes()
    assert (before[NAMES[2]] != after[NAMES[2]]).any()


def test_drivers_of_correlation_one_move_as_one():
    joint = risk.sample(LAWS, 10, seed=1, correlations={(NAMES[3], NAMES[1]): 1.0})
    assert joint[NAMES[3]] == pytest.approx(joint[NAMES[1]], rel=1e-9)


CONTRADICTION = {("b", "a"): 0.9, ("c", "a"): 0.9, ("c", "b"): -0.9}


def test_correlations_that_contradict_one_another_are_refused_with_what_would_do():
    with pytest.raises(InfeasibleError, match=r"a, b, c contradict .* multiply them by 0\.55 or"):
        risk.copula(CONTRADICTION)
    risk.copula({pair: 0.55 * rho for pair, rho in CONTRADICTION.items()})
    with pytest.raises(InfeasibleError):
        risk.copula({pair: 0.57 * rho for pair, rho in CONTRADICTION.items()})


def test_the_nearest_correlations_of_higham_2002_come_out():
    """N. Higham, IMA J. Numer. Anal. 22 (2002): tridiagonal ones, printed to four digits."""
    matrix = np.array([[1.0, 1.0, 0.0], [1.0, 1.0, 1.0], [0.0, 1.0, 1.0]])
    near = risk.nearest_correlations(matrix)
    assert near[0, 1] == pytest.approx(0.7607, abs=5e-5)
    assert near[0, 2] == pytest.approx(0.1573, abs=5e-5)
    assert np.linalg.eigvalsh(near)[0] >= -1e-9


def test_a_repair_has_a_joint_distribution_and_leaves_possible_tables_alone():
    group = risk.copula(CONTRADICTION, nearest=True).groups[0]
    assert group.factor @ group.factor.T == pytest.approx(group.matrix, abs=1e-6)
    assert risk.copula(PAIRS, nearest=True).groups[0].matrix.tolist() == (
        risk.copula(PAIRS).groups[0].matrix.tolist()
    )


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        ({("a", "b"): 1.5}, "write -1 to 1"),
        ({("a", "b"): float("nan")}, "write -1 to 1"),
        ({("a", "a"): 0.5}, "with itself"),
        ({("a", "b"): 0.5, ("b", "a"): 0.2}, "twice"),
        ({(f"n{i}", "a"): 0.1 for i in range(LARGEST_GROUP)}, "hang together"),
    ],
)
def test_pairs_that_make_no_sense_are_refused(pairs, message):
    with pytest.raises(InfeasibleError, match=message):
        risk.copula(pairs)


def test_what_is_drawn_given_the_rest_completes_the_same_joint_distribution():
    """Keep some drivers of a sample, draw the others anew: the correlations stay, values do not."""
    pairs = {("b", "a"): 0.6, ("c", "b"): -0.5, ("d", "a"): 0.3}
    group = risk.copula(pairs).groups[0]
    noise = np.random.default_rng(3).standard_normal((2, 4, 200_000))
    scores = group.factor @ noise[0]
    for known in ([], [1], [0, 3], [0, 1, 2]):
        others, drawn = conditional(group, known, scores, noise[1])
        new = scores.copy()
        new[list(others)] = drawn
        assert np.corrcoef(new) == pytest.approx(group.matrix, abs=0.01), known
        assert new.std(axis=1) == pytest.approx(np.ones(4), abs=0.01)


def test_a_singular_matrix_is_factored_and_a_negative_one_refused():
    ones = np.ones((3, 3))
    assert factored(ones) @ factored(ones).T == pytest.approx(ones)
    with pytest.raises(InfeasibleError):
        factored(np.array([[1.0, 1.0, 0.0], [1.0, 1.0, 1.0], [0.0, 1.0, 1.0]]))
