"""Scarce inputs: how much of each can be had by quarter, and what one chip takes of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tapeout.economics.types import Holder
from tapeout.numerics import Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class Scarce:
    """An input of which only so much is to be had; in its own unit.

    Attributes
    ----------
    key, title, unit : str
    holder : Holder
        Who is paid for a reservation and for hurry.
    amount : array, shape (quarter,)
        Expected to be had in a quarter; of power, expected to be energised by then.
    each : mapping of option to float
        Taken by one chip, scrap included; of power each chip's own watts count instead.
    in_watts : bool
        Whether it is power: chips in service count, and a chip that leaves frees it.
    lead_quarters, hurried_quarters : int
        From the order to delivery, and how much earlier hurry brings it.
    reservation_usd, hurry_usd : float
        Deposit a unit, paid at the order and credited at delivery, and what a unit costs more
        where it comes before its lead time.
    """

    key: str
    title: str
    unit: str
    holder: Holder
    amount: Floats
    each: Mapping[str, float]
    in_watts: bool = False
    lead_quarters: int = 0
    hurried_quarters: int = 0
    reservation_usd: float = 0.0
    hurry_usd: float = 0.0


def expected_amount(
    by_quarter: Sequence[float],
    quarters: int,
    *,
    allocation: float,
    first_quarter: int = 0,
    cumulated: bool = False,
) -> Floats:
    """Amount to be had in each quarter, shape (quarter,).

    Parameters
    ----------
    by_quarter : sequence of float
        Asked for in each quarter from the decision; the last figure goes on.
    allocation : float
        Share of it that is allotted in expectation.
    first_quarter : int
        Nothing comes before it.
    cumulated : bool
        What came stays: power energised so far.

    Examples
    --------
    >>> expected_amount([10.0, 20.0], 4, allocation=0.5, first_quarter=1)
    array([ 0., 10., 10., 10.])
    """
    at = np.minimum(np.arange(quarters), len(by_quarter) - 1)
    amount = np.asarray(by_quarter, float)[at] * allocation
    amount = np.where(np.arange(quarters) >= first_quarter, amount, 0.0)
    return np.cumsum(amount) if cumulated else amount
