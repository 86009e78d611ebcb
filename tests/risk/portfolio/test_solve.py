"""What must hold for any portfolio: preferences, options, limits, commitments, failures."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tapeout.errors import InfeasibleError, ProblemsError
from tapeout.risk import cvar
from tapeout.risk.portfolio import (
    Limit,
    LinearProgram,
    PortfolioProblem,
    Recourse,
    RiskPreference,
    cost_by_scenario,
    extensive,
    frontier,
    hybrid_fleet_ratio,
    optimise,
    scaled,
    supplier_failure,
)
from tests.risk.portfolio.instances import portfolio

ALL = np.ones(4, bool)


def with_options(problem: PortfolioProblem, **changes):
    return replace(problem, options=replace(problem.options, **changes))


@pytest.fixture(scope="module")
def plain():
    return portfolio(40)


@pytest.fixture(scope="module")
def best(plain):
    return optimise(plain)


def test_alpha_zero_is_the_mean_whatever_the_weight(plain, best):
    same = optimise(plain, RiskPreference(alpha=0.0, omega=1.0))
    assert same.cost_usd == pytest.approx(best.cost_usd, rel=1e-7)
    assert same.cvar_usd == pytest.approx(same.mean_usd, rel=1e-12)


def test_omega_one_is_the_cvar_of_what_the_scenarios_cost(plain):
    found = optimise(plain, RiskPreference(alpha=0.9, omega=1.0))
    assert found.cost_usd == pytest.approx(found.cvar_usd, rel=1e-9)
    assert found.cvar_usd == pytest.approx(cvar(found.by_scenario_usd, 0.9), rel=1e-9)


def test_the_frontier_buys_a_better_tail_with_a_worse_mean(plain):
    points = frontier(plain, (0.0, 0.5, 1.0), alpha=0.8)
    means = [one.mean_usd for one in points]
    tails = [one.cvar_usd for one in points]
    assert means == sorted(means)
    assert tails == sorted(tails, reverse=True)
    assert tails[0] > tails[-1] * 1.001


@settings(deadline=None, max_examples=8)
@given(st.integers(0, 3), st.floats(0.0, 1.0), st.integers(0, 1000))
def test_an_option_more_never_raises_the_optimum(option, omega, seed):
    problem = portfolio(10, seed=seed)
    risk = RiskPreference(alpha=0.8, omega=omega)
    closed = problem.options.open.copy()
    closed[option] = False
    without = optimise(with_options(problem, open=closed), risk)
    assert without.taken[option].max() == 0.0
    assert optimise(problem, risk).cost_usd <= without.cost_usd * (1 + 1e-7)


@settings(deadline=None, max_examples=8)
@given(st.floats(0.0, 1.0), st.integers(0, 1000))
def test_the_primal_and_the_dual_objective_meet(omega, seed):
    inside, scale = scaled(portfolio(12, seed=seed))
    risk = RiskPreference(alpha=0.8, omega=omega)
    form = extensive(inside, risk, used=ALL)
    found = form.program.solve()
    assert form.program.dual_objective(found) == pytest.approx(found.objective, rel=1e-8)
    planes = optimise(portfolio(12, seed=seed), risk)
    assert planes.cost_usd == pytest.approx(found.objective * scale.usd, rel=1e-6)


def test_a_shadow_price_is_what_one_unit_more_saves(plain, best):
    """At a kink the two sides differ and the price lies between them."""
    for period in (0, 4):
        saved = []
        for step in (1e-3, -1e-3):
            most = plain.limits[0].most.copy()
            most[period] += step
            moved = replace(plain, limits=(replace(plain.limits[0], most=most),))
            saved.append((best.cost_usd - optimise(moved).cost_usd) / step)
        price = best.shadow_usd["mw"][period]
        assert saved[0] - 1e-2 <= price <= saved[1] + 1e-2
    assert best.shadow_usd["mw"].max() > 1.0  # the limit binds somewhere


def test_capital_and_supply_are_limits_on_what_is_taken(plain):
    spend = Limit(
        key="capital",
        kind="flow",
        use=np.repeat(np.array([[40.0], [30.0], [0.0], [0.0]]), 10, axis=1),
        most=np.full(10, 700.0),
    )
    supply = Limit(
        key="packages",
        kind="flow",
        use=np.repeat(np.array([[1.0], [0.0], [0.0], [0.0]]), 10, axis=1),
        most=np.where(np.arange(10) < 5, 10.0, np.inf),
    )
    tight = optimise(replace(plain, limits=(*plain.limits, spend, supply)))
    assert (tight.taken[:2].T @ np.array([40.0, 30.0]) <= 700.0 * (1 + 1e-9)).all()
    assert (tight.taken[0, :5] <= 10.0 * (1 + 1e-9)).all()
    assert tight.shadow_usd["packages"][5:].max() == 0.0  # where there is no limit
    assert tight.shadow_usd["packages"][:5].max() > 0.0


def test_an_entry_is_paid_once_and_only_by_what_is_used(plain, best):
    dear = optimise(with_options(plain, entry_usd=np.array([1e6, 0.0, 0.0, 0.0])))
    assert not dear.used[0]
    assert dear.taken[0].max() == 0.0
    cheap = optimise(with_options(plain, entry_usd=np.array([10.0, 0.0, 0.0, 0.0])))
    assert cheap.used[0]
    assert cheap.cost_usd == pytest.approx(best.cost_usd + 10.0, rel=1e-7)
    assert cheap.by_scenario_usd.mean() == pytest.approx(cheap.mean_usd)


def test_kinds_that_do_not_pool_cost_capacity(plain, best):
    """With a large loss one kind alone is best; without, several are used."""
    entry = np.full(4, 1e-3)
    mixed = optimise(with_options(plain, entry_usd=entry))
    apart = optimise(replace(with_options(plain, entry_usd=entry), pooling_loss_fraction=0.5))
    assert mixed.cost_usd == pytest.approx(best.cost_usd, rel=1e-4)
    assert mixed.used.sum() > 1
    kinds = {kind for kind, one in zip(plain.options.silicon, apart.used, strict=True) if one}
    assert len(kinds) == 1
    assert apart.cost_usd > mixed.cost_usd


def test_every_set_of_options_bounds_the_optimum_from_above(plain):
    """The search by sets finds what solving each set by its own linear program finds."""
    problem = replace(
        with_options(plain, entry_usd=np.array([300.0, 200.0, 50.0, 0.0])),
        pooling_loss_fraction=0.03,
    )
    risk = RiskPreference(alpha=0.8, omega=0.5)
    inside, scale = scaled(problem)
    costs = []
    for bits in range(16):
        used = np.array([bool(bits >> option & 1) for option in range(4)])
        costs.append(extensive(inside, risk, used=used).program.solve().objective * scale.usd)
    assert optimise(problem, risk).cost_usd == pytest.approx(min(costs), rel=1e-7)


@pytest.mark.parametrize("omega", [0.0, 0.5])
def test_cuts_of_one_set_hold_in_another_with_units_installed(plain, omega):
    """Installed units pool too, so their part of a cut moves with the set of kinds in use."""
    installed = np.zeros((4, 10))
    installed[0, :6], installed[1, :5], installed[2, :4] = 15.0, 27.0, 30.0
    problem = replace(
        with_options(plain, installed=installed, entry_usd=np.array([1500.0, 1500.0, 0.0, 0.0])),
        pooling_loss_fraction=0.05,
    )
    risk = RiskPreference(alpha=0.8, omega=omega)
    inside, scale = scaled(problem)
    costs = []
    for bits in range(8):
        used = np.array([bool(bits & 1), bool(bits & 2), True, bool(bits & 4)])
        costs.append(extensive(inside, risk, used=used).program.solve().objective * scale.usd)
    assert optimise(problem, risk).cost_usd == pytest.approx(min(costs), rel=1e-7)


def test_a_take_or_pay_minimum_is_paid_where_capacity_is_not_taken(plain):
    minimum = np.zeros((4, 10))
    minimum[3, :4] = 30.0
    usd = np.full((4, 10), 12.0)
    # bound from before: the minimum of an option with units in service is no decision
    installed = np.zeros((4, 10))
    installed[3, 0] = 1e-9
    bound = with_options(plain, minimum=minimum, minimum_usd=usd, installed=installed)
    closed = plain.options.open.copy()
    closed[3] = False
    kept = optimise(with_options(bound, open=closed))
    without = optimise(with_options(plain, open=closed))
    assert kept.cost_usd == pytest.approx(without.cost_usd + 4 * 30.0 * 12.0, rel=1e-7)
    free = optimise(with_options(plain, minimum=minimum, minimum_usd=usd))
    assert free.cost_usd <= min(kept.cost_usd, without.cost_usd) * (1 + 1e-9)
    inside, scale = scaled(with_options(plain, minimum=minimum, minimum_usd=usd))
    form = extensive(inside, RiskPreference()).program.solve().objective * scale.usd
    assert free.cost_usd == pytest.approx(form, rel=1e-7)


def test_traffic_an_option_cannot_serve_needs_another(plain, best):
    most = np.full((40, 4, 10), np.inf)
    most[:, 0] = 0.3 * plain.demand
    bounded = with_options(plain, serves_most=most)
    found = optimise(bounded)
    assert found.cost_usd > best.cost_usd
    assert (found.dispatch.used[:, 0] <= most[:, 0] * (1 + 1e-9)).all()
    inside, scale = scaled(bounded)
    form = extensive(inside, RiskPreference(), used=ALL).program.solve()
    assert found.cost_usd == pytest.approx(form.objective * scale.usd, rel=1e-7)


def test_what_is_installed_serves_and_costs_nothing_more(plain):
    installed = np.zeros((4, 10))
    installed[1, :3] = 20.0
    free = replace(plain, limits=())
    base = optimise(free).cost_usd
    helped = optimise(with_options(free, installed=installed)).cost_usd
    assert helped < base
    # under the limit it takes its megawatts first
    crowded = np.zeros((4, 10))
    crowded[1, 0] = plain.limits[0].most[0] / 1.4
    first = optimise(with_options(plain, installed=crowded)).taken[:, 0]
    assert first.max() == pytest.approx(0.0, abs=1e-9)


def test_a_supplier_that_may_fail_is_held_less(plain, best):
    fails = np.where(np.arange(40) % 2 == 0, 3, 99)  # half the scenarios, in period 3
    unit = plain.options.unit.copy()
    unit[:, 0] = supplier_failure(unit[:, 0], fails, out_periods=7)
    assert unit[0, 0, 2] > 0.0
    assert unit[0, 0, 3] == 0.0
    assert (unit[1, 0] == plain.options.unit[1, 0]).all()
    exposed = optimise(with_options(plain, unit=unit))
    assert exposed.cost_usd > best.cost_usd
    assert hybrid_fleet_ratio(plain, exposed).mean() < hybrid_fleet_ratio(plain, best).mean()


def test_the_hybrid_fleet_ratio_is_a_share_of_capacity(plain, best):
    ratio = hybrid_fleet_ratio(plain, best)
    assert ((ratio >= 0.0) & (ratio <= 1.0)).all()
    only = np.zeros((4, 10), bool)
    only[0] = True
    alone = with_options(plain, open=only)
    assert hybrid_fleet_ratio(alone, optimise(alone)) == pytest.approx(1.0)


def test_the_merit_order_by_hand():
    """One period, capacity 10 at 1 a unit, spot 5 deep at 14, the rest unserved at 60."""
    one = portfolio(1, limits=False)
    options = replace(
        one.options,
        unit=np.ones((1, 4, 10)),
        run_usd=np.full((1, 4, 10), 1.0),
        take_usd=np.full((1, 4, 10), 2.0),
    )
    spot = replace(one.spots[0], usd=np.full((1, 10), 14.0), depth=np.full((1, 10), 5.0))
    problem = replace(
        one,
        options=options,
        demand=np.full((1, 10), 18.0),
        spots=(spot,),
        unserved_usd=np.full((1, 10), 60.0),
    )
    taken = np.zeros((4, 10))
    taken[3, 0] = 10.0
    found = Recourse(problem).run(taken)
    assert found.taken_usd[0] == pytest.approx(20.0)
    assert found.served_usd[0, 0] == pytest.approx(10 * 1 + 5 * 14 + 3 * 60)
    assert found.served_usd[0, 1] == pytest.approx(5 * 14 + 13 * 60)
    assert found.unserved[0, 0] == pytest.approx(3.0)
    assert found.rent_usd[0, 3, 0] == pytest.approx(59.0)


def test_a_cost_in_other_scenarios_is_the_cost_of_the_same_units(plain, best):
    assert cost_by_scenario(plain, best) == pytest.approx(best.by_scenario_usd)
    fresh = cost_by_scenario(portfolio(40, seed=77), best)
    assert fresh.shape == (40,)
    assert fresh.mean() != pytest.approx(best.mean_usd, rel=1e-3)


def test_units_of_money_and_capacity_do_not_matter(plain, best):
    million = 1e6
    options = replace(
        plain.options,
        unit=plain.options.unit * million,
        take_usd=plain.options.take_usd * million**2,
        run_usd=plain.options.run_usd * million,
    )
    spot = plain.spots[0]
    large = replace(
        plain,
        options=options,
        demand=plain.demand * million,
        unserved_usd=plain.unserved_usd * million,
        spots=(replace(spot, usd=spot.usd * million, depth=spot.depth * million),),
    )
    found = optimise(large)
    assert found.cost_usd == pytest.approx(best.cost_usd * million**2, rel=1e-7)
    assert found.shadow_usd["mw"] == pytest.approx(best.shadow_usd["mw"] * million**2, abs=1e7)


def test_everything_wrong_is_said_at_once(plain):
    broken = replace(
        plain,
        weight=plain.weight * 2,
        demand=-plain.demand,
        unserved_usd=np.ones((1, 3)),
    )
    with pytest.raises(ProblemsError) as caught:
        optimise(broken)
    text = str(caught.value)
    for path in ("weight", "demand", "unserved_usd"):
        assert path in text
    with pytest.raises(ProblemsError, match=r"risk\.alpha"):
        RiskPreference(alpha=1.0)


def test_binaries_and_a_pooling_loss_have_no_linear_form(plain):
    problem = replace(with_options(plain, entry_usd=np.full(4, 5.0)), pooling_loss_fraction=0.1)
    with pytest.raises(InfeasibleError, match="pooling"):
        extensive(problem, RiskPreference())


def test_a_program_without_a_point_says_so():
    program = LinearProgram()
    x = program.columns(np.ones(1), 0.0, 1.0)
    program.put(program.rows(np.array([2.0])), x, 1.0)
    with pytest.raises(InfeasibleError, match="no optimum"):
        program.solve()


def test_a_kind_that_nothing_is_taken_of_costs_no_pooling(plain):
    """Closing the kinds that the optimum leaves out changes nothing."""
    lossy = replace(plain, pooling_loss_fraction=0.1)
    found = optimise(lossy)
    taken = found.taken.max(axis=1) > 0.0
    assert not taken.all()
    only = optimise(with_options(lossy, open=plain.options.open & taken[:, None]))
    assert only.cost_usd == pytest.approx(found.cost_usd, rel=1e-7)
    assert lossy.pooling_ratio(found.used) == pytest.approx(lossy.pooling_ratio(taken))
