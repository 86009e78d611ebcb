"""The tables of this room: engines, their fitted host times, and what fills a blank input."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from importlib import resources

GENERIC = "generic"
SEPARATE = "prefill-alone"


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """The nearest known software: `stack` is a key of the fitted constants."""

    pattern: str
    stack: str
    policy: str  # chunked-prefill | prefill-alone | static
    note: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Default:
    """What is taken for a blank input, and where it comes from."""

    model: str
    scenario: str
    field: str
    value: float
    status: str  # published | assumption
    source: str

    def words(self) -> str:
        """As listed among the assumptions of a row."""
        return f"{self.field} = {self.value:g} ({self.status}: {self.source})"


@dataclass(frozen=True, slots=True, kw_only=True)
class HostTimes:
    """What the host of an engine adds to the way of a request; fitted by tools/fit_burst.py.

    Attributes
    ----------
    skipped_steps : int
        Steps that an arrival misses.
    request_s, token_s : float
        Before a request is queued, and for each token of its prompt. [s]
    """

    skipped_steps: int
    request_s: float
    token_s: float


def _rows(name: str) -> list[dict[str, str]]:
    text = resources.files("tapeout.serving").joinpath(f"data/{name}.csv").read_text("utf-8")
    return list(csv.DictReader(text.splitlines()))


@cache
def engines() -> tuple[Engine, ...]:
    """Read data/engines.csv, most specific pattern first."""
    return tuple(Engine(**row) for row in _rows("engines"))


@cache
def defaults() -> tuple[Default, ...]:
    """Read data/serving_defaults.csv, most specific rule first."""
    return tuple(
        Default(
            model=row["model"],
            scenario=row["scenario"],
            field=row["field"],
            value=float(row["value"]),
            status=row["status"],
            source=row["source"],
        )
        for row in _rows("serving_defaults")
    )


@cache
def _host_times() -> dict[tuple[str, str], HostTimes]:
    return {
        (row["engine"], row["vendor"]): HostTimes(
            skipped_steps=int(row["skipped_steps"]),
            request_s=float(row["request_s"]),
            token_s=float(row["token_s"]),
        )
        for row in _rows("host_times")
    }


def host_times(engine: str, vendor: str) -> HostTimes:
    """Host times of an engine on chips of a vendor ("*": any), from data/host_times.csv.

    Examples
    --------
    >>> host_times("vllm", "*").skipped_steps
    3
    """
    return _host_times()[engine, vendor]


def engine_of(text: str) -> Engine | None:
    """Engine of a row; None where no pattern occurs in the text.

    Examples
    --------
    >>> engine_of("TensorRT 10.14, CUDA 13.1").stack, engine_of("mori-sglang").stack
    ('trt', 'sglang')
    """
    lowered = text.lower()
    return next((one for one in engines() if one.pattern in lowered), None)


def default_of(field: str, *, model: str, scenario: str) -> Default:
    """First rule for a field whose words all occur in the scenario.

    Examples
    --------
    >>> default_of("tpot_ms", model="llama-2-70b", scenario="MLPerf v5.1 Interactive").value
    40.0
    """
    lowered = scenario.lower()
    for one in defaults():
        known = one.model in ("*", model.lower())
        if one.field == field and known and _occurs(one.scenario, lowered):
            return one
    raise AssertionError(field)  # the last rules hold for every model and scenario


def _occurs(scenario: str, text: str) -> bool:
    return scenario == "*" or all(word in text for word in scenario.split())
