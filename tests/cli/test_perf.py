"""`tapeout perf`: figures agree with one another; mistakes end in a sentence and status 2."""

import json

import pytest
import typer
from typer.testing import CliRunner

from tapeout.cli.perf import perf

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
