"""The small tables of this room: priors for blank fields, measured chips, topologies."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from importlib import resources


def _rows(name: str) -> list[dict[str, str]]:
    text = resources.files("tapeout.chip").joinpath(f"data/{name}").read_text("utf-8")
    return list(csv.DictReader(text.splitlines()))


@dataclass(frozen=True, slots=True, kw_only=True)
class Prior:
    """Median of a ratio across the chips of a group, and its spread in log units.

    `of` names the vendor whose chips the median is over, if it is one vendor's. The values and
    spreads come from tools/fit_chip_priors.py and the catalogue. `elasticity` is the assumed per
    cent of step time for one per cent of the quantity: decode follows bandwidth far more than
    peaks, and links least.
    """

    value: float
    log_sd: float
    elasticity: float
    chips: int
    note: str
    of: str = ""


@cache
def priors() -> dict[tuple[str, str, str], Prior]:
    """Read data/priors.csv by (quantity, group, vendor).

    The group is a memory class or "all"; the vendor is blank for all vendors.
    """
    return {
        (row["quantity"], row["group"], row["vendor"]): Prior(
            value=float(row["value"]),
            log_sd=float(row["log_sd"]),
            elasticity=float(row["elasticity"]),
            chips=int(row["chips"]),
            note=row["note"],
            of=f" of {row['vendor']}" if row["vendor"] else "",
        )
        for row in _rows("priors.csv")
    }


def prior(quantity: str, group: str, vendor: str = "") -> Prior:
    """Return the narrowest prior there is: vendor within class, class, all chips."""
    table = priors()
    keys = ((group, vendor), ("all", vendor), (group, ""), ("all", ""))
    return next(table[quantity, *key] for key in keys if (quantity, *key) in table)


def has_vendor(quantity: str, vendor: str) -> bool:
    """True if chips of the vendor have a prior of their own."""
    return (quantity, "all", vendor) in priors()


@cache
def measured_rows() -> dict[str, int]:
    """End-to-end rows measured on each chip, by catalogue name (data/measured.csv)."""
    return {row["chip"]: int(row["rows"]) for row in _rows("measured.csv")}


@cache
def stated_topologies() -> dict[str, str]:
    """Topology of the scale-up network where the catalogue has it in a note only."""
    return {row["chip"]: row["topology"] for row in _rows("topology.csv")}
