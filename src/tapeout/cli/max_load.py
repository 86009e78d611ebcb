"""`tapeout simulate --max-load`: the search, and how its answer is shown."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import typer

from tapeout.cli.figures import number, safe
from tapeout.cli.simulate_traffic import Asked, stream_of
from tapeout.constants import PERCENT
from tapeout.errors import Outcome, Problem, ProblemsError

if TYPE_CHECKING:
    from tapeout.serving.search import MaxLoad, Price, SearchOptions, Sizing
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
        Limits are missing, or an option fixes the load. `--rate` does not: it is what replicas
        are counted for.
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
    if asked.rate is not None and not 0.0 < asked.rate < math.inf:
        problem = Problem(
            path="--rate", value=f"{asked.rate:g}", message="must be above 0",
            remedy="give requests per second",
        )  # fmt: skip
        raise ProblemsError("--max-load", [problem])
    stream, told = stream_of(replace(asked, rate=None))
    if asked.requests is not None:
        options = replace(
            options,
            most_requests=asked.requests,
            cpu_s=math.inf,
            first_requests=min(options.first_requests, asked.requests),
        )
    found = max_load(deployment, stream, parse_objective(slo), options)
    return replace(found, notes=(*notes, *told, *found.notes))


@dataclass(frozen=True, slots=True, kw_only=True)
class Needed:
    """Replicas for a rate, and whose price they have."""

    sizing: Sizing
    price: Price | None


def needed(rate_rps: float, found: MaxLoad, replicas: int, price: Price | None) -> Needed:
    """Count the replicas for a rate at the largest load."""
    from tapeout.serving.search import replicas_for  # noqa: PLC0415

    usd = math.nan if price is None else price.usd_per_chip_hour
    return Needed(sizing=replicas_for(rate_rps, found, replicas, usd), price=price)


def content(deployment: Deployment, found: MaxLoad, need: Needed | None) -> dict[str, Any]:
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
    if need is not None:
        sizing = {name: getattr(need.sizing, name) for name in type(need.sizing).__slots__}
        source = "" if need.price is None else need.price.words
        figures["for_rate"] = _known(sizing | {"price_source": source})
    return _known(figures)


def _known(figures: dict[str, Any]) -> dict[str, Any]:
    """The same with null for what is no number."""
    return {
        name: None if isinstance(one, float) and not math.isfinite(one) else one
        for name, one in figures.items()
    }


def show(
    deployment: Deployment, found: MaxLoad, need: Needed | None = None, *, as_json: bool
) -> None:
    """Print the answer."""
    if as_json:
        typer.echo(json.dumps(content(deployment, found, need), indent=2, allow_nan=False))
        return
    from rich.console import Console  # noqa: PLC0415

    from tapeout.perf import in_words  # noqa: PLC0415

    console, place = Console(highlight=False), deployment.placement
    console.print(
        f"[bold]{safe(place.architecture.name)} on {safe(place.system.chip.name)}[/bold]:"
        f" {safe(in_words(place))}, {found.chips} chip{'s' if found.chips > 1 else ''}"
    )
    if found.outcome is not Outcome.OK:
        console.print(f"  [red]no rate meets the limits: {safe(found.outcome.sentence)}[/red]")
        console.print(f"  [dim]{found.simulated_requests:,} requests simulated[/dim]")
        return
    for name, text in (*_lines(found), *(_for_rate(need) if need else ())):
        console.print(f"  {name:<16}{safe(text)}")
    for text in found.notes:
        console.print(f"  [dim]{safe(text)}[/dim]")


def _for_rate(need: Needed) -> Iterator[tuple[str, str]]:
    """Replicas, headroom and rent for the rate that was asked for."""
    one = need.sizing
    known = math.isfinite(one.each_low_rps)
    at = f"{number(one.each_low_rps)} each, the low end of the interval" if known else (
        f"{number(one.each_rps)} each; the interval is unknown"
    )  # fmt: skip
    fewer = (
        f" ({one.estimated_replicas:,} at the estimate)"
        if one.estimated_replicas != one.replicas
        else ""
    )
    yield "for the rate", f"{number(one.rate_rps)} requests/s"
    yield "replicas", f"{one.replicas:,} at {at}{fewer}; {one.chips:,} chips"
    yield "headroom", f"{number(one.headroom_fraction / PERCENT)} % at the estimate"
    if need.price is not None:
        yield "rent", f"{number(one.usd_per_h)} USD/h: {need.price.words}"


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
