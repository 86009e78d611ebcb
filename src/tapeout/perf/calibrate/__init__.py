"""Time the accelerator at hand, fit its sustained rates, and write a chip file the tool uses."""

from tapeout.perf.calibrate.chip_file import ChipFile, read_chip_file, write_chip_file
from tapeout.perf.calibrate.session import Calibration, calibrate, choose_backend
from tapeout.perf.calibrate.setups import load_setups, setups_of
from tapeout.perf.calibrate.spec import load_chip_file, spec_of
from tapeout.perf.calibrate.types import Backend, Device, Timing

__all__ = [
    "Backend",
    "Calibration",
    "ChipFile",
    "Device",
    "Timing",
    "calibrate",
    "choose_backend",
    "load_chip_file",
    "load_setups",
    "read_chip_file",
    "setups_of",
    "spec_of",
    "write_chip_file",
]
