"""A calibration file reads back as written; applied, it scales times and leaves energy alone."""

from dataclasses import replace

import numpy as np
import pytest

from tapeout.errors import ProblemsError
from tapeout.serving.engine.job import Front
from tapeout.serving.engine.types import PS_PER_S, StepTable
from tapeout.serving.telemetry import (
    Calibration,
    Constants,
    apply_calibration,
    load_calibration,
    write_calibration,
)

TABLE = StepTable(
    tokens_ps=np.array([0, 100, 250]),
    sampled_ps=np.array([0, 10]),
    contexts=np.array([0, 8]),
    decode_ps=np.array([[0, 0], [4, 44]]),
    slope_ps=np.array([[0, 0], [5, 5]]),
    prefill=np.array([1.0]),
    keys=np.array([1.0]),
    sequences=np.array([0.0]),
    mixed_ps=np.array([[[[3.0, 7.0]]]]),
    shared_ps=np.array([20]),
    tokens_j=np.array([0.0, 1.0, 2.0]),
    sampled_j=np.array([0.0, 0.5]),
    decode_j=np.zeros((2, 2)),
    mixed_j=np.zeros((1, 1, 1, 2)),
    shared_j=np.array([0.25]),
)


def content(**changes):
    known = {"value": 1.25, "low": 1.0, "high": 1.5}
    raw = {
        "source": {"log": 'a "log".csv', "requests": 100, "fitted": 60, "held": 40},
        "constants": {
            "operator_factor": known,
            "step_s": {"value": 2e-4, "low": 0.0, "high": 3e-4, "identified": False},
            "request_s": {"value": 0.015, "low": 0.01, "high": 0.02},
            "token_s": {"value": 4.6e-5, "low": 4e-5, "high": 5e-5},
        },
        "errors": [
            {"metric": "ttft", "statistic": "p90", "measured_s": 0.2, "before": -0.3, "after": 0.01}
        ],
        "warnings": ["step_s is not determined"],
    }
    return Calibration.model_validate(raw | changes)


def test_a_file_reads_back_as_written(tmp_path):
    path = tmp_path / "deep" / "calibration.toml"
    write_calibration(path, content())
    assert load_calibration(path) == content()
    assert path.read_text(encoding="utf-8").startswith("# Written by `tapeout fit`")


def test_a_file_without_errors_or_warnings_reads_back_too(tmp_path):
    path = tmp_path / "calibration.toml"
    write_calibration(path, content(errors=[], warnings=[]))
    assert load_calibration(path) == content(errors=[], warnings=[])


def test_the_constants_are_those_of_the_file():
    assert content().values() == Constants(
        operator_factor=1.25, step_s=2e-4, request_s=0.015, token_s=4.6e-5
    )


def test_times_are_scaled_and_every_step_with_tokens_gets_the_overhead():
    constants = Constants(operator_factor=2.0, step_s=50 / PS_PER_S, request_s=0.1, token_s=0.2)
    table, front = apply_calibration(TABLE, Front(request_s=9.0), constants)
    assert table.tokens_ps.tolist() == [0, 250, 550]
    assert table.sampled_ps.tolist() == [0, 20]
    assert table.decode_ps.tolist() == [[0, 0], [8, 88]]
    assert table.slope_ps.tolist() == [[0, 0], [10, 10]]
    assert table.mixed_ps.ravel().tolist() == [6.0, 14.0]
    assert table.shared_ps.tolist() == [40]
    assert front == Front(request_s=0.1, token_s=0.2)


def test_energy_is_left_as_it_is_and_times_stay_whole():
    table, _ = apply_calibration(TABLE, Front(), content())
    for name in ("tokens_j", "sampled_j", "decode_j", "mixed_j", "shared_j"):
        assert np.array_equal(getattr(table, name), getattr(TABLE, name))
    for name in ("tokens_ps", "sampled_ps", "decode_ps", "slope_ps", "shared_ps"):
        assert getattr(table, name).dtype == np.int64


def test_nothing_calibrated_changes_nothing():
    table, front = apply_calibration(TABLE, Front(), Constants())
    assert front == Front()
    for name in ("tokens_ps", "sampled_ps", "decode_ps", "slope_ps", "mixed_ps", "shared_ps"):
        assert np.array_equal(getattr(table, name), getattr(TABLE, name))
    assert replace(table).idle_w == TABLE.idle_w


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("x = [", "TOML"),
        ("format = 1\n", "source"),
        ("format = 2\n", "format"),
    ],
)
def test_a_file_that_is_no_calibration_is_refused(tmp_path, text, word):
    path = tmp_path / "calibration.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ProblemsError, match=word):
        load_calibration(path)


def test_unknown_keys_and_negative_times_are_named(tmp_path):
    path = tmp_path / "calibration.toml"
    write_calibration(path, content())
    text = path.read_text(encoding="utf-8")
    path.write_text(
        text.replace("value = 0.015", "value = -1.0").replace("held = 40", "held = 40\nhold = 1"),
        encoding="utf-8",
    )
    with pytest.raises(ProblemsError) as error:
        load_calibration(path)
    assert "constants.request_s.value = -1.0" in str(error.value)
    assert "source.hold" in str(error.value)


def test_missing_and_binary_files_are_refused(tmp_path):
    with pytest.raises(ProblemsError, match="tapeout fit"):
        load_calibration(tmp_path / "none.toml")
    path = tmp_path / "bytes.toml"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ProblemsError, match="UTF-8"):
        load_calibration(path)
