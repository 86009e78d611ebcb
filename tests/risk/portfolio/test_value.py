"""Information, modelling, regret, reduction and deciding again."""

import numpy as np
import pytest

from tapeout.errors import InfeasibleError, ProblemsError
from tapeout.risk.portfolio import (
    RiskPreference,
    by_quantile,
    fast_forward,
    features,
    k_medoids,
    multistage_usd,
    optimise,
    out_of_sample,
    reduced,
    rolling,
    worth,
)
from tapeout.risk.portfolio.reduce import transport_distance
from tapeout.risk.portfolio.rolling import at_periods
from tests.risk.portfolio.instances import portfolio

ENTRY = (300.0, 200.0, 50.0, 0.0)


def test_knowing_more_never_costs_and_means_never_help():
    problem = portfolio(20, entry=ENTRY)
    found = worth(problem)
    assert found.wait_and_see_usd <= found.recourse_usd <= found.of_mean_usd
    assert found.evpi_usd > 0.0
    assert found.vss_usd > 0.0
    assert found.mean_problem_usd <= found.recourse_usd  # this instance's second stage is convex


def test_under_a_risk_preference_the_order_stays():
    found = worth(portfolio(12), risk=RiskPreference(alpha=0.75, omega=0.5))
    assert found.wait_and_see_usd <= found.recourse_usd <= found.of_mean_usd


def test_without_uncertainty_information_and_modelling_are_worth_nothing():
    problem = reduced(portfolio(5), 1)
    found = worth(problem)
    assert found.evpi_usd == pytest.approx(0.0, abs=1e-5 * found.recourse_usd)
    assert found.vss_usd == pytest.approx(0.0, abs=1e-7 * found.recourse_usd)


@pytest.mark.parametrize("omega", [0.0, 0.5])
def test_five_hundred_scenarios_regret_at_most_two_per_cent_on_fresh_ones(omega):
    found = optimise(portfolio(500, entry=ENTRY), RiskPreference(omega=omega))
    fresh = out_of_sample(portfolio(2000, entry=ENTRY, seed=1), found)
    assert -1e-6 <= fresh.fraction <= 0.02


def test_a_few_scenarios_flatter_themselves_and_regret_more():
    fresh = portfolio(1000, seed=1)
    few = out_of_sample(fresh, optimise(portfolio(8, seed=2)))
    many = out_of_sample(fresh, optimise(portfolio(300, seed=2)))
    assert few.in_sample_usd < few.out_of_sample_usd
    assert few.fraction > many.fraction


def test_reduction_keeps_probability_and_comes_nearer_with_more():
    problem = portfolio(80)
    points = features(problem)
    distance = []
    for count in (1, 5, 20, 80):
        chosen, weight = k_medoids(points, problem.weight, count)
        assert weight.sum() == pytest.approx(1.0)
        assert np.unique(chosen).size == count
        greedy, _ = fast_forward(points, problem.weight, count)
        distance.append(transport_distance(points, problem.weight, chosen))
        assert distance[-1] <= transport_distance(points, problem.weight, greedy) + 1e-12
    assert distance == sorted(distance, reverse=True)
    assert distance[-1] == 0.0
    with pytest.raises(InfeasibleError, match="between 1 and all"):
        fast_forward(points, problem.weight, 81)


def test_forty_scenarios_chosen_well_stand_for_four_hundred():
    many = portfolio(400)
    found = optimise(reduced(many, 40))
    assert out_of_sample(many, found).fraction < 0.02


def test_fast_forward_finds_the_three_clusters():
    points = np.array([[0.0], [0.1], [0.2], [10.0], [10.1], [-20.0]])
    chosen, weight = fast_forward(points, np.full(6, 1 / 6), 3)
    assert sorted(chosen.tolist()) in ([1, 3, 5], [1, 4, 5])
    assert sorted(weight * 6) == pytest.approx([1.0, 2.0, 3.0])


def test_deciding_again_lies_between_the_tree_and_the_two_stage_optimum():
    problem = portfolio(27)
    node = at_periods(by_quantile(problem.demand, 3), np.array([2, 5]))
    found = rolling(problem, node)
    tree = multistage_usd(problem, node, np.ones(4, bool))
    information = worth(problem)
    assert information.wait_and_see_usd <= tree * (1 + 1e-7)
    assert tree <= found.mean_usd * (1 + 1e-7)
    assert found.mean_usd < found.two_stage_usd
    assert found.waiting_usd > 0.0
    for period in (2, 5):  # nobody acts on what is not known yet
        for one in range(node[period].max() + 1):
            members = found.taken[node[period] == one]
            assert (members[:, :, : period + 1] == members[0, :, : period + 1]).all()


def test_a_tree_without_splits_is_the_two_stage_program():
    problem = portfolio(15, entry=ENTRY)
    node = np.zeros((10, 15), np.int64)
    found = rolling(problem, node)
    assert found.waiting_usd == 0.0
    assert multistage_usd(problem, node) == pytest.approx(found.two_stage_usd, rel=1e-7)


def test_a_tree_that_forgets_is_refused():
    problem = portfolio(4)
    node = np.zeros((10, 4), np.int64)
    node[3] = [0, 0, 1, 1]
    with pytest.raises(ProblemsError, match="joined again"):
        rolling(problem, node)
    with pytest.raises(ProblemsError, match="wrong shape"):
        rolling(problem, node[:5])
