"""Correlations of a scenario: the table, overrides, refusals, and what they do to the draws."""

import numpy as np
import pytest

from tapeout import risk
from tapeout.errors import ProblemsError
from tapeout.study.correlations import TABLES, reviewed_pairs
from tapeout.study.decide import prepare
from tapeout.study.sensitivity import _Copies, _members

SLIP, DELIVERED = "options.own.slip_if_late_months", "options.own.delivered_ratio"
DEMAND, RENTS = "demand.realised_ratio", "market.rent_drift_per_year"


@pytest.fixture
def sampler(make, tmp_path):
    def of(**section):
        scenario = make.small()
        if section:
            scenario["correlations"] = section
        return prepare(make.write(tmp_path, scenario)).sampler

    return of


def rank(draws, sampler, one, other):
    ranks = [np.argsort(np.argsort(draws[sampler.columns[path]])) for path in (one, other)]
    return float(np.corrcoef(np.stack(ranks))[0, 1])


def pair(one, other, rho):
    return {"between": [one, other], "correlation": rho, "why": "for the test"}


def test_every_pair_of_the_table_has_a_reason_and_together_they_are_possible(sampler):
    for one in reviewed_pairs():
        assert len(one.why) > 30
        assert one.table in TABLES[1:]
    assert sampler(table="reviewed").copula.groups


def test_without_a_word_only_slip_and_delivery_are_joined(sampler):
    groups = sampler().copula.groups
    assert [group.names for group in groups] == [
        ("build.slip_if_late_months", "build.delivered_ratio")
    ]
    draws = sampler().draw(12, 1)
    assert rank(draws, sampler(), SLIP, DELIVERED) == pytest.approx(
        risk.rank_correlation(-0.4), abs=0.03
    )


def test_the_reviewed_table_reaches_the_draws_and_keeps_every_range(sampler):
    plain, joint = sampler(), sampler(table="reviewed")
    draws = joint.draw(12, 1)
    assert rank(draws, joint, DEMAND, RENTS) == pytest.approx(risk.rank_correlation(0.5), abs=0.03)
    before = plain.draw(12, 1)
    for name, column in before.values.items():
        spread = np.quantile(column, 0.95) - np.quantile(column, 0.05)
        points = np.quantile(draws[name], [0.05, 0.5, 0.95])
        assert points == pytest.approx(
            np.quantile(column, [0.05, 0.5, 0.95]), abs=0.05 * spread + 1e-12
        ), name
    # the stated pair stands first in the table, so its draws stay
    for name in ("build.slip_if_late_months", "build.delivered_ratio"):
        assert draws[name].tobytes() == before[name].tobytes()


def test_no_table_leaves_every_driver_on_its_own_column(sampler):
    alone = sampler(table="none")
    draws = alone.draw(8, 1)
    wanted = risk.sample(alone.distributions, 8, 1)
    assert all(draws[name].tobytes() == wanted[name].tobytes() for name in draws.values)


def test_a_pair_of_the_scenario_replaces_that_of_the_table_in_either_order(sampler):
    found = sampler(pair=[pair(SLIP, DELIVERED, -0.7)])
    assert rank(found.draw(12, 1), found, SLIP, DELIVERED) == pytest.approx(
        risk.rank_correlation(-0.7), abs=0.03
    )


def test_a_toss_can_follow_an_input(sampler):
    found = sampler(pair=[pair("build.cancelled", "options.own.late_fraction", 0.9)])
    draws = found.draw(10, 1)
    assert np.corrcoef(draws["build.cancelled"], draws["build.late_fraction"])[0, 1] > 0.8


def test_lazy_columns_are_those_of_the_whole(sampler):
    joint = sampler(table="reviewed")
    whole, lazy = joint.draw(8, 1), joint.lazy(8, 1)
    for name in whole.values:
        assert lazy[name].tobytes() == whole[name].tobytes(), name


@pytest.mark.parametrize(
    ("section", "message"),
    [
        (
            {"pair": [pair("demand.realised_rato", RENTS, 0.5)]},
            "did you mean 'demand.realised_ratio'",
        ),
        ({"pair": [pair(RENTS, RENTS, 0.5)]}, "one input twice"),
        ({"pair": [pair(DEMAND, RENTS, 0.5), pair(RENTS, DEMAND, 0.2)]}, "stands here already"),
        ({"pair": [pair(DEMAND, RENTS, 1.5)]}, "less than or equal to 1"),
        ({"pair": [pair(DEMAND, "demand.growth_per_year", 0.5)]}, "has no range here"),
        (
            {
                "pair": [
                    pair("options.gpu.allin_w_per_chip", "options.bridge.allin_w_per_chip", 0.5)
                ]
            },
            "one figure of the same chip",
        ),
        ({"tabel": "none"}, "did you mean 'table'"),
        (
            {
                "pair": [
                    pair(DEMAND, RENTS, 0.9),
                    pair(DEMAND, "site.pue_ratio", 0.9),
                    pair(RENTS, "site.pue_ratio", -0.9),
                ]
            },
            "contradict one another",
        ),
    ],
)
def test_a_pair_that_cannot_be_is_refused_with_its_place(sampler, section, message):
    with pytest.raises(ProblemsError, match="correlations") as caught:
        sampler(**section)
    assert message in str(caught.value)


def test_contradictions_may_be_replaced_by_the_nearest_possible(sampler):
    pairs = [
        pair(DEMAND, RENTS, 0.9),
        pair(DEMAND, "site.pue_ratio", 0.9),
        pair(RENTS, "site.pue_ratio", -0.9),
    ]
    assert sampler(pair=pairs, nearest=True).copula.groups


def test_points_of_the_analysis_of_variance_keep_the_correlations_whatever_is_shared(sampler):
    joint = sampler(table="reviewed")
    members = _members(joint)
    copies = _Copies.drawn(joint, members, 12, 1)
    some = np.arange(len(members)) % 2 == 0
    for shared in (np.zeros(len(members), bool), some, ~some):
        rows = np.broadcast_to(shared[None, :, None], (1, len(members), 4096))
        values = copies.table(joint, rows)
        for one, other, rho in ((SLIP, DELIVERED, -0.4), (DEMAND, RENTS, 0.5)):
            ranks = [np.argsort(np.argsort(values[path])) for path in (one, other)]
            wanted = risk.rank_correlation(rho)
            assert np.corrcoef(ranks)[0, 1] == pytest.approx(wanted, abs=0.04)
