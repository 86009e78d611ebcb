"""Table of scarce inputs: where they bind, and what one more unit is worth."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tapeout.report import formats as f
from tapeout.report.content import Cell, Row, Table, cell, left, right, row
from tapeout.report.reading import records

if TYPE_CHECKING:
    from tapeout.study import Results


KINK = 0.01  # worths further apart are both shown


def shadow_prices(results: Results) -> Table | None:
    """Use and worth of every scarce input, by strategy."""
    found = records(results, "supply")
    if not found:
        return None
    return Table(
        key="supply",
        caption="Scarce inputs: what binds, and what one more unit in every quarter is worth",
        columns=(
            left("input", "Input"),
            left("strategy", "Strategy"),
            right("use", "Largest use"),
            right("binds", "Quarters in which it binds"),
            right("cost", "One more, cost at given demand"),
            right("contribution", "One more, contribution"),
        ),
        rows=tuple(row_of(one) for one in found),
        notes=(
            "Central case, present value over the horizon; the strategy's order of options is kept,"
            " so one more unit of what the strategy takes first can cost more than it earns. Power"
            " counts what is in service, everything else what is taken in a quarter. Amounts are"
            " those expected after allocation.",
        ),
    )


def row_of(one: dict[str, Any]) -> Row:
    """One input in one strategy."""
    unit = one["unit"]
    first = one["first_binding_quarter"]
    amount = f"of {f.number(one['largest_amount'])} {unit}"
    return row(
        one["title"],
        one["strategy_title"],
        cell(f.number(one["largest_use"]), note=amount),
        "none"
        if first is None
        else cell(str(one["binding_quarters"]), note=f"the first is quarter {first + 1}"),
        _worth(one["cost_usd_per_unit"], one["cost_last_usd_per_unit"], unit),
        _worth(one["contribution_usd_per_unit"], one["contribution_last_usd_per_unit"], unit),
    )


def _worth(more: float | None, last: float | None, unit: str) -> Cell:
    if more is None or last is None or f.missing(more):
        return cell("none to be had", "muted")
    if more == 0.0 and last == 0.0:
        return cell("nothing", "muted")
    kink = abs(more - last) > KINK * max(abs(more), abs(last))
    note = f"the last one {f.usd(last)}" if kink else f"a {_one(unit)}"
    return cell(f.usd(more), note=note)


def _one(unit: str) -> str:
    return unit.removesuffix("s")
