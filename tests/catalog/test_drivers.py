"""Driver figures: named by their unit, traced to rows, derived ones re-derived."""

import math
import re
import statistics

import pytest
from scipy.stats import gamma

from tapeout.catalog import find_spec, load, with_default_range
from tapeout.catalog.fields import data_rows, driver_registry, registry
from tapeout.catalog.ranges import default_spreads
from tapeout.catalog.release import release_rows
from tapeout.errors import UnknownNameError
from tapeout.sources import SOURCED_STATUSES, Figure, Resolved

CATALOG = load()
NAMES = CATALOG.entities("driver")
ENDINGS = {
    "_fraction": "fraction",
    "_ratio": "ratio",
    "_months": "months",
    "_years": "years",
    "_usd_per_kwh": "USD/kWh",
    "_usd_per_w": "USD/W",
    "_usd_per_w_year": "USD/W-year",
    "_usd_per_chip": "USD/chip",
    "_usd_per_year": "USD/year",
    "_usd_per_gb": "USD/GB",
    "_w_per_chip": "W",
    "_fraction_per_year": "1/year",
}
REQUIRED = set(
    re.findall(
        r"\w+",
        """
        discount_rate_fraction electricity_usd_per_kwh pue_ratio site_capex_usd_per_w
        site_life_years idle_site_usd_per_w_year service_life_years availability_gpu_fraction
        availability_own_first_year_fraction availability_own_mature_fraction spares_fraction
        peak_to_mean_ratio hour_of_day_fill_fraction pooling_loss_fraction host_usd_per_chip_gpu
        host_usd_per_chip_own network_usd_per_chip_gpu network_usd_per_chip_own
        storage_usd_per_chip rack_usd_per_chip_own rack_conversion_usd_per_w
        operations_fraction_per_year failure_fraction_per_year warranty_fraction
        software_team_usd_per_year software_team_ramp_years_before_tapeout port_usd_per_silicon
        port_usd_per_year port_throughput_fraction_start stack_maturity_own_start_fraction
        stack_maturity_years nre_usd mask_set_usd respin_engineering_usd bring_up_test_usd
        p_first_silicon_fraction p_later_spin_fraction spin_months slip_months
        slip_probability_fraction cancellation_probability_fraction qualification_months
        ramp_months delivered_over_claimed_ratio own_power_w_per_chip hbm_usd_per_gb
        hbm_price_growth_fraction_per_year packaging_usd_per_chip packaging_yield_fraction
        wafer_usd_3nm defects_per_cm2_3nm test_assembly_usd_per_chip partner_margin_fraction
        foundry_margin_fraction hbm_margin_fraction gpu_vendor_margin_fraction
        fabric_margin_fraction cloud_margin_fraction packaging_margin_fraction
        negotiated_discount_fraction rebate_lost_fraction rent_drift_per_year
        rival_cadence_years rival_tokens_per_usd_gain_per_generation_ratio
        rival_tokens_per_w_gain_per_generation_ratio hardware_price_decline_per_year
        shift_hazard_per_year shift_severity_fraction gpu_resale_fraction own_resale_fraction
        token_price_decline_per_year demand_growth_per_year third_party_price_fraction
        prepayment_fraction excess_purchase_writeoff_fraction api_markup_ratio
        """,
    )
)


def _figure(name) -> Figure:
    return CATALOG.driver(name).chosen


def test_every_driver_of_the_money_model_is_there():
    assert not REQUIRED - set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_driver_is_in_the_unit_its_name_ends_with(name):
    best = max((end for end in ENDINGS if name.endswith(end)), key=len, default=None)
    if best is not None:
        assert _figure(name).unit == ENDINGS[best]


@pytest.mark.parametrize("name", NAMES)
def test_a_driver_has_a_range_around_its_value_and_says_why(name):
    resolved = CATALOG.driver(name)
    figure = resolved.chosen
    assert resolved.path == f"driver.{name}"
    assert figure.low is not None
    assert figure.high is not None
    assert figure.low <= figure.value <= figure.high
    assert figure.low < figure.high or figure.range_kind == "exact"
    assert len(resolved.why) > 20
    assert resolved.why.endswith((".", ")"))


def test_a_sourced_driver_repeats_the_value_of_a_row_of_the_same_page_and_date():
    known = {
        (row.stated.source_url, row.stated.as_of, round(row.stated.value, 9))
        for kind in ("chip", "market")
        for row in release_rows()[kind]
        if isinstance(row.stated, Figure)
    }
    for name in NAMES:
        figure = _figure(name)
        if figure.status in SOURCED_STATUSES:
            assert (figure.source_url, figure.as_of, round(figure.value, 9)) in known, name


def test_assumptions_carry_no_source_and_are_set_by_default():
    for name in NAMES:
        resolved = CATALOG.driver(name)
        if resolved.chosen.status == "assumption":
            assert not resolved.chosen.source_url
            assert resolved.set_by == "default"


def test_hardware_price_decline_is_the_doubling_times_as_rates():
    """Published: 2.07, 2.46 and 2.95 years are 0.335, 0.282 and 0.235 a year."""
    rates = [
        math.log(2) / CATALOG.resolve("gpu price-performance", "doubling_time", kind).chosen.value
        for kind in ("ml gpus", "all gpus", "top gpus")
    ]
    assert rates == pytest.approx([0.335, 0.282, 0.235], abs=5e-4)
    figure = _figure("hardware_price_decline_per_year")
    assert (figure.low, figure.high) == pytest.approx((min(rates), max(rates)), abs=5e-4)


def test_shift_hazard_is_the_jeffreys_mean_and_its_gamma_interval():
    figure = _figure("shift_hazard_per_year")
    assert figure.value == pytest.approx(0.5 / 9, abs=5e-5)
    low, high = gamma(0.5, scale=1 / 9).ppf([0.05, 0.95])
    assert (figure.low, figure.high) == pytest.approx((low, high), abs=5e-4)


def test_electricity_price_is_the_energy_bill_of_a_gigawatt_year():
    bill = CATALOG.resolve("data centre", "energy_cost", "gb200").chosen.value  # USD/W-year
    assert _figure("electricity_usd_per_kwh").value == pytest.approx(bill / 8.76, abs=5e-5)


def test_cancellation_probability_is_eight_of_thirty_three():
    assert _figure("cancellation_probability_fraction").value == pytest.approx(8 / 33, abs=5e-5)


def test_cloud_margin_is_rent_less_owner_cost_of_a_gb200():
    rent = CATALOG.resolve("gb200", "rental", "3-year").chosen.value
    cost = CATALOG.resolve("gb200", "tco", "neocloud").chosen.value
    assert _figure("cloud_margin_fraction").value == pytest.approx(1 - cost / rent, abs=5e-3)


def test_hbm_price_is_the_last_model_price_with_the_increases_since():
    base = CATALOG.resolve("hbm", "price_per_gb", "hbm3e").chosen.value
    figure = _figure("hbm_usd_per_gb")
    assert figure.value == pytest.approx(base * 1.20 * 1.175, rel=5e-3)
    assert figure.high == pytest.approx(base * 2.5, rel=5e-3)


def test_delivered_over_claimed_is_the_median_of_promises_later_measured():
    pairs = []
    for programme, promised, measured in (
        ("Alibaba Hanguang 800", 78563, 69306.6),
        ("Habana Goya", 15000, 14446.6),
        ("Habana Gaudi 1", 1.21, 1.14),
        ("Intel Gaudi 2", 1.9, 1.56),
        ("Intel Gaudi 2", 2.8, 1.07),
        ("Graphcore Bow", 1.4, 1.44),
        ("Google TPU v4", 2, 2.16),
        ("Huawei Ascend 910", 2, 1.26),
        ("Cerebras WSE-3", 450, 446),
        ("Groq LPU v1", 480, 430),
    ):
        values = {event.value for event in CATALOG.events(programme)}
        assert measured in values
        assert promised in values or programme == "Groq LPU v1"  # 480 stands in a note
        pairs.append(measured / promised)
    figure = _figure("delivered_over_claimed_ratio")
    assert figure.value == pytest.approx(statistics.median(pairs), abs=5e-3)
    assert min(pairs) <= figure.low < figure.high <= max(pairs)


def test_an_unknown_driver_suggests_near_ones():
    with pytest.raises(UnknownNameError, match="nre_usd"):
        CATALOG.driver("nre_us")


def test_programme_events_are_typed_and_found_under_both_spellings():
    events = CATALOG.events("Intel Gaudi2")
    assert events == CATALOG.events("Intel Gaudi 2")
    assert len(CATALOG.events()) == 314
    assert {event.event for event in CATALOG.events(event="cancelled")} == {"cancelled"}
    assert all(event.value is None or event.unit for event in CATALOG.events())


# The range rule


def _resolved(path, value, status="vendor_claim", **more):
    unit = find_spec(path).unit
    figure = Figure(value=value, unit=unit, as_of="2026-01-01", status=status, **more)
    return Resolved(path=path, chosen=figure)


def test_a_positive_value_is_multiplied_and_divided():
    ranged = with_default_range(_resolved("catalog.x.tdp", 110.0))
    assert (ranged.chosen.low, ranged.chosen.high) == pytest.approx((100.0, 121.0))
    assert ranged.chosen.status == "assumption"
    assert ranged.set_by == "default"
    assert "vendor_claim" in ranged.why
    assert ranged.rejected[0].status == "vendor_claim"


def test_a_fraction_moves_in_odds_and_stays_a_fraction():
    ranged = with_default_range(_resolved("catalog.x.gross_margin", 0.5, "press"))
    low, high = ranged.chosen.low, ranged.chosen.high
    assert high / (1 - high) == pytest.approx(1.4)
    assert low == pytest.approx(1 - high)
    edge = with_default_range(_resolved("catalog.x.gross_margin", 1.0, "press")).chosen
    assert edge.low == pytest.approx(0.96)
    assert edge.high == 1.0


def test_a_signed_value_moves_by_the_same_amount_both_ways():
    ranged = with_default_range(_resolved("catalog.x.price_change", -0.05, "press")).chosen
    assert (ranged.low, ranged.high) == pytest.approx((-0.15, 0.05))


def test_a_one_sided_range_keeps_its_side():
    given = _resolved("catalog.x.tdp", 110.0, high=200.0, range_kind="one_sided")
    ranged = with_default_range(given).chosen
    assert (ranged.low, ranged.high) == pytest.approx((100.0, 200.0))


@pytest.mark.parametrize(
    "given",
    [
        _resolved("catalog.x.tdp", 110.0, low=1.0, high=200.0, range_kind="ci90"),
        _resolved("catalog.x.api_price", 3.0, range_kind="exact"),
        _resolved("catalog.x.sm_count", 132.0),
    ],
)
def test_full_exact_and_counted_figures_are_left_alone(given):
    assert with_default_range(given) is given


def test_every_figure_of_the_release_can_get_a_range():
    for resolved in CATALOG.resolved():
        figure = with_default_range(resolved).chosen
        spec = find_spec(resolved.path)
        if figure.range_kind != "exact" and spec.kind != "count":
            assert figure.low <= figure.value <= figure.high, resolved.path
            assert not spec.objection(figure.low)
            assert not spec.objection(figure.high)


def test_every_field_class_has_a_documented_spread_or_the_general_one_with_a_reason():
    classes = {spec.group for spec in registry().values() if spec.is_number}
    listed = {group for group, _ in default_spreads()}
    assert classes <= listed
    assert all(row["reason"] for row in data_rows("default_ranges.csv"))
    assert set(driver_registry()) == set(NAMES)
