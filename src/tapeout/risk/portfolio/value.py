"""What a portfolio is worth: frontier, regret on fresh scenarios, information, modelling."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tapeout.numerics import Floats
from tapeout.risk.portfolio.dispatch import risk_cost
from tapeout.risk.portfolio.problem import (
    MEAN,
    PortfolioProblem,
    RiskPreference,
    mean_problem,
    select,
)
from tapeout.risk.portfolio.solve import (
    Portfolio,
    cost_by_scenario,
    optimise,
    risk_adjusted_usd,
)

OMEGAS = (0.0, 0.25, 0.5, 0.75, 1.0)
ONE_GAP = 1e-6  # of a single scenario's optimum, of which many are averaged
TEST_GAP = 1e-4  # of the best cost that a regret of per cents is measured against


@dataclass(frozen=True, slots=True, kw_only=True)
class Worth:
    """Value of information and of the stochastic solution, costs positive. [USD].

    `recourse_usd` is RP, `wait_and_see_usd` WS, `mean_problem_usd` EV and `of_mean_usd` EEV; the
    mean decision keeps all it took, entries included. Under a risk preference each is the
    preference's value of the costs by scenario; WS is then no more than RP still.
    """

    recourse_usd: float
    wait_and_see_usd: float
    mean_problem_usd: float
    of_mean_usd: float

    @property
    def evpi_usd(self) -> float:
        """Most that knowing the scenario beforehand can save."""
        return self.recourse_usd - self.wait_and_see_usd

    @property
    def vss_usd(self) -> float:
        """What deciding on scenarios saves over deciding on mean values."""
        return self.of_mean_usd - self.recourse_usd


@dataclass(frozen=True, slots=True, kw_only=True)
class Regret:
    """Cost of a portfolio on scenarios it was not chosen on, over the best choice there.

    `fraction` is of the best cost; `in_sample_usd` is what the choice promised itself, usually
    too little.
    """

    in_sample_usd: float
    out_of_sample_usd: float
    best_usd: float

    @property
    def fraction(self) -> float:
        """Excess over the best cost, relative."""
        return (self.out_of_sample_usd - self.best_usd) / abs(self.best_usd)


def frontier(
    problem: PortfolioProblem, omegas: Sequence[float] = OMEGAS, alpha: float = 0.95
) -> tuple[Portfolio, ...]:
    """Efficient portfolios between least expected cost and least CVaR, one for each omega."""
    found: list[Portfolio] = []
    for omega in omegas:
        near = found[-1] if found else None
        found.append(optimise(problem, RiskPreference(alpha=alpha, omega=omega), like=near))
    return tuple(found)


def worth(
    problem: PortfolioProblem, best: Portfolio | None = None, risk: RiskPreference = MEAN
) -> Worth:
    """Value of perfect information and of the stochastic solution.

    Solves every scenario on its own: some hundredths of a second each.
    """
    best = best or optimise(problem, risk)
    alone = np.array(
        [
            optimise(select(problem, np.array([s])), gap=ONE_GAP).bound_usd
            for s in range(problem.weight.size)
        ]
    )
    central = optimise(mean_problem(problem))
    return Worth(
        recourse_usd=best.cost_usd,
        wait_and_see_usd=risk_cost(alone, problem.weight, risk),
        mean_problem_usd=central.cost_usd,
        of_mean_usd=risk_adjusted_usd(problem, central, risk),
    )


def out_of_sample(problem: PortfolioProblem, portfolio: Portfolio) -> Regret:
    """Regret of a portfolio on the scenarios of a problem drawn afresh."""
    best = optimise(problem, portfolio.risk, like=portfolio, gap=TEST_GAP)
    return Regret(
        in_sample_usd=portfolio.cost_usd,
        out_of_sample_usd=risk_adjusted_usd(problem, portfolio, portfolio.risk),
        best_usd=best.bound_usd,
    )


def costs_of(problem: PortfolioProblem, portfolios: Sequence[Portfolio]) -> Floats:
    """Costs of several portfolios, shape (scenario, portfolio). [USD]."""
    return np.stack([cost_by_scenario(problem, one) for one in portfolios], axis=1)
