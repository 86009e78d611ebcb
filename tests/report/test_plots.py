"""Charts of operating points: every label has a point, every file stands alone."""

import xml.etree.ElementTree as ET

import pytest

from tapeout.errors import InfeasibleError
from tapeout.perf import PhysicalModel, step_mix
from tapeout.perf.points import breakdown
from tapeout.report.charts.operating import roofline_chart, sweep_chart
from tapeout.report.plots import svg, write_plot
from tapeout.serving import Lengths
from tapeout.serving.sweep import PREFILL, Load, perf_point

LENGTHS = Lengths(new=1000.0, cached=0.0, output=500.0)


@pytest.fixture(scope="module")
def roofline(placed):
    found = breakdown(PhysicalModel(), placed(), step_mix(decode=64.0, context=4096.0))
    return roofline_chart(found)


@pytest.fixture(scope="module")
def points(placed):
    load = Load(lengths=LENGTHS)
    return [
        perf_point(PhysicalModel(), placed(tensor_parallel=tp), load, batch)
        for tp in (1, 2)
        for batch in (1.0, 8.0, 64.0)
    ]


def test_points_lie_under_their_roof_and_labels_on_points(roofline):
    sets = roofline.spec["datasets"]
    assert all(row["roof"] <= 1.0 for row in sets["main"])
    places = {(row["intensity"], row["rate"]) for row in sets["main"]}
    assert sets["labels"]
    assert {(row["intensity"], row["rate"]) for row in sets["labels"]} <= places
    assert {row["colour"] for row in sets["main"]} == {one.colour for one in roofline.legend}


def test_labels_do_not_lie_on_one_another(roofline):
    rows = roofline.spec["datasets"]["labels"]
    for place, one in enumerate(rows):
        for other in rows[:place]:
            apart = max(one["rate"] / other["rate"], other["rate"] / one["rate"]) >= 1.35
            aside = max(
                one["intensity"] / other["intensity"], other["intensity"] / one["intensity"]
            )
            assert apart or aside >= 1.35**4


def test_the_title_says_what_bounds_the_step(roofline):
    assert "bound by memory" in roofline.title
    assert "MFU" in roofline.title
    assert "MBU" in roofline.title


def test_a_sweep_names_its_best_point(points):
    chart = sweep_chart(points)
    best = max(points, key=lambda one: one.output_tokens_per_s_per_chip)
    assert f"{best.output_tokens_per_s_per_chip:,.0f} tokens/s" in chart.title
    assert len(chart.legend) == 2
    assert len(chart.spec["datasets"]["main"]) == 6


def test_nothing_to_draw_is_none(points, placed):
    assert sweep_chart(points[:1]) is None
    prefill = perf_point(PhysicalModel(), placed(), Load(lengths=LENGTHS, kind=PREFILL), 1.0)
    assert sweep_chart([prefill, prefill]) is None


def test_files_stand_alone(roofline, points, tmp_path):
    write_plot(roofline, tmp_path / "r.html", ("a <note>",))
    page = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert "vegaEmbed" in page
    assert "a &lt;note&gt;" in page
    assert 'src="http' not in page
    root = ET.fromstring(svg(sweep_chart(points)))  # noqa: S314  our own text
    text = " ".join(root.itertext())
    assert "Interactivity" in text
    assert "NVIDIA plain tp2 fp8" in text
    assert [one.name for one in tmp_path.iterdir()] == ["r.html"]


def test_another_ending_is_refused(roofline, tmp_path):
    with pytest.raises(InfeasibleError, match=r"\.html or \.svg"):
        write_plot(roofline, tmp_path / "r.png")
