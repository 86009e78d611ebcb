"""The workbook re-adds: every formula is worked out again and gives the value beside it."""

import io
import re
from dataclasses import replace

import pytest
from openpyxl import load_workbook

from tapeout.report.workbook import column, sheet_name, workbook_bytes
from tests.report.sheets import Sheets


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


def test_another_discount_rate_moves_the_present_cost_as_the_engine_does(formulas, build):
    rate = formulas["Summary"]["B1"].value
    sheets = Sheets(formulas, {("Summary", "B1"): rate + 0.05})
    lines = build.tables["cashflow"].filter(kind="line", strategy="buy", cash=True)
    time = (lines["quarter"].to_numpy() + 0.5) / 4.0
    expected = float((lines["usd"].to_numpy() * (1.0 + rate + 0.05) ** -time).sum())
    assert sheets.value("Summary", "B4") == pytest.approx(expected, rel=1e-9)


def test_the_balance_is_checked_in_the_workbook(values):
    summary = values["Summary"]
    heads = [cell.value for cell in summary[3]]
    at = heads.index("Check: zero")
    checks = [row[at].value for row in summary.iter_rows(min_row=4) if row[0].value]
    assert checks
    assert not any(checks)


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
