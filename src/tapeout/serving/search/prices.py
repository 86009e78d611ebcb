"""What a chip costs an hour: as given, or the catalogue's rental price with its source."""

from __future__ import annotations

import math
from dataclasses import dataclass

from tapeout.catalog import Catalog
from tapeout.errors import Problem, ProblemsError
from tapeout.sources import Figure

RENTAL = "rental"
# One depth of contract for all chips, so that a price list is not compared with a contract.
CONDITIONS = ("on-demand neocloud", "on-demand index", "on-demand hyperscaler")


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """Rent of one chip.

    Attributes
    ----------
    usd_per_chip_hour : float
    source : str
        Who says so, in words; "given" for an option.
    as_of : str
        Date of the price, blank where it was given.
    condition : str
        Of the contract.
    """

    usd_per_chip_hour: float
    source: str = "given"
    as_of: str = ""
    condition: str = ""

    @property
    def words(self) -> str:
        """Price, condition, source and date in a line."""
        parts = [one for one in (self.condition, self.source, self.as_of) if one]
        return f"{self.usd_per_chip_hour:g} USD/chip-hour ({', '.join(parts)})"


def catalogue_price(catalog: Catalog, chip: str) -> Price | None:
    """On-demand rent of a chip, None where the catalogue has none.

    Raises
    ------
    UnknownNameError
        No chip has this name.
    """
    record = catalog.chip(chip)
    for condition in CONDITIONS:
        found = record.figure(RENTAL, condition)
        if found is not None:
            figure: Figure = found.chosen
            return Price(
                usd_per_chip_hour=figure.value,
                source=figure.source_title or figure.status,
                as_of=figure.as_of,
                condition=condition,
            )
    return None


def parse_price(text: str) -> tuple[str, Price]:
    """Read `CHIP=USD`.

    Raises
    ------
    ProblemsError
        It cannot be read.

    Examples
    --------
    >>> parse_price("h100=2.5")[1].words
    '2.5 USD/chip-hour (given)'
    """
    name, separator, value = text.rpartition("=")
    try:
        usd = float(value)
    except ValueError:
        usd = math.nan
    if not (separator and name.strip() and 0.0 < usd < math.inf):
        problem = Problem(
            path="--usd-per-chip-hour",
            value=text,
            message="cannot be read as a chip and a price above 0",
            remedy="write h100=2.5",
        )
        raise ProblemsError("--usd-per-chip-hour", [problem])
    return name.strip(), Price(usd_per_chip_hour=usd)
