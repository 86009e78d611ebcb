"""Readers of published formats, on small files written by hand."""

import gzip
import json

import numpy as np
import pytest

from tapeout.errors import ProblemsError, UnknownNameError
from tapeout.serving.traffic import FORMATS, ReadOptions, read_chunks, read_trace, renewal
from tapeout.serving.traffic.readers import READERS, recognise, text
from tapeout.serving.traffic.readers.azure import NO_TIME, stamps_ns

AZURE_2023 = """TIMESTAMP,ContextTokens,GeneratedTokens
2023-11-16 18:17:03.9799600,4808,10
2023-11-16 18:17:04.0319601,3180,8"""
AZURE_2024 = """TIMESTAMP,ContextTokens,GeneratedTokens
2024-05-10 00:00:00.009930+00:00,2162,5
2024-05-10 00:00:00.017335+00:00,2399,6
"""
BURST_1 = """Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type
5,ChatGPT,472,18,490,Conversation log
45,ChatGPT,1087,0,1087,Conversation log
118,GPT-4,417,276,693,API log
"""
BURST_3 = """Timestamp,Session ID,Elapsed time,Model,Request tokens,Response tokens,\
Total tokens,Log Type
5,a,2.5,ChatGPT,472,18,490,Conversation log
45,,1.0,GPT-4,100,10,110,API log
118,a,3.0,ChatGPT,600,276,876,Conversation log
"""


@pytest.fixture
def written(tmp_path):
    """Return a writer of files; a list becomes JSON lines."""

    def write(content, name="trace.txt"):
        path = tmp_path / name
        if isinstance(content, list):
            content = "".join(json.dumps(one) + "\n" for one in content)
        path.write_text(content, encoding="utf-8")
        return path

    return write


def mooncake(time_ms, tokens, ids, output=10):
    return {"timestamp": time_ms, "input_length": tokens, "output_length": output, "hash_ids": ids}


# Azure


def test_azure_times_keep_their_hundred_nanoseconds(written):
    trace, report = read_trace(written(AZURE_2023))
    assert report.format == "azure"
    assert trace.arrival_s.tolist() == pytest.approx([0.0, 0.0520001], abs=1e-12)
    assert trace.input_tokens.tolist() == [4808, 3180]
    assert (report.rows, report.kept, report.dropped) == (2, 2, ())


def test_azure_stamps_with_a_zone_are_read_by_the_same_parser(written):
    trace, _ = read_trace(written(AZURE_2024))
    assert trace.arrival_s.tolist() == pytest.approx([0.0, 0.007405], abs=1e-12)


@pytest.mark.parametrize(
    "stamp", ["2024-13-10 00:00:00", "2024-05-10", "now", "", "NaT", "2024-05-10 00:00:00+99"]
)
def test_what_is_no_stamp_has_no_time(stamp):
    assert stamps_ns(["2024-05-10 00:00:00", stamp]).tolist()[1] == NO_TIME


def test_a_zone_shifts_the_stamp():
    first, second, third = stamps_ns(
        ["2024-05-10T02:00:00Z", "2024-05-10 02:00:00+02:00", "2024-05-09 22:30:00-0330"]
    ).tolist()
    assert first - second == 2 * 3600 * 10**9
    assert first == third


def test_stamps_of_one_length_are_read_as_one_by_one():
    alike = [f"2024-05-10 00:00:{n:02d}.5" for n in range(60)]
    assert stamps_ns(alike).tolist() == [int(stamps_ns([one])[0]) for one in alike]
    mixed = ["2024-05-10 00:00:00.000000", "2024-05-10 00:00:00.0+0100"]
    assert np.diff(stamps_ns(mixed)).tolist() == [-3600 * 10**9]


# BurstGPT


@pytest.mark.parametrize(("content", "kept"), [(BURST_1, 2), (BURST_3, 3)])
def test_burstgpt_columns_are_found_by_name(written, content, kept):
    trace, report = read_trace(written(content))
    assert report.format == "burstgpt"
    assert trace.requests == kept
    assert trace.arrival_s[[0, -1]].tolist() == [0.0, 113.0]
    assert trace.output_tokens[-1] == 276
    assert trace.classes[:1] == ("ChatGPT",)


def test_burstgpt_rows_with_zero_tokens_are_left_out_and_counted(written):
    _, report = read_trace(written(BURST_1))
    (one,) = report.dropped
    assert (one.reason, one.rows, one.lines) == ("zero tokens (a failed request)", 1, (3,))


def test_burstgpt_failures_can_be_kept(written):
    trace, report = read_trace(written(BURST_1), ReadOptions(keep_failures=True))
    assert trace.output_tokens.tolist() == [18, 1, 276]
    assert report.dropped == ()
    assert "1 requests with zero tokens kept with one token" in report.notes


def test_burstgpt_sessions_become_turns(written):
    trace, _ = read_trace(written(BURST_3))
    assert trace.parent.tolist() == [-1, -1, 0]


# hashed prompts


def test_mooncake_identities_are_chained_and_dense(written):
    path = written(
        [mooncake(0, 1024, [7, 8]), mooncake(1, 1024, [9, 8]), mooncake(2, 1030, [7, 8, 5])]
    )
    trace, report = read_trace(path, ReadOptions(spread=False))
    assert report.format == "mooncake"
    assert trace.prefixes.block_tokens == 512
    # block 8 behind 7 is another one than 8 behind 9; the partial block 5 is no full block
    assert trace.prefixes.ids.tolist() == [0, 1, 2, 3, 0, 1]
    assert trace.prefixes.offsets.tolist() == [0, 2, 4, 6]
    assert trace.prefixes.count == 4


def test_mooncake_blocks_become_thirty_two_for_an_engine_of_sixteen(written):
    path = written([mooncake(0, 1024, [7, 8]), mooncake(1, 560, [7, 9])])
    trace, _ = read_trace(path, ReadOptions(spread=False, block_tokens=16))
    assert np.diff(trace.prefixes.offsets).tolist() == [64, 35]
    assert trace.prefixes.ids[:32].tolist() == trace.prefixes.ids[64:96].tolist()
    assert not set(trace.prefixes.ids[96:]) & set(trace.prefixes.ids[:64])


def test_mooncake_stamps_are_spread_inside_their_slot_in_order(written):
    path = written([mooncake(3000 * (n // 50), 600, [0, n]) for n in range(200)])
    trace, report = read_trace(path)
    assert any("spread" in note for note in report.notes)
    assert (np.floor(trace.arrival_s / 3.0) == np.arange(200) // 50).all()
    assert np.unique(trace.arrival_s).size == 200
    again, _ = read_trace(path)
    other, _ = read_trace(path, ReadOptions(seed=1))
    assert (again.arrival_s == trace.arrival_s).all()
    assert (other.arrival_s != trace.arrival_s).all()
    assert (trace.prefixes.ids == other.prefixes.ids).all()


def test_stamps_that_are_on_no_grid_are_left_as_they_are(written):
    trace, report = read_trace(written([mooncake(0, 9, [0]), mooncake(1234, 9, [1])]))
    assert trace.arrival_s.tolist() == [0.0, 1.234]
    assert any("not on a grid" in note for note in report.notes)


def test_missing_identities_are_like_no_other_and_counted(written):
    path = written([mooncake(0, 1024, [7]), mooncake(1, 1024, None), mooncake(2, 1024, [7, 8])])
    trace, report = read_trace(path, ReadOptions(spread=False))
    assert trace.prefixes.ids.tolist() == [0, 1, 2, 3, 0, 4]
    assert any(note.startswith("1 requests with another number") for note in report.notes)
    assert any(note.startswith("1 requests without a list") for note in report.notes)


def test_bailian_turns_follow_their_parents(written):
    rows = [
        {"chat_id": 159, "parent_chat_id": -1, "timestamp": 61.1, "input_length": 33,
         "output_length": 5, "type": "text", "turn": 1, "hash_ids": [1, 2, 3]},
        {"chat_id": 160, "parent_chat_id": 12, "timestamp": 62.0, "input_length": 16,
         "output_length": 5, "type": "search", "turn": 3, "hash_ids": [4]},
        {"chat_id": 161, "parent_chat_id": 159, "timestamp": 70.0, "input_length": 48,
         "output_length": 5, "type": "text", "turn": 2, "hash_ids": [1, 2, 9]},
    ]  # fmt: skip
    trace, report = read_trace(written(rows))
    assert report.format == "bailian"
    assert trace.parent.tolist() == [-1, -1, 0]
    assert trace.prefixes.ids.tolist() == [0, 1, 2, 0, 1, 3]
    assert trace.classes == ("text", "search")
    assert "1 turns whose parent is not in the trace: they start on their own" in report.notes


@pytest.mark.parametrize("raw", [False, True])
def test_llmservingsim_gives_blocks_from_identities_or_from_tokens(written, raw):
    def row(time_ns, tokens, ids):
        found = {"input_toks": tokens, "output_toks": 3, "arrival_time_ns": time_ns}
        if raw:
            every = [one for block in ids for one in [block] * 16]
            return found | {"input_tok_ids": (every + [0] * 16)[:tokens]}
        return found | {"prefix_block_ids": list(ids)}

    path = written([row(46_926_808, 33, (1, 2)), row(347_938_951, 35, (1, 3))])
    trace, report = read_trace(path)
    assert report.format == "llmservingsim"
    assert trace.arrival_s.tolist() == pytest.approx([0.046926808, 0.347938951])
    assert trace.prefixes.ids.tolist() == [0, 1, 0, 2]


# inference-perf


def test_inference_perf_shared_prefixes_share_full_blocks(written):
    def row(time_s, identity, shared=200):
        return {
            "timestamp": time_s,
            "shared_prefix_length": shared,
            "tail_input_length": 50,
            "output_length": 150,
            "shared_prefix_id": identity,
        }

    trace, report = read_trace(written([row(5.0, 1), row(5.01, 1), row(6.5, 2, 400)]))
    assert report.format == "inference-perf"
    assert trace.input_tokens.tolist() == [250, 250, 450]
    assert trace.arrival_s.tolist() == pytest.approx([0.0, 0.01, 1.5])
    first, second = trace.prefixes.ids[:15], trace.prefixes.ids[15:30]
    assert (first == second).tolist() == [True] * 12 + [False] * 3


def test_inference_perf_reports_are_sorted_and_failures_counted(written):
    def row(start, tokens, error=None, *, new=False):
        info = (
            {"request_metrics": {"text": {"input_tokens": tokens}},
             "response_metrics": {"output_tokens": 7}}
            if new
            else {"input_tokens": tokens, "output_tokens": 7}
        )  # fmt: skip
        return {"start_time": start, "end_time": start + 1, "request": "{}", "info": info,
                "error": error}  # fmt: skip

    content = [row(12.0, 30, new=True), row(10.0, 10), row(11.0, 20, error={"type": "timeout"})]
    trace, report = read_trace(written(json.dumps(content)))
    assert report.format == "inference-perf-report"
    assert trace.arrival_s.tolist() == [0.0, 2.0]
    assert trace.input_tokens.tolist() == [10, 30]
    assert [(one.rows, one.lines) for one in report.dropped] == [(1, (3,))]


# lengths


def test_a_file_of_lengths_needs_an_arrival_process(written):
    path = written("num_prefill_tokens,num_decode_tokens\n3772,54\n2015,156\n")
    with pytest.raises(ProblemsError, match="give a rate"):
        read_trace(path)
    slow, report = read_trace(path, ReadOptions(rate_rps=1.0, process=renewal("gamma", 2.0)))
    fast, _ = read_trace(path, ReadOptions(rate_rps=4.0, process=renewal("gamma", 2.0)))
    assert slow.input_tokens.tolist() == [3772, 2015]
    assert slow.arrival_s == pytest.approx(4.0 * fast.arrival_s)
    assert report.notes == ("arrivals drawn: Gamma renewal of CV 2, 1 requests/s",)


def test_vidur_replay_traces_have_times(written):
    path = written("arrived_at,num_prefill_tokens,num_decode_tokens\n0.5,591,140\n1.5,547,248\n")
    trace, report = read_trace(path)
    assert report.format == "vidur"
    assert trace.arrival_s.tolist() == [0.5, 1.5]


# all of them


def test_every_format_has_a_name_of_its_own():
    assert len(FORMATS) == len(READERS) + 1 == 14
    assert {reader.name for reader in READERS.values()} == set(READERS)


def test_a_format_can_be_named_and_a_wrong_name_is_suggested(written):
    path = written(AZURE_2023)
    assert read_trace(path, ReadOptions(format="azure"))[0].requests == 2
    with pytest.raises(UnknownNameError, match="did you mean 'azure'"):
        read_trace(path, ReadOptions(format="azur"))
    with pytest.raises(ProblemsError, match="no column 'Timestamp'"):
        read_trace(path, ReadOptions(format="burstgpt"))


def test_unknown_columns_are_named_in_the_message(written):
    with pytest.raises(ProblemsError, match="apples, pears"):
        recognise(written("apples,pears\n1,2\n"))


def test_compressed_files_are_read_as_such(tmp_path):
    path = tmp_path / "trace.csv.gz"
    path.write_bytes(gzip.compress(AZURE_2024.encode()))
    assert read_trace(path)[0].requests == 2


def test_the_size_of_chunks_changes_nothing(written, monkeypatch):
    rows = [mooncake(3000 * (n // 3), 600 + n, [0, n % 5]) for n in range(40)]
    path = written(rows)
    whole, report = read_trace(path)
    monkeypatch.setattr(text, "JSON_ROWS", 7)
    parts, chopped = read_trace(path)
    assert report == chopped
    for name in ("arrival_s", "input_tokens"):
        assert (getattr(whole, name) == getattr(parts, name)).all()
    assert (whole.prefixes.ids == parts.prefixes.ids).all()
    assert [one.row.size for one in read_chunks(path)] == [7] * 5 + [5]


def test_a_limit_reads_a_part_and_says_so(written, monkeypatch):
    monkeypatch.setattr(text, "JSON_ROWS", 8)
    path = written([mooncake(n, 600, [n]) for n in range(40)] + ["no object"])
    trace, report = read_trace(path, ReadOptions(requests=10, spread=False))
    assert trace.requests == report.kept == 10
    assert report.rows == 16 == report.kept + report.dropped_rows
    assert "stopped after 10 requests: the rest was not read" in report.notes


def test_a_window_begins_at_zero_and_ends_the_reading(written, monkeypatch):
    monkeypatch.setattr(text, "JSON_ROWS", 8)
    path = written([mooncake(1000 * n, 600, [n]) for n in range(40)])
    trace, report = read_trace(path, ReadOptions(window_s=(3.0, 6.0), spread=False))
    assert trace.arrival_s.tolist() == [0.0, 1.0, 2.0]
    assert report.rows == 8
    assert report.dropped_rows == 5
