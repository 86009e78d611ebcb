"""The central case and what moves it: cash by line, units, tornado, what must be true, regret."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from tapeout.constants import CALENDAR_YEAR_DAYS, DAY_S, MEGA, MTOK, QUARTERS_PER_YEAR, YEAR_HOURS
from tapeout.economics.cashflow import strategy_cash_flow
from tapeout.economics.prices import chip_price_usd
from tapeout.economics.schedule import OWN
from tapeout.economics.statements import account_of
from tapeout.economics.supply import Fleet, option_power_w
from tapeout.economics.types import CashFlow, Inputs
from tapeout.numerics import Floats
from tapeout.study.capacity import Capacity, traffic_of
from tapeout.study.checks import in_term_unit, known_terms
from tapeout.study.evaluate import Boundary, Outcomes, Problem, evaluate
from tapeout.study.futures import Sampler

Values = Mapping[str, Floats]

# coin tosses of the programme, as the low and high ends of a tornado bar
TOSSES = {
    f"{OWN}.slip_months": ("late or not", 0.0, 12.0),
    f"{OWN}.spins": ("extra steppings", 0.0, 2.0),
    f"{OWN}.cancelled": ("cancelled or not", 0.0, 1.0),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class CentralCase:
    """Every strategy at the central value of every input."""

    inputs: Inputs
    flows: Mapping[str, CashFlow]
    fleets: Mapping[str, Fleet]
    contribution: Mapping[str, CashFlow]


def central_case(problem: Problem, sampler: Sampler) -> CentralCase:
    """Evaluate all strategies at central values, lines kept."""
    inputs = sampler.inputs(sampler.medians())
    flows, fleets, contribution = {}, {}, {}
    for strategy in problem.strategies:
        negotiated = problem.builds_own(strategy.key)
        flows[strategy.key], fleets[strategy.key] = strategy_cash_flow(
            problem.setting, strategy, inputs, negotiated=negotiated
        )
        contribution[strategy.key], _ = strategy_cash_flow(
            problem.setting, strategy, inputs, objective="contribution", negotiated=negotiated
        )
    return CentralCase(inputs=inputs, flows=flows, fleets=fleets, contribution=contribution)


def quarter_start(start: dt.date, quarter: int) -> dt.date:
    """First day of a quarter counted from the decision."""
    months = start.month - 1 + 3 * quarter
    return dt.date(start.year + months // 12, months % 12 + 1, 1)


def date_after(start: dt.date, years: float) -> dt.date:
    """Date a span of years after the decision."""
    return start + dt.timedelta(days=round(years * CALENDAR_YEAR_DAYS))


def cash_rows(case: CentralCase, start: dt.date) -> list[dict[str, Any]]:
    """Central cash flow in long form: strategy, line, quarter, USD; re-adds by hand."""
    rows: list[dict[str, Any]] = []
    for key, flow in case.flows.items():
        for index, line in enumerate(flow.lines):
            usd = flow.usd[0, :, index]
            if not np.any(usd):
                continue
            rows += [
                {
                    "strategy": key,
                    "line": line.key,
                    "holder": str(line.holder),
                    "cash": line.cash,
                    "account": str(account_of(line)),
                    "quarter": quarter,
                    "start": quarter_start(start, quarter).isoformat(),
                    "usd": float(value),
                    "discount": float(flow.discount[0, quarter]),
                }
                for quarter, value in enumerate(usd)
            ]
    return rows


def token_rows(case: CentralCase, start: dt.date) -> list[dict[str, Any]]:
    """Output tokens served and what one sells for over today, by strategy and quarter."""
    return [
        {
            "strategy": key,
            "quarter": quarter,
            "start": quarter_start(start, quarter).isoformat(),
            "tokens": float(tokens),
            "token_worth": float(worth),
            "discount": float(discount),
        }
        for key, flow in case.flows.items()
        for quarter, (tokens, worth, discount) in enumerate(
            zip(
                flow.tokens[0],
                np.broadcast_to(flow.token_worth, flow.tokens.shape)[0],
                flow.discount[0],
                strict=True,
            )
        )
    ]


def line_rows(case: CentralCase) -> list[dict[str, Any]]:
    """Declaration of every line of every strategy, with its present value in the central case."""
    rows = []
    for key, flow in case.flows.items():
        npv = flow.npv_by_line_usd()[0]
        rows += [
            {
                "strategy": key,
                "line": line.key,
                "holder": str(line.holder),
                "cash": line.cash,
                "formula": line.formula,
                "inputs": sorted(set(line.inputs)),
                "npv_usd": float(value),
            }
            for line, value in zip(flow.lines, npv, strict=True)
        ]
    return rows


def unit_rows(
    problem: Problem, case: CentralCase, capacity: Capacity, memory_gb: Mapping[str, float]
) -> list[dict[str, Any]]:
    """Chips, racks, megawatts and memory of each strategy at its largest, option by option."""
    rows = []
    for key, fleet in case.fleets.items():
        for option in fleet.plan.options:
            chips = fleet.plan.chips[option][0]
            at = int(chips.argmax())
            if chips[at] <= 0 or problem.setting.options[option].kind == "api":
                continue
            rack = chips_per_rack(capacity, option)
            bought = float(fleet.plan.new_chips[option][0].sum())
            rows.append(
                {
                    "strategy": key,
                    "option": option,
                    "title": problem.setting.options[option].title,
                    "quarter": at,
                    "chips": float(chips[at]),
                    "chips_ordered": bought,
                    "racks": float(chips[at]) / rack,
                    "chips_per_rack": rack,
                    "mw": float(fleet.power_w[option][0, at]) / MEGA,
                    "hbm_pb": float(chips[at]) * memory_gb.get(option, 0.0) / MEGA,
                }
            )
    return rows


def chips_per_rack(capacity: Capacity, option: str) -> int:
    """Chips of the domain an option's fastest links span, as far as one rack holds."""
    spec = capacity.specs[capacity.silicon[option]]
    rack = spec.links[0].chips if spec is not None and spec.links else 8
    return min(rack, 144)


def payback(problem: Problem, case: CentralCase, outcomes: Outcomes) -> dict[str, float]:
    """Payback of the headline over the baseline, on the programme and on all extra capital.

    Programme: its fixed cost over the levelised saving of a year at full volume, the measure press
    reports use; it says nothing of the capital behind the chips. All capital: the cumulated
    difference of all payments, until it is back at zero. Years; nan if never.
    """
    base, head = case.flows[problem.baseline], case.flows[problem.headline]
    fixed = [line.cash and line.scales == "fixed" for line in head.lines]
    programme = float(head.usd[0][:, fixed].sum())
    difference = base.by_quarter_usd()[0] - head.by_quarter_usd()[0]
    cumulated = np.cumsum(difference)
    on_programme = float("nan")
    if "own" in outcomes.unit and "own" in case.fleets[problem.headline].plan.chips:
        chips = float(case.fleets[problem.headline].plan.chips["own"][0].max())
        own, other = outcomes.unit["own"], outcomes.unit[problem.alternative]
        each = other.lcot_usd_per_mtok() - own.lcot_usd_per_mtok()
        yearly = float((each * own.output_tokens_per_year / MTOK)[0]) * chips
        on_programme = programme / yearly if yearly > 0 else float("nan")
    return {
        "on_programme_years": on_programme,
        "on_all_capital_years": back_at_zero_years(cumulated),
        "programme_usd": programme,
        "peak_cash_need_usd": float(max(0.0, -cumulated.min())),
        "peak_cash_need_quarter": int(cumulated.argmin()),
    }


def back_at_zero_years(cumulated: Floats) -> float:
    """Years until a cumulated flow is back at zero after its lowest point; nan if never."""
    lowest = int(cumulated.argmin())
    if cumulated[lowest] >= 0:
        return 0.0
    after = np.flatnonzero(cumulated[lowest:] >= 0)
    if not after.size:
        return float("nan")
    at = lowest + int(after[0])
    step = cumulated[at] - cumulated[at - 1]
    return float(at - cumulated[at] / step + 1.0) / QUARTERS_PER_YEAR


def batch_inputs(sampler: Sampler, changes: list[dict[str, float]]) -> Inputs:
    """Central values in every row, with the changes of each row."""
    values = sampler.medians(len(changes))
    late: dict[str, Floats] = {}
    for row, change in enumerate(changes):
        for path, value in change.items():
            target = values if path in values else late
            if path not in target:
                target[path] = np.full(len(changes), np.nan)
            target[path][row] = value
    inputs = sampler.inputs(values)
    merged = {
        path: np.where(np.isnan(column), inputs.flat(path), column) for path, column in late.items()
    }
    return inputs.replace(merged)


def tornado_rows(problem: Problem, sampler: Sampler) -> list[dict[str, Any]]:
    """NPV of building less the baseline with one input at its low, then its high end."""
    ranges = {
        path: (sampler.ledger[path].chosen.low, sampler.ledger[path].chosen.high)
        for path in sampler.columns
    }
    ends: list[tuple[str, float, float]] = [
        (path, float(low), float(high))
        for path, (low, high) in ranges.items()
        if low is not None and high is not None
    ]
    if problem.builds:
        ends += [(path, low, high) for path, (_, low, high) in TOSSES.items()]
    changes: list[dict[str, float]] = [{}]
    for path, low, high in ends:
        changes += [{path: low}, {path: high}]
    outcomes = evaluate(problem, batch_inputs(sampler, changes), full=False)
    npv = _objective(problem, outcomes)
    rows: list[dict[str, Any]] = [
        {
            "path": path,
            "low": low,
            "high": high,
            "base_usd": float(npv[0]),
            "at_low_usd": float(npv[1 + 2 * i]),
            "at_high_usd": float(npv[2 + 2 * i]),
        }
        for i, (path, low, high) in enumerate(ends)
    ]
    for row in rows:
        row["swing_usd"] = abs(row["at_high_usd"] - row["at_low_usd"])
    return sorted(rows, key=lambda row: (-row["swing_usd"], row["path"]))


def _objective(problem: Problem, outcomes: Outcomes) -> Floats:
    """What the tornado measures: the headline's saving over the baseline."""
    base, head = outcomes.cost[problem.baseline], outcomes.cost[problem.headline]
    saving: Floats = base.npv_usd - head.npv_usd
    return saving


MUST_BE_TRUE_POINTS = 25


def must_be_true(problem: Problem, sampler: Sampler, paths: list[str]) -> list[dict[str, Any]]:
    """For each input alone, the value at which the headline just pays, the rest at the centre.

    The range searched reaches a little beyond the input's own; no crossing is said as such.
    """
    centre = sampler.inputs(sampler.medians()).values | sampler.medians()
    grids: dict[str, Floats] = {}
    for path in paths:
        low, high = _search_range(sampler, path)
        grids[path] = np.linspace(low, high, MUST_BE_TRUE_POINTS)
    changes = [{path: float(x)} for path, grid in grids.items() for x in grid]
    npv = _objective(problem, evaluate(problem, batch_inputs(sampler, [{}, *changes]), full=False))
    rows = []
    for index, (path, grid) in enumerate(grids.items()):
        part = npv[1 + index * grid.size : 1 + (index + 1) * grid.size]
        crossing = np.flatnonzero(np.diff(np.sign(part)) != 0)
        value = float("nan")
        if crossing.size:
            i = int(crossing[0])
            value = float(np.interp(0.0, *_ascending(part[i : i + 2], grid[i : i + 2])))
        pays = "above" if part[-1] > part[0] else "below"
        rows.append(
            {
                "path": path,
                "central": float(centre[path][0]),
                "threshold": value,
                "pays": pays,
                "searched_low": float(grid[0]),
                "searched_high": float(grid[-1]),
                "pays_at_centre": bool(npv[0] > 0),
                "pays_throughout": bool(np.all(part > 0)),
                "never_pays": bool(np.all(part <= 0)),
            }
        )
    return rows


def _ascending(x: Floats, y: Floats) -> tuple[Floats, Floats]:
    order = np.argsort(x)
    return x[order], y[order]


def _search_range(sampler: Sampler, path: str) -> tuple[float, float]:
    if path in TOSSES:
        return 0.0, {f"{OWN}.slip_months": 36.0}.get(path, TOSSES[path][2])
    figure = sampler.ledger[path].chosen
    low = figure.value if figure.low is None else figure.low
    high = figure.value if figure.high is None else figure.high
    most = 1.0 if figure.unit == "fraction" else float("inf")
    # half as far again on either side, whatever the sign
    return low * (0.5 if low > 0 else 1.5), min(high * (1.5 if high > 0 else 0.5), most)


DEFAULT_FUTURES: tuple[tuple[str, str, dict[str, float]], ...] = (
    (
        "on-time",
        "On time, first silicon ships, delivers as published",
        {f"{OWN}.slip_months": 0.0, f"{OWN}.spins": 0.0, f"{OWN}.delivered_ratio": 1.0},
    ),
    ("slip-18", "Eighteen months late", {f"{OWN}.slip_months": 18.0, f"{OWN}.spins": 1.0}),
    ("half-delivered", "Delivers six tenths of what is published", {f"{OWN}.delivered_ratio": 0.6}),
    (
        "rival-leaps",
        "Each rival generation doubles tokens a dollar",
        {"rival.tokens_per_usd_gain_ratio": 2.0},
    ),
    ("rival-stalls", "Rival generations gain a tenth", {"rival.tokens_per_usd_gain_ratio": 1.1}),
    ("demand-half", "Half the demand comes", {"demand.realised_ratio": 0.5}),
    ("rents-collapse", "Rents fall by 40 % a year", {"market.rent_drift_per_year": -0.5}),
    ("rents-rise", "Rents rise by 20 % a year", {"market.rent_drift_per_year": 0.18}),
    (
        "shift",
        "The workload shifts in the third year, to the chip's worst",
        {f"{OWN}.shift_years": 3.0},
    ),
    ("cancelled", "Cancelled before volume", {f"{OWN}.cancelled": 1.0}),
)


def regret_rows(problem: Problem, sampler: Sampler, scenario: Any) -> list[dict[str, Any]]:
    """Cost of every strategy in named futures, and its regret against the best one there."""
    terms = known_terms(scenario)
    named = [
        (f.key, f.title or f.key, {p: in_term_unit(p, q, terms).value for p, q in f.set.items()})
        for f in scenario.future
    ]
    if not named:
        worst = float(sampler.shift_ratios.min())
        named = [
            (key, title, change | ({f"{OWN}.shift_ratio": worst} if key == "shift" else {}))
            for key, title, change in DEFAULT_FUTURES
            if problem.builds or not any(path.startswith(OWN) for path in change)
        ]
    outcomes = evaluate(
        problem, batch_inputs(sampler, [change for _, _, change in named]), full=False
    )
    rows = []
    for index, (key, title, _) in enumerate(named):
        cost = {name: float(flow.npv_usd[index]) for name, flow in outcomes.cost.items()}
        best = min(cost.values())
        rows += [
            {
                "future": key,
                "title": title,
                "strategy": name,
                "cost_usd": usd,
                "regret_usd": usd - best,
                "best": usd == best,
            }
            for name, usd in cost.items()
        ]
    return rows


def our_figures(
    problem: Problem, case: CentralCase, outcomes: Outcomes, scenario: Any
) -> dict[str, float]:
    """Figures of ours that a scenario may put beside somebody else's, by name."""
    out: dict[str, float] = {}
    for key, unit in outcomes.unit.items():
        if "@" in key:
            continue
        out[f"{key}.usd_per_chip_hour"] = float(unit.total_usd_per_year()[0]) / YEAR_HOURS
        out[f"{key}.lcot_usd_per_mtok"] = float(unit.lcot_usd_per_mtok()[0])
        option = problem.setting.options[key]
        if option.kind in ("buy", "build"):
            price = chip_price_usd(option, case.inputs, negotiated=False)
            out[f"{key}.chip_price_usd"] = float(price[0, 0])
            # the chip itself, not the generation that is on sale when the own chip ships
            watts = float(option_power_w(option, case.inputs)[0, 0])
            out[f"{key}.allin_w"] = watts
            out[f"{key}.chip_usd_bn_per_gw"] = float(price[0, 0]) / watts
            hall = float(case.inputs.flat("site.capex_usd_per_w")[0])
            pue = float(case.inputs.flat("site.pue_ratio")[0])
            out[f"{key}.all_in_usd_bn_per_gw"] = float(unit.capital_usd[0]) / watts + hall / pue
    if problem.builds:
        for name, bound in outcomes.boundaries.items():
            out[f"g_ship.{name}"] = float(bound.g_ship[0])
    tokens = float(problem.setting.demand_profile.max()) * DAY_S
    classes, shares = traffic_of(scenario)
    per_output = sum(
        float(share) * (1.0 + one.input_tokens / one.output_tokens)
        for one, share in zip(classes, shares, strict=False)  # shifted classes have no share
    )
    out["scale.output_tokens_per_day"] = tokens
    out["scale.total_tokens_per_day"] = tokens * per_output
    return out


def offtake_rows(scenario: Any, bound: Boundary, peak_cash_need_usd: float) -> list[dict[str, Any]]:
    """What a share taken by somebody else does, by type of contract, over all draws.

    third_party_use: the taker pays a price over the owner's cost for its share and may walk away,
    in which case that share stands idle. sale_leaseback: the taker buys the share's chips and the
    owner rents them back at that price, so capital moves and cost rises. unsigned: neither.
    """
    take = scenario.offtake
    share = take.fraction.value
    ratio = take.price_over_cost_ratio.value
    lost = take.default_fraction.value if take.default_fraction else 0.0
    own = bound.b_usd / bound.g_ship
    base = bound.a_usd - bound.fixed_usd - own
    used_less = (1.0 - share) * (bound.a_usd - own) - bound.fixed_usd
    idle = -share * own
    third = used_less + (1.0 - lost) * share * own * (ratio - 1.0) + lost * idle
    leaseback = base - share * own * (ratio - 1.0)
    return [
        _offtake("unsigned", "Unsigned", base, peak_cash_need_usd),
        _offtake(
            "third_party_use",
            f"{share:.0%} used and paid for by a third party",
            third,
            peak_cash_need_usd * (1.0 - share),
        ),
        _offtake(
            "sale_leaseback",
            f"{share:.0%} sold and leased back",
            leaseback,
            peak_cash_need_usd * (1.0 - share),
        ),
    ]


def _offtake(key: str, title: str, npv: Floats, peak: float) -> dict[str, Any]:
    return {
        "type": key,
        "title": title,
        "npv_mean_usd": float(npv.mean()),
        "npv_sd_usd": float(npv.std()),
        "p_pays": float(np.mean(npv > 0)),
        "peak_cash_need_usd": peak,
    }


def calendar_rows(problem: Problem, case: CentralCase, start: dt.date) -> list[dict[str, Any]]:
    """Commitments of the headline by date, and what is lost by cancelling after it."""
    fleet, flow = case.fleets[problem.headline], case.flows[problem.headline]
    dates = fleet.dates
    if dates is None:
        return []
    fixed = [line.cash and line.scales == "fixed" for line in flow.lines]
    spent = np.cumsum(flow.usd[0][:, fixed].sum(axis=1))
    lines = {line.key: flow.usd[0, :, i] for i, line in enumerate(flow.lines)}
    deposits = np.cumsum(np.maximum(lines["own.prepayment"], 0.0))
    new = fleet.plan.new_chips["own"][0]
    price = float(
        chip_price_usd(problem.setting.options["own"], case.inputs, negotiated=False)[0, 0]
    )
    committed = float(case.inputs.flat(f"{OWN}.committed_fraction")[0])
    firm = new.sum() * price * committed
    lost = firm * float(case.inputs.flat(f"{OWN}.writeoff_fraction")[0])
    first = float(dates.first_service[0])
    events = [
        ("Tape-out", float(dates.tapeout[0]), "design is paid for; masks are ordered", 0.0),
        (
            "Firm order of wafers, memory and packages",
            max(first - 1.0, float(dates.tapeout[0]), 0.0),
            f"{committed:.0%} of the planned volume; deposits a year ahead",
            lost,
        ),
        ("First service", first, "halls are leased, racks installed", lost),
        ("Full volume", float(dates.full_volume[0]), "chips have no second buyer", firm),
        (
            "Last order of this generation",
            float(dates.end_of_sales[0]),
            "the successor decides",
            firm,
        ),
    ]

    def at(values: Floats, years: float) -> float:
        index = int(min(max(years * QUARTERS_PER_YEAR, 0), values.size - 1))
        return float(values[index])

    if float(dates.tapeout[0]) <= 0:
        events = events[1:]  # history
    return [
        {
            "event": event,
            "date": date_after(start, years).isoformat(),
            "note": note,
            "programme_spent_usd": at(spent, years),
            "deposits_usd": at(deposits, years),
            "lost_if_cancelled_usd": at(spent, years) + loss,
        }
        for event, years, note, loss in events
    ]
