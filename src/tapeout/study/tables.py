"""The tables of a results folder, from what the stages computed."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping
from typing import Any

import polars as pl

from tapeout.constants import MTOK
from tapeout.economics.types import Holder
from tapeout.errors import Outcome
from tapeout.numerics import Floats, Ints
from tapeout.risk import FAN_LEVELS, fan
from tapeout.serving import CapacityTable
from tapeout.sources import Figure, Ledger
from tapeout.study.boundary import break_even_map, contours
from tapeout.study.central import CentralCase, cash_rows, line_rows, quarter_start, token_rows
from tapeout.study.evaluate import Boundary, Problem
from tapeout.study.statistics import NAMES, share_cheapest, summary


def inputs_table(ledger: Ledger) -> pl.DataFrame:
    """Every resolved input: value, range, status, who set it, source, and what it beat."""
    return pl.DataFrame(
        [
            {
                "path": entry.path,
                "value": entry.chosen.value,
                "low": entry.chosen.low,
                "high": entry.chosen.high,
                "unit": entry.chosen.unit,
                "range_kind": entry.chosen.range_kind,
                "status": entry.chosen.status,
                "set_by": entry.set_by,
                "as_of": entry.chosen.as_of,
                "condition": entry.chosen.condition,
                "source_title": entry.chosen.source_title,
                "source_url": entry.chosen.source_url,
                "why": entry.why,
                "note": entry.chosen.note,
                "rejected": json.dumps([_short(figure) for figure in entry.rejected]),
            }
            for entry in ledger
        ],
        schema_overrides={"low": pl.Float64, "high": pl.Float64, "value": pl.Float64},
        infer_schema_length=None,
    ).sort("path")


def _short(figure: Figure) -> dict[str, Any]:
    return {
        "value": figure.value,
        "low": figure.low,
        "high": figure.high,
        "unit": figure.unit,
        "status": figure.status,
        "as_of": figure.as_of,
        "source": figure.source_title,
    }


def totals_table(
    problem: Problem,
    cost: Mapping[str, Floats],
    contribution: Mapping[str, Floats],
    lcot: Mapping[str, Mapping[str, Floats]],
    scramble: Ints,
) -> pl.DataFrame:
    """Present cost, contribution, LCOT and value-weighted LCOT of each strategy over all draws.

    objective is "cost", "contribution", "lcot" or "lcot_by_value".
    """
    titles = {strategy.key: strategy.title for strategy in problem.strategies}
    best = {
        "cost": share_cheapest(cost),
        "contribution": share_cheapest({key: -usd for key, usd in contribution.items()}),
    }
    rows: list[dict[str, Any]] = []
    tables = {"cost": cost, "contribution": contribution, **lcot}
    for objective, table in tables.items():
        per_token = objective in lcot
        for key, values in table.items():
            rows.append(
                {
                    "objective": objective,
                    "strategy": key,
                    "title": titles[key],
                    "unit": "USD/Mtok" if per_token else "USD",
                    "p_best": best.get(objective, {}).get(key),
                }
                | summary(values * MTOK if per_token else values, scramble)
            )
    return pl.DataFrame(rows, infer_schema_length=None)


def cashflow_table(
    case: CentralCase, cumulative: Mapping[str, Floats], start: dt.date
) -> pl.DataFrame:
    """Central cash by line and quarter, and the fan of cumulated savings over the baseline.

    kind "line" re-adds by hand: sum of usd x discount over cash lines is the present cost. Kind
    "tokens" is what they serve.
    """
    rows: list[dict[str, Any]] = [{"kind": "line"} | row for row in cash_rows(case, start)]
    rows += [{"kind": "tokens"} | row for row in token_rows(case, start)]
    for key, values in cumulative.items():
        quantiles = fan(values, FAN_LEVELS)
        rows += [
            {
                "kind": "fan",
                "strategy": key,
                "quarter": quarter,
                "start": quarter_start(start, quarter).isoformat(),
            }
            | {name: float(quantiles[level, quarter]) for level, name in enumerate(NAMES)}
            for quarter in range(values.shape[1])
        ]
    return pl.DataFrame(rows, infer_schema_length=None)


def boundary_table(bounds: Mapping[str, Boundary]) -> pl.DataFrame:
    """P(pays | g, volume) and its contours against every counterfactual; empty without a build."""
    rows: list[dict[str, Any]] = []
    for name, bound in bounds.items():
        rows += [{"kind": "map", "counterfactual": name} | row for row in break_even_map(bound)]
        rows += [{"kind": "contour", "counterfactual": name} | row for row in contours(bound)]
    schema = {
        "kind": pl.String,
        "counterfactual": pl.String,
        "g": pl.Float64,
        "volume": pl.Float64,
        "p": pl.Float64,
        "level": pl.Float64,
    }
    return pl.DataFrame(rows, schema=schema)


def capacity_table(table: CapacityTable, basket_classes: int) -> pl.DataFrame:
    """The capacity table in long form."""
    rows = []
    for i, silicon in enumerate(table.silicon):
        for j, workload in enumerate(table.workload):
            rows.append(
                {
                    "silicon": silicon,
                    "workload": workload,
                    "shifted": j >= basket_classes,
                    "stack_year": int(table.stack_year[0]),
                    "output_tokens_per_s_per_chip": float(
                        table.output_tokens_per_s_per_chip[i, j, 0]
                    ),
                    "input_tokens_per_s_per_chip": float(
                        table.input_tokens_per_s_per_chip[i, j, 0]
                    ),
                    "joule_per_output_token": float(table.joule_per_output_token[i, j, 0]),
                    "chips_per_replica": int(table.chips_per_replica[i, j, 0]),
                    "ttft_s": float(table.ttft_s[i, j, 0]),
                    "tpot_s": float(table.tpot_s[i, j, 0]),
                    "batch_sequences": float(table.batch_sequences[i, j, 0]),
                    "placement": table.placement[i][j],
                    "common_log_sd": float(table.common_log_sd[i, j, 0]),
                    "own_log_sd": float(table.own_log_sd[i, j, 0]),
                    "outcome": Outcome(int(table.outcome[i, j, 0])).name,
                    "method": table.method,
                }
            )
    return pl.DataFrame(rows, infer_schema_length=None)


def sensitivity_table(moved: list[dict[str, Any]], ledger: Ledger) -> pl.DataFrame:
    """The tornado with status and unit of each input."""
    rows = []
    for row in moved:
        entry = ledger.entries.get(row["path"])
        rows.append(
            row
            | {
                "unit": entry.chosen.unit if entry else "",
                "status": entry.chosen.status if entry else "derived",
                "central": entry.chosen.value if entry else 0.0,
            }
        )
    return pl.DataFrame(rows, infer_schema_length=None)


def savings_table(
    problem: Problem,
    lcot: Mapping[str, Floats],
    by_holder: Mapping[str, Mapping[str, float]],
    case: CentralCase,
    line_npv: Mapping[str, Mapping[str, float]],
) -> pl.DataFrame:
    """Who receives a token's cost, by option; the step from the alternative to the own chip; lines.

    kind "lcot": quantiles of an option's levelised cost. "stack": its mean by holder.
    "waterfall": mean cost of the alternative less that of the own chip, by holder; the rows add up
    to the difference of the two totals. "line": declaration and present value of a line.
    """
    rows: list[dict[str, Any]] = []
    options = problem.setting.options

    def title(key: str) -> str:
        base, _, suffix = key.partition("@")
        return f"{options[base].title}, negotiated" if suffix else options[base].title

    for key, values in lcot.items():
        rows.append({"kind": "lcot", "option": key, "title": title(key)} | summary(values))
        rows += [
            {
                "kind": "stack",
                "option": key,
                "title": title(key),
                "holder": holder,
                "usd_per_mtok": usd,
            }
            for holder, usd in by_holder[key].items()
        ]
    if "own" in by_holder and problem.alternative in by_holder:
        other, own = by_holder[problem.alternative], by_holder["own"]
        rows += [
            {
                "kind": "waterfall",
                "option": problem.alternative,
                "title": title(problem.alternative),
                "holder": str(holder),
                "usd_per_mtok": other.get(str(holder), 0.0) - own.get(str(holder), 0.0),
            }
            for holder in Holder
            if str(holder) in other or str(holder) in own
        ]
    rows += [
        {
            "kind": "line",
            "option": row["strategy"],
            "line": row["line"],
            "holder": row["holder"],
            "cash": row["cash"],
            "formula": row["formula"],
            "inputs": ", ".join(row["inputs"]),
            "npv_usd": row["npv_usd"],
            "npv_mean_usd": line_npv[row["strategy"]].get(row["line"]),
        }
        for row in line_rows(case)
    ]
    return pl.DataFrame(rows, infer_schema_length=None)
