"""A user's log is read whole or refused with every reason; nothing is dropped silently."""

import json

import numpy as np
import pytest

from tapeout.errors import ProblemsError
from tapeout.serving.telemetry import read_log

HEADER = "arrival,first_token,last_token,input_tokens,output_tokens\n"


@pytest.fixture
def written(tmp_path):
    def write(text, name="log.csv"):
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    return write


def test_rows_become_arrays_from_the_first_arrival_whatever_their_order(written):
    log = read_log(written(HEADER + "103.5,104,105,20,3\n101,101.25,102,10,2\n"))
    assert log.arrival_s.tolist() == [0.0, 2.5]
    assert log.first_token_s.tolist() == [0.25, 3.0]
    assert log.last_token_s.tolist() == [1.0, 4.0]
    assert log.input_tokens.tolist() == [10, 20]
    assert log.output_tokens.tolist() == [2, 3]
    assert (log.rows, log.failed, log.bad) == (2, 0, 0)


def test_iso_times_with_and_without_a_zone_are_the_same_clock(written):
    rows = (
        "2026-01-01T00:00:00Z,2026-01-01T00:00:00.5,2026-01-01T01:00:02+01:00,10,2\n"
        "2026-01-01 00:00:01,2026-01-01 00:00:03,2026-01-01 00:00:04,10,2\n"
    )
    log = read_log(written(HEADER + rows))
    assert log.arrival_s.tolist() == [0.0, 1.0]
    assert log.first_token_s == pytest.approx([0.5, 3.0])
    assert log.last_token_s == pytest.approx([2.0, 4.0])


def test_durations_stand_for_times(written):
    text = "timestamp,ttft_s,e2e_s,prompt_tokens,completion_tokens\n5,0.5,2,7,4\n"
    log = read_log(written(text))
    assert log.first_token_s.tolist() == [0.5]
    assert log.last_token_s.tolist() == [2.0]


def test_json_lines_are_read_like_csv(written):
    rows = [
        {
            "arrival": 1.0,
            "first_token": 1.5,
            "last_token": 2.0,
            "input_tokens": 9,
            "output_tokens": 2,
        },
        {
            "arrival": 0.5,
            "first_token": 1.0,
            "last_token": 3.0,
            "input_tokens": 8,
            "output_tokens": 5,
        },
    ]
    log = read_log(written("\n".join(map(json.dumps, rows)), "log.jsonl"))
    assert log.input_tokens.tolist() == [8, 9]


def test_a_request_without_a_token_is_counted_as_failed(written):
    log = read_log(written(HEADER + "0,1,2,5,2\n1,,,5,0\n2,3,3,5,0\n"))
    assert log.requests == 1
    assert log.failed == 2
    assert log.rows == 3


def test_columns_can_be_named_and_unknown_names_are_refused(written):
    path = written("t0,t1,t2,inp,out\n0,1,2,5,2\n")
    columns = {
        "arrival": "t0",
        "first_token": "t1",
        "last_token": "t2",
        "input_tokens": "inp",
        "output_tokens": "out",
    }
    assert read_log(path, columns=columns).requests == 1
    with pytest.raises(ProblemsError) as error:
        read_log(path, columns={"arrival": "T", "answer": "t1"})
    message = str(error.value)
    assert "no such column" in message
    assert "no such meaning" in message
    assert "output_tokens" in message


def test_every_bad_row_is_named_and_can_be_skipped_by_request(written):
    rows = (
        "0,1,2,5,2\n"
        "1,0.5,2,5,2\n"  # first token before the arrival
        "2,3,nan,5,2\n"
        "x,3,4,5,2\n"
        "4,5,6,2.5,2\n"
        "5,6,7,-1,2\n"
        "6,7,,5,2\n"
        ",7,8,5,2\n"
        "1700000000000,1700000001000,1700000002000,5,2\n"
    )
    path = written(HEADER + rows)
    with pytest.raises(ProblemsError) as error:
        read_log(path)
    message = str(error.value)
    for word in ("line 3", "line 10", "order", "milliseconds", "ISO", "tokens", "8 of 9 rows"):
        assert word in message
    log = read_log(path, skip_bad=True)
    assert (log.requests, log.bad) == (1, 8)


def test_many_bad_rows_are_counted_and_not_all_listed(written):
    with pytest.raises(ProblemsError) as error:
        read_log(written(HEADER + "x,1,2,5,2\n" * 500))
    assert len(error.value.problems) < 30
    assert "500 of 500 rows" in str(error.value)


@pytest.mark.parametrize(
    ("text", "name", "word"),
    [
        ("", "log.csv", "no request"),
        (HEADER, "log.csv", "no request"),
        ("a,b\n1,2\n", "log.csv", "no column"),
        ("not json\n", "log.jsonl", "no column"),
        ("[1, 2]\n", "log.jsonl", "no column"),
        (HEADER + "0,,,5,0\n", "log.csv", "no request"),
        (HEADER + "0,1,2,5,20000000\n", "log.csv", "tokens"),
    ],
)
def test_a_log_without_a_usable_row_is_one_clear_error(written, text, name, word):
    with pytest.raises(ProblemsError, match=word):
        read_log(written(text, name))


def test_binary_and_missing_files_are_refused(tmp_path):
    path = tmp_path / "log.csv"
    path.write_bytes(bytes(range(256)) * 10)
    with pytest.raises(ProblemsError):
        read_log(path)
    with pytest.raises(ProblemsError, match="path"):
        read_log(tmp_path / "none.csv")


def test_the_trace_of_a_log_has_its_arrivals_and_lengths(written):
    log = read_log(written(HEADER + "7,8,9,5,2\n8,9,10,6,3\n"))
    trace = log.trace()
    assert np.array_equal(trace.arrival_s, [0.0, 1.0])
    assert trace.input_tokens.tolist() == [5, 6]
    assert "log.csv" in trace.source
