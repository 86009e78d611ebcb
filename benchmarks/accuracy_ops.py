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
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
from accuracy_ops_causes import cause_of, main_cause
from peers import GENZ, LLMCOMPASS, ROOFLINE, absent, peer_gemm_s
from score_gemm import anchored

from tapeout.catalog import load
from tapeout.chip import ChipSpec, spec_from_record
from tapeout.constants import MICRO, PERCENT, Z80
from tapeout.errors import InfeasibleError, TapeoutError
from tapeout.numerics import Floats
from tapeout.perf.ops import collective, elementwise, gemm_estimate, split
from tapeout.perf.ops.attention_cases import kind_of
from tapeout.perf.ops.attention_estimate import predict_s
from tapeout.perf.ops.attention_setups import choose, shipped, transfer_log_sd
from tapeout.perf.ops.cases import Estimate, OpCase, parse
from tapeout.perf.ops.predict import Unanswered, family, predict
from tapeout.serving.validation.converting import convert
from tapeout.serving.validation.scoring import MISS_WEIGHT

NEVER_FITTED = ("pytorch-eager", "vidur-2024")  # of products and collectives; small operators were
LATENCY_EDGES_S = (5.0 * MICRO, 20.0 * MICRO, 100.0 * MICRO, 1000.0 * MICRO)
LATENCY_NAMES = ("under 5 us", "5 to 20 us", "20 to 100 us", "100 to 1000 us", "above 1 ms")
REPORT, FOREIGN = "report part", "never fitted"
FAMILY_NAMES = {
    "gemm": "matrix products",
    "attention": "attention",
    "collective": "collectives",
    "elementwise": "small operators",
}
LEFT_OUT_ROWS = 1500  # of a set-up and operation with its chip left out
PEER_ROWS = 4000
WORST = 20
MOSTLY_BIAS = 0.7  # signed over absolute median from which an error is one factor
SEED = 0
EVERY_FILE = "*.csv"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """A measured row and its prediction; errors are log(predicted / measured)."""

    case: OpCase
    part: str
    error: float
    log_sd: float
    law_error: float = math.nan  # without the residual; nan where there is none

    @property
    def setup(self) -> str:
        """Chip, stack, formats and kernel."""
        one = self.case
        formats = one.dtype if one.kv_dtype in {"", one.dtype} else f"{one.dtype}/kv {one.kv_dtype}"
        return " ".join(filter(None, (one.chip, one.stack, one.op, formats, one.kernel, one.mode)))


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


# --- figures of a group of rows -------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """Errors are predicted / measured - 1; band and its score in logarithms."""

    rows: int
    groups: int
    median: float
    mean: float
    p90: float
    bias: float
    coverage: float
    width: float  # median of high / low
    interval: float
    constant: float  # interval score of the constant band that does best on these very rows


def figures(rows: Sequence[Scored], *, law: bool = False) -> Figures:
    """Summarise rows; `law` takes the errors without the residual."""
    error = np.array([row.law_error if law else row.error for row in rows])
    spread = Z80 * np.array([row.log_sd for row in rows])
    off, size = np.abs(error), np.abs(np.expm1(error))
    best = np.quantile(off, 0.8)  # half width that minimises the score: 2 h + 10 E[|e| - h]+
    return Figures(
        rows=len(rows),
        groups=len({split.group(row.case) for row in rows}),
        median=float(np.median(size)),
        mean=float(size.mean()),
        p90=float(np.quantile(size, 0.9)),
        bias=float(np.median(np.expm1(error))),
        coverage=float(np.mean(off <= spread)),
        width=float(np.exp(2.0 * np.median(spread))),
        interval=_interval(off, spread),
        constant=_interval(off, np.full(off.size, best)),
    )


def _interval(off: Floats, half: Floats) -> float:
    return float(np.mean(2.0 * half + MISS_WEIGHT * np.maximum(off - half, 0.0)))


HEAD = [
    "| | rows | shapes | median | p90 | bias | in 80 % band | high/low | interval score | "
    "constant band |",
    "|---|---|---|---|---|---|---|---|---|---|",
]


def line(name: str, one: Figures) -> str:
    """Row of a table of errors with bands."""
    return (
        f"| {name} | {one.rows} | {one.groups} | {one.median:.1%} | {one.p90:.1%} | "
        f"{one.bias:+.1%} | {one.coverage:.0%} | {one.width:.2f} | {one.interval:.3f} | "
        f"{one.constant:.3f} |"
    )


def grouped(rows: Sequence[Scored], name: Callable[[Scored], str]) -> list[str]:
    """Table by a property of the rows, in order of its names."""
    some: dict[str, list[Scored]] = defaultdict(list)
    for row in rows:
        some[name(row)].append(row)
    return [*HEAD, *(line(key, figures(some[key])) for key in sorted(some))]


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


# --- targets --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """A target of one figure: upper limits in per cent; nan for none."""

    median: float = math.nan
    p90: float = math.nan
    mean: float = math.nan


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A line of the target table."""

    what: str
    rows: Sequence[Scored]
    limit: Limit
    law: bool = False

    def text(self) -> str:
        """Row of the table."""
        if not self.rows:
            return f"| {self.what} | {self._target()} | no rows | not testable | |"
        got = figures(self.rows, law=self.law)
        pairs = [
            (name, getattr(got, name), getattr(self.limit, name) * PERCENT)
            for name in ("median", "p90", "mean")
            if not math.isnan(getattr(self.limit, name))
        ]
        missed = [name for name, value, most in pairs if value > most]
        shown = ", ".join(f"{name} {value:.1%}" for name, value, _ in pairs)
        cause = ""
        if missed:
            beyond = pairs[-1][2] if "p90" in missed or "mean" in missed else pairs[0][2]
            cause = self._cause(beyond)
        verdict = f"MISS ({', '.join(missed)})" if missed else "met"
        return f"| {self.what} | {self._target()} | {shown} | {verdict} | {cause} |"

    def _target(self) -> str:
        names = ("median", "p90", "mean")
        return ", ".join(
            f"{name} <= {value:g} %"
            for name in names
            if not math.isnan(value := getattr(self.limit, name))
        )

    def _cause(self, beyond: float) -> str:
        off = [
            row.case
            for row in self.rows
            if abs(math.expm1(row.law_error if self.law else row.error)) > beyond
        ]
        words = main_cause(off, [row.case for row in self.rows])
        got = figures(self.rows, law=self.law)
        if abs(got.bias) < MOSTLY_BIAS * got.median:
            return words
        return f"bias {got.bias:+.1%}, a factor common to most rows; {words}"


def targets(rows: Sequence[Scored], foreign: Sequence[Scored], left: Sequence[Scored]) -> list[str]:
    """Target table of the operators."""
    claims = [
        *_gemm_claims(rows),
        *_left_out_claims(left),
        *_other_claims(rows),
        *_llmcompass_claims(foreign),
    ]
    return [
        "| what | target | figure | verdict | where the rows beyond it lie |",
        "|---|---|---|---|---|",
        *(claim.text() for claim in claims),
        *_band_lines(rows, foreign, left),
    ]


def _gemm_claims(rows: Sequence[Scored]) -> list[Claim]:
    gemms = [row for row in rows if row.case.op == "gemm"]
    claims = []
    for law in (False, True):
        limit = Limit(median=6.0, p90=18.0) if law else Limit(median=4.0, p90=12.0)
        words = "physics alone" if law else "with residual"
        for chip in ("A100", "H100", "B200"):
            some = [r for r in gemms if r.case.dtype == "bf16" and chip in r.case.chip]
            what = f"GEMM bf16, unseen (n, k), {chip}, {words}"
            claims.append(Claim(what=what, rows=some, limit=limit, law=law))
    narrow: dict[str, list[Scored]] = defaultdict(list)
    for row in gemms:
        if row.case.dtype not in {"bf16", "fp16"}:
            narrow[" ".join((row.case.chip, row.case.dtype, row.case.kernel)).strip()].append(row)
    limit = Limit(median=6.0, p90=20.0)
    claims += [Claim(what=f"GEMM {key}", rows=narrow[key], limit=limit) for key in sorted(narrow)]
    claims.append(Claim(what="GEMM int8 (no file measures it)", rows=(), limit=limit))
    return claims


def _left_out_claims(left: Sequence[Scored]) -> list[Claim]:
    some = [row for row in left if row.case.op == "gemm" and row.case.dtype == "bf16"]
    sibling = "GEMM, chip left out, to a sibling (no two measured chips share a generation)"
    claims = [Claim(what=sibling, rows=(), limit=Limit(median=12.0))]
    for chip in sorted({row.case.chip for row in some}):
        mine = [row for row in some if row.case.chip == chip]
        what = f"GEMM bf16, {chip} left out, across generations"
        claims.append(Claim(what=what, rows=mine, limit=Limit(median=20.0)))
    return claims


def _other_claims(rows: Sequence[Scored]) -> list[Claim]:
    claims = []
    for op in ("attention_decode", "attention_prefill"):
        some = [row for row in rows if row.case.op == op]
        for chip in ("", *sorted({row.case.chip for row in some})):
            mine = [row for row in some if chip in row.case.chip]
            what = f"{op.replace('_', ' ')}, {chip or 'all chips'}"
            claims.append(Claim(what=what, rows=mine, limit=Limit(median=10.0, p90=30.0)))
    some = [row for row in rows if family(row.case.op) == "collective"]
    for chip in ("", *sorted({row.case.chip for row in some})):
        mine = [row for row in some if chip in row.case.chip]
        what = f"collectives within a node, {chip or 'all chips'}"
        claims.append(Claim(what=what, rows=mine, limit=Limit(median=6.0)))
    return claims


def _llmcompass_claims(foreign: Sequence[Scored]) -> list[Claim]:
    eager = [row for row in foreign if row.case.stack == "pytorch-eager" and row.case.op == "gemm"]
    by_chip = {name: [r for r in eager if name in r.case.chip] for name in ("A100", "MI210")}
    return [
        Claim(what="LLMCompass A100, no refit", rows=by_chip["A100"], limit=Limit(mean=8.0)),
        Claim(what="LLMCompass MI210, zero-shot", rows=by_chip["MI210"], limit=Limit(mean=30.0)),
        Claim(
            what="LLMCompass MI210, 5 anchors, the others",
            rows=five_anchors(by_chip["MI210"]),
            limit=Limit(mean=10.0),
        ),
    ]


def five_anchors(rows: Sequence[Scored]) -> list[Scored]:
    """Other rows after five moved one factor and the launch (score_gemm.anchored)."""
    if not rows:
        return []
    cases = [row.case for row in rows]
    found = anchored(cases)
    measured = found.time_s / np.exp(found.error)
    kept = iter(zip(found.error, measured, strict=True))
    left = []
    error, time_s = next(kept)
    for row in rows:
        if math.isclose(row.case.measured_s, time_s, rel_tol=1e-9):
            left.append(replace(row, error=float(error), log_sd=math.nan))
            error, time_s = next(kept, (math.nan, math.nan))
    if len(left) != found.error.size:
        raise AssertionError("anchored rows are out of order")
    return left


def _band_lines(
    rows: Sequence[Scored], foreign: Sequence[Scored], left: Sequence[Scored]
) -> list[str]:
    lines = []
    mi210 = [row for row in foreign if row.case.chip == "AMD MI210"]
    for name, some in (
        ("80 % bands, report part, all operators", rows),
        *(
            (f"80 % bands, report part, {words}", [r for r in rows if family(r.case.op) == key])
            for key, words in FAMILY_NAMES.items()
        ),
        ("80 % bands, chip left out, all operators", left),
        ("80 % bands, never fitted", foreign),
        ("80 % bands, LLMCompass MI210 products", [r for r in mi210 if r.case.op == "gemm"]),
    ):
        if not some:
            continue
        got = figures(some)
        inside = 0.75 <= got.coverage <= 0.85
        better = got.interval < got.constant
        misses = [] if inside else ["too narrow" if got.coverage < 0.75 else "too wide"]
        misses += [] if better else ["no better than the constant band that these rows pick"]
        lines.append(
            f"| {name} | covers 75 to 85 %, score below a constant band's | {got.coverage:.1%}, "
            f"{got.interval:.3f} against {got.constant:.3f} | {'MISS' if misses else 'met'} | "
            f"{'; '.join(misses)} |"
        )
    return lines


# --- the sections ---------------------------------------------------------------------------------


def sections(data: Path) -> list[str]:
    """Lines of Markdown on the operators.

    Parameters
    ----------
    data : Path
        Folder that holds `measured/`.

    Raises
    ------
    InfeasibleError
        There is no file of operator times.
    """
    return compose(read(data))[0]


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
        found = read(Path(arguments[0]))
    except InfeasibleError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    lines, rows, left = compose(found)
    from accuracy_ops_figure import draw  # noqa: PLC0415  loads the chart library

    draw(rows, left)
    print("\n".join(lines))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
