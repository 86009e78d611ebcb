"""`tapeout simulate --max-load`: the search, and how its answer is shown."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import typer

from tapeout.cli.figures import number, safe
from tapeout.cli.simulate_traffic import Asked, stream_of
from tapeout.constants import PERCENT
from tapeout.errors import Outcome, Problem, ProblemsError

if TYPE_CHECKING:
    from tapeout.serving.search import MaxLoad, SearchOptions
    from tapeout.serving.types import Deployment


def find(
    asked: Asked,
    deployment: Deployment,
    slo: str,
    options: SearchOptions,
    notes: tuple[str, ...] = (),
) -> MaxLoad:
    """Search with the traffic and the limits of the command line.

    Raises
    ------
    ProblemsError
        Limits are missing, or an option fixes the rate.
    """
    from tapeout.serving.objectives import parse_objective  # noqa: PLC0415
    from tapeout.serving.search import max_load  # noqa: PLC0415

    if not slo:
        problem = Problem(
            path="--slo",
            value="",
            message="is missing: the largest load needs limits",
            remedy="add --slo ttft_p90=2,tpot_p90=0.05",
        )
        raise ProblemsError("--max-load", [problem])
    stream, told = stream_of(asked)
    if asked.requests is not None:
        options = replace(
            options,
            most_requests=asked.requests,
            first_requests=min(options.first_requests, asked.requests),
        )
    found = max_load(deployment, stream, parse_objective(slo), options)
    return replace(found, notes=(*notes, *told, *found.notes))


def content(deployment: Deployment, found: MaxLoad) -> dict[str, Any]:
    """All figures by name, ready for JSON."""
    from tapeout.perf import in_words  # noqa: PLC0415

    place = deployment.placement
    figures = {
        "model": place.architecture.name,
        "chip": place.system.chip.name,
        "placement": in_words(place),
        "replicas": deployment.replicas,
        "policy": deployment.policy.name,
        "outcome": found.outcome.name,
        "rate_rps": found.rate_rps,
        "half_width_95_rps": found.half_width_rps,
        "binds": found.binds,
        "output_tokens_per_s_per_chip": found.output_tokens_per_s_per_chip,
        "input_tokens_per_s_per_chip": found.input_tokens_per_s_per_chip,
        "joule_per_output_token": found.joule_per_output_token,
        "mean_tpot_s": found.mean_tpot_s,
        "tpot_s": found.tpot_s,
        "ttft_s": found.ttft_s,
        "running_mean": found.running,
        "chips": found.chips,
        "steady_rps": found.steady_rps,
        "gap_fraction": found.gap,
        "simulated_requests": found.simulated_requests,
        "longest_run_requests": found.longest_run,
        "anomalies": found.anomalies,
        "precise": found.precise,
        "notes": list(found.notes),
    }
    return {
        name: None if isinstance(one, float) and not math.isfinite(one) else one
        for name, one in figures.items()
    }


def show(deployment: Deployment, found: MaxLoad, *, as_json: bool) -> None:
    """Print the answer."""
    if as_json:
        typer.echo(json.dumps(content(deployment, found), indent=2, allow_nan=False))
        return
    from rich.console import Console  # noqa: PLC0415

    from tapeout.perf import in_words  # noqa: PLC0415

    console, place = Console(highlight=False), deployment.placement
    console.print(
        f"[bold]{safe(place.architecture.name)} on {safe(place.system.chip.name)}[/bold]:"
        f" {safe(in_words(place))}, {found.chips} chips"
    )
    if found.outcome is not Outcome.OK:
        console.print(f"  [red]no rate meets the limits: {safe(found.outcome.sentence)}[/red]")
        console.print(f"  [dim]{found.simulated_requests:,} requests simulated[/dim]")
        return
    for name, text in _lines(found):
        console.print(f"  {name:<16}{safe(text)}")
    for text in found.notes:
        console.print(f"  [dim]{safe(text)}[/dim]")


def _lines(found: MaxLoad) -> Iterator[tuple[str, str]]:
    known = math.isfinite(found.half_width_rps)
    error = f" ± {number(float(f'{found.half_width_rps:.2g}'))}" if known else ", interval unknown"
    yield "largest load", f"{number(found.rate_rps)}{error} requests/s (95 % interval)"
    yield "binds", found.binds
    yield "output", f"{number(found.output_tokens_per_s_per_chip)} tokens/s a chip"
    yield "input", f"{number(found.input_tokens_per_s_per_chip)} tokens/s a chip"
    yield "energy", f"{number(found.joule_per_output_token)} J per output token, chips alone"
    yield (
        "latency",
        f"TTFT {number(found.ttft_s)} s and TPOT {number(found.tpot_s)} s at their percentiles,"
        f" {number(found.running)} sequences run",
    )
    if found.steady_rps > 0.0:
        yield (
            "steady state",
            f"{number(found.steady_rps)} requests/s; the simulation says"
            f" {found.gap / PERCENT:+.1f} %",
        )
    yield (
        "simulated",
        f"{found.simulated_requests:,} requests in all, {found.longest_run:,} in the longest run"
        + (f"; {found.anomalies} rates out of order" if found.anomalies else ""),
    )
