"""The page of a simulated run: it stands alone, and its charts carry what the run says."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest

from tapeout.cli.simulate_show import seconds
from tapeout.report.charts import simulation as charts
from tapeout.report.charts import theme
from tapeout.report.simulation import simulation_html, write_simulation
from tapeout.report.tables import simulation as tables
from tapeout.serving.engine.gaps import BINS, Gaps, bin_of
from tapeout.serving.engine.types import PS_PER_S
from tapeout.serving.many import ClusterSummary, Served
from tapeout.serving.objectives import parse_objective
from tapeout.serving.phases import order_of, phases
from tapeout.serving.traffic import Trace


@pytest.fixture(scope="module")
def made(script):
    return script("tests/serving/handmade_runs.py")


@pytest.fixture(scope="module")
def result(made):
    return made.result_of(
        made.queue_run(count=1500, rate=9.0),
        objective=parse_objective("ttft_p90=1.5,tpot_p90=0.05"),
    )


@pytest.fixture(scope="module")
def page(result):
    return simulation_html(result)


def body(page):
    """Text before the scripts."""
    return page[: page.index("<script")]


def test_the_page_loads_nothing_and_escapes_what_it_shows(page):
    text = body(page)
    assert "made by hand &lt;b&gt;" in text
    assert "cache assumed &lt;i&gt;" in text
    assert 'src="' not in text
    assert "http" not in re.sub(r'http-equiv="[^"]*"', "", text)
    assert "vegaEmbed" in page


def test_the_page_has_the_gaps_between_tokens_where_they_were_counted(made, page):
    assert "the run did not count the gaps" in body(page)
    counts = np.zeros(BINS, np.int64)
    counts[bin_of(25 * PS_PER_S // 1000)] = 7
    run = replace(made.queue_run(count=300, rate=9.0), gaps=Gaps(counts=counts))
    text = body(simulation_html(made.result_of(run)))
    assert "ITL: 7 gaps, all requests together" in text
    assert text.count("25.0 ms") >= 5  # p50, p90, p95, p99, largest


def test_the_same_result_gives_the_same_bytes(result, page):
    assert simulation_html(result) == page


def test_every_chart_has_its_specification(page):
    drawn = set(re.findall(r'data-chart="([a-z0-9-]+)"', body(page)))
    described = set(re.findall(r'id="spec-([a-z0-9-]+)"', page))
    assert drawn == described
    assert drawn == {
        "chart-sequences", "chart-cache", "chart-tokens", "chart-ttft", "chart-tpot", "chart-e2e",
        "chart-queue", "chart-requests",
    }  # fmt: skip
    for text in re.findall(r'id="spec-[a-z0-9-]+">(.*?)</script>', page, re.DOTALL):
        assert json.loads(text)["datasets"]["main"]


def test_it_says_how_to_read_it_and_what_is_left_out(page):
    text = body(page)
    for heading in ("How to read it", "What it leaves out", "How it was set up", "Over time"):
        assert heading in text
    assert "1,000 blocks (900 to 1,100) of 16 tokens: by hand" in text
    assert "vllm-v1 (vLLM V1, as of 0.19)" in text
    assert "x/÷ 1.14" in text  # exp(1.2816 x 0.1)


def test_limits_are_marked_where_they_are_missed(result, page):
    summary = result.summary
    assert [one.met for one in summary.checks] == [True, False]
    table = tables.limits(summary)
    assert [line.cells[2].text for line in table.rows] == ["met", "missed"]
    assert [line.cells[2].tone for line in table.rows] == ["good", "bad"]
    latencies = tables.latencies(summary)
    p90 = [column.key for column in latencies.columns].index("p90")
    assert [line.cells[p90].tone for line in latencies.rows] == ["good", "bad", "", ""]
    assert "meet all limits" in body(page)


def test_a_saturated_run_is_marked(made):
    text = body(simulation_html(made.result_of(made.queue_run(count=1500, rate=20.0))))
    assert "Saturated: requests in the system grow by" in text
    assert "saturated, it grows" in text


def test_without_a_timeline_nothing_is_drawn_over_time(made, result):
    text = body(simulation_html(made.result_of(made.run_of(result.simulation.requests))))
    assert "Over time" not in text
    assert "Preemptions are not drawn" in text
    assert "no log was kept" in text


def test_classes_have_a_table_of_their_own(made):
    run = made.queue_run(count=400)
    requests = run.requests
    trace = Trace(
        arrival_s=requests.arrival_s,
        input_tokens=requests.input_tokens,
        output_tokens=requests.output_tokens,
        slo_class=np.arange(400) % 2,
        classes=("chat", "batch"),
    )
    found = made.result_of(run, trace, objective=parse_objective("chat:ttft_p90=2"))
    table = tables.classes(found.summary)
    assert [line.cells[0].text for line in table.rows] == ["chat", "batch"]
    assert table.rows[1].cells[2].text == "–"  # no limit holds for it
    assert "Classes of traffic" in body(simulation_html(found))


def test_lines_over_time_keep_their_mean_in_bounded_points(made, result):
    line = made.timeline_of(result.simulation.requests, samples=2500)
    chart = charts.sequences_chart(line, "t")
    rows = [one for one in chart.spec["datasets"]["main"] if one["series"] == "running"]
    assert len(rows) <= charts.POINTS
    values = np.array([one["value"] for one in rows])
    assert values[:-1].mean() == pytest.approx(line.running.mean(), rel=0.02)


def test_tokens_are_per_second(made, result):
    line = made.timeline_of(result.simulation.requests, samples=250)
    rows = charts.tokens_chart(line, "t").spec["datasets"]["main"]
    output = [one["value"] for one in rows if one["series"] == "output"]
    total = np.mean(output) * line.time_s[-1]
    assert total == pytest.approx(line.output_tokens.sum(), rel=1e-4)


def test_a_distribution_rises_from_none_to_all(result):
    values = result.simulation.requests.ttft_s
    chart = charts.distribution_chart("ttft", values, result.summary.checks[:1])
    rows = chart.spec["datasets"]["main"]
    shares, found = ([one[key] for one in rows] for key in ("share", "value"))
    assert shares[0] == 0.0
    assert shares[-1] == 100.0
    assert found == sorted(found)
    assert found[-1] == pytest.approx(values.max(), rel=1e-5)
    (limit,) = chart.spec["datasets"]["limits"]
    assert limit["x"] == 1.5
    assert limit["colour"] == theme.GOOD
    missed = charts.distribution_chart("tpot", values, result.summary.checks[1:])
    assert missed.spec["datasets"]["limits"][0]["colour"] == theme.BAD
    assert limit["value"] == pytest.approx(
        np.percentile(values[: result.summary.requests], 90), rel=1e-3
    )
    assert charts.distribution_chart("ttft", np.array([np.nan]), ()) is None


def test_first_requests_are_drawn_phase_by_phase(result):
    chosen = order_of(result.simulation.requests, 60)
    found = phases(result.simulation, chosen)
    rows = charts.requests_chart(found, "t").spec["datasets"]["main"]
    assert len(rows) == len(found)
    assert {one["phase"] for one in rows} == {"prefill", "decode", "preempted", "queue"}
    assert max(one["row"] for one in rows) == 59
    assert charts.requests_chart((), "t") is None


def test_the_file_is_written_whole(result, page, tmp_path):
    write_simulation(result, tmp_path / "deep" / "page.html")
    assert (tmp_path / "deep" / "page.html").read_text(encoding="utf-8") == page
    assert len(list((tmp_path / "deep").iterdir())) == 1


def test_goodput_and_attainment_are_left_out_where_no_limit_was_given(made, result):
    free = made.result_of(made.queue_run(count=300, rate=9.0))
    names = [
        [line.cells[0].text for line in tables.load(one.summary).rows] for one in (free, result)
    ]
    assert "Goodput" not in names[0]
    assert "SLO attainment" not in names[0]
    assert {"Goodput", "SLO attainment"} <= set(names[1])


def test_a_failure_is_marked_behind_the_sequences_and_cut_at_the_end_of_the_run(result):
    line = result.simulation.timeline
    end_s = float(line.time_s[-1])
    marks = (charts.Mark(start_s=1.0, end_s=1e9, words="replica 1"),)
    plain, marked = (charts.sequences_chart(line, "x", one) for one in ((), marks))
    assert "marks" not in plain.spec["datasets"]
    (drawn,) = marked.spec["datasets"]["marks"]
    assert drawn["words"] == "replica 1"
    assert (drawn["start"], drawn["end"]) == (1.0, pytest.approx(end_s, rel=1e-5))
    assert "failure of replica 1" in marked.alt
    assert [one.label for one in marked.legend] == ["running", "waiting", "failure"]


def test_the_replicas_by_kind_add_up_in_their_last_row(result):
    kinds = tuple(
        Served(
            name=name, replicas=count, requests=10 * count, busy_fraction=0.5, paid_h=1.0,
            output_tokens_per_s=5.0, paid_usd=3.0, output_tokens=1_000_000, usd_per_mtok=3.0,
            starts=1, failures=1,
        )
        for name, count in (("a", 2), ("<b>", 1))
    )  # fmt: skip
    many = ClusterSummary(router="prefix", kinds=kinds, tries=31, sent_again=1, dropped=0)
    table = tables.cluster(many, result.summary.attainment)
    assert [line.cells[1].text for line in table.rows] == ["2", "1", "3"]
    assert [line.cells[6].text for line in table.rows] == ["3.00", "3.00", "3.00"]
    assert table.rows[-1].style == "total"
    assert "31 tries in all" in table.notes[0]
    assert tables.cluster(None, result.summary.attainment) is None


def test_the_terminal_rounds_as_the_page_does(result):
    found = result.summary.latencies["ttft"]["p90"]
    table = tables.latencies(result.summary)
    (ttft,) = (line for line in table.rows if line.cells[0].text == "TTFT")
    assert seconds(found.value) in {cell.text for cell in ttft.cells}
