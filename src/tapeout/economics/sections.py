"""Sections of a scenario that this room owns: decision, scale, options, strategies, priors."""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema, create_model

from tapeout.economics.terms import GLOBAL_TERMS, OPTION_TERMS, Term
from tapeout.errors import UnitError, did_you_mean, nearest
from tapeout.quantities import Quantity, QuantityError, in_unit, read_quantity
from tapeout.sources import Status


def _read(raw: object) -> Quantity:
    try:
        quantity = read_quantity(raw)
    except QuantityError as error:
        raise ValueError(str(error)) from None
    known = get_args(Status)
    if quantity.status and quantity.status not in known:
        hint = did_you_mean(nearest(quantity.status, known)) or f"one of {', '.join(known)}"
        raise ValueError(f"no such status {quantity.status!r}; did you mean {hint}?")
    return quantity


def _megawatts(raw: object) -> object:
    """Megawatts as a number, or as text with a unit."""
    if not isinstance(raw, str):
        return raw
    try:
        return in_unit(read_quantity(raw), "MW").value
    except (QuantityError, UnitError) as error:
        raise ValueError(str(error)) from None


_QUANTITY_SCHEMA = {
    "description": 'a number, "a to b" (90 % range), "12 months", or a table',
    "anyOf": [
        {"type": "number"},
        {"type": "string"},
        {
            "type": "object",
            "properties": {
                name: {"type": kind}
                for name, kind in (
                    ("value", "number"),
                    ("low", "number"),
                    ("high", "number"),
                    ("unit", "string"),
                    ("source", "string"),
                    ("source_url", "string"),
                    ("why", "string"),
                    ("as_of", "string"),
                    ("status", "string"),
                )
            },
            "additionalProperties": False,
        },
    ],
}

Range = Annotated[
    Quantity,
    BeforeValidator(_read),
    WithJsonSchema(_QUANTITY_SCHEMA),
]
"""A quantity of a scenario, in the unit its field's name ends with."""

OptionalRange = Annotated[
    Quantity | None,
    BeforeValidator(_read),
    WithJsonSchema(_QUANTITY_SCHEMA),
]
"""The same, where a scenario may say nothing (the default, None, is not read)."""


class Section(BaseModel):
    """A part of a scenario: frozen, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)


def _fields(terms: tuple[Term, ...]) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for term in terms:
        text = f"{term.text} [{term.unit}]"
        out[term.name] = (OptionalRange, Field(default=None, description=text))
    return out


Key = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]*$", max_length=40)]
Title = Annotated[str, Field(default="", max_length=200)]


class _OptionBase(Section):
    title: Title
    available_from: dt.date | None = Field(
        default=None, description="first date; default: the chip's release, or the decision"
    )
    lead_time_months: float = Field(
        default=0, ge=0, le=120, description="from the decision to the first capacity; 0: ordered"
    )
    hidden: bool = Field(default=False, description="kept out of charts")


_SUCCESSORS = (
    "true: what is taken later is the generation then on sale, counted in chips of today's price;"
    " false: this very chip, whenever it is taken"
)


class _BuyBase(_OptionBase):
    kind: Literal["buy"]
    chip: str = Field(description="name or alias in the catalogue")
    successors: bool = Field(default=True, description=_SUCCESSORS)


class _RentBase(_OptionBase):
    kind: Literal["rent"]
    chip: str = Field(description="name or alias in the catalogue")
    depth: Literal["on-demand", "contract", "take-or-pay"] = "contract"
    term_years: float | None = Field(default=None, gt=0, le=20, description="default by depth")
    market_chips_per_quarter: float | None = Field(
        default=None,
        gt=0,
        description="chips to be had in a quarter about the quoted rent; without it volume moves"
        " no rent",
    )
    price_impact: float | None = Field(
        default=None,
        ge=0,
        le=5,
        description="rent x (1 + taken / market)^impact; default by depth (docs/methods/supply.md)",
    )
    successors: bool = Field(default=True, description=_SUCCESSORS)


MOST_GENERATIONS = 12  # no plan names more chips


def _generations(raw: object) -> object:
    """A number of chips, or a word for as many as the horizon has room for."""
    counted = isinstance(raw, int) and not isinstance(raw, bool)
    if raw in ("every-other", "full") or (counted and 1 <= int(str(raw)) <= MOST_GENERATIONS):
        return raw
    raise ValueError(f'must be a number from 1 to {MOST_GENERATIONS}, "every-other" or "full"')


Generations = Annotated[
    int | str,
    BeforeValidator(_generations),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "minimum": 1, "maximum": MOST_GENERATIONS},
                {"type": "string", "enum": ["every-other", "full"]},
            ]
        }
    ),
]
"""How many own chips follow one another: a number, or as many as the horizon has room for."""


class _BuildBase(_OptionBase):
    kind: Literal["build"]
    chip: str = Field(description="name or alias in the catalogue")
    generations: Generations = Field(
        default=1,
        description="own chips one after another: a number, every-other step, or full cadence",
    )
    hbm_procurement: Literal["turnkey", "consigned"] = "turnkey"


class _ApiBase(_OptionBase):
    kind: Literal["api"]


BuyOption = create_model("BuyOption", __base__=_BuyBase, **_fields(OPTION_TERMS["buy"]))
RentOption = create_model("RentOption", __base__=_RentBase, **_fields(OPTION_TERMS["rent"]))
BuildOption = create_model("BuildOption", __base__=_BuildBase, **_fields(OPTION_TERMS["build"]))
ApiOption = create_model("ApiOption", __base__=_ApiBase, **_fields(OPTION_TERMS["api"]))

Option = Annotated[
    BuyOption | RentOption | BuildOption | ApiOption,
    Field(discriminator="kind"),
]


class StepSection(Section):
    """One option over a span of a strategy."""

    option: str
    start: dt.date | str | None = Field(default=None, alias="from")
    until: dt.date | str | None = None
    share: float = Field(default=1.0, gt=0, le=1)
    generations: Generations | None = Field(
        default=None, description="of the own chip, in this strategy; default: as its option says"
    )


class RoadmapSection(Section):
    """Roadmaps of the own programme that are put side by side; no section, no such table."""

    of: str | None = Field(
        default=None, description="strategy with the own chip; default: the headline"
    )
    compare: tuple[Literal["one-chip", "every-other", "full"], ...] = Field(
        default=("one-chip", "every-other", "full"), min_length=1
    )


class StrategySection(Section):
    """Options over time."""

    key: Key
    title: Title
    steps: tuple[StepSection, ...] = Field(min_length=1)


class DateSection(Section):
    """Another date at which the programme is judged, and what is known or spent by then."""

    name: Key
    title: Title
    date: dt.date
    set: dict[str, Range] = Field(
        default_factory=dict, description="inputs that differ, by dotted path"
    )


class _DecisionBase(Section):
    start: dt.date = Field(ge=dt.date(1950, 1, 1), le=dt.date(2100, 12, 31))
    horizon_years: int = Field(default=10, ge=1, le=20)
    baseline: str = Field(description="strategy that means: keep doing what you do")
    headline: str = Field(description="strategy the verdict is about")
    alternative: str = Field(description="option whose chip the own chip is compared with")
    dates: tuple[DateSection, ...] = ()


DecisionSection = create_model(
    "DecisionSection", __base__=_DecisionBase, **_fields(GLOBAL_TERMS["decision"])
)


class ScaleSection(Section):
    """How big: a site of so many megawatts, or a demand."""

    sized_by: Literal["mw", "demand"]
    mw: Annotated[float | None, BeforeValidator(_megawatts)] = Field(
        default=None, gt=0, le=1e6, description='a number of megawatts, or "1.3 GW"'
    )
    of: str | None = Field(default=None, description="option that fills the megawatts")
    first_demand: dt.date | None = None
    ramp_years: float = Field(default=1.0, ge=0, le=10)


class PriorSection(Section):
    """A named belief about the delivered advantage."""

    key: Key
    title: Title
    kind: Literal["claim", "advantage", "simulated"]
    ratio: Range | None = Field(
        default=None,
        description="claim: throughput per rated watt over the baseline option; "
        "advantage: tokens per dollar over the alternative at ship date",
    )
    baseline: str | None = Field(default=None, description="option the claim compares with")
    delivered: Range | None = Field(default=None, description="delivered over claimed")


class FutureSection(Section):
    """A named future: inputs set to stated values, everything else at its median."""

    key: Key
    title: Title
    set: dict[str, Range] = Field(min_length=1)


class OfftakeSection(Section):
    """Capacity of the own chip that somebody else takes."""

    fraction: Range
    price_over_cost_ratio: Range = Field(
        description="what the taker pays over the owner's levelised cost"
    )
    default_fraction: Range | None = Field(
        default=None, description="probability that the taker walks away"
    )


class FinanceSection(Section):
    """How the owner keeps its books and pays for capital: choices of the owner, not draws.

    They move the statements and what is after tax; present costs and the boundary are before tax
    and before financing.
    """

    book_years: float = Field(
        default=5.0, ge=1, le=15, description="life over which chips are written off"
    )
    tax_fraction: float = Field(
        default=0.21, ge=0, lt=1, description="federal rate of the US, 26 U.S.C. 11; states add"
    )
    tax_recovery_years: Literal[0, 3, 5, 7, 10] = Field(
        default=5, description="MACRS class (computers: 5), or 0: expensed when bought"
    )
    debt_fraction: float = Field(
        default=0.0, ge=0, le=1, description="share of each purchase borrowed, from the vendor too"
    )
    debt_rate_per_year: float = Field(
        default=0.07,
        ge=0,
        le=1,
        description="annual effective; also discounts contracts (assumption: secured paper of"
        " the field paid 6 to 9 % in 2025-2026)",
    )
    debt_years: float = Field(default=4.0, gt=0, le=30, description="repaid in equal parts over")
    opening_cash_usd: float = Field(
        default=0.0, ge=0, le=1e15, description="cash there at the decision"
    )
    funding_limit_usd: float | None = Field(
        default=None,
        gt=0,
        le=1e15,
        description="most that a strategy may ever need from its owners, opening cash included",
    )


class DemandResponseSection(Section):
    """What users do with cheaper tokens; without this section demand is as planned."""

    elasticity: OptionalRange = Field(
        default=None, description="of demand to the price, negative; default: the catalogue's"
    )
    conduct: Literal["none", "competition", "linear-cournot", "ces-cournot", "logit"] = Field(
        default="linear-cournot",
        description="how much of a saving in unit cost reaches the price (docs/methods/demand.md)",
    )
    firms: float = Field(
        default=3.0,
        ge=1,
        le=1000,
        description="rivals that sell such tokens (assumption: three laboratories lead)",
    )
    firms_with_saving: float = Field(
        default=1.0, gt=0, le=1000, description="how many of them have the saving"
    )
    market_share: float = Field(
        default=0.28, gt=0, lt=0.5, description="of one firm, for conduct logit (assumption)"
    )
    diverted_fraction: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="extra tokens that users of own dearer tiers would have bought there",
    )
    dearer_price_ratio: float = Field(
        default=1.0, ge=1, le=1000, description="price of those tiers over the planned price"
    )


class ScarceSection(Section):
    """How much of one input is to be had, and on what terms."""

    amount_per_quarter: float | tuple[float, ...] = Field(
        description="from the decision, quarter by quarter; the last figure goes on"
    )
    allocation_fraction: float = Field(
        default=1.0, ge=0, le=1, description="share of it that is allotted in expectation"
    )
    lead_time_quarters: int = Field(default=0, ge=0, le=40, description="nothing comes earlier")
    prepayment_usd: float = Field(
        default=0.0, ge=0, le=1e12, description="deposit a unit, a lead time ahead, credited later"
    )
    expedite_usd: float = Field(
        default=0.0, ge=0, le=1e12, description="a unit more, where it comes before its lead time"
    )
    expedite_quarters: int = Field(default=0, ge=0, le=40, description="by which hurry is earlier")
    options: tuple[str, ...] | None = Field(
        default=None, description="which draw on it; default by input (docs/methods/supply.md)"
    )
    per_chip: dict[str, float] = Field(
        default_factory=dict, description="taken by a chip of an option, instead of its figures"
    )


class SupplySection(Section):
    """What is to be had by quarter, of inputs that options share; what is left out is ample."""

    hbm_gb: ScarceSection | None = None
    package_starts: ScarceSection | None = None
    wafers: ScarceSection | None = None
    racks: ScarceSection | None = None
    mw: ScarceSection | None = Field(default=None, description="at the meter, energised")
    gpu_queue: ScarceSection | None = Field(default=None, description="chips, bought")


class InstalledSection(Section):
    """What the owner has already committed to; the same in every strategy."""

    title: Title
    usd_per_year: Range
    until: dt.date


class ReferenceSection(Section):
    """A figure from outside that is printed beside ours, never used."""

    key: Key
    title: Title
    compare: str = Field(description="which figure of ours it stands beside")
    value: Range


def _global(name: str) -> type[Section]:
    return create_model(f"{name.title()}Section", __base__=Section, **_fields(GLOBAL_TERMS[name]))


GLOBAL_SECTIONS: dict[str, type[Section]] = {
    name: _global(name) for name in GLOBAL_TERMS if name != "decision"
}
