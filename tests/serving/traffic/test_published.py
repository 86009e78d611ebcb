"""Figures of public traces, to the digits in which they were published beside the files."""

import os
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tapeout.serving.traffic import (
    ReadOptions,
    generate_clients,
    read_clients,
    read_trace,
    summary,
    trace_statistics,
)
from tapeout.serving.traffic.statistics import counts_in_windows, interarrival_cv

ROOT = Path(__file__).resolve().parents[3]
DATA = Path(os.environ.get("TAPEOUT_DATA", ROOT.parent / "shared/data")) / "traces"
pytestmark = [
    pytest.mark.shared_data,
    pytest.mark.skipif(not DATA.is_dir(), reason="no traces here"),
]


def figures(name):
    options = ReadOptions(spread=False, partial_blocks=True, rate_rps=1.0)
    trace, report = read_trace(DATA / name, options)
    assert report.dropped == ()
    return trace_statistics(trace)


def in_words(one, mean_digits):
    mean = f"{one.mean:.{mean_digits}f}"
    return f"{mean} / {one.p50:.0f} / {one.p90:.0f} / {one.p99:.0f} / {one.max:.0f}"


@pytest.mark.parametrize(
    ("name", "counts", "inputs", "outputs", "bursts"),
    [
        ("azure2023_code.csv", "8,819 3,436 2.567", "2048 / 1469 / 5188 / 7436 / 7437",
         "27.9 / 13 / 55 / 251 / 1899", "13.15 13.18 4.16"),
        ("azure2023_conv.csv", "19,366 3,502 5.530", "1155 / 1020 / 2734 / 4142 / 14050",
         "211.1 / 129 / 424 / 601 / 1000", "1.09 1.39 1.54"),
        ("mooncake_conversation.jsonl", "12,031 3,537 3.401",
         "12035 / 6909 / 27367 / 85400 / 126195", "342.6 / 350 / 597 / 1119 / 2000",
         "3.03 7.89 1.21"),
    ],
)  # fmt: skip
def test_a_trace_has_its_published_figures(name, counts, inputs, outputs, bursts):
    one = figures(name)
    assert f"{one.requests:,} {one.span_s:,.0f} {one.rate_rps:.3f}" == counts
    assert in_words(one.input_tokens, 0) == inputs
    assert in_words(one.output_tokens, 1) == outputs
    found = (one.interarrival_cv, one.dispersion, one.busiest_minute_ratio)
    assert " ".join(f"{value:.2f}" for value in found) == bursts


@pytest.mark.parametrize(
    ("name", "requests", "inputs", "outputs"),
    [
        ("vidur_arxiv_summarization_lengths.csv", 28_257, "2588 / 2730 / 3702 / 3933",
         "291.4 / 167 / 372 / 3271"),
        ("sharegpt300_lengths.csv", 300, "857 / 732 / 1460 / 2765", "652.5 / 632 / 770 / 784"),
    ],
)  # fmt: skip
def test_a_file_of_lengths_has_its_published_figures(name, requests, inputs, outputs):
    one = figures(name)
    assert one.requests == requests
    assert in_words(one.input_tokens, 0).rpartition(" / ")[0] == inputs
    assert in_words(one.output_tokens, 1).rpartition(" / ")[0] == outputs


def test_mooncake_has_its_published_prefix_reuse():
    found = figures("mooncake_conversation.jsonl").prefixes
    assert (found.blocks, found.unique_blocks) == (288_500, 182_790)
    assert f"{found.hit_block_fraction:.1%} {found.hit_token_fraction:.1%}" == "36.6% 37.4%"
    assert f"{found.capped_token_fraction:.1%}" == "37.3%"


def test_spreading_mooncake_takes_the_grid_out_of_its_burstiness():
    options = ReadOptions(block_tokens=16, requests=4000)
    trace, _ = read_trace(DATA / "mooncake_conversation.jsonl", options)
    found = trace_statistics(trace)
    wide, _ = read_trace(DATA / "mooncake_conversation.jsonl", replace(options, block_tokens=512))
    reuse = trace_statistics(wide).prefixes.hit_token_fraction
    assert found.interarrival_cv < 1.1  # 3.03 on the grid
    assert found.dispersion < 1.5  # 7.89 on the grid
    # full blocks of 16 catch a little more of a shared prefix than blocks of 512
    assert reuse < found.prefixes.hit_token_fraction < reuse + 0.001


SERVEGEN = [
    ("deepseek_r1", "73 1,383,669", "16.0 / 42.5", "1268 / 208 / 2092 / 23423",
     "1527 / 792 / 3432 / 12607", "2.28 52% 0%"),
    ("m_large_day1", "97 18,069,255", "209 / 515", "744 / 624 / 1446 / 3130",
     "90 / 31 / 405 / 624", "2.17 51% 33%"),
    ("mm_image", "35 818,610", "9.5 / 13.3", "572 / 106 / 1914 / 3064",
     "130 / 100 / 264 / 587", "2.21 56% 0%"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "counts", "rates", "inputs", "outputs", "shape"), SERVEGEN)
def test_client_statistics_have_their_published_figures(
    name, counts, rates, inputs, outputs, shape
):
    one = summary(read_clients(DATA / f"servegen_{name}_clients.csv"))
    assert f"{one.clients} {one.expected_requests:,.0f}" == counts
    digits = 0 if name == "m_large_day1" else 1
    assert f"{one.mean_rate_rps:.{digits}f} / {one.peak_rate_rps:.{digits}f}" == rates
    assert in_words(one.input_tokens, 0).rpartition(" / ")[0] == inputs
    assert in_words(one.output_tokens, 0).rpartition(" / ")[0] == outputs
    assert f"{one.weighted_cv:.2f} {one.top5_fraction:.0%} {one.unknown_fraction:.0%}" == shape


@pytest.fixture(scope="module", params=["deepseek_r1", "mm_image"])
def day(request):
    """Statistics of a day and one draw of it."""
    stats = read_clients(DATA / f"servegen_{request.param}_clients.csv")
    return stats, generate_clients(stats, 20261124)


def test_a_drawn_day_has_the_rates_of_its_statistics(day):
    """The variance of a stationary renewal count tends to CV^2 times its mean."""
    stats, trace = day
    process_cv = np.array([stats.process(window).cv for window in range(stats.shape.size)])
    deviation = float((process_cv**2 * stats.expected).sum()) ** 0.5
    assert trace.requests == pytest.approx(float(stats.expected.sum()), abs=4.0 * deviation)
    starts, window = np.unique(stats.start_s, return_inverse=True)
    mean = np.bincount(window, weights=stats.expected)
    spread = np.bincount(window, weights=process_cv**2 * stats.expected) ** 0.5
    found = np.histogram(trace.arrival_s, np.append(starts, starts[-1] + 600.0) - starts[0])[0]
    assert (np.abs(found - mean) / spread).max() < 6.0
    assert np.mean(((found - mean) / spread) ** 2) == pytest.approx(1.0, abs=0.4)


def test_a_drawn_day_has_the_lengths_of_its_statistics(day):
    """Counts of bursty clients vary, and with them the mixture: hence two per cent."""
    stats, trace = day
    found, wanted = trace_statistics(trace), summary(stats)
    for side in ("input_tokens", "output_tokens"):
        drawn, said = getattr(found, side), getattr(wanted, side)
        assert drawn.mean == pytest.approx(said.mean, rel=0.02)
        assert drawn.p50 == pytest.approx(said.p50, rel=0.04)
        assert drawn.p99 == pytest.approx(said.p99, rel=0.04)


def test_a_drawn_client_has_the_cv_of_its_windows(day):
    """Over windows with many requests, the sample CV over that of the process is one."""
    stats, trace = day
    ratios = []
    for window in np.argsort(-stats.expected)[:200].tolist():
        times = trace.arrival_s[trace.client == stats.client[window]]
        begin = float(stats.start_s[window]) - stats.begins_s
        low, high = np.searchsorted(times, (begin, begin + 600.0))
        ratios.append(interarrival_cv(times[low:high]) / stats.process(window).cv)
    assert float(np.median(ratios)) == pytest.approx(1.0, abs=0.05)


def test_a_few_clients_make_most_of_the_load_and_its_bursts(day):
    stats, trace = day
    loads = np.sort(np.bincount(trace.client))[::-1]
    assert loads[:5].sum() / loads.sum() == pytest.approx(summary(stats).top5_fraction, abs=0.02)
    assert counts_in_windows(trace.arrival_s, 600.0).max() / 600.0 == pytest.approx(
        summary(stats).peak_rate_rps, rel=0.1
    )


@pytest.mark.slow
def test_eighteen_million_requests_are_drawn_in_ten_seconds():
    stats = read_clients(DATA / "servegen_m_large_day1_clients.csv")
    begin = time.process_time()
    trace = generate_clients(stats, 1)
    assert time.process_time() - begin < 10.0
    assert trace.requests == pytest.approx(18_069_255, rel=0.005)
