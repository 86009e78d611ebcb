"""Gather what blocks of draws yield, in block order, and keep nothing else of them.

What a block holds by quarter is tens of megabytes. What is kept of it is a number a draw and
figure and, for the fan of cumulated savings, the quarters of at most `FAN_DRAWS` draws: half a
kilobyte a draw in all.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields

import numpy as np

from tapeout.economics.supply import generation_index
from tapeout.economics.types import Inputs
from tapeout.numerics import Draws, Floats, accumulated
from tapeout.risk import SCRAMBLES
from tapeout.study.evaluate import Boundary, Outcomes, Problem

FAN_DRAWS = 65_536  # the fan by quarter reads at most these: the first of every scramble

Name = tuple[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Futures:
    """All draws evaluated; arrays have the draw axis first.

    `draws` makes a column anew whenever it is asked for. `cumulative` holds the draws of the fan
    only: all of them up to `FAN_DRAWS`. `successor_share` is the share of futures in which a
    successor of the alternative is on sale at the own chip's first service.
    """

    draws: Draws
    baseline: str
    cost: Mapping[str, Floats]
    contribution: Mapping[str, Floats]
    strategy_lcot: Mapping[str, Floats]
    strategy_lcot_by_value: Mapping[str, Floats]
    served: Mapping[str, float]
    line_npv: Mapping[str, Mapping[str, float]]
    cumulative: Mapping[str, Floats]
    saving: Floats
    worlds: Mapping[str, Floats]
    bounds: Mapping[str, Boundary]
    lcot: Mapping[str, Floats]
    lcot_by_holder: Mapping[str, Mapping[str, float]]
    first_service: Floats
    rates: Mapping[str, Floats]
    successor_share: float


class Tally:
    """Columns over all draws, filled block by block, and sums in block order.

    Parameters
    ----------
    problem : Problem
    size : int
        Draws in all.
    """

    def __init__(self, problem: Problem, size: int) -> None:
        self.problem = problem
        self.size = size
        self.columns: dict[str, dict[str, Floats]] = defaultdict(dict)
        self.sums: dict[Name, dict[str, float]] = defaultdict(dict)
        self.fan: dict[str, Floats] = {}

    def add(
        self,
        part: tuple[int, int],
        inputs: Inputs,
        outcomes: Outcomes,
        rates: Mapping[str, Floats],
    ) -> None:
        """Take in the draws from start to stop; blocks come in order."""
        start, stop = part
        # world A is the cost of the baseline: one column for both. The values are kept beside it,
        # so that no other array can come to have the same identity
        known: dict[int, tuple[Floats, Floats]] = {}
        for group, key, values in self._columns(outcomes, rates):
            columns = self.columns[group]
            if key not in columns:
                twin = known.get(id(values))
                columns[key] = np.empty(self.size) if twin is None else twin[1]
            known[id(values)] = (values, columns[key])
            columns[key][start:stop] = values  # a certain figure has length one
        for group, key, item, values in self._means(inputs, outcomes):
            total = self.sums[(group, key)]
            total[item] = total.get(item, 0.0) + float(values.mean()) * (stop - start)
        self._cumulate(part, outcomes)

    def _columns(
        self, outcomes: Outcomes, rates: Mapping[str, Floats]
    ) -> Iterator[tuple[str, str, Floats]]:
        for key, flow in outcomes.cost.items():
            yield "cost", key, flow.npv_usd
            yield "strategy_lcot", key, flow.npv_usd / flow.discounted_tokens
            yield "strategy_lcot_by_value", key, flow.npv_usd / flow.discounted_worth
        for key, flow in outcomes.contribution.items():
            yield "contribution", key, -flow.npv_usd
        for key, usd in outcomes.worlds.items():
            yield "worlds", key, usd
        for key, bound in outcomes.boundaries.items():
            for one in fields(Boundary):
                yield f"bounds {key}", one.name, getattr(bound, one.name)
        for key, unit in outcomes.unit.items():
            yield "lcot", key, unit.lcot_usd_per_mtok()
        yield "dates", "first_service", _first_service(outcomes)
        for key, rate in rates.items():
            yield "rates", key, rate

    def _means(self, inputs: Inputs, outcomes: Outcomes) -> Iterator[tuple[str, str, str, Floats]]:
        for key, flow in outcomes.cost.items():
            yield "served", key, "", flow.served_fraction
            for line, usd in flow.by_line_usd.items():
                yield "line_npv", key, line, usd
        for key, unit in outcomes.unit.items():
            for holder, usd in unit.lcot_by_holder_usd_per_mtok().items():
                yield "lcot_by_holder", key, str(holder), usd
        option = self.problem.setting.options[self.problem.alternative]
        if option.kind in ("buy", "rent"):
            index = generation_index(option, inputs, _first_service(outcomes)[:, None])
            yield "successor", "", "", (index >= 1.0).astype(np.float64)

    def _cumulate(self, part: tuple[int, int], outcomes: Outcomes) -> None:
        """Cumulated savings over the baseline, of the draws of the fan."""
        size, (start, stop) = self.size, part
        if size > FAN_DRAWS:
            scramble, place = divmod(start, size // SCRAMBLES)
            each = FAN_DRAWS // SCRAMBLES
            if place >= each:
                return
            start = scramble * each + place
            stop = start + part[1] - part[0]
        base = outcomes.cost[self.problem.baseline].by_quarter_usd
        for key, flow in outcomes.cost.items():
            if key == self.problem.baseline:
                continue
            if key not in self.fan:
                self.fan[key] = np.empty((base.shape[1], min(size, FAN_DRAWS)))
            saved = accumulated(np.add, base - flow.by_quarter_usd)
            self.fan[key][:, start:stop] = saved.T

    def futures(self, draws: Draws) -> Futures:
        """All draws together."""
        cost = self.columns["cost"]
        named = [group for group in self.columns if group.startswith("bounds ")]
        return Futures(
            draws=draws,
            baseline=self.problem.baseline,
            cost=cost,
            contribution=self.columns["contribution"],
            strategy_lcot=self.columns["strategy_lcot"],
            strategy_lcot_by_value=self.columns["strategy_lcot_by_value"],
            served={key: mean[""] for key, mean in self._mean("served").items()},
            line_npv=self._mean("line_npv"),
            cumulative={key: rows.T for key, rows in self.fan.items()},
            saving=cost[self.problem.baseline] - cost[self.problem.headline],
            worlds=self.columns["worlds"],
            bounds={
                group.removeprefix("bounds "): Boundary(**self.columns[group]) for group in named
            },
            lcot=self.columns["lcot"],
            lcot_by_holder=self._mean("lcot_by_holder"),
            first_service=self.columns["dates"]["first_service"],
            rates=self.columns["rates"],
            successor_share=self._mean("successor").get("", {}).get("", 0.0),
        )

    def _mean(self, group: str) -> dict[str, dict[str, float]]:
        """Means over all draws, by key and item."""
        return {
            key: {item: total / self.size for item, total in items.items()}
            for (one, key), items in self.sums.items()
            if one == group
        }


def _first_service(outcomes: Outcomes) -> Floats:
    return outcomes.dates.first_service if outcomes.dates else np.zeros(1)
