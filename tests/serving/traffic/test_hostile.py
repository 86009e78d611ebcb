"""Files that are wrong: every row is in the trace, counted, or refused."""

import json

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tapeout.errors import InfeasibleError, ProblemsError, TapeoutError
from tapeout.serving.traffic import ReadOptions, read_trace, trace_statistics

HEAD = "arrival_s,input_tokens,output_tokens\n"


@pytest.fixture
def written(tmp_path):
    """Return a writer of bytes or text."""

    def write(content, name="trace.csv"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


@pytest.mark.parametrize("content", ["", "\n\n", "\ufeff", b"\x1f\x8b", b"\x1f\x8b\x08junk"])
def test_a_file_without_anything_is_refused(written, content):
    with pytest.raises(ProblemsError, match=r"empty|damaged|no record"):
        read_trace(written(content))


def test_a_header_without_rows_is_refused(written):
    with pytest.raises(ProblemsError, match="no request in it"):
        read_trace(written(HEAD))


@pytest.mark.parametrize("name", ["csv", "jsonl", "azure", "mooncake", "inference-perf-report"])
def test_binary_junk_is_refused_under_every_name(written, name):
    path = written(bytes(range(256)) * 20)
    with pytest.raises(ProblemsError, match=r"binary"):
        read_trace(path, ReadOptions(format=name))


def test_text_that_is_not_utf8_is_refused(written):
    with pytest.raises(ProblemsError, match="not UTF-8"):
        read_trace(written(HEAD.encode() + b"1,2,\xff\n"))


def test_utf8_broken_far_inside_is_refused(written):
    rows = "".join(f"{n},5,5\n" for n in range(5000)).encode()
    with pytest.raises(ProblemsError, match="not UTF-8"):
        read_trace(written(HEAD.encode() + rows + b"\xff\xfe\n"))


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(ProblemsError, match="No such file"):
        read_trace(tmp_path / "none.csv")
    with pytest.raises(ProblemsError, match="cannot be read"):
        read_trace(tmp_path)


BAD_ROWS = [
    ("nan,5,5", "time missing or no number"),
    ("inf,5,5", "time missing or no number"),
    (",5,5", "time missing or no number"),
    ("1_0,5,5", "time missing or no number"),
    ("-1,5,5", "negative time"),
    ("1,-5,5", "negative input tokens"),
    ("1,5,-5", "negative output tokens"),
    ("1,5.5,5", "input tokens missing or no whole number"),
    ("1,5,", "output tokens missing or no whole number"),
    ("1,5,nan", "output tokens missing or no whole number"),
    ("1,5,many", "output tokens missing or no whole number"),
    ("1,0,5", "zero tokens (a failed request)"),
    ("1,5,0", "zero tokens (a failed request)"),
    ("1,1e30,5", "input tokens missing or no whole number"),
    ("1,200000000,5", "more than 100,000,000 input tokens"),
    ("1,5", "not 3 cells"),
    ("1,5,5,5", "not 3 cells"),
]


@pytest.mark.parametrize(("row", "reason"), BAD_ROWS)
def test_a_bad_row_is_counted_with_its_line(written, row, reason):
    trace, report = read_trace(written(f"{HEAD}0,5,5\n{row}\n2,6,6\n"))
    assert trace.input_tokens.tolist() == [5, 6]
    (one,) = report.dropped
    assert (one.reason, one.rows, one.lines) == (reason, 1, (3,))
    assert report.rows == 3


def test_only_the_first_lines_are_listed_but_all_are_counted(written):
    _, report = read_trace(written(HEAD + "0,1,1\n" + "-1,1,1\n" * 30))
    (one,) = report.dropped
    assert (one.rows, one.lines) == (30, (3, 4, 5, 6, 7))


def test_a_request_of_ten_million_tokens_is_read(written):
    ids = json.dumps([7, 8])
    path = written(
        f'{{"arrival_s": 0, "input_tokens": 10000000, "output_tokens": 5,'
        f' "prefix_block_ids": {ids}}}\n',
        "trace.jsonl",
    )
    trace, _ = read_trace(path)
    assert trace.input_tokens.tolist() == [10_000_000]
    assert trace.prefixes.ids.size == 625_000
    with pytest.raises(ProblemsError, match="longer than 1,000,000 tokens"):
        read_trace(path, ReadOptions(max_model_len=1_000_000))


def test_longer_requests_are_left_out_when_asked(written):
    path = written(HEAD + "0,90,10\n1,90,11\n")
    trace, report = read_trace(path, ReadOptions(max_model_len=100))
    assert trace.requests == 1
    assert report.dropped[0].reason == "longer than 100 tokens"
    assert report.dropped[0].lines == (3,)


def test_rows_out_of_order_are_an_error_unless_sorting_is_asked_for(written):
    path = written(HEAD + "5,1,1\n9,2,2\n7,3,3\n")
    with pytest.raises(ProblemsError, match="line 4: its time 7 s is before") as caught:
        read_trace(path)
    assert "--sort" in str(caught.value)
    trace, report = read_trace(path, ReadOptions(sort=True))
    assert trace.input_tokens.tolist() == [1, 3, 2]
    assert "rows were sorted by time" in report.notes


def test_a_sorted_trace_is_cut_after_sorting(written):
    path = written(HEAD + "5,1,1\n9,2,2\n7,3,3\n")
    trace, report = read_trace(path, ReadOptions(sort=True, requests=2))
    assert trace.arrival_s.tolist() == [5.0, 7.0]
    assert report.rows == report.kept + report.dropped_rows == 3


def test_a_disorder_behind_the_limit_does_not_matter(written):
    path = written(HEAD + "5,1,1\n9,2,2\n7,3,3\n")
    assert read_trace(path, ReadOptions(requests=2))[0].requests == 2
    with pytest.raises(InfeasibleError, match="at least 1"):
        read_trace(path, ReadOptions(requests=0))


def test_a_column_that_stands_twice_is_refused(written):
    with pytest.raises(ProblemsError, match="stands twice"):
        read_trace(written("arrival_s,input_tokens,output_tokens,output_tokens\n1,1,1,1\n"))


def test_json_lines_that_are_no_objects_are_counted(written):
    good = '{"arrival_s": 0, "input_tokens": 5, "output_tokens": 5}'
    content = f'{good}\n[1]\n{{"arrival_s"\n{"[" * 3000}\n\n{good}\n'
    trace, report = read_trace(written(content))
    assert trace.requests == 2
    assert [(one.reason, one.rows, one.lines) for one in report.dropped] == [
        ("not a JSON object", 3, (2, 3, 4))
    ]


@pytest.mark.parametrize("value", ["NaN", "Infinity", "1e999", "true", "null", "[]", '"x"'])
def test_json_values_that_are_no_numbers_are_counted(written, value):
    good = '{"arrival_s": 0, "input_tokens": 5, "output_tokens": 5}'
    bad = f'{{"arrival_s": 0, "input_tokens": {value}, "output_tokens": 5}}'
    _, report = read_trace(written(f"{good}\n{bad}\n"))
    assert report.dropped[0].lines == (2,)


def test_a_window_is_refused_where_there_are_no_times(written):
    path = written("num_prefill_tokens,num_decode_tokens\n1,1\n")
    with pytest.raises(ProblemsError, match="no window"):
        read_trace(path, ReadOptions(rate_rps=1.0, window_s=(0.0, 1.0)))


CELL = st.one_of(
    st.integers(-5, 10**12).map(str),
    st.floats().map(str),
    st.sampled_from(["", "nan", '"', "1,2", "\n", "2024-05-10 00:00:00", "-1", "0", "5", "é"]),
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(st.lists(CELL, min_size=2, max_size=4), max_size=12), sort=st.booleans())
def test_every_row_is_kept_or_counted_whatever_is_in_it(tmp_path, rows, sort):
    path = tmp_path / "any.csv"
    path.write_text(HEAD + "0,1,1\n" + "\n".join(",".join(row) for row in rows), "utf-8")
    try:
        trace, report = read_trace(path, ReadOptions(sort=sort))
    except TapeoutError:
        return
    assert report.rows == report.kept + report.dropped_rows
    assert report.kept == trace.requests >= 1
    assert (np.diff(trace.arrival_s) >= 0.0).all()
    assert np.isfinite(trace.arrival_s).all()
    assert min(trace.input_tokens.min(), trace.output_tokens.min()) >= 1


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=300))
def test_any_bytes_give_a_trace_or_a_message(tmp_path, content):
    path = tmp_path / "any.bin"
    path.write_bytes(content)
    with pytest.raises(TapeoutError):
        read_trace(path)
    assert path.stat().st_size == len(content)


@pytest.mark.parametrize("form", ["csv", None])
def test_a_file_that_is_no_trace_is_not_quoted(written, form):
    path = written("root:x:0:0:root:/root:/bin/bash,arrival\nsecret:1\n")
    with pytest.raises(ProblemsError) as caught:
        read_trace(path, ReadOptions(format=form))
    assert "/bin/bash" not in str(caught.value)
    assert "no name" in str(caught.value)


def test_a_time_beyond_every_clock_is_refused(written):
    with pytest.raises(ProblemsError, match=r"line 3: its time 1e\+300 s"):
        read_trace(written(HEAD + "0,1,1\n1e300,1,1\n"))


def test_a_think_time_beyond_every_clock_is_counted(written):
    head = "arrival_s,input_tokens,output_tokens,parent,think_s\n"
    trace, report = read_trace(written(head + "0,1,1,,\n0,1,1,0,1e300\n"))
    assert trace.requests == 1
    assert "think time of more than 1,000,000,000 s" in report.dropped[0].reason


def test_figures_of_two_requests_31_years_apart_need_no_memory(written):
    import tracemalloc  # noqa: PLC0415

    trace, _ = read_trace(written(HEAD + "0,1,1\n1e9,1,1\n"))
    tracemalloc.start()
    found = trace_statistics(trace)
    assert tracemalloc.get_traced_memory()[1] < 1_000_000
    tracemalloc.stop()
    assert found.dispersion == pytest.approx(1.0)
    assert found.busiest_minute_ratio == pytest.approx(1e9 / 60 / 2, rel=1e-6)


def test_what_was_left_unread_has_no_number(written):
    rows = "".join(f"{n},5,5\n" for n in range(9000))
    for sort in (False, True):
        _, report = read_trace(written(HEAD + rows), ReadOptions(requests=20, sort=sort))
        assert [one.words for one in report.dropped] == [
            "rows behind the first 20 requests left out"
        ]
