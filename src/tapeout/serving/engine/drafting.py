"""What drafts cost: the passes that make them, added to a step table.

A verify step needs no table of its own: with d drafts it has N (1 + d) token rows and sampled rows,
which the tables of rows count, and reads the caches of N sequences once. Drafts themselves come
from d passes of a small model (or of an extra layer, MTP) before it.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tapeout.errors import InfeasibleError
from tapeout.numerics import Floats, Ints
from tapeout.serving.engine.policies import DRAFT_SHARE
from tapeout.serving.engine.tables import slopes
from tapeout.serving.engine.types import StepTable

Numbers = Floats | Ints


def with_draft_passes(table: StepTable, *, drafts: int, share: float = DRAFT_SHARE) -> StepTable:
    """Step table whose steps with decoding sequences make drafts first.

    Parameters
    ----------
    table : StepTable
    drafts : int
        Draft passes of a step.
    share : float
        Time and energy of one pass over those of a plain decode step of the same sequences, experts
        and collectives included.

    Returns
    -------
    StepTable
        Prompts cost nothing more: the draft's pass over them is left out.

    Raises
    ------
    InfeasibleError
        Drafts or share below 0.

    Examples
    --------
    With 3 drafts of 0.03 each a decode step is longer by 9 % of a plain one, besides its rows.
    """
    if drafts < 0 or share < 0.0:
        raise InfeasibleError(f"{drafts} drafts at {share:g} of a step each; give 0 or more")
    part = drafts * share
    if part == 0.0:
        return table
    extra_ps = part * _plain(table.decode_ps, table.tokens_ps, table.sampled_ps)
    extra_j = part * _plain(table.decode_j, table.tokens_j, table.sampled_j)
    rows = np.arange(table.decode_ps.shape[0])
    ranks = _ranks(table)
    extra_ps = extra_ps + part * _entries(table.shared_ps, ranks * rows)[:, None]
    extra_j = extra_j + part * _entries(table.shared_j, ranks * rows)[:, None] / ranks
    extra_ps[0], extra_j[0] = 0.0, 0.0
    decode_ps = np.rint(table.decode_ps + extra_ps).astype(np.int64)
    knots = np.minimum(table.sequences, rows[-1]).astype(np.int64)
    return replace(
        table,
        decode_ps=decode_ps,
        slope_ps=slopes(decode_ps, table.contexts),
        mixed_ps=table.mixed_ps + extra_ps[knots],
        decode_j=table.decode_j + extra_j,
        mixed_j=table.mixed_j + extra_j[knots],
    )


def _plain(decode: Numbers, tokens: Numbers, sampled: Numbers) -> Floats:
    """Decode steps without drafts, shape (sequences, context)."""
    rows = np.arange(decode.shape[0])
    plain: Floats = decode + (_entries(tokens, rows) + _entries(sampled, rows))[:, None]
    return plain


def _entries(values: Numbers, rows: Ints) -> Floats:
    """Entries at rows; the last one holds beyond the end."""
    found: Floats = values[np.minimum(rows, values.size - 1)].astype(np.float64)
    return found


def _ranks(table: StepTable) -> int:
    """Data-parallel ranks, from the size of what they share."""
    budget = table.tokens_ps.size - 1
    return max(1, (table.shared_ps.size - 1) // max(budget, 1))
