"""The chip file: written, read back, checked, and turned into a specification."""

import math
import tomllib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapeout.catalog import load
from tapeout.chip import spec_from_record
from tapeout.errors import MissingFieldError, ProblemsError
from tapeout.perf import PhysicalModel, step_mix
from tapeout.perf.calibrate import load_chip_file, read_chip_file, spec_of, write_chip_file
from tapeout.perf.calibrate.chip_file import ChipFile, to_toml
from tapeout.perf.calibrate.spec import catalogue_names


def rates(op="gemm", dtype="bf16", sd=0.02, **constants):
    values = {"launch_s": 2e-6, "bytes_per_s": 2.9e12}
    if op != "copy":
        values["flop_per_s"] = 7e14
    if op == "gemm":
        values |= {"half_m": 64.0, "half_n": 200.0, "half_k": 300.0}
    return {
        "op": op,
        "dtype": dtype,
        "fit_rows": 60,
        "report_rows": 20,
        "median_error": 0.05,
        "p90_error": 0.2,
        "best_flop_per_s": 6.8e14,
        "best_bytes_per_s": 2.8e12,
        "constants": values | constants,
        "log_sd": dict.fromkeys(values, sd),
    }


def whole(catalogue="NVIDIA H100 SXM", **changes):
    content = {
        "format": 1,
        "device": {
            "name": "NVIDIA H100 80GB HBM3",
            "kind": "cuda",
            "date": "2026-11-25",
            "host": "node-7",
            "driver": "570.1",
            "stack": "torch-2.9.1",
            "kernel": "cublas",
            "mode": "graph",
            "clock_hz": 1.98e9,
            "memory_bytes": 8.5e10,
            "cache_bytes": 5e7,
            "units": 132,
            "devices": 1,
            "catalogue": catalogue,
        },
        "measurements": {
            "file": "measurements.csv",
            "sha256": "0" * 64,
            "rows": 300,
            "median_spread": 0.01,
        },
        "rates": [
            rates(),
            rates(dtype="fp8", flop_per_s=1.3e15),
            rates("attention_prefill", flop_per_s=3.5e14),
            rates("copy"),
        ],
    }
    return content | changes


def spec(**changes):
    return spec_of(ChipFile.model_validate(whole(**changes)))


# the file


def test_what_is_written_is_read_back(tmp_path):
    content = ChipFile.model_validate(whole())
    write_chip_file(tmp_path / "chip.toml", content)
    assert read_chip_file(tmp_path / "chip.toml") == content
    assert load_chip_file(tmp_path / "chip.toml") == spec_of(content)


def test_every_problem_is_named_at_once(tmp_path):
    content = whole()
    content["device"] |= {"kind": "gpu", "memory_bytes": -1.0}
    content["rates"][1]["constants"]["launch_s"] = math.inf
    content["extra"] = 1
    del content["measurements"]["rows"]
    (tmp_path / "chip.toml").write_text(to_toml(content), encoding="utf-8")
    with pytest.raises(ProblemsError) as error:
        read_chip_file(tmp_path / "chip.toml")
    assert {problem.path for problem in error.value.problems} == {
        "device.kind",
        "device.memory_bytes",
        "rates[1].constants.launch_s",
        "extra",
        "measurements.rows",
    }


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"format = ", "not TOML"),
        (b"\xff\xfe", "not UTF-8"),
        (b"x" * 2_000_000, "larger than a chip file"),
        (b"format = 2\n", "device"),
    ],
)
def test_no_chip_file_is_said_clearly(tmp_path, data, words):
    (tmp_path / "chip.toml").write_bytes(data)
    with pytest.raises(ProblemsError, match=words):
        read_chip_file(tmp_path / "chip.toml")


def test_a_missing_file_is_said_clearly(tmp_path):
    with pytest.raises(ProblemsError, match="cannot be read"):
        read_chip_file(tmp_path / "none.toml")


@given(st.text(), st.floats(allow_nan=False), st.integers(-(2**63), 2**63 - 1), st.booleans())
def test_values_survive_toml(text, number, count, flag):
    table = {"text": text, "number": number, "count": count, "flag": flag, "list": [count]}
    again = tomllib.loads(to_toml({"table": table}))["table"]
    assert again["text"] == text
    assert again["number"] == pytest.approx(number, rel=1e-5)
    assert (again["count"], again["flag"], again["list"]) == (count, flag, [count])


# the specification


def test_rates_are_the_measured_ones_and_the_rest_is_the_catalogues():
    rated = spec_from_record(load().chip("h100"))
    got = spec()
    assert got.peak_flop_per_s["bf16"] == 7e14
    assert got.memory_bytes_per_s == 2.9e12
    assert got.memory_bytes == 8.5e10
    assert (got.links, got.tdp_w) == (rated.links, rated.tdp_w)
    assert any("sustained rates measured on 2026-11-25" in line for line in got.assumptions)


def test_a_format_that_was_not_timed_gets_the_share_of_the_others_and_is_listed():
    rated = spec_from_record(load().chip("h100")).peak_flop_per_s
    got = spec()
    share = math.sqrt(7e14 / rated["bf16"] * 1.3e15 / rated["fp8"])
    missing = set(rated) - {"bf16", "fp8"}
    assert missing
    for name in missing:
        assert got.peak_flop_per_s[name] == pytest.approx(rated[name] * share)
        assert any(line.startswith(f"{name} was not timed") for line in got.assumptions)


def test_a_device_outside_the_catalogue_has_no_links_and_says_so():
    got = spec(catalogue="")
    assert got.links == ()
    assert got.tdp_w == 0.0
    assert any("not in the catalogue" in line for line in got.assumptions)


def test_small_products_are_slower_and_attention_has_its_own_rate():
    efficiency = spec().efficiency
    m = np.array([[64.0, 1e9]])
    big = np.full_like(m, 1e9)
    reached = efficiency.compute_fraction("gemm", m, big, big)
    assert reached == pytest.approx(np.array([[0.5, 1.0]]), rel=1e-5)
    assert efficiency.compute_fraction("attention_prefill", m, big, big) == pytest.approx(0.5)
    assert efficiency.compute_fraction("norm", m, big, big) == pytest.approx(1.0)
    assert efficiency.memory_fraction(m) == pytest.approx(1.0)


def test_a_rate_that_the_timings_do_not_identify_is_not_the_bandwidth():
    unknown = whole()["rates"]
    unknown[0] = rates(sd=2.0, bytes_per_s=9e12)
    unknown[1] = rates(sd=2.0, dtype="fp8", bytes_per_s=9e12)
    assert spec(rates=unknown).memory_bytes_per_s == 2.9e12


def test_without_a_product_there_is_no_chip():
    with pytest.raises(MissingFieldError, match=r"no .* of a gemm"):
        spec(rates=[rates("copy")])


def test_the_error_of_the_operators_widens_the_band():
    sharp, blunt = whole()["rates"], whole()["rates"]
    for one in blunt:
        one["median_error"] = 0.4
    assert spec(rates=blunt).own_log_sd > spec(rates=sharp).own_log_sd > 0.0
    assert not any("quiet machine" in line for line in spec(rates=blunt).assumptions)


def test_scattered_timings_widen_the_band_and_are_told():
    noisy = whole()["rates"]
    for one in noisy:
        one["p90_error"] = 40.0
    assert spec(rates=noisy).own_log_sd > 2.0
    for one in noisy:
        one["median_error"] = 0.8
    assert any("quiet machine" in line for line in spec(rates=noisy).assumptions)


def test_the_timing_model_runs_on_it_and_follows_its_bandwidth(placed):
    slow, fast = whole()["rates"], whole()["rates"]
    for one in fast:
        one["constants"]["bytes_per_s"] *= 2.0
    mix = step_mix(decode=1.0, context=1024.0)
    times = [
        PhysicalModel().step_cost(placed("llama-3.1-8b", chip=spec(rates=some)), mix).time_s[0]
        for some in (slow, fast)
    ]
    assert 1.2 < times[0] / times[1] < 2.0


def test_devices_are_named_as_in_the_catalogue():
    for name in catalogue_names().values():
        assert load().chip(name).name == name
