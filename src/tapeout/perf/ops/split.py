"""The fixed split of operator measurements into a part for fitting and a part for reporting.

Written down before the first operator constant was fitted. A group lies in one part as a whole:
all token counts and all chips of one (n, k) of a GEMM, all loads of one attention shape, one
message size of a collective. The fitting code refuses rows of the report part, choices of form
are made by folds inside the fit part (`fold`), and the report part is scored once, at the end.
Changing SALT or FIT_SHARE would make the reported errors worthless; a test pins them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from tapeout.errors import InfeasibleError
from tapeout.perf.ops.cases import OpCase

SALT = "tapeout-ops-2026-11-25"
FIT_SHARE = 0.75
FOLDS = 5
_BYTES = 4

ATTENTION = ("attention_prefill", "attention_decode", "attention_mixed")
LATENT = ("mla_prefill", "mla_decode")
COLLECTIVES = ("all_reduce", "all_gather", "reduce_scatter", "all_to_all", "send_recv")


def group(case: OpCase) -> str:
    """Key of the group a case belongs to; chip, stack and load are not part of it.

    Examples
    --------
    >>> from tapeout.perf.ops.cases import parse
    >>> group(parse({"chip": "h100", "op": "gemm", "m": "8", "n": "4096", "k": "1024"}))
    'gemm|4096|1024'
    """
    if case.op == "attention_mixed":
        shape: tuple[float, ...] = (case.q_len, case.kv_len, case.batch)
    elif case.op in ATTENTION:
        shape = (case.heads, case.kv_heads, case.head_dim)
    elif case.op in LATENT:
        shape = (case.heads, case.kv_lora_rank)
    elif case.op in COLLECTIVES:
        shape = (case.n_chips, case.message_bytes)
    elif case.op == "grouped_gemm":
        shape = (case.m, case.active_experts)
    else:
        shape = (case.n, case.k)
    return "|".join((case.op, *(f"{one:g}" for one in shape)))


def _share(text: str) -> float:
    digest = hashlib.sha256(f"{SALT}|{text}".encode()).digest()
    return int.from_bytes(digest[:_BYTES], "big") / 256.0**_BYTES


def is_fit_group(key: str) -> bool:
    """True if rows of the group may be fitted to."""
    return _share(key) < FIT_SHARE


def fold(key: str) -> int:
    """Fold of a group of the fit part, 0 to FOLDS - 1, for choosing among forms."""
    return int(_share(f"fold|{key}") * FOLDS)


def fit_part(cases: Iterable[OpCase]) -> list[OpCase]:
    """Cases of groups that may be fitted to."""
    return [case for case in cases if is_fit_group(group(case))]


def report_part(cases: Iterable[OpCase]) -> list[OpCase]:
    """Cases of groups kept for reporting."""
    return [case for case in cases if not is_fit_group(group(case))]


def require_fit_part(cases: Iterable[OpCase]) -> None:
    """Refuse to fit to a reported group.

    Raises
    ------
    InfeasibleError
        Naming the first group of the report part.
    """
    for case in cases:
        if not is_fit_group(group(case)):
            raise InfeasibleError(
                f"a case lies in the reported group {group(case)!r}; fit to fit_part only"
            )
