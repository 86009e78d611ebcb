"""`tapeout simulate`: figures agree with files; mistakes end in a sentence and status 2."""

import csv
import json
import re
import shlex

import polars as pl
import pytest
import typer
from typer.testing import CliRunner

from tapeout.cli.simulate import simulate
from tapeout.cli.simulate_options import Slo
from tapeout.serving import simulate as room
from tapeout.serving.engine.reference import run_reference
from tapeout.serving.telemetry import write_calibration
from tapeout.serving.telemetry.calibration import Calibration

APP = typer.Typer()
APP.command()(simulate)

PLACE = ("--chip", "h100", "--model", "llama-3.1-8b")
LIMITS = ("--max-num-seqs", "64", "--max-num-batched-tokens", "1024", "--kv-blocks", "3000")
HOST = ("--rate", "3", "--host-cache-gib", "64")
QUICK = (*PLACE, *LIMITS, "--input", "200", "--output", "20", "--requests", "120", "--rate", "30")


@pytest.fixture(autouse=True)
def readable(monkeypatch):
    """The readable engine needs no compiling."""
    monkeypatch.setattr(room, "_engine", lambda: run_reference)


def run(*arguments):
    return CliRunner().invoke(APP, [str(one) for one in arguments], env={"COLUMNS": "200"})


def content(*arguments):
    done = run(*arguments, "--json")
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


@pytest.fixture
def trace(tmp_path):
    path = tmp_path / "trace.csv"
    lines = [f"{0.1 * one},{100 + one},{10 + one % 5}" for one in range(60)]
    path.write_text("\n".join(["arrival_s,input_tokens,output_tokens", *lines]) + "\n")
    return path


# what is shown


def test_tables_show_latency_limits_load_cache_settings_and_band():
    done = run(*QUICK, "--slo", "ttft_p90=1,tpot_p99=0.0001")
    assert done.exit_code == 0, done.output
    for text in (
        "TTFT", "p95", "✓", "✗", "met with", "missed with", "goodput", "tokens/s", "KV cache",
        "3,000 blocks of 16 tokens a rank: given", "vllm-v1 (vLLM V1, as of 0.19)",
        "1,024 tokens and 64 sequences", "timing error", "80 % band", "J per output token",
        "preemptions", "all requests together",
    ):  # fmt: skip
        assert text in done.output, text


def test_json_is_what_was_simulated():
    got = content(*QUICK, "--slo", "ttft_p90=1", "--seed", "3")
    assert got["requests"] == 120
    assert got["model"] == "llama-3.1-8b"
    assert got["kv_blocks"]["usable"] == 3000
    assert got["token_budget"] == 1024
    assert 0.0 < got["itl_s"]["p50"] <= got["itl_s"]["p99"] <= got["itl_s"]["largest"]
    assert got["itl_s"]["mean"] == pytest.approx(got["itl_mean_s"], rel=0.002)
    assert got["slo_attainment_fraction"]["value"] == 1.0
    assert got["goodput_requests_per_s"] == pytest.approx(got["served_requests_per_s"])
    assert got["offered_requests_per_s"] == pytest.approx(30.0, rel=0.3)
    assert got["warnings"]
    assert content(*QUICK, "--slo", "ttft_p90=1", "--seed", "3") == got
    assert content(*QUICK, "--slo", "ttft_p90=1", "--seed", "4") != got


def test_a_saturated_run_warns():
    done = run(*PLACE, *LIMITS, "--rate", "400", "--requests", "400", "--output", "60")
    assert done.exit_code == 0, done.output
    assert "! Saturated: requests in the system grow by" in done.output


def test_policies_replicas_and_precision_change_the_result():
    usual = content(*QUICK)
    assert content(*QUICK, "--policy", "static")["latency_s"] != usual["latency_s"]
    two = content(*QUICK, "--replicas", "2")
    assert two["chips"] == 2
    assert two["latency_s"]["tpot"]["mean"]["value"] < usual["latency_s"]["tpot"]["mean"]["value"]
    wide = content(*QUICK, "--precision", "bf16")
    assert wide["latency_s"]["tpot"]["mean"]["value"] > usual["latency_s"]["tpot"]["mean"]["value"]
    ideal = content(*QUICK, "--roofline")
    assert "optimistic" in ideal["timing_model"]


def test_a_closed_loop_is_one():
    got = content(*PLACE, *LIMITS, "--in-flight", "8", "--requests", "60", "--input", "100")
    assert got["in_flight"] == 8
    assert got["running_peak"] == 8
    served, mean_s = got["served_requests_per_s"], got["latency_s"]["e2e"]["mean"]["value"]
    assert served * mean_s == pytest.approx(8.0, rel=0.2)


def test_a_calibration_changes_the_times_and_says_so(tmp_path):
    names = ("operator_factor", "step_s", "request_s", "token_s")
    values = dict.fromkeys(names, 0.0) | {"operator_factor": 2.0, "request_s": 0.25}
    table = {name: {"value": one, "low": one, "high": one} for name, one in values.items()}
    found = Calibration.model_validate(
        {"source": {"log": "l", "requests": 9, "fitted": 9, "held": 0}, "constants": table}
    )
    write_calibration(tmp_path / "c.toml", found)
    slow = ("--rate", "1", "--requests", "10")
    usual = content(*QUICK, *slow)
    got = content(*QUICK, *slow, "--calibration", tmp_path / "c.toml")
    tpot, ttft = (
        [one["latency_s"][name]["mean"]["value"] for one in (usual, got)]
        for name in ("tpot", "ttft")
    )
    assert tpot[1] == pytest.approx(2.0 * tpot[0], rel=1e-3)
    assert ttft[1] == pytest.approx(0.25 + 2.0 * ttft[0], rel=0.05)
    assert any("calibrated with" in text for text in got["notes"])


# traffic


def test_a_trace_is_replayed_at_its_own_and_at_another_pace(trace):
    usual = content(trace, *PLACE, *LIMITS)
    assert usual["requests"] == 60
    assert usual["offered_requests_per_s"] == pytest.approx(60 / 5.9, rel=1e-3)
    fast = content(trace, *PLACE, *LIMITS, "--speed", "4")
    assert fast["offered_requests_per_s"] == pytest.approx(4 * 60 / 5.9, rel=1e-3)
    rated = content(trace, *PLACE, *LIMITS, "--rate", "20")
    assert rated["offered_requests_per_s"] == pytest.approx(20.0, rel=0.02)
    assert content(trace, *PLACE, *LIMITS, "--requests", "10")["requests"] == 10
    assert content(trace, *PLACE, *LIMITS, "--duration", "1.95")["requests"] == 20
    thin = content(trace, *PLACE, *LIMITS, "--rate", "5", "--thin")
    assert 15 <= thin["requests"] <= 45


def test_a_spec_is_traffic_too(tmp_path):
    spec = tmp_path / "spec.toml"
    spec.write_text(
        "requests = 40\n[[clients]]\n"
        'arrivals = { rate_rps = 20.0 }\ninput = { kind = "fixed", tokens = 100 }\n'
        'output = { kind = "fixed", tokens = 12 }\n'
    )
    got = content(spec, *PLACE, *LIMITS)
    assert got["requests"] == 40
    loop = tmp_path / "loop.toml"
    loop.write_text(
        'requests = 40\nclosed_loop = 4\n[[clients]]\ninput = { kind = "fixed", tokens = 100 }\n'
        'output = { kind = "fixed", tokens = 12 }\n'
    )
    assert content(loop, *PLACE, *LIMITS)["in_flight"] == 4


def test_rows_that_were_left_out_are_said(tmp_path):
    path = tmp_path / "trace.csv"
    path.write_text("arrival_s,input_tokens,output_tokens\n0.0,10,5\n0.5,10,0\n1.0,10,5\n")
    done = run(path, *PLACE, *LIMITS)
    assert done.exit_code == 0, done.output
    assert re.search(r"1 rows left out: .*line 3", done.output)


# files


def test_rows_are_those_of_the_summary(tmp_path):
    path = tmp_path / "rows.csv"
    got = content(*QUICK, "--out", path, "--slo", "ttft_p90=0.05")
    rows = list(csv.DictReader(path.read_text().splitlines()))
    assert len(rows) == got["requests"]
    mean = sum(float(one["ttft_s"]) for one in rows) / len(rows)
    assert mean == pytest.approx(got["latency_s"]["ttft"]["mean"]["value"])
    met = sum(one["met_slo"] == "true" for one in rows) / len(rows)
    assert met == pytest.approx(got["slo_attainment_fraction"]["value"])


def test_parquet_and_a_folder_can_be_written(tmp_path):
    done = run(*QUICK, "--out", tmp_path / "rows.parquet")
    assert done.exit_code == 0, done.output
    assert pl.read_parquet(tmp_path / "rows.parquet").height == 120
    done = run(*QUICK, "--out", tmp_path / "run")
    names = sorted(one.name for one in (tmp_path / "run").iterdir())
    assert names == ["requests.csv", "summary.json", "timeline.csv"]
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["requests"] == 120
    assert "Wrote" in done.output


def test_page_and_trace_events_are_written(tmp_path):
    page, events = tmp_path / "page.html", tmp_path / "events.json"
    done = run(*QUICK, "--report", page, "--chrome-trace", events)
    assert done.exit_code == 0, done.output
    assert "chart-sequences" in page.read_text(encoding="utf-8")
    names = {one["name"] for one in json.loads(events.read_text())["traceEvents"]}
    assert {"sequences", "KV blocks held", "request 0", "decode"} <= names


# mistakes


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((), "--chip: is missing"),
        (("--chip", "h100", "--rate", "3"), "--model: is missing"),
        (PLACE, "without a trace requests need a rate"),
        ((*PLACE, "--rate", "-1"), "must be above 0"),
        ((*PLACE, "--rate", "nan"), "must be above 0"),
        ((*PLACE, "--rate", "3", "--in-flight", "4"), "a closed loop has no rate"),
        ((*PLACE, "--rate", "3", "--speed", "2"), "are for a trace"),
        ((*PLACE, "--rate", "3", "--thin"), "are for a trace"),
        ((*PLACE, "--rate", "3", "--duration", "0"), "must be above 0"),
        ((*PLACE, "--rate", "3", "--slo", "ttfd_p90=2"), "write ttft"),
        ((*PLACE, "--rate", "3", "--slo", "chat:ttft_p90=2"), "no such class"),
        ((*PLACE, "--rate", "3", "--policy", "vlm-v1"), "did you mean"),
        ((*PLACE, "--rate", "3", "--report", "x.pdf"), "end the name in .html"),
        ((*PLACE, "--rate", "3", "--chrome-trace", "x.html"), "end the name in .json"),
        ((*PLACE, "--rate", "3", "--out", "x.xlsx"), ".csv or .parquet, or name a folder"),
        ((*PLACE, "--rate", "3", "--parallelism", "tpx"), "tpx"),
        ((*PLACE, "--in-flight", "1", "--replicas", "2"), "fewer than 2 replicas"),
        (("--chip", "h10O", "--model", "llama-3.1-8b", "--rate", "3"), "unknown chip 'h10O'"),
        (("--chip", "h100", "--model", "llama-9", "--rate", "3"), "unknown model 'llama-9'"),
        (("nothing.csv", *PLACE), "nothing.csv"),
        ((*PLACE, "--rate", "3", "--host-link-gb-per-s", "20"), "and there is none"),
        ((*PLACE, "--rate", "3", "--host-cache-gib", "inf"), "at most 65,536"),
        ((*PLACE, *HOST, "--host-link-gb-per-s", "0"), "at least 0.001"),
        ((*PLACE, *HOST, "--policy", "sarathi"), "only vllm-v1 has a cache in host memory"),
        ((*PLACE, *HOST, "--no-prefix-cache"), "found by the prefix cache"),
        ((*PLACE, *HOST, "--prefill-replicas", "1"), "a prefill pool of its own is not simulated"),
        ((*PLACE, *HOST, "--replicas", "2", "--router", "prefix"), "behind a router are not"),
        ((*PLACE, "--rate", "3", "--host-cache-gib", "0.0001"), "hold no cache block"),
        (("nothing.toml", *PLACE), "nothing.toml"),
    ],
)
def test_mistakes_end_in_a_sentence_and_status_2(arguments, sentence, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = run(*arguments)
    assert done.exit_code == 2, done.output
    assert sentence in done.output
    assert "Traceback" not in done.output
    assert not list(tmp_path.iterdir())


def test_everything_missing_is_named_at_once():
    done = run("--report", "x.pdf")
    assert all(one in done.output for one in ("--chip", "--model", "--report"))


def test_a_model_that_does_not_fit_is_status_2():
    done = run("--chip", "h100", "--model", "llama-3.1-70b", "--parallelism", "tp1",
               "--precision", "bf16", "--rate", "3")  # fmt: skip
    assert done.exit_code == 2
    assert "GB" in done.output


def test_a_file_that_cannot_be_written_is_an_error(tmp_path):
    (tmp_path / "file").write_text("")
    done = run(*QUICK, "--requests", "5", "--out", tmp_path / "file" / "rows.csv")
    assert isinstance(done.exception, OSError)  # the entry point turns it into a sentence


# help


def test_the_help_has_examples_that_parse():
    text = run("--help").output
    assert "Examples" in text
    assert "ttft_p90=2,tpot_p90=0.05" in text
    found = re.findall(
        r"tapeout simulate (.*?)(?=tapeout simulate|\Z)", simulate.__doc__, re.DOTALL
    )
    assert len(found) == 7
    known = set(re.findall(r"--[a-z-]+", " ".join(text.split())))
    for line in found:
        options = [one for one in shlex.split(line) if one.startswith("--")]
        assert set(options) <= known
    assert Slo.__metadata__


def test_prefill_apart_counts_the_chips_of_both_pools():
    alone, apart = content(*QUICK), content(*QUICK, "--prefill-chip", "b200")
    notes = " ".join(apart["notes"])
    assert "prefill apart: 1 x NVIDIA B200" in notes
    assert "keys move in" in notes
    assert (alone["chips"], apart["chips"]) == (1, 2)
    assert apart["finished"] == alone["finished"]
    assert apart["output_tokens_per_s"] == pytest.approx(alone["output_tokens_per_s"], rel=0.05)


def test_the_page_of_a_run_with_prefill_apart_is_written(tmp_path):
    page, events = tmp_path / "run.html", tmp_path / "run.json"
    done = run(
        *QUICK, "--prefill-replicas", "2", "--report", page, "--chrome-trace", events, "--quiet"
    )
    assert done.exit_code == 0, done.output
    assert "decoding beside 2 prefill chips" in done.output
    assert page.stat().st_size > 0
    assert json.loads(events.read_text())["traceEvents"]


def test_prefill_apart_has_no_closed_loop():
    done = run(*PLACE, *LIMITS, "--in-flight", "4", "--prefill-replicas", "1")
    assert done.exit_code == 2
    assert "closed loop" in done.output


def test_drafts_shorten_the_gap_of_a_light_load():
    slow = (*PLACE, *LIMITS, "--output", "40", "--requests", "30", "--rate", "5")
    plain, drafted = content(*slow), content(*slow, "--drafts", "3", "--acceptance", "0.8")
    gap = [one["latency_s"]["tpot"]["mean"]["value"] for one in (plain, drafted)]
    assert gap[1] < 0.6 * gap[0]


def test_drafts_of_another_policy_are_refused():
    done = run(*QUICK, "--drafts", "2", "--policy", "orca")
    assert done.exit_code == 2
    assert "only vllm-v1" in done.output


def test_room_for_outputs_is_kept_by_sglang_only():
    kept = ("--conservativeness", "0.5")
    done = run(*QUICK, *kept)
    assert done.exit_code == 2
    assert "only sglang" in done.output
    done = run(*QUICK, *kept, "--policy", "sglang")
    assert done.exit_code == 0, done.output


# a cache in host memory


def test_a_cache_in_host_memory_shows_hits_bytes_and_waits():
    """Few blocks, so that requests are preempted and get their keys back from the host."""
    tight = (*PLACE, "--kv-blocks", "60", "--max-num-seqs", "16", "--input", "200",
             "--output", "60", "--requests", "60", "--rate", "60")  # fmt: skip
    found = content(*tight, "--host-cache-gib", "8")
    host = found["host_cache"]
    assert host["loads"] > 0
    assert host["hit_tokens"] * 65536 == pytest.approx(host["loaded_bytes"])  # 64 KiB a token
    assert host["stored_bytes"] > 0.0
    assert host["load_mean_s"] >= 1e-4
    shown = run(*tight, "--host-cache-gib", "8").output
    assert "tokens found there" in shown
    assert "waits for copies" in shown
    assert "an assumption" in shown


def test_a_cache_of_no_size_in_host_memory_changes_nothing():
    assert content(*QUICK, "--host-cache-gib", "0") == content(*QUICK)


def test_replicas_without_a_router_have_a_tier_each():
    host = content(*QUICK, "--replicas", "2", "--host-cache-gib", "8")["host_cache"]
    assert host["stored_bytes"] > 0.0
