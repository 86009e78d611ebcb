"""docs/traffic.md names every format, key and column, and its example works."""

import re
from pathlib import Path

import pytest

from tapeout.serving.traffic import FORMATS, make_trace, read_spec, spec, trace_statistics
from tapeout.serving.traffic.readers.own import COLUMNS

TEXT = (Path(__file__).parents[3] / "docs" / "traffic.md").read_text("utf-8")
WORDS = set(re.findall(r"`([^`\n]+)`", TEXT))
SECTIONS = (
    spec.TrafficSpec, spec.ClientSection, spec.ArrivalSection, spec.SessionSection,
    spec.PrefixSection, spec.LengthFile, spec.TraceSection, spec.ServegenSection,
    spec.FixedTokens, spec.LogNormalTokens, spec.HistogramTokens, spec.MixtureTokens,
)  # fmt: skip


@pytest.mark.parametrize("names", [FORMATS, COLUMNS], ids=["formats", "columns"])
def test_every_name_is_described(names):
    assert set(names) - WORDS == set()


@pytest.mark.parametrize("section", SECTIONS, ids=lambda one: one.__name__)
def test_every_key_is_described(section):
    assert set(section.model_fields) - WORDS == set()


def test_the_example_works(tmp_path):
    (example,) = re.findall(r"```toml\n(.*?)```", TEXT, flags=re.DOTALL)
    path = tmp_path / "spec.toml"
    path.write_text(example)
    trace = make_trace(read_spec(path), 1)
    found = trace_statistics(trace)
    assert trace.classes == ("interactive", "agent", "")
    assert found.requests > 5000
    assert (trace.input_tokens + trace.output_tokens).max() <= 32_768
    assert found.prefixes.hit_token_fraction > 0.5
