"""Client statistics and what is drawn from them, on small made-up ones."""

import gzip
import json

import numpy as np
import pytest

from tapeout.errors import InfeasibleError, ProblemsError
from tapeout.serving.traffic import (
    ReadOptions,
    assign_shards,
    generate_clients,
    read_clients,
    read_trace,
    summary,
)

HEAD = "client,window_start_s,rate_rps,cv,iat_family,param1,param2\n"
ROWS = (
    "0,86400,2.0,3.16,Gamma,0.1,99\n0,87000,4.0,1.0,Weibull,1.0,99\n"
    "3,86400,1.0,1.0,Gamma,1.0,99\n3,108000,1.0,1.0,Gamma,1.0,99\n7,86400,0.5,2.0,Gamma,0.25,1\n"
)
LENGTHS = {
    "0": {"86400": {"input_tokens": {"100": 0.5, "300": 0.5}, "output_tokens": {"10": 1.0}}},
    "3": {
        "86400": {"input_tokens": {"50": 0.99}, "output_tokens": {"5": 0.7, "7": 0.3}},
        "108000": {"input_tokens": {"60": 1.0}, "output_tokens": {"9": 1.0}},
        "129600": {"input_tokens": {}, "output_tokens": {}},
    },
    "5": {"86400": {"input_tokens": {}, "output_tokens": {}}},
}


@pytest.fixture
def written(tmp_path):
    """Return a writer of the two files."""

    def write(rows=ROWS, lengths=LENGTHS, head=HEAD):
        path = tmp_path / "x_clients.csv"
        path.write_text(head + rows)
        (tmp_path / "x_lengths.json.gz").write_bytes(gzip.compress(json.dumps(lengths).encode()))
        return path

    return write


def test_the_summary_is_made_of_the_statistics(written):
    found = summary(read_clients(written()))
    assert found.clients == 3
    assert found.expected_requests == 600 * 8.5
    assert found.mean_rate_rps == pytest.approx(600 * 8.5 / (108_600 - 86_400))
    assert found.peak_rate_rps == 4.0
    assert found.weighted_cv == pytest.approx((6.32 + 4 + 1 + 1 + 1) / 8.5)
    assert found.top5_fraction == 1.0
    assert found.unknown_fraction == pytest.approx(0.5 / 8.5)
    # the known requests: 3,600 of client 0, 600 and 600 of client 3
    assert found.input_tokens.mean == pytest.approx((6 * 200 + 50 + 60) / 8)
    assert found.output_tokens.max == 10.0


def test_probabilities_that_do_not_add_up_are_made_to(written):
    lengths = read_clients(written()).lengths[3]
    assert lengths.input_tokens[0].cumulative.tolist() == [1.0]
    assert len(lengths.input_tokens) == 2  # the empty period of a day without requests is not one


def test_a_client_is_the_same_whoever_else_is_drawn(written):
    stats = read_clients(written())
    every = generate_clients(stats, 5)
    for client in (0, 3, 7):
        alone = generate_clients(stats, 5, clients=[client])
        rows = every.client == client
        assert (every.arrival_s[rows] == alone.arrival_s).all()
        assert (every.input_tokens[rows] == alone.input_tokens).all()
        assert (every.output_tokens[rows] == alone.output_tokens).all()
    assert (np.diff(every.arrival_s) >= 0.0).all()


def test_shards_together_are_the_whole(written):
    stats = read_clients(written())
    shard = assign_shards(stats.loads(), 2)
    assert shard.tolist() == [0, 1, 1]
    parts = [
        generate_clients(stats, 5, clients=stats.clients[shard == one].tolist()) for one in (0, 1)
    ]
    every = generate_clients(stats, 5)
    assert sum(one.requests for one in parts) == every.requests
    together = np.sort(np.concatenate([one.arrival_s for one in parts]))
    assert (together == every.arrival_s).all()


def test_counts_have_the_mean_of_the_rate_in_every_window(written):
    stats = read_clients(written())
    counts = [generate_clients(stats, seed, clients=[0]).requests for seed in range(300)]
    error = np.std(counts) / 300**0.5
    assert np.mean(counts) == pytest.approx(3600.0, abs=4.0 * error)


def test_clients_without_lengths_have_those_of_the_others(written):
    trace = generate_clients(read_clients(written()), 5, clients=[7])
    assert set(trace.input_tokens.tolist()) == {50, 100, 300}
    assert (trace.input_tokens == 50).mean() == pytest.approx(600 / 4200, abs=0.07)


def test_lengths_change_with_the_period(written):
    trace = generate_clients(read_clients(written()), 5, clients=[3])
    is_late = trace.arrival_s >= 108_000 - 86_400
    assert set(trace.input_tokens[is_late].tolist()) == {60}
    assert set(trace.input_tokens[~is_late].tolist()) == {50}


def test_a_part_of_the_day_and_another_rate(written):
    stats = read_clients(written())
    part = generate_clients(stats, 5, window_s=(600.0, 1200.0))
    assert set(part.client.tolist()) == {0}
    assert 0.0 <= part.arrival_s[0] < part.arrival_s[-1] < 600.0
    every = generate_clients(stats, 5)
    is_in = (every.arrival_s >= 600.0) & (every.arrival_s < 1200.0)
    assert part.arrival_s == pytest.approx(every.arrival_s[is_in] - 600.0)
    assert (part.output_tokens == every.output_tokens[is_in]).all()
    double = generate_clients(stats, 5, rate_factor=2.0)
    assert double.requests / every.requests == pytest.approx(2.0, rel=0.1)
    first, more = (one.input_tokens[one.client == 3][:400] for one in (every, double))
    assert (first == more).all()


def test_wrong_wishes_are_refused(written):
    stats = read_clients(written())
    for wish, message in (
        ({"clients": [99]}, "no such client: 99"),
        ({"clients": []}, "no such client"),
        ({"window_s": (1e6, 2e6)}, "no window begins"),
        ({"rate_factor": 0.0}, "not positive"),
        ({"rate_factor": 1e6}, "too many"),
    ):
        with pytest.raises(InfeasibleError, match=message):
            generate_clients(stats, 5, **wish)
    with pytest.raises(InfeasibleError, match="at least 1"):
        assign_shards(stats.loads(), 0)


def test_the_largest_shard_is_not_much_larger_than_the_mean():
    loads = 1.0 / np.arange(1, 200)
    shard = assign_shards(loads, 4)
    sums = np.bincount(shard, weights=loads)
    assert sums.max() / sums.mean() < 1.01


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("0,0,1,1,Pareto,1,1\n", "neither Gamma nor Weibull"),
        ("0,0,-1,1,Gamma,1,1\n", "rate_rps = -1"),
        ("0,0,nan,1,Gamma,1,1\n", "rate_rps = nan"),
        ("0,0,1,1,Gamma,0,1\n", "param1 = 0"),
        ("0,0,1,1,Gamma,1e-300,1\n", "param1 = 1e-300"),
        ("0,0,1,1,Weibull,0.001,1\n", "param1 = 0.001"),
        ("0,100,1,1,Gamma,1,1\n", "no multiple of 600"),
        ("0,0,1,1,Gamma,1,1\n0,0,2,1,Gamma,1,1\n", "client 0 has the window at 0 s twice"),
        ("x,0,1,1,Gamma,1,1\n", "line 2"),
        ("0,0\n", "line 2"),
        ("", "has no windows"),
    ],
)
def test_wrong_rows_are_refused_with_their_line(written, rows, message):
    with pytest.raises(ProblemsError, match=message):
        read_clients(written(rows))


def test_wrong_files_are_refused(written, tmp_path):
    with pytest.raises(ProblemsError, match="no column cv"):
        read_clients(written(head=HEAD.replace("cv", "vc")))
    for lengths in ([], {"0": 5}, {"0": {"0": {"colour": {"1": 1}}}}, {"0": {"x": {}}}):
        with pytest.raises(ProblemsError, match="is not client"):
            read_clients(written(lengths=lengths))
    (tmp_path / "x_lengths.json.gz").unlink()
    with pytest.raises(ProblemsError, match="cannot be read"):
        read_clients(tmp_path / "x_clients.csv")
    with pytest.raises(ProblemsError, match="cannot be read"):
        read_clients(tmp_path / "none_clients.csv")


def test_no_lengths_at_all_are_refused_when_they_are_needed(written):
    stats = read_clients(written(lengths={}))
    with pytest.raises(InfeasibleError, match="no client has lengths"):
        generate_clients(stats, 1)


def test_the_report_says_what_was_drawn_and_what_is_not_supported(written):
    trace, report = read_trace(written(), ReadOptions(seed=5, requests=100))
    assert report.format == "servegen"
    assert trace.requests == report.kept == 100
    assert report.rows == report.kept + report.dropped_rows
    said = " ".join(report.notes)
    assert "not supported: image" in said
    assert "5.9% of the requests are from clients without lengths" in said
