"""Files of kubernetes-sigs/inference-perf: shared-prefix traces and reports of requests.

Shared-prefix trace (docs/tracegen.md there): JSON lines with `timestamp` in seconds,
`shared_prefix_length`, `tail_input_length`, `output_length` and `shared_prefix_id`. Requests with
the same id and length begin with the same tokens; the rest of a prompt is its own.

Report (`per_request_lifecycle_metrics.json`): a list of objects with `start_time` (monotonic
seconds), `info.input_tokens`, `info.output_tokens` (newer versions:
`info.request_metrics.text.input_tokens`, `info.response_metrics.output_tokens`) and `error`.
Its third trace format is that of Azure.
"""

from __future__ import annotations

import json
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tapeout.serving.traffic.readers.base import Rows, Tally, refused
from tapeout.serving.traffic.readers.text import Records, json_chunks, opened

BLOCK_TOKENS = 16
MOST_JSON_CHARACTERS = 1 << 30
KEYS = frozenset({"timestamp", "shared_prefix_length", "tail_input_length", "output_length"})


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedPrefixReader:
    """Shared-prefix traces; shared full blocks of 16 tokens."""

    name: str = "inference-perf"
    title: str = "inference-perf shared-prefix trace, JSON lines"
    timed: bool = True
    from_first: bool = True
    unordered: bool = False
    block_tokens: int = BLOCK_TOKENS
    grid_s: float = 0.0

    def recognises(self, names: frozenset[str]) -> bool:
        """Whether the keys are there; the id is optional."""
        return names >= KEYS

    def rows(self, path: Path, tally: Tally) -> Iterator[Rows]:
        """Yield the records in chunks."""
        first: float | None = None
        for records in json_chunks(path, tally):
            time_s = records.numbers("timestamp")
            shared = records.numbers("shared_prefix_length")
            good = time_s[np.isfinite(time_s)]
            if first is None and good.size:
                first = float(good[0])
            yield Rows(
                line=records.line,
                row=records.row,
                time_s=time_s - (first or 0.0),
                input_tokens=shared + records.numbers("tail_input_length"),
                output_tokens=records.numbers("output_length"),
                blocks=[
                    _blocks(one, float(size))
                    for one, size in zip(records.records, shared, strict=True)
                ],
            )


def _blocks(record: dict[str, Any], shared: float) -> Sequence[Hashable]:
    """Identities of the shared full blocks: id, length and place."""
    identity = record.get("shared_prefix_id")
    if not isinstance(identity, int | str) or not 0.0 <= shared < 2.0**31:
        return ()
    return [(identity, shared, block) for block in range(int(shared) // BLOCK_TOKENS)]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportReader:
    """Reports of single requests; a request that failed has no tokens."""

    name: str = "inference-perf-report"
    title: str = "inference-perf per_request_lifecycle_metrics.json"
    timed: bool = True
    from_first: bool = True
    unordered: bool = True
    block_tokens: int = 0
    grid_s: float = 0.0

    def recognises(self, names: frozenset[str]) -> bool:
        """Whether the keys of the first request are there."""
        return names >= {"start_time", "end_time", "info"}

    def rows(self, path: Path, tally: Tally) -> Iterator[Rows]:
        """Yield all requests at once: the file is one JSON list; "lines" are places in it."""
        with opened(path) as stream:
            text = stream.read(MOST_JSON_CHARACTERS)
        try:
            content = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise refused(path, f"not JSON: {error}", "give the report as it was written") from (
                error
            )
        if not isinstance(content, list):
            raise refused(path, "not a list of requests", "give per_request_lifecycle_metrics.json")
        tally.rows += len(content)
        tally.note("line numbers are places in the list of requests, from 1")
        at = [place for place, one in enumerate(content) if isinstance(one, dict)]
        tally.drop(
            "not an object", [n + 1 for n, one in enumerate(content) if not isinstance(one, dict)]
        )
        flat = Records(
            records=[_flat(content[place]) for place in at],
            line=np.array(at, dtype=np.int64) + 1,
            row=np.array(at, dtype=np.int64),
        )
        time_s = flat.numbers("start")
        good = time_s[np.isfinite(time_s)]
        yield Rows(
            line=flat.line,
            row=flat.row,
            time_s=time_s - (float(good.min()) if good.size else 0.0),
            input_tokens=flat.numbers("input"),
            output_tokens=flat.numbers("output"),
        )


def _flat(request: dict[str, Any]) -> dict[str, Any]:
    """Time and lengths of a request, from the old places or the new ones."""
    info = _part(request, "info")
    output = info.get("output_tokens")
    if output is None:
        output = _part(info, "response_metrics").get("output_tokens")
    source = info.get("input_tokens")
    if source is None:
        source = _part(_part(info, "request_metrics"), "text").get("input_tokens")
    has_failed = request.get("error") is not None
    return {
        "start": request.get("start_time"),
        "input": source,
        "output": 0 if has_failed else output,
    }


def _part(container: dict[str, Any], key: str) -> dict[str, Any]:
    part = container.get(key)
    return part if isinstance(part, dict) else {}
