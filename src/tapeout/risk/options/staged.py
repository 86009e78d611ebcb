"""A staged programme on simulated futures: go on, or leave by one of the doors that are open.

Physical probabilities and a stated discount rate: chip risk has no replicating portfolio. What a
stage knows decides what it does; the rule is fitted on one half of the futures and valued on the
other, so that a right is never worth more than it is because the rule had seen the answer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from tapeout.numerics import Floats, Ints, standard_error

GROUPS_AT_MOST = 64  # states of discrete knowledge that are averaged, not regressed
GO_ON = "go on"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One decision: what is known, what going on costs and brings, and the other doors.

    Attributes
    ----------
    key : str
    cost_usd : array, shape (draw,) or (1,)
        Paid when the programme goes on; present value.
    gain_usd : array, shape (draw,) or (1,)
        Received because the stage was reached, whatever comes after; present value.
    known : array, shape (draw, signal)
        What is known when the decision falls; no columns: nothing.
    exits : mapping of name to array, shape (draw,) or (1,)
        Present value of leaving here by that door. Empty: no choice.
    """

    key: str
    cost_usd: Floats
    gain_usd: Floats = field(default_factory=lambda: np.zeros(1))
    known: Floats = field(default_factory=lambda: np.zeros((1, 0)))
    exits: Mapping[str, Floats] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class StagedValue:
    """Value of a programme under its fitted rule.

    Attributes
    ----------
    value_usd, se_usd : float
        Mean over futures, and its sampling error.
    by_draw_usd : array, shape (draw,)
    action : mapping of stage to array of str, shape (draw,)
        What each future does there, had it come that far.
    reached : mapping of stage to float
        Share of futures that come to the decision.
    """

    value_usd: float
    se_usd: float
    by_draw_usd: Floats
    action: Mapping[str, Sequence[str]]
    reached: Mapping[str, float]


def staged_value(
    stages: Sequence[Stage], payoff_usd: Floats, *, scramble: Ints | None = None
) -> StagedValue:
    """Work a staged programme backwards.

    Parameters
    ----------
    stages : sequence of Stage
        In time order.
    payoff_usd : array, shape (draw,)
        What the whole programme brings once every stage has been paid; present value.
    scramble : array of int, shape (draw,), optional
        Independent replicates of the futures: halves are made of whole replicates, and the error
        is that of their means. Without it draws count as independent and halves alternate.

    Notes
    -----
    Expected values given what is known are group means where knowledge takes few values, else a
    regression on a full quadratic. A rule fitted in the wrong half costs value, so every figure is
    a lower bound in expectation on the best rule's.
    """
    draws = payoff_usd.size
    half = _halves(draws, scramble)
    value = np.asarray(payoff_usd, float)
    actions: dict[str, list[str]] = {}
    stays = {}
    for stage in reversed(stages):
        doors = {GO_ON: stage.gain_usd - stage.cost_usd + value}
        doors |= {name: np.broadcast_to(usd, (draws,)) for name, usd in stage.exits.items()}
        names = list(doors)
        worth = np.stack([np.broadcast_to(usd, (draws,)) for usd in doors.values()], axis=1)
        chosen = np.zeros(draws, int)
        if len(names) > 1:
            known = np.broadcast_to(stage.known, (draws, stage.known.shape[1]))
            chosen = _expected(known, worth, half).argmax(axis=1)
        value = worth[np.arange(draws), chosen]
        actions[stage.key] = [names[index] for index in chosen]
        stays[stage.key] = chosen == 0
    reached, there = {}, np.ones(draws, bool)
    for stage in stages:
        reached[stage.key] = float(there.mean())
        there = there & stays[stage.key]
    return StagedValue(
        value_usd=float(value.mean()),
        se_usd=_error(value, scramble),
        by_draw_usd=value,
        action={stage.key: actions[stage.key] for stage in stages},
        reached=reached,
    )


def _halves(draws: int, scramble: Ints | None) -> np.ndarray:
    index = np.arange(draws) if scramble is None else np.asarray(scramble)
    odd: np.ndarray = index % 2 == 1
    return odd


def _error(value: Floats, scramble: Ints | None) -> float:
    if scramble is not None and np.unique(scramble).size > 1:
        return float(standard_error(value, scramble))
    return float(value.std(ddof=1) / np.sqrt(value.size)) if value.size > 1 else 0.0


def _expected(known: Floats, worth: Floats, odd: np.ndarray) -> Floats:
    """Expected worth of each door given what is known, each half by the rule of the other."""
    states, index = np.unique(known, axis=0, return_inverse=True)
    out = np.empty_like(worth)
    for half in (odd, ~odd):
        rule, other = np.flatnonzero(~half), np.flatnonzero(half)
        if not rule.size:  # a single future: nothing to learn from but itself
            rule = other
        if len(states) <= GROUPS_AT_MOST:
            out[other] = _group_means(index.ravel(), worth, rule, len(states))[index.ravel()[other]]
        else:
            out[other] = _quadratic(known, worth, rule, other)
    return out


def _group_means(index: np.ndarray, worth: Floats, rule: np.ndarray, states: int) -> Floats:
    """Mean worth by state over the draws a rule is made of; a state it never saw has the mean."""
    count = np.bincount(index[rule], minlength=states)[:, None]
    total = np.stack(
        [np.bincount(index[rule], weights=worth[rule, door], minlength=states)
         for door in range(worth.shape[1])],
        axis=1,
    )  # fmt: skip
    means: Floats = np.where(count > 0, total / np.maximum(count, 1), worth[rule].mean(axis=0))
    return means


def _quadratic(known: Floats, worth: Floats, rule: np.ndarray, other: np.ndarray) -> Floats:
    """Least squares on all products of two signals, standardised."""
    centre, spread = known.mean(axis=0), known.std(axis=0)
    varies = spread > 0.0
    x = (known[:, varies] - centre[varies]) / spread[varies]
    columns = x.shape[1]
    pairs = [x[:, i] * x[:, j] for i in range(columns) for j in range(i, columns)]
    basis = np.column_stack([np.ones(len(x)), x, *pairs])
    weights, *_ = np.linalg.lstsq(basis[rule], worth[rule], rcond=None)
    fitted: Floats = basis[other] @ weights
    return fitted
