"""Two chains of factors: from parts to the price of a gigawatt, from chips to tokens a day."""

from __future__ import annotations

from typing import Any

from tapeout.constants import DAY_S, GIGA, MEGA
from tapeout.economics.prices import chip_price_usd
from tapeout.economics.schedule import OWN
from tapeout.study.central import CentralCase
from tapeout.study.evaluate import Problem
from tapeout.study.problem import sizing_option

Row = dict[str, Any]


def _row(
    title: str, value: float | None, unit: str, why: str = "", factor: float | None = None
) -> Row:
    return {"title": title, "value": value, "unit": unit, "why": why, "factor": factor}


def triangulation(problem: Problem, case: CentralCase, scenario: Any) -> list[Row]:
    """From the parts of the own chip to its price, and from that to a gigawatt of chips."""
    inputs = case.inputs

    def one(name: str) -> float:
        return float(inputs.flat(f"{OWN}.{name}")[0])

    parts = [
        ("Die", "die_usd", "wafer price over sellable dies"),
        ("Memory", "memory_usd", "gigabytes x price of high-bandwidth memory"),
        ("Package", "packaging_usd", "package, assembly and what is lost in it"),
        ("Test", "test_usd", ""),
    ]
    rows = [_row(title, one(name), "USD/chip", why) for title, name, why in parts]
    bill = sum(one(name) for _, name, _ in parts)
    option = problem.setting.options["own"]
    price = float(chip_price_usd(option, inputs, negotiated=False)[0, 0])
    watts = one("it_w_per_chip") * float(inputs.flat("site.pue_ratio")[0])
    margin = one("partner_margin_fraction")
    terms = f"hbm_procurement = {scenario.options['own'].hbm_procurement}"
    rows += [
        _row("Bill of materials", bill, "USD/chip"),
        _row(
            "Price paid to the design partner",
            price,
            "USD/chip",
            f"bill over one less a margin of {margin:.0%}; {terms}",
            price / bill,
        ),
        _row("Chips a gigawatt", GIGA / watts, "count", f"at {watts:,.0f} W a chip, all in"),
        _row("Chips alone, per gigawatt", price / watts, "USD bn/GW"),
    ]
    return rows + _reported(scenario, ("own.chip_price_usd", "own.chip_usd_bn_per_gw"))


def _reported(scenario: Any, compare: tuple[str, ...]) -> list[Row]:
    units = {"own.chip_price_usd": "USD/chip", "own.chip_usd_bn_per_gw": "USD bn/GW"}
    return [
        _row(
            reference.title or reference.key,
            reference.value.value,
            units.get(reference.compare, "tokens/day"),
            reference.value.why,
        )
        | {
            "low": reference.value.low,
            "high": reference.value.high,
            "source": reference.value.source,
            "source_url": reference.value.source_url,
        }
        for reference in scenario.reference
        if reference.compare in compare
    ]


def reconciliation(problem: Problem, case: CentralCase, scenario: Any) -> list[Row]:
    """From the chips that the site powers to tokens a day, beside the demand that is reported."""
    if scenario.scale.sized_by != "mw":
        return []
    key, inputs = sizing_option(scenario), case.inputs
    path = f"options.{key}"

    def one(name: str) -> float:
        return float(inputs.flat(name)[0])

    watts = one(f"{path}.it_w_per_chip") * one("site.pue_ratio")
    chips = scenario.scale.mw * MEGA / watts
    delivered = one(f"{OWN}.delivered_ratio") if key == "own" else 1.0
    factor = one(f"{path}.availability_fraction") * delivered
    held = one("demand.peak_to_mean_ratio") * (1.0 + one("fleet.spares_fraction"))
    output = float(problem.setting.demand_profile.max()) * DAY_S
    per_output = sum(
        (traffic.share or 0.0) * (1.0 + traffic.input_tokens / traffic.output_tokens)
        for traffic in scenario.traffic
    )
    total = output * per_output
    rows = [
        _row(
            "Chips the site powers",
            chips,
            "count",
            f"{scenario.scale.mw:,.0f} MW at {watts:,.0f} W",
        ),
        _row(
            "Output tokens a second and chip",
            one(f"{path}.tokens_per_s_per_chip"),
            "tokens/s",
            "steady state at the service levels, over the basket of open stand-ins",
        ),
        _row("Availability, delivered over published", None, "", "", factor),
        _row(
            "One over peak-to-mean and spares", None, "", "sized for the busiest hour", 1.0 / held
        ),
        _row("Output tokens, mean day", output, "tokens/day"),
        _row("Input and cached input per output token", None, "", "of the basket", per_output),
        _row("All tokens, mean day", total, "tokens/day"),
    ]
    reported = _reported(scenario, ("scale.total_tokens_per_day",))
    seen = sum(row["value"] for row in reported)
    if seen:
        rows += [*reported, _row("Reported over what the site serves", seen / total, "fraction")]
    return rows
