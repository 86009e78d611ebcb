"""Traffic specs: what they make, and what is said about a wrong one."""

import numpy as np
import pytest

from tapeout.errors import InfeasibleError, ProblemsError
from tapeout.serving.traffic import (
    TrafficSpec,
    make_trace,
    make_trace_with_notes,
    mean_rate_rps,
    read_spec,
    spec_of_means,
    trace_statistics,
)
from tapeout.workload import Traffic

LENGTHS = """
input = { kind = "lognormal", mean = 300, cv = 1.5 }
output = { kind = "fixed", tokens = 50 }
"""
CHAT = f"""
duration_s = 500
[[clients]]
name = "chat"
slo_class = "interactive"
arrivals = {{ family = "gamma", cv = 2.0, rate_rps = 3.0 }}
{LENGTHS}
"""
TRACE = "TIMESTAMP,ContextTokens,GeneratedTokens\n" + "".join(
    f"2024-05-10 00:00:{n:02d}.000000,{100 + n},{n + 1}\n" for n in range(60)
)


@pytest.fixture
def spec(tmp_path):
    """Return a reader of specs written beside a trace and a file of lengths."""
    (tmp_path / "azure.csv").write_text(TRACE)
    (tmp_path / "lengths.csv").write_text(
        "num_prefill_tokens,num_decode_tokens\n" + "".join(f"{n},{2 * n}\n" for n in range(1, 99))
    )

    def read(text):
        path = tmp_path / "spec.toml"
        path.write_text(text)
        return read_spec(path)

    return read


def test_a_client_sends_at_its_rate(spec):
    trace = make_trace(spec(CHAT), 1)
    assert trace.requests == pytest.approx(1500, rel=0.2)
    assert trace.classes == ("interactive",)
    assert trace.source == "generated: Gamma renewal of CV 2, seed 1"
    assert (make_trace(spec(CHAT), 1).arrival_s == trace.arrival_s).all()


def test_alike_clients_are_counted_and_day_rates_repeat(spec):
    trace = make_trace(
        spec(
            f"""
            duration_s = 4000
            [[clients]]
            count = 3
            arrivals = {{ rates_rps = [0.0, 2.0], window_s = 1000 }}
            {LENGTHS}
            """
        ),
        1,
    )
    assert np.unique(trace.client).tolist() == [0, 1, 2]
    counts = np.histogram(trace.arrival_s, np.arange(5) * 1000.0)[0]
    assert counts[[0, 2]].tolist() == [0, 0]
    assert counts[[1, 3]].tolist() == pytest.approx([6000, 6000], rel=0.05)


def test_reasoning_answers_are_a_mixture(spec):
    trace = make_trace(
        spec(
            """
            requests = 4000
            [[clients]]
            arrivals = { rate_rps = 3.0 }
            input = { kind = "histogram", values = [10, 20], weights = [1, 3] }
            [clients.output]
            kind = "mixture"
            share = 0.25
            usual = { kind = "fixed", tokens = 100 }
            other = { kind = "fixed", tokens = 8000 }
            """
        ),
        1,
    )
    assert trace.requests == 4000
    assert (trace.output_tokens == 8000).mean() == pytest.approx(0.25, abs=0.03)
    assert (trace.input_tokens == 20).mean() == pytest.approx(0.75, abs=0.03)


def test_sessions_and_prefixes_of_a_spec(spec):
    trace = make_trace(
        spec(
            CHAT
            + "prefix = { shared_tokens = 512, groups = 2 }\n"
            + "sessions = { turns = 4, think_s = 10, max_context_tokens = 8000 }\n"
        ),
        1,
    )
    found = trace_statistics(trace)
    assert found.later_turns > found.requests / 2
    assert found.prefixes.hit_token_fraction > 0.5
    assert (trace.input_tokens + trace.output_tokens).max() <= 8000


def test_a_closed_loop_has_a_number_in_flight_and_no_times(spec):
    found = spec(f"closed_loop = 8\nrequests = 100\n[[clients]]\n{LENGTHS}")
    trace = make_trace(found, 1)
    assert found.closed_loop == 8
    assert trace.requests == 100
    assert (trace.arrival_s == 0.0).all()


def test_a_file_is_replayed_at_another_rate_by_either_method(spec):
    base = '[trace]\npath = "azure.csv"\n'
    assert make_trace(spec(base), 1).requests == 60
    fast = make_trace(spec(base + "rate_rps = 10.0\n"), 1)
    assert fast.requests == 60
    assert mean_rate_rps(fast) == pytest.approx(10.0)
    thin = make_trace(spec(base + 'rate_rps = 0.5\nmethod = "thin"\n'), 1)
    assert 15 < thin.requests < 45
    part = make_trace(spec(base + "from_s = 10.0\nto_s = 20.0\n"), 1)
    assert part.arrival_s == pytest.approx(np.arange(10.0))


def test_a_file_of_lengths_is_given_arrivals(spec):
    base = '[trace]\npath = "lengths.csv"\narrivals = '
    slow = make_trace(spec(base + '{ family = "weibull", cv = 2, rate_rps = 1 }\n'), 1)
    fast = make_trace(spec(base + '{ family = "weibull", cv = 2, rate_rps = 5 }\n'), 1)
    assert slow.input_tokens.tolist() == list(range(1, 99))
    assert slow.arrival_s == pytest.approx(5.0 * fast.arrival_s)
    day = make_trace(spec(base + "{ rates_rps = [2, 0], window_s = 5 }\n"), 1)
    assert (day.arrival_s % 10.0 < 5.0).all()


def test_lengths_of_a_file_are_drawn_as_pairs(spec):
    trace = make_trace(
        spec(
            "requests = 500\n[[clients]]\narrivals = { rate_rps = 3 }\n"
            'lengths = { path = "lengths.csv" }\n'
        ),
        1,
    )
    assert (trace.output_tokens == 2 * trace.input_tokens).all()


def test_tokens_are_converted_before_long_requests_are_left_out(spec):
    trace, notes = make_trace_with_notes(
        spec('token_factor = 2.0\nmax_model_len = 300\n[trace]\npath = "azure.csv"\n'), 1
    )
    assert trace.input_tokens[0] == 200
    assert (trace.input_tokens + trace.output_tokens).max() <= 300
    assert notes == ("35 requests of more than 300 tokens left out",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "give one of"),
        ("duration_s = 5\nrequests = 5\n[[clients]]\n" + LENGTHS, "either duration_s or requests"),
        (CHAT.replace("clients", "client"), "did you mean 'clients'"),
        (CHAT.replace("rate_rps", "rate_rsp"), r"clients\[0\].arrivals.rate_rsp"),
        (CHAT.replace("3.0", "-3.0"), r"clients\[0\].arrivals.rate_rps = -3.0"),
        (CHAT.replace("3.0", "nan"), "clients"),
        (CHAT.replace('"gamma"', '"poisson"'), "choose gamma or weibull"),
        (CHAT.replace('kind = "fixed", tokens', 'kind = "fixed", token'), "output"),
        (CHAT.replace('output = { kind = "fixed", tokens = 50 }', ""), "give input and output"),
        (CHAT.replace("= {", "= ["), "not TOML"),
        (CHAT + "[servegen]\npath = 'x'\n", "give one of"),
        ("closed_loop = 8\n[[clients]]\n" + LENGTHS, "a number of requests"),
        ("closed_loop = 8\nrequests = 9\n" + CHAT.replace("duration_s = 500", ""), "neither"),
        ("duration_s = 1\n[trace]\npath = 'azure.csv'\n", "from_s and to_s"),
    ],
)
def test_a_wrong_spec_is_refused_with_the_place(spec, text, message):
    with pytest.raises(ProblemsError, match=message):
        spec(text)


def test_every_problem_is_reported_at_once(spec):
    with pytest.raises(ProblemsError, match="3 problems"):
        spec(CHAT.replace("3.0", "-1").replace("mean = 300", "mean = 0").replace("50 }", "0 }"))


def test_files_that_are_no_specs_are_refused(tmp_path):
    with pytest.raises(ProblemsError, match="cannot be read"):
        read_spec(tmp_path / "none.toml")
    (tmp_path / "bad.toml").write_bytes(b"\xff")
    with pytest.raises(ProblemsError, match="not UTF-8"):
        read_spec(tmp_path / "bad.toml")


def test_windows_that_hold_nothing_are_refused(spec):
    with pytest.raises(InfeasibleError, match="holds nothing"):
        make_trace(spec('[trace]\npath = "azure.csv"\nfrom_s = 9.0\nto_s = 9.0\n'), 1)


def test_means_become_a_spec_with_the_same_means():
    traffic = Traffic(
        name="chat", model="x", input_tokens=4000, output_tokens=500, cached_input_fraction=0.4
    )
    found = spec_of_means(traffic, rate_rps=5.0, duration_s=1500.0)
    assert isinstance(found, TrafficSpec)
    trace = make_trace(found, 1)
    figures = trace_statistics(trace)
    assert figures.rate_rps == pytest.approx(5.0, rel=0.05)
    assert figures.input_tokens.mean == pytest.approx(4000, rel=0.03)
    assert figures.output_tokens.mean == pytest.approx(500, rel=0.03)
    assert figures.prefixes.hit_token_fraction == pytest.approx(0.4, abs=0.01)


@pytest.mark.parametrize(
    "path", ["/etc/passwd", "../up.csv", "a/../../b.csv", "C:/x.csv", "..\\\\x"]
)
def test_a_path_out_of_the_folder_of_a_spec_is_refused(spec, path):
    with pytest.raises(ProblemsError, match=r"trace\.path.*outside of the folder"):
        spec(f'[trace]\npath = "{path}"\n')


def test_a_class_of_a_spec_has_no_control_characters(spec):
    with pytest.raises(ProblemsError, match=r"slo_class.*control characters"):
        spec(CHAT.replace('"interactive"', '"\\u001b[31m"'))
