"""Every example is a real question with an answer that is the tool's own."""

from __future__ import annotations

import importlib.util
import json
import math
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tapeout.economics.supply import fleet
from tapeout.errors import ProblemsError
from tapeout.study import Results, decide, prepare
from tapeout.study.evaluate import evaluate

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"
NAMES = sorted(path.parent.name for path in EXAMPLES.glob("*/scenario.toml"))
CHANGED = (
    "the answer of {name} has changed: run `make examples`, look at the difference, and enter the"
    " cause under Numbers in CHANGELOG.md"
)


def _tool() -> Any:
    path = ROOT / "tools" / "run_examples.py"
    spec = importlib.util.spec_from_file_location("run_examples", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


tool = _tool()


@pytest.fixture(scope="module")
def quick() -> dict[str, Results]:
    """Every example at few draws."""
    return {name: decide(EXAMPLES / name, draws_log2=7) for name in NAMES}


@pytest.fixture(scope="module")
def full() -> dict[str, tuple[str, dict[str, Any]]]:
    """Answer and key figures of every example as they are documented, filled on demand."""
    return {}


def test_the_four_examples_are_there():
    assert {"jalapeno", "multi-silicon", "startup", "tpu-2013"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_an_example_decides(name: str, quick: dict[str, Results]):
    verdict = quick[name].verdict
    assert verdict["sentences"]["headline"]
    assert verdict["question"]
    total = sum(row["p_cheapest"] for row in verdict["ranking"])
    assert total == pytest.approx(1.0)


@pytest.mark.parametrize("name", NAMES)
def test_every_named_patch_of_an_example_fits_it(name: str):
    for patches in tool.patch_sets(name):
        assert prepare(EXAMPLES / name, patches=patches).problem.strategies


@pytest.mark.parametrize("name", NAMES)
def test_a_readme_asks_and_says_how_to_run(name: str):
    text = (EXAMPLES / name / "README.md").read_text("utf-8")
    assert f"examples/{name}" in text
    assert tool.BEGIN in text
    assert tool.END in text


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_the_answer_in_a_readme_is_what_the_tool_writes(name: str, full: dict[str, Any]):
    if name not in full:
        full[name] = tool.evaluate(name)
    text, figures = full[name]
    assert json.loads(tool.VERDICTS.read_text("utf-8"))[name] == figures, CHANGED.format(name=name)
    readme = (EXAMPLES / name / "README.md").read_text("utf-8")
    assert tool.with_answer(readme, text) == readme, CHANGED.format(name=name)


def test_prose_outside_the_answer_survives_a_rewrite():
    readme = f"# Title\n\nbefore\n\n{tool.BEGIN}\nold\n{tool.END}\n\nafter\n"
    written = tool.with_answer(readme, "new")
    assert written == f"# Title\n\nbefore\n\n{tool.BEGIN}\nnew\n{tool.END}\n\nafter\n"
    assert tool.with_answer(written, "new") == written


def test_a_readme_without_an_answer_gets_one_at_its_end():
    written = tool.with_answer("# Title\n", "new")
    assert written.startswith("# Title\n")
    assert written.endswith(f"{tool.BEGIN}\nnew\n{tool.END}\n")


# multi-silicon


def test_a_mix_serves_each_share_with_its_own_silicon():
    study = prepare(EXAMPLES / "multi-silicon")
    inputs = study.sampler.inputs(study.sampler.medians())
    planned = fleet(study.problem.setting, study.problem.strategy("mix"), inputs, "cost")
    used = {key: float(values[0, -1]) for key, values in planned.tokens_used.items()}
    total = sum(used.values())
    shares = {step.option: step.share for step in study.problem.strategy("mix").steps}
    # chips of a term that began earlier may hold a little more than the share
    for key, share in shares.items():
        assert used[key] / total == pytest.approx(share, abs=0.05), key


def test_a_mix_loses_the_pooled_capacity_and_a_single_kind_does_not():
    study = prepare(EXAMPLES / "multi-silicon")
    inputs = study.sampler.inputs(study.sampler.medians())
    path = "fleet.pooling_loss_fraction"
    free, split = inputs.replace({path: 0.0}), inputs.replace({path: 0.1})
    for key, ratio in (("gpu", 1.0), ("mix", 1.2), ("mix-two", 1.1)):
        strategy = study.problem.strategy(key)
        before = fleet(study.problem.setting, strategy, free, "cost").plan
        after = fleet(study.problem.setting, strategy, split, "cost").plan
        for option in before.options:
            grown = after.chips[option][0, -1] / before.chips[option][0, -1]
            assert grown == pytest.approx(ratio, rel=1e-9), (key, option)


def test_a_mix_costs_no_less_than_its_cheapest_member(quick: dict[str, Results]):
    mean = {row["strategy"]: row["mean_usd"] for row in quick["multi-silicon"].verdict["ranking"]}
    assert mean["mix"] >= min(mean[key] for key in ("gpu", "tpu", "trainium"))


def test_a_mix_is_spread_less_than_its_dearest_member(quick: dict[str, Results]):
    rows = {row["strategy"]: row for row in quick["multi-silicon"].verdict["ranking"]}
    spread = {key: row["p95_usd"] - row["p05_usd"] for key, row in rows.items()}
    assert spread["mix"] < max(spread[key] for key in ("gpu", "tpu", "trainium"))


def test_published_ratios_stand_beside_ours_under_the_published_terms():
    results = decide(EXAMPLES / "multi-silicon", patches=("published-terms",), draws_log2=5)
    rows = {row["key"]: row for row in results.verdict["references"]}
    theirs = {key: row["theirs"] / rows["published-h100"]["theirs"] for key, row in rows.items()}
    assert round(theirs["published-mi300x"], 2) == 2.11
    assert round(theirs["published-v6e"], 2) == 4.84
    assert all(row["ours"] > 0 for row in rows.values())


# startup


def test_a_startup_is_not_told_to_build(quick: dict[str, Results]):
    verdict = quick["startup"].verdict
    assert verdict["ranking"][0]["strategy"] != "build"
    assert verdict["ranking"][-1]["strategy"] == "build"
    assert "does not beat" in verdict["sentences"]["headline"]


@pytest.mark.parametrize("patches", [("small", "peaky"), ("large", "steady")])
def test_no_size_or_shape_makes_a_startup_build(patches: tuple[str, ...]):
    verdict = decide(EXAMPLES / "startup", patches=patches, draws_log2=5).verdict
    assert verdict["ranking"][-1]["strategy"] == "build"


def test_less_and_less_even_demand_favours_paying_per_token():
    def gap(*patches: str) -> float:
        rows = decide(EXAMPLES / "startup", patches=patches, draws_log2=6).verdict["ranking"]
        mean = {row["strategy"]: row["mean_usd"] for row in rows}
        return mean["api"] / mean["buy-b200"]

    assert gap("small", "peaky") < gap("small", "steady") < gap("large", "steady")


def test_the_basket_price_follows_from_the_list_prices_it_names():
    study = prepare(EXAMPLES / "startup")
    figure = study.ledger["options.api.usd_per_mtok"].chosen
    why = study.ledger["options.api.usd_per_mtok"].why
    tokens = [one.output_tokens_per_day for one in study.scenario.traffic]
    share = [one / sum(tokens) for one in tokens]
    ratio = [one.input_tokens / one.output_tokens for one in study.scenario.traffic]
    number = r"([\d.]+)"
    term = rf"{number} x \({number} \+ {number} x {number}\)"
    terms = [tuple(map(float, match)) for match in re.findall(term, why)]
    assert len(terms) == 6
    for pair, stated in zip(
        (terms[0:2], terms[2:4], terms[4:6]), (figure.value, figure.low, figure.high), strict=True
    ):
        total = sum(
            weight * (output + per * price)
            for weight, per, (_, output, _, price) in zip(share, ratio, pair, strict=True)
        )
        assert stated == pytest.approx(total, abs=0.006)
        assert [row[0] for row in pair] == pytest.approx(share)
        assert [row[2] for row in pair] == pytest.approx(ratio)


def test_the_boundary_stays_closed_form_where_options_are_shared(tmp_path: Path):
    text = (EXAMPLES / "startup" / "scenario.toml").read_text("utf-8")
    steps = re.search(r"^steps = .*own.*$", text, flags=re.MULTILINE)
    assert steps is not None
    shared = (
        'steps = [{ option = "api", share = 0.3 }, { option = "own", share = 0.6 },'
        ' { option = "b200", share = 0.8 }]'
    )
    (tmp_path / "scenario.toml").write_text(text.replace(steps[0], shared), "utf-8")
    study = prepare(tmp_path)
    inputs = study.sampler.inputs(study.sampler.medians())
    bound = evaluate(study.problem, inputs, full=False).boundaries["list"]
    rate = "options.own.tokens_per_s_per_chip"
    for factor in (0.5, 3.0):
        scaled = inputs.replace({rate: inputs.flat(rate) * factor})
        again = evaluate(study.problem, scaled, full=False)
        npv = again.cost["api"].npv_usd - again.cost["build"].npv_usd
        expected = bound.a_usd - bound.fixed_usd - bound.b_usd / (bound.g_ship * factor)
        assert npv == pytest.approx(expected, rel=1e-9)


# tpu-2013


def test_the_doubling_is_the_product_of_its_named_factors():
    study = prepare(EXAMPLES / "tpu-2013")
    text = (EXAMPLES / "tpu-2013" / "README.md").read_text("utf-8")
    cells = re.findall(r"^\| [^|]+ \| ([\d,]+)(?: s)? \| [^|]+ \|$", text, flags=re.MULTILINE)
    factors = [float(cell.replace(",", "")) for cell in cells[:4]]
    assert math.prod(factors) == pytest.approx(study.scenario.traffic[0].output_tokens_per_day)


def test_the_projection_doubles_a_fleet_of_half_a_million_servers():
    study = prepare(EXAMPLES / "tpu-2013", patches=("three-minutes",))
    inputs = study.sampler.inputs(study.sampler.medians())
    planned = fleet(study.problem.setting, study.problem.strategy("cpu"), inputs, "cost").plan
    # the last vintages are of faster processors, so count the peak in dies of 2014
    assert planned.chips["cpu"].max() / 2 == pytest.approx(5e5, rel=0.3)


def test_stated_rates_are_used_as_they_stand():
    study = prepare(EXAMPLES / "tpu-2013")
    assert study.capacity.basket_rate == {"cpu": 5482, "k80": 10416, "own": 160074}
    assert study.capacity.table.method == "stated"
    for key in study.capacity.basket_rate:
        entry = study.ledger[f"options.{key}.tokens_per_s_per_chip"]
        assert entry.set_by == "scenario"
        assert entry.is_sourced
        assert study.ledger[f"options.{key}.timing_ratio"].chosen.value == 1.0


def test_only_chips_of_the_day_are_used():
    study = prepare(EXAMPLES / "tpu-2013")
    dated = {
        key: option.available_years
        for key, option in study.problem.setting.options.items()
        if option.kind == "buy"
    }
    assert all(years < 1.3 for years in dated.values()), dated


def test_an_unstated_rate_is_asked_for(tmp_path: Path):
    folder = tmp_path / "scenario"
    folder.mkdir()
    text = (EXAMPLES / "tpu-2013" / "scenario.toml").read_text("utf-8")
    cut = re.sub(r"^tokens_per_s_per_chip = \{ value = 10416.*\n", "", text, flags=re.MULTILINE)
    (folder / "scenario.toml").write_text(cut, "utf-8")
    catalog = (EXAMPLES / "tpu-2013" / "catalog.toml").read_text("utf-8")
    (folder / "catalog.toml").write_text(catalog, "utf-8")
    with pytest.raises(ProblemsError, match=r"k80\.tokens_per_s_per_chip") as caught:
        prepare(folder)
    assert "names no model" in str(caught.value)


def test_a_stated_rate_of_zero_is_refused(tmp_path: Path):
    folder = tmp_path / "scenario"
    folder.mkdir()
    text = (EXAMPLES / "tpu-2013" / "scenario.toml").read_text("utf-8")
    zero = re.sub(
        r"^tokens_per_s_per_chip = \{ value = 10416.*\n",
        "tokens_per_s_per_chip = 0\n",
        text,
        flags=re.MULTILINE,
    )
    (folder / "scenario.toml").write_text(zero, "utf-8")
    catalog = (EXAMPLES / "tpu-2013" / "catalog.toml").read_text("utf-8")
    (folder / "catalog.toml").write_text(catalog, "utf-8")
    with pytest.raises(ProblemsError, match="more than zero"):
        prepare(folder)


def test_simulated_and_stated_options_stand_side_by_side(tmp_path: Path):
    folder = tmp_path / "scenario"
    folder.mkdir()
    text = (EXAMPLES / "multi-silicon" / "scenario.toml").read_text("utf-8")
    stated = text.replace(
        'title = "Trainium2, three years"\n',
        'title = "Trainium2, three years"\ntokens_per_s_per_chip = 1234\n',
    )
    (folder / "scenario.toml").write_text(stated, "utf-8")
    both, plain = prepare(folder), prepare(EXAMPLES / "multi-silicon")
    assert both.capacity.basket_rate["trainium"] == 1234
    assert both.capacity.basket_rate["gpu"] == plain.capacity.basket_rate["gpu"]
    assert both.capacity.table.silicon[-1] == "AWS Trainium2 (trainium)"
    assert np.all(both.capacity.table.output_tokens_per_s_per_chip[-1] == 1234)
