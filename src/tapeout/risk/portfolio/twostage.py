"""Two-stage stochastic linear programs as such, and what information and modelling are worth.

min c x + E[Q(x, s)] with Q(x, s) = min q_s y subject to W y + T_s x >= h_s and y >= 0.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from tapeout.numerics import Floats
from tapeout.risk.portfolio.lp import INFINITY, LinearProgram


@dataclass(frozen=True, slots=True, kw_only=True)
class TwoStage:
    """A two-stage program; costs are minimised, so a profit enters with its sign turned.

    Attributes
    ----------
    cost : array, shape (first,)
    upper : array, shape (first,)
        Upper bounds of the first stage; the lower ones are zero.
    matrix, limit : arrays, shapes (row, first) and (row,)
        First-stage rows, `matrix x <= limit`.
    weight : array, shape (scenario,)
        Probabilities.
    recourse_cost : array, shape (scenario, second)
    recourse_upper : array, shape (second,)
    recourse : array, shape (rule, second)
        W, the same in all scenarios.
    technology : array, shape (scenario, rule, first)
        T.
    required : array, shape (scenario, rule)
        h.
    """

    cost: Floats
    upper: Floats
    matrix: Floats
    limit: Floats
    weight: Floats
    recourse_cost: Floats
    recourse_upper: Floats
    recourse: Floats
    technology: Floats
    required: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class TwoStageValues:
    """Optimal costs under four amounts of knowledge.

    Attributes
    ----------
    recourse_problem : float
        RP: decide first, learn later.
    wait_and_see : float
        WS: learn first.
    mean_problem : float
        EV: every figure at its mean, no risk.
    of_mean_decision : float
        EEV: expected cost of the first stage that the mean problem chose.
    first, first_of_mean : arrays, shape (first,)
    """

    recourse_problem: float
    wait_and_see: float
    mean_problem: float
    of_mean_decision: float
    first: Floats
    first_of_mean: Floats

    @property
    def evpi(self) -> float:
        """Expected value of perfect information, RP - WS for costs."""
        return self.recourse_problem - self.wait_and_see

    @property
    def vss(self) -> float:
        """Value of the stochastic solution, EEV - RP for costs."""
        return self.of_mean_decision - self.recourse_problem


def solve_two_stage(problem: TwoStage, first: Floats | None = None) -> tuple[float, Floats]:
    """Cost and first stage of the extensive form; a given first stage is kept.

    Raises
    ------
    InfeasibleError
        No first stage has recourse in every scenario.
    """
    scenarios, rules = problem.required.shape
    lp = LinearProgram()
    low = np.zeros_like(problem.cost) if first is None else first
    x = lp.columns(problem.cost, low, problem.upper if first is None else first)
    y = lp.columns(problem.weight[:, None] * problem.recourse_cost, 0.0, problem.recourse_upper)
    rows = lp.rows(np.full(problem.limit.shape, -INFINITY), problem.limit)
    lp.put(rows[:, None], x[None, :], problem.matrix)
    need = lp.rows(problem.required)
    lp.put(need[:, :, None], x[None, None, :], problem.technology)
    shape = (scenarios, rules, y.shape[1])
    lp.put(need[:, :, None], y[:, None, :], np.broadcast_to(problem.recourse, shape))
    found = lp.solve()
    return found.objective, found.values[x]


def two_stage_values(problem: TwoStage) -> TwoStageValues:
    """Solve a program under four amounts of knowledge.

    The mean decision's cost keeps the whole first stage of the mean problem: letting any of it
    move again would understate what a spreadsheet on mean values costs.
    """
    best, first = solve_two_stage(problem)
    one_by_one = [
        solve_two_stage(
            replace(
                problem,
                weight=np.ones(1),
                recourse_cost=problem.recourse_cost[[s]],
                technology=problem.technology[[s]],
                required=problem.required[[s]],
            )
        )[0]
        for s in range(problem.weight.size)
    ]

    def mean(values: Floats) -> Floats:
        return np.tensordot(problem.weight, values, axes=(0, 0))[None]

    central = replace(
        problem,
        weight=np.ones(1),
        recourse_cost=mean(problem.recourse_cost),
        technology=mean(problem.technology),
        required=mean(problem.required),
    )
    mean_cost, mean_first = solve_two_stage(central)
    return TwoStageValues(
        recourse_problem=best,
        wait_and_see=float(problem.weight @ np.array(one_by_one)),
        mean_problem=mean_cost,
        of_mean_decision=solve_two_stage(problem, mean_first)[0],
        first=first,
        first_of_mean=mean_first,
    )
