"""CSV files of lengths without arrivals (or with synthetic ones), and Vidur's replay traces."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tapeout.serving.traffic.readers.base import Rows, Tally
from tapeout.serving.traffic.readers.text import csv_chunks, text_numbers


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedCsvReader:
    """A CSV format whose columns are named here; without a time it needs an arrival process."""

    name: str
    title: str
    input: str
    output: str
    time: str = ""
    unit_s: float = 1.0
    from_first: bool = False
    unordered: bool = False
    block_tokens: int = 0
    grid_s: float = 0.0

    @property
    def timed(self) -> bool:
        """Whether rows have arrival times."""
        return bool(self.time)

    def recognises(self, names: frozenset[str]) -> bool:
        """Whether the columns are there."""
        return names >= {self.input, self.output} | ({self.time} - {""})

    def rows(self, path: Path, tally: Tally) -> Iterator[Rows]:
        """Yield the rows in chunks."""
        needed = [self.input, self.output, *([self.time] if self.time else [])]
        for table in csv_chunks(path, tally, needed):
            yield Rows(
                line=table.line,
                row=table.row,
                time_s=text_numbers(table.columns[self.time]) * self.unit_s
                if self.time
                else np.empty(0),
                input_tokens=text_numbers(table.columns[self.input]),
                output_tokens=text_numbers(table.columns[self.output]),
            )


# microsoft/vidur, data/processed_traces: with arrivals, and lengths only
VIDUR = NamedCsvReader(
    name="vidur",
    title="Vidur replay trace, CSV",
    input="num_prefill_tokens",
    output="num_decode_tokens",
    time="arrived_at",
)
VIDUR_LENGTHS = NamedCsvReader(
    name="vidur-lengths",
    title="Vidur lengths, CSV (needs an arrival process)",
    input="num_prefill_tokens",
    output="num_decode_tokens",
)

# The arrivals beside these lengths are synthetic and are not read.
SHAREGPT_LENGTHS = NamedCsvReader(
    name="sharegpt-lengths",
    title="ShareGPT lengths as in LLMServingSim, CSV (needs an arrival process)",
    input="input_toks",
    output="output_toks",
)
