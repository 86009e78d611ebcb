"""Amounts that options of a plan share: memory, packages, wafers, racks, power, a queue."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from tapeout.numerics import Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """An amount by quarter, and what one chip of each option takes of it.

    Attributes
    ----------
    key : str
    amount : array, shape (draw or 1, quarter)
        Most that can be taken in a quarter; of what stays in use (power), most that may be in
        service in a quarter.
    each : mapping of option to array, shape (draw or 1,)
        Taken by one chip of the first generation; options left out take nothing.
    in_service : bool
        Whether chips in service count, not those taken.
    weight : str
        Carried quantity by which chips of a later generation take more or less; "": none.
    """

    key: str
    amount: Floats
    each: Mapping[str, Floats]
    in_service: bool = False
    weight: str = ""


class Taker(Protocol):
    """What a pool has to know of a stock of chips."""

    supply: Any

    def weight(self, name: str, quarter: int) -> tuple[Floats, Floats]:
        """Of a quantity: what one chip taken now adds, and what all in service have."""
        ...


class Pool:
    """What is left of a limit as the plan walks through a quarter."""

    def __init__(self, limit: Limit, shape: tuple[int, int]) -> None:
        self.limit = limit
        self.amount: NDArray[Any] = np.ascontiguousarray(limit.amount.T)
        self.left: Floats = np.zeros(shape[1])

    def open(self, quarter: int, stocks: Iterable[Taker]) -> None:
        """Begin a quarter: its amount, less what is in service where that counts."""
        left = np.zeros(self.left.shape) + self.amount[quarter]
        if self.limit.in_service:
            for stock in stocks:
                each = self.limit.each.get(stock.supply.key)
                if each is not None:
                    left -= each * stock.weight(self.limit.weight, quarter)[1]
        self.left = np.maximum(left, 0.0)

    def room(self, stock: Taker, quarter: int) -> Floats | None:
        """Chips of a stock that what is left allows, shape (draw,); None: it takes nothing."""
        each = self.limit.each.get(stock.supply.key)
        if each is None:
            return None
        one = each * stock.weight(self.limit.weight, quarter)[0]
        room: Floats = self.left / np.maximum(one, np.finfo(float).tiny)
        return room

    def draw(self, stock: Taker, quarter: int, chips: Floats) -> None:
        """Take off what so many chips take."""
        each = self.limit.each.get(stock.supply.key)
        if each is not None:
            one = each * stock.weight(self.limit.weight, quarter)[0]
            self.left = np.maximum(self.left - one * chips, 0.0)
