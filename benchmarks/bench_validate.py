"""A table of 300 serving runs for `tapeout validate serving`: every kind of load, nothing measured.

    python benchmarks/bench_validate.py RUNS.csv

Chips, models, software and loads are those of published runs, combined here; lengths differ from
row to row, so that no run is answered from the one before.
"""

from __future__ import annotations

import csv
import itertools
import sys
from pathlib import Path

ROWS = 300
CHIPS = ("NVIDIA H100 SXM", "NVIDIA H200 SXM", "NVIDIA B200", "AMD MI300X", "AMD MI355X")
SERVED = (
    ("Llama-3.3-70B", "fp8", "tp4"),
    ("gpt-oss-120b", "fp4", "tp8-ep1"),
    ("DeepSeek-R1-0528", "fp8", "tp8-ep8-dpattn"),
)
ENGINES = ("vllm", "sglang", "trt")
LOADS = ("4", "64", "256", "2 req/s", "max batch")
COLUMNS = (
    "row_id", "chip", "n_chips", "model", "weight_precision", "engine", "parallelism",
    "input_tokens", "output_tokens", "concurrency_or_qps", "serving_mode", "spec_decoding",
)  # fmt: skip


def runs(rows: int = ROWS) -> list[dict[str, str]]:
    """Runs of the table, every combination in turn until there are enough."""
    found = []
    combined = itertools.cycle(itertools.product(CHIPS, SERVED, ENGINES, LOADS))
    for number, (chip, (model, precision, parallelism), engine, load) in zip(
        range(rows), combined, strict=False
    ):
        values = (
            number, chip, 4 if parallelism == "tp4" else 8, model, precision, engine, parallelism,
            1024 + 8 * number, 512 + 4 * (number % 97), load, "aggregated", "none",
        )  # fmt: skip
        found.append(dict(zip(COLUMNS, map(str, values), strict=True)))
    return found


def write(path: Path, rows: int = ROWS) -> None:
    """Write the table."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(runs(rows))


if __name__ == "__main__":
    write(Path(sys.argv[1]))
