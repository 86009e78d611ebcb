"""What to find out first, on a small study."""

import numpy as np
import pytest

from tapeout.study import decide, sensitivity
from tapeout.study.decide import futures, prepare
from tapeout.study.sensitivity import SUBJECTS, _Copies, _members, information, subject_of


@pytest.fixture(scope="module")
def made(make, tmp_path_factory):
    study = prepare(make.write(tmp_path_factory.mktemp("voi"), make.small(scale__mw=2000)))
    drawn = futures(study, 9, 3, full=False)
    moved = [{"path": path} for path in list(study.sampler.columns)[:6]]
    rows, facts = information(study.problem, study.sampler, drawn.draws, drawn.cost, moved)
    return study, drawn, rows, facts


def test_knowing_a_subject_is_worth_no_more_than_knowing_everything(made):
    _, _, rows, facts = made
    for name in ("", "_pair"):
        most = facts[f"evpi{name}_usd"]
        for one in (*facts["subjects"], *rows):
            assert 0.0 <= one[f"evppi{name}_usd"] <= most
        for one in facts["studies"]:
            assert 0.0 <= one[f"evsi{name}_usd"] <= most


def test_perfect_information_between_two_is_the_mean_of_what_switching_saves(made):
    _, drawn, _, facts = made
    saving = drawn.saving
    by_hand = np.maximum(saving, 0).mean() - max(saving.mean(), 0)
    assert facts["evpi_pair_usd"] == pytest.approx(by_hand, rel=1e-12)


def test_fair_shares_of_the_saving_add_up_to_one(made):
    facts = made[3]
    total = sum(one["saving_shapley"] for one in facts["subjects"])
    assert total == pytest.approx(1.0, abs=1e-9)
    assert all(one["saving_total"] >= 0.0 for one in facts["subjects"])


def test_every_uncertain_input_belongs_to_one_subject(made):
    study = made[0]
    members = _members(study.sampler)
    paths = [path for group in members.values() for path in group]
    assert len(paths) == len(set(paths))
    assert set(study.sampler.columns) <= set(paths)
    assert set(members) <= {subject.key for subject in SUBJECTS}


def test_subjects_separate_what_is_ours_from_what_is_bought():
    kinds = {"own": "build", "gpu": "buy", "tpu": "rent"}
    assert subject_of("options.own.timing_ratio", kinds) == "throughput"
    assert subject_of("options.gpu.timing_ratio", kinds) == "rivals-throughput"
    assert subject_of("options.own.slip_if_late_months", kinds) == "schedule"
    assert subject_of("options.tpu.rent_usd_per_chip_hour", kinds) == "rents"
    assert subject_of("market.rent_drift_per_year", kinds) == "rents"
    assert subject_of("market.elasticity", kinds) == "site"
    assert subject_of("options.own.nre_usd", kinds) == "programme"
    assert subject_of("options.gpu.life_years", kinds) == "racks"
    assert subject_of("build.spins", kinds) == "schedule"


def test_points_that_share_nothing_keep_the_correlation_and_are_independent(made):
    """Slip and delivery follow each other by -0.4 whichever of them is shared."""
    sampler = made[0].sampler
    members = _members(sampler)
    copies = _Copies.drawn(sampler, members, 13, 3)
    slip, delivered = "options.own.slip_if_late_months", "options.own.delivered_ratio"
    whole = np.ones((1, len(members), copies.scramble.size), bool)
    point = copies.table(sampler, whole)
    for key in ("schedule", "throughput"):
        shared = ~whole
        shared[:, list(members).index(key)] = True
        table = copies.table(sampler, shared)
        assert _rank_correlation(table[slip], table[delivered]) == pytest.approx(-0.385, abs=0.03)
        kept, drawn = (slip, delivered) if key == "schedule" else (delivered, slip)
        assert np.array_equal(table[kept], point[kept])
        # what was drawn anew is tied to the old only through the partner: .4 squared
        assert _rank_correlation(table[drawn], point[drawn]) == pytest.approx(0.153, abs=0.04)
    apart = copies.table(sampler, ~whole)
    for path in (slip, delivered, "demand.realised_ratio"):
        assert abs(_rank_correlation(apart[path], point[path])) < 0.04


def _rank_correlation(a, b):
    return np.corrcoef(np.argsort(np.argsort(a)), np.argsort(np.argsort(b)))[0, 1]


def test_a_study_without_a_chip_has_subjects_and_no_studies(make, tmp_path):
    results = decide(make.write(tmp_path, make.buy_only()), draws_log2=6)
    found = results.verdict["information"]
    assert found["studies"] == []
    assert {one["key"] for one in found["subjects"]}.isdisjoint({"throughput", "schedule"})


def test_beyond_the_most_draws_every_scramble_gives_its_first(made, monkeypatch):
    study, drawn, _, _ = made
    monkeypatch.setattr(sensitivity, "MOST_DRAWS", 64)
    thin, cost = sensitivity._thinned(drawn.draws, drawn.cost)
    assert len(thin) == 64
    assert np.bincount(thin.scramble).tolist() == [4] * 16
    name = next(iter(study.sampler.columns.values()))
    assert thin[name][4:8].tolist() == drawn.draws[name][32:36].tolist()
    assert cost["buy"][:4].tolist() == drawn.cost["buy"][:4].tolist()
