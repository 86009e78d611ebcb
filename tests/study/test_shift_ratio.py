"""A shift to work that the own chip cannot serve leaves every figure defined."""

from types import SimpleNamespace

import numpy as np
import pytest

from tapeout.study import capacity


def ratios(own_shifted, other_shifted):
    rates = np.array([[100.0, own_shifted], [200.0, other_shifted]])[:, :, None]
    table = SimpleNamespace(output_tokens_per_s_per_chip=rates, silicon=("mine", "theirs"))
    scenario = SimpleNamespace(shifted=("other work",), decision=SimpleNamespace(alternative="gpu"))
    silicon = {"own": "mine", "gpu": "theirs"}
    basket = {"own": 100.0, "gpu": 200.0}
    return capacity._shift_ratios(scenario, table, silicon, basket, 1)


@pytest.mark.parametrize(("own", "other", "ratio"), [(50.0, 200.0, 0.5), (0.0, 200.0, 1e-3)])
def test_the_own_chip_keeps_its_standing_and_never_less_than_a_thousandth(own, other, ratio):
    assert ratios(own, other) == pytest.approx([ratio])
