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
_PRICED = ("chip", "GPU", "unit", "stack", "wafer", "rack", "H100e")
_FRACTIONS = (
    "%",
    "% of projects",
    "% of first production",
    "% of phase-one chips",
    "% of inference demand",
    "% q/q",
)
_RATIOS = (
    "ratio",
    "x",
    "x lower",
    "x better",
    "x/year",
    "x TCO per token",
    "x vs Blackwell NVL72",
    "log points",
)
_COUNTED = (
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
)
_PLAIN: dict[str, dict[str, float]] = {
    "j": {"J": 1.0, "kWh": c.JOULE_PER_KWH},
    "s": {"s": 1.0, "ms": c.MILLI, "us": c.MICRO, "min": c.MINUTE_S, "h": c.HOUR_S},
    "years": {
        "years": 1.0,
        "year": 1.0,
        "months": 1 / c.MONTHS_PER_YEAR,
        "quarters": 1 / c.QUARTERS_PER_YEAR,
        "days": 1 / c.YEAR_DAYS,
    },
    "usd": _USD,
    "usd_per_chip_hour": {"USD/chip-hour": 1.0, "USD/GPU-hour": 1.0, "USD/accelerator-hour": 1.0},
    "usd_per_kwh": {"USD/kWh": 1.0, "USD/MWh": 1 / c.KILO},
    "usd_per_gb": {"USD/GB": 1.0},
    "usd_per_mtok": {"USD/M tokens": 1.0, "USD/M input tokens": 1.0, "USD/Mtok": 1.0},
    "tokens_per_day": {
        "tokens/day": 1.0,
        "trillion tokens/day": c.TERA,
        "trillion tokens/month": c.TERA / c.MONTH_DAYS,
        "billion tokens/minute": c.GIGA * c.DAY_S / c.MINUTE_S,
    },
    "per_day": {"billion/day": c.GIGA},
    "tokens_per_s": {"tokens/s": 1.0},
    "fraction": {"fraction": 1.0} | dict.fromkeys(_FRACTIONS, c.PERCENT),
    "ratio": dict.fromkeys(_RATIOS, 1.0),
    "count": dict.fromkeys(_COUNTED, 1.0)
    | {"M chips": c.MEGA, "M shares": c.MEGA, "million": c.MEGA, "billion": c.GIGA},
    "mm2": {"mm2": 1.0, "cm2": c.MM2_PER_CM2},
    "nm": {"nm": 1.0},
    "per_cm2": {"defects/cm2": 1.0},
    "year": {"year_of": 1.0},
    "per_year": {"1/year": 1.0, "%/year": c.PERCENT},
}


def _prefixed() -> dict[str, dict[str, float]]:
    """Units that take a metric or binary prefix."""
    bases = {
        "flop_per_s": ("FLOP/s", "OP/s"),
        "flop_per_s_per_w": ("FLOP/s/W",),
        "bytes": ("B",),
        "bytes_per_s": ("B/s",),
        "w": ("W",),
        "hz": ("Hz",),
    }
    out = {
        dimension: {prefix + name: size for name in names for prefix, size in _PREFIX.items()}
        for dimension, names in bases.items()
    }
    for dimension in ("bytes", "bytes_per_s"):
        (name,) = bases[dimension]
        out[dimension] |= {prefix + name: float(size) for prefix, size in _BINARY.items()}
    return out


def _dollars() -> dict[str, dict[str, float]]:
    """Dollars per year, per watt, per watt and year, per thing."""
    out: dict[str, dict[str, float]] = {}
    watts = {"W": 1.0, "kW": c.KILO, "MW": c.MEGA, "GW": c.GIGA}
    spans = {"/year": 1.0, "/quarter": float(c.QUARTERS_PER_YEAR)}
    for name, usd in _USD.items():
        out.setdefault("usd_per_year", {}).update({name + s: usd * k for s, k in spans.items()})
        per_w = {f"{name}/{watt}": usd / size for watt, size in watts.items()}
        out.setdefault("usd_per_w", {}).update(per_w)
        out.setdefault("usd_per_w_year", {}).update(
            {f"{name}/{watt}-year": usd / watts[watt] for watt in ("W", "MW", "GW")}
            | {f"{name}/MW-day": usd / c.MEGA * c.YEAR_DAYS}
        )
    for item in _PRICED:
        dimension = "usd_per_chip" if item == "GPU" else f"usd_per_{item.lower()}"
        out.setdefault(dimension, {}).update({f"USD/{item}": 1.0, f"USD M/{item}": c.MEGA})
    return out


def _table() -> dict[str, Unit]:
    return {
        name: Unit(dimension, factor)
        for part in (_PLAIN, _prefixed(), _dollars())
        for dimension, factors in part.items()
        for name, factor in factors.items()
    }


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
