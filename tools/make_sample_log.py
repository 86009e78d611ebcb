"""Write examples/traffic/log.csv: requests of a simulated replica whose constants were changed.

The log is synthetic and says so in its own column. What was changed is what `tapeout fit` has to
find again: operators a fifth slower, 2 ms more a step, 30 ms and 20 us a token before the
scheduler. Quiet and busy half minutes take turns, since a steady load hides what is what.
"""

from __future__ import annotations

import csv
import io
import sys
from pathlib import Path

import numpy as np

from tapeout.cli.deploy import Limits, deployment_of, placement_of
from tapeout.files import write_whole
from tapeout.perf import PhysicalModel
from tapeout.serving.engine.defaults import longest_of, setup
from tapeout.serving.engine.job import Front, prepare
from tapeout.serving.engine.run import run_engine
from tapeout.serving.telemetry import Constants, apply_calibration
from tapeout.serving.traffic import Trace

CHANGED = Constants(operator_factor=1.2, step_s=0.002, request_s=0.03, token_s=2e-5)
REQUESTS, TURN = 400, 50  # requests; of a quiet or busy time
QUIET_RPS, BUSY_RPS = 2.0, 60.0
SEED = 11
EPOCH_S = 1_790_000_000.0
NAMES = ("arrival", "first_token", "last_token", "prompt_tokens", "output_tokens", "synthetic")


def log_text() -> str:
    """The log as CSV; the same text on every machine."""
    rng = np.random.default_rng(SEED)
    rate = np.where((np.arange(REQUESTS) // TURN) % 2 == 0, QUIET_RPS, BUSY_RPS)
    trace = Trace(
        arrival_s=np.cumsum(rng.exponential(1.0, REQUESTS) / rate),
        input_tokens=rng.integers(30, 3000, REQUESTS),
        output_tokens=rng.integers(2, 200, REQUESTS),
    )
    deployment = deployment_of(
        placement_of(["h100", "llama-3.1-8b"], "", "tp1", None, None), Limits()
    )
    built = setup(deployment, PhysicalModel(), longest_context=longest_of(deployment))
    table, front = apply_calibration(built.table, Front(), CHANGED)
    found = run_engine(prepare(trace, built.rules, front=front), built.rules, table).requests
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(NAMES)
    times = (trace.arrival_s, found.first_token_s, found.last_token_s)
    for *stamps, prompt, output in zip(
        *times, trace.input_tokens, trace.output_tokens, strict=True
    ):
        writer.writerow([*(f"{EPOCH_S + float(one):.3f}" for one in stamps), prompt, output, "yes"])
    return text.getvalue()


if __name__ == "__main__":
    write_whole(Path(sys.argv[1] if len(sys.argv) > 1 else "examples/traffic/log.csv"), log_text())
