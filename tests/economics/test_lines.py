"""Every cost line of one chip, a few quarters long, by hand; then what must add up.

One GPU serves 900 tokens a second (1,000 a second, nine tenths of the time); peak, spares, batch
work, rent drift and new generations are off unless a test switches them on.
"""

import math

import numpy as np
import pytest

from tapeout.economics.finance import crf
from tapeout.economics.types import Step

HOURS = 2190.0  # in a quarter
SECONDS = 7_884_000.0  # in a quarter


def certain(world, **changes):
    return world.inputs(world.certain | changes)


def one_gpu(world, quarters=4, objective="cost", **changes):
    where = world.setting(quarters=quarters, mean_tokens_per_s=900.0)
    return world.flow(["gpu"], certain(world, **changes), where, objective=objective)


def test_one_bought_chip_costs_what_the_hand_says(world):
    cash, planned = one_gpu(world)
    lines = world.by_line(cash)
    once = np.array([1.0, 0, 0, 0])
    each = np.ones(4)
    assert planned.plan.chips["gpu"] == pytest.approx(np.ones((1, 4)))
    by_hand = {
        "gpu.chip.foundry": 2000 * once,
        "gpu.chip.memory": 3000 * once,
        "gpu.chip.packaging": 1000 * once,
        "gpu.chip.vendor": 34_000 * once,  # 40,000 less die, memory and package
        "gpu.host": 4000 * once,
        "gpu.network": 6000 * once,
        "gpu.storage": 1000 * once,
        "gpu.rack": 2000 * once,
        "gpu.failures": 40_000 * 0.02 / 4 * each,
        "gpu.operations": 53_000 * 0.05 / 4 * each,
        "gpu.resale": 0 * each,
        # 16 of 20 quarters left: 0.8 x 53,000 + 0.2 x 0.1 x 40,000
        "gpu.unexpired_life": -43_200 * each * [0, 0, 0, 1],
        # 1.6 kW x 1.25 x 0.8, fully busy
        "gpu.electricity": 1.6 * HOURS * 0.08 * each,
        "gpu.site": 1600 * 10 * 0.11745962477254576 / 1.1**0.5 / 4 * each,
        "gpu.depreciation": 53_000 / 20 * each,
        "unserved": 0 * each,
    }
    assert set(lines) == set(by_hand)
    for key, usd in by_hand.items():
        assert lines[key] == pytest.approx(usd, rel=1e-12, abs=1e-9), key


def test_an_idle_half_of_the_day_draws_idle_power(world):
    """Peak twice the mean, no batch work: half busy, 0.4 + 0.6 x 0.5 of the load."""
    cash, _ = one_gpu(world, **{"demand.peak_to_mean_ratio": 2.0})
    usd = world.by_line(cash)["gpu.electricity"]
    assert usd == pytest.approx(2 * 2.0 * HOURS * 0.8 * 0.7 * 0.08 * np.ones(4))


def test_tokens_served_are_the_mean_and_the_batch_work(world):
    plain, _ = one_gpu(world)
    assert plain.tokens == pytest.approx(900 * SECONDS * np.ones((1, 4)))
    changes = {
        "demand.peak_to_mean_ratio": 2.0,
        "demand.fill_fraction": 0.5,
        "fleet.spares_fraction": 0.25,
    }
    filled, planned = one_gpu(world, **changes)
    assert planned.plan.chips["gpu"] == pytest.approx(2.5 * np.ones((1, 4)))
    assert filled.tokens == pytest.approx(1.5 * 900 * SECONDS * np.ones((1, 4)))


def test_flows_are_discounted_to_mid_quarter(world):
    cash, _ = one_gpu(world)
    assert cash.discount[0] == pytest.approx(1.1 ** -np.array([0.125, 0.375, 0.625, 0.875]))
    by_hand = sum(
        float(world.by_line(cash)[line.key] @ cash.discount[0]) for line in cash.lines if line.cash
    )
    assert cash.npv_usd()[0] == pytest.approx(by_hand, rel=1e-12)


def test_memo_lines_are_no_cash(world):
    cash, _ = one_gpu(world)
    memo = [line.key for line in cash.lines if not line.cash]
    assert memo == ["gpu.depreciation"]
    paid = sum(usd for key, usd in world.by_line(cash).items() if key not in memo)
    assert cash.by_quarter_usd()[0] == pytest.approx(paid, rel=1e-12)


def test_depreciation_over_the_whole_life_is_the_capital(world):
    cash, _ = one_gpu(world, quarters=20)
    assert world.by_line(cash)["gpu.depreciation"].sum() == pytest.approx(53_000)


def test_a_chip_is_replaced_and_resold_at_the_end_of_its_life(world):
    cash, planned = one_gpu(world, quarters=12, **{"options.gpu.life_years": 2.0})
    lines = world.by_line(cash)
    assert np.flatnonzero(planned.plan.new_chips["gpu"][0]).tolist() == [0, 8]
    assert lines["gpu.resale"].tolist() == [0] * 8 + [-4000] + [0] * 3
    assert lines["gpu.unexpired_life"][-1] == pytest.approx(-0.5 * 53_000 - 0.5 * 4000)


def test_a_chip_whose_life_ends_with_the_horizon_is_resold(world):
    """Its sale falls on the last day; earlier it was neither sold nor credited."""
    cash, _ = one_gpu(world, quarters=20)
    lines = world.by_line(cash)
    assert lines["gpu.unexpired_life"][-1] == pytest.approx(-4000)
    assert not lines["gpu.resale"].any()


@pytest.mark.parametrize(("negotiated", "price"), [(False, 40_000.0), (True, 32_000.0)])
def test_the_split_of_a_bought_chip_adds_up_to_its_price(world, negotiated, price):
    where = world.setting(quarters=4, mean_tokens_per_s=900.0)
    cash, _ = world.flow(["gpu"], certain(world), where, negotiated=negotiated)
    parts = [usd[0] for key, usd in world.by_line(cash).items() if ".chip." in key]
    assert len(parts) == 4
    assert sum(parts) == pytest.approx(price, rel=1e-12)


@pytest.mark.parametrize(
    ("consigned", "price", "partner"),
    [
        (0.0, 13_000.0, 7000.0),  # turnkey: (2,000 + 1,000 + 500 + 3,000) / 0.5
        (1.0, 10_000.0, 4000.0),  # consigned: 3,500 / 0.5 + 3,000
    ],
)
def test_consigned_memory_escapes_the_partners_margin(world, consigned, price, partner):
    changes = {"options.own.memory_consigned_fraction": consigned}
    cash, planned = world.flow(["own"], certain(world, **changes))
    lines = {key: usd.sum() for key, usd in world.by_line(cash).items() if ".chip." in key}
    bought = planned.plan.new_chips["own"].sum()
    assert sum(lines.values()) == pytest.approx(price * bought, rel=1e-12)
    assert lines["own.chip.partner"] == pytest.approx(partner * bought, rel=1e-12)
    assert lines["own.chip.memory"] == pytest.approx(3000 * bought, rel=1e-12)


def test_one_rented_chip_costs_what_the_hand_says(world):
    """Day one serves 0.7 + 0.3 x 0.125 of a mature stack: 760 x 0.7375 tokens a second."""
    where = world.setting(quarters=4, mean_tokens_per_s=760 * 0.7375)
    cash, planned = world.flow(["tpu"], certain(world), where)
    lines = world.by_line(cash)
    assert planned.plan.chips["tpu"] == pytest.approx(np.ones((1, 4)))
    each, rent = np.ones(4), 3.0 * HOURS
    by_hand = {
        "tpu.rent.cloud": 0.3 * rent * each,
        "tpu.rent.vendor": 0.7 * 0.6 * rent * each,
        "tpu.rent.fabric": 0.7 * 0.2 * rent * each,
        "tpu.rent.energy_site": 0.7 * 0.2 * rent * each,
        "tpu.port": 2e6 * np.array([1, 0, 0, 0]) + 1e5 * each,
    }
    for key, usd in by_hand.items():
        assert lines[key] == pytest.approx(usd, rel=1e-12), key
    assert set(lines) == {*by_hand, "unserved"}


def test_a_minimum_tops_the_rent_up_while_it_runs(world):
    where = world.setting(quarters=16, mean_tokens_per_s=760.0)
    cash, _ = world.flow(["trn"], certain(world, **{"options.trn.port_start_fraction": 1.0}), where)
    shortfall = world.by_line(cash)["trn.shortfall"]
    assert shortfall == pytest.approx([5e6 - 3 * HOURS] * 12 + [0.0] * 4)


def test_a_rent_above_the_minimum_owes_nothing(world):
    cash, _ = world.flow(["trn"], certain(world), world.setting(mean_tokens_per_s=1e6))
    assert not world.by_line(cash)["trn.shortfall"].any()


def test_tokens_bought_are_paid_by_the_million(world):
    where = world.setting(quarters=4, mean_tokens_per_s=1000.0)
    cash, _ = world.flow(["api"], certain(world), where)
    time = np.array([0.125, 0.375, 0.625, 0.875])
    by_hand = 1000 * SECONDS / 1e6 * 4.0 * np.exp(-0.3 * time)
    assert world.by_line(cash)["api.tokens"] == pytest.approx(by_hand, rel=1e-12)


def test_the_rent_of_a_term_is_that_of_its_first_day(world):
    """Rents fall by a tenth a year (continuously); a one-year term keeps its price for a year."""
    values = certain(
        world, **{"market.rent_drift_per_year": -0.1, "options.tpu.port_start_fraction": 1.0}
    )
    cash, _ = world.flow(["tpu"], values, world.setting(quarters=8, mean_tokens_per_s=760.0))
    paid = world.by_line(cash)["tpu.rent.cloud"]
    assert paid == pytest.approx(
        0.3 * 3 * HOURS * np.repeat(np.exp(-0.1 * np.array([0.125, 1.125])), 4), rel=1e-12
    )


def test_lines_by_holder_add_up_to_the_cost(world):
    for steps in (["gpu"], ["trn"], ["api"], ["api", "own"], world.bridge):
        for objective in ("cost", "contribution"):
            cash, _ = world.flow(steps, objective=objective, negotiated=True)
            by_line = cash.npv_by_line_usd()[0]
            holders = {}
            for line, usd in zip(cash.lines, by_line, strict=True):
                if line.cash:
                    holders[line.holder] = holders.get(line.holder, 0.0) + usd
            scalings = sum(usd[0] for usd in cash.npv_by_scaling_usd().values())
            total = cash.npv_usd()[0]
            assert math.fsum(holders.values()) == pytest.approx(total, rel=1e-9)
            assert scalings == pytest.approx(total, rel=1e-9)
            assert cash.by_quarter_usd()[0] @ cash.discount[0] == pytest.approx(total, rel=1e-9)


# the own programme: tape-out after 0.75 years, service after 1.5, full volume 2.5, last sale 4.5


def own_lines(world, **changes):
    cash, planned = world.flow(world.bridge, certain(world, **changes))
    return world.by_line(cash), planned


def test_the_programme_is_paid_on_its_dates(world):
    lines, _ = own_lines(world)
    quarter = np.arange(40)
    assert lines["own.nre"] == pytest.approx(np.where(quarter < 3, 3.2e8 / 3, 0.0))
    assert lines["own.masks"] == pytest.approx(np.where(quarter == 3, 3e7, 0.0))
    assert lines["own.bring_up"] == pytest.approx(
        np.where((quarter >= 3) & (quarter < 6), 2e7 / 3, 0.0)
    )
    assert not lines["own.respins"].any()


def test_the_team_ramps_up_before_tape_out_and_leaves_with_the_last_chip(world):
    """Half a year of ramp before 0.75; last sale at 4.5 and four years of life end at 8.5."""
    staffed = world.by_line(world.flow(world.bridge, certain(world))[0])["own.software"] / 1.25e7
    assert staffed[:4] == pytest.approx([0.0, 0.25, 0.75, 1.0])
    assert staffed[4:34] == pytest.approx(np.ones(30))
    assert not staffed[34:].any()


def test_steppings_cost_masks_and_engineering_and_move_first_service(world):
    lines, planned = own_lines(world, **{"options.own.spins": 2.0})
    assert lines["own.respins"].sum() == pytest.approx(2 * (3e7 + 1e7))
    assert np.flatnonzero(lines["own.respins"]).tolist() == [3, 4, 5, 6]
    assert planned.dates.first_service[0] == pytest.approx(1.5 + 10 / 12)
    assert planned.dates.planned_service[0] == pytest.approx(1.5)


def test_a_slip_defers_service_and_saves_no_engineering(world):
    on_time, _ = own_lines(world)
    late, planned = own_lines(world, **{"options.own.slip_months": 12.0})
    assert planned.dates.first_service[0] == pytest.approx(2.5)
    assert late["own.nre"] == pytest.approx(on_time["own.nre"])
    assert late["own.software"].sum() > on_time["own.software"].sum()


def test_a_hall_waits_for_a_late_chip_for_two_years_at_most(world):
    on_time, _ = own_lines(world)
    late, _ = own_lines(world, **{"options.own.slip_months": 48.0})
    assert not on_time["own.idle_hall"].any()
    waiting = np.flatnonzero(late["own.idle_hall"])
    assert waiting.tolist() == list(range(6, 14))  # from 1.5 to 3.5 years
    # at the end of the ramp: 0.8 x 1e6 tokens/s over 900 x 0.95 x 0.9 tokens/s, 800 W each
    it_w = 0.8e6 / (900 * 0.95 * 0.9) * 800
    yearly = 10 * float(crf(0.1, 20)) / 1.1**0.5 + 0.5
    assert late["own.idle_hall"][13] == pytest.approx(it_w * yearly / 4)


def test_a_half_share_waits_with_half_the_hall(world):
    values = certain(world, **{"options.own.slip_months": 48.0})
    whole = world.by_line(world.flow(["own", "gpu"], values)[0])
    half = world.by_line(world.flow([Step(option="own", share=0.5), "gpu"], values)[0])
    assert half["own.idle_hall"] == pytest.approx(whole["own.idle_hall"] / 2)


def test_prepayments_come_a_year_early_and_sum_to_nothing(world):
    lines, planned = own_lines(world)
    paid = lines["own.prepayment"]
    deposit = 0.2 * 13_000 * planned.plan.new_chips["own"][0]
    assert paid.sum() == pytest.approx(0.0, abs=1e-6 * deposit.sum())
    assert paid[2:36] == pytest.approx(deposit[6:] - deposit[2:36], abs=1e-6 * deposit.sum())
    assert (lines["own.prepayment"] @ 1.1 ** -(np.arange(40) / 4)) > 0


def test_deposits_on_the_first_deliveries_fall_due_at_once(world):
    changes = {"options.own.months_to_tapeout": 0.0, "options.own.qualification_months": 0.0}
    lines, planned = own_lines(world, **changes)
    deposit = 0.2 * 13_000 * planned.plan.new_chips["own"][0]
    assert lines["own.prepayment"][0] == pytest.approx(deposit[1:5].sum())
    assert lines["own.prepayment"].sum() == pytest.approx(0.0, abs=1e-6 * deposit.sum())


def test_a_cancelled_programme_costs_its_engineering_and_firm_orders(world):
    lines, planned = own_lines(world, **{"options.own.cancelled": 1.0})
    assert not planned.plan.chips["own"].any()
    assert lines["own.nre"].sum() == pytest.approx(3.2e8)
    # 0.6 firm x 0.8 eligible x 1e6 tokens/s over 769.5 a chip, half of 13,000 lost, at 1.5 years
    chips = 0.6 * 0.8 * 1e6 / (900 * 0.95 * 0.9)
    assert lines["own.writeoff"] == pytest.approx(
        np.where(np.arange(40) == 6, chips * 13_000 * 0.5, 0.0)
    )
    assert np.flatnonzero(lines["own.software"]).max() < 6


def test_demand_that_comes_needs_no_write_off(world):
    lines, _ = own_lines(world, **{"demand.realised_ratio": 0.7})
    assert not lines["own.writeoff"].any()
    short, _ = own_lines(world, **{"demand.realised_ratio": 0.5})
    chips = 0.1 * 0.8 * 1e6 / (900 * 0.95 * 0.9)
    assert short["own.writeoff"].sum() == pytest.approx(chips * 13_000 * 0.5)


def test_rebates_are_lost_on_what_is_still_bought(world):
    lines, planned = own_lines(world)
    bought = planned.plan.new_chips["gpu"][0]
    assert bought.any()
    assert lines["own.rebates_lost"] == pytest.approx(bought * 40_000 * 0.03)


def test_no_bridge_leaves_demand_unserved_at_its_value(world):
    lines = world.by_line(world.flow(["own"], certain(world))[0])
    time = (np.arange(6) + 0.5) / 4
    lost = 1e6 * SECONDS / 1e6 * 3.0 * np.exp(-0.05 * time)
    assert lines["unserved"][:6] == pytest.approx(lost)


def test_revenue_is_the_value_of_what_is_served(world):
    cash, _ = one_gpu(world, objective="contribution")
    time = np.array([0.125, 0.375, 0.625, 0.875])
    by_hand = -900 * SECONDS / 1e6 * 3.0 * np.exp(-0.05 * time)
    assert world.by_line(cash)["revenue"] == pytest.approx(by_hand)


def test_the_price_of_tokens_falls_with_each_generation_of_the_reference(world):
    """Sold half a year ago, a new one every two years: steps at 1.5, 3.5, 5.5 years."""
    changes = {"rival.cadence_years": 2.0, "value.decline_per_year": 0.0}
    cash, _ = one_gpu(world, quarters=24, objective="contribution", **changes)
    value = cash.token_worth[0]
    steps = [1.0] * 6 + [1.6**-1] * 8 + [1.6**-2] * 8 + [1.6**-3] * 2
    assert value == pytest.approx(steps)


def test_served_and_unserved_tokens_are_the_demand(world):
    for steps in (["own"], ["old"], ["old", "own"], world.bridge):
        cash, _ = world.flow(steps)
        lines = world.by_line(cash)
        worth = cash.token_worth[0] * 3.0 / 1e6
        total = cash.tokens[0] + lines["unserved"] / worth
        assert total == pytest.approx(1.5 * 1e6 * SECONDS * np.ones(40), rel=1e-9)


def test_what_is_not_served_earns_nothing_and_is_not_charged_again(world):
    cash, _ = world.flow(["own"], objective="contribution")
    lines = world.by_line(cash)
    assert "unserved" not in lines
    assert lines["revenue"] == pytest.approx(-cash.tokens[0] / 1e6 * 3.0 * cash.token_worth[0])


def test_a_thin_market_charges_its_premium_for_the_term_of_each_contract(world):
    values = certain(world, **{"options.thin.port_start_fraction": 1.0})
    cash, fleet = world.flow(["thin"], values)
    new = fleet.plan.new_chips["thin"][0]
    assert np.count_nonzero(new) > 1
    dearer = new * ((1.0 + new / 500.0) ** 0.4 - 1.0)
    running = np.convolve(dearer, np.ones(4))[: new.size]  # a term of four quarters
    lines = world.by_line(cash)
    rent = sum(usd for key, usd in lines.items() if key.startswith("thin.rent."))
    quoted = rent - lines["thin.rent.volume"]
    per_chip = quoted[0] / fleet.plan.chips["thin"][0, 0]
    assert lines["thin.rent.volume"] == pytest.approx(running * per_chip)


def test_a_deep_market_has_no_such_line(world):
    cash, _ = world.flow(["tpu"])
    assert "tpu.rent.volume" not in world.by_line(cash)
