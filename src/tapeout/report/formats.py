"""How numbers read: three significant digits, one digit for a probability, never more.

The only module that turns a figure into text. Money is USD; `None`, nan and infinity read as a
dash. A minus is the typographic one, so that a range keeps its hyphens apart.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable

from tapeout.constants import GIGA, KILO, MEGA, MILLI, MONTHS_PER_QUARTER, PERCENT, TERA, YEAR_DAYS

DIGITS = 3
NONE = "–"
_MINUS = "−"
_ROUND_PERCENT = 10.0  # from here on a share is printed without decimals
_LONGEST_DECIMALS = 12
_NEAR_ONE = 0.9


def missing(value: float | None) -> bool:
    """Whether there is no finite number."""
    return value is None or not math.isfinite(value)


def decimals(value: float, digits: int = DIGITS) -> int:
    """Decimal places that show so many significant digits of a value.

    Examples
    --------
    >>> decimals(0.1696), decimals(42.2), decimals(48600.0)
    (3, 1, 0)
    """
    if value == 0:
        return 0
    exponent = math.floor(math.log10(abs(value)))
    if abs(round(value, digits - 1 - exponent)) >= 10.0 ** (exponent + 1):
        exponent += 1
    return min(max(0, digits - 1 - exponent), _LONGEST_DECIMALS)


def fixed(value: float, places: int) -> str:
    """A number with so many decimals, thousands separated.

    Examples
    --------
    >>> fixed(-1234.5, 0), fixed(-0.0004, 2)
    ('−1,234', '0.00')
    """
    text = f"{abs(value):,.{places}f}"
    return f"{_MINUS}{text}" if value < 0 and any(c in "123456789" for c in text) else text


def number(value: float | None, digits: int = DIGITS) -> str:
    """A plain number to three significant digits.

    Examples
    --------
    >>> number(0.16966), number(3.98184), number(1083000.0), number(None)
    ('0.170', '3.98', '1,080,000', '–')
    """
    if value is None or missing(value):
        return NONE
    if value == 0:
        return "0"
    exponent = math.floor(math.log10(abs(value)))
    rounded = round(value, digits - 1 - exponent)
    return fixed(rounded, decimals(value, digits))


def short(value: float | None) -> str:
    """A number of an input: three digits, four from a thousand on, trailing zeros dropped.

    Examples
    --------
    >>> short(1.6), short(0.0556), short(1125.0)
    ('1.6', '0.0556', '1,125')
    """
    large = value is not None and not missing(value) and abs(value) >= KILO
    text = number(value, DIGITS + 1 if large else DIGITS)
    return text.rstrip("0").rstrip(".") if "." in text else text


def money_scale(value: float) -> tuple[float, str]:
    """Factor and suffix in which an amount is written."""
    size = abs(value)
    for factor, suffix in ((GIGA, " bn"), (MEGA, " M")):
        if float(f"{size:.3g}") >= factor:
            return factor, suffix
    return 1.0, ""


def usd(value: float | None) -> str:
    """An amount in dollars, millions or billions.

    Examples
    --------
    >>> usd(42.19e9), usd(-310e6), usd(3.98184), usd(0.15633)
    ('$42.2 bn', '−$310 M', '$3.98', '$0.156')
    """
    if value is None or missing(value):
        return NONE
    factor, suffix = money_scale(value)
    text = number(value / factor)
    sign = _MINUS if text.startswith(_MINUS) else ""
    return f"{sign}${text.removeprefix(_MINUS)}{suffix}"


def usd_fixed(value: float, factor: float, places: int) -> str:
    """An amount in a given scale and number of decimals, without its suffix."""
    text = fixed(value / factor, places)
    sign = _MINUS if text.startswith(_MINUS) else ""
    return f"{sign}${text.removeprefix(_MINUS)}"


def times(value: float | None) -> str:
    """A ratio, as in 1.77x; two decimals below ten.

    Examples
    --------
    >>> times(1.7749), times(12.34), times(None)
    ('1.77x', '12.3x', '–')
    """
    if value is None or missing(value):
        return NONE
    return f"{fixed(value, 2)}x" if abs(value) < 10.0 else f"{number(value)}x"


def percent(fraction: float | None) -> str:
    """A share, whole per cent from ten on.

    Examples
    --------
    >>> percent(0.62), percent(0.0556), percent(1.0), percent(-0.175)
    ('62 %', '5.6 %', '100 %', '−18 %')
    """
    if fraction is None or missing(fraction):
        return NONE
    value = fraction / PERCENT
    text = fixed(value, 0) if abs(value) >= _ROUND_PERCENT else short(float(f"{value:.2g}"))
    return f"{text} %"


def probability(p: float | None) -> str:
    """A probability to one digit, never none and never certain.

    Examples
    --------
    >>> probability(0.1033), probability(0.003), probability(0.99)
    ('0.1', 'under 0.1', 'over 0.9')
    """
    from tapeout.study.verdict import one_digit  # noqa: PLC0415  a room that is slow to load

    return NONE if p is None or missing(p) else one_digit(p)


def share(fraction: float | None) -> str:
    """A share near one, whose distance from one is what matters.

    Examples
    --------
    >>> share(0.9962), share(1.0), share(0.871), share(0.99996)
    ('99.6 %', '100 %', '87 %', '99.996 %')
    """
    if fraction is None or missing(fraction) or not _NEAR_ONE < fraction < 1.0:
        return percent(fraction)
    return f"{fraction / PERCENT:.{max(1, decimals((1.0 - fraction) / PERCENT, 1))}f} %"


def seconds(value: float | None, digits: int = DIGITS) -> str:
    """A time in the unit that reads best, to so many digits.

    Examples
    --------
    >>> seconds(0.0321), seconds(12.345), seconds(float("nan"))
    ('32.1 ms', '12.3 s', '–')
    """
    if value is None or missing(value):
        return NONE
    if value < 1.0:
        return f"{number(value / MILLI, digits)} ms"
    return f"{number(value, digits)} s"


def milliseconds(seconds: float | None) -> str:
    """A short time.

    Examples
    --------
    >>> milliseconds(0.0491)
    '49.1 ms'
    """
    return NONE if seconds is None or missing(seconds) else f"{number(seconds / MILLI)} ms"


def years(value: float | None) -> str:
    """A span of years.

    Examples
    --------
    >>> years(5.0), years(1.2178), years(1.0), years(None)
    ('5 years', '1.2 years', '1 year', '–')
    """
    if value is None or missing(value):
        return NONE
    text = fixed(value, 1).removesuffix(".0")
    return f"{text} year" if text == "1" else f"{text} years"


def day(iso: str) -> str:
    """A date for people.

    Examples
    --------
    >>> day("2026-08-26")
    '26 Aug 2026'
    """
    try:
        date = dt.date.fromisoformat(iso)
    except ValueError:
        return iso
    return f"{date.day} {date:%b %Y}"


def quarter(iso: str) -> str:
    """The calendar quarter of a date.

    Examples
    --------
    >>> quarter("2033-05-01")
    'Q2 2033'
    """
    date = dt.date.fromisoformat(iso)
    return f"Q{(date.month - 1) // MONTHS_PER_QUARTER + 1} {date.year}"


def quarter_after(start: str, after_years: float | None) -> str:
    """The calendar quarter so many years after a date.

    Examples
    --------
    >>> quarter_after("2026-08-26", 1.0948)
    'Q3 2027'
    """
    if after_years is None or missing(after_years):
        return NONE
    date = dt.date.fromisoformat(start) + dt.timedelta(days=round(after_years * YEAR_DAYS))
    return quarter(date.isoformat())


_PER = {
    "USD/chip": " a chip",
    "USD/GB": " a GB",
    "USD/wafer": " a wafer",
    "USD/kWh": " a kWh",
    "USD/W": " a W",
    "USD/W-year": " a W and year",
    "USD/year": " a year",
    "USD/chip-hour": " a chip-hour",
    "USD/Mtok": " a million output tokens",
    "USD": "",
}


def yes_no(value: float | None) -> str:
    """A coin toss: 0 is no, 1 is yes."""
    return "no" if not value else "yes"


_SHAPES: dict[str, tuple[Callable[[float | None], str], str]] = {
    "fraction": (percent, ""),
    "1/year": (percent, " a year"),
    "years": (years, ""),
    "ratio": (times, ""),
    "count": (short, ""),
    "yes/no": (yes_no, ""),
    "": (short, ""),
}


def quantity(value: float | None, unit: str) -> str:
    """A figure with its unit in words.

    Examples
    --------
    >>> quantity(48600.0, "USD/chip"), quantity(0.04, "1/year"), quantity(2120.0, "W")
    ('$48,600 a chip', '4 % a year', '2,120 W')
    """
    if value is None or missing(value):
        return NONE
    if unit in _PER:
        return f"{usd(value)}{_PER[unit]}"
    if unit in _SHAPES:
        shape, suffix = _SHAPES[unit]
        return f"{shape(value)}{suffix}"
    return f"{short(value)} {unit}"


def span(low: float | None, high: float | None, unit: str) -> str:
    """A range, its unit once.

    Examples
    --------
    >>> span(48600.0, 126400.0, "USD/chip"), span(0.72, 1.39, "ratio"), span(4.0, 6.0, "years")
    ('$48,600 to $126,000 a chip', '0.72x to 1.39x', '4 to 6 years')
    """
    if low is None or high is None or missing(low) or missing(high):
        return NONE
    if unit == "years":
        return f"{years(low).split()[0]} to {years(high)}"
    first, last = quantity(low, unit), quantity(high, unit)
    tail = _PER.get(unit) or _SHAPES.get(unit, (None, f" {unit}"))[1]
    if unit in ("fraction", "1/year"):
        tail = f" %{tail}"
    return f"{first.removesuffix(tail) if tail else first} to {last}"


def usd_span(low: float | None, high: float | None) -> str:
    """A range of amounts in the scale of the larger end.

    Examples
    --------
    >>> usd_span(14.03e9, 97.03e9), usd_span(-92.46e9, 9.1e9), usd_span(0.1426, 0.672)
    ('$14.0 to 97.0 bn', '−$92.5 to 9.1 bn', '$0.143 to 0.672')
    """
    if low is None or high is None or missing(low) or missing(high):
        return NONE
    largest = max(abs(low), abs(high))
    factor, suffix = money_scale(largest)
    places = decimals(largest / factor)
    first = usd_fixed(low, factor, places)
    return f"{first} to {fixed(high / factor, places)}{suffix}"


def integer(value: float | None) -> str:
    """A count that is exact."""
    return NONE if value is None or missing(value) else fixed(float(value), 0)


def tokens(value: float | None) -> str:
    """A large number of tokens.

    Examples
    --------
    >>> tokens(6.2e12), tokens(3.5e9), tokens(81331.7)
    ('6.20 trillion', '3.50 bn', '81,300')
    """
    if value is None or missing(value):
        return NONE
    for factor, suffix in ((TERA, " trillion"), (GIGA, " bn"), (MEGA, " M")):
        if abs(value) >= factor:
            return f"{number(value / factor)}{suffix}"
    return number(value)
