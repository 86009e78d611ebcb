"""The tool behind data/priors.csv: levels, shrinkage, chips left out, and what it may change."""

import math
from pathlib import Path

import numpy as np
import pytest

from tapeout import catalog
from tapeout.chip.tables import priors

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def tool(script):
    return script("tools/fit_chip_priors.py")


@pytest.fixture(scope="module")
def found(tool):
    return tool.collect()


def rows(tool, **logs):
    """Chips of two vendors in one class: name to log of the ratio."""
    return [
        tool.Ratio(chip=name, vendor=name[0], group="hbm", log=value)
        for name, value in logs.items()
    ]


def test_the_committed_table_is_what_the_tool_writes(tool, found):
    old = tool.read_table()
    new = tool.fit_table(found, old)
    assert [dict(row) for row in old.values()] == new


def test_a_class_is_the_median_of_its_chips(found):
    for (quantity, group, vendor), prior in priors().items():
        if quantity in found and not vendor:
            logs = [row.log for row in found[quantity] if group in {"all", row.group}]
            assert prior.chips == len(logs)
            assert math.log(prior.value) == pytest.approx(np.median(logs), abs=0.1)


def test_a_vendor_is_pulled_towards_its_class_by_one_chip(tool):
    """Three chips at 1 among chips at 0: 3/4 of 1, twice, as vendor and vendor within class."""
    some = rows(tool, a1=1.0, a2=1.0, a3=1.0, b1=0.0, b2=0.0, b3=0.0, b4=0.0)
    assert tool.predict(some, "hbm", "c", "vendor") == 0.0
    assert tool.predict(some, "hbm", "a", "all") == 0.0
    assert tool.predict(some, "hbm", "a", "vendor") == pytest.approx(0.75 + 0.25 * 0.75)


def test_a_chip_left_out_does_not_predict_itself(tool):
    some = rows(tool, a1=0.0, a2=0.0, a3=0.0, b1=5.0)
    np.testing.assert_allclose(tool.left_out(some, "all"), [0.0, 0.0, 0.0, -5.0])


def test_vendors_get_rows_only_where_they_predict_better(tool, found):
    with_vendor = {quantity for quantity, _, vendor in priors() if vendor}
    assert with_vendor == {q for q, many in found.items() if tool.best_level(many) == "vendor"}
    assert 0 < len(with_vendor) < len(found)


def test_a_spread_holds_four_fifths_of_the_chips_left_out(tool):
    errors = np.array([-0.1, 0.2, -0.3, 0.4, 4.0])
    inside = np.abs(errors) <= tool.Z80 * tool.spread(errors) * (1 + 1e-9)
    assert inside.sum() == 4
    assert tool.spread(np.zeros(5)) == tool.LEAST


def test_figures_assumed_from_a_sibling_are_no_evidence(tool):
    record = catalog.load().chip("h200")
    assert record.figure("l2_cache").chosen.status == "assumption"
    assert "l2_per_core" not in tool.ratios(record)
    assert "l2_per_core" in tool.ratios(catalog.load().chip("h100"))
