"""One door to the operator laws: a case goes to the law of its operation."""

from __future__ import annotations

import importlib
import importlib.util
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tapeout.chip.types import ChipSpec
from tapeout.errors import TapeoutError
from tapeout.perf.ops.cases import OPERATIONS, Estimate, OpCase
from tapeout.perf.ops.split import ATTENTION, COLLECTIVES, LATENT

Law = Callable[[OpCase, ChipSpec], Estimate]

MODULES = {
    **dict.fromkeys(OPERATIONS, "elementwise"),
    **dict.fromkeys(("gemm", "grouped_gemm"), "gemm"),
    **dict.fromkeys((*ATTENTION, *LATENT), "attention"),
    **dict.fromkeys(COLLECTIVES, "collective"),
    "scan": "scan",
}
"""Operation: module of `tapeout.perf.ops` whose `estimate` times it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unanswered:
    """Why there is no estimate."""

    reason: str


def family(operation: str) -> str:
    """Operations that share a law, and so an error.

    Examples
    --------
    >>> family("mla_decode"), family("all_to_all"), family("rope")
    ('attention', 'collective', 'elementwise')
    """
    return MODULES[operation]


def law_of(operation: str) -> Law | None:
    """Law of an operation; None where this version has none.

    It is `estimate` of the module of the family, or of its neighbour `FAMILY_estimate` where the
    law has the module for itself.
    """
    for end in ("_estimate", ""):
        name = f"{__package__}.{MODULES[operation]}{end}"
        if importlib.util.find_spec(name) is not None:
            law: Law | None = getattr(importlib.import_module(name), "estimate", None)
            if law is not None:
                return law
    return None


def predict(
    case: OpCase, chip: ChipSpec, laws: Mapping[str, Law] | None = None
) -> Estimate | Unanswered:
    """Time one operator.

    Parameters
    ----------
    case : OpCase
    chip : ChipSpec
    laws : mapping of operation to law, optional
        Other laws than the shipped ones.

    Returns
    -------
    Estimate or Unanswered
        Unanswered where the case lacks a number that its law needs, where there is no law, or
        where the law gives no positive finite time.
    """
    law = laws.get(case.op) if laws is not None else law_of(case.op)
    if law is None:
        return Unanswered(reason=f"no law for {case.op} in this version")
    try:
        found = law(case, chip)
    except (TapeoutError, ArithmeticError) as error:
        return Unanswered(reason=" ".join(str(error).split()))
    if not (math.isfinite(found.time_s) and found.time_s > 0.0 and math.isfinite(found.log_sd)):
        return Unanswered(reason=f"the law of {case.op} gives {found.time_s} s for this case")
    return found
