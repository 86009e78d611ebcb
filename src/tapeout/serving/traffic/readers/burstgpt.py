"""BurstGPT 1, 2 and 3 (HPMLL/BurstGPT), CSV.

`Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type`; the third file has
`Session ID` and `Elapsed time` between the first two. Columns are found by name. Y. Wang et al.,
"BurstGPT: A Real-world Workload Dataset to Optimize LLM Serving Systems", arXiv 2401.17644.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tapeout.numerics import Floats, Ints
from tapeout.serving.traffic.readers.base import Rows, Tally
from tapeout.serving.traffic.readers.text import Table, csv_chunks, text_numbers

COLUMNS = ("Timestamp", "Request tokens", "Response tokens")


@dataclass(frozen=True, slots=True, kw_only=True)
class BurstGptReader:
    """Seconds; a session's requests are turns, each sent after the one before has ended."""

    name: str = "burstgpt"
    title: str = "BurstGPT 1, 2 or 3, CSV"
    timed: bool = True
    from_first: bool = True
    unordered: bool = False
    block_tokens: int = 0
    grid_s: float = 0.0

    def recognises(self, names: frozenset[str]) -> bool:
        """Whether the columns of all three files are there."""
        return names >= set(COLUMNS)

    def rows(self, path: Path, tally: Tally) -> Iterator[Rows]:
        """Yield the rows in chunks."""
        first: float | None = None
        models: dict[str, int] = {}
        sessions: dict[str, int] = {}
        for table in csv_chunks(path, tally, COLUMNS):
            time_s = text_numbers(table.columns["Timestamp"])
            good = time_s[np.isfinite(time_s)]
            if first is None and good.size:
                first = float(good[0])
                if first > 0.0:
                    tally.note(f"times count from the first row, at {first:,.0f} s of the file")
            names = table.columns.get("Model")
            yield Rows(
                line=table.line,
                row=table.row,
                time_s=time_s - (first or 0.0),
                input_tokens=text_numbers(table.columns["Request tokens"]),
                output_tokens=text_numbers(table.columns["Response tokens"]),
                slo_class=None if names is None else _codes(names, models, tally),
                parent=_parents(table, sessions),
                think_s=_zeros(table),
            )


def _codes(names: list[str], models: dict[str, int], tally: Tally) -> Ints:
    """Number the models: they are the classes of the trace."""
    if not models:
        tally.note("the classes of the trace are the models of the file")
    for name in names:
        if name not in models:
            models[name] = tally.classes.setdefault(name, len(tally.classes))
    return np.array([models[name] for name in names], dtype=np.int64)


def _parents(table: Table, sessions: dict[str, int]) -> Ints | None:
    """Row of the request before of the same session."""
    names = table.columns.get("Session ID")
    if names is None:
        return None
    parents = np.full(len(names), -1, dtype=np.int64)
    for place, (name, row) in enumerate(zip(names, table.row.tolist(), strict=True)):
        if name.strip():
            parents[place] = sessions.get(name, -1)
            sessions[name] = row
    return parents


def _zeros(table: Table) -> Floats | None:
    return np.zeros(table.row.size) if "Session ID" in table.columns else None
