"""The frontier of portfolios: what a better tail costs in the mean."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import altair as alt

from tapeout.constants import GIGA, PERCENT
from tapeout.report import formats as f
from tapeout.report.charts import theme
from tapeout.report.content import Chart, Legend

_HEIGHT = 320


def portfolio_frontier(record: Mapping[str, Any], titles: Mapping[str, str]) -> Chart:
    """Expected cost against CVaR, in the futures decided on and in fresh ones.

    Parameters
    ----------
    record : mapping
        Of `study.portfolio.run_portfolio`.
    titles : mapping of option to str
    """
    rows = []
    for one in record["portfolios"]:
        for mean, tail, shade in (
            ("mean_usd", "cvar_usd", theme.OTHER),
            ("fresh_mean_usd", "fresh_cvar_usd", theme.OWN),
        ):
            rows.append(
                {
                    "mean": one[mean] / GIGA,
                    "tail": one[tail] / GIGA,
                    "omega": one["omega"],
                    "label": f"ω {one['omega']:g}" if shade == theme.OTHER else "",
                    "colour": shade,
                }
            )
    tail_name = f"CVaR, worst {(1.0 - record['alpha']) / PERCENT:.3g} %"
    x = alt.X(
        "mean:Q", scale=alt.Scale(zero=False), axis=theme.axis("Expected cost, USD bn", format="~g")
    )
    y = alt.Y(
        "tail:Q", scale=alt.Scale(zero=False), axis=theme.axis(f"{tail_name}, USD bn", format="~g")
    )
    base = alt.Chart(theme.data())
    colour = alt.Color("colour:N", scale=None)
    chart = alt.layer(
        base.mark_line(strokeWidth=1.5).encode(x=x, y=y, color=colour, order="omega:Q"),
        base.mark_point(filled=True, size=60).encode(x=x, y=y, color=colour),
        base.mark_text(align="left", dx=8, dy=-6, fontSize=12).encode(x=x, y=y, text="label:N"),
    )
    first, last = record["portfolios"][0], record["portfolios"][-1]
    told = "; ".join(
        f"omega {one['omega']:g}: mean {f.number(one['mean_usd'] / GIGA)},"
        f" CVaR {f.number(one['cvar_usd'] / GIGA)} bn USD,"
        f" {', '.join(_largest(one, titles))}"
        for one in record["portfolios"]
    )
    return Chart(
        key="chart-portfolio",
        title=f"Expected cost {_between(first['mean_usd'], last['mean_usd'])},"
        f" CVaR {_between(first['cvar_usd'], last['cvar_usd'])}",
        alt=f"Portfolios by the weight of the tail. {told}.",
        spec=theme.finish(chart, _HEIGHT, told, main=rows),
        legend=(
            Legend(label=f"{record['futures']} futures it was chosen on", colour=theme.OTHER),
            Legend(label=f"{record['fresh_futures']} fresh futures", colour=theme.OWN),
        ),
        note="Present value over the horizon. Each point is the cheapest portfolio for its weight"
        " of the tail.",
        height=_HEIGHT,
    )


def _largest(one: Mapping[str, Any], titles: Mapping[str, str]) -> list[str]:
    """The options that serve most, with their shares."""
    served = sorted(one["served_fraction"].items(), key=lambda pair: -pair[1])
    return [
        f"{titles[key]} {f.number(share / PERCENT)} %" for key, share in served[:3] if share > 0
    ]


def _between(first_usd: float, last_usd: float) -> str:
    """Two amounts in billions, or one where both are printed alike."""
    ends = dict.fromkeys(f.number(usd / GIGA) for usd in (first_usd, last_usd))
    return f"{' to '.join(ends)} bn USD"
