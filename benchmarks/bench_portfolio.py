"""The demo's portfolio with a CVaR objective: CPU seconds, and regret on fresh futures, as JSON."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from tapeout.risk.portfolio import RiskPreference, optimise, out_of_sample
from tapeout.study import prepare
from tapeout.study.portfolio import PortfolioTerms, portfolio_problem

SCENARIO = Path("examples/jalapeno")
DRAWS_LOG2, FRESH_LOG2 = 9, 12  # the power of two next to 500
SEED, FRESH_SEED = 20261124, 7
RISK = RiskPreference(alpha=0.95, omega=0.5)


def main() -> None:
    """Solve once; the solver is loaded within the time measured."""
    study = prepare(SCENARIO)
    terms = PortfolioTerms()
    began = time.process_time()
    problem = portfolio_problem(study, DRAWS_LOG2, SEED, terms)
    found = optimise(problem, RISK)
    cpu_s = time.process_time() - began
    fresh = portfolio_problem(study, FRESH_LOG2, FRESH_SEED, terms)
    test = out_of_sample(fresh, found)
    json.dump(
        {
            "cpu_s": cpu_s,
            "regret": test.fraction,
            "gap": (found.cost_usd - found.bound_usd) / found.cost_usd,
        },
        sys.stdout,
    )


if __name__ == "__main__":
    main()
