import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tapeout.report.rounding import parts

AMOUNTS = st.lists(st.floats(min_value=-1e3, max_value=1e3), min_size=1, max_size=20)


@settings(deadline=None)
@given(AMOUNTS, st.integers(min_value=0, max_value=4))
def test_printed_parts_add_up_to_the_printed_total(values, places):
    made = parts(values, places)
    assert sum(made) == pytest.approx(round(sum(values), places), abs=0.51 * 10.0**-places)
    assert round(sum(made) * 10**places) == round(sum(values) * 10.0**places)


@settings(deadline=None)
@given(AMOUNTS, st.integers(min_value=0, max_value=4))
def test_no_part_moves_by_more_than_one_unit_of_the_last_place(values, places):
    unit = 10.0**-places
    for value, printed in zip(values, parts(values, places), strict=True):
        assert abs(value - printed) <= unit * (1 + 1e-6)


def test_hamiltons_method_gives_the_spare_unit_to_the_largest_remainder():
    """Three parts of 41.7, 33.4 and 24.9: floors 41, 33, 24 leave two units for .9 and .7."""
    assert parts([41.7, 33.4, 24.9], 0) == [42.0, 33.0, 25.0]


def test_nothing_is_rounded_to_nothing():
    assert parts([], 2) == []
