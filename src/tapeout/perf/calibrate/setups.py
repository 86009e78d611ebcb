"""Set-ups of the tile law from a calibration: the form in which `tapeout validate ops` reads one.

The plain law of `calibrate.law` serves a device nobody described. Where the catalogue knows the
cores and rated peaks of a GPU, its timings also identify the constants of the tile law
(`perf.ops.gemm`), and a set-up of one's own stands beside the shipped ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from tapeout.chip.types import ChipSpec
from tapeout.perf.calibrate.chip_file import ChipFile, SetupTable, read_chip_file
from tapeout.perf.calibrate.fit import Measured
from tapeout.perf.calibrate.law import GEMM
from tapeout.perf.ops.cases import OpCase
from tapeout.perf.ops.split import fit_part, report_part
from tapeout.perf.ops.store import Setup

LEAST_ROWS = 60  # of the fit part: five times the constants


def gemm_setups(measured: Sequence[Measured], chip: ChipSpec) -> tuple[SetupTable, ...]:
    """Fit the tile law to the products of each format, score it on those it did not see.

    Parameters
    ----------
    measured : sequence of Measured
        Of one device, stack and launch mode.
    chip : ChipSpec
        Rated: the constants are fractions of its peaks and bandwidth.

    Returns
    -------
    tuple of SetupTable
        Empty where too little was timed.
    """
    groups: dict[str, list[OpCase]] = {}
    for one in measured:
        if one.case.op == GEMM:
            groups.setdefault(one.case.dtype, []).append(one.case)
    return tuple(
        _setup(dtype, some, chip)
        for dtype, some in groups.items()
        if len(fit_part(some)) >= LEAST_ROWS and report_part(some)
    )


def _setup(dtype: str, cases: Sequence[OpCase], chip: ChipSpec) -> SetupTable:
    from tapeout.perf.ops.fit_gemm import (  # noqa: PLC0415  loads numba when it runs
        GENERIC,
        NAMES,
        FitError,
        fit_gemm,
        table_of,
    )

    known, held = fit_part(cases), report_part(cases)
    # activations were in their format before the clock started: no quantise terms
    constants, covariance, _ = fit_gemm(known, chip, GENERIC)
    error = FitError.of(table_of(held, chip).log_error(constants))
    sd = np.sqrt(np.maximum(np.diag(covariance), 0.0))
    return SetupTable(
        op=GEMM,
        dtype=dtype,
        fit_rows=len(known),
        report_rows=error.rows,
        median_error=error.median,
        p90_error=error.p90,
        log_sd=error.log_sd,
        constants=asdict(constants),
        constants_log_sd=dict(zip(NAMES, map(float, sd), strict=True)),
    )


def load_setups(path: Path) -> tuple[Setup, ...]:
    """Set-ups of a chip file, to be put before the shipped ones in `perf.ops.store.nearest`.

    Raises
    ------
    ProblemsError
        Everything that is wrong with the file.
    """
    return setups_of(read_chip_file(path), source=path.name)


def setups_of(content: ChipFile, source: str = "chip file") -> tuple[Setup, ...]:
    """Set-ups in the content of a chip file."""
    device = content.device
    return tuple(
        Setup(
            chip=device.catalogue or device.name,
            stack=device.stack,
            dtype=one.dtype,
            kernel=device.kernel,
            mode=device.mode,
            constants=one.constants,
            log_sd=one.log_sd,
            rows=one.fit_rows,
            fitted=device.date,
            source=source,
        )
        for one in content.setups
    )
