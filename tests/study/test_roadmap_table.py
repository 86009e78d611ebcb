"""Roadmaps in a scenario: read, checked, compared where asked, and nothing where not."""

import numpy as np
import pytest

from tapeout.economics.option_terms import ROADMAP_TERMS
from tapeout.economics.types import ONE_CHIP, Roadmap
from tapeout.errors import ProblemsError
from tapeout.report.tables.programme import roadmaps
from tapeout.study import decide, prepare
from tapeout.study.decide import futures
from tapeout.study.problem import roadmap_named

PATHS = {f"options.own.{term.name}" for term in ROADMAP_TERMS}


def own_step(study, key="build"):
    return next(step for step in study.problem.strategy(key).steps if step.option == "own")


@pytest.fixture(scope="module")
def asked(make, tmp_path_factory):
    folder = make.write(tmp_path_factory.mktemp("asked"), make.small(roadmap={}))
    return decide(folder, draws_log2=6)


def test_a_scenario_with_one_chip_has_no_input_of_successors(make, tmp_path):
    study = prepare(make.write(tmp_path, make.small()))
    assert not PATHS & {entry.path for entry in study.ledger}
    assert own_step(study).roadmap == ONE_CHIP


def test_inputs_of_successors_have_a_range_where_there_are_any(make, tmp_path):
    study = prepare(make.write(tmp_path, make.small(options__own__generations="full")))
    assert set(study.sampler.columns) >= PATHS


def test_a_step_overrules_its_option(make, tmp_path):
    changes = {"options__own__generations": "full", "strategy__2__steps__1__generations": 2}
    study = prepare(make.write(tmp_path, make.small(**changes)))
    assert own_step(study).roadmap == Roadmap(generations=2)


def test_every_other_has_room_for_half_as_many_chips():
    assert roadmap_named("full", 10.0, 1.6) == Roadmap(generations=7)
    assert roadmap_named("every-other", 10.0, 1.6) == Roadmap(generations=4, stride=2)
    assert roadmap_named("full", 20.0, 0.3).generations == 12
    assert roadmap_named(1, 10.0, 1.6) == ONE_CHIP


def test_asking_for_the_table_moves_no_other_figure(make, tmp_path):
    plain, asked = (
        futures(prepare(make.write(tmp_path / name, make.small(**changes))), 6, 1)
        for name, changes in (("plain", {}), ("asked", {"roadmap": {}}))
    )
    for key, usd in plain.cost.items():
        assert np.array_equal(asked.cost[key], usd), key


def test_the_table_is_there_only_where_asked_for(make, tmp_path, asked):
    plain = decide(make.write(tmp_path, make.small()), draws_log2=5)
    assert "roadmap" not in plain.verdict
    assert roadmaps(plain) is None
    assert [row["key"] for row in asked.verdict["roadmap"]] == ["one-chip", "every-other", "full"]


def test_one_chip_is_the_headline(asked):
    verdict = asked.verdict
    one = verdict["roadmap"][0]
    assert one["saving"]["mean"] == verdict["saving"]["mean"]
    assert one["g_star"] == verdict["g_star"]["list"]["value"]
    assert one["p_pays"] == verdict["g_ship"]["list"]["p_pays"]
    assert one["chips"] == 1


def test_a_roadmap_in_the_table_is_what_a_strategy_with_it_gets(make, tmp_path, asked):
    changes = {"strategy__2__steps__1__generations": "full"}
    alone = decide(make.write(tmp_path, make.small(**changes)), draws_log2=6).verdict
    full = asked.verdict["roadmap"][2]
    assert full["chips"] > 2
    assert full["saving"]["mean"] == pytest.approx(alone["saving"]["mean"], rel=1e-12)
    assert full["g_star"] == pytest.approx(alone["g_star"]["list"]["value"], rel=1e-12)
    assert full["p_pays"] == alone["g_ship"]["list"]["p_pays"]


def test_the_page_shows_a_row_a_roadmap(asked):
    table = roadmaps(asked)
    assert [row.cells[0].text for row in table.rows] == [
        "One chip",
        "Every other generation",
        "Full cadence",
    ]
    marked = [row.cells[4].tone == "best" for row in table.rows]
    assert marked == [row["best"] for row in asked.verdict["roadmap"]]
    assert sum(marked) == 1


@pytest.mark.parametrize(
    ("changes", "path", "message"),
    [
        (
            {"strategy__0__steps__0__generations": 2},
            "strategy.buy.steps[0].generations",
            "only the own chip",
        ),
        ({"roadmap": {"of": "bulid"}}, "roadmap.of", "no such name"),
        ({"roadmap": {"of": "buy"}}, "roadmap.of", "no chip of its own"),
        ({"roadmap": {"compare": []}}, "roadmap.compare", ""),
        ({"options__own__generations": 0}, "options.own.generations", "from 1 to 12"),
        (
            {"strategy__2__steps__1__generations": "half"},
            "strategy.build.steps.1.generations",
            'number from 1 to 12, "every-other" or "full"',
        ),
        (
            {"options__own__generation_cadence_years": 0.1},
            "options.own.generation_cadence_years",
            "at least 0.25",
        ),
        (
            {"future": [{"key": "a", "set": {"options.own.reused_nre_fraction": 0.5}}]},
            "future.a.set.options.own.reused_nre_fraction",
            "names no input",
        ),
    ],
)
def test_a_mistake_is_named_with_its_path(make, tmp_path, changes, path, message):
    with pytest.raises(ProblemsError) as caught:
        prepare(make.write(tmp_path, make.small(**changes)))
    found = [one for one in caught.value.problems if one.path.startswith(path)]
    assert found
    assert message in found[0].message
