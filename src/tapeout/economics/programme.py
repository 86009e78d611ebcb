"""Lines of the own programme (NRE, masks, team, deposits, idle halls) and of revenue."""

from __future__ import annotations

from collections.abc import Container

import numpy as np

from tapeout.constants import MONTHS_PER_YEAR, MTOK, QUARTERS_PER_YEAR
from tapeout.economics.lines import Case, Entry, served_ratio, unmet_tokens
from tapeout.economics.prices import (
    CHIP_PARTS,
    LOG_ERROR,
    chip_price_usd,
    price_drift,
    simulated,
    site_lease_usd_per_w_year,
    utilisation,
)
from tapeout.economics.roadmap import own_gains, roadmap_of
from tapeout.economics.schedule import (
    OWN,
    SCHEDULE_INPUTS,
    Schedule,
    discount_by_quarter,
    mid_quarter_years,
    ramp_fraction,
    schedule,
)
from tapeout.economics.software import release_lines
from tapeout.economics.supply import (
    base_rate,
    capacity_need,
    generation_index,
    in_watts,
    option_power_w,
)
from tapeout.economics.types import Amount, Holder, Inputs, Line, Scaling, SiliconOption
from tapeout.numerics import Floats

PREPAYMENT_LEAD_QUARTERS = 4  # deposits on wafers and memory fall due a year before delivery
IDLE_HALL_YEARS = 2.0  # a hall that waits longer than this is let to somebody else


def _dates(case: Case) -> Schedule:
    assert case.fleet.dates is not None
    return case.fleet.dates


def _share(case: Case) -> float:
    """Share of the need that the strategy gives to the own chip."""
    return next(step.share for step in case.strategy.steps if step.option == "own")


def spread(start_years: Floats, end_years: Floats, quarters: int) -> Floats:
    """Share of a sum spent in each quarter when it is spent evenly between two dates.

    A span that lies before the decision, or has no length, falls in the first quarter; what lies
    beyond the horizon is not counted.

    Parameters
    ----------
    start_years, end_years : array, shape (draw or 1,)

    Returns
    -------
    array, shape (draw or 1, quarter)
    """
    edges = np.arange(quarters + 1) / QUARTERS_PER_YEAR
    start = np.maximum(start_years, 0.0)[:, None]
    end = np.maximum(end_years[:, None], start + 1.0 / QUARTERS_PER_YEAR)
    since = np.subtract(edges[None, :], start, order="F")
    done = np.clip(since / (end - start), 0.0, 1.0)
    share: Floats = np.diff(done, axis=1)
    return share


def at(time_years: Floats, quarters: int) -> Floats:
    """One in the quarter a date falls in, zero elsewhere, shape (draw or 1, quarter)."""
    index = np.floor(np.maximum(time_years, 0.0) * QUARTERS_PER_YEAR)[:, None]
    hit: Floats = np.equal(np.arange(quarters)[None, :], index, order="F").astype(np.float64)
    return hit


def programme_lines(case: Case) -> list[Entry]:
    """Everything that is paid because there is a programme, whatever its volume."""
    return [
        *_engineering_lines(case.inputs, case.quarters, _dates(case)),
        *_team_lines(case.inputs, case.quarters, _dates(case), case.depends.end_of_sales()),
        *release_lines(case.inputs, case.quarters, _dates(case), case.depends.end_of_sales()),
        *_volume_lines(case),
        *_idle_hall_line(case),
    ]


def _line(
    key: str, holder: Holder, formula: str, inputs: tuple[str, ...], scales: Scaling = "fixed"
) -> Line:
    return Line(key=f"own.{key}", holder=holder, formula=formula, inputs=inputs, scales=scales)


def idle_programme_usd(inputs: Inputs, quarters: int, keys: Container[str]) -> Floats:
    """Present cost of some engineering and team lines, whatever fleet there is, shape (draw,)."""
    dates = schedule(inputs)
    discount = discount_by_quarter(inputs, quarters)
    total = np.zeros(inputs.draws)
    for line, amount in (
        *_engineering_lines(inputs, quarters, dates),
        *_team_lines(inputs, quarters, dates),
    ):
        for quantity, each in amount if line.key in keys else ():
            shape = np.broadcast_shapes(quantity.shape, discount.shape)
            present = np.einsum(
                "qd,qd->d", np.broadcast_to(quantity, shape).T, np.broadcast_to(discount, shape).T
            )
            total = total + present * each[:, 0]
    return total


def _engineering_lines(inputs: Inputs, quarters: int, dates: Schedule) -> list[Entry]:
    zero = np.zeros(1)
    left = inputs(f"{OWN}.nre_remaining_fraction")
    tapeout_inputs = (f"{OWN}.months_to_tapeout", f"{OWN}.slip_months")
    spent = spread(zero, dates.planned_tapeout, quarters)
    masks = inputs(f"{OWN}.mask_set_usd")
    first_masks = masks * inputs(f"{OWN}.masks_remaining_fraction")
    respin_usd = inputs(f"{OWN}.spins") * (masks + inputs(f"{OWN}.respin_usd"))
    silicon = dates.tapeout
    spins_years = inputs.flat(f"{OWN}.spins") * inputs.flat(f"{OWN}.spin_months") / MONTHS_PER_YEAR
    respin_end = silicon + spins_years
    bring_up = spread(silicon, dates.first_service, quarters)
    return [
        (
            _line(
                "nre",
                Holder.PARTNER,
                "NRE still to spend, evenly until the planned tape-out: a slip defers none of it",
                (f"{OWN}.nre_usd", f"{OWN}.nre_remaining_fraction", f"{OWN}.months_to_tapeout"),
            ),
            ((spent, inputs(f"{OWN}.nre_usd") * left),),
        ),
        (
            _line(
                "masks",
                Holder.FOUNDRY,
                "first mask set at tape-out, if not yet paid",
                (f"{OWN}.mask_set_usd", f"{OWN}.masks_remaining_fraction", *tapeout_inputs),
            ),
            ((at(dates.tapeout, quarters), first_masks),),
        ),
        (
            _line(
                "respins",
                Holder.FOUNDRY,
                "extra steppings x (mask set + engineering)",
                (
                    f"{OWN}.spins",
                    f"{OWN}.mask_set_usd",
                    f"{OWN}.respin_usd",
                    f"{OWN}.spin_months",
                    *tapeout_inputs,
                ),
            ),
            ((spread(silicon, respin_end, quarters), respin_usd),),
        ),
        (
            _line(
                "bring_up",
                Holder.PARTNER,
                "bring-up and test programme, tape-out to first service",
                (f"{OWN}.bring_up_usd", *SCHEDULE_INPUTS),
            ),
            ((bring_up, inputs(f"{OWN}.bring_up_usd")),),
        ),
    ]


def _team_lines(
    inputs: Inputs, quarters: int, dates: Schedule, end_inputs: tuple[str, ...] = ()
) -> list[Entry]:
    """The compiler and kernel team: ramps up to the planned tape-out, stays while chips serve.

    `end_inputs` are those behind the end of sales.
    """
    time = mid_quarter_years(quarters)[None, :]
    ramp = np.maximum(inputs(f"{OWN}.software_ramp_years"), 1e-9)
    start = dates.planned_tapeout[:, None] - ramp
    staffed = np.clip(np.subtract(time, start, order="F") / ramp, 0.0, 1.0)
    end = np.where(
        dates.alive > 0,
        dates.end_of_sales + inputs.flat(f"{OWN}.life_years"),
        dates.first_service,
    )[:, None]
    staffed = staffed * np.less(time, end, order="F")
    usd = inputs(f"{OWN}.software_usd_per_year") / QUARTERS_PER_YEAR
    line = _line(
        "software",
        Holder.OWNER,
        "team cost a year x staffing: a ramp to the planned tape-out, full to the last retirement",
        (
            f"{OWN}.software_usd_per_year",
            f"{OWN}.software_ramp_years",
            f"{OWN}.cancelled",
            f"{OWN}.life_years",
            *SCHEDULE_INPUTS,
            *end_inputs,
        ),
    )
    return [(line, ((staffed, usd),))]


def _in_first_chips(case: Case, new: Floats) -> Floats:
    """New chips, counted by the power of the first generation."""
    roadmap = roadmap_of(case.strategy)
    if roadmap.generations <= 1:
        return new
    return new * own_gains(case.inputs, roadmap, case.quarters)[1]


def _own_price_inputs() -> tuple[str, ...]:
    names = (*CHIP_PARTS, "test_usd", "partner_margin_fraction", "memory_consigned_fraction")
    return tuple(f"{OWN}.{name}" for name in names)


def _volume_lines(case: Case) -> list[Entry]:
    """Deposits, excess purchases, hall conversion, rebates lost on what is still bought."""
    inputs, quarters = case.inputs, case.quarters
    option = case.setting.options["own"]
    quantity = case.depends.chips("own")
    price = chip_price_usd(option, inputs, negotiated=False)
    new = case.fleet.plan.new_chips["own"]
    deposit = price * inputs(f"{OWN}.prepayment_fraction")
    lead = PREPAYMENT_LEAD_QUARTERS
    ahead = -new  # chips paid for a year early, less those whose deposit is credited
    ahead[:, :-lead] += new[:, lead:]
    ahead[:, 0] += new[:, :lead].sum(axis=1)
    watts = inputs(f"{OWN}.it_w_per_chip")
    own: Scaling = "own"
    entries: list[Entry] = [
        (
            _line(
                "prepayment",
                Holder.FOUNDRY,
                "deposits a year before delivery, credited then",
                (*quantity, f"{OWN}.prepayment_fraction", *_own_price_inputs()),
                own,
            ),
            ((ahead, deposit),),
        ),
        (
            _line(
                "conversion",
                Holder.ENERGY_SITE,
                "new chips x IT power x conversion of the hall",
                (*case.depends.it_power("own"), f"{OWN}.conversion_usd_per_w"),
                own,
            ),
            ((_in_first_chips(case, new), watts * inputs(f"{OWN}.conversion_usd_per_w")),),
        ),
    ]
    excess, what = _excess_chips(case)
    lost = excess * price * inputs(f"{OWN}.writeoff_fraction")
    entries.append(
        (
            _line(
                "writeoff",
                Holder.FOUNDRY,
                "chips ordered ahead and not needed x price x share that cannot be cancelled",
                (*what, f"{OWN}.writeoff_fraction", *_own_price_inputs()),
                own,
            ),
            ((at(_dates(case).first_service, quarters), lost),),
        )
    )
    entries.append(_rebates(case))
    return entries


def _excess_chips(case: Case) -> tuple[Floats, tuple[str, ...]]:
    """Chips of the committed first volume that realised demand, or a cancellation, leaves over."""
    inputs = case.inputs
    option = case.setting.options["own"]
    committed = inputs(f"{OWN}.committed_fraction")
    what: tuple[str, ...]
    if in_watts(case.setting, case.objective):
        assert case.setting.site_w is not None
        full = case.setting.site_w.max() / option_power_w(option, inputs)
        realised = np.ones((1, 1))
        what = (f"{OWN}.it_w_per_chip", "site.pue_ratio")
    else:
        held = inputs("demand.peak_to_mean_ratio") * (1.0 + inputs("fleet.spares_fraction"))
        mature = base_rate(option, inputs) * inputs(f"{OWN}.availability_fraction")
        full = case.setting.demand_profile.max() * held / mature
        realised = inputs("demand.realised_ratio")
        what = (
            "demand.peak_to_mean_ratio",
            "fleet.spares_fraction",
            "demand.realised_ratio",
            f"{OWN}.tokens_per_s_per_chip",
            f"{OWN}.timing_ratio",
            f"{OWN}.delivered_ratio",
            f"{OWN}.availability_fraction",
        )
    wanted = np.where(_dates(case).alive[:, None] > 0, realised, 0.0)
    left = np.maximum(committed - wanted, 0.0) * full * _share(case)
    left = left * inputs(f"{OWN}.eligible_fraction")
    return left, (
        *what,
        f"{OWN}.committed_fraction",
        f"{OWN}.eligible_fraction",
        f"{OWN}.cancelled",
        *SCHEDULE_INPUTS,
    )


def _rebates(case: Case) -> Entry:
    """Rebates and equity a merchant vendor withdraws from a customer that builds."""
    inputs, plan = case.inputs, case.fleet.plan
    share = inputs(f"{OWN}.rebate_lost_fraction")
    lost: Amount = ()
    what: list[str] = [f"{OWN}.rebate_lost_fraction"]
    for key in plan.options:
        option = case.setting.options[key]
        if option.kind == "buy":
            list_price = chip_price_usd(option, inputs, negotiated=False)
            lost += ((plan.new_chips[key], list_price * share),)
            what += [*case.depends.chips(key), f"options.{key}.price_usd"]
    line = _line(
        "rebates_lost",
        Holder.VENDOR,
        "list value still bought x rebates and equity lost",
        tuple(what),
        "rest",
    )
    return line, lost


def _idle_hall_line(case: Case) -> list[Entry]:
    """A hall energised for the planned date while the chip slips: lease and upkeep."""
    inputs, quarters, dates = case.inputs, case.quarters, _dates(case)
    option = case.setting.options["own"]
    need = capacity_need(case.setting, inputs, case.objective)
    unit = (
        option_power_w(option, inputs)
        if in_watts(case.setting, case.objective)
        else base_rate(option, inputs) * inputs(f"{OWN}.availability_fraction")
    )
    ramp = inputs.flat(f"{OWN}.ramp_years")
    share = inputs(f"{OWN}.eligible_fraction") * _share(case)
    chips = need * share * ramp_fraction(dates.planned_service, ramp, quarters) / unit
    it_w = inputs(f"{OWN}.it_w_per_chip")
    # a later chip fills as much of the hall as the capacity it brings
    watts = in_watts(case.setting, case.objective)
    there = case.fleet.plan.carried["own"]["power" if watts else "tokens"]
    waiting = np.maximum(chips - there, 0.0)
    time = mid_quarter_years(quarters)[None, :]
    until = np.minimum(dates.full_volume, dates.planned_service + IDLE_HALL_YEARS)[:, None]
    waiting = waiting * np.less(time, until, order="F")
    yearly = site_lease_usd_per_w_year(inputs) + inputs("site.idle_usd_per_w_year")
    line = _line(
        "idle_hall",
        Holder.ENERGY_SITE,
        "IT power planned but not yet filled x (lease + upkeep), for two years at most",
        (
            *case.depends.filled_power("own"),
            "site.capex_usd_per_w",
            "site.life_years",
            "decision.discount_rate",
            "site.idle_usd_per_w_year",
        ),
        "own",
    )
    return [(line, ((waiting, it_w * yearly / QUARTERS_PER_YEAR),))]


def revenue_lines(case: Case, sold: Floats) -> list[Entry]:
    """Demand left unserved at its value, or, where contribution counts, revenue.

    What is not served earns nothing: charging it as well would count it twice.

    Parameters
    ----------
    case : Case
    sold : array, shape (draw, quarter)
        Rate asked of the fleet x what a token sells for over what one sells for today.
    """
    inputs = (*case.depends.all_tokens(), *_worth_inputs(case))
    price = case.inputs("value.usd_per_mtok") / MTOK
    value = price * served_ratio(case.inputs)
    if case.objective == "contribution":
        line = Line(
            key="revenue",
            holder=Holder.CUSTOMER,
            formula="- output tokens served x their value",
            inputs=inputs,
        )
        return [(line, ((sold, -value),))]
    line = Line(
        key="unserved",
        holder=Holder.CUSTOMER,
        formula="unserved output tokens x their value",
        inputs=inputs,
    )
    worth = token_worth(case)
    return [(line, tuple((short * worth, each * price) for short, each in unmet_tokens(case)))]


def _reference(case: Case) -> SiliconOption | None:
    """Option whose generations set the trend of the token price."""
    option = case.setting.options.get(case.setting.reference)
    return option if option is not None and option.kind in ("buy", "rent") else None


def _worth_inputs(case: Case) -> tuple[str, ...]:
    option = _reference(case)
    errors = simulated(case.inputs, LOG_ERROR)
    names = ("value.usd_per_mtok", "value.decline_per_year", *errors)
    if option is None:
        return names
    generation = f"options.{option.key}.generation_years"
    return (*names, "rival.cadence_years", "rival.tokens_per_usd_gain_ratio", generation)


def token_worth(case: Case) -> Floats:
    """What a token sells for over what one sells for at the decision, (draw or 1, quarter).

    It falls with the hardware cost of the reference option's generations, as in a market that
    passes hardware progress on, and beyond that at the stated rate.
    """
    inputs, option = case.inputs, _reference(case)

    def make() -> Floats:
        time = mid_quarter_years(case.quarters)[None, :]
        worth = price_drift(inputs, time)
        if option is None:
            return worth
        index = generation_index(option, inputs, time)
        ratio = np.power(inputs("rival.tokens_per_usd_gain_ratio"), -index, order="F")
        return np.multiply(worth, ratio, order="F")

    return inputs.once(("token worth", option, case.quarters), make)


__all__ = ["at", "programme_lines", "revenue_lines", "spread", "utilisation"]
