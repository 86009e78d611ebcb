"""`tapeout simulate --max-load` and `tapeout search`: figures, files, mistakes."""

import csv
import json
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from tapeout.cli.main import app
from tapeout.errors import Outcome, ProblemsError, TapeoutError
from tapeout.serving import search as room
from tapeout.serving.search import deployments
from tapeout.serving.search.max_load import MaxLoad

PLACE = ("--chip", "h100", "--model", "llama-3.1-8b")
SLO = ("--slo", "ttft_p90=1,tpot_p90=0.05")
SEARCH = ("search", "--model", "llama-3.1-8b", "--chips", "h100,b200", *SLO, "-q")
ANSWER = MaxLoad(
    outcome=Outcome.OK, rate_rps=80.0, half_width_rps=2.4, binds="p90 TPOT ≤ 0.05 s",
    output_tokens_per_s_per_chip=10_240.0, input_tokens_per_s_per_chip=40_960.0,
    joule_per_output_token=0.07, mean_tpot_s=0.04, tpot_s=0.049, ttft_s=0.2, running=400.0,
    chips=1, steady_rps=100.0, simulated_requests=91_000, longest_run=12_000,
)  # fmt: skip


@pytest.fixture(autouse=True)
def asked(monkeypatch):
    """A stand-in search, and what it was asked."""
    calls = []

    def stand_in(*arguments):
        calls.append(arguments)
        return ANSWER

    monkeypatch.setattr(room, "max_load", stand_in)
    monkeypatch.setattr(deployments, "max_load", stand_in)
    return calls


def run(*arguments):
    return CliRunner().invoke(app, [str(one) for one in arguments], env={"COLUMNS": "200"})


def test_max_load_prints_rate_interval_what_binds_and_the_count():
    done = run("simulate", *PLACE, "--max-load", *SLO)
    assert done.exit_code == 0, done.output
    for text in ("80 ± 2.4 requests/s", "p90 TPOT ≤ 0.05 s", "10,240 tokens/s a chip", "91,000",
                 "-20.0 %"):  # fmt: skip
        assert text in done.output


def test_max_load_as_json_has_the_same_figures(asked):
    done = run("simulate", *PLACE, "--max-load", *SLO, "--json", "--requests", 700)
    found = json.loads(done.stdout)
    assert (found["rate_rps"], found["half_width_95_rps"]) == (80.0, 2.4)
    assert found["gap_fraction"] == pytest.approx(-0.2)
    assert asked[0][3].most_requests == 700


def test_the_replicas_for_a_rate_are_those_at_the_low_end_of_the_interval_with_their_rent():
    done = run("simulate", *PLACE, "--max-load", *SLO, "--rate", 239, "--usd-per-chip-hour", 2.5)
    assert done.exit_code == 0, done.output
    for text in (
        "239 requests/s", "4 at 77.6 each", "(3 at the estimate); 4 chips", "33.89 %",
        "10 USD/h: 2.5 USD/chip-hour (given)",
    ):  # fmt: skip
        assert text in done.output, text


def test_the_replicas_for_a_rate_are_in_the_json_with_the_catalogues_rent():
    done = run("simulate", *PLACE, "--max-load", *SLO, "--rate", 100, "--json")
    need = json.loads(done.stdout)["for_rate"]
    assert (need["replicas"], need["estimated_replicas"], need["chips"]) == (2, 2, 2)
    assert need["each_low_rps"] == pytest.approx(77.6)
    assert need["headroom_fraction"] == pytest.approx(0.6)
    assert "on-demand" in need["price_source"]
    assert need["usd_per_h"] > 0.0
    plain = json.loads(run("simulate", *PLACE, "--max-load", *SLO, "--json").stdout)
    assert "for_rate" not in plain


def test_replicas_are_counted_at_the_estimate_where_the_interval_is_unknown_and_rates_divide():
    unknown = replace(ANSWER, half_width_rps=float("nan"))
    need = room.replicas_for(240.0, unknown, 2)
    assert (need.replicas, need.headroom_fraction) == (6, 0.0)  # 40 each, exactly
    with pytest.raises(TapeoutError, match="not positive"):
        room.replicas_for(0.0, ANSWER, 1)
    with pytest.raises(TapeoutError, match="misses the limits"):
        room.replicas_for(1.0, MaxLoad(outcome=Outcome.MISSES_TTFT), 1)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ((*SLO, "--rate", 0), "--rate = 0: must be above 0"),
        ((*SLO, "--speed", 3), "fixes the load"),
        ((*SLO, "--in-flight", 3), "fixes the load"),
        ((), "needs limits"),
        ((*SLO, "--out", "x.csv"), "a search makes many"),
        ((*SLO, "--prefill-replicas", 1), "not searched yet"),
    ],
)
def test_what_contradicts_a_search_is_refused(more, words):
    done = run("simulate", *PLACE, "--max-load", *more)
    assert done.exit_code == 2
    assert words in done.output


def test_search_prints_both_rates_prices_and_writes_its_files(tmp_path):
    table, page = tmp_path / "all.csv", tmp_path / "trade.html"
    done = run(*SEARCH, "--simulated", 2, "--usd-per-chip-hour", "h100=2", "--out", table,
               "--plot", page, "--max-num-seqs", "64,256")  # fmt: skip
    assert done.exit_code == 0, done.output
    assert "2 USD/chip-hour (given)" in done.output
    assert "on-demand" in done.output
    rows = list(csv.DictReader(table.read_text().splitlines()))
    assert sum(row["simulated"] == "true" for row in rows) == 2
    assert {row["max_num_seqs"] for row in rows} == {"64", "256"}
    best = next(row for row in rows if row["chip"] == "NVIDIA H100 SXM")
    assert float(best["usd_per_million_output_tokens"]) == pytest.approx(2 / (10_240 * 3600) * 1e6)
    html = page.read_text()
    assert "Output tokens for a dollar of rent" in html
    assert 'src="http' not in html


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("search",), "--model: is missing"),
        ((*SEARCH, "--plot", "x.png"), "end the name in .html"),
        ((*SEARCH, "--max-num-seqs", "0"), "no whole number above 0"),
        ((*SEARCH, "--usd-per-chip-hour", "mi300x=2"), "not among --chips"),
        ((*SEARCH, "--usd-per-chip-hour", "h100"), "write h100=2.5"),
        (("search", "--model", "llama-3.1-8b", "--chips", "h10O", *SLO), "did you mean"),
    ],
)
def test_mistakes_are_said_in_a_sentence(arguments, words):
    done = run(*arguments)
    assert isinstance(done.exception, TapeoutError | ProblemsError)
    assert words in str(done.exception)


def test_another_way_to_fill_the_capacity_table_is_refused():
    done = run("decide", "examples/jalapeno", "--capacity", "guessed")
    assert isinstance(done.exception, TapeoutError)
    assert "guessed" in str(done.exception)


def test_a_search_says_what_it_was_asked_and_what_its_order_does_not_show():
    done = run(*SEARCH, "--simulated", "1")
    assert done.exit_code == 0, done.output
    said = (
        "512 input and 128 output tokens",
        "limits ttft_p90=1,tpot_p90=0.05",
        "seed 0",
        "2 of",
        "number formats differ (fp4, fp8)",
        "timing error of the step model",
    )
    for text in said:
        assert text in done.output, text


def test_wide_intervals_are_said_to_order_nothing(monkeypatch):
    wide = replace(ANSWER, half_width_rps=20.0)
    monkeypatch.setattr(deployments, "max_load", lambda *_: wide)
    assert "wider than ±10 %" in run(*SEARCH).output


def test_a_search_as_json_has_every_candidate(asked):
    done = run(*SEARCH, "--json", "--requests", 3000)
    found = json.loads(done.stdout)
    assert found["slo"] == SLO[1]
    assert found["candidates"][0]["requests_per_s"] == 80.0
    answered = [one for one in found["candidates"] if one["requests_per_s"] is not None]
    assert len(answered) == len(asked)
    assert asked[0][3].most_requests == 3000
