"""The shipped release: complete, typed, and resolved as a hand check of every chip says."""

import csv
import importlib.util
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tapeout.catalog import check_peaks, load
from tapeout.catalog.fields import data_rows, driver_registry, registry
from tapeout.catalog.release import release_rows
from tapeout.catalog.rows import STATUSES
from tapeout.errors import MissingFieldError, UnknownNameError
from tapeout.units import UNITS, convert

ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("TAPEOUT_DATA", ROOT.parent / "shared" / "data"))
SEED = DATA / "catalog"
needs_seed = pytest.mark.skipif(
    not (SEED / "chips.csv").is_file(), reason=f"no seed tables under {SEED}"
)
CATALOG = load()
TERA, GIGA = 1e12, 1e9

# Read by hand off the rows, not off the code: memory [GB], TB/s, dense TFLOP/s by format, rated
# W, link GB/s in one direction, chips of the domain; None where no source gives it.
BY_HAND = {
    "a100 80gb": (80, 2.039, {"bf16": 312, "int8": 624}, 400, 300, None),
    "a100 40gb": (40, 1.56, {"bf16": 312, "int8": 624}, 400, 300, None),
    "h100": (80, 3.35, {"bf16": 989.4, "fp8": 1979, "int8": 1979}, 700, 450, 8),
    "h100 pcie": (80, 2.0, {"bf16": 756.5, "fp8": 1513, "int8": 1513}, 350, 300, None),
    "h100 nvl": (94, 3.938, {"bf16": 835.5, "fp8": 1671, "int8": 1671}, 400, 300, 2),
    "h200": (141, 4.8, {"bf16": 989.5, "fp8": 1979, "int8": 1979}, 700, 450, 8),
    "h200 nvl": (141, 4.8, {"bf16": 835.5, "fp8": 1671}, 600, 450, None),
    "gh200": (144, 4.9, {"bf16": 989.5, "fp8": 1979, "int8": 1979}, 700, None, None),
    "b200": (180, 7.7, {"bf16": 2250, "fp8": 4500, "fp4": 9000, "int8": 4500}, 1000, 900, 8),
    "b300": (270, 7.75, {"bf16": 2250, "fp8": 4500, "fp4": 13500, "int8": 153.5}, 1100, 900, 8),
    "gb200": (186, 8.0, {"bf16": 2500, "fp8": 5000, "fp4": 10000, "int8": 5000}, 1200, 900, 72),
    "gb300": (287.5, 8.0, {"bf16": 2500, "fp8": 5000, "fp4": 15000, "int8": 165}, 1400, 900, 72),
    "r200": (288, 22.0, {"bf16": 4000, "fp8": 16667, "fp4": 35000}, 1800, 1800, 72),
    "l40s": (48, 0.864, {"bf16": 362.05, "fp8": 733, "int8": 733}, 350, 32, None),
    "mi210": (64, 1.6, {"bf16": 181, "int8": 181}, 300, 150, None),
    "mi250": (128, 3.2, {"bf16": 362.1, "int8": 362.1}, 560, 300, None),
    "mi300x": (192, 5.3, {"bf16": 1307.4, "fp8": 2615, "int8": 2614.9}, 750, 448, 8),
    "mi325x": (256, 6.0, {"bf16": 1307.4, "fp8": 2615, "int8": 2600}, 1000, 448, 8),
    "mi350x": (288, 8.0, {"bf16": 2309.6, "fp8": 4600, "fp4": 9200, "int8": 4614}, 1000, 537.6, 8),
    "mi355x": (288, 8.0, {"bf16": 2516.6, "fp8": 5033, "fp4": 10066, "int8": 5033.2}, 1400, 576, 8),
    "mi455x": (432, 19.6, {"fp8": 20000, "fp4": 40000}, None, 1800, 72),
    "tpu v5e": (16, 0.819, {"bf16": 197, "int8": 393}, 225, 180, 256),
    "tpu v5p": (102.005, 2.765, {"bf16": 459, "fp8": 459, "int8": 918}, 540, 540, 8960),
    "tpu v6e": (32, 1.638, {"bf16": 918, "fp8": 918, "int8": 1836}, 380, 360, 256),
    "tpu v7": (206.158, 7.38, {"bf16": 2307, "fp8": 4614}, 960, 600, 9216),
    "tpu 8i": (288, 8.6, {"fp4": 10100}, None, 1200, None),
    "tpu 8t": (216, 6.5, {"fp4": 12600}, None, 1200, 9600),
    "trn1": (32, 0.82, {"bf16": 190, "int8": 380}, None, 192, None),
    "inf2": (32, 0.82, {"bf16": 190, "fp8": 190, "int8": 380}, None, 103.079, None),
    "trn2": (103.079, 2.9, {"bf16": 667, "fp8": 1299}, 500, 640, 64),
    "trn3": (154.619, 4.7, {"bf16": 671, "fp8": 2517, "fp4": 2517}, 700, 704, 144),
    "jalapeno": (231.928, 15.4, {"fp8": 3400, "fp4": 13400}, 700, 600, 128),
    "gaudi 2": (96, 2.46, {"bf16": 432, "fp8": 865}, 600, 300, None),
    "gaudi 3": (128, 3.7, {"bf16": 1678, "fp8": 1678}, 900, 600, None),
    "maia 200": (216, 7.0, {"fp8": 5072, "fp4": 10145}, 750, 1400, 6144),
}


def _value(name, field, condition=""):
    found = CATALOG.chip(name).figure(field, condition)
    return None if found is None else found.chosen.value


@pytest.mark.parametrize("name", BY_HAND)
def test_a_chip_resolves_to_the_figures_read_off_its_rows_by_hand(name):
    memory, bandwidth, peaks, tdp, link, domain = BY_HAND[name]
    assert _value(name, "mem_capacity") == pytest.approx(memory * GIGA, rel=1e-5)
    assert _value(name, "mem_bandwidth") == pytest.approx(bandwidth * TERA, rel=1e-4)
    found = {dtype: peak.chosen.value for dtype, peak in CATALOG.chip(name).peaks().items()}
    assert found == pytest.approx({dtype: peak * TERA for dtype, peak in peaks.items()})
    assert _value(name, "tdp") == tdp
    expected = None if link is None else pytest.approx(link * GIGA, rel=1e-5)
    assert _value(name, "scaleup_bw") == expected
    assert _value(name, "scaleup_domain") == domain


@pytest.mark.parametrize(
    ("name", "field", "condition", "value", "low", "high"),
    [
        ("h100", "price_usd", "", 25690, 22000, 30000),
        ("b200", "price_usd", "", 37229, 30000, 42000),
        ("gb300", "price_usd", "rack-share", 52083, 48600, 55600),
        ("r200", "price_usd", "rack-share", 108333, 48600, 126400),
        ("tpu v7", "price_usd", "", 11698, 9779, 15000),
        ("tpu v7", "rental", "3-year", 5.4, None, None),
        ("gb200", "rental", "3-year", 3.3, None, None),
        ("h100", "rental", "on-demand neocloud", 4.5, 3.2, 6.155),
        ("gb300", "tco", "unstated tier", 2.79, None, None),
        ("r200", "tco", "unstated tier", 3.61, None, None),
        ("jalapeno", "tco", "hyperscaler", 1.47, 1.27, 1.79),
        ("jalapeno", "power", "all-in", 1125, 1125, 1375),
        ("gb300", "power", "all-in", 2120, None, None),
        ("gb200", "power", "all-in", 1870, 1870, 2100),
        ("jalapeno", "scaleup_bw", "per-direction global", 200e9, None, None),
        ("tpu v7", "tdp", "", 960, 600, 960),
        ("tpu v1", "power", "busy", 40, None, None),
    ],
)
def test_prices_rents_and_powers_resolve_with_the_span_of_their_sources(
    name, field, condition, value, low, high
):
    chosen = CATALOG.resolve(name, field, condition).chosen
    assert chosen.value == pytest.approx(value)
    assert (chosen.low, chosen.high) == (low, high)


def test_superseded_rows_are_visible_but_neither_chosen_nor_widening():
    stacks = CATALOG.resolve("jalapeno", "hbm_stacks")
    assert stacks.chosen.value == 6
    assert stacks.chosen.high is None
    assert [figure.value for figure in stacks.rejected] == [8]
    assert CATALOG.fact("jalapeno", "mem_type").text == "HBM4"
    assert CATALOG.resolve("trn1", "peak_int8").chosen.high is None


def test_conditions_keep_different_quantities_apart():
    assert _value("r200", "peak_fp4", "inference") == 50000 * TERA
    assert _value("r200", "peak_fp4", "dense") == 35000 * TERA
    assert _value("mi355x", "die_area", "compute-die") == 110
    assert _value("mi300x", "die_area", "package") == 1725
    assert _value("gaudi 3", "tdp", "liquid") == 1200
    assert _value("h100", "scaleup_bw", "bidirectional") == 900 * GIGA
    assert _value("gh200", "mem_capacity", "96 GB variant") == 96 * GIGA
    assert _value("cerebras", "peak_fp8") is None  # 125 PFLOP/s is not a dense peak
    assert _value("cerebras", "peak_fp8", "unlabelled") == 125000 * TERA


def test_seed_names_of_fields_still_lead_to_their_figures():
    chip = CATALOG.chip("h100")
    assert chip.figure("peak_fp8_dense") == chip.figure("peak_fp8", "dense")
    assert chip.figure("memory_bandwidth") == chip.figure("mem_bandwidth")
    assert chip.figure("allin_power_per_gpu") == chip.figure("power", "all-in")
    assert chip.figure("rental_spot") == chip.figure("rental", "spot")


def test_cost_facts_are_addressable_by_node_memory_and_package():
    assert CATALOG.resolve("process-3nm", "wafer_price").chosen.value == 26000
    assert CATALOG.resolve("process-3nm", "mask_set_cost").chosen.low == 30e6
    assert CATALOG.resolve("process-5nm", "defect_density").chosen.value == 0.105
    assert CATALOG.resolve("process-2nm", "yield").chosen.value == pytest.approx(0.6)
    assert CATALOG.resolve("hbm", "price_per_gb", "hbm3e").chosen.value == 15.1
    assert CATALOG.resolve("packaging", "unit_cost", "cowos-l b200").chosen.value == 1100
    assert CATALOG.resolve("broadcom", "gross_margin", "google tpu").chosen.value == 0.575
    assert CATALOG.resolve("nvidia", "gross_margin").chosen.value == pytest.approx(0.75)
    assert CATALOG.resolve("process-3nm", "programme_cost", "ai asic nre").chosen.high == 581e6


def test_prices_are_a_series_over_time():
    flash = CATALOG.series("DeepSeek V4-Flash", "api_price")
    assert [figure.as_of for figure in flash] == sorted(figure.as_of for figure in flash)
    assert {figure.as_of for figure in flash} == {"2026-05-31", "2026-08-16"}
    year = CATALOG.series("h100", "rental", "1-year")
    assert [figure.value for figure in year] == [1.70, 2.35, 2.35]


def test_an_old_price_is_history_and_does_not_widen_the_new_one():
    rent = CATALOG.resolve("h100", "rental", "1-year")
    assert rent.chosen.value == 2.35
    assert rent.chosen.low is None
    assert 1.70 in [figure.value for figure in rent.rejected]


def test_paths_name_entity_field_and_condition_once():
    paths = [resolved.path for resolved in CATALOG.resolved()]
    assert len(paths) == len(set(paths))
    assert CATALOG.resolve("gb300", "tdp").path == "catalog.nvidia-gb300-nvl72-per-gpu.tdp"
    path = CATALOG.resolve("h100", "rental", "3-year").path
    assert path == "catalog.nvidia-h100-sxm.rental.3-year"


def test_every_figure_is_in_the_unit_of_its_field_and_every_row_has_a_status():
    for rows in release_rows().values():
        for row in rows:
            assert row.stated.status in STATUSES
            spec = CATALOG.spec(row.field)
            if spec.is_number:
                assert row.stated.unit == spec.unit
                assert not spec.objection(row.stated.value)


def test_every_registry_unit_is_a_known_unit_and_every_field_is_used():
    used = {row.field for rows in release_rows().values() for row in rows}
    assert set(registry()) | set(driver_registry()) == used
    for spec in [*registry().values(), *driver_registry().values()]:
        assert not spec.is_number or spec.unit in UNITS


def test_missing_figures_are_told_with_the_known_conditions():
    with pytest.raises(MissingFieldError, match=r"known conditions: .*3-year"):
        CATALOG.resolve("h100", "rental", "7-year")
    with pytest.raises(MissingFieldError, match="has no figure tdp"):
        CATALOG.resolve("cerebras wse-3", "tdp")
    assert CATALOG.chip("wse-3").figure("tdp") is None
    with pytest.raises(UnknownNameError, match="did you mean 'mem_bandwidth'"):
        CATALOG.resolve("h100", "mem_bandwith")


def test_peaks_follow_from_units_clock_and_operations_per_cycle():
    # The stated clock is the tensor clock unless the basis says otherwise; then the published
    # peak needs a lower clock (NVIDIA cards) or a higher one (AWS) than the stated.
    for check in check_peaks(CATALOG):
        is_other_clock = "clock is below" in check.basis or "rounds" in check.basis
        limit = 0.16 if is_other_clock else 0.025
        assert abs(check.deviation) < limit, (check.chip, check.dtype, check.deviation)
    deviations = {(one.chip, one.dtype): one.deviation for one in check_peaks(CATALOG)}
    assert abs(deviations["NVIDIA H100 SXM", "bf16"]) < 1e-3  # 132 x 1.83 GHz x 4096
    assert len(deviations) > 30


def test_release_dates_are_read_from_days_quarters_and_words():
    assert CATALOG.chip("gb300").release_date.isoformat() == "2025-08-22"
    assert CATALOG.chip("r200").release_date.isoformat() == "2026-07-01"
    assert CATALOG.chip("mtia 500").release_date.isoformat() == "2027-10-01"
    assert CATALOG.chip("mtia 450").release_date is None


def test_stale_lists_what_moves_and_not_what_stays():
    stale = CATALOG.stale("2026-11-24", 180)
    paths = {resolved.path for resolved in stale}
    assert "catalog.broadcom.gross_margin.google-tpu" in paths
    assert not any(path.endswith("mem_capacity") for path in paths)
    assert all(resolved.chosen.as_of < "2026-05-28" for resolved in stale)
    assert len(CATALOG.stale("2027-11-24")) > len(stale)


def test_conflicts_are_listed_widest_first_without_history():
    found = CATALOG.conflicts()
    assert [one.spread for one in found] == sorted((one.spread for one in found), reverse=True)
    paths = [one.path for one in found]
    assert "catalog.google-tpu-v7-ironwood.tdp" in paths
    assert "catalog.nvidia-h100-sxm.rental.1-year" not in paths


def test_sources_count_every_row_of_the_release():
    rows = sum(len(list(data_rows(f"{name}.csv"))) for name in ("chips", "market", "programmes"))
    drivers = [row for row in data_rows("drivers.csv") if row["source_url"]]
    own = [row for row in data_rows("chips.csv") if not row["source_url"]]
    assert sum(source.rows for source in CATALOG.sources()) == rows + len(drivers) - len(own)


def test_importing_the_catalogue_and_loading_it_stays_light():
    code = (
        "import sys, tapeout.catalog; tapeout.catalog.load().chip('h100').figure('tdp');"
        "heavy = {'numpy', 'scipy', 'polars', 'pydantic', 'rich', 'typer'} & set(sys.modules);"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    done = subprocess.run(  # our own interpreter
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_the_units_added_for_rates_convert():
    assert convert(5.0, "%/year", "per_year") == pytest.approx(0.05)
    assert convert(1.05, "USD M/MW-year", "usd_per_w_year") == pytest.approx(1.05)


@pytest.mark.shared_data
@needs_seed
@pytest.mark.parametrize(
    ("seed", "release"), [("chips", "chips"), ("economics", "market"), ("programmes", "programmes")]
)
def test_no_seed_row_is_lost(seed, release):
    with (SEED / f"{seed}.csv").open(encoding="utf-8", newline="") as stream:
        wanted = Counter(_identity(row, row["date"]) for row in csv.DictReader(stream))
    kept = Counter(
        _identity(row, row.get("as_of") or row["date"]) for row in data_rows(f"{release}.csv")
    )
    assert not wanted - kept


def _identity(row, date):
    return row["value"], row["source_url"], row["source_title"], date, row["status"]


@pytest.mark.shared_data
@needs_seed
def test_the_converter_reproduces_the_shipped_tables(tmp_path):
    path = ROOT / "tools" / "import_seed.py"
    spec = importlib.util.spec_from_file_location("import_seed", path)
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    tool.convert_all(SEED, tmp_path)
    shipped = ROOT / "src" / "tapeout" / "catalog" / "data"
    for name in ("chips.csv", "market.csv", "programmes.csv"):
        assert (tmp_path / name).read_bytes() == (shipped / name).read_bytes()


@pytest.mark.shared_data
@pytest.mark.skipif(not (DATA / "measured" / "endtoend.csv").is_file(), reason="no measured rows")
def test_every_measured_chip_is_found_by_its_name():
    with (DATA / "measured" / "endtoend.csv").open(encoding="utf-8", newline="") as stream:
        names = {row["chip"] for row in csv.DictReader(stream)}
    assert len(names) > 20
    for name in names:
        assert CATALOG.chip(name).figure("mem_bandwidth") is not None
