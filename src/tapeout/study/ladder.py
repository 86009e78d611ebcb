"""The ladder of rights: what the programme is worth committed, and with each right added.

Stages as seen from the decision date: finish the chip (remaining engineering, masks, respins,
bring-up, software), then go to volume. Everything is a saving over the baseline at list prices.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from tapeout.economics.schedule import OWN
from tapeout.economics.types import Inputs
from tapeout.numerics import BLOCK, Floats, Ints
from tapeout.risk.options import GO_ON, Stage, StagedValue, staged_value
from tapeout.study.evaluate import Boundary, Problem, run
from tapeout.study.statistics import concatenate

# what is known of the own chip when volume is committed: it runs, and its date has come
KNOWN_AT_VOLUME = ("delivered_ratio", "slip_months", "spins", "cancelled")
STOP, ABANDON, PRESELL = "stop now", "abandon before volume", "sell a share ahead"


@dataclass(frozen=True, slots=True, kw_only=True)
class Worth:
    """Present values of each future, shape (draw,) [USD]; savings over the baseline at list.

    Attributes
    ----------
    programme : paid to finish the chip, volume or not
    at_list, negotiated : saving of the headline with what it still buys at list, negotiated
    price_gain : what the baseline saves by the negotiated price alone
    presold : what selling a share ahead adds; nan where the scenario has no offtake
    """

    programme: Floats
    at_list: Floats
    negotiated: Floats
    price_gain: Floats
    presold: Floats


def worth(problem: Problem, inputs: Inputs, offtake: Any, bound: Boundary, futures: Any) -> Worth:
    """Collect the arrays of the ladder from the futures already evaluated, and one strategy more.

    Parameters
    ----------
    inputs : Inputs
        Of all draws.
    offtake : OfftakeSection or None
    bound : Boundary
        Against the list counterfactual, all draws.
    futures : mapping-like with `worlds` and `cost`
    """
    blocks = range(0, inputs.draws, BLOCK)
    dear = concatenate(
        [
            run(problem, problem.headline, inputs.rows(slice(at, at + BLOCK)), negotiated=False)[
                0
            ].npv_usd
            for at in blocks
        ]
    )
    base, programme = futures.worlds["A"], futures.worlds["programme"]
    return Worth(
        programme=programme,
        at_list=base - dear,
        negotiated=base - futures.worlds["C"],
        price_gain=base - (futures.worlds["B"] - programme),
        presold=_presold(offtake, bound),
    )


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


def ladder_rows(
    problem: Problem, inputs: Inputs, found: Worth, scramble: Ints
) -> list[dict[str, Any]]:
    """The rungs in order, each with all rights of those before it.

    Returns
    -------
    list of dict
        rung, title, value_usd, se_usd, gain_usd (over the rung before), reached_volume (share of
        futures that come to the second decision), goes_on (share of those that go to volume).
    """
    known = np.column_stack(
        [np.broadcast_to(inputs.flat(f"{OWN}.{name}"), (inputs.draws,)) for name in KNOWN_AT_VOLUME]
    )
    zero = np.zeros(1)
    plain = found.at_list + found.programme
    rungs: list[tuple[str, str, StagedValue]] = []

    def add(key: str, title: str, stages: list[Stage], payoff: Floats) -> None:
        rungs.append((key, title, staged_value(stages, payoff, scramble=scramble)))

    def two(
        first: dict[str, Floats], second: dict[str, Floats], gain: Floats = zero
    ) -> list[Stage]:
        return [
            Stage(key="finish", cost_usd=found.programme, gain_usd=gain, exits=first),
            Stage(key="volume", cost_usd=zero, known=known, exits=second),
        ]

    add("committed", "Committed to volume, list prices", two({}, {}), plain)
    doors = {ABANDON: zero}
    add("abandon", "+ may abandon before volume", two({}, doors), plain)
    stop = {STOP: zero}
    add("stage", "+ may stop today", two(stop, doors), plain)
    sold = bool(np.isfinite(found.presold).all())
    if sold:
        doors = doors | {PRESELL: plain + found.presold}
        add("presale", "+ may sell a share ahead", two(stop, doors), plain)
    # the lower price is had as soon as the chip is finished, and kept without volume
    kept = found.negotiated + found.programme - found.price_gain
    if sold:
        doors = {ABANDON: zero, PRESELL: kept + found.presold}
    add("leverage", "+ negotiated prices", two(stop, doors, found.price_gain), kept)
    return _rows(rungs)


def _rows(rungs: list[tuple[str, str, StagedValue]]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    before = 0.0
    for key, title, one in rungs:
        actions = one.action["volume"]
        rows.append(
            {
                "rung": key,
                "title": title,
                "value_usd": one.value_usd,
                "se_usd": one.se_usd,
                "gain_usd": one.value_usd - before if rows else 0.0,
                "reached_volume": one.reached["volume"],
                "goes_on": sum(action in (GO_ON, PRESELL) for action in actions) / len(actions),
            }
        )
        before = one.value_usd
    return rows
