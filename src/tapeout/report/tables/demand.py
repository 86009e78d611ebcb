"""Tables of what users do with cheaper tokens: the fixed point, and what it is made of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tapeout.report import formats as f
from tapeout.report.content import Cell, Row, Table, cell, left, right, row
from tapeout.report.reading import mapping

if TYPE_CHECKING:
    from tapeout.study import Results


def _central(results: Results) -> list[dict[str, Any]]:
    found = mapping(results, "demand_response").get("rows", [])
    return [one for one in found if one["case"] == "central"]


def response(results: Results) -> Table | None:
    """Price, demand and contribution of every strategy where all three stand still."""
    central, whole = _central(results), mapping(results, "demand_response")
    if not central:
        return None
    spread = whole["elasticity"]
    return Table(
        key="demand-response",
        caption="Price, demand and contribution at the fixed point, central case",
        columns=(
            left("strategy", "Strategy"),
            right("price", "Price, USD/Mtok today"),
            right("demand", "Demand over plan"),
            right("before", "Contribution as planned"),
            right("contribution", "At the fixed point"),
        ),
        rows=tuple(_response(one, whole["rows"]) for one in central),
        notes=(
            f"Elasticity {f.number(spread['value'])} ({spread['source']}); conduct"
            f" {whole['conduct']} passes {f.percent(central[0]['pass_through'])} of a saving in"
            " unit cost over the baseline to the price. The price planned is"
            f" {f.number(whole['planned_usd_per_mtok'])} USD/Mtok at the decision; every price"
            " falls further as the market does. Small figures: over the elasticity's range. No"
            " limit of megawatts applies.",
        ),
    )


def _response(one: dict[str, Any], every: list[dict[str, Any]]) -> Row:
    ends = [row for row in every if row["strategy"] == one["strategy"] and row["settled"]]
    if not one["settled"]:
        return row(one["title"], *(cell("not settled", "muted") for _ in range(4)))
    demand = [end["demand_ratio"] for end in ends]
    earned = [end["contribution_usd"] for end in ends]
    short = one["served_fraction"]
    served = f"; {f.percent(short)} of it served" if short < 1.0 - 1e-6 else ""
    return row(
        one["title"],
        f.number(one["price_usd_per_mtok"]),
        _with_span(f.times(one["demand_ratio"]), [f.times(end) for end in _ends(demand)], served),
        f.usd(one["contribution_before_usd"]),
        _with_span(f.usd(one["contribution_usd"]), [f.usd(end) for end in _ends(earned)]),
    )


def _ends(values: list[float]) -> tuple[float, float]:
    return min(values), max(values)


def _with_span(text: str, ends: list[str], more: str = "") -> Cell:
    low, high = ends
    span = "" if low == high else f"{low} to {high}"
    return cell(text, note=f"{span}{more}".removeprefix("; "))


def lines(results: Results) -> Table | None:
    """What the lower price gives away, what the rebound earns and costs, what dearer tiers lose."""
    central = [one for one in _central(results) if one["settled"]]
    if not central:
        return None
    return Table(
        key="demand-lines",
        caption="From the contribution planned to that at the fixed point",
        columns=(
            left("strategy", "Strategy"),
            right("given", "Lower price on what is sold anyhow"),
            right("extra", "Extra tokens"),
            right("revenue", "They pay"),
            right("cost", "They cost"),
            right("cannibalised", "Lost by own dearer tiers"),
            right("change", "Change of contribution"),
        ),
        rows=tuple(
            row(
                one["title"],
                f.usd(one["given_away_usd"]),
                f.tokens(one["extra_tokens"]),
                f.usd(one["rebound_revenue_usd"]),
                f.usd(one["rebound_cost_usd"]),
                f.usd(one["cannibalised_usd"]),
                f.usd(one["contribution_usd"] - one["contribution_before_usd"]),
            )
            for one in central
        ),
        notes=("Present values over the horizon; extra tokens are the plain sum.",),
    )
