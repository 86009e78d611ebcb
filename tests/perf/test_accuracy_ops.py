"""Figures of the operator half of the accuracy page: closed forms on rows made up here."""

import importlib
import math
import sys
from pathlib import Path

import numpy as np
import pytest

from tapeout.constants import Z80
from tapeout.perf.ops.cases import parse

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def page():
    sys.path.insert(0, str(BENCHMARKS))
    try:
        return importlib.import_module("accuracy_ops")
    finally:
        sys.path.remove(str(BENCHMARKS))


def case(m=64, **changes):
    row = {"chip": "h100", "op": "gemm", "n": "4096", "k": "4096", "m": str(m), "dtype": "bf16"}
    return parse(row | {"measured_s": "1e-4"} | changes)


def scored(page, errors, log_sd=0.1, **changes):
    return [
        page.Scored(case=case(**changes), part=page.REPORT, error=e, log_sd=log_sd, law_error=2 * e)
        for e in errors
    ]


def test_figures_in_closed_form(page):
    rows = scored(page, [math.log(x) for x in (0.9, 1.0, 1.2, 1.5)])
    got = page.figures(rows)
    assert got.median == pytest.approx(0.15)
    assert got.bias == pytest.approx(0.1)
    assert got.mean == pytest.approx(0.2)
    assert got.coverage == pytest.approx(0.5)
    assert got.width == pytest.approx(math.exp(2 * Z80 * 0.1))
    half = Z80 * 0.1
    out = math.log(1.2) - half + math.log(1.5) - half
    assert got.interval == pytest.approx(2 * half + 10.0 * out / 4)
    assert page.figures(rows, law=True).bias == pytest.approx((1.0 + 1.44) / 2 - 1)


def test_no_constant_band_scores_better_than_the_best_one(page):
    errors = np.random.default_rng(0).normal(0.0, 0.3, 501)
    best = page.figures(scored(page, errors)).constant
    for width in np.linspace(0.02, 1.0, 40):
        assert page.figures(scored(page, errors, log_sd=width)).interval >= best - 1e-3


def test_a_claim_is_met_or_missed_by_its_figures(page):
    targets = sys.modules["accuracy_ops_targets"]
    met = targets.Claim(
        what="x", rows=scored(page, [0.01] * 9), limit=targets.Limit(median=4.0, p90=12)
    )
    assert "| met |" in met.text()
    off = scored(page, [0.01] * 7 + [0.5] * 3)
    missed = targets.Claim(what="x", rows=off, limit=targets.Limit(median=4.0, p90=12.0))
    assert "MISS (p90)" in missed.text()
    assert "not testable" in targets.Claim(what="x", rows=(), limit=targets.Limit(mean=8.0)).text()


@pytest.mark.usefixtures("page")
def test_the_cause_named_is_the_one_that_stands_out():
    module = sys.modules["accuracy_ops_causes"]
    short = case(measured_s="2e-6")
    long = case(m=4096, measured_s="1e-3")
    words = module.main_cause([short, short, long], [short, short, *[long] * 18])
    assert words == f"67% of them, 10% of all rows: {module.cause_of(short)}"
    assert module.main_cause([short, long], [short, long]) == "no regime stands out"


def test_rows_that_constants_saw_are_not_scored(page):
    from tapeout.perf.ops import split  # noqa: PLC0415

    for n in range(256, 8192, 256):
        one = case(n=str(n))
        assert (page.part_of(one) == "") is split.is_fit_group(split.group(one))
    assert page.part_of(case(stack="pytorch-eager")) == page.FOREIGN


@pytest.mark.parametrize(
    ("measured", "name"), [("1e-6", "1. under"), ("5e-6", "2. 5"), ("1", "5.")]
)
def test_latency_bands(page, measured, name):
    (row,) = scored(page, [0.0], measured_s=measured)
    assert page.latency(row).startswith(name)


def test_without_data_it_says_so(page, tmp_path, capsys):
    assert page.main([str(tmp_path)]) == 2
    assert "no operator times" in capsys.readouterr().err
