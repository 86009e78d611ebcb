import re
from dataclasses import replace

import polars as pl
import pytest

from tapeout.report import formats as f
from tapeout.report.charts.tornado import tornado_chart
from tapeout.report.headline import cards, changes, verdict_sentences
from tapeout.report.reading import rows, run_id
from tapeout.report.sections import sections
from tapeout.report.tables import boundary, inputs, options, programme, strategies
from tapeout.report.tables.capacity import capacity


def printed(text: str) -> float:
    """The number that a cell shows."""
    sign = -1.0 if "−" in text else 1.0
    return sign * float(re.sub(r"[^0-9.]", "", text))


def column(table, key: str) -> list[str]:
    return [row.cells[0].text for row in table.only(key).rows]


def test_every_column_of_the_stack_adds_up_as_printed(build):
    table = options.stack(build)
    for index in range(1, len(table.columns)):
        shown = [row.cells[index].text for row in table.rows]
        parts = [printed(text) for text in shown[:-1] if text != f.NONE]
        assert sum(parts) == pytest.approx(printed(shown[-1]), abs=1e-9)


def test_the_stack_shows_the_means_of_the_results(build):
    table = options.stack(build)
    means = {row["option"]: row["mean"] for row in rows(build, "savings", kind="lcot")}
    half_a_unit = 0.5 * 10.0 ** -options.stack_places(build)
    for index, key in enumerate(c.key for c in table.columns[1:]):
        assert printed(table.rows[-1].cells[index + 1].text) == pytest.approx(
            means[key], abs=half_a_unit * 1.001
        )


def test_the_waterfall_adds_up_as_printed_and_agrees_with_the_stack(build):
    shown = [printed(text) for text in column(options.waterfall(build), "step")]
    assert sum(shown[:-1]) == pytest.approx(shown[-1], abs=1e-9)
    totals = {
        c.key: printed(options.stack(build).rows[-1].cells[i].text)
        for i, c in enumerate(options.stack(build).columns)
        if i
    }
    assert shown[0] == totals["vera-rubin"]
    assert shown[-1] == totals["own"]


def test_the_steps_of_the_waterfall_are_those_of_the_results(build):
    places = options.stack_places(build)
    steps = dict(options.printed_waterfall(build)[1:-1])
    for row in rows(build, "savings", kind="waterfall"):
        # the table states what the alternative's holder gets more; the page what it loses
        assert steps[row["holder"]] == pytest.approx(-row["usd_per_mtok"], abs=2.1 * 10.0**-places)


def test_differences_between_worlds_are_those_of_the_printed_means(build):
    a, b, c, leverage, volume, whole = (printed(x) for x in column(programme.worlds(build), "mean"))
    assert leverage == pytest.approx(a - b, abs=1e-9)
    assert volume == pytest.approx(b - c, abs=1e-9)
    assert whole == pytest.approx(leverage + volume, abs=1e-9)


def test_leverage_and_volume_add_up_to_the_whole_at_every_date(build):
    table = programme.dates(build)
    three = [[printed(x) for x in column(table, k)] for k in ("leverage", "volume", "whole")]
    assert len(three[0]) == 3
    for leverage, volume, whole in zip(*three, strict=True):
        assert leverage + volume == pytest.approx(whole, abs=1e-9)


def test_cost_lines_add_up_as_printed_to_the_present_cost_of_the_central_case(build):
    key = build.verdict["headline_strategy"]
    table = options.lines(build, key)
    shown = [printed(x) for x in column(table, "npv")]
    assert sum(shown[:-1]) == pytest.approx(shown[-1], abs=1e-9)
    total = sum(r["npv_usd"] for r in rows(build, "savings", kind="line", option=key) if r["cash"])
    assert shown[-1] == pytest.approx(total / 1e9, rel=5e-3)


def test_the_ranking_shows_the_totals_of_both_objectives(build):
    table = strategies.ranking(build)
    for key, objective in (("cost", "cost"), ("contribution", "contribution")):
        means = {r["title"]: r["mean"] for r in rows(build, "totals", objective=objective)}
        for name, shown in zip(column(table, "strategy"), column(table, key), strict=True):
            assert shown == f.usd(means[name])


def test_gain_and_threshold_are_those_of_the_verdict(build):
    table = boundary.advantage(build)
    wanted = [build.verdict["g_star"][k]["value"] for k in ("list", "negotiated", "rented")]
    assert column(table, "g_star") == [f.times(value) for value in wanted]
    card = next(card for card in cards(build) if card.label.startswith("Required"))
    assert card.value == f.times(wanted[0])


def test_a_threshold_is_said_in_plain_words():
    entry = {"never_pays": False, "pays_throughout": False, "threshold": 1.735, "pays": "above"}
    assert boundary.threshold_phrase(entry, "ratio") == "pays above 1.74x"
    assert boundary.threshold_phrase(entry | {"pays": "below"}, "yes/no") == "pays only if no"
    assert boundary.threshold_phrase(entry | {"never_pays": True}, "W") == "never within range"
    throughout = entry | {"pays_throughout": True, "threshold": None}
    assert boundary.threshold_phrase(throughout, "W") == "pays throughout range"


def test_the_ledger_lists_every_input_once(build, no_build):
    for results in (build, no_build):
        ledger = inputs.ledger(results)
        paths = [row.cells[0].note for group in ledger.groups for row in group.table.rows]
        assert sorted(paths) == sorted(results.tables["inputs"]["path"])
        assert ledger.total == len(paths)


def test_counts_in_the_page_are_those_of_the_results(build):
    counts = build.verdict["counts"]
    assert inputs.counts_sentence(build).startswith(
        f"{counts['sourced']} sourced, {counts['assumed']} assumed"
    )


def test_every_assumption_says_why_or_names_a_source(build):
    for group in inputs.ledger(build).groups:
        for row in group.table.rows:
            if row.cells[3].badge == "assumption":
                assert row.cells[4].text not in {"", f.NONE}


def test_every_timed_silicon_is_in_the_capacity_tables(build):
    shown = [cell.cells[0].text for table in capacity(build) for cell in table.rows]
    assert sorted(shown) == sorted(build.tables["capacity"]["silicon"])


def test_regret_marks_the_best_strategy_of_every_future(build):
    for row in strategies.regret(build).rows:
        assert [cell.text for cell in row.cells].count("best") >= 1


def test_figures_of_others_are_shown_once_prices_apart_from_demand(build):
    named = [
        row.cells[0].text for t in (boundary.references, boundary.demand) for row in t(build).rows
    ]
    assert sorted(named) == sorted(one["title"] for one in build.verdict["references"])


def test_a_break_even_volume_that_does_not_exist_is_said_in_words(build):
    for volume, words in ((None, "none pays"), (0.43, "0.43x of plan")):
        verdict = {**build.verdict, "break_even_volume": volume}
        assert column(strategies.payback(replace(build, verdict=verdict)), "value")[-1] == words


def test_the_run_id_follows_the_manifest_alone(build):
    other = replace(build, run={"host": "elsewhere"})
    assert run_id(other) == run_id(build)
    assert run_id(replace(build, manifest={**build.manifest, "seed": 1})) != run_id(build)


def test_a_study_without_a_chip_has_no_boundary_tables(no_build):
    for make in (boundary.advantage, boundary.priors, boundary.must_be_true, programme.worlds):
        assert make(no_build) is None
    assert options.waterfall(no_build) is None
    assert programme.calendar(no_build) is None
    assert options.lcot(no_build) is not None
    assert changes(no_build)
    assert verdict_sentences(no_build)[0]


@pytest.mark.parametrize("key", ["triangulation", "reconciliation"])
def test_a_chain_of_factors_appears_once_the_study_gives_one(build, key):
    chain = [
        {"title": "reported", "value": 1.38e10, "unit": "USD", "why": "chips only"},
        {"title": "watts a chip", "value": 1250.0, "unit": "W", "low": 1125.0, "high": 1375.0},
        {"title": "tokens asked", "value": 8.64e12, "unit": "tokens/day", "factor": 0.04},
    ]
    table = boundary.steps(replace(build, verdict={**build.verdict, key: chain}), key, "Chain")
    assert column(table, "value") == ["$13.8 bn", "1,250 W", "8.64 trillion tokens a day"]


def test_absent_keys_leave_sections_out_and_never_crash(build):
    kept = ("title", "builds", "start", "horizon_years", "headline_title", "alternative_chip")
    bare = replace(build, verdict={key: build.verdict[key] for key in kept})
    assert {part.key for part in sections(bare)} < {part.key for part in sections(build)}


def test_an_empty_sensitivity_table_leaves_the_tornado_out(build):
    empty = build.tables["sensitivity"].clear()
    bare = replace(build, tables={**build.tables, "sensitivity": empty})
    assert tornado_chart(bare) is None
    assert inputs.strongest(bare) is None
    assert isinstance(empty, pl.DataFrame)
