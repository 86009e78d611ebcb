"""Time every silicon on every workload before any draw, and turn the table into basket rates."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from tapeout.catalog import Catalog
from tapeout.chip import ChipSpec, spec_from_record
from tapeout.constants import Z90
from tapeout.errors import MissingFieldError, Outcome, Problem, ProblemsError
from tapeout.numerics import Floats
from tapeout.serving import CapacityTable, steady_capacity
from tapeout.sources import Figure, Ledger, Resolved
from tapeout.workload import Traffic


@dataclass(frozen=True, slots=True, kw_only=True)
class Capacity:
    """What each option's silicon serves; mappings are by option key.

    Attributes
    ----------
    table : CapacityTable
        By silicon; the last workloads are the shifted ones.
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


def time_silicon(scenario: Any, catalog: Catalog, what: str) -> Capacity:
    """Fill the capacity table of a scenario.

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
    specs: dict[str, ChipSpec | None] = {}
    for record in records.values():
        if record.name not in specs:
            specs[record.name] = _spec(record)
    traffic, share = traffic_of(scenario)
    slo = [
        scenario.slo[one.slo or one.name].slo() for one in (*scenario.traffic, *scenario.shifted)
    ]
    table = steady_capacity(specs, traffic, slo)
    row = {name: index for index, name in enumerate(table.silicon)}
    classes = len(scenario.traffic)
    rates: dict[str, float] = {}
    problems: list[Problem] = []
    for key, name in silicon.items():
        rate = table.output_tokens_per_s_per_chip[row[name], :classes, 0]
        codes = table.outcome[row[name], :classes, 0]
        if np.any(rate <= 0):
            problems += _unserved(key, name, table.workload[:classes], codes)
            continue
        rates[key] = float(1.0 / np.sum(share / rate))
    if problems:
        raise ProblemsError(what, problems)
    sd = {
        key: float(table.own_log_sd[row[name], :classes, 0].max()) for key, name in silicon.items()
    }
    replica = {
        key: int(table.chips_per_replica[row[name], :classes, 0].max())
        for key, name in silicon.items()
    }
    return Capacity(
        table=table,
        basket_rate=rates,
        own_log_sd=sd,
        replica_chips=replica,
        silicon=silicon,
        shift_ratios=_shift_ratios(scenario, table, silicon, rates, classes),
        specs=specs,
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

    A shift to what the own chip cannot serve at all leaves it nothing.
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
    return ratios


def enter_capacity(ledger: Ledger, capacity: Capacity, as_of: dt.date) -> None:
    """Enter simulated rates and timing errors into the ledger."""
    for key, rate in capacity.basket_rate.items():
        name = capacity.silicon[key]
        ledger.add(
            Resolved(
                path=f"options.{key}.tokens_per_s_per_chip",
                chosen=Figure(
                    value=rate,
                    unit="tokens/s",
                    range_kind="exact",
                    as_of=str(as_of),
                    status="simulated",
                    note=f"steady state of {name} at the service levels, whole basket",
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
