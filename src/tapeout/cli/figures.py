"""Numbers on the terminal as `show` prints them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from tapeout.errors import printable

if TYPE_CHECKING:
    from tapeout.sources import Figure

_PLAIN_UP_TO = 1e15  # beyond, digits help nobody


def number(value: float) -> str:
    """Four significant digits with thousands marked, no exponent where it can be read.

    Examples
    --------
    >>> number(1234567.0), number(0.49502), number(1e-7), number(float("nan"))
    ('1,235,000', '0.495', '1e-07', 'none')
    """
    if math.isnan(value):
        return "none"
    if value == 0 or not 1e-4 <= abs(value) < _PLAIN_UP_TO:
        return f"{value:g}"
    digits = 3 - math.floor(math.log10(abs(value)))
    text = f"{round(value, digits):,.{max(digits, 0)}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def safe(text: str) -> str:
    r"""Text of a user for rich: neither markup nor what a terminal obeys.

    Examples
    --------
    >>> safe("[/bad]\x1b[31m") == "\\[/bad]\ufffd[31m"
    True
    """
    from rich.markup import escape  # noqa: PLC0415  slow to load

    return escape(printable(text))


def spread(figure: Figure) -> str:
    """A figure with its range and unit."""
    between = ""
    if figure.low is not None and figure.high is not None and figure.low != figure.high:
        between = f" ({number(figure.low)} to {number(figure.high)})"
    return f"{number(figure.value)}{between} {figure.unit}"
