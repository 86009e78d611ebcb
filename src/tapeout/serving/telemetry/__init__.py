"""Telemetry in: a deployment's request log, and the constants that it calibrates."""

from tapeout.serving.telemetry.calibration import (
    Calibration,
    Constants,
    apply_calibration,
    load_calibration,
    write_calibration,
)
from tapeout.serving.telemetry.fit import Engine, Fit, fit_log
from tapeout.serving.telemetry.log import RequestLog, read_log

__all__ = [
    "Calibration",
    "Constants",
    "Engine",
    "Fit",
    "RequestLog",
    "apply_calibration",
    "fit_log",
    "load_calibration",
    "read_log",
    "write_calibration",
]
