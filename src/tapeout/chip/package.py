"""From dies and memory to a sold package: bonding losses, bill of materials, margin.

The order of assembly is chip last: the interposer is made and tested, good dies are bonded to it,
then the carrier goes onto its substrate. A package lost late takes good dies with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from tapeout.numerics import Floats

Procurement = Literal["turnkey", "consigned"]
PARTS = ("foundry", "memory", "packaging", "test")  # who is paid for which part of a package


@dataclass(frozen=True, slots=True, kw_only=True)
class Assembly:
    """Yields of a chip-last package, numbers or arrays that broadcast.

    `interposer_yield` y1, `bond_yield` y2 of one chip, `bonds` n chips bonded (logic and memory),
    `substrate_yield` y3.
    """

    interposer_yield: ArrayLike = 1.0
    bond_yield: ArrayLike = 1.0
    bonds: int = 1
    substrate_yield: ArrayLike = 1.0

    def carrier_factor(self) -> Floats:
        """Interposers made per good package, 1/(y1 y2^n y3)."""
        factor: Floats = (1.0 + self.wasted_fraction()) / np.asarray(self.interposer_yield, float)
        return factor

    def wasted_fraction(self) -> Floats:
        """Good dies lost per die in a good package, 1/(y2^n y3) - 1."""
        kept = np.asarray(self.bond_yield, float) ** self.bonds
        wasted: Floats = 1.0 / (kept * np.asarray(self.substrate_yield, float)) - 1.0
        return wasted


def bill_of_materials_usd(
    *,
    dies_usd: ArrayLike,
    memory_usd: ArrayLike,
    carrier_usd: ArrayLike,
    test_usd: ArrayLike = 0.0,
    assembly: Assembly | None = None,
) -> dict[str, Floats]:
    """Cost of one good package by who is paid for it [USD].

    Parameters
    ----------
    dies_usd, memory_usd : array
        Known good logic dies and memory stacks that go into one package.
    carrier_usd : array
        Interposer, substrate and bonding of one package as started.
    test_usd : array
        Test and final assembly of one package.
    assembly : Assembly or None
        Yields; None if the figures already are per good package.

    Returns
    -------
    dict of part to array
        The keys are `PARTS`; dies and memory lost in bonding are charged to whoever sold them.
    """
    lossless = assembly or Assembly()
    used = 1.0 + lossless.wasted_fraction()
    return {
        "foundry": np.asarray(dies_usd, float) * used,
        "memory": np.asarray(memory_usd, float) * used,
        "packaging": np.asarray(carrier_usd, float) * lossless.carrier_factor(),
        "test": np.asarray(test_usd, float) * used,
    }


def package_price_usd(
    parts_usd: Mapping[str, ArrayLike], margin_fraction: ArrayLike, procurement: Procurement
) -> Floats:
    """Price a seller asks for a package at a gross margin [USD].

    `turnkey`: the seller buys the memory and earns its margin on it too. `consigned`: the owner
    buys the memory and pays the margin on the rest only; the price includes the memory, so both
    compare.
    """
    cost = sum((np.asarray(part, float) for part in parts_usd.values()), np.zeros(()))
    passed_on = np.asarray(parts_usd["memory"] if procurement == "consigned" else 0.0, float)
    price: Floats = price_at_margin_usd(cost - passed_on, margin_fraction) + passed_on
    return price


def price_at_margin_usd(cost_usd: ArrayLike, margin_fraction: ArrayLike) -> Floats:
    """Price c/(1 - m): the gross margin is a share of the price, not of the cost [USD].

    Examples
    --------
    >>> round(float(price_at_margin_usd(5030.0, 0.575)))
    11835
    """
    price: Floats = np.asarray(cost_usd, float) / (1.0 - np.asarray(margin_fraction, float))
    return price


def gross_margin_fraction(cost_usd: ArrayLike, price_usd: ArrayLike) -> Floats:
    """Gross margin 1 - c/p that a price leaves over a cost."""
    margin: Floats = 1.0 - np.asarray(cost_usd, float) / np.asarray(price_usd, float)
    return margin
