"""Write docs/predictions/jalapeno.md: what the model says before anybody's numbers were looked up.

python tools/predict_jalapeno.py [--date 2026-11-24] [--out FILE --note TEXT]. A file is written
once; an existing one is never overwritten, only graded. A later prediction goes to a file of its
own, with a note of what changed.
"""

from __future__ import annotations

import argparse
import math
import sys
from dataclasses import dataclass, replace
from pathlib import Path

from tapeout.catalog import load
from tapeout.chip import ChipSpec, spec_from_record
from tapeout.constants import KILO, MILLI, Z80
from tapeout.fabric import usual_system
from tapeout.perf import PhysicalModel, in_words
from tapeout.serving import CapacityOptions, CapacityPoint, Slo, best_point, least_tpot_point, words
from tapeout.workload import Traffic, load_model

OUT = Path(__file__).parents[1] / "docs/predictions/jalapeno.md"
MODELS = ("gpt-oss-120b", "DeepSeek-R1", "Kimi-K2.5")
OWN, RIVAL = "OpenAI Jalapeno", "NVIDIA GB300 NVL72 (per GPU)"
INPUT_TOKENS, OUTPUT_TOKENS = 8192.0, 1024.0
LIMITS = (
    # name, limit on the median request's TPOT [s]; TTFT is not limited
    ("no limit", math.inf),
    ("TPOT <= 50 ms", 0.050),
    ("TPOT <= 20 ms", 0.020),
    ("TPOT <= 10 ms", 0.010),
)
POOLS = (
    # name, whether prefill may have chips of its own
    ("same chips", False),
    ("pools allowed", True),
)
WATTS = (
    ("700 W rated package", 700.0),
    ("1,125 W all-in", 1125.0),
    ("1,250 W rack (160 kW rack of 128)", 1250.0),
    ("1,375 W node", 1375.0),
)
RIVAL_RATED_W = 1400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """Predictions for one model: points by limit and the smallest TPOT, for both chips."""

    model: str
    own: dict[str, CapacityPoint]
    rival: dict[str, CapacityPoint]
    own_least: CapacityPoint
    rival_least: CapacityPoint


def predict(model: str, options: CapacityOptions) -> Row:
    """Evaluate both chips."""
    traffic = Traffic(
        name="8k/1k", model=model, input_tokens=INPUT_TOKENS, output_tokens=OUTPUT_TOKENS
    )
    points: dict[str, dict[str, CapacityPoint]] = {}
    least: dict[str, CapacityPoint] = {}
    architecture = load_model(model)
    for name in (OWN, RIVAL):
        system = usual_system(spec(name))
        points[name] = {}
        for limit, tpot_s in LIMITS:
            slo = Slo(ttft_s=math.inf, tpot_s=tpot_s, percentile=50.0)
            for pools, split in POOLS:
                chosen = replace(options, disaggregated=split)
                point = best_point(architecture, system, traffic, slo, chosen)
                assert point is not None
                points[name][f"{limit}, {pools}"] = point
        found = least_tpot_point(architecture, system, traffic, options)
        assert found is not None
        least[name] = found
    return Row(
        model=model,
        own=points[OWN],
        rival=points[RIVAL],
        own_least=least[OWN],
        rival_least=least[RIVAL],
    )


def spec(name: str) -> ChipSpec:
    """Specification of a catalogue chip."""
    return spec_from_record(load().chip(name))


def spread(point: CapacityPoint) -> float:
    """Factor of the 80 % band."""
    return math.exp(Z80 * math.hypot(point.common_log_sd, point.own_log_sd))


def ranged(value: float, factor: float, digits: int = 0) -> str:
    """Value with its 80 % range."""
    low, high = value / factor, value * factor
    return f"{value:,.{digits}f} ({low:,.{digits}f}-{high:,.{digits}f})"


def throughput_table(rows: list[Row], chip: str) -> list[str]:
    """Output and total tokens per second and chip at every limit."""
    lines = [
        "| model | limit | output tok/s per chip | total tok/s per chip | mean TPOT ms | TTFT s | "
        "placement | sequences a decode chip | W per chip |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        for label, point in (row.own if chip == OWN else row.rival).items():
            rate, factor = point.output_tokens_per_s_per_chip, spread(point)
            if rate == 0.0:
                lines.append(f"| {row.model} | {label} | not met by one sequence | | | | | | |")
                continue
            total = rate + point.input_tokens_per_s_per_chip
            cells = (
                row.model,
                label,
                ranged(rate, factor),
                ranged(total, factor),
                f"{point.mean_tpot_s / MILLI:.1f}",
                f"{point.mean_ttft_s:.2f}",
                words(point),
                f"{point.batch_sequences / point.placement.chips:,.1f}",
                f"{point.power_w_per_chip:,.0f}",
            )
            lines.append("| " + " | ".join(cells) + " |")
    return lines


def power_table(rows: list[Row]) -> list[str]:
    """Tokens per second and kW under the four denominators."""
    heads = " | ".join(name for name, _ in WATTS)
    lines = [f"| model | limit | per kW of | {heads} |", "|---|---|---|---|---|---|---|"]
    for row in rows:
        for label, point in row.own.items():
            if point.output_tokens_per_s_per_chip == 0.0:
                continue
            output = point.output_tokens_per_s_per_chip
            total = output + point.input_tokens_per_s_per_chip
            for what, rate in (("output tok/s", output), ("total tok/s", total)):
                cells = " | ".join(ranged(rate / watts * KILO, spread(point)) for _, watts in WATTS)
                lines.append(f"| {row.model} | {label} | {what} | {cells} |")
    return lines


def latency_table(rows: list[Row]) -> list[str]:
    """Smallest TPOT and end-to-end latency of a single request."""
    lines = [
        "| model | chip | smallest TPOT ms | end-to-end s | placement | bound |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        for chip, point in ((OWN, row.own_least), (RIVAL, row.rival_least)):
            whole = point.mean_ttft_s + (OUTPUT_TOKENS - 1.0) * point.mean_tpot_s
            cells = (
                row.model,
                chip,
                ranged(point.mean_tpot_s / MILLI, spread(point), 2),
                ranged(whole, spread(point), 2),
                in_words(point.placement),
                point.bound,
            )
            lines.append("| " + " | ".join(cells) + " |")
    return lines


def ratio_table(rows: list[Row]) -> list[str]:
    """Jalapeno over GB300, per chip and per rated kW; the shared timing error cancels."""
    lines = [
        "| model | limit | per chip | per rated kW (700 W against 1,400 W) |",
        "|---|---|---|---|",
    ]
    for row in rows:
        for label, own in row.own.items():
            rival = row.rival[label]
            if 0.0 in (own.output_tokens_per_s_per_chip, rival.output_tokens_per_s_per_chip):
                continue
            ratio = own.output_tokens_per_s_per_chip / rival.output_tokens_per_s_per_chip
            factor = math.exp(Z80 * math.hypot(own.own_log_sd, rival.own_log_sd))
            rated = ratio * RIVAL_RATED_W / WATTS[0][1]
            lines.append(
                f"| {row.model} | {label} | {ranged(ratio, factor, 2)} | "
                f"{ranged(rated, factor, 2)} |"
            )
    return lines


def inputs_list(chip: ChipSpec) -> list[str]:
    """What the prediction of one chip rests on."""
    peaks = ", ".join(f"{k} {v:.4g} FLOP/s" for k, v in sorted(chip.peak_flop_per_s.items()))
    links = ", ".join(f"{x.name} {x.bytes_per_s:.4g} B/s over {x.chips}" for x in chip.links)
    return [
        f"- {chip.name}: {peaks}; memory {chip.memory_bytes:.4g} B at "
        f"{chip.memory_bytes_per_s:.4g} B/s; links, one direction: {links}.",
        f"  Read from: {', '.join(chip.inputs)}.",
        f"  Assumed: {'; '.join(chip.assumptions) or 'nothing'}.",
    ]


def page(date: str, note: str) -> str:
    """Compose the page."""
    model = PhysicalModel()
    options = CapacityOptions(model=model)
    rows = [predict(name, options) for name in MODELS]
    lines = [
        "# Predictions for OpenAI Jalapeno, made before its measured results were read",
        "",
        f"Dated {date}. Written by tools/predict_jalapeno.py from the timing model "
        f"({model.name}) and never edited afterwards, only graded. No measured or claimed "
        "throughput of this chip with any model went into it.",
        *(["", note] if note else []),
        "",
        f"Load: {INPUT_TOKENS:,.0f} tokens in, {OUTPUT_TOKENS:,.0f} out, single turn, no prefix "
        "cache, no speculative decoding; prefill and decode on the same chips, or on pools of "
        "their own where that serves more (rates are then per chip of both). Weights in 4 bit "
        "as the checkpoints are published or converted (experts; attention as published), fp8 "
        "cache. Every cell is the best of the placements tried (at most 64 chips a replica); "
        "limits hold for the median request. Ranges are 80 % bands: the error shared by all chips "
        "and that of a chip nobody measured. Global software constants; the vendor effect of "
        "measured vendors applies to GB300 and has no counterpart for a new vendor, so these are "
        "predictions for software of average maturity.",
        "",
        "## Jalapeno: throughput",
        "",
        *throughput_table(rows, OWN),
        "",
        "## Jalapeno: throughput per kW, by denominator",
        "",
        *power_table(rows),
        "",
        "## Smallest TPOT and end-to-end latency of a single request",
        "",
        *latency_table(rows),
        "",
        "## GB300 NVL72: throughput",
        "",
        *throughput_table(rows, RIVAL),
        "",
        "## Jalapeno over GB300, output tokens per second",
        "",
        "Bands without the error that both share.",
        "",
        *ratio_table(rows),
        "",
        "## What went in",
        "",
        *inputs_list(spec(OWN)),
        *inputs_list(spec(RIVAL)),
        "",
    ]
    return "\n".join(lines)


def main() -> int:
    """Write the page once."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--date", default="2026-11-24")
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--note", default="")
    options = parser.parse_args()
    if options.out.exists():
        print(f"{options.out} exists and is never rewritten", file=sys.stderr)
        return 2
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(page(options.date, options.note), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
