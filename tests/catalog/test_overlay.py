"""A user's own figures over the release, and everything that can be wrong with them."""

import pytest

from tapeout.catalog import load
from tapeout.errors import ProblemsError

GOOD = """
[[figure]]
entity = "gb300"
field = "price_usd"
condition = "rack-share"
value = 49000
unit = "USD"
as_of = 2026-11-20
status = "vendor_claim"
source_title = "our quotation"
why = "quoted to us"

[[figure]]
entity = "driver"
field = "nre_usd"
value = 400
unit = "USD M"
low = 350
high = 500
as_of = "2026-11-20"
why = "our own estimate"
"""


def _problems(tmp_path, text):
    path = tmp_path / "mine.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ProblemsError) as caught:
        load(path)
    return caught.value.problems


def _figure(**changes):
    figure = {
        "entity": '"h100"',
        "field": '"tdp"',
        "value": "650",
        "unit": '"W"',
        "as_of": "2026-11-20",
        **changes,
    }
    lines = [f"{key} = {value}" for key, value in figure.items() if value]
    return "\n".join(["[[figure]]", *lines, ""])


def test_figures_of_an_overlay_win_in_the_unit_of_their_field(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(GOOD)
    mine, release = load(path), load()
    price = mine.resolve("gb300", "price_usd", "rack-share")
    assert price.chosen.value == 49000
    assert (price.set_by, price.why) == ("overlay", "quoted to us")
    assert price.rejected[0].value == 52083
    nre = mine.driver("nre_usd")
    assert (nre.chosen.value, nre.chosen.low, nre.chosen.high) == (4e8, 3.5e8, 5e8)
    assert release.driver("nre_usd").chosen.value == 5e8
    assert mine.chip("h100").figure("tdp") == release.chip("h100").figure("tdp")


def test_the_digest_tells_overlays_apart(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(GOOD)
    first = load(path).digest
    assert first == load(path).digest != load().digest
    path.write_text(GOOD.replace("49000", "49001"))
    assert load(path).digest != first


def test_an_overlay_without_a_condition_means_the_usual_one(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(_figure(field='"peak_fp8"', value="1800", unit='"TFLOP/s"'))
    assert load(path).chip("h100").figure("peak_fp8", "dense").chosen.value == 1.8e15


def test_an_overlay_can_give_a_figure_nobody_stated_and_a_text(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(
        _figure(entity='"wse-3"', field='"tdp"', value="23", unit='"kW"')
        + _figure(field='"foundry"', value='"TSMC"', unit="")
    )
    catalog = load(path)
    assert catalog.resolve("wse-3", "tdp").chosen.value == 23000
    assert catalog.fact("h100", "foundry").text == "TSMC"


@pytest.mark.parametrize(
    ("changes", "path", "said"),
    [
        ({"entity": '"h10O"'}, "figure[0].entity", "did you mean 'h100'"),
        ({"field": '"tpd"'}, "figure[0].field", "did you mean 'tdp'"),
        ({"field": '"nre_usd"'}, "figure[0].field", 'entity = "driver"'),
        ({"unit": ""}, "figure[0].unit", "unit missing"),
        ({"unit": '"Wt"'}, "figure[0].unit", "unknown unit"),
        ({"unit": '"TB/s"'}, "figure[0].unit", "measures bytes_per_s"),
        ({"value": "-5"}, "figure[0].value", "must be positive"),
        ({"value": "nan"}, "figure[0].value", "not a finite number"),
        ({"value": '"650"'}, "figure[0].value", "a number is needed"),
        ({"value": "true"}, "figure[0].value", "not numbers"),
        ({"value": ""}, "figure[0].value", "Field required"),
        ({"low": "700", "high": "600"}, "figure[0].low", "low is above high"),
        ({"low": "700"}, "figure[0].value", "outside its own range"),
        ({"high": "600"}, "figure[0].value", "outside its own range"),
        ({"as_of": '"24.11.2026"'}, "figure[0].as_of", "YYYY-MM-DD"),
        ({"as_of": "7"}, "figure[0].as_of", "YYYY-MM-DD"),
        ({"status": '"rumour"'}, "figure[0].status", "measured"),
        ({"vlaue": "3"}, "figure[0].vlaue", "did you mean 'value'"),
        ({"entity": '"driver"'}, "figure[0].field", "unknown field"),
    ],
)
def test_a_wrong_cell_is_named_with_its_place_and_remedy(tmp_path, changes, path, said):
    problems = _problems(tmp_path, _figure(**changes))
    lines = [problem.line() for problem in problems]
    assert any(problem.path == path for problem in problems), lines
    assert any(said in line for line in lines), lines


def test_every_problem_of_a_file_is_told_at_once(tmp_path):
    text = _figure(entity='"h10O"') + _figure(value="-1") + _figure(as_of='"soon"', unit='"W"')
    paths = [problem.path for problem in _problems(tmp_path, text)]
    assert paths == ["figure[0].entity", "figure[1].value", "figure[2].as_of"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "names nothing"),
        ("figure = []", "names nothing"),
        ("figure = 3", "two brackets"),
        ("[figure]\nvalue = 3", "two brackets"),
        ("[[figur]]\nvalue = 3", "unknown key"),
        ("value = = 3", "not TOML"),
        (b'[[figure]]\nentity = "\xff\xfe"', "not UTF-8"),
        (b"#" * 6_000_000, "5 MB"),
    ],
)
def test_a_wrong_file_is_told_in_one_line(tmp_path, text, said):
    (problem,) = _problems(tmp_path, text)
    assert said in problem.line()


def test_a_file_that_is_not_there_is_told(tmp_path):
    with pytest.raises(ProblemsError, match="cannot be read"):
        load(tmp_path / "none.toml")
