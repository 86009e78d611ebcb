"""Measured power rows: scopes kept apart, the split respected, the fit finds what made the data."""

import csv
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tapeout.errors import InfeasibleError
from tapeout.perf import PhysicalModel
from tapeout.perf.energy import energy_constants, static_w
from tapeout.perf.power import PowerScope
from tapeout.serving.cases import case_of, closed_loop
from tapeout.serving.measured import read_rows
from tapeout.serving.power import (
    decoding,
    power_at_measured_rate_w,
    power_curve,
    predicted_power_w,
    require_fit_rows,
    telemetry_rows,
    token_energy,
    wall_rows,
)

ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("TAPEOUT_DATA", ROOT.parent / "shared/data"))
CHIPS = ("NVIDIA A100 80GB SXM", "NVIDIA H100 SXM", "NVIDIA B200")


def row(chip=CHIPS[1], load=16, watt=450.0, **changes):
    return {
        "row_id": f"{chip}/{load}",
        "chip": chip,
        "n_chips": "1",
        "model": "Llama-3-8B",
        "weight_precision": "16-bit (not stated per row)",
        "engine": "vLLM",
        "parallelism": "tp1",
        "input_tokens": "1024",
        "output_tokens": "1024",
        "concurrency_or_qps": str(load),
        "output_tok_s_per_chip": "900",
        "ttft_ms": "",
        "tpot_ms": "",
        "power_w_per_chip": str(watt),
        "power_scope": "accelerator only (driver telemetry)",
        "serving_mode": "static offline batch",
        "scenario": "one static batch",
        "notes": "",
    } | changes


WALL = {
    "power_scope": "system wall power / accelerators (includes host, fans, PSU loss)",
    "model": "Llama-2-70B",
    "weight_precision": "fp4",
    "parallelism": "not stated",
    "input_tokens": "",
    "concurrency_or_qps": "max batch",
    "serving_mode": "MLPerf",
}


@pytest.fixture(scope="module")
def tool(script):
    return script("tools/fit_energy.py")


def test_the_key_of_a_power_row_is_that_of_its_case():
    stated = row(weight_precision="bf16", scenario="range ratio 0.8")
    assert power_curve(stated) == case_of(stated).curve


def test_telemetry_and_wall_power_are_never_mixed():
    both = [row(), row(**WALL)]
    (chip,), (wall,) = telemetry_rows(both), wall_rows(both)
    assert (chip.scope, wall.scope) == (PowerScope.SUSTAINED, PowerScope.ALL_IN)
    host_w = wall.placement.system.host_w
    bare = replace(wall, scope=PowerScope.SUSTAINED)
    assert power_at_measured_rate_w(wall) == power_at_measured_rate_w(bare) + host_w > host_w


def test_rows_without_power_or_with_two_pools_are_left_out():
    assert telemetry_rows([row(power_w_per_chip=""), row(serving_mode="disaggregated")]) == []


def test_power_is_static_plus_rate_times_joules_and_never_above_the_rating():
    (one,) = telemetry_rows([row()])
    part = token_energy(one, decoding(one))
    moved = (part.core_j + part.memory_j + part.fabric_j)[0]
    assert power_at_measured_rate_w(one) == pytest.approx(part.static_j[0] + 900.0 * moved)
    still = replace(one, measured_rate=0.0)
    assert power_at_measured_rate_w(still) == pytest.approx(static_w(one.placement.system.chip))
    assert power_at_measured_rate_w(replace(one, measured_rate=1e9)) == 700.0


def test_a_larger_batch_costs_less_energy_a_token():
    (one,) = telemetry_rows([row()])
    totals = [token_energy(one, count) for count in (1.0, 8.0, 64.0)]
    moved = [float((x.core_j + x.memory_j)[0]) for x in totals]
    assert moved[0] > moved[1] > moved[2] > 0.0


def test_the_two_ways_to_predict_agree_when_the_rate_is_the_predicted_one():
    """One sequence decodes in both, so only the prefill between tokens can differ."""
    (one,) = telemetry_rows([row(load=1, input_tokens="16")])
    model = PhysicalModel()
    predicted = predicted_power_w(one, model)
    from_rate = predicted_rate(one, model)
    assert power_at_measured_rate_w(replace(one, measured_rate=from_rate)) == pytest.approx(
        predicted, rel=0.02
    )


def predicted_rate(one, model):
    got = closed_loop(model, one.placement, one.lengths, np.array([one.case.concurrency]))
    return float(got.output_tokens_per_s_per_chip[0])


def test_the_fit_refuses_a_reported_curve(tool):
    rows = telemetry_rows([row(engine=f"engine {i}") for i in range(40)])
    reported = [one for one in rows if not one.is_fit]
    assert 0 < len(reported) < 40
    with pytest.raises(InfeasibleError, match="lies on the reported curve"):
        tool.table_of(reported)
    require_fit_rows([one for one in rows if one.is_fit])


def test_the_fit_finds_the_constants_that_made_the_rows(tool):
    made = np.array([0.3, 1.4, 2.2])
    rows = telemetry_rows(
        [
            row(chip, load, output_tok_s_per_chip=str(60 * load**0.8), engine=f"engine {i}")
            for chip in CHIPS
            for load in (1, 16, 64)
            for i in range(3)
        ]
    )
    table = tool.table_of([one for one in rows if one.is_fit])
    table = replace(table, measured_w=table.predict(made))
    setting = tool.Setting(name="no prior", prior_weight=1e-9)
    found = tool.fit(table, np.ones_like(table.apart), setting)
    np.testing.assert_allclose(found, made, rtol=0.02)


def test_the_shipped_constants_lie_in_the_range_of_their_folds(tool):
    with tool.TABLE.open(encoding="utf-8", newline="") as file:
        table = {line["key"]: line for line in csv.DictReader(file)}
    for name in tool.NAMES:
        line = table[name]
        assert float(line["low"]) <= energy_constants()[name] <= float(line["high"])
        assert "34 serving rows" in line["source"]


def test_every_setting_that_was_tried_is_on_record(tool):
    with tool.TRIALS.open(encoding="utf-8", newline="") as file:
        tried = {line["setting"] for line in csv.DictReader(file)}
    assert {setting.name for setting in tool.SETTINGS} <= tried
    assert tool.CHOSEN in tried


@pytest.mark.shared_data
def test_the_tool_finds_the_shipped_constants_again(tool):
    if not (DATA / "measured/endtoend.csv").is_file():
        pytest.skip(f"no measurements at {DATA}")
    rows = [row for row in telemetry_rows(read_rows(DATA)) if row.is_fit]
    assert len(rows) == 34
    table = tool.table_of(rows)
    setting = next(one for one in tool.SETTINGS if one.name == tool.CHOSEN)
    found = tool.fit(table, np.ones_like(table.apart), setting)
    shipped = [energy_constants()[name] for name in tool.NAMES]
    np.testing.assert_allclose(found, shipped, rtol=0.01)
