"""Routes of a library against closed forms and limits; the topologies beside the switch."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapeout.errors import InfeasibleError, UnknownNameError
from tapeout.fabric import (
    ExpertExchange,
    FullMesh,
    Lane,
    LeafSpine,
    Library,
    PcieRoot,
    Route,
    RouteLaw,
    Switch,
    Volume,
    distinct_ranks,
    exchange_s,
    exposed_s,
    link_topology,
    sent_bytes,
)

RATE = 450e9
HOP = 2e-6
LANE = Lane(bytes_per_s=RATE, latency_s=HOP)
SIZES = np.array([512.0, 1e6, 5e8])
QUICK = Route(base_s=4e-6, hop_s=1e-6, rate_fraction=0.05)
WIDE = Route(base_s=15e-6, hop_s=2e-6, rate_fraction=0.9)
ADDING = Route(base_s=20e-6, hop_s=0.0, rate_fraction=0.8, volume=Volume.IN_SWITCH, from_ranks=8)
LAW = RouteLaw(routes=(QUICK, WIDE))


def test_one_route_is_the_textbook_ring():
    """base + (n-1) hop + 2(n-1)/n S/(fB) at q = 1, r = 0."""
    law = RouteLaw(routes=(WIDE,))
    expected = 15e-6 + 7 * 2e-6 + 2 * 7 / 8 * SIZES / (0.9 * RATE)
    np.testing.assert_allclose(law.time_s("all_reduce", SIZES, 8, RATE), expected, rtol=1e-12)


@pytest.mark.parametrize(
    ("volume", "operation", "expected"),
    [
        (Volume.RING, "all_reduce", 1.5),
        (Volume.RING, "all_gather", 0.75),
        (Volume.RING, "all_to_all", 0.75),
        (Volume.ONE_SHOT, "all_reduce", 3.0),
        (Volume.IN_SWITCH, "all_reduce", 1.25),
        (Volume.RING, "send", 1.0),
    ],
)
def test_what_four_ranks_send_of_a_buffer(volume, operation, expected):
    assert float(sent_bytes(volume, operation, 1.0, 4)) == expected


@given(size=st.floats(1.0, 1e10), ranks=st.integers(2, 64))
def test_the_library_is_near_its_fastest_route_and_never_above_it(size, ranks):
    alone = [
        float(RouteLaw(routes=(one,)).time_s("all_gather", size, ranks, RATE)) for one in LAW.routes
    ]
    got = float(LAW.time_s("all_gather", size, ranks, RATE))
    assert min(alone) * 2.0 ** (-1.0 / LAW.sharpness) * (1 - 1e-12) <= got
    assert got <= min(alone) * (1 + 1e-12)


@given(size=st.floats(1.0, 1e9), more=st.floats(1.0, 10.0), ranks=st.integers(2, 16))
def test_a_larger_message_never_takes_less(size, more, ranks):
    small, large = LAW.time_s("all_reduce", np.array([size, size * more]), ranks, RATE)
    assert large >= small * (1 - 1e-12)


def test_one_rank_takes_no_time():
    assert not LAW.time_s("all_reduce", SIZES, 1, RATE).any()


def test_the_switch_adds_only_from_eight_ranks():
    both = RouteLaw(routes=(WIDE, ADDING))
    alone = RouteLaw(routes=(WIDE,))
    at_four = [law.time_s("all_reduce", SIZES, 4, RATE) for law in (both, alone)]
    at_eight = [law.time_s("all_reduce", SIZES, 8, RATE) for law in (both, alone)]
    np.testing.assert_array_equal(*at_four)
    assert at_eight[0][-1] < 0.75 * at_eight[1][-1]  # 9/8 S at 0.8 against 14/8 S at 0.9


def test_the_rate_exponent_is_neutral_at_four_ranks_and_stops_at_the_most_measured():
    bent = RouteLaw(routes=(WIDE,), rate_exponent=0.3)
    plain = RouteLaw(routes=(WIDE,))
    np.testing.assert_array_equal(
        bent.time_s("all_gather", SIZES, 4, RATE), plain.time_s("all_gather", SIZES, 4, RATE)
    )
    wide = [float(bent.time_s("send", 1e12, n, RATE)) for n in (8, 64)]
    assert wide[1] == pytest.approx(wide[0], rel=1e-3)


def test_a_send_is_the_step_of_an_all_gather_between_two():
    library = Library(bytes_per_s=RATE, laws={"all_gather": LAW})
    expected = LAW.time_s("all_gather", 2.0 * SIZES, 2, RATE)
    np.testing.assert_array_equal(library.send_s(SIZES, 8), expected)
    with pytest.raises(UnknownNameError, match="all_reduce"):
        library.all_reduce_s(SIZES, 8)


def test_a_mesh_gives_a_group_of_few_only_the_links_among_them():
    """Eight chips, seven links each: four ranks use three of seven."""
    mesh = FullMesh(lane=LANE, chips=8)
    part = Lane(bytes_per_s=RATE * 3 / 7, latency_s=HOP)
    got = mesh.all_reduce_s(SIZES, 4)
    np.testing.assert_allclose(got, Switch(lane=part).all_reduce_s(SIZES, 4), rtol=1e-12)
    np.testing.assert_allclose(mesh.send_s(SIZES, 2), HOP + 7 * SIZES / RATE, rtol=1e-12)
    np.testing.assert_allclose(
        mesh.all_to_all_s(SIZES, 8), Switch(lane=LANE).all_to_all_s(SIZES, 8), rtol=1e-12
    )
    with pytest.raises(InfeasibleError, match="9 ranks"):
        mesh.all_reduce_s(SIZES, 9)


def test_a_shared_root_limits_cards_that_are_many():
    """Root of four cards' rate: two cards are free, eight wait twice as long for their bytes."""
    free = Lane(bytes_per_s=RATE, latency_s=0.0)
    root = PcieRoot(lane=free, root_bytes_per_s=4 * RATE)
    ring = Switch(lane=free, direct=False)
    np.testing.assert_allclose(root.all_gather_s(SIZES, 2), ring.all_gather_s(SIZES, 2))
    np.testing.assert_allclose(root.all_gather_s(SIZES, 8), 2 * ring.all_gather_s(SIZES, 8))
    staged = PcieRoot(lane=LANE, root_bytes_per_s=4 * RATE, through_host=True)
    peer = PcieRoot(lane=LANE, root_bytes_per_s=4 * RATE)
    np.testing.assert_allclose(staged.send_s(SIZES, 2), 2 * peer.send_s(SIZES, 2))


def test_oversubscription_divides_the_rate_beyond_a_leaf_only():
    tiers = LeafSpine(lane=LANE, ports_per_leaf=16, oversubscription=3.0)
    inside = Switch(lane=LANE, direct=False)
    np.testing.assert_array_equal(tiers.all_reduce_s(SIZES, 16), inside.all_reduce_s(SIZES, 16))
    large = 1e13
    across = float(tiers.all_gather_s(np.array([large]), 32)[0])
    assert across == pytest.approx(31 / 32 * large * 3.0 / RATE, rel=1e-4)


def test_messages_of_a_chip_leave_one_after_another():
    limited = Switch(lane=LANE, message_s=1e-6)
    assert float(limited.all_to_all_s(np.array([64.0]), 32)[0]) == pytest.approx(HOP + 31e-6)
    large = np.array([1e9])
    free = Switch(lane=LANE)
    np.testing.assert_array_equal(limited.all_to_all_s(large, 32), free.all_to_all_s(large, 32))


def test_distinct_ranks_of_a_token_agree_with_the_reference_and_with_drawing():
    """Timing reference 1.4: 256 experts, 8 a token, 8 ranks give 5.29."""
    assert distinct_ranks(8, 256, 8) == pytest.approx(5.29, abs=0.005)
    assert distinct_ranks(4, 4, 4) == 4.0
    rng = np.random.default_rng(7)
    drawn = [np.unique(rng.permutation(64)[:6] // 16).size for _ in range(4000)]
    assert distinct_ranks(4, 64, 6) == pytest.approx(np.mean(drawn), rel=0.01)
    with pytest.raises(InfeasibleError, match="divide"):
        distinct_ranks(3, 256, 8)


def test_an_exchange_is_two_all_to_alls_of_the_copies():
    exchange = ExpertExchange(
        experts=64, experts_per_token=6, dispatch_bytes=7168.0, combine_bytes=14336.0
    )
    switch = Switch(lane=LANE)
    copies = 128 * distinct_ranks(8, 64, 6)
    expected = switch.all_to_all_s(copies * 7168.0, 8) + switch.all_to_all_s(copies * 14336.0, 8)
    np.testing.assert_allclose(exchange_s(exchange, 128.0, 8, switch), expected)
    fuller = exchange_s(exchange, 128.0, 8, switch, imbalance=1.5)
    assert float(fuller) > float(expected)


def test_overlap_never_beats_the_longer_part():
    assert float(exposed_s(3.0, 2.0, 0.0)) == 5.0
    assert float(exposed_s(1.0, 2.0, 1.0)) == 2.0


@pytest.mark.parametrize("name", ["mesh", "pcie", "pcie-host"])
def test_links_of_these_names_have_a_topology(name):
    topology = link_topology(name, LANE, 8)
    assert (topology.all_reduce_s(SIZES, 4) > 0.0).all()
    assert not topology.send_s(SIZES, 1).any()
