"""One serving row, read: what runs where, under which load, and what had to be assumed.

Measured columns are never read here, so that predictions are the same with and without them; of
the text columns `scenario` and `notes` only the words named in docs/validate.md are looked at.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import lru_cache

from tapeout.constants import MILLI, PERCENT
from tapeout.errors import InfeasibleError, UnknownNameError
from tapeout.fabric import System, usual_system
from tapeout.perf import serving_formats, usual_precision
from tapeout.serving.cases import RANGE_SHARE, RANGE_SPREAD
from tapeout.serving.parallelism import Plan, read_plan
from tapeout.serving.steady import Lengths
from tapeout.serving.tables import GENERIC, default_of, engine_of
from tapeout.serving.types import Slo
from tapeout.serving.validation.chips import FindChip, find_chip
from tapeout.serving.validation.words import (
    KNOWN_DRAFTS,
    MOST_DRAFTS,
    NO_DRAFTS,
    UNSTATED,
    drafts_of,
    load_of,
    precision_of,
)
from tapeout.workload import ModelArchitecture, TensorFormats, load_model, model_names

SLO_PERCENTILE = 99.0  # of the limits of MLPerf
DUAL = 2  # chips of a card that its source counts as one accelerator
WIDE_RANGE = "range ratio 0.8"
MOST = {
    # beyond these a cell is taken for a mistake, in the unit of the column
    "n_chips": 1_000_000.0,
    "input_tokens": 10_000_000.0,
    "output_tokens": 10_000_000.0,
    "concurrency_or_qps": 10_000_000.0,
}
KV = ("fp4", "fp8", "int8", "bf16")


class Kind(StrEnum):
    """What loads the engines."""

    CLOSED = "closed loop"
    OPEN = "open loop"
    STATIC = "static batch"
    LARGEST = "max batch"
    OBJECTIVE = "load at objective"


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """`value` is requests in flight, sequences of a batch, or requests a second; over all chips."""

    kind: Kind
    value: float = math.nan


@dataclass(frozen=True, slots=True, kw_only=True)
class Speculation:
    """Several tokens a step: k drafts are verified together and kept up to the first wrong one.

    Attributes
    ----------
    drafts : int
    acceptance : float
        Chance that a draft is right, given that those before it are.
    draft_share : float
        Time of one draft pass over that of a plain step.
    """

    drafts: int
    acceptance: float
    draft_share: float

    @property
    def tokens_per_step(self) -> float:
        """Mean tokens a sequence gains in a step, `(1 - a^(k+1)) / (1 - a)`."""
        a, k = self.acceptance, self.drafts
        return k + 1.0 if a >= 1.0 else (1.0 - a ** (k + 1)) / (1.0 - a)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServingCase:
    """A row ready to be predicted.

    `plan` is None where it is to be derived from the chips and the memory. `assumed` changes the
    status of the row, `notes` does not. A source that counts cards of two chips has
    `chips_per_card` 2: `chips` counts chips, and its rates are per card.
    """

    system: System
    architecture: ModelArchitecture
    formats: TensorFormats
    stack: str
    policy: str
    chips: int | None
    plan: Plan | None
    lengths: Lengths
    load: Load
    speculation: Speculation | None
    objective: Slo
    wall_power: bool
    chips_per_card: int = 1
    benchmark: bool = False  # a run of MLPerf, whose submitters choose the load
    length_spread: float = 0.0  # half the range of lengths over their mean
    assumed: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(slots=True)
class _Reader:
    """Cells of a row and what was assumed while they were read."""

    row: Mapping[str, str]
    model: str = ""
    assumed: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def text(self, name: str) -> str:
        """Cell without outer blanks; empty where the column is absent."""
        return (self.row.get(name) or "").strip()

    @property
    def scenario(self) -> str:
        """Words that rules are looked up by; the latencies some sources put there are not used."""
        return f"{self.text('serving_mode')} {self.text('scenario')}"

    def number(self, name: str) -> float | None:
        """Positive number of a cell; None where blank.

        Raises
        ------
        InfeasibleError
            The cell is no positive number.
        """
        text = self.text(name).replace(",", "")
        if not text:
            return None
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not (math.isfinite(value) and value > 0.0):
            raise InfeasibleError(f"{name} {text[:40]!r} is not a positive number")
        return _within(name, value)

    def filled(self, name: str, scenario: str | None = None) -> float:
        """Value of a cell, or of the rule for it."""
        found = self.number(name)
        if found is not None:
            return found
        rule = default_of(name, model=self.model, scenario=scenario or self.scenario)
        self.assumed.append(rule.words())
        return rule.value


def _within(name: str, value: float) -> float:
    """Refuse what no run can have: it would be timed for hours."""
    if value > MOST.get(name, math.inf):
        raise InfeasibleError(
            f"{name} {value:g} is more than {MOST[name]:g}, the most that is read"
        )
    return value


@lru_cache(maxsize=256)
def _system(name: str, find: FindChip) -> System:
    return usual_system(find(name))


def read_case(row: Mapping[str, str], find: FindChip = find_chip) -> ServingCase:
    """Read one row of the end-to-end table; columns other than chip and model may be absent.

    Raises
    ------
    UnknownNameError
        A chip or model that is in no list.
    MissingFieldError
        The chip has neither a bandwidth nor a peak rate.
    InfeasibleError
        Chip or model is blank, or a number cannot be read.
    """
    read = _Reader(row)
    for name in ("chip", "model"):
        if not read.text(name):
            raise InfeasibleError(f"{name} is blank")
    system = _system(read.text("chip"), find)
    read.model, architecture = _model(read)
    read.notes.extend(f"chip: {line}" for line in system.chip.assumptions)
    formats = _formats(read, system, architecture)
    stack, policy = _engine(read)
    per_card = DUAL if "dual-gpu card" in read.text("notes").lower() else 1
    chips = _chips(read, per_card)
    plan = _plan(read, chips)
    if chips is None and plan is not None and plan.prefill is None:
        read.assumed.append(f"n_chips is blank; {plan.chips} by the parallelism, one replica")
    elif chips is None and plan is None:
        read.assumed.append("n_chips is blank; the fewest that hold the model")
    lengths = _lengths(read)
    wanted = _load(read)
    return ServingCase(
        system=system,
        architecture=architecture,
        formats=formats,
        stack=stack,
        policy=policy,
        chips=chips,
        plan=plan,
        lengths=lengths,
        load=wanted,
        speculation=_speculation(read),
        objective=_objective(read, wanted),
        wall_power="wall" in read.text("power_scope").lower(),
        chips_per_card=per_card,
        benchmark="mlperf" in read.scenario.lower(),
        length_spread=RANGE_SPREAD if WIDE_RANGE in read.text("scenario").lower() else 0.0,
        assumed=tuple(read.assumed),
        notes=tuple(read.notes),
    )


_SUFFIX = re.compile(r"[-_ ](?:instruct|chat|it|hf|base)$", re.IGNORECASE)


def find_model(text: str) -> tuple[str, ModelArchitecture]:
    """Name and architecture of a model; names of a hub lose their owner and their ending.

    Raises
    ------
    UnknownNameError
        The name is in no list.

    Examples
    --------
    >>> find_model("meta-llama/Llama-3.1-8B-Instruct")[1].name
    'llama-3.1-8b'
    """
    plain = text.replace("\\", "/").rsplit("/", 1)[-1]
    if plain.endswith(".json"):  # a cell of a table names a model, it never opens a file
        raise UnknownNameError("model", text[:80], model_names())
    spellings = (plain, plain.replace(" ", "-"), _SUFFIX.sub("", plain).replace(" ", "-"))
    for name in dict.fromkeys(spellings):
        try:
            return name, load_model(name)
        except UnknownNameError:
            continue
    return plain, load_model(plain[:80])


def _model(read: _Reader) -> tuple[str, ModelArchitecture]:
    """Name and architecture of the model of a row."""
    text = read.text("model")
    name, found = find_model(text)
    if name != text:
        read.notes.append(f"model {text[:60]!r} taken as {found.name}")
    return name, found


def _formats(read: _Reader, system: System, architecture: ModelArchitecture) -> TensorFormats:
    text = read.text("weight_precision")
    known, note = precision_of(text)
    if note:
        read.assumed.append(f"weight_precision {text[:40]!r} taken as {known}: {note}")
    if known is None:
        known = usual_precision(system.chip, architecture)
        why = f"weight_precision {text[:40]!r} is not known"
        why = why if text else "weight_precision is blank"
        read.assumed.append(f"{why}; {known} is the narrowest served on the chip")
    engine = engine_of(read.text("engine"))
    formats = serving_formats(
        system.chip, architecture, known, stack=engine.stack if engine else GENERIC
    )
    stated = read.text("kv_precision")
    cache, _ = precision_of(stated)
    if cache in KV:
        return replace(formats, kv=cache)
    if stated and stated.lower() != "auto":
        read.assumed.append(f"kv_precision {stated[:40]!r} is not known; {formats.kv} is taken")
    else:
        read.notes.append(f"kv_precision = {formats.kv} (formats table)")
    return formats


def _engine(read: _Reader) -> tuple[str, str]:
    text = read.text("engine")
    found = engine_of(text)
    if found is None:
        why = f"engine {text[:40]!r} is not known" if text else "engine is blank"
        read.assumed.append(f"{why}; the constants of no engine are used")
        return GENERIC, "chunked-prefill"
    if found.stack.lower() != text.lower():
        read.notes.append(f"engine {text[:40]!r} taken as {found.stack}: {found.note}")
    return found.stack, found.policy


def _chips(read: _Reader, per_card: int) -> int | None:
    if per_card > 1:
        read.notes.append(f"{per_card} chips a card; rates and power are per card")
    value = read.number("n_chips")
    if value is None:
        return None
    if value != math.floor(value):
        raise InfeasibleError(f"n_chips {value:g} is not a whole number")
    return int(value) * per_card


def _plan(read: _Reader, chips: int | None) -> Plan | None:
    text = read.text("parallelism")
    plan = read_plan(text, chips=chips, chip=read.text("chip"))
    if plan is None:
        why = f"parallelism {text[:40]!r} is not readable" if text else "parallelism is blank"
        read.assumed.append(f"{why}; derived from n_chips and memory")
        return None
    read.assumed.extend(f"parallelism: {note}" for note in plan.notes)
    return plan


def _lengths(read: _Reader) -> Lengths:
    share = RANGE_SHARE if WIDE_RANGE in read.text("scenario").lower() else 1.0
    given = [read.filled(name) for name in ("input_tokens", "output_tokens")]
    if share != 1.0:
        read.notes.append(f"lengths {share:g} x nominal ({WIDE_RANGE})")
    tokens, output = (max(1.0, share * value) for value in given)
    cached = tokens * _cached_share(read)
    new = max(1.0, tokens - cached)
    return Lengths(new=new, cached=tokens - new, output=output)


def _cached_share(read: _Reader) -> float:
    """Share of the input found in a prefix cache: a column, or "N% cache hit" in words."""
    stated = read.text("cached_input_fraction")
    words = f"{read.text('scenario')} {read.text('notes')}"
    hit = re.search(r"(\d+(?:\.\d+)?)\s*% cache hit", words)
    if stated:
        value = read.number("cached_input_fraction") if stated != "0" else 0.0
    else:
        value = float(hit.group(1)) * PERCENT if hit else 0.0
    return min(1.0, value or 0.0)


def _load(read: _Reader) -> Load:
    """Load of a row from concurrency_or_qps and the serving mode.

    Raises
    ------
    InfeasibleError
        A number that is no load: zero, negative, or half a request in flight.
    """
    text = read.text("concurrency_or_qps")
    stated = load_of(text)
    if stated.kind == "endless":
        read.assumed.append(f"concurrency_or_qps {text!r}: the largest batch that fits")
        return Load(kind=Kind.LARGEST)
    static = "static" in read.text("serving_mode").lower()
    if stated.kind == "words":
        return _load_in_words(read, text.lower(), static=static)
    value = stated.value
    if not (math.isfinite(value) and value > 0.0):
        raise InfeasibleError(f"concurrency_or_qps {text[:40]!r} is not a positive number")
    _within("concurrency_or_qps", value)
    if stated.kind == "rate":
        return Load(kind=Kind.OPEN, value=value)
    if value != math.floor(value):
        raise InfeasibleError(f"concurrency_or_qps {text[:40]!r} is not a whole number")
    if stated.kind == "at once":
        read.assumed.append(f"{value:g} requests at once: a closed loop of as many")
        return Load(kind=Kind.CLOSED, value=value)
    return Load(kind=Kind.STATIC if static else Kind.CLOSED, value=value)


def _load_in_words(read: _Reader, text: str, *, static: bool) -> Load:
    scenario = read.text("scenario").lower()
    if "max" in text or (not text and "offline" in scenario):
        return Load(kind=Kind.LARGEST)
    server = "server" in scenario or "interactive" in scenario
    if "sla" in text or "slo" in text or "poisson" in text or (not text and server):
        return Load(kind=Kind.OBJECTIVE)
    if "single" in read.text("serving_mode").lower():
        return Load(kind=Kind.CLOSED, value=1.0)
    rule = default_of("concurrency", model=read.model, scenario=read.scenario)
    why = f"concurrency_or_qps {text[:40]!r} is not readable" if text else rule.words()
    read.assumed.append(why if not text else f"{why}; {rule.words()}")
    return Load(kind=Kind.STATIC if static else Kind.CLOSED, value=rule.value)


def _speculation(read: _Reader) -> Speculation | None:
    text = read.text("spec_decoding").lower()
    stated = drafts_of(text)
    if text in NO_DRAFTS or stated == 0:
        return None
    if any(word in text for word in UNSTATED):
        read.assumed.append("spec_decoding is not stated; none is assumed")
        return None
    kind = "draft model" if re.search(r"draft[ _-]model", text) else "mtp"
    if not any(word in text for word in KNOWN_DRAFTS):
        read.assumed.append(f"spec_decoding {text[:40]!r} is taken as multi-token prediction")
    rules = {
        name: default_of(name, model=read.model, scenario=kind)
        for name in ("drafts", "acceptance", "draft_share")
    }
    drafts = int(rules["drafts"].value) if stated is None else stated
    if drafts > MOST_DRAFTS:
        read.assumed.append(f"{drafts} drafts a step: {MOST_DRAFTS} are taken")
    used = [rule.words() for name, rule in rules.items() if name != "drafts" or stated is None]
    read.assumed.extend(used)
    return Speculation(
        drafts=min(drafts, MOST_DRAFTS),
        acceptance=rules["acceptance"].value,
        draft_share=rules["draft_share"].value,
    )


def _objective(read: _Reader, wanted: Load) -> Slo:
    """Limits of the benchmark; looked up and listed only where the load is defined by them."""
    if wanted.kind is not Kind.OBJECTIVE:
        return Slo(ttft_s=math.inf, tpot_s=math.inf)
    limits = []
    for name in ("ttft_ms", "tpot_ms"):
        rule = default_of(name, model=read.model, scenario=read.scenario)
        (read.notes if rule.status == "published" else read.assumed).append(f"limit {rule.words()}")
        limits.append(rule.value * MILLI)
    return Slo(ttft_s=limits[0], tpot_s=limits[1], percentile=SLO_PERCENTILE)
