"""From a chip file to the specification that the timing model works with."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources
from pathlib import Path

import numpy as np

from tapeout.catalog import load
from tapeout.chip import ChipSpec, spec_from_record
from tapeout.errors import MissingFieldError
from tapeout.numerics import Floats
from tapeout.perf.calibrate.chip_file import ChipFile, RatesTable, read_chip_file
from tapeout.perf.calibrate.law import GEMM, RateConstants, utilisation
from tapeout.perf.constants import load_fit

PRODUCTS = ("gemm", "grouped_gemm")
KNOWN_LOG_SD = 0.5  # a rate with a larger error was not identified by the timings
SCATTERED = 0.5  # median error above which a calibration is no use
NORMAL_P90 = 1.645  # 90th percentile of its absolute value over its standard deviation
NORMAL = 0.6745  # median absolute deviation of a normal distribution over its standard deviation


@cache
def catalogue_names() -> dict[str, str]:
    """Catalogue chips by the name their driver gives, data/devices.csv."""
    text = resources.files("tapeout.perf").joinpath("data/devices.csv").read_text("utf-8")
    return {row["device"]: row["chip"] for row in csv.DictReader(text.splitlines())}


@dataclass(frozen=True, slots=True, kw_only=True)
class SustainedRates:
    """Efficiency relative to rates that are sustained already; an `EfficiencyModel`.

    Attributes
    ----------
    gemm : RateConstants
        Its half-way sizes say how far small products get.
    attention : mapping of operator kind to fraction
        Arithmetic rate of attention over that of a large product in the same format.
    """

    gemm: RateConstants
    attention: Mapping[str, float]

    def compute_fraction(self, kind: str, m: Floats, n: Floats, k: Floats) -> Floats:
        """Sustained rate of an operator over that of a large product, shape of m."""
        if kind in PRODUCTS:
            one = np.ones_like(m)
            return utilisation(
                np.maximum(m, one), np.maximum(n, one), np.maximum(k, one), self.gemm
            )
        return np.full_like(m, self.attention.get(kind, 1.0))

    def memory_fraction(self, moved_bytes: Floats) -> Floats:
        """One: the bandwidth of the specification is the sustained one."""
        return np.ones_like(moved_bytes)


def load_chip_file(path: Path) -> ChipSpec:
    """Specification of the chip that a calibration measured.

    Raises
    ------
    ProblemsError
        Everything that is wrong with the file.
    UnknownNameError
        Its catalogue name is none.
    MissingFieldError
        No GEMM was timed.
    """
    return spec_of(read_chip_file(path))


def spec_of(content: ChipFile) -> ChipSpec:
    """Specification from the content of a chip file.

    Peaks and bandwidth are the sustained ones. What a calibration does not measure (links, rated
    power, process) is the catalogue's where the device is known there, else unknown.

    Raises
    ------
    UnknownNameError
        The catalogue name is none.
    MissingFieldError
        No GEMM was timed.
    """
    device = content.device
    gemm = {one.dtype: one for one in content.rates if one.op == GEMM and one.constants.flop_per_s}
    if not gemm:
        raise MissingFieldError(
            f"the chip file of {device.name} has no [[rates]] of a gemm; calibrate again with more"
            " --seconds"
        )
    peaks = {dtype: float(one.constants.flop_per_s or 0.0) for dtype, one in gemm.items()}
    bandwidth, source = _bandwidth(content.rates)
    notes = [
        f"peaks and bandwidth are sustained rates measured on {device.date} ({device.stack}),"
        f" the bandwidth by {source}"
    ]
    notes += _scatter(content.rates)
    base = spec_from_record(load().chip(device.catalogue)) if device.catalogue else None
    if base is not None:
        notes += _scale_unmeasured(peaks, base)
    else:
        notes.append("not in the catalogue: no links, no rated power (energy is dynamic part only)")
    plain = base or ChipSpec(
        name=device.name, peak_flop_per_s={}, memory_bytes=0.0, memory_bytes_per_s=0.0
    )
    return replace(
        plain,
        peak_flop_per_s=peaks,
        memory_bytes=device.memory_bytes,
        memory_bytes_per_s=bandwidth,
        efficiency=_efficiency(content.rates, gemm),
        own_log_sd=math.hypot(load_fit().spread.software, _operator_log_sd(content.rates)),
        assumptions=(*plain.assumptions, *notes),
        cores=plain.cores or device.units,
        l2_bytes=plain.l2_bytes or device.cache_bytes,
    )


def _bandwidth(rates: list[RatesTable]) -> tuple[float, str]:
    """Sustained bandwidth and which operator showed it.

    Serving reads weights, so products come first where their timings identify the rate; a copy
    reads and writes at the same time.
    """
    known = [one for one in rates if one.log_sd.get("bytes_per_s", math.inf) < KNOWN_LOG_SD]
    for some in ([one for one in known if one.op == GEMM], known, rates):
        if some:
            best = max(some, key=lambda one: one.constants.bytes_per_s)
            return best.constants.bytes_per_s, f"{best.op} in {best.dtype}"
    raise AssertionError  # a chip file has at least one table of rates


def _scale_unmeasured(peaks: dict[str, float], base: ChipSpec) -> list[str]:
    """Give formats that were not timed their rated peak times the mean share of the others."""
    shares = [
        peaks[name] / base.peak_flop_per_s[name] for name in peaks & base.peak_flop_per_s.keys()
    ]
    if not shares:
        return []
    share = float(np.exp(np.mean(np.log(shares))))
    missing = {name: rate for name, rate in base.peak_flop_per_s.items() if name not in peaks}
    peaks |= {name: rate * share for name, rate in missing.items()}
    return [f"{name} was not timed: rated peak times {share:.2f}" for name in missing]


def _efficiency(rates: list[RatesTable], gemm: Mapping[str, RatesTable]) -> SustainedRates:
    """Half-way sizes of the format with the most timings; attention over products."""
    most = max(gemm.values(), key=lambda one: one.fit_rows)
    attention = {}
    for one in rates:
        reference = gemm.get(one.dtype, most).constants.flop_per_s
        identified = one.log_sd.get("flop_per_s", math.inf) < KNOWN_LOG_SD
        if one.op != GEMM and one.constants.flop_per_s and reference and identified:
            attention[one.op] = one.constants.flop_per_s / reference
    return SustainedRates(gemm=most.constants.law(), attention=attention)


def _operator_log_sd(rates: list[RatesTable]) -> float:
    """Error of the operator law on timings it did not see, weighted by their number.

    The wider of what the median and the 90th percentile say: on a machine that others use a few
    timings are far off while the median looks well.
    """
    scored = [one for one in rates if one.report_rows and one.median_error is not None]
    if not scored:
        return 0.0
    weight = np.array([one.report_rows for one in scored], dtype=float)
    median = np.array([one.median_error for one in scored], dtype=float)
    p90 = np.array([one.p90_error or 0.0 for one in scored], dtype=float)
    error = np.maximum(np.log1p(median) / NORMAL, np.log1p(p90) / NORMAL_P90)
    return float(np.average(error, weights=weight))


def _scatter(rates: list[RatesTable]) -> list[str]:
    """Say which laws do not describe their own timings."""
    return [
        f"the law of {one.op} in {one.dtype} is off by {one.median_error:.0%} (median) on timings"
        " it did not see: calibrate again on a quiet machine with more --seconds"
        for one in rates
        if one.median_error is not None and one.median_error > SCATTERED
    ]
