"""Lines of the own programme (NRE, masks, team, deposits, idle halls) and of revenue."""

from __future__ import annotations

import numpy as np

from tapeout.constants import MONTHS_PER_YEAR, MTOK, QUARTERS_PER_YEAR
from tapeout.economics.lines import Case, Entry, unmet_tokens
from tapeout.economics.prices import (
    CHIP_PARTS,
    chip_price_usd,
    site_lease_usd_per_w_year,
    utilisation,
)
from tapeout.economics.schedule import (
    OWN,
    SCHEDULE_INPUTS,
    Schedule,
    mid_quarter_years,
    ramp_fraction,
)
from tapeout.economics.supply import (
    base_rate,
    capacity_need,
    generation_index,
    in_watts,
    option_power_w,
)
from tapeout.economics.types import Holder, Line, Scaling
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
    done = np.clip((edges[None, :] - start) / (end - start), 0.0, 1.0)
    share: Floats = np.diff(done, axis=1)
    return share


def at(time_years: Floats, quarters: int) -> Floats:
    """One in the quarter a date falls in, zero elsewhere, shape (draw or 1, quarter)."""
    index = np.floor(np.maximum(time_years, 0.0) * QUARTERS_PER_YEAR)[:, None]
    hit: Floats = (np.arange(quarters)[None, :] == index).astype(np.float64)
    return hit


def programme_lines(case: Case) -> list[Entry]:
    """Everything that is paid because there is a programme, whatever its volume."""
    return [
        *_engineering_lines(case),
        *_team_lines(case),
        *_volume_lines(case),
        *_idle_hall_line(case),
    ]


def _line(
    key: str, holder: Holder, formula: str, inputs: tuple[str, ...], scales: Scaling = "fixed"
) -> Line:
    return Line(key=f"own.{key}", holder=holder, formula=formula, inputs=inputs, scales=scales)


def _engineering_lines(case: Case) -> list[Entry]:
    inputs, quarters, dates = case.inputs, case.quarters, _dates(case)
    zero = np.zeros(1)
    left = inputs(f"{OWN}.nre_remaining_fraction")
    tapeout_inputs = (f"{OWN}.months_to_tapeout", f"{OWN}.slip_months")
    nre = inputs(f"{OWN}.nre_usd") * left * spread(zero, dates.planned_tapeout, quarters)
    masks = inputs(f"{OWN}.mask_set_usd")
    first_masks = masks * inputs(f"{OWN}.masks_remaining_fraction") * at(dates.tapeout, quarters)
    respin_usd = inputs(f"{OWN}.spins") * (masks + inputs(f"{OWN}.respin_usd"))
    silicon = dates.tapeout
    spins_years = inputs.flat(f"{OWN}.spins") * inputs.flat(f"{OWN}.spin_months") / MONTHS_PER_YEAR
    respin_end = silicon + spins_years
    respins = respin_usd * spread(silicon, respin_end, quarters)
    bring_up = inputs(f"{OWN}.bring_up_usd") * spread(silicon, dates.first_service, quarters)
    return [
        (
            _line(
                "nre",
                Holder.PARTNER,
                "NRE still to spend, evenly until the planned tape-out: a slip defers none of it",
                (f"{OWN}.nre_usd", f"{OWN}.nre_remaining_fraction", f"{OWN}.months_to_tapeout"),
            ),
            nre,
        ),
        (
            _line(
                "masks",
                Holder.FOUNDRY,
                "first mask set at tape-out, if not yet paid",
                (f"{OWN}.mask_set_usd", f"{OWN}.masks_remaining_fraction", *tapeout_inputs),
            ),
            first_masks,
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
            respins,
        ),
        (
            _line(
                "bring_up",
                Holder.PARTNER,
                "bring-up and test programme, tape-out to first service",
                (f"{OWN}.bring_up_usd", *SCHEDULE_INPUTS),
            ),
            bring_up,
        ),
    ]


def _team_lines(case: Case) -> list[Entry]:
    """The compiler and kernel team: ramps up to the planned tape-out, stays while chips serve."""
    inputs, quarters, dates = case.inputs, case.quarters, _dates(case)
    time = mid_quarter_years(quarters)[None, :]
    ramp = np.maximum(inputs(f"{OWN}.software_ramp_years"), 1e-9)
    start = dates.planned_tapeout[:, None] - ramp
    staffed = np.clip((time - start) / ramp, 0.0, 1.0)
    end = np.where(
        dates.alive > 0,
        dates.end_of_sales + inputs.flat(f"{OWN}.life_years"),
        dates.first_service,
    )[:, None]
    staffed = np.where(time < end, staffed, 0.0)
    usd = inputs(f"{OWN}.software_usd_per_year") / QUARTERS_PER_YEAR * staffed
    line = _line(
        "software",
        Holder.OWNER,
        "team cost a year x staffing: a ramp to the planned tape-out, full to the last retirement",
        (
            f"{OWN}.software_usd_per_year",
            f"{OWN}.software_ramp_years",
            f"{OWN}.cancelled",
            f"{OWN}.sales_window_years",
            f"{OWN}.life_years",
            *SCHEDULE_INPUTS,
        ),
    )
    return [(line, usd)]


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
    deposit = new * price * inputs(f"{OWN}.prepayment_fraction")
    lead = PREPAYMENT_LEAD_QUARTERS
    earlier = np.zeros_like(deposit)
    earlier[:, :-lead] = deposit[:, lead:]
    earlier[:, 0] += deposit[:, :lead].sum(axis=1)
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
            earlier - deposit,
        ),
        (
            _line(
                "conversion",
                Holder.ENERGY_SITE,
                "new chips x IT power x conversion of the hall",
                (*case.depends.it_power("own"), f"{OWN}.conversion_usd_per_w"),
                own,
            ),
            new * inputs(f"{OWN}.it_w_per_chip") * inputs(f"{OWN}.conversion_usd_per_w"),
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
            lost * at(_dates(case).first_service, quarters),
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
    lost = np.zeros(plan.unmet.shape)
    what: list[str] = [f"{OWN}.rebate_lost_fraction"]
    for key in plan.options:
        option = case.setting.options[key]
        if option.kind == "buy":
            list_price = chip_price_usd(option, inputs, negotiated=False)
            lost = lost + plan.new_chips[key] * list_price
            what += [*case.depends.chips(key), f"options.{key}.price_usd"]
    line = _line(
        "rebates_lost",
        Holder.VENDOR,
        "list value still bought x rebates and equity lost",
        tuple(what),
        "rest",
    )
    return line, lost * inputs(f"{OWN}.rebate_lost_fraction")


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
    waiting = np.maximum(chips - case.fleet.plan.chips["own"], 0.0) * it_w
    time = mid_quarter_years(quarters)[None, :]
    until = np.minimum(dates.full_volume, dates.planned_service + IDLE_HALL_YEARS)[:, None]
    waiting = np.where(time < until, waiting, 0.0)
    yearly = site_lease_usd_per_w_year(inputs) + inputs("site.idle_usd_per_w_year")
    line = _line(
        "idle_hall",
        Holder.ENERGY_SITE,
        "IT power planned but not yet filled x (lease + upkeep), for two years at most",
        (
            *case.depends.it_power("own"),
            "site.capex_usd_per_w",
            "site.life_years",
            "decision.discount_rate",
            "site.idle_usd_per_w_year",
        ),
        "own",
    )
    return [(line, waiting * yearly / QUARTERS_PER_YEAR)]


def revenue_lines(case: Case, tokens: Floats) -> list[Entry]:
    """Demand left unserved at its value, or, where contribution counts, revenue.

    What is not served earns nothing: charging it as well would count it twice.
    """
    time = mid_quarter_years(case.quarters)[None, :]
    value, value_inputs = token_value(case, time)
    inputs = (*case.depends.all_tokens(), *value_inputs)
    if case.objective == "contribution":
        line = Line(
            key="revenue",
            holder=Holder.CUSTOMER,
            formula="- output tokens served x their value",
            inputs=inputs,
        )
        return [(line, -tokens / MTOK * value)]
    line = Line(
        key="unserved",
        holder=Holder.CUSTOMER,
        formula="unserved output tokens x their value",
        inputs=inputs,
    )
    return [(line, unmet_tokens(case) / MTOK * value)]


def token_value(case: Case, time_years: Floats) -> tuple[Floats, tuple[str, ...]]:
    """Revenue per million output tokens over time, and the inputs behind it.

    It falls with the hardware cost of the reference option's generations, as in a market that
    passes hardware progress on, and beyond that at the stated rate.
    """
    inputs = case.inputs
    value = inputs("value.usd_per_mtok") * np.exp(-inputs("value.decline_per_year") * time_years)
    names: tuple[str, ...] = ("value.usd_per_mtok", "value.decline_per_year")
    option = case.setting.options.get(case.setting.reference)
    if option is None or option.kind not in ("buy", "rent"):
        return value, names
    index = generation_index(option, inputs, time_years)
    names += (
        "rival.cadence_years",
        "rival.tokens_per_usd_gain_ratio",
        f"options.{option.key}.generation_years",
    )
    return value * inputs("rival.tokens_per_usd_gain_ratio") ** -index, names


__all__ = ["at", "programme_lines", "revenue_lines", "spread", "utilisation"]
