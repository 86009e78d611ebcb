"""Timing a list of cases: budget, interrupts, files."""

import csv
import time

import pytest

from tapeout.errors import InfeasibleError, ProblemsError
from tapeout.perf.calibrate.grid import ACCELERATOR, PROCESSOR, probes
from tapeout.perf.calibrate.measure import EXTRA, INTERRUPTED, measure, read_rows, write_rows
from tapeout.perf.calibrate.timing import LEAST, sample
from tapeout.perf.calibrate.types import Device, Timing
from tapeout.perf.calibrate.work import load_of
from tapeout.perf.ops.cases import COLUMNS, parse
from tapeout.perf.ops.split import fit_part, report_part

DEVICE = Device(
    name="Test device",
    kind="cuda",
    host="h",
    driver="1.2",
    stack="torch-9",
    kernel="cublas",
    memory_bytes=8e10,
    cache_bytes=5e7,
    clock_hz=1.7e9,
    units=100,
)


class Stub:
    """Times by a roofline of 1e14 FLOP/s and 1e12 B/s; refuses or interrupts on demand."""

    device, mode = DEVICE, "graph"

    def __init__(self, refuse="", interrupt_at=10**9):
        self.refuse, self.interrupt_at, self.calls = refuse, interrupt_at, 0

    def dtypes(self):
        return ("bf16", "fp8")

    def time(self, case, _budget_s):
        self.calls += 1
        if self.calls == self.interrupt_at:
            raise KeyboardInterrupt
        if case.op == self.refuse:
            raise InfeasibleError(f"{case.op} does not run here")
        load = load_of(case)
        return Timing(
            median_s=1e-6 + load.flop / 1e14 + load.moved_bytes / 1e12,
            spread_fraction=0.02,
            samples=7,
        )


def cases(*, quick=True):
    return probes(DEVICE, ("bf16", "fp8"), "graph", quick=quick)


def test_every_beginning_of_the_list_has_every_operator():
    ops = [case.op for case in cases()[:6]]
    assert set(ops) == {
        "gemm", "attention_prefill", "attention_decode", "copy", "silu_mul", "rmsnorm",
    }  # fmt: skip


@pytest.mark.parametrize("kind", ["cpu", "cuda"])
def test_both_parts_of_the_split_see_every_operator(kind):
    grid = probes(
        Device(**{name: getattr(DEVICE, name) for name in DEVICE.__slots__} | {"kind": kind}),
        ("bf16",),
        "graph",
        quick=True,
    )
    for op in {case.op for case in grid}:
        some = [case for case in grid if case.op == op]
        assert fit_part(some), op
        assert report_part(some), op


def test_quick_is_a_part_of_the_whole():
    assert set(map(repr, cases())) < set(map(repr, cases(quick=False)))
    assert len(PROCESSOR.weights) <= len(ACCELERATOR.weights)


def test_an_interrupt_keeps_what_was_measured(tmp_path):
    path = tmp_path / "deep" / "m.csv"
    run = measure(
        Stub(interrupt_at=9), cases(), seconds=60.0, save=lambda run: write_rows(path, run, {})
    )
    assert run.stopped == INTERRUPTED
    assert len(run.measured) == 8
    assert len(read_rows(path)) == 8
    assert [one.name for one in path.parent.iterdir()] == ["m.csv"]  # no half-written file


def test_what_a_device_cannot_run_is_listed_with_the_reason():
    run = measure(Stub(refuse="copy"), cases(), seconds=60.0)
    refused = [reason for case, reason in run.skipped if case.op == "copy"]
    assert refused
    assert set(refused) == {"copy does not run here"}
    assert not [one for one in run.measured if one.case.op == "copy"]


def test_a_case_that_would_take_too_long_is_skipped():
    run = measure(Stub(), cases(quick=False), seconds=0.02)
    reasons = [reason for _, reason in run.skipped]
    assert any("would take about" in reason for reason in reasons)


def test_time_that_is_over_is_said():
    class Slow(Stub):
        def time(self, case, budget_s):
            time.sleep(0.02)
            return super().time(case, budget_s)

    run = measure(Slow(), cases(), seconds=0.1)
    assert "cases were not reached" in run.stopped
    assert 0 < len(run.measured) < 20


def test_progress_never_goes_back():
    told = []
    measure(Stub(), cases(), seconds=60.0, tell=lambda _case, gone: told.append(gone))
    assert told == sorted(told)
    assert told[0] >= 0.0
    assert told[-1] < 1.0


def test_the_file_has_the_columns_of_operator_cases(tmp_path):
    run = measure(Stub(), cases()[:12], seconds=60.0)
    write_rows(tmp_path / "m.csv", run, {"date": "2026-11-25", "host": "h", "driver": "1.2"})
    with (tmp_path / "m.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == (*COLUMNS, *EXTRA)
    for row, one in zip(rows, run.measured, strict=True):
        again = parse(row)
        assert (again.op, again.dtype, again.weights) == (one.case.op, one.case.dtype, "cold")
        assert again.measured_s == pytest.approx(one.case.measured_s, rel=1e-5)
        assert row["samples"] == "7"


def test_every_bad_row_is_named(tmp_path):
    path = tmp_path / "m.csv"
    path.write_text(
        "chip,op,dtype,m,n,k,measured_s\n"
        "c,gemm,bf16,1,2,3,1e-6\n"
        "c,gemm,bf16,1,2,3,\n"
        "c,warp,bf16,1,2,3,1e-6\n",
        encoding="utf-8",
    )
    with pytest.raises(ProblemsError) as error:
        read_rows(path)
    assert [problem.path for problem in error.value.problems] == ["line 3", "line 4"]


def test_at_least_six_samples_whatever_the_budget():
    ticks = iter(range(100))
    got = sample(lambda: float(next(ticks)), budget_s=0.0)
    assert got.samples == LEAST == 6
    assert got.median_s == 4.5  # of 2..7: the first two warm up
