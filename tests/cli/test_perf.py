"""`tapeout perf`: figures agree with one another; mistakes end in a sentence and status 2."""

import csv
import json
import re
import shlex
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from tapeout.cli.perf import perf
from tapeout.errors import InfeasibleError

APP = typer.Typer()
APP.command()(perf)


def run(*arguments):
    return CliRunner().invoke(APP, list(arguments))


def content(*arguments):
    done = run(*arguments, "--json")
    assert done.exit_code == 0, done.output
    return json.loads(done.output)


POINT = ("gb300", "gpt-oss-120b", "--input", "8192", "--output", "1024", "--batch", "64")


def test_a_point_is_consistent():
    got = content(*POINT, "--tp", "8")
    assert got["chips"] == 8
    rate = 64 / got["tpot_s"] / 8
    assert got["output_tokens_per_s_per_chip"] == pytest.approx(rate)
    assert got["input_tokens_per_s_per_chip"] == pytest.approx(8 * rate)
    power = got["joule_per_output_token"] * got["output_tokens_per_s_per_chip"]
    assert got["power_w_per_chip"] == pytest.approx(power)
    assert sum(got["decode_step_by_kind_s"].values()) == pytest.approx(got["decode_step_s"])
    share = got["carrying_fraction"]
    mean = (1 - share) * got["decode_step_s"] + share * got["carrying_step_s"]
    assert got["tpot_s"] == pytest.approx(mean)


def test_the_page_shows_latency_breakdown_memory_and_band():
    done = run(*POINT, "--tp", "8")
    assert done.exit_code == 0
    for word in ("TPOT", "tokens/s per chip", "J per output token", "bound by", "weights", "band"):
        assert word in done.output


def test_without_degrees_the_fewest_chips_that_hold_the_model_are_taken():
    assert content("b200", "deepseek-r1")["placement"] == "tp4 fp4"
    assert content("b200", "gpt-oss-120b")["chips"] == 1


def test_the_roofline_is_faster_and_says_that_it_is_optimistic():
    real, ideal = content(*POINT), content(*POINT, "--roofline")
    assert ideal["tpot_s"] < real["tpot_s"]
    assert "optimistic" in ideal["timing_model"]


def test_an_engine_known_on_the_chip_changes_the_time():
    known = content("b200", "llama-3.1-70b", "--engine", "trt")
    assert known["tpot_s"] != content("b200", "llama-3.1-70b")["tpot_s"]


def test_assumed_figures_of_a_chip_are_shown():
    assert any("bf16" in line for line in content("jalapeno", "gpt-oss-120b")["assumptions"])


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("h10O", "gpt-oss-120b"), "unknown chip 'h10O'; did you mean"),
        (("h100", "gpt-oss-12b"), "unknown model 'gpt-oss-12b'; did you mean"),
        (("b200", "deepseek-r1", "--tp", "1"), "GB a chip, "),
        (("b200", "deepseek-r1", "--tp", "8", "--ep", "3"), "does not divide"),
        (("b200", "deepseek-r1", "--precision", "fp9"), "unknown precision 'fp9'"),
        (("tpu v1", "deepseek-r1"), "fits no placement"),
        (("Taalas HC1", "gpt-oss-120b"), "neither mem_bandwidth nor a peak"),
    ],
)
def test_mistakes_end_in_a_sentence_and_status_two(arguments, sentence):
    done = run(*arguments)
    assert done.exit_code == 2
    assert sentence in done.output


# one point


def test_operators_add_up_to_the_mean_step():
    got = content(*POINT, "--tp", "8")
    assert sum(one["time_s"] for one in got["operators"]) == pytest.approx(got["tpot_s"])
    assert sum(got["bound_shares_s"].values()) == pytest.approx(got["tpot_s"])
    energy = sum(one["energy_j_per_chip"] for one in got["operators"]) * 8
    assert energy == pytest.approx(64 * got["joule_per_output_token"])
    assert 0 < got["mfu_fraction"] < got["mbu_fraction"] < 1
    assert got["mfu_basis"].endswith("peak, rated")


def test_every_figure_per_watt_names_its_denominator():
    got = content(*POINT, "--tp", "8")
    watts = got["power_w_per_chip_by_scope"]
    assert set(watts) == {"rated", "sustained", "all-in", "rack"}
    assert watts["all-in"] == pytest.approx(watts["sustained"] + got["host_w_per_chip"])
    done = run(*POINT, "--tp", "8")
    for name in watts:
        assert name in done.output


def test_the_parts_of_the_energy_of_a_token_add_up():
    got = content(*POINT)
    assert sum(got["joule_per_token_by_part"].values()) == pytest.approx(
        got["joule_per_output_token"]
    )


def test_a_power_cap_is_kept():
    capped = content(*POINT, "--power-cap-w", "600")
    assert capped["power_w_per_chip"] == pytest.approx(600, rel=1e-3)
    assert capped["clock_fraction"] < 1.0
    assert "without the power cap" in run(*POINT, "--power-cap-w", "600").output


def test_the_memory_map_adds_up():
    memory = content(*POINT)["memory_bytes"]
    whole = memory.pop("available")
    assert sum(memory.values()) == pytest.approx(whole)


def test_decode_and_prefill_steps():
    decode = content("h200", "llama-3.1-70b", "--step", "decode", "--context", "9000")
    assert decode["context_tokens"] == 9000
    assert decode["ttft_s"] is None
    prefill = content("h200", "llama-3.1-70b", "--step", "prefill", "--batch", "1")
    assert prefill["tpot_s"] is None
    assert prefill["bound"] == "compute"
    assert prefill["joule_per_input_token"] < decode["joule_per_output_token"]


# sweeps


def test_a_sweep_has_a_row_for_every_batch_placement_and_chip(tmp_path):
    path = tmp_path / "sweep.csv"
    done = run(
        "h100,b200", "llama-3.1-70b", "--batch", "1,8,16..64", "--parallelism", "tp2,tp4-pp2",
        "--csv", str(path), "--json",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    points = json.loads(done.stdout)["points"]
    assert len(points) == 2 * 2 * 5
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["batch_sequences"]) for row in rows[:5]] == [1, 8, 16, 32, 64]
    for row, point in zip(rows, points, strict=True):
        assert row["placement"] == point["placement"]
        assert float(row["tpot_s"]) == pytest.approx(point["tpot_s"], rel=1e-5)
        assert sum(float(row[f"share_{name}"]) for name in SHARES) == pytest.approx(1, abs=1e-4)


SHARES = ("compute", "memory", "fabric", "overhead")


def test_a_point_that_does_not_fit_is_a_row_of_a_sweep_and_an_error_alone():
    swept = content("h100", "llama-3.1-70b", "--batch", "1,4096", "--tp", "2")["points"]
    assert [one["outcome"] for one in swept] == ["ok", "does_not_fit"]
    assert "GB a chip" in swept[1]["reason"]
    shown = run("h100", "llama-3.1-70b", "--batch", "1,4096", "--tp", "2")
    assert shown.exit_code == 0
    assert "does_not_fit" in shown.output
    assert run("h100", "llama-3.1-70b", "--batch", "4096", "--tp", "2").exit_code == 2


def test_the_chip_option_and_the_argument_say_the_same():
    assert content("h100", "llama-3.1-8b") == content("--chip", "h100", "llama-3.1-8b")


@pytest.mark.parametrize("suffix", [".html", ".svg"])
def test_plots_are_written(tmp_path, suffix):
    one, many = tmp_path / f"one{suffix}", tmp_path / f"many{suffix}"
    assert run(*POINT, "--plot", str(one)).exit_code == 0
    assert run("b200", "llama-3.1-8b", "--batch", "1..16", "--plot", str(many)).exit_code == 0
    assert "FLOP per byte" in one.read_text(encoding="utf-8")
    assert "per second and user" in many.read_text(encoding="utf-8")


def test_a_chip_file_stands_for_a_chip(tmp_path):
    path = tmp_path / "chip.toml"
    path.write_text(CHIP_FILE, encoding="utf-8")
    named = content("--chip-file", str(path), "llama-3.1-8b", "--precision", "bf16")
    assert named["chip"] == "Test processor"
    assert named["mfu_basis"] == "dense bf16 peak, sustained"
    assert any("measured on 2026-11-25" in line for line in named["assumptions"])
    assert content(str(path), "llama-3.1-8b", "--precision", "bf16") == named


CHIP_FILE = """
format = 1
[device]
name = "Test processor"
kind = "cpu"
date = "2026-11-25"
host = "h"
driver = "6.1"
stack = "torch-2.9"
kernel = "torch-cpu"
mode = "eager"
clock_hz = 2e9
memory_bytes = 6.4e10
cache_bytes = 3e7
units = 8
[measurements]
file = "measurements.csv"
sha256 = "0000000000000000000000000000000000000000000000000000000000000000"
rows = 100
median_spread = 0.02
[[rates]]
op = "gemm"
dtype = "bf16"
fit_rows = 60
report_rows = 20
median_error = 0.08
p90_error = 0.3
best_flop_per_s = 9e11
best_bytes_per_s = 4e10
[rates.constants]
launch_s = 5e-6
bytes_per_s = 4e10
flop_per_s = 1e12
half_m = 8.0
half_n = 100.0
half_k = 100.0
[rates.log_sd]
bytes_per_s = 0.05
flop_per_s = 0.05
"""


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("llama-3.1-8b",), "name a chip and a model"),
        (("h100", "llama-3.1-8b", "more"), "name a chip and a model"),
        (("h100,,b200", "llama-3.1-8b"), "nothing between two commas"),
        (("h100", "llama-3.1-8b", "--batch", "1,x"), "'x' is no positive number"),
        (("h100", "llama-3.1-8b", "--batch", "8..2"), "end must be above the start"),
        (("h100", "llama-3.1-8b", "--batch", "0"), "no positive number"),
        (("h100", "llama-3.1-8b", "--step", "idle"), "none of steady, decode, prefill"),
        (("h100", "llama-3.1-8b", "--context", "9"), "--context goes with --step decode"),
        (("h100", "llama-3.1-8b", "--parallelism", "tp2-x4"), "none of tpN, ppN"),
        (("h100", "llama-3.1-8b", "--parallelism", "tp2", "--tp", "2"), "exclude one another"),
        (("h100", "llama-3.1-8b", "--plot", "a.png"), ".html or .svg"),
        (("h100", "llama-3.1-8b", "--batch", "0.5"), "at least one"),
        (("h100", "llama-3.1-8b", "--step", "prefill", "--batch", "1,2", "--plot", "a.svg"),
         "nothing to draw"),
        (("none.toml", "llama-3.1-8b"), "cannot be read"),
    ],
)  # fmt: skip
def test_mistakes_in_lists_and_files_are_sentences_too(arguments, sentence):
    done = run(*arguments)
    assert done.exit_code == 2
    assert sentence in " ".join(done.output.split())


def commands():
    """Every `tapeout perf` of the page on it, but for the one that needs a chip file."""
    page = (Path(__file__).parents[2] / "docs" / "perf.md").read_text(encoding="utf-8")
    found = re.findall(r"^ {4}(?:\$ )?tapeout perf ([^\n]+?)(?: {3,}.*)?$", page, re.MULTILINE)
    return [one for one in found if "--chip-file" not in one]


@pytest.mark.parametrize("line", commands())
def test_the_commands_of_the_page_run(line, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = run(*shlex.split(line))
    assert done.exit_code == 0, done.output


def test_the_page_shows_commands():
    assert len(commands()) >= 6


@pytest.mark.parametrize("degrees", [("--pp", "1000"), ("--tp", "100000")])
def test_more_parts_than_the_model_has_are_refused(degrees):
    found = run("b200", "gpt-oss-120b", *degrees)
    assert found.exit_code == 2 or isinstance(found.exception, InfeasibleError)
    assert "can be cut in" in f"{found.output}{found.exception}"
