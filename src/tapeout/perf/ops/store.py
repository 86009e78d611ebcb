"""Fitted set-ups of an operator law, and which of them speaks for a case.

A set-up is a (chip, stack, number format, kernel, launch mode) that was measured. A case takes the
set-up it names; failing that, one of the same chip with other software; failing that, the
geometric mean over the family, the vendor, or all chips: the hierarchical prior. Each step away
widens the band and is listed.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from functools import cache
from importlib import resources

from tapeout.perf.ops.stacks import engine_of, same_stack

DATA = "tapeout.perf"


class Distance(IntEnum):
    """How far a set-up is from the case it is used for."""

    EXACT = 0
    OTHER_STACK = 1  # same chip, other software, kernel or launch mode
    FAMILY = 2
    VENDOR = 3
    ANY = 4


EXTRA_LOG_SD = {
    # starting values of the reference (timing, section 4); 80 % bands of 20, 25, 25 and 50 %
    Distance.EXACT: 0.0,
    Distance.OTHER_STACK: 0.14,
    Distance.FAMILY: 0.17,
    Distance.VENDOR: 0.17,
    Distance.ANY: 0.32,
}
WORDS = {
    Distance.OTHER_STACK: "other software on the same chip",
    Distance.FAMILY: "chips of the same family",
    Distance.VENDOR: "chips of the same vendor",
    Distance.ANY: "all measured chips",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """Constants of one measured set-up.

    Attributes
    ----------
    chip, stack, dtype, kernel, mode : str
        Catalogue name; "vllm-0.24.0"; "bf16"; as the source names it; "graph" or "eager".
    constants : mapping of name to value
        In the units their names end with.
    log_sd : float
        Error of the law with these constants on groups of other folds, log units.
    rows : int
        Measurements fitted to.
    fitted, source : str
        ISO date; file of origin.
    """

    chip: str
    stack: str
    dtype: str
    kernel: str = ""
    mode: str = "graph"
    constants: Mapping[str, float]
    log_sd: float
    rows: int
    fitted: str
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """The set-up that speaks for a case, how far away it is, and what that does to the band."""

    setup: Setup
    distance: Distance
    log_sd: float
    assumption: str  # empty when exact


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a case asks for; blanks match anything. `chip` is a catalogue name or any other."""

    chip: str
    stack: str = ""
    dtype: str = ""
    kernel: str = ""
    mode: str = ""


@cache
def _families() -> dict[str, dict[str, str]]:
    text = resources.files(DATA).joinpath("data/ops/families.csv").read_text("utf-8")
    return {row["chip"]: row for row in csv.DictReader(text.splitlines())}


def vendor(chip: str) -> str:
    """Vendor of a chip: of the table, else its first word."""
    row = _families().get(chip)
    return row["vendor"] if row else chip.partition(" ")[0]


def family(chip: str) -> str:
    """Generation family of a chip; empty when unknown."""
    row = _families().get(chip)
    return row["family"] if row else ""


@cache
def load_setups(name: str) -> tuple[Setup, ...]:
    """Read data/ops/NAME.json, a list of set-ups under the key "setups"."""
    text = resources.files(DATA).joinpath(f"data/ops/{name}.json").read_text("utf-8")
    fields = Setup.__dataclass_fields__
    return tuple(
        Setup(**{key: value for key, value in one.items() if key in fields})
        for one in json.loads(text)["setups"]
    )


def nearest(
    setups: Sequence[Setup], wanted: Wanted, *, without: str = "", same_engine: bool = False
) -> Match:
    """Set-up for a case.

    On its own chip a case takes the set-ups nearest in number format, launch mode, software and
    kernel. From other chips it takes the mean of all of a level in its format and mode: which
    version they ran says little about another chip, and a mean over more set-ups carries further.

    Parameters
    ----------
    setups : sequence of Setup
        At least one.
    wanted : Wanted
    without : str
        Chip left out, to see how far the others carry.
    same_engine : bool
        Also across chips prefer set-ups of the engine of the case, whatever its version: for laws
        whose constants hold what the engine's host or its way of timing adds.

    Raises
    ------
    ValueError
        No set-up at all (our own bug: every law ships some).
    """
    known = [one for one in setups if one.chip != without]
    if not known:
        raise ValueError("no set-up to choose from")
    for distance, some in _levels(known, wanted):
        if some:
            near_by = distance <= Distance.OTHER_STACK
            chosen = _best(some, wanted, software=near_by, engine=near_by or same_engine)
            exact = distance is Distance.EXACT
            near = Distance.EXACT if exact and len(chosen) == 1 else max(distance, Distance(1))
            setup = chosen[0] if len(chosen) == 1 else geometric_mean(chosen)
            spread = math.hypot(setup.log_sd, EXTRA_LOG_SD[near])
            words = "" if near is Distance.EXACT else _words(near, chosen)
            return Match(setup=setup, distance=near, log_sd=spread, assumption=words)
    raise AssertionError  # the last level holds every set-up


def _levels(known: list[Setup], wanted: Wanted) -> Iterable[tuple[Distance, list[Setup]]]:
    same_chip = [one for one in known if one.chip == wanted.chip]
    yield Distance.EXACT, [one for one in same_chip if _agrees(one, wanted)]
    yield Distance.OTHER_STACK, same_chip
    kin = family(wanted.chip)
    yield Distance.FAMILY, [one for one in known if kin and family(one.chip) == kin]
    yield Distance.VENDOR, [one for one in known if vendor(one.chip) == vendor(wanted.chip)]
    yield Distance.ANY, known


def _agrees(one: Setup, wanted: Wanted) -> bool:
    return (
        (not wanted.stack or same_stack(one.stack, wanted.stack))
        and (not wanted.dtype or one.dtype == wanted.dtype)
        and (not wanted.kernel or one.kernel.lower() == wanted.kernel.lower())
        and (not wanted.mode or one.mode == wanted.mode)
    )


def _best(some: list[Setup], wanted: Wanted, *, software: bool, engine: bool) -> list[Setup]:
    """Narrow down by format and mode, then by what is asked for, each only where it leaves any.

    A blank narrows nothing, the mode apart, whose default is graph. Across chips the mode comes
    first: how kernels are launched (2 or 170 us) is the stack's, and outweighs the format.
    """
    tests: list[Callable[[Setup], bool]] = [
        lambda one: one.dtype == wanted.dtype,
        lambda one: one.mode == (wanted.mode or "graph"),
    ]
    if not software:
        tests.reverse()
    if engine and wanted.stack:
        tests.append(lambda one: engine_of(one.stack) == engine_of(wanted.stack))
    if software and wanted.stack:
        tests.append(lambda one: same_stack(one.stack, wanted.stack))
    if software and wanted.kernel:
        tests.append(lambda one: one.kernel.lower() == wanted.kernel.lower())
    for test in tests:
        some = [one for one in some if test(one)] or some
    return some


def _words(near: Distance, chosen: Sequence[Setup]) -> str:
    names = sorted({f"{one.chip} {one.stack} {one.dtype}" for one in chosen})
    return f"constants borrowed from {WORDS[near]}: {', '.join(names)}"


def _typical(values: Sequence[float]) -> float:
    """Geometric mean of the positive values; arithmetic where one is negative, zero where none is.

    A zero says that a set-up lacks the term (no quantise kernel) or that its rows did not show it;
    as a number in a mean it would say that the term is small, which nobody measured.
    """
    if min(values) < 0.0:
        return math.fsum(values) / len(values)
    positive = [value for value in values if value > 0.0]
    return math.exp(math.fsum(map(math.log, positive)) / len(positive)) if positive else 0.0


def geometric_mean(setups: Sequence[Setup]) -> Setup:
    """Blend set-ups, each constant by `_typical` over the set-ups that have it."""
    names = dict.fromkeys(name for one in setups for name in one.constants)
    blend = {
        name: _typical([one.constants[name] for one in setups if name in one.constants])
        for name in names
    }
    first = setups[0]
    return replace(
        first,
        chip=" + ".join(sorted({one.chip for one in setups})),
        stack=" + ".join(sorted({one.stack for one in setups})),
        constants=blend,
        log_sd=max(one.log_sd for one in setups),
        rows=sum(one.rows for one in setups),
    )
