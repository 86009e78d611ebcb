"""Levelised cost of a token: the finance formula, the waterfall, generations and the advantage."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapeout.economics import finance
from tapeout.economics.levelised import delivered_advantage, mean_derating, unit_cost
from tapeout.economics.schedule import schedule
from tapeout.economics.supply import generation_gains, generation_index, rent_ratio
from tapeout.economics.types import Holder

YEAR_TOKENS = 31_536_000.0


def cost(world, key, at=0.0, negotiated=False, **changes):  # noqa: FBT002
    return unit_cost(
        world.options[key], world.inputs(changes), at_years=np.array([at]), negotiated=negotiated
    )


def test_a_bought_chip_costs_what_the_finance_formula_says(world):
    """CRF on 53,000, operations, failures, hall and energy; resale as a sinking fund."""
    one = cost(world, "gpu", **world.certain)
    recovery = 0.1 / (1 - 1.1**-5) / 1.1**0.5  # paid over the year, not at its end
    hall = 1600 * 10 * 0.1 / (1 - 1.1**-20) / 1.1**0.5
    yearly = (
        53_000 * (recovery + 0.05)
        + 40_000 * 0.02
        + hall
        + 2.0 * 8760 * 0.8 * 0.08
        - 0.1 * 40_000 * (recovery - 0.1 / 1.1**0.5)
    )
    assert one.total_usd_per_year()[0] == pytest.approx(yearly, rel=1e-12)
    per_mtok = finance.level_usd_per_mtok(yearly, 1000.0, 0.9)
    assert one.lcot_usd_per_mtok()[0] == pytest.approx(float(per_mtok), rel=1e-12)
    assert one.capital_usd[0] == 53_000
    assert one.power_w[0] == 2000.0


def test_levelised_is_discounted_cost_over_discounted_tokens(world):
    """The same chip as yearly flows: capital now, running cost and tokens in mid-year."""
    one = cost(world, "gpu", **world.certain, **{"options.gpu.resale_fraction": 0.0})
    recovery = float(finance.crf(0.1, 5)) / 1.1**0.5
    running = one.total_usd_per_year()[0] - 53_000 * recovery
    tokens = one.output_tokens_per_year[0]
    worth = 1.1 ** -(np.arange(5) + 0.5)
    lcot = (53_000 + running * worth.sum()) / (tokens * worth.sum()) * 1e6
    assert one.lcot_usd_per_mtok()[0] == pytest.approx(lcot, rel=1e-12)


def test_a_rented_chip_costs_its_rent(world):
    one = cost(world, "tpu", **world.certain, **{"options.tpu.port_start_fraction": 1.0})
    assert one.total_usd_per_year()[0] == pytest.approx(3.0 * 8760)
    assert one.lcot_usd_per_mtok()[0] == pytest.approx(3.0 * 8760 / (760 * YEAR_TOKENS) * 1e6)


def test_a_young_port_makes_rented_tokens_dearer(world):
    ported = cost(world, "tpu", **world.certain)
    native = cost(world, "tpu", **world.certain, **{"options.tpu.port_start_fraction": 1.0})
    ratio = native.output_tokens_per_year[0] / ported.output_tokens_per_year[0]
    assert 1.0 < ratio < 1.0 / 0.7


def test_tokens_bought_cost_their_price(world):
    assert cost(world, "api", at=2.0).lcot_usd_per_mtok()[0] == pytest.approx(4 * np.exp(-0.6))


def test_the_own_chip_carries_its_conversion_and_its_young_stack(world):
    values = world.inputs(world.certain)
    one = cost(world, "own", at=1.5, **world.certain)
    recovery = 0.1 / (1 - 1.1**-4) / 1.1**0.5
    capital = 13_000 + 1500 + 2500 + 500 + 1500
    conversion = 800 * 0.5
    yearly = (
        (capital + conversion) * recovery
        + capital * 0.05
        + 13_000 * 0.04
        + 800 * 10 * 0.1 / (1 - 1.1**-20) / 1.1**0.5
        + 1.0 * 8760 * 0.8 * 0.08
        - 0.05 * 13_000 * (recovery - 0.1 / 1.1**0.5)
    )
    derating = mean_derating(values, schedule(values))[0, 0]
    tokens = 900 * 0.95 * 0.9 * derating * YEAR_TOKENS
    assert 0.8 < derating < 1.0
    assert one.total_usd_per_year()[0] == pytest.approx(yearly, rel=1e-12)
    assert one.lcot_usd_per_mtok()[0] == pytest.approx(yearly / tokens * 1e6, rel=1e-12)


def test_the_mean_derating_of_a_mature_stack_is_one(world):
    values = world.inputs(
        {"options.own.maturity_start_fraction": 1.0,
         "options.own.first_year_availability_fraction": 0.9}
    )  # fmt: skip
    assert mean_derating(values, schedule(values))[0, 0] == pytest.approx(1.0, rel=1e-12)


def test_a_shift_half_way_costs_the_later_half_of_the_output(world):
    """Undiscounted: two of four years at 0.7."""
    values = world.inputs(
        {"options.own.maturity_start_fraction": 1.0,
         "options.own.first_year_availability_fraction": 0.9,
         "options.own.shift_years": 3.5, "decision.discount_rate": 0.0}
    )  # fmt: skip
    assert mean_derating(values, schedule(values))[0, 0] == pytest.approx(0.85)


OPTION_KEYS = ("gpu", "tpu", "api", "own")


@pytest.mark.parametrize("key", OPTION_KEYS)
def test_the_stack_by_holder_adds_up_to_the_cost(world, key):
    one = cost(world, key, at=1.5)
    parts = sum(usd[0] for usd in one.lcot_by_holder_usd_per_mtok().values())
    assert parts == pytest.approx(one.lcot_usd_per_mtok()[0], rel=1e-9)


@pytest.mark.parametrize("other", ["gpu", "tpu", "api"])
def test_the_waterfall_by_holder_is_the_difference_of_two_costs(world, other):
    theirs = cost(world, other, at=1.5)
    ours = cost(world, "own", at=1.5)
    left, right = theirs.lcot_by_holder_usd_per_mtok(), ours.lcot_by_holder_usd_per_mtok()
    steps = [left.get(h, np.zeros(1))[0] - right.get(h, np.zeros(1))[0] for h in Holder]
    difference = theirs.lcot_usd_per_mtok()[0] - ours.lcot_usd_per_mtok()[0]
    assert sum(steps) == pytest.approx(difference, abs=1e-9 * theirs.lcot_usd_per_mtok()[0])


def test_the_advantage_is_dollars_a_megawatt_times_tokens_a_megawatt(world):
    own, gpu = cost(world, "own", at=1.5), cost(world, "gpu", at=1.5)
    gained = delivered_advantage(own, gpu)
    ratio = gpu.lcot_usd_per_mtok() / own.lcot_usd_per_mtok()
    assert gained.g_ship == pytest.approx(ratio)
    assert gained.usd_per_mw_ratio * gained.tokens_per_mw_ratio == pytest.approx(ratio)
    dollars = (gpu.total_usd_per_year() / gpu.power_w) / (own.total_usd_per_year() / own.power_w)
    assert gained.usd_per_mw_ratio == pytest.approx(dollars)


def test_an_equal_chip_has_an_advantage_of_one(world):
    gpu = cost(world, "gpu")
    gained = delivered_advantage(gpu, gpu)
    assert (gained.g_ship[0], gained.tokens_per_mw_ratio[0]) == (1.0, 1.0)


def test_the_negotiated_price_takes_a_fifth_off_the_chip_and_nothing_else(world):
    cheap, dear = cost(world, "gpu", negotiated=True), cost(world, "gpu")
    assert dear.capital_usd[0] - cheap.capital_usd[0] == pytest.approx(0.2 * 40_000)
    holders = {h for h, usd in dear.usd_per_year.items() if usd[0] != cheap.usd_per_year[h][0]}
    # failures, upkeep and resale follow the price
    assert holders == {Holder.VENDOR, Holder.ENERGY_SITE, Holder.OWNER}


def test_generations_step_by_the_cadence_from_the_first_sale(world):
    """First sold half a year before the decision, a successor every two years."""
    time = np.array([[0.0, 1.49, 1.5, 3.49, 3.5]])
    index = generation_index(world.options["gpu"], world.inputs(), time)
    assert index.tolist() == [[0, 0, 1, 1, 2]]
    tokens, power = generation_gains(world.options["gpu"], world.inputs(), time)
    assert tokens[0] == pytest.approx([1, 1, 1.6, 1.6, 2.56])
    assert power[0] == pytest.approx(tokens[0] / [1, 1, 1.5, 1.5, 2.25])


def test_a_generation_multiplies_tokens_a_dollar_by_its_gain_but_for_energy(world):
    now = cost(world, "gpu", at=0.0, **{"site.usd_per_kwh": 0.0, "site.capex_usd_per_w": 0.0})
    later = cost(world, "gpu", at=1.5, **{"site.usd_per_kwh": 0.0, "site.capex_usd_per_w": 0.0})
    ratio = now.lcot_usd_per_mtok()[0] / later.lcot_usd_per_mtok()[0]
    assert ratio == pytest.approx(1.6, rel=1e-12)


def test_a_chip_not_yet_sold_has_no_successor(world):
    values = world.inputs({"options.gpu.generation_years": 1.0})
    index = generation_index(world.options["gpu"], values, np.array([[0.5, 2.9, 3.0]]))
    assert index.tolist() == [[0, 0, 1]]


@pytest.mark.parametrize(
    ("drift", "moves"),
    [
        (-0.10, True),  # a tenth a year is less than 1.6 in two years
        (-0.60, False),  # an old chip that loses 45 % a year is the cheaper one
        (0.10, True),  # in a rising market the newest gives more for the same rise
    ],
)
def test_a_tenant_takes_what_gives_more_tokens_a_dollar(world, drift, moves):
    """At 1.0 years the first successor has come out (sold a year before the decision)."""
    values = world.inputs({"market.rent_drift_per_year": drift})
    time = np.array([[1.1]])
    tokens, _ = generation_gains(world.options["tpu"], values, time)
    rent = rent_ratio(world.options["tpu"], values, time)
    assert tokens[0, 0] == (1.6 if moves else 1.0)
    # a rise fades as supply answers, a fall goes on
    rise = np.exp(max(drift, 0.0) * 3.0 * (1.0 - np.exp(-1.1 / 3.0)))
    assert rent[0, 0] == pytest.approx(rise if moves else np.exp(drift * 1.1))


@given(
    st.floats(-0.8, 0.5), st.floats(1.0, 3.0), st.floats(0.5, 4.0), st.floats(0.0, 10.0)
)  # fmt: skip
def test_the_tenants_choice_is_never_dearer_than_staying(world, drift, gain, cadence, time):
    values = world.inputs(
        {"market.rent_drift_per_year": drift, "rival.tokens_per_usd_gain_ratio": gain,
         "rival.cadence_years": cadence}
    )  # fmt: skip
    at = np.array([[time]])
    tokens, _ = generation_gains(world.options["tpu"], values, at)
    per_token = rent_ratio(world.options["tpu"], values, at) / tokens
    assert per_token[0, 0] <= np.exp(drift * time) * (1 + 1e-12)


def test_without_successors_it_is_this_very_chip_whenever_it_is_taken(world):
    inputs = world.inputs({"rival.cadence_years": 1.0, "options.gpu.generation_years": -3.0})
    later = np.array([4.0])
    successor = unit_cost(world.options["gpu"], inputs, at_years=later)
    same = unit_cost(replace(world.options["gpu"], successors=False), inputs, at_years=later)
    gain = inputs.flat("rival.tokens_per_usd_gain_ratio")[0] ** 7
    assert successor.output_tokens_per_year == pytest.approx(same.output_tokens_per_year * gain)
