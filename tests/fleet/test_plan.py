"""Fleet arithmetic: hand calculations, conservation, and what binds."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapeout.fleet import (
    Supply,
    peak_need,
    plan,
    remaining_life_fraction,
    utilisation_fraction,
)

QUARTERS = 12


def row(*values):
    return np.array([values], dtype=float)


def supply(key="a", unit=1.0, life=100, active=None, **more):
    return Supply(
        key=key,
        unit_per_chip=np.array([[unit]]) if np.isscalar(unit) else unit,
        active=np.ones((1, 1), bool) if active is None else active,
        life_quarters=np.array([life]),
        **more,
    )


def test_a_flat_need_is_met_once_and_held():
    planned = plan(row(10, 10, 10), [supply(unit=2.0)])
    assert planned.new_chips["a"].tolist() == [[5, 0, 0]]
    assert planned.chips["a"].tolist() == [[5, 5, 5]]
    assert planned.capacity["a"].tolist() == [[10, 10, 10]]
    assert planned.unmet.tolist() == [[0, 0, 0]]


def test_a_term_expires_and_is_taken_again():
    planned = plan(row(10, 10, 10, 10, 10), [supply(life=2)])
    assert planned.new_chips["a"].tolist() == [[10, 0, 10, 0, 10]]
    assert planned.expired_chips["a"].tolist() == [[0, 0, 10, 0, 10]]
    assert planned.chips["a"].tolist() == [[10] * 5]


def test_capacity_stays_until_its_term_ends_when_the_need_falls():
    planned = plan(row(10, 4, 4, 4), [supply(life=3)])
    assert planned.chips["a"].tolist() == [[10, 10, 10, 4]]
    assert planned.used["a"].tolist() == [[10, 4, 4, 4]]
    assert planned.busy_fraction("a").tolist() == [[1.0, 0.4, 0.4, 1.0]]


def test_a_ramped_option_is_served_first_and_the_rest_falls_to_the_others():
    own = supply("own", ramp_fraction=row(0.0, 0.5, 0.8))
    planned = plan(row(10, 10, 10), [supply("gpu", life=1), own])
    assert planned.options == ("gpu", "own")
    assert planned.chips["own"].tolist() == [[0, 5, 8]]
    assert planned.chips["gpu"].tolist() == [[10, 5, 2]]
    assert planned.used["own"].tolist() == [[0, 5, 8]]


def test_a_long_term_keeps_what_the_ramped_option_makes_idle():
    own = supply("own", ramp_fraction=row(0.0, 0.5, 0.8))
    planned = plan(row(10, 10, 10), [supply("gpu"), own])
    assert planned.used["gpu"].tolist() == [[10, 5, 2]]
    assert planned.busy_fraction("gpu").tolist() == [[1.0, 0.5, 0.2]]


def test_options_fill_in_the_order_given():
    first = supply("first", ceiling_chips=np.array([[3.0]]))
    planned = plan(row(10, 10, 10), [first, supply("second", life=1)])
    assert planned.chips["first"].tolist() == [[3, 6, 9]]
    assert planned.chips["second"].tolist() == [[7, 4, 1]]


def test_a_ceiling_leaves_need_unmet():
    planned = plan(row(10, 10, 10), [supply(ceiling_chips=np.array([[4.0]]))])
    assert planned.new_chips["a"].tolist() == [[4, 4, 2]]
    assert planned.unmet.tolist() == [[6, 2, 0]]


def test_nothing_is_taken_while_an_option_is_closed():
    planned = plan(row(10, 10, 10), [supply(active=np.array([[False, True, False]]))])
    assert planned.new_chips["a"].tolist() == [[0, 10, 0]]
    assert planned.unmet.tolist() == [[10, 0, 0]]


def test_one_replica_is_the_smallest_fleet():
    planned = plan(row(3, 3, 20), [supply(smallest_chips=8.0)])
    assert planned.chips["a"].tolist() == [[8, 8, 20]]
    assert planned.used["a"].tolist() == [[3, 3, 20]]


def test_no_need_takes_no_replica():
    planned = plan(row(0, 0, 5), [supply(smallest_chips=8.0)])
    assert planned.chips["a"].tolist() == [[0, 0, 8]]


def test_a_chip_without_output_is_never_taken():
    planned = plan(row(10, 10), [supply(unit=0.0)])
    assert planned.chips["a"].tolist() == [[0, 0]]
    assert planned.unmet.tolist() == [[10, 10]]


def test_newer_vintages_give_more_and_older_ones_keep_what_they_gave():
    """Three chips of one token, then one of two tokens for each two of growth."""
    gains = row(1, 2, 4)
    planned = plan(row(3, 7, 15), [supply(vintage_gain=gains, carried={"rent": row(1, 0.5, 0.1)})])
    assert planned.new_chips["a"].tolist() == [[3, 2, 2]]
    assert planned.capacity["a"].tolist() == [[3, 7, 15]]
    assert planned.carried["a"]["rent"] == pytest.approx(row(3, 4, 4.2))


def test_an_expired_vintage_takes_its_own_gain_with_it():
    planned = plan(
        row(4, 8, 8), [supply(life=2, vintage_gain=row(1, 2, 4), carried={"w": row(1, 1, 1)})]
    )
    assert planned.new_chips["a"].tolist() == [[4, 2, 1]]
    assert planned.capacity["a"].tolist() == [[4, 8, 8]]
    assert planned.carried["a"]["w"] == pytest.approx(row(4, 6, 3))


def test_a_share_limits_what_an_option_is_filled_to():
    shared = supply("first", share_fraction=row(0.3, 0.3, 0.5))
    planned = plan(row(10, 10, 10), [shared, supply("second", life=1)])
    assert planned.chips["first"] == pytest.approx(row(3, 3, 5))
    assert planned.chips["second"] == pytest.approx(row(7, 7, 5))


def test_rounding_takes_no_replica():
    """Capacity rarely adds up exactly; the last bit is no reason to port a model to a bridge."""
    rng = np.random.default_rng(1)
    need = rng.uniform(1e8, 1e9, (500, 1)) * np.ones((1, 40))
    maturing = rng.uniform(10, 1000, (500, 1)) * np.clip(np.linspace(0.6, 1.2, 40), 0, 1)
    own = supply("own", maturing, life=20, ramp_fraction=np.ones((1, 40)))
    bridge = supply("bridge", rng.uniform(10, 1000, (500, 1)), life=4, smallest_chips=8.0)
    assert not plan(need, [bridge, own]).chips["bridge"].any()


def test_nothing_is_left_of_an_option_whose_last_term_has_ended():
    rng = np.random.default_rng(1)
    wave = rng.uniform(1e8, 1e9, (500, 40))
    gains = rng.uniform(1.1, 1.5, (500, 1)) ** np.arange(40)
    closed = supply(
        "a", 7.3, 4, (np.arange(40) < 20)[None, :], vintage_gain=gains, carried={"rent": 1 / gains}
    )
    planned = plan(wave, [closed])
    assert planned.chips["a"][:, 22].any()
    assert not planned.chips["a"][:, 24:].any()
    assert not planned.carried["a"]["rent"][:, 24:].any()


def test_draws_do_not_touch_each_other():
    need = np.array([[10.0, 10.0], [4.0, 8.0]])
    both = plan(need, [supply()])
    for draw in range(2):
        alone = plan(need[draw : draw + 1], [supply()])
        assert np.array_equal(both.chips["a"][draw], alone.chips["a"][0])


rates = st.floats(0.01, 100.0)
needs = st.lists(st.floats(0.0, 1e6), min_size=QUARTERS, max_size=QUARTERS)


@st.composite
def supplies(draw, *, free=False):
    out = []
    for index in range(draw(st.integers(1, 3))):
        more = {"smallest_chips": draw(st.sampled_from([0.0, 8.0]))}
        if not free and draw(st.booleans()):
            more["ceiling_chips"] = np.array([[draw(st.floats(0.0, 1e4))]])
        if draw(st.booleans()):
            more["vintage_gain"] = draw(st.floats(1.0, 1.5)) ** np.arange(QUARTERS)[None, :]
        if index and draw(st.booleans()):
            share = draw(st.floats(0.0, 1.0))
            more["ramp_fraction"] = share * np.linspace(0, 1, QUARTERS)[None, :]
        active = np.ones((1, QUARTERS), bool)
        if index and not free:
            active = np.array([draw(st.lists(st.booleans(), min_size=QUARTERS, max_size=QUARTERS))])
        out.append(
            supply(str(index), draw(rates), draw(st.integers(1, QUARTERS + 2)), active, **more)
        )
    return out


@given(needs, supplies())
def test_chips_taken_are_chips_retired_and_chips_in_service(need, options):
    planned = plan(row(*need), options)
    for key in planned.options:
        taken = planned.new_chips[key].cumsum(axis=1)
        retired = planned.expired_chips[key].cumsum(axis=1)
        scale = max(taken.max(), 1.0)
        assert taken - retired == pytest.approx(planned.chips[key], abs=1e-9 * scale)
        assert (planned.new_chips[key] >= 0).all()
        assert (planned.chips[key] >= 0).all()


@given(needs, supplies())
def test_every_chip_retires_after_its_life(need, options):
    planned = plan(row(*need), options)
    for one in options:
        life, new = int(one.life_quarters[0]), planned.new_chips[one.key][0]
        late = np.concatenate([np.zeros(life), new])[:QUARTERS]
        assert planned.expired_chips[one.key][0] == pytest.approx(late)


@given(needs, supplies())
def test_use_and_unmet_need_add_up_to_the_need(need, options):
    planned = plan(row(*need), options)
    used = sum(planned.used.values())
    assert used + planned.unmet == pytest.approx(row(*need), rel=1e-9, abs=1e-6)
    for key in planned.options:
        assert (planned.used[key] >= -1e-6).all()
        assert (planned.used[key] <= planned.capacity[key] * (1 + 1e-12)).all()


@given(needs, supplies(free=True))
def test_the_need_is_met_when_nothing_binds(need, options):
    unmet = plan(row(*need), options).unmet
    assert unmet == pytest.approx(np.zeros((1, QUARTERS)), abs=1e-8 * (1 + max(need)))


@given(needs, supplies())
def test_ceilings_are_kept(need, options):
    planned = plan(row(*need), options)
    for one in options:
        if one.ceiling_chips is not None:
            assert (planned.new_chips[one.key] <= one.ceiling_chips).all()


@given(needs, supplies(free=True), st.floats(0.1, 10.0))
def test_a_need_twice_as_large_takes_twice_the_chips(need, options, factor):
    """Homogeneous of degree one, apart from the smallest replica."""
    loose = [supply(o.key, o.unit_per_chip, o.life_quarters[0], o.active) for o in options]
    once, scaled = plan(row(*need), loose), plan(row(*need) * factor, loose)
    for key in once.options:
        assert scaled.chips[key] == pytest.approx(once.chips[key] * factor, rel=1e-9, abs=1e-4)


def test_the_peak_and_the_spares_are_held():
    assert float(peak_need(np.array(100.0), np.array(1.5), np.array(0.1))) == pytest.approx(165.0)


@given(st.floats(1.0, 10.0), st.floats(0.0, 1.0))
def test_mean_use_lies_between_mean_over_peak_and_one(peak, fill):
    use = float(utilisation_fraction(np.array(peak), np.array(fill)))
    assert 1.0 / peak - 1e-12 <= use <= 1.0 + 1e-12


def test_life_left_at_the_horizon_counts_whole_quarters():
    """Eight quarters of life over a horizon of ten: taken in quarter 4, two of eight are left."""
    left = remaining_life_fraction(np.array([8]), 10)[0]
    assert left.tolist() == [0, 0, 0, 1 / 8, 2 / 8, 3 / 8, 4 / 8, 5 / 8, 6 / 8, 7 / 8]


def test_a_life_that_ends_with_the_horizon_leaves_nothing():
    assert remaining_life_fraction(np.array([10]), 10)[0, 0] == 0.0
    assert remaining_life_fraction(np.array([11]), 10)[0, 0] == pytest.approx(1 / 11)
