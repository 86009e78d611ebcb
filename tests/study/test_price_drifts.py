"""The drifts of the price of tokens: each acts once, and errors spread as they should."""

import numpy as np
import pytest

from tapeout.economics.prices import LOG_RENT, deviation, price_drift
from tapeout.errors import ProblemsError
from tapeout.risk import forecast_sd
from tapeout.study.decide import futures, prepare

YEARS = np.array([[0.5, 1.0, 2.5, 5.0, 10.0]])


@pytest.fixture
def study(make, tmp_path):
    def of(**value):
        scenario = make.small()
        if value:
            scenario["value"] = value
        return prepare(make.write(tmp_path, scenario))

    return of


def inputs(study, log2=14):
    sampler = study.sampler
    return sampler.inputs(sampler.table(sampler.draw(log2, 1)))


def test_parts_take_the_place_of_the_whole_and_add_up_to_it(study):
    whole = inputs(study(decline_per_year=0.2), 6)
    parts = inputs(
        study(
            software_decline_per_year=0.15,
            model_decline_per_year=0.1,
            margin_decline_per_year=-0.05,
        ),
        6,
    )
    assert price_drift(parts, YEARS) == pytest.approx(price_drift(whole, YEARS), rel=1e-12)
    assert price_drift(whole, YEARS)[0, 1] == pytest.approx(np.exp(-0.2))


def test_the_lump_is_not_resolved_beside_its_parts(study):
    ledger = study(model_decline_per_year="0.1 to 0.3").ledger
    assert "value.decline_per_year" not in ledger
    assert "value.decline_per_year" in study().ledger


def test_stating_the_whole_and_a_part_is_refused(study):
    with pytest.raises(ProblemsError, match="either the whole or its parts"):
        study(decline_per_year=0.2, model_decline_per_year=0.1)


def test_a_shock_needs_the_number_of_changes_it_was_seen_in(study):
    with pytest.raises(ProblemsError, match=r"value\.observed_changes: missing"):
        study(model_innovation_sd=0.15)
    with pytest.raises(ProblemsError, match="at least 2"):
        study(model_innovation_sd=0.15, observed_changes=1)


def test_prices_of_the_study_spread_as_the_forecast_formula_says(study):
    """Two drifts with shocks: variances add; M2 is one of them alone."""
    how = {"observed_changes": 30, "model_decline_per_year": 0.1}
    one = inputs(study(model_innovation_sd=0.15, **how))
    both = inputs(study(model_innovation_sd=0.15, margin_innovation_sd=0.3, **how))
    whole = YEARS[:, [1, 3, 4]]
    sd = forecast_sd(whole[0], innovation_sd=0.15, observed_changes=30)
    assert np.log(price_drift(one, whole)).std(axis=0) == pytest.approx(sd, rel=0.02)
    assert np.log(price_drift(one, whole)).std(axis=0) == pytest.approx(
        [0.1801, 0.5611, 0.8696], rel=0.02
    )
    assert np.log(price_drift(both, whole)).std(axis=0) == pytest.approx(5**0.5 * sd, rel=0.02)


def test_errors_leave_the_centre_and_all_other_draws_alone(study):
    plain, shaken = study(), study(model_innovation_sd=0.2, observed_changes=10)
    centre = shaken.sampler.inputs(shaken.sampler.medians())
    assert price_drift(centre, YEARS) == pytest.approx(
        price_drift(plain.sampler.inputs(plain.sampler.medians()), YEARS), rel=1e-12
    )
    before, after = plain.sampler.draw(6, 1), shaken.sampler.draw(6, 1)
    assert all(after[name].tobytes() == before[name].tobytes() for name in before.values)


def test_shocks_reach_what_strategies_earn(study):
    plain = futures(study(), 5, 1)
    shaken = futures(study(model_innovation_sd=0.3, observed_changes=10), 5, 1)
    for key, cost in plain.cost.items():
        assert shaken.cost[key].shape == cost.shape
    assert any(
        not np.allclose(shaken.contribution[key], found)
        for key, found in plain.contribution.items()
    )


@pytest.fixture
def rented(make, tmp_path):
    def of(**market):
        scenario = make.small()
        if market:
            scenario["market"] = market
        return prepare(make.write(tmp_path, scenario))

    return of


SWINGS = {"rent_volatility_ratio": 0.4, "rent_reversion_per_year": 0.7}


def test_rents_swing_about_their_drift_by_as_much_as_stated(rented):
    found = deviation(inputs(rented(**SWINGS)), LOG_RENT, YEARS[:, [1, 3, 4]])
    wanted = 0.4 * np.sqrt((1 - np.exp(-1.4 * np.array([1.0, 5.0, 10.0]))) / 1.4)
    assert found.std(axis=0) == pytest.approx(wanted, rel=0.02)
    assert found.mean(axis=0) == pytest.approx(0.0, abs=0.01)


def test_an_excess_over_owner_cost_fades_in_the_central_case(rented):
    sampler = rented(**SWINGS, rent_over_owner_cost_ratio=1.5).sampler
    found = deviation(sampler.inputs(sampler.medians()), LOG_RENT, YEARS)
    assert found[0, 1] == pytest.approx(np.log(1.5) * (np.exp(-0.7) - 1.0))
    assert found[0, 4] == pytest.approx(-np.log(1.5), abs=0.001)


def test_swings_move_what_rents_cost_and_not_what_chips_cost(rented):
    plain, swung = futures(rented(), 6, 1), futures(rented(**SWINGS), 6, 1)
    assert plain.cost["buy"] == pytest.approx(swung.cost["buy"], rel=1e-12)
    assert swung.cost["rent"].std() > plain.cost["rent"].std()


def test_half_a_rent_process_is_refused(rented):
    with pytest.raises(ProblemsError, match=r"market\.rent_reversion_per_year: missing"):
        rented(rent_volatility_ratio=0.4)
    with pytest.raises(ProblemsError, match=r"market\.rent_volatility_ratio: missing"):
        rented(rent_over_owner_cost_ratio=1.4)
