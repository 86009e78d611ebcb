"""Software figures of a scenario: silent by default, and each acts where it should."""

import pytest

from tapeout.errors import ProblemsError
from tapeout.study.decide import prepare
from tapeout.study.evaluate import run
from tapeout.study.futures import model_paths


@pytest.fixture
def study(make, tmp_path):
    def of(own=None, software=None, bridge=None):
        scenario = make.small()
        scenario["options"]["own"] |= own or {}
        scenario["options"]["bridge"] |= bridge or {}
        if software:
            scenario["software"] = software
        return prepare(make.write(tmp_path, scenario))

    return of


def central(study):
    return study.sampler.inputs(study.sampler.medians())


def test_without_a_word_nothing_is_resolved_or_paid(study):
    plain = study()
    assert "software.releases_per_year" not in plain.ledger
    flow, _ = run(plain.problem, "build", central(plain))
    assert "own.releases" not in flow.by_line_usd


def test_releases_and_families_cost_what_they_say(study):
    found = study(
        own={
            "port_usd_per_release": 2e6, "model_families": 3, "usd_per_family_year": 5e6,
        },
        software={"releases_per_year": 10},
    )  # fmt: skip
    inputs = central(found)
    assert inputs.flat("options.own.releases_usd_per_year")[0] == 2e6 * 10 + 3 * 5e6
    flow, _ = run(found.problem, "build", inputs)
    before, _ = run(study().problem, "build", central(study()))
    paid = float(flow.by_line_usd["own.releases"][0])
    assert paid > 3 * 35e6
    assert float(flow.npv_usd[0] - before.npv_usd[0]) == pytest.approx(paid)


def test_a_port_of_rented_silicon_pays_for_releases_too(study):
    found = study(bridge={"port_usd_per_release": 1e6}, software={"releases_per_year": 4})
    path = "options.bridge.port_usd_per_year"
    assert central(found).flat(path)[0] == central(study()).flat(path)[0] + 4e6


def test_day_zero_lag_context_and_modality_limit_the_fill(study):
    found = study(
        own={
            "eligible_fraction": 0.9, "day0_coverage_fraction": 0.5, "port_lag_months": 3,
            "traffic_model_age_months": 6, "context_eligible_fraction": 0.8,
            "modality_eligible_fraction": 0.95,
        }
    )  # fmt: skip
    eligible = central(found).flat("options.own.eligible_fraction")[0]
    assert eligible == pytest.approx(0.9 * 0.8 * 0.95 * (0.5 + 0.5 * 0.78694), rel=1e-4)
    _, fleet = run(found.problem, "build", central(found))
    _, full = run(study().problem, "build", central(study()))
    assert fleet.plan.chips["own"].max() < full.plan.chips["own"].max()


def test_each_figure_says_through_which_input_it_acts(study):
    kinds = study().sampler.kinds
    assert "options.own.eligible_fraction" in model_paths(
        "options.own.port_lag_months", kinds, study().ledger
    )
    assert "options.own.releases_usd_per_year" in model_paths(
        "software.releases_per_year", kinds, study().ledger
    )


@pytest.mark.parametrize(
    ("own", "missing"),
    [
        ({"port_usd_per_release": 1e6}, r"software\.releases_per_year: missing"),
        ({"model_families": 2}, r"options\.own\.usd_per_family_year: missing"),
        ({"day0_coverage_fraction": 0.5}, r"options\.own\.port_lag_months: missing"),
        ({"port_lag_months": 2}, r"options\.own\.traffic_model_age_months: missing"),
        ({"context_eligible_fraction": 1.2}, "between 0 and 1"),
    ],
)
def test_half_a_statement_is_refused(study, own, missing):
    with pytest.raises(ProblemsError, match=missing):
        study(own=own)
