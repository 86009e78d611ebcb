"""Programmes of several own chips: dates, gains and lines, against hand calculation."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapeout.economics.cashflow import strategy_cash_flow
from tapeout.economics.roadmap import own_gains, own_schedule, sizing_ratio, successors
from tapeout.economics.types import Roadmap, Step

TWO = Roadmap(generations=2)
OPEN = {"options.own.sales_window_years": 30.0}  # sold beyond every horizon
NOTHING_NEW = OPEN | {
    "options.own.tokens_per_usd_gain_ratio": 1.0,
    "options.own.tokens_per_w_gain_ratio": 1.0,
    "options.own.reused_nre_fraction": 1.0,
    "options.own.mask_set_usd": 0.0,
    "options.own.respin_usd": 0.0,
    "options.own.bring_up_usd": 0.0,
}


def programme(world, roadmap, changes=None, objective="cost", **more):
    site_w = 5e7 if objective == "contribution" else None
    steps = [Step(option="own", roadmap=roadmap), "gpu"]
    return world.flow(
        steps,
        world.inputs(changes),
        world.setting(site_w=site_w, **more),
        objective=objective,
    )


@given(
    cadence=st.floats(0.25, 5.0),
    gain=st.floats(0.5, 4.0),
    reused=st.floats(0.0, 1.0),
    learning=st.floats(0.0, 1.0),
    objective=st.sampled_from(["cost", "contribution"]),
)
def test_inputs_of_successors_do_not_move_a_programme_of_one_chip(
    world, cadence, gain, reused, learning, objective
):
    changes = {
        "options.own.generation_cadence_years": cadence,
        "options.own.tokens_per_usd_gain_ratio": gain,
        "options.own.tokens_per_w_gain_ratio": gain,
        "options.own.reused_nre_fraction": reused,
        "options.own.slip_learning_fraction": learning,
    }
    plain, _ = world.flow(["own", "gpu"], where=world.setting(site_w=5e7), objective=objective)
    one, _ = world.flow(
        [Step(option="own", roadmap=Roadmap(generations=1, stride=2)), "gpu"],
        world.inputs(changes),
        world.setting(site_w=5e7),
        objective=objective,
    )
    assert [line.key for line in one.lines] == [line.key for line in plain.lines]
    assert np.array_equal(one.usd, plain.usd)


@given(
    cadence=st.floats(0.25, 4.0),
    slip=st.floats(0.0, 24.0),
    stride=st.integers(1, 2),
    count=st.integers(2, 6),
    objective=st.sampled_from(["cost", "contribution"]),
)
def test_a_successor_without_gain_and_without_cost_changes_nothing(
    world, cadence, slip, stride, count, objective
):
    changes = NOTHING_NEW | {
        "options.own.generation_cadence_years": cadence,
        "options.own.slip_months": slip,
    }
    one, _ = programme(world, Roadmap(), changes, objective)
    more, _ = programme(world, Roadmap(generations=count, stride=stride), changes, objective)
    assert more.npv_usd() == pytest.approx(one.npv_usd(), rel=1e-12)
    assert more.discounted_tokens() == pytest.approx(one.discounted_tokens(), rel=1e-12)
    same = dict(zip((line.key for line in more.lines), more.npv_by_line_usd()[0], strict=True))
    for line, usd in zip(one.lines, one.npv_by_line_usd()[0], strict=True):
        assert same[line.key] == pytest.approx(usd, rel=1e-12, abs=1e-3), line.key


def test_dates_of_the_second_chip_by_hand(world):
    inputs = world.inputs({"options.own.slip_months": 6.0, "options.own.spins": 2.0})
    first, second = own_schedule(inputs, TWO, 40), successors(inputs, TWO, 40)[0]
    # first: tape-out 9 + 6 months, two steppings of 5, 9 of qualification: 34 months
    assert first.first_service == pytest.approx([34 / 12])
    # second: planned 24 months later, with half the slip and half the steppings
    assert second.planned_tapeout == pytest.approx([33 / 12])
    assert second.design_start == pytest.approx([17 / 12])
    assert second.tapeout == pytest.approx([36 / 12])
    assert second.spins == pytest.approx([1.0])
    assert second.first_service == pytest.approx([50 / 12])
    # sold until three years after the second
    assert first.end_of_sales == pytest.approx([50 / 12 + 3.0])


def test_a_successor_never_serves_before_its_predecessor(world):
    changes = {
        "options.own.slip_months": 40.0,
        "options.own.slip_learning_fraction": 1.0,
        "options.own.generation_cadence_years": 0.5,
    }
    inputs = world.inputs(changes)
    first = own_schedule(inputs, TWO, 40).first_service
    assert successors(inputs, TWO, 40)[0].first_service == first


def test_a_chip_that_would_be_sold_for_less_than_a_step_before_the_horizon_is_not_begun(world):
    # planned service after 18, 42, 66, 90 months; a step is two years, the horizon ten
    found = successors(world.inputs(), Roadmap(generations=9), 40)
    assert [float(one.begun[0]) for one in found] == [1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0]
    cash, _ = programme(world, Roadmap(generations=9))
    paid = world.by_line(cash)
    assert paid["own.nre.4"].sum() > 0
    assert not paid["own.nre.5"].any()


def test_every_other_step_gives_the_gain_of_two(world):
    tokens, power = own_gains(world.inputs(), Roadmap(generations=2, stride=2), 40)
    # service after 18 months, then after 18 + 48 = 66 months, which is the middle of quarter 22
    assert tokens[0, 21] == 1.0
    assert tokens[0, 22] == pytest.approx(1.5**2)
    assert power[0, 22] == pytest.approx(1.5**2 / 1.25**2)


def test_two_generations_by_hand(world):
    """Flat demand, a four-year life: the first fleet of 2027 is replaced by the second chip."""
    changes = world.certain | OPEN | {
        "options.own.ramp_years": 0.0,
        "options.own.eligible_fraction": 1.0,
        "options.own.maturity_start_fraction": 1.0,
        "options.own.first_year_availability_fraction": 0.9,
        "options.own.months_to_tapeout": 6.0,
        "options.own.qualification_months": 6.0,
        "options.own.slip_months": 0.0,
    }  # fmt: skip
    cash, fleet = programme(world, TWO, changes)
    paid = world.by_line(cash)
    # a chip gives 900 x 0.95 x 0.9 tokens/s; service after 12 months, quarter 4
    first = 1e6 / (900 * 0.95 * 0.9)
    assert fleet.plan.new_chips["own"][0, 4] == pytest.approx(first)
    # the second serves after 36 months; the first fleet retires in quarter 4 + 16
    second = first / 1.5
    assert fleet.plan.new_chips["own"][0, 20] == pytest.approx(second)
    assert fleet.plan.new_chips["own"][0].sum() == pytest.approx(first + 2 * second)
    # at 1.25 times the tokens a watt
    assert fleet.power_w["own"][0, 24] == pytest.approx(first * 800 * 1.25 / 1.25)
    assert paid["own.conversion"][[4, 20]] == pytest.approx(
        [first * 800 * 0.5, first * 800 * 0.5 / 1.25]
    )
    # NRE of three quarters of 400 M over 16 months before the tape-out after 30: quarters 4.67-10
    nre = paid["own.nre.2"]
    assert nre.sum() == pytest.approx(3e8)
    assert nre[4] == pytest.approx(3e8 * (1 / 3) / (16 / 3))
    assert nre[5:10] == pytest.approx(3e8 / (16 / 3))
    assert not nre[10:].any()
    assert paid["own.masks.2"][10] == 3e7 == paid["own.masks.2"].sum()
    assert paid["own.bring_up.2"][[10, 11]] == pytest.approx(1e7)
    assert not paid["own.respins.2"].any()


def test_extra_steppings_of_the_second_chip_cost_what_is_left_of_them(world):
    cash, _ = programme(world, TWO, {"options.own.spins": 2.0})
    paid = world.by_line(cash)
    assert paid["own.respins"].sum() == pytest.approx(2 * (3e7 + 1e7))
    assert paid["own.respins.2"].sum() == pytest.approx(3e7 + 1e7)


def test_a_cancelled_programme_stops_paying_for_successors(world):
    changes = {"options.own.cancelled": 1.0, "options.own.generation_design_months": 24.0}
    cash, _ = programme(world, Roadmap(generations=4), changes)
    paid = world.by_line(cash)
    # the first chip would have come after 18 months, in quarter 6
    for number in (2, 3, 4):
        for kind in ("nre", "masks", "respins", "bring_up"):
            assert not paid[f"own.{kind}.{number}"][6:].any(), (kind, number)
    assert paid["own.nre.2"][:6].sum() > 0


def test_a_chip_designed_after_the_shift_does_not_carry_its_loss(world):
    late = {"options.own.shift_years": 1.0, "options.own.generation_design_months": 12.0}
    inputs = world.inputs(late)
    tokens, power = own_gains(inputs, TWO, 40)
    # design of the second begins after 33 - 12 months, past the shift: 1.5 and the loss made up
    assert tokens[0, -1] == pytest.approx(1.5 / 0.7)
    assert power[0, -1] == pytest.approx(1.5 / 1.25)
    assert sizing_ratio(inputs, TWO, 40)[0, [13, 14]] == pytest.approx([1.0, 0.7])
    frozen = world.inputs(late | {"options.own.generation_design_months": 30.0})
    assert own_gains(frozen, TWO, 40)[0][0, -1] == 1.5
    assert (sizing_ratio(frozen, TWO, 40) == 1.0).all()


def test_after_the_shift_the_fleet_of_the_adapted_chip_gives_what_was_ordered(world):
    changes = OPEN | {
        "options.own.shift_years": 1.0,
        "options.own.generation_design_months": 12.0,
        "options.own.eligible_fraction": 1.0,
    }
    _, fleet = programme(world, TWO, changes)
    need = 1e6 * 2.0 * 1.25
    capacity = fleet.tokens_capacity["own"][0]
    assert capacity[12] == pytest.approx(0.7 * need)
    assert capacity[-1] == pytest.approx(need)


@pytest.mark.parametrize("objective", ["cost", "contribution"])
def test_lines_of_all_generations_add_up_to_the_total(world, objective):
    cash, _ = programme(world, Roadmap(generations=4), {"options.own.spins": 1.0}, objective)
    usd = cash.usd[0]
    paid = [line.cash for line in cash.lines]
    total = (usd[:, paid].sum(axis=1) * cash.discount[0]).sum()
    assert total == pytest.approx(cash.npv_usd()[0], rel=1e-12)
    parts = cash.npv_by_scaling_usd()
    assert sum(parts.values())[0] == pytest.approx(total, rel=1e-12)
    fixed = [line.key for line in cash.lines if line.scales == "fixed"]
    kinds = ("nre", "masks", "respins", "bring_up")
    assert {f"own.{kind}.{n}" for kind in kinds for n in (2, 3, 4)} <= set(fixed)


def test_more_gain_never_costs_more(world):
    costs = [
        float(programme(world, TWO, {"options.own.tokens_per_usd_gain_ratio": g})[0].npv_usd()[0])
        for g in (1.0, 1.3, 1.7, 2.5)
    ]
    assert costs == sorted(costs, reverse=True)


def test_a_draw_does_not_see_another(world):
    rng = np.random.default_rng(5)
    base = world.inputs().values
    names = ("generation_cadence_years", "slip_months", "shift_years", "months_to_tapeout")
    drawn = {f"options.own.{name}": rng.uniform(0.3, 9.0, 8) for name in names}
    inputs = type(world.inputs())(base | drawn)
    plan = world.strategy(Step(option="own", roadmap=Roadmap(generations=4)), "gpu")
    together, _ = strategy_cash_flow(world.setting(), plan, inputs)
    for draw in range(8):
        alone, _ = strategy_cash_flow(world.setting(), plan, inputs.rows(slice(draw, draw + 1)))
        assert alone.usd[0] == pytest.approx(together.usd[draw], rel=1e-12, abs=1e-3)
