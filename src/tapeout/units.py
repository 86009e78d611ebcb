"""Units at the boundary: text in, one float in a canonical unit out.

Inside, every float is in the unit its name ends with; only this module knows the factors.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from tapeout import constants as c
from tapeout.errors import UnitError, did_you_mean, nearest


@dataclass(frozen=True, slots=True)
class Unit:
    """A unit: what it measures, and its size in that dimension's canonical unit."""

    dimension: str
    factor: float


_PREFIX = {"": 1.0, "k": c.KILO, "M": c.MEGA, "G": c.GIGA, "T": c.TERA, "P": c.PETA, "E": c.EXA}
_BINARY = {"Ki": c.KIB, "Mi": c.MIB, "Gi": c.GIB, "Ti": c.TIB}
_USD = {"USD": 1.0, "USD k": c.KILO, "USD M": c.MEGA, "USD bn": c.GIGA}


def _table() -> dict[str, Unit]:
    table: dict[str, Unit] = {}

    def add(dimension: str, factors: dict[str, float]) -> None:
        table.update({name: Unit(dimension, factor) for name, factor in factors.items()})

    for prefix, factor in _PREFIX.items():
        add("flop_per_s", {f"{prefix}FLOP/s": factor, f"{prefix}OP/s": factor})
        add("flop_per_s_per_w", {f"{prefix}FLOP/s/W": factor})
        add("bytes", {f"{prefix}B": factor})
        add("bytes_per_s", {f"{prefix}B/s": factor})
        add("w", {f"{prefix}W": factor})
        add("hz", {f"{prefix}Hz": factor})
    for prefix, factor in _BINARY.items():
        add("bytes", {f"{prefix}B": float(factor)})
        add("bytes_per_s", {f"{prefix}B/s": float(factor)})
    add("j", {"J": 1.0, "kWh": c.JOULE_PER_KWH})
    add("s", {"s": 1.0, "ms": c.MILLI, "us": c.MICRO, "min": c.MINUTE_S, "h": c.HOUR_S})
    add(
        "years",
        {
            "years": 1.0,
            "year": 1.0,
            "months": 1 / c.MONTHS_PER_YEAR,
            "quarters": 1 / c.QUARTERS_PER_YEAR,
            "days": 1 / c.YEAR_DAYS,
        },
    )
    add("usd", _USD)
    for name, factor in _USD.items():
        add(
            "usd_per_year",
            {f"{name}/year": factor, f"{name}/quarter": factor * c.QUARTERS_PER_YEAR},
        )
        add(
            "usd_per_w",
            {
                f"{name}/W": factor,
                f"{name}/kW": factor / c.KILO,
                f"{name}/MW": factor / c.MEGA,
                f"{name}/GW": factor / c.GIGA,
            },
        )
        add(
            "usd_per_w_year",
            {
                f"{name}/W-year": factor,
                f"{name}/MW-year": factor / c.MEGA,
                f"{name}/GW-year": factor / c.GIGA,
                f"{name}/MW-day": factor / c.MEGA * c.YEAR_DAYS,
            },
        )
    for item in ("chip", "GPU", "unit", "stack", "wafer", "rack", "H100e"):
        dimension = "usd_per_chip" if item == "GPU" else f"usd_per_{item.lower()}"
        add(dimension, {f"USD/{item}": 1.0, f"USD M/{item}": c.MEGA})
    for item in ("chip", "GPU", "accelerator"):
        add("usd_per_chip_hour", {f"USD/{item}-hour": 1.0})
    add("usd_per_kwh", {"USD/kWh": 1.0, "USD/MWh": 1 / c.KILO})
    add("usd_per_gb", {"USD/GB": 1.0})
    add("usd_per_mtok", {"USD/M tokens": 1.0, "USD/M input tokens": 1.0, "USD/Mtok": 1.0})
    add(
        "tokens_per_day",
        {
            "tokens/day": 1.0,
            "trillion tokens/day": c.TERA,
            "trillion tokens/month": c.TERA / c.MONTH_DAYS,
            "billion tokens/minute": c.GIGA * c.DAY_S / c.MINUTE_S,
        },
    )
    add("per_day", {"billion/day": c.GIGA})
    add("tokens_per_s", {"tokens/s": 1.0})
    add(
        "fraction",
        {
            "fraction": 1.0,
            "%": c.PERCENT,
            "% of projects": c.PERCENT,
            "% of first production": c.PERCENT,
            "% of phase-one chips": c.PERCENT,
            "% of inference demand": c.PERCENT,
            "% q/q": c.PERCENT,
        },
    )
    add(
        "ratio",
        {
            "ratio": 1.0,
            "x": 1.0,
            "x lower": 1.0,
            "x better": 1.0,
            "x/year": 1.0,
            "x TCO per token": 1.0,
            "x vs Blackwell NVL72": 1.0,
            "log points": 1.0,
        },
    )
    add(
        "count",
        dict.fromkeys(
            (
                "count",
                "chips",
                "GPUs",
                "LPUs",
                "SMs",
                "CUs",
                "PCUs",
                "SMXs",
                "TPCs",
                "Xe cores",
                "core slices",
                "NeuronCores",
                "TensorCores",
                "cores",
                "stacks",
                "dies",
                "engineers",
                "customers",
            ),
            1.0,
        ),
    )
    add("count", {"M chips": c.MEGA, "M shares": c.MEGA, "million": c.MEGA, "billion": c.GIGA})
    add("mm2", {"mm2": 1.0, "cm2": c.MM2_PER_CM2})
    add("nm", {"nm": 1.0})
    add("per_cm2", {"defects/cm2": 1.0})
    add("year", {"year_of": 1.0})
    add("per_year", {"1/year": 1.0, "%/year": c.PERCENT})
    return table


UNITS: dict[str, Unit] = _table()
_QUANTITY = re.compile(r"^\s*([-+]?(?:\d[\d_]*\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*(.*?)\s*$")


def unit(name: str) -> Unit:
    """Look a unit up.

    Raises
    ------
    UnitError
        The name is empty or unknown; near names are suggested.
    """
    found = UNITS.get(name)
    if found is not None:
        return found
    if not name:
        raise UnitError("unit missing; write for example '989 TFLOP/s'")
    hint = nearest(name, UNITS)
    tail = f"; did you mean {did_you_mean(hint)}?" if hint else ""
    raise UnitError(f"unknown unit {name!r}{tail}")


def convert(value: float, unit_name: str, dimension: str) -> float:
    """Express a value given in a unit in the canonical unit of its dimension.

    Raises
    ------
    UnitError
        The unit is unknown or measures something else.

    Examples
    --------
    >>> convert(3.35, "TB/s", "bytes_per_s")
    3350000000000.0
    """
    found = unit(unit_name)
    if found.dimension != dimension:
        raise UnitError(f"{unit_name!r} measures {found.dimension}, {dimension} is needed")
    return value * found.factor


def parse(text: str, dimension: str) -> float:
    """Read "989 TFLOP/s" as a float in the canonical unit of `dimension`.

    Raises
    ------
    UnitError
        Not a number, no unit, an unknown unit, or one of another dimension.

    Examples
    --------
    >>> parse("1.3 GW", "w")
    1300000000.0
    """
    number, unit_name = split(text)
    return convert(number, unit_name, dimension)


def split(text: str) -> tuple[float, str]:
    """Split "989 TFLOP/s" into the number and the name of its unit.

    Raises
    ------
    UnitError
        The text does not begin with a finite number.
    """
    match = _QUANTITY.match(text)
    if match is None:
        raise UnitError(f"{text!r} is not a number with a unit")
    value = float(match.group(1))
    if not math.isfinite(value):
        raise UnitError(f"{text!r} is not finite")
    return value, match.group(2)
