"""The law of a calibration: limits, recovery of known constants, and a report part nobody fits."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from tapeout.errors import InfeasibleError
from tapeout.perf.calibrate.fit import Measured, fit_all, fit_operator
from tapeout.perf.calibrate.grid import ACCELERATOR
from tapeout.perf.calibrate.law import RateConstants, Rows, rate_s, rows_of, utilisation
from tapeout.perf.ops.cases import OpCase
from tapeout.perf.ops.split import is_fit_group, report_part

TRUE = RateConstants(
    launch_s=3e-6, flop_per_s=8e14, bytes_per_s=2.8e12, half_m=40.0, half_n=300.0, half_k=200.0
)


def products(law=TRUE, noise=0.0, seed=1):
    cases = [
        OpCase(chip="c", op="gemm", dtype="bf16", m=float(m), n=float(n), k=float(k))
        for m, (n, k) in product(ACCELERATOR.tokens, ACCELERATOR.weights)
    ]
    factor = np.exp(noise * np.random.default_rng(seed).standard_normal(len(cases)))
    times = rate_s(rows_of(cases), law) * factor
    return [
        Measured(case=replace(case, measured_s=float(time)))
        for case, time in zip(cases, times, strict=True)
    ]


def one_row(flop=0.0, moved=0.0, m=np.inf, n=np.inf, k=np.inf):
    return Rows(
        **{
            name: np.array([value])
            for name, value in {"flop": flop, "moved_bytes": moved, "m": m, "n": n, "k": k}.items()
        }
    )


# limits


def test_nothing_to_do_takes_the_launch():
    assert rate_s(one_row(), TRUE)[0] == TRUE.launch_s


def test_a_huge_product_runs_at_the_sustained_rate():
    row = one_row(flop=1e18, moved=1e9, m=1e9, n=1e9, k=1e9)
    assert rate_s(row, TRUE)[0] == pytest.approx(1e18 / TRUE.flop_per_s, rel=1e-4)


def test_traffic_alone_runs_at_the_bandwidth():
    assert rate_s(one_row(moved=1e12), TRUE)[0] == pytest.approx(1e12 / 2.8e12, rel=1e-4)


def test_half_sizes_multiply():
    reached = utilisation(np.array(40.0), np.array(300.0), np.array(200.0), TRUE)
    assert float(reached) == pytest.approx(1 / 8)


def test_more_rows_never_take_less_time():
    m = np.arange(1.0, 4096.0, 7.0)
    cases = [OpCase(chip="c", op="gemm", dtype="bf16", m=x, n=4096.0, k=4096.0) for x in m]
    assert (np.diff(rate_s(rows_of(cases), TRUE)) > 0.0).all()


# fit


def test_known_constants_are_found_again():
    found = fit_operator(products(noise=0.03))
    for name in ("flop_per_s", "bytes_per_s", "half_n", "half_k"):
        assert getattr(found.constants, name) == pytest.approx(getattr(TRUE, name), rel=0.15)
    assert found.median_error < 0.05


def test_the_stated_error_is_as_large_as_the_real_one():
    off = []
    for seed in range(8):
        found = fit_operator(products(noise=0.05, seed=seed))
        for name in ("flop_per_s", "bytes_per_s", "half_n"):
            miss = np.log(getattr(found.constants, name) / getattr(TRUE, name))
            off.append(miss / found.log_sd[name])
    assert 0.4 < np.sqrt(np.mean(np.square(off))) < 2.5


def test_what_the_report_part_measured_moves_its_error_and_no_constant():
    rows = products(noise=0.02)
    held = {id(case) for case in report_part(one.case for one in rows)}
    assert 0 < len(held) < len(rows)
    wrong = [
        Measured(case=replace(one.case, measured_s=9.0 * one.case.measured_s))
        if id(one.case) in held
        else one
        for one in rows
    ]
    right, poisoned = fit_operator(rows), fit_operator(wrong)
    assert poisoned.constants == right.constants
    assert poisoned.median_error > 10 * right.median_error


def test_a_noisy_timing_weighs_less():
    rows = products(noise=0.0)
    spoilt = [
        Measured(case=replace(one.case, measured_s=2.0 * one.case.measured_s), spread_fraction=s)
        if is_fit_group(f"gemm|{one.case.n:g}|{one.case.k:g}") and one.case.m in (4.0, 256.0)
        else one
        for s in (5.0,)
        for one in rows
    ]
    quiet = [replace(one, spread_fraction=0.0) for one in spoilt]
    miss = [
        abs(np.log(fit_operator(some).constants.bytes_per_s / TRUE.bytes_per_s))
        for some in (spoilt, quiet)
    ]
    assert miss[0] < miss[1]


def test_too_few_timings_are_refused_alone_and_left_out_together():
    few = products()[:2]
    with pytest.raises(InfeasibleError, match="at least 4"):
        fit_operator(few)
    assert fit_all(few) == ()


def test_copies_have_a_bandwidth_and_no_arithmetic():
    cases = [
        OpCase(chip="c", op="copy", dtype="bf16", m=m, n=n, measured_s=2e-6 + m * n * 4 / 3e12)
        for m in (64.0, 512.0, 4096.0, 32768.0)
        for n in (1024.0, 4096.0, 8192.0)
    ]
    (found,) = fit_all([Measured(case=case) for case in cases])
    assert found.constants.bytes_per_s == pytest.approx(3e12, rel=0.05)
    assert np.isinf(found.constants.flop_per_s)
    assert set(found.log_sd) == {"launch_s", "bytes_per_s"}
