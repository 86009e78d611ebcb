"""The catalogue: every stated figure by entity, field and condition, and the choice among them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from tapeout.catalog.choice import Choice, choose
from tapeout.catalog.dates import first_day
from tapeout.catalog.fields import FieldSpec, driver_registry, field_aliases, registry
from tapeout.catalog.names import ChipNames, plain, slug
from tapeout.catalog.programmes import ProgrammeEvent, programme_events
from tapeout.catalog.release import DRIVER
from tapeout.catalog.rows import Row
from tapeout.errors import MissingFieldError, Problem, ProblemsError, UnknownNameError
from tapeout.sources import Fact, Figure, Resolved

Key = tuple[str, str, str]
STALE_DAYS = 180


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One page or file that figures were read from."""

    url: str
    title: str
    rows: int
    newest: str  # ISO date of its newest statement


@dataclass(frozen=True, slots=True, kw_only=True)
class Conflict:
    """A quantity on which contemporary sources disagree."""

    path: str
    chosen: Figure
    rivals: tuple[Figure, ...]

    @property
    def spread(self) -> float:
        """Largest over smallest stated value; infinite if they differ in sign."""
        values = [self.chosen.value, *(rival.value for rival in self.rivals)]
        low, high = min(values), max(values)
        return high / low if low > 0 else (low / high if high < 0 else float("inf"))


def _day(text: str) -> dt.date:
    try:
        return dt.date.fromisoformat(text)
    except ValueError:
        problem = Problem(path="as_of", value=text, message="not a date", remedy="write YYYY-MM-DD")
        raise ProblemsError("a date", [problem]) from None


class Catalog:
    """What is known, with one figure chosen per quantity and the others kept beside it.

    Build it with `load`. Figures are in the unit of their field (SI first).

    Attributes
    ----------
    release : str
        Date of the shipped tables.
    digest : str
        SHA-256 of the tables and the overlay, in hexadecimal.
    """

    def __init__(self, release: str, digest: str, rows: Mapping[str, Iterable[Row]]) -> None:
        self.release = release
        self.digest = digest
        self._rows: dict[Key, list[Row]] = {}
        self._fields: dict[str, dict[str, list[str]]] = {}  # entity -> field -> conditions
        self._kinds: dict[str, tuple[str, ...]] = {}
        self._given = {kind: tuple(some) for kind, some in rows.items()}
        for kind, some in self._given.items():
            self._add(kind, some)
        self._names = ChipNames(self._kinds.get("chip", ()))
        self._slugs = {slug(entity): entity for entity in self._fields}

    def _add(self, kind: str, rows: Iterable[Row]) -> None:
        entities: dict[str, None] = {}
        for row in rows:  # a market table may add to a chip
            entities[row.entity] = None
            if row.key not in self._rows:
                conditions = self._fields.setdefault(row.entity, {}).setdefault(row.field, [])
                conditions.append(row.condition)
            self._rows.setdefault(row.key, []).append(row)
        earlier = {name for names in self._kinds.values() for name in names}
        self._kinds[kind] = tuple(name for name in entities if name not in earlier)

    # Looking up

    def chip(self, name: str) -> ChipRecord:
        """Return the record of a chip by its name or an alias.

        Raises
        ------
        UnknownNameError
            No chip has this name; near ones are suggested.
        """
        return ChipRecord(name=self._names.find(name), catalog=self)

    def entities(self, kind: str = "chip") -> tuple[str, ...]:
        """Names of one kind: chip, market, programme or driver.

        Raises
        ------
        UnknownNameError
            There is no such kind.
        """
        if kind == "programme":
            return tuple(dict.fromkeys(event.programme for event in programme_events()))
        if kind == DRIVER:
            return tuple(driver_registry())
        if kind not in self._kinds:
            raise UnknownNameError("kind", kind, [*self._kinds, "programme"])
        return self._kinds[kind]

    def entity(self, name: str) -> str:
        """Return the full name of a chip or market entity.

        Raises
        ------
        UnknownNameError
            Nothing has this name; near ones are suggested.
        """
        found = self._slugs.get(slug(name))
        if found is not None:
            return found
        try:
            return self._names.find(name)
        except UnknownNameError:
            known = [*self._names.aliases, *self._fields]
            raise UnknownNameError("catalogue entity", name, known) from None

    def find_entity(self, name: str) -> str:
        """Like `entity`, but a chip's name or alias comes first, and a programme will do.

        Raises
        ------
        UnknownNameError
            Nothing has this name; near ones are suggested.
        """
        try:
            return self._names.find(name)
        except UnknownNameError:
            programmes = {plain(one): one for one in self.entities("programme")}
            return programmes.get(plain(name)) or self.entity(name)

    def kind_of(self, entity: str) -> str:
        """Return the kind of an entity: chip, market or driver."""
        return next(kind for kind, names in self._kinds.items() if entity in names)

    def spec(self, field: str) -> FieldSpec:
        """Return the registry entry of a field or driver.

        Raises
        ------
        UnknownNameError
            No field has this name.
        """
        name = field_aliases()[field][0] if field in field_aliases() else field
        found = registry().get(name) or driver_registry().get(name)
        if found is None:
            raise UnknownNameError("field", field, [*registry(), *field_aliases()])
        return found

    def fields(self, entity: str) -> tuple[str, ...]:
        """Return the fields known of an entity."""
        return tuple(self._fields[self.entity(entity)])

    def conditions(self, entity: str, field: str) -> tuple[str, ...]:
        """Return the conditions under which a field of an entity is known."""
        return tuple(self._fields[self.entity(entity)].get(self.spec(field).name, ()))

    def _key(self, entity: str, field: str, condition: str) -> Key | None:
        """Return the key meant: aliases resolved, default conditions tried in order."""
        spec = self.spec(field)
        known = self._fields[entity].get(spec.name, ())
        defaults = spec.default_conditions
        if not condition and field in field_aliases():
            aliased = field_aliases()[field][1]
            defaults = defaults if aliased == ("",) else aliased
        wanted = (condition,) if condition else (*defaults, "")
        by_slug = {slug(one): one for one in known}
        for one in wanted:
            if slug(one) in by_slug:
                return entity, spec.name, by_slug[slug(one)]
        return None

    def _choice(self, key: Key) -> Choice:
        return choose(self._rows[key], self.spec(key[1]).history_days)

    def find(self, entity: str, field: str, condition: str = "") -> Resolved | None:
        """Like `resolve`, with None where nothing is known or the field is a text."""
        key = self._key(self.entity(entity), field, condition)
        if key is None or not self.spec(field).is_number:
            return None
        return self._resolved(key)

    def resolve(self, entity: str, field: str, condition: str = "") -> Resolved:
        """Return the figure used for a field of an entity.

        Parameters
        ----------
        entity : str
            Chip (name or alias) or market entity (name or slug).
        field : str
            Name in the field registry, or an alias of one.
        condition : str
            Separates different quantities; without one the field's usual condition is meant.

        Raises
        ------
        UnknownNameError
            Unknown entity or field.
        MissingFieldError
            Nothing is known of this field under this condition.
        """
        found = self.find(entity, field, condition)
        if found is not None:
            return found
        full = self.entity(entity)
        known = [one or "(none)" for one in self.conditions(full, field)]
        under = f" under the condition {condition!r}" if condition else ""
        there = f"; known conditions: {', '.join(known)}" if known else ""
        raise MissingFieldError(
            f"{full} has no figure {field}{under}{there}; add one in an overlay or ask for another"
        )

    def _resolved(self, key: Key) -> Resolved:
        entity, field, condition = key
        choice = self._choice(key)
        tail = f".{slug(condition)}" if condition else ""
        is_driver = entity == DRIVER
        return Resolved(
            path=f"driver.{field}" if is_driver else f"catalog.{slug(entity)}.{field}{tail}",
            chosen=choice.figure(),
            rejected=tuple(row.stated for row in choice.losers if isinstance(row.stated, Figure)),
            set_by=choice.best.set_by,
            why=choice.best.why,
        )

    def driver(self, name: str) -> Resolved:
        """Return a driver figure of the money model, path `driver.<name>`.

        Raises
        ------
        UnknownNameError
            There is no such driver; near ones are suggested.
        """
        if name not in driver_registry():
            raise UnknownNameError("driver", name, driver_registry())
        return self._resolved((DRIVER, name, ""))

    def fact(self, entity: str, field: str, condition: str = "") -> Fact | None:
        """Return the text or date used for a field, None where nothing is known."""
        key = self._key(self.entity(entity), field, condition)
        if key is None or self.spec(field).is_number:
            return None
        stated = self._choice(key).best.stated
        assert isinstance(stated, Fact)
        return stated

    def series(self, entity: str, field: str, condition: str | None = None) -> tuple[Figure, ...]:
        """Every stated figure of a field over time, oldest first; superseded rows left out.

        Parameters
        ----------
        condition : str or None
            One condition, or None for all of them.
        """
        full, name = self.entity(entity), self.spec(field).name
        some = (
            row
            for (of_entity, of_field, of_condition), rows in self._rows.items()
            if (of_entity, of_field) == (full, name)
            and (condition is None or slug(condition) == slug(of_condition))
            for row in rows
            if not row.superseded and not row.is_derived
        )
        figures = [row.stated for row in some if isinstance(row.stated, Figure)]
        return tuple(sorted(figures, key=lambda figure: figure.as_of))

    # Looking over

    def resolved(self) -> Iterator[Resolved]:
        """Yield the chosen figure of every quantity."""
        for key in self._rows:
            if self.spec(key[1]).is_number:
                yield self._resolved(key)

    def conflicts(self) -> tuple[Conflict, ...]:
        """Quantities whose contemporary sources state different values, widest first."""
        found = []
        for key in self._rows:
            choice = self._choice(key) if self.spec(key[1]).is_number else None
            if choice is None or not choice.is_conflict or choice.best.set_by == "overlay":
                continue
            rivals = [row.stated for row in choice.rivals if isinstance(row.stated, Figure)]
            resolved = self._resolved(key)
            found.append(Conflict(path=resolved.path, chosen=resolved.chosen, rivals=tuple(rivals)))
        return tuple(sorted(found, key=lambda conflict: (-conflict.spread, conflict.path)))

    def stale(self, as_of: dt.date | str, days: int = STALE_DAYS) -> tuple[Resolved, ...]:
        """Chosen figures of quantities that move, stated more than `days` before a date.

        Prices, margins and drivers move; the memory of a chip sold in 2022 does not grow old.
        """
        day = _day(as_of) if isinstance(as_of, str) else as_of
        limit = (day - dt.timedelta(days=days)).isoformat()
        return tuple(
            resolved
            for key in self._rows
            if self.spec(key[1]).history_days is not None and self.spec(key[1]).is_number
            if (resolved := self._resolved(key)).chosen.as_of < limit
        )

    def sources(self) -> tuple[Source, ...]:
        """Every page and file the rows were read from, most used first."""
        count: dict[tuple[str, str], list[str]] = {}
        for rows in self._rows.values():
            for row in rows:
                stated = row.stated
                if stated.source_url and not row.is_derived:
                    key = (stated.source_url, stated.source_title)
                    count.setdefault(key, []).append(stated.as_of)
        for event in programme_events():
            count.setdefault((event.source_url, event.source_title), []).append(event.date)
        found = [
            Source(url=url, title=title, rows=len(dates), newest=max(dates))
            for (url, title), dates in count.items()
        ]
        return tuple(sorted(found, key=lambda source: (-source.rows, source.url, source.title)))

    def events(self, programme: str = "", event: str = "") -> tuple[ProgrammeEvent, ...]:
        """Dated events of chip programmes, all or those of one programme or one kind."""
        return tuple(
            one
            for one in programme_events()
            if (not programme or plain(one.programme) == plain(programme))
            and (not event or one.event == event)
        )

    def with_rows(self, digest: str, extra: Mapping[str, Iterable[Row]]) -> Catalog:
        """Return a catalogue with more rows, as an overlay adds them."""
        kinds = {kind: (*rows, *extra.get(kind, ())) for kind, rows in self._given.items()}
        return Catalog(self.release, digest, kinds)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChipRecord:
    """What is known of one chip."""

    name: str
    catalog: Catalog

    @property
    def slug(self) -> str:
        """The name as paths write it."""
        return slug(self.name)

    @property
    def aliases(self) -> tuple[str, ...]:
        """Other names that lead here."""
        return self.catalog._names.of(self.name)  # noqa: SLF001  # same module

    def fields(self) -> tuple[str, ...]:
        """Fields known of this chip."""
        return self.catalog.fields(self.name)

    def conditions(self, field: str) -> tuple[str, ...]:
        """Conditions under which a field is known."""
        return self.catalog.conditions(self.name, field)

    def figure(self, field: str, condition: str = "") -> Resolved | None:
        """Return a number of this chip, None where nothing is known."""
        return self.catalog.find(self.name, field, condition)

    def fact(self, field: str, condition: str = "") -> Fact | None:
        """Return a text or date of this chip, None where nothing is known."""
        return self.catalog.fact(self.name, field, condition)

    def peaks(self) -> dict[str, Resolved]:
        """Dense matrix rates by number format (bf16, fp8, fp4, int8 ...) [FLOP/s]."""
        found = {}
        for field in self.fields():
            if field.startswith("peak_"):
                resolved = self.figure(field, "dense")
                if resolved is not None:
                    found[field.removeprefix("peak_")] = resolved
        return found

    @property
    def release_date(self) -> dt.date | None:
        """First day of the stated release period; None if no date can be read."""
        fact = self.fact("release_date")
        return None if fact is None else first_day(fact.text)
