"""The own table: three forms, what is refused, and that writing and reading are inverse."""

import numpy as np
import polars as pl
import pytest

from tapeout.errors import InfeasibleError, ProblemsError
from tapeout.serving.traffic import (
    ClientPlan,
    LogNormal,
    Prefixes,
    ReadOptions,
    Sessions,
    Trace,
    generate,
    read_trace,
    renewal,
    write_trace,
)
from tapeout.serving.traffic.arrivals import constant

SUFFIXES = ("csv", "jsonl", "parquet")


@pytest.fixture(scope="module")
def trace():
    """Two clients, one with sessions."""
    lengths = LogNormal(mean=200, cv=1.0)
    plan = {"input_tokens": lengths, "output_tokens": lengths, "process": renewal("poisson", 1.0)}
    return generate(
        [
            ClientPlan(
                rates=constant(1.0, 100.0),
                sessions=Sessions(turns=3, think_s=5.0),
                shared_tokens=100,
                slo_class='chat, "fast"',
                **plan,
            ),
            ClientPlan(rates=constant(2.0, 100.0), **plan),
        ],
        3,
        duration_s=100.0,
    )


def test_columns_are_of_sixty_four_bits(trace):
    for name in ("input_tokens", "output_tokens", "client", "parent", "slo_class"):
        assert getattr(trace, name).dtype == np.int64, name
    assert trace.prefixes.ids.dtype == trace.prefixes.offsets.dtype == np.int64
    assert trace.arrival_s.dtype == trace.think_s.dtype == np.float64


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_what_is_written_is_read_again(tmp_path, trace, suffix):
    path = tmp_path / f"deep/out.{suffix}"
    write_trace(path, trace)
    found, report = read_trace(path)
    test_columns_are_of_sixty_four_bits(found)
    assert report.dropped == report.notes == ()
    assert found.arrival_s == pytest.approx(trace.arrival_s, abs=1e-6)
    assert found.think_s == pytest.approx(trace.think_s, abs=1e-6)
    for name in ("input_tokens", "output_tokens", "client", "parent"):
        assert (getattr(found, name) == getattr(trace, name)).all(), name
    assert (found.prefixes.ids == trace.prefixes.ids).all()
    assert (found.prefixes.offsets == trace.prefixes.offsets).all()
    names = np.array(trace.classes)[trace.slo_class]
    assert (np.array(found.classes)[found.slo_class] == names).all()
    assert [one.name for one in path.parent.iterdir()] == [path.name]


def test_the_same_trace_is_the_same_bytes(tmp_path, trace):
    for name in ("a.csv", "b.csv"):
        write_trace(tmp_path / name, trace)
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()


def test_other_endings_and_block_sizes_are_not_written(tmp_path, trace):
    with pytest.raises(InfeasibleError, match=r"\.csv, \.jsonl, \.parquet"):
        write_trace(tmp_path / "out.xlsx", trace)
    one = np.array([512])
    blocks = Prefixes(block_tokens=512, offsets=np.array([0, 1]), ids=np.array([0]), count=1)
    wide = Trace(arrival_s=np.array([0.0]), input_tokens=one, output_tokens=one, prefixes=blocks)
    with pytest.raises(InfeasibleError, match="blocks of 16"):
        write_trace(tmp_path / "out.csv", wide)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("head", "message"),
    [
        ("arrival_s,input_tokens,output_token", "did you mean 'output_tokens'"),
        ("arrival_s,input_tokens,output_tokens,clint", "did you mean 'client'"),
        ("arrival_s,input_tokens,output_tokens,colour", "rename or remove it"),
        ("arrival_s,input_tokens", "output_tokens: the column is missing"),
    ],
)
def test_other_columns_are_refused_with_a_suggestion(tmp_path, head, message):
    path = tmp_path / "own.csv"
    path.write_text(head + "\n" + ",".join("1" for _ in head.split(",")) + "\n")
    with pytest.raises(ProblemsError, match=message):
        read_trace(path)


def test_other_keys_and_parquet_columns_are_refused_too(tmp_path):
    path = tmp_path / "own.jsonl"
    path.write_text('{"arrival_s":1,"input_tokens":1,"output_tokens":1,"clint":4}\n')
    with pytest.raises(ProblemsError, match="did you mean 'client'"):
        read_trace(path)
    pl.DataFrame({"arrival_s": [1.0], "input_tokens": [1], "clint": [4]}).write_parquet(
        tmp_path / "own.parquet"
    )
    with pytest.raises(ProblemsError, match="2 problems"):
        read_trace(tmp_path / "own.parquet")
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 and nothing else")
    with pytest.raises(ProblemsError, match="not Parquet"):
        read_trace(tmp_path / "bad.parquet")


def test_parents_are_rows_and_a_lost_parent_is_counted(tmp_path):
    path = tmp_path / "own.csv"
    path.write_text(
        "arrival_s,input_tokens,output_tokens,parent,turn,think_s\n"
        "0,5,5,,1,\n1,0,5,,1,\n2,5,5,0,2,3.5\n3,5,5,1,2,1\n4,5,5,9,1,1\n5,5,5,2,7,0\n"
    )
    trace, report = read_trace(path)
    assert trace.parent.tolist() == [-1, 0, -1, -1, 1]
    assert trace.think_s.tolist() == [0.0, 3.5, 1.0, 1.0, 0.0]
    assert "2 turns whose parent is not in the trace: they start on their own" in report.notes
    assert any(note.startswith("1 rows whose turn is not one more") for note in report.notes)


@pytest.mark.parametrize(
    ("column", "cell"), [("client", "-3"), ("client", "x"), ("think_s", "-1"), ("think_s", "soon")]
)
def test_cells_that_make_no_sense_are_counted(tmp_path, column, cell):
    path = tmp_path / "own.csv"
    path.write_text(f"arrival_s,input_tokens,output_tokens,{column}\n0,5,5,1\n1,5,5,{cell}\n")
    _, report = read_trace(path)
    assert [(one.rows, one.lines) for one in report.dropped] == [(1, (3,))]


def test_turns_follow_their_parents_when_rows_are_sorted(tmp_path):
    path = tmp_path / "own.csv"
    path.write_text(
        "arrival_s,input_tokens,output_tokens,parent\n9,1,1,2\n0,2,2,-1\n5,3,3,1\n8,4,4,\n"
    )
    trace, _ = read_trace(path, ReadOptions(sort=True))
    assert trace.input_tokens.tolist() == [2, 3, 4, 1]
    assert trace.parent.tolist() == [-1, 0, -1, 1]


@pytest.mark.parametrize("parents", ["0,-1,-1", "1,0,-1", "-1,2,-1", "2,0,1"])
def test_a_turn_that_waits_for_itself_or_a_later_one_is_refused(tmp_path, parents):
    path = tmp_path / "own.csv"
    rows = [f"{n},1,1,{one}" for n, one in enumerate(parents.split(","))]
    path.write_text("\n".join(["arrival_s,input_tokens,output_tokens,parent", *rows]))
    with pytest.raises(ProblemsError, match="do not come after their parent"):
        read_trace(path)


def test_a_class_name_with_control_characters_is_refused(tmp_path):
    path = tmp_path / "own.csv"
    path.write_text("arrival_s,input_tokens,output_tokens,slo_class\n0,1,1,ok\n1,1,1,\x1b[31m\n")
    with pytest.raises(ProblemsError, match=r"line 3.*control characters"):
        read_trace(path)


def test_blocks_of_another_size_are_refused(tmp_path):
    path = tmp_path / "own.csv"
    path.write_text(
        'arrival_s,input_tokens,output_tokens,prefix_block_ids,block_tokens\n0,64,5,"[1,2]",32\n'
    )
    with pytest.raises(ProblemsError, match="block_tokens must be 16"):
        read_trace(path)
