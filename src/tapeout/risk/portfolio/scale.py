"""Units in which a portfolio's numbers are near one, as a solver's tolerances expect."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from tapeout.numerics import Floats
from tapeout.risk.portfolio.problem import PortfolioProblem


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """Size of the solver's units: money, demand, one unit of each option, each limit."""

    usd: float
    demand: float
    units: Floats
    limits: Floats


def scaled(problem: PortfolioProblem) -> tuple[PortfolioProblem, Scale]:
    """The same problem in units near one."""
    options = problem.options
    demand = float(problem.demand.max()) or 1.0
    gives = (options.unit.mean(axis=0).max(axis=1)) * options.gain.mean(axis=0).max(axis=1)
    units = demand / np.where(gives > 0, gives, demand)
    costs = np.abs(options.take_usd).mean(axis=(0, 2)) * units
    served = float(np.median(problem.unserved_usd)) * demand
    usd = float(np.median(costs[costs > 0])) if (costs > 0).any() else served or 1.0
    largest = [one.most[np.isfinite(one.most)].max(initial=0.0) for one in problem.limits]
    limits = np.array([size if size > 0 else 1.0 for size in largest])
    per_unit, per_demand = units / usd, demand / usd
    out = replace(
        problem,
        demand=problem.demand / demand,
        unserved_usd=problem.unserved_usd * per_demand,
        spots=tuple(
            replace(one, usd=one.usd * per_demand, depth=one.depth / demand)
            for one in problem.spots
        ),
        limits=tuple(
            replace(one, use=one.use * units[:, None] / size, most=one.most / size)
            for one, size in zip(problem.limits, limits, strict=True)
        ),
        options=replace(
            options,
            unit=options.unit * units[:, None] / demand,
            take_usd=options.take_usd * per_unit[:, None],
            run_usd=options.run_usd * per_demand,
            entry_usd=options.entry_usd / usd,
            serves_most=options.serves_most / demand,
            installed=options.installed / units[:, None],
            minimum=options.minimum / units[:, None],
            minimum_usd=options.minimum_usd * per_unit[:, None],
        ),
    )
    return out, Scale(usd=usd, demand=demand, units=units, limits=limits)
