"""JSON-lines traces with hashed prompt blocks: Mooncake, Qwen-Bailian, LLMServingSim."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tapeout.constants import MILLI, NANO
from tapeout.numerics import Floats, Ints
from tapeout.serving.traffic.readers.base import Rows, Tally
from tapeout.serving.traffic.readers.text import Records, id_lists, json_chunks

NO_IDS = "{n} requests without a list of block identities: their prompts share nothing"
ROOT = "-1"


@dataclass(frozen=True, slots=True, kw_only=True)
class HashedReader:
    """A format whose keys are named here.

    `unit_s` is the unit of the times; `parent` and `identity` link turns where they are set.
    """

    name: str
    title: str
    time: str
    unit_s: float
    input: str
    output: str
    ids: str
    block_tokens: int
    grid_s: float = 0.0
    raw_ids: str = ""
    identity: str = ""
    parent: str = ""
    kind: str = ""
    timed: bool = True
    from_first: bool = False
    unordered: bool = False

    def recognises(self, names: frozenset[str]) -> bool:
        """Whether all keys are there, those of turns included."""
        turns = {self.identity, self.parent} - {""}
        has_ids = self.ids in names or self.raw_ids in names
        return has_ids and names >= {self.time, self.input, self.output} | turns

    def rows(self, path: Path, tally: Tally) -> Iterator[Rows]:
        """Yield the records in chunks."""
        chats: dict[str, int] = {}
        for records in json_chunks(path, tally):
            blocks, bad = id_lists([self._ids(one) for one in records.records])
            tally.note(NO_IDS, int(bad.sum()))
            yield Rows(
                line=records.line,
                row=records.row,
                time_s=records.numbers(self.time) * self.unit_s,
                input_tokens=records.numbers(self.input),
                output_tokens=records.numbers(self.output),
                slo_class=self._classes(records, tally),
                parent=self._parents(records, chats),
                think_s=self._think(records),
                blocks=blocks,
            )

    def _ids(self, record: dict[str, Any]) -> object:
        """Identities of blocks, made of the tokens themselves where the file has those."""
        tokens = record.get(self.raw_ids)
        if self.ids in record or not isinstance(tokens, list):
            return record.get(self.ids)
        size = self.block_tokens
        full = len(tokens) // size * size
        return [str(tokens[begin : begin + size]) for begin in range(0, full, size)]

    def _classes(self, records: Records, tally: Tally) -> Ints | None:
        if not self.kind:
            return None
        names = [str(one.get(self.kind, "")) for one in records.records]
        if not tally.classes:
            tally.note(f"the classes of the trace are the values of {self.kind!r}")
        codes = [tally.classes.setdefault(name, len(tally.classes)) for name in names]
        return np.array(codes, dtype=np.int64)

    def _parents(self, records: Records, chats: dict[str, int]) -> Ints | None:
        """Row of the turn before; the file has it earlier, or not at all (-2)."""
        if not self.parent:
            return None
        found = np.full(records.row.size, -1, dtype=np.int64)
        for place, (one, row) in enumerate(zip(records.records, records.row.tolist(), strict=True)):
            before = str(one.get(self.parent, ROOT))
            if before != ROOT:
                found[place] = chats.get(before, -2)
            if self.identity in one:
                chats[str(one[self.identity])] = row
        return found

    def _think(self, records: Records) -> Floats | None:
        return np.zeros(records.row.size) if self.parent else None


# kvcache-ai/Mooncake, FAST25-release/traces; R. Qin et al., "Mooncake", FAST '25
MOONCAKE = HashedReader(
    name="mooncake",
    title="Mooncake, JSON lines, blocks of 512 tokens",
    time="timestamp",
    unit_s=MILLI,
    input="input_length",
    output="output_length",
    ids="hash_ids",
    block_tokens=512,
    grid_s=3.0,
)

# alibaba-edu/qwen-bailian-usagetraces-anon
BAILIAN = HashedReader(
    name="bailian",
    title="Qwen-Bailian, JSON lines, blocks of 16 tokens, turns",
    time="timestamp",
    unit_s=1.0,
    input="input_length",
    output="output_length",
    ids="hash_ids",
    block_tokens=16,
    identity="chat_id",
    parent="parent_chat_id",
    kind="type",
)

# casys-kaist/LLMServingSim: with token ids, or with identities of full blocks in their place
LLMSERVINGSIM = HashedReader(
    name="llmservingsim",
    title="LLMServingSim workload, JSON lines, blocks of 16 tokens",
    time="arrival_time_ns",
    unit_s=NANO,
    input="input_toks",
    output="output_toks",
    ids="prefix_block_ids",
    raw_ids="input_tok_ids",
    block_tokens=16,
)
