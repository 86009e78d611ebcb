"""The portability tax: no friction, hand calculations, and the published conflict."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapeout.economics.portability import (
    OUTCOMES,
    Port,
    break_even_ratio,
    derate_fraction,
    eroded,
    portability_tax,
    throughput_ratio,
)
from tapeout.errors import ProblemsError


def port(**changes):
    given_ = {"engineering_usd": 1e7, "upkeep_usd_per_year": 5e6, "start_fraction": 0.6}
    return Port(source="gpu", target="tpu", **({**given_, "months_to_mature": 12.0} | changes))


def test_without_friction_there_is_no_tax():
    free = port(engineering_usd=0.0, upkeep_usd_per_year=0.0, start_fraction=1.0)
    assert portability_tax(free, 1e9, 5.0, 0.1).fraction == 0.0
    assert break_even_ratio(free, 1e9, 5.0, 0.1) == 1.0


def test_a_stack_that_never_matures_costs_its_inverse():
    """Maturity at 0.5 for ever doubles the chips: the tax is one, the break-even one half."""
    stuck = port(
        engineering_usd=0.0, upkeep_usd_per_year=0.0, start_fraction=0.5, months_to_mature=1e12
    )
    assert portability_tax(stuck, 1e6, 3.0, 0.08).fraction == pytest.approx(1.0)
    assert break_even_ratio(stuck, 1e6, 3.0, 0.08) == pytest.approx(0.5)


def test_the_engineering_by_hand():
    """Undiscounted over two years: 10 + 2 x 5 = 20 M on 200 M is a tenth."""
    mature = port(start_fraction=1.0)
    found = portability_tax(mature, 1e8, 2.0, 0.0)
    assert found.engineering_usd == pytest.approx(2e7)
    assert found.fraction == pytest.approx(0.1)
    assert break_even_ratio(mature, 1e8, 2.0, 0.0) == pytest.approx(0.9)


def test_at_the_break_even_ratio_both_platforms_cost_the_same():
    there = break_even_ratio(port(), 1e8, 4.0, 0.1)
    home = portability_tax(port(start_fraction=1.0), 1e8, 4.0, 0.1).spend_usd
    moved = portability_tax(port(), 1e8 * there, 4.0, 0.1)
    assert moved.spend_usd + moved.engineering_usd + moved.derate_usd == pytest.approx(home)


def test_a_port_for_too_little_demand_never_pays():
    assert break_even_ratio(port(), 1e6, 4.0, 0.1) == 0.0


@given(st.floats(0.05, 1.0), st.floats(0.05, 1.0), st.floats(0.0, 36.0))
def test_better_software_lowers_the_tax(one, other, months):
    low, high = sorted((one, other))
    worse = portability_tax(port(start_fraction=low, months_to_mature=months), 1e8, 3.0, 0.1)
    better = portability_tax(port(start_fraction=high, months_to_mature=months), 1e8, 3.0, 0.1)
    assert better.fraction <= worse.fraction + 1e-12


def test_the_moat_halves_and_may_be_kept():
    assert eroded(0.6, 0.0, 2.0) == pytest.approx(0.6)
    assert eroded(0.6, 4.0, 2.0) == pytest.approx(0.9)
    assert eroded(0.6, 10.0, float("inf")) == pytest.approx(0.6)


def test_rent_and_strength_of_the_chip_are_no_software():
    """Half the price at half the cost ratio leaves throughput; ceilings take strength out."""
    assert throughput_ratio(cost_ratio=2.0, price_ratio=1.0) == pytest.approx(0.5)
    strong = derate_fraction(2000.0, 4000.0, home_measured=500.0, home_ceiling=1000.0)
    assert strong == pytest.approx(1.0)


def test_published_outcomes_conflict_sixfold():
    """5.13 measured by a renter, 0.85 from the owner's recipe at the same rent; both shown."""
    v6e = [one for one in OUTCOMES if "v6e" in one.platform]
    assert [round(one.usd_per_mtok, 2) for one in v6e] == [5.13, 0.85]
    assert [round(one.over_h100_ratio, 2) for one in OUTCOMES] == [1.0, 2.11, 4.84, 0.8]
    assert v6e[0].usd_per_mtok / v6e[1].usd_per_mtok == pytest.approx(6.06, abs=0.01)
    assert all(one.source_url.startswith("https://") for one in OUTCOMES)


def test_a_port_out_of_range_says_everything_wrong():
    with pytest.raises(ProblemsError) as caught:
        port(start_fraction=0.0, months_to_mature=-1.0)
    assert "start_fraction" in str(caught.value)
    assert "months_to_mature" in str(caught.value)
