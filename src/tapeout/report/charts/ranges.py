"""Low-high bars: levelised cost by option, cost and contribution by strategy, beliefs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import altair as alt

from tapeout.report import formats as f
from tapeout.report.charts import theme
from tapeout.report.content import Chart, Legend
from tapeout.report.reading import OWN, mapping, own_title, records
from tapeout.report.tables.options import lcot_rows

if TYPE_CHECKING:
    from tapeout.study import Results

_ENDS = ("p05_usd", "p95_usd")
_RANGE_LEGEND = (
    Legend(label="5 to 95 %", colour="range"),
    Legend(label="25 to 75 %", colour="middle"),
)


def _low_high(
    rows: theme.Rows, axis_title: str, description: str, scale: Any, axis_format: str = ""
) -> dict[str, Any]:
    """Bars from `p05` to `p95`, thicker from `p25` to `p75`, a tick at `at`, its text beside."""
    bands = theme.bands(rows)
    base = alt.Chart(theme.data())
    colour = alt.Color("colour:N", scale=None, legend=None)
    axis = theme.axis(axis_title, **({"format": axis_format} if axis_format else {}))
    x = alt.X("p05:Q", scale=scale, axis=axis)
    y = bands.axis()
    tooltip = [
        alt.Tooltip("name:N", title="Row"),
        alt.Tooltip("p05:Q", title="5 %", format=".3~g"),
        alt.Tooltip("p50:Q", title="Median", format=".3~g"),
        alt.Tooltip("mean:Q", title="Mean", format=".3~g"),
        alt.Tooltip("p95:Q", title="95 %", format=".3~g"),
    ]
    chart = alt.layer(
        bands.bar(base, opacity=0.32).encode(x=x, x2="p95:Q", y=y, color=colour, tooltip=tooltip),
        bands.bar(base, opacity=0.75).encode(
            x="p25:Q", x2="p75:Q", y=y, color=colour, tooltip=tooltip
        ),
        bands.tick(base).encode(x="at:Q", y=y, tooltip=tooltip),
        bands.value(base).encode(x="p95:Q", y=y, text="label:N"),
        bands.names(base),
    )
    return theme.finish(chart, bands.height_px, description, main=theme.level(rows))


def _top(rows: theme.Rows, low: float = 0.0) -> float:
    return theme.reach(low, [(float(row["p95"]), str(row["label"])) for row in rows])


def lcot(results: Results) -> Chart | None:
    """Levelised cost by option."""
    found = lcot_rows(results)
    if not found:
        return None
    other = results.verdict.get("alternative_title")
    rows = [
        {
            "row": one["option"],
            "name": theme.name(one["title"]),
            "at": one["p50"],
            "label": f.usd(one["p50"]),
            "colour": _option_colour(one, other),
        }
        | {key: one[key] for key in ("p05", "p25", "p50", "p75", "p95", "mean")}
        for one in found
    ]
    scale = alt.Scale(domainMin=0, domainMax=_top(rows), nice=False)
    alt_text = "; ".join(
        f"{one['title']} {f.usd(one['p50'])} ({f.usd_span(one['p05'], one['p95'])})"
        for one in found
    )
    return Chart(
        key="chart-lcot",
        title=_lcot_title(found),
        alt=f"Levelised cost per million output tokens, median and 5 to 95 % range: {alt_text}.",
        spec=_low_high(rows, "USD per million output tokens", alt_text, scale, "$.3~f"),
        legend=(*_RANGE_LEGEND, Legend(label="median", colour="tick", line=True)),
        height=theme.bands(rows).height_px,
    )


def _option_colour(one: dict[str, Any], other: Any) -> str:
    if one["option"] == OWN:
        return theme.OWN
    return theme.OTHER if one["title"] == other else theme.BASE


def _lcot_title(found: Sequence[dict[str, Any]]) -> str:
    best = found[0]
    text = f"{best['title']} is cheapest per token: {f.usd(best['p50'])} a million at the median"
    own = next((one for one in found if one["option"] == OWN), None)
    if own is None:
        return text
    if own is best and len(found) > 1:
        return f"{text}, {found[1]['title']} next at {f.usd(found[1]['p50'])}"
    return f"{text}, {own['title']} at {f.usd(own['p50'])}"


def _scale_of(ranking: list[dict[str, Any]]) -> tuple[float, str]:
    """Factor and unit in which the ends of all bars read well."""
    factor, suffix = f.money_scale(max(abs(one[end]) for one in ranking for end in _ENDS))
    return factor, f"USD{suffix}"


def _strategy_rows(results: Results, ranking: list[dict[str, Any]], p: str) -> theme.Rows:
    factor, _ = _scale_of(ranking)
    colours = {
        results.verdict.get("headline_strategy"): theme.OWN,
        results.verdict.get("baseline_strategy"): theme.OTHER,
    }
    return [
        {
            "row": one["strategy"],
            "name": theme.name(one["title"]),
            "at": one["mean_usd"] / factor,
            "label": f.usd(one["mean_usd"]),
            "colour": colours.get(one["strategy"], theme.BASE),
            "probability": f.probability(one[p]),
        }
        | {key: one[f"{key}_usd"] / factor for key in ("p05", "p25", "p50", "p75", "p95", "mean")}
        for one in ranking
    ]


def strategy_cost(results: Results) -> Chart | None:
    """Present cost of each strategy."""
    found = records(results, "ranking")
    if not found:
        return None
    rows = _strategy_rows(results, found, "p_cheapest")
    best = found[0]
    alt_text = "; ".join(f"{one['title']} {f.usd(one['mean_usd'])}" for one in found)
    return Chart(
        key="chart-cost",
        title=(
            f"Serving the demand costs least with “{best['title']}”: {f.usd(best['mean_usd'])}"
            f" expected, cheapest in {f.probability(best['p_cheapest'])} of futures"
        ),
        alt=f"Present cost of each strategy, mean and 5 to 95 % range: {alt_text}.",
        spec=_low_high(
            rows,
            f"Present cost, {_scale_of(found)[1]}",
            alt_text,
            alt.Scale(domainMin=0, domainMax=_top(rows), nice=False),
        ),
        legend=(*_RANGE_LEGEND, Legend(label="mean", colour="tick", line=True)),
        height=theme.bands(rows).height_px,
    )


def strategy_contribution(results: Results) -> Chart | None:
    """Contribution of each strategy within the site's limits."""
    found = records(results, "contribution_ranking")
    if not found:
        return None
    rows = _strategy_rows(results, found, "p_best")
    low = min(0.0, *(float(row["p05"]) for row in rows))
    best = found[0]
    alt_text = "; ".join(f"{one['title']} {f.usd(one['mean_usd'])}" for one in found)
    scale = alt.Scale(domain=[low, _top(rows, low)], nice=False)
    return Chart(
        key="chart-contribution",
        title=(
            f"Within the site's limits “{best['title']}” earns most: {f.usd(best['mean_usd'])}"
            f" expected, best in {f.probability(best['p_best'])} of futures"
        ),
        alt=f"Present contribution of each strategy, mean and 5 to 95 % range: {alt_text}.",
        spec=_low_high(rows, f"Present contribution, {_scale_of(found)[1]}", alt_text, scale),
        legend=(*_RANGE_LEGEND, Legend(label="mean", colour="tick", line=True)),
        height=theme.bands(rows).height_px,
    )


def beliefs(results: Results) -> Chart | None:
    """Each named belief about g_ship, against the advantage that pays."""
    found = records(results, "priors")
    star = mapping(results, "g_star").get("list", {}).get("value")
    if not found:
        return None
    rows = [
        {
            "row": one["key"],
            "name": theme.name(f"{one['title']}: {f.times(one['g']['p50'])}"),
            "at": one["g"]["p50"],
            "label": "",
            "colour": theme.OWN if one["kind"] == "simulated" else theme.BASE,
        }
        | {key: one["g"][key] for key in ("p05", "p25", "p50", "p75", "p95", "mean")}
        for one in found
    ]
    high = max([float(row["p95"]) for row in rows] + ([star] if star is not None else []))
    scale = alt.Scale(domainMin=0, domainMax=high * 1.06, nice=False)
    alt_text = "; ".join(f"{one['title']} {f.times(one['g']['p50'])}" for one in found)
    spec = _low_high(rows, "Delivered advantage g_ship, x", alt_text, scale)
    title = "No threshold exists: no delivered advantage pays"
    if star is not None:
        rule = theme.vertical_rule("needed", color=theme.GOOD, strokeWidth=2)
        spec["layer"].insert(0, rule.to_dict(validate=False))
        spec["datasets"]["needed"] = [{"x": star}]
        reach = [one for one in found if one["g"]["p50"] >= star]
        title = (
            f"{len(reach) or 'None'} of the {len(found)} beliefs about {own_title(results)} reach"
            f" the {f.times(star)} that pays at their median"
        )
    return Chart(
        key="chart-beliefs",
        title=title,
        alt=f"Belief about the delivered advantage, median and 5 to 95 % range: {alt_text}.",
        spec=spec,
        legend=(
            *_RANGE_LEGEND,
            Legend(label="median", colour="tick", line=True),
            Legend(
                label="advantage that pays at list price, g*_ship", colour=theme.GOOD, line=True
            ),
        ),
        height=theme.bands(rows).height_px,
    )
