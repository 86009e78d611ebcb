"""The central case as a workbook whose totals are live formulas and re-add by hand.

Numbers of the engine are typed in where the study computed them (payments by line and quarter,
depreciation, tax, debt) and are blue; every sum, link, discount factor, present value and check is
a formula with its value and is black.
"""

from __future__ import annotations

import datetime as dt
import io
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from tapeout.constants import MTOK
from tapeout.files import write_whole_bytes

if TYPE_CHECKING:
    from xlsxwriter.workbook import Workbook
    from xlsxwriter.worksheet import Worksheet

    from tapeout.study import Results

TYPED = "#1f4e9c"  # blue of what is typed in
LABELS, FIRST = 3, 3  # columns before the quarters; first row of a sheet's table
RESERVED = frozenset({"read me", "summary", "inputs", "history"})  # history: the spreadsheet's own
RATE, OPENING, VALUE = "Summary!$B$1", "Summary!$B$2", "Summary!$B$3"
SUMMARY = 4  # row of the summary's heads
NOT_PAID = "no payment"  # account of what is valued, not paid
VALUED = "Valuation at the horizon and demand not served"
# items of a statement that are sums of others: (item, parts)
SUMS: dict[str, dict[str, tuple[str, ...]]] = {
    "profit": {
        "EBITDA": ("revenue", "running cost", "rent and tokens bought", "programme"),
        "EBIT": ("EBITDA", "depreciation", "impairment", "gain on disposal"),
        "profit before tax": ("EBIT", "interest"),
        "net income": ("profit before tax", "current tax", "deferred tax"),
    },
    "cash": {
        "cash from operations": ("net income", "written off, not paid", "deferred tax"),
        "cash from investing": ("purchases", "deposits", "resale"),
        "cash from financing": ("borrowed", "repaid", "put in by owners"),
        "change in cash": ("cash from operations", "cash from investing", "cash from financing"),
    },
    "balance": {
        "assets": ("cash", "deposits", "chips and systems"),
        "debt, tax and equity": ("debt", "deferred tax", "equity"),
    },
}
# items that are lines of the cash flow added up, with the sign turned: account of those lines
FROM_LINES = {
    ("profit", "running cost"): "running cost",
    ("profit", "rent and tokens bought"): "rent and tokens bought",
    ("profit", "programme"): "programme",
    ("cash", "purchases"): "capital",
    ("cash", "deposits"): "deposits",
    ("cash", "resale"): "resale",
}
# items made of those of another statement: (sign, statement, item)
LINKS: dict[tuple[str, str], tuple[tuple[str, str, str], ...]] = {
    ("cash", "net income"): (("+", "profit", "net income"),),
    ("cash", "written off, not paid"): (
        ("-", "profit", "depreciation"),
        ("-", "profit", "impairment"),
        ("-", "profit", "gain on disposal"),
    ),
    ("cash", "deferred tax"): (("-", "profit", "deferred tax"),),
    # balances: what is added to the quarter before
    ("balance", "cash"): (("+", "cash", "change in cash"),),
    ("balance", "deposits"): (("-", "cash", "deposits"),),
    ("balance", "debt"): (("+", "cash", "borrowed"), ("+", "cash", "repaid")),
    ("balance", "deferred tax"): (("-", "profit", "deferred tax"),),
    ("balance", "equity"): (
        ("+", "profit", "net income"),
        ("+", "cash", "put in by owners"),
    ),
}
WITH_OPENING_CASH = ("cash", "equity")
TITLES = {
    "profit": "Profit and loss",
    "cash": "Cash flow",
    "balance": "Balance at quarter's end",
    "commitments": "Commitments at quarter's end",
    "receipts": "Received from this strategy, by stakeholder",
}


def write_workbook(results: Results, path: Path) -> None:
    """Write the workbook, all or nothing; the same results give the same bytes.

    Raises
    ------
    OSError
        The file cannot be written.
    """
    write_whole_bytes(path, workbook_bytes(results))


def workbook_bytes(results: Results) -> bytes:
    """The workbook as bytes."""
    from xlsxwriter import Workbook  # noqa: PLC0415  loaded when a workbook is asked for

    target = io.BytesIO()
    options = {"in_memory": True, "strings_to_formulas": False, "strings_to_urls": False}
    book = Workbook(target, options)
    start = dt.date.fromisoformat(results.verdict["start"])
    book.set_properties({"title": results.verdict["title"], "created": _made_on(start)})
    _Sheets(book, results).write()
    book.close()
    return target.getvalue()


def _made_on(start: dt.date) -> dt.datetime:
    """Date the file claims: that of the decision, so that equal runs give equal bytes."""
    return dt.datetime(start.year, start.month, start.day)  # noqa: DTZ001  a workbook has no zones


def column(index: int) -> str:
    """Letters of a column, from zero."""
    letters = ""
    index += 1
    while index:
        index, rest = divmod(index - 1, 26)
        letters = chr(ord("A") + rest) + letters
    return letters


def sheet_name(key: str, taken: set[str]) -> str:
    """A name that a workbook accepts, not used before."""
    base = re.sub(r"[\[\]:*?/\\']", "-", key)[:28] or "strategy"
    name, number = base, 2
    while name.lower() in taken | RESERVED:
        name, number = f"{base}-{number}", number + 1
    taken.add(name.lower())
    return name


class _Sheets:
    """Writes the sheets in order; the summary points into those of the strategies."""

    def __init__(self, book: Workbook, results: Results) -> None:
        self.book, self.results = book, results
        self.bold = book.add_format({"bold": True})
        self.head = book.add_format({"bold": True, "bottom": 1})
        self.usd = book.add_format({"num_format": "#,##0"})
        self.total = book.add_format({"num_format": "#,##0", "bold": True, "top": 1})
        self.plain = book.add_format({"num_format": "0.0000"})
        self.typed = book.add_format({"num_format": "0.0000", "font_color": TYPED})
        self.typed_usd = book.add_format({"num_format": "#,##0", "font_color": TYPED})
        self.typed_share = book.add_format({"num_format": "0.0%", "font_color": TYPED})
        inputs = results.tables["inputs"].filter(pl.col("path") == "decision.discount_rate")
        self.rate = float(inputs["value"][0])
        flows = results.tables["cashflow"]
        self.lines = flows.filter(pl.col("kind") == "line")
        self.tokens = flows.filter(pl.col("kind") == "tokens")
        self.quarters = int(self.tokens["quarter"].max() or 0) + 1  # type: ignore[arg-type]
        self.value = results.verdict["measures"][0].get("value_usd_per_mtok")
        taken: set[str] = set()
        self.names = {
            row["strategy"]: sheet_name(row["strategy"], taken)
            for row in results.verdict["measures"]
        }

    def write(self) -> None:
        """Write every sheet."""
        self._read_me(self.book.add_worksheet("Read me"))
        summary = self.book.add_worksheet("Summary")
        cells = {key: self._strategy(key, name) for key, name in self.names.items()}
        self._summary(summary, cells)
        self._inputs(self.book.add_worksheet("Inputs"))

    def _read_me(self, sheet: Worksheet) -> None:
        manifest = self.results.manifest
        lines = (
            self.results.verdict["title"],
            self.results.verdict.get("question", ""),
            "",
            "The central case: every input at its middle. The report has the futures around it.",
            "Black numbers are formulas; blue ones are typed in. Payments by line, depreciation,",
            "tax, debt and what the owners put in come from the engine and do not follow a change;",
            "sums, links between statements, discounting, present costs and checks do.",
            "Another discount rate on Summary discounts the payments shown again. Halls and built",
            "rents were computed at the study's rate and do not move; run the study for that.",
            "A changed purchase or resale moves the check of the balance away from zero: what",
            "stands on the books is the engine's. A changed running cost moves cash and equity",
            "alike.",
            "Costs are positive among the lines and negative on the statements. Nominal USD.",
            "Payments fall in the middle of a quarter. Present costs are before tax and financing.",
            "Paid is money; the valuation credits what chips are worth at the horizon and counts",
            "demand not served at its value. Present cost is both.",
            "",
            f"tapeout {manifest['tapeout']}, catalogue {manifest['catalog']},"
            f" scenario {manifest['scenario_digest'][:12]}",
        )
        sheet.set_column(0, 0, 100)
        for row, text in enumerate(lines):
            sheet.write_string(row, 0, text, self.bold if row == 0 else None)

    def _inputs(self, sheet: Worksheet) -> None:
        shown = ("path", "value", "low", "high", "unit", "status", "source_title", "why")
        sheet.set_column(0, 0, 44)
        sheet.freeze_panes(1, 1)
        for index, name in enumerate(shown):
            sheet.write_string(0, index, name, self.head)
        for row, entry in enumerate(self.results.tables["inputs"].iter_rows(named=True), start=1):
            for index, name in enumerate(shown):
                value = entry[name]
                if isinstance(value, float):
                    sheet.write_number(row, index, value)
                elif value is not None:
                    sheet.write_string(row, index, str(value))

    def _strategy(self, key: str, name: str) -> dict[str, str]:
        """One strategy: its lines, then its statements; returns the cells the summary needs."""
        sheet = self.book.add_worksheet(name)
        sheet.set_column(0, 0, 34)
        sheet.set_column(1, 1, 22)
        sheet.set_column(2, 2 + self.quarters, 14)
        sheet.freeze_panes(FIRST, LABELS)
        writer = _Strategy(self, sheet, key)
        return {cell: f"'{name}'!{where}" for cell, where in writer.write().items()}

    def _summary(self, sheet: Worksheet, cells: dict[str, dict[str, str]]) -> None:
        sheet.set_column(0, 0, 36)
        sheet.set_column(1, 12, 18)
        sheet.write_string(0, 0, "Discount rate, nominal, a year", self.bold)
        sheet.write_number(0, 1, self.rate, self.typed)
        sheet.write_string(1, 0, "Opening cash [USD]", self.bold)
        opening = self.results.verdict.get("finance", {}).get("opening_cash_usd", 0.0)
        sheet.write_number(1, 1, opening, self.typed_usd)
        if self.value is not None:
            sheet.write_string(2, 0, "Value of a million output tokens [USD]", self.bold)
            sheet.write_number(2, 1, self.value, self.typed)
        heads = (
            "Strategy", "Present cost [USD]", "Saved over the baseline [USD]",
            "USD per million output tokens", "IRR of what is saved", "Outcome of the IRR",
            "MIRR", "Payback [years]", "Peak funding [USD]", "Check: zero",
        )  # fmt: skip
        for index, text in enumerate(heads):
            sheet.write_string(SUMMARY, index, text, self.head)
        rows = self.results.verdict["measures"]
        places = {row["strategy"]: at for at, row in enumerate(rows, start=SUMMARY + 1)}
        baseline = places[self.results.verdict["baseline_strategy"]] + 1
        for row in rows:
            at, where = places[row["strategy"]], cells[row["strategy"]]
            sheet.write_string(at, 0, row["title"])
            cost, saved = row["present_cost_usd"], row["saving_usd"]
            sheet.write_formula(at, 1, f"={where['cost']}", self.usd, cost)
            sheet.write_formula(at, 2, f"=B{baseline}-B{at + 1}", self.usd, saved)
            unit = f"=B{at + 1}/{where['tokens']}*{MTOK:.0f}"
            sheet.write_formula(at, 3, unit, self.plain, row["lcot_usd_per_mtok"])
            self._figures(sheet, at, row)
            sheet.write_formula(at, 9, f"={where['check']}", self.usd, 0)

    def _figures(self, sheet: Worksheet, at: int, row: dict[str, Any]) -> None:
        shown = (
            (4, "irr_per_year", self.typed_share), (6, "mirr_per_year", self.typed_share),
            (7, "payback_years", self.typed), (8, "peak_funding_usd", self.typed_usd),
        )  # fmt: skip
        for index, name, style in shown:
            value = row[name]
            if value is not None and value == value:  # noqa: PLR0124  nan has no cell
                sheet.write_number(at, index, value, style)
        sheet.write_string(at, 5, row["irr_outcome"])


class _Strategy:
    """Rows of one strategy's sheet."""

    def __init__(self, sheets: _Sheets, sheet: Worksheet, key: str) -> None:
        self.sheets, self.sheet, self.key = sheets, sheet, key
        self.quarters = sheets.quarters
        self.row = FIRST
        self.cells: dict[str, str] = {}
        self.items: dict[tuple[str, str], int] = {}  # row of each item of a statement
        self.last = column(LABELS + self.quarters - 1)
        self.first = column(LABELS)
        self.factors: list[float] = []

    def write(self) -> dict[str, str]:
        """Write the sheet; cells of present cost, discounted tokens and the balance's check."""
        self._heads()
        lines = self._lines()
        self._tokens()
        statements = self.sheets.results.tables["statements"]
        mine = statements.filter(pl.col("strategy") == self.key)
        for name, title in TITLES.items():
            self._statement(name, title, mine.filter(pl.col("statement") == name), lines)
        return self.cells

    def _heads(self) -> None:
        sheet, sheets = self.sheet, self.sheets
        title = next(
            row["title"]
            for row in sheets.results.verdict["measures"]
            if row["strategy"] == self.key
        )
        sheet.write_string(0, 0, title, sheets.bold)
        sheet.write_string(1, 0, "Discount factor", sheets.bold)
        rows = sheets.tokens.filter(pl.col("strategy") == self.key).sort("quarter")
        for index, label in enumerate(("Line", "Account", "Present value [USD]")):
            sheet.write_string(2, index, label, sheets.head)
        for quarter, (start, factor) in enumerate(rows.select("start", "discount").iter_rows()):
            at = LABELS + quarter
            sheet.write_string(2, at, start, sheets.head)
            formula = f"=(1+{RATE})^-(({quarter}+0.5)/4)"
            sheet.write_formula(1, at, formula, sheets.plain, factor)
            self.factors.append(factor)

    def _span(self, row: int) -> str:
        return f"{self.first}{row + 1}:{self.last}{row + 1}"

    def _values(self, values: list[float], style: Any = None) -> None:
        for quarter, value in enumerate(values):
            at, blue = LABELS + quarter, style or self.sheets.typed_usd
            self.sheet.write_number(self.row, at, value, blue)

    def _lines(self) -> dict[str, list[int]]:
        """Payments by line, what is valued besides, and their sum; rows of each account."""
        mine = self.sheets.lines.filter((pl.col("strategy") == self.key) & pl.col("cash"))
        accounts: dict[str, list[int]] = {}
        not_paid = pl.col("account") == NOT_PAID
        parts = (("Paid", mine.filter(~not_paid)), (VALUED, mine.filter(not_paid)))
        subtotals, total = [], [0.0] * self.quarters
        for label, rows in parts:
            usd = self._block(rows, accounts)
            total = [a + b for a, b in zip(total, usd, strict=True)]
            span = range(self.row - rows["line"].n_unique(), self.row)
            subtotals.append(self.row)
            self._sum(label, [f"{{0}}{span[0] + 1}:{{0}}{span[-1] + 1}"] if span else [], usd)
            self.row += 1
        self._sum("Present cost", [f"{{0}}{row + 1}" for row in subtotals], total)
        self.cells["cost"] = f"$C${self.row + 1}"
        self.row += 2
        return accounts

    def _block(self, rows: pl.DataFrame, accounts: dict[str, list[int]]) -> list[float]:
        """One row a line; their sum by quarter."""
        total = [0.0] * self.quarters
        for (line,), part in rows.group_by(["line"], maintain_order=True):
            usd = part.sort("quarter")["usd"].to_list()
            account = str(part["account"][0])
            accounts.setdefault(account, []).append(self.row)
            self.sheet.write_string(self.row, 0, str(line))
            self.sheet.write_string(self.row, 1, account)
            self._values(usd)
            self._present(usd, self.sheets.usd)
            total = [a + b for a, b in zip(total, usd, strict=True)]
            self.row += 1
        return total

    def _sum(self, label: str, cells: list[str], usd: list[float]) -> None:
        """A row that adds up cells of its column, `{0}` in their names."""
        self.sheet.write_string(self.row, 0, label, self.sheets.bold)
        for quarter, value in enumerate(usd):
            letter = column(LABELS + quarter)
            added = ",".join(cells).format(letter)
            formula = f"=SUM({added})" if added else "=0"
            self._formula(LABELS + quarter, formula, self.sheets.total, value)
        self._present(usd, self.sheets.total)

    def _formula(self, at: int, formula: str, style: Any, value: Any) -> None:
        self.sheet.write_formula(self.row, at, formula, style, value)

    def _present(self, usd: list[float], style: Any) -> None:
        value = sum(a * b for a, b in zip(usd, self.factors, strict=True))
        factors = f"{self.first}$2:{self.last}$2"
        formula = f"=SUMPRODUCT({self._span(self.row)},{factors})"
        self._formula(2, formula, style, value)

    def _tokens(self) -> None:
        rows = self.sheets.tokens.filter(pl.col("strategy") == self.key).sort("quarter")
        self.sheet.write_string(self.row, 0, "Output tokens served")
        tokens = rows["tokens"].to_list()
        self._values(tokens)
        self._present(tokens, self.sheets.usd)
        self.cells["tokens"] = f"$C${self.row + 1}"
        self.row += 1
        self.sheet.write_string(self.row, 0, "Worth of a token over the decision's")
        self._values(rows["token_worth"].to_list(), self.sheets.typed)
        self.items["tokens", "tokens"], self.items["tokens", "worth"] = self.row - 1, self.row
        self.row += 2

    def _statement(
        self, name: str, title: str, rows: pl.DataFrame, lines: dict[str, list[int]]
    ) -> None:
        sheet, sheets = self.sheet, self.sheets
        sheet.write_string(self.row, 0, title, sheets.head)
        self.row += 1
        sums = SUMS.get(name, {})
        for (label,), part in rows.group_by(["item"], maintain_order=True):
            item = str(label)
            self.items[name, item] = self.row
            usd = part.sort("quarter")["usd"].to_list()
            sheet.write_string(self.row, 0, item, sheets.bold if item in sums else None)
            terms = self._terms(name, item, lines)
            style = sheets.total if item in sums else sheets.usd
            if (name, item) == ("profit", "revenue") and sheets.value is not None:
                self._revenue(usd)
            elif terms:
                opening = self._opening(name, item)
                self._formulas(terms, usd, style, opening=opening)
            else:
                self._values(usd)
            self.row += 1
        if name == "balance":
            self._check()
        self.row += 1

    def _terms(self, name: str, item: str, lines: dict[str, list[int]]) -> list[tuple[str, int]]:
        """Signs and rows that an item is made of in its own quarter; none: it is typed in."""
        if (name, item) in FROM_LINES:
            return [("-", row) for row in lines.get(FROM_LINES[name, item], ())]
        parts = LINKS.get((name, item), ())
        parts += tuple(("+", name, part) for part in SUMS.get(name, {}).get(item, ()))
        return [(sign, self.items[statement, part]) for sign, statement, part in parts]

    def _opening(self, name: str, item: str) -> str | None:
        """What a balance starts from; None: no balance, nothing is carried over."""
        if name != "balance" or (name, item) not in LINKS:
            return None
        return OPENING if item in WITH_OPENING_CASH else ""

    def _formulas(
        self, terms: list[tuple[str, int]], usd: list[float], style: Any, *, opening: str | None
    ) -> None:
        for quarter, value in enumerate(usd):
            letter = column(LABELS + quarter)
            before = "" if opening is None else opening
            if quarter and opening is not None:
                before = f"{column(LABELS + quarter - 1)}{self.row + 1}"
            added = "".join(f"{sign}{letter}{row + 1}" for sign, row in terms)
            self._formula(LABELS + quarter, f"={(before + added).removeprefix('+')}", style, value)

    def _revenue(self, usd: list[float]) -> None:
        """Tokens served, times what each sells for."""
        tokens, worth = (self.items["tokens", name] + 1 for name in ("tokens", "worth"))
        for quarter, value in enumerate(usd):
            letter = column(LABELS + quarter)
            formula = f"={letter}{tokens}/{MTOK:.0f}*{letter}{worth}*{VALUE}"
            self._formula(LABELS + quarter, formula, self.sheets.usd, value)

    def _check(self) -> None:
        """Assets less what is owed and owned, all quarters added up, to the dollar."""
        ours, theirs = (
            self._span(self.items["balance", name]) for name in ("assets", "debt, tax and equity")
        )
        self.sheet.write_string(
            self.row, 0, "Check: assets less the rest, sum of absolute gaps [USD]"
        )
        formula = f"=ROUND(SUMPRODUCT(ABS({ours}-{theirs})),0)"
        self.sheet.write_formula(self.row, 2, formula, self.sheets.usd, 0)
        self.cells["check"] = f"$C${self.row + 1}"
        self.row += 1
