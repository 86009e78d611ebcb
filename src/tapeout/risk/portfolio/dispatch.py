"""Recourse in closed form: with capacity given, every period of every scenario is a merit order.

Capacity in service, spot and unserved demand are steps of a supply curve; demand walks up it. So
the second stage needs no linear program, and a hundred thousand fresh scenarios cost seconds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tapeout.numerics import Floats, Ints
from tapeout.risk.portfolio.problem import PortfolioProblem, RiskPreference, full


@dataclass(frozen=True, slots=True, kw_only=True)
class Dispatch:
    """What happens with some units taken.

    Attributes
    ----------
    taken_usd : array, shape (scenario,)
        Cost of taking; entries and minima outside.
    served_usd : array, shape (scenario, period)
        Running, spot and unserved demand.
    used, capacity : arrays, shape (scenario, option, period)
    spot : array, shape (scenario, spot market, period)
    unserved : array, shape (scenario, period)
    rent_usd : array, shape (scenario, option, period)
        What one more unit of capacity would have saved: the price of the last step in use over
        the option's running cost, where above zero.
    """

    taken_usd: Floats
    served_usd: Floats
    used: Floats
    capacity: Floats
    spot: Floats
    unserved: Floats
    rent_usd: Floats

    @property
    def cost_usd(self) -> Floats:
        """Both costs, shape (scenario,)."""
        total: Floats = self.taken_usd + self.served_usd.sum(axis=1)
        return total


class Recourse:
    """A problem prepared for many evaluations: prices sorted once."""

    def __init__(self, problem: PortfolioProblem) -> None:
        self.problem = problem = full(problem)
        options = problem.options
        self.alive = options.alive
        scenarios, self.count, self.periods = problem.shape
        prices = [options.run_usd.swapaxes(1, 2)]
        prices += [one.usd[:, :, None] for one in problem.spots]
        prices += [problem.unserved_usd[:, :, None]]
        self.price = np.concatenate(prices, axis=2)
        self.order = np.argsort(self.price, axis=2, kind="stable")
        self.sorted_price = np.take_along_axis(self.price, self.order, axis=2)
        steps = self.count + len(problem.spots) + 1
        self.step = np.empty((scenarios, self.periods, steps))
        for index, one in enumerate(problem.spots):
            self.step[:, :, self.count + index] = np.minimum(one.depth, problem.demand)
        self.step[:, :, -1] = problem.demand  # whatever is wanted can be left unserved

    def capacity(self, taken: Floats, pooled: float) -> Floats:
        """Capacity in service, shape (scenario, option, period)."""
        options = self.problem.options
        vintages = np.einsum("skv,kvt->skt", options.gain * taken, self.alive, optimize=True)
        total: Floats = pooled * options.unit * (vintages + options.installed)
        return total

    def run(self, taken: Floats, pooled: float = 1.0) -> Dispatch:
        """Dispatch with `taken` units, shape (option, vintage)."""
        options, demand = self.problem.options, self.problem.demand[:, :, None]
        capacity = self.capacity(taken, pooled)
        most = options.serves_most
        self.step[:, :, : self.count] = np.minimum(capacity, most).swapaxes(1, 2)
        step = np.take_along_axis(self.step, self.order, axis=2)
        end = np.cumsum(step, axis=2)
        used = np.clip(demand - (end - step), 0.0, step)
        last = np.argmax(end >= demand * (1.0 - 1e-13), axis=2)[:, :, None]
        price = np.take_along_axis(self.sorted_price, last, axis=2)
        rent = np.maximum(price - self.price[:, :, : self.count], 0.0)
        by_step = np.empty_like(used)
        np.put_along_axis(by_step, self.order, used, axis=2)
        return Dispatch(
            taken_usd=np.einsum("skv,kv->s", options.take_usd, taken),
            served_usd=(used * self.sorted_price).sum(axis=2),
            used=by_step[:, :, : self.count].swapaxes(1, 2),
            capacity=capacity,
            spot=by_step[:, :, self.count : -1].swapaxes(1, 2),
            unserved=by_step[:, :, -1],
            rent_usd=np.where(capacity < most, rent.swapaxes(1, 2), 0.0),
        )

    def taking(self, weight: Floats) -> Floats:
        """Weighted cost of taking one unit, shape (option, vintage)."""
        return np.tensordot(weight, self.problem.options.take_usd, axes=(0, 0))

    def saving(self, found: Dispatch, weight: Floats) -> Floats:
        """Weighted slope of what serving costs, by unit taken, shape (option, vintage, period).

        Per unit of pooled capacity: with separate pools, times their ratio.
        """
        options = self.problem.options
        worth = weight[:, None, None] * found.rent_usd * options.unit
        slope: Floats = -np.einsum("skv,skt->kvt", options.gain, worth, optimize=True)
        return slope * self.alive

    def saving_installed(self, found: Dispatch, weight: Floats) -> Floats:
        """What installed units save likewise, shape (period,): it too moves with the pooling."""
        options = self.problem.options
        worth = weight[:, None, None] * found.rent_usd * options.unit
        saved: Floats = -(worth.sum(axis=0) * options.installed).sum(axis=0)
        return saved


def tail_weight(cost: Floats, weight: Floats, alpha: float) -> Floats:
    """Weights under which the mean is the CVaR: the worst (1 - alpha) of probability, scaled up.

    The scenario on the edge counts with the part of it that lies in the tail (R. Rockafellar and
    S. Uryasev 2000).
    """
    order: Ints = np.argsort(-cost, kind="stable")
    before = np.cumsum(weight[order]) - weight[order]
    inside = np.clip(1.0 - alpha - before, 0.0, weight[order])
    out = np.zeros_like(weight)
    out[order] = inside / inside.sum()
    return out


def risk_cost(cost: Floats, weight: Floats, risk: RiskPreference) -> float:
    """(1 - omega) x mean + omega x CVaR of costs."""
    tail = tail_weight(cost, weight, risk.alpha)
    return float((1.0 - risk.omega) * (weight @ cost) + risk.omega * (tail @ cost))
