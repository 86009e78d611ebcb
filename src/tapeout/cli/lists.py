"""Lists in options: `1,2,4..256`, `tp1,tp8`, `a,b`."""

from __future__ import annotations

from tapeout.errors import InfeasibleError

STEP = 2.0
MOST = 200  # values of one list


def texts(option: str, text: str) -> tuple[str, ...]:
    """Parts between commas.

    Raises
    ------
    InfeasibleError
        A part is empty.

    Examples
    --------
    >>> texts("--chip", "h100, b200")
    ('h100', 'b200')
    """
    parts = tuple(part.strip() for part in text.split(","))
    if not all(parts):
        raise InfeasibleError(f"{option} {text!r}: nothing between two commas; write a,b,c")
    return parts


def numbers(option: str, text: str) -> tuple[float, ...]:
    """Numbers between commas; `a..b` goes on by the factor of the two numbers before, else 2.

    Raises
    ------
    InfeasibleError
        A part is no positive number, a range does not rise, or the list is very long.

    Examples
    --------
    >>> numbers("--batch", "1,2,4..32")
    (1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
    >>> numbers("--batch", "1,4..70")
    (1.0, 4.0, 16.0, 64.0, 70.0)
    """
    found: list[float] = []
    for part in texts(option, text):
        first, dots, last = part.partition("..")
        start = _number(option, part, first)
        factor = start / found[-1] if found else STEP
        found.append(start)
        if dots:
            found += _range(option, part, (start, factor, _number(option, part, last)))
        if len(found) > MOST:
            raise InfeasibleError(f"{option} {text!r}: more than {MOST} values")
    return tuple(dict.fromkeys(found))


def _range(option: str, part: str, terms: tuple[float, float, float]) -> list[float]:
    """Values after the first up to and with the last."""
    start, factor, last = terms
    if last <= start:
        raise InfeasibleError(f"{option} {part!r}: the end must be above the start")
    if factor <= 1.0:
        factor = STEP
    values: list[float] = []
    value = start * factor
    while value < last and len(values) <= MOST:
        values.append(value)
        value *= factor
    return [*values, last]


def _number(option: str, part: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0.0 < value < float("inf"):
        raise InfeasibleError(
            f"{option} {part!r}: {text!r} is no positive number; write 64, 1,2,4 or 1..256"
        )
    return value
