"""The capacity portfolio: what to build, buy and rent before demand and prices are known.

A two-stage stochastic program with scenario recourse, CVaR, limits, commitments and options that
cost something as such; solved by cutting planes on a closed-form dispatch, checked by one large
linear program. `two_stage_values` and `newsvendor` are the textbook forms.
"""

from tapeout.risk.portfolio.cuts import Held
from tapeout.risk.portfolio.dispatch import Dispatch, Recourse, risk_cost, tail_weight
from tapeout.risk.portfolio.extensive import Extensive, extensive
from tapeout.risk.portfolio.lp import LinearProgram, Solution
from tapeout.risk.portfolio.newsvendor import newsvendor
from tapeout.risk.portfolio.problem import (
    Capacity,
    Limit,
    PortfolioProblem,
    RiskPreference,
    Spot,
    mean_problem,
    select,
    supplier_failure,
)
from tapeout.risk.portfolio.reduce import fast_forward, features, k_medoids, reduced
from tapeout.risk.portfolio.rolling import (
    Rolling,
    at_periods,
    by_quantile,
    multistage_usd,
    rolling,
)
from tapeout.risk.portfolio.scale import Scale, scaled
from tapeout.risk.portfolio.solve import (
    Portfolio,
    cost_by_scenario,
    hybrid_fleet_ratio,
    optimise,
)
from tapeout.risk.portfolio.twostage import (
    TwoStage,
    TwoStageValues,
    solve_two_stage,
    two_stage_values,
)
from tapeout.risk.portfolio.value import Regret, Worth, frontier, out_of_sample, worth

__all__ = [
    "Capacity",
    "Dispatch",
    "Extensive",
    "Held",
    "Limit",
    "LinearProgram",
    "Portfolio",
    "PortfolioProblem",
    "Recourse",
    "Regret",
    "RiskPreference",
    "Rolling",
    "Scale",
    "Solution",
    "Spot",
    "TwoStage",
    "TwoStageValues",
    "Worth",
    "at_periods",
    "by_quantile",
    "cost_by_scenario",
    "extensive",
    "fast_forward",
    "features",
    "frontier",
    "hybrid_fleet_ratio",
    "k_medoids",
    "mean_problem",
    "multistage_usd",
    "newsvendor",
    "optimise",
    "out_of_sample",
    "reduced",
    "risk_cost",
    "rolling",
    "scaled",
    "select",
    "solve_two_stage",
    "supplier_failure",
    "tail_weight",
    "two_stage_values",
    "worth",
]
