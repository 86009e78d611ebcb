"""Correlations of a study: the table of reviewed pairs, what a scenario says, and the copula."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from tapeout.errors import InfeasibleError, Problem, did_you_mean, nearest
from tapeout.risk import Copula, copula

TABLES = ("none", "stated", "reviewed")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Correlation of the normal scores of two inputs, named by path.

    `table` is the smallest table that has it; a pair of the scenario has none.
    """

    follower: str
    leader: str
    correlation: float
    why: str
    table: str = ""
    source_url: str = ""

    @property
    def key(self) -> frozenset[str]:
        """The two names in no order."""
        return frozenset((self.follower, self.leader))


@cache
def reviewed_pairs() -> tuple[Pair, ...]:
    """Every pair of the table, in its order."""
    text = files("tapeout.study").joinpath("data/correlations.csv").read_text("utf-8")
    rows = csv.DictReader(line for line in text.splitlines() if not line.startswith("#"))
    return tuple(
        Pair(
            follower=row["follower"],
            leader=row["leader"],
            correlation=float(row["correlation"]),
            why=row["why"],
            table=row["table"],
            source_url=row["source_url"],
        )
        for row in rows
    )


def pairs_of(section: Any) -> tuple[Pair, ...]:
    """Pairs of a scenario: those of its table, with its own in their place or after them."""
    wanted = TABLES[1 : TABLES.index(section.table) + 1]
    pairs = {one.key: one for one in reviewed_pairs() if one.table in wanted}
    for one in section.pair:
        follower, leader = one.between
        pair = Pair(follower=follower, leader=leader, correlation=one.correlation, why=one.why)
        before = pairs.get(pair.key)
        if before is not None:  # keep who follows whom, and so everybody's draws
            pair = Pair(
                follower=before.follower,
                leader=before.leader,
                correlation=one.correlation,
                why=one.why,
            )
        pairs[pair.key] = pair
    return tuple(pairs.values())


def pair_problems(section: Any, known: Iterable[str]) -> list[Problem]:
    """Find names in a scenario's pairs that are no input, and pairs that contradict the others."""
    names = list(known)
    wrong: list[Problem] = []
    seen: set[frozenset[str]] = set()
    for index, one in enumerate(section.pair):
        path = f"correlations.pair[{index}].between"
        for name in one.between:
            if name not in names:
                hint = did_you_mean(nearest(name, names))
                remedy = f"did you mean {hint}?" if hint else "`tapeout show` lists all inputs"
                wrong.append(
                    Problem(path=path, value=name, message="names no input", remedy=remedy)
                )
        key = frozenset(one.between)
        if len(key) == 1 or key in seen:
            message = "one input twice" if len(key) == 1 else "this pair stands here already"
            wrong.append(
                Problem(path=path, value=one.between[0], message=message, remedy="remove it")
            )
        seen.add(key)
    if wrong:
        return wrong
    here = [one for one in pairs_of(section) if one.key <= set(names)]
    try:
        copula(_by_name(here, {name: name for name in names}), nearest=section.nearest)
    except InfeasibleError as error:
        remedy = "weaken a pair, or write correlations.nearest = true"
        return [Problem(path="correlations", value="", message=str(error), remedy=remedy)]
    return []


def unranged_problems(section: Any, drivers: Mapping[str, str]) -> list[Problem]:
    """Find pairs of the scenario that join an input without a range, or a chip with itself."""
    wrong = []
    for index, one in enumerate(section.pair):
        path = f"correlations.pair[{index}].between"
        fixed = [name for name in one.between if name not in drivers]
        if fixed:
            wrong.append(
                Problem(
                    path=path,
                    value=fixed[0],
                    message="has no range here, so nothing can vary with it",
                    remedy="give it a range or remove the pair",
                )
            )
        elif drivers[one.between[0]] == drivers[one.between[1]]:
            wrong.append(
                Problem(
                    path=path,
                    value=one.between[0],
                    message="both are one figure of the same chip",
                    remedy="remove the pair",
                )
            )
    return wrong


def joint(section: Any, drivers: Mapping[str, str]) -> Copula:
    """Copula of a checked scenario.

    Parameters
    ----------
    section : CorrelationsSection
    drivers : mapping of path or toss to driver name
        What is drawn; a pair of the table that is not drawn here is left out.
    """
    here = [one for one in pairs_of(section) if one.key <= set(drivers)]
    return copula(_by_name(here, drivers), nearest=section.nearest)


def _by_name(pairs: Iterable[Pair], drivers: Mapping[str, str]) -> dict[tuple[str, str], float]:
    """Correlations by pair of drivers; inputs of one chip share a driver, the last pair holds."""
    found: dict[frozenset[str], tuple[tuple[str, str], float]] = {}
    for one in pairs:
        names = (drivers[one.follower], drivers[one.leader])
        if names[0] != names[1]:
            found[frozenset(names)] = (names, one.correlation)
    return dict(found.values())
