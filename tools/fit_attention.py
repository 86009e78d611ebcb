"""Fit the constants of the attention laws: python tools/fit_attention.py DATA [--score].

Reads DATA/measured/aiconfigurator/attention_*.csv and DATA/measured/llmservingsim/*/profile/
attention.csv, fits one set-up per (kind, chip, stack, cache format, kernel) to the fit part
(tapeout.perf.ops.split refuses the rest), predicts every chip from the others, and writes
src/tapeout/perf/data/ops/attention.json. With --score it fits nothing and prints the errors of the
shipped constants on the report part; forms were chosen before that was ever run
(benchmarks/attn_trials.csv).
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections import defaultdict
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from tapeout.catalog import load
from tapeout.chip import ChipSpec, spec_from_record
from tapeout.constants import Z80
from tapeout.errors import InfeasibleError
from tapeout.perf.ops.attention_cases import HEAD_DIM, LAWS, kind_of, kv_dtype
from tapeout.perf.ops.attention_estimate import estimate, predict_s
from tapeout.perf.ops.attention_setups import AttentionSetup, choose, plain_kernel, read_setup
from tapeout.perf.ops.cases import OpCase
from tapeout.perf.ops.convert_attention import CONVERTERS
from tapeout.perf.ops.fit_attention import AttentionFit, fit_attention
from tapeout.perf.ops.split import fit_part, report_part

if str(Path(__file__).parent) not in sys.path:
    sys.path.insert(0, str(Path(__file__).parent))
from shipping import (
    OPERATOR_DATA,
    OPERATOR_SPLIT,
    converted,
    lines_of,
    log_sd_of,
    measured_files,
    provenance,
    sums_of,
    today,
)

OUT = OPERATOR_DATA / "attention.json"
SEED = 0  # of the cases that are tried from other chips
GLOBS = ("aiconfigurator/attention_*.csv", "llmservingsim/*/profile/attention.csv")
OWN_ROWS = 250  # a set-up with fewer stays near the largest of its chip and kind
CHOSEN = {"vllm_flash_attn_fa4": {"fixed_splits": 32.0}}  # by kernel; vLLM's limit in a graph
TRANSFER_ROWS = 400  # cases of a set-up that are tried from other chips

Key = tuple[str, str, str, str, str]


def key_of(case: OpCase) -> Key:
    kernel = plain_kernel(case.kernel)
    return kind_of(case), case.chip, case.stack, kv_dtype(case), kernel


def read_cases(data: Path) -> tuple[list[OpCase], dict[str, str]]:
    """Cases of every attention file, and the sha256 of each file."""
    cases: list[OpCase] = []
    sums: dict[str, str] = {}
    for path, some in converted(measured_files(data, GLOBS), CONVERTERS):
        cases += some
        sums |= sums_of(data, [path])
    return cases, sums


def by_setup(cases: Iterable[OpCase]) -> dict[Key, list[OpCase]]:
    groups: dict[Key, list[OpCase]] = defaultdict(list)
    for case in cases:
        groups[key_of(case)].append(case)
    return dict(sorted(groups.items(), key=lambda item: (-len(item[1]), item[0])))


def spec(chip: str) -> ChipSpec:
    return spec_from_record(load().chip(chip))


def errors(residual: np.ndarray) -> tuple[float, float]:
    """Median and 90th percentile of |predicted / measured - 1|, in per cent."""
    off = 100.0 * np.abs(np.expm1(residual))
    return round(float(np.median(off)), 1), round(float(np.quantile(off, 0.9)), 1)


def entry(key: Key, fitted: AttentionFit, cases: Sequence[OpCase]) -> dict[str, object]:
    """One set-up as the file holds it."""
    kind, chip, stack, dtype, kernel = key
    smooth = fitted.smooth
    median, p90 = errors(fitted.residual)
    law_median, law_p90 = errors(fitted.law_residual)
    return {
        "chip": chip,
        "stack": stack,
        "dtype": dtype,
        "kernel": f"{kind}:{kernel}",
        "mode": cases[0].mode,
        "constants": dict(fitted.constants),
        "log_sd": round(fitted.log_sd, 4),
        "law_log_sd": round(fitted.law_log_sd, 4),
        "rows": len(cases),
        "fitted": today(),
        "source": "llmservingsim" if stack == "vllm-0.19.0" else "aiconfigurator",
        "folds_pct": {"law": [law_median, law_p90], "with residual": [median, p90]},
        "head_dims": sorted({case.given("head_dim", HEAD_DIM) for case in cases}),
        "names": fitted.names,
        "covariance": [[float(f"{x:.3g}") for x in row] for row in fitted.covariance],
        "smooth": smooth
        and {
            "centres": [[_short(x) for x in row] for row in smooth.centres],
            "widths": [_short(x) for x in smooth.widths],
            "weights": [float(f"{x:.4g}") for x in smooth.weights],
        },
    }


def _short(value: float) -> float:
    return int(value) if float(value).is_integer() else round(float(value), 3)


def fit_all(groups: dict[Key, list[OpCase]]) -> list[dict[str, object]]:
    entries: list[dict[str, object]] = []
    largest: dict[tuple[str, str], dict[str, float]] = {}
    for key, cases in groups.items():
        start = largest.get(key[:2]) if len(cases) < OWN_ROWS else None
        plain = {name: one.start for name, one in LAWS[key[0]].constants.items()}
        chosen = {name: x for name, x in CHOSEN.get(key[4], {}).items() if name in plain}
        start = (start or plain) | chosen
        fitted = fit_attention(cases, spec(key[1]), key[0], start)
        largest.setdefault(key[:2], dict(fitted.constants))
        entries.append(entry(key, fitted, cases))
        print(*key, len(cases), entries[-1]["folds_pct"], flush=True)
    return sorted(entries, key=lambda one: [str(one[name]) for name in ("kernel", "chip", "dtype")])


def transfer(
    groups: dict[Key, list[OpCase]], known: Sequence[AttentionSetup]
) -> dict[str, dict[str, float]]:
    """Spread of each kind by distance, every chip predicted from the others; fit part only."""
    found: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    rng = np.random.default_rng(SEED)
    for key, cases in groups.items():
        kind, chip = key[:2]
        if len({one.setup.chip for one in known if one.kind == kind}) < 2:
            continue
        some = [cases[place] for place in rng.permutation(len(cases))[:TRANSFER_ROWS]]
        chosen = [choose(case, kind_of(case), known, without=chip) for case in some]
        target = spec(chip)
        times = [predict_s(case, target, one) for case, one in zip(some, chosen, strict=True)]
        off = [math.log(time / case.measured_s) for case, time in zip(some, times, strict=True)]
        distance = chosen[0].distance.name
        found[kind][distance] += off
        print("from other chips:", *key, distance, errors(np.array(off)), flush=True)
    return {
        kind: {name: round(log_sd_of(np.array(off)), 4) for name, off in one.items()}
        for kind, one in found.items()
    }


def score(cases: Sequence[OpCase]) -> None:
    """Print the errors of the shipped constants on the report part, per set-up and pooled."""
    pooled: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for key, some in by_setup(report_part(cases)).items():
        chip = spec(key[1])
        rows = []
        for case in some:
            one = estimate(case, chip)
            rows.append((math.log(one.time_s / case.measured_s), one.log_sd))
        pooled[key[0]] += rows
        pooled["all"] += rows
        _print_score(" ".join(key), rows)
    for kind, rows in pooled.items():
        _print_score(f"pooled {kind}", rows)


def _print_score(name: str, rows: Sequence[tuple[float, float]]) -> None:
    off = np.array([row[0] for row in rows])
    inside = np.mean(np.abs(off) <= Z80 * np.array([row[1] for row in rows]))
    bias = 100.0 * float(np.expm1(np.median(off)))
    print(f"{name}: n {len(rows)}, median and p90 {errors(off)} %, bias {bias:+.1f} %, ", end="")
    print(f"80 % band covers {100.0 * inside:.0f} %", flush=True)


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--score", action="store_true", help="report part, shipped constants")
    options = parser.parse_args(arguments)
    try:
        cases, sums = read_cases(options.data)
    except InfeasibleError as error:
        print(error, file=sys.stderr)
        return 2
    if options.score:
        score(cases)
        return 0
    groups = by_setup(fit_part(cases))
    entries = fit_all(groups)
    known = [read_setup(json.loads(json.dumps(one))) for one in entries]
    head = {
        "provenance": provenance("tools/fit_attention.py", OPERATOR_SPLIT, sums, SEED),
        "transfer": transfer(groups, known),
    }
    compact = partial(json.dumps, separators=(",", ":"))
    OUT.write_text(lines_of(head, entries, compact), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
