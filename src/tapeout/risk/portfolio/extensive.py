"""The portfolio as one linear or mixed-integer program over all scenarios.

Larger and slower than cutting planes, and therefore the check on them; it also takes scenario
trees, where later decisions may differ between what has been learnt by then.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tapeout.errors import InfeasibleError
from tapeout.numerics import Floats, Ints
from tapeout.risk.portfolio.lp import INFINITY, LinearProgram
from tapeout.risk.portfolio.problem import Limit, PortfolioProblem, RiskPreference, full

MOST_UNITS = 1e3  # of an option in solver units, where a binary needs a bound


@dataclass(frozen=True, slots=True, kw_only=True)
class Extensive:
    """A program and where its parts are.

    Attributes
    ----------
    program : LinearProgram
    taken : tuple of array, shape (option, node)
        Columns of the units taken, by vintage.
    entered : array, shape (optional option,)
        Columns of the binaries; empty where the options in use are given.
    limits : tuple of array, shape (period, node)
        Rows of each limit; -1 where there is none.
    """

    program: LinearProgram
    taken: tuple[Ints, ...]
    entered: Ints
    limits: tuple[Ints, ...]


class Builder:
    """Puts one extensive form together; `node` numbers what is known, (period, scenario)."""

    def __init__(self, problem: PortfolioProblem, node: Ints | None) -> None:
        self.problem = full(problem)
        scenarios, _, periods = problem.shape
        self.node = np.zeros((periods, scenarios), np.int64) if node is None else node
        self.count = self.node.max(axis=1) + 1
        self.one_of = [  # a scenario that passes through each node
            np.array([np.flatnonzero(row == n)[0] for n in range(count)])
            for row, count in zip(self.node, self.count, strict=True)
        ]
        self.lp = LinearProgram()
        self.alive = problem.options.alive
        self.taken: list[Ints] = []

    def take(self, used: np.ndarray, mean_weight: float) -> None:
        """Columns of the units taken, by vintage and node."""
        options, weight = self.problem.options, self.problem.weight
        for vintage, nodes in enumerate(self.count):
            paid = weight[:, None] * options.take_usd[:, :, vintage]
            cost = np.zeros((len(options.keys), nodes))
            np.add.at(cost.T, self.node[vintage], paid)
            upper = np.where(used & options.open[:, vintage], INFINITY, 0.0)
            self.taken.append(self.lp.columns(mean_weight * cost, 0.0, upper[:, None]))

    def limit(self, limit: Limit) -> Ints:
        """Rows of a limit by period and node."""
        installed = limit.use[:, :1] * self.problem.options.installed
        numbers = np.full((len(self.count), self.count.max()), -1, np.int64)
        for period, nodes in enumerate(self.count):
            if not np.isfinite(limit.most[period]):
                continue
            stock = limit.kind == "stock"
            room = limit.most[period] - stock * installed[:, period].sum()
            rows = self.lp.rows(np.full(nodes, -INFINITY), max(room, 0.0))
            numbers[period, :nodes] = rows
            for vintage in range(period + 1) if stock else (period,):
                there = self.alive[:, vintage, period] * limit.use[:, vintage]
                columns = self.at(vintage, period)
                self.lp.put(rows[None, :], columns, there[:, None])
        return numbers

    def at(self, vintage: int, period: int) -> Ints:
        """Columns of a vintage as seen from the nodes of a period, shape (option, node)."""
        return self.taken[vintage][:, self.node[vintage, self.one_of[period]]]

    def minima(self, used: np.ndarray, entered: dict[int, int]) -> None:
        """Units paid for and not there."""
        options, weight = self.problem.options, self.problem.weight
        for option, period in np.argwhere(options.minimum > 0):
            if not used[option]:
                continue
            nodes = self.count[period]
            share = np.bincount(self.node[period], weights=weight, minlength=nodes)
            short = self.lp.columns(share * options.minimum_usd[option, period])
            floor = options.minimum[option, period]
            there = options.installed[option, period]
            on = option in entered
            rows = self.lp.rows(np.full(nodes, -there if on else floor - there))
            self.lp.put(rows, short, 1.0)
            if on:  # minimum applies once entered
                self.lp.put(rows, entered[option], -floor)
            for vintage in range(period + 1):
                there_still = self.alive[option, vintage, period]
                self.lp.put(rows, self.at(vintage, period)[option], there_still)

    def serve(self, used: np.ndarray, mean_weight: float) -> tuple[Ints, Floats]:
        """Second stage; return its columns and their costs, shape (scenario, period, step)."""
        problem = self.problem
        options, lp = problem.options, self.lp
        pooled = problem.pooling_ratio(used)
        scenarios, count, periods = problem.shape
        prices = [options.run_usd.swapaxes(1, 2), *(one.usd[:, :, None] for one in problem.spots)]
        price = np.concatenate([*prices, problem.unserved_usd[:, :, None]], axis=2)
        upper = np.full(price.shape, INFINITY)
        upper[:, :, :count] = options.serves_most.swapaxes(1, 2)
        for index, one in enumerate(problem.spots):
            upper[:, :, count + index] = one.depth
        weight = problem.weight[:, None, None] * mean_weight
        columns = lp.columns(weight * price, 0.0, upper)
        wanted = lp.rows(problem.demand)
        lp.put(wanted[:, :, None], columns, 1.0)
        there = pooled * options.unit * options.installed
        rows = lp.rows(np.full(there.shape, -INFINITY), there)
        lp.put(rows.swapaxes(1, 2), columns[:, :, :count], 1.0)
        for vintage in range(periods):
            gives = (
                pooled
                * options.unit
                * (options.gain[:, :, [vintage]] * self.alive[None, :, vintage, :])
            )
            taken = self.taken[vintage][:, self.node[vintage]].T  # (scenario, option)
            lp.put(rows, taken[:, :, None], -gives)
        assert columns.shape[0] == scenarios
        return columns, price

    def tail(self, served: tuple[Ints, Floats], risk: RiskPreference) -> None:
        """CVaR rows of Rockafellar and Uryasev: excess of each scenario's cost over a threshold."""
        lp, weight = self.lp, self.problem.weight
        threshold = lp.columns(np.array(risk.omega), -INFINITY)
        excess = lp.columns(risk.omega * weight / (1.0 - risk.alpha))
        rows = lp.rows(np.zeros(weight.size))
        lp.put(rows, threshold, 1.0)
        lp.put(rows, excess, 1.0)
        columns, price = served
        lp.put(rows[:, None, None], columns, -price)
        for vintage, taken in enumerate(self.taken):
            paid = self.problem.options.take_usd[:, :, vintage]
            lp.put(rows[:, None], taken[:, self.node[vintage]].T, -paid)


def extensive(
    problem: PortfolioProblem,
    risk: RiskPreference,
    *,
    used: np.ndarray | None = None,
    node: Ints | None = None,
) -> Extensive:
    """Build the extensive form.

    Parameters
    ----------
    problem : PortfolioProblem
        In units near one (`scaled`) where numbers are far apart.
    risk : RiskPreference
    used : array of bool, shape (option,), optional
        Options in use, their entries paid. Without it using an optional one is a binary.
    node : array of int, shape (period, scenario), optional
        Scenarios with the same number cannot be told apart when the period's units are taken; a
        partition that only ever splits. Without it all is decided at the start.

    Raises
    ------
    InfeasibleError
        Binaries with a pooling loss: their product is not linear; enumerate the uses.
    """
    options = problem.options
    optional = options.optional if used is None else np.zeros(0, np.int64)
    if used is None and problem.pooling_loss_fraction and problem.switches:
        raise InfeasibleError("a pooling loss with options to choose is not linear; `optimise` it")
    may = np.ones(len(options.keys), bool) if used is None else used
    build = Builder(problem, node)
    mean_weight = 1.0 - risk.omega
    build.take(may, mean_weight)
    entered = build.lp.columns(options.entry_usd[optional], 0.0, 1.0, integer=True)
    for column, option in zip(entered, optional, strict=True):
        for taken in build.taken:
            rows = build.lp.rows(np.full(taken.shape[1], -INFINITY), 0.0)
            build.lp.put(rows, taken[option], 1.0)
            build.lp.put(rows, column, -MOST_UNITS)
    if used is not None:
        build.lp.constant = float(options.entry_usd[used].sum())
    build.minima(may, dict(zip(optional.tolist(), entered.tolist(), strict=True)))
    limits = tuple(build.limit(limit) for limit in problem.limits)
    served = build.serve(may, mean_weight)
    if risk.omega > 0.0:
        build.tail(served, risk)
    return Extensive(program=build.lp, taken=tuple(build.taken), entered=entered, limits=limits)
