"""Options of `tapeout simulate` for many replicas, and everything that is wrong with them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tapeout.cli.deploy import MOST_REPLICAS
from tapeout.errors import Problem, ProblemsError, TapeoutError, nearest

if TYPE_CHECKING:
    from tapeout.serving.many import Asked, OtherKind
    from tapeout.serving.types import Deployment

MANY = "Many replicas"

Router = Annotated[
    str,
    typer.Option(
        "--router",
        help="round-robin, random, least-outstanding, power-of-two, affinity, prefix, slo or cost",
        show_default=False,
        rich_help_panel=MANY,
    ),
]
Autoscale = Annotated[
    str,
    typer.Option(
        "--autoscale",
        help="Start and stop replicas up to --replicas, e.g."
        " target=64,least=2; others: interval_s=15, startup_s=300, stable_s=300",
        show_default=False,
        rich_help_panel=MANY,
    ),
]
Fail = Annotated[
    list[str] | None,
    typer.Option(
        "--fail",
        help="Repeatable: at=60,until=90,replica=3, or kind=h100 for all of a kind",
        show_default=False,
        rich_help_panel=MANY,
    ),
]
Admission = Annotated[
    str,
    typer.Option(
        "--admission",
        help="Most requests at a replica and what follows a refusal, e.g."
        " most=256,retries=2; others: backoff_s=1",
        show_default=False,
        rich_help_panel=MANY,
    ),
]
Also = Annotated[
    list[str] | None,
    typer.Option(
        "--also",
        help="Repeatable: replicas on another chip, e.g."
        " chip=mi300x,replicas=4; others: parallelism=tp1, usd_per_chip_hour=2, weight=1,"
        " name=amd",
        show_default=False,
        rich_help_panel=MANY,
    ),
]
InformationAge = Annotated[
    float,
    typer.Option(
        "--information-age",
        help="The router sees loads every so many seconds, and what it sent since",
        min=0,
        rich_help_panel=MANY,
    ),
]
Price = Annotated[
    float,
    typer.Option(
        "--usd-per-chip-hour",
        metavar="USD",
        help="Price of one chip of --chip: cost router, table by kind, --max-load with --rate;"
        " 0: not known (with --max-load the catalogue's on-demand rent)",
        min=0,
        rich_help_panel=MANY,
    ),
]


def _renamed(value: float | None) -> None:
    """Refuse the price of a replica: a search has that of a chip, and one unit is enough."""
    if value is not None:
        raise typer.BadParameter(
            "is --usd-per-chip-hour now, the price of one chip and not of one replica"
        )


OldPrice = Annotated[float | None, typer.Option("--usd-per-hour", hidden=True, callback=_renamed)]

REAL = "a number"
WHOLE = "a whole number"
TEXT = "text"
AUTOSCALE = {
    "target": REAL, "least": WHOLE, "interval_s": REAL, "startup_s": REAL, "stable_s": REAL,
}  # fmt: skip
ADMISSION = {"most": WHOLE, "retries": WHOLE, "backoff_s": REAL}
FAIL = {"at": REAL, "until": REAL, "replica": WHOLE, "kind": TEXT}
ALSO = {
    "chip": TEXT, "parallelism": TEXT, "precision": TEXT, "replicas": WHOLE,
    "usd_per_chip_hour": REAL,
    "weight": REAL, "name": TEXT,
}  # fmt: skip
RENAMED = {"usd_per_hour": "write usd_per_chip_hour, the price of one chip, not of one replica"}
Place = Callable[[str, str, str | None, int], "Deployment"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """Options as written."""

    router: str = ""
    autoscale: str = ""
    fail: tuple[str, ...] = ()
    admission: str = ""
    also: tuple[str, ...] = ()
    information_age_s: float = 0.0
    usd_per_chip_hour: float = 0.0
    by_client: bool = False
    chip: str = ""  # names the first kind
    limited: bool = False  # --slo names a limit of TTFT or TPOT

    @property
    def routed(self) -> bool:
        """Whether any of them is given but the price."""
        texts = (self.router, self.autoscale, self.fail, self.admission, self.also)
        return any(texts) or self.information_age_s > 0.0

    @property
    def wanted(self) -> bool:
        """Whether any of them is given."""
        return self.routed or self.usd_per_chip_hour > 0.0


@dataclass(slots=True)
class _Reader:
    """Reads `key=value` lists and collects what is wrong."""

    problems: list[Problem] = field(default_factory=list)

    def wrong(self, path: str, value: str, message: str, remedy: str) -> None:
        self.problems.append(Problem(path=path, value=value, message=message, remedy=remedy))

    def read(
        self, path: str, text: str, known: Mapping[str, str], needed: Iterable[str]
    ) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for part in (one.strip() for one in text.split(",") if one.strip()):
            key, equals, value = (one.strip() for one in part.partition("="))
            if not equals or not value:
                self.wrong(path, part, "cannot be read", "write key=value, between commas")
            elif key in RENAMED:
                self.wrong(path, part, "is called otherwise now", RENAMED[key])
            elif key not in known:
                close = (*nearest(key, known, most=1), next(iter(known)))[0]
                self.wrong(path, part, f"knows no {key!r}", f"it has {', '.join(known)}: {close}?")
            elif key in found:
                self.wrong(path, part, "is given twice", "leave one out")
            else:
                found[key] = self._value(path, part, known[key], value)
        for key in needed:
            if key not in found:
                self.wrong(path, text, f"lacks {key}", f"add {key}=...")
        return {key: value for key, value in found.items() if value is not None}

    def _value(self, path: str, part: str, form: str, text: str) -> Any:
        if form == TEXT:
            return text
        try:
            value: float = int(text) if form == WHOLE else float(text)
        except ValueError:
            value = math.nan
        if math.isnan(value):
            self.wrong(path, part, f"is not {form}", f"give {form}")
            return None
        return value


def asked_of(given: Given, place: Place) -> Asked | None:
    """What was asked for; None where it is nothing.

    Parameters
    ----------
    given : Given
    place : callable
        Makes a deployment of a chip, a parallelism, a precision and a count of replicas.

    Raises
    ------
    ProblemsError
        With everything that is wrong with these options.
    """
    if not given.wanted:
        return None
    from tapeout.serving.cluster import types as c  # noqa: PLC0415
    from tapeout.serving.many import Asked  # noqa: PLC0415

    reader = _Reader()
    scale = reader.read("--autoscale", given.autoscale, AUTOSCALE, _if(given.autoscale, "target"))
    admit = reader.read("--admission", given.admission, ADMISSION, _if(given.admission, "most"))
    failures = [reader.read("--fail", text, FAIL, ("at", "until")) for text in given.fail]
    for text, one in zip(given.fail, failures, strict=True):
        if ("replica" in one) == ("kind" in one) or one.get("replica", 0) < 0:
            reader.wrong("--fail", text, "is of nothing", "give a replica from 0, or a kind")
    router = _router(reader, given)
    others = [_other(reader, text, place) for text in given.also]
    if reader.problems:
        raise ProblemsError("tapeout simulate", reader.problems)
    most = admit.pop("most", None)
    return Asked(
        name=given.chip,
        router=router,
        information_age_s=given.information_age_s,
        admission=None if most is None else c.Admission(most_outstanding=most, **admit),
        autoscaler=c.Autoscaler(**scale) if scale else None,
        failures=tuple(
            c.Failure(
                at_s=one["at"],
                until_s=one["until"],
                replica=one.get("replica", -1),
                kind=one.get("kind", ""),
            )
            for one in failures
        ),
        usd_per_chip_hour=given.usd_per_chip_hour,
        others=tuple(one for one in others if one is not None),
    )


def _if(text: str, *needed: str) -> tuple[str, ...]:
    return needed if text else ()


def _router(reader: _Reader, given: Given) -> Any:
    from tapeout.serving.cluster.types import ROUTERS, router_named  # noqa: PLC0415

    if given.router and given.by_client and given.router != "affinity":
        reader.wrong("--by-client", "", "is another router", "leave it or --router out")
    name = given.router or ("affinity" if given.by_client else "round-robin")
    if name not in ROUTERS:
        reader.wrong("--router", name, "is not known", f"choose from {', '.join(ROUTERS)}")
        return None
    if name in ("slo", "cost") and not given.limited:
        remedy = "add --slo with a limit of ttft or tpot"
        reader.wrong("--router", name, "has no limits to predict against", remedy)
    return router_named(name)


def _other(reader: _Reader, text: str, place: Place) -> OtherKind | None:
    from tapeout.serving.many import OtherKind  # noqa: PLC0415

    found = reader.read("--also", text, ALSO, ("chip",))
    count = found.get("replicas", 1)
    if not 1 <= count <= MOST_REPLICAS:
        reader.wrong("--also", text, "has no such number of replicas", f"1 to {MOST_REPLICAS:,}")
    if "chip" not in found or not 1 <= count <= MOST_REPLICAS:
        return None
    try:
        made = place(
            found["chip"], found.get("parallelism", ""), found.get("precision"), int(count)
        )
    except TapeoutError as error:
        reader.wrong("--also", text, str(error), "change it")
        return None
    return OtherKind(
        name=found.get("name", found["chip"]),
        deployment=made,
        weight=found.get("weight", 1.0),
        usd_per_chip_hour=found.get("usd_per_chip_hour", 0.0),
    )
