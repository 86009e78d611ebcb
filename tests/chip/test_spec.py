"""Specifications from catalogue records: units, fallbacks, blanks filled and named."""

import csv
from importlib import resources

import numpy as np
import pytest

from tapeout import catalog
from tapeout.chip import is_measured, measured_rows, spec_from_record
from tapeout.chip.tables import priors
from tapeout.errors import MissingFieldError
from tapeout.sources import Figure, Resolved

CATALOG = catalog.load()
WITHOUT_ANYTHING = "Taalas HC1"


def spec(name):
    return spec_from_record(CATALOG.chip(name))


def value(record, field, condition=""):
    found = record.figure(field, condition)
    return None if found is None else found.chosen.value


@pytest.mark.parametrize("name", [n for n in CATALOG.entities("chip") if n != WITHOUT_ANYTHING])
def test_every_catalogue_chip_has_a_usable_specification(name):
    chip = spec(name)
    assert chip.memory_bytes > 0
    assert chip.memory_bytes_per_s > 0
    assert all(rate > 0 for rate in chip.peak_flop_per_s.values())
    assert chip.peak_flop_per_s
    assert chip.inputs
    assert all(link.bytes_per_s > 0 and link.chips >= 1 for link in chip.links)


def test_a_chip_without_bandwidth_and_peak_is_refused_by_name():
    with pytest.raises(MissingFieldError, match="Taalas HC1 has neither mem_bandwidth nor a peak"):
        spec(WITHOUT_ANYTHING)


def test_h100_is_its_data_sheet():
    """NVIDIA H100 SXM5: 989 TFLOP/s bf16, 1,979 fp8, 3.35 TB/s, 450 GB/s each way, 8 to a node."""
    chip = spec("h100")
    assert chip.peak_flop_per_s["bf16"] == pytest.approx(989e12, rel=1e-3)
    assert chip.peak_flop_per_s["fp8"] == pytest.approx(1979e12, rel=1e-3)
    assert chip.memory_bytes_per_s == 3.35e12
    assert [(x.bytes_per_s, x.chips, x.topology) for x in chip.links] == [(450e9, 8, "switch")]
    assert chip.assumptions == ()


def test_jalapeno_has_a_local_and_a_global_link_and_an_assumed_bf16_rate():
    chip = spec("jalapeno")
    assert [(x.name, x.bytes_per_s, x.chips) for x in chip.links] == [
        ("local", 600e9, 128),
        ("global", 200e9, 2048),
    ]
    assert chip.peak_flop_per_s["bf16"] == chip.peak_flop_per_s["fp8"] / 2
    assert any("bf16 peak" in line for line in chip.assumptions)


class Sheet:
    """A record with only the figures given: (field, condition) to value."""

    name = "Nobody Nothing-1"

    def __init__(self, **figures):
        self.figures = figures

    def figure(self, field, condition=""):  # noqa: ARG002
        if field not in self.figures:
            return None
        return Resolved(
            path=f"catalog.x.{field}", chosen=Figure(value=self.figures[field], unit="")
        )

    def fact(self, field, condition=""):  # noqa: ARG002
        return None

    def peaks(self):
        names = [field for field in self.figures if field.startswith("peak_")]
        return {name.removeprefix("peak_"): self.figure(name) for name in names}

    def conditions(self, field):
        return ("per-direction",) if field in self.figures else ()


FULL = {
    "peak_bf16": 1e15,
    "mem_bandwidth": 4e12,
    "mem_capacity": 1e11,
    "scaleup_bw": 4e11,
    "scaleup_domain": 8,
    "tdp": 700.0,
    "process_node": 4.0,
    "onchip_sram": 1e8,
}


def without(*fields):
    return {field: figure for field, figure in FULL.items() if field not in fields}


def test_a_full_record_assumes_nothing_and_starts_at_a_fifth():
    chip = spec_from_record(Sheet(**FULL))
    assert chip.assumptions == ()
    assert chip.own_log_sd == 0.2


@pytest.mark.parametrize("blank", ["mem_bandwidth", "mem_capacity", "peak_bf16"])
def test_a_blank_that_timing_follows_is_listed_and_widens_the_error(blank):
    chip = spec_from_record(Sheet(**without(blank)))
    assert len(chip.assumptions) == 1
    assert chip.own_log_sd > 0.2


def test_a_missing_rated_power_is_listed_and_leaves_timing_alone():
    chip = spec_from_record(Sheet(**without("tdp")))
    assert chip.assumptions[0].startswith("tdp [W]")
    assert chip.own_log_sd == 0.2


def test_a_chip_with_only_four_bit_rates_gets_the_wider_ones_at_half_and_a_quarter():
    chip = spec_from_record(Sheet(**without("peak_bf16"), peak_fp4=8e15))
    assert chip.peak_flop_per_s == {"fp4": 8e15, "fp8": 4e15, "bf16": 2e15}
    assert len(chip.assumptions) == 2


def test_a_measured_chip_leaves_its_error_to_the_timing_model():
    assert spec("b200").own_log_sd == 0.0
    assert spec("jalapeno").own_log_sd >= 0.2
    assert is_measured("NVIDIA B200")
    assert not is_measured("OpenAI Jalapeno")


def test_tpus_are_joined_in_tori():
    assert spec("tpu v7").links[0].topology == "torus3d"
    assert spec("tpu v6e").links[0].topology == "torus2d"


def test_an_on_chip_memory_stands_in_where_there_is_no_other():
    chip = spec("groq")
    assert chip.memory_kind == "SRAM"
    assert chip.memory_bytes_per_s == 80e12


def test_capacity_is_what_software_sees():
    """A B200 reports 180 GiB, 193 GB; the nominal row says 180 GB."""
    assert spec("b200").memory_bytes == pytest.approx(180 * 2**30)


def test_every_measured_chip_is_in_the_catalogue():
    for name in measured_rows():
        assert CATALOG.chip(name).name == name


def ratios():
    """Ratio of every chip that states both figures, by (quantity, group)."""
    found = {}
    for name in CATALOG.entities("chip"):
        record = CATALOG.chip(name)
        fact = record.fact("mem_type")
        kind = fact.text.lower() if fact else ""
        group = "hbm" if "hbm" in kind else "gddr" if "gddr" in kind else "other"
        peaks = {dtype: figure.chosen.value for dtype, figure in record.peaks().items()}
        rate, size = value(record, "mem_bandwidth"), value(record, "mem_capacity")
        link, watt = value(record, "scaleup_bw", "per-direction"), value(record, "tdp")
        bf16, fp8, fp4 = (peaks.get(dtype) for dtype in ("bf16", "fp8", "fp4"))
        pairs = {
            ("bf16_per_fp8", "all"): (bf16, fp8),
            ("bf16_per_int8", "all"): (bf16, peaks.get("int8")),
            ("fp8_per_fp4", "all"): (fp8, fp4),
            ("bf16_per_byte", group): (bf16, rate),
            ("bandwidth_per_byte", group): (rate, size),
            ("link_per_byte", group): (link, rate),
            ("tdp_per_root_byte", "all"): (watt, np.sqrt(rate) if rate else None),
        }
        for key, (above, below) in pairs.items():
            if above and below:
                found.setdefault(key, []).append(above / below)
    return found


@pytest.mark.parametrize("key", sorted(ratios()), ids=str)
def test_a_prior_is_the_median_of_its_group(key):
    """data/priors.csv is written down; the catalogue moves, so it may be 10 % off."""
    if len(ratios()[key]) < 4:
        pytest.skip("a group of fewer than four chips has no median worth keeping")
    assert priors()[key].value == pytest.approx(np.median(ratios()[key]), rel=0.1)


def test_no_measured_chip_is_listed_twice():
    text = resources.files("tapeout.chip").joinpath("data/measured.csv").read_text("utf-8")
    names = [row["chip"] for row in csv.DictReader(text.splitlines())]
    assert len(names) == len(set(names)) == 27
