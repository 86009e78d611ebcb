"""Time every silicon on every workload before any draw, and turn the table into basket rates."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tapeout.catalog import Catalog
from tapeout.chip import ChipSpec, spec_from_record
from tapeout.constants import Z90
from tapeout.errors import (
    MissingFieldError,
    Outcome,
    Problem,
    ProblemsError,
    UnknownNameError,
)
from tapeout.numerics import Floats
from tapeout.quantities import in_unit
from tapeout.serving import CapacityTable, Slo, steady_capacity
from tapeout.sources import Figure, Ledger, Resolved
from tapeout.workload import Traffic

STEADY, SIMULATED = "steady", "simulated"
METHODS = (STEADY, SIMULATED)
STATED = "stated"  # model of a traffic class whose rate every option states

LEAST_SHIFT_RATIO = 1e-3  # of a chip that cannot serve the shifted work


@dataclass(frozen=True, slots=True, kw_only=True)
class Capacity:
    """What each option's silicon serves; mappings are by option key.

    Attributes
    ----------
    table : CapacityTable
        By silicon; the last workloads are the shifted ones. Stated rates come last, one row an
        option.
    basket_rate : mapping to float
        Output tokens per second and chip of the whole basket; zero where a class cannot be served.
    own_log_sd : mapping to float
        Timing error of that chip alone.
    replica_chips : mapping to int
        Largest replica over the basket.
    silicon : mapping to str
        Row of the table.
    shift_ratios : array, shape (shift,)
    """

    table: CapacityTable
    basket_rate: Mapping[str, float]
    own_log_sd: Mapping[str, float]
    replica_chips: Mapping[str, int]
    silicon: Mapping[str, str]
    shift_ratios: Floats
    specs: Mapping[str, ChipSpec | None]


def traffic_of(scenario: Any) -> tuple[list[Traffic], Floats]:
    """Classes of the basket and their shares of output tokens."""
    classes = [
        Traffic(
            name=one.name,
            model=one.model,
            input_tokens=one.input_tokens,
            output_tokens=one.output_tokens,
            cached_input_fraction=one.cached_input_fraction,
        )
        for one in (*scenario.traffic, *scenario.shifted)
    ]
    by_mw = scenario.scale.sized_by == "mw"
    weight = np.array(
        [one.share if by_mw else one.output_tokens_per_day for one in scenario.traffic], dtype=float
    )
    return classes, weight / weight.sum()


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """How a capacity table is filled: by the steady state, or by simulation (docs/search.md).

    `cached`: simulated cells are read from and kept in a cache by their content.
    """

    name: str = STEADY
    cached: bool = True

    def __post_init__(self) -> None:
        if self.name not in METHODS:
            raise UnknownNameError("way to fill the capacity table", self.name, METHODS)

    def table(
        self, silicon: Mapping[str, ChipSpec | None], traffic: list[Traffic], slo: list[Slo]
    ) -> CapacityTable:
        """Fill it."""
        if self.name == STEADY:
            return steady_capacity(silicon, traffic, slo)
        from tapeout.serving.search import SimulatedOptions, simulated_capacity  # noqa: PLC0415

        return simulated_capacity(silicon, traffic, slo, SimulatedOptions(cached=self.cached))


def time_silicon(
    scenario: Any, catalog: Catalog, what: str, method: Method | None = None
) -> Capacity:
    """Fill the capacity table of a scenario; by the steady state unless told otherwise.

    A basket is served in turns: a chip spends time on each class in proportion to its tokens, so
    the basket rate is the harmonic mean of the class rates, weighted by tokens.

    Raises
    ------
    ProblemsError
        Options that cannot serve the basket, each with the reason.
    """
    options = {key: one for key, one in scenario.options.items() if one.kind != "api"}
    records = {key: catalog.chip(one.chip) for key, one in options.items()}
    silicon = {key: record.name for key, record in records.items()}
    stated = stated_rates(scenario)
    timed = {key: name for key, name in silicon.items() if key not in stated}
    wrong = _check_stated(scenario, stated, timed)
    if wrong:
        raise ProblemsError(what, wrong)
    specs: dict[str, ChipSpec | None] = {}
    for record in records.values():
        if record.name not in specs:
            specs[record.name] = _spec(record)
    traffic, share = traffic_of(scenario)
    slo = [
        scenario.slo[one.slo or one.name].slo() for one in (*scenario.traffic, *scenario.shifted)
    ]
    names = set(timed.values())
    table = (
        (method or Method()).table(
            {name: specs[name] for name in specs if name in names}, traffic, slo
        )
        if timed
        else _empty_table(traffic)
    )
    row = {name: index for index, name in enumerate(table.silicon)}
    classes = len(scenario.traffic)
    rates: dict[str, float] = dict(stated)
    problems: list[Problem] = []
    for key, name in timed.items():
        rate = table.output_tokens_per_s_per_chip[row[name], :classes, 0]
        codes = table.outcome[row[name], :classes, 0]
        if np.any(rate <= 0):
            problems += _unserved(key, name, table.workload[:classes], codes)
            continue
        rates[key] = float(1.0 / np.sum(share / rate))
    if problems:
        raise ProblemsError(what, problems)
    sd = {key: float(table.own_log_sd[row[name], :classes, 0].max()) for key, name in timed.items()}
    replica = {
        key: int(table.chips_per_replica[row[name], :classes, 0].max())
        for key, name in timed.items()
    }
    return Capacity(
        table=_with_stated(table, traffic, {f"{silicon[k]} ({k})": v for k, v in stated.items()}),
        basket_rate={key: rates[key] for key in silicon},
        own_log_sd=sd | dict.fromkeys(stated, 0.0),
        replica_chips=replica | dict.fromkeys(stated, 0),
        silicon=silicon,
        shift_ratios=_shift_ratios(scenario, table, timed, rates, classes),
        specs=specs,
    )


def stated_rates(scenario: Any) -> dict[str, float]:
    """Basket rates that a scenario states instead of having them simulated. [tokens/s]."""
    written = {
        key: getattr(one, "tokens_per_s_per_chip", None) for key, one in scenario.options.items()
    }
    return {
        key: in_unit(rate, "tokens/s").value for key, rate in written.items() if rate is not None
    }


def _check_stated(
    scenario: Any, stated: Mapping[str, float], timed: Mapping[str, str]
) -> list[Problem]:
    wrong = [
        Problem(
            path=f"options.{key}.tokens_per_s_per_chip",
            value=f"{rate:g}",
            message="must be more than zero",
            remedy="write the rate of one chip at the service level [tokens/s]",
        )
        for key, rate in stated.items()
        if rate <= 0
    ]
    unnamed = [one.name for one in scenario.traffic if one.model == STATED]
    wrong += [
        Problem(
            path=f"options.{key}.tokens_per_s_per_chip",
            value="",
            message=f"missing: traffic {name!r} names no model, so nothing can be simulated",
            remedy="state the rate of one chip, or name a model in the traffic",
        )
        for name in unnamed
        for key in timed
    ]
    return wrong


def _empty_table(traffic: list[Traffic]) -> CapacityTable:
    """A table without silicon, where every rate is stated."""
    none = np.zeros((0, len(traffic), 1))
    whole = none.astype(np.int64)
    return CapacityTable(
        silicon=(),
        workload=tuple(one.name for one in traffic),
        stack_year=(0,),
        output_tokens_per_s_per_chip=none,
        input_tokens_per_s_per_chip=none,
        joule_per_output_token=none,
        chips_per_replica=whole,
        ttft_s=none,
        tpot_s=none,
        batch_sequences=none,
        common_log_sd=none,
        own_log_sd=none,
        outcome=whole,
        method="stated",
        placement=(),
    )


def _with_stated(
    table: CapacityTable, traffic: list[Traffic], stated: Mapping[str, float]
) -> CapacityTable:
    """Append one row for each stated rate; what nobody simulated is not a number."""
    if not stated:
        return table
    output = np.array(list(stated.values()))[:, None, None] * np.ones((1, len(traffic), 1))
    per_output = np.array([one.input_tokens / one.output_tokens for one in traffic])
    unknown, zero = np.full_like(output, np.nan), np.zeros_like(output)

    def joined(top: Any, rows: Floats) -> Any:
        return np.concatenate([top, rows.astype(top.dtype)], axis=0)

    return replace(
        table,
        silicon=(*table.silicon, *stated),
        output_tokens_per_s_per_chip=joined(table.output_tokens_per_s_per_chip, output),
        input_tokens_per_s_per_chip=joined(
            table.input_tokens_per_s_per_chip, output * per_output[None, :, None]
        ),
        joule_per_output_token=joined(table.joule_per_output_token, unknown),
        chips_per_replica=joined(table.chips_per_replica, zero + 1.0),
        ttft_s=joined(table.ttft_s, unknown),
        tpot_s=joined(table.tpot_s, unknown),
        batch_sequences=joined(table.batch_sequences, unknown),
        common_log_sd=joined(table.common_log_sd, zero),
        own_log_sd=joined(table.own_log_sd, zero),
        outcome=joined(table.outcome, zero + int(Outcome.OK)),
        placement=(*table.placement, *[("stated",) * len(traffic)] * len(stated)),
    )


def _spec(record: Any) -> ChipSpec | None:
    try:
        return spec_from_record(record)
    except MissingFieldError:
        return None


def _unserved(key: str, name: str, workload: tuple[str, ...], codes: Any) -> list[Problem]:
    return [
        Problem(
            path=f"options.{key}.chip",
            value=repr(name),
            message=f"cannot serve {one!r}: {Outcome(int(code)).sentence}",
            remedy="loosen its service level, choose another chip or drop the option",
        )
        for one, code in zip(workload, codes, strict=True)
        if code != Outcome.OK
    ]


def _shift_ratios(
    scenario: Any,
    table: CapacityTable,
    silicon: Mapping[str, str],
    rates: Mapping[str, float],
    classes: int,
) -> Floats:
    """Own chip's standing on each shifted workload against the alternative's, over today's.

    A shift to what the own chip cannot serve at all leaves it a thousandth: its tokens then cost
    a thousand times as much, which is none for every purpose, and every ratio stays defined.
    """
    if "own" not in silicon or not scenario.shifted:
        return np.ones(1)
    alternative = scenario.decision.alternative
    if alternative not in silicon:
        return np.ones(1)
    row = {name: index for index, name in enumerate(table.silicon)}
    shifted = table.output_tokens_per_s_per_chip[:, classes:, 0]
    own = shifted[row[silicon["own"]]] / rates["own"]
    other = shifted[row[silicon[alternative]]] / rates[alternative]
    ratios: Floats = np.divide(own, other, out=np.ones_like(own), where=other > 0)
    return np.maximum(ratios, LEAST_SHIFT_RATIO)


_HOW = {STEADY: "steady state", SIMULATED: "requests simulated through an engine"}


def enter_capacity(ledger: Ledger, capacity: Capacity, as_of: dt.date) -> None:
    """Enter simulated rates and timing errors into the ledger."""
    for key, rate in capacity.basket_rate.items():
        name = capacity.silicon[key]
        path = f"options.{key}.tokens_per_s_per_chip"
        if path in ledger:
            _enter_exact_timing(ledger, key, as_of)
            continue
        ledger.add(
            Resolved(
                path=path,
                chosen=Figure(
                    value=rate,
                    unit="tokens/s",
                    range_kind="exact",
                    as_of=str(as_of),
                    status="simulated",
                    note=f"{_HOW[capacity.table.method]} of {name} at the service levels, whole"
                    " basket",
                ),
                set_by="simulated",
                why=f"simulated: {name}, harmonic mean over the basket; error in timing_ratio",
            )
        )
        path = f"options.{key}.timing_ratio"
        if path in ledger:
            continue
        spread = float(np.exp(Z90 * capacity.own_log_sd[key]))
        ledger.add(
            Resolved(
                path=path,
                chosen=Figure(
                    value=1.0,
                    unit="ratio",
                    low=1.0 / spread,
                    high=spread,
                    range_kind="ci90",
                    as_of=str(as_of),
                    status="simulated",
                ),
                set_by="simulated",
                why=f"own timing error of {name}: sd {capacity.own_log_sd[key]:.2f} in logs",
            )
        )


def _enter_exact_timing(ledger: Ledger, key: str, as_of: dt.date) -> None:
    """A stated rate carries its own range; nothing is added for simulating it."""
    path = f"options.{key}.timing_ratio"
    if path in ledger:
        return
    figure = Figure(value=1.0, unit="ratio", range_kind="exact", as_of=str(as_of), status="derived")
    why = "the rate is stated, not simulated; its range is its own"
    ledger.add(Resolved(path=path, chosen=figure, set_by="derived", why=why))
