"""The parallelism grammar of serving rows, read tolerantly: it never raises.

    row         = pool | disaggregated
    pool        = "tp" N [ "-pp" N ] [ "-ep" N ] [ "-dp" N ] [ "-dpattn" ]
    disaggregated = "P[" workers "]+D[" workers "]"
    workers     = [ W "w " ] pool [ " " G "gpu" ]

`ep` shares the tensor ranks and `dpattn` makes them attention replicas. A pool of W workers on G
chips has G / W chips a worker whatever its degrees multiply to (G wins): data parallelism, more
workers or a narrower tensor group make up for the difference, in that order. Degrees counted in
cores ("tp24 NeuronCores") are divided by the cores of a chip.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from math import gcd

from tapeout.perf import Degrees

_DEGREE = re.compile(r"(tp|pp|ep|dp)[ =_-]*(\d{1,4})(?![\d.])", re.IGNORECASE)
_ATTENTION = re.compile(r"dp[ _-]?att(?:entio)?n", re.IGNORECASE)
_SPLIT = re.compile(r"P\s*\[(?P<prefill>[^\]]*)\]\s*\+\s*D\s*\[(?P<decode>[^\]]*)\]", re.IGNORECASE)
_WORKERS = re.compile(r"(?<![\w.])(\d{1,4})\s*w\b", re.IGNORECASE)
_CHIPS = re.compile(r"(?<![\w.])(\d{1,5})\s*(?:(?:gpu|chip|xpu|tpu)s?|g)\b", re.IGNORECASE)
_KNOWN = re.compile(r"[-+,;/ ]|mtp|draft|eagle|spec", re.IGNORECASE)
WIDE_RANKS = 16  # beyond it experts are not cut but spread, whatever the text says
CORES_PER_CHIP = {
    # cores that frameworks count as devices; makers' own documentation
    "aws inferentia2": 2,
    "aws trainium1": 2,
    "aws trainium2": 8,
    "aws trainium3": 8,
    "google tpu v2": 2,
    "google tpu v3": 2,
    "google tpu v4": 2,
    "google tpu v5p": 2,
    "google tpu v7": 2,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """So many replicas ("workers") of one placement."""

    degrees: Degrees
    workers: int = 1

    @property
    def chips_per_worker(self) -> int:
        """Chips of one replica."""
        return self.degrees.ranks * self.degrees.pipeline

    @property
    def chips(self) -> int:
        """Chips of the pool."""
        return self.workers * self.chips_per_worker


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How a run uses its chips.

    Attributes
    ----------
    main : Pool
        The engines, or the decode pool of a disaggregated run.
    prefill : Pool or None
        The prefill pool of a disaggregated run.
    notes : tuple of str
        What the text did not say or contradicted, in words; empty for a plain text.
    """

    main: Pool
    prefill: Pool | None = None
    notes: tuple[str, ...] = ()

    @property
    def chips(self) -> int:
        """Chips of all pools."""
        return self.main.chips + (self.prefill.chips if self.prefill else 0)


def cores_per_chip(chip: str, text: str) -> int:
    """Cores counted as devices in a text about a chip; 1 where chips are counted.

    Examples
    --------
    >>> cores_per_chip("AWS Inferentia2", "tp24 NeuronCores")
    2
    >>> cores_per_chip("AWS Trainium2", "tp64 logical NeuronCores (LNC=2)")
    4
    """
    name = chip.lower()
    physical = next((n for key, n in CORES_PER_CHIP.items() if name.startswith(key)), 1)
    if "core" not in text.lower():
        return 1
    logical = re.search(r"LNC\s*=\s*(\d)", text, re.IGNORECASE)
    together = int(logical.group(1)) if logical else 1
    return max(1, physical // max(1, together))


def read_plan(text: str, *, chips: int | None = None, chip: str = "") -> Plan | None:
    """Read a parallelism; None where no degree can be found in it.

    Parameters
    ----------
    text : str
    chips : int, optional
        Chips of the whole run as stated beside it. It decides how many replicas there are, and
        the degrees where they cannot be right.
    chip : str
        Name of the chip, for the conversion of cores.

    Returns
    -------
    Plan or None
        `plan.chips` is `chips` where that is given and no pool states its own.

    Examples
    --------
    >>> read_plan("tp8-ep8-dpattn", chips=16).main
    Pool(degrees=Degrees(tensor=1, pipeline=1, expert=8, data=8), workers=2)
    >>> read_plan("P[1w tp4-ep4-dpattn 4gpu]+D[4w tp8-ep8 32gpu]").chips
    36
    >>> read_plan("as in the submission") is None
    True
    """
    split = _SPLIT.search(text)
    if split is None:
        return _single(text, chips, chip)
    prefill, decode = _pool(split["prefill"]), _pool(split["decode"])
    if prefill is None or decode is None:
        return None
    notes = [f"prefill: {note}" for note in prefill[1]] + [f"decode: {note}" for note in decode[1]]
    plan = Plan(main=decode[0], prefill=prefill[0])
    if chips is not None and plan.chips != chips:
        notes.append(f"the pools have {plan.chips} chips, n_chips says {chips}; the pools are used")
    return replace(plan, notes=tuple(notes))


def _single(text: str, chips: int | None, chip: str) -> Plan | None:
    """Plan of engines that do both phases."""
    found = _degrees(text)
    if found is None:
        return None
    degrees, notes = found
    cores = _cores(text, degrees, chips, chip)
    if cores > 1:
        degrees = _narrowed(degrees, cores)
        notes = (*notes, f"{cores} cores a chip")
    pool = Pool(degrees=degrees)
    if chips is None:
        return Plan(main=pool, notes=notes)
    each = pool.chips_per_worker
    if chips % each == 0:
        return Plan(main=replace(pool, workers=chips // each), notes=notes)
    fitted, note = _fit(degrees, 1, chips)
    return Plan(main=fitted, notes=(*notes, note))


def _cores(text: str, degrees: Degrees, chips: int | None, chip: str) -> int:
    """Cores a chip by which the degrees are counted."""
    cores = cores_per_chip(chip, text)
    if cores == 1 and chips:
        # TPU frameworks count TensorCores without saying so: the chips tell.
        possible = cores_per_chip(chip, "cores")
        ranks = degrees.ranks * degrees.pipeline
        return possible if possible > 1 and ranks == possible * chips else 1
    return cores if degrees.tensor % cores == 0 else 1


def _narrowed(degrees: Degrees, cores: int) -> Degrees:
    """Degrees in chips from degrees in cores."""
    tensor = max(1, degrees.tensor // cores)
    return _checked(replace(degrees, tensor=tensor, expert=max(1, degrees.expert // cores)))


def _pool(text: str) -> tuple[Pool, tuple[str, ...]] | None:
    """One pool of a disaggregated run with what had to be assumed."""
    found = _degrees(text)
    if found is None:
        return None
    degrees, notes = found
    workers_text, chips_text = _WORKERS.search(text), _CHIPS.search(text)
    workers = max(1, int(workers_text.group(1))) if workers_text else 1
    if chips_text is None:
        note = "chips of the pool are not stated; workers x degrees"
        return Pool(degrees=degrees, workers=workers), (*notes, note)
    chips = max(1, int(chips_text.group(1)))
    if workers * degrees.ranks * degrees.pipeline == chips:
        return Pool(degrees=degrees, workers=workers), notes
    pool, note = _fit(degrees, workers, chips)
    return pool, (*notes, note)


def _fit(degrees: Degrees, workers: int, chips: int) -> tuple[Pool, str]:
    """Make a pool of exactly so many chips; the stated chips win over workers x degrees."""
    each = degrees.ranks * degrees.pipeline
    if chips % workers == 0 and (chips // workers) % each == 0:
        more = chips // workers // each
        complete = degrees.expert > 1 and degrees.expert == degrees.ranks
        if degrees.tensor == 1 and not complete:
            wide = _spread(replace(degrees, data=degrees.data * more))
            return Pool(degrees=wide, workers=workers), f"attention groups x {more} to use {chips}"
    if chips % each == 0:
        return Pool(degrees=degrees, workers=chips // each), f"{chips // each} workers by the chips"
    tensor = gcd(degrees.tensor, chips)
    narrow = _checked(Degrees(tensor=tensor, expert=min(degrees.expert, tensor)))
    note = f"degrees do not divide {chips} chips; tp{tensor} is taken"
    return Pool(degrees=narrow, workers=chips // tensor), note


def _spread(degrees: Degrees) -> Degrees:
    """Spread the experts over wide groups."""
    ranks = degrees.ranks
    return replace(degrees, expert=ranks) if ranks > WIDE_RANKS else _checked(degrees)


def _checked(degrees: Degrees) -> Degrees:
    """Largest expert degree up to the stated one that divides the ranks."""
    return replace(degrees, expert=gcd(degrees.expert, degrees.ranks))


def _degrees(text: str) -> tuple[Degrees, tuple[str, ...]] | None:
    """Degrees of one replica; None where the text names none or names one twice."""
    attention = bool(_ATTENTION.search(text))
    plain = _ATTENTION.sub(" ", text)
    stated: dict[str, int] = {}
    for name, number in _DEGREE.findall(plain):
        key = name.lower()
        if key in stated or int(number) < 1:
            return None
        stated[key] = int(number)
    if not stated:
        return None
    tensor, data = stated.get("tp", 1), stated.get("dp", 1)
    pipeline, expert = stated.get("pp", 1), stated.get("ep", 1)
    notes: list[str] = []
    if expert > tensor * data and expert % (tensor * data) == 0:
        data = expert // tensor  # experts span more ranks than are named: the rest is data parallel
        notes.append(f"ep{expert} spans {data} attention groups")
    if attention:
        tensor, data = 1, data * tensor
    degrees = Degrees(tensor=tensor, pipeline=pipeline, expert=expert, data=data)
    if expert > 1 and degrees.ranks % expert:
        notes.append(f"ep{expert} does not divide {degrees.ranks} ranks")
    ignored = _KNOWN.sub("", _CHIPS.sub("", _WORKERS.sub("", _DEGREE.sub("", plain))))
    if ignored.strip("[] "):
        notes.append(f"not read: {ignored.strip()[:40]!r}")
    return _checked(degrees), tuple(notes)
