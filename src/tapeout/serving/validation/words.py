"""Words in cells of a serving row: precisions, loads and speculation as people spell them."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

PRECISIONS = (
    # words of a precision, ours, and what has to be said; the first that starts the text holds
    ("mxfp4|nvfp4|fp4|e2m1|w4a4", "fp4", ""),
    ("mxfp8|nvfp8|fp8|f8|e4m3|e5m2|float8|w8a8[ _-]*fp8", "fp8", ""),
    ("fp6|mxfp6|e3m2|e2m3", "fp8", "no 6-bit format is modelled"),
    ("uint4|int4|w4a16|w4a8|awq|gptq|4[ _-]?bit|u4|i4|q4", "int4", ""),
    ("int8|uint8|w8a8|w8a16|8[ _-]?bit|i8|q8", "int8", ""),
    ("16[ _-]?bit|bf16|bfloat16|fp16|float16|f16|half", "bf16", ""),
    ("fp32|tf32|float32|f32|32[ _-]?bit", "bf16", "no 32-bit serving is modelled"),
)
NO_DRAFTS = ("", "none", "no", "off", "false", "-", "0", "n/a", "na", "nan", "disabled")
UNSTATED = ("see submission", "unknown", "not stated")
KNOWN_DRAFTS = ("mtp", "eagle", "draft", "medusa", "nextn")
MOST_DRAFTS = 16

_NUMBER = r"(\d[\d,]*(?:\.\d+)?(?:e\+?\d{1,3})?)"
_BEFORE = r"(?:(?:concurrency|conc|batch(?: size)?|bs|c)\s*[=: ]?\s*)?"
_AFTER = (
    r"(?:\s*(?:concurrent(?: requests| users)?|in flight|users?|clients?|streams?|seq(?:uence)?s?"
    r"|req(?:uest)?s?))?"
)
_COUNT = re.compile(_BEFORE + _NUMBER + _AFTER, re.IGNORECASE)
_RATE = re.compile(
    r"(?<![\w.,+-])" + _NUMBER + r"\s*(?:(?:req(?:uest)?s?|queries)\s*(?:/|per)\s*s(?:ec(?:ond)?)?"
    r"|rps|qps)\b",
    re.IGNORECASE,
)
_AT_ONCE = re.compile(r"(\d+)\s+at once", re.IGNORECASE)
_ENDLESS = re.compile(r"\+?(?:inf(?:inity|inite)?|unlimited|∞)(?:\s*(?:req/s|rps|qps))?")


def precision_of(text: str) -> tuple[str | None, str]:
    """Precision of the weights from a text, and what has to be told about it.

    Examples
    --------
    >>> precision_of("FP8_e4m3"), precision_of("w8a8-fp8")
    (('fp8', ''), ('fp8', ''))
    >>> precision_of("mxfp8")[0], precision_of("Q4_K_M")[0], precision_of("secret")[0]
    ('fp8', 'int4', None)
    """
    lowered = text.strip().lower()
    found = [(ours, note) for words, ours, note in PRECISIONS if re.match(f"(?:{words})", lowered)]
    # "w8a8-fp8" starts as int8 does and comes first as fp8: the order of the table decides.
    return found[0] if found else (None, "")


@dataclass(frozen=True, slots=True, kw_only=True)
class StatedLoad:
    """What a text says of the load: `kind` is count, rate, at once, endless or words."""

    kind: str
    value: float = math.nan


def load_of(text: str) -> StatedLoad:
    """Read a load.

    Examples
    --------
    >>> load_of("1,024").value, load_of("6.4e1").value, load_of("64 users").value
    (1024.0, 64.0, 64.0)
    >>> load_of("1e3 req/s")
    StatedLoad(kind='rate', value=1000.0)
    >>> load_of("max batch").kind, load_of("inf (315 at once)").value, load_of("inf").kind
    ('words', 315.0, 'endless')
    """
    text = text.strip()
    if count := _COUNT.fullmatch(text):
        return StatedLoad(kind="count", value=_value(count.group(1)))
    if rate := _RATE.search(text):
        return StatedLoad(kind="rate", value=_value(rate.group(1)))
    if together := _AT_ONCE.search(text):
        return StatedLoad(kind="at once", value=_value(together.group(1)))
    if _ENDLESS.fullmatch(text.lower()):
        return StatedLoad(kind="endless")
    if _is_number(text):
        return StatedLoad(kind="count", value=_value(text))
    return StatedLoad(kind="words")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _value(text: str) -> float:
    return float(text.replace(",", ""))


def drafts_of(text: str) -> int | None:
    """Drafts of a step as stated; None where the text has no number of them.

    Examples
    --------
    >>> drafts_of("mtp (5 draft tokens)"), drafts_of("mtp3"), drafts_of("eagle3"), drafts_of("mtp")
    (5, 3, None, None)
    """
    lowered = text.lower()
    found = re.search(r"(\d{1,6})\s*(?:draft|token|step)", lowered) or re.search(
        r"\b(?:mtp|nextn)[ =_-]*(\d{1,6})\b", lowered
    )
    return int(found.group(1)) if found else None
