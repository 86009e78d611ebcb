"""Types of the economics room: options, strategies, declared lines and cash flows."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Any, Literal, TypeVar

import numpy as np

from tapeout.numerics import Floats

OptionKind = Literal["buy", "rent", "build", "api"]
Objective = Literal["cost", "contribution"]
Scaling = Literal["own", "fixed", "rest"]
Made = TypeVar("Made")


class Holder(StrEnum):
    """Who receives a dollar."""

    FOUNDRY = "foundry"
    MEMORY = "memory"
    PACKAGING = "packaging"
    PARTNER = "partner"
    VENDOR = "vendor"
    FABRIC = "fabric"
    CLOUD = "cloud"
    ENERGY_SITE = "energy_site"
    OWNER = "owner"
    PLATFORM = "platform"
    CUSTOMER = "customer"


@dataclass(frozen=True, slots=True, kw_only=True)
class SiliconOption:
    """One way to obtain inference capacity: what does not change between draws.

    Attributes
    ----------
    key, kind, silicon : str
        Name in the scenario, kind, and name in the capacity table.
    title : str
        For people.
    available_years : float
        Years from the decision date until it can first be had.
    term_years : float
        Contract term of rented capacity; bought capacity lives its service life.
    smallest_chips : float
        One replica of the largest model.
    minimum : bool
        Whether a take-or-pay minimum is declared.
    ceiling : bool
        Whether a quarterly supply ceiling is declared.
    successors : bool
        Whether what is taken later is the generation then on sale.
    market_chips : float
        Rented chips to be had in a quarter about the quoted rent; 0: volume moves no rent.
    price_impact : float
        Rise of the log of the rent per log of one plus the share of those that is taken.
    """

    key: str
    kind: OptionKind
    silicon: str
    title: str
    available_years: float = 0.0
    term_years: float = 0.0
    smallest_chips: float = 0.0
    minimum: bool = False
    ceiling: bool = False
    successors: bool = True
    market_chips: float = 0.0
    price_impact: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Roadmap:
    """How many chips of its own a programme makes, and which steps of its cadence it takes.

    Attributes
    ----------
    generations : int
        Most chips, the first included; those that no horizon has room for are not begun.
    stride : int
        Steps of the cadence from one chip to the next: 1 takes every one, 2 every other.
    """

    generations: int = 1
    stride: int = 1


ONE_CHIP = Roadmap()


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One option over a span of time.

    `start` and `end` are years from the decision date, or an anchor of the own programme:
    "own.first_service", "own.full_volume", "own.mature", "own.end_of_sales". `roadmap` is that of
    the own chip and says nothing about other options.
    """

    option: str
    start: float | str = 0.0
    end: float | str = float("inf")
    share: float = 1.0
    roadmap: Roadmap = ONE_CHIP


@dataclass(frozen=True, slots=True, kw_only=True)
class Strategy:
    """Options over time; the built one is topped up first, the others fill in order."""

    key: str
    title: str
    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A cost line, declared before it is computed.

    Attributes
    ----------
    key : str
        "<option>.<what>" or "<what>".
    holder : Holder
        Who receives it.
    formula : str
        In words and symbols, for people.
    inputs : tuple of str
        Patterns of the input paths it depends on; a test perturbs each input.
    scales : "own", "fixed" or "rest"
        How it moves with the own chip's throughput at constant cost a chip: as 1/throughput, not
        at all because it is programme cost, or not at all because it belongs to something else.
    cash : bool
        False for memo lines that are no payments.
    """

    key: str
    holder: Holder
    formula: str
    inputs: tuple[str, ...]
    scales: Scaling = "rest"
    cash: bool = True
    unit: str = "USD"

    def depends_on(self, path: str) -> bool:
        """Whether an input path is declared."""
        return any(fnmatchcase(path, pattern) for pattern in self.inputs)


Term = tuple[Floats, Floats]
"""A quantity by quarter, (draw or 1, quarter), and what one of it costs, (draw or 1, 1) [USD]."""
Amount = tuple[Term, ...]
"""What is paid for a line: the sum of its terms; none is nothing."""

CERTAIN = np.ones((1, 1))


def usd_of(amount: Amount, shape: tuple[int, int]) -> Floats:
    """Payments of an amount, (draw, quarter)."""
    total: Floats = sum((quantity * each for quantity, each in amount), np.zeros((1, 1)))
    return np.broadcast_to(total, shape)


@dataclass(frozen=True, slots=True, kw_only=True)
class CashFlow:
    """Payments of one strategy, costs positive, nominal USD; flows fall at mid-quarter.

    Attributes
    ----------
    lines : tuple of Line
    amounts : tuple of Amount
        One a line. Many lines are the same quantity times something that no quarter changes, so
        present values need one weighted sum a quantity, not one a line.
    discount : array, shape (draw, quarter)
    used : array, shape (draw, quarter)
        Rate asked of the fleet at the peak. [tokens/s]
    sold : array, shape (draw, quarter)
        The same, weighted by `token_worth`.
    tokens_each : array, shape (draw or 1, 1)
        Output tokens served in a quarter by one of `used`.
    token_worth : array, shape (draw or 1, quarter)
        What a token sells for over what one sells for on the day of the decision.
    """

    lines: tuple[Line, ...]
    amounts: tuple[Amount, ...]
    discount: Floats
    used: Floats
    sold: Floats
    tokens_each: Floats
    token_worth: Floats
    _kept: dict[str, Floats] = field(default_factory=dict, repr=False, compare=False)
    _sums: dict[int, Floats] = field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        assert len(self.amounts) == len(self.lines)

    @property
    def usd(self) -> Floats:
        """Payments line by line, shape (draw, quarter, line); large where draws are many."""
        if "usd" not in self._kept:
            draws, quarters = self.discount.shape
            each = [usd_of(amount, (draws, quarters)) for amount in self.amounts]
            self._kept["usd"] = np.moveaxis(np.stack(each), 0, 2)
        return self._kept["usd"]

    @property
    def tokens(self) -> Floats:
        """Output tokens served, shape (draw, quarter)."""
        return self.used * self.tokens_each

    def _presents(self) -> dict[int, Floats]:
        """Sum of every quantity over quarters, each discounted, shape (draw,), by identity."""
        if not self._sums:
            some = [quantity for amount in self.amounts for quantity, _ in amount]
            wanted = {id(quantity): quantity for quantity in (*some, self.used, self.sold)}
            draws = self.discount.shape[0]
            paid = np.empty(draws)
            sums = [np.zeros(draws) for _ in wanted]
            rows = [np.broadcast_to(one, self.discount.shape).T for one in wanted.values()]
            # a quarter at a time: its rows stay in the cache
            for discount, *parts in zip(self.discount.T, *rows, strict=True):
                for total, part in zip(sums, parts, strict=True):
                    np.add(total, np.multiply(part, discount, out=paid), out=total)
            self._sums.update(zip(wanted, sums, strict=True))
        return self._sums

    def npv_by_line_usd(self) -> Floats:
        """Present value of each line, shape (draw, line)."""
        if "lines" not in self._kept:
            present = self._presents()
            out = np.zeros((len(self.lines), self.discount.shape[0]))
            for index, amount in enumerate(self.amounts):
                for quantity, each in amount:
                    out[index] += present[id(quantity)] * each[:, 0]
            self._kept["lines"] = out.T
        return self._kept["lines"]

    def _sum(self, wanted: Callable[[Line], bool]) -> Floats:
        """Present value of some of the lines, added in order, shape (draw,)."""
        total = np.zeros(self.discount.shape[0])
        for index, usd in enumerate(self.npv_by_line_usd().T):
            if wanted(self.lines[index]):
                np.add(total, usd, out=total)
        return total

    def npv_usd(self) -> Floats:
        """Present value of all cash lines, shape (draw,)."""
        return self._sum(lambda line: line.cash)

    def by_quarter_usd(self) -> Floats:
        """Payments by quarter, shape (draw, quarter)."""
        quantities: dict[int, Floats] = {}
        prices: dict[int, Floats] = {}
        for line, amount in zip(self.lines, self.amounts, strict=True):
            for quantity, each in amount if line.cash else ():
                key = id(quantity)
                quantities[key] = quantity
                prices[key] = prices[key] + each if key in prices else each
        draws, quarters = self.discount.shape
        rows = np.zeros((quarters, draws))
        paid = np.empty(draws)
        parts = [
            (np.broadcast_to(quantity, (draws, quarters)).T, prices[key][:, 0])
            for key, quantity in quantities.items()
        ]
        # a quarter at a time: its row stays in the cache while all quantities are added
        for quarter in range(quarters):
            for quantity, each in parts:
                rows[quarter] += np.multiply(quantity[quarter], each, out=paid)
        return rows.T

    def discounted_tokens(self) -> Floats:
        """Present value of tokens served, shape (draw,)."""
        return self._presents()[id(self.used)] * self.tokens_each[:, 0]

    def discounted_worth(self) -> Floats:
        """Present value of tokens weighted by what they sell for, shape (draw,)."""
        return self._presents()[id(self.sold)] * self.tokens_each[:, 0]

    def npv_by_scaling_usd(self) -> dict[Scaling, Floats]:
        """Present value by how a line scales with the own chip's throughput."""
        own = self._sum(lambda line: line.cash and line.scales == "own")
        fixed = self._sum(lambda line: line.cash and line.scales == "fixed")
        rest = self._sum(lambda line: line.cash and line.scales == "rest")
        return {"own": own, "fixed": fixed, "rest": rest}


class Inputs:
    """Resolved inputs by path: one column per path, certain ones of length one.

    `inputs("options.b.price_usd")` is a column of shape (draw or 1, 1), ready to broadcast
    against (draw, quarter).
    """

    __slots__ = ("_kept", "draws", "values")

    def __init__(self, values: Mapping[str, Floats]) -> None:
        self.values = {path: np.atleast_1d(column) for path, column in values.items()}
        self.draws = max((column.size for column in self.values.values()), default=1)
        self._kept: dict[Hashable, Any] = {}

    def __call__(self, path: str) -> Floats:
        """Column of a path, shape (draw or 1, 1)."""
        return self.values[path][:, None]

    def flat(self, path: str) -> Floats:
        """Column of a path, shape (draw or 1,)."""
        return self.values[path]

    def once(self, key: Hashable, make: Callable[[], Made]) -> Made:
        """What `make` makes of these inputs, made at the first call under this key and kept.

        For what several strategies share: discount factors, prices of generations, dates.
        """
        if key not in self._kept:
            self._kept[key] = make()
        made: Made = self._kept[key]
        return made

    def __contains__(self, path: object) -> bool:
        return path in self.values

    def replace(self, changes: Mapping[str, Floats | float]) -> Inputs:
        """Return a copy with some columns replaced; an unknown path is our own bug."""
        unknown = set(changes) - set(self.values)
        assert not unknown, sorted(unknown)
        return Inputs(self.values | {path: np.atleast_1d(v) for path, v in changes.items()})

    def rows(self, part: slice) -> Inputs:
        """Return the inputs of some draws."""
        return Inputs({path: v if v.size == 1 else v[part] for path, v in self.values.items()})
