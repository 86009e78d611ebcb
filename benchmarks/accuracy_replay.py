"""Errors of replayed runs of vLLM, as Markdown sections.

Nothing is fitted but where a row says so, and then to the first requests of that run alone; those
are not scored.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tapeout.serving.engine.capacity import NULL_BLOCKS
from tapeout.serving.validation.trace_replay import MODEL, PROFILE, Replay, Wanted, replay

FOLDER = "measured/llmservingsim"
FIT_FIRST = 100
HEAD = [
    "| run | step costs | scored | blocks | TTFT mean | p50 | p99 | TPOT mean | p50 | p99 "
    "| E2E mean | p50 | p99 | first-token steps |",
    "|---|---|---|---|---|---|---|---|---|---|---|---|---|---|",
]
SHOWN = [
    (quantity, statistic)
    for quantity in ("ttft_s", "tpot_s", "e2e_s")
    for statistic in ("mean", "p50", "p99")
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One replay of the table."""

    folder: str
    costs: str
    words: str
    fit_first: int = 0
    chip: str = ""


ROWS = (
    Row(folder="rtx4090-llama-3.1-8b", costs=PROFILE, words="kernel profile, nothing fitted"),
    Row(folder="rtx4090-llama-3.1-8b", costs=MODEL, words="timing model, nothing fitted"),
    Row(
        folder="rtxpro6000-qwen3-30b-a3b",
        costs=PROFILE,
        words="kernel profile and fabric model, nothing fitted",
    ),
    Row(
        folder="rtxpro6000-qwen3-30b-a3b",
        costs=PROFILE,
        words="the same, two constants of the exchange fitted",
        fit_first=FIT_FIRST,
    ),
    Row(
        folder="rtxpro6000-qwen3-30b-a3b",
        costs=MODEL,
        words="timing model, nothing fitted",
        chip="RTX PRO 6000",
    ),
)


def sections(data: Path) -> list[str]:
    """Section of the page; one sentence where the runs are not there."""
    title = "## Measured runs replayed"
    base = data / FOLDER
    if not base.is_dir():
        return [title, "", f"{FOLDER} is not in the data, so no run was replayed."]
    found = [(row, _replayed(base, row)) for row in ROWS]
    return [
        title,
        "",
        "Two complete runs of vLLM 0.19 (300 requests each, Poisson arrivals of 10 a second; "
        "LLMServingSim's bench, MIT licence) through the simulator: simulated / measured - 1. "
        "Arrivals are the engine's own stamps. The kernel profile was taken on the same card, so "
        "its rows test scheduling and memory; rows of the timing model test all of it.",
        "",
        *HEAD,
        *(_line(row, one) for row, one in found),
        "",
        *_remarks(found),
    ]


def _replayed(base: Path, row: Row) -> Replay:
    wanted = Wanted(costs=row.costs, fit_first=row.fit_first, chip=row.chip)
    return replay(base / row.folder, wanted)


def _line(row: Row, found: Replay) -> str:
    errors = {(one.quantity, one.statistic): one.error for one in found.statistics()}
    last = found.run.trace.requests
    scored = f"requests {found.fitted_first + 1}-{last}" if found.fitted_first else f"all {last}"
    cells = " | ".join(f"{errors[name]:+.1%}" for name in SHOWN)
    return (
        f"| {row.folder} | {row.words} | {scored} | {found.kv.printed:,} | {cells} | "
        f"{found.simulated_stamps} of {found.run.first_stamps} |"
    )


def _remarks(found: list[tuple[Row, Replay]]) -> Iterator[str]:
    yield "- First-token steps: distinct times, simulated of measured; ranks stamp their own."
    for row, one in found:
        if one.extra is not None:
            yield (
                f"- Fitted to requests 1-{one.fitted_first} of {row.folder}, their TTFT and TPOT: "
                f"{one.extra.layer_s:.3g} s a layer with experts and {one.extra.token_s:.3g} s a "
                "layer and token, beside the collectives of the fabric model. It was scored three "
                "times: the first fit (50 us, 103 ns) had stopped beside its start and gave TTFT "
                "mean +10.9 %, TPOT +2.9 %, E2E +3.3 % on the rest; the second (0, 100 ns) lay on "
                "a point of its grid and gave -13.2, -2.4 and -3.0 %; this one follows an "
                "optimiser mended "
                "by the loss of the fit part alone. That loss is a staircase: 100 requests hardly "
                "fix the exchange."
            )
    yield (
        "- The timing model is slow on the RTX 4090: in the kernel profile its products run at the "
        "whole of the card's nominal peak and bandwidth, which the fitted stack terms, those of "
        "data-centre chips, do not expect."
    )
    yield from _blocks(found)


def _blocks(found: list[tuple[Row, Replay]]) -> Iterator[str]:
    """Predicted cache blocks beside those that an engine printed."""
    seen: set[str] = set()
    for row, one in found:
        printed = one.run.settings.printed_blocks
        guess = one.predicted
        if printed is None or guess is None or row.folder in seen:
            continue
        seen.add(row.folder)
        yield (
            f"- Cache blocks of {row.folder}: {guess.printed:,} predicted "
            f"({guess.low + NULL_BLOCKS:,} to {guess.high + NULL_BLOCKS:,}), {printed:,} printed, "
            f"{guess.printed / printed - 1.0:+.1%}. The bytes of a logit in the profiling step "
            "were counted from vLLM's sampler with the printed count in view."
        )
