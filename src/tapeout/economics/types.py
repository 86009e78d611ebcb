"""Types of the economics room: options, strategies, declared lines and cash flows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Literal

import numpy as np

from tapeout.numerics import Floats

OptionKind = Literal["buy", "rent", "build", "api"]
Objective = Literal["cost", "contribution"]
Scaling = Literal["own", "fixed", "rest"]


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One option over a span of time.

    `start` and `end` are years from the decision date, or an anchor of the own programme:
    "own.first_service", "own.full_volume", "own.mature", "own.end_of_sales".
    """

    option: str
    start: float | str = 0.0
    end: float | str = float("inf")
    share: float = 1.0


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


@dataclass(frozen=True, slots=True, kw_only=True)
class CashFlow:
    """Payments of one strategy, shape (draw, quarter, line), costs positive, nominal USD.

    Flows fall at mid-quarter. `discount` has shape (draw, quarter), `tokens` (draw, quarter) are
    output tokens served, `token_worth` (draw or 1, quarter) is what a token sells for over what one
    sells for on the day of the decision.
    """

    lines: tuple[Line, ...]
    usd: Floats
    discount: Floats
    tokens: Floats
    token_worth: Floats

    def __post_init__(self) -> None:
        assert self.usd.shape[2] == len(self.lines)

    def _cash(self) -> Floats:
        return np.array([float(line.cash) for line in self.lines])

    def npv_by_line_usd(self) -> Floats:
        """Present value of each line, shape (draw, line)."""
        out: Floats = np.einsum("dql,dq->dl", self.usd, self.discount)
        return out

    def npv_usd(self) -> Floats:
        """Present value of all cash lines, shape (draw,)."""
        total: Floats = self.npv_by_line_usd() @ self._cash()
        return total

    def by_quarter_usd(self) -> Floats:
        """Payments by quarter, shape (draw, quarter)."""
        total: Floats = self.usd @ self._cash()
        return total

    def discounted_tokens(self) -> Floats:
        """Present value of tokens served, shape (draw,)."""
        out: Floats = np.einsum("dq,dq->d", self.tokens, self.discount)
        return out

    def discounted_worth(self) -> Floats:
        """Present value of tokens weighted by what they sell for, shape (draw,)."""
        worth = np.broadcast_to(self.token_worth, self.tokens.shape)
        out: Floats = np.einsum("dq,dq,dq->d", self.tokens, self.discount, worth)
        return out

    def npv_by_scaling_usd(self) -> dict[Scaling, Floats]:
        """Present value by how a line scales with the own chip's throughput."""
        by_line = self.npv_by_line_usd()
        out: dict[Scaling, Floats] = {}
        for scaling in ("own", "fixed", "rest"):
            mask = [line.cash and line.scales == scaling for line in self.lines]
            out[scaling] = by_line[:, mask].sum(axis=1)
        return out


class Inputs:
    """Resolved inputs by path: one column per path, certain ones of length one.

    `inputs("options.b.price_usd")` is a column of shape (draw or 1, 1), ready to broadcast
    against (draw, quarter).
    """

    __slots__ = ("draws", "values")

    def __init__(self, values: Mapping[str, Floats]) -> None:
        self.values = {path: np.atleast_1d(column) for path, column in values.items()}
        self.draws = max((column.size for column in self.values.values()), default=1)

    def __call__(self, path: str) -> Floats:
        """Column of a path, shape (draw or 1, 1)."""
        return self.values[path][:, None]

    def flat(self, path: str) -> Floats:
        """Column of a path, shape (draw or 1,)."""
        return self.values[path]

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
