"""`tapeout fit`: a log in, constants and their errors out, a file that others can read."""

import csv
import json

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from tapeout.cli.deploy import Limits, deployment_of, placement_of
from tapeout.cli.fit import fit
from tapeout.errors import InfeasibleError, ProblemsError
from tapeout.perf import PhysicalModel
from tapeout.serving.engine.defaults import setup
from tapeout.serving.engine.job import Front, prepare
from tapeout.serving.engine.run import run_engine
from tapeout.serving.telemetry import Constants, apply_calibration, load_calibration
from tapeout.serving.traffic import Trace

APP = typer.Typer()
APP.command()(fit)
TRUE = Constants(operator_factor=1.2, step_s=0.0, request_s=0.02, token_s=1e-5)
DEPLOYED = ("h100", "llama-3.1-8b", "--parallelism", "tp1", "--max-num-seqs", "32",
            "--max-num-batched-tokens", "1024", "--kv-blocks", "4000", "--quiet")  # fmt: skip


def run(*arguments):
    return CliRunner().invoke(APP, list(map(str, arguments)))


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    """Requests of a deployment whose constants are known, as a server would log them."""
    placement = placement_of(["h100", "llama-3.1-8b"], "", "tp1", None, None)
    limits = Limits(max_sequences=32, token_budget=1024, kv_blocks=4000)
    rng = np.random.default_rng(4)
    rate = np.where((np.arange(120) // 15) % 2 == 0, 3.0, 40.0)
    trace = Trace(
        arrival_s=np.cumsum(rng.exponential(1.0, 120) / rate),
        input_tokens=rng.integers(30, 900, 120),
        output_tokens=rng.integers(2, 40, 120),
    )
    built = setup(deployment_of(placement, limits), PhysicalModel(), longest_context=940)
    table, front = apply_calibration(built.table, Front(), TRUE)
    found = run_engine(prepare(trace, built.rules, front=front), built.rules, table).requests
    path = tmp_path_factory.mktemp("fit") / "log.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["received", "first_token", "last_token", "prompt_tokens", "output_tokens"])
        times = (trace.arrival_s, found.first_token_s, found.last_token_s)
        for row in zip(*times, trace.input_tokens, trace.output_tokens, strict=True):
            writer.writerow([f"{1.7e9 + float(one):.6f}" for one in row[:3]] + list(row[3:]))
        writer.writerow([f"{1.7e9 + 1:.6f}", "", "", 10, 0])
    return path


@pytest.fixture(scope="module")
def fitted(log, tmp_path_factory):
    out = tmp_path_factory.mktemp("out") / "calibration.toml"
    done = run(log, *DEPLOYED, "--column", "arrival=received", "--out", out)
    assert done.exit_code == 0, done.output
    return done, load_calibration(out)


def test_the_file_holds_the_constants_and_what_they_were_fitted_to(fitted):
    _, found = fitted
    for name in ("operator_factor", "request_s", "token_s"):
        one = getattr(found.constants, name)
        assert one.low <= getattr(TRUE, name) <= one.high
    assert found.source.requests == 120
    assert found.source.failed == 1
    assert found.source.deployment == "NVIDIA H100 SXM llama-3.1-8b tp1 fp8 vllm-v1"
    assert len(found.source.sha256) == 64
    assert len(found.errors) == 9


def test_the_part_held_back_is_closer_after_than_before(fitted):
    _, found = fitted
    before = np.mean([abs(one.before) for one in found.errors])
    after = np.mean([abs(one.after) for one in found.errors])
    assert after < 0.3 * before


def test_the_page_shows_constants_errors_and_what_was_left_out(fitted):
    done, _ = fitted
    for word in ("operator_factor", "request_s", "ttft p90", "before", "after", "without a token"):
        assert word in done.output


def test_a_constant_that_may_be_zero_is_marked_and_the_next_command_is_named(fitted):
    done, found = fitted
    lines = {line.split()[0]: line for line in done.output.splitlines() if line.strip()}
    for name in ("operator_factor", "step_s", "request_s", "token_s"):
        one = getattr(found.constants, name)
        assert ("may be 0" in lines[name]) == (one.low <= 0.0 <= one.high), name
    assert found.constants.step_s.low <= 0.0  # the log was made without
    last = done.output.strip().splitlines()[-1]
    assert last.startswith("Next: tapeout simulate --calibration")
    assert "--chip h100 --model llama-3.1-8b --parallelism tp1" in last


def test_json_is_the_content_of_the_file(log, fitted):
    done = run(log, *DEPLOYED, "--column", "arrival=received", "--json")
    assert done.exit_code == 0, done.output
    _, found = fitted
    content = json.loads(done.stdout)
    assert content["source"] == found.source.model_dump()
    for name, one in content["constants"].items():
        assert one["value"] == pytest.approx(getattr(found.constants, name).value, rel=1e-5)


@pytest.mark.parametrize(
    ("arguments", "error", "word"),
    [
        ((), ProblemsError, "arrival"),
        (("--column", "arrival"), InfeasibleError, "--column"),
        (("--column", "arrival=received", "--fraction", "0.05"), InfeasibleError, "at least 30"),
    ],
)
def test_a_log_that_cannot_be_used_is_one_clear_error(log, arguments, error, word):
    done = run(log, *DEPLOYED, *arguments)
    assert isinstance(done.exception, error)
    assert word in str(done.exception)
