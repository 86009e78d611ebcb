"""Quantities as people write them: medians by hand, and every refusal."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapeout.errors import UnitError
from tapeout.quantities import Quantity, QuantityError, in_unit, read_quantity


def test_a_positive_range_has_its_geometric_mean_as_median():
    assert read_quantity("1 to 4").value == 2.0


def test_a_range_across_zero_has_its_midpoint_as_median():
    assert read_quantity("-1 to 3").value == 1.0


def test_the_unit_of_a_range_stands_at_its_end():
    read = read_quantity("3 to 12 months")
    assert (read.low, read.value, read.high, read.unit) == (3.0, 6.0, 12.0, "months")


def test_a_table_carries_its_reason_and_source():
    read = read_quantity(
        {"low": 1, "high": 4, "unit": "USD", "why": "a guess", "source": "a paper", "as_of": "2026"}
    )
    assert (read.value, read.why, read.source, read.as_of) == (2.0, "a guess", "a paper", "2026")


def test_a_quantity_is_expressed_in_the_unit_of_its_field():
    inside = in_unit(read_quantity("6 to 24 months"), "years")
    assert (inside.low, inside.value, inside.high, inside.unit) == (0.5, 1.0, 2.0, "")


def test_a_bare_number_is_already_in_the_unit_of_its_field():
    assert in_unit(read_quantity(9), "months").value == 9.0


def test_a_quantity_of_another_dimension_is_refused():
    with pytest.raises(UnitError, match="measures bytes, years is needed"):
        in_unit(read_quantity("5 GB"), "years")


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        ("4 to 1", "low 4 is above high 1"),
        ("3 months to 6 quarters", "different units"),
        ("3 months to 6", "different units"),
        ({"value": 5, "low": 1, "high": 4}, "lies outside 1 to 4"),
        ({"value": 5, "hihg": 4}, "unknown key 'hihg'"),
        ({"low": 1}, "needs value, or low and high"),
        ({"value": "5"}, "must be a number, got '5'"),
        ({"value": True}, "must be a number, got True"),
        (True, "true or false is no quantity"),
        (math.nan, "not finite"),
        (math.inf, "not finite"),
        ("1e999", "not finite"),
        ("unknown", "not a number"),
        ("", "not a number"),
        ([1, 2], "write a number"),
        (None, "write a number"),
        (10**400, "not finite"),
        ({"value": 10**400}, "not finite"),
    ],
)
def test_what_is_no_quantity_is_refused_with_its_reason(raw, reason):
    with pytest.raises(QuantityError, match=reason):
        read_quantity(raw)


@given(st.floats(1e-9, 1e9), st.floats(1.0, 1e6))
def test_a_median_lies_between_the_ends_of_its_range(low, spread):
    read = read_quantity(f"{low!r} to {low * spread!r}")
    assert read.low <= read.value * (1 + 1e-12)
    assert read.value <= read.high * (1 + 1e-12)


@given(st.floats(-1e6, 1e6), st.sampled_from(["years", "months", "quarters", "days"]))
def test_changing_the_unit_and_back_changes_nothing(value, unit):
    there = in_unit(Quantity(value=value, unit=unit), "years")
    back = in_unit(Quantity(value=there.value, unit="years"), unit)
    assert back.value == pytest.approx(value, rel=1e-12, abs=1e-12)


def test_what_is_read_already_stays_as_it_is():
    quantity = Quantity(value=1.0, unit="months")
    assert read_quantity(quantity) is quantity
