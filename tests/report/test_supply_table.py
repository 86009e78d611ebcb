"""The page and the terminal show scarce inputs, and only where a scenario states them."""

import re
from pathlib import Path

import pytest

from tapeout.report import html
from tapeout.report.tables import supply
from tapeout.study import decide

DOC = Path(__file__).parents[2] / "docs" / "results.md"
SECTION = """
[supply.racks]
amount_per_quarter = [0.1, 0.05]

[supply.mw]
amount_per_quarter = 5
"""


@pytest.fixture(scope="module")
def bound(no_build_text, tmp_path_factory):
    folder = tmp_path_factory.mktemp("bound")
    (folder / "scenario.toml").write_text(no_build_text + SECTION, encoding="utf-8")
    return decide(folder, draws_log2=5)


def test_every_key_of_the_rows_is_described(bound):
    described = set(re.findall(r"`([^`]+)`", DOC.read_text("utf-8")))
    for row in bound.verdict["supply"]:
        assert set(row) - described == set()


def test_the_page_says_what_binds(bound):
    table = supply.shadow_prices(bound)
    found = bound.verdict["supply"]
    assert any(one["binding_quarters"] for one in found)
    for row, one in zip(table.rows, found, strict=True):
        assert row.cells[0].text == one["title"]
        assert row.cells[3].text == str(one["binding_quarters"] or "none")
    assert "What is scarce, and what one more is worth" in html(bound)


def test_where_none_is_to_be_had_no_worth_is_shown(bound):
    one = bound.verdict["supply"][0] | dict.fromkeys(
        ("cost_usd_per_unit", "cost_last_usd_per_unit"), None
    )
    assert supply.row_of(one).cells[4].text == "none to be had"


def test_a_kink_shows_both_worths(bound):
    one = bound.verdict["supply"][0] | {
        "cost_usd_per_unit": 100.0, "cost_last_usd_per_unit": 300.0,
        "contribution_usd_per_unit": 0.0, "contribution_last_usd_per_unit": 0.0,
    }  # fmt: skip
    row = supply.row_of(one)
    assert (row.cells[4].text, row.cells[4].note) == ("$100", "the last one $300")
    assert row.cells[5].text == "nothing"


def test_without_the_section_there_is_no_table(no_build):
    assert supply.shadow_prices(no_build) is None
