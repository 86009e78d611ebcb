"""Units at the boundary: sizes against hand calculation, and every refusal."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapeout import units
from tapeout.errors import UnitError

# text, dimension, value in the canonical unit; each by hand
SIZES = [
    ("989 TFLOP/s", "flop_per_s", 989e12),
    ("3.35 TB/s", "bytes_per_s", 3.35e12),
    ("80 GB", "bytes", 80e9),
    ("80 GiB", "bytes", 80 * 2**30),
    ("1.3 GW", "w", 1.3e9),
    ("2 kWh", "j", 7.2e6),
    ("50 ms", "s", 0.05),
    ("18 months", "years", 1.5),
    ("3 quarters", "years", 0.75),
    ("73 days", "years", 0.2),
    ("13.8 USD bn/GW", "usd_per_w", 13.8),
    ("12 USD M/MW", "usd_per_w", 12.0),
    ("1 USD/MW-day", "usd_per_w_year", 365e-6),
    ("1 USD M/quarter", "usd_per_year", 4e6),
    ("80 USD/MWh", "usd_per_kwh", 0.08),
    ("70 %", "fraction", 0.7),
    ("12 %/year", "per_year", 0.12),
    ("6 billion tokens/minute", "tokens_per_day", 6e9 * 1440),
    ("1 cm2", "mm2", 100.0),
]


@pytest.mark.parametrize(("text", "dimension", "value"), SIZES)
def test_a_quantity_is_read_in_the_canonical_unit(text, dimension, value):
    assert units.parse(text, dimension) == pytest.approx(value, rel=1e-14)


@pytest.mark.parametrize("text", ["5. GB", "+5 GB", "5_000 MB", ".5e1 GB", "5GB", "  5   GB  "])
def test_a_number_may_be_written_in_every_usual_way(text):
    assert units.parse(text, "bytes") == 5e9


def test_a_gigabyte_is_not_a_gibibyte():
    assert units.parse("1 GiB", "bytes") / units.parse("1 GB", "bytes") == 1.073741824


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("80", "unit missing"),
        ("80 Gb", "unknown unit 'Gb'; did you mean"),
        ("80 GB/s", "measures bytes_per_s, bytes is needed"),
        ("GB", "is not a number with a unit"),
        ("", "is not a number with a unit"),
        ("nan GB", "is not a number with a unit"),
        ("1e999 GB", "is not finite"),
        ("1,000 GB", "unknown unit"),
    ],
)
def test_a_bad_quantity_is_refused_with_its_reason(text, reason):
    with pytest.raises(UnitError, match=reason):
        units.parse(text, "bytes")


@given(
    st.floats(min_value=-1e30, max_value=1e30, allow_nan=False),
    st.sampled_from(sorted(units.UNITS)),
)
def test_writing_a_number_and_reading_it_back_changes_nothing(number, name):
    value, found = units.split(f"{number!r} {name}")
    assert (value, found) == (number, name)
    assert (
        units.convert(value, name, units.unit(name).dimension) == number * units.unit(name).factor
    )


def test_every_unit_has_a_positive_finite_size():
    assert all(math.isfinite(u.factor) and u.factor > 0 for u in units.UNITS.values())


def test_every_dimension_has_a_canonical_unit_of_size_one():
    """Otherwise a field named after the dimension could not be written in its own unit."""
    sizes = {}
    for one in units.UNITS.values():
        sizes.setdefault(one.dimension, set()).add(one.factor)
    assert {name for name, found in sizes.items() if 1.0 not in found} == {"per_day"}


def test_a_gpu_is_a_chip():
    assert units.unit("USD M/GPU") == units.unit("USD M/chip")
