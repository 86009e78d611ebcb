import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import polars as pl
import pytest
from markupsafe import escape

from tapeout.report import formats as f
from tapeout.report import page as page_module
from tapeout.report import write_html
from tapeout.report.page import charts_of, html
from tapeout.report.sections import sections
from tapeout.study import read_results

VOID = {"meta", "br", "input", "img", "link", "hr"}


class Reader(HTMLParser):
    """Collects what a page would load, its headings and whether its elements are closed."""

    def __init__(self):
        super().__init__()
        self.loads, self.headings, self.open, self.wrong, self.ids = [], [], [], [], []
        self.scripts = 0
        self.captions = self.tables = 0

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.loads += [values[key] for key in ("src", "srcset", "poster") if values.get(key)]
        if tag in {"link", "iframe", "object", "embed", "img", "base", "form"}:
            self.loads.append(tag)
        self.headings += [int(tag[1])] if re.fullmatch(r"h[1-6]", tag) else []
        self.ids += [values["id"]] if values.get("id") else []
        self.scripts += tag == "script"
        self.tables += tag == "table"
        self.captions += tag == "caption"
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.wrong.append(tag)


@pytest.fixture(params=["build", "no_build"])
def case(request):
    """A study and its page."""
    return request.getfixturevalue(request.param), request.getfixturevalue(f"{request.param}_page")


def read(page: str) -> Reader:
    reader = Reader()
    reader.feed(page)
    reader.close()
    return reader


def test_a_page_loads_nothing_and_is_well_formed(case):
    _, page = case
    reader = read(page)
    assert reader.loads == []
    assert reader.wrong == []
    assert reader.open == []
    assert len(set(reader.ids)) == len(reader.ids)
    styles = "".join(re.findall(r"<style>(.*?)</style>", page, re.DOTALL))
    assert "url(" not in styles
    assert "@import" not in styles
    assert "default-src 'none'" in page


def test_a_page_is_smaller_than_three_megabytes(case):
    assert len(case[1].encode()) < 3_000_000


def test_headings_go_down_one_step_at_a_time_and_every_table_has_a_caption(case):
    reader = read(case[1])
    assert reader.headings[0] == 1
    assert reader.headings.count(1) == 1
    assert all(b - a <= 1 for a, b in zip(reader.headings, reader.headings[1:], strict=False))
    assert reader.tables == reader.captions > 0


def test_every_chart_has_data_a_title_a_description_and_axis_titles(case):
    charts = list(charts_of(sections(case[0])))
    assert len(charts) >= 6
    for chart in charts:
        assert chart.title
        assert chart.alt
        assert chart.spec["width"] == "container"
        assert next(iter(chart.spec["datasets"].values()))
        titles = re.findall(r'"axis": \{[^{}]*"title": "([^"]+)"', json.dumps(chart.spec))
        assert titles
        assert all(titles)


def test_every_chart_of_the_page_stands_in_it_with_its_specification(case):
    results, page = case
    for chart in charts_of(sections(results)):
        found = re.search(
            rf'<script type="application/json" id="spec-{chart.key}">(.*?)</script>',
            page,
            re.DOTALL,
        )
        assert json.loads(found.group(1)) == chart.spec
        assert f'data-chart="{chart.key}"' in page


def test_hostile_titles_stay_text(no_build_page):
    reader = read(no_build_page)
    specs = no_build_page.count('type="application/json" id=')
    assert reader.scripts == specs + 2
    text = no_build_page[: no_build_page.index("<script")]
    assert "<img" not in text
    assert "<b>bought" not in text
    assert "&lt;script&gt;alert" in text
    assert "alert(2)</script>" not in no_build_page


def test_a_link_that_is_no_web_address_is_not_made_a_link(build):
    table = build.tables["inputs"].with_columns(source_url=pl.lit("javascript:alert(1)"))
    page = html(replace(build, tables={**build.tables, "inputs": table}))
    assert 'href="javascript' not in page


def test_the_verdict_leads_the_page(case):
    results, page = case
    body = page[page.index("<body>") :]
    headline = results.verdict["sentences"]["headline"]
    assert "verdict" in body[: body.index("</header>")]
    shown = re.search(r'id="verdict">(.*?)</p>', body, re.DOTALL).group(1)
    assert len(shown) >= len(headline)


def test_the_page_shows_the_numbers_of_the_results(build, build_page):
    verdict = build.verdict
    assert f.times(verdict["g_star"]["list"]["value"]) in build_page
    assert f.times(verdict["g_ship"]["rented"]["p50"]) in build_page
    for one in verdict["ranking"]:
        assert f.usd(one["mean_usd"]) in build_page
    for one in verdict["priors"]:
        assert f.times(one["g"]["p50"]) in build_page


def test_every_input_and_every_source_is_in_the_page(build, build_page):
    for path in build.tables["inputs"]["path"]:
        assert str(escape(path)) in build_page
    for url in build.tables["inputs"]["source_url"]:
        assert not url or str(escape(url)) in build_page


def test_the_same_results_give_the_same_bytes(build, build_page):
    assert html(replace(build, run={})) == build_page


def test_a_folder_that_was_written_and_read_gives_the_same_page(no_build, no_build_page, tmp_path):
    no_build.write(tmp_path / "results")
    assert html(read_results(tmp_path / "results")) == no_build_page


def test_sections_about_the_own_chip_are_left_out_without_one(no_build, no_build_page):
    keys = {part.key for part in sections(no_build)}
    assert keys.isdisjoint({"boundary", "conditions", "calendar"})
    assert "g_ship" not in no_build_page.replace("g*_ship", "g_ship").split("<script>", 1)[0]


def test_what_the_model_leaves_out_is_listed_once_the_study_names_it(build):
    named = ["taxes", {"what": "financing", "why": "flows are before interest"}]
    page = html(replace(build, verdict={**build.verdict, "left_out": named}))
    assert "<li>taxes</li>" in page
    assert "<li>financing: flows are before interest</li>" in page


def test_a_report_is_written_whole_or_not_at_all(build, tmp_path, monkeypatch):
    target = tmp_path / "deep" / "report.html"
    write_html(build, target)
    before = target.read_bytes()
    assert before.startswith(b"<!doctype html>")

    def fail(_):
        raise RuntimeError("halfway")

    monkeypatch.setattr(page_module, "html", fail)
    with pytest.raises(RuntimeError):
        write_html(build, target)
    assert target.read_bytes() == before
    assert [path.name for path in target.parent.iterdir()] == ["report.html"]
