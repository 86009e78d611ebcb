"""Blocks of draws gathered into columns, and what is said of their sampling error."""

import sys

import numpy as np
import pytest

from tapeout.numerics import accumulated, standard_error
from tapeout.study import tally
from tapeout.study.boundary import npv_usd, threshold
from tapeout.study.decide import futures, prepare
from tapeout.study.evaluate import evaluate
from tapeout.study.facts import sampling


@pytest.fixture(scope="module")
def study(make, tmp_path_factory):
    return prepare(make.write(tmp_path_factory.mktemp("tally") / "s", make.small()))


@pytest.fixture(scope="module")
def drawn(study):
    return futures(study, 7, 3)


@pytest.fixture(scope="module")
def whole(study):
    """All draws as one batch, everything kept."""
    inputs = study.sampler.inputs(study.sampler.table(study.sampler.draw(7, 3)))
    return evaluate(study.problem, inputs)


def test_columns_hold_what_one_batch_yields(drawn, whole):
    for key, flow in whole.cost.items():
        assert drawn.cost[key] == pytest.approx(flow.npv_usd, rel=1e-12)
        lcot = flow.npv_usd / flow.discounted_tokens
        assert drawn.strategy_lcot[key] == pytest.approx(lcot, rel=1e-12)
        assert drawn.served[key] == pytest.approx(flow.served_fraction.mean(), rel=1e-12)
        for line, usd in flow.by_line_usd.items():
            assert drawn.line_npv[key][line] == pytest.approx(usd.mean(), rel=1e-12, abs=1e-6)
    for key, flow in whole.contribution.items():
        assert drawn.contribution[key] == pytest.approx(-flow.npv_usd, rel=1e-12)


def test_the_fan_holds_cumulated_savings_over_the_baseline(study, drawn, whole):
    base = whole.cost[study.problem.baseline].by_quarter_usd
    assert set(drawn.cumulative) == set(whole.cost) - {study.problem.baseline}
    for key, found in drawn.cumulative.items():
        saved = np.cumsum(base - whole.cost[key].by_quarter_usd, axis=1)
        assert found == pytest.approx(saved, rel=1e-9, abs=1e-3)


def test_beyond_its_draws_the_fan_reads_the_first_of_every_scramble(study, drawn, monkeypatch):
    monkeypatch.setattr(tally, "FAN_DRAWS", 32)
    monkeypatch.setattr(sys.modules["tapeout.study.decide"], "BLOCK", 2)
    thinned = futures(study, 7, 3)
    first = [8 * scramble + place for scramble in range(16) for place in (0, 1)]
    for key, saved in drawn.cumulative.items():
        assert thinned.cumulative[key] == pytest.approx(saved[first], rel=1e-9, abs=1e-3)


def test_columns_of_the_draws_are_made_when_asked_for(study, drawn):
    eager = study.sampler.draw(7, 3)
    assert list(drawn.draws.values) == list(eager.values)
    for name in ("build.delivered_ratio", "build.slip_if_late_months", "decision.discount_rate"):
        assert drawn.draws[name].tolist() == eager[name].tolist()
    assert drawn.draws.scramble.tolist() == eager.scramble.tolist()
    with pytest.raises(KeyError):
        drawn.draws["decision.mood"]


def test_sampling_errors_are_those_of_the_scrambles(drawn):
    found = sampling(drawn)
    scramble, bound = drawn.draws.scramble, drawn.bounds["list"]
    pays = npv_usd(bound, bound.g_ship) > 0
    means = [pays[scramble == group].mean() for group in range(16)]
    assert found["p_pays_se"] == pytest.approx(np.std(means, ddof=1) / 4)
    assert found["g_star_se"] == pytest.approx(threshold(bound, scramble).se, nan_ok=True)
    of_baseline = standard_error(drawn.saving, scramble) / drawn.cost[drawn.baseline].mean()
    assert found["npv_se_fraction"] == pytest.approx(of_baseline)
    assert (found["draws"], found["fan_draws"], found["scrambles"]) == (128, 128, 16)


def test_a_running_sum_over_quarters_is_that_of_numpy():
    values = np.asfortranarray(np.random.default_rng(1).normal(size=(50, 7)))
    assert accumulated(np.add, values) == pytest.approx(np.cumsum(values, axis=1), rel=1e-12)
    assert accumulated(np.maximum, values[:, :0]).shape == (50, 0)
