"""`tapeout calibrate`: files, notes, exit codes. The timing is a stand-in; see perf/calibrate."""

import json

import pytest
import typer
from typer.testing import CliRunner

from tapeout.cli.calibrate import calibrate
from tapeout.perf.calibrate import read_chip_file
from tapeout.perf.calibrate.types import Device, Timing
from tapeout.perf.calibrate.work import load_of

APP = typer.Typer()
APP.command()(calibrate)


class Stub:
    """An accelerator of 1e14 FLOP/s and 1e12 B/s."""

    mode = "graph"
    device = Device(
        name="NVIDIA H100 80GB HBM3",
        kind="cuda",
        host="h",
        driver="570.1",
        stack="torch-9",
        kernel="cublas",
        memory_bytes=8.5e10,
        cache_bytes=5e7,
        clock_hz=1.7e9,
        units=132,
    )

    def __init__(self, interrupt_at=10**9):
        self.left = interrupt_at

    def dtypes(self):
        return ("bf16",)

    def time(self, case, _budget_s):
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt
        load = load_of(case)
        flop_s, bytes_s = load.flop / 1e14, load.moved_bytes / 1e12
        return Timing(median_s=2e-6 + max(flop_s, bytes_s), spread_fraction=0.01, samples=9)


@pytest.fixture
def run(monkeypatch, tmp_path):
    """Return a caller of the command on the stand-in, files in a folder of the test."""

    def call(*arguments, backend=None):
        monkeypatch.setattr(
            "tapeout.perf.calibrate.choose_backend", lambda *_names: backend or Stub()
        )
        return CliRunner().invoke(APP, ["--out", str(tmp_path / "out"), *arguments])

    return call


def test_rates_are_printed_and_the_chip_is_recognised(run, tmp_path):
    done = run("--quick")
    assert done.exit_code == 0, done.output
    assert "catalogue: NVIDIA H100 SXM" in " ".join(done.output.split())
    assert "gemm bf16" in done.output
    chip = read_chip_file(tmp_path / "out" / "chip.toml")
    gemm = next(one for one in chip.rates if one.op == "gemm")
    assert gemm.constants.flop_per_s == pytest.approx(1e14, rel=0.1)
    assert gemm.constants.bytes_per_s == pytest.approx(1e12, rel=0.1)
    assert (tmp_path / "out" / "measurements.csv").is_file()


def test_json_has_everything(run):
    got = json.loads(run("--quick", "--json").output)
    assert got["timed"] > 50
    assert got["chip"]["device"]["catalogue"] == "NVIDIA H100 SXM"
    assert "one device: no collectives were timed" in got["notes"]


def test_an_interrupt_ends_with_130_and_keeps_the_files(run, tmp_path):
    done = run("--quick", backend=Stub(interrupt_at=60))
    assert done.exit_code == 130
    assert "interrupted" in done.output
    assert read_chip_file(tmp_path / "out" / "chip.toml").measurements.rows == 59


def test_an_early_interrupt_leaves_measurements_and_no_chip_file(run, tmp_path):
    done = run("--quick", backend=Stub(interrupt_at=5))
    assert done.exit_code == 130
    assert "too few products" in " ".join(done.output.split())
    assert [one.name for one in (tmp_path / "out").iterdir()] == ["measurements.csv"]


def test_an_unknown_chip_is_said_before_anything_is_timed(run, tmp_path):
    done = run("--chip", "h10O")
    assert done.exit_code != 0
    assert "did you mean" in str(done.exception)
    assert not (tmp_path / "out").exists()
