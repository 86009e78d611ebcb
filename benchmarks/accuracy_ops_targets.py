"""Target table of the operators: what is met, what is missed, and where the rows beyond it lie."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from accuracy_ops_causes import main_cause
from accuracy_ops_scores import FAMILY_NAMES, Scored, figures
from score_gemm import anchored

from tapeout.constants import PERCENT, Z80
from tapeout.perf.ops.predict import family

MOSTLY_BIAS = 0.7  # signed over absolute median from which an error is one factor
COVERAGE = (0.75, 0.85)  # wanted of an 80 % band


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
        Claim(what="LLMCompass A100 GEMM, no refit", rows=by_chip["A100"], limit=Limit(mean=8.0)),
        Claim(
            what="LLMCompass MI210 GEMM, zero-shot",
            rows=by_chip["MI210"],
            limit=Limit(mean=30.0),
        ),
        Claim(
            what="LLMCompass MI210 GEMM, 5 anchors, the others",
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
        inside = COVERAGE[0] <= got.coverage <= COVERAGE[1]
        better = got.interval < got.constant
        misses = [] if inside else ["too narrow" if got.coverage < COVERAGE[0] else "too wide"]
        if not inside and len({row.case.op for row in some}) > 1:
            misses.append(_mostly_outside(some))
        misses += [] if better else ["no better than the constant band that these rows pick"]
        lines.append(
            f"| {name} | covers 75 to 85 %, score below a constant band's | {got.coverage:.1%}, "
            f"{got.interval:.3f} against {got.constant:.3f} | {'MISS' if misses else 'met'} | "
            f"{'; '.join(misses)} |"
        )
    return lines


def _mostly_outside(rows: Sequence[Scored]) -> str:
    """Operator whose share grows most from all rows to those outside their band."""
    out = [row.case.op for row in rows if abs(row.error) > Z80 * row.log_sd]
    everywhere = Counter(row.case.op for row in rows)
    shares = {op: (n / len(out), everywhere[op] / len(rows)) for op, n in Counter(out).items()}
    op = max(shares, key=lambda one: shares[one][0] - shares[one][1])
    return f"{op}: {shares[op][0]:.0%} of the rows outside, {shares[op][1]:.0%} of all"
