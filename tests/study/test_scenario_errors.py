"""Wrong inputs, each answered with dotted path, value and remedy, all of one file at once."""

import json
import os
from pathlib import Path

import pytest

from tapeout.errors import ProblemsError
from tapeout.study import json_schema, load_scenario, prepare
from tapeout.study.scenario import LARGEST_BYTES


def problems(folder, patches=()):
    with pytest.raises(ProblemsError) as caught:
        prepare(folder, patches=patches)
    return {problem.path: problem for problem in caught.value.problems}


CASES = [
    # changes, path, part of the message, part of the remedy
    ({"options__gpu__chip": "GB300 NVL27"}, "options.gpu.chip", "unknown chip", "GB300 NVL72"),
    ({"options__gpu__price_usd": -5}, "options.gpu.price_usd", "must not be negative", "USD/chip"),
    (
        {"options__gpu__availability_fraction": 1.2},
        "options.gpu.availability_fraction",
        "between 0 and 1",
        "share of time",
    ),
    (
        {"options__gpu__allin_w_per_chip": "2 kV"},
        "options.gpu.allin_w_per_chip",
        "unknown unit",
        "W",
    ),
    (
        {"options__gpu__allin_w_per_chip": "2 GB"},
        "options.gpu.allin_w_per_chip",
        "does not measure W",
        "write it in W",
    ),
    ({"options__own__nre_usd": "3e8 to 1e8"}, "options.own.nre_usd", "low 3e+08 is above", ""),
    ({"options__own__nre_usd": {"why": "x"}}, "options.own.nre_usd", "needs value", ""),
    ({"options__own__nre_usd": "much"}, "options.own.nre_usd", "not a number", ""),
    (
        {"options__own__nre_usd": {"value": 1, "status": "guess"}},
        "options.own.nre_usd",
        "no such status 'guess'",
        "",
    ),
    ({"options__own__nre_us": 1}, "options.own.nre_us", "unknown key", "nre_usd"),
    ({"options__gpu__kind": "bought"}, "options.gpu.kind", "kind must be one of", "kind ="),
    (
        {"options__bridge__rent_usd_per_chip_hour": None},
        "options.bridge.rent_usd_per_chip_hour",
        "no catalogue rent",
        "write it",
    ),
    ({"decission": {}}, "decission", "unknown key", "decision"),
    ({"decision__basline": "buy"}, "decision.basline", "unknown key", "baseline"),
    ({"traffic__0__modle": "x"}, "traffic.chat.modle", "unknown key", "model"),
    (
        {"strategy__0__steps__0__optoin": "gpu"},
        "strategy.buy.steps.0.optoin",
        "unknown key",
        "option",
    ),
    ({"site": {"usd_per_kw": 1}}, "site.usd_per_kw", "unknown key", "usd_per_kwh"),
    ({"slo__chat__ttft_s": 1}, "slo.chat.ttft_s", "unknown key", "ttft_p90_s"),
    ({"decision__baseline": "by"}, "decision.baseline", "no such name", "'buy'"),
    ({"decision__alternative": "gpus"}, "decision.alternative", "no such name", "'gpu'"),
    ({"decision__horizon_years": 0}, "decision.horizon_years", "greater than or equal to 1", ""),
    ({"decision__start": "soon"}, "decision.start", "date", ""),
    ({"decision__start": None}, "decision.start", "missing", "add it"),
    (
        {"strategy__0__steps__0__option": "gpuu"},
        "strategy.buy.steps[0].option",
        "no such name",
        "'gpu'",
    ),
    (
        {"strategy__2__steps__0__until": "own.full_volum"},
        "strategy.build.steps[0].until",
        "no such name",
        "'own.full_volume'",
    ),
    ({"strategy__1__key": "buy"}, "strategy", "key used twice", "rename one"),
    ({"scale__mw": None}, "scale.mw", "missing", "write the megawatts"),
    ({"traffic__0__share": 0.5}, "traffic", "add up to 0.5, not 1", "mend them"),
    ({"traffic__0__share": None}, "traffic.chat.share", "missing", "sized_by"),
    ({"traffic__0__slo": "chatt"}, "slo.chatt", "no such name", "'chat'"),
    ({"prior__1__ratio": None}, "prior.rate.ratio", "missing", "1.5 to 1.9"),
    ({"prior__2__baseline": "gqu"}, "prior.word.baseline", "no such name", "'gpu'"),
    ({"schema": 2}, "schema", "this release reads schema 1", "write schema = 1"),
]


@pytest.mark.parametrize(("changes", "path", "message", "remedy"), CASES)
def test_a_mistake_is_named_with_its_path_and_remedy(
    make, tmp_path, changes, path, message, remedy
):
    found = problems(make.write(tmp_path / "s", make.small(**changes)))
    assert path in found, list(found)
    line = found[path].line()
    assert message in line
    assert remedy in line


def test_the_value_is_shown(make, tmp_path):
    found = problems(make.write(tmp_path, make.small(options__gpu__price_usd=-5)))
    assert found["options.gpu.price_usd"].value == "-5"


def test_several_mistakes_of_shape_are_named_at_once(make, tmp_path):
    changes = {
        "decission": {}, "options__gpu__price_us": 1, "options__own__nre_usd": "4 to 1",
        "decision__horizon_years": 99,
    }  # fmt: skip
    found = problems(make.write(tmp_path, make.small(**changes)))
    assert set(found) == {
        "decission", "options.gpu.price_us", "options.own.nre_usd", "decision.horizon_years",
    }  # fmt: skip


def test_several_mistakes_of_value_are_named_at_once(make, tmp_path):
    changes = {
        "options__gpu__chip": "GB300 NVL27", "options__own__die_area_mm2": -1,
        "site": {"pue_ratio": "1.2 GB"}, "options__own__partner_margin_fraction": 7,
    }  # fmt: skip
    found = problems(make.write(tmp_path, make.small(**changes)))
    assert set(found) == {
        "options.gpu.chip", "options.own.die_area_mm2", "site.pue_ratio",
        "options.own.partner_margin_fraction",
    }  # fmt: skip


def test_a_model_nobody_knows_is_answered_with_a_suggestion(make, tmp_path):
    scenario = make.small(traffic__0__model="gpt-oss-120")
    for option in scenario["options"].values():
        option.pop("tokens_per_s_per_chip")
    found = problems(make.write(tmp_path, scenario))
    (only,) = found.values()
    assert "gpt-oss-120" in only.line()
    assert "gpt-oss-120b" in only.remedy


def test_a_model_that_does_not_fit_is_answered_with_the_reason(make, tmp_path):
    scenario = make.small(traffic__0__model="DeepSeek-R1", options__gpu__chip="NVIDIA K80")
    scenario["options"]["gpu"].pop("tokens_per_s_per_chip")
    found = problems(make.write(tmp_path, scenario))
    assert "options.gpu.chip" in found
    assert "cannot serve 'chat'" in found["options.gpu.chip"].message


# files


def test_a_missing_folder_is_answered(tmp_path):
    (only,) = problems(tmp_path / "nowhere").values()
    assert (only.message, only.remedy) == ("no such folder", "make one with `tapeout new NAME`")


def test_a_folder_without_a_scenario_is_answered(tmp_path):
    (only,) = problems(tmp_path).values()
    assert only.path == "scenario.toml"
    assert only.message == "no such file"


def test_an_empty_scenario_is_answered(tmp_path):
    (tmp_path / "scenario.toml").write_text("# nothing\n")
    (only,) = problems(tmp_path).values()
    assert only.message == "the file is empty"


def test_a_huge_file_is_refused_unread(tmp_path):
    with (tmp_path / "scenario.toml").open("wb") as file:
        os.truncate(file.fileno(), 200_000_000)
    (only,) = problems(tmp_path).values()
    assert "200,000,000 bytes" in only.message
    assert f"{LARGEST_BYTES:,}" in only.remedy


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'title = "caf\xe9"', "not UTF-8 (byte 12)"),
        (b"\xff\xfe", "not UTF-8 (byte 0)"),
        (b"{", "not TOML"),
        (b"a = 1\na = 2", "not TOML"),
    ],
)
def test_a_file_that_is_no_toml_is_answered(tmp_path, content, message):
    (tmp_path / "scenario.toml").write_bytes(content)
    (only,) = problems(tmp_path).values()
    assert message in only.message


# overlays (named patches)


OVERLAYS = {
    "dear": {"why": "what if", "set": {"options.own.nre_usd": 9e9}},
    "nowhere": {"why": "what if", "set": {"strategy.bild.title": "x"}},
    "typo": {"why": "what if", "set": {"options.own.nre_us": 9e9}},
    "blank": {"why": "what if", "set": {}},
    "silent": {"set": {"options.own.nre_usd": 9e9}},
    "traffic": {"why": "what if", "set": {"traffic.chat.output_tokens": 100}},
}


@pytest.mark.parametrize(
    ("name", "path", "message"),
    [
        ("deer", "overlays.deer", "no such overlay; did you mean 'dear'?"),
        ("nowhere", "overlays.nowhere.strategy.bild.title", "names nothing"),
        ("typo", "options.own.nre_us", "unknown key; did you mean 'nre_usd'"),
        ("blank", "overlays.blank.set", "at least 1 item"),
        ("silent", "overlays.silent.why", "missing"),
    ],
)
def test_an_overlay_that_names_nothing_is_answered(make, tmp_path, name, path, message):
    make.write(tmp_path, make.small(), OVERLAYS)
    found = problems(tmp_path, (name,))
    assert path in found, list(found)
    assert message in found[path].line()


def test_an_overlay_without_its_file_is_answered(make, tmp_path):
    make.write(tmp_path, make.small())
    (only,) = problems(tmp_path, ("dear",)).values()
    assert only.path == "--patch"
    assert "no named patches" in only.message


def test_overlays_apply_in_order(make, tmp_path):
    make.write(tmp_path, make.small(), OVERLAYS)
    changed = load_scenario(tmp_path, ("dear", "traffic"))
    assert changed.options["own"].nre_usd.value == 9e9
    assert changed.traffic[0].output_tokens == 100
    assert load_scenario(tmp_path).options["own"].nre_usd.low == 1e8


# schema


def test_the_json_schema_describes_the_examples():
    """Every key of every example is a property somewhere in the schema."""
    schema = json_schema()
    json.dumps(schema)
    known = _properties(schema)
    root = Path(__file__).resolve().parents[2]
    for path in sorted((root / "examples").glob("*/scenario.toml")):
        scenario = load_scenario(path)
        assert set(type(scenario).model_json_schema(by_alias=True)["properties"]) <= known


def _properties(node):
    found = set()
    if isinstance(node, dict):
        found |= set(node.get("properties", {}))
        for item in node.values():
            found |= _properties(item)
    if isinstance(node, list):
        for item in node:
            found |= _properties(item)
    return found


def test_the_json_schema_refuses_unknown_keys_as_the_loader_does():
    schema = json_schema()
    assert schema["additionalProperties"] is False
    for name, one in schema["$defs"].items():
        if "properties" in one:
            assert one.get("additionalProperties") is False, name
