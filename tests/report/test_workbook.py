"""The workbook re-adds: every formula is worked out again and gives the value beside it."""

import io
import itertools
import re
from dataclasses import replace

import pytest
from openpyxl import load_workbook

from tapeout.report.workbook import TYPED, VALUED, column, sheet_name, workbook_bytes
from tests.report.sheets import Sheets

HEADLINE = "build-bridge"


@pytest.fixture(scope="module")
def content(build):
    return workbook_bytes(build)


@pytest.fixture(scope="module")
def formulas(content):
    return load_workbook(io.BytesIO(content))


@pytest.fixture(scope="module")
def values(content):
    return load_workbook(io.BytesIO(content), data_only=True)


def test_every_formula_gives_the_value_written_beside_it(formulas, values):
    sheets = Sheets(formulas)
    checked = 0
    for sheet in formulas:
        for row in sheet.iter_rows():
            for cell in row:
                if isinstance(cell.value, str) and cell.value.startswith("="):
                    written = values[sheet.title][cell.coordinate].value
                    near = (
                        1e-9 if cell.number_format == "0.0000" else 1.0
                    )  # sums of billions cancel
                    assert sheets.value(sheet.title, cell.coordinate) == pytest.approx(
                        written, rel=1e-9, abs=near
                    ), (sheet.title, cell.coordinate, cell.value)
                    checked += 1
    assert checked > 500


def test_another_discount_rate_discounts_the_payments_shown_again(formulas, build):
    rate = formulas["Summary"]["B1"].value
    sheets = Sheets(formulas, {("Summary", "B1"): rate + 0.05})
    lines = build.tables["cashflow"].filter(kind="line", strategy="buy", cash=True)
    time = (lines["quarter"].to_numpy() + 0.5) / 4.0
    expected = float((lines["usd"].to_numpy() * (1.0 + rate + 0.05) ** -time).sum())
    assert sheets.value("Summary", "B6") == pytest.approx(expected, rel=1e-9)


def test_the_balance_is_checked_in_the_workbook(values):
    summary = values["Summary"]
    heads = [cell.value for cell in summary[5]]
    at = heads.index("Check: zero")
    checks = [row[at].value for row in summary.iter_rows(min_row=6) if row[0].value]
    assert checks
    assert not any(checks)


def numbers(formulas):
    """Sheet, cell and whether it is a formula, of every number outside the inputs."""
    for sheet in formulas:
        if sheet.title in ("Read me", "Inputs"):
            continue
        for cell in itertools.chain.from_iterable(sheet.iter_rows()):
            live = isinstance(cell.value, str) and cell.value.startswith("=")
            if live or isinstance(cell.value, int | float):
                yield sheet, cell, live


def test_typed_numbers_are_blue_and_formulas_are_not(formulas):
    seen = set()
    for sheet, cell, live in numbers(formulas):
        colour = cell.font.color.rgb if cell.font.color is not None else None
        blue = isinstance(colour, str) and colour[-6:].lower() == TYPED[1:]
        assert blue != live, (sheet.title, cell.coordinate, cell.value)
        seen.add(live)
    assert seen == {True, False}


def row_of(sheet, text, *, letter="A", after=1):
    """First row from `after` on whose cell holds the text."""
    return next(r for r in range(after, sheet.max_row + 1) if sheet[f"{letter}{r}"].value == text)


def edited(formulas, account, usd=1e9, quarter="H"):
    """The workbook with something added to the first line of an account of the headline."""
    sheet = formulas[HEADLINE]
    cell = f"{quarter}{row_of(sheet, account, letter='B')}"
    return Sheets(formulas, {(HEADLINE, cell): sheet[cell].value + usd})


def checked(sheets, formulas):
    sheet = formulas[HEADLINE]
    found = next(r for r in range(1, sheet.max_row + 1) if "Check" in str(sheet[f"A{r}"].value))
    return sheets.value(HEADLINE, f"C{found}")


@pytest.mark.parametrize("account", ["capital", "resale"])
def test_a_changed_purchase_or_resale_moves_the_check_of_the_balance(formulas, account):
    assert checked(Sheets(formulas), formulas) == 0.0
    assert checked(edited(formulas, account), formulas) >= 1e9


@pytest.mark.parametrize("account", ["running cost", "programme", "deposits"])
def test_a_changed_payment_runs_through_to_cash_and_what_stands_against_it(formulas, account):
    sheet, changed = formulas[HEADLINE], edited(formulas, account)
    balance = row_of(sheet, "Balance at quarter's end")
    for item in ("cash", "deposits" if account == "deposits" else "equity"):
        cell = f"J{row_of(sheet, item, after=balance)}"
        moved = changed.value(HEADLINE, cell) - Sheets(formulas).value(HEADLINE, cell)
        assert abs(moved) == pytest.approx(1e9, abs=1.0), item
    assert checked(changed, formulas) == 0.0


def test_another_opening_cash_lies_in_cash_and_equity(formulas):
    changed = Sheets(formulas, {("Summary", "B2"): 5e8})
    balance = row_of(formulas[HEADLINE], "Balance at quarter's end")
    for item in ("cash", "equity"):
        cell = f"J{row_of(formulas[HEADLINE], item, after=balance)}"
        moved = changed.value(HEADLINE, cell) - Sheets(formulas).value(HEADLINE, cell)
        assert moved == pytest.approx(5e8, abs=1.0)
    assert checked(changed, formulas) == 0.0


def test_another_value_of_a_token_moves_revenue_in_proportion(formulas, build):
    value = build.verdict["measures"][0]["value_usd_per_mtok"]
    assert formulas["Summary"]["B3"].value == pytest.approx(value)
    cell = f"M{row_of(formulas[HEADLINE], 'revenue')}"
    before = Sheets(formulas).value(HEADLINE, cell)
    changed = Sheets(formulas, {("Summary", "B3"): 2.0 * value})
    assert before > 0.0
    assert changed.value(HEADLINE, cell) == pytest.approx(2.0 * before)


def test_what_is_paid_and_what_is_valued_are_added_up_apart(formulas, build):
    lines = build.tables["cashflow"].filter(kind="line", strategy=HEADLINE, cash=True)
    sheets, sheet = Sheets(formulas), formulas[HEADLINE]
    present = (lines["usd"] * lines["discount"]).to_numpy()
    valued = (lines["account"] == "no payment").to_numpy()
    for label, rows in (("Paid", ~valued), (VALUED, valued), ("Present cost", valued | True)):
        written = sheets.value(HEADLINE, f"C{row_of(sheet, label)}")
        assert written == pytest.approx(float(present[rows].sum()), rel=1e-9)
        assert written != 0.0


def test_the_same_results_give_the_same_bytes(build, content):
    assert workbook_bytes(build) == content


def test_text_that_looks_like_a_formula_stays_text(build):
    named = replace(build, verdict=build.verdict | {"title": "=1+1"})
    book = load_workbook(io.BytesIO(workbook_bytes(named)))
    assert book["Read me"]["A1"].data_type == "s"


@pytest.mark.parametrize(("index", "letters"), [(0, "A"), (25, "Z"), (26, "AA"), (702, "AAA")])
def test_columns_have_their_letters(index, letters):
    assert column(index) == letters


def test_names_of_sheets_are_short_legal_and_different():
    taken = set()
    names = [sheet_name(key, taken) for key in ("a/b", "a/b", "x" * 50, "x" * 50)]
    assert len({name.lower() for name in names}) == 4
    assert all(len(name) <= 31 and not re.search(r"[\[\]:*?/\\]", name) for name in names)


@pytest.mark.parametrize("key", ["history", "History", "summary", "inputs", "read me"])
def test_no_strategy_takes_the_name_of_a_reserved_sheet(key):
    assert sheet_name(key, set()).lower() != key.lower()
