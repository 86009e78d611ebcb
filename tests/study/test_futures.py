"""Joint futures: reproducible, shared where a chip is shared, on schedule at the centre."""

import sys

import numpy as np
import pytest

from tapeout.study.decide import futures, prepare


@pytest.fixture(scope="module")
def study(make, tmp_path_factory):
    return prepare(make.write(tmp_path_factory.mktemp("small"), make.small()))


def test_the_same_seed_gives_the_same_futures(study):
    one, two = study.sampler.draw(6, 3), study.sampler.draw(6, 3)
    other = study.sampler.draw(6, 4)
    assert set(one.values) == set(two.values)
    for name, column in one.values.items():
        assert np.array_equal(column, two[name])
    assert any(not np.array_equal(column, other[name]) for name, column in one.values.items())


def test_options_with_the_same_chip_share_what_is_the_chips(study):
    columns = study.sampler.columns
    for field in ("allin_w_per_chip",):
        assert columns[f"options.gpu.{field}"] == columns[f"options.bridge.{field}"]
    assert (
        columns["options.gpu.availability_fraction"]
        != columns["options.bridge.availability_fraction"]
    )


def test_timing_error_is_shared_by_options_with_the_same_chip(make, tmp_path):
    scenario = make.small()
    for option in scenario["options"].values():
        option.pop("tokens_per_s_per_chip")
    scenario["traffic"][0]["model"] = "gpt-oss-120b"
    columns = prepare(make.write(tmp_path, scenario)).sampler.columns
    assert columns["options.gpu.timing_ratio"] == columns["options.bridge.timing_ratio"]
    assert columns["options.gpu.timing_ratio"] != columns["options.own.timing_ratio"]


def test_the_central_case_runs_on_schedule(study):
    centre = study.sampler.inputs(study.sampler.medians())
    assert centre.flat("options.own.slip_months")[0] == 0.0
    assert centre.flat("options.own.cancelled")[0] == 0.0
    assert centre.flat("options.own.shift_years")[0] > 100


def test_medians_are_the_resolved_values(study):
    centre = study.sampler.medians()
    for path in study.sampler.columns:
        assert centre[path][0] == study.ledger[path].chosen.value


def test_draws_have_the_median_of_the_figure(study):
    draws = study.sampler.draw(10, 1)
    for path, name in study.sampler.columns.items():
        chosen = study.ledger[path].chosen
        wide = (chosen.high or chosen.value) - (chosen.low or chosen.value)
        assert np.median(draws[name]) == pytest.approx(chosen.value, abs=0.03 * abs(wide)), path


def test_draws_keep_to_the_sign_of_their_term(study):
    inputs = study.sampler.inputs(study.sampler.table(study.sampler.draw(9, 1)))
    for path, column in inputs.values.items():
        if path.endswith("_fraction"):
            assert ((column >= 0) & (column <= 1)).all(), path
        elif not path.endswith(("_per_year", "generation_years")):
            assert (column >= 0).all(), path


def test_tosses_fall_as_often_as_their_probability(study):
    sampler = study.sampler
    values = sampler.table(sampler.draw(12, 1))
    inputs = sampler.inputs(values)
    cancelled = np.mean(values["options.own.cancellation_fraction"])
    late = np.mean(values["options.own.late_fraction"])
    assert inputs.flat("options.own.cancelled").mean() == pytest.approx(cancelled, abs=0.01)
    assert (inputs.flat("options.own.slip_months") > 0).mean() == pytest.approx(late, abs=0.01)


def test_late_programmes_fall_short_more_often(study):
    draws = study.sampler.draw(11, 1)
    rank = np.corrcoef(
        draws["build.delivered_ratio"].argsort().argsort(),
        draws["build.slip_if_late_months"].argsort().argsort(),
    )[0, 1]
    assert rank == pytest.approx(-0.4, abs=0.08)


def test_evaluating_in_blocks_changes_nothing(study, monkeypatch):
    whole = futures(study, 6, 1)
    monkeypatch.setattr(sys.modules["tapeout.study.decide"], "BLOCK", 16)
    parts = futures(study, 6, 1)
    for key, usd in whole.cost.items():
        assert parts.cost[key] == pytest.approx(usd, rel=1e-12)
    for name, bound in whole.bounds.items():
        assert parts.bounds[name].b_usd == pytest.approx(bound.b_usd, rel=1e-12)
    assert parts.lcot_by_holder == {
        key: pytest.approx(holders, rel=1e-12) for key, holders in whole.lcot_by_holder.items()
    }


def test_demand_never_falls_by_more_than_all_of_it(make, tmp_path):
    """A wide range of growth has a normal tail below -1, where a power has no value."""
    scenario = make.small(demand__growth_per_year={"value": 0.1, "low": -0.6, "high": 1.0})
    study = prepare(make.write(tmp_path, scenario))
    name = study.sampler.columns["demand.growth_per_year"]
    growth = study.sampler.draw(13, 1)[name]
    assert growth.min() == -0.95
