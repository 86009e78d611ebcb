"""Fan of the cumulated saving of the headline strategy, with its peak funding."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import altair as alt

from tapeout.report import formats as f
from tapeout.report.charts import theme
from tapeout.report.content import Chart, Legend
from tapeout.report.reading import mapping, rows, strategy_titles
from tapeout.report.tables.strategies import peak_quarter

if TYPE_CHECKING:
    from tapeout.study import Results

_HEIGHT = 320
_LEVELS = ("p05", "p25", "p50", "p75", "p95")


def fan_strategy(results: Results) -> str:
    """The strategy whose fan is drawn: the headline, or the cheapest if that is the baseline."""
    headline = str(results.verdict.get("headline_strategy", ""))
    if rows(results, "cashflow", kind="fan", strategy=headline):
        return headline
    ranked = [str(one["strategy"]) for one in results.verdict.get("ranking", [])]
    return next((key for key in ranked if rows(results, "cashflow", kind="fan", strategy=key)), "")


def cash_fan(results: Results) -> Chart | None:
    """Cumulated saving over the baseline, 5 to 95 %, with the peak funding need marked."""
    strategy = fan_strategy(results)
    if not strategy:
        return None
    found = rows(results, "cashflow", kind="fan", strategy=strategy)
    factor, suffix = f.money_scale(max(abs(one[level]) for one in found for level in _LEVELS))
    main = [
        {"start": one["start"], "quarter": f.quarter(one["start"])}
        | {level: one[level] / factor for level in _LEVELS}
        for one in found
    ]
    peak = (
        _peak(results, main, factor) if strategy == results.verdict.get("headline_strategy") else []
    )
    title = strategy_titles(results).get(strategy, strategy)
    last = found[-1]
    description = (
        f"Cumulated saving of “{title}” over the baseline, undiscounted: at the end of the horizon"
        f" {f.usd(last['p50'])} at the median, {f.usd_span(last['p05'], last['p95'])} from 5 to"
        " 95 %."
    )
    chart = alt.layer(*_layers(f"USD{suffix}", with_peak=bool(peak)))
    word = "saves" if last["p50"] > 0 else "costs"
    return Chart(
        key="chart-cash",
        title=(
            f"“{title}” {word} {f.usd(abs(last['p50']))}"
            f" {'against' if word == 'saves' else 'more than'} the baseline by the end at the"
            f" median{_peak_words(results) if peak else ''}"
        ),
        alt=description,
        spec=theme.finish(chart, _HEIGHT, description, main=main, peak=peak, zero=[{"y": 0.0}]),
        legend=(
            Legend(label="5 to 95 %", colour="fan-wide"),
            Legend(label="25 to 75 %", colour="fan-middle"),
            Legend(label="median", colour=theme.OTHER, line=True),
            *(
                (Legend(label="largest extra cash need, central case", colour=theme.OWN),)
                if peak
                else ()
            ),
        ),
        height=_HEIGHT,
    )


def _peak(results: Results, main: list[dict[str, Any]], factor: float) -> list[dict[str, Any]]:
    start = peak_quarter(results)
    need = mapping(results, "payback").get("peak_cash_need_usd")
    if not start or not need:
        return []
    late = start > main[len(main) // 2]["start"]
    return [
        {
            "start": start,
            "usd": -need / factor,
            "early_label": "" if late else f.usd(need),
            "late_label": f.usd(need) if late else "",
        }
    ]


def _peak_words(results: Results) -> str:
    need = mapping(results, "payback").get("peak_cash_need_usd")
    return f"; in the central case it needs up to {f.usd(need)} more cash"


def _layers(unit: str, *, with_peak: bool) -> list[Any]:
    base = alt.Chart(theme.data()).encode(
        x=alt.X("start:T", axis=theme.axis("Year", format="%Y", tickCount="year"))
    )
    tooltip = [
        alt.Tooltip("quarter:N", title="Quarter"),
        *(
            alt.Tooltip(f"{level}:Q", title=name, format=",.3~r")
            for level, name in zip(_LEVELS, ("5 %", "25 %", "Median", "75 %", "95 %"), strict=True)
        ),
    ]
    y = alt.Y("p05:Q", axis=theme.axis(f"Cumulated saving, {unit}"))
    layers = [
        base.mark_area(opacity=0.18, color=theme.OTHER).encode(y=y, y2="p95:Q", tooltip=tooltip),
        base.mark_area(opacity=0.3, color=theme.OTHER).encode(
            y="p25:Q", y2="p75:Q", tooltip=tooltip
        ),
        base.mark_line(strokeWidth=2.5, color=theme.OTHER).encode(y="p50:Q", tooltip=tooltip),
        alt.Chart(theme.data("zero")).mark_rule(strokeWidth=1).encode(y="y:Q"),
    ]
    if with_peak:
        mark = alt.Chart(theme.data("peak")).encode(x="start:T", y="usd:Q")
        layers += [
            mark.mark_point(filled=True, size=110, color=theme.OWN, opacity=1),
            mark.mark_text(dx=4, dy=-14, align="left", fontSize=12, fontWeight=600).encode(
                text="early_label:N"
            ),
            mark.mark_text(dx=4, dy=-14, align="right", fontSize=12, fontWeight=600).encode(
                text="late_label:N"
            ),
        ]
    return layers
