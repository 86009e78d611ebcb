"""A capacity portfolio as arrays: what may be taken, what it costs and gives in every scenario."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from tapeout.errors import Problem as Wrong
from tapeout.errors import ProblemsError
from tapeout.numerics import Floats, Ints


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """A limit that options share: megawatts, capital, packages, the stock of one vendor.

    Attributes
    ----------
    key : str
    kind : "stock" or "flow"
        Counts the units in service, or those taken in the period.
    use : array, shape (option, vintage)
        What one unit of that vintage takes of the limit.
    most : array, shape (period,)
        In the unit of `use`; infinite where there is no limit.
    """

    key: str
    kind: Literal["stock", "flow"]
    use: Floats
    most: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class Spot:
    """Capacity to be had at short notice in a scenario, by the period and without a term.

    Work moved to another platform at short notice is a spot market too: its price is the rent
    there plus what moving costs a period, its depth what can be moved in time.

    Attributes
    ----------
    key : str
    usd : array, shape (scenario, period)
        Present value of one unit of demand served for a period. [USD]
    depth : array, shape (scenario, period)
        Most that can be had, in the unit of demand.
    """

    key: str
    usd: Floats
    depth: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class RiskPreference:
    """Weight of the tail: (1 - omega) x mean + omega x CVaR at alpha.

    `alpha` and `omega` mean what they mean in PyPSA's `set_risk_preference`. With alpha 0 the
    CVaR is the mean; omega 1 looks at the tail only.
    """

    alpha: float = 0.95
    omega: float = 0.0

    def __post_init__(self) -> None:
        wrong = [
            Wrong(path=f"risk.{name}", value=f"{value:g}", message="out of range", remedy=remedy)
            for name, value, fits, remedy in (
                ("alpha", self.alpha, 0.0 <= self.alpha < 1.0, "0 for the mean, 0.95 for a tail"),
                ("omega", self.omega, 0.0 <= self.omega <= 1.0, "0 for the mean, 1 for the tail"),
            )
            if not fits
        ]
        if wrong:
            raise ProblemsError("risk preference", wrong)


MEAN = RiskPreference()


@dataclass(frozen=True, slots=True, kw_only=True)
class Capacity:
    """One set of options over time; arrays have the scenario axis first, length 1 is certain.

    Attributes
    ----------
    keys : tuple of str
    silicon : tuple of str
        Kind of silicon of each option; kinds do not pool.
    fixed_function : array of bool, shape (option,)
        Built for one workload: counts in the hybrid-fleet ratio.
    unit : array, shape (scenario, option, period)
        Demand that one unit of the first vintage serves in that period: throughput x availability
        x maturity of its software (the derate of a port and its months to mature).
    gain : array, shape (scenario, option, vintage)
        Capacity of a unit taken in that period over one of the first; zero if not delivered.
    life_periods : array of int, shape (option,)
    take_usd : array, shape (scenario, option, vintage)
        Present value of taking one unit then and holding it to the end of its life or of the
        horizon, what is left of it deducted. [USD]
    run_usd : array, shape (scenario, option, period)
        Present value of one unit of demand served for a period, beyond holding. [USD]
    open : array of bool, shape (option, vintage)
        Whether a unit may be taken then.
    entry_usd : array, shape (option,)
        Paid once if an option is used at all: NRE, or the port and its upkeep. [USD]
    installed : array, shape (option, period)
        Units there from before, still in service then; their cost is sunk.
    minimum : array, shape (option, period)
        Take-or-pay: units paid for whether taken or not, if the option is used.
    minimum_usd : array, shape (option, period)
        Present value of one unit short of the minimum for a period. [USD]
    serves_most : array, shape (scenario, option, period)
        Most demand that an option may serve, however much of it there is: the eligible share of
        the traffic, the volume a ramp has reached. Infinite where nothing stands against it.
    """

    keys: tuple[str, ...]
    silicon: tuple[str, ...]
    fixed_function: np.ndarray
    unit: Floats
    gain: Floats
    life_periods: Ints
    take_usd: Floats
    run_usd: Floats
    open: np.ndarray
    entry_usd: Floats
    installed: Floats
    minimum: Floats
    minimum_usd: Floats
    serves_most: Floats

    @property
    def alive(self) -> Floats:
        """One where a vintage serves, shape (option, vintage, period)."""
        periods = self.open.shape[1]
        age = np.arange(periods)[None, :] - np.arange(periods)[:, None]
        there: Floats = ((age[None] >= 0) & (age[None] < self.life_periods[:, None, None])).astype(
            float
        )
        return there

    @property
    def optional(self) -> Ints:
        """Options that cost something as such, so that using them is a decision of its own."""
        there = (self.installed > 0).any(axis=1)
        costs = (self.entry_usd > 0) | ((self.minimum > 0).any(axis=1) & ~there)
        return np.flatnonzero(costs & self.open.any(axis=1))


@dataclass(frozen=True, slots=True, kw_only=True)
class PortfolioProblem:
    """Demand, options, recourse and limits.

    Attributes
    ----------
    weight : array, shape (scenario,)
        Probabilities.
    demand : array, shape (scenario, period)
        Capacity wanted.
    options : Capacity
    unserved_usd : array, shape (scenario, period)
        Present value of one unit of demand unserved for a period. [USD]
    spots : tuple of Spot
    limits : tuple of Limit
    pooling_loss_fraction : float
        Capacity that each kind of silicon in use beyond the first costs.
    """

    weight: Floats
    demand: Floats
    options: Capacity
    unserved_usd: Floats
    spots: tuple[Spot, ...] = ()
    limits: tuple[Limit, ...] = ()
    pooling_loss_fraction: float = 0.0

    @property
    def shape(self) -> tuple[int, int, int]:
        """Scenarios, options, periods."""
        return self.weight.size, len(self.options.keys), self.options.open.shape[1]

    @property
    def switches(self) -> tuple[Ints, ...]:
        """Options whose use is a decision of its own, those decided together side by side.

        What costs something as such; and where kinds do not pool, the rest of each kind, for
        leaving a kind out then saves capacity.
        """
        options = self.options
        alone = tuple(np.array([option]) for option in options.optional)
        if not self.pooling_loss_fraction or len(set(options.silicon)) < 2:
            return alone
        silicon = np.array(options.silicon)
        there = np.atleast_1d((options.installed > 0).any(axis=1))
        opened, bound = options.open.any(axis=1), (options.minimum > 0).any(axis=1)
        free = np.array(opened & ~bound)
        free[options.optional] = False
        kinds = [
            kind for kind in dict.fromkeys(options.silicon) if not there[silicon == kind].any()
        ]
        groups = [np.flatnonzero(free & (silicon == kind)) for kind in kinds]
        return (*alone, *(group for group in groups if group.size))

    def pooling_ratio(self, used: np.ndarray) -> float:
        """Capacity kept with these options in use, of what one pool would serve."""
        options = self.options
        there = (used & options.open.any(axis=1)) | (options.installed > 0).any(axis=1)
        kinds = {kind for kind, one in zip(options.silicon, there, strict=True) if one}
        return 1.0 / (1.0 + self.pooling_loss_fraction * max(len(kinds) - 1, 0))


def _over_scenarios(
    problem: PortfolioProblem, change: Callable[[Floats], Floats]
) -> PortfolioProblem:
    """Apply a function to every array with a scenario axis."""
    options = problem.options
    return replace(
        problem,
        weight=change(problem.weight),
        demand=change(problem.demand),
        unserved_usd=change(problem.unserved_usd),
        options=replace(
            options,
            unit=change(options.unit),
            gain=change(options.gain),
            take_usd=change(options.take_usd),
            run_usd=change(options.run_usd),
            serves_most=change(options.serves_most),
        ),
        spots=tuple(
            replace(one, usd=change(one.usd), depth=change(one.depth)) for one in problem.spots
        ),
    )


def full(problem: PortfolioProblem) -> PortfolioProblem:
    """Give every array its whole scenario axis."""
    count = problem.weight.size

    def widen(values: Floats) -> Floats:
        return np.ascontiguousarray(np.broadcast_to(values, (count, *values.shape[1:])))

    return _over_scenarios(problem, widen)


def select(
    problem: PortfolioProblem, scenarios: Ints, weight: Floats | None = None
) -> PortfolioProblem:
    """Keep some scenarios; without weights, theirs are scaled to add up to one."""
    kept = _over_scenarios(full(problem), lambda values: values[scenarios])
    if weight is None:
        weight = problem.weight[scenarios] / problem.weight[scenarios].sum()
    return replace(kept, weight=weight)


def mean_problem(problem: PortfolioProblem) -> PortfolioProblem:
    """One scenario with every figure at its mean: what a spreadsheet would solve."""
    weight = problem.weight

    def mean(values: Floats) -> Floats:
        if len(values) == 1:
            return values
        return np.tensordot(weight, values, axes=(0, 0))[None]

    return replace(_over_scenarios(problem, mean), weight=np.ones(1))


def check(problem: PortfolioProblem) -> None:
    """Check shapes and signs.

    Raises
    ------
    ProblemsError
        Everything wrong, at once.
    """
    scenarios, count, periods = problem.shape
    options = problem.options
    wide = {
        "demand": (problem.demand, (periods,)),
        "unserved_usd": (problem.unserved_usd, (periods,)),
        "options.unit": (options.unit, (count, periods)),
        "options.gain": (options.gain, (count, periods)),
        "options.take_usd": (options.take_usd, (count, periods)),
        "options.run_usd": (options.run_usd, (count, periods)),
        "options.serves_most": (options.serves_most, (count, periods)),
    }
    for one in problem.spots:
        wide |= {f"spots.{one.key}.usd": (one.usd, (periods,))}
        wide |= {f"spots.{one.key}.depth": (one.depth, (periods,))}
    wrong = [
        Wrong(path=path, value=str(values.shape), message="wrong shape", remedy=f"(scenario, {s})")
        for path, (values, shape) in wide.items()
        for s in [", ".join(map(str, shape))]
        if values.shape[1:] != shape or len(values) not in (1, scenarios)
    ]
    signs = {
        "weight": problem.weight,
        "demand": problem.demand,
        "options.unit": options.unit,
        "options.gain": options.gain,
        "options.serves_most": options.serves_most,
        "options.installed": options.installed,
        "options.minimum": options.minimum,
        "options.entry_usd": options.entry_usd,
        "pooling_loss_fraction": np.array([problem.pooling_loss_fraction]),
    }
    signs |= {f"spots.{one.key}.depth": one.depth for one in problem.spots}
    signs |= {f"limits.{one.key}.use": one.use for one in problem.limits}
    wrong += [
        Wrong(path=path, value=f"{values.min():g}", message="negative", remedy="zero or more")
        for path, values in signs.items()
        if values.size and values.min() < 0.0
    ]
    wrong += [
        Wrong(path=path, value="nan or inf", message="not finite", remedy="a number")
        for path, (values, _) in wide.items()
        if not path.endswith(("depth", "serves_most")) and not np.isfinite(values).all()
    ]
    if abs(problem.weight.sum() - 1.0) > 1e-9:
        total = f"{problem.weight.sum():g}"
        wrong.append(
            Wrong(path="weight", value=total, message="not 1 in all", remedy="divide by the sum")
        )
    if wrong:
        raise ProblemsError("portfolio", wrong)


def supplier_failure(
    unit: Floats, fails: Ints, out_periods: int, remains_fraction: float = 0.0
) -> Floats:
    """Throughput with a supplier's failure as scenarios of availability.

    Parameters
    ----------
    unit : array, shape (scenario, period)
        Of the supplier's option without failure.
    fails : array of int, shape (scenario,)
        Period of failure; the number of periods or more where it never fails.
    out_periods : int
        Periods until service is as before.
    remains_fraction : float
        Capacity left meanwhile: chips run on, without spares or releases.

    Returns
    -------
    array, shape (scenario, period)
    """
    since = np.arange(unit.shape[1])[None, :] - np.asarray(fails)[:, None]
    down = (since >= 0) & (since < out_periods)
    return np.where(down, unit * remains_fraction, unit)
