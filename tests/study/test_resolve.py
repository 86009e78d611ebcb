"""Every input is resolved once: scenario over catalogue over default, with what was beaten."""

import numpy as np
import pytest

from tapeout.catalog import load
from tapeout.economics.terms import GLOBAL_TERMS, OPTION_TERMS
from tapeout.study.decide import prepare
from tapeout.study.futures import model_paths


def ledger(make, tmp_path, **changes):
    return prepare(make.write(tmp_path, make.small(**changes))).ledger


def test_a_scenarios_figure_beats_the_reviewed_default_and_shows_it(make, tmp_path):
    written = {"value": 0.05, "low": 0.04, "high": 0.09, "why": "our tariff"}
    entry = ledger(make, tmp_path, site={"usd_per_kwh": written})["site.usd_per_kwh"]
    driver = load().driver("electricity_usd_per_kwh").chosen
    assert (entry.set_by, entry.chosen.value, entry.why) == ("scenario", 0.05, "our tariff")
    assert [figure.value for figure in entry.rejected] == [driver.value]


def test_the_catalogue_speaks_where_the_scenario_is_silent(make, tmp_path):
    entry = ledger(make, tmp_path)["options.gpu.memory_gb"]
    record = load().chip("GB300 NVL72").figure("mem_capacity")
    assert entry.chosen.value * 1e9 == pytest.approx(record.chosen.value)
    assert entry.chosen.source_url == record.chosen.source_url
    # what stands on the package is exact: no default range, so no assumption either
    assert (entry.set_by, entry.chosen.status, entry.chosen.low) == (
        "catalog",
        "vendor_claim",
        None,
    )


def test_a_rent_is_taken_from_the_catalogue_by_the_depth_of_the_contract(make, tmp_path):
    rented = {
        "kind": "rent",
        "chip": "H200",
        "depth": "take-or-pay",
        "tokens_per_s_per_chip": 900.0,
    }
    entry = ledger(make, tmp_path, options__h200=rented)["options.h200.rent_usd_per_chip_hour"]
    assert entry.chosen.value == load().chip("H200").figure("rental", "3-year").chosen.value


def test_a_chip_of_a_maker_that_is_bought_as_well_needs_no_port(make, tmp_path):
    found = ledger(
        make,
        tmp_path,
        options__h200={
            "kind": "rent",
            "chip": "H200",
            "depth": "take-or-pay",
            "tokens_per_s_per_chip": 900.0,
        },
    )
    assert found["options.h200.port_usd"].chosen.value == 0
    assert found["options.h200.port_start_fraction"].chosen.value == 1
    found = ledger(
        make,
        tmp_path,
        options__tpu={
            "kind": "rent",
            "chip": "TPU v7",
            "depth": "take-or-pay",
            "tokens_per_s_per_chip": 900.0,
        },
    )
    assert found["options.tpu.port_usd"].chosen.value > 0


def test_a_reviewed_default_carries_its_range_and_reason(make, tmp_path):
    entry = ledger(make, tmp_path)["site.pue_ratio"]
    driver = load().driver("pue_ratio").chosen
    assert (entry.chosen.value, entry.chosen.low, entry.chosen.high) == (
        driver.value, driver.low, driver.high,
    )  # fmt: skip
    assert "pue_ratio" in entry.why


def test_a_unit_is_changed_to_that_of_the_field(make, tmp_path):
    found = ledger(make, tmp_path, options__own__ramp_years="6 to 24 months")
    chosen = found["options.own.ramp_years"].chosen
    assert (chosen.low, chosen.value, chosen.high, chosen.unit) == (0.5, 1.0, 2.0, "years")


def test_every_term_of_every_option_is_resolved_or_derived(make, tmp_path):
    found = ledger(make, tmp_path, options__own__generations="full")
    missing = {
        f"{section}.{term.name}" for section, terms in GLOBAL_TERMS.items() for term in terms
        if f"{section}.{term.name}" not in found and term.default != "derived"
    }  # fmt: skip
    for key, kind in (("gpu", "buy"), ("bridge", "rent"), ("own", "build")):
        missing |= {
            f"options.{key}.{term.name}" for term in OPTION_TERMS[kind]
            if f"options.{key}.{term.name}" not in found and term.default != "derived"
        }  # fmt: skip
    assert not missing


def test_every_resolved_input_says_where_it_comes_from(make, tmp_path):
    found = ledger(make, tmp_path)
    silent = [
        entry.path for entry in found
        if not (entry.why or entry.chosen.note or entry.chosen.source_title)
    ]  # fmt: skip
    assert not silent
    assert sum(found.counts().values()) == len(found)


def test_hbm_procurement_sets_the_consigned_share(make, tmp_path):
    path = "options.own.memory_consigned_fraction"
    turnkey = ledger(make, tmp_path / "a")[path]
    consigned = ledger(make, tmp_path / "b", options__own__hbm_procurement="consigned")[path]
    assert (turnkey.chosen.value, consigned.chosen.value) == (0.0, 1.0)


def test_every_resolved_number_acts_through_what_is_declared(make, tmp_path):
    changes = {
        "options__bridge__capital_usd_per_w": 30, "options__bridge__rent_usd_per_chip_hour": None,
    }  # fmt: skip
    study = prepare(make.write(tmp_path, make.small(**changes)))
    for path in study.sampler.columns:
        _check_derivation(study, path)


def test_figures_a_scenario_adds_act_through_what_is_declared(make, tmp_path):
    """Drifts of the token price with their shocks; ports by release and the traffic they cover."""
    scenario = make.small()
    scenario["options"]["own"] |= {
        "port_usd_per_release": "1e6 to 3e6", "model_families": "2 to 4",
        "usd_per_family_year": "1e6 to 2e6", "day0_coverage_fraction": "0.2 to 0.6",
        "port_lag_months": "1 to 5", "traffic_model_age_months": "3 to 9",
        "context_eligible_fraction": "0.8 to 0.9", "modality_eligible_fraction": "0.8 to 0.9",
    }  # fmt: skip
    scenario["options"]["bridge"] |= {"port_usd_per_release": "1e6 to 3e6"}
    scenario["software"] = {"releases_per_year": "6 to 12"}
    scenario["value"] = {
        "model_decline_per_year": "0.1 to 0.3", "margin_decline_per_year": "-0.1 to 0.1",
        "model_innovation_sd": "0.1 to 0.3", "observed_changes": "5 to 12",
        "autocorrelation_fraction": "0.5 to 0.7",
    }  # fmt: skip
    study = prepare(make.write(tmp_path, scenario))
    paths = [path for path in study.sampler.columns if path.startswith(("value", "software"))]
    own = [f"options.own.{name}" for name in scenario["options"]["own"]]
    more = [*own, "options.bridge.port_usd_per_release"]
    for path in (*paths, *(path for path in more if path in study.sampler.columns)):
        _check_derivation(study, path)


def _check_derivation(study, path):
    sampler = study.sampler
    draws = sampler.draw(7, 1)
    values = sampler.table(draws)
    before = sampler.inputs(values).values
    factor = 0.9 if path.endswith("_fraction") else 1.1
    after = sampler.inputs(values | {path: values[path] * factor}).values
    moved = {
        name for name in before
        if not np.array_equal(*np.broadcast_arrays(before[name], after[name]))
    }  # fmt: skip
    declared = model_paths(path, sampler.kinds, set(values)) & set(before)
    assert moved == declared, path
