"""`tapeout portfolio`: the mix to hold before demand and prices are known."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tapeout.cli.figures import number, safe
from tapeout.constants import GIGA, MEGA, PERCENT
from tapeout.errors import Problem, ProblemsError

if TYPE_CHECKING:
    from rich.table import Table

LEAST_SHOWN = 5e-4  # of demand


def portfolio(
    scenario: Annotated[Path, typer.Argument(help="Scenario folder", show_default=False)],
    omega: Annotated[
        list[float] | None,
        typer.Option(help="Weight of the tail, 0 to 1; repeatable; default: 0, 0.25 ... 1"),
    ] = None,
    alpha: Annotated[float, typer.Option(help="The tail is the worst 1 - alpha")] = 0.95,
    draws: Annotated[
        int, typer.Option(help="Decide on 2^N futures", min=5, max=13, metavar="N")
    ] = 9,
    seed: Annotated[int, typer.Option(help="Seed of the futures", min=0)] = 20261124,
    mw: Annotated[
        float | None, typer.Option(help="Megawatts for chips bought or built", min=0.0)
    ] = None,
    capital: Annotated[
        float | None, typer.Option(help="USD a year for chips bought or built", min=0.0)
    ] = None,
    loss: Annotated[
        list[str] | None,
        typer.Option(help="OPTION=CHANCE a year that its supplier fails; repeatable"),
    ] = None,
    information: Annotated[
        bool, typer.Option("--information", help="Also EVPI, VSS and deciding again; slower")
    ] = False,
    plot: Annotated[
        Path | None, typer.Option(help="Write the frontier (.html or .svg)", show_default=False)
    ] = None,
    overlay: Annotated[Path | None, typer.Option(help="TOML of newer figures")] = None,
    patch: Annotated[list[str] | None, typer.Option("--patch", help="Named patch")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON")] = False,
) -> None:
    """Which mix of built, bought and rented silicon to hold: cost against its tail.

    Examples:

      tapeout portfolio examples/jalapeno

      tapeout portfolio examples/jalapeno --mw 1300 --loss own=0.03 --omega 0 --omega 0.5

      tapeout portfolio examples/jalapeno --plot frontier.html --json
    """
    from tapeout.risk.portfolio import RiskPreference  # noqa: PLC0415
    from tapeout.study import prepare  # noqa: PLC0415
    from tapeout.study.portfolio import OMEGAS, PortfolioTerms, run_portfolio  # noqa: PLC0415

    if plot is not None:
        from tapeout.report.plots import check_plot  # noqa: PLC0415

        check_plot(plot)
    omegas = tuple(sorted(set(omega))) if omega else OMEGAS
    for one in omegas:  # out of range is said before any work
        RiskPreference(alpha=alpha, omega=one)
    terms = PortfolioTerms(
        alpha=alpha,
        site_mw=_finite("--mw", mw),
        capital_usd_per_year=_finite("--capital", capital),
        loss_per_year=_losses(loss or []),
    )
    found = run_portfolio(
        prepare(scenario, overlay=overlay, patches=tuple(patch or ())),
        omegas=omegas,
        draws_log2=draws,
        seed=seed,
        terms=terms,
        information=information,
    )
    if plot is not None:
        from tapeout.report.charts.portfolio import portfolio_frontier  # noqa: PLC0415
        from tapeout.report.plots import write_plot  # noqa: PLC0415

        notes = [f"Left out: {text}." for text in found.record["left_out"]]
        write_plot(portfolio_frontier(found.record, found.titles), plot, notes)
    if as_json:
        from tapeout.study.results import to_json  # noqa: PLC0415

        typer.echo(to_json(found.record), nl=False)
        return
    _print(found.record, found.titles)
    if plot is not None:
        typer.echo(f"Chart: {plot}")


def _finite(path: str, most: float | None) -> float | None:
    if most is not None and not math.isfinite(most):
        unbounded = Problem(
            path=path, value=str(most), message="not a finite number", remedy="leave it out"
        )
        raise ProblemsError(path, [unbounded])
    return most


def _losses(given: list[str]) -> dict[str, float]:
    out: dict[str, float] = {}
    wrong = []
    for text in given:
        key, _, chance = text.partition("=")
        try:
            out[key] = float(chance)
        except ValueError:
            wrong.append(
                Problem(
                    path="--loss",
                    value=repr(text),
                    message="not OPTION=CHANCE",
                    remedy="write for example own=0.03",
                )
            )
    if wrong:
        raise ProblemsError("--loss", wrong)
    return out


def _print(record: Mapping[str, Any], titles: Mapping[str, str]) -> None:
    from rich.console import Console  # noqa: PLC0415

    console = Console()
    console.print(f"[bold]{safe(record['scenario'])}[/bold]")
    console.print(_table(record, titles))
    if "evpi_usd" in record:
        console.print(
            f"Knowing the future is worth at most {number(record['evpi_usd'] / GIGA)} bn USD;"
            f" deciding on futures, not means, {number(record['vss_usd'] / GIGA)} bn USD"
            " (omega 0, on a reduced set of futures)."
        )
        years = ", ".join(str(year) for year in record["waiting_years"])
        console.print(
            f"Deciding again in years {years}, by the demand seen, saves"
            f" {number(record['waiting_usd'] / GIGA)} bn USD of expected cost."
        )
    for line in _shadows(record):
        console.print(line)
    console.print(f"{record['futures']} futures; regret on {record['fresh_futures']} fresh ones.")
    for text in record["left_out"]:
        console.print(f"Left out: {text}.")


def _table(record: Mapping[str, Any], titles: Mapping[str, str]) -> Table:
    """One column for each weight of the tail, one row for each figure."""
    from rich.table import Table  # noqa: PLC0415

    found = record["portfolios"]
    table = Table(box=None, pad_edge=False)
    table.add_column("weight of the tail, omega")
    for one in found:
        table.add_column(f"{one['omega']:g}", justify="right", no_wrap=True)

    def row(name: str, values: list[float], unit: float) -> None:
        table.add_row(name, *(number(value / unit) for value in values))

    row("expected cost, bn USD", [one["mean_usd"] for one in found], GIGA)
    tail = number((1.0 - record["alpha"]) / PERCENT)
    row(f"worst {tail} %, bn USD", [one["cvar_usd"] for one in found], GIGA)
    for key in record["options"]:
        shares = [one["served_fraction"][key] for one in found]
        if max(shares) > LEAST_SHOWN:
            row(f"{safe(titles[key])}, % of demand", shares, PERCENT)
    row("spot and tokens, % of demand", [one["spot_fraction"] for one in found], PERCENT)
    row("not served, % of demand", [one["unserved_fraction"] for one in found], PERCENT)
    ratios = [max(one["hybrid_fleet_ratio"], default=0.0) for one in found]
    row("fixed-function, % of fleet at most", ratios, PERCENT)
    row("regret on fresh futures, %", [one["regret_fraction"] for one in found], PERCENT)
    return table


def _shadows(record: Mapping[str, Any]) -> list[str]:
    """What one more unit of each limit is worth, where it is worth anything."""
    lines = []
    for one in record["portfolios"]:
        for key, usd in one["shadow_usd"].items():
            if sum(usd) > 0.0:
                unit, name = (MEGA, "M USD") if key == "MW" else (1.0, "USD")
                what = {"MW": "one more MW", "capital": "one more USD of capital"}.get(
                    key, f"one more unit of {safe(key)}"
                )
                lines.append(
                    f"omega {one['omega']:g}: {what} in every year saves"
                    f" {number(sum(usd) / unit)} {name}."
                )
    return lines
