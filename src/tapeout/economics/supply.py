"""From options and inputs to what the fleet can draw on: rates, watts, generations, dates."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np

from tapeout.constants import QUARTERS_PER_YEAR
from tapeout.economics.prices import LOG_RENT, deviation
from tapeout.economics.roadmap import own_gains, own_schedule, roadmap_of, sizing_ratio
from tapeout.economics.scarcity import Scarce
from tapeout.economics.schedule import (
    OWN,
    Schedule,
    life_quarters,
    maturity_fraction,
    mid_quarter_years,
    ramp_fraction,
    within,
)
from tapeout.economics.types import (
    CERTAIN,
    Inputs,
    Objective,
    Roadmap,
    SiliconOption,
    Strategy,
)
from tapeout.fleet import FleetPlan, Limit, Supply, plan
from tapeout.numerics import Floats

SCARCITY_YEARS = 3.0  # a fab and a power plant later; assumption
RIVAL_INPUTS = (
    "rival.cadence_years",
    "rival.tokens_per_usd_gain_ratio",
    "rival.tokens_per_w_gain_ratio",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What a run holds fixed across draws.

    Attributes
    ----------
    quarters : int
        Length of the horizon.
    options : mapping of key to SiliconOption
    demand_profile : array, shape (quarter,)
        Planned mean output rate over time; draws scale and grow it. [tokens/s]
    site_w : array, shape (quarter,), or None
        Power of the site, the limit of the contribution objective; None: no such limit, the
        objective then earns on the given demand. [W]
    demand_years : float
        Years from the decision until the first demand; growth counts from there.
    reference : str
        Option whose generations set the trend of the token price; empty: no trend.
    scarce : tuple of Scarce
        Inputs of which only so much is to be had by quarter, shared by options.
    """

    quarters: int
    options: Mapping[str, SiliconOption]
    demand_profile: Floats
    site_w: Floats | None
    demand_years: float = 0.0
    reference: str = ""
    scarce: tuple[Scarce, ...] = ()
    kept: dict[Hashable, Any] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )  # what follows from a setting alone, made once for all blocks of draws


def generation_index(option: SiliconOption, inputs: Inputs, time_years: Floats) -> Floats:
    """Synthetic generations that have followed the option's chip by a time.

    One more every cadence after the chip itself is first sold.
    """
    if not option.successors:
        return np.zeros(np.broadcast_shapes(time_years.shape, (1, 1)))
    start = inputs(f"options.{option.key}.generation_years")
    cadence = np.maximum(inputs("rival.cadence_years"), 1e-9)
    # order F: quarter by quarter in memory, as the fleet plan walks through them
    since = np.divide(np.subtract(time_years, start, order="F"), cadence, order="F")
    return np.maximum(np.floor(since, out=since), 0.0, out=since)


def generation_gains(
    option: SiliconOption, inputs: Inputs, time_years: Floats
) -> tuple[Floats, Floats]:
    """Throughput and power, per chip at constant price, of the generation sold at a time.

    A generation gives `tokens_per_usd_gain_ratio` more tokens a dollar, taken as throughput at an
    unchanged price a chip, and `tokens_per_w_gain_ratio` more tokens a watt.

    Returns
    -------
    throughput, power : arrays, broadcast of (draw or 1, 1) and time
        Relative to the option's own chip.
    """
    if option.kind in ("build", "api"):
        one = np.ones(np.broadcast_shapes(time_years.shape, (1, 1)))
        return one, one
    index = generation_index(option, inputs, time_years)
    if option.kind == "rent":
        index = np.multiply(index, ~_stays(option, inputs, time_years), order="F")
    throughput = np.power(inputs("rival.tokens_per_usd_gain_ratio"), index, order="F")
    frugal = np.power(inputs("rival.tokens_per_w_gain_ratio"), index, order="F")
    return throughput, np.divide(throughput, frugal, order="F")


def _quarterly_gains(
    option: SiliconOption, inputs: Inputs, quarters: int, roadmap: Roadmap
) -> tuple[Floats, Floats, Floats]:
    """Throughput, power and, for a rented option, rent of what is taken in each quarter."""
    grows = option.kind == "build" and roadmap.generations > 1

    def make() -> tuple[Floats, Floats, Floats]:
        if grows:
            throughput, watts = own_gains(inputs, roadmap, quarters)
            return throughput, watts, throughput
        time = mid_quarter_years(quarters)[None, :]
        tokens, power = generation_gains(option, inputs, time)
        return tokens, power, rent_ratio(option, inputs, time) if option.kind == "rent" else tokens

    return inputs.once(("gains", option, quarters, roadmap if grows else None), make)


def base_rate(option: SiliconOption, inputs: Inputs) -> Floats:
    """Output tokens per second and chip before availability, maturity and shift; (draw or 1, 1)."""
    if option.kind == "api":
        return np.ones((1, 1))
    key = f"options.{option.key}"
    rate = inputs(f"{key}.tokens_per_s_per_chip") * inputs(f"{key}.timing_ratio")
    if option.kind == "build":
        return rate * inputs(f"{key}.delivered_ratio")
    return rate


def rate_by_quarter(
    option: SiliconOption, inputs: Inputs, dates: Schedule | None, quarters: int
) -> Floats:
    """Output tokens per second and chip of the own generation, (draw or 1, quarter or 1)."""
    make = partial(_rate_by_quarter, option, inputs, dates, quarters)
    # the dates of the own chip follow from the same inputs
    return inputs.once(("rate", option, quarters), make)


def _rate_by_quarter(
    option: SiliconOption, inputs: Inputs, dates: Schedule | None, quarters: int
) -> Floats:
    rate = base_rate(option, inputs)
    time = mid_quarter_years(quarters)[None, :]
    if option.kind == "api":
        return rate
    key = f"options.{option.key}"
    rate = rate * inputs(f"{key}.availability_fraction")
    if option.kind == "rent":
        since = time - option.available_years
        mature = maturity_fraction(
            inputs(f"{key}.port_start_fraction"), inputs("software.port_maturity_years"), since
        )
        return np.multiply(rate, mature, order="F")
    if option.kind == "build":
        assert dates is not None
        return rate * own_derating(inputs, dates, time)
    return rate


def mature_rate(option: SiliconOption, inputs: Inputs) -> Floats:
    """Tokens per second and chip once software and availability are mature, (draw or 1, 1)."""
    availability = inputs(f"options.{option.key}.availability_fraction")
    return base_rate(option, inputs) * availability


def own_derating(inputs: Inputs, dates: Schedule, time_years: Floats) -> Floats:
    """Software maturity, early availability and shift of the workload for the own chip."""
    since = np.subtract(time_years, dates.first_service[:, None], order="F")
    mature = maturity_fraction(
        inputs(f"{OWN}.maturity_start_fraction"), inputs(f"{OWN}.maturity_years"), since
    )
    first_year = inputs(f"{OWN}.first_year_availability_fraction")
    early = 1.0 + (since < 1.0) * (first_year / inputs(f"{OWN}.availability_fraction") - 1.0)
    late = np.greater_equal(time_years, inputs(f"{OWN}.shift_years"), order="F")
    shifted = 1.0 + late * (inputs(f"{OWN}.shift_ratio") - 1.0)
    return mature * early * shifted


def in_watts(setting: Setting, objective: Objective) -> bool:
    """Whether the site, not the demand, sizes the fleet."""
    return objective == "contribution" and setting.site_w is not None


def capacity_need(setting: Setting, inputs: Inputs, objective: Objective) -> Floats:
    """Capacity to hold in each quarter, shape (draw, quarter), in tokens/s or in W."""
    shape = (inputs.draws, setting.quarters)
    if in_watts(setting, objective):
        assert setting.site_w is not None
        return np.broadcast_to(setting.site_w[None, :], shape)
    profile, since = setting.demand_profile, setting.demand_years

    def make() -> Floats:
        years = np.maximum(mid_quarter_years(setting.quarters)[None, :] - since, 0)
        # a range may reach below -100 %: then no demand is left, not a root of a negative number
        yearly = np.maximum(1.0 + inputs("demand.growth_per_year"), 0.0)
        grown: Floats = np.power(yearly, years, order="F")
        mean = np.multiply(profile[None, :], inputs("demand.realised_ratio"), order="F") * grown
        peak = np.multiply(mean, inputs("demand.peak_to_mean_ratio"), order="F")
        need: Floats = np.multiply(peak, 1.0 + inputs("fleet.spares_fraction"), order="F")
        return need

    return np.broadcast_to(inputs.once(("need", profile.tobytes(), since), make), shape)


def splits_by_share(setting: Setting, strategy: Strategy) -> bool:
    """Whether a strategy divides the need among kinds of silicon by stated shares."""
    return any(
        step.share < 1.0 and setting.options[step.option].kind != "build" for step in strategy.steps
    )


def pooling_ratio(setting: Setting, strategy: Strategy, inputs: Inputs) -> Floats:
    """Capacity that a mix by shares keeps of what one pool would serve, (draw or 1, 1).

    Queues and spares of each kind are separate, so each kind beyond the first costs a share of
    capacity. A strategy that fills in order, one kind after the other, loses nothing.
    """
    if not splits_by_share(setting, strategy):
        return CERTAIN
    options = [setting.options[step.option] for step in strategy.steps]
    kinds = {option.silicon for option in options if option.kind != "api"}
    return 1.0 / (1.0 + inputs("fleet.pooling_loss_fraction") * max(len(kinds) - 1, 0))


def _share_by_quarter(
    setting: Setting, strategy: Strategy, key: str, dates: Schedule | None
) -> Floats | None:
    """Largest share of the need that an option is filled to; None where all its shares are one."""
    steps = [step for step in strategy.steps if step.option == key]
    if setting.options[key].kind == "build" or all(step.share >= 1.0 for step in steps):
        return None  # a built option's share scales its ramp
    parts = [np.where(within(step, dates, setting.quarters), step.share, 0.0) for step in steps]
    share: Floats = parts[0]
    for part in parts[1:]:
        share = np.maximum(share, part)
    return share


def supplies(
    setting: Setting, strategy: Strategy, inputs: Inputs, objective: Objective
) -> list[Supply]:
    """Turn the steps of a strategy into fleet supplies, one per option."""
    dates = _dates(setting, strategy, inputs)
    roadmap = roadmap_of(strategy)
    out: list[Supply] = []
    for key in dict.fromkeys(step.option for step in strategy.steps):
        option = setting.options[key]
        steps = [step for step in strategy.steps if step.option == key]
        active = within(steps[0], dates, setting.quarters)
        for step in steps[1:]:
            active = active | within(step, dates, setting.quarters)
        time = mid_quarter_years(setting.quarters)[None, :]
        active = active & (time >= option.available_years)
        when = (active, dates, steps[0].share, roadmap)
        supply = _supply(setting, option, inputs, objective, when)
        share = _share_by_quarter(setting, strategy, key, dates)
        unit, pooled = supply.unit_per_chip, pooling_ratio(setting, strategy, inputs)
        if not in_watts(setting, objective) and pooled is not CERTAIN:
            unit = unit * pooled
        out.append(replace(supply, unit_per_chip=unit, share_fraction=share))
    return out


def _supply(
    setting: Setting,
    option: SiliconOption,
    inputs: Inputs,
    objective: Objective,
    when: tuple[np.ndarray, Schedule | None, float, Roadmap],
) -> Supply:
    active, dates, share, roadmap = when
    quarters = setting.quarters
    time = mid_quarter_years(quarters)[None, :]
    rate = rate_by_quarter(option, inputs, dates, quarters)
    tokens_gain, power_gain, rent = _quarterly_gains(option, inputs, quarters, roadmap)
    carried = {"tokens": tokens_gain, "power": power_gain}
    if option.kind == "rent":
        carried["rent"] = rent
    watts = in_watts(setting, objective)
    unit = _site_w(setting, option, inputs) if watts else rate
    ramp = None
    if option.kind == "build":
        assert dates is not None
        active = active & (time < dates.end_of_sales[:, None]) & (dates.alive[:, None] > 0)
        ramp = share * ramp_fraction(
            dates.first_service, inputs.flat(f"{OWN}.ramp_years"), quarters
        )
        ramp = ramp * inputs(f"{OWN}.eligible_fraction") * dates.alive[:, None]
    sizing = None if ramp is None or watts else mature_rate(option, inputs)
    if sizing is not None and roadmap.generations > 1:
        sizing = sizing * sizing_ratio(inputs, roadmap, quarters)
    return Supply(
        key=option.key,
        unit_per_chip=unit,
        active=active,
        life_quarters=option_life_quarters(option, inputs),
        ramp_fraction=ramp,
        sizing_unit_per_chip=sizing,
        carried=carried,
        vintage_gain=power_gain if watts else tokens_gain,
        ceiling_chips=_ceiling(option, inputs),
        smallest_chips=0.0 if option.kind in ("build", "api") else option.smallest_chips,
    )


def _site_w(setting: Setting, option: SiliconOption, inputs: Inputs) -> Floats:
    """Watts of the site that one chip fills, (draw or 1, 1). [W].

    Tokens bought fill none; so that they can stand beside the others, a full site counts as the
    planned demand held with its peak and spares.
    """
    if option.kind != "api":
        return option_power_w(option, inputs)
    assert setting.site_w is not None
    held = inputs("demand.peak_to_mean_ratio") * (1.0 + inputs("fleet.spares_fraction"))
    watts: Floats = setting.site_w.max() / (setting.demand_profile.max() * held)
    return watts


def _ceiling(option: SiliconOption, inputs: Inputs) -> Floats | None:
    return inputs(f"options.{option.key}.ceiling_chips_per_quarter") if option.ceiling else None


def shared_limits(setting: Setting, inputs: Inputs) -> list[Limit]:
    """Scarce inputs as the fleet sees them; what is counted in watts follows each chip's power."""
    limits = []
    for one in setting.scarce:
        each = {
            key: option_power_w(setting.options[key], inputs)[:, 0] if one.in_watts else taken
            for key, taken in one.each.items()
        }
        limits.append(
            Limit(
                key=one.key,
                amount=one.amount[None, :],
                each={key: np.atleast_1d(taken) for key, taken in each.items()},
                in_service=one.in_watts,
                weight="power" if one.in_watts else "",
            )
        )
    return limits


def _has_own(setting: Setting, strategy: Strategy) -> bool:
    return any(setting.options[step.option].kind == "build" for step in strategy.steps)


def _dates(setting: Setting, strategy: Strategy, inputs: Inputs) -> Schedule | None:
    """Dates of the own programme, where the strategy has one."""
    if not _has_own(setting, strategy):
        return None
    return own_schedule(inputs, roadmap_of(strategy), setting.quarters)


def rent_ratio(option: SiliconOption, inputs: Inputs, time_years: Floats) -> Floats:
    """Rent of a chip taken at a time over that of today, (draw or 1, time).

    The tenant stays on the same chip at its drifted rent or moves to the generation on sale,
    whichever gives more tokens a dollar; in a rising market the newest generation rises too.
    """
    falling, rising = _drifts(inputs, time_years)
    aged = np.multiply(_stays(option, inputs, time_years), falling, order="F")
    swing = deviation(inputs, LOG_RENT, time_years)
    ratio: Floats = np.exp(rising + aged if swing is None else rising + aged + swing)
    return ratio


def volume_premium(option: SiliconOption, new_chips: Floats) -> Floats:
    """Rise of the rent of chips taken in a quarter by taking so many, same shape; 0: none.

    The rent of all that is taken in the quarter is that of the quote x (1 + taken / market)^impact,
    for the whole of its term.

    Examples
    --------
    >>> deep = SiliconOption(key="r", kind="rent", silicon="", title="", market_chips=100.0,
    ...                      price_impact=0.5)
    >>> volume_premium(deep, np.array([0.0, 300.0]))
    array([0., 1.])
    """
    if not option.market_chips or not option.price_impact:
        return np.zeros((1, 1))
    premium: Floats = np.expm1(option.price_impact * np.log1p(new_chips / option.market_chips))
    return premium


def _drifts(inputs: Inputs, time_years: Floats) -> tuple[Floats, Floats]:
    """Log change of rents by ageing, which only an old chip has, and by scarcity, which all have.

    Ageing goes on; scarcity does not: a rise fades as supply answers.
    """
    drift = inputs("market.rent_drift_per_year")
    fading = SCARCITY_YEARS * -np.expm1(-time_years / SCARCITY_YEARS)
    rising = np.multiply(np.maximum(drift, 0.0), fading, order="F")
    return np.multiply(np.minimum(drift, 0.0), time_years, order="F"), rising


def _stays(option: SiliconOption, inputs: Inputs, time_years: Floats) -> np.ndarray:
    """Whether the aged chip is still the cheaper one to rent."""
    falling, rising = _drifts(inputs, time_years)
    gain = np.log(inputs("rival.tokens_per_usd_gain_ratio"))
    newer = np.multiply(generation_index(option, inputs, time_years), gain, order="F")
    stays: np.ndarray = falling + rising <= rising - newer
    return stays


def option_life_quarters(option: SiliconOption, inputs: Inputs) -> np.ndarray:
    """Service life of owned, term of rented capacity, in quarters, shape (draw or 1,)."""
    if option.kind == "rent":
        return life_quarters(np.array([option.term_years]))
    if option.kind == "api":
        return np.array([1])
    return life_quarters(inputs.flat(f"options.{option.key}.life_years"))


def option_power_w(option: SiliconOption, inputs: Inputs) -> Floats:
    """Power drawn at the site's meter for one chip, host and network in, (draw or 1, 1). [W]."""
    if option.kind == "api":
        return np.ones((1, 1))
    return inputs(f"options.{option.key}.it_w_per_chip") * inputs("site.pue_ratio")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """A fleet plan with the rates behind it; one array (draw, quarter) per option.

    Attributes
    ----------
    tokens_capacity, tokens_used : mapping of option to array
        Output rate the chips can hold, and the rate asked of them at the peak. [tokens/s]
    power_w : mapping of option to array
        Provisioned power at the meter. [W]
    busy_fraction : mapping of option to array
        Share of capacity used at the peak.
    dates : Schedule or None
    """

    plan: FleetPlan
    tokens_capacity: Mapping[str, Floats]
    tokens_used: Mapping[str, Floats]
    power_w: Mapping[str, Floats]
    busy_fraction: Mapping[str, Floats]
    dates: Schedule | None


def fleet(setting: Setting, strategy: Strategy, inputs: Inputs, objective: Objective) -> Fleet:
    """Plan the fleet of a strategy.

    In the contribution objective the need is the power of the site and every chip that is there
    works: demand is taken to exceed what the site can serve.
    """
    dates = _dates(setting, strategy, inputs)
    planned = plan(
        capacity_need(setting, inputs, objective),
        supplies(setting, strategy, inputs, objective),
        shared_limits(setting, inputs),
    )
    watts = in_watts(setting, objective)
    pooled = pooling_ratio(setting, strategy, inputs)
    capacity: dict[str, Floats] = {}
    used: dict[str, Floats] = {}
    power: dict[str, Floats] = {}
    busy: dict[str, Floats] = {}
    for key in planned.options:
        option = setting.options[key]
        busy[key] = planned.busy_fraction(key)
        if watts:
            rate = rate_by_quarter(option, inputs, dates, setting.quarters)
            if pooled is not CERTAIN:
                rate = rate * pooled
            capacity[key] = planned.carried[key]["tokens"] * rate
            used[key] = capacity[key] * busy[key]
        else:
            capacity[key], used[key] = planned.capacity[key], planned.used[key]
        if watts and option.kind != "api":
            power[key] = planned.capacity[key]
        else:
            each = np.zeros((1, 1)) if option.kind == "api" else option_power_w(option, inputs)
            power[key] = planned.carried[key]["power"] * each
    return Fleet(
        plan=planned,
        tokens_capacity=capacity,
        tokens_used=used,
        power_w=power,
        busy_fraction=busy,
        dates=dates,
    )


def quarters_of(years: float) -> int:
    """Whole quarters in a span of years."""
    return round(years * QUARTERS_PER_YEAR)
