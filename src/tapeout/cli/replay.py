"""`tapeout validate trace`: a measured run beside its simulation."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tapeout.constants import MILLI, PERCENT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tapeout.serving.validation.trace_replay import Replay

CURVE_LINES = 12  # times of the state that a screen shows; --json has all
UNITS = {"ttft_s": ("TTFT", "s", 1.0), "tpot_s": ("TPOT", "ms", MILLI), "e2e_s": ("E2E", "s", 1.0)}


class Costs(StrEnum):
    """Where step costs come from."""

    PROFILE = "profile"
    MODEL = "model"


RunDir = Annotated[
    Path,
    typer.Argument(
        metavar="RUN_DIR",
        help="Folder with meta.json, workload.jsonl, requests.jsonl, timeseries.csv and perhaps"
        " profile/",
        show_default=False,
    ),
]
Out = Annotated[Path | None, typer.Option(help="Write one row a request here", show_default=False)]
From = Annotated[
    Costs | None,
    typer.Option(
        help="Step costs from the kernel profile of the folder or from our timing model;"
        " default: the profile where there is one",
        show_default=False,
    ),
]
Blocks = Annotated[
    int | None,
    typer.Option(
        help="Cache blocks as vLLM prints them (num_gpu_blocks), instead of those of the folder",
        min=2,
        show_default=False,
    ),
]
Chip = Annotated[
    str, typer.Option(help="Chip, instead of the one the folder names", show_default=False)
]
FitFirst = Annotated[
    int,
    typer.Option(
        help="Fit two constants of the exchange of experts to so many requests, score the rest",
        min=0,
    ),
]
Overlay = Annotated[
    Path | None,
    typer.Option(help="TOML of chips and newer figures (docs/catalog.md)", show_default=False),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table")]


def trace(
    run_dir: RunDir,
    out: Out = None,
    costs: From = None,
    blocks: Blocks = None,
    chip: Chip = "",
    fit_first: FitFirst = 0,
    overlay: Overlay = None,
    as_json: AsJson = False,
) -> None:
    """Replay a measured run of vLLM: TTFT, TPOT and end-to-end time beside those measured.

    Arrivals are the engine's queued_ts. Nothing is fitted to the run without --fit-first. Exit
    status 0 whatever the errors, 2 for a folder that cannot be read. Files: docs/validate.md.

    Examples:

      tapeout validate trace runs/rtx4090-llama-3.1-8b --out replayed.csv

      tapeout validate trace runs/rtx4090-llama-3.1-8b --costs model --blocks 2588
    """
    from tapeout.serving.validation.chips import chips_from  # noqa: PLC0415
    from tapeout.serving.validation.trace_replay import (  # noqa: PLC0415
        COLUMNS,
        Wanted,
        replay,
    )

    found = replay(
        run_dir,
        Wanted(
            costs=costs or "",
            blocks=blocks,
            chip=chip,
            fit_first=fit_first,
            find=chips_from(overlay),
        ),
    )
    if out is not None:
        from tapeout.files import write_whole  # noqa: PLC0415
        from tapeout.serving.validation.files import table_text  # noqa: PLC0415

        write_whole(out, table_text(COLUMNS, found.rows()))
    if as_json:
        from tapeout.study.results import to_json  # noqa: PLC0415

        typer.echo(to_json(_content(found)), nl=False)
        return
    for line in _lines(found):
        typer.echo(line)
    if out is not None:
        typer.echo(f"Requests: {out}")


def _content(found: Replay) -> dict[str, Any]:
    """All that is printed, and the whole curves."""
    return {
        "run": found.run.trace.source,
        "engine": found.run.settings.engine,
        "model": found.run.settings.model,
        "costs": found.costs,
        "kv_blocks": found.kv.printed,
        "kv_source": found.kv.source,
        "kv_blocks_predicted": found.predicted.printed if found.predicted else None,
        "kv_blocks_low": found.predicted.low + 1 if found.predicted else None,
        "kv_blocks_high": found.predicted.high + 1 if found.predicted else None,
        "requests": found.run.trace.requests,
        "fitted_first": found.fitted_first,
        "fitted_layer_s": found.extra.layer_s if found.extra else None,
        "fitted_token_s": found.extra.token_s if found.extra else None,
        "scores": [
            {
                "quantity": one.quantity,
                "statistic": one.statistic,
                "measured": one.measured,
                "simulated": one.simulated,
                "error": one.error,
            }
            for one in found.statistics()
        ],
        "first_token_steps": {
            "measured": found.run.first_stamps,
            "simulated": found.simulated_stamps,
        },
        "time_s": found.run.sampled_s.tolist(),
        "curves": {
            name: {"measured": one.tolist(), "simulated": other.tolist()}
            for name, (one, other) in found.curves().items()
        },
        "preemptions": found.simulation.totals.preemptions,
        "notes": list(found.notes),
    }


def _lines(found: Replay) -> Iterator[str]:
    run, kv = found.run, found.kv
    named = f"{run.settings.model}, {run.settings.engine}"
    yield f"{run.trace.source}: {named}, {run.trace.requests} requests"
    yield f"Step costs: {found.costs}"
    guess = found.predicted
    bounds = "" if guess is None else f" between {guess.low + 1:,} and {guess.high + 1:,}"
    if guess is None or kv.blocks == guess.blocks:
        yield f"Cache blocks: {kv.printed:,} ({kv.source}){bounds}"
    else:
        off = guess.printed / kv.printed - 1.0
        told = f"{guess.printed:,} predicted{bounds}, {off / PERCENT:+.1f} %"
        yield f"Cache blocks: {kv.printed:,} ({kv.source}; {told})"
    if found.extra is not None:
        yield (
            f"Fitted to the first {found.fitted_first} requests, the rest is scored: "
            f"{found.extra.layer_s:.3g} s a layer and {found.extra.token_s:.3g} s a layer and token"
        )
    yield f"{'':11}{'measured':>10}{'simulated':>11}{'error':>9}"
    for one in found.statistics():
        name, unit, factor = UNITS[one.quantity]
        yield (
            f"{name:5}{one.statistic:6}{one.measured / factor:10.4g}{one.simulated / factor:11.4g}"
            f"{one.error / PERCENT:+8.1f} %  {unit}"
        )
    yield (
        f"Steps that ended with a first token: {run.first_stamps} measured (each rank stamps its "
        f"own), {found.simulated_stamps} simulated; preemptions simulated: "
        f"{found.simulation.totals.preemptions}"
    )
    yield from _curve_lines(found)
    for note in found.notes:
        yield f"Assumed: {note}"


def _curve_lines(found: Replay) -> Iterator[str]:
    """State over time, a few lines, and how far apart the curves are on average."""
    curves = found.curves()
    if not curves:
        return
    at = found.run.sampled_s
    places = sorted({round(i * (at.size - 1) / (CURVE_LINES - 1)) for i in range(CURVE_LINES)})
    yield f"{'time':>8}" + "".join(f"{name:>10}{'simulated':>11}" for name in curves)
    for place in places:
        cells = "".join(f"{one[place]:10.0f}{other[place]:11.0f}" for one, other in curves.values())
        yield f"{at[place]:6.0f} s{cells}"
    apart = ", ".join(
        f"{name} {abs(one - other).mean():.2g} of {one.mean():.3g}"
        for name, (one, other) in curves.items()
    )
    yield f"Mean distance of the curves, a sample each second: {apart}"
