"""Resolve every input of a scenario once: scenario, then catalogue, then reviewed default.

The ledger keeps what was chosen, over what, and why; a run reads nothing else.
"""

from __future__ import annotations

import contextlib
import datetime as dt
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from tapeout.catalog import Catalog, with_default_range
from tapeout.economics.terms import GLOBAL_TERMS, PRICE_DRIFTS, Term
from tapeout.errors import Problem, ProblemsError, UnitError, UnknownNameError
from tapeout.quantities import Quantity, QuantityError, in_unit
from tapeout.sources import Figure, Ledger, Resolved
from tapeout.study.scenario import option_terms, years_from
from tapeout.units import convert
from tapeout.units import unit as find_unit

if TYPE_CHECKING:
    from collections.abc import Iterable

ALLIN_OVER_TDP = Figure(
    value=1.6,
    unit="ratio",
    low=1.35,
    high=2.0,
    range_kind="ci90",
    as_of="2026-11-24",
    note="all-in power over rated power is 1.34 (GB200), 1.51 (GB300), 1.61 (Jalapeno), 1.96 (H100)"
    " in one analyst's table",
)
DIE_AREA = Figure(
    value=800.0,
    unit="mm2",
    low=600.0,
    high=1700.0,
    range_kind="ci90",
    as_of="2026-11-24",
    note="a near-reticle die, or two: no published area",
)
ROADMAP_DAYS = 366
NO_PORT = ("port_usd", "port_usd_per_year", "port_start_fraction")
EXACT = ("memory_gb", "die_area_mm2")  # what stands on the package is no driver
RENT_CONDITIONS = {
    "on-demand": ("on-demand neocloud", "on-demand index", "on-demand hyperscaler"),
    "contract": ("1-year", "reserved neocloud", "1-3-year"),
    "take-or-pay": ("3-year", "1-3-year"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolution:
    """All resolved inputs of a scenario."""

    ledger: Ledger
    omitted: tuple[str, ...]  # inputs left off because no figure exists, in words


class _Resolver:
    def __init__(self, scenario: Any, catalog: Catalog) -> None:
        self.scenario = scenario
        self.catalog = catalog
        self.ledger = Ledger()
        self.problems: list[Problem] = []
        self.omitted: list[str] = []

    def problem(self, path: str, message: str, remedy: str = "", value: str = "") -> None:
        self.problems.append(Problem(path=path, value=value, message=message, remedy=remedy))

    def section(self, name: str, terms: Iterable[Term], section: Any) -> None:
        for term in terms:
            path = f"{name}.{term.name}"
            written = getattr(section, term.name)
            if written is not None:
                self.write(path, term, written)
            elif path != _LUMPED_DECLINE or not stated_drifts(section):
                self.default(path, term, None)

    def option(self, key: str, option: Any) -> None:
        record = None
        if option.kind != "api":
            try:
                record = self.catalog.chip(option.chip)
            except UnknownNameError as error:
                self.problem(
                    f"options.{key}.chip",
                    str(error).split(";")[0],
                    _suggest(error),
                    repr(option.chip),
                )
                return
        for term in option_terms(self.scenario, option):
            self.option_term(f"options.{key}.{term.name}", term, option, record)
        if option.kind == "build" and option.memory_consigned_fraction is None:
            self.procurement(key, option)
        if option.kind in ("buy", "rent"):
            self.generation(key, option, record)

    def option_term(self, path: str, term: Term, option: Any, record: Any) -> None:
        """One input of an option: as written, else by its own rule, else the default."""
        written = getattr(option, term.name)
        if written is not None:
            self.write(path, term, written, record)
        elif term.name == "rent_usd_per_chip_hour":
            self.rent(path, term, option, record)
        elif term.name in NO_PORT and self.same_maker(option, record):
            self.enter(path, _no_port(term), "default")
        elif term.default != "procurement":
            self.default(path, term, record)

    def rent(self, path: str, term: Term, option: Any, record: Any) -> None:
        """A catalogue rent of the contract's depth, unless the rent is to be built from capital."""
        if option.capital_usd_per_w is not None:
            return
        for condition in RENT_CONDITIONS[option.depth]:
            found = record.figure("rental", condition)
            if found is not None:
                self.take(path, term, found)
                return
        known = ", ".join(record.conditions("rental")) or "none"
        self.problem(
            path,
            f"no catalogue rent of {record.name} for depth {option.depth!r} (there is: {known})",
            "write it, or capital_usd_per_w to build one from",
        )

    def same_maker(self, option: Any, record: Any) -> bool:
        """Whether a rented chip runs the software that the alternative's maker ships already."""
        if option.kind != "rent":
            return False
        makers = set()
        for other in self.scenario.options.values():
            if other.kind == "buy":
                with contextlib.suppress(UnknownNameError):
                    makers.add(self.catalog.chip(other.chip).name.split()[0])
        return record.name.split()[0] in makers

    def generation(self, key: str, option: Any, record: Any) -> None:
        """Date from which synthetic generations are counted: the maker's last known chip.

        Chips of the catalogue come first. The last one is the newest of the same maker with at
        least this one's memory bandwidth that is sold within a year of the decision, as far as
        announced roadmaps reach.
        """
        start = self.scenario.decision.start
        released = record.release_date or option.available_from or start
        name, last = record.name, released
        horizon = start + dt.timedelta(days=ROADMAP_DAYS)
        for other in self.successors(record):
            if other.release_date is not None and last < other.release_date <= horizon:
                name, last = other.name, other.release_date
        note = f"{name} was first sold on {last}"
        if name != record.name:
            note += f", the maker's last known chip past {record.name} ({released})"
        figure = Figure(
            value=years_from(start, last),
            unit="years",
            range_kind="exact",
            as_of=str(last),
            status="derived",
            note=note,
        )
        self.enter(f"options.{key}.generation_years", figure, "derived")

    def successors(self, record: Any) -> list[Any]:
        """Catalogue chips of the same maker with at least this one's memory bandwidth."""
        least = _bandwidth(record)
        maker = record.name.split()[0]
        others = [
            self.catalog.chip(name)
            for name in self.catalog.entities("chip")
            if name.split()[0] == maker
        ]
        return [other for other in others if _bandwidth(other) >= least > 0]

    def procurement(self, key: str, option: Any) -> None:
        """Memory bought by the owner itself carries no partner margin."""
        consigned = float(option.hbm_procurement == "consigned")
        figure = Figure(
            value=consigned,
            unit="fraction",
            range_kind="exact",
            as_of=str(self.scenario.decision.start),
            note=f'hbm_procurement = "{option.hbm_procurement}"',
        )
        self.enter(f"options.{key}.memory_consigned_fraction", figure, "scenario")

    def write(self, path: str, term: Term, written: Quantity, record: Any = None) -> None:
        """Take a value from the scenario."""
        try:
            quantity = in_unit(written, term.unit)
        except (UnitError, QuantityError) as error:
            does_not = f"{written.unit!r} does not measure {term.unit}"
            message = str(error) if "unknown unit" in str(error) else does_not
            self.problem(path, message, f"write it in {term.unit}", _shown(written))
            return
        wrong = out_of_bounds(term, quantity)
        if wrong:
            self.problem(path, wrong, f"{term.text} [{term.unit}]", _shown(written))
            return
        figure = Figure(
            value=quantity.value,
            unit=term.unit,
            low=quantity.low,
            high=quantity.high,
            range_kind="none" if quantity.low is None else "ci90",
            as_of=quantity.as_of or str(self.scenario.decision.start),
            status=_status(quantity),
            source_url=quantity.source_url,
            source_title=quantity.source,
        )
        rejected = self.beaten(term, record)
        why = quantity.why or ("" if quantity.source else "stated by the scenario")
        self.ledger.add(
            Resolved(path=path, chosen=figure, rejected=rejected, set_by="scenario", why=why)
        )

    def beaten(self, term: Term, record: Any = None) -> tuple[Figure, ...]:
        """What the default would have been, shown beside the override."""
        if isinstance(term.default, str) and term.default.startswith("driver:"):
            driver = self.catalog.driver(term.default.removeprefix("driver:"))
            return (_in_term_unit(driver.chosen, term),)
        if (
            isinstance(term.default, str)
            and term.default.startswith("chip:")
            and record is not None
        ):
            field, _, condition = term.default.removeprefix("chip:").partition(":")
            found = record.figure(field, condition)
            return () if found is None else (_in_term_unit(found.chosen, term),)
        return ()

    def enter(self, path: str, figure: Figure, set_by: str, why: str = "") -> None:
        self.ledger.add(Resolved(path=path, chosen=figure, set_by=set_by, why=why or figure.note))  # type: ignore[arg-type]

    def default(self, path: str, term: Term, record: Any) -> None:
        """Fall back to the term's default."""
        if isinstance(term.default, float | int):
            figure = Figure(
                value=float(term.default),
                unit=term.unit,
                range_kind="exact",
                as_of="2026-11-24",
                note=term.why,
            )
            self.enter(path, figure, "default")
        elif term.default.startswith("driver:"):
            self.take(path, term, self.catalog.driver(term.default.removeprefix("driver:")))
        elif term.default.startswith("chip:"):
            self.from_chip(path, term, record)

    def from_chip(self, path: str, term: Term, record: Any) -> None:
        field, _, condition = str(term.default).removeprefix("chip:").partition(":")
        found = record.figure(field, condition)
        if found is not None:
            self.take(path, term, found)
        elif term.name == "allin_w_per_chip":
            self.allin(path, record)
        elif term.name == "die_area_mm2":
            self.enter(path, DIE_AREA, "default")
        else:
            self.problem(
                path,
                f"the catalogue has no {field} of {record.name}",
                f"write {term.name} in the scenario [{term.unit}]",
            )

    def allin(self, path: str, record: Any) -> None:
        """All-in power from the rated power, where nobody states it."""
        tdp = record.figure("tdp")
        if tdp is None:
            self.problem(
                path,
                f"the catalogue has neither all-in nor rated power of {record.name}",
                "write allin_w_per_chip in the scenario [W]",
            )
            return
        ratio, watts = ALLIN_OVER_TDP, tdp.chosen.value
        figure = replace(
            ratio,
            value=watts * ratio.value,
            low=watts * (ratio.low or 1.0),
            high=watts * (ratio.high or 1.0),
            unit="W",
            status="derived",
            note=f"rated {watts:g} W x {ratio.value:g}: {ratio.note}",
        )
        self.enter(path, figure, "derived")

    def take(self, path: str, term: Term, found: Resolved) -> None:
        """Take a catalogue figure, in the term's unit, with a range."""
        ranged = found if term.name in EXACT else with_default_range(found)
        chosen = _in_term_unit(ranged.chosen, term)
        why = "; ".join(text for text in (ranged.why, f"from {found.path}") if text)
        self.ledger.add(replace(ranged, path=path, chosen=chosen, why=why))


_LUMPED_DECLINE = "value.decline_per_year"


def stated_drifts(value: Any) -> tuple[str, ...]:
    """Declines of the price of tokens that a scenario states one by one."""
    names = (f"{name}_decline_per_year" for name in PRICE_DRIFTS)
    return tuple(name for name in names if getattr(value, name) is not None)


def _bandwidth(record: Any) -> float:
    """Memory bandwidth of a chip in B/s, zero where nobody states it."""
    found = record.figure("mem_bandwidth")
    return 0.0 if found is None else float(found.chosen.value)


def _no_port(term: Term) -> Figure:
    value = 1.0 if term.name == "port_start_fraction" else 0.0
    return Figure(
        value=value,
        unit=term.unit,
        range_kind="exact",
        as_of="2026-11-24",
        note="a chip of the same maker is bought in this scenario: its software is there already",
    )


def _scaled(figure: Figure, factor: float, unit: str) -> Figure:
    return replace(
        figure,
        value=figure.value * factor,
        unit=unit,
        low=None if figure.low is None else figure.low * factor,
        high=None if figure.high is None else figure.high * factor,
    )


def _in_term_unit(figure: Figure, term: Term) -> Figure:
    if figure.unit == term.unit:
        return figure
    target = find_unit(term.unit)
    source = find_unit(figure.unit)
    if {source.dimension, target.dimension} <= {"usd", "usd_per_chip"}:
        return _scaled(figure, source.factor / target.factor, term.unit)  # price of one chip
    return _scaled(figure, convert(1.0, figure.unit, target.dimension) / target.factor, term.unit)


def _status(quantity: Quantity) -> Any:
    if quantity.status:
        return quantity.status
    return "press" if quantity.source_url else "assumption"


def _suggest(error: UnknownNameError) -> str:
    from tapeout.errors import did_you_mean  # noqa: PLC0415 - only when something is wrong

    hint = did_you_mean(error.suggestions)
    return f"did you mean {hint}?" if hint else "see `tapeout catalog list`"


def _shown(quantity: Quantity) -> str:
    unit = f" {quantity.unit}" if quantity.unit else ""
    if quantity.low is not None and quantity.high is not None:
        return f"{quantity.low:g} to {quantity.high:g}{unit}"
    return f"{quantity.value:g}{unit}"


def out_of_bounds(term: Term, quantity: Quantity) -> str:
    """Say what is wrong with a value's sign or size, if anything."""
    return term.wrong([n for n in (quantity.low, quantity.value, quantity.high) if n is not None])


def _resolved(scenario: Any, catalog: Catalog) -> _Resolver:
    resolver = _Resolver(scenario, catalog)
    for name, terms in GLOBAL_TERMS.items():
        resolver.section(name, terms, getattr(scenario, name))
    for key, option in scenario.options.items():
        resolver.option(key, option)
        ample = option.kind in ("buy", "build") and option.ceiling_chips_per_quarter is None
        if ample and not any(one is not None for _, one in scenario.supply):
            resolver.omitted.append(f"supply ceiling of {key}: no figure, so none is applied")
    return resolver


def resolution_problems(scenario: Any, catalog: Catalog) -> list[Problem]:
    """Every value of a scenario that cannot be resolved."""
    return _resolved(scenario, catalog).problems


def resolve(scenario: Any, catalog: Catalog, what: str) -> Resolution:
    """Resolve all inputs of a scenario.

    Raises
    ------
    ProblemsError
        Every value that cannot be resolved, with its remedy.
    """
    resolver = _resolved(scenario, catalog)
    problems = resolver.problems
    if problems:
        raise ProblemsError(what, problems)
    return Resolution(ledger=resolver.ledger, omitted=tuple(resolver.omitted))


def parse_date(value: object) -> dt.date | None:
    """A date written as a date or as ISO text; None for anything else."""
    if isinstance(value, dt.date):
        return value
    try:
        return dt.date.fromisoformat(str(value))
    except ValueError:
        return None
