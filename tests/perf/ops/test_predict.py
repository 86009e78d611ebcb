"""The door to the operator laws."""

import pytest

from tapeout.errors import InfeasibleError
from tapeout.perf.ops.cases import OPERATIONS, Estimate, parse
from tapeout.perf.ops.predict import MODULES, Unanswered, family, predict

GEMM = parse({"chip": "h100", "op": "gemm", "m": "8", "n": "4096", "k": "1024"})


def law(time_s=1e-6, log_sd=0.1):
    return lambda _case, _chip: Estimate(time_s=time_s, log_sd=log_sd, model="test")


def test_every_operation_has_a_family():
    assert set(MODULES) == set(OPERATIONS)
    assert family("grouped_gemm") == "gemm"


def test_a_case_goes_to_the_law_of_its_operation(chip):
    found = predict(GEMM, chip(), {"gemm": law(2e-6), "copy": law(1.0)})
    assert found.time_s == 2e-6


def test_an_operation_without_a_law_is_told(chip):
    found = predict(GEMM, chip(), {"copy": law()})
    assert found == Unanswered(reason="no law for gemm in this version")


@pytest.mark.parametrize("time_s", [0.0, -1.0, float("nan"), float("inf")])
def test_no_time_is_no_answer(chip, time_s):
    assert isinstance(predict(GEMM, chip(), {"gemm": law(time_s)}), Unanswered)


def test_what_a_law_misses_is_the_reason(chip):
    def refusing(case, _chip):
        case.needs("batch", "m")
        raise InfeasibleError

    found = predict(GEMM, chip(), {"gemm": refusing})
    assert found.reason == "gemm needs a positive batch"
