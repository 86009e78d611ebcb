"""Which mix to hold: the options of a scenario as a stochastic program, year by year.

A first version, on the same futures, timings and prices as the verdict. What it leaves out stands
in `LEFT_OUT` and is printed with every result.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from tapeout.constants import MEGA, MTOK, QUARTERS_PER_YEAR, YEAR_HOURS, YEAR_S
from tapeout.economics.levelised import unit_cost
from tapeout.economics.prices import price_drift, utilisation
from tapeout.economics.schedule import (
    OWN,
    Schedule,
    mid_quarter_years,
    ramp_fraction,
    schedule,
)
from tapeout.economics.supply import (
    capacity_need,
    generation_gains,
    generation_index,
    option_life_quarters,
    option_power_w,
    rate_by_quarter,
    rent_ratio,
)
from tapeout.economics.types import Inputs, SiliconOption
from tapeout.errors import Problem as Wrong
from tapeout.errors import ProblemsError, UnknownNameError
from tapeout.numerics import Floats
from tapeout.risk.portfolio import (
    Capacity,
    Limit,
    Portfolio,
    PortfolioProblem,
    Rolling,
    Spot,
    at_periods,
    by_quantile,
    cost_by_scenario,
    frontier,
    hybrid_fleet_ratio,
    out_of_sample,
    reduced,
    rolling,
    supplier_failure,
    worth,
)
from tapeout.risk.portfolio.solve import cvar_usd
from tapeout.study.evaluate import credible_programme_usd

if TYPE_CHECKING:
    from tapeout.study.decide import Study

OMEGAS = (0.0, 0.25, 0.5, 0.75, 1.0)
ALONE = 64  # scenarios on which the value of information is worked out
AGAIN_YEARS = (2, 4, 6)  # counted from the decision; in them the rest is decided again
BRANCHES = 4
AGAIN_GAP = 1e-5
LEFT_OUT = (
    "years, not quarters: units are taken in a year's first quarter and serve its mean need",
    "everything is decided at the start; deciding again later would cost less, and the strategies"
    " of `tapeout decide`, whose fleets follow each future's demand, do cost less",
    "bought chips at list price, no negotiated discount",
    "deposits and firm orders of the own chip: an order that slips a whole year lapses unpaid",
    "the spread of entry costs (NRE, ports) over futures: their mean is paid",
    "capacity held from before, and the sale of what is not used",
    "lives that end after the horizon: only their years within it are paid, at level yearly cost",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PortfolioTerms:
    """What the program needs beyond the scenario; every default is an assumption.

    Attributes
    ----------
    alpha : float
    spot_premium_ratio : float
        Spot price over the reference rent of the same year. Half dearer: short notice in a tight
        market, between the 3-year and on-demand rents listed for one chip.
    spot_fraction : float
        Share of demand to be had on spot; large blocks are not sold by the hour.
    site_mw, capital_usd_per_year : float or None
        Power for chips that are bought or built; money for them in a year. None: no limit.
    loss_per_year : mapping of option to float
        Chance a year that its supplier fails; nobody publishes one, so none unless stated.
    loss_years : int
        Years until service is as before.
    """

    alpha: float = 0.95
    spot_premium_ratio: float = 1.5
    spot_fraction: float = 0.1
    site_mw: float | None = None
    capital_usd_per_year: float | None = None
    loss_per_year: Mapping[str, float] = field(default_factory=dict)
    loss_years: int = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class _Years:
    """Inputs of all scenarios, and time in years as the program counts it."""

    study: Study
    inputs: Inputs
    dates: Schedule | None
    need: Floats

    @property
    def periods(self) -> int:
        return int(self.need.shape[1])

    @property
    def taken_at(self) -> Floats:
        """When a year's units are taken: in its first quarter."""
        return (np.arange(float(self.periods)) + 0.5 / QUARTERS_PER_YEAR)[None, :]

    @property
    def discount(self) -> Floats:
        """Of flows in the middle of a year, shape (draw or 1, year)."""
        middle = np.arange(self.periods)[None, :] + 0.5
        factor: Floats = (1.0 + self.inputs("decision.discount_rate")) ** -middle
        return factor

    @property
    def mtok_per_unit(self) -> Floats:
        """Million output tokens that a unit of peak capacity serves in a year, (draw or 1, 1)."""
        served = utilisation(self.inputs) / (1.0 + self.inputs("fleet.spares_fraction"))
        return served * YEAR_S / MTOK


def yearly(values: Floats) -> Floats:
    """Means of four quarters, shape (draw, year)."""
    means: Floats = values.reshape(len(values), -1, QUARTERS_PER_YEAR).mean(axis=2)
    return means


def portfolio_problem(
    study: Study, draws_log2: int, seed: int, terms: PortfolioTerms
) -> PortfolioProblem:
    """Coefficients of every option, year and future.

    Raises
    ------
    ProblemsError
        No option holds capacity, or a supplier that fails is no option.
    """
    draws = study.sampler.draw(draws_log2, seed)
    inputs = study.sampler.inputs(study.sampler.table(draws))
    setting = study.problem.setting
    years = _Years(
        study=study,
        inputs=inputs,
        dates=schedule(inputs) if "own" in setting.options else None,
        need=yearly(capacity_need(setting, inputs, "cost")),
    )
    held = [one for one in setting.options.values() if one.kind != "api"]
    _check(held, terms)
    wide = [_option(years, one) for one in held]
    unit = np.stack([one["unit"] for one in wide], axis=1)
    whole = {one.key: part["unit"] * part["gain"] for one, part in zip(held, wide, strict=True)}
    for key, hazard in terms.loss_per_year.items():
        index = [one.key for one in held].index(key)
        unit[:, index] = _losing(unit[:, index], hazard, (seed, index), terms.loss_years)
    size = len(draws)
    capacity = Capacity(
        keys=tuple(one.key for one in held),
        silicon=tuple(one.silicon for one in held),
        fixed_function=np.array([one.kind == "build" for one in held]),
        unit=unit,
        gain=np.stack([one["gain"] for one in wide], axis=1),
        life_periods=np.array([_life_years(one, inputs) for one in held]),
        take_usd=np.stack([one["take_usd"] for one in wide], axis=1),
        run_usd=np.zeros((1, len(held), years.periods)),
        open=np.stack([years.taken_at[0] >= _first_year(one) for one in held]),
        entry_usd=np.array([_entry_usd(years, one) for one in held]),
        installed=np.zeros((len(held), years.periods)),
        serves_most=np.stack([one["serves_most"] for one in wide], axis=1),
        **_minima(years, held),
    )
    return PortfolioProblem(
        weight=np.full(size, 1.0 / size),
        demand=np.broadcast_to(years.need, (size, years.periods)).copy(),
        options=capacity,
        unserved_usd=_token_value(years) * years.mtok_per_unit * years.discount,
        spots=_spots(years, whole, terms),
        limits=_limits(years, held, terms),
        pooling_loss_fraction=float(inputs.flat("fleet.pooling_loss_fraction").mean()),
    )


def _check(held: Sequence[SiliconOption], terms: PortfolioTerms) -> None:
    keys = [one.key for one in held]
    for key in terms.loss_per_year:
        if key not in keys:
            raise UnknownNameError("option", key, keys)
    wrong = [
        Wrong(path=f"--loss {key}", value=f"{p:g}", message="out of range", remedy="0 up to 1")
        for key, p in terms.loss_per_year.items()
        if not 0.0 <= p < 1.0
    ]
    if not keys:
        wrong.append(
            Wrong(path="options", value="api", message="none holds capacity", remedy="add one")
        )
    if wrong:
        raise ProblemsError("portfolio", wrong)


def _first_year(option: SiliconOption) -> float:
    """The own chip's first service differs between futures: its gain says when it is there."""
    return 0.0 if option.kind == "build" else option.available_years


def _life_years(option: SiliconOption, inputs: Inputs) -> int:
    quarters = float(np.median(option_life_quarters(option, inputs)))
    return max(round(quarters / QUARTERS_PER_YEAR), 1)


def _option(years: _Years, option: SiliconOption) -> dict[str, Floats]:
    """Throughput, gains, costs and bounds of one option, each (draw, year)."""
    inputs, size = years.inputs, years.inputs.draws
    shape = (size, years.periods)
    quarters = years.study.problem.setting.quarters
    rate = rate_by_quarter(option, inputs, years.dates, quarters)
    there = np.ones((1, quarters))
    gain = np.broadcast_to(generation_gains(option, inputs, years.taken_at)[0], shape)
    most: Floats = np.full(shape, np.inf)
    if option.kind == "build":
        dates = years.dates
        assert dates is not None
        time = mid_quarter_years(quarters)[None, :]
        there = (time >= dates.first_service[:, None]) * dates.alive[:, None]
        sold = there * (time < dates.end_of_sales[:, None])
        # an order of a year in which the chip ships at all is delivered when it ships
        delivered = yearly(np.broadcast_to(sold, (size, quarters))) > 0
        gain = delivered.astype(np.float64)
        ramp = ramp_fraction(dates.first_service, inputs.flat(f"{OWN}.ramp_years"), quarters)
        reached = np.broadcast_to(yearly(np.broadcast_to(ramp, (size, quarters))), shape)
        most = years.need * reached * inputs(f"{OWN}.eligible_fraction")
    unit = yearly(np.broadcast_to(rate * there, (size, quarters)))
    take = _take_usd(years, option)
    if option.kind == "build":
        take = take * gain  # what is not delivered is not paid for
    return {"unit": unit, "gain": gain, "take_usd": take, "serves_most": most}


def _take_usd(years: _Years, option: SiliconOption) -> Floats:
    """Present value of a unit's level yearly cost over its life within the horizon."""
    inputs = years.inputs
    life = _life_years(option, inputs)
    discount = np.broadcast_to(years.discount, (inputs.draws, years.periods))
    cost = np.empty((inputs.draws, years.periods))
    for year, at in enumerate(years.taken_at[0]):
        each = unit_cost(option, inputs, at_years=np.array([at])).total_usd_per_year()
        cost[:, year] = each * discount[:, year : year + life].sum(axis=1)
    return cost


def _entry_usd(years: _Years, option: SiliconOption) -> float:
    inputs, path = years.inputs, f"options.{option.key}"
    if option.kind == "rent":
        upkeep = inputs(f"{path}.port_usd_per_year") * years.discount
        return float((inputs(f"{path}.port_usd") + upkeep.sum(axis=1, keepdims=True)).mean())
    if option.kind != "build":
        return 0.0
    problem = years.study.problem
    building = [one.key for one in problem.strategies if problem.builds_own(one.key)]
    if not building:
        raise ProblemsError(
            "portfolio",
            [
                Wrong(
                    path="strategy",
                    value=option.key,
                    message="no strategy uses the built option, so its programme has no cost",
                    remedy="add a strategy with a step of it",
                )
            ],
        )
    return float(credible_programme_usd(replace(problem, headline=building[0]), inputs).mean())


def _minima(years: _Years, held: Sequence[SiliconOption]) -> dict[str, Floats]:
    """Take-or-pay in units at the mean rent of the first year."""
    inputs = years.inputs
    shape = (len(held), years.periods)
    minimum, usd = np.zeros(shape), np.zeros(shape)
    for index, option in enumerate(held):
        if not option.minimum:
            continue
        path = f"options.{option.key}"
        rent = float(inputs.flat(f"{path}.rent_usd_per_chip_hour").mean()) * YEAR_HOURS
        owed = float(inputs.flat(f"{path}.minimum_usd_per_year").mean())
        runs = np.arange(years.periods) < float(inputs.flat(f"{path}.minimum_years").mean())
        minimum[index] = np.where(runs, owed / rent, 0.0)
        usd[index] = rent * years.discount.mean(axis=0)
    return {"minimum": minimum, "minimum_usd": usd}


def _spots(years: _Years, whole: Mapping[str, Floats], terms: PortfolioTerms) -> tuple[Spot, ...]:
    """Tokens bought, and rent at short notice of the silicon that needs no port."""
    inputs, shape = years.inputs, (years.inputs.draws, years.periods)
    found = []
    for key, option in years.study.problem.setting.options.items():
        if option.kind == "api":
            middle = np.arange(years.periods)[None, :] + 0.5
            price = inputs(f"options.{key}.usd_per_mtok")
            price = price * np.exp(-inputs(f"options.{key}.decline_per_year") * middle)
            usd = np.broadcast_to(price * years.mtok_per_unit * years.discount, shape)
            found.append(Spot(key=key, usd=usd, depth=np.full(shape, np.inf)))
    home = [
        one
        for one in years.study.problem.setting.options.values()
        if one.kind == "rent" and float(inputs.flat(f"options.{one.key}.port_usd").max()) == 0.0
    ]
    if home and terms.spot_fraction > 0.0:
        option = home[0]
        rent = inputs(f"options.{option.key}.rent_usd_per_chip_hour") * YEAR_HOURS
        rent = rent * rent_ratio(option, inputs, years.taken_at)
        each = rent / whole[option.key]  # of silicon whose supplier has not failed
        usd = each * terms.spot_premium_ratio * years.discount
        depth = np.broadcast_to(terms.spot_fraction * years.need, shape)
        found.append(Spot(key="spot", usd=np.broadcast_to(usd, shape), depth=depth))
    return tuple(found)


def _limits(
    years: _Years, held: Sequence[SiliconOption], terms: PortfolioTerms
) -> tuple[Limit, ...]:
    inputs, shape = years.inputs, (len(held), years.periods)
    watts, capital = np.zeros(shape), np.zeros(shape)
    found = []
    for index, option in enumerate(held):
        if option.ceiling:
            use = np.zeros(shape)
            use[index] = 1.0
            most = inputs.flat(f"options.{option.key}.ceiling_chips_per_quarter").mean()
            found.append(
                Limit(
                    key=f"{option.key} chips",
                    kind="flow",
                    use=use,
                    most=np.full(years.periods, QUARTERS_PER_YEAR * float(most)),
                )
            )
        if option.kind in ("buy", "build"):
            gain = generation_gains(option, inputs, years.taken_at)[1]
            watts[index] = (option_power_w(option, inputs) * gain).mean(axis=0) / MEGA
            each = [
                unit_cost(option, inputs, at_years=np.array([at])).capital_usd.mean()
                for at in years.taken_at[0]
            ]
            capital[index] = np.array(each)
    if terms.site_mw is not None:
        most = np.full(years.periods, terms.site_mw)
        found.append(Limit(key="MW", kind="stock", use=watts, most=most))
    if terms.capital_usd_per_year is not None:
        most = np.full(years.periods, terms.capital_usd_per_year)
        found.append(Limit(key="capital", kind="flow", use=capital, most=most))
    return tuple(found)


def _token_value(years: _Years) -> Floats:
    """Revenue per million output tokens lost where demand is not served, (draw or 1, year)."""
    inputs, setting = years.inputs, years.study.problem.setting
    time = np.arange(float(years.periods))[None, :] + 0.5
    value = inputs("value.usd_per_mtok") * price_drift(inputs, time)
    option = setting.options.get(setting.reference)
    if option is None or option.kind not in ("buy", "rent"):
        return value
    index = generation_index(option, inputs, time)
    lost: Floats = value * inputs("rival.tokens_per_usd_gain_ratio") ** -index
    return lost


def _losing(unit: Floats, hazard: float, seed: tuple[int, int], out_years: int) -> Floats:
    """Throughput with the first failure of a supplier, geometric in time; its own stream."""
    draw = np.random.default_rng([*seed, 0x10552])
    periods = unit.shape[1]
    fails = draw.geometric(hazard, len(unit)) - 1 if hazard > 0 else np.full(len(unit), periods)
    return supplier_failure(unit, fails, out_years)


@dataclass(frozen=True, slots=True, kw_only=True)
class PortfolioRun:
    """A frontier of portfolios, and the program they solve."""

    problem: PortfolioProblem
    portfolios: tuple[Portfolio, ...]
    titles: Mapping[str, str]
    record: Mapping[str, Any]


def run_portfolio(  # noqa: PLR0913  all but the first have names and defaults
    study: Study,
    *,
    omegas: Sequence[float] = OMEGAS,
    draws_log2: int = 9,
    seed: int = 20261124,
    terms: PortfolioTerms | None = None,
    fresh_log2: int = 11,
    information: bool = False,
) -> PortfolioRun:
    """Solve the portfolio for several weights of the tail, and test it on fresh futures.

    Parameters
    ----------
    study : Study
    omegas : sequence of float
    draws_log2, fresh_log2 : int
        2^N futures to decide on, and to test on, from another seed.
    seed : int
    terms : PortfolioTerms, optional
    information : bool
        Work out as well, at omega 0, EVPI and VSS on a reduced set of futures, and what deciding
        again in `AGAIN_YEARS` saves.
    """
    terms = terms or PortfolioTerms()
    problem = portfolio_problem(study, draws_log2, seed, terms)
    found = frontier(problem, omegas, terms.alpha)
    fresh = portfolio_problem(study, fresh_log2, seed + 1, terms)
    rows = [_row(problem, fresh, one) for one in found]
    record: dict[str, Any] = {
        "scenario": study.scenario.title,
        "seed": seed,
        "futures": problem.weight.size,
        "fresh_futures": fresh.weight.size,
        "alpha": terms.alpha,
        "options": list(problem.options.keys),
        "portfolios": rows,
        "left_out": list(LEFT_OUT),
    }
    if information:
        small = worth(reduced(problem, min(ALONE, problem.weight.size)))
        again = _deciding_again(problem)
        record["evpi_usd"], record["vss_usd"] = small.evpi_usd, small.vss_usd
        record["waiting_usd"], record["waiting_years"] = again.waiting_usd, list(AGAIN_YEARS)
    options = study.problem.setting.options
    return PortfolioRun(
        problem=problem,
        portfolios=found,
        titles={key: options[key].title for key in record["options"]},
        record=record,
    )


def _deciding_again(problem: PortfolioProblem) -> Rolling:
    """Decide again in some years, knowing which quarter of demands came."""
    tree = at_periods(by_quantile(problem.demand, BRANCHES), np.array(AGAIN_YEARS))
    return rolling(problem, tree, gap=AGAIN_GAP)


def _row(problem: PortfolioProblem, fresh: PortfolioProblem, one: Portfolio) -> dict[str, Any]:
    held = np.einsum("s,skt->kt", problem.weight, one.dispatch.capacity)
    served = np.einsum("s,skt->k", problem.weight, one.dispatch.used)
    spot = float(np.einsum("s,sjt->", problem.weight, one.dispatch.spot))
    unserved = float(np.einsum("s,st->", problem.weight, one.dispatch.unserved))
    wanted = float(np.einsum("s,st->", problem.weight, problem.demand))
    used = (one.used & (one.taken > 0).any(axis=1)).tolist()
    test = out_of_sample(fresh, one)
    costs = cost_by_scenario(fresh, one)
    return {
        "omega": one.risk.omega,
        "mean_usd": one.mean_usd,
        "cvar_usd": one.cvar_usd,
        "cost_usd": one.cost_usd,
        "gap_usd": one.cost_usd - one.bound_usd,
        "used": dict(zip(problem.options.keys, used, strict=True)),
        "units": dict(zip(problem.options.keys, one.taken.tolist(), strict=True)),
        "capacity": dict(zip(problem.options.keys, held.tolist(), strict=True)),
        "served_fraction": dict(zip(problem.options.keys, (served / wanted).tolist(), strict=True)),
        "spot_fraction": spot / wanted,
        "unserved_fraction": unserved / wanted,
        "hybrid_fleet_ratio": hybrid_fleet_ratio(problem, one).tolist(),
        "shadow_usd": {key: usd.tolist() for key, usd in one.shadow_usd.items()},
        "fresh_mean_usd": float(costs.mean()),
        "fresh_cvar_usd": cvar_usd(costs, fresh.weight, one.risk.alpha),
        "regret_fraction": test.fraction,
    }
