"""Closed loops through the simulator."""

import csv
from dataclasses import replace

import numpy as np
import pytest

from tapeout.catalog import load
from tapeout.chip import spec_from_record
from tapeout.errors import InfeasibleError
from tapeout.fabric import usual_system
from tapeout.perf import PhysicalModel, Placement, serving_formats
from tapeout.serving.burst import EnginePolicy, burst_closed_loop
from tapeout.serving.closed_loop import LoopEngine, rules_of, simulated_closed_loop
from tapeout.serving.engine.types import Allocation, Order
from tapeout.serving.steady import Lengths
from tapeout.serving.validation.serving_rows import LOOP_COLUMNS, validate_serving
from tapeout.workload import load_model

MODEL = PhysicalModel()
LENGTHS = Lengths(new=900.0, cached=0.0, output=300.0)
SPREAD = 1.0 / 9.0
HEAD = "chip,model,n_chips,parallelism,engine,concurrency_or_qps,ttft_ms,serving_mode\n"
ROWS = (
    HEAD
    + "h100,llama-3.1-8b,1,tp1,vllm,16,90,aggregated\n"
    + "h100,llama-3.1-8b,1,tp1,vllm,2 req/s,90,aggregated\n"
)


@pytest.fixture(scope="module")
def placement():
    system = usual_system(spec_from_record(load().chip("h100")))
    architecture = load_model("llama-3.1-8b")
    formats = serving_formats(system.chip, architecture, "fp8", stack="vllm")
    return Placement(architecture=architecture, system=system, formats=formats, stack="vllm")


def simulated(placement, counts, lengths=LENGTHS, **changes):
    policy = EnginePolicy(**changes)
    return simulated_closed_loop(MODEL, placement, lengths, SPREAD, np.array(counts), policy)


def test_an_engine_like_vllm_agrees_with_the_burst_loop(placement):
    counts = np.array([1.0, 8.0, 64.0])
    ours = simulated(placement, counts)
    burst = burst_closed_loop(MODEL, placement, LENGTHS, SPREAD, counts, EnginePolicy())
    assert ours.tpot_s == pytest.approx(burst.tpot_s, rel=0.05)
    rate = burst.output_tokens_per_s_per_chip
    assert ours.output_tokens_per_s_per_chip == pytest.approx(rate, rel=0.05)
    assert ours.ttft_s == pytest.approx(burst.ttft_s, rel=0.4)
    assert not ours.preemptions.any()


def test_requests_in_flight_are_those_asked_for_but_for_the_end_of_the_run(placement):
    found = simulated(placement, [32.0])
    assert 0.85 * 32.0 < found.in_flight[0] <= 32.0


def test_a_small_cache_preempts_in_engines_that_take_blocks_as_needed(placement):
    tight = replace(placement, memory=replace(placement.memory, usable_fraction=0.2))
    lazy = simulated(tight, [256.0])
    whole = simulated(tight, [256.0], chunked=False)
    assert lazy.preemptions[0] > 0.0
    assert whole.preemptions[0] == 0.0


def test_cached_input_is_not_computed(placement):
    cached = Lengths(new=100.0, cached=800.0, output=300.0)
    assert simulated(placement, [16.0], cached).ttft_s < 0.7 * simulated(placement, [16.0]).ttft_s


def test_host_time_of_a_burst_adds_up(placement):
    quick, slow = (simulated(placement, [64.0], token_s=t) for t in (0.0, 1e-4))
    assert slow.mean_ttft_s[0] > quick.mean_ttft_s[0] + 0.1 * 64 * 900 * 1e-4 / 2


def test_engines_map_to_rules():
    alone = rules_of(EnginePolicy(prefill_alone=True), kv_blocks=9, ranks=2)
    whole = rules_of(EnginePolicy(chunked=False), kv_blocks=9, ranks=1)
    assert (alone.order, alone.allocation, alone.ranks) == (
        Order.PREFILL_ALONE, Allocation.PROMPT, 2,
    )  # fmt: skip
    assert (whole.order, whole.allocation, whole.chunked) == (Order.LIST, Allocation.WHOLE, False)
    assert rules_of(EnginePolicy(), kv_blocks=9, ranks=1).allocation is Allocation.LAZY


def test_impossible_spreads_and_policies_are_refused(placement):
    with pytest.raises(InfeasibleError, match="spread"):
        simulated_closed_loop(MODEL, placement, LENGTHS, 1.0, np.ones(1), EnginePolicy())
    with pytest.raises(InfeasibleError, match="policies"):
        simulated_closed_loop(MODEL, placement, LENGTHS, 0.0, np.ones(2), [EnginePolicy()])


def test_simulated_rows_have_what_every_engine_says(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text(ROWS)
    found = validate_serving(path, engine=LoopEngine.SIMULATE)
    closed, opened = found.rows
    assert set(LOOP_COLUMNS) < set(found.columns)
    assert all(float(closed[name]) > 0.0 for name in LOOP_COLUMNS)
    assert not any(opened.get(name) for name in LOOP_COLUMNS)
    assert closed["predicted_ttft_ms"] == closed["simulate_ttft_ms"]
    assert {one.group for one in found.engine_scores} == set(LoopEngine)
    assert all(one.n == 1 for one in found.engine_scores)


@pytest.mark.parametrize("engine", [LoopEngine.MIXTURE, LoopEngine.BURST])
def test_one_engine_alone_writes_what_it_says_and_no_other_columns(tmp_path, engine):
    path = tmp_path / "rows.csv"
    path.write_text(ROWS)
    three = validate_serving(path, engine=LoopEngine.SIMULATE).rows[0]
    alone = validate_serving(path, engine=engine)
    assert not set(LOOP_COLUMNS) & set(alone.columns)
    assert alone.engine_scores == []
    assert alone.rows[0]["predicted_ttft_ms"] == three[f"{engine}_ttft_ms"]


def test_the_burst_is_the_default(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text(ROWS)
    assert list(csv.DictReader(ROWS.splitlines()))
    assert validate_serving(path).rows == validate_serving(path, engine=LoopEngine.BURST).rows
