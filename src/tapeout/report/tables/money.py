"""Tables of money: every measure of every strategy, and the books year by year."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import polars as pl

from tapeout.constants import GIGA
from tapeout.report import formats as f
from tapeout.report.content import Cell, Row, Table, cell, left, right, row
from tapeout.report.reading import records

if TYPE_CHECKING:
    from tapeout.study import Results

QUARTERS = 4
NO_RATE = {
    "NO_SIGN_CHANGE": "no return: costs only, or saves only",
    "SEVERAL_ROOTS": "several rates fit",
    "SAVES_FIRST": "saves first, pays later: a loan, not a return",
}
TITLES = {
    "profit": "Profit and loss",
    "cash": "Cash flow",
    "balance": "Balance",
    "commitments": "Commitments",
    "receipts": "Received by",
}
SUMS = {
    "EBITDA", "EBIT", "profit before tax", "net income", "cash from operations",
    "cash from investing", "cash from financing", "change in cash", "assets",
    "debt, tax and equity",
}  # fmt: skip


def measures(results: Results) -> Table | None:
    """NPV, IRR, MIRR, payback, annual cost, LCOT and funding of every strategy as one set."""
    found = records(results, "measures")
    if not found:
        return None
    return Table(
        key="measures",
        caption="Every strategy by every measure, central case",
        columns=(
            left("strategy", "Strategy"),
            right("cost", "Present cost"),
            right("saving", "Saved over the baseline"),
            right("annual", "Equivalent a year"),
            right("lcot", "USD/Mtok"),
            right("irr", "IRR"),
            right("mirr", "MIRR"),
            right("payback", "Payback, discounted"),
            right("after_tax", "NPV after tax"),
            right("funding", "Peak funding"),
        ),
        rows=tuple(_measure(one) for one in found),
        notes=(
            "IRR, MIRR and payback are of what is saved over the baseline, the book value at the"
            " horizon included. NPV after tax is before financing: tokens at their value, tax on"
            " income before interest, chips at the horizon as in the present cost. Peak funding is"
            " the most that owners ever put in beyond opening cash, for the whole strategy; the"
            " payback table's peak extra cash need is over the baseline and before tax. Funding"
            " is before debt unless the scenario's [finance] says otherwise.",
        ),
    )


def _measure(one: dict[str, Any]) -> Row:
    back = one["discounted_payback_years"]
    irr = one["irr_per_year"]
    return row(
        one["title"],
        f.usd(one["present_cost_usd"]),
        f.usd(one["saving_usd"]),
        f.usd(one["equivalent_annual_cost_usd"]),
        f.number(one["lcot_usd_per_mtok"]),
        cell("none", note=NO_RATE.get(one["irr_outcome"], ""))
        if f.missing(irr)
        else f.percent(irr),
        "none" if f.missing(one["mirr_per_year"]) else f.percent(one["mirr_per_year"]),
        _back(one["saving_usd"], back),
        f.usd(one["npv_after_tax_usd"]),
        _funding(one),
    )


def _back(saving_usd: float, years: float | None) -> str:
    if saving_usd == 0.0:  # the baseline against itself
        return f.NONE
    if f.missing(years):
        return "never"
    return "at once" if years == 0.0 else f.years(years)


def _funding(one: dict[str, Any]) -> Cell:
    """Peak funding, and where it passes the limit the quarter in which the money runs out."""
    text = f.usd(one["peak_funding_usd"])
    if one.get("within_funding_limit", True):
        return cell(text)
    return cell(text, "bad", f"over the limit from quarter {one['unfunded_quarter'] + 1}")


def books(results: Results, strategy: str) -> Table | None:
    """Statements of one strategy by year: flows added up, balances at the year's end."""
    table = results.tables.get("statements")
    if table is None or table.is_empty():
        return None
    mine = table.filter(pl.col("strategy") == strategy)
    years = int(mine["quarter"].max() or 0) // QUARTERS + 1  # type: ignore[arg-type]
    lines: list[Row] = []
    for name, title in TITLES.items():
        part = mine.filter(pl.col("statement") == name)
        lines.append(Row(cells=_cells(title, [""] * years), style="group"))
        for (item,), values in part.group_by(["item"], maintain_order=True):
            usd = values.sort("quarter")["usd"].to_list()
            lines.append(
                Row(
                    cells=_cells(
                        str(item), _yearly(usd, at_end=name in ("balance", "commitments"))
                    ),
                    style="total" if item in SUMS else "body",
                )
            )
    return Table(
        key="books",
        caption="The books, bn USD, central case",
        columns=(left("item", "Item"), *(right(f"y{y}", f"Year {y + 1}") for y in range(years))),
        rows=tuple(lines),
        notes=(
            "Income positive, costs negative. Balances and commitments stand at the year's end."
            " Halls are leased and expensed; engineering is expensed as incurred. Quarter by"
            " quarter with live formulas: --report cash.xlsx.",
        ),
    )


def _cells(label: str, texts: list[str]) -> tuple[Cell, ...]:
    return (cell(label), *(cell(text) for text in texts))


def _yearly(usd: list[float], *, at_end: bool) -> list[str]:
    spans = [usd[at : at + QUARTERS] for at in range(0, len(usd), QUARTERS)]
    return [f.fixed((span[-1] if at_end else sum(span)) / GIGA, 2) for span in spans]
