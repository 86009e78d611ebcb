"""Set-ups of the tile law from a user's own timings."""

from dataclasses import replace

import numpy as np
import pytest

from tapeout.catalog import load
from tapeout.chip import spec_from_record
from tapeout.perf.calibrate.chip_file import ChipFile
from tapeout.perf.calibrate.fit import Measured
from tapeout.perf.calibrate.grid import probes
from tapeout.perf.calibrate.setups import gemm_setups, setups_of
from tapeout.perf.calibrate.types import Device
from tapeout.perf.ops.fit_gemm import GENERIC
from tapeout.perf.ops.gemm import gemm_s
from tapeout.perf.ops.gemm_rates import rates_for
from tapeout.perf.ops.split import group, is_fit_group
from tapeout.perf.ops.store import Distance, Wanted, nearest

H100 = "NVIDIA H100 SXM"
TRUE = replace(GENERIC, compute_fraction=0.8, memory_fraction=0.7, launch_s=3e-6)
DEVICE = Device(
    name="NVIDIA H100 80GB HBM3",
    kind="cuda",
    host="h",
    driver="1",
    stack="torch-9",
    kernel="cublas",
    memory_bytes=8e10,
    cache_bytes=5e7,
    clock_hz=1.7e9,
    units=132,
)


@pytest.fixture(scope="module")
def timed():
    """Products of a chip that follows the tile law with known constants, 2 % noise."""
    chip = spec_from_record(load().chip(H100))
    cases = [one for one in probes(DEVICE, ("bf16",), "graph", quick=False) if one.op == "gemm"]
    shape = np.array([(one.m, one.n, one.k) for one in cases]).T
    times = gemm_s(*shape, rates_for(chip, "bf16", "bf16"), TRUE)
    noise = np.exp(0.02 * np.random.default_rng(3).standard_normal(len(cases)))
    return [
        Measured(case=replace(case, measured_s=float(time)))
        for case, time in zip(cases, times * noise, strict=True)
    ]


def test_constants_that_timings_identify_are_found_again(timed):
    (found,) = gemm_setups(timed, spec_from_record(load().chip(H100)))
    assert found.constants["compute_fraction"] == pytest.approx(0.8, rel=0.1)
    assert found.constants["memory_fraction"] == pytest.approx(0.7, rel=0.1)
    assert found.median_error < 0.05
    held = [one for one in timed if not is_fit_group(group(one.case))]
    assert (found.fit_rows, found.report_rows) == (len(timed) - len(held), len(held))
    assert "quantise_s" in found.constants
    assert found.constants["quantise_s"] == 0.0


def test_too_few_products_give_none(timed):
    assert gemm_setups(timed[:40], spec_from_record(load().chip(H100))) == ()


def test_a_chip_file_with_set_ups_speaks_for_its_own_chip():
    content = ChipFile.model_validate(FILE)
    (own,) = setups_of(content, "chip.toml")
    match = nearest((own,), Wanted(chip=H100, stack="torch-9", dtype="bf16", mode="graph"))
    assert match.distance is Distance.EXACT
    assert match.setup.constants["compute_fraction"] == 0.8


FILE = {
    "format": 1,
    "device": {
        "name": DEVICE.name, "kind": "cuda", "date": "2026-11-25", "host": "h", "driver": "1",
        "stack": "torch-9", "kernel": "cublas", "mode": "graph", "clock_hz": 1.7e9,
        "memory_bytes": 8e10, "cache_bytes": 5e7, "units": 132, "catalogue": H100,
    },
    "measurements": {
        "file": "m.csv", "sha256": "0" * 64, "rows": 9, "median_spread": 0.01,
    },
    "rates": [
        {
            "op": "gemm", "dtype": "bf16", "fit_rows": 9, "report_rows": 0, "best_flop_per_s": 1.0,
            "best_bytes_per_s": 1.0, "log_sd": {},
            "constants": {"launch_s": 1e-6, "bytes_per_s": 1e12, "flop_per_s": 1e14},
        }
    ],
    "setups": [
        {
            "op": "gemm", "dtype": "bf16", "fit_rows": 90, "report_rows": 30, "median_error": 0.02,
            "p90_error": 0.1, "log_sd": 0.05, "constants": {"compute_fraction": 0.8},
            "constants_log_sd": {"compute_fraction": 0.01},
        }
    ],
}  # fmt: skip
