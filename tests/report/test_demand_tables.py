"""Page and terminal show the fixed point of price and demand, and only where there is one."""

import io
import re
from pathlib import Path

import pytest
from rich.console import Console

from tapeout.report import formats as f
from tapeout.report import html, terminal
from tapeout.report.tables import demand
from tapeout.study import decide

DOC = Path(__file__).parents[2] / "docs" / "results.md"
SECTION = """
[demand_response]
elasticity = {value = -1.5, low = -1.8, high = -1.2, source = "a survey"}
conduct = "competition"
diverted_fraction = 0.2
dearer_price_ratio = 3.0
"""


@pytest.fixture(scope="module")
def responding(no_build_text, tmp_path_factory):
    folder = tmp_path_factory.mktemp("responding")
    swapped = no_build_text.replace('baseline = "buy"', 'baseline = "rent"')
    swapped = swapped.replace('headline = "rent"', 'headline = "buy"')
    (folder / "scenario.toml").write_text(swapped + SECTION, encoding="utf-8")
    return decide(folder, draws_log2=5)


def test_every_key_of_the_rows_is_described(responding):
    described = set(re.findall(r"`([^`]+)`", DOC.read_text("utf-8")))
    found = responding.verdict["demand_response"]
    for part in (found, found["elasticity"], *found["rows"]):
        assert set(part) - described == set()


def test_the_page_shows_what_the_verdict_has(responding):
    table = demand.response(responding)
    rows = responding.verdict["demand_response"]["rows"]
    central = [one for one in rows if one["case"] == "central"]
    assert [row.cells[4].text for row in table.rows] == [
        f.usd(one["contribution_usd"]) for one in central
    ]
    assert "a survey" in table.notes[0]
    moved = demand.lines(responding)
    assert [row.cells[5].text for row in moved.rows] == [
        f.usd(one["cannibalised_usd"]) for one in central
    ]
    assert any(one["cannibalised_usd"] < 0 for one in central)
    assert "What users do with cheaper tokens" in html(responding)


def test_the_terminal_shows_the_fixed_point(responding):
    console = Console(width=80, record=True, file=io.StringIO(), color_system=None)
    console.print(terminal(responding))
    assert "Price, demand and contribution at the fixed point" in console.export_text()


def test_a_price_that_does_not_settle_is_said_so(responding):
    for one in responding.verdict["demand_response"]["rows"]:
        one["settled"] = False
    assert {row.cells[1].text for row in demand.response(responding).rows} == {"not settled"}
    assert demand.lines(responding) is None


def test_without_the_section_there_is_no_table(no_build):
    assert demand.response(no_build) is None
    assert demand.lines(no_build) is None
