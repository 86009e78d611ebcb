"""Who can: the smallest scale at which building pays, by advantage, team and stability of work.

From the boundary NPV(v, g) = -F + v (A - B / g) in expectation: v* = F / (A - B / g). F holds the
software team, so another team moves it; another hazard of a shift of the workload moves A and B.
Nothing is sunk: whoever asks starts from nothing, on the scenario's dates.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tapeout.constants import DAY_S, MEGA, YEAR_S
from tapeout.economics.breakeven import break_even_volume
from tapeout.study.central import CentralCase
from tapeout.study.evaluate import Problem, evaluate
from tapeout.study.futures import Sampler

G_SHIPS = (1.25, 1.5, 2.0, 3.0, 5.0)
TEAMS_USD_PER_YEAR = (1e7, 3e7, 1e8, 3e8)  # 20 to 600 engineers at half a million each
HAZARDS = {"no shift": 0.0, "as stated": 1.0, "three times as stated": 3.0}
DRAWS_LOG2 = 9  # an expectation of smooth terms: sampling error well below the grid's steps
TEAM, HAZARD = "options.own.software_usd_per_year", "shift.hazard_per_year"
# a newcomer pays all engineering and masks, whatever the scenario's owner has sunk
SUNK = ("options.own.nre_remaining_fraction", "options.own.masks_remaining_fraction")


def scale_rows(
    problem: Problem, sampler: Sampler, seed: int, size: dict[str, float]
) -> list[dict[str, Any]]:
    """Smallest scale that pays in expectation against the list price, over the grid.

    Parameters
    ----------
    size : mapping of name to float
        What one planned volume is: "mw", "output_tokens_per_day"; scaled by v*.

    Returns
    -------
    list of dict
        stability, team_usd_per_year, g_ship, volume (share of the plan; infinite: no
        scale pays) and
        each name of `size`.

    Notes
    -----
    The programme's other cost is the scenario's. Below a few racks the plan's smallest fleet, and
    the minimum order of a foundry, bind before this does; neither is counted.
    """
    values = sampler.table(sampler.draw(DRAWS_LOG2, seed))
    rows = []
    for stability, factor in HAZARDS.items():
        newcomer = {HAZARD: values[HAZARD] * factor} | dict.fromkeys((*SUNK, TEAM), np.ones(1))
        inputs = sampler.inputs(dict(values) | newcomer)
        outcomes = evaluate(problem, inputs, full=False)
        bound = outcomes.boundaries["list"]
        # a team of one dollar a year: its present cost is the factor of every other team's
        per_team = float(outcomes.cost[problem.headline].by_line_usd["own.software"].mean())
        other = float(bound.fixed_usd.mean()) - per_team
        saved, own = float(bound.a_usd.mean()), float(bound.b_usd.mean())
        for team in TEAMS_USD_PER_YEAR:
            fixed = other + per_team * team
            for g in G_SHIPS:
                volume = float(break_even_volume(g, fixed, saved, own))
                row = {
                    "stability": stability,
                    "team_usd_per_year": team,
                    "g_ship": g,
                    "volume": volume,
                }
                rows.append(row | {name: volume * one for name, one in size.items()})
    return rows


def site_size(problem: Problem, case: CentralCase) -> dict[str, float]:
    """Megawatts of IT load of the own chip at its largest, and tokens of its busiest year a day."""
    fleet, flow = case.fleets[problem.headline], case.flows[problem.headline]
    yearly = flow.tokens[0][: flow.tokens.shape[1] // 4 * 4].reshape(-1, 4).sum(axis=1)
    return {
        "mw": float(fleet.power_w["own"][0].max()) / MEGA,
        "output_tokens_per_day": float(yearly.max()) * DAY_S / YEAR_S,
    }
