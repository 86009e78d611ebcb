"""Deciding again when more is known: the two-stage program in a rolling horizon, and its bound.

What is known is a tree: scenarios that carry the same number in a period cannot be told apart
when that period's units are taken.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from tapeout.errors import Problem as Wrong
from tapeout.errors import ProblemsError
from tapeout.numerics import Floats, Ints
from tapeout.risk.portfolio.cuts import GAP, Held
from tapeout.risk.portfolio.extensive import extensive
from tapeout.risk.portfolio.problem import MEAN, PortfolioProblem, check, select
from tapeout.risk.portfolio.scale import scaled
from tapeout.risk.portfolio.solve import cost_by_scenario, optimise


@dataclass(frozen=True, slots=True, kw_only=True)
class Rolling:
    """A rolling two-stage policy.

    Attributes
    ----------
    taken : array, shape (scenario, option, vintage)
        Units taken along each scenario.
    used : array of bool, shape (scenario, option)
    cost_usd : array, shape (scenario,)
    mean_usd : float
    two_stage_usd : float
        Expected cost where all is decided at the start.
    """

    taken: Floats
    used: np.ndarray
    cost_usd: Floats
    mean_usd: float
    two_stage_usd: float

    @property
    def waiting_usd(self) -> float:
        """What deciding again is worth."""
        return self.two_stage_usd - self.mean_usd


def by_quantile(signal: Floats, groups: int) -> Ints:
    """Nodes of a tree: each period splits every node by the rank of what was seen before it.

    Parameters
    ----------
    signal : array, shape (scenario, period)
        What is observed, at the end of each period.
    groups : int
        Branches of a node at each split; nodes with fewer scenarios than twice that stay whole.

    Returns
    -------
    array of int, shape (period, scenario)
        All one node in the first period.
    """
    scenarios, periods = signal.shape
    node = np.zeros((periods, scenarios), np.int64)
    for period in range(1, periods):
        following = 0
        for old in range(node[period - 1].max() + 1):
            members = np.flatnonzero(node[period - 1] == old)
            parts = groups if members.size >= 2 * groups else 1
            rank = np.argsort(np.argsort(signal[members, period - 1], kind="stable"))
            node[period, members] = following + rank * parts // members.size
            following += parts
    return node


def at_periods(node: Ints, periods: Ints) -> Ints:
    """Let a tree split only in some periods; between them what is seen changes nothing."""
    out = np.zeros_like(node)
    for period in range(1, len(node)):
        out[period] = node[period] if period in periods else out[period - 1]
    return out


def _check_tree(node: Ints, problem: PortfolioProblem) -> None:
    scenarios, _, periods = problem.shape
    wrong = []
    if node.shape != (periods, scenarios):
        wrong.append((str(node.shape), "wrong shape", "(period, scenario)"))
    else:
        for before, after in pairwise(node):
            pairs = set(zip(after.tolist(), before.tolist(), strict=True))
            if len(pairs) > after.max() + 1:
                wrong.append(("", "what was told apart is joined again", "only ever split nodes"))
                break
        if any(np.unique(row).size != row.max() + 1 for row in node):
            wrong.append(("", "numbers left out", "number nodes from zero in every period"))
    if wrong:
        raise ProblemsError(
            "scenario tree",
            [Wrong(path="node", value=v, message=m, remedy=r) for v, m, r in wrong],
        )


def rolling(problem: PortfolioProblem, node: Ints, gap: float = GAP) -> Rolling:
    """Decide, let a stage pass, decide again on the scenarios still possible; expected cost.

    At each split every node solves a two-stage program for the rest of the horizon, with what was
    taken before it kept. Its expected cost is at most the two-stage optimum's, and at least
    `multistage_usd`.

    Raises
    ------
    ProblemsError
        The tree is malformed.
    """
    check(problem)
    _check_tree(node, problem)
    scenarios, count, periods = problem.shape
    first = optimise(problem, MEAN, gap=gap)
    taken = np.broadcast_to(first.taken, (scenarios, count, periods)).copy()
    used = np.broadcast_to(first.used, (scenarios, count)).copy()
    cost = cost_by_scenario(problem, first)
    for period in range(1, periods):
        if (node[period] == node[period - 1]).all():
            continue
        for one in range(node[period].max() + 1):
            members = np.flatnonzero(node[period] == one)
            part = select(problem, members)
            # what was entered stays so, though nothing of it may have been taken yet
            held = Held(taken=taken[members[0]], until=period, entered=used[members[0]])
            found = optimise(part, MEAN, held=held, gap=gap)
            if found.mean_usd < float(part.weight @ cost[members]):
                taken[members], used[members] = found.taken, found.used
                cost[members] = cost_by_scenario(part, found)
    return Rolling(
        taken=taken,
        used=used,
        cost_usd=cost,
        mean_usd=float(problem.weight @ cost),
        two_stage_usd=first.mean_usd,
    )


def multistage_usd(problem: PortfolioProblem, node: Ints, used: np.ndarray | None = None) -> float:
    """Least expected cost of any policy on a tree, from the extensive form. [USD].

    Options in use as given, else binaries decided at the start.

    Raises
    ------
    ProblemsError, InfeasibleError
        The tree is malformed, or binaries meet a pooling loss.
    """
    check(problem)
    _check_tree(node, problem)
    inside, scale = scaled(problem)
    return extensive(inside, MEAN, used=used, node=node).program.solve().objective * scale.usd
