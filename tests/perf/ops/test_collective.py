"""Estimates of collectives: what they answer, refuse, list and find again."""

import dataclasses
import math

import numpy as np
import pytest

from tapeout.chip import Link
from tapeout.constants import Z80
from tapeout.errors import InfeasibleError, UnknownNameError
from tapeout.perf.ops import collective
from tapeout.perf.ops.cases import OpCase
from tapeout.perf.ops.collective_law import (
    FORMS,
    CollectiveConstants,
    Residual,
    Table,
    fit_collective,
    fit_table,
    form_of,
    names,
    residual,
)
from tapeout.perf.ops.split import group, is_fit_group
from tapeout.perf.ops.store import load_setups

H100 = "NVIDIA H100 SXM"
RATE = 450e9


@pytest.fixture
def h100(chip):
    return chip(name=H100, links=(Link(name="NVLink", bytes_per_s=RATE, chips=8),))


def case(**changes):
    values = {"chip": H100, "op": "all_reduce", "n_chips": 8.0, "message_bytes": 2.0**20}
    return OpCase(**values | changes)


@pytest.mark.parametrize("operation", collective.OPERATIONS)
def test_every_operation_is_answered_with_a_band(h100, operation):
    got = collective.estimate(case(op=operation), h100)
    assert 1e-6 < got.time_s < 1e-3
    assert 0.0 < got.log_sd < 1.0


@pytest.mark.parametrize("name", ["Google TPU v9", "AMD MI300X", "NVIDIA H200 SXM"])
def test_a_chip_nobody_measured_borrows_with_a_wider_band(h100, name):
    other = dataclasses.replace(h100, name=name)
    own = collective.estimate(case(), h100)
    lent = collective.estimate(case(chip=name), other)
    assert lent.log_sd > own.log_sd
    assert any("borrowed" in note for note in lent.assumptions)
    assert "residual" not in lent.model


def test_the_measured_time_is_never_read(h100):
    assert collective.estimate(case(measured_s=9.0), h100) == collective.estimate(case(), h100)


def test_blanks_are_listed(h100):
    notes = " ".join(collective.estimate(case(), h100).assumptions)
    for word in ("topology", "mode", "stack", "dtype"):
        assert word in notes
    full = case(topology="switch", mode="graph", stack="nccl-2.29.2", dtype="fp16")
    assert collective.estimate(full, h100).assumptions == ()


def test_an_engine_runs_its_own_kernel_for_small_all_reduces(h100):
    """Reference 2.3, eight H100: 16 us by the library, 4.6 us by the kernel in a graph."""
    small = {"message_bytes": 4096.0}
    library = collective.estimate(case(stack="nccl-2.29.2", **small), h100)
    engine = collective.estimate(case(stack="vllm-0.24.0", **small), h100)
    eager = collective.estimate(case(stack="vllm-0.24.0", mode="eager", **small), h100)
    assert library.time_s == pytest.approx(16e-6, rel=0.25)
    assert engine.time_s == pytest.approx(4.6e-6, rel=0.35)
    assert eager.time_s == pytest.approx(21e-6, rel=0.35)


def test_a_large_all_reduce_on_eight_h100_is_added_in_the_switch(h100):
    """Bus bandwidth of eight is beyond that of four (reference 2.3), for floating point only."""
    size = 2.0**28
    shares = {
        (ranks, dtype): 2 * (ranks - 1) / ranks * size / RATE
        / collective.estimate(
            case(message_bytes=size, n_chips=ranks, dtype=dtype), h100, use_residual=False
        ).time_s
        for ranks in (4.0, 8.0)
        for dtype in ("bf16", "int8")
    }  # fmt: skip
    assert shares[8.0, "bf16"] > 1.15 * shares[4.0, "bf16"]
    assert shares[8.0, "int8"] < 1.15 * shares[4.0, "int8"]


def test_more_ranks_than_the_domain_cross_the_network(h100):
    inside = collective.estimate(case(message_bytes=1e8), h100)
    across = collective.estimate(case(message_bytes=1e8, n_chips=16.0), h100)
    slow = collective.estimate(
        case(message_bytes=1e8, n_chips=16.0, topology="two-level:8:25"), h100
    )
    assert inside.time_s < across.time_s < slow.time_s
    assert across.log_sd > slow.log_sd > inside.log_sd  # a stated port is one doubt less
    assert any("behind 50 GB/s" in note for note in across.assumptions)


@pytest.mark.parametrize("topology", ["ring", "torus2d", "torus3d", "mesh", "pcie", "pcie-host"])
def test_other_topologies_are_closed_forms_with_a_wide_band(h100, topology):
    got = collective.estimate(case(topology=topology), h100)
    assert got.time_s > 0.0
    assert got.log_sd >= collective.UNMEASURED_LOG_SD
    assert "formula" in got.model


def test_a_chip_without_a_link_talks_over_pcie(chip):
    got = collective.estimate(case(chip="card", message_bytes=1e8), chip(name="card", links=()))
    assert got.time_s > 2 * 7 / 8 * 1e8 / 32e9
    assert any("PCIe" in note for note in got.assumptions)


@pytest.mark.parametrize(
    ("changes", "error", "word"),
    [
        ({"n_chips": math.nan}, InfeasibleError, "n_chips"),
        ({"message_bytes": 0.0}, InfeasibleError, "message_bytes"),
        ({"n_chips": 1.0}, InfeasibleError, "whole number"),
        ({"topology": "klein-bottle"}, UnknownNameError, "klein-bottle"),
        ({"topology": "two-level:x"}, InfeasibleError, "two-level"),
    ],
)
def test_what_cannot_be_answered_says_why(h100, changes, error, word):
    with pytest.raises(error, match=word):
        collective.estimate(case(**changes), h100)


def test_time_grows_with_the_message_without_the_residual(h100):
    for operation in collective.OPERATIONS:
        times = [
            collective.estimate(
                case(op=operation, message_bytes=2.0**power), h100, use_residual=False
            ).time_s
            for power in range(9, 30, 2)
        ]
        assert times == sorted(times)


def test_a_reported_group_is_refused_by_the_fit():
    sizes = [2.0**power for power in range(9, 30)]
    cases = [case(message_bytes=size, measured_s=1e-5) for size in sizes]
    assert not all(is_fit_group(group(one)) for one in cases)
    with pytest.raises(InfeasibleError, match="reported group"):
        fit_collective(cases, RATE, "library")


def _made(form="library"):
    values = dict.fromkeys(names(form), 0.0) | {"step_exponent": 0.9, "rate_exponent": 0.1}
    for route, (base, hop, rate) in {
        "words": (5e-6, 0.8e-6, 0.04),
        "lines": (9e-6, 1.2e-6, 0.25),
        "chunks": (18e-6, 1.5e-6, 0.85),
    }.items():
        values |= {f"{route}_base_s": base, f"{route}_hop_s": hop, f"{route}_rate_fraction": rate}
    law = CollectiveConstants(form=form, values=values).law()
    size, ranks = (one.ravel() for one in np.meshgrid(2.0 ** np.arange(9, 30), [2.0, 4.0, 8.0]))
    time = law.time_s("all_gather", size, ranks, RATE)
    return Table(
        operation="all_gather", ranks=ranks, message_bytes=size, measured_s=time, adds=size > 0.0
    )


def test_the_fit_finds_a_law_again():
    """Times of known constants come back within 1 %; the constants are not all determined."""
    data = _made()
    fitted = fit_table(data, RATE, "library")
    again = fitted.constants.law().time_s("all_gather", data.message_bytes, data.ranks, RATE)
    assert np.quantile(np.abs(again / data.measured_s - 1.0), 0.9) < 0.01
    assert (np.linalg.eigvalsh(fitted.covariance) > -1e-9).all()


def test_the_residual_is_nothing_where_the_law_is_right_and_a_bump_where_it_is_not():
    data = _made()
    law = fit_table(data, RATE, "library").constants.law()
    exact = law.time_s("all_gather", data.message_bytes, data.ranks, RATE)
    right = dataclasses.replace(data, measured_s=exact)
    assert residual(right, law, RATE).at(2.0**20, 4) == pytest.approx(0.0, abs=1e-12)
    high = np.where(data.message_bytes == 2.0**20, 1.3, 1.0)
    bump = residual(dataclasses.replace(data, measured_s=exact * high), law, RATE)
    assert bump.at(2.0**20, 4) > 2.0 * bump.at(2.0**22, 4) > 0.0
    assert bump.at(2.0**20, 16) == 0.0


def test_the_residual_runs_out_beyond_the_measured_sizes():
    flat = Residual(first_log2_bytes=10.0, ranks=(2, 8), log_ratio=((0.3, 0.3), (0.3, 0.3)))
    assert flat.at(2.0**10, 4) == pytest.approx(0.3)
    assert flat.at(2.0**12.5, 4) == pytest.approx(0.15)
    assert flat.at(2.0**30, 4) == 0.0


def test_shipped_constants_are_of_known_forms_and_in_range():
    for one in load_setups("collectives"):
        form = form_of(one.constants)
        assert set(names(form)) == set(one.constants)
        law = CollectiveConstants(form=form, values=one.constants).law()
        assert max(route.rate_fraction for route in law.routes) < 2.0
        assert 0.0 < one.log_sd * Z80 < 0.5
    assert "shots" in FORMS
    with pytest.raises(ValueError, match="no form"):
        form_of({"tunnel_base_s": 1.0})
