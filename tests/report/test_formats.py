import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tapeout.report import formats as f


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f.usd(999.6e6), "$1.00 bn"),
        (f.usd(-0.0), "$0"),
        (f.usd(109.3e9), "$109 bn"),
        (f.usd(62_500.0), "$62,500"),
        (f.usd(math.nan), "–"),
        (f.number(9.996), "10.0"),
        (f.number(0.0009996), "0.00100"),
        (f.times(16.52), "16.5x"),
        (f.percent(0.995), "100 %"),
        (f.percent(0.02), "2 %"),
        (f.probability(0.45), "0.4"),
        (f.quantity(0.0, "yes/no"), "no"),
        (f.quantity(-0.175, "1/year"), "−18 % a year"),
        (f.span(0.02, 0.09, "1/year"), "2 to 9 % a year"),
        (f.span(None, 1.0, "W"), "–"),
        (f.span(1950.0, 2300.0, "W"), "1,950 to 2,300 W"),
        (f.usd_span(-663e9, 257e9), "−$663 to 257 bn"),
        (f.quarter_after("2026-12-01", 0.1), "Q1 2027"),
        (f.day("not a date"), "not a date"),
    ],
)
def test_numbers_read_as_in_the_style_of_the_report(text, expected):
    assert text == expected


@settings(deadline=None)
@given(st.floats(min_value=1e-6, max_value=1e14))
def test_a_printed_number_keeps_three_significant_digits(value):
    printed = float(f.number(value).replace(",", ""))
    assert printed == pytest.approx(value, rel=5.1e-3)


@settings(deadline=None)
@given(st.floats(min_value=1e-3, max_value=1e14))
def test_a_printed_amount_is_the_amount_in_its_scale(value):
    text = f.usd(value)
    scale = {"bn": 1e9, "M": 1e6}.get(text.split()[-1], 1.0)
    printed = float(text.split()[0].lstrip("$").replace(",", "")) * scale
    assert printed == pytest.approx(value, rel=5.1e-3)


@settings(deadline=None)
@given(st.floats(min_value=0.0, max_value=1.0))
def test_a_probability_is_never_printed_as_none_or_certain(p):
    assert f.probability(p) not in {"0", "0.0", "1", "1.0"}
