"""Tables of the strategies: both objectives, units, regret, payback."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tapeout.report import formats as f
from tapeout.report.content import Cell, Table, Tone, cell, left, right, row
from tapeout.report.reading import mapping, records, rows, strategy_titles

if TYPE_CHECKING:
    from tapeout.study import Results

_HEAT: tuple[tuple[float, Tone], ...] = (
    (0.0, "best"),
    (0.1, "heat1"),
    (0.25, "heat2"),
    (0.5, "heat3"),
    (0.75, "heat4"),
)


def ranking(results: Results) -> Table | None:
    """Strategies by expected cost, the contribution beside it."""
    found = records(results, "ranking")
    if not found:
        return None
    earns = {one["strategy"]: one for one in records(results, "contribution_ranking")}
    best = next(iter(earns), "")
    lines = []
    for index, one in enumerate(found):
        other = earns.get(one["strategy"], {})
        lines.append(
            row(
                cell(one["title"], note=_roles(results, one["strategy"])),
                cell(f.usd(one["mean_usd"]), "best" if index == 0 else ""),
                f.usd_span(one["p05_usd"], one["p95_usd"]),
                f.probability(one["p_cheapest"]),
                cell(f.usd(other.get("mean_usd")), "best" if one["strategy"] == best else ""),
                f.usd_span(other.get("p05_usd"), other.get("p95_usd")),
                f.probability(other.get("p_best")),
                f.usd(one.get("lcot_usd_per_mtok")),
            )
        )
    return Table(
        key="ranking",
        caption=(
            "Strategies by both objectives: cost of serving the given demand, and contribution"
            " within the site's limits"
        ),
        columns=(
            left("strategy", "Strategy"),
            right("cost", "Expected cost"),
            right("cost_range", "5 to 95 %"),
            right("p_cheapest", "P(cheapest)"),
            right("contribution", "Expected contribution"),
            right("contribution_range", "5 to 95 %"),
            right("p_best", "P(earns most)"),
            right("lcot", "LCOT"),
        ),
        rows=tuple(lines),
        notes=("Present values over the horizon; LCOT per million output tokens, mean.",),
    )


def _roles(results: Results, strategy: str) -> str:
    verdict = results.verdict
    roles = []
    if strategy == verdict.get("baseline_strategy"):
        roles.append("baseline")
    if strategy == verdict.get("headline_strategy"):
        roles.append("headline")
    return ", ".join(roles)


def units(results: Results) -> Table | None:
    """Chips, racks, power and memory at the largest extent of each strategy."""
    found = records(results, "units")
    if not found:
        return None
    titles = strategy_titles(results)
    return Table(
        key="units",
        caption="Units needed at the largest extent, central case",
        columns=(
            left("strategy", "Strategy"),
            left("option", "Option"),
            right("chips", "Chips in service"),
            right("ordered", "Chips ordered"),
            right("racks", "Racks"),
            right("mw", "IT power"),
            right("hbm", "HBM"),
        ),
        rows=tuple(
            row(
                titles.get(str(one["strategy"]), str(one["strategy"])),
                one["title"],
                f.number(one["chips"]),
                f.number(one["chips_ordered"]),
                cell(f.number(one["racks"]), note=f"{f.integer(one['chips_per_rack'])} chips each"),
                f"{f.number(one['mw'])} MW",
                f"{f.number(one['hbm_pb'])} PB" if one["hbm_pb"] else f.NONE,
            )
            for one in found
        ),
        notes=(
            "Orders over the horizon include refreshes; memory of rented chips is not counted.",
        ),
    )


def _heat(regret: float, most: float) -> Tone:
    share = regret / most if most > 0 else 0.0
    tone: Tone = "heat5"
    for limit, name in reversed(_HEAT):
        if share <= limit:
            tone = name
    return tone


def regret(results: Results) -> Table | None:
    """Regret of every strategy in each named future."""
    found = records(results, "regret")
    if not found:
        return None
    titles = strategy_titles(results)
    most = max(float(one["regret_usd"]) for one in found)
    futures = {one["future"]: one["title"] for one in found}
    by_key = {(one["future"], one["strategy"]): one for one in found}
    strategies = [key for key in titles if any(one["strategy"] == key for one in found)]

    def shade(future: str, strategy: str) -> Cell:
        one = by_key.get((future, strategy))
        if one is None:
            return cell(f.NONE)
        if one["best"]:
            return cell("best", "best")
        return cell(f.usd(one["regret_usd"]), _heat(float(one["regret_usd"]), most))

    return Table(
        key="regret",
        caption="Regret by named future: cost above the strategy that would have been best there",
        columns=(left("future", "Future"), *(right(key, titles[key]) for key in strategies)),
        rows=tuple(
            row(title, *(shade(future, key) for key in strategies))
            for future, title in futures.items()
        ),
        notes=("Central values otherwise; darker is more regret.",),
    )


def payback(results: Results) -> Table | None:
    """When the headline pays back, on the programme and on all extra capital."""
    found = mapping(results, "payback")
    if not found:
        return None

    def span_or_never(value: float | None) -> str:
        return "never within the horizon" if value is None else f.years(value)

    quarter = peak_quarter(results)
    lines = [
        row("Payback on the programme's own cost", span_or_never(found.get("on_programme_years"))),
        row("Payback on all extra capital", span_or_never(found.get("on_all_capital_years"))),
        row("Programme cost, undiscounted", f.usd(found.get("programme_usd"))),
        row(
            "Peak extra cash need over the baseline",
            cell(
                f.usd(found.get("peak_cash_need_usd")), note=f.quarter(quarter) if quarter else ""
            ),
        ),
    ]
    if results.verdict.get("builds") and "break_even_volume" in results.verdict:
        share = results.verdict["break_even_volume"]
        text = "none pays" if share is None or f.missing(share) else f"{f.times(share)} of plan"
        lines.append(row("Break-even volume of the own chip", text))
    return Table(
        key="payback",
        caption=f"Payback and funding of “{results.verdict['headline_title']}”, central case",
        columns=(left("what", "Measure"), right("value", "Value")),
        rows=tuple(lines),
        stacks=False,
    )


def peak_quarter(results: Results) -> str:
    """First day of the quarter in which the headline needs most cash; empty if unknown."""
    index = mapping(results, "payback").get("peak_cash_need_quarter")
    found: list[dict[str, Any]] = (
        rows(results, "cashflow", kind="line", quarter=index) if index is not None else []
    )
    return str(found[0]["start"]) if found else ""
