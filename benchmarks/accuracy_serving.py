"""Errors of serving predictions on rows that no constant was fitted to, as Markdown sections.

Nothing here chooses anything: constants, effects, host times and bands are those that ship; for a
chip or a model left out the same fit runs without its rows (tools/fit_perf.py).
"""

from __future__ import annotations

import csv
import hashlib
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import altair as alt
import numpy as np
import peers
import vl_convert

from tapeout.constants import MILLI, Z80
from tapeout.numerics import Floats
from tapeout.perf import PhysicalModel, RooflineModel, TimingModel, load_fit
from tapeout.serving.cases import Case
from tapeout.serving.measured import Curve
from tapeout.serving.power import (
    power_at_measured_rate_w,
    predicted_power_w,
    telemetry_rows,
    wall_rows,
)
from tapeout.serving.scoring import ErrorSummary, curve_weights, summarise, weighted_quantile
from tapeout.serving.split import is_fit_curve
from tapeout.serving.validation.anchors import NO_ANCHORS, fit_anchors
from tapeout.serving.validation.files import Table
from tapeout.serving.validation.serving_rows import answer_table, curve_of

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tools"))
import fit_perf  # noqa: E402  (a tool, not a package)

HEAD = ["| | rows | curves | median | p90 | bias |", "|---|---|---|---|---|---|"]
BANDS = [
    "| | rows | covered | median width | interval score | constant band |",
    "|---|---|---|---|---|---|",
]
MISS_WEIGHT = 10.0  # 2 / alpha at 80 %
WORST = 20
FIGURE = ROOT / "docs/img/accuracy-serving.svg"
ANCHOR_ROWS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One prediction beside its measurement; errors are log(predicted / measured)."""

    case: Case
    curve: str
    tpot: float
    throughput: float
    ttft: float
    predicted_tpot_s: float
    log_sd: float


def points_of(curves: Iterable[Curve], model: TimingModel) -> list[Point]:
    """Predict every row of the curves, with their burst start."""
    found: list[Point] = []
    for curve in curves:
        got = curve.predict(model)
        for at, case in enumerate(curve.cases):
            rate = case.measured_output_tokens_per_s_per_chip
            found.append(
                Point(
                    case=case,
                    curve=curve.key,
                    tpot=float(np.log(got.tpot_s[at] / case.measured_tpot_s)),
                    throughput=float(np.log(got.output_tokens_per_s_per_chip[at] / rate)),
                    ttft=float(np.log(got.ttft_s[at] / case.measured_ttft_s)),
                    predicted_tpot_s=float(got.tpot_s[at]),
                    log_sd=got.state.cost.log_sd,
                )
            )
    return found


def errors(points: Sequence[Point], what: str = "tpot") -> ErrorSummary:
    """Summary of one of the errors, every curve weighing the same."""
    return summarise(np.array([getattr(p, what) for p in points]), [p.curve for p in points])


def cells(name: str, error: ErrorSummary) -> str:
    """One row of an error table."""
    return (
        f"| {name} | {error.rows} | {error.curves} | {error.median:.1%} | {error.p90:.1%} | "
        f"{error.bias:+.1%} |"
    )


def three(name: str, points: Sequence[Point]) -> list[str]:
    """Rows for TPOT, throughput and TTFT."""
    words = {"tpot": "TPOT", "throughput": "throughput", "ttft": "TTFT"}
    return [cells(f"{word}, {name}", errors(points, what)) for what, word in words.items()]


def grouped(points: Sequence[Point], name: Callable[[Point], str]) -> list[str]:
    """TPOT errors by a property of the case."""
    groups: dict[str, list[Point]] = {}
    for point in points:
        groups.setdefault(name(point), []).append(point)
    return [*HEAD, *(cells(key, errors(groups[key])) for key in sorted(groups))]


def known_models() -> dict[str, TimingModel]:
    """The model under four kinds of knowledge."""
    fit = load_fit()
    vendors = {key: value for key, value in fit.effects.items() if key.startswith("vendor ")}
    return {
        "plain roofline": RooflineModel(),
        "global constants": PhysicalModel(fit=replace(fit, effects={})),
        "the vendor's effect": PhysicalModel(fit=replace(fit, effects=vendors)),
        "the software's effects": PhysicalModel(fit=fit),
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """Report-part points of every value left out of the fit, by value."""

    by_value: Mapping[str, list[Point]]

    @property
    def pooled(self) -> list[Point]:
        """All of them."""
        return [point for some in self.by_value.values() for point in some]


def left_out(
    seen: Sequence[Curve], reported: Sequence[Curve], name: Callable[[Curve], str]
) -> LeftOut:
    """Fit to the fit part without each value, predict the report part that has it."""
    fit = load_fit()
    start = np.log([getattr(fit.generic, constant) for constant in fit_perf.NAMES])
    parts = fit_perf.left_out(seen, reported, name, start)
    return LeftOut(
        by_value={
            value: points_of(some, PhysicalModel(fit=replace(model.fit, spread=fit.spread)))
            for value, (some, model) in parts.items()
        }
    )


def interval(points: Sequence[Point], log_sd: Floats) -> tuple[float, float]:
    """Interval score of log TPOT at 80 % and median width of the band (high / low)."""
    half = Z80 * log_sd
    off = np.abs(np.array([p.tpot for p in points]))
    score = 2.0 * half + MISS_WEIGHT * np.maximum(off - half, 0.0)
    return float(score.mean()), float(np.median(np.exp(2.0 * half)))


def in_range(share: float) -> str:
    """Verdict on a coverage: the target is 75 to 85 %."""
    return "met" if 0.75 <= share <= 0.85 else "**MISS**"


def band_line(name: str, points: Sequence[Point], reference: float) -> str:
    """Coverage, width and score of the bands; a constant band of `reference` beside them."""
    sd = np.array([p.log_sd for p in points])
    inside = np.abs([p.tpot for p in points]) <= Z80 * sd
    score, width = interval(points, sd)
    constant, _ = interval(points, np.full_like(sd, reference))
    return (
        f"| {name} | {len(points)} | {inside.mean():.0%}, {in_range(float(inside.mean()))} | "
        f"x{width:.2f} | {score:.2f} | "
        f"{constant:.2f} |"
    )


def anchored(
    seen: Sequence[Curve], reported: Sequence[Curve], name: Callable[[Case], str]
) -> list[Point]:
    """Report part with 5 rows of the fit part for each value of `name`, else only vendors known.

    The rows are the first by a hash of their name; their corrections are those of
    `tapeout validate serving --anchors`.
    """
    model = known_models()["the vendor's effect"]
    groups: dict[str, list[tuple[str, Point]]] = {}
    for point in points_of(seen, model):
        order = hashlib.sha256(f"anchor|{point.case.row}".encode()).hexdigest()
        groups.setdefault(name(point.case), []).append((order, point))
    rows = [
        (_keys(point.case), -(point.tpot - point.throughput) / 2.0)
        for some in groups.values()
        for _, point in sorted(some, key=lambda one: one[0])[:ANCHOR_ROWS]
    ]
    anchors = fit_anchors(rows)
    found = []
    for point in points_of(reported, model):
        shift = anchors.log_factor(_keys(point.case))
        found.append(
            replace(
                point,
                tpot=point.tpot + shift,
                throughput=point.throughput - shift,
                ttft=point.ttft + shift,
            )
        )
    return found


def _triple(case: Case) -> str:
    return f"{_pair(case)}|{case.model.lower()}"


def _pair(case: Case) -> str:
    return f"{case.chip}|{case.engine}".lower()


def _keys(case: Case) -> tuple[str, str, str]:
    return _pair(case), _triple(case), f"curve {case.curve}"


def peer_lines(reported: Sequence[Curve]) -> list[str]:
    """TPOT of other tools on the rows they can run; every second one, they are slow."""
    dense = [case for curve in reported for case in curve.cases if case.model.startswith("Llama")][
        ::2
    ]
    ours = {
        point.case.row: point.tpot
        for point in points_of(
            [curve for curve in reported if curve.cases[0].model.startswith("Llama")],
            PhysicalModel(),
        )
    }
    names = [case.curve for case in dense]
    lines = [*HEAD]
    own = np.array([ours[case.row] for case in dense])
    lines.append(cells("tapeout, same rows", summarise(own, names)))
    for name, predicted in peers.peer_serving_tpot_s(dense).items():
        measured = np.array([case.measured_tpot_s for case in dense])
        with np.errstate(invalid="ignore", divide="ignore"):
            ratio = np.log(predicted / measured)
        lines.append(cells(name, summarise(ratio, names)))
    lines += [f"| {name} | not run: {why} | | | | |" for name, why in peers.absent().items()]
    return lines


def other_loads(rows: Sequence[Mapping[str, str]]) -> list[str]:
    """Every kind of row of the report part, through `validate serving`."""
    chosen = [dict(row) for row in rows if not is_fit_curve(curve_of(row))]
    for row in chosen:
        draft = "" if row["spec_decoding"] in ("none", "see submission", "") else ", speculative"
        row["kind of run"] = row["serving_mode"] + draft
    found = answer_table(
        Table(columns=tuple(chosen[0]), rows=tuple(chosen)),
        by=("kind of run",),
        timing=PhysicalModel(),
        anchors=NO_ANCHORS,
    )
    lines = [
        f"Rows answered: {', '.join(f'{n} {word}' for word, n in found.status.items())}; laws of "
        f"serving that our own predictions break: {len(found.violations)}.",
        "",
        "| kind of run | quantity | rows | curves | median | p90 | bias | covered |",
        "|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {one.group} | {one.quantity} | {one.n} | {one.curves} | {one.curve_median:.1%} | "
        f"{one.curve_p90:.1%} | {one.bias:+.1%} | {one.coverage:.0%} |"
        for one in found.scores
        if one.quantity != "total_tok_s_per_chip"
    ]
    return lines


def power(rows: Sequence[Mapping[str, str]]) -> list[str]:
    """Power of the report part by scope, at the measured rate and at the predicted one."""
    model = PhysicalModel()
    lines = [*HEAD]
    for scope, some in (("telemetry", telemetry_rows(rows)), ("wall", wall_rows(rows))):
        kept = [row for row in some if not is_fit_curve(row.curve)]
        parts = {
            f"{scope}, DeepSeek-V4-Pro apart": [r for r in kept if not r.apart],
            f"{scope}, DeepSeek-V4-Pro": [r for r in kept if r.apart],
        }
        for name, chosen in parts.items():
            if chosen:
                measured = np.log([r.measured_w for r in chosen])
                keys = [str(at) for at in range(len(chosen))]
                at_rate = np.log([power_at_measured_rate_w(r) for r in chosen]) - measured
                own = np.log([predicted_power_w(r, model) for r in chosen]) - measured
                lines.append(cells(f"{name}, at the measured rate", summarise(at_rate, keys)))
                lines.append(cells(f"{name}, rate predicted too", summarise(own, keys)))
    return lines


CAUSES = (
    # (test on a point, words)
    (lambda p: "V4" in p.case.model, "first support of DeepSeek-V4 in this engine"),
    (lambda p: p.case.precision == "int4", "int4 weight-only kernels on this chip"),
    (lambda p: "dpattn" in p.case.parallelism, "waits between attention replicas"),
    (lambda p: "GLM" in p.case.model, "sparse-attention kernels of this engine"),
    (lambda p: p.case.chip.startswith("Google"), "two curves of one maker's own run"),
    (lambda p: p.case.concurrency >= 256, "cache nearly full: eviction is not modelled"),
    (bool, "one constant of this configuration: software"),
)  # fmt: skip


def worst(points: Sequence[Point]) -> list[str]:
    """Rows furthest off, one a curve, with the likely cause by rule."""
    best: dict[str, Point] = {}
    for point in points:
        if point.curve not in best or abs(point.tpot) > abs(best[point.curve].tpot):
            best[point.curve] = point
    lines = [
        "| curve | row | in flight | measured ms | predicted ms | error | likely cause |",
        "|---|---|---|---|---|---|---|",
    ]
    for point in sorted(best.values(), key=lambda p: -abs(p.tpot))[:WORST]:
        case = point.case
        cause = next(words for test, words in CAUSES if test(point))
        lines.append(
            f"| {point.curve.replace('|', ' / ')} | {case.row} | {case.concurrency:.0f} | "
            f"{case.measured_tpot_s / MILLI:.1f} | {point.predicted_tpot_s / MILLI:.1f} | "
            f"{np.expm1(point.tpot):+.0%} | {cause} |"
        )
    return lines


def trials(name: str) -> list[dict[str, str]]:
    """Rows of a table of trials beside this file."""
    with (Path(__file__).parent / name).open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))


def verdict(value: float, limit: float) -> str:
    """Met or missed."""
    return "met" if value <= limit else "**MISS**"


def target_line(what: str, error: ErrorSummary, median: float, p90: float | None) -> str:
    """One row of the target table."""
    limit = f"{median:.0%}" + (f" / {p90:.0%}" if p90 else ", p90 reported")
    words = verdict(error.median, median)
    if p90:
        words += f" / {verdict(error.p90, p90)}"
    return f"| {what} | {limit} | {error.median:.1%} / {error.p90:.1%} | {words} |"


def sections(rows: Sequence[Mapping[str, str]], curves: Sequence[Curve]) -> list[str]:
    """All sections on serving."""
    ordered = sorted(curves, key=lambda curve: curve.key)
    seen = [curve for curve in ordered if is_fit_curve(curve.key)]
    reported = [curve for curve in ordered if not is_fit_curve(curve.key)]
    by_knowledge = {n: points_of(reported, model) for n, model in known_models().items()}
    best = by_knowledge["the software's effects"]
    models = left_out(seen, reported, fit_perf.served_model)
    chips = left_out(seen, reported, fit_perf.chip_of)
    write_figure(best)
    five = {
        "5 anchor rows a chip, engine and model": anchored(seen, reported, _triple),
        "5 anchor rows a chip and engine": anchored(seen, reported, _pair),
    }
    return [
        *_targets(best, models, chips, five),
        *_headline(by_knowledge, five),
        "![TPOT predicted and measured](img/accuracy-serving.svg)",
        "",
        *_left_out_tables(models, chips),
        *_bands(best, by_knowledge["the vendor's effect"], models, chips),
        *_breakdown(best),
        "",
        "## Other tools on the same rows",
        "",
        "Decode and prefill of Llama rows of the report part, every second one.",
        "",
        *peer_lines(reported),
        "",
        "## Every kind of run",
        "",
        "The report part through `tapeout validate serving`, curves weighing the same; closed "
        "loops among them. Kinds other than closed loops have their own stack terms, fitted on "
        "the fit part (tools/fit_serving_terms.py).",
        "",
        *other_loads(rows),
        "",
        "## Power",
        "",
        "docs/energy.md says how the constants came about. Until 2026-11-24 three of them were "
        "fitted to all telemetry rows, so these figures are out of the present fit, not blind.",
        "",
        *power(rows),
        "",
        f"## The {WORST} curves furthest off",
        "",
        *worst(best),
    ]


def write_figure(points: Sequence[Point]) -> None:
    """TPOT predicted against measured, report part, docs/img/accuracy-serving.svg."""
    rows = [
        {
            "measured": point.case.measured_tpot_s / MILLI,
            "predicted": point.predicted_tpot_s / MILLI,
            "chip": point.case.chip,
        }
        for point in points
    ]
    low, high = 2.0, 400.0
    lines = [
        {"measured": at, "predicted": at * factor, "band": words}
        for factor, words in ((1.0, "equal"), (1.25, "25 % off"), (0.8, "25 % off "))
        for at in (low, high)
    ]
    scale = alt.Scale(type="log", domain=[low, high], nice=False)
    x = alt.X("measured:Q", scale=scale, title="TPOT measured [ms]")
    y = alt.Y("predicted:Q", scale=scale, title="TPOT predicted [ms]")
    dots = (
        alt.Chart(alt.Data(values=rows))
        .mark_circle(size=22, opacity=0.65, clip=True)
        .encode(x=x, y=y, color=alt.Color("chip:N", title=None))
    )
    rules = (
        alt.Chart(alt.Data(values=lines))
        .mark_line(color="#888", strokeDash=[4, 3], strokeWidth=1, clip=True)
        .encode(x=x, y=y, detail="band:N")
    )
    chart = (rules + dots).properties(
        width=420, height=420, title="Curves no constant was fitted to"
    )
    FIGURE.write_text(vl_convert.vegalite_to_svg(chart.to_json()), encoding="utf-8")


def _targets(
    best: Sequence[Point], models: LeftOut, chips: LeftOut, five: Mapping[str, Sequence[Point]]
) -> list[str]:
    pooled = {"unseen curves": (best, 0.08, 0.25), "one model left out": (models.pooled, 0.12, 0.4)}
    pooled |= {"one chip left out": (chips.pooled, 0.15, 0.45)}
    pooled |= {name: (points, 0.10, 0.30) for name, points in five.items()}
    lines = [
        "## Targets of serving",
        "",
        "| report part | target, median / p90 | measured | |",
        "|---|---|---|---|",
    ]
    for name, (points, median, p90) in pooled.items():
        lines.append(target_line(f"TPOT, {name}", errors(points), median, p90))
        lines.append(target_line(f"throughput, {name}", errors(points, "throughput"), median, p90))
    lines.append(target_line("TTFT, unseen curves", errors(best, "ttft"), 0.25, None))
    lines.append(target_line("TTFT, one chip left out", errors(chips.pooled, "ttft"), 0.4, None))
    return [
        *lines,
        "",
        "Causes of misses. Throughput, p90: runs that evict (cache nearly full) and first support "
        "of a model in an engine. Model left out: one constant for each engine and model, which "
        "nothing about the model tells (gpt-oss and DeepSeek-V4 below). Anchors: five rows of one "
        "engine and model say little of its other parallelisms and lengths. MI210 kernels of "
        "PyTorch's softmax, LayerNorm and GELU are 56 % off zero-shot on the fit part "
        "(docs/fabric.md), a miss of 30 %.",
        "",
    ]


def _headline(by_knowledge: Mapping[str, Sequence[Point]], five: Sequence[Point]) -> list[str]:
    lines = ["## Report part: curves no constant was fitted to", "", *HEAD]
    for name, points in by_knowledge.items():
        lines += three(name, points)
    for name, points in five.items():
        lines += three(f"the vendor's effect and {name}", points)
    return [*lines, ""]


def _left_out_tables(models: LeftOut, chips: LeftOut) -> list[str]:
    lines = [
        "## One chip, one model left out of the fit",
        "",
        "Constants and effects fitted to the fit part without it, its curves of the report part "
        "predicted. Host times of the burst (docs/closed-loop.md) are the shipped ones.",
    ]
    for name, found in (("chip left out", chips), ("model left out", models)):
        lines += ["", f"**{name}**", "", *HEAD]
        lines += [cells(value, errors(some)) for value, some in found.by_value.items()]
        lines += three("all", found.pooled)
    return [*lines, ""]


def _bands(
    best: Sequence[Point], vendor: Sequence[Point], models: LeftOut, chips: LeftOut
) -> list[str]:
    spread = load_fit().spread
    blind = [replace(p, log_sd=spread.chip) for p in chips.pooled]
    every = [*best, *models.pooled, *blind]
    constant = weighted_quantile(
        np.abs([p.tpot for p in every]), curve_weights([p.curve for p in every]), 0.8
    )
    reference = constant / Z80
    return [
        "## Bands",
        "",
        "80 % bands of TPOT follow from what was measured of the software: engine, chip and model "
        "together, the engine on the chip, the chip alone, nothing. Their widths are quantiles of "
        "folds inside the fit part. The interval score is the width of the log band and ten times "
        "what lies outside, smaller is better; beside it the one constant band that covers 80 % "
        "of all these rows together.",
        "",
        *BANDS,
        band_line("unseen curves", best, reference),
        band_line("software unknown", vendor, reference),
        band_line("model left out", models.pooled, reference),
        band_line("chip left out", blind, reference),
        band_line("first, third and fourth together", every, reference),
        "",
    ]


def _breakdown(best: Sequence[Point]) -> list[str]:
    lines = ["## Report part by chip, model, engine and load"]
    names: tuple[Callable[[Point], str], ...] = (
        lambda p: p.case.chip,
        lambda p: p.case.model,
        lambda p: p.case.engine,
        lambda p: f"{p.case.concurrency:5.0f} in flight",
    )
    for name in names:
        lines += ["", *grouped(best, name)]
    return lines
