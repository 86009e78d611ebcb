"""Fit again everything that ships, in order: python tools/calibrate_shipped.py DATA [--from STEP].

Checks once that DATA holds what the fits read (docs/data.md), then runs each tool as its own
process and says what it runs, writes and takes. Operators come first, because the stack terms
are fitted to what their laws leave; host times need the stack terms, and the terms and bands of
serving rows need both. Ends with code 2 where measurements are missing, and with that of the
first tool that fails. Rows of the report part are read by none of them.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
NEEDED = (
    "measured/aiconfigurator/gemm_*.csv",
    "measured/aiconfigurator/attention_*.csv",
    "measured/aiconfigurator/collectives_*.csv",
    "measured/aiconfigurator/allreduce_custom_*.csv",
    "measured/llmservingsim/*/profile/*.csv",
    "measured/llmcompass/*.csv",
    "measured/vidur/dense_ops_*.csv",
    "measured/endtoend.csv",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One tool, its options and what it writes."""

    tool: str
    writes: str
    options: tuple[str, ...] = ()


STEPS = (
    Step(tool="fit_gemm", writes="perf/data/ops/gemm.json, gemm.npz"),
    Step(tool="fit_attention", writes="perf/data/ops/attention.json"),
    Step(tool="fit_collectives", writes="perf/data/ops/collectives.json"),
    Step(tool="fit_elementwise", writes="perf/data/ops/elementwise.json"),
    Step(tool="fit_energy", writes="perf/data/energy.csv", options=("--write",)),
    Step(tool="fit_perf", writes="perf/data/constants.json"),
    Step(tool="fit_burst", writes="serving/data/host_times.csv"),
    Step(tool="fit_serving_terms", writes="serving/data/terms.csv, bands.csv"),
)


def missing(data: Path) -> list[str]:
    """Patterns of files that DATA lacks."""
    return [pattern for pattern in NEEDED if not any(data.glob(pattern))]


def run(step: Step, data: Path) -> int:
    """Run one tool; its exit code."""
    command = [str(ROOT / "tools" / f"{step.tool}.py"), str(data), *step.options]
    print(f"== {step.tool}: writes {step.writes}", flush=True)
    began = time.monotonic()
    code = subprocess.run([sys.executable, *command], check=False, cwd=ROOT).returncode
    print(f"== {step.tool}: code {code}, {time.monotonic() - began:.0f} s", flush=True)
    return code


def main() -> int:
    """Check, then run."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data", type=Path)
    names = [step.tool for step in STEPS]
    parser.add_argument("--from", dest="first", choices=names, default=names[0], help="skip others")
    options = parser.parse_args()
    data = options.data.resolve()
    if absent := missing(data):
        for pattern in absent:
            print(f"{data / pattern} does not exist; docs/data.md says what does", file=sys.stderr)
        return 2
    for step in STEPS[names.index(options.first) :]:
        if code := run(step, data):
            return code
    print("done; now make accuracy DATA=..., make examples and make docs")
    return 0


if __name__ == "__main__":
    sys.exit(main())
