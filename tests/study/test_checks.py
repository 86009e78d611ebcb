"""What has the right shape and no meaning is answered before anything is computed."""

import datetime as dt

import pytest

from tapeout.errors import ProblemsError
from tapeout.study import decide, prepare

API = {"kind": "api", "usd_per_mtok": 2.0}


def problems(make, folder, **changes):
    with pytest.raises(ProblemsError) as caught:
        prepare(make.write(folder, make.small(**changes)))
    return {problem.path: problem for problem in caught.value.problems}


def date(**values):
    return [{"name": "x", "date": dt.date(2026, 1, 1), "set": values}]


def future(**values):
    return [{"key": "f", "set": values}]


STEP = {"option": "gpu", "from": dt.date(2030, 1, 1), "until": dt.date(2028, 1, 1)}
CASES = [
    ({"options__rent": {"kind": "rent", "chip": "H100", "pric": 3}}, "options.rent.pric"),
    ({"options__buy": {"kind": "buy", "chip": "H100", "price_usd": "x"}}, "options.buy.price_usd"),
    ({"options__a.b": API}, "options.a.b"),
    ({"options__bridge__minimum_usd_per_year": 1e8}, "options.bridge.minimum_years"),
    ({"options__bridge__minimum_years": 3}, "options.bridge.minimum_usd_per_year"),
    ({"decision__dates": date(**{"options.own.nre_us": 1})},
     "decision.dates.x.set.options.own.nre_us"),
    ({"decision__dates": date(**{"options.owen.nre_usd": 1})},
     "decision.dates.x.set.options.owen.nre_usd"),
    ({"decision__dates": date(nre=1)}, "decision.dates.x.set.nre"),
    ({"decision__dates": date(**{"site.pue_ratio": 0.5})}, "decision.dates.x.set.site.pue_ratio"),
    ({"future": future(**{"options.own.nre_us": 1})}, "future.f.set.options.own.nre_us"),
    ({"future": future(**{"options.own.ramp_years": "3 GB"})},
     "future.f.set.options.own.ramp_years"),
    ({"decision__alternative": "own"}, "decision.alternative"),
    ({"scale__of": "api", "options__api": API}, "scale.of"),
    ({"prior__2__baseline": "api", "options__api": API}, "prior.word.baseline"),
    ({"prior__1__ratio": 0}, "prior.rate.ratio"),
    ({"prior__1__ratio": "-1 to 1"}, "prior.rate.ratio"),
    ({"prior__1__key": "sim"}, "prior"),
    ({"options__own__partner_margin_fraction": 1}, "options.own.partner_margin_fraction"),
    ({"demand": {"peak_to_mean_ratio": 0.5}}, "demand.peak_to_mean_ratio"),
    ({"demand": {"realised_ratio": "0 to 1"}}, "demand.realised_ratio"),
    ({"rival": {"cadence_years": 0}}, "rival.cadence_years"),
    ({"options__gpu__life_years": 0}, "options.gpu.life_years"),
    ({"site": {"pue_ratio": 0.5}}, "site.pue_ratio"),
    ({"parts": {"die_yield_fraction": 0}}, "parts.die_yield_fraction"),
    ({"options__gpu__availability_fraction": 0}, "options.gpu.availability_fraction"),
    ({"scale__first_demand": dt.date(2040, 1, 1)}, "scale.first_demand"),
    ({"decision__start": dt.date(1990, 1, 1)}, "options.gpu"),
    ({"offtake": {"fraction": 3, "price_over_cost_ratio": 1}}, "offtake.fraction"),
    ({"strategy__0__steps": [{"option": "gpu", "until": "own.first_service"}]},
     "strategy.buy.steps[0]"),
    ({"strategy__0__steps": [STEP]}, "strategy.buy.steps[0]"),
    ({"traffic__0__model": "gpt-oss-120"}, "traffic.chat.model"),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "path"), CASES)
def test_a_mistake_of_meaning_is_named_with_its_path(make, tmp_path, changes, path):
    found = problems(make, tmp_path, **changes)
    assert path in found, list(found)


def test_mistakes_of_reference_and_of_value_are_named_at_once(make, tmp_path):
    changes = {
        "decision__baseline": "by", "options__gpu__chip": "GB300 NVL27", "traffic__0__model": "gpt",
        "options__own__partner_margin_fraction": 7, "prior__1__ratio": None,
    }  # fmt: skip
    assert set(problems(make, tmp_path, **changes)) == {
        "decision.baseline", "options.gpu.chip", "traffic.chat.model",
        "options.own.partner_margin_fraction", "prior.rate.ratio",
    }  # fmt: skip


def test_a_future_is_read_in_the_unit_it_is_written_in(make, tmp_path):
    """Eighteen months of ramp are a year and a half, not eighteen years."""
    costs = []
    for name, value in (("a", "18 months"), ("b", 1.5)):
        scenario = make.small(future=future(**{"options.own.ramp_years": value}))
        verdict = decide(make.write(tmp_path / name, scenario), draws_log2=5).verdict
        costs.append([row["cost_usd"] for row in verdict["regret"]])
    assert costs[0] == pytest.approx(costs[1], rel=1e-12)


def test_a_catalogue_figure_that_was_overridden_is_shown(make, tmp_path):
    ledger = prepare(make.write(tmp_path, make.small(options__gpu__memory_gb=300))).ledger
    entry = ledger["options.gpu.memory_gb"]
    assert entry.set_by == "scenario"
    assert [round(figure.value) for figure in entry.rejected] == [288]


def test_megawatts_are_filled_by_the_first_option_with_a_chip(make, tmp_path):
    scenario = make.buy_only()
    scenario["options"] = {"api": API} | scenario["options"]
    scenario["scale"].pop("of")
    assert decide(make.write(tmp_path, scenario), draws_log2=5).verdict["ranking"]


def test_all_tokens_count_the_input_however_the_scale_is_set(make, tmp_path):
    """2,000 in for 500 out: five tokens for each one of output."""
    reference = [{"key": "all", "compare": "scale.total_tokens_per_day", "value": 5e11}]
    changes = {
        "scale": {"sized_by": "demand"}, "traffic__0__output_tokens_per_day": 1e11,
        "reference": reference,
    }  # fmt: skip
    verdict = decide(make.write(tmp_path, make.small(**changes)), draws_log2=5).verdict
    assert verdict["references"][0]["ratio"] == pytest.approx(1.0)
