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
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from functools import cache
from importlib import resources

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


def nearest(setups: Sequence[Setup], wanted: Wanted, *, without: str = "") -> Match:
    """Set-up for a case; `without` leaves a chip out, to see how far the others carry.

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
            chosen = _best(some, wanted)
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
        (not wanted.stack or _plain(one.stack) == _plain(wanted.stack))
        and (not wanted.dtype or one.dtype == wanted.dtype)
        and (not wanted.kernel or one.kernel.lower() == wanted.kernel.lower())
        and (not wanted.mode or one.mode == wanted.mode)
    )


def _best(some: list[Setup], wanted: Wanted) -> list[Setup]:
    """Narrow down by format, then mode, then engine, then kernel, each only where it leaves any."""
    tests = (
        lambda one: one.dtype == wanted.dtype,
        lambda one: one.mode == (wanted.mode or "graph"),
        lambda one: _engine(one.stack) == _engine(wanted.stack),
        lambda one: _plain(one.stack) == _plain(wanted.stack),
        lambda one: one.kernel.lower() == wanted.kernel.lower(),
    )
    for test in tests:
        narrower = [one for one in some if test(one)]
        some = narrower or some
    return some


def _plain(stack: str) -> str:
    return "".join(letter for letter in stack.lower() if letter.isalnum())


def _engine(stack: str) -> str:
    """Engine of "vllm-0.24.0" or "vLLM 0.24": the letters in front."""
    word = stack.lower().replace("tensorrt-llm", "trtllm").replace("tensorrt_llm", "trtllm")
    return "".join(
        letter for letter in word.partition("-")[0].partition(" ")[0] if letter.isalpha()
    )


def _words(near: Distance, chosen: Sequence[Setup]) -> str:
    names = sorted({f"{one.chip} {one.stack} {one.dtype}" for one in chosen})
    return f"constants borrowed from {WORDS[near]}: {', '.join(names)}"


def geometric_mean(setups: Sequence[Setup]) -> Setup:
    """Blend set-ups: each constant is the geometric mean, zeros and signs apart arithmetic."""
    names = setups[0].constants.keys()
    blend = {}
    for name in names:
        values = [one.constants[name] for one in setups if name in one.constants]
        if all(value > 0.0 for value in values):
            blend[name] = math.exp(sum(map(math.log, values)) / len(values))
        else:
            blend[name] = sum(values) / len(values)
    first = setups[0]
    return replace(
        first,
        chip=" + ".join(sorted({one.chip for one in setups})),
        stack=" + ".join(sorted({one.stack for one in setups})),
        constants=blend,
        log_sd=max(one.log_sd for one in setups),
        rows=sum(one.rows for one in setups),
    )
