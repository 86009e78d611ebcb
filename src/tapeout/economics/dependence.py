"""Which inputs an amount depends on: the rules behind the declared inputs of every line.

Capacity is filled in one unit (tokens per second, or watts under a site limit), so what is common
to all chips of an option cancels where capacity is meant and stays where chips are counted:

- *level* inputs scale the capacity of every chip of an option alike; they move its chips, not its
  capacity, unless a limit counts chips (a ceiling, a smallest replica);
- *shape* inputs change over time what a chip that is there gives; they move both;
- other options matter where they are served before an option, or already there, while it is taken.

A test perturbs every input and finds that exactly the declared lines move.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field
from functools import wraps

import numpy as np

from tapeout.constants import QUARTERS_PER_YEAR
from tapeout.economics.roadmap import DATE_INPUTS, roadmap_of
from tapeout.economics.schedule import OWN, SCHEDULE_INPUTS, mid_quarter_years
from tapeout.economics.supply import Setting, in_watts, splits_by_share
from tapeout.economics.types import Objective, SiliconOption, Step, Strategy

Paths = tuple[str, ...]

_LEVEL = ("tokens_per_s_per_chip", "timing_ratio", "availability_fraction")
_ANCHOR_ORDER = {
    "own.first_service": 0,
    "own.full_volume": 1,
    "own.mature": 1,
    "own.end_of_sales": 1,
}
_FIRST_SERVICE = "own.first_service"


def _own(*names: str) -> Paths:
    return tuple(f"{OWN}.{name}" for name in names)


def _union(parts: Iterable[Paths]) -> Paths:
    return tuple(dict.fromkeys(path for part in parts for path in part))


Rule = Callable[["Dependence", str], Paths]


def _once(rule: Rule) -> Rule:
    """Follow a rule about an option once: every block of draws asks for the same."""

    @wraps(rule)
    def kept(self: Dependence, key: str) -> Paths:
        name = (rule.__name__, key)
        if name not in self.kept:
            self.kept[name] = rule(self, key)
        return self.kept[name]

    return kept


@dataclass(frozen=True, slots=True, kw_only=True)
class Dependence:
    """Inputs behind the quantities of one strategy under one objective."""

    setting: Setting
    strategy: Strategy
    objective: Objective
    kept: dict[Hashable, Paths] = field(default_factory=dict, repr=False, compare=False)

    @property
    def in_watts(self) -> bool:
        """Whether watts are filled, not tokens."""
        return in_watts(self.setting, self.objective)

    def option(self, key: str) -> SiliconOption:
        """Look an option up."""
        return self.setting.options[key]

    def keys(self) -> Paths:
        """Options of the strategy in the order given."""
        return tuple(dict.fromkeys(step.option for step in self.strategy.steps))

    def steps(self, key: str) -> tuple[Step, ...]:
        """Steps of one option."""
        return tuple(step for step in self.strategy.steps if step.option == key)

    # quantities of the plan

    def need(self) -> Paths:
        """Capacity wanted; a site is given."""
        if self.in_watts:
            return ()
        grows = self.setting.demand_years < mid_quarter_years(self.setting.quarters)[-1]
        growth = ("demand.growth_per_year",) if grows else ()
        return (
            *growth,
            "demand.realised_ratio",
            "demand.peak_to_mean_ratio",
            "fleet.spares_fraction",
        )

    @property
    def has_successors(self) -> bool:
        """Whether the own chip of the strategy has successors."""
        return roadmap_of(self.strategy).generations > 1

    def end_of_sales(self) -> Paths:
        """Behind the last sale of an own chip, beside the dates of the first."""
        more = DATE_INPUTS if self.has_successors else ()
        return (*_own("sales_window_years"), *more)

    def adaptation(self) -> Paths:
        """Whether a successor designed after the shift is on sale, and what that makes up for."""
        if not self.has_successors:
            return ()
        names = ("generation_design_months", "shift_years", "shift_ratio")
        return (*SCHEDULE_INPUTS, *DATE_INPUTS, *_own(*names))

    def window(self, key: str) -> Paths:
        """When an option may be taken."""
        edges = {edge for step in self.steps(key) for edge in (step.start, step.end)}
        names: list[str] = []
        ends = self.option(key).kind == "build" or "own.end_of_sales" in edges
        if self.option(key).kind == "build":
            names += ["cancelled"]
        if "own.full_volume" in edges:
            names += ["ramp_years"]
        if "own.mature" in edges:
            names += ["ramp_years", "maturity_years"]
        dated = ends or bool(names) or _FIRST_SERVICE in edges
        last = self.end_of_sales() if ends else ()
        return (*SCHEDULE_INPUTS, *_own(*names), *last) if dated else ()

    def level(self, key: str) -> Paths:
        """What scales the capacity of every chip of an option."""
        option = self.option(key)
        if option.kind == "api":
            return ("demand.peak_to_mean_ratio",) if self.in_watts else ()
        if self.in_watts:
            return (f"options.{key}.it_w_per_chip", "site.pue_ratio")
        return self.rate(key)

    def rate(self, key: str) -> Paths:
        """What scales the tokens of every chip of an option."""
        option = self.option(key)
        if option.kind == "api":
            return ()
        more = _own("delivered_ratio") if option.kind == "build" else ()
        return (*(f"options.{key}.{name}" for name in _LEVEL), *more, *self.pooling())

    def pooling(self) -> Paths:
        """Behind the capacity that a mix by shares loses."""
        kinds = {self.option(key).silicon for key in self.keys() if self.option(key).kind != "api"}
        mixed = splits_by_share(self.setting, self.strategy) and len(kinds) > 1
        return ("fleet.pooling_loss_fraction",) if mixed else ()

    def shape(self, key: str) -> Paths:
        """What changes over time what a chip that is there gives, in the unit of the plan."""
        return () if self.in_watts else self.token_shape(key)

    def token_shape(self, key: str) -> Paths:
        """What changes over time how many tokens a chip that is there gives."""
        kind = self.option(key).kind
        if kind == "rent":
            return (f"options.{key}.port_start_fraction", "software.port_maturity_years")
        if kind == "build":
            return (
                *SCHEDULE_INPUTS,
                *_own(
                    "maturity_start_fraction",
                    "maturity_years",
                    "availability_fraction",
                    "first_year_availability_fraction",
                    "shift_years",
                    "shift_ratio",
                ),
                *self.adaptation(),
            )
        return ()

    def gains(self, key: str, *, tokens: bool = True, watts: bool = False) -> Paths:
        """Generation an option's chips belong to, and what that generation gives.

        A tenant who may stay on the old chip compares its rent with the gain in tokens a dollar.
        """
        kind = self.option(key).kind
        if kind == "build" and self.has_successors:
            names = ["tokens_per_usd_gain_ratio"] if tokens else []
            names += ["tokens_per_w_gain_ratio"] if watts else []
            return (*SCHEDULE_INPUTS, *DATE_INPUTS, *_own(*names))
        if kind not in ("buy", "rent"):
            return ()
        if not self.option(key).successors:
            return ("market.rent_drift_per_year",) if kind == "rent" else ()
        out = ["rival.cadence_years", f"options.{key}.generation_years"]
        if tokens or kind == "rent":
            out.append("rival.tokens_per_usd_gain_ratio")
        if watts:
            out.append("rival.tokens_per_w_gain_ratio")
        if kind == "rent":
            out.append("market.rent_drift_per_year")
        return tuple(out)

    def lasting(self, key: str) -> Paths:
        """Life of a chip that is owned; a term is part of the option."""
        owned = self.option(key).kind in ("buy", "build")
        return (f"options.{key}.life_years",) if owned else ()

    def counts_chips(self, key: str) -> bool:
        """Whether a limit of an option is in chips, not in capacity."""
        option = self.option(key)
        small = option.smallest_chips > 0 and option.kind in ("buy", "rent")
        return option.ceiling or small or self._scarce(key)

    def _scarce(self, key: str) -> bool:
        """Whether an option draws on an input of which only so much is to be had."""
        return any(key in one.each for one in self.setting.scarce)

    def _watts(self, key: str) -> Paths:
        """Power of a chip, where power itself is what is scarce."""
        if not any(one.in_watts and key in one.each for one in self.setting.scarce):
            return ()
        gains = self.gains(key, tokens=False, watts=True)
        return (f"options.{key}.it_w_per_chip", "site.pue_ratio", *gains, *self.lasting(key))

    def _limits(self, key: str) -> Paths:
        if not self.counts_chips(key):
            return ()
        ceiling = (f"options.{key}.ceiling_chips_per_quarter",) if self.option(key).ceiling else ()
        gains = self.gains(key, watts=self.in_watts)
        return (*ceiling, *self.level(key), *gains, *self._watts(key))

    def _ramp(self, key: str) -> Paths:
        if self.option(key).kind != "build":
            return ()
        return (*SCHEDULE_INPUTS, *_own("ramp_years", "eligible_fraction"))

    def capacity(self, key: str, seen: frozenset[str] = frozenset()) -> Paths:
        """Capacity of an option over time, in the unit of the plan."""
        return _union((self.sized(key, seen), self.shape(key)))

    def sized(self, key: str, seen: frozenset[str] = frozenset()) -> Paths:
        """Capacity an option is sized for: a built one by what its chips give once mature."""
        seen = seen | {key}
        others = (self.capacity(k, seen) for k in self.others(key) if k not in seen)
        built = self.option(key).kind == "build"
        return _union(
            (
                self.need(),
                self.window(key),
                self.lasting(key) if self._may_outlast(key) else (),
                self._sizing() if built else self.shape(key),
                self._ramp(key),
                self._limits(key),
                *others,
            )
        )

    def _sizing(self) -> Paths:
        """What changes over time by what an own chip is sized."""
        return () if self.in_watts else self.adaptation()

    def _may_outlast(self, key: str) -> bool:
        """Whether chips may be there that would not be taken again: then their life matters."""
        site_w = self.setting.site_w if self.in_watts else None
        wanted = self.setting.demand_profile if site_w is None else site_w
        falls = "demand.growth_per_year" in self.need() or bool(np.any(np.diff(wanted) < 0))
        closes = all(step.end != float("inf") for step in self.steps(key))
        scarce = any(self.option(one).ceiling or self._scarce(one) for one in self.keys())
        return falls or closes or scarce or self._is_displaced(key)

    def _is_displaced(self, key: str) -> bool:
        """Whether an own chip still ramps up after this option has been taken."""
        if not any(self.option(other).kind == "build" for other in self.keys()):
            return False
        starts = (self._start(step, key) for step in self.steps(key))
        return any(_before(start, "own.full_volume") for start in starts)

    @_once
    def chips(self, key: str) -> Paths:
        """Chips of an option: taken, in service and retired."""
        gains = self.gains(key, watts=self.in_watts)
        return _union((self.sized(key), self.lasting(key), self.level(key), gains))

    @_once
    def busy(self, key: str) -> Paths:
        """Share of an option's capacity in use."""
        return _union((self.capacity(key), *(self.capacity(k) for k in self._served_before(key))))

    @_once
    def it_power(self, key: str) -> Paths:
        """IT power of an option; under a site limit it is its capacity over PUE."""
        if self.in_watts:
            return (*self.capacity(key), "site.pue_ratio")
        watts = (f"options.{key}.it_w_per_chip",)
        gains = self.gains(key, tokens=False, watts=True)
        parts = (self.sized(key), self.lasting(key), self.level(key), watts, gains)
        return _union(parts)

    @_once
    def filled_power(self, key: str) -> Paths:
        """IT power of an option by the capacity there is, whatever generation gives it."""
        if self.in_watts:
            return self.it_power(key)
        watts = (f"options.{key}.it_w_per_chip",)
        return _union((self.sized(key), self.lasting(key), self.level(key), watts))

    @_once
    def meter_power(self, key: str) -> Paths:
        """Power of an option at the meter; under a site limit it is its capacity."""
        return self.capacity(key) if self.in_watts else (*self.it_power(key), "site.pue_ratio")

    @_once
    def tokens(self, key: str) -> Paths:
        """Tokens asked of an option."""
        if not self.in_watts:
            return self.busy(key)
        gains = self.gains(key, tokens=False, watts=True)
        rate = (self.level(key), self.rate(key), self.token_shape(key), gains)
        return _union((self.busy(key), self.lasting(key), *rate, self._limits(key)))

    def all_tokens(self) -> Paths:
        """Tokens served by all options together, mean day and batch work."""
        util = ("demand.peak_to_mean_ratio", "demand.fill_fraction")
        if self.in_watts or self.may_fall_short():
            parts = (self.tokens(key) for key in self.keys())
            holds = any(self.option(key).kind != "api" for key in self.keys())
            spares = ("fleet.spares_fraction",) if self.in_watts and holds else ()
            return self.without_spares((*_union(parts), *util, *spares))
        return self.without_spares((*self.need(), *util))

    def without_spares(self, paths: Paths) -> Paths:
        """Leave spares out of tokens: they are held for the need and not used by it.

        Where limits count chips, spares take capacity that would have served.
        """
        if self.in_watts or any(self.counts_chips(key) for key in self.keys()):
            return paths
        return tuple(path for path in paths if path != "fleet.spares_fraction")

    # who is in whose way

    def others(self, key: str) -> Paths:
        """Options whose capacity decides how much of this one is taken."""
        if self.option(key).kind == "build":
            return tuple(other for other in self.keys() if self._share_scarce(other, key))
        return tuple(
            other
            for other in self.keys()
            if other != key and (self._in_way(other, key) or self._share_scarce(other, key))
        )

    def _share_scarce(self, other: str, key: str) -> bool:
        """Whether two options draw on the same scarce input."""
        drawn = (one.each for one in self.setting.scarce)
        return other != key and any(other in each and key in each for each in drawn)

    def _in_way(self, other: str, key: str) -> bool:
        if not any(
            _before(self._start(one, other), self._end(two, key))
            for one in self.steps(other)
            for two in self.steps(key)
        ):
            return False
        if self.option(other).kind == "build" or self._order(other) < self._order(key):
            return True
        earlier = any(
            _before(self._start(one, other), self._start(two, key))
            for one in self.steps(other)
            for two in self.steps(key)
        )
        return earlier or self._limited(key)

    def _limited(self, key: str) -> bool:
        bound = self.option(key).ceiling or self._scarce(key)
        return bound or any(step.share < 1.0 for step in self.steps(key))

    def _served_before(self, key: str) -> Paths:
        return tuple(other for other in self.keys() if self._order(other) < self._order(key))

    def _order(self, key: str) -> tuple[bool, int]:
        return (self.option(key).kind != "build", self.keys().index(key))

    def _start(self, step: Step, key: str) -> float | str:
        if self.option(key).kind == "build":
            return _FIRST_SERVICE
        if isinstance(step.start, str):
            return step.start
        return max(step.start, self.option(key).available_years)

    def _end(self, step: Step, key: str) -> float | str:
        return "own.end_of_sales" if self.option(key).kind == "build" else step.end

    def may_fall_short(self) -> bool:
        """Whether a quarter may pass in which no option without a limit is open."""
        horizon = self.setting.quarters / QUARTERS_PER_YEAR
        reached: float | str = 0.0
        spans = [
            (self._start(step, step.option), step.end)
            for step in self.strategy.steps
            if self.option(step.option).kind != "build" and not self._limited(step.option)
        ]
        for _ in spans:
            for start, end in spans:
                if start == reached or _is_past(start, reached):
                    reached = end if not _is_past(end, reached) else reached
        return not (isinstance(reached, float) and reached >= horizon)


def _is_past(edge: float | str, reached: float | str) -> bool:
    """Whether an edge surely lies at or before what is reached."""
    if isinstance(edge, str) or isinstance(reached, str):
        return edge in (0.0, reached)
    return edge <= reached


def _before(start: float | str, end: float | str) -> bool:
    """Whether a start may lie before an end."""
    if isinstance(start, str) and isinstance(end, str):
        return start != end and _ANCHOR_ORDER[start] <= _ANCHOR_ORDER[end]
    if isinstance(start, str) or isinstance(end, str):
        return end != 0.0
    return start < end
