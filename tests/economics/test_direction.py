"""Which way things move: more of a cost never helps whoever pays it, whatever else holds."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tapeout.economics.levelised import unit_cost

RANGES = {
    "decision.discount_rate": (0.02, 0.2),
    "demand.peak_to_mean_ratio": (1.0, 3.0),
    "demand.realised_ratio": (0.3, 1.3),
    "market.rent_drift_per_year": (-0.4, 0.2),
    "rival.cadence_years": (0.8, 4.0),
    "rival.tokens_per_usd_gain_ratio": (1.0, 2.5),
    "options.own.tokens_per_s_per_chip": (200.0, 4000.0),
    "options.own.partner_margin_fraction": (0.0, 0.8),
    "options.own.memory_consigned_fraction": (0.0, 1.0),
    "options.own.slip_months": (0.0, 24.0),
    "options.own.spins": (0.0, 3.0),
    "options.own.cancelled": (0.0, 1.0),
    "options.own.life_years": (2.0, 6.0),
    "options.own.shift_years": (1.0, 20.0),
    "options.gpu.price_usd": (10_000.0, 80_000.0),
    "options.gpu.life_years": (3.0, 6.0),
}
INTEGERS = ("options.own.spins", "options.own.cancelled")


@st.composite
def futures(draw):
    """One future, with what matters most drawn over wide ranges."""
    out = {path: draw(st.floats(*ends)) for path, ends in RANGES.items()}
    return out | {path: float(round(out[path])) for path in INTEGERS}


def saving(world, values):
    """Cost of buying less that of building with a bridge, by draw."""
    buy, _ = world.flow(["gpu"], values)
    build, _ = world.flow(world.bridge, values)
    return buy.npv_usd() - build.npv_usd()


def two(world, future, path, factor):
    """The same future twice, one input changed in the second."""
    values = world.inputs(future)
    changed = values.flat(path)[0] * factor
    return values.replace({path: np.array([values.flat(path)[0], changed])})


NEVER_HELPS_BUILDING = (
    "nre_usd",
    "nre_remaining_fraction",
    "mask_set_usd",
    "respin_usd",
    "bring_up_usd",
    "software_usd_per_year",
    "die_usd",
    "memory_usd",
    "packaging_usd",
    "test_usd",
    "host_usd",
    "network_usd",
    "storage_usd",
    "rack_usd",
    "conversion_usd_per_w",
    "failure_fraction_per_year",
    "prepayment_fraction",
    "writeoff_fraction",
    "rebate_lost_fraction",
    "it_w_per_chip",
    "partner_margin_fraction",
)


@settings(max_examples=8)
@pytest.mark.parametrize("name", NEVER_HELPS_BUILDING)
@given(future=futures(), factor=st.floats(1.0, 1.25))
def test_a_dearer_own_chip_or_programme_never_helps_building(world, name, future, factor):
    less, more = saving(world, two(world, future, f"options.own.{name}", factor))
    assert more <= less + 1e-9 * abs(less) + 1e-3


@settings(max_examples=15)
@given(future=futures(), factor=st.floats(0.5, 1.0))
def test_a_slower_own_chip_never_helps_building(world, future, factor):
    fast, slow = saving(world, two(world, future, "options.own.tokens_per_s_per_chip", factor))
    assert slow <= fast + 1e-9 * abs(fast)


@settings(max_examples=15)
@given(future=futures(), factor=st.floats(0.5, 1.0))
def test_a_cheaper_gpu_never_helps_building(world, future, factor):
    """Where the bridge is rented and the GPU serves the rest, both sides gain, buying no less."""
    values = two(world, future | {"options.own.life_years": 6.0}, "options.gpu.price_usd", factor)
    buy, _ = world.flow(["gpu"], values)
    build, _ = world.flow(world.bridge, values)
    assert buy.npv_usd()[1] <= buy.npv_usd()[0]
    assert build.npv_usd()[1] <= build.npv_usd()[0] + 1e-6
    dear, cheap = buy.npv_usd() - build.npv_usd()
    assert cheap <= dear + 1e-9 * abs(dear)


@settings(max_examples=20)
@given(future=futures(), months=st.floats(0.0, 18.0))
def test_a_slip_never_helps_a_chip_that_pays(world, future, months):
    """Late is never better than on time, where the bridge is dearer than what follows the chip.

    Where it is cheaper, a slip trades dear years after the chip for cheap ones before it.
    """
    good = future | {
        "options.own.tokens_per_s_per_chip": 4000.0, "options.own.cancelled": 0.0,
        "options.own.shift_years": 1e6, "options.own.spins": 0.0, "options.own.slip_months": 0.0,
        "options.gpu.price_usd": 60_000.0, "rival.tokens_per_usd_gain_ratio": 1.0,
        "market.rent_drift_per_year": 0.0,
        "options.tpu.rent_usd_per_chip_hour": 15.0, "options.own.nre_usd": 1e6,
        "options.own.software_usd_per_year": 1e5,
        "options.own.bring_up_usd": 1e5, "options.own.mask_set_usd": 1e5,
    }  # fmt: skip
    values = world.inputs(good).replace({"options.own.slip_months": np.array([0.0, months])})
    on_time, late = saving(world, values)
    assert late <= on_time + 1e-3


PHYSICAL = ("gpu", "own")
OPTIONS = ("gpu", "tpu", "own")


def lcot(world, key, values):
    return unit_cost(world.options[key], values, at_years=np.array([1.5])).lcot_usd_per_mtok()


@settings(max_examples=20)
@pytest.mark.parametrize("key", PHYSICAL)
@pytest.mark.parametrize(
    "path",
    ["site.usd_per_kwh", "site.capex_usd_per_w", "operations.fraction_per_year",
     "fleet.spares_fraction", "decision.discount_rate"],
)  # fmt: skip
@given(future=futures(), factor=st.floats(1.0, 1.5))
def test_a_dearer_site_never_lowers_the_cost_of_a_token(world, key, path, future, factor):
    less, more = lcot(world, key, two(world, future, path, factor))
    assert more >= less * (1 - 1e-12)


@settings(max_examples=20)
@pytest.mark.parametrize("key", OPTIONS)
@pytest.mark.parametrize("name", ["tokens_per_s_per_chip", "availability_fraction"])
@given(future=futures(), factor=st.floats(0.5, 1.0))
def test_a_slower_chip_never_lowers_its_cost_of_a_token(world, key, name, future, factor):
    fast, slow = lcot(world, key, two(world, future, f"options.{key}.{name}", factor))
    assert slow >= fast * (1 - 1e-12)


@settings(max_examples=20)
@pytest.mark.parametrize("key", PHYSICAL)
@given(future=futures(), factor=st.floats(1.0, 1.5))
def test_a_longer_life_never_raises_the_cost_of_a_token_of_a_stable_chip(
    world, key, future, factor
):
    stable = future | {"options.own.shift_years": 1e6}
    short, long = lcot(world, key, two(world, stable, f"options.{key}.life_years", factor))
    assert long <= short * (1 + 1e-9)


@settings(max_examples=20)
@given(future=futures(), factor=st.floats(1.0, 1.5))
def test_more_efficient_rivals_lower_the_advantage(world, future, factor):
    path = "rival.tokens_per_usd_gain_ratio"
    values = two(world, future, path, factor)
    g = lcot(world, "gpu", values) / lcot(world, "own", values)
    assert g[1] <= g[0] * (1 + 1e-12)


@settings(max_examples=20)
@given(future=futures(), factor=st.floats(1.0, 1.2))
def test_demand_that_grows_costs_more_to_serve(world, future, factor):
    values = two(world, future, "demand.realised_ratio", factor)
    cash, _ = world.flow(["gpu"], values)
    assert cash.npv_usd()[1] >= cash.npv_usd()[0] * (1 - 1e-12)
