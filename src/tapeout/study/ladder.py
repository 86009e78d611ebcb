"""The ladder of rights: what the programme is worth committed, and with each right added.

Stages as seen from the decision date: finish the chip (remaining engineering, masks, respins,
bring-up, software), then go to volume. Everything is a saving over the baseline at list prices.
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
from tapeout.study.tally import FAN_DRAWS, Futures

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


def ladder(
    problem: Problem, sampler: Sampler, drawn: Futures, offtake: Any
) -> list[dict[str, Any]]:
    """The rungs over the futures, at most `FAN_DRAWS` of them: the first of every scramble.

    Evaluates one strategy more than the futures hold: the headline without the negotiated price.
    """
    size = len(drawn.draws)
    each = min(size, FAN_DRAWS) // SCRAMBLES
    spans = [(at, at + each) for at in range(0, size, size // SCRAMBLES)]
    dear, known = [], []
    for span in _blocks(spans):
        part = sampler.draw(int(np.log2(size)), drawn.draws.seed, span)
        inputs = sampler.inputs(sampler.table(part))
        dear.append(run(problem, problem.headline, inputs, negotiated=False)[0].npv_usd)
        known.append(_known(inputs))
    index = np.concatenate([np.arange(*span) for span in spans])
    worlds = {name: usd[index] for name, usd in drawn.worlds.items()}
    bound = drawn.bounds["list"]
    base, programme = worlds["A"], worlds["programme"]
    found = Worth(
        programme=programme,
        at_list=base - concatenate(dear),
        negotiated=base - worlds["C"],
        price_gain=base - (worlds["B"] - programme),
        presold=_presold(offtake, bound)[index],
    )
    return ladder_rows(found, np.concatenate(known), drawn.draws.scramble[index])


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


def _known(inputs: Inputs) -> Floats:
    """What is known at the volume decision, shape (draw, signal)."""
    columns = [inputs.flat(f"{OWN}.{name}") for name in KNOWN_AT_VOLUME]
    return np.column_stack([np.broadcast_to(one, (inputs.draws,)) for one in columns])


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
        volume = [action in (GO_ON, PRESELL) for action in one.action["volume"]]
        finish = [action == GO_ON for action in one.action["finish"]]
        rows.append(
            {
                "rung": key,
                "title": title,
                "value_usd": one.value_usd,
                "se_usd": one.se_usd,
                "gain_usd": one.value_usd - before if rows else 0.0,
                "reached_volume": one.reached["volume"],
                "goes_on": float(np.mean(np.array(volume) & np.array(finish))),
            }
        )
        before = one.value_usd
    return rows
