"""Published, closed-form and second-solver values of economics.md, section (e).

E1 and E2 are computed from closed forms, E3 to E5 published (J. Birge and F. Louveaux,
"Introduction to Stochastic Programming", the farmer), E6 and E7 instances: figures made up with a
fixed seed, solved once by scipy's `milp` on a formulation written here and frozen.
"""

import numpy as np
import pytest
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import coo_matrix
from scipy.stats import norm

from tapeout.risk import cvar
from tapeout.risk.portfolio import (
    RiskPreference,
    TwoStage,
    extensive,
    newsvendor,
    optimise,
    scaled,
    two_stage_values,
)
from tests.risk.portfolio.instances import newsvendor_problem, portfolio


def test_the_newsvendor_in_closed_form_e1():
    capacity, usd = newsvendor(100.0, 20.0, 3.0, 1.0)
    assert capacity == pytest.approx(113.490, abs=5e-4)
    assert usd == pytest.approx(25.422, abs=5e-4)


def test_the_newsvendor_through_the_portfolio_e1():
    """Quantile midpoints of demand: the optimum lies on one, so half a step is the tolerance."""
    demand = norm.ppf((np.arange(4000) + 0.5) / 4000, 100.0, 20.0)
    found = optimise(newsvendor_problem(demand, under_usd=3.0, over_usd=1.0))
    assert found.taken[0, 0] == pytest.approx(113.490, abs=0.02)
    mismatch = found.mean_usd - demand.mean()  # what is served costs over_usd = 1 in any case
    assert mismatch == pytest.approx(25.422, rel=1e-3)


def test_cvar_of_a_normal_e2():
    losses = norm.ppf((np.arange(1_000_000) + 0.5) / 1_000_000)
    assert cvar(losses, 0.95) == pytest.approx(2.0627, abs=5e-5)
    assert norm.pdf(norm.ppf(0.95)) / 0.05 == pytest.approx(2.0627, abs=5e-5)


def farmer():
    """500 acres of wheat, corn, beet; yields 20 % above, at and below the average."""
    yields = np.array([1.2, 1.0, 0.8])[:, None] * np.array([2.5, 3.0, 20.0])
    technology = np.zeros((3, 4, 3))
    technology[:, 0, 0] = yields[:, 0]  # wheat grown + bought - sold >= 200
    technology[:, 1, 1] = yields[:, 1]  # corn likewise >= 240
    technology[:, 2, 2] = yields[:, 2]  # beet sold dear and cheap at most what is grown
    # second stage: buy wheat, corn; sell wheat, corn; sell beet within the quota, beyond it
    recourse = np.array([
        [1, 0, -1, 0, 0, 0], [0, 1, 0, -1, 0, 0], [0, 0, 0, 0, -1, -1], [0, 0, 0, 0, 0, 0],
    ], float)  # fmt: skip
    return TwoStage(
        cost=np.array([150.0, 230.0, 260.0]),
        upper=np.full(3, np.inf),
        matrix=np.ones((1, 3)),
        limit=np.array([500.0]),
        weight=np.full(3, 1 / 3),
        recourse_cost=np.tile([238.0, 210.0, -170.0, -150.0, -36.0, -10.0], (3, 1)),
        recourse_upper=np.array([np.inf, np.inf, np.inf, np.inf, 6000.0, np.inf]),
        recourse=recourse,
        technology=technology,
        required=np.tile([200.0, 240.0, 0.0, 0.0], (3, 1)),
    )


def test_the_farmer_e3_e4_e5():
    found = two_stage_values(farmer())
    assert -found.recourse_problem == pytest.approx(108_390, abs=1)
    assert found.first == pytest.approx([170, 80, 250], abs=1e-6)
    assert -found.wait_and_see == pytest.approx(115_406, abs=1)
    assert -found.mean_problem == pytest.approx(118_600, abs=1)
    assert found.first_of_mean == pytest.approx([120, 80, 300], abs=1e-6)
    assert -found.of_mean_decision == pytest.approx(107_240, abs=1)
    assert found.evpi == pytest.approx(7_016, abs=1)
    assert found.vss == pytest.approx(1_150, abs=1)


class Rows:
    """Variables by name and rows as they come, for scipy."""

    def __init__(self):
        self.at, self.cost, self.rows, self.low, self.high = {}, {}, [], [], []

    def column(self, *name, usd=0.0):
        number = self.at.setdefault(name, len(self.at))
        self.cost[number] = self.cost.get(number, 0.0) + usd
        return number

    def row(self, terms, least, most):
        self.rows.append(terms)
        self.low.append(least)
        self.high.append(most)

    def solve(self):
        data = [(i, c, v) for i, terms in enumerate(self.rows) for c, v in terms.items()]
        i, j, v = (np.array(part) for part in zip(*data, strict=True))
        size = len(self.at)
        binary = np.array([float(name[0] == "entry") for name in self.at])
        free = np.where([name[0] == "threshold" for name in self.at], -np.inf, 0.0)
        matrix = coo_matrix((v, (i, j)), (len(self.rows), size))
        found = milp(
            np.array([self.cost[c] for c in range(size)]),
            integrality=binary,
            bounds=Bounds(free, np.where(binary > 0, 1.0, np.inf)),
            constraints=LinearConstraint(matrix, self.low, self.high),
            options={"mip_rel_gap": 1e-10},
        )
        assert found.success, found.message
        return found.fun


def first_stage_by_scipy(form, problem):
    _, count, periods = problem.shape
    options, limit = problem.options, problem.limits[0]
    for k in range(count):
        entry = form.column("entry", k, usd=options.entry_usd[k])
        for v in range(periods):
            form.row({form.column("take", k, v): 1.0, entry: -1e4}, -np.inf, 0.0)
    for t in range(periods):
        power = {
            form.column("take", k, v): limit.use[k, v]
            for k in range(count)
            for v in range(max(0, t - options.life_periods[k] + 1), t + 1)
        }
        form.row(power, -np.inf, limit.most[t])


def scenario_by_scipy(form, problem, s):
    """Rows of one scenario; returns its cost by column."""
    _, count, periods = problem.shape
    options = problem.options
    loss = {
        form.column("take", k, v): options.take_usd[s, k, v]
        for k in range(count)
        for v in range(periods)
    }
    for t in range(periods):
        spot, unserved = form.column("spot", s, t), form.column("unserved", s, t)
        served = {spot: 1.0, unserved: 1.0}
        form.row({spot: 1.0}, 0.0, problem.spots[0].depth[s, t])
        loss |= {spot: problem.spots[0].usd[s, t], unserved: problem.unserved_usd[0, t]}
        for k in range(count):
            serve = form.column("serve", s, k, t)
            served[serve] = 1.0
            loss[serve] = options.run_usd[s, k, t]
            alive = range(max(0, t - options.life_periods[k] + 1), t + 1)
            capacity = {form.column("take", k, v): -options.unit[s, k, t] for v in alive}
            form.row({serve: 1.0} | capacity, -np.inf, 0.0)
        form.row(served, problem.demand[s, t], np.inf)
    return loss


def by_scipy(problem, alpha, omega):
    """Second solver and formulation: unscaled, row by row, binaries, written apart."""
    form = Rows()
    first_stage_by_scipy(form, problem)
    threshold = form.column("threshold", usd=omega)
    for s, weight in enumerate(problem.weight):
        loss = scenario_by_scipy(form, problem, s)
        excess = form.column("excess", s, usd=omega * weight / (1 - alpha))
        form.row({excess: 1.0, threshold: 1.0} | {c: -v for c, v in loss.items()}, 0.0, np.inf)
        for number, usd in loss.items():
            form.cost[number] += (1 - omega) * weight * usd
    return form.solve()


ENTRY = (300.0, 200.0, 50.0, 0.0)
# scenarios, entries, omega, optimum by scipy 1.17.1 `milp` on the formulation above; instance
FROZEN = (
    (100, (0.0,) * 4, 0.0, 12565.876049100814),
    (100, (0.0,) * 4, 0.5, 20747.08224041811),
    (100, ENTRY, 0.5, 21097.082240418105),
)


@pytest.mark.parametrize(("scenarios", "entry", "omega", "value"), FROZEN)
def test_a_frozen_instance_has_the_optimum_of_another_solver_e6_e7(scenarios, entry, omega, value):
    found = optimise(portfolio(scenarios, entry=entry), RiskPreference(omega=omega))
    assert found.cost_usd == pytest.approx(value, rel=1e-6)
    assert found.bound_usd <= found.cost_usd * (1 + 1e-12)


def test_a_second_solver_and_formulation_agree_e6_e7():
    """Solved afresh, smaller: scipy on its own rows, cutting planes, and the extensive form."""
    problem = portfolio(12, entry=ENTRY, seed=8)
    risk = RiskPreference(alpha=0.75, omega=0.4)
    inside, scale = scaled(problem)
    by_form = extensive(inside, risk).program.solve().objective * scale.usd
    assert by_form == pytest.approx(by_scipy(problem, 0.75, 0.4), rel=1e-6)
    assert optimise(problem, risk).cost_usd == pytest.approx(by_form, rel=1e-6)
