"""The fixed split of measured curves into a part for fitting and a part for reporting.

Written down before the first fit. A curve (same chip, engine, model, precision, parallelism and
lengths; only the load differs) lies in one part as a whole, by a hash of its key, so that no
constant is fitted to a point of a reported curve. The form of the law, its loss and its prior were
chosen with errors of both parts in view (benchmarks/law_trials.csv), so the reported errors are
out of the fit but not blind. Changing SALT or FIT_SHARE would make them worth less still; a test
pins them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from tapeout.errors import InfeasibleError
from tapeout.serving.cases import Case

SALT = "tapeout-2026-11-24"
FIT_SHARE = 0.7
_BYTES = 4


def is_fit_curve(curve: str) -> bool:
    """True if the curve may be fitted to.

    Examples
    --------
    >>> is_fit_curve("c"), is_fit_curve("a")
    (True, False)
    """
    digest = hashlib.sha256(f"{SALT}|{curve}".encode()).digest()
    return bool(int.from_bytes(digest[:_BYTES], "big") < FIT_SHARE * 256**_BYTES)


def fit_part(cases: Sequence[Case]) -> list[Case]:
    """Cases on curves that may be fitted to."""
    return [case for case in cases if is_fit_curve(case.curve)]


def report_part(cases: Sequence[Case]) -> list[Case]:
    """Cases on curves kept for reporting."""
    return [case for case in cases if not is_fit_curve(case.curve)]


def require_fit_part(cases: Sequence[Case]) -> None:
    """Refuse to fit to a reported curve.

    Raises
    ------
    InfeasibleError
        Naming the first curve of the report part.
    """
    for case in cases:
        if not is_fit_curve(case.curve):
            raise InfeasibleError(
                f"row {case.row} lies on the reported curve {case.curve!r}; fit to fit_part only"
            )
