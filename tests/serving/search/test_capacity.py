"""The simulated capacity table and its cache; the search itself is a stand-in here."""

import json
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

import tapeout
from tapeout.errors import InfeasibleError, Outcome
from tapeout.serving import CapacityOptions, Slo, steady_capacity
from tapeout.serving.search import SimulatedOptions, cache, capacity, simulated_capacity
from tapeout.serving.search.max_load import MaxLoad
from tapeout.serving.types import CapacityTable
from tapeout.workload import Traffic

CHAT = Traffic(
    name="chat", model="llama-3.1-8b", input_tokens=1000.0, output_tokens=200.0,
    cached_input_fraction=0.25,
)  # fmt: skip
MOE = replace(CHAT, name="moe", model="DeepSeek-R1")
SLO = Slo(ttft_s=1.0, tpot_s=0.03)


@pytest.fixture
def asked(monkeypatch, tmp_path):
    """Answers of a stand-in search, and what it was asked."""
    monkeypatch.setenv("TAPEOUT_CACHE_DIR", str(tmp_path))
    calls = []

    def stand_in(deployment, _stream, objective, options):
        calls.append((deployment, objective, options))
        return MaxLoad(
            outcome=Outcome.OK, rate_rps=10.0 + 1e-17, output_tokens_per_s_per_chip=2000.0 / 3.0,
            input_tokens_per_s_per_chip=10_000.0 / 3.0, joule_per_output_token=0.1,
            mean_tpot_s=0.02, tpot_s=0.025, ttft_s=0.5, running=40.0, chips=1,
        )  # fmt: skip

    monkeypatch.setattr(capacity, "max_load", stand_in)
    return calls


def same(one, other):
    for name in (field.name for field in fields(CapacityTable)):
        mine, theirs = getattr(one, name), getattr(other, name)
        if isinstance(mine, np.ndarray):
            assert mine.dtype == theirs.dtype
            assert np.array_equal(mine, theirs), name
        else:
            assert mine == theirs, name


def test_a_kept_table_equals_the_computed_one_to_the_last_digit(chip, asked):
    silicon = {"a": chip(), "none": None}
    without = simulated_capacity(silicon, [CHAT], [SLO], SimulatedOptions(cached=False))
    first = simulated_capacity(silicon, [CHAT], [SLO])
    before = len(asked)
    second = simulated_capacity(silicon, [CHAT], [SLO])
    assert len(asked) == before
    same(first, without)
    same(second, first)
    assert first.method == "simulated"
    assert first.outcome.ravel().tolist() == [int(Outcome.OK), int(Outcome.NO_PEAK)]


@pytest.mark.parametrize(
    "change",
    [
        {"slo": replace(SLO, tpot_s=0.0300001)},
        {"traffic": replace(CHAT, output_tokens=201.0)},
        {"chip": {"memory_bytes_per_s": 4.001e12}},
        {"base": CapacityOptions(token_budget=4096)},
        {"search": {"seed": 1}},
    ],
)
def test_whatever_is_changed_is_computed_again(chip, asked, change):
    simulated_capacity({"a": chip()}, [CHAT], [SLO])
    before = len(asked)
    options = SimulatedOptions()
    options = replace(
        options,
        base=change.get("base", options.base),
        search=replace(options.search, **change.get("search", {})),
    )
    simulated_capacity(
        {"a": chip(**change.get("chip", {}))},
        [change.get("traffic", CHAT)], [change.get("slo", SLO)], options,
    )  # fmt: skip
    assert len(asked) > before


def test_an_edit_of_the_source_is_computed_again(chip, asked, monkeypatch):
    simulated_capacity({"a": chip()}, [CHAT], [SLO])
    before = len(asked)
    monkeypatch.setattr(cache, "source_digest", lambda: "edited")
    simulated_capacity({"a": chip()}, [CHAT], [SLO])
    assert len(asked) > before


def test_every_module_that_an_answer_imports_is_in_its_key():
    """What a run of the search loads, by a fresh interpreter, but for the package itself."""
    root = Path(tapeout.__file__).parent
    hashed = {path.relative_to(root).parts[0].removesuffix(".py") for path in
              cache.hashed_files(root)}  # fmt: skip
    code = (
        "import sys, tapeout.serving.search, tapeout.serving.engine.run\n"
        "print(*{name.split('.')[1] for name in sys.modules if name.startswith('tapeout.')})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "errors" in hashed
    assert set(done.stdout.split()) <= hashed


@pytest.mark.usefixtures("asked")
def test_a_spoilt_file_is_computed_again(chip):
    table = simulated_capacity({"a": chip()}, [CHAT], [SLO])
    for path in cache.folder().iterdir():
        path.write_text("{")
    same(simulated_capacity({"a": chip()}, [CHAT], [SLO]), table)
    assert all(json.loads(path.read_text()) for path in cache.folder().iterdir())


@pytest.mark.usefixtures("asked")
def test_a_folder_that_cannot_be_written_is_no_error(chip, monkeypatch, tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setenv("TAPEOUT_CACHE_DIR", str(blocked))
    assert simulated_capacity({"a": chip()}, [CHAT], [SLO]).outcome[0, 0, 0] == Outcome.OK


def test_the_winner_of_the_steady_state_is_simulated_and_those_close_to_it(chip, asked):
    steady = steady_capacity({"a": chip()}, [CHAT], [SLO], CapacityOptions(disaggregated=False))
    options = SimulatedOptions(cached=False, close=1e-6, most=4)
    simulated_capacity({"a": chip()}, [CHAT], [SLO], options)
    assert len(asked) == 1
    assert asked[0][1].words == "p90 TTFT ≤ 1 s, p90 TPOT ≤ 0.03 s"
    table = simulated_capacity({"a": chip()}, [CHAT], [SLO], options)
    assert table.placement == steady.placement
    simulated_capacity({"a": chip()}, [CHAT], [SLO], replace(options, close=1.0))
    assert len(asked) == 2 + 4


def test_no_more_attention_groups_are_simulated_than_asked_for(chip, asked):
    """All placements are close to the winner here, so only the limit leaves some out."""
    large = {"a": chip(memory_bytes=1e12)}
    options = SimulatedOptions(cached=False, close=1.0, most=99)
    simulated_capacity(large, [MOE], [SLO], replace(options, most_ranks=2))
    few = [one[0].placement.data_parallel for one in asked]
    simulated_capacity(large, [MOE], [SLO], replace(options, most_ranks=64))
    all_of_them = [one[0].placement.data_parallel for one in asked[len(few) :]]
    assert max(few) <= 2
    assert len(all_of_them) > len(few)


@pytest.mark.usefixtures("asked")
def test_a_model_that_does_not_fit_is_an_outcome(chip):
    table = simulated_capacity({"a": chip(memory_bytes=1e9)}, [CHAT], [SLO])
    assert table.outcome[0, 0, 0] == Outcome.DOES_NOT_FIT
    assert table.output_tokens_per_s_per_chip[0, 0, 0] == 0.0


def test_objectives_and_traffic_must_match(chip):
    with pytest.raises(InfeasibleError, match="one for each class"):
        simulated_capacity({"a": chip()}, [CHAT], [])


def test_what_has_no_content_has_no_key():
    with pytest.raises(TypeError, match="no canonical form"):
        cache.key_of([lambda: None])
    assert cache.key_of([1.0]) != cache.key_of([1])
    assert cache.key_of([{"a": 1.0}]) == cache.key_of([{"a": 1.0}])
