"""What is timed is what is meant: numpy's attention and norms, torch's events."""

import hashlib
import json
import types
from dataclasses import replace

import numpy as np
import pytest

from tapeout.errors import InfeasibleError, MissingFieldError
from tapeout.perf.calibrate import calibrate, choose_backend, load_chip_file, read_chip_file
from tapeout.perf.calibrate import host as about
from tapeout.perf.calibrate import torch_backend as torches
from tapeout.perf.calibrate.collectives import CollectiveFit, fit_collectives, time_collectives
from tapeout.perf.calibrate.fit import Measured
from tapeout.perf.calibrate.grid import PROCESSOR, Grid
from tapeout.perf.calibrate.numpy_backend import NumpyBackend
from tapeout.perf.calibrate.torch_backend import CALLS, TorchBackend
from tapeout.perf.ops.cases import OpCase


def case(op, dtype="fp32", **numbers):
    return OpCase(chip="c", op=op, dtype=dtype, **{k: float(v) for k, v in numbers.items()})


class Fixed(NumpyBackend):
    """Hands out tensors that the test knows instead of the pool."""

    def _tensors(self, *shape):
        values = np.random.default_rng(len(shape) + sum(shape)).standard_normal(shape)
        return lambda: values.astype(np.float32)


def test_numpy_attention_is_causal_softmax_attention():
    shape = {"batch": 1, "q_len": 3, "kv_len": 0, "heads": 2, "kv_heads": 1, "head_dim": 4}
    backend = Fixed()
    got = backend._attention(case("attention_prefill", **shape))()
    keys, values = backend._tensors(1, 1, 4, 3)()[0, 0], backend._tensors(1, 1, 3, 4)()[0, 0]
    scores = np.full(4, 0.01) @ keys
    for query in range(3):
        weight = np.exp(scores[: query + 1])
        want = weight @ values[: query + 1] / weight.sum()
        for head in range(2):
            assert got[0, 0, head * 3 + query] == pytest.approx(want, rel=1e-4)


def test_cold_weights_rotate_through_more_than_the_cache():
    backend = NumpyBackend()
    draw = backend._tensors(512, 512)
    first = draw()
    places = {draw().__array_interface__["data"][0] for _ in range(400)}
    assert len(places) * first.nbytes >= min(4 * backend.device.cache_bytes, 2**29) - first.nbytes
    assert not np.shares_memory(first, draw())


@pytest.mark.parametrize("op", ["gemm", "copy", "silu_mul", "rmsnorm"])
def test_numpy_times_every_operator(op):
    got = NumpyBackend().time(case(op, m=4, n=64, k=64), 0.001)
    assert got.median_s > 0.0
    assert got.samples >= 6


def test_numpy_says_what_it_cannot_do():
    with pytest.raises(InfeasibleError, match="fp32 only"):
        NumpyBackend().time(case("gemm", dtype="bf16", m=1, n=1, k=1), 0.1)
    with pytest.raises(InfeasibleError, match="too much"):
        NumpyBackend().time(case("gemm", m=1, n=1e6, k=1e6), 0.1)


def test_backends_are_chosen_by_name(monkeypatch):
    assert isinstance(choose_backend("cpu", "numpy"), NumpyBackend)
    with pytest.raises(InfeasibleError, match="none of torch, numpy"):
        choose_backend("", "jax")
    monkeypatch.setattr(torches, "is_installed", lambda: False)
    monkeypatch.setattr("tapeout.perf.calibrate.session.is_installed", lambda: False)
    assert isinstance(choose_backend(), NumpyBackend)
    with pytest.raises(InfeasibleError, match="CPU only"):
        choose_backend("cuda:0")
    with pytest.raises(MissingFieldError, match="not installed"):
        choose_backend("cpu", "torch")


class Context:
    """Stands in for a stream, and for the context of a stream or of a capture."""

    def __init__(self, *_arguments, **_options):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *_details):
        return False

    def synchronize(self):
        pass


class Graph:
    """Writes down its replays."""

    log: list[str] = []  # noqa: RUF012  emptied by the test

    def replay(self):
        self.log.append("replay")


class Event:
    """Writes down that it was recorded; any two are 8 ms apart."""

    def __init__(self, *, enable_timing):
        assert enable_timing

    def record(self):
        Graph.log.append("event")

    def synchronize(self):
        pass

    def elapsed_time(self, _end):
        return 8.0


def test_events_are_milliseconds_of_all_calls_of_a_graph():
    """No GPU is at hand: a stand-in for torch.cuda counts what the backend asks of it."""
    cuda = types.SimpleNamespace(
        Stream=Context, stream=Context, CUDAGraph=Graph, graph=Context, Event=Event
    )
    backend = object.__new__(TorchBackend)
    backend.torch, backend._on = types.SimpleNamespace(cuda=cuda), "cuda:0"
    captured = []
    Graph.log.clear()
    once = backend._events(lambda: captured.append(1))
    assert len(captured) == 2 + CALLS  # libraries warm up outside the capture
    assert once() == pytest.approx(8e-3 / CALLS)
    assert Graph.log == ["event", "replay", "event"]


def test_a_line_of_a_collective_is_found_again():
    rows = [
        Measured(case=case("all_reduce", n_chips=8, message_bytes=size, measured_s=time))
        for size in (1e4, 1e6, 1e8)
        for time in (2e-5 + 2 * size * 7 / 8 / 4e11,)
    ]
    (got,) = fit_collectives(rows)
    assert got == CollectiveFit(
        op="all_reduce",
        n_chips=8,
        latency_s=pytest.approx(2e-5),
        bus_bytes_per_s=pytest.approx(4e11),
    )


def test_one_device_has_no_collectives():
    with pytest.raises(InfeasibleError, match="at least two"):
        time_collectives(NumpyBackend().device, ranks=1, seconds=1.0)


INFO = "processor : 0\nmodel name : A CPU\ncpu MHz : 2000.5\nmodel name : A CPU\ncpu MHz : 2100\n"


def test_the_host_is_described_from_its_files(tmp_path):
    assert about.processor_name(INFO) == "A CPU"
    assert about.processor_clock_hz(INFO) == 2.1e9
    assert about.processor_clock_hz("") == 0.0
    (tmp_path / "index3").mkdir()
    (tmp_path / "index3" / "size").write_text("48M\n", encoding="utf-8")
    assert about.cache_bytes(tmp_path) == 48 * 2**20
    assert about.cache_bytes(tmp_path / "none") == about.USUAL_CACHE_BYTES


TINY = Grid(
    tokens=(1, 4, 16, 64),
    weights=(*PROCESSOR.weights[:1], (64, 64), (128, 256), (256, 128), (96, 192), (256, 256)),
    heads=((4, 2, 16), (8, 1, 64), (8, 8, 128)),
    prompts=((1, 16), (1, 32)),
    contexts=((1, 32), (2, 64)),
    rows=(1, 32, 256),
    widths=(64, 256, 1024),
)


def test_a_real_short_calibration_of_this_processor(tmp_path, monkeypatch):
    """Seconds with numpy: files appear, and rates are those of a processor, not of a wish."""
    monkeypatch.setattr("tapeout.perf.calibrate.grid.PROCESSOR", TINY)
    backend = choose_backend("cpu", "numpy")
    backend.device = replace(backend.device, cache_bytes=1e6)
    done = calibrate(backend, tmp_path, seconds=4.0)
    assert [one.name for one in sorted(tmp_path.iterdir())] == ["chip.toml", "measurements.csv"]
    content = read_chip_file(done.chip_path)
    assert content.device.stack.startswith("numpy-")
    assert content.measurements.rows == len(done.run.measured) > 40
    digest = hashlib.sha256(done.csv_path.read_bytes()).hexdigest()
    assert content.measurements.sha256 == digest
    gemm = next(one for one in content.rates if one.op == "gemm")
    assert 1e7 < gemm.best_flop_per_s < 1e14
    assert gemm.report_rows > 0
    assert load_chip_file(done.chip_path).peak_flop_per_s["fp32"] == gemm.constants.flop_per_s
    assert any("no collectives" in note for note in done.notes)


def test_a_busy_machine_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr("tapeout.perf.calibrate.grid.PROCESSOR", TINY)
    monkeypatch.setattr(about.os, "getloadavg", lambda: (9.0 * about.usable_cores(), 0.0, 0.0))
    backend = choose_backend("cpu", "numpy")
    backend.device = replace(backend.device, cache_bytes=1e6)
    done = calibrate(backend, tmp_path, seconds=0.05)
    assert done.notes[0].startswith("9.0 processes a core")


# with torch


@pytest.fixture(scope="module")
def torch_cpu():
    pytest.importorskip("torch")
    return TorchBackend("cpu")


@pytest.mark.extra_calibrate
@pytest.mark.parametrize(
    "one",
    [
        case("gemm", dtype="bf16", m=4, n=64, k=64),
        case("copy", m=4, n=64),
        case("silu_mul", m=4, n=64),
        case("rmsnorm", m=4, n=64),
        case("attention_prefill", batch=1, q_len=8, kv_len=0, heads=4, kv_heads=2, head_dim=16),
        case("attention_decode", batch=2, q_len=1, kv_len=9, heads=4, kv_heads=2, head_dim=16),
    ],
    ids=lambda one: one.op,
)
def test_torch_times_every_operator(torch_cpu, one):
    assert torch_cpu.time(one, 0.001).median_s > 0.0


@pytest.mark.extra_calibrate
def test_torch_refuses_what_is_not_there(torch_cpu):
    assert "fp32" in torch_cpu.dtypes()
    with pytest.raises(InfeasibleError, match="torch sees"):
        TorchBackend("cuda:99")
    with pytest.raises(InfeasibleError, match="none of cpu, cuda"):
        TorchBackend("gpu")
    with pytest.raises(InfeasibleError, match="cached prefix"):
        torch_cpu.time(
            case("attention_prefill", batch=1, q_len=8, kv_len=4, heads=4, kv_heads=2, head_dim=16),
            0.001,
        )


@pytest.mark.extra_calibrate
def test_collectives_between_two_processes(torch_cpu):
    rows = time_collectives(torch_cpu.device, ranks=2, seconds=0.2, sizes=(4096, 2**20))
    assert {one.case.op for one in rows} == {"all_reduce", "all_gather"}
    assert all(one.case.measured_s > 0.0 and one.samples >= 6 for one in rows)
    assert json.dumps([one.case.message_bytes for one in rows])
