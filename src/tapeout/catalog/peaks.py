"""Physics check of the peaks: units x clock x operations per cycle against the stated rate."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tapeout.catalog.fields import data_rows
from tapeout.catalog.store import Catalog


@dataclass(frozen=True, slots=True, kw_only=True)
class PeakCheck:
    """A stated peak beside the one its parts give.

    Attributes
    ----------
    stated_flop_per_s, derived_flop_per_s : float
        Dense rates of one chip.
    basis : str
        What computes in one unit in one cycle.
    """

    chip: str
    dtype: str
    stated_flop_per_s: float
    derived_flop_per_s: float
    basis: str

    @property
    def deviation(self) -> float:
        """Derived over stated, less one: above zero if the parts could do more."""
        return self.derived_flop_per_s / self.stated_flop_per_s - 1.0


def check_peaks(catalog: Catalog) -> Iterator[PeakCheck]:
    """Re-derive the dense peak of every chip whose units and clock are known.

    Yields
    ------
    PeakCheck
        In the order of the table of rates. A multiply-add counts as two operations.
    """
    for row in data_rows("peak_rates.csv"):
        chip = catalog.chip(row["chip"])
        units = catalog.resolve(chip.name, row["count_field"]).chosen.value
        clock_hz = catalog.resolve(chip.name, "clock", row["clock"]).chosen.value
        stated = catalog.resolve(chip.name, f"peak_{row['dtype']}", "dense").chosen.value
        yield PeakCheck(
            chip=chip.name,
            dtype=row["dtype"],
            stated_flop_per_s=stated,
            derived_flop_per_s=units * clock_hz * float(row["flop_per_unit_cycle"]),
            basis=row["basis"],
        )
