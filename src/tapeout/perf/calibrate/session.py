"""A calibration from start to end: choose a backend, time, fit, write two files."""

from __future__ import annotations

import datetime as dt
import hashlib
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from tapeout.catalog import load
from tapeout.chip import spec_from_record
from tapeout.errors import InfeasibleError
from tapeout.perf.calibrate import host
from tapeout.perf.calibrate.chip_file import (
    FORMAT,
    ChipFile,
    CollectiveTable,
    ConstantsTable,
    DeviceTable,
    MeasurementsTable,
    RatesTable,
    SetupTable,
    write_chip_file,
)
from tapeout.perf.calibrate.collectives import CollectiveFit, fit_collectives, time_collectives
from tapeout.perf.calibrate.fit import Measured, OperatorFit, fit_all
from tapeout.perf.calibrate.grid import probes
from tapeout.perf.calibrate.law import GEMM
from tapeout.perf.calibrate.measure import INTERRUPTED, Run, Tell, measure, write_rows
from tapeout.perf.calibrate.numpy_backend import NumpyBackend
from tapeout.perf.calibrate.setups import gemm_setups
from tapeout.perf.calibrate.spec import KNOWN_LOG_SD, catalogue_names
from tapeout.perf.calibrate.torch_backend import TorchBackend, is_installed
from tapeout.perf.calibrate.types import Backend

CSV_NAME = "measurements.csv"
CHIP_NAME = "chip.toml"
COLLECTIVE_SHARE = 0.2  # of the seconds, on top of them
LEAST_S = 5.0
BUSY_LOAD = 0.5  # of other processes a core
NOISY = 0.25  # median spread of the samples above which the machine was busy


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """What a run left behind.

    `chip_path` is None, and `chip` too, where too little was timed for a fit.
    """

    run: Run
    csv_path: Path
    chip_path: Path | None
    chip: ChipFile | None
    notes: tuple[str, ...]


def choose_backend(device: str = "", library: str = "") -> Backend:
    """Backend for a device: torch where it is installed, else numpy on the CPU.

    Parameters
    ----------
    device : str
        "cpu", "cuda" or "cuda:N"; empty: the first GPU that torch sees, else the CPU.
    library : str
        "torch" or "numpy"; empty: as above.

    Raises
    ------
    InfeasibleError
        The library cannot time the device.
    MissingFieldError
        Torch is asked for and not installed.
    """
    if library not in ("", "torch", "numpy"):
        raise InfeasibleError(f"backend {library!r} is none of torch, numpy")
    if library == "numpy" or (not library and not is_installed()):
        if device not in ("", "cpu"):
            raise InfeasibleError(
                f"numpy times the CPU only, not {device!r}; pip install 'tapeout[calibrate]'"
            )
        return NumpyBackend()
    if device:
        return TorchBackend(device)
    try:
        return TorchBackend("cuda:0")
    except InfeasibleError:
        return TorchBackend("cpu")


def calibrate(
    backend: Backend,
    folder: Path,
    *,
    seconds: float = 60.0,
    quick: bool = False,
    catalogue: str = "",
    tell: Tell | None = None,
) -> Calibration:
    """Time the operators of a device and write its measurements and its chip file.

    Parameters
    ----------
    backend : Backend
    folder : Path
        Gets `measurements.csv` (kept up to date while timing) and `chip.toml`.
    seconds : float
        Wall time for timing. [s]
    quick : bool
        Fewer loads and one format.
    catalogue : str
        Catalogue chip to take links and rated power from; empty: by the device's own name.
    tell : callable, optional
        Told each case and the share of the budget that is gone.

    Raises
    ------
    InfeasibleError
        Not one operator could be timed.
    OSError
        The folder cannot be written.
    """
    day = dt.datetime.now(tz=dt.UTC).date().isoformat()
    device = backend.device
    extra = {"date": day, "host": device.host, "driver": device.driver}
    csv_path, busy = folder / CSV_NAME, _busy(backend)
    cases = probes(device, backend.dtypes(), backend.mode, quick=quick)
    run = measure(
        backend,
        cases,
        seconds=seconds,
        tell=tell,
        save=lambda found: write_rows(csv_path, found, extra),
    )
    if not run.measured:
        reason = run.skipped[0][1] if run.skipped else run.stopped
        raise InfeasibleError(f"not one operator was timed on {device.name}: {reason}")
    operators = tuple(run.measured)
    lines, about = _collectives(backend, run, seconds=seconds)
    if lines:
        write_rows(csv_path, run, extra)
    fits = fit_all(operators)
    notes = [*busy, *_notes(run, fits), about]
    if not any(one.op == GEMM for one in fits):
        notes.append("too few products were timed for a chip file; give it more --seconds")
        return Calibration(
            run=run, csv_path=csv_path, chip_path=None, chip=None, notes=tuple(notes)
        )
    name = catalogue or catalogue_names().get(device.name, "")
    chip = _chip_file(backend, run, (fits, lines), csv_path, (day, name))
    chip = chip.model_copy(update={"setups": _setups(operators, backend, name)})
    chip_path = folder / CHIP_NAME
    write_chip_file(chip_path, chip)
    return Calibration(
        run=run, csv_path=csv_path, chip_path=chip_path, chip=chip, notes=tuple(notes)
    )


def median_spread(measured: Sequence[Measured]) -> float:
    """Median over the timings of the spread of their samples."""
    return float(np.median([one.spread_fraction for one in measured]))


def _setups(measured: Sequence[Measured], backend: Backend, catalogue: str) -> list[SetupTable]:
    """Set-ups of the tile law for a GPU whose rated peaks and cores are known."""
    if backend.device.kind == "cpu" or not catalogue:
        return []
    return list(gemm_setups(measured, spec_from_record(load().chip(catalogue))))


def _collectives(
    backend: Backend, run: Run, *, seconds: float
) -> tuple[tuple[CollectiveFit, ...], str]:
    """Time collectives where there are several devices, and add them to the run."""
    device = backend.device
    if device.devices < 2:
        return (), "one device: no collectives were timed"
    if run.stopped == INTERRUPTED:
        return (), "interrupted before the collectives"
    try:
        found = time_collectives(
            device, ranks=device.devices, seconds=max(LEAST_S, COLLECTIVE_SHARE * seconds)
        )
    except InfeasibleError as error:
        return (), str(error)
    run.measured += found
    return fit_collectives(found), f"{len(found)} collectives over {device.devices} devices"


def _busy(backend: Backend) -> list[str]:
    """A warning where other work runs on the processor that is to be timed."""
    load = host.load_per_core()
    if backend.device.kind != "cpu" or load < BUSY_LOAD:
        return []
    return [
        f"{load:.1f} processes a core wanted to run before the first timing: these are rates of a"
        " shared machine, not of the processor"
    ]


def _notes(run: Run, fits: Sequence[OperatorFit]) -> list[str]:
    """What a reader of the figures must know."""
    notes = [run.stopped] if run.stopped else []
    if run.skipped:
        case, reason = run.skipped[0]
        notes.append(
            f"{len(run.skipped)} cases skipped, the first {case.op} {case.dtype}: {reason}"
        )
    spread = median_spread(run.measured)
    if spread > NOISY:
        notes.append(
            f"samples of one case scatter by {spread:.0%}: the machine was busy, time it idle"
        )
    vague = [
        f"{one.op} {one.dtype}"
        for one in fits
        if one.op == GEMM and one.log_sd["flop_per_s"] > KNOWN_LOG_SD
    ]
    if vague:
        notes.append(
            f"the arithmetic rate of {', '.join(vague)} is not identified: the chip file is a guess"
            " there; give it more --seconds"
        )
    unscored = [f"{one.op} {one.dtype}" for one in fits if not one.report_rows]
    if unscored:
        notes.append(f"no timing left to score on: {', '.join(unscored)}")
    return notes


def _chip_file(
    backend: Backend,
    run: Run,
    found: tuple[Sequence[OperatorFit], Sequence[CollectiveFit]],
    csv_path: Path,
    named: tuple[str, str],
) -> ChipFile:
    fits, lines = found
    day, catalogue = named
    return ChipFile(
        format=FORMAT,
        device=_device(backend, day, catalogue),
        measurements=MeasurementsTable(
            file=csv_path.name,
            sha256=hashlib.sha256(csv_path.read_bytes()).hexdigest(),
            rows=len(run.measured),
            skipped=len(run.skipped),
            median_spread=median_spread(run.measured),
            note=run.stopped,
        ),
        rates=[_rates(one) for one in fits],
        collectives=[CollectiveTable(**asdict(one)) for one in lines],
    )


def _device(backend: Backend, day: str, catalogue: str) -> DeviceTable:
    found = asdict(backend.device) | {"date": day, "mode": backend.mode, "catalogue": catalogue}
    return DeviceTable.model_validate(found)


def _rates(fit: OperatorFit) -> RatesTable:
    law = fit.constants
    scored = fit.report_rows > 0
    return RatesTable(
        op=fit.op,
        dtype=fit.dtype,
        fit_rows=fit.fit_rows,
        report_rows=fit.report_rows,
        median_error=fit.median_error if scored else None,
        p90_error=fit.p90_error if scored else None,
        best_flop_per_s=fit.best_flop_per_s,
        best_bytes_per_s=fit.best_bytes_per_s,
        constants=ConstantsTable(
            launch_s=law.launch_s,
            bytes_per_s=law.bytes_per_s,
            flop_per_s=law.flop_per_s if math.isfinite(law.flop_per_s) else None,
            half_m=law.half_m,
            half_n=law.half_n,
            half_k=law.half_k,
        ),
        log_sd=dict(fit.log_sd),
    )
