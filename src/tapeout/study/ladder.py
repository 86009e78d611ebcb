"""The ladder of rights: what the programme is worth committed, and with each right added.

Two decisions are seen from the decision date: whether to go on at all, and, when the chip runs and
its date has come, whether to go to volume. Everything is a saving over the baseline at list prices,
of whole strategies: what was paid before a door is taken stays paid.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from tapeout.economics.schedule import OWN
from tapeout.economics.types import Inputs
from tapeout.numerics import BLOCK, Floats, Ints
from tapeout.risk import SCRAMBLES
from tapeout.risk.options import GO_ON, Stage, StagedValue, staged_value
from tapeout.study.evaluate import Boundary, Problem, run
from tapeout.study.futures import Sampler
from tapeout.study.statistics import concatenate
from tapeout.study.tally import Futures

LADDER_DRAWS = (
    8192  # three strategies more are evaluated: at most these, the first of each scramble
)
# what is known of the own chip when volume is committed: it runs, and its date has come
KNOWN_AT_VOLUME = ("delivered_ratio", "slip_months", "spins", "cancelled")
STOP, THREAT = "stop now", "keep the threat, no volume"
ABANDON, PRESELL = "abandon before volume", "sell a share ahead"


@dataclass(frozen=True, slots=True, kw_only=True)
class Worth:
    """Savings over the baseline at list of each future, present value, shape (draw,) [USD].

    Attributes
    ----------
    at_list, negotiated : the headline, what it still buys at list or negotiated prices
    left, left_negotiated : the headline cancelled before volume, its firm orders written off
    threat : world B, the programme kept credible from the start and never brought to volume
    presold, presold_negotiated : what selling a share ahead adds; nan where the scenario has no
        offtake
    """

    at_list: Floats
    negotiated: Floats
    left: Floats
    left_negotiated: Floats
    threat: Floats
    presold: Floats
    presold_negotiated: Floats


def ladder(
    problem: Problem, sampler: Sampler, drawn: Futures, offtake: Any
) -> list[dict[str, Any]]:
    """The rungs over at most `LADDER_DRAWS` of the futures, the first of every scramble.

    Evaluates what the futures do not hold: the headline without the negotiated price, and the
    headline cancelled before volume, with and without it.
    """
    size = len(drawn.draws)
    each = min(size, LADDER_DRAWS) // SCRAMBLES
    spans = [(at, at + each) for at in range(0, size, size // SCRAMBLES)]
    parts: list[tuple[Floats, ...]] = []
    for span in _blocks(spans):
        draws = sampler.draw(int(np.log2(size)), drawn.draws.seed, span)
        parts.append(_evaluated(problem, sampler.inputs(sampler.table(draws))))
    dear, left, left_negotiated, known = (
        concatenate([part[i] for part in parts]) for i in range(4)
    )
    index = np.concatenate([np.arange(*span) for span in spans])
    worlds = {name: usd[index] for name, usd in drawn.worlds.items()}
    bounds = drawn.bounds
    base = worlds["A"]
    found = Worth(
        at_list=base - dear,
        negotiated=base - worlds["C"],
        left=base - left,
        left_negotiated=base - left_negotiated,
        threat=base - worlds["B"],
        presold=_presold(offtake, bounds["list"])[index],
        presold_negotiated=_presold(offtake, bounds["negotiated"])[index],
    )
    return ladder_rows(found, known, drawn.draws.scramble[index])


def _evaluated(problem: Problem, inputs: Inputs) -> tuple[Floats, Floats, Floats, Floats]:
    """Cost of the headline at list, then cancelled at list and negotiated; what is known."""
    gone = inputs.replace({f"{OWN}.cancelled": 1.0})

    def cost(given: Inputs, *, negotiated: bool) -> Floats:
        usd = run(problem, problem.headline, given, negotiated=negotiated)[0].npv_usd
        return np.broadcast_to(usd, (inputs.draws,))

    columns = [inputs.flat(f"{OWN}.{name}") for name in KNOWN_AT_VOLUME]
    known = np.column_stack([np.broadcast_to(one, (inputs.draws,)) for one in columns])
    return (
        cost(inputs, negotiated=False),
        cost(gone, negotiated=False),
        cost(gone, negotiated=True),
        known,
    )


def _blocks(spans: list[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Adjoining spans in pieces of one block."""
    joined: list[tuple[int, int]] = []
    for start, stop in spans:
        if joined and joined[-1][1] == start:
            joined[-1] = (joined[-1][0], stop)
        else:
            joined.append((start, stop))
    for start, stop in joined:
        yield from ((at, min(at + BLOCK, stop)) for at in range(start, stop, BLOCK))


def _presold(offtake: Any, bound: Boundary) -> Floats:
    """What a third party's use of a share adds: its price, less the saving the share would give.

    As `offtake_rows`: the taker pays a price over the owner's levelised cost, and may walk away.
    """
    own = bound.b_usd / bound.g_ship
    if offtake is None:
        return np.full(own.shape, np.nan)
    share, ratio = offtake.fraction.value, offtake.price_over_cost_ratio.value
    lost = offtake.default_fraction.value if offtake.default_fraction else 0.0
    paid = (1.0 - lost) * own * (ratio - 1.0) - lost * own
    added: Floats = share * (paid - (bound.a_usd - own))
    return added


def ladder_rows(found: Worth, known: Floats, scramble: Ints) -> list[dict[str, Any]]:
    """The rungs in order, each with all rights of those before it.

    Parameters
    ----------
    known : array, shape (draw, signal)
        What is known when volume is committed.

    Returns
    -------
    list of dict
        rung, title, value_usd, se_usd, gain_usd (over the rung before), reached_volume (share of
        futures that come to the second decision), goes_on (share of all that go to volume).
    """
    rungs: list[tuple[str, str, StagedValue]] = []
    sold = bool(np.isfinite(found.presold).all())

    def add(key: str, title: str, first: Doors, second: Doors, payoff: Floats) -> None:
        stages = [
            Stage(key="start", cost_usd=np.zeros(1), exits=first),
            Stage(key="volume", cost_usd=np.zeros(1), known=known, exits=second),
        ]
        rungs.append((key, title, staged_value(stages, payoff, scramble=scramble)))

    leave: Doors = {ABANDON: found.left}
    stop: Doors = {STOP: np.zeros(1)}
    add("committed", "Committed to volume, list prices", {}, {}, found.at_list)
    add("abandon", "+ may abandon before volume", {}, leave, found.at_list)
    add("stage", "+ may stop today", stop, leave, found.at_list)
    if sold:
        ahead = leave | {PRESELL: found.at_list + found.presold}
        add("presale", "+ may sell a share ahead", stop, ahead, found.at_list)
    leave = {ABANDON: found.left_negotiated}
    if sold:
        leave = leave | {PRESELL: found.negotiated + found.presold_negotiated}
    bargain = stop | {THREAT: found.threat}
    add("leverage", "+ negotiated prices", bargain, leave, found.negotiated)
    return _rows(rungs)


Doors = dict[str, Floats]


def _rows(rungs: list[tuple[str, str, StagedValue]]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    before = 0.0
    for key, title, one in rungs:
        volume = [action in (GO_ON, PRESELL) for action in one.action["volume"]]
        start = [action == GO_ON for action in one.action["start"]]
        rows.append(
            {
                "rung": key,
                "title": title,
                "value_usd": one.value_usd,
                "se_usd": one.se_usd,
                "gain_usd": one.value_usd - before if rows else 0.0,
                "reached_volume": one.reached["volume"],
                "goes_on": float(np.mean(np.array(volume) & np.array(start))),
            }
        )
        before = one.value_usd
    return rows
