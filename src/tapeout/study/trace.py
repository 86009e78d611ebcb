"""What each figure of the verdict is made of: its formula, and the inputs that move it.

A figure is traced by moving every input of the scenario to both ends of its range, one at a time
in the central case, and seeing whether the figure moves. So a trace is measured, not declared,
and cannot leave an input out that matters; what it leads to are ledger entries, each with its
source or the reason it is assumed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tapeout.economics.cashflow import strategy_cash_flow
from tapeout.economics.schedule import OWN
from tapeout.economics.types import Inputs
from tapeout.numerics import Floats
from tapeout.study.central import TOSSES, batch_inputs
from tapeout.study.evaluate import Outcomes, Problem, evaluate
from tapeout.study.futures import UNIFORMS, Sampler, model_paths

PREFIX = "verdict."
STEP = 0.1  # an input without a range is moved by a tenth
UNMOVED = 1e-9  # relative; below this a figure has not moved
_SHIFT = (2.0, 1e6)  # a workload that shifts in the second year, or never

Measure = Callable[[Outcomes, Inputs], Floats]


@dataclass(frozen=True, slots=True, kw_only=True)
class Traced:
    """A figure of the verdict.

    Attributes
    ----------
    key : str
        Dotted name, without the prefix.
    formula : str
    unit : str
    reported_as : tuple of str
        Keys of `verdict.json` that are this figure, its mean, quantiles or share over futures.
    measure : callable
        From outcomes and inputs of a batch to the figure, shape (row,).
    """

    key: str
    formula: str
    unit: str
    reported_as: tuple[str, ...]
    measure: Measure


@dataclass(frozen=True, slots=True)
class Move:
    """An input that moves a figure, and the figure at the ends of the input's range.

    `through` names the toss by which alone it acts (whether the chip is late, how many steppings
    it takes); the ends are then those of the toss.
    """

    path: str
    at_low: float
    at_high: float
    through: str = ""


def traced_figures(problem: Problem) -> tuple[Traced, ...]:
    """Every figure of a scenario's verdict that is computed, in the order of the report."""
    out = [*_costs(problem), *_units(problem)]
    return tuple([*_boundary(problem), *out] if problem.builds else out)


def _costs(problem: Problem) -> list[Traced]:
    out: list[Traced] = []
    for strategy in problem.strategies:
        key = strategy.key
        out += [
            Traced(
                key=f"cost.{key}",
                formula="sum over quarters and cash lines of USD x discount factor, the demand"
                " given; `--lines` shows each line",
                unit="USD",
                reported_as=(
                    "ranking",
                    "regret",
                    "dates",
                    "saving",
                    "must_be_true",
                    "measures",
                    "information",
                ),
                measure=_cost(key),
            ),
            Traced(
                key=f"contribution.{key}",
                formula="revenue of what the site serves less cost, discounted",
                unit="USD",
                reported_as=("contribution_ranking",),
                measure=_contribution(key),
            ),
        ]
    return out


def _units(problem: Problem) -> list[Traced]:
    out = [
        Traced(
            key=f"lcot.{key}",
            formula="levelised yearly cost of one chip, bought or rented when the own chip first"
            " serves (else at the decision), over the output tokens of a mean year",
            unit="USD/Mtok",
            reported_as=("lcot", "references", "triangulation"),
            measure=_lcot(key),
        )
        for key in problem.setting.options
    ]
    for strategy in problem.strategies:
        for option in dict.fromkeys(step.option for step in strategy.steps):
            if problem.setting.options[option].kind == "api":
                continue
            out.append(
                Traced(
                    key=f"chips.{strategy.key}.{option}",
                    formula="busiest-hour demand over tokens per chip, with availability and"
                    " spares; the largest quarter. The demand itself is sized once, from"
                    " [scale] with central rates and watts",
                    unit="chips",
                    reported_as=("units", "reconciliation", "calendar", "site_limited"),
                    measure=_chips(problem, strategy.key, option),
                )
            )
    return out


def _cost(key: str) -> Measure:
    return lambda outcomes, _: outcomes.cost[key].npv_usd


def _contribution(key: str) -> Measure:
    return lambda outcomes, _: -outcomes.contribution[key].npv_usd


def _lcot(key: str) -> Measure:
    return lambda outcomes, _: outcomes.unit[key].lcot_usd_per_mtok()


def _chips(problem: Problem, key: str, option: str) -> Measure:
    def measure(_: Outcomes, inputs: Inputs) -> Floats:
        fleet = strategy_cash_flow(
            problem.setting, problem.strategy(key), inputs, negotiated=problem.builds_own(key)
        )[1]
        largest: Floats = fleet.plan.chips[option].max(axis=1)
        return largest

    return measure


def _boundary(problem: Problem) -> list[Traced]:
    names = ["list", "negotiated", *(["rented"] if problem.rents else [])]
    out: list[Traced] = []
    for name in names:
        out += [
            Traced(
                key=f"g_ship.{name}",
                formula="(USD per MW of the counterfactual over the own chip's) x (tokens per MW of"
                " the own chip over the counterfactual's), all in, at the own first service",
                unit="ratio",
                reported_as=("g_ship", "priors", "advantage_over_bought", "dates"),
                measure=_given(name),
            ),
            Traced(
                key=f"g_star.{name}",
                formula="B / (A - F): where -F + A - B / g is nought; F the programme, A the"
                " counterfactual less what does not scale with the chip, B the own chips at g = 1."
                " Over the futures, the same of the means",
                unit="ratio",
                reported_as=("g_star", "priors", "dates", "break_even_volume", "offtake", "scale"),
                measure=_needed(name),
            ),
        ]
    return [*out, *_programme(problem)]


def _given(name: str) -> Measure:
    return lambda outcomes, _: outcomes.boundaries[name].g_ship


def _needed(name: str) -> Measure:
    def measure(outcomes: Outcomes, _: Inputs) -> Floats:
        bound = outcomes.boundaries[name]
        gain = bound.a_usd - bound.fixed_usd
        pays = gain > 0.0  # else no advantage suffices
        return np.where(pays, bound.b_usd / np.where(pays, gain, 1.0), np.nan)

    return measure


def _programme(problem: Problem) -> list[Traced]:
    def peak(outcomes: Outcomes, _: Inputs) -> Floats:
        base, head = outcomes.cost[problem.baseline], outcomes.cost[problem.headline]
        lowest: Floats = np.cumsum(base.by_quarter_usd - head.by_quarter_usd, axis=1).min(axis=1)
        return np.maximum(-lowest, 0.0)

    return [
        Traced(
            key="programme",
            formula="present cost of the lines that do not grow with the chips: engineering, masks,"
            " respins, bring-up, software",
            unit="USD",
            reported_as=("payback", "worlds", "dates", "calendar"),
            measure=lambda outcomes, _: outcomes.boundaries["list"].fixed_usd,
        ),
        Traced(
            key="leverage",
            formula="world A less world B: the baseline at list price, less the baseline at the"
            " negotiated price with the programme kept credible",
            unit="USD",
            reported_as=("worlds", "dates"),
            measure=lambda outcomes, _: outcomes.worlds["A"] - outcomes.worlds["B"],
        ),
        Traced(
            key="volume",
            formula="world B less world C: what going to volume adds to the threat alone",
            unit="USD",
            reported_as=("worlds", "dates", "ladder"),
            measure=lambda outcomes, _: outcomes.worlds["B"] - outcomes.worlds["C"],
        ),
        Traced(
            key="peak_cash_need",
            formula="deepest point of the cumulated payments of the baseline less the headline's,"
            " undiscounted",
            unit="USD",
            reported_as=("payback", "offtake"),
            measure=peak,
        ),
        Traced(
            key="first_service",
            formula="months to tape-out, spins x months each, bring-up and qualification, slip",
            unit="years",
            reported_as=("first_service_years", "calendar", "successor_share"),
            measure=lambda outcomes, _: (
                np.zeros(1) if outcomes.dates is None else outcomes.dates.first_service
            ),
        ),
    ]


def central_values(problem: Problem, sampler: Sampler) -> dict[str, float]:
    """Every traced figure in the central case, by key."""
    inputs = batch_inputs(sampler, [{}])
    outcomes = evaluate(problem, inputs)
    return {
        one.key: float(np.broadcast_to(one.measure(outcomes, inputs), (1,))[0])
        for one in traced_figures(problem)
    }


def trace(problem: Problem, sampler: Sampler, figure: Traced) -> tuple[float, list[Move]]:
    """Central value of a figure, and the inputs that move it, the strongest first.

    Parameters
    ----------
    problem, sampler
        A scenario, resolved.
    figure : Traced

    Returns
    -------
    value : float
    moves : list of Move
        One per ledger entry.
    """
    ends = _ends(problem, sampler)
    changes = [{}, *({path: end} for path, pair in ends.items() for end in pair)]
    inputs = batch_inputs(sampler, changes)
    outcomes = evaluate(problem, inputs)
    values = np.broadcast_to(figure.measure(outcomes, inputs), (len(changes),))
    moved = {
        path: Move(path, float(values[1 + 2 * i]), float(values[2 + 2 * i]))
        for i, path in enumerate(ends)
        if not np.allclose(
            values[1 + 2 * i : 3 + 2 * i], values[0], rtol=UNMOVED, atol=0.0, equal_nan=True
        )
    }
    found = []
    for entry in sampler.ledger:
        # an input with no effect of its own at the centre may still act through a toss
        paths = model_paths(entry.path, sampler.kinds, sampler.ledger)
        act = [moved[path] for path in (entry.path, *sorted(paths)) if path in moved]
        if act:
            through = "" if act[0].path == entry.path else act[0].path
            found.append(Move(entry.path, act[0].at_low, act[0].at_high, through))
    return float(values[0]), sorted(found, key=_strength)


def _strength(move: Move) -> tuple[float, str]:
    swing = abs(move.at_high - move.at_low)
    return (-swing if np.isfinite(swing) else -np.inf, move.path)


def _ends(problem: Problem, sampler: Sampler) -> dict[str, tuple[float, float]]:
    """Where each input is moved to: the ends of its range, else a tenth either way."""
    out = {}
    for path in sampler.medians():
        if path in UNIFORMS:
            continue
        figure = sampler.ledger[path].chosen
        low, high = figure.low, figure.high
        if low is None or high is None or low == high:
            step = STEP * (abs(figure.value) or 1.0)
            # nought stays a bound, and no share passes one
            low = figure.value - step if figure.value else 0.0
            most = 1.0 if figure.unit == "fraction" else float("inf")
            high = min(figure.value + step, most)
        out[path] = (float(low), float(high))
    if problem.builds:
        out |= {path: (low, high) for path, (_, low, high) in TOSSES.items()}
        out[f"{OWN}.shift_years"] = _SHIFT
    return out
