"""The rule by which one of several statements is used."""

import itertools
from datetime import date

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tapeout.catalog.choice import STATUS_ORDER, choose
from tapeout.catalog.rows import Row, per_direction
from tapeout.sources import Figure


def _row(value, status="vendor_claim", as_of="2026-01-01", **more):
    low, high = more.pop("low", None), more.pop("high", None)
    figure = Figure(
        value=value, unit="W", low=low, high=high, as_of=as_of, status=status, condition="busy"
    )
    return Row(entity="X", field="power", condition="busy", stated=figure, **more)


def test_status_comes_before_date():
    rows = [_row(2.0, "press", "2026-06-01"), _row(1.0, "measured", "2020-01-01")]
    assert choose(rows, None).figure().value == 1.0


def test_among_equal_status_the_newest_wins_and_the_first_row_breaks_ties():
    rows = [_row(1.0, as_of="2025-01-01"), _row(2.0), _row(3.0)]
    assert choose(rows, None).figure().value == 2.0


def test_a_narrow_range_never_wins_over_a_newer_statement():
    rows = [_row(1.0, as_of="2025-01-01", low=0.99, high=1.01), _row(2.0, low=0.5, high=4.0)]
    assert choose(rows, None).figure().value == 2.0


def test_disagreement_widens_the_range_to_the_span_of_all():
    figure = choose([_row(2.0), _row(1.0, "press", low=0.5, high=1.5), _row(3.0, "press")], None)
    assert (figure.figure().low, figure.figure().high) == (0.5, 3.0)
    assert figure.figure().range_kind == "minmax"


def test_agreement_leaves_the_range_alone():
    chosen = choose([_row(2.0), _row(2.0, "press")], None).figure()
    assert (chosen.low, chosen.high, chosen.range_kind) == (None, None, "none")


def test_superseded_rows_lose_to_everything_and_stay_visible():
    old = _row(9.0, "measured", "2027-01-01", superseded="wrong chip")
    choice = choose([old, _row(1.0, "press")], None)
    assert choice.figure().value == 1.0
    assert choice.figure().high is None
    assert choice.losers == (old,)


def test_rows_older_than_the_window_of_a_moving_quantity_are_history():
    rows = [_row(5.0, "measured", "2025-01-01"), _row(1.0, "press", "2026-01-01")]
    assert choose(rows, 92).figure().value == 1.0
    assert choose(rows, None).figure().value == 5.0
    assert choose(rows, 92).losers == (rows[0],)


def test_an_overlay_wins_and_its_own_range_stands():
    mine = _row(7.0, "assumption", "2020-01-01", set_by="overlay")
    choice = choose([_row(1.0, "measured"), mine], None)
    assert choice.figure() == mine.stated


rows_strategy = st.lists(
    st.builds(
        _row,
        st.floats(1.0, 100.0),
        st.sampled_from(STATUS_ORDER[:5]),
        st.dates(date(2026, 1, 1), date(2026, 12, 31)).map(date.isoformat),
    ),
    min_size=1,
    max_size=5,
)


@given(rows_strategy)
@settings(deadline=None)
def test_the_range_spans_every_contemporary_value(rows):
    chosen = choose(rows, None).figure()
    values = [row.stated.value for row in rows]
    low = chosen.value if chosen.low is None else chosen.low
    high = chosen.value if chosen.high is None else chosen.high
    assert low == min(values)
    assert high == max(values)


@given(rows_strategy)
@settings(deadline=None)
def test_the_order_of_rows_matters_only_for_ties(rows):
    keys = [(row.stated.status, row.stated.as_of) for row in rows]
    if len(set(keys)) < len(keys):
        return
    results = {choose(list(some), None).figure() for some in itertools.permutations(rows)}
    assert len(results) == 1


def _link(condition):
    figure = Figure(value=900e9, unit="B/s", as_of="2026-01-01", status="vendor_claim")
    return Row(entity="X", field="scaleup_bw", condition=condition, stated=figure)


@pytest.mark.parametrize(
    ("condition", "made", "high"),
    [
        ("bidirectional", "per-direction", None),
        ("bidirectional global", "per-direction global", None),
        ("unstated direction", "per-direction", 900e9),
    ],
)
def test_a_bidirectional_link_is_halved_and_an_unstated_one_keeps_its_value_as_the_high(
    condition, made, high
):
    derived = per_direction(_link(condition))
    assert derived.condition == derived.stated.condition == made
    assert derived.stated.value == 450e9
    assert derived.stated.high == high
    assert "derived" in derived.stated.note


def test_a_link_stated_for_one_direction_is_left_alone():
    assert per_direction(_link("per-direction local")) is None
