"""Errors of operator times on rows no constant was fitted to.

    python benchmarks/accuracy_ops.py DATA

DATA holds `measured/`. Every file of it goes through the converters of `tapeout validate convert`
and every row through `perf.ops.predict`. Scored are the report part of perf/ops/split.py and the
sources nobody fitted. Nothing here chooses anything: constants, surfaces and bands are
those that ship. benchmarks/accuracy.py prints `sections` in docs/accuracy.md.
"""

from __future__ import annotations

import math
import sys
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
from accuracy_ops_causes import cause_of
from accuracy_ops_scores import FAMILY_NAMES, HEAD, Scored, figures, grouped, line
from accuracy_ops_targets import targets
from peers import GENZ, LLMCOMPASS, ROOFLINE, absent, peer_gemm_s

from tapeout.catalog import load
from tapeout.chip import ChipSpec, spec_from_record
from tapeout.constants import MICRO
from tapeout.errors import InfeasibleError, TapeoutError
from tapeout.numerics import Floats
from tapeout.perf.ops import collective, elementwise, gemm_estimate, split
from tapeout.perf.ops.attention_cases import kind_of
from tapeout.perf.ops.attention_estimate import predict_s
from tapeout.perf.ops.attention_setups import choose, shipped, transfer_log_sd
from tapeout.perf.ops.cases import Estimate, OpCase, parse
from tapeout.perf.ops.predict import Unanswered, family, predict
from tapeout.serving.validation.converting import convert

NEVER_FITTED = ("pytorch-eager", "vidur-2024")  # of products and collectives; small operators were
LATENCY_EDGES_S = (5.0 * MICRO, 20.0 * MICRO, 100.0 * MICRO, 1000.0 * MICRO)
LATENCY_NAMES = ("under 5 us", "5 to 20 us", "20 to 100 us", "100 to 1000 us", "above 1 ms")
REPORT, FOREIGN = "report part", "never fitted"
LEFT_OUT_ROWS = 1500  # of a set-up and operation with its chip left out
PEER_ROWS = 4000
WORST = 20
SEED = 0
EVERY_FILE = "*.csv"


@dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    """Rows of all files, and what could not be scored."""

    rows: list[Scored]
    files: list[str]
    unread: list[str]
    unmeasured: int  # rows whose measured time is blank or zero
    unanswered: list[str]


@lru_cache(maxsize=64)
def _chip(name: str) -> ChipSpec:
    return spec_from_record(load().chip(name))


def cases_of(data: Path) -> tuple[dict[str, list[OpCase]], list[str]]:
    """Cases by file, chips by the name of the catalogue, and the files no converter knows."""
    found: dict[str, list[OpCase]] = {}
    unread = []
    root = data / "measured"
    for path in sorted(root.rglob(EVERY_FILE)):
        name = str(path.relative_to(root))
        try:
            _, _, rows = convert(path)
        except InfeasibleError:
            unread.append(name)
            continue
        found[name] = [replace(case, chip=_chip(case.chip).name) for case in map(parse, rows)]
    return found, unread


def part_of(case: OpCase) -> str:
    """Part a row is scored in; empty for a row that constants were fitted to."""
    if case.stack in NEVER_FITTED and family(case.op) in {"gemm", "collective"}:
        return FOREIGN
    return "" if split.is_fit_group(split.group(case)) else REPORT


def read(data: Path) -> Read:
    """Predict every row that is scored.

    Raises
    ------
    InfeasibleError
        There is no file of operator times.
    """
    files, unread = cases_of(data)
    if not files:
        raise InfeasibleError(f"no operator times under {data / 'measured'} (docs/data.md)")
    rows, unanswered, unmeasured = [], [], 0
    for case in (case for cases in files.values() for case in cases):
        part = part_of(case)
        if not part:
            continue
        if not case.measured_s > 0.0:
            unmeasured += 1
            continue
        got = predict(replace(case, measured_s=math.nan), _chip(case.chip))
        if isinstance(got, Unanswered):
            unanswered.append(f"{case.chip} {case.op}: {got.reason}")
            continue
        rows.append(
            Scored(
                case=case,
                part=part,
                error=math.log(got.time_s / case.measured_s),
                log_sd=got.log_sd,
                law_error=_law_error(case) if part == REPORT else math.nan,
            )
        )
    return Read(
        rows=rows,
        files=list(files),
        unread=unread,
        unmeasured=unmeasured,
        unanswered=unanswered,
    )


def _law_error(case: OpCase) -> float:
    """Error of the law without what is smoothed on top."""
    chip, kind = _chip(case.chip), family(case.op)
    if kind == "gemm":
        time_s = gemm_estimate.estimate(case, chip, with_surface=False).time_s
    elif kind == "attention":
        choice = choose(case, kind_of(case), shipped())
        time_s = predict_s(case, chip, replace(choice, smooth=None))
    elif kind == "collective":
        time_s = collective.estimate(case, chip, use_residual=False).time_s
    else:
        return math.nan
    return math.log(time_s / case.measured_s)


def without_chip(rows: Iterable[Scored]) -> list[Scored]:
    """Rows predicted by the constants of other chips; at most LEFT_OUT_ROWS of a set-up."""
    groups: dict[str, list[Scored]] = defaultdict(list)
    for row in rows:
        groups[row.setup].append(row)
    found = []
    rng = np.random.default_rng(SEED)
    for some in groups.values():
        chosen = rng.permutation(len(some))[:LEFT_OUT_ROWS]
        for row in (some[place] for place in sorted(chosen)):
            try:
                got = _foreign(row.case)
            except TapeoutError:
                continue  # an expert layer: one set-up only, nothing to borrow
            error = math.log(got.time_s / row.case.measured_s)
            found.append(replace(row, error=error, log_sd=got.log_sd))
    return found


def _foreign(case: OpCase) -> Estimate:
    chip, kind = _chip(case.chip), family(case.op)
    if kind == "attention":
        choice = choose(case, kind_of(case), shipped(), without=case.chip)
        spread = max(choice.log_sd, transfer_log_sd(choice.kind, choice.distance))
        return Estimate(time_s=predict_s(case, chip, choice), log_sd=spread, model="")
    laws = {"gemm": gemm_estimate.estimate, "collective": collective.estimate}
    return laws.get(kind, elementwise.estimate)(case, chip, without=case.chip)


def latency(row: Scored) -> str:
    """Measured time of a row in words, so that they sort."""
    place = int(np.searchsorted(LATENCY_EDGES_S, row.case.measured_s, side="right"))
    return f"{place + 1}. {LATENCY_NAMES[place]}"


def _family(row: Scored) -> str:
    return FAMILY_NAMES.get(family(row.case.op), family(row.case.op))


def residual_table(rows: Sequence[Scored]) -> list[str]:
    """With and without what is smoothed on top of the law."""
    lines = [
        "| | rows | with residual, median / p90 | physics alone, median / p90 |",
        "|---|---|---|---|",
    ]
    some: dict[str, list[Scored]] = defaultdict(list)
    for row in rows:
        if math.isfinite(row.law_error):
            some[_family(row)].append(row)
            some[f"{row.case.op}, {row.case.chip}"].append(row)
    for name in sorted(some, key=lambda one: (one not in FAMILY_NAMES.values(), one)):
        both, law = figures(some[name]), figures(some[name], law=True)
        lines.append(
            f"| {name} | {both.rows} | {both.median:.1%} / {both.p90:.1%} | "
            f"{law.median:.1%} / {law.p90:.1%} |"
        )
    return lines


# --- other tools, worst rows ----------------------------------------------------------------------


def peer_table(rows: Sequence[Scored]) -> list[str]:
    """The same products under other tools."""
    some = [row for row in rows if row.case.op == "gemm"]
    chosen = np.random.default_rng(SEED).permutation(len(some))[:PEER_ROWS]
    some = [some[place] for place in sorted(chosen)]
    times = peer_gemm_s([row.case for row in some])
    missing = absent()
    measured = np.array([row.case.measured_s for row in some])
    names = ("tapeout", ROOFLINE, LLMCOMPASS, GENZ)
    errors = {"tapeout": np.array([row.error for row in some])}
    with np.errstate(divide="ignore", invalid="ignore"):
        errors |= {name: np.log(times[name] / measured) for name in names[1:]}
    keys = np.array([f"{row.case.chip}, {row.case.dtype}" for row in some])
    lines = [f"| | rows | {' | '.join(names)} |", "|---" * (len(names) + 2) + "|"]
    for key in ["all", *sorted(set(keys))]:
        mine = np.ones(keys.size, bool) if key == "all" else keys == key
        cells = [
            "not installed" if name in missing else _peer_cell(errors[name][mine]) for name in names
        ]
        lines.append(f"| {key} | {int(mine.sum())} | {' | '.join(cells)} |")
    return lines


def _peer_cell(error: Floats) -> str:
    known = error[np.isfinite(error)]
    if known.size == 0:
        return "no answer"
    size = np.abs(np.expm1(known))
    short = "" if known.size == error.size else f" ({known.size} answered)"
    return f"{np.median(size):.0%} / {np.quantile(size, 0.9):.0%}{short}"


def worst_table(rows: Sequence[Scored]) -> list[str]:
    """Rows furthest off."""
    lines = [
        "| set-up | shape | measured us | predicted us | error | likely cause |",
        "|---|---|---|---|---|---|",
    ]
    for row in sorted(rows, key=lambda one: -abs(one.error))[:WORST]:
        measured = row.case.measured_s
        lines.append(
            f"| {row.setup} | {_shape(row.case)} | {measured / MICRO:.4g} | "
            f"{measured * math.exp(row.error) / MICRO:.4g} | {math.expm1(row.error):+.0%} | "
            f"{cause_of(row.case)} |"
        )
    return lines


def _shape(case: OpCase) -> str:
    names = (
        "m", "n", "k", "batch", "q_len", "kv_len", "heads", "kv_heads", "head_dim", "window",
        "active_experts", "n_chips", "message_bytes",
    )  # fmt: skip
    return " ".join(
        f"{name}={value:g}" for name in names if not math.isnan(value := getattr(case, name))
    )


# --- the sections ---------------------------------------------------------------------------------


def sections(data: Path) -> list[str]:
    """Lines of Markdown on the operators; draws docs/img/accuracy-operators.svg.

    Parameters
    ----------
    data : Path
        Folder that holds `measured/`.

    Raises
    ------
    InfeasibleError
        There is no file of operator times.
    """
    lines, rows, left = compose(read(data))
    from accuracy_ops_figure import draw  # noqa: PLC0415  loads the chart library

    draw(rows, left)
    return lines


def compose(found: Read) -> tuple[list[str], list[Scored], list[Scored]]:
    """Lines, rows of the report part, and the same with their chip left out."""
    rows = [row for row in found.rows if row.part == REPORT]
    foreign = [row for row in found.rows if row.part == FOREIGN]
    left = without_chip(rows)
    lines = [
        "## Operators",
        "",
        f"{len(rows)} rows of the report part and {len(foreign)} of sources that were never "
        f"fitted, of {len(found.files)} files, each row through the shipped converter and "
        f"`perf.ops.predict`. {found.unmeasured} rows without a positive time are left out, "
        f"{len(found.unanswered)} are unanswered. Errors are predicted / measured - 1; every row "
        "weighs the same. The split by a hash of the shape was fixed before fitting; choices were "
        "made by folds inside the fit part (benchmarks/*_trials.csv). The interval score is that "
        "of the logarithm at 80 %; beside it the score of one constant band whose width is chosen "
        "with hindsight on these very rows.",
        "",
        *(f"Unanswered: {text}" for text in sorted(set(found.unanswered))),
        "![Errors of operator times](img/accuracy-operators.svg)",
        "",
        "### Targets",
        "",
        *targets(rows, foreign, left),
        "",
        "### Report part",
        "",
    ]
    tables: list[tuple[str, list[str]]] = [
        ("by kind", [*HEAD, line("all", figures(rows)), *grouped(rows, _family)[2:]]),
        ("with and without the residual", residual_table(rows)),
        ("by operator", grouped(rows, lambda row: row.case.op)),
        ("by chip and kind", grouped(rows, lambda row: f"{row.case.chip}, {_family(row)}")),
        ("by kind and format", grouped(rows, _format)),
        ("by measured time", _by_latency(rows)),
        ("by set-up and kernel", grouped(rows, lambda row: row.setup)),
    ]
    for name, table in tables:
        lines += [f"**{name}**", "", *table, ""]
    lines += ["### One chip left out", "", _left_out_words(), ""]
    lines += [*HEAD, line("all", figures(left)), *grouped(left, _family)[2:]]
    lines += grouped(left, lambda row: f"{row.case.op}, {row.case.chip}")[2:]
    lines += ["", "### Sources that were never fitted", ""]
    lines += grouped(foreign, lambda row: f"{row.setup} {row.case.topology}".strip())
    lines += ["", "### The same products under other tools", "", _peer_words(), ""]
    lines += [*peer_table(rows), "", f"### The {WORST} rows furthest off", "", *worst_table(rows)]
    return [*lines, ""], rows, left


def _format(row: Scored) -> str:
    return f"{_family(row)}, {row.case.kv_dtype or row.case.dtype or 'any'}"


def _by_latency(rows: Sequence[Scored]) -> list[str]:
    return [
        *grouped(rows, latency),
        *grouped(rows, lambda row: f"{_family(row)}, {latency(row)}")[2:],
    ]


def _left_out_words() -> str:
    return (
        "Every row by the constants of other chips, without a residual; up to "
        f"{LEFT_OUT_ROWS} rows of a set-up. The form of the laws was chosen with all chips in view."
    )


def _peer_words() -> str:
    return (
        "Median / p90 of the absolute error on the report part of the products "
        f"(a random {PEER_ROWS} of them), by benchmarks/peers.py."
    )


def main(arguments: Sequence[str]) -> int:
    """Print the sections and draw the figure; 2 when the data are absent."""
    if len(arguments) != 1:
        sys.stderr.write("usage: python benchmarks/accuracy_ops.py DATA\n")
        return 2
    try:
        lines = sections(Path(arguments[0]))
    except InfeasibleError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    print("\n".join(lines))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
