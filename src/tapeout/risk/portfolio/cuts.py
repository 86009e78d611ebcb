"""Cutting planes in a trust region: the portfolio without its scenarios in the linear program.

Taking units is a small linear program; what serving then costs is a convex function that the
merit order values exactly, with its slope. Slopes at points tried bound it from below; the next
point is the best one within a box around the best so far (J. Linderoth and S. Wright 2003). The
bound without a box says how far from the optimum the result can be.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from tapeout.errors import InfeasibleError
from tapeout.numerics import Floats, Ints
from tapeout.risk.portfolio.dispatch import Recourse, risk_cost, tail_weight
from tapeout.risk.portfolio.extensive import Builder
from tapeout.risk.portfolio.lp import INFINITY, LinearProgram, Live, Solution
from tapeout.risk.portfolio.problem import PortfolioProblem, RiskPreference

GAP = 1e-8  # relative; solvers agree to 1e-6
MOST_STEPS = 2000
LOOK_UP = 4  # steps between looks at whether the best so far can still be bettered
FLOOR = -1e6  # of a cost nothing bounds yet, in solver units
ACCEPTED, GOOD = 0.1, 0.5  # of the decrease predicted


@dataclass(slots=True)
class Cuts:
    """Lower bounds of what serving costs, collected over all points tried.

    `mean` holds, for a point, constant, part of installed units and slope by period of the expected
    cost of serving; `tail` constant, part of installed units, slope of taking and slope of serving
    of the CVaR. Slopes of serving and parts of installed units are per
    unit of pooled capacity, so that another set of options in use can inherit them.
    """

    mean: list[tuple[Floats, Floats, Floats]] = field(default_factory=list)
    tail: list[tuple[float, float, Floats, Floats]] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """Units taken, what they cost, and how far from the optimum that can be.

    `taken` is (option, vintage), `limit_dual` one array (period,) per limit, `bound` a lower bound
    on the cost with these options in use.
    """

    used: np.ndarray
    taken: Floats
    cost: float
    bound: float
    limit_dual: tuple[Floats, ...]
    steps: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What an earlier decision fixed: units of the vintages before `until`, options entered."""

    taken: Floats
    until: int
    entered: np.ndarray


class Master:
    """The small program: units taken, minima, limits, and bounds on the rest."""

    def __init__(
        self,
        recourse: Recourse,
        cuts: Cuts,
        used: np.ndarray,
        risk: RiskPreference,
        held: Held | None,
    ) -> None:
        problem = recourse.problem
        self.pooled = problem.pooling_ratio(used)
        self.risk, self.used = risk, used
        build = Builder(problem, None)
        build.take(used, 1.0 - risk.omega)
        build.minima(used, {})
        self.limits = [build.limit(limit)[:, 0] for limit in problem.limits]
        lp: LinearProgram = build.lp
        lp.constant = float(problem.options.entry_usd[used].sum())
        self.columns: Ints = np.stack([taken[:, 0] for taken in build.taken], axis=1)
        self.lower = np.zeros(self.columns.shape)
        self.upper = np.where(used[:, None] & problem.options.open, INFINITY, 0.0)
        if held is not None:
            self.lower[:, : held.until] = held.taken[:, : held.until]
            self.upper[:, : held.until] = held.taken[:, : held.until]
        self.served = lp.columns(np.full(problem.shape[2], 1.0 - risk.omega), FLOOR)
        self.tail = lp.columns(np.array(risk.omega), FLOOR)
        self.live = Live(lp)
        for mean in cuts.mean:
            self.add_mean(*mean)
        for tail in cuts.tail:
            self.add_tail(*tail)

    def add_mean(self, constant: Floats, installed: Floats, slope: Floats) -> None:
        """Bound the expected cost of serving in each period."""
        for period, column in enumerate(self.served):
            at = constant[period] + self.pooled * installed[period]
            self._add(column, at, self.pooled * slope[:, :, period])

    def add_tail(self, constant: float, installed: float, taking: Floats, serving: Floats) -> None:
        """Bound the CVaR."""
        at = constant + self.pooled * installed
        self._add(int(self.tail), at, taking + self.pooled * serving)

    def _add(self, column: int, constant: float, slope: Floats) -> None:
        kept = np.abs(slope) > 0.0
        columns = np.append(self.columns[kept], column)
        self.live.add_row(constant, INFINITY, columns, np.append(-slope[kept], 1.0))

    def solve(self, centre: Floats | None = None, radius: float = INFINITY) -> Solution:
        """Minimise the bound, within a box around a point."""
        lower, upper = self.lower, self.upper
        if centre is not None:
            lower = np.clip(centre - radius, lower, upper)
            upper = np.clip(centre + radius, lower, upper)
        self.live.bound(self.columns, lower, upper)
        return self.live.solve()

    def hopeless(self, best: float, gap: float) -> bool:
        """Whether the bound says that a cost already reached cannot be bettered."""
        return best < INFINITY and self.solve().objective >= best - gap * abs(best)


class Search:
    """Tries points for one problem and risk preference; cuts are shared by all sets of options."""

    def __init__(
        self, problem: PortfolioProblem, risk: RiskPreference, held: Held | None = None
    ) -> None:
        self.recourse = Recourse(problem)
        self.risk, self.held, self.cuts = risk, held, Cuts()

    def value(self, master: Master, taken: Floats) -> float:
        """Risk-adjusted cost of some units; adds the cuts of the point."""
        weight = self.recourse.problem.weight
        found = self.recourse.run(taken, master.pooled)
        if self.risk.omega < 1.0:
            slope = self.recourse.saving(found, weight)
            installed = self.recourse.saving_installed(found, weight)
            at = (np.einsum("kvt,kv->t", slope, taken) + installed) * master.pooled
            cut = (weight @ found.served_usd - at, installed, slope)
            self.cuts.mean.append(cut)
            master.add_mean(*cut)
        if self.risk.omega > 0.0:
            tail = tail_weight(found.cost_usd, weight, self.risk.alpha)
            serving = self.recourse.saving(found, tail).sum(axis=2)
            there = float(self.recourse.saving_installed(found, tail).sum())
            at = master.pooled * ((serving * taken).sum() + there)
            constant = float(tail @ found.served_usd.sum(axis=1) - at)
            worst = (constant, there, self.recourse.taking(tail), serving)
            self.cuts.tail.append(worst)
            master.add_tail(*worst)
        standing = standing_usd(self.recourse.problem, master.used, taken)
        return standing + risk_cost(found.cost_usd, weight, self.risk)

    def run(
        self, used: np.ndarray, start: Floats, best: float = INFINITY, gap: float = GAP
    ) -> Point | None:
        """Find the optimum with some options in use.

        Parameters
        ----------
        used : array of bool, shape (option,)
        start : array, shape (option, vintage)
            A first point; made feasible.
        best : float
            Cost already reached otherwise; None is returned once it cannot be bettered.
        gap : float

        Raises
        ------
        InfeasibleError
            The search did not close the gap.
        """
        master = Master(self.recourse, self.cuts, used, self.risk, self.held)
        centre = np.clip(start, master.lower, master.upper)
        cost, radius = self.value(master, centre), 1.0
        for step in range(MOST_STEPS):
            if step % LOOK_UP == 0 and master.hopeless(best, gap):
                return None
            trial = master.solve(centre, radius)
            if cost - trial.objective <= gap * abs(cost):
                trial = master.solve()
                if cost - trial.objective <= gap * abs(cost):
                    return _point(master, trial, (centre, cost, step + 1))
                radius *= 8.0
            predicted = cost - trial.objective
            point = trial.values[master.columns]
            new = self.value(master, point)
            radius *= _widened((cost - new) / predicted)
            if new < cost:
                centre, cost = point, new
        raise InfeasibleError(f"the portfolio did not converge in {MOST_STEPS} steps")


def _widened(kept: float) -> float:
    """Factor of the box's size by the share of the predicted decrease that came true."""
    if kept >= GOOD:
        return 2.0
    return 0.5 if kept < ACCEPTED else 1.0


def _point(master: Master, solution: Solution, found: tuple[Floats, float, int]) -> Point:
    centre, cost, steps = found
    duals = []
    for rows in master.limits:
        there = rows >= 0
        dual = np.zeros(rows.size)
        dual[there] = -solution.row_dual[rows[there]]
        duals.append(dual)
    return Point(
        used=master.used,
        taken=centre,
        cost=cost,
        bound=solution.objective,
        limit_dual=tuple(duals),
        steps=steps,
    )


def standing_usd(problem: PortfolioProblem, used: np.ndarray, taken: Floats) -> float:
    """Cost that no scenario changes: entries, and units paid for under minima and not there."""
    options = problem.options
    there = np.einsum("kv,kvt->kt", taken, options.alive) + options.installed
    short = np.maximum(options.minimum - there, 0.0) * options.minimum_usd
    return float(options.entry_usd[used].sum() + short[used].sum())
