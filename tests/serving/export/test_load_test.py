"""A load test sends the trace's lengths, times and prefixes, and says what it does not."""

import csv
import json
from datetime import datetime

import numpy as np
import pytest

from tapeout.errors import InfeasibleError, UnknownNameError
from tapeout.serving.export import load_test
from tapeout.serving.export.load_test import Target
from tapeout.serving.export.vllm_bench import arrivals
from tapeout.serving.traffic.trace import Prefixes, Trace

TARGET = Target(base_url="http://server:8000", hf_model="org/model", seed=3)


def trace(**changes):
    fields = {
        "arrival_s": np.array([0.0, 0.25, 3.5]),
        "input_tokens": np.array([40, 33, 5]),
        "output_tokens": np.array([7, 1, 20]),
    }
    return Trace(**fields | changes)


SHARED = Prefixes(
    block_tokens=16, offsets=np.array([0, 2, 4, 4]), ids=np.array([0, 1, 0, 2]), count=3
)


def lines(made, name):
    return [json.loads(line) for line in made.files[name].splitlines()]


def flags(command):
    return {argument[0]: argument[1:] for argument in command.arguments}


def test_a_replay_has_the_times_and_lengths_of_the_trace():
    made = load_test(trace(), TARGET)
    rows = lines(made, "trace.jsonl")
    assert [row["timestamp"] for row in rows] == [0.0, 0.25, 3.5]
    assert [row["input_length"] for row in rows] == [40, 33, 5]
    assert [row["output_length"] for row in rows] == [7, 1, 20]
    command = flags(made.command)
    assert command["--dataset-name"] == ("timed_trace",)
    assert "--self-timed" in command
    assert "--ignore-eos" in command
    assert command["--num-prompts"] == ("3",)


def test_block_identities_cover_each_prompt_and_share_what_the_trace_shares():
    """The client stops a prompt where its identities end, so too few would shorten it."""
    made = load_test(trace(prefixes=SHARED), TARGET)
    rows = lines(made, "trace.jsonl")
    size = int(flags(made.command)["--timed-trace-chunk-hash-size"][0])
    assert size == 16
    for row in rows:
        assert len(row["hash_ids"]) == -(-row["input_length"] // size)
    first, second, third = (row["hash_ids"] for row in rows)
    assert first[:2] == [0, 1]
    assert second[:2] == [0, 2]
    own = [first[2], second[2], *third]
    assert len(set(own)) == len(own)
    assert min(own) >= SHARED.count


def test_prompts_without_prefixes_share_no_block():
    rows = lines(load_test(trace(), TARGET), "trace.jsonl")
    ids = [one for row in rows for one in row["hash_ids"]]
    assert len(set(ids)) == len(ids)


def test_a_rate_has_the_mean_and_the_variation_of_the_gaps():
    rng = np.random.default_rng(5)
    times = np.cumsum(rng.gamma(0.25, 0.5 / 0.25, 40_000))  # shape 0.25, mean gap 0.5 s
    count = times.size
    made = trace(arrival_s=times, input_tokens=np.full(count, 4), output_tokens=np.full(count, 4))
    rate, burstiness = arrivals(made)
    assert rate == pytest.approx(2.0, rel=0.03)
    assert burstiness == pytest.approx(0.25, rel=0.05)


def test_prompts_at_a_rate_have_a_word_a_token_and_share_words_by_block():
    made = load_test(trace(prefixes=SHARED), TARGET, "vllm-rate")
    rows = lines(made, "prompts.jsonl")
    words = [row["prompt"].split() for row in rows]
    assert [len(one) for one in words] == [40, 33, 5]
    assert [row["output_tokens"] for row in rows] == [7, 1, 20]
    assert words[0][:16] == words[1][:16]
    assert words[0][16:32] != words[1][16:32]
    assert words[2] != words[0][:5]
    assert any("arrival stamps" in note for note in made.notes)
    command = flags(made.command)
    assert command["--custom-output-len"] == ("-1",)
    assert float(command["--request-rate"][0]) == pytest.approx(2 / 3.5)


def test_a_trace_without_gaps_is_sent_at_once():
    made = load_test(trace(arrival_s=np.zeros(3)), TARGET, "vllm-rate")
    assert flags(made.command)["--request-rate"] == ("inf",)


def test_inference_perf_gets_stamps_that_its_reader_parses():
    made = load_test(trace(arrival_s=np.array([10.0, 10.25, 13.5])), TARGET, "inference-perf")
    rows = list(csv.DictReader(made.files["trace.csv"].splitlines()))
    assert list(rows[0]) == ["TIMESTAMP", "ContextTokens", "GeneratedTokens"]
    stamps = [datetime.strptime(row["TIMESTAMP"], "%Y-%m-%d %H:%M:%S.%f") for row in rows]  # noqa: DTZ007
    assert [(one - stamps[0]).total_seconds() for one in stamps] == [0.0, 0.25, 3.5]
    assert [int(row["ContextTokens"]) for row in rows] == [40, 33, 5]
    config = made.files["config.yaml"]
    for line in ("type: trace_replay", "type: random", "ignore_eos: true", "base_seed: 3"):
        assert line in config
    assert made.command.words == ("inference-perf", "--config_file", "config.yaml")


def test_what_is_lost_is_said():
    turns = trace(
        prefixes=SHARED,
        parent=np.array([-1, 0, -1]),
        slo_class=np.zeros(3, np.int64),
        classes=("chat",),
    )
    notes = " ".join(load_test(turns, TARGET, "inference-perf").notes)
    for word in ("no meaning", "turns", "classes", "prefixes are not reproduced"):
        assert word in notes
    assert "prefixes" not in " ".join(load_test(turns, TARGET).notes)


def test_an_unknown_generator_and_an_empty_trace_are_refused():
    with pytest.raises(UnknownNameError, match="vllm-rate"):
        load_test(trace(), TARGET, "vllm-rates")
    none = np.zeros(0, np.int64)
    empty = trace(arrival_s=np.zeros(0), input_tokens=none, output_tokens=none)
    with pytest.raises(InfeasibleError, match="no requests"):
        load_test(empty, TARGET)
