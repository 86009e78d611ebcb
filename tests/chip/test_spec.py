"""Specifications from catalogue records: units, fallbacks, blanks filled and named."""

import csv
from importlib import resources

import pytest

from tapeout import catalog
from tapeout.chip import is_measured, measured_rows, spec_from_record
from tapeout.chip.tables import prior, priors
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
    "core_count": 132,
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
    assert [line.split(" =")[0] for line in chip.assumptions] == ["tdp [W]"]
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


def test_no_measured_chip_is_listed_twice():
    text = resources.files("tapeout.chip").joinpath("data/measured.csv").read_text("utf-8")
    names = [row["chip"] for row in csv.DictReader(text.splitlines())]
    assert len(names) == len(set(names)) == 27


# Blanks


OURS = {
    # field left out: (attribute filled, how a line of the assumptions begins)
    "core_count": ("cores", "cores"),
    "onchip_sram": ("l2_bytes", "shared cache [B]"),
    "mem_bandwidth": ("memory_bytes_per_s", "mem_bandwidth [B/s]"),
    "tdp": ("tdp_w", "tdp [W]"),
}


@pytest.mark.parametrize("blank", OURS)
def test_each_blank_is_filled_and_listed_once(blank):
    attribute, words = OURS[blank]
    chip = spec_from_record(Sheet(**without(blank)))
    assert getattr(chip, attribute) > 0
    assert [line.split(" =")[0] for line in chip.assumptions] == [words]


@pytest.mark.parametrize(
    ("field", "stated", "attribute"),
    [
        ("core_count", 7, "cores"),
        ("l2_cache", 123.0, "l2_bytes"),
        ("tdp", 5.0, "tdp_w"),
        ("mem_bandwidth", 1e9, "memory_bytes_per_s"),
        ("mem_capacity", 1e9, "memory_bytes"),
    ],
)
def test_a_stated_figure_is_never_replaced(field, stated, attribute):
    """However odd: a thousandth of what the prior would say is kept."""
    chip = spec_from_record(Sheet(**FULL | {field: stated}))
    assert getattr(chip, attribute) == stated
    assert chip.assumptions == ()


def test_blank_cores_and_caches_widen_an_unmeasured_chip_only():
    class Measured(Sheet):
        name = "NVIDIA B200"

    blank = without("core_count", "onchip_sram")
    assert spec_from_record(Sheet(**blank)).own_log_sd > 0.2
    chip = spec_from_record(Measured(**blank))
    assert chip.own_log_sd == 0.0
    assert len(chip.assumptions) == 2


def test_more_blanks_are_never_more_certain():
    blanks = ["core_count", "onchip_sram", "mem_capacity", "mem_bandwidth"]
    errors = [
        spec_from_record(Sheet(**without(*blanks[:count]))).own_log_sd
        for count in range(len(blanks) + 1)
    ]
    assert errors == sorted(errors)
    assert errors[0] == 0.2 < errors[-1]


def test_on_chip_memory_stands_in_for_a_cache_nobody_states():
    assert spec_from_record(Sheet(**FULL)).l2_bytes == 1e8
    assert spec_from_record(Sheet(**FULL, l2_cache=5e7)).l2_bytes == 5e7


def test_the_narrowest_prior_is_taken():
    """Vendor within class, vendor, class, all chips."""
    table = priors()
    quantity = "link_per_byte"
    assert prior(quantity, "hbm", "AMD") is table[quantity, "hbm", "AMD"]
    assert prior(quantity, "gddr", "AMD") is table[quantity, "all", "AMD"]
    assert prior(quantity, "hbm", "OpenAI") is table[quantity, "hbm", ""]
    assert prior("sparse_share", "hbm", "AMD") is table["sparse_share", "all", ""]


def test_a_chip_of_a_known_vendor_gets_cores_like_its_siblings():
    """Rubin R200 states none; its predecessors have 108 to 160, four times the peak twice that."""
    chip = spec("r200")
    assert 150 < chip.cores < 350
    assert any(line.startswith("cores = ") and "of NVIDIA" in line for line in chip.assumptions)


def test_hopper_parts_share_a_cache():
    for name in ("h100", "h200", "gh200"):
        assert (spec(name).cores, spec(name).l2_bytes) == (132, 50e6)
