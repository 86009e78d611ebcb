import pytest

from tapeout.errors import InfeasibleError
from tapeout.perf.ops import split
from tapeout.perf.ops.cases import COLUMNS, parse


def gemm(n, k, m=1):
    return parse({"chip": "h100", "op": "gemm", "m": str(m), "n": str(n), "k": str(k)})


def test_the_split_is_the_one_written_down_before_the_first_fit():
    # Pinned: another salt or share would let a constant see rows of the report part.
    sizes = [2**i for i in range(5, 17)]
    fit = [f"{n}x{k}" for n in sizes for k in sizes if split.is_fit_group(f"gemm|{n}|{k}")]
    assert (split.SALT, split.FIT_SHARE, len(fit)) == ("tapeout-ops-2026-11-25", 0.75, 113)


def test_all_token_counts_of_a_shape_lie_in_one_part():
    assert {split.group(gemm(4096, 1024, m)) for m in (1, 64, 8192)} == {"gemm|4096|1024"}


def test_the_parts_are_disjoint_and_complete():
    cases = [gemm(n, k) for n in range(32, 2048, 96) for k in (512, 1024)]
    fit, report = split.fit_part(cases), split.report_part(cases)
    assert len(fit) + len(report) == len(cases)
    assert not {split.group(c) for c in fit} & {split.group(c) for c in report}


def test_a_fit_refuses_a_reported_row():
    cases = [gemm(n, 512) for n in range(32, 4096, 32)]
    with pytest.raises(InfeasibleError, match="reported group"):
        split.require_fit_part(cases)


def test_every_problem_of_a_row_is_listed_at_once():
    row = dict.fromkeys(COLUMNS, "") | {"op": "gem", "m": "-1", "n": "x", "mode": "fast"}
    with pytest.raises(InfeasibleError) as found:
        parse(row)
    for word in ("op 'gem'", "m '-1'", "n 'x'", "mode 'fast'", "chip is blank"):
        assert word in str(found.value)


def test_a_measured_value_that_cannot_be_read_is_no_problem_of_a_prediction():
    row = {"chip": "h100", "op": "copy", "m": "1", "measured_s": "n/a"}
    assert parse(row).measured_s != parse(row).measured_s  # nan
