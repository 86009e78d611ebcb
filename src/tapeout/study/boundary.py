"""The boundary: g* against each counterfactual, P(pays) under each prior, the break-even map."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from tapeout.economics.breakeven import (
    gain_for_probability,
    npv_at_usd,
    probability_pays,
)
from tapeout.errors import Outcome
from tapeout.numerics import Floats, Ints
from tapeout.risk import driver_name, from_range, sample
from tapeout.study.evaluate import Boundary
from tapeout.study.statistics import ratio_of_means, summary

G_GRID = np.round(np.geomspace(0.4, 4.0, 41), 4)
VOLUME_GRID = np.round(np.geomspace(0.02, 2.0, 33), 4)
CONTOUR_LEVELS = (0.5, 0.8, 0.95)


@dataclass(frozen=True, slots=True, kw_only=True)
class Threshold:
    """Required advantage against one counterfactual.

    `g_star` is where the mean NPV over futures is zero; `se` its sampling error. `outcome` is
    NO_ADVANTAGE_SUFFICES when no advantage pays.
    """

    g_star: float
    se: float
    outcome: Outcome


def threshold(bound: Boundary, scramble: Ints) -> Threshold:
    """Advantage at which the expected NPV is zero: E[B] / (E[A] - E[F])."""
    gain = bound.a_usd - bound.fixed_usd
    if gain.mean() <= 0:
        return Threshold(
            g_star=float("inf"), se=float("nan"), outcome=Outcome.NO_ADVANTAGE_SUFFICES
        )
    value, se = ratio_of_means(bound.b_usd, gain, scramble)
    return Threshold(g_star=value, se=se, outcome=Outcome.OK)


def npv_usd(bound: Boundary, advantage: Floats | float, volume: float = 1.0) -> Floats:
    """NPV of building in each draw at an advantage and a share of planned volume, (draw,)."""
    return npv_at_usd(advantage, bound.fixed_usd, bound.a_usd, bound.b_usd, volume)


def share_that_pays(bound: Boundary, advantage: Floats | float, volume: float = 1.0) -> float:
    """Share of futures in which building pays at an advantage and a volume."""
    return float(np.mean(npv_usd(bound, advantage, volume) > 0))


def break_even_map(bound: Boundary) -> list[dict[str, float]]:
    """P(pays | g, volume) on the grid, long form."""
    share = probability_pays(G_GRID, VOLUME_GRID, bound.fixed_usd, bound.a_usd, bound.b_usd)
    return [
        {"g": float(g), "volume": float(v), "p": float(share[row, column])}
        for row, v in enumerate(VOLUME_GRID)
        for column, g in enumerate(G_GRID)
    ]


def contours(bound: Boundary) -> list[dict[str, float]]:
    """Advantage at which building pays in 50, 80 and 95 % of futures, for each volume."""
    levels = np.array(CONTOUR_LEVELS)
    lines = gain_for_probability(levels, VOLUME_GRID, bound.fixed_usd, bound.a_usd, bound.b_usd)
    return [
        {"level": float(level), "volume": float(v), "g": float(lines[row, column])}
        for row, level in enumerate(levels)
        for column, v in enumerate(VOLUME_GRID)
        if np.isfinite(lines[row, column])
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Prior:
    """A named belief about g_ship and what follows from it."""

    key: str
    title: str
    kind: str
    g: Mapping[str, float]
    p_pays: float
    p_pays_negotiated: float
    why: str


def priors(
    scenario: Any,
    bounds: Mapping[str, Boundary],
    ratios: Mapping[str, Floats],
    scramble: Ints,
    seed: int,
) -> list[Prior]:
    """P(pays) under each named prior.

    Parameters
    ----------
    scenario : Scenario
    bounds : mapping of counterfactual to Boundary
    ratios : mapping of baseline option to array, shape (draw,)
        Factor that turns a claim of throughput per rated watt over that option into tokens per
        dollar over the alternative at ship date.
    scramble, seed
        Of the draws the boundary was computed on; the prior is drawn beside them.
    """
    out = []
    draws_log2 = int(np.log2(scramble.size))
    for slot, prior in enumerate(scenario.prior):
        g = _draw(prior, slot, bounds["list"], ratios, (draws_log2, seed))
        bargained = bounds.get("negotiated", bounds["list"])
        # against the negotiated price the same chip is ahead by less
        relative = bargained.g_ship / bounds["list"].g_ship
        why = "" if prior.ratio is None else (prior.ratio.why or prior.ratio.source)
        out.append(
            Prior(
                key=prior.key,
                title=prior.title or prior.key,
                kind=prior.kind,
                g=summary(g),
                p_pays=share_that_pays(bounds["list"], g),
                p_pays_negotiated=share_that_pays(bargained, g * relative),
                why=why,
            )
        )
    return out


def _draw(
    prior: Any, slot: int, bound: Boundary, ratios: Mapping[str, Floats], how: tuple[int, int]
) -> Floats:
    if prior.kind == "simulated":
        return bound.g_ship
    names = {
        "ratio": driver_name("prior.ratio", slot),
        "delivered": driver_name("prior.delivered_ratio", slot),
    }
    wanted = {"ratio": prior.ratio, "delivered": prior.delivered}
    distributions = {
        names[key]: from_range(q.value, q.low, q.high, "positive")
        for key, q in wanted.items()
        if q is not None
    }
    drawn = sample(distributions, *how)
    g = drawn[names["ratio"]]
    if prior.delivered is not None:
        g = g * drawn[names["delivered"]]
    return g * ratios[prior.baseline] if prior.kind == "claim" else g


def claim_ratio(
    specs_tdp: Mapping[str, float],
    rates: Mapping[str, Floats],
    lcot: Mapping[str, Floats],
    baseline: str,
) -> Floats:
    """Factor from "throughput per rated watt over a baseline" to tokens per dollar at ship date.

    g = claim x (own rated W / baseline rated W) x (baseline tokens / own simulated tokens) x
    g simulated: the claim replaces our own ratio of throughput per chip, and nothing else.

    Parameters
    ----------
    specs_tdp : mapping of option to rated power [W]
    rates : mapping of option to array, shape (draw,)
        Simulated throughput per chip, timing error included.
    lcot : mapping with "g_ship", shape (draw,)
    baseline : str
    """
    watts = specs_tdp["own"] / specs_tdp[baseline]
    return watts * rates[baseline] / rates["own"] * lcot["g_ship"]
