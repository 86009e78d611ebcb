"""Reading a results folder: titles, rows and keys that may be absent. No arithmetic."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import polars as pl

from tapeout.study.results import plain, to_json

if TYPE_CHECKING:
    from tapeout.study import Results

OWN = "own"
COUNTERFACTUALS: Mapping[str, str] = {
    "list": "list price",
    "negotiated": "negotiated price",
    "rented": "rented capacity",
}
_RUN_ID_DIGITS = 12


def settled(results: Results) -> Results:
    """The same results with null for nan and infinity, as a folder that was written has them."""
    return replace(results, verdict=plain(results.verdict), manifest=plain(results.manifest))


def builds(results: Results) -> bool:
    """Whether the study has a chip of its own."""
    return bool(results.verdict.get("builds"))


def records(results: Results, key: str) -> list[dict[str, Any]]:
    """A list of the verdict; empty where the key is absent."""
    found = results.verdict.get(key)
    return list(found) if isinstance(found, list) else []


def mapping(results: Results, key: str) -> dict[str, Any]:
    """A mapping of the verdict; empty where the key is absent."""
    found = results.verdict.get(key)
    return dict(found) if isinstance(found, Mapping) else {}


def rows(results: Results, table: str, **equal: Any) -> list[dict[str, Any]]:
    """Rows of a table in which columns have the given values; empty where a column is absent."""
    frame = results.tables[table]
    if not set(equal) <= set(frame.columns):
        return []
    for column, value in equal.items():
        frame = frame.filter(pl.col(column) == value)
    return frame.to_dicts()


def option_titles(results: Results) -> dict[str, str]:
    """Option key to title, the negotiated variants too."""
    return {row["option"]: row["title"] for row in rows(results, "savings", kind="lcot")}


def strategy_titles(results: Results) -> dict[str, str]:
    """Strategy key to title, in the order of the scenario."""
    return {row["strategy"]: row["title"] for row in rows(results, "totals", objective="cost")}


def own_title(results: Results) -> str:
    """Title of the own chip."""
    return option_titles(results).get(OWN, "own chip")


def alternative_key(results: Results) -> str:
    """Key of the option that the own chip is compared with."""
    wanted = results.verdict.get("alternative_title")
    titles = option_titles(results)
    return next((key for key, title in titles.items() if title == wanted), "")


def tornado(results: Results, most: int) -> list[dict[str, Any]]:
    """Inputs that move the headline most."""
    frame = results.tables["sensitivity"]
    if frame.is_empty():
        return []
    moved = frame.filter(pl.col("swing_usd") > 0).sort(
        "swing_usd", "path", descending=[True, False]
    )
    return [
        one | {"unit": one["unit"] or _CHANCE_UNITS.get(one["path"], "")}
        for one in moved.head(most).to_dicts()
    ]


def subjects(results: Results, most: int) -> list[dict[str, Any]]:
    """Subjects that are worth something to know, dearest first."""
    found = mapping(results, "information").get("subjects", [])
    return [one for one in found if one["evppi_usd"] > 0 or one["evppi_pair_usd"] > 0][:most]


# what the programme draws by chance is no input, so no unit is written down for it
_CHANCE_UNITS = {
    "options.own.cancelled": "yes/no",
    "options.own.slip_months": "months",
    "options.own.spins": "count",
}


def input_units(results: Results) -> dict[str, str]:
    """Path to unit, the programme's chances too."""
    frame = results.tables["inputs"]
    return _CHANCE_UNITS | dict(zip(frame["path"], frame["unit"], strict=True))


def run_id(results: Results) -> str:
    """What identifies a run: a digest of its manifest."""
    digest = hashlib.sha256(to_json(results.manifest).encode()).hexdigest()
    return digest[:_RUN_ID_DIGITS]
